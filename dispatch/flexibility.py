"""Turn-down for sale: offers, what is ordered of them, and the one rule that no kilowatt is promised twice.

Neutral of any wire format. An order takes power out of one offer when it is confirmed and gives it back when it is
cancelled; both happen in writing transactions of the store, which take turns, so that any number of buyers who confirm
at once never get more than is on offer.
"""

import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from dispatch.audit import Audit
from dispatch.store import TABLES, Instant

QUOTE_LASTS: Final = timedelta(minutes=10)
GATE_CLOSURE: Final = timedelta(hours=1)  # a cancellation later than this before the start leaves no time to resell
SMALLEST_KW: Final = 0.001  # less than a watt is nothing


class OrderState(StrEnum):
    """How far an order has come; power is reserved from CONFIRMED on, until it is cancelled."""

    QUOTED = "quoted"
    CONFIRMED = "confirmed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


RESERVING: Final = (OrderState.CONFIRMED, OrderState.COMPLETED)

offer_table: Final = sa.Table(
    "flex_offer",
    TABLES,
    sa.Column("offer_id", sa.String(128), primary_key=True),
    sa.Column("cluster_id", sa.String(128), nullable=False),
    sa.Column("power_kw", sa.Float, nullable=False),
    sa.Column("start", Instant, nullable=False, index=True),
    sa.Column("end", Instant, nullable=False),
    sa.Column("price_gbp_per_mwh", sa.Float, nullable=False),
    sa.Column("carbon_cap_g_per_kwh", sa.Float, nullable=True),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("withdrawn", sa.Boolean, nullable=False),
    sa.Column("baseline", sa.String(32), nullable=False),
    sa.Column("payment", sa.String(32), nullable=False),
)
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
OFFER: Final = sa.select(offer_table).where(offer_table.c.offer_id == sa.bindparam("offer"))
ORDER: Final = sa.select(order_table).where(order_table.c.order_id == sa.bindparam("named"))
RESERVED: Final = sa.select(sa.func.coalesce(sa.func.sum(order_table.c.power_kw), 0.0)).where(
    order_table.c.offer_id == sa.bindparam("offer"), order_table.c.state.in_(RESERVING)
)
INSERT: Final = sa.insert(order_table)
UPDATE: Final = sa.update(order_table).where(order_table.c.order_id == sa.bindparam("named"))


class Offer(NamedTuple):
    """Power that can be turned down in a window, at a price.

    Attributes:
        offer_id: Its name.
        cluster_id: Whose load it is.
        power_kw: How much can be turned down throughout the window.
        start: Start of the window.
        end: End of the window.
        price_gbp_per_mwh: For every MWh turned down.
        carbon_cap_g_per_kwh: Carbon intensity up to which the load would have run; None where it does not matter.
        expires_at: When it can no longer be ordered.
        withdrawn: Whether it was taken back; what was ordered of it stays ordered.
        baseline: Name of the method of `dispatch.baseline` that says what would have been drawn.
        payment: Name of the rule of `dispatch.payment` that says what delivery earns.
    """

    offer_id: str
    cluster_id: str
    power_kw: float
    start: datetime
    end: datetime
    price_gbp_per_mwh: float
    carbon_cap_g_per_kwh: float | None
    expires_at: datetime
    withdrawn: bool = False
    baseline: str = "10_of_10"
    payment: str = "delivered"


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


class NotAvailable(Exception):
    """What was asked cannot be had; `reason` says which kind of no it is."""

    def __init__(self, reason: "Reason", text: str) -> None:
        """Say no."""
        super().__init__(text)
        self.reason = reason


class Reason(StrEnum):
    """Kinds of no."""

    UNKNOWN_OFFER = "unknown offer"
    UNKNOWN_ORDER = "unknown order"
    GONE = "power no longer available"
    QUOTE_EXPIRED = "quote expired"
    TOO_LATE = "too late"
    STATE = "not possible in this state"


