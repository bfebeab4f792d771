"""Who may ask for what."""

import hashlib
import hmac
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.address import is_loopback
from server.refusal import refusal
from server.schemas import Problem
from server.tokens import Right, Token

# Whoever is not named by the first prefix that fits needs ADMIN to change anything, and READ to look at it.
CHANGES: Final = (
    ("/v1/dispatch", Right.DISPATCH),
    ("/v1/signals", Right.DISPATCH),
    ("/v1/telemetry", Right.TELEMETRY),
    ("/v1/risk", Right.RISK),
)
OPEN: Final = ("/health/live", "/health/ready", "/docs", "/openapi.json")
OPEN_FOLDER: Final = "/docs/"
LOOKING: Final = ("GET", "HEAD", "OPTIONS")


def needed(method: str, path: str) -> Right | None:
    """What a request needs; None where everybody may ask."""
    if path in OPEN or path.startswith(OPEN_FOLDER):
        return None
    if method in LOOKING:
        return Right.READ
    return next((right for prefix, right in CHANGES if path == prefix or path.startswith(f"{prefix}/")), Right.ADMIN)


class Guard:
    """Lets a request pass whose token has the right; without any tokens, only those that name this machine.

    The name in the Host header is looked at because a web page anywhere can make a browser on this machine ask us,
    under a name of the page's own that it has pointed at 127.0.0.1.
    """

    def __init__(self, app: ASGIApp, tokens: tuple[Token, ...], any_host: bool) -> None:
        """Wrap an application.

        Args:
            app: The application.
            tokens: Those that are known.
            any_host: Without tokens, take requests under any host name; only for tests within one process.
        """
        self._app, self._tokens, self._any_host = app, tokens, any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it pass or refuse it."""
        refused = self._refused(scope) if scope["type"] == "http" else None
        if refused is None:
            await self._app(scope, receive, send)
            return
        status, text, headers = refused
        await refusal(status, [Problem(field="authorization", message=text)], headers)(scope, receive, send)

    def _refused(self, scope: Scope) -> tuple[int, str, dict[str, str]] | None:
        headers = Headers(scope=scope)
        if not self._tokens:
            if self._any_host or is_loopback(_without_port(headers.get("host", ""))):
                return None
            return 403, "without tokens only requests to http://127.0.0.1 or http://localhost are answered", {}
        right = needed(scope["method"], scope["path"])
        if right is None:
            return None
        token = self._token(headers.get("authorization", ""))
        if token is None:
            text = "send a token that is known here: Authorization: Bearer TOKEN; python main.py token new makes one"
            return 401, text, {"www-authenticate": "Bearer"}
        scope["caller"] = token.name
        if right not in token.scopes and Right.ADMIN not in token.scopes:
            text = f"this needs a token with the scope {right.value!r}; yours has {', '.join(token.scopes)}"
            return 403, text, {"www-authenticate": f'Bearer error="insufficient_scope", scope="{right.value}"'}
        return None

    def _token(self, authorization: str) -> Token | None:
        """The token that was sent; every known one is compared, so that the time taken tells nothing."""
        kind, _, secret = authorization.partition(" ")
        if kind.lower() != "bearer":
            return None
        digest = hashlib.sha256(secret.strip().encode()).hexdigest()
        found = [token for token in self._tokens if hmac.compare_digest(token.sha256, digest)]
        return found[0] if found else None


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
