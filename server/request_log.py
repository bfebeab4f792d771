"""Every request has an id, a line in the log and a place in the metrics."""

import logging
import re
import time
import uuid
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.metrics import Metrics
from server.refusal import REQUEST_ID

logger = logging.getLogger(__name__)

SAFE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what a caller may write into our log
UNKNOWN: Final = "(none)"  # the route of a path that there is not
QUIET: Final = ("/health/live", "/health/ready", "/metrics")  # asked every few seconds by machines


class RequestLog:
    """The outermost layer: takes or makes the request's id, times the answer.

    Logged are method, route, status, time and the name of the token; never a query, header or body, which may hold
    secrets.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap an application."""
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it, and note how."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = asked if SAFE.fullmatch(asked) else uuid.uuid4().hex
        scope["request_id"] = request_id
        status = 500  # an error that nobody below answers

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, note)
            finally:
                took_s = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", UNKNOWN)
                self._metrics.answered(scope["method"], route, status, took_s)
                if route not in QUIET or status >= 400:
                    said = {"method": scope["method"], "route": route, "status": status}
                    asked_by = {"caller": scope.get("caller"), "client": (scope.get("client") or (None,))[0]}
                    logger.info("request", extra={**said, **asked_by, "took_ms": round(1e3 * took_s, 2)})
