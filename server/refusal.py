"""How a request is refused: always the same shape, and what came, what is allowed, what to do."""

from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from server.schemas import Problem, Refusal, meaning

REQUEST_ID: Final = "x-request-id"
MOST_PROBLEMS: Final = 10
MOST_SHOWN: Final = 60  # characters of a wrong value that are repeated to the caller


def refusal(status: int, problems: list[Problem], headers: dict[str, str] | None = None) -> JSONResponse:
    """A refusal as it goes out."""
    return JSONResponse(Refusal(detail=problems).model_dump(), status, headers=headers)


def add_handlers(app: FastAPI) -> None:
    """Give every error of an application this shape."""
    app.add_exception_handler(RequestValidationError, _refuse_shape)
    app.add_exception_handler(AnyHTTPException, _refuse_http)
    app.add_exception_handler(Exception, _admit)


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
    return refusal(422, problems)


async def _refuse_http(request: Request, error: Exception) -> JSONResponse:
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
    # This answer is made outside all middleware, so nobody else can name the request.
    named = {REQUEST_ID: request.scope["request_id"]} if "request_id" in request.scope else None
    return refusal(500, [Problem(field="server", message=text)], named)
