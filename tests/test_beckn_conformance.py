"""The list B01 to B24 of what a Beckn provider must do: where each is tested, and the tests that stand nowhere else."""

import asyncio
import importlib
import json
import re
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from dispatch.audit import Audit
from dispatch.flex_offers import on_sale, publish
from server.beckn.app import create_bpp
from server.beckn.inbox import altered
from server.beckn.provider import VERBS
from server.beckn.settings import BppSettings
from tests.bap import Bap, faults
from tests.bpp import BPP_URI, OFFERS, Running, ask, order_of

CHECKS = {
    "B01": ["test_beckn_conformance.test_b01_every_verb_is_acknowledged_within_a_second"],
    "B02": ["test_beckn_network.test_no_message_waits_for_a_plan"],
    "B03": ["test_beckn_conformance.test_b03_a_callback_comes_once_to_the_path_that_was_named"],
    "B04": ["test_beckn_conformance.test_b04_prices_and_tags_are_texts_and_plain_decimals"],
    "B05": ["test_beckn.test_a_callback_carries_the_context_of_its_request",
            "test_beckn.test_a_callback_has_an_id_of_its_own_where_so_configured"],
    "B06": ["test_beckn.test_a_missing_context_field_is_named_and_nothing_follows"],
    "B07": ["test_beckn.test_no_body_gets_anything_but_an_acknowledgement_that_is_none",
            "test_beckn.test_a_wrong_context_is_not_acknowledged"],
    "B08": ["test_beckn.test_a_wrong_context_is_not_acknowledged",
            "test_beckn_conformance.test_b08_without_a_ttl_a_message_is_valid_for_half_a_minute"],
    "B09": ["test_beckn.test_the_same_message_is_acted_on_once_and_another_under_its_name_never"],
    "B10": ["test_beckn.test_what_cannot_be_done_is_called_back_as_an_error"],
    "B11": ["test_beckn.test_fifty_buyers_at_once_never_get_more_than_there_is"],
    "B12": ["test_beckn_conformance.test_b12_a_quote_or_offer_that_has_expired_is_not_confirmed"],
    "B13": ["test_beckn.test_an_update_keeps_to_its_target",
            "test_beckn.test_what_cannot_be_done_is_called_back_as_an_error"],
    "B14": ["test_beckn_conformance.test_b14_a_cancellation_returns_the_power_once_and_comes_too_late_at_gate_closure"],
    "B15": ["test_beckn_story.test_the_whole_story_from_search_to_the_paid_statement"],
    "B16": ["test_beckn.test_a_buyer_that_fails_or_redirects_is_called_again_with_the_same_bytes",
            "test_beckn_conformance.test_b16_a_buyer_that_is_slow_or_never_ends_keeps_no_other_waiting",
            "test_beckn_conformance.test_b16_a_buyer_that_is_down_is_called_again_once_it_is_back"],
    "B17": ["test_beckn.test_callbacks_never_go_inside", "test_beckn.test_callbacks_go_to_the_buyers_own_host_only",
            "test_beckn_conformance.test_b17_a_callback_address_inside_is_acknowledged_but_never_called"],
    "B18": ["test_beckn.test_a_message_that_is_not_signed_by_its_sender_is_not_taken", "test_beckn_signing"],
    "B19": ["test_beckn.test_the_whole_story_from_search_to_cancel",
            "test_beckn_story.test_the_whole_story_from_search_to_the_paid_statement"],
    "B20": ["test_beckn.test_a_gateway_must_sign_too_where_it_says_it_does"],
    "B21": ["test_beckn.test_a_search_finds_what_it_asks_for_and_says_so_when_there_is_nothing"],
    "B22": ["test_beckn_conformance.test_b22_what_is_no_verb_is_refused_as_json"],
    "B23": ["test_beckn_conformance.test_b23_every_exchange_is_in_the_log_and_one_altered_byte_is_found"],
    "B24": ["test_beckn.test_a_message_of_the_newer_dialect_is_answered_in_it"],
}  # fmt: skip


def test_every_check_of_the_list_has_its_test():
    assert list(CHECKS) == [f"B{number:02d}" for number in range(1, 25)]
    for tests in CHECKS.values():
        for name in tests:
            module, _, test = name.partition(".")
            found = importlib.import_module(f"tests.{module}")
            assert not test or callable(getattr(found, test)), name