def publish(connection: sa.Connection, audit: Audit, offers: Iterable[Offer], at: datetime) -> None:
    """Put offers up for sale, in place of all before; an offer of which something is ordered keeps its terms.

    The same offers again change nothing.

    Args:
        connection: A writing transaction of the store.
        audit: Records it.
        offers: What is for sale from now on.
        at: Now.

    Raises:
        ValueError: An offer has no power, no window, or a price that is no number.
    """
    fresh = {offer.offer_id: _checked(offer) for offer in offers}
    # Of many offers at once, as a search may ask for: a handful of statements, however many there are.
    rows = connection.execute(
        sa.select(offer_table).where(offer_table.c.offer_id.in_(fresh) | ~offer_table.c.withdrawn)
    )
    known = {row.offer_id: _offer(row) for row in rows}
    kept = _all_reserved_kw(connection, at).keys() & known.keys()
    wanted = {name: known[name]._replace(withdrawn=False) if name in kept else fresh[name] for name in fresh}
    if wanted == {name: offer for name, offer in known.items() if not offer.withdrawn}:
        return
    changed = [name for name, offer in wanted.items() if known.get(name) != offer]
    connection.execute(sa.update(offer_table).where(~offer_table.c.withdrawn).values(withdrawn=True))
    connection.execute(sa.update(offer_table).where(offer_table.c.offer_id.in_(wanted)).values(withdrawn=False))
    anew = [wanted[name]._asdict() for name in changed if name not in known]
    if anew:
        connection.execute(sa.insert(offer_table), anew)
    for name in changed:
        if name in known and name not in kept:
            connection.execute(
                sa.update(offer_table).where(offer_table.c.offer_id == name).values(wanted[name]._asdict())
            )
    audit.append(connection, "offers_published", {"offers": [_said(offer) for offer in wanted.values()]}, at)


def on_sale(connection: sa.Connection, at: datetime) -> list[Offer]:
    """Every offer that can be ordered now, with the power that is left of it, in order of its start."""
    query = sa.select(offer_table).where(~offer_table.c.withdrawn, offer_table.c.expires_at > at)
    reserved = _all_reserved_kw(connection, at)
    offers = [_offer(row) for row in connection.execute(query.order_by(offer_table.c.start, offer_table.c.offer_id))]
    left = [offer._replace(power_kw=offer.power_kw - reserved.get(offer.offer_id, 0.0)) for offer in offers]
    return [offer for offer in left if offer.power_kw >= SMALLEST_KW]


def sold(connection: sa.Connection, since: datetime) -> list[Offer]:
    """Every offer of which something is promised to a buyer in a window that ends after an instant, by name."""
    promised = sa.select(order_table.c.offer_id).where(order_table.c.state.in_(RESERVING), order_table.c.end > since)
    query = sa.select(offer_table).where(offer_table.c.offer_id.in_(promised))
    return [_offer(row) for row in connection.execute(query.order_by(offer_table.c.offer_id))]


def reserved_kw(connection: sa.Connection, offer_id: str) -> float:
    """Power of an offer that is promised to buyers."""
    return float(connection.execute(RESERVED, {"offer": offer_id}).scalar_one())


