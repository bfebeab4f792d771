"""What each verb does: from a believed message to what its callback says."""

import json
import logging
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import rfc8785
import sqlalchemy as sa

from dispatch import books, flex_offers, flex_orders, flexibility
from dispatch.audit import Audit
from dispatch.flex_offers import Offer
from dispatch.flex_orders import FlexOrder, OrderState
from dispatch.flexibility import NotAvailable, Reason
from dispatch.store import TABLES
from server.beckn import v0_9_4, v1_1_0
from server.beckn.context import Context, Dialect
from server.beckn.dialect import Asked, Codec, Delivery, Shop, Sold, Wanted, part, text_at, wrong
from server.beckn.wire import Code, Kind, Problem

logger = logging.getLogger(__name__)

VERBS: Final = ("search", "select", "init", "confirm", "status", "update", "cancel", "track", "support", "rating")
CATALOG_LASTS: Final = timedelta(hours=1)
DEALINGS: Final = uuid.UUID("5f3a54de-6f0c-4b39-9d0e-5d2f4c2f6f0a")  # names our orders by the buyer's dealing
UPDATABLE: Final = ("item", "billing")
BEST_RATING: Final = 5.0

CODECS: Final[dict[Dialect, Codec]] = {Dialect.V0_9_4: v0_9_4, Dialect.V1_1_0: v1_1_0}
NO: Final = {
    Reason.UNKNOWN_OFFER: (Kind.DOMAIN, Code.ITEM_NOT_FOUND),
    Reason.UNKNOWN_ORDER: (Kind.DOMAIN, Code.ORDER_NOT_FOUND),
    Reason.GONE: (Kind.DOMAIN, Code.QUANTITY_UNAVAILABLE),
    Reason.QUOTE_EXPIRED: (Kind.DOMAIN, Code.QUOTE_UNAVAILABLE),
    Reason.TOO_LATE: (Kind.POLICY, Code.CANCELLATION_NOT_POSSIBLE),
    Reason.STATE: (Kind.DOMAIN, Code.NOT_APPLICABLE),
}

billing_table: Final = sa.Table(
    "beckn_billing",
    TABLES,
    sa.Column("order_id", sa.String(64), sa.ForeignKey("flex_order.order_id"), primary_key=True),
    sa.Column("billing", sa.Text, nullable=False),
)
# Made once: putting a statement together costs as much as carrying it out.
BILLING: Final = sa.select(billing_table.c.billing).where(billing_table.c.order_id == sa.bindparam("named"))
FORGET: Final = sa.delete(billing_table).where(billing_table.c.order_id == sa.bindparam("named"))
KEEP: Final = sa.insert(billing_table)


