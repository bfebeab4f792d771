"""Orders to the market: written down before they are sent, sent until answered, carried out once.

An order and the decision behind it are committed together (a transactional outbox). Sending happens afterwards and may
be cut off at any instruction: an order that may have been sent is first looked up at the market by the id that we gave
it, and sent again, under the same id, only if it is not known there. Twice is then impossible as long as the market
either answers look-ups truly or refuses an id it has seen.
"""

import json
import logging
import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

import rfc8785
import sqlalchemy as sa

from dispatch.audit import Audit
from dispatch.store import TABLES, Instant, Store

logger = logging.getLogger(__name__)

FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 60.0
MOST_SHOWN: Final = 80  # characters of a payload in an error


class State(StrEnum):
    """How far an order has come."""

    WRITTEN = "written"  # not sent yet
    SENDING = "sending"  # may have been sent; nobody knows until it is looked up
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    EXPIRED = "expired"  # too late to send


OPEN: Final = (State.WRITTEN, State.SENDING)

order_table: Final = sa.Table(
    "market_order",
    TABLES,
    sa.Column("client_order_id", sa.String(64), primary_key=True),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("written_at", Instant, nullable=False),
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("closes_at", Instant, nullable=False),
    sa.Column("answer", sa.Text, nullable=True),
)


class Refused(Exception):
    """The market answered, and the answer is no; asking again will not change it."""


