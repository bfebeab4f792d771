"""The site's side of a market gateway: register, read prices and inventory, submit bids that are never submitted twice.

The shapes are those of the MARA 2025 API (`/sites`, `/prices`, `/inventory`, `/machines`). It has no bid: what a site
offers is how many machines of each type it runs, all of them at once, so a bid is a PUT of those counts.
"""

import asyncio
import hashlib
import json
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import httpx
import pandas as pd
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from data.clients.transport import PATIENT, Patience, open_http, tries
from data.clients.wire import AnswerError, Row, UtcInstant, frame, in_utc, json_of, parsed

URL_VARIABLE: Final = "MARKET_GATEWAY_URL"
KEY_VARIABLE: Final = "MARKET_GATEWAY_API_KEY"
ORDERS_VARIABLE: Final = "MARKET_GATEWAY_ORDERS"
Count = Annotated[int, Field(ge=0, strict=True)]


class Bid(BaseModel):
    """How many machines of each type the site offers to run; it replaces what it offered before.

    `client_order_id` is chosen by the caller and names this one offer for ever. A field of another name is an error,
    because the gateway would silently ignore it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    client_order_id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]
    air_miners: Count = 0
    hydro_miners: Count = 0
    immersion_miners: Count = 0
    gpu_compute: Count = 0
    asic_compute: Count = 0

    def counts(self) -> dict[str, int]:
        """What is sent."""
        return self.model_dump(exclude={"client_order_id"})


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


class OrderConflict(ValueError):
    """A client order id was used before, for another bid or for one that a newer bid has replaced."""


class Orders(NamedTuple):
    """Every bid ever submitted, by client order id, in a SQLite file that survives a crash.

    Attributes:
        path: The file; made when first used.
    """

    path: Path

    def open(self, bid: Bid) -> tuple[bool, dict[str, Any] | None]:
        """Put a bid on record before it is sent; gives whether it was sent before, and the answer if there was one.

        Raises:
            OrderConflict: The id stands for another bid, or newer bids have been sent since it was left unanswered.
        """
        digest = hashlib.sha256(json.dumps(bid.counts(), sort_keys=True).encode()).hexdigest()
        with closing(self._connect()) as database, database:
            database.execute("BEGIN IMMEDIATE")
            known = database.execute(
                "SELECT number, digest, answer FROM orders WHERE id = ?", (bid.client_order_id,)
            ).fetchone()
            if known is None:
                database.execute("INSERT INTO orders (id, digest) VALUES (?, ?)", (bid.client_order_id, digest))
                return False, None
            number, digest_before, answer = known
            if digest_before != digest:
                raise OrderConflict(
                    f"client_order_id {bid.client_order_id!r} already names another bid; give every bid its own id"
                )
            if answer is not None:
                found: dict[str, Any] = json.loads(answer)
                return True, found
            if database.execute("SELECT max(number) FROM orders").fetchone()[0] != number:
                raise OrderConflict(
                    f"bid {bid.client_order_id!r} was never answered and newer ones have replaced it; send a new bid"
                )
            return True, None

    def close(self, bid: Bid, answer: dict[str, Any]) -> None:
        """Put the gateway's answer on record."""
        with closing(self._connect()) as database, database:
            database.execute("UPDATE orders SET answer = ? WHERE id = ?", (json.dumps(answer), bid.client_order_id))

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.path, timeout=10.0)
        database.execute(
            "CREATE TABLE IF NOT EXISTS orders "
            "(number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, digest TEXT NOT NULL, answer TEXT)"
        )
        return database


