"""Messages in, written down: what was acknowledged is acted on once and called back.

A message is stored before it is acknowledged. Acting on it, storing its callback and marking it done are one
transaction, so that a process killed at any instruction acts on it exactly once. The callback is then sent until the
buyer takes it or its time is over; it may arrive twice, with the same ids and bytes, and never with others.
"""

import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from dispatch.audit import Audit, Fault
from dispatch.store import TABLES, Instant, Store
from server.beckn.context import Context, read_context, write_context
from server.beckn.outbox import TRIED_FOR, Callback, CallbackState, callback_table, put, sha256_of
from server.beckn.provider import Provider
from server.beckn.wire import Code, Kind, Problem, parse

logger = logging.getLogger(__name__)

TOGETHER: Final = 4  # messages acted on in one transaction: fewer commits, and no acknowledgement waits long


message_table: Final = sa.Table(
    "beckn_message",
    TABLES,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("received_at", Instant, nullable=False, index=True),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False, index=True),
)
# Made once: putting a statement together costs as much as carrying it out.
KNOWN: Final = sa.select(message_table.c.key, message_table.c.body).where(
    message_table.c.key.in_(sa.bindparam("keys", expanding=True))
)
STILL_OPEN: Final = sa.select(message_table.c.key).where(
    message_table.c.key.in_(sa.bindparam("keys", expanding=True)), ~message_table.c.done
)
DONE: Final = (
    sa.update(message_table).where(message_table.c.key.in_(sa.bindparam("keys", expanding=True))).values(done=True)
)
OLDEST_OPEN: Final = (
    sa.select(message_table).where(~message_table.c.done).order_by(message_table.c.received_at).limit(TOGETHER)
)
TAKE: Final = sa.insert(message_table)


class MessageIds(StrEnum):
    """Which message id a callback carries: the request's, as the standard says, or one of its own."""

    ECHO = "echo"
    REGENERATE = "regenerate"


class Inbox:
    """What came."""

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

    def take(self, arrived: Sequence[tuple[bytes, Context]], at: datetime) -> list[Problem | None]:
        """Write believed messages down, all in one transaction; the same one again is acted on once.

        Returns:
            For each why it is not taken, None if it is: its ids were used for another body.
        """
        keys = [_key(context) for _, context in arrived]
        answers: list[Problem | None] = []
        rows: list[dict[str, Any]] = []
        records: list[tuple[str, dict[str, Any]]] = []
        with self._store.writing() as connection:
            known = {row.key: row.body for row in connection.execute(KNOWN, {"keys": keys})}
            for key, (raw, context) in zip(keys, arrived, strict=True):
                text = raw.decode()
                answers.append(_refusal(known.get(key), text))
                if key in known:
                    continue
                known[key] = text
                rows.append({"key": key, "received_at": at, "action": context.action, "body": text, "done": False})
                said = {"key": key, "body_sha256": hashlib.sha256(raw).hexdigest(), **_names(context)}
                records.append(("beckn_received", said))
            if rows:
                connection.execute(TAKE, rows)
                self._audit.append_all(connection, records, at)
        return answers

    def act(self, domains: tuple[str, ...], clock: Callable[[], datetime]) -> int:
        """Act on the oldest messages not yet acted on, some at a time; how many there were."""
        with self._store.reading() as connection:
            rows = connection.execute(OLDEST_OPEN).all()
        messages = [one for row in rows if (one := self._read(row, domains, clock())) is not None]
        try:
            self._act_on(messages, clock)
        except Exception:
            if len(messages) == 1:
                raise
            for one in messages:  # whichever of them fails keeps none of the others waiting
                try:
                    self._act_on([one], clock)
                except Exception:
                    logger.exception("acting on message %s failed; it is tried again", one.key)
        return len(rows)

    def _read(self, row: sa.Row[Any], domains: tuple[str, ...], at: datetime) -> "_Message | None":
        message = parse(row.body.encode())
        try:
            # It was in time when it was taken; how long it then waited here is not the buyer's fault.
            context = read_context(message, row.action, domains, row.received_at)
        except Problem as problem:  # it was taken under other settings, for example of the domain
            logger.error("message %s was taken and can no longer be answered: %s", row.key, problem)
            with self._store.writing() as connection:
                connection.execute(sa.update(message_table).where(message_table.c.key == row.key).values(done=True))
                self._audit.append(connection, "beckn_dropped", {"key": row.key, "problem": str(problem)}, at)
            return None
        body = message.get("message") or {}
        return _Message(row.key, context, body)

    def _act_on(self, messages: Sequence["_Message"], clock: Callable[[], datetime]) -> None:
        """Act on messages, all in one transaction; on those that another process acted on first, not again."""
        with self._store.writing() as connection:
            keys = [one.key for one in messages]
            still_open = set(connection.execute(STILL_OPEN, {"keys": keys}).scalars())
            answered = [(one, self._answer(connection, one, clock())) for one in messages if one.key in still_open]
            if not answered:
                return
            put(connection, [callback for _, callback in answered])
            connection.execute(DONE, {"keys": list(still_open)})
            records = [
                (
                    "beckn_acted_on",
                    {
                        "key": one.key,
                        "callback_message_id": self._message_id(one),
                        **_names(one.context),
                        "body_sha256": sha256_of(callback.body),  # the body itself may be a catalogue of megabytes
                    },
                )
                for one, callback in answered
            ]
            self._audit.append_all(connection, records, clock())

    def _answer(self, connection: sa.Connection, one: "_Message", at: datetime) -> Callback:
        context = one.context
        said = self._provider.answer(connection, context, one.body, at)
        action = f"on_{context.action}"
        envelope = write_context(context, action, self._bpp_id, self._bpp_uri, self._message_id(one), at)
        return Callback(
            one.key,
            f"{context.bap_uri.rstrip('/')}/{action}",
            json.dumps({"context": envelope, **said}, allow_nan=False, separators=(",", ":")),
            CallbackState.WAITING,
            0,
            at,
            at + TRIED_FOR,
            None,
        )

    def _message_id(self, one: "_Message") -> str:
        echo = self._message_ids is MessageIds.ECHO
        return one.context.message_id if echo else str(uuid.uuid5(uuid.NAMESPACE_OID, one.key))


class _Message(NamedTuple):
    """A message ready to be acted on."""

    key: str
    context: Context
    body: dict[str, Any]


def altered(store: Store, audit: Audit) -> list[Fault]:
    """Stored messages and callbacks that are not those which the log says were received and written."""
    faults = []
    for kind, table in (("beckn_received", message_table), ("beckn_acted_on", callback_table)):
        with store.reading() as connection:
            bodies = {row.key: row.body for row in connection.execute(sa.select(table.c.key, table.c.body))}
        for entry in audit.entries(kind):
            said = json.loads(entry.body)
            body = bodies.get(said["key"], "")
            if sha256_of(body) != said["body_sha256"]:
                faults.append(Fault(entry.sequence, f"the body of {kind} {said['key'][:16]} was altered in its table"))
    return faults


def _refusal(known: str | None, text: str) -> Problem | None:
    if known in (None, text):
        return None
    return Problem(
        Kind.CONTEXT,
        Code.INVALID_REQUEST,
        "these ids came before with another body; give a new message a new message_id",
        "context.message_id",
    )


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