class Market(Protocol):
    """Where orders go. Any other exception than `Refused` means that nobody knows whether the order arrived."""

    def submit(self, client_order_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Place an order; the same id again changes nothing and gives the same answer.

        Raises:
            Refused: The market does not want it.
        """
        ...

    def find(self, client_order_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The market's answer to an order it has, None where it has none of that id.

        Args:
            client_order_id: The order.
            payload: What it said, for a market that tells what is in force and knows no ids.
        """
        ...


class Order(NamedTuple):
    """One row of the journal; `payload` and `answer` are canonical JSON."""

    client_order_id: str
    payload: str
    state: State
    attempts: int
    written_at: datetime
    due_at: datetime
    closes_at: datetime
    answer: str | None


class Orders:
    """The journal of orders and what sends them."""

    def __init__(self, store: Store, audit: Audit, market: Market, replacing: bool = False) -> None:
        """Put the parts together.

        Args:
            store: Keeps the journal.
            audit: What became of each order is written there.
            market: Where orders go.
            replacing: Each order takes the place of the one before, so an old one is not sent once there is a newer.
        """
        self._store, self._audit, self._market, self._replacing = store, audit, market, replacing

    def place(
        self,
        connection: sa.Connection,
        client_order_id: str,
        payload: Mapping[str, Any],
        closes_at: datetime,
        at: datetime,
    ) -> Order:
        """Write an order down, in the transaction of the decision behind it; `send_due` carries it out.

        Args:
            connection: A writing transaction of the store.
            client_order_id: Names the order here and at the market; the same decision must give the same id.
            payload: What the market is sent.
            closes_at: When sending it becomes pointless.
            at: Now.

        Returns:
            The order; the one already there if the id was used for the same payload.

        Raises:
            ValueError: The id stands for another payload, or the payload is not plain JSON.
        """
        try:
            text = rfc8785.dumps(dict(payload)).decode()
        except (rfc8785.CanonicalizationError, TypeError) as error:
            raise ValueError(f"the payload of order {client_order_id!r} must be plain JSON: {error}") from error
        known = find(connection, client_order_id)
        if known is not None:
            if known.payload != text:
                raise ValueError(
                    f"order id {client_order_id!r} stands for {_short(known.payload)} and cannot also stand for "
                    f"{_short(text)}; give another order another id"
                )
            return known
        order = Order(client_order_id, text, State.WRITTEN, 0, at, at, closes_at, None)
        connection.execute(sa.insert(order_table).values(order._asdict()))
        self._audit.append(connection, "order_written", {"client_order_id": client_order_id, "payload": text}, at)
        return order

    def send_due(self, clock: Callable[[], datetime], may_send: Callable[[], bool] = lambda: True) -> list[Order]:
        """Send, look up or give up every order whose time has come; called again and again, and first at start.

        Args:
            clock: Now.
            may_send: Whether orders may go out; asked before each. If not, those perhaps sent are looked up all the
                same, so that it is known what is in force.

        Returns:
            The orders dealt with, as they are now.
        """
        now = clock()
        query = sa.select(order_table).where(order_table.c.state.in_(OPEN)).order_by(order_table.c.written_at)
        with self._store.reading() as connection:
            waiting = [_order(row) for row in connection.execute(query)]
        due = (order for order in waiting if _is_due(order, now) and (order.state is State.SENDING or may_send()))
        sent = (self._send(order.client_order_id, clock, may_send) for order in due)
        return [order for order in sent if order is not None]

    def get(self, client_order_id: str) -> Order | None:
        """One order, None where there is none of that id."""
        with self._store.reading() as connection:
            return find(connection, client_order_id)

    def knows(self, connection: sa.Connection, client_order_id: str) -> bool:
        """Whether there is an order of that id, within a transaction."""
        return find(connection, client_order_id) is not None

    def newest(self, count: int) -> list[Order]:
        """The orders last written, newest first."""
        with self._store.reading() as connection:
            return newest(connection, count)

    def _send(self, client_order_id: str, clock: Callable[[], datetime], may_send: Callable[[], bool]) -> Order | None:
        order, before = self._claim(client_order_id, clock())
        if order is None or order.state is State.EXPIRED:
            return order
        payload = json.loads(order.payload)
        try:
            answer = self._market.find(client_order_id, payload) if before is State.SENDING else None
            if answer is None:
                if clock() >= order.closes_at:
                    return self._settle(order, State.EXPIRED, {"reason": "the market closed"}, clock())
                if self._replacing and self.newest(1)[0].written_at > order.written_at:
                    return self._settle(order, State.EXPIRED, {"reason": "a newer order replaces it"}, clock())
                if not may_send():
                    return order
                answer = self._market.submit(client_order_id, payload)
        except Refused as refusal:
            return self._settle(order, State.REJECTED, {"reason": str(refusal)}, clock())
        except Exception as error:  # a market may fail in any way; the order stays open and is tried again
            logger.warning("order %s, attempt %d: %s", client_order_id, order.attempts, error)
            said = {"client_order_id": client_order_id, "attempts": order.attempts, "problem": repr(error)}
            with self._store.writing() as connection:
                self._audit.append(connection, "order_unanswered", said, clock())
            return order
        return self._settle(order, State.ACCEPTED, dict(answer), clock())

    def _claim(self, client_order_id: str, now: datetime) -> tuple[Order | None, State]:
        """Mark an order as perhaps sent, before it is; until the retry is due nobody else touches it."""
        with self._store.writing() as connection:
            order = find(connection, client_order_id)
            if order is None or order.state not in OPEN or not _is_due(order, now):
                return None, State.WRITTEN
            if order.state is State.WRITTEN and now >= order.closes_at:
                reason = {"reason": "the market closed before it was sent"}
                return self._record(connection, order, State.EXPIRED, reason, now), order.state
            before, attempts = order.state, order.attempts + 1
            order = order._replace(state=State.SENDING, attempts=attempts, due_at=now + _delay(attempts))
            _change(connection, order)
            return order, before

    def _settle(self, order: Order, state: State, answer: dict[str, Any], at: datetime) -> Order:
        with self._store.writing() as connection:
            return self._record(connection, order, state, answer, at)

    def _record(
        self, connection: sa.Connection, order: Order, state: State, answer: dict[str, Any], at: datetime
    ) -> Order:
        text = rfc8785.dumps(answer).decode()
        order = order._replace(state=state, answer=text)
        _change(connection, order)
        said = {"client_order_id": order.client_order_id, "attempts": order.attempts, "answer": text}
        self._audit.append(connection, f"order_{state.value}", said, at)
        return order


def newest(connection: sa.Connection, count: int, before: Order | None = None) -> list[Order]:
    """The orders last written, or those written before one of them, newest first."""
    written = sa.tuple_(order_table.c.written_at, order_table.c.client_order_id)
    query = sa.select(order_table).order_by(*(column.desc() for column in written.clauses)).limit(count)
    if before is not None:
        query = query.where(written < (before.written_at, before.client_order_id))
    return [_order(row) for row in connection.execute(query)]


def find(connection: sa.Connection, client_order_id: str) -> Order | None:
    """One order, None where there is none of that id."""
    query = sa.select(order_table).where(order_table.c.client_order_id == client_order_id)
    row = connection.execute(query).first()
    return None if row is None else _order(row)


def _is_due(order: Order, now: datetime) -> bool:
    """A time further off than any wait is long means that the clock went back: then it is due too."""
    return not now < order.due_at <= now + timedelta(seconds=LONGEST_RETRY_S)


def _delay(attempts: int) -> timedelta:
    """Doubles with every attempt up to a minute, and is drawn from its upper half so that many orders spread out."""
    longest_s = min(FIRST_RETRY_S * 2.0 ** min(attempts - 1, 16), LONGEST_RETRY_S)
    return timedelta(seconds=longest_s * random.uniform(0.5, 1.0))


def _order(row: sa.Row[Any]) -> Order:
    return Order(**{**row._mapping, "state": State(row.state)})


def _change(connection: sa.Connection, order: Order) -> None:
    query = sa.update(order_table).where(order_table.c.client_order_id == order.client_order_id)
    connection.execute(query.values(order._asdict()))


def _short(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "..."