def test_b01_every_verb_is_acknowledged_within_a_second(bpp, bap):
    for verb in VERBS:
        began = time.perf_counter()
        answer = bap.post(bpp.client, bap.message(verb, {"intent": {}, "order": {"items": [{"id": "flex-job-001"}]}}))
        assert time.perf_counter() - began < 1.0, verb
        assert answer.status_code == 200
        assert answer.json() == {"message": {"ack": {"status": "ACK"}}}  # and no error, not even null
        assert faults(f"/{verb}", answer.json(), response=True) == []


@pytest.mark.parametrize("path", ["/beckn", "/beckn/", "/a/b", ""])
def test_b03_a_callback_comes_once_to_the_path_that_was_named(path, bpp, bap):
    ask(bpp, bap, "search", {"intent": {}}, bap_uri=f"http://127.0.0.1:{bap.port}{path}")
    time.sleep(1.2)  # longer than the first retry would take
    assert [came for came, _, _ in bap.callbacks] == [f"{path.rstrip('/')}/on_search"]


def test_b04_prices_and_tags_are_texts_and_plain_decimals(stocked, bap):
    with stocked.writing() as connection:
        tiny = OFFERS[0]._replace(offer_id="tiny", power_kw=0.001, price_gbp_per_mwh=0.00001)
        publish(connection, Audit(stocked), [*OFFERS, tiny], datetime.now(UTC))
    bpp = Running(stocked, bap)
    for message in (
        ask(bpp, bap, "search", {"intent": {}})["message"],
        ask(bpp, bap, "confirm", order_of("tiny"))["message"],
    ):
        for price in (inner for name, inner in walk(message) if name in ("price", "params")):
            for name in ("value", "amount"):
                assert name not in price or re.fullmatch(r"[+-]?([0-9]*[.])?[0-9]+", price[name])
        for tags in (inner for name, inner in walk(message) if name == "tags"):
            assert {type(value) for value in tags.values()} == {str}
            assert not any(re.search(r"nan|inf|\de-", value, re.IGNORECASE) for value in tags.values())
    bpp.close()


def walk(value):
    """Every (name, object) of a message."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, dict):
                yield name, inner
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def test_b08_without_a_ttl_a_message_is_valid_for_half_a_minute(bpp, bap):
    def posted(age_s):
        at = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat()
        return bap.post(bpp.client, bap.message("search", {"intent": {}}, ttl=None, timestamp=at))

    assert posted(25).status_code == 200
    assert posted(31).json()["error"]["code"] == "30022"


def test_b12_a_quote_or_offer_that_has_expired_is_not_confirmed(bpp, bap, stocked):
    deal = {"transaction_id": "deal"}
    ask(bpp, bap, "select", order_of(kw=100), **deal)
    old = (datetime.now(UTC) - timedelta(minutes=11)).isoformat(timespec="microseconds")
    with stocked.writing() as connection:
        connection.exec_driver_sql("UPDATE flex_order SET quoted_at = ?", (old,))
    order_id = ask(bpp, bap, "status", {"order_id": dealing(stocked)}, **deal)["message"]["order"]["id"]
    assert ask(bpp, bap, "confirm", {"order": {"id": order_id}}, **deal)["error"]["code"] == "40003"
    ask(bpp, bap, "select", order_of(kw=100), **deal)
    with stocked.writing() as connection:
        connection.exec_driver_sql("UPDATE flex_offer SET expires_at = ?", (old,))
    assert ask(bpp, bap, "confirm", {"order": {"id": order_id}}, **deal)["error"]["code"] == "40003"


def dealing(stocked):
    with stocked.reading() as connection:
        return connection.exec_driver_sql("SELECT order_id FROM flex_order").scalar_one()


def test_b14_a_cancellation_returns_the_power_once_and_comes_too_late_at_gate_closure(bpp, bap, stocked):
    order = ask(bpp, bap, "confirm", order_of(kw=200))["message"]["order"]
    for _ in range(2):
        assert ask(bpp, bap, "cancel", {"order_id": order["id"]})["message"]["order"]["state"] == "CANCELLED"
        with stocked.reading() as connection:
            assert on_sale(connection, datetime.now(UTC))[0].power_kw == 500.0
    late = ask(bpp, bap, "confirm", order_of(kw=200))["message"]["order"]
    soon = (datetime.now(UTC) + timedelta(minutes=59)).isoformat(timespec="microseconds")
    with stocked.writing() as connection:
        connection.exec_driver_sql("UPDATE flex_order SET start = ? WHERE order_id = ?", (soon, late["id"]))
    assert ask(bpp, bap, "cancel", {"order_id": late["id"]})["error"]["code"] == "50001"


class NeverEnding:
    """A buyer's server that takes a message and then answers for ever, a byte at a time, or not at all."""

    def __init__(self, first):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port, self._open, self._first = self._socket.getsockname()[1], [], first
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            connection.sendall(self._first)

    def close(self):
        self._socket.close()
        for connection in self._open:
            connection.close()


