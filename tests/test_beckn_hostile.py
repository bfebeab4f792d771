"""Whatever comes is answered in the agreed shape: no error of ours at the door, and none behind it."""

import asyncio
import copy
import json
import uuid
from datetime import UTC, datetime

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatch.audit import Audit
from dispatch.flex_offers import publish
from dispatch.store import Store
from server.beckn.callbacks import Caller, Signer
from server.beckn.inbox import Inbox, altered
from server.beckn.outbox import Outbox
from server.beckn.provider import VERBS, Provider
from server.beckn.routes import Endpoint, Terms
from tests.bap import Bap, faults
from tests.bpp import BPP_ID, BPP_URI, DOMAIN, OFFERS, SHOP, START, order_of

TEXTS = (
    "", "flex-job-001", "kW", "billing", "1e999", "nan", "-0", "0x1", "\0", "\ud800", "a" * 256, "http://[", "//",
    "http://127.0.0.1:99999/", "2024-01-01T00:00:00",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "P9999999999Y",
)  # fmt: skip
NUMBERS = (0, -1, 5, 10**400, -(10**400), 1e308, 1e-320, 2**63, 0.1)
LEAVES = (
    st.sampled_from(TEXTS) | st.sampled_from(NUMBERS) | st.none() | st.booleans() | st.text(st.characters(), max_size=5)
)
NAMES = st.sampled_from(("id", "items", "quantity", "measure", "value", "unit", "tags", "list", "descriptor", "code"))
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
WINDOW = {"start": {"time": {"range": {"start": START.isoformat(), "end": START.isoformat()}}}}
NEWER_TAGS = [{"descriptor": {"code": "flex"}, "list": [{"descriptor": {"code": "power_kw"}, "value": "9"}]}]
MESSAGES = {
    "search": {"intent": {"fulfillment": WINDOW, "tags": {"power_kw": "1", "duration_hours": "1", "cluster_id": "c"}}},
    "select": order_of(kw=100),
    "init": order_of(kw=100, id="x"),
    "confirm": order_of(kw=100),
    "status": {"order_id": "x"},
    "update": {"update_target": "billing", **order_of()},
    "cancel": {"order_id": "x"},
    "track": {"order_id": "x"},
    "support": {"ref_id": "x", "support": {"ref_id": "x"}},
    "rating": {"id": "x", "value": 4, "ratings": [{"id": "x", "value": "4"}]},
}
NEWER = {
    "location": {"country": {"code": "GBR"}, "city": {"code": "std:020"}},
    "version": "1.1.0",
    "core_version": None,
}


def places(value, path=()):
    """The way to every value in a message."""
    yield path
    for step, inner in (
        value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    ):
        yield from places(inner, (*path, step))


@st.composite
def broken(draw, body):
    """A good message in which one to three values are others or gone."""
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([path for path in places(body) if path]))
        holder = body
        for step in path[:-1]:
            holder = holder[step]
        if draw(st.integers(0, 4)):
            holder[path[-1]] = draw(ANYTHING)
        else:
            del holder[path[-1]]
        if not body:
            break
    return body


class Door:
    """The endpoint without its worker: a test has it act when all is in."""

    def __init__(self, store):
        audit = Audit(store)
        self.store, self.audit = store, audit
        with store.writing() as connection:
            publish(connection, audit, OFFERS, datetime.now(UTC))
        self.inbox = Inbox(store, audit, Provider(audit, SHOP), BPP_ID, BPP_URI)
        self.outbox = Outbox(store, audit)
        caller = Caller(self.outbox, Signer(BPP_ID, "k1", Ed25519PrivateKey.generate()))
        self._app = FastAPI()
        self._app.include_router(Endpoint(self.inbox, caller, Terms((DOMAIN,), BPP_ID, None), self.now, None).router)

    @staticmethod
    def now():
        return datetime.now(UTC)

    def post(self, verb, raw):
        async def posted():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://bpp") as client:
                return await client.post(f"/{verb}", content=raw)

        return asyncio.run(posted())

    def act(self):
        """Act on everything, and give what would be called back."""
        while self.inbox.act((DOMAIN,), self.now):
            pass
        return self.outbox.due(self.now(), 10_000)


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    """With one order, so that messages about it get far."""
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('hostile') / 'state.db'}")
    door = Door(store)
    bap = Bap()
    ordered = bap.message("confirm", order_of(kw=100), transaction_id="deal")
    bap.close()
    assert door.post("confirm", json.dumps(ordered).encode()).status_code == 200
    (callback,) = door.act()
    door.order_id = json.loads(callback.body)["message"]["order"]["id"]
    yield door
    store.close()


@pytest.mark.parametrize("context", [{}, NEWER], ids=["0.9.4", "1.1.0"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_broken_message_is_acknowledged_and_answered_or_refused_and_never_our_fault(verb, context, door, bap, caplog):
    message = json.loads(json.dumps(MESSAGES[verb]).replace('"x"', json.dumps(door.order_id)))
    good = bap.message(verb, message, transaction_id="deal", **context)
    if context:
        for item in good["message"].get("order", {}).get("items", []):
            item["quantity"] = {"selected": item.get("quantity")}
        if verb == "search":
            good["message"]["intent"]["tags"] = NEWER_TAGS
    before = len(door.act())

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(broken(good) | broken(good["message"]).map(lambda message: {**good, "message": message}))
    def ask(body):
        context = body.get("context")
        if isinstance(context, dict) and context.get("message_id") == good["context"]["message_id"]:
            body = {**body, "context": {**context, "message_id": str(uuid.uuid4())}}
        raw = json.dumps(body).encode()
        answer = door.post(verb, raw)
        assert answer.status_code in (200, 400), answer.text
        assert faults(f"/{verb}", answer.json(), response=True) == []
        if answer.status_code == 200:
            taken.add(raw)

    taken = set()
    ask()
    callbacks = door.act()
    assert len(callbacks) - before == len(taken)
    for callback in callbacks:
        said = json.loads(callback.body)
        if said["context"].get("core_version"):
            assert faults(f"/{said['context']['action']}", said) == []
        assert said.get("error", {}).get("message", "") != "it failed for a fault of ours; tell us"
    assert not [record for record in caplog.records if record.exc_info]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(VERBS), st.binary(max_size=60) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_a_body_that_is_no_message_is_refused(door, verb, raw):
    answer = door.post(verb, raw)
    assert answer.status_code == 400
    assert faults(f"/{verb}", answer.json(), response=True) == []


def test_after_all_of_it_the_log_is_whole(door):
    door.act()
    assert door.audit.faults() == altered(door.store, door.audit) == []


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "\u00e4" * 70, "x..y", "[x"], ids=range(4))
def test_what_is_no_host_is_a_callback_that_was_not_taken_and_no_crash(host, tmp_path, bap):
    """It is tried again later, as one that is down; an exception would have it tried again at once, for ever."""
    store = Store(f"sqlite:///{tmp_path / 'state.db'}")
    door = Door(store)
    body = bap.message("search", {"intent": {}}, bap_id=host, bap_uri=f"http://{host}/")
    if door.post("search", json.dumps(body).encode()).status_code == 400:
        return  # refused at the door is as good
    assert len(door.act()) == 1
    caller = Caller(door.outbox, None, frozenset({f"{host.lower()}:80"}))

    async def sent():
        await caller.start_due(door.now)
        async with asyncio.timeout(10.0):
            while not list(door.audit.entries("beckn_called_back")):
                await asyncio.sleep(0.01)
        await caller.close()

    asyncio.run(sent())
    assert door.outbox.due(door.now(), 1) == []
    store.close()
