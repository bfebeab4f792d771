"""The HTTP face of the live dispatcher: a factory and thin routes."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from threading import Lock
from typing import Any, Final, NamedTuple, Protocol

from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.security import HTTPBearer

from dispatch.ladder import Rung
from server.access import Guard
from server.body_limit import BodyLimit
from server.bundle import PolicyName
from server.decision import Answer, Decision, Telemetry
from server.docs_page import add_docs_page
from server.json_route import JsonRoute
from server.market_view import MarketView
from server.metrics import CONTENT_TYPE, Metrics
from server.minds import Case
from server.rate_limit import RateLimit
from server.refusal import add_handlers
from server.request_log import RequestLog
from server.schemas import DispatchOrder, DispatchPlan, Health, Problem, Refusal, example
from server.section import Section
from server.tokens import Token

logger = logging.getLogger(__name__)

MOST_BODY_BYTES: Final = 512 * 1024  # sixteen days of every series at full precision fit

ABOUT: Final = """
Decides what a battery does in the current half-hour of the Great Britain market, or in the current half of it.

1. `GET /health/ready` answers 200 when decisions can be asked for.
2. `POST /v1/dispatch` with what the site measures and what the market has published: try the example below as it is.
3. Hold `power_kw` until `hold_until`, then ask again. Asking twice with the same order gives the same answer.

Powers are kW at the grid connection, charging positive. Prices are GBP/MWh. Times are UTC.
"""
EVERYWHERE: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": Refusal, "description": "The body cannot be read."},
    401: {"model": Refusal, "description": "No token that is known here."},
    403: {"model": Refusal, "description": "The token does not allow this."},
    413: {"model": Refusal, "description": "The body is too large."},
    422: {"model": Refusal, "description": "What was sent is not what is described; every problem says what to do."},
    429: {"model": Refusal, "description": "Too many requests from this address."},
}
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    422: {"model": Refusal, "description": "The order cannot be decided on; every problem says what to do."},
}


class Edge(NamedTuple):
    """Who is let in, and how often.

    Attributes:
        tokens: Those that are known; without any everybody is let in.
        any_host: Without tokens, also under other host names than this machine's own.
        requests_per_second: From one address.
    """

    tokens: tuple[Token, ...] = ()
    any_host: bool = True
    requests_per_second: float = 1000.0


OPEN: Final = Edge()


class Decider(Protocol):
    """What decides: a dispatcher, or one with a memory."""

    policy_name: PolicyName
    rungs: Sequence[Rung[Case]]

    def answer(self, telemetry: Telemetry | None, market: MarketView | None) -> Answer:
        """Decide a step; raises ValueError where the order is wrong in itself."""
        ...

    def rehearse(self, telemetry: Telemetry, market: MarketView) -> Decision:
        """Decide for practice."""
        ...


class Rehearsal:
    """A decision for practice, tried until the policy itself has made one.

    Once is not enough: on a machine that is busy at the start the first may miss its deadline.
    """

    def __init__(self, decider: Decider) -> None:
        """Nothing is tried yet."""
        self._decider, self._succeeded, self._trying = decider, False, Lock()

    def succeeded(self) -> bool:
        """Whether the policy has decided; tries if it has not, unless somebody is trying."""
        if self._succeeded or not self._trying.acquire(blocking=False):
            return self._succeeded
        try:
            telemetry, market = DispatchOrder.model_validate(example()).to_domain()
            assert telemetry is not None
            assert market is not None
            decision = self._decider.rehearse(telemetry, market)
            self._succeeded = decision.rung == self._decider.rungs[0].name
        except Exception:
            logger.exception("the decision for practice failed: the server is alive but not ready")
        finally:
            self._trying.release()
        return self._succeeded


def create_app(
    dispatcher: Decider,
    sections: Sequence[Section] = (),
    edge: Edge = OPEN,
    metrics: Metrics | None = None,
) -> FastAPI:
    """Put a dispatcher behind HTTP; it decides once at start, so that no caller waits for compilation.

    Args:
        dispatcher: What decides.
        sections: Further parts of the service.
        edge: Who is let in.
        metrics: What is counted; sections may share it.
    """
    rehearsal = Rehearsal(dispatcher)
    counted = metrics or Metrics()

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
        rehearsal.succeeded()
        async with AsyncExitStack() as stack:
            for section in sections:
                await stack.enter_async_context(section.running())
            yield
        logger.info("stopped")

    app = FastAPI(
        title="GridPilot dispatcher",
        version="1",
        description=ABOUT,
        lifespan=run,
        docs_url=None,
        redoc_url=None,
        responses=EVERYWHERE,
        dependencies=[Depends(HTTPBearer(auto_error=False, description="A token; none is asked for on loopback."))],
    )
    app.router.route_class = JsonRoute
    add_handlers(app)
    add_docs_page(app)
    app.add_middleware(BodyLimit, most_bytes=MOST_BODY_BYTES, advice="send at most 16 days of history")
    app.add_middleware(Guard, tokens=edge.tokens, any_host=edge.any_host)
    app.add_middleware(RateLimit, per_second=edge.requests_per_second)
    app.add_middleware(RequestLog, metrics=counted)  # added last, so the outermost

    # In a thread, because a decision waits for other processes and the database while the next order can be read.
    @app.post("/v1/dispatch", tags=["dispatch"], response_model=DispatchPlan, responses=REFUSALS)
    def dispatch(order: DispatchOrder) -> Response:
        """Decide the current settlement period: set-point, 24-hour plan and reason."""
        try:
            answer = dispatcher.answer(*order.to_domain())
        except ValueError as error:
            raise HTTPException(422, [Problem(field="market", message=str(error)).model_dump()]) from error
        counted.decided(answer.decision.rung)
        return Response(answer.text, media_type="application/json")  # it was checked as it was made: not once more

    @app.get("/health/live", tags=["health"])
    async def live() -> Health:
        """The process runs."""
        return Health(status="live")

    @app.get("/health/ready", tags=["health"], responses={503: {"model": Refusal, "description": "Not ready."}})
    def is_ready() -> Health:
        """A bundle is loaded and its policy has made a decision."""
        if not rehearsal.succeeded():
            message = "the policy has not decided yet; if that stays so, see the server's log and evaluate again"
            raise HTTPException(503, [Problem(field="policy", message=message).model_dump()])
        return Health(status="ready")

    @app.get("/metrics", include_in_schema=False)
    def read_metrics() -> Response:
        return Response(counted.text(), media_type=CONTENT_TYPE)

    for section in sections:  # after what is asked for most, since routes are tried in order
        app.include_router(section.router)
    return app
