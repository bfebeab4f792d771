"""The HTTP face of an agent: its card, JSON-RPC, and bare commands."""

from collections.abc import Awaitable, Callable
from typing import Final

from a2a.server.routes import create_agent_card_routes
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.utils.constants import DEFAULT_RPC_URL, JSONRPC_PARSE_ERROR_CODE
from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.a2a.card import card_of
from server.a2a.handler import Handler
from server.body_limit import BodyLimit
from server.caco.agent import Agent
from server.refusal import refusal
from server.schemas import Problem

MOST_BYTES: Final = 1_000_000  # some 3,000 jobs
JSON: Final = "application/json"
OWN_HOSTS: Final = ("127.0.0.1", "localhost")


def create_app(agent: Agent, url: str) -> Starlette:
    """Put an agent behind HTTP.

    Only requests that name this machine are taken, and only JSON that says so: both keep web pages that a browser on
    this machine shows from sending commands.

    Args:
        agent: Who answers.
        url: Where the application is reached; its card says so.
    """
    dispatcher = JsonRpcDispatcher(Handler(agent), enable_v0_3_compat=True)

    async def rpc(request: Request) -> Response:
        """JSON-RPC 2.0: A2A 1.0 and 0.3."""
        try:
            from_json(await request.body(), allow_inf_nan=False)
        except ValueError as error:
            problem = {"code": JSONRPC_PARSE_ERROR_CODE, "message": f"Parse error: {error}"}
            return JSONResponse({"jsonrpc": "2.0", "id": None, "error": problem})
        return await dispatcher.handle_requests(request)

    async def command(request: Request) -> Response:
        """A command by itself."""
        text = await agent.answer((await request.body()).decode(errors="replace"))
        failed = text.startswith('{"status":"error"')
        return Response(text, 422 if failed else 200, media_type=JSON)

    async def live(request: Request) -> Response:
        """The process runs."""
        return JSONResponse({"status": "live", "agent": agent.name})

    routes = [
        *create_agent_card_routes(card_of(agent, url)),
        Route(DEFAULT_RPC_URL, _only_json(rpc), methods=["POST"]),
        Route("/command", _only_json(command), methods=["POST"]),
        Route("/health/live", live, methods=["GET"]),
    ]
    guards = [
        Middleware(TrustedHostMiddleware, allowed_hosts=OWN_HOSTS),
        Middleware(BodyLimit, most_bytes=MOST_BYTES, advice="send it in pieces"),
    ]
    return Starlette(routes=routes, middleware=guards)


def _only_json(route: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """A route that takes no body but JSON."""

    async def guarded(request: Request) -> Response:
        kind = request.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != JSON:
            text = f"the body is {kind[:100]!a}; send JSON with Content-Type: {JSON}"
            return refusal(415, [Problem(field="content-type", message=text)])
        return await route(request)

    return guarded
