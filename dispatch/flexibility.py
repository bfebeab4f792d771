"""Dealing in turn-down: quotes, promises, and the one rule that no kilowatt is promised twice.

Neutral of any wire format. An order takes power out of one offer when it is confirmed and gives it back when it is
cancelled; both happen in writing transactions of the store, which take turns, so that any number of buyers who confirm
at once never get more than is on offer.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import sqlalchemy as sa

from data.calendar import GATE_CLOSURE
from dispatch import flex_offers
from dispatch.audit import Audit, plain
from dispatch.flex_offers import SMALLEST_KW, Offer
from dispatch.flex_orders import RESERVING, FlexOrder, OrderState, find, reserved_kw, rewrite, write

QUOTE_LASTS: Final = timedelta(minutes=10)


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
        write(connection, order)
    else:
        rewrite(connection, order)
    audit.append(connection, "flexibility_quoted", plain(order._asdict()), at)
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
    if order.state is OrderState.CONFIRMED and at > order.start - GATE_CLOSURE:  # no time to sell it again
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


def _on_sale(connection: sa.Connection, offer_id: str, at: datetime) -> Offer:
    offer = flex_offers.find(connection, offer_id)
    if offer is None:
        raise NotAvailable(Reason.UNKNOWN_OFFER, f"there is no offer {offer_id!r}")
    if offer.expires_at <= at:
        text = f"offer {offer_id!r} could be ordered until {offer.expires_at.isoformat()}; search for others"
        raise NotAvailable(Reason.QUOTE_EXPIRED, text)
    if offer.withdrawn:
        raise NotAvailable(Reason.GONE, f"offer {offer_id!r} is no longer for sale")
    return offer


def _change(connection: sa.Connection, audit: Audit, order: FlexOrder, state: OrderState, at: datetime) -> FlexOrder:
    order = order._replace(state=state, changed_at=at)
    rewrite(connection, order)
    audit.append(connection, f"flexibility_{state.value}", plain(order._asdict()), at)
    return order
