"""Joining a network, knowing who is on it, and planning while buyers wait for no acknowledgement."""

import base64
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from data.workloads import workloads
from dispatch.audit import Audit
from dispatch.outlook import synthetic
from dispatch.selling import Seller
from dispatch.store import Store
from server.beckn.app import seller_of
from server.beckn.registry import HttpRegistry
from server.beckn.settings import BppSettings, PlannedBy, raw_key
from server.beckn.subscription import Subscription
from tests.bap import RegistryServer, row_of
from tests.bpp import Running, ask


@pytest.fixture
def store(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'state.db'}")
    yield store
    store.close()


def test_a_subscriber_is_looked_up_once_and_remembered(store, bap):
    registry = RegistryServer(row_of(bap))
    bpp = Running(store, bap, registry=HttpRegistry(registry.url))
    for count in range(3):
        assert bap.post(bpp.client, bap.message("search", {"intent": {}})).status_code == 200, count
    assert registry.asked == 1
    bpp.close()
    registry.close()


def test_many_simultaneous_messages_of_one_buyer_ask_the_registry_once(store, bap):
    """All come while the registry is still thinking."""
    registry = RegistryServer(row_of(bap), thinks_s=0.5)
    bpp = Running(store, bap, registry=HttpRegistry(registry.url))
    bodies = [bap.message("search", {"intent": {}}) for _ in range(24)]
    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(lambda body: bap.post(bpp.client, body), bodies))
    assert [answer.status_code for answer in answers] == [200] * len(bodies)
    assert len(bap.wait(len(bodies))) == len(bodies)
    assert registry.asked == 1
    bpp.close()
    registry.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "UNSUBSCRIBED"},
        {"status": "EXPIRED"},
        {"status": "INVALID_SSL"},
        {"valid_until": "2020-01-01T00:00:00Z"},
        {"valid_from": "2999-01-01T00:00:00Z"},
        {"signing_public_key": base64.b64encode(bytes(32)).decode()},
        {"signing_public_key": "none"},
        {"subscriber_id": "someone.else"},
        {"ukId": "k2"},
    ],
    ids=str,
)
def test_what_the_registry_does_not_vouch_for_is_not_believed(changes, store, bap):
    registry = RegistryServer(row_of(bap, **changes))
    bpp = Running(store, bap, registry=HttpRegistry(registry.url))
    assert bap.post(bpp.client, bap.message("search", {"intent": {}})).status_code == 401
    bpp.close()
    registry.close()


def test_without_its_registry_nobody_is_believed(store, bap):
    bpp = Running(store, bap, registry=HttpRegistry("http://127.0.0.1:9"))
    assert bap.post(bpp.client, bap.message("search", {"intent": {}})).status_code == 401
    bpp.close()


def seal(secret, text):
    padder = PKCS7(128).padder()
    padded = padder.update(text.encode()) + padder.finalize()
    writer = Cipher(algorithms.AES256(secret), modes.ECB()).encryptor()
    return base64.b64encode(writer.update(padded) + writer.finalize()).decode()


def test_the_registrys_challenge_is_answered_and_nobody_elses(store, bap):
    own, theirs = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    subscription = Subscription(own, theirs.public_key(), bap.key.public_key())  # the buyer's key plays the registry's
    bpp = Running(store, bap, subscription=subscription)
    secret = theirs.exchange(own.public_key())
    body = json.dumps({"subscriber_id": "us", "challenge": seal(secret, "why?")}).encode()
    assert bap.post(bpp.client, body, "/on_subscribe").json() == {"answer": "why?"}
    forged = bpp.client.post("/on_subscribe", content=body, headers={"authorization": bap.signed(body + b" ")})
    assert (forged.status_code, "www-authenticate" in forged.headers) == (401, True)
    for challenge in (seal(os.urandom(32), "why?"), "none", "", 7, base64.b64encode(b"x" * 15).decode()):
        answer = bap.post(bpp.client, json.dumps({"challenge": challenge}).encode(), "/on_subscribe")
        assert answer.status_code == 400, challenge
        assert answer.json()["error"]["path"] == "challenge"
    bpp.close()


def test_keys_are_read_bare_and_in_der():
    key = X25519PrivateKey.generate()
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert raw_key(base64.b64encode(der).decode()) == key.private_bytes_raw()
    assert raw_key(base64.b64encode(public).decode()) == key.public_key().public_bytes_raw()
    assert raw_key(base64.b64encode(key.private_bytes_raw()).decode()) == key.private_bytes_raw()
    with pytest.raises(ValueError, match="32 bytes"):
        raw_key(base64.b64encode(b"short").decode())