class Gateway:
    """A market gateway.

    Args:
        http: The shared HTTP client.
        base_url: Without a trailing slash.
        key: Sent with requests about the own site, to this gateway alone, and never logged.
        orders: Record of the bids; one process at a time may submit from it.
        patience: With the gateway.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        base_url: str,
        key: SecretStr | None,
        orders: Orders,
        patience: Patience = PATIENT,
    ) -> None:
        self._http, self._base_url, self._key, self._orders = http, base_url, key, orders
        self._patience = patience
        self._submitting = asyncio.Lock()

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

    async def submit_bid(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Submit a bid once, however often this is called with it.

        Every try carries the client order id as `Idempotency-Key`. After a try whose fate is unknown (a timeout, a
        crash) the gateway is asked what is in force, and the bid is sent again only if that is something else.

        Args:
            payload: See `Bid`.

        Returns:
            The gateway's answer, from the first time on.

        Raises:
            OrderConflict: See there.
            ValueError: The payload is no bid, or needs more power than the site has.
            httpx.HTTPError: The gateway could not be reached; call again with the same payload.
        """
        try:
            bid = Bid.model_validate(payload)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ValueError(f"no bid: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        async with self._submitting:
            sent, answer = self._orders.open(bid)
            if answer is None:
                answer = await self._submit(bid, sent)
                self._orders.close(bid, answer)
            return answer

    async def _submit(self, bid: Bid, sent: bool) -> dict[str, Any]:
        await self._check_power(bid)
        async for attempt in tries(self._patience):
            with attempt:
                if sent and (machines := await self._in_force(bid)):
                    return machines
                sent = True
                return _object(await self._send("PUT", "/machines", bid.counts(), bid.client_order_id), "/machines", ())
        raise AssertionError("the last attempt either returns or raises")

    async def _in_force(self, bid: Bid) -> dict[str, Any] | None:
        """The machines in force, if they are those of the bid."""
        machines = _object(await self._send("GET", "/machines"), "/machines", ())
        return machines if bid.counts().items() <= machines.items() else None

    async def _check_power(self, bid: Bid) -> None:
        inventory, site = await self.get_inventory(), _object(await self._send("GET", "/sites"), "/sites", ("power",))
        limit_w, needed_w = _watts(site, "the site"), 0.0
        for name, count in bid.counts().items():
            kind, _, group = name.rpartition("_")
            machines = inventory["miners" if group == "miners" else "inference"]
            if count:
                needed_w += count * _watts(machines.get(kind) if isinstance(machines, dict) else None, name)
        if needed_w > limit_w:
            raise ValueError(
                f"bid {bid.client_order_id!r} needs {needed_w / 1000.0:g} kW and the site has {limit_w / 1000.0:g} kW; "
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


def _run(call: Callable[[Gateway], Awaitable[T]]) -> T:
    """Do one call against the gateway that the environment names."""
    url, key = os.environ.get(URL_VARIABLE), os.environ.get(KEY_VARIABLE)
    if not url:
        raise ValueError(f"{URL_VARIABLE} is not set; set it to the market gateway's base URL")
    orders = Orders(Path(os.environ.get(ORDERS_VARIABLE, "data/gateway/orders.sqlite")))

    async def run() -> T:
        async with open_http() as http:
            return await call(Gateway(http, url.rstrip("/"), SecretStr(key) if key else None, orders))

    return asyncio.run(run())


def register_site(site_name: str) -> dict[str, Any]:
    """Register a site at the gateway named by `MARKET_GATEWAY_URL`; see `Gateway.register_site`."""
    return _run(lambda gateway: gateway.register_site(site_name))


def get_prices(start_time: str | None = None, end_time: str | None = None) -> pd.DataFrame:
    """Historical prices, oldest first, in [start_time, end_time), ISO times with a zone; see `Gateway.get_prices`."""
    start, end = (datetime.fromisoformat(t) if t is not None else None for t in (start_time, end_time))
    return _run(lambda gateway: gateway.get_prices(start, end))


def get_inventory() -> dict[str, Any]:
    """Inventory of the gateway; see `Gateway.get_inventory`."""
    return _run(lambda gateway: gateway.get_inventory())


def submit_bid(payload: dict[str, Any]) -> dict[str, Any]:
    """Submit a bid exactly once; needs `MARKET_GATEWAY_API_KEY`; see `Gateway.submit_bid`."""
    return _run(lambda gateway: gateway.submit_bid(payload))
