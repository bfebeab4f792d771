"""Bodies have a largest size."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.refusal import refusal
from server.schemas import Problem


class BodyLimit:
    """Refuses a body above a size before anything reads it as JSON."""

    def __init__(self, app: ASGIApp, most_bytes: int, advice: str) -> None:
        """Wrap an application.

        Args:
            app: What gets the bodies that are small enough.
            most_bytes: The bound.
            advice: What a caller who sent more is told to do.
        """
        self._app, self._most_bytes, self._advice = app, most_bytes, advice

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
                text = f"the body is larger than {self._most_bytes} bytes; {self._advice}"
                await refusal(413, [Problem(field="body", message=text)])(scope, receive, send)
                return
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)
