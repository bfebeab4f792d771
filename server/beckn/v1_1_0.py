"""Bodies of Beckn core 1.1.0: no prefixes, tags in groups, fulfilments with stops, quantities that are selected."""

from datetime import datetime
from typing import Any, Final

from dispatch.flex_offers import Offer
from dispatch.flex_orders import OrderState
from server.beckn import v0_9_4
from server.beckn.context import iso
from server.beckn.dialect import FULFILMENT, Asked, Shop, Sold, Wanted, decimal, number, part, text_at, wrong
from server.beckn.v0_9_4 import billing, moment, one_item, power_kw, quotation
from server.beckn.wire import Problem

WINDOW: Final = "flex-window"
SETTLEMENT: Final = "settlement"
STATES: Final = {
    OrderState.QUOTED: ("ACTIVE", "PENDING"),
    OrderState.CONFIRMED: ("ACTIVE", "SCHEDULED"),
    OrderState.COMPLETED: ("COMPLETE", "DELIVERED"),
    OrderState.CANCELLED: ("CANCELLED", "CANCELLED"),
}


def wanted(message: dict[str, Any]) -> Wanted:
    """What a search looks for; see `server.beckn.dialect.Codec`."""
    intent = message.get("intent") or {}
    fulfilment = part(intent, "fulfillment")
    tags = _read_tags(part(intent, "tags")) or _read_tags(part(fulfilment, "tags"))
    start = end = None
    for i, stop in enumerate(_list(part(fulfilment, "stops"), "message.intent.fulfillment.stops")):
        path = f"message.intent.fulfillment.stops[{i}].time"
        span = part(stop, "time", "range")
        at = moment(part(stop, "time", "timestamp"), f"{path}.timestamp")
        start = moment(part(span, "start"), f"{path}.range.start") or (at if part(stop, "type") == "start" else start)
        end = moment(part(span, "end"), f"{path}.range.end") or (at if part(stop, "type") == "end" else end)
    return Wanted(
        start,
        end,
        number(tags.get("power_kw"), "message.intent.tags.power_kw"),
        number(tags.get("duration_hours"), "message.intent.tags.duration_hours"),
        text_at(tags.get("cluster_id"), "message.intent.tags.cluster_id"),
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
        power_kw(part(item, "quantity", "selected", "measure")),
        billing(order),
    )


def catalog(shop: Shop, offers: list[Offer], expires: datetime) -> dict[str, Any]:
    """The message of `on_search`; see `server.beckn.dialect.Codec`."""
    older = v0_9_4.catalog(shop, offers, expires)["catalog"]
    provider = {
        "id": shop.provider_id,
        "descriptor": {"name": shop.provider_name},
        "fulfillments": [_fulfilment(offer.offer_id, offer.start, offer.end) for offer in offers],
        "items": [
            {
                "id": item["id"],
                "descriptor": item["descriptor"],
                "price": item["price"],
                "fulfillment_ids": [item["fulfillment_id"]],
                "tags": [_group(WINDOW, item["tags"])],
            }
            for item in (older["bpp/providers"][0]["items"] if offers else [])
        ],
        "exp": iso(expires),
    }
    return {
        "catalog": {"descriptor": {"name": shop.name}, "providers": [provider] if offers else [], "exp": iso(expires)}
    }


def order(shop: Shop, sold: Sold) -> dict[str, Any]:
    """The message of every callback about an order; see `server.beckn.dialect.Codec`."""
    one, older = sold.order, v0_9_4.order(shop, sold)["order"]
    status, fulfilment_state = STATES[one.state]
    fulfilment = _fulfilment(one.order_id, one.start, one.end)
    fulfilment["state"] = {"descriptor": {"code": fulfilment_state}, "updated_at": iso(one.changed_at)}
    if sold.delivery is not None:
        fulfilment["tags"] = [_group(SETTLEMENT, older["fulfillment"]["tags"])]
    item = older["items"][0]
    measure = {"value": decimal(one.power_kw, 3), "unit": "kW"}
    said = {
        "id": one.order_id,
        "status": status,
        "provider": {"id": shop.provider_id},
        "items": [
            {
                "id": item["id"],
                "price": item["price"],
                "quantity": {"selected": {"count": 1, "measure": measure}},
                "tags": [_group(WINDOW, item["tags"])],
            }
        ],
        "fulfillments": [fulfilment],
        "quote": quotation(one),
        "payments": [older["payment"]],
        "created_at": older["created_at"],
        "updated_at": older["updated_at"],
    }
    return {"order": {**said, "billing": sold.billing} if sold.billing else said}


def support(shop: Shop, reference: str) -> dict[str, Any]:
    """The message of `on_support`; see `server.beckn.dialect.Codec`."""
    return {"support": {"ref_id": reference, "phone": shop.phone, "email": shop.email, "url": shop.url}}


def error(problem: Problem) -> dict[str, Any]:
    """An error object; see `server.beckn.dialect.Codec`."""
    said = {"code": problem.code.value, "message": problem.text}
    return {**said, "paths": problem.path} if problem.path else said


def _fulfilment(name: str, start: datetime, end: datetime) -> dict[str, Any]:
    stops = [{"type": kind, "time": {"timestamp": iso(at)}} for kind, at in (("start", start), ("end", end))]
    return {"id": name, "type": FULFILMENT, "stops": stops}


def _group(code: str, tags: dict[str, str]) -> dict[str, Any]:
    return {
        "descriptor": {"code": code},
        "list": [{"descriptor": {"code": name}, "value": value} for name, value in tags.items()],
    }


def _read_tags(groups: Any) -> dict[str, Any]:
    listed = [entry for group in _list(groups, "tags") for entry in _list(part(group, "list"), "tags.list")]
    return {
        code: part(entry, "value") for entry in listed if isinstance(code := part(entry, "descriptor", "code"), str)
    }


def _list(value: Any, path: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong(path, f"it must be a list; {type(value).__name__} came")
    return value
