"""Our endpoint in a server of its own, with two offers on sale."""

import contextlib
import functools
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

import httpx
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI

from dispatch.audit import Audit
from dispatch.flex_offers import Offer
from dispatch.selling import Seller
from dispatch.store import Store
from server.beckn.app import kept_on_sale
from server.beckn.callbacks import Caller, Signer
from server.beckn.dialect import Shop
from server.beckn.inbox import Inbox, MessageIds
from server.beckn.outbox import Outbox
from server.beckn.provider import Provider
from server.beckn.registry import Registry, Subscriber
from server.beckn.routes import Endpoint, Terms
from server.beckn.signing import BadSignature, public_key
from server.beckn.subscription import Subscription
from tests.bap import Bap, faults

DOMAIN = "nic2004:energy:compute-flex"
BPP_ID, BPP_URI = "bpp.flexcompute.example", "https://bpp.flexcompute.example"
SHOP = Shop(
    "flexcompute-hpc", "FlexCompute", "FlexCompute London", "+44-20-0000-0000", "a@b.example", "https://b.example"
)
START = (datetime.now(UTC) + timedelta(hours=6)).replace(minute=0, second=0, microsecond=0)
OFFERS = [
    Offer("flex-job-001", "hpc-1", 500.0, START, START + timedelta(hours=4), 150.0, 90.0, START),
    Offer("flex-job-002", "hpc-2", 120.5, START + timedelta(hours=1), START + timedelta(hours=2), 80.0, None, START),
]
BILLING = {"name": "Grid operator", "phone": "+44-20-1111-1111"}


class FixedRegistry:
    """A network whose members are known beforehand."""

    def __init__(self, subscribers: list[Subscriber]) -> None:
        self._known = {(one.subscriber_id, one.key_id): one for one in subscribers}

    async def find(self, subscriber_id: str, key_id: str) -> Subscriber:
        found = self._known.get((subscriber_id, key_id))
        if found is None:
            raise BadSignature(f"{subscriber_id!r} has no key {key_id!r} here")
        return found


class Running:
    """Our endpoint in a server of its own."""

    def __init__(
        self,
        store: Store,
        bap: Bap,
        message_ids: MessageIds = MessageIds.ECHO,
        seller: Seller | None = None,
        registry: Registry | None = None,
        subscription: Subscription | None = None,
        allowed: frozenset[str] | None = None,
    ) -> None:
        self.store, self.audit, self.key = store, Audit(store), Ed25519PrivateKey.generate()
        clock = functools.partial(datetime.now, UTC)
        provider = Provider(self.audit, SHOP)
        inbox = Inbox(store, self.audit, provider, BPP_ID, BPP_URI, message_ids)
        reached = frozenset({f"127.0.0.1:{bap.port}"}) if allowed is None else allowed
        caller = Caller(Outbox(store, self.audit), Signer(BPP_ID, "k1", self.key), reached)
        known = registry or FixedRegistry([Subscriber("127.0.0.1", "k1", public_key(bap.public), 2**40)])
        endpoint = Endpoint(inbox, caller, Terms((DOMAIN,), BPP_ID, known), clock, subscription)

        @contextlib.asynccontextmanager
        async def lifespan(app):
            planning = contextlib.nullcontext() if seller is None else kept_on_sale(seller, clock, every_s=0.05)
            async with planning, endpoint.running():
                yield

        app = FastAPI(lifespan=lifespan)
        app.include_router(endpoint.router)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="warning"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30.0)

    def close(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join()


def ask(bpp, bap, action, message, **context):
    """One exchange: acknowledged, called back, both of the published shape."""
    count = len(bap.callbacks)
    answer = bap.post(bpp.client, bap.message(action, message, **context))
    assert answer.status_code == 200, answer.text
    assert faults(f"/{action}", answer.json(), response=True) == []
    callback = bap.wait(count + 1)[count]
    assert faults(f"/on_{action}", callback) == []
    return callback


def order_of(offer_id="flex-job-001", kw=None, billing=BILLING, **more):
    item = {"id": offer_id} | ({} if kw is None else {"quantity": {"count": 1, "measure": {"value": kw, "unit": "kW"}}})
    return {"order": {"items": [item], "billing": billing, **more}}
