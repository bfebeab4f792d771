"""Nobody may ask faster than a rate."""

import math
from collections import OrderedDict
from typing import Final

from aiolimiter import AsyncLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from server.refusal import refusal
from server.schemas import Problem

MOST_CALLERS: Final = 4096  # remembered at a time; the one not seen for longest is forgotten


class RateLimit:
    """A leaky bucket for each caller's address, by a clock that nobody can set.

    Addresses and not tokens are counted, because guessing tokens must be slow too.
    """

    def __init__(self, app: ASGIApp, per_second: float) -> None:
        """Wrap an application; a caller may send a second's worth at once."""
        self._app, self._per_second = app, per_second
        self._buckets: OrderedDict[str, AsyncLimiter] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bucket = self._bucket((scope.get("client") or ("",))[0])
        if bucket.has_capacity():
            await bucket.acquire()
            await self._app(scope, receive, send)
            return
        wait_s = math.ceil(1.0 / self._per_second)
        text = f"more than {self._per_second:g} requests a second came from this address; wait {wait_s} s and ask again"
        await refusal(429, [Problem(field="request", message=text)], {"retry-after": str(wait_s)})(scope, receive, send)

    def _bucket(self, caller: str) -> AsyncLimiter:
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = AsyncLimiter(max(self._per_second, 1.0), max(1.0, 1.0 / self._per_second))
        self._buckets.move_to_end(caller)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        return bucket