def test_b16_a_buyer_that_is_slow_or_never_ends_keeps_no_other_waiting(stocked, bap):
    slow = NeverEnding(b"")
    endless = NeverEnding(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
    allowed = frozenset({f"127.0.0.1:{port}" for port in (bap.port, slow.port, endless.port)})
    bpp = Running(stocked, bap, allowed=allowed)
    for other in (slow, endless):
        for _ in range(3):
            body = bap.message("search", {"intent": {}}, bap_uri=f"http://127.0.0.1:{other.port}")
            assert bap.post(bpp.client, body).status_code == 200
    began = time.perf_counter()
    ask(bpp, bap, "search", {"intent": {}})
    assert time.perf_counter() - began < 3.0
    bpp.close()
    slow.close()
    endless.close()


def test_b16_a_buyer_that_is_down_is_called_again_once_it_is_back(stocked, bap):
    back = Bap()
    address = back.port
    back.close()
    bpp = Running(stocked, bap, allowed=frozenset({f"127.0.0.1:{bap.port}", f"127.0.0.1:{address}"}))
    gone = bap.message("search", {"intent": {}}, bap_uri=f"http://127.0.0.1:{address}")
    assert bap.post(bpp.client, gone).status_code == 200
    ask(bpp, bap, "search", {"intent": {}})  # nobody else waits for it
    back = Bap(port=address)
    (callback,) = back.wait(1)
    assert callback["context"]["message_id"] == gone["context"]["message_id"]
    problems = [json.loads(entry.body)["problem"] for entry in bpp.audit.entries("beckn_called_back")]
    assert any("ConnectError" in (problem or "") for problem in problems)
    bpp.close()
    back.close()


def test_b17_a_callback_address_inside_is_acknowledged_but_never_called(stocked, bap):
    bpp = Running(stocked, bap, allowed=frozenset())
    assert bap.post(bpp.client, bap.message("search", {"intent": {}})).status_code == 200
    until = time.monotonic() + 10.0
    while not (tried := list(bpp.audit.entries("beckn_called_back"))) and time.monotonic() < until:
        time.sleep(0.05)
    assert "is not https" in json.loads(tried[0].body)["problem"]
    assert bap.callbacks == []
    bpp.close()


def test_b22_what_is_no_verb_is_refused_as_json(stocked):
    app = create_bpp(BppSettings(), stocked, Audit(stocked), BPP_URI)

    async def asked():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bpp") as client:
            return [await client.post("/on_search"), await client.post("/nothing"), await client.get("/search")]

    for answer, status in zip(asyncio.run(asked()), (404, 404, 405), strict=True):
        assert answer.status_code == status
        assert faults("/search", answer.json(), response=True) == []
        assert answer.json()["message"]["ack"]["status"] == "NACK"


@pytest.mark.parametrize("table", ["beckn_message", "beckn_callback"])
def test_b23_every_exchange_is_in_the_log_and_one_altered_byte_is_found(table, bpp, bap, stocked):
    ask(bpp, bap, "confirm", order_of(kw=100))
    until = time.monotonic() + 10.0
    while len(list(bpp.audit.entries("beckn_called_back"))) < 1 and time.monotonic() < until:
        time.sleep(0.05)
    kinds = {entry.kind for entry in bpp.audit.entries()}
    assert {"beckn_received", "beckn_acted_on", "beckn_called_back", "flexibility_confirmed"} <= kinds
    assert bpp.audit.faults() == altered(stocked, bpp.audit) == []
    with stocked.writing() as connection:
        connection.exec_driver_sql(f"UPDATE {table} SET body = replace(body, '\"timestamp\"', '\"timestamq\"')")
    assert len(altered(stocked, bpp.audit)) == 1
