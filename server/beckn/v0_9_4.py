"""Bodies of Beckn core 0.9.4: `bpp/providers`, tags as an object of texts, one fulfilment with a start and an end."""

from datetime import datetime, timedelta
from typing import Any

from dispatch.flex_offers import Offer
from dispatch.flex_orders import FlexOrder, OrderState
from dispatch.flexibility import QUOTE_LASTS
from server.beckn.context import instant, iso
from server.beckn.dialect import (
    FULFILMENT,
    PRICE_UNIT,
    Asked,
    Shop,
    Sold,
    Wanted,
    decimal,
    number,
    part,
    text_at,
    wrong,
)
from server.beckn.wire import Problem
from server.beckn.wire import error as write_error

STATES = {
    OrderState.QUOTED: ("QUOTED", "PENDING"),
    OrderState.CONFIRMED: ("CONFIRMED", "SCHEDULED"),
    OrderState.COMPLETED: ("COMPLETED", "DELIVERED"),
    OrderState.CANCELLED: ("CANCELLED", "CANCELLED"),
}


def wanted(message: dict[str, Any]) -> Wanted:
    """What a search looks for; see `server.beckn.dialect.Codec`."""
    intent = message.get("intent") or {}
    tags = part(intent, "tags") or part(intent, "fulfillment", "tags") or part(intent, "item", "tags")
    window = part(intent, "fulfillment", "start", "time", "range")
    return Wanted(
        moment(part(window, "start"), "message.intent.fulfillment.start.time.range.start"),
        moment(part(window, "end"), "message.intent.fulfillment.start.time.range.end"),
        number(part(tags, "power_kw"), "message.intent.tags.power_kw"),
        number(part(tags, "duration_hours"), "message.intent.tags.duration_hours"),
        text_at(part(tags, "cluster_id"), "message.intent.tags.cluster_id"),
    )


def asked(message: dict[str, Any]) -> Asked:
    """What an order message asks for; see `server.beckn.dialect.Codec`."""
    order = message.get("order")
    if not isinstance(order, dict):
        raise wrong("message.order", "it is missing")
    item = one_item(order)
    return Asked(
        text_at(order.get("id"), "message.order.id"),
        text_at(part(item, "id"), "message.order.items[0].id"),
        power_kw(part(item, "quantity", "measure")),
        billing(order),
    )


def catalog(shop: Shop, offers: list[Offer], expires: datetime) -> dict[str, Any]:
    """The message of `on_search`; see `server.beckn.dialect.Codec`."""
    provider = {
        "id": shop.provider_id,
        "descriptor": {"name": shop.provider_name},
        "fulfillments": [_fulfilment(offer.offer_id, offer.start, offer.end) for offer in offers],
        "items": [_item(offer) for offer in offers],
        "exp": iso(expires),
    }
    found = {
        "bpp/descriptor": {"name": shop.name},
        "bpp/providers": [provider] if offers else [],
        "exp": iso(expires),
    }
    return {"catalog": found}


def order(shop: Shop, sold: Sold) -> dict[str, Any]:
    """The message of every callback about an order; see `server.beckn.dialect.Codec`."""
    one = sold.order
    state, fulfilment_state = STATES[one.state]
    fulfilment = _fulfilment(one.order_id, one.start, one.end)
    fulfilment["state"] = {"descriptor": {"code": fulfilment_state}, "updated_at": iso(one.changed_at)}
    if sold.delivery is not None:
        fulfilment["tags"] = {
            "settlement_status": sold.delivery.status,
            "delivered_mwh": sold.delivery.delivered_mwh,
            "shortfall_mwh": sold.delivery.shortfall_mwh,
            "payable_gbp": sold.delivery.payable_gbp,
        }
    item = {
        "id": one.offer_id,
        "price": _price(one.price_gbp_per_mwh),
        "quantity": {"count": 1, "measure": {"value": round(one.power_kw, 3), "unit": "kW"}},
        "tags": _tags(one.cluster_id, one.power_kw, one.end - one.start),
    }
    said = {
        "id": one.order_id,
        "state": state,
        "provider": {"id": shop.provider_id},
        "items": [item],
        "fulfillment": fulfilment,
        "quote": quotation(one),
        "payment": {
            "type": "POST-FULFILLMENT",
            "status": "PAID" if sold.delivery is not None and sold.delivery.paid else "NOT-PAID",
            "params": {
                "amount": decimal(one.value_gbp, 2) if sold.delivery is None else sold.delivery.payable_gbp,
                "currency": "GBP",
            },
        },
        "created_at": iso(one.quoted_at),
        "updated_at": iso(one.changed_at),
    }
    return {"order": {**said, "billing": sold.billing} if sold.billing else said}


