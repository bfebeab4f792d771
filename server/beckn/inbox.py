"""Messages in and callbacks out, both written down: what was acknowledged is acted on once and called back.

A message is stored before it is acknowledged. Acting on it, storing its callback and marking it done are one
transaction, so that a process killed at any instruction acts on it exactly once. The callback is then sent until the
buyer takes it or its time is over; it may arrive twice, with the same ids and bytes, and never with others.
"""

import hashlib
import json
import logging
import random
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from dispatch.audit import Audit
from dispatch.store import TABLES, Instant, Store
from server.beckn.context import Context, read_context, write_context
from server.beckn.provider import Provider
from server.beckn.wire import Code, Kind, Problem, parse

logger = logging.getLogger(__name__)

TRIED_FOR: Final = timedelta(minutes=30)
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 300.0


class CallbackState(StrEnum):
    """How far a callback has come."""

    WAITING = "waiting"
    TAKEN = "taken"
    GIVEN_UP = "given up"


message_table: Final = sa.Table(
    "beckn_message",
    TABLES,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("received_at", Instant, nullable=False, index=True),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False, index=True),
)
callback_table: Final = sa.Table(
    "beckn_callback",
    TABLES,
    sa.Column("key", sa.String(64), sa.ForeignKey("beckn_message.key"), primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("until", Instant, nullable=False),
    sa.Column("problem", sa.Text, nullable=True),
)


class MessageIds(StrEnum):
    """Which message id a callback carries: the request's, as the standard says, or one of its own."""

    ECHO = "echo"
    REGENERATE = "regenerate"


class Callback(NamedTuple):
    """One callback to send; `body` is sent as it stands, byte for byte."""

    key: str
    url: str
    body: str
    state: CallbackState
    attempts: int
    due_at: datetime
    until: datetime
    problem: str | None


class Inbox:
    """What came and what goes back."""

    def __init__(
        self,
        store: Store,
        audit: Audit,
        provider: Provider,
        bpp_id: str,
        bpp_uri: str,
        message_ids: MessageIds = MessageIds.ECHO,
    ) -> None:
        """Put the parts together.

        Args:
            store: Where both are written down.
            audit: Records every exchange.
            provider: Acts on messages.
            bpp_id: Our name on the network.
            bpp_uri: Our address.
            message_ids: Of callbacks.
        """
        self._store, self._audit, self._provider = store, audit, provider
        self._bpp_id, self._bpp_uri, self._message_ids = bpp_id, bpp_uri, message_ids

    def take(self, raw: bytes, context: Context, at: datetime) -> None:
        """Write a believed message down; the same one again is taken again and acted on once.

        Raises:
            Problem: Its ids were used for another body.
        """
        key = _key(context)
        text = raw.decode()
        with self._store.writing() as connection:
            query = sa.select(message_table.c.body).where(message_table.c.key == key)
            known = connection.execute(query).scalar()
            if known == text:
                return
            if known is not None:
                raise Problem(
                    Kind.CONTEXT,
                    Code.INVALID_REQUEST,
                    "these ids came before with another body; give a new message a new message_id",
                    "context.message_id",
                )
            row = {"key": key, "received_at": at, "action": context.action, "body": text, "done": False}
            connection.execute(sa.insert(message_table).values(row))
            said = {"key": key, "body_sha256": hashlib.sha256(raw).hexdigest(), **_names(context)}
            self._audit.append(connection, "beckn_received", said, at)

    def act(self, domains: tuple[str, ...], clock: Callable[[], datetime]) -> int:
        """Act on every message not yet acted on, oldest first; how many there were."""
        query = sa.select(message_table.c.key).where(~message_table.c.done)
        with self._store.reading() as connection:
            keys = connection.execute(query.order_by(message_table.c.received_at)).scalars().all()
        for key in keys:
            self._act_on(key, domains, clock)
        return len(keys)

    def due(self, now: datetime) -> list[Callback]:
        """Callbacks whose time to be sent has come."""
        query = sa.select(callback_table).where(
            callback_table.c.state == CallbackState.WAITING.value, callback_table.c.due_at <= now
        )
        with self._store.reading() as connection:
            return [_callback(row) for row in connection.execute(query.order_by(callback_table.c.due_at))]

    def sent(self, callback: Callback, problem: str | None, at: datetime) -> None:
        """Note how sending went: taken if there was no problem, else tried again later until its time is over."""
        attempts = callback.attempts + 1
        if problem is None:
            state = CallbackState.TAKEN
        else:
            state = CallbackState.GIVEN_UP if at >= callback.until else CallbackState.WAITING
        changes = {
            "state": state.value,
            "attempts": attempts,
            "due_at": at + _delay(attempts),
            "problem": problem,
        }
        with self._store.writing() as connection:
            connection.execute(sa.update(callback_table).where(callback_table.c.key == callback.key).values(changes))
            said = {"key": callback.key, "url": callback.url, "attempts": attempts, "state": state.value}
            said |= {"body_sha256": hashlib.sha256(callback.body.encode()).hexdigest(), "problem": problem}
            self._audit.append(connection, "beckn_called_back", said, at)

    def _act_on(self, key: str, domains: tuple[str, ...], clock: Callable[[], datetime]) -> None:
        mine = message_table.c.key == key
        with self._store.reading() as connection:
            row = connection.execute(sa.select(message_table).where(mine)).one()
        message = parse(row.body.encode())
        # It was in time when it was taken; how long it then waited here is not the buyer's fault.
        context = read_context(message, row.action, domains, row.received_at)
        body = message.get("message") or {}
        plan = self._provider.prepare(context, body, clock())
        with self._store.writing() as connection:
            if connection.execute(sa.select(message_table.c.done).where(mine)).scalar_one():
                return  # another process was faster
            at = clock()
            said = self._provider.answer(connection, context, body, at, plan)
            echo = self._message_ids is MessageIds.ECHO
            message_id = context.message_id if echo else str(uuid.uuid5(uuid.NAMESPACE_OID, key))
            action = f"on_{context.action}"
            envelope = write_context(context, action, self._bpp_id, self._bpp_uri, message_id, at)
            callback = Callback(
                key,
                f"{context.bap_uri.rstrip('/')}/{action}",
                json.dumps({"context": envelope, **said}, allow_nan=False, separators=(",", ":")),
                CallbackState.WAITING,
                0,
                at,
                at + TRIED_FOR,
                None,
            )
            connection.execute(sa.insert(callback_table).values(callback._asdict()))
            connection.execute(sa.update(message_table).where(mine).values(done=True))
            names = {"key": key, "callback_message_id": message_id, **_names(context)}
            self._audit.append(connection, "beckn_acted_on", {**names, "said": said}, at)


def _key(context: Context) -> str:
    """One name for bap, dealing, message and verb."""
    parts = (context.bap_id, context.transaction_id, context.message_id, context.action)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _names(context: Context) -> dict[str, Any]:
    return {
        "action": context.action,
        "bap_id": context.bap_id,
        "transaction_id": context.transaction_id,
        "message_id": context.message_id,
    }


def _delay(attempts: int) -> timedelta:
    longest_s = min(FIRST_RETRY_S * 2.0 ** min(attempts - 1, 16), LONGEST_RETRY_S)
    return timedelta(seconds=longest_s * random.uniform(0.5, 1.0))


def _callback(row: sa.Row[Any]) -> Callback:
    return Callback(**{**row._mapping, "state": CallbackState(row.state)})