def quote(
    connection: sa.Connection,
    audit: Audit,
    order_id: str,
    buyer_id: str,
    reference: str,
    offer_id: str,
    power_kw: float | None,
    at: datetime,
) -> FlexOrder:
    """Give a buyer the terms of an offer; nothing is reserved by it.

    Args:
        connection: A writing transaction of the store.
        audit: Records it.
        order_id: Our name for the order to be; quoting it again renews the quote.
        buyer_id: Who asks.
        reference: The buyer's name for the dealing.
        offer_id: What it would take from.
        power_kw: How much; None for all that is left.
        at: Now.

    Returns:
        The order, QUOTED.

    Raises:
        NotAvailable: No such offer, less left than asked for, or the order is beyond quoting.
    """
    offer = _on_sale(connection, offer_id, at)
    left_kw = offer.power_kw - reserved_kw(connection, offer_id)
    wanted_kw = left_kw if power_kw is None else power_kw
    if not SMALLEST_KW <= wanted_kw <= left_kw + SMALLEST_KW / 2.0:
        raise NotAvailable(Reason.GONE, f"{wanted_kw:g} kW of offer {offer_id!r}; {max(left_kw, 0.0):g} kW are left")
    known = find(connection, order_id)
    if known is not None and known.state is not OrderState.QUOTED:
        raise NotAvailable(Reason.STATE, f"order {order_id} is {known.state.value}; start another dealing")
    order = FlexOrder(
        order_id,
        buyer_id,
        reference,
        offer_id,
        min(wanted_kw, left_kw),
        offer.price_gbp_per_mwh,
        offer.start,
        offer.end,
        OrderState.QUOTED,
        at,
        at,
        offer.cluster_id,
        offer.baseline,
        offer.payment,
    )
    if known is None:
        connection.execute(INSERT, order._asdict())
    else:
        _store(connection, order)
    audit.append(connection, "flexibility_quoted", _said(order), at)
    return order


def confirm(connection: sa.Connection, audit: Audit, order_id: str, at: datetime) -> FlexOrder:
    """Promise the power of a quoted order to its buyer; again, if it is already promised, changes nothing.

    Raises:
        NotAvailable: No such order, its quote has expired, or somebody else was faster.
    """
    order = get(connection, order_id)
    if order.state in RESERVING:
        return order
    if order.state is not OrderState.QUOTED:
        raise NotAvailable(Reason.STATE, f"order {order_id} is {order.state.value} and cannot be confirmed")
    if at > order.quoted_at + QUOTE_LASTS:
        raise NotAvailable(Reason.QUOTE_EXPIRED, f"the quote of order {order_id} has expired; ask for a new one")
    offer = _on_sale(connection, order.offer_id, at)
    if (offer.start, offer.end) != (order.start, order.end):
        raise NotAvailable(Reason.QUOTE_EXPIRED, f"offer {order.offer_id!r} has moved since; ask for a new quote")
    left_kw = offer.power_kw - reserved_kw(connection, order.offer_id)
    if order.power_kw > left_kw + SMALLEST_KW / 2.0:
        raise NotAvailable(
            Reason.GONE, f"{order.power_kw:g} kW of offer {order.offer_id!r}; {max(left_kw, 0.0):g} kW are left"
        )
    return _change(connection, audit, order, OrderState.CONFIRMED, at)


def cancel(connection: sa.Connection, audit: Audit, order_id: str, at: datetime) -> FlexOrder:
    """Take an order back and put its power up for sale again; again, if it is already cancelled, changes nothing.

    Raises:
        NotAvailable: No such order, it is carried out, or its delivery begins within the hour.
    """
    order = get(connection, order_id)
    if order.state is OrderState.CANCELLED:
        return order
    if order.state is OrderState.COMPLETED:
        raise NotAvailable(Reason.STATE, f"order {order_id} is {order.state.value} and cannot be cancelled")
    if order.state is OrderState.CONFIRMED and at > order.start - GATE_CLOSURE:
        raise NotAvailable(Reason.TOO_LATE, f"delivery of order {order_id} begins within an hour of {at.isoformat()}")
    return _change(connection, audit, order, OrderState.CANCELLED, at)


def complete(connection: sa.Connection, audit: Audit, order_id: str, at: datetime) -> FlexOrder:
    """Note that the window of a confirmed order is over; what was delivered is for settlement to say.

    Raises:
        NotAvailable: No such order, it is not confirmed, or its window is not over.
    """
    order = get(connection, order_id)
    if order.state is OrderState.COMPLETED:
        return order
    if order.state is not OrderState.CONFIRMED or at < order.end:
        raise NotAvailable(Reason.STATE, f"order {order_id} is {order.state.value} until {order.end.isoformat()}")
    return _change(connection, audit, order, OrderState.COMPLETED, at)


