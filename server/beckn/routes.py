"""The endpoint itself: every verb is answered at once with ACK or NACK, whatever comes."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Final, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from server.beckn.callbacks import Caller, Forbidden, check_belongs
from server.beckn.context import Context, read_context
from server.beckn.inbox import Inbox
from server.beckn.provider import VERBS
from server.beckn.registry import Registry
from server.beckn.signing import BadSignature, read, verify
from server.beckn.subscription import Subscription
from server.beckn.wire import ACK, Code, Kind, Problem, nack, parse

logger = logging.getLogger(__name__)

MOST_BYTES: Final = 200_000  # as the reference protocol server allows
PROMPT_S: Final = 0.005  # a loop that comes back within it keeps no request waiting
LONGEST_PAUSE_S: Final = 1.0
IDLE_S: Final = 0.5  # callbacks to be tried again are looked for this often


class Terms(NamedTuple):
    """On which terms messages are taken.

    Attributes:
        domains: Kinds of trade that we serve.
        bpp_id: Our name.
        registry: Whose keys to believe; None believes everyone, for a network without signatures.
    """

    domains: tuple[str, ...]
    bpp_id: str
    registry: Registry | None


class Endpoint:
    """Takes messages, and keeps acting on them and calling back while it runs."""

    def __init__(
        self,
        inbox: Inbox,
        caller: Caller,
        terms: Terms,
        clock: Callable[[], datetime],
        subscription: Subscription | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            inbox: Holds messages and callbacks.
            caller: Sends the callbacks.
            terms: On which messages are taken.
            clock: The present instant, UTC.
            subscription: Answers the registry's challenge; without it nobody's is answered.
        """
        self._inbox, self._caller, self._terms, self._clock = inbox, caller, terms, clock
        self._subscription = subscription
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()
        self._arrived: list[tuple[bytes, Context, asyncio.Future[Problem | None]]] = []

    @property
    def router(self) -> APIRouter:
        """The paths of all verbs."""
        router = APIRouter(tags=["beckn"])
        for verb in VERBS:
            router.add_api_route(f"/{verb}", self._route(verb), methods=["POST"], name=f"beckn {verb}")
        if self._subscription is not None:
            router.add_api_route("/on_subscribe", self.subscribed, methods=["POST"], name="beckn on_subscribe")
        return router

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Act on what came and call back, also what an earlier process left, until the context ends."""
        worker = asyncio.create_task(self._work())
        try:
            yield
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
            await self._caller.close()

    async def take(self, verb: str, request: Request) -> JSONResponse:
        """Answer one message."""
        try:
            raw = await _body(request)
            body = parse(raw)
            context = read_context(body, verb, self._terms.domains, self._clock())
            check_belongs(context.bap_id, context.bap_uri)
            if context.bpp_id not in (None, self._terms.bpp_id):
                text = f"context.bpp_id: the message is for {context.bpp_id[:80]!r}; this is {self._terms.bpp_id}"
                raise Problem(Kind.CONTEXT, Code.INVALID_REQUEST, text, "context.bpp_id")
            if not isinstance(body.get("message"), dict):
                raise Problem(Kind.SCHEMA, Code.INVALID_REQUEST, "message: it must be an object", "message")
            if self._terms.registry is not None:
                await self._believe(self._terms.registry, request, raw, context)
            await self._write_down(raw, context)
        except Problem as problem:
            return JSONResponse(nack(problem), 400)
        except Forbidden as refusal:
            problem = Problem(Kind.POLICY, Code.INVALID_REQUEST, str(refusal), "context.bap_uri")
            return JSONResponse(nack(problem), 400)
        except _Unbelieved as refusal:
            return self._unbelieved(str(refusal), refusal.challenge)
        except Exception:  # a buyer gets an answer of the agreed shape, the log has the traceback
            logger.exception("a %s could not be taken", verb)
            return JSONResponse(nack(Problem(Kind.CORE, Code.BUSINESS, "it could not be taken; send it again")), 500)
        self._news.set()
        return JSONResponse(ACK)

    async def subscribed(self, request: Request) -> JSONResponse:
        """Answer the registry's challenge."""
        assert self._subscription is not None
        try:
            raw = await _body(request)
            challenge = parse(raw).get("challenge")
            if not isinstance(challenge, str):
                raise Problem(Kind.SCHEMA, Code.INVALID_REQUEST, "challenge: it must be a text", "challenge")
            now = int(self._clock().timestamp())
            answer = self._subscription.answer(request.headers.get("authorization", ""), raw, challenge, now)
        except Problem as problem:
            return JSONResponse(nack(problem), 400)
        except BadSignature as refusal:
            return self._unbelieved(str(refusal), "WWW-Authenticate")
        except ValueError as error:
            return JSONResponse(nack(Problem(Kind.SCHEMA, Code.INVALID_REQUEST, str(error), "challenge")), 400)
        return JSONResponse({"answer": answer})

    async def _write_down(self, raw: bytes, context: Context) -> None:
        """Store a message, together with all others that came in while the ones before were written."""
        written: asyncio.Future[Problem | None] = asyncio.get_running_loop().create_future()
        self._arrived.append((raw, context, written))
        async with self._writing:
            arrived, self._arrived = self._arrived, []
            if arrived:
                with contextlib.suppress(Exception):  # every one of them is told by its own future
                    await self._take(arrived)
        problem = await written
        if problem is not None:
            raise problem

    async def _take(self, arrived: list[tuple[bytes, Context, asyncio.Future[Problem | None]]]) -> None:
        messages = [(raw, context) for raw, context, _ in arrived]
        try:
            answers = await asyncio.to_thread(self._inbox.take, messages, self._clock())
        except BaseException as error:  # also when this request is cut off: the others must not wait for ever
            for _, _, written in arrived:
                written.set_exception(RuntimeError(f"the messages could not be stored: {error!r}"))
            raise
        for (_, _, written), answer in zip(arrived, answers, strict=True):
            written.set_result(answer)

    def _unbelieved(self, text: str, challenge: str) -> JSONResponse:
        asked = f'Signature realm="{self._terms.bpp_id}",headers="(created) (expires) digest"'
        return JSONResponse(nack(Problem(Kind.POLICY, Code.INVALID_REQUEST, text)), 401, headers={challenge: asked})

    def _route(self, verb: str) -> Callable[[Request], object]:
        async def take(request: Request) -> JSONResponse:
            return await self.take(verb, request)

        return take

    async def _believe(self, registry: Registry, request: Request, raw: bytes, context: Context) -> None:
        now = int(self._clock().timestamp())
        headers = [("authorization", "WWW-Authenticate", context.bap_id)]
        if "x-gateway-authorization" in request.headers:
            headers.append(("x-gateway-authorization", "Proxy-Authenticate", None))
        for name, challenge, signer in headers:
            try:
                said = read(request.headers.get(name, ""))
                if signer is not None and said.subscriber_id != signer:
                    raise BadSignature(f"{said.subscriber_id[:80]!r} signed in the name of {signer[:80]!r}")
                known = await registry.find(said.subscriber_id, said.key_id)
                if said.expires > known.valid_until:
                    raise BadSignature("the signature is valid for longer than its key")
                verify(said, raw, known.key, now)
            except BadSignature as refusal:
                raise _Unbelieved(str(refusal), challenge) from refusal

    async def _work(self) -> None:
        while True:
            self._news.clear()
            try:
                acted = await asyncio.to_thread(self._inbox.act, self._terms.domains, self._clock)
                if await self._caller.start_due(self._clock) or acted:
                    self._news.set()  # there may be more
            except Exception:  # whatever fails now, for example a database that is away, is tried again
                logger.exception("acting on messages failed")
            await self._let_through()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), IDLE_S)

    async def _let_through(self) -> None:
        """Acknowledgements come first: wait, though not for ever, until what came in meanwhile has been answered."""
        clock = asyncio.get_running_loop().time
        until = clock() + LONGEST_PAUSE_S
        while (asked := clock()) < until:
            await asyncio.sleep(0.0)  # comes back when all that was ready to go on has gone on
            if clock() - asked < PROMPT_S and not self._writing.locked():
                return
            await asyncio.sleep(PROMPT_S)


class _Unbelieved(Exception):
    """A signature that does not hold; `challenge` names the header that asks for a better one."""

    def __init__(self, text: str, challenge: str) -> None:
        super().__init__(text)
        self.challenge = challenge


async def _body(request: Request) -> bytes:
    """The bytes as they came, up to the limit."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MOST_BYTES:
            text = f"the body is larger than {MOST_BYTES} bytes"
            raise Problem(Kind.SCHEMA, Code.INVALID_REQUEST, text)
    return bytes(raw)
