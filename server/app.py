"""The HTTP face of the live dispatcher: a factory and thin routes."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.dispatcher import Dispatcher
from server.schemas import DispatchOrder, DispatchPlan, Health, Problem, Refusal, example, meaning

logger = logging.getLogger(__name__)

MOST_BODY_BYTES: Final = 512 * 1024  # sixteen days of every series at full precision fit
MOST_PROBLEMS: Final = 10
MOST_SHOWN: Final = 60  # characters of a wrong value that are repeated to the caller

ABOUT: Final = """
Decides what a battery does in the current half-hour of the Great Britain market, or in the current half of it.

1. `GET /health/ready` answers 200 when decisions can be asked for.
2. `POST /v1/dispatch` with what the site measures and what the market has published: try the example below as it is.
3. Hold `power_kw` until `hold_until`, then ask again. Asking twice gives the same answer: nothing is kept in between.

Powers are kW at the grid connection, charging positive. Prices are GBP/MWh. Times are UTC.
"""
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    413: {"model": Refusal, "description": "The body is too large."},
    422: {"model": Refusal, "description": "The order cannot be decided on; every problem says what to do."},
}


def create_app(dispatcher: Dispatcher) -> FastAPI:
    """Put a dispatcher behind HTTP; it decides once at start, so that no caller waits for compilation."""
    ready = False

    @asynccontextmanager
    async def warm_up(app: FastAPI) -> AsyncIterator[None]:
        nonlocal ready
        try:
            order = DispatchOrder.model_validate(example())
            decision = dispatcher.decide(*order.to_domain())
            ready = decision.rung == dispatcher.rungs[0].name
        except Exception:
            logger.exception("the first decision failed: the server is alive but not ready")
        yield

    app = FastAPI(title="GridPilot dispatcher", version="1", description=ABOUT, lifespan=warm_up)
    app.add_middleware(BodyLimit, most_bytes=MOST_BODY_BYTES)
    app.add_exception_handler(RequestValidationError, _refuse_shape)
    app.add_exception_handler(AnyHTTPException, _refuse_http)
    app.add_exception_handler(Exception, _admit)

    # A decision takes about 5 ms of one core. On the event loop its 99th percentile is lower than in a thread pool,
    # and no lock is needed.
    @app.post("/v1/dispatch", tags=["dispatch"], responses=REFUSALS)
    async def dispatch(order: DispatchOrder) -> DispatchPlan:
        """Decide the current settlement period: set-point, 24-hour plan and reason."""
        try:
            decision = dispatcher.decide(*order.to_domain())
        except ValueError as error:
            raise HTTPException(422, [Problem(field="market", message=str(error)).model_dump()]) from error
        return DispatchPlan.from_domain(decision, dispatcher.policy_name)

    @app.get("/health/live", tags=["health"])
    async def live() -> Health:
        """The process runs."""
        return Health(status="live")

    @app.get("/health/ready", tags=["health"], responses={503: {"model": Refusal, "description": "Not ready."}})
    async def is_ready() -> Health:
        """A bundle is loaded and has made a decision."""
        if not ready:
            message = "the policy failed its first decision at start; see the server's log and evaluate again"
            raise HTTPException(503, [Problem(field="policy", message=message).model_dump()])
        return Health(status="ready")

    return app


class BodyLimit:
    """Refuses a body above a size before anything reads it as JSON."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        """Wrap an application."""
        self._app, self._most_bytes = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Collect the body up to the limit, then hand it on as one message."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._most_bytes:
                text = f"the body is larger than {self._most_bytes} bytes; send at most 16 days of history"
                await _refusal(413, [Problem(field="body", message=text)])(scope, receive, send)
                return
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)


async def _refuse_shape(request: Request, error: Exception) -> JSONResponse:
    """Say for each wrong field what came and what the field is."""
    assert isinstance(error, RequestValidationError)
    problems = []
    for wrong in error.errors()[:MOST_PROBLEMS]:
        path = [str(part) for part in wrong["loc"] if part != "body"]
        if wrong["type"] == "json_invalid":
            problems.append(
                Problem(field="body", message=f"not JSON at character {path[0]}: {wrong['ctx']['error']}; correct it")
            )
            continue
        came = ascii(wrong.get("input"))
        came = came if len(came) <= MOST_SHOWN else came[:MOST_SHOWN] + "..."
        text = f"{wrong['msg']}; {came} came. {meaning(path)}".strip()
        if not path:
            text = f"{text} Send a JSON object as application/json; /docs shows one."
        problems.append(Problem(field=ascii(".".join(path))[1:-1] or "body", message=text))
    return _refusal(422, problems)


async def _refuse_http(request: Request, error: Exception) -> JSONResponse:
    """Give every refusal the same shape."""
    assert isinstance(error, AnyHTTPException)
    problems: Any = error.detail
    if isinstance(problems, str):
        path = ascii(request.url.path)[1:-1]
        text = f"{problems}: {request.method} {path}; /docs lists what can be asked"
        problems = [Problem(field="request", message=text).model_dump()]
    return JSONResponse({"detail": problems}, error.status_code, headers=error.headers)


async def _admit(request: Request, error: Exception) -> JSONResponse:
    """An error of ours: the log has the traceback, the caller a safe thing to do."""
    text = "the server failed to decide; keep the battery at rest and see the server's log"
    return _refusal(500, [Problem(field="server", message=text)])


def _refusal(status: int, problems: list[Problem]) -> JSONResponse:
    return JSONResponse(Refusal(detail=problems).model_dump(), status)