class Provider:
    """The dealing side of the endpoint; knows bodies and orders, nothing of HTTP."""

    def __init__(self, audit: Audit, shop: Shop) -> None:
        """Put the parts together.

        Args:
            audit: Records what is agreed.
            shop: Who we are.
        """
        self._audit, self._shop = audit, shop

    def answer(
        self, connection: sa.Connection, context: Context, message: Mapping[str, Any], at: datetime
    ) -> dict[str, Any]:
        """Act on a message and say what its callback carries; on a no, nothing of it is kept.

        Args:
            connection: A writing transaction of the store.
            context: Of the message.
            message: Its body.
            at: Now.

        Returns:
            The callback without its context: `{"message": ...}` or `{"error": ...}`.
        """
        codec = CODECS[context.dialect]
        try:
            with connection.begin_nested():
                return {"message": self._act(connection, codec, context, dict(message), at)}
        except Problem as problem:
            return {"error": codec.error(problem)}
        except NotAvailable as refusal:
            kind, code = NO[refusal.reason]
            return {"error": codec.error(Problem(kind, code, str(refusal)))}
        except (sa.exc.OperationalError, sa.exc.InterfaceError):
            raise  # the database is away or busy: the message is acted on when it is back
        except Exception:  # tried for ever it would keep the messages after it waiting
            logger.exception("acting on a %s failed, and its sender is told", context.action)
            return {"error": codec.error(Problem(Kind.CORE, Code.BUSINESS, "it failed for a fault of ours; tell us"))}

    def _act(
        self, connection: sa.Connection, codec: Codec, context: Context, message: dict[str, Any], at: datetime
    ) -> dict[str, Any]:
        match context.action:
            case "search":
                wanted = codec.wanted(message)
                found = [offer for offer in flex_offers.on_sale(connection, at) if _fits(offer, wanted)]
                return codec.catalog(self._shop, found, at + CATALOG_LASTS)
            case "select" | "init":
                order = self._quote(connection, codec.asked(message), context, at)
            case "confirm":
                order = self._confirm(connection, codec.asked(message), context, at)
            case "status":
                order = _own(connection, context, _order_id(message))
            case "cancel":
                order = _own(connection, context, _order_id(message))
                order = flexibility.cancel(connection, self._audit, order.order_id, at)
            case "update":
                order = self._update(connection, codec, context, message, at)
            case "track":
                order = _own(connection, context, _order_id(message))
                active = order.state is OrderState.CONFIRMED and order.start <= at < order.end
                return {"tracking": {"url": self._shop.url, "status": "active" if active else "inactive"}}
            case "support":
                reference = part(message, "ref_id") or part(message, "support", "ref_id")
                order = _own(connection, context, text_at(reference, "message.ref_id") or _dealing(context))
                return codec.support(self._shop, order.order_id)
            case _:
                return self._rate(connection, context, message, at)
        return codec.order(self._shop, self._sold(connection, order))

    def _quote(self, connection: sa.Connection, asked: Asked, context: Context, at: datetime) -> FlexOrder:
        order_id = asked.order_id or _dealing(context)
        if asked.order_id is not None:
            _own(connection, context, order_id)
        known = flex_orders.find(connection, order_id)
        offer_id = asked.offer_id or (known.offer_id if known else None)
        if offer_id is None:
            raise wrong("message.order.items", "name the offer to order")
        # An init without a quantity means what was selected.
        same = known is not None and known.offer_id == offer_id and asked.power_kw is None
        power_kw = known.power_kw if known is not None and same else asked.power_kw
        order = flexibility.quote(
            connection, self._audit, order_id, context.bap_id, context.transaction_id, offer_id, power_kw, at
        )
        _keep_billing(connection, order_id, asked.billing)
        return order

    def _confirm(self, connection: sa.Connection, asked: Asked, context: Context, at: datetime) -> FlexOrder:
        order_id = asked.order_id or _dealing(context)
        known = flex_orders.find(connection, order_id)
        if known is None and asked.order_id is None:
            order_id = self._quote(connection, asked, context, at).order_id
        order = _own(connection, context, order_id)
        if asked.offer_id not in (None, order.offer_id):
            raise wrong("message.order.items[0].id", f"order {order_id} is for offer {order.offer_id!r}; select anew")
        if asked.power_kw is not None and abs(asked.power_kw - order.power_kw) > flex_offers.SMALLEST_KW:
            raise wrong("message.order.items[0].quantity", f"{order.power_kw:g} kW were quoted; select anew")
        _keep_billing(connection, order_id, asked.billing)
        return flexibility.confirm(connection, self._audit, order_id, at)

    def _update(
        self, connection: sa.Connection, codec: Codec, context: Context, message: dict[str, Any], at: datetime
    ) -> FlexOrder:
        targets = [name.strip() for name in str(message.get("update_target", "")).split(",")]
        unknown = [name for name in targets if name not in UPDATABLE]
        if unknown:
            text = f"update_target {unknown[0][:40]!r}; allowed are {', '.join(UPDATABLE)}"
            raise Problem(Kind.DOMAIN, Code.INVALID_UPDATE_TARGET, text, "message.update_target")
        asked = codec.asked(message)
        order = _own(connection, context, asked.order_id or _dealing(context))
        changed = {
            "item": asked.offer_id not in (None, order.offer_id) or asked.power_kw not in (None, order.power_kw),
            "billing": asked.billing is not None and asked.billing != _billing(connection, order.order_id),
        }
        outside = [name for name, differs in changed.items() if differs and name not in targets]
        if outside:
            text = f"{outside[0]} is changed but update_target names {', '.join(targets)}"
            raise Problem(Kind.DOMAIN, Code.UPDATE_INCONSISTENT, text, "message.update_target")
        if changed["item"]:
            raise Problem(
                Kind.POLICY,
                Code.UPDATE_NOT_POSSIBLE,
                "power and offer of an order cannot be changed; cancel it and select anew",
                "message.order.items",
            )
        _keep_billing(connection, order.order_id, asked.billing)
        return order

    def _rate(
        self, connection: sa.Connection, context: Context, message: dict[str, Any], at: datetime
    ) -> dict[str, Any]:
        ratings = message.get("ratings")
        rating = ratings[0] if isinstance(ratings, list) and ratings else message
        order = _own(connection, context, text_at(part(rating, "id"), "message.id") or _dealing(context))
        value = part(rating, "value")
        try:
            stars = float(value) if not isinstance(value, bool) else -1.0
        except (TypeError, ValueError, OverflowError):
            stars = -1.0
        if not 0.0 <= stars <= BEST_RATING:
            text = f"a rating is a number from 0 to {BEST_RATING:g}; {str(value)[:40]!r} came"
            raise Problem(Kind.DOMAIN, Code.INVALID_RATING, text, "message.value")
        self._audit.append(connection, "flexibility_rated", {"order_id": order.order_id, "value": stars}, at)
        return {"feedback_ack": True, "rating_ack": True}

    def _sold(self, connection: sa.Connection, order: FlexOrder) -> Sold:
        return Sold(order, _billing(connection, order.order_id), _delivery(connection, order.order_id))


