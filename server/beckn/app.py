"""The Beckn provider as an application: everything put together from its settings."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from baselines import greedy, schedule_mpc
from baselines.schedule import Scheduler, Weights
from data.workloads import workloads
from dispatch import books
from dispatch.audit import Audit
from dispatch.outlook import Outlook, of_table, synthetic
from dispatch.selling import Seller, Terms
from dispatch.store import Store
from server.beckn import routes
from server.beckn.callbacks import Caller, Signer
from server.beckn.dialect import Shop
from server.beckn.inbox import Inbox
from server.beckn.outbox import Outbox
from server.beckn.provider import Provider
from server.beckn.registry import HttpRegistry
from server.beckn.routes import Endpoint
from server.beckn.settings import BppSettings, PlannedBy, raw_key
from server.beckn.signing import private_key, public_key
from server.beckn.subscription import Subscription
from server.beckn.wire import Code, Kind, Problem, nack

logger = logging.getLogger(__name__)

SETTLED_EVERY_S: Final = 60.0
PLANNED_EVERY_S: Final = 15.0
SCHEDULERS: Final[dict[PlannedBy, Scheduler]] = {
    PlannedBy.GREEDY: greedy.schedule,
    PlannedBy.MPC: schedule_mpc.schedule,
}


def now() -> datetime:
    """The present instant."""
    return datetime.now(UTC)


def create_bpp(
    settings: BppSettings, store: Store, audit: Audit, uri: str, clock: Callable[[], datetime] = now
) -> FastAPI:
    """Put a provider behind HTTP.

    Args:
        settings: Who it is.
        store: Where everything is kept.
        audit: Records what is exchanged and agreed.
        uri: Its address, unless the settings name another.
        clock: The present instant, UTC.

    Raises:
        ValueError: A key is none, or a setting that needs another is alone.
        FileNotFoundError: The grid table is not where it should be.
    """
    seller = seller_of(settings, store, audit)
    shop = Shop(
        settings.provider_id,
        settings.name,
        settings.provider_name,
        settings.phone,
        settings.email,
        settings.support_url,
    )
    registry = (
        None if settings.registry_url is None else HttpRegistry(settings.registry_url, lambda: clock().timestamp())
    )
    inbox = Inbox(
        store,
        audit,
        Provider(audit, shop),
        settings.provider_id,
        settings.uri or uri,
        settings.callback_message_id,
    )
    caller = Caller(
        Outbox(store, audit), Signer(settings.provider_id, settings.key_id, _signing_key(settings)), settings.allowed
    )
    terms = routes.Terms((settings.domain,), settings.provider_id, registry)
    endpoint = Endpoint(inbox, caller, terms, clock, _subscription(settings))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        keeper = asyncio.create_task(_keep_books(store, audit, clock))
        async with kept_on_sale(seller, clock), endpoint.running():
            gc.freeze()  # what is loaded stays: looking through it for garbage stops everybody for 0.25 s
            yield
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        if registry is not None:
            await registry.close()

    app = FastAPI(title="GridPilot Beckn provider", version="1", lifespan=lifespan)
    app.include_router(endpoint.router)
    app.add_exception_handler(HTTPException, _refuse)

    @app.get("/health/live", tags=["health"])
    async def live() -> dict[str, str]:
        """The process runs."""
        return {"status": "live"}

    return app


def seller_of(settings: BppSettings, store: Store, audit: Audit) -> Seller:
    """What plans jobs and puts their flexibility on sale, as the settings say.

    Raises:
        FileNotFoundError: The grid table is not where it should be.
        ValueError: It is not plausible.
    """
    outlook: Outlook
    if settings.grid_data is None:
        logger.warning("prices and carbon are synthetic: set BPP_GRID_DATA to a folder with the real grid table")
        outlook = synthetic
    else:
        outlook = of_table(settings.grid_data)
    if settings.jobs_path is None:
        logger.warning("the jobs are the sample day: set COMPUTE_AGENT_JOBS_PATH to a file of your own")
    books.checked_terms(settings.baseline, settings.payment)
    terms = Terms(settings.baseline, settings.payment, settings.least_price_gbp_per_mwh)
    return Seller(
        store,
        audit,
        lambda at: workloads(settings.jobs_path, at, settings.max_power_kw),
        outlook,
        Weights(max_power_kw=settings.max_power_kw),
        terms,
        SCHEDULERS[settings.planner],
    )


@asynccontextmanager
async def kept_on_sale(
    seller: Seller, clock: Callable[[], datetime], every_s: float = PLANNED_EVERY_S
) -> AsyncIterator[None]:
    """Plan again and again until the context ends, in a thread of its own: no message waits for a plan.

    Args:
        seller: Plans. Where nothing is on sale, its first plan is made before the context begins.
        clock: The present instant, UTC.
        every_s: Pause between plans.
    """

    async def renew() -> None:
        try:
            await asyncio.to_thread(seller.renew, clock)
        except Exception:  # for example jobs that cannot be read: what is on sale stays so
            logger.exception("planning failed; it is tried again in %g s", every_s)

    async def keep() -> None:
        while True:
            await renew()
            await asyncio.sleep(every_s)

    if not seller.on_sale(clock()):
        await renew()
    keeper = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


async def _keep_books(store: Store, audit: Audit, clock: Callable[[], datetime]) -> None:
    """Note again and again which orders are over, and settle them with the readings there are."""

    def settle() -> None:
        with store.writing() as connection:
            books.settle(connection, audit, clock(), again=False)

    while True:
        try:
            await asyncio.to_thread(settle)
        except Exception:  # for example a database that is away: tried again
            logger.exception("settling failed")
        await asyncio.sleep(SETTLED_EVERY_S)


def _signing_key(settings: BppSettings) -> Ed25519PrivateKey:
    if settings.signing_key is not None:
        return private_key(settings.signing_key.get_secret_value())
    key = Ed25519PrivateKey.generate()
    logger.warning(
        "BPP_SIGNING_KEY is not set: callbacks are signed with a key made for this run, which no registry knows"
    )
    return key


def _subscription(settings: BppSettings) -> Subscription | None:
    own, theirs, signer = settings.encryption_key, settings.registry_encryption_key, settings.registry_signing_key
    if own is None or theirs is None or signer is None:
        if (own, theirs, signer) != (None, None, None):
            raise ValueError(
                "/on_subscribe needs BPP_ENCRYPTION_KEY, BPP_REGISTRY_ENCRYPTION_KEY and BPP_REGISTRY_SIGNING_KEY; "
                "set all three or none"
            )
        return None
    return Subscription(
        X25519PrivateKey.from_private_bytes(raw_key(own.get_secret_value())),
        X25519PublicKey.from_public_bytes(raw_key(theirs)),
        public_key(signer),
    )


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    """What nobody asked this endpoint for is refused in the shape of its other refusals."""
    assert isinstance(error, HTTPException)
    text = f"{request.method} {request.url.path[:80]}: {error.detail}; allowed is POST to one of the verbs"
    return JSONResponse(nack(Problem(Kind.CORE, Code.INVALID_REQUEST, text)), error.status_code, headers=error.headers)