def get(connection: sa.Connection, order_id: str) -> FlexOrder:
    """One order.

    Raises:
        NotAvailable: There is none of that name.
    """
    order = find(connection, order_id)
    if order is None:
        raise NotAvailable(Reason.UNKNOWN_ORDER, f"there is no order {order_id!r}")
    return order


def find(connection: sa.Connection, order_id: str) -> FlexOrder | None:
    """One order, None where there is none of that name."""
    row = connection.execute(ORDER, {"named": order_id}).first()
    return None if row is None else _order(row)


def orders(connection: sa.Connection, states: Iterable[OrderState] = tuple(OrderState)) -> list[FlexOrder]:
    """Every order in one of some states, in order of delivery."""
    query = sa.select(order_table).where(order_table.c.state.in_([state.value for state in states]))
    return [_order(row) for row in connection.execute(query.order_by(order_table.c.start, order_table.c.order_id))]


def _on_sale(connection: sa.Connection, offer_id: str, at: datetime) -> Offer:
    row = connection.execute(OFFER, {"offer": offer_id}).first()
    if row is None:
        raise NotAvailable(Reason.UNKNOWN_OFFER, f"there is no offer {offer_id!r}")
    offer = _offer(row)
    if offer.expires_at <= at:
        text = f"offer {offer_id!r} could be ordered until {offer.expires_at.isoformat()}; search for others"
        raise NotAvailable(Reason.QUOTE_EXPIRED, text)
    if offer.withdrawn:
        raise NotAvailable(Reason.GONE, f"offer {offer_id!r} is no longer for sale")
    return offer


def _all_reserved_kw(connection: sa.Connection, at: datetime) -> dict[str, float]:
    """What is promised of each offer whose window is not over."""
    query = sa.select(order_table.c.offer_id, sa.func.sum(order_table.c.power_kw))
    promised = query.where(order_table.c.state.in_(RESERVING), order_table.c.end > at)
    rows = connection.execute(promised.group_by(order_table.c.offer_id))
    return {offer_id: float(power_kw) for offer_id, power_kw in rows}


def _change(connection: sa.Connection, audit: Audit, order: FlexOrder, state: OrderState, at: datetime) -> FlexOrder:
    order = order._replace(state=state, changed_at=at)
    _store(connection, order)
    audit.append(connection, f"flexibility_{state.value}", _said(order), at)
    return order


def _store(connection: sa.Connection, order: FlexOrder) -> None:
    connection.execute(UPDATE, {"named": order.order_id, **order._asdict()})


def _offer(row: sa.Row[Any]) -> Offer:
    return Offer(**row._mapping)


def _order(row: sa.Row[Any]) -> FlexOrder:
    return FlexOrder(**{**row._mapping, "state": OrderState(row.state)})


def order_of(said: dict[str, Any]) -> FlexOrder:
    """An order from what the audit log says of it."""
    at = {name: datetime.fromisoformat(said[name]) for name in ("start", "end", "quoted_at", "changed_at")}
    return FlexOrder(**{**said, **at, "state": OrderState(said["state"])})


def _said(record: Offer | FlexOrder) -> dict[str, Any]:
    """Plain JSON of a record, instants as text."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in record._asdict().items()
    }


def _checked(offer: Offer) -> Offer:
    if not SMALLEST_KW <= offer.power_kw < math.inf:
        raise ValueError(f"offer {offer.offer_id!r} has {offer.power_kw} kW; it must be finite and above 0")
    if not offer.start < offer.end:
        raise ValueError(f"offer {offer.offer_id!r} ends {offer.end} and starts {offer.start}; it must end later")
    if not math.isfinite(offer.price_gbp_per_mwh):
        raise ValueError(f"offer {offer.offer_id!r} has the price {offer.price_gbp_per_mwh}; it must be a number")
    return offer
