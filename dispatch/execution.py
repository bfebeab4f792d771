"""From decision to market: each step is decided once, written down with its order, sent, and accounted for.

The decision, its audit entry and its order are one transaction. Whatever is cut off before it never happened, and the
step is decided again; whatever comes after it is `dispatch.orders`' business, which sends an order once however often
the process dies. At the start, what the market holds is compared with what it confirmed.
"""

import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from dispatch.audit import Audit
from dispatch.orders import Market, Order, Orders, State
from dispatch.store import Store

logger = logging.getLogger(__name__)

MOST_CONFIRMED: Final = 200  # orders that are looked up at start


class Commitment(NamedTuple):
    """A decision that is ready to be put in force.

    Attributes:
        start: Of the step.
        end: Of the step; an order for it is pointless afterwards.
        payload: What the market is sent.
        write: Records the decision, in the transaction of its order.
    """

    start: datetime
    end: datetime
    payload: Mapping[str, Any]
    write: Callable[[sa.Connection], object]


class Execution:
    """Decides each step once and keeps the market in line with it."""

    def __init__(
        self,
        store: Store,
        audit: Audit,
        market: Market,
        start_of: Callable[[datetime], datetime],
        propose: Callable[[datetime], Commitment],
        killed: Callable[[], str],
        clock: Callable[[], datetime],
    ) -> None:
        """Put the parts together.

        Args:
            store: Where decisions and orders are written.
            audit: What happened is written there.
            market: Where orders go.
            start_of: Start of the step that holds an instant.
            propose: Decides that step, within what risk allows.
            killed: Why nothing may be sent, empty if something may.
            clock: Now.
        """
        self._store, self._audit, self._market, self._clock = store, audit, market, clock
        self._start_of, self._propose, self._killed = start_of, propose, killed
        self.orders = Orders(store, audit, market)

    def commit(self) -> Order | None:
        """Decide the current step, unless that was done; nothing is sent yet.

        Returns:
            The order written; None where there was one already or the kill switch is on.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: It could not be written, so it is not in force.
        """
        start = self._start_of(self._clock())
        name = order_id(start)
        if self._killed() or self.orders.get(name) is not None:
            return None
        proposed = self._propose(start)
        with self._store.writing() as connection:
            if self.orders.knows(connection, name):  # another process was faster
                return None
            proposed.write(connection)
            return self.orders.place(connection, name, proposed.payload, proposed.end, self._clock())

    def send(self) -> list[Order]:
        """Send, look up or give up what is due; while the kill switch is on, only look up what was perhaps sent."""
        return self.orders.send_due(self._clock, lambda: not self._killed())

    def reconcile(self) -> list[str]:
        """Look up everything that may be in force: at start, and whenever somebody doubts.

        Returns:
            Ids of orders that the market confirmed and now does not know; each is audited, and a person has to look,
            because sending it again could double it.

        Raises:
            Exception: Whatever the market raises.
        """
        self.send()
        now, denied = self._clock(), []
        for order in self.orders.newest(MOST_CONFIRMED):
            if order.state is not State.ACCEPTED or order.closes_at <= now:
                continue
            if self._market.find(order.client_order_id, json.loads(order.payload)) is None:
                denied.append(order.client_order_id)
        if denied:
            logger.error("the market confirmed %s and now does not know them: ask it", ", ".join(denied))
            with self._store.writing() as connection:
                self._audit.append(connection, "orders_denied", {"client_order_ids": denied}, now)
        return denied


def order_id(start: datetime) -> str:
    """The one id of the order for a step; the same step never gets another."""
    return f"dispatch-{start:%Y%m%dT%H%MZ}"