def test_settings_come_from_the_environment_and_a_wrong_one_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("BPP_PROVIDER_ID", "hpc")
    monkeypatch.setenv("BPP_CALLBACKS_ALLOWED", "a:1, b:2")
    monkeypatch.setenv("COMPUTE_AGENT_JOBS_PATH", str(tmp_path / "jobs.json"))
    read = BppSettings.from_environment()
    assert (read.provider_id, read.allowed, read.jobs_path) == (
        "hpc",
        frozenset({"a:1", "b:2"}),
        tmp_path / "jobs.json",
    )
    monkeypatch.setenv("BPP_MAX_POWER_KW", "-1")
    with pytest.raises(ValueError, match="BPP_MAX_POWER_KW: Input should be greater than 0"):
        BppSettings.from_environment()


@pytest.mark.parametrize("planner", list(PlannedBy))
def test_what_a_search_finds_was_planned_and_can_be_ordered(planner, store, bap, tmp_path):
    jobs = tmp_path / "jobs.json"
    jobs.write_text(json.dumps([job.model_dump(mode="json") for job in workloads(None, datetime.now(UTC))[::6]]))
    seller = seller_of(BppSettings(planner=planner, COMPUTE_AGENT_JOBS_PATH=str(jobs)), store, Audit(store))
    bpp = Running(store, bap, seller=seller)
    deal = {"transaction_id": "deal"}
    items = ask(bpp, bap, "search", {"intent": {}}, **deal)["message"]["catalog"]["bpp/providers"][0]["items"]
    assert len(items) > 10
    tags = items[0]["tags"]
    assert set(tags) >= {"cluster_id", "power_kw", "duration_hours"}
    order = ask(bpp, bap, "confirm", {"order": {"items": [{"id": items[0]["id"]}]}}, **deal)["message"]["order"]
    assert order["state"] == "CONFIRMED"
    again = ask(bpp, bap, "search", {"intent": {}})["message"]["catalog"]["bpp/providers"][0]["items"]
    assert items[0]["id"] not in {item["id"] for item in again}
    bpp.close()


def test_no_message_waits_for_a_plan(store, bap):
    """B02: while the second plan is being made and not done, all is acknowledged and called back from the first."""
    begun, go_on = threading.Event(), threading.Event()

    def slow_after_the_first(issued_at, start, periods):
        if store_is_stocked():
            begun.set()
            assert go_on.wait(60.0)
        return synthetic(issued_at, start, periods)

    def store_is_stocked():
        return seller.on_sale(datetime.now(UTC)) != []

    seller = Seller(store, Audit(store), lambda at: workloads(None, at), slow_after_the_first)
    bpp = Running(store, bap, seller=seller)
    assert begun.wait(20.0)
    deal = {"transaction_id": "deal"}
    items = ask(bpp, bap, "search", {"intent": {}}, **deal)["message"]["catalog"]["bpp/providers"][0]["items"]
    order = ask(bpp, bap, "confirm", {"order": {"items": [{"id": items[0]["id"]}]}}, **deal)["message"]["order"]
    assert order["state"] == "CONFIRMED"
    assert not go_on.is_set()
    go_on.set()
    bpp.close()
    assert items[0]["id"] not in {offer.offer_id for offer in seller.on_sale(datetime.now(UTC))}


def test_jobs_that_come_later_are_sold_without_being_asked_for(store, bap):
    everything = workloads(None, datetime.now(UTC))
    at_hand = everything[: len(everything) // 2]
    seller = Seller(store, Audit(store), lambda at: list(at_hand), synthetic)
    bpp = Running(store, bap, seller=seller)
    before = len(seller.on_sale(datetime.now(UTC)))
    at_hand.extend(everything[len(everything) // 2 :])
    until = time.monotonic() + 20.0
    while len(seller.on_sale(datetime.now(UTC))) <= before and time.monotonic() < until:
        time.sleep(0.05)
    assert len(seller.on_sale(datetime.now(UTC))) > before > 0
    bpp.close()


def test_a_planner_that_fails_leaves_on_sale_what_was(store, bap):
    fine = Seller(store, Audit(store), lambda at: workloads(None, at), synthetic)
    fine.renew(lambda: datetime.now(UTC))
    expected = {offer.offer_id for offer in fine.on_sale(datetime.now(UTC))}

    def broken(at):
        raise OSError("the jobs are gone")

    bpp = Running(store, bap, seller=Seller(store, Audit(store), broken, synthetic))
    catalog = ask(bpp, bap, "search", {"intent": {}})["message"]["catalog"]
    found = {item["id"] for item in catalog["bpp/providers"][0]["items"]}
    assert found
    assert found <= expected
    bpp.close()
