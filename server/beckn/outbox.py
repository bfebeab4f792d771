"""Callbacks out: written down with what they tell of, then sent until the buyer takes them or their time is over."""

import hashlib
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from dispatch.audit import Audit
from dispatch.store import TABLES, Instant, Store

TRIED_FOR: Final = timedelta(minutes=30)
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 300.0


class CallbackState(StrEnum):
    """How far a callback has come."""

    WAITING = "waiting"
    TAKEN = "taken"
    GIVEN_UP = "given up"


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
# Made once: putting a statement together costs as much as carrying it out.
CALL_BACK: Final = sa.insert(callback_table)
NOTE: Final = sa.update(callback_table).where(callback_table.c.key == sa.bindparam("named"))
DUE: Final = (
    sa.select(callback_table)
    .where(callback_table.c.state == sa.bindparam("waiting"), callback_table.c.due_at <= sa.bindparam("now"))
    .order_by(callback_table.c.due_at)
    .limit(sa.bindparam("most"))
)


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


class Outbox:
    """What goes back."""

    def __init__(self, store: Store, audit: Audit) -> None:
        """Keep where callbacks are written down, and what records how sending them goes."""
        self._store, self._audit = store, audit

    def due(self, now: datetime, most: int) -> list[Callback]:
        """Callbacks whose time to be sent has come, the longest due first."""
        with self._store.reading() as connection:
            asked = {"waiting": CallbackState.WAITING.value, "now": now, "most": most}
            return [_callback(row) for row in connection.execute(DUE, asked)]

    def sent(self, outcomes: Sequence[tuple[Callback, str | None]], at: datetime) -> None:
        """Note how sending went: taken if there was no problem, else tried again later until its time is over."""
        after = [_after(callback, problem, at) for callback, problem in outcomes]
        records = [
            (
                "beckn_called_back",
                {
                    **{name: getattr(one, name) for name in ("key", "url", "attempts", "state", "problem")},
                    "body_sha256": sha256_of(one.body),
                },
            )
            for one in after
        ]
        changed = ("state", "attempts", "due_at", "problem")
        with self._store.writing() as connection:
            connection.execute(
                NOTE, [{"named": one.key, **{name: getattr(one, name) for name in changed}} for one in after]
            )
            self._audit.append_all(connection, records, at)


def put(connection: sa.Connection, callbacks: Sequence[Callback]) -> None:
    """Write callbacks down, within the transaction that they tell of."""
    connection.execute(CALL_BACK, [callback._asdict() for callback in callbacks])


def sha256_of(text: str) -> str:
    """What the audit log keeps of a body."""
    return hashlib.sha256(text.encode()).hexdigest()


def _after(callback: Callback, problem: str | None, at: datetime) -> Callback:
    """A callback after one more attempt."""
    attempts = callback.attempts + 1
    if problem is None:
        state = CallbackState.TAKEN
    else:
        state = CallbackState.GIVEN_UP if at >= callback.until else CallbackState.WAITING
    return callback._replace(state=state, attempts=attempts, due_at=at + _delay(attempts), problem=problem)


def _delay(attempts: int) -> timedelta:
    longest_s = min(FIRST_RETRY_S * 2.0 ** min(attempts - 1, 16), LONGEST_RETRY_S)
    return timedelta(seconds=longest_s * random.uniform(0.5, 1.0))


def _callback(row: sa.Row[Any]) -> Callback:
    return Callback(**{**row._mapping, "state": CallbackState(row.state)})
