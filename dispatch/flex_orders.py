"""Turn-down that buyers asked for: what an order says, how far it has come, and what it reserves."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from dispatch.store import TABLES, Instant


class OrderState(StrEnum):
    """How far an order has come; power is reserved from CONFIRMED on, until it is cancelled."""

    QUOTED = "quoted"
    CONFIRMED = "confirmed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


RESERVING: Final = (OrderState.CONFIRMED, OrderState.COMPLETED)

order_table: Final = sa.Table(
    "flex_order",
    TABLES,
    sa.Column("order_id", sa.String(64), primary_key=True),
    sa.Column("buyer_id", sa.String(255), nullable=False, index=True),
    sa.Column("reference", sa.String(255), nullable=False, index=True),
    sa.Column("offer_id", sa.String(128), sa.ForeignKey("flex_offer.offer_id"), nullable=False, index=True),
    sa.Column("power_kw", sa.Float, nullable=False),
    sa.Column("price_gbp_per_mwh", sa.Float, nullable=False),
    sa.Column("start", Instant, nullable=False, index=True),
    sa.Column("end", Instant, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("quoted_at", Instant, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Column("cluster_id", sa.String(128), nullable=False, index=True),
    sa.Column("baseline", sa.String(32), nullable=False),
    sa.Column("payment", sa.String(32), nullable=False),
)
# Made once: putting a statement together costs as much as carrying it out.
ORDER: Final = sa.select(order_table).where(order_table.c.order_id == sa.bindparam("named"))
RESERVED: Final = sa.select(sa.func.coalesce(sa.func.sum(order_table.c.power_kw), 0.0)).where(
    order_table.c.offer_id == sa.bindparam("offer"), order_table.c.state.in_(RESERVING)
)
INSERT: Final = sa.insert(order_table)
UPDATE: Final = sa.update(order_table).where(order_table.c.order_id == sa.bindparam("named"))


class FlexOrder(NamedTuple):
    """What a buyer asked for; terms are those of the offer when it was quoted.

    Attributes:
        order_id: Our name for it.
        buyer_id: Who buys.
        reference: The buyer's name for the dealing, such as a transaction id.
        offer_id: What it takes from.
        power_kw: How much.
        price_gbp_per_mwh: At what price.
        start: Start of delivery.
        end: End of delivery.
        state: How far it has come.
        quoted_at: When its terms were given.
        changed_at: When it last changed.
        cluster_id: Whose load it is.
        baseline: How delivery is measured; see `Offer`.
        payment: What it earns; see `Offer`.
    """

    order_id: str
    buyer_id: str
    reference: str
    offer_id: str
    power_kw: float
    price_gbp_per_mwh: float
    start: datetime
    end: datetime
    state: OrderState
    quoted_at: datetime
    changed_at: datetime
    cluster_id: str
    baseline: str
    payment: str

    @property
    def energy_mwh(self) -> float:
        """Energy to be turned down."""
        return self.power_kw / 1000.0 * ((self.end - self.start) / timedelta(hours=1))

    @property
    def value_gbp(self) -> float:
        """What full delivery is worth."""
        return self.energy_mwh * self.price_gbp_per_mwh


def find(connection: sa.Connection, order_id: str) -> FlexOrder | None:
    """One order, None where there is none of that name."""
    row = connection.execute(ORDER, {"named": order_id}).first()
    return None if row is None else _order(row)


def orders(connection: sa.Connection, states: Iterable[OrderState] = tuple(OrderState)) -> list[FlexOrder]:
    """Every order in one of some states, in order of delivery."""
    query = sa.select(order_table).where(order_table.c.state.in_([state.value for state in states]))
    return [_order(row) for row in connection.execute(query.order_by(order_table.c.start, order_table.c.order_id))]


def reserved_kw(connection: sa.Connection, offer_id: str) -> float:
    """Power of an offer that is promised to buyers."""
    return float(connection.execute(RESERVED, {"offer": offer_id}).scalar_one())


def all_reserved_kw(connection: sa.Connection, at: datetime) -> dict[str, float]:
    """What is promised of each offer whose window is not over."""
    query = sa.select(order_table.c.offer_id, sa.func.sum(order_table.c.power_kw))
    promised = query.where(order_table.c.state.in_(RESERVING), order_table.c.end > at)
    rows = connection.execute(promised.group_by(order_table.c.offer_id))
    return {offer_id: float(power_kw) for offer_id, power_kw in rows}


def write(connection: sa.Connection, order: FlexOrder) -> None:
    """Keep a new order."""
    connection.execute(INSERT, order._asdict())


def rewrite(connection: sa.Connection, order: FlexOrder) -> None:
    """Keep an order in place of what it was."""
    connection.execute(UPDATE, {"named": order.order_id, **order._asdict()})


def order_of(said: dict[str, Any]) -> FlexOrder:
    """An order from what the audit log says of it."""
    at = {name: datetime.fromisoformat(said[name]) for name in ("start", "end", "quoted_at", "changed_at")}
    return FlexOrder(**{**said, **at, "state": OrderState(said["state"])})


def _order(row: sa.Row[Any]) -> FlexOrder:
    return FlexOrder(**{**row._mapping, "state": OrderState(row.state)})
