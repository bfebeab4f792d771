"""What a message asks for and what a callback says: one neutral form between the dialects and the dealing."""

from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from dispatch.flex_offers import Offer
from dispatch.flex_orders import FlexOrder
from server.beckn.wire import Code, Kind, Problem

PRICE_UNIT: Final = "GBP/MWh"
FULFILMENT: Final = "DEMAND-TURN-DOWN"
MOST_KW: Final = 1e9


class Wanted(NamedTuple):
    """What a search looks for; None is anything.

    Attributes:
        start: The window must not begin earlier.
        end: Nor end later.
        power_kw: Least power.
        duration_hours: Least length of the window.
        cluster_id: Whose load.
    """

    start: datetime | None
    end: datetime | None
    power_kw: float | None
    duration_hours: float | None
    cluster_id: str | None


class Asked(NamedTuple):
    """What a select, init, confirm or update asks for.

    Attributes:
        order_id: Our name for the order, where the buyer knows it already.
        offer_id: The item; None where the order is named.
        power_kw: How much of it; None for all that is left.
        billing: Who pays, as it came; None where it did not come.
    """

    order_id: str | None
    offer_id: str | None
    power_kw: float | None
    billing: dict[str, Any] | None


class Shop(NamedTuple):
    """Who we are on the network.

    Attributes:
        provider_id: Our name as a provider.
        name: Of the platform, for people.
        provider_name: Of the provider, for people.
        phone: Of support.
        email: Of support.
        url: Of support.
    """

    provider_id: str
    name: str
    provider_name: str
    phone: str
    email: str
    url: str


class Delivery(NamedTuple):
    """What settlement found of an order; amounts are decimals in text.

    Attributes:
        status: `settled`, `estimated`, `withheld` or `cancelled`; see `dispatch.settlement.Statement`.
        delivered_mwh: Energy turned down.
        shortfall_mwh: What is missing of what was sold.
        payable_gbp: What it earns.
        paid: Whether the buyer has paid that.
    """

    status: str
    delivered_mwh: str
    shortfall_mwh: str
    payable_gbp: str
    paid: bool


class Sold(NamedTuple):
    """An order with everything a callback says of it."""

    order: FlexOrder
    billing: dict[str, Any]
    delivery: Delivery | None


class Codec(Protocol):
    """Reads and writes the bodies of one schema version."""

    def wanted(self, message: dict[str, Any]) -> Wanted:
        """What a search looks for."""
        ...

    def asked(self, message: dict[str, Any]) -> Asked:
        """What an order message asks for."""
        ...

    def catalog(self, shop: Shop, offers: list[Offer], expires: datetime) -> dict[str, Any]:
        """The message of `on_search`."""
        ...

    def order(self, shop: Shop, sold: Sold) -> dict[str, Any]:
        """The message of every callback about an order."""
        ...

    def support(self, shop: Shop, reference: str) -> dict[str, Any]:
        """The message of `on_support`."""
        ...

    def error(self, problem: Problem) -> dict[str, Any]:
        """An error as this version shapes it."""
        ...


def decimal(number: float, places: int) -> str:
    """A number as the schema's DecimalValue: never in powers of ten, never minus nothing."""
    text = f"{number:.{places}f}"
    return text.removeprefix("-") if float(text) == 0.0 else text


def part(within: Any, *path: str) -> Any:
    """A value deep inside a message, None where a step of the way is missing."""
    for name in path:
        if not isinstance(within, dict):
            return None
        within = within.get(name)
    return within


def number(text: Any, path: str) -> float | None:
    """A positive amount from a text or number; None where nothing came.

    Raises:
        Problem: It is none.
    """
    if text is None:
        return None
    try:
        amount = float(text) if not isinstance(text, bool) else -1.0
    except (TypeError, ValueError, OverflowError):
        amount = -1.0
    if not 0.0 < amount <= MOST_KW:
        raise wrong(path, f"it must be a number above 0; {str(text)[:40]!r} came")
    return amount


def text_at(value: Any, path: str) -> str | None:
    """A text; None where nothing came.

    Raises:
        Problem: It is something else, or endless.
    """
    if value is None or (isinstance(value, str) and 0 < len(value) <= 255):
        return value
    raise wrong(path, f"it must be a text of 1 to 255 characters; {type(value).__name__} came")


def wrong(path: str, why: str) -> Problem:
    """A field that is not what the schema says."""
    return Problem(Kind.SCHEMA, Code.INVALID_REQUEST, f"{path}: {why}", path)