def _delivery(connection: sa.Connection, order_id: str) -> Delivery | None:
    made = books.statements(connection, order_id)
    if not made:
        return None
    said = made[-1].statement
    payable = Decimal(said["payable_gbp"])
    paid = said["status"] == "settled" and books.received_gbp(connection, order_id) >= payable
    return Delivery(said["status"], said["delivered_mwh"], said["shortfall_mwh"], said["payable_gbp"], paid)


def _fits(offer: Offer, wanted: Wanted) -> bool:
    return (
        (wanted.start is None or offer.start >= wanted.start)
        and (wanted.end is None or offer.end <= wanted.end)
        and (wanted.power_kw is None or offer.power_kw >= wanted.power_kw)
        and (wanted.duration_hours is None or offer.end - offer.start >= timedelta(hours=wanted.duration_hours))
        and (wanted.cluster_id is None or offer.cluster_id == wanted.cluster_id)
    )


def _dealing(context: Context) -> str:
    """Our name for the order of a buyer's dealing: the same dealing is the same order."""
    return str(uuid.uuid5(DEALINGS, f"{context.bap_id} {context.transaction_id}"))


def _own(connection: sa.Connection, context: Context, order_id: str) -> FlexOrder:
    """An order of this buyer; another buyer's is as unknown as none."""
    order = flex_orders.find(connection, order_id)
    if order is None or order.buyer_id != context.bap_id:
        raise NotAvailable(Reason.UNKNOWN_ORDER, f"{context.bap_id} has no order {order_id[:80]!r}")
    return order


def _order_id(message: dict[str, Any]) -> str:
    order_id = text_at(message.get("order_id"), "message.order_id")
    if order_id is None:
        raise wrong("message.order_id", "it is missing")
    return order_id


def _billing(connection: sa.Connection, order_id: str) -> dict[str, Any]:
    return json.loads(connection.execute(BILLING, {"named": order_id}).scalar() or "{}")


def _keep_billing(connection: sa.Connection, order_id: str, billing: dict[str, Any] | None) -> None:
    if billing is None:
        return
    connection.execute(FORGET, {"named": order_id})
    connection.execute(KEEP, {"order_id": order_id, "billing": rfc8785.dumps(billing).decode()})
