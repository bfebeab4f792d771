"""The one way out to the network: conditional disk cache, retries, circuit breaker and rate limit for every client."""

from asyncio import CancelledError
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import stamina
from aiolimiter import AsyncLimiter
from hishel import AsyncSqliteStorage
from hishel.httpx import AsyncCacheTransport
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

USER_AGENT: Final = "Mozilla/5.0 (compatible; GridPilot/0.1)"
SAFE: Final = frozenset({"GET", "HEAD"})  # ask for nothing to be done (RFC 9110, section 9.2.1), so may be sent again
VALIDATORS: Final = frozenset({"etag", "last-modified"})
RETRIED_STATUS: Final = frozenset({429, 500, 502, 503, 504})


class Rate(NamedTuple):
    """At most so many requests in so many seconds."""

    requests: float
    seconds: float


# NESO asks for 2 requests a minute to its datastore and 1 a second elsewhere; Open-Meteo allows 600 a minute; the
# others publish no limit, so these are what we hold to be polite. The longest prefix that fits a URL counts.
RATES: Final[dict[str, Rate]] = {
    "https://api.neso.energy/api/3/action/datastore": Rate(1, 30),
    "https://api.neso.energy/": Rate(1, 1),
    "https://data.elexon.co.uk/": Rate(4, 1),
    "https://dp.lowcarboncontracts.uk/": Rate(1, 2),
    "https://api.open-meteo.com/": Rate(2, 1),
    "https://archive-api.open-meteo.com/": Rate(2, 1),
    "https://api.carbonintensity.org.uk/": Rate(1, 1),
}
OTHER_RATE: Final = Rate(2, 1)
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})  # a stand-in on this machine needs no politeness


class Patience(NamedTuple):
    """How long to wait and how often to try again.

    Attributes:
        attempts: Tries of one request in all.
        first_wait_s: Wait after the first failure; doubled each time, with up to `jitter_s` added.
        longest_wait_s: Bound of one wait. A `Retry-After` beyond it is not waited for.
        jitter_s: Largest random addition to a wait.
        failures_to_open: Failures in a row after which a host counts as down.
        reset_s: Seconds after which a host that counts as down is tried again.
        timeout_s: Limit of connecting, and of each wait for bytes.
    """

    attempts: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0
    jitter_s: float = 1.0
    failures_to_open: int = 12
    reset_s: float = 60.0
    timeout_s: float = 60.0


PATIENT: Final = Patience()


class HostDown(httpx.TransportError):
    """A host failed so often in a row that nothing is sent to it for a while."""


class PoliteTransport(httpx.AsyncBaseTransport):
    """Sends a request as often as it takes, never faster than the host's rate, and not at all while the host is down.

    Only safe methods are sent again: after a timeout, a broken connection or a status in `RETRIED_STATUS`, whose
    `Retry-After` is obeyed. The body is read here, so that a connection cut in its middle is retried like any other.

    Raises:
        HostDown: See there.
        httpx.HTTPStatusError: The host still answered with a status of `RETRIED_STATUS` on the last try.
        httpx.TransportError: It still could not be reached, or broke off.
    """

    def __init__(self, network: httpx.AsyncBaseTransport, patience: Patience) -> None:
        self._network = network
        self._patience = patience
        self._limiters = {prefix: AsyncLimiter(*rate) for prefix, rate in RATES.items()}
        self._breakers = AsyncCircuitBreakerFactory(
            default_threshold=patience.failures_to_open,
            default_ttl=patience.reset_s,
            # A host that asks us to slow down is alive, and giving up ourselves says nothing about it.
            exclude=[(httpx.HTTPStatusError, lambda error: error.response.status_code == 429), CancelledError],
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, see the class."""
        async for attempt in tries(self._patience, again=request.method in SAFE):
            with attempt:
                return await self._send(request)
        raise AssertionError("the last attempt either returns or raises")

    async def _send(self, request: httpx.Request) -> httpx.Response:
        host = request.url.netloc.decode()
        breaker = await self._breakers.get_breaker(host)
        if request.url.host not in LOOPBACK:
            await self._limiter(request.url).acquire()
        try:
            async with breaker:
                response = await self._network.handle_async_request(request)
                try:
                    body = b"".join([chunk async for chunk in response.aiter_raw()])
                finally:
                    await response.aclose()
                if response.status_code in RETRIED_STATUS:
                    raise httpx.HTTPStatusError(
                        f"{host} answered {response.status_code} to {request.method} {request.url.path}",
                        request=request,
                        response=response,
                    )
        except OpenedState as state:
            raise HostDown(
                f"{host} failed {self._patience.failures_to_open} times in a row; it is tried again "
                f"{self._patience.reset_s:g} s after the last failure"
            ) from state
        headers = response.headers
        if not VALIDATORS & set(headers):
            headers["Cache-Control"] = "no-store"  # it could never be asked for conditionally
        stream = httpx.ByteStream(body)
        return httpx.Response(response.status_code, headers=headers, stream=stream, extensions=response.extensions)

    def _limiter(self, url: httpx.URL) -> AsyncLimiter:
        prefixes = [prefix for prefix in self._limiters if str(url).startswith(prefix)]
        prefix = max(prefixes, key=len) if prefixes else url.netloc.decode()
        return self._limiters.setdefault(prefix, AsyncLimiter(*OTHER_RATE))

    async def aclose(self) -> None:
        """Close what leads to the network."""
        await self._network.aclose()


def tries(patience: Patience, again: bool = True) -> AsyncIterator[stamina.Attempt]:
    """The tries of one request, with the waits between them; only one unless `again`."""
    return stamina.retry_context(
        on=lambda error: backoff(error, patience),
        attempts=patience.attempts if again else 1,
        timeout=None,
        wait_initial=patience.first_wait_s,
        wait_max=patience.longest_wait_s,
        wait_jitter=patience.jitter_s,
    ).__aiter__()


def backoff(error: Exception, patience: Patience) -> bool | float:
    """Whether to try again after an error, or in how many seconds."""
    if isinstance(error, httpx.HTTPStatusError):
        wait_s = retry_after_s(error.response.headers.get("Retry-After"), datetime.now(UTC))
        return True if wait_s is None else wait_s if wait_s <= patience.longest_wait_s else False
    return isinstance(error, httpx.TransportError) and not isinstance(error, HostDown)


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for, as a number or a date (RFC 9110, section 10.2.3), else None."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max((parsedate_to_datetime(value) - now).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None


@asynccontextmanager
async def open_http(cache: Path | None = None, patience: Patience = PATIENT) -> AsyncIterator[httpx.AsyncClient]:
    """The HTTP client that all our clients share.

    Args:
        cache: SQLite file of the HTTP cache (RFC 9111). What has an `ETag` or `Last-Modified` is asked for
            conditionally, every time: no answer is ever used that its host did not just confirm.
        patience: See there.
    """
    transport: httpx.AsyncBaseTransport = PoliteTransport(httpx.AsyncHTTPTransport(), patience)
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        storage = AsyncSqliteStorage(database_path=cache)
        transport = AsyncCacheTransport(transport, storage=storage, rfc={"shared": False})
    headers = {"User-Agent": USER_AGENT, "Accept": "application/json", "Cache-Control": "no-cache"}
    async with httpx.AsyncClient(transport=transport, timeout=patience.timeout_s, headers=headers) as client:
        yield client