def support(shop: Shop, reference: str) -> dict[str, Any]:
    """The message of `on_support`; see `server.beckn.dialect.Codec`."""
    return {"phone": shop.phone, "email": shop.email, "uri": shop.url}


def error(problem: Problem) -> dict[str, Any]:
    """An error object; see `server.beckn.dialect.Codec`."""
    return write_error(problem)


def quotation(one: FlexOrder) -> dict[str, Any]:
    """Price of full delivery and how it comes about, in both dialects."""
    title = f"{decimal(one.energy_mwh, 3)} MWh @ {decimal(one.price_gbp_per_mwh, 2)} {PRICE_UNIT}"
    return {
        "price": _price(one.value_gbp),
        "breakup": [{"title": title, "price": _price(one.value_gbp)}],
        "ttl": f"PT{int(QUOTE_LASTS.total_seconds() // 60)}M",
    }


def one_item(order: dict[str, Any]) -> Any:
    """The only item of an order, None where it has none.

    Raises:
        Problem: There are several, or items is no list.
    """
    items = order.get("items", [])
    if not isinstance(items, list) or len(items) > 1:
        raise wrong("message.order.items", "order one offer at a time")
    return items[0] if items else None


def power_kw(measure: Any) -> float | None:
    """Power from a quantity's measure; None where none came.

    Raises:
        Problem: It is not in kW or no amount.
    """
    if measure is None:
        return None
    if part(measure, "unit") != "kW":
        raise wrong("message.order.items[0].quantity.measure.unit", f"it must be kW; {part(measure, 'unit')!r} came")
    return number(part(measure, "value"), "message.order.items[0].quantity.measure.value")


def billing(order: dict[str, Any]) -> dict[str, Any] | None:
    """Who pays, of which we keep what the schema needs; None where it did not come.

    Raises:
        Problem: It lacks a name or a phone number.
    """
    came = order.get("billing")
    if came is None:
        return None
    kept = {name: text_at(part(came, name), f"message.order.billing.{name}") for name in ("name", "phone", "email")}
    for name in ("name", "phone"):
        if kept[name] is None:
            raise wrong(f"message.order.billing.{name}", "it is missing; say whom to bill")
    return {name: value for name, value in kept.items() if value is not None}


def moment(text: Any, path: str) -> datetime | None:
    """An instant; None where none came.

    Raises:
        Problem: It is none.
    """
    if text_at(text, path) is None:
        return None
    try:
        return instant(text)
    except (ValueError, OverflowError) as problem:
        raise wrong(path, str(problem)) from problem


def _item(offer: Offer) -> dict[str, Any]:
    hours = (offer.end - offer.start) / timedelta(hours=1)
    name = f"{offer.power_kw:g} kW flexible compute ({hours:g}h window)"
    return {
        "id": offer.offer_id,
        "descriptor": {"name": name},
        "price": _price(offer.price_gbp_per_mwh),
        "fulfillment_id": offer.offer_id,
        "tags": _tags(offer.cluster_id, offer.power_kw, offer.end - offer.start),
    }


def _tags(cluster_id: str, power_kw: float, lasts: timedelta) -> dict[str, str]:
    # A price has no unit in any version of the schema, so that tags carry it.
    return {
        "cluster_id": cluster_id,
        "power_kw": decimal(power_kw, 3).rstrip("0").rstrip("."),
        "duration_hours": f"{lasts / timedelta(hours=1):g}",
        "price_unit": PRICE_UNIT,
    }


def _fulfilment(name: str, start: datetime, end: datetime) -> dict[str, Any]:
    return {
        "id": name,
        "type": FULFILMENT,
        "start": {"time": {"range": {"start": iso(start), "end": iso(end)}}},
    }


def _price(value: float) -> dict[str, str]:
    return {"currency": "GBP", "value": decimal(value, 2)}
