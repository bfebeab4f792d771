"""The site's side of a market gateway: register, read prices and inventory, offer machines.

The shapes are those of the MARA 2025 API (`/sites`, `/prices`, `/inventory`, `/machines`). It has no bid: what a site
offers is how many machines of each type it runs, all of them at once, so a bid is a PUT of those counts. Bids that are
written down first and never submitted twice: `dispatch.gateway_market`.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import httpx
import pandas as pd
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from data.clients.transport import PATIENT, Patience, open_http
from data.clients.wire import AnswerError, Row, UtcInstant, frame, in_utc, json_of, parsed

URL_VARIABLE: Final = "MARKET_GATEWAY_URL"
KEY_VARIABLE: Final = "MARKET_GATEWAY_API_KEY"
Count = Annotated[int, Field(ge=0, strict=True)]


class Offer(BaseModel):
    """How many machines of each type the site offers to run; it replaces what it offered before.

    A field of another name is an error, because the gateway would silently ignore it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    air_miners: Count = 0
    hydro_miners: Count = 0
    immersion_miners: Count = 0
    gpu_compute: Count = 0
    asic_compute: Count = 0


def _utc(value: object) -> object:
    """The gateway writes UTC without saying so."""
    if isinstance(value, str) and (instant := datetime.fromisoformat(value)).tzinfo is None:
        return instant.replace(tzinfo=UTC)
    return value


class Price(Row):
    """Prices of five minutes, in the gateway's own units (per watt, hash and token)."""

    timestamp: Annotated[UtcInstant, BeforeValidator(_utc)]
    energy_price: float
    hash_price: float
    token_price: float


class TooMuchPower(ValueError):
    """An offer needs more power than the site has."""


class Gateway:
    """A market gateway.

    Args:
        http: The shared HTTP client.
        base_url: Without a trailing slash.
        key: Sent with requests about the own site, to this gateway alone, and never logged.
    """

    def __init__(self, http: httpx.AsyncClient, base_url: str, key: SecretStr | None) -> None:
        self._http, self._base_url, self._key = http, base_url, key

    async def register_site(self, site_name: str) -> dict[str, Any]:
        """Register a site; the answer holds its `api_key` and its `power` in watts."""
        if not site_name:
            raise ValueError("site_name is empty; give the site a name")
        return _object(await self._send("POST", "/sites", {"name": site_name}), "/sites", ("api_key", "name", "power"))

    async def get_prices(self, start: datetime | None = None, end: datetime | None = None) -> pd.DataFrame:
        """Prices with their UTC time as index, oldest first, those of [start, end) if given; shape (n, 3)."""
        rows = parsed(Price, await self._send("GET", "/prices"), "gateway /prices")
        table = frame(Price, rows).set_index("timestamp")
        table.index = pd.DatetimeIndex(table.index, tz="UTC", name="timestamp_utc")
        table = table[~table.index.duplicated()].sort_index()
        low = pd.Timestamp.min.tz_localize("UTC") if start is None else in_utc(start)
        high = pd.Timestamp.max.tz_localize("UTC") if end is None else in_utc(end)
        return table[(table.index >= low) & (table.index < high)]

    async def get_inventory(self) -> dict[str, Any]:
        """Power in watts and yield of each machine type, under `inference` and `miners`."""
        return _object(await self._send("GET", "/inventory"), "/inventory", ("inference", "miners"))

    async def offer(self, client_order_id: str, offer: Offer) -> dict[str, Any]:
        """Put an offer in force: one try, which carries the id as `Idempotency-Key`.

        Returns:
            The machines in force.

        Raises:
            TooMuchPower: See there; nothing was sent.
            AnswerError: The gateway refused, or confirmed other machines.
            httpx.HTTPError: It could not be reached, or did not answer: `in_force` tells whether the offer arrived.
        """
        await self._check_power(client_order_id, offer)
        said = _object(await self._send("PUT", "/machines", offer.model_dump(), client_order_id), "/machines", ())
        if not offer.model_dump().items() <= said.items():
            raise AnswerError(f"the gateway confirmed other machines than bid {client_order_id!r} offered")
        return said

    async def in_force(self, offer: Offer) -> dict[str, Any] | None:
        """The machines in force, if they are those of the offer."""
        machines = _object(await self._send("GET", "/machines"), "/machines", ())
        return machines if offer.model_dump().items() <= machines.items() else None

    async def _check_power(self, client_order_id: str, offer: Offer) -> None:
        inventory, site = await self.get_inventory(), _object(await self._send("GET", "/sites"), "/sites", ("power",))
        limit_w, needed_w = _watts(site, "the site"), 0.0
        for name, count in offer.model_dump().items():
            kind, _, group = name.rpartition("_")
            machines = inventory["miners" if group == "miners" else "inference"]
            if count:
                needed_w += count * _watts(machines.get(kind) if isinstance(machines, dict) else None, name)
        if needed_w > limit_w:
            raise TooMuchPower(
                f"bid {client_order_id!r} needs {needed_w / 1000.0:g} kW and the site has {limit_w / 1000.0:g} kW; "
                "offer fewer machines"
            )

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None, order: str | None = None) -> Any:
        headers = {"Cache-Control": "no-store"}  # neither the key nor an account's answer is kept on disk
        if self._key is not None and path in ("/sites", "/machines") and method != "POST":
            headers["X-Api-Key"] = self._key.get_secret_value()
        if order is not None:
            headers["Idempotency-Key"] = order
        return json_of(await self._http.request(method, self._base_url + path, json=body, headers=headers))


def _object(answer: Any, path: str, needed: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(answer, dict) or not set(needed) <= set(answer):
        raise AnswerError(f"gateway {path} must answer an object with {list(needed)}")  # may hold a key: not shown
    return answer


def _watts(thing: Any, what: str) -> float:
    power = thing.get("power") if isinstance(thing, dict) else None
    if isinstance(power, bool) or not isinstance(power, int | float):
        raise AnswerError(f"the gateway gives no power in watts for {what}")
    return float(power)


T = TypeVar("T")


def at_gateway(call: Callable[[Gateway], Awaitable[T]], patience: Patience = PATIENT) -> T:
    """Do one call against the gateway that the environment names.

    Raises:
        ValueError: The environment names none.
    """
    url, key = os.environ.get(URL_VARIABLE), os.environ.get(KEY_VARIABLE)
    if not url:
        raise ValueError(f"{URL_VARIABLE} is not set; set it to the market gateway's base URL")

    async def run() -> T:
        async with open_http(patience=patience) as http:
            return await call(Gateway(http, url.rstrip("/"), SecretStr(key) if key else None))

    return asyncio.run(run())


def register_site(site_name: str) -> dict[str, Any]:
    """Register a site at the gateway named by `MARKET_GATEWAY_URL`; see `Gateway.register_site`."""
    return at_gateway(lambda gateway: gateway.register_site(site_name))


def get_prices(start_time: str | None = None, end_time: str | None = None) -> pd.DataFrame:
    """Historical prices, oldest first, in [start_time, end_time), ISO times with a zone; see `Gateway.get_prices`."""
    start, end = (datetime.fromisoformat(t) if t is not None else None for t in (start_time, end_time))
    return at_gateway(lambda gateway: gateway.get_prices(start, end))


def get_inventory() -> dict[str, Any]:
    """Inventory of the gateway; see `Gateway.get_inventory`."""
    return at_gateway(lambda gateway: gateway.get_inventory())
