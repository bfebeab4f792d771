"""The endpoint as a buyer meets it: over HTTP, signed, against the closed published schema."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from dispatch.audit import Audit
from dispatch.flex_offers import on_sale
from dispatch.flex_orders import OrderState, orders
from server.beckn.callbacks import Forbidden, check_belongs, public_address
from server.beckn.context import duration, read_context
from server.beckn.inbox import Inbox, MessageIds
from server.beckn.provider import VERBS, Provider
from tests.bap import Bap, faults
from tests.bpp import BILLING, BPP_ID, BPP_URI, DOMAIN, SHOP, START, Running, ask, order_of


def test_the_whole_story_from_search_to_cancel(bpp, bap, stocked):
    deal = {"transaction_id": "deal-1"}
    found = ask(bpp, bap, "search", {"intent": {}}, **deal)["message"]["catalog"]["bpp/providers"][0]["items"]
    assert [item["id"] for item in found] == ["flex-job-001", "flex-job-002"]
    assert found[0]["price"] == {"currency": "GBP", "value": "150.00"}
    selected = ask(bpp, bap, "select", order_of(kw=200), **deal)["message"]["order"]
    assert selected["quote"]["price"]["value"] == "120.00"  # 0.2 MW for 4 h at 150 GBP/MWh
    assert selected["state"] == "QUOTED"
    begun = ask(bpp, bap, "init", order_of(), **deal)["message"]["order"]
    assert begun["billing"] == BILLING
    assert begun["items"][0]["quantity"]["measure"] == {"value": 200.0, "unit": "kW"}
    order = ask(bpp, bap, "confirm", {"order": {"id": begun["id"]}}, **deal)["message"]["order"]
    assert (order["state"], order["id"]) == ("CONFIRMED", selected["id"])
    left = ask(bpp, bap, "search", {"intent": {}})["message"]["catalog"]["bpp/providers"][0]["items"]
    assert left[0]["tags"]["power_kw"] == "300"
    name = {"order_id": order["id"]}
    assert ask(bpp, bap, "status", name, **deal)["message"]["order"] == order
    assert ask(bpp, bap, "track", name, **deal)["message"]["tracking"]["status"] == "inactive"
    assert ask(bpp, bap, "support", {"ref_id": order["id"]}, **deal)["message"]["phone"] == SHOP.phone
    assert ask(bpp, bap, "rating", {"id": order["id"], "value": 4}, **deal)["message"]["rating_ack"]
    updated = {"update_target": "billing", "order": {"id": order["id"], "billing": {"name": "B", "phone": "2"}}}
    assert ask(bpp, bap, "update", updated, **deal)["message"]["order"]["billing"] == {"name": "B", "phone": "2"}
    assert ask(bpp, bap, "cancel", name, **deal)["message"]["order"]["state"] == "CANCELLED"
    with stocked.reading() as connection:
        assert on_sale(connection, datetime.now(UTC))[0].power_kw == 500.0
    assert bpp.audit.faults() == []
    for count in range(len(bap.callbacks)):
        bap.verify(bpp.key.public_key(), count)


def test_a_callback_carries_the_context_of_its_request(bpp, bap):
    callback = ask(bpp, bap, "search", {"intent": {}}, transaction_id="t", message_id="m")["context"]
    sent = bap.message("search", {}, transaction_id="t", message_id="m")["context"]
    for name in ("domain", "country", "city", "core_version", "bap_id", "bap_uri", "transaction_id", "message_id"):
        assert callback[name] == sent[name], name
    assert (callback["action"], callback["bpp_id"], callback["bpp_uri"]) == ("on_search", BPP_ID, BPP_URI)
    assert bap.callbacks[0][0] == "/beckn/on_search"


def test_a_callback_has_an_id_of_its_own_where_so_configured(stocked, bap):
    running = Running(stocked, bap, message_ids=MessageIds.REGENERATE)
    assert ask(running, bap, "search", {"intent": {}}, message_id="m")["context"]["message_id"] != "m"
    running.close()


@pytest.mark.parametrize(
    ("tags", "window", "found"),
    [
        ({}, None, ["flex-job-001", "flex-job-002"]),
        ({"power_kw": "200"}, None, ["flex-job-001"]),
        ({"duration_hours": "2"}, None, ["flex-job-001"]),
        ({"cluster_id": "hpc-2"}, None, ["flex-job-002"]),
        ({}, (START + timedelta(hours=1), START + timedelta(hours=3)), ["flex-job-002"]),
        ({"power_kw": "9999"}, None, []),
    ],
)
def test_a_search_finds_what_it_asks_for_and_says_so_when_there_is_nothing(tags, window, found, bpp, bap):
    fulfilment = {"start": {"location": {"city": "std:080"}}}  # a text, as the user's own sample has it
    if window:
        fulfilment["start"]["time"] = {"range": {"start": window[0].isoformat(), "end": window[1].isoformat()}}
    catalog = ask(bpp, bap, "search", {"intent": {"fulfillment": fulfilment, "tags": tags}})["message"]["catalog"]
    assert [item["id"] for provider in catalog["bpp/providers"] for item in provider["items"]] == found


@pytest.mark.parametrize(
    ("action", "message", "code"),
    [
        ("select", order_of("nothing"), "30004"),
        ("select", order_of(kw=500.5), "40002"),
        ("confirm", order_of("nothing"), "30004"),
        ("confirm", {"order": {"id": "nothing"}}, "30010"),
        ("confirm", {"order": {}}, "30000"),
        ("status", {"order_id": "nothing"}, "30010"),
        ("cancel", {"order_id": "nothing"}, "30010"),
        ("cancel", {}, "30000"),
        ("track", {"order_id": 7}, "30000"),
        ("update", {"update_target": "price", "order": {}}, "30012"),
        ("select", {"order": {"items": [{"id": "a"}, {"id": "b"}]}}, "30000"),
        ("select", order_of(kw=-5), "30000"),
        ("select", order_of(billing={"name": "no phone"}), "30000"),
        ("search", {"intent": {"tags": {"power_kw": "lots"}}}, "30000"),
    ],
)
def test_what_cannot_be_done_is_called_back_as_an_error(action, message, code, bpp, bap):
    callback = ask(bpp, bap, action, message)
    assert "message" not in callback
    assert callback["error"]["code"] == code


def test_an_update_keeps_to_its_target(bpp, bap):
    deal = {"transaction_id": "deal"}
    order = ask(bpp, bap, "confirm", order_of(kw=100), **deal)["message"]["order"]
    other = {"update_target": "item", "order": {"id": order["id"], "billing": {"name": "B", "phone": "2"}}}
    assert ask(bpp, bap, "update", other, **deal)["error"]["code"] == "30013"
    more = {"update_target": "item", **order_of(kw=101, billing=None, id=order["id"])}
    del more["order"]["billing"]
    assert ask(bpp, bap, "update", more, **deal)["error"]["code"] == "50002"


def test_another_buyers_order_is_unknown(bpp, bap, stocked):
    order = ask(bpp, bap, "confirm", order_of())["message"]["order"]
    with stocked.writing() as connection:
        connection.exec_driver_sql("UPDATE flex_order SET buyer_id = 'someone.else'")
    assert ask(bpp, bap, "status", {"order_id": order["id"]})["error"]["code"] == "30010"


CONTEXT = (
    "domain",
    "country",
    "city",
    "core_version",
    "bap_id",
    "bap_uri",
    "transaction_id",
    "message_id",
    "timestamp",
)


@pytest.mark.parametrize("name", [*CONTEXT, "timestamp", "action"])
def test_a_missing_context_field_is_named_and_nothing_follows(name, bpp, bap):
    body = bap.message("search", {"intent": {}})
    del body["context"][name]
    answer = bap.post(bpp.client, body, "/search")
    assert answer.status_code == 400
    assert faults("/search", answer.json(), response=True) == []
    assert answer.json()["message"]["ack"]["status"] == "NACK"
    assert name in answer.json()["error"]["path"]
    time.sleep(0.1)
    assert bap.callbacks == []


@pytest.mark.parametrize(
    "context",
    [
        {"action": "select"},
        {"domain": "retail"},
        {"timestamp": "2020-01-01T00:00:00Z"},
        {"timestamp": "2999-01-01T00:00:00Z"},
        {"timestamp": "yesterday"},
        {"timestamp": "2024-01-01T00:00:00"},
        {"ttl": "30 seconds"},
        {"bpp_id": "another.example"},
        {"bap_uri": "file:///etc/passwd"},
        {"bap_uri": "http://169.254.169.254/latest"},
        {"transaction_id": "x" * 300},
        {"bap_id": ["a"]},
    ],
)
def test_a_wrong_context_is_not_acknowledged(context, bpp, bap):
    answer = bap.post(bpp.client, bap.message("search", {"intent": {}}, **context), "/search")
    assert answer.status_code == 400
    assert faults("/search", answer.json(), response=True) == []
    assert answer.json()["message"]["ack"]["status"] == "NACK"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"nothing",
        b"\xff\xfe",
        b'{"context": {}, "context": {}}',
        b'{"context": NaN}',
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a": "' + b"x" * 300_000 + b'"}',
        b'{"a": "' + b"x" * 10_000_000 + b'"}',
        b'{"context": {}}',
        b"1" * 5000,
    ],
    ids=range(12),
)
@pytest.mark.parametrize("verb", ["search", "confirm"])
def test_no_body_gets_anything_but_an_acknowledgement_that_is_none(verb, raw, bpp, bap):
    answer = bap.post(bpp.client, raw, f"/{verb}")
    assert answer.status_code == 400
    assert faults(f"/{verb}", answer.json(), response=True) == []
    assert answer.json()["message"]["ack"]["status"] == "NACK"


def test_the_same_message_is_acted_on_once_and_another_under_its_name_never(bpp, bap, stocked):
    body = bap.message("confirm", order_of(kw=100))
    for _ in range(3):
        assert bap.post(bpp.client, body).json() == {"message": {"ack": {"status": "ACK"}}}
    bap.wait(1)
    time.sleep(0.3)
    assert len(bap.callbacks) == 1
    with stocked.reading() as connection:
        assert [order.power_kw for order in orders(connection)] == [100.0]
    body["message"] = order_of(kw=200)
    answer = bap.post(bpp.client, body)
    assert (answer.status_code, answer.json()["error"]["path"]) == (400, "context.message_id")


@pytest.mark.parametrize(
    "tamper",
    [
        lambda bap, raw: {},
        lambda bap, raw: {"authorization": "Signature none"},
        lambda bap, raw: {"authorization": bap.signed(raw + b" ")},
        lambda bap, raw: {
            "authorization": bap.signed(raw, created=int(time.time()) - 60, expires=int(time.time()) - 30)
        },
        lambda bap, raw: {"authorization": bap.signed(raw, created=int(time.time()) + 60)},
        lambda bap, raw: {"authorization": bap.signed(raw, name="someone.else")},
        lambda bap, raw: {"authorization": bap.signed(raw).replace("|k1|", "|k2|")},
    ],
    ids=["unsigned", "unreadable", "other body", "expired", "future", "other signer", "other key"],
)
def test_a_message_that_is_not_signed_by_its_sender_is_not_taken(tamper, bpp, bap):
    raw = json.dumps(bap.message("search", {"intent": {}})).encode()
    answer = bpp.client.post("/search", content=raw, headers=tamper(bap, raw))
    assert answer.status_code == 401
    assert faults("/search", answer.json(), response=True) == []
    assert answer.headers["www-authenticate"].startswith(f'Signature realm="{BPP_ID}"')


def test_a_gateway_must_sign_too_where_it_says_it_does(bpp, bap):
    raw = json.dumps(bap.message("search", {"intent": {}})).encode()
    good = {"authorization": bap.signed(raw), "x-gateway-authorization": bap.signed(raw)}
    assert bpp.client.post("/search", content=raw, headers=good).status_code == 200
    bad = good | {"x-gateway-authorization": bap.signed(raw + b" ")}
    answer = bpp.client.post("/search", content=raw, headers=bad)
    assert (answer.status_code, "proxy-authenticate" in answer.headers) == (401, True)


def test_fifty_buyers_at_once_never_get_more_than_there_is(bpp, bap, stocked):
    bodies = [bap.message("confirm", order_of(kw=150)) for _ in range(50)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: bap.post(bpp.client, body), bodies))
    assert {answer.status_code for answer in answers} == {200}
    callbacks = bap.wait(50, 60.0)
    won = [callback for callback in callbacks if "message" in callback]
    assert len(won) == 3  # of 500 kW
    assert {callback["error"]["code"] for callback in callbacks if "error" in callback} == {"40002"}
    with stocked.reading() as connection:
        assert sum(order.power_kw for order in orders(connection, (OrderState.CONFIRMED,))) == 450.0


def test_a_buyer_that_fails_or_redirects_is_called_again_with_the_same_bytes(stocked):
    bap = Bap(behave=lambda count: (500, 302, 200)[min(count, 2)])
    running = Running(stocked, bap)
    bap.post(running.client, bap.message("search", {"intent": {}}))
    bap.wait(3)
    assert len({raw for _, _, raw in bap.callbacks}) == 1
    assert {path for path, _, _ in bap.callbacks} == {"/beckn/on_search"}
    time.sleep(0.2)
    problems = [json.loads(e.body)["problem"] for e in running.audit.entries("beckn_called_back")]
    assert problems == ["answered 500", "answered 302", None]
    running.close()
    bap.close()


def test_what_was_acknowledged_is_acted_on_by_the_next_process(stocked, bap):
    """The message is on disk, as a process leaves it that is killed right after its acknowledgement."""
    audit = Audit(stocked)
    inbox = Inbox(stocked, audit, Provider(audit, SHOP), BPP_ID, BPP_URI)
    body = bap.message("confirm", order_of())
    now = datetime.now(UTC)
    taken = inbox.take([(json.dumps(body).encode(), read_context(body, "confirm", (DOMAIN,), now))], now)
    assert taken == [None]
    running = Running(stocked, bap)
    assert bap.wait(1)[0]["message"]["order"]["state"] == "CONFIRMED"
    running.close()


def test_a_message_of_the_newer_dialect_is_answered_in_it(bpp, bap):
    place = {"location": {"country": {"code": "GBR"}, "city": {"code": "std:020"}}, "version": "1.1.0"}
    newer = {**place, "country": None, "city": None, "core_version": None, "transaction_id": "deal"}

    def ask_newer(action, message):
        count = len(bap.callbacks)
        assert bap.post(bpp.client, bap.message(action, message, **newer)).status_code == 200
        return bap.wait(count + 1)[count]

    tags = [{"descriptor": {"code": "flex"}, "list": [{"descriptor": {"code": "cluster_id"}, "value": "hpc-1"}]}]
    found = ask_newer("search", {"intent": {"tags": tags}})
    assert found["context"]["version"] == "1.1.0"
    assert "core_version" not in found["context"]
    catalog = found["message"]["catalog"]
    assert set(catalog) == {"descriptor", "providers", "exp"}
    (item,) = catalog["providers"][0]["items"]
    assert set(item) == {"id", "descriptor", "price", "fulfillment_ids", "tags"}
    stops = catalog["providers"][0]["fulfillments"][0]["stops"]
    assert [stop["type"] for stop in stops] == ["start", "end"]
    measure = {"selected": {"count": 1, "measure": {"value": "100", "unit": "kW"}}}
    order = ask_newer("confirm", {"order": {"items": [{"id": item["id"], "quantity": measure}]}})["message"]["order"]
    assert order["status"] == "ACTIVE"
    assert order["items"][0]["quantity"] == {"selected": {"count": 1, "measure": {"value": "100.000", "unit": "kW"}}}
    assert {"fulfillments", "payments"} <= set(order)
    assert not {"fulfillment", "payment", "state"} & set(order)
    assert set(ask_newer("status", {"order_id": "x"})["error"]) == {"code", "message"}


@pytest.mark.parametrize(
    ("bap_id", "bap_uri", "good"),
    [
        ("operator.example", "https://operator.example/beckn", True),
        ("operator.example", "https://api.operator.example:8443/", True),
        ("https://operator.example", "https://operator.example", True),
        ("operator.example", "https://evil.example/?operator.example", False),
        ("operator.example", "https://evil-operator.example/", False),
        ("operator.example", "https://operator.example@evil.example/", False),
        ("operator.example", "https:///", False),
    ],
)
def test_callbacks_go_to_the_buyers_own_host_only(bap_id, bap_uri, good):
    if good:
        check_belongs(bap_id, bap_uri)
    else:
        with pytest.raises(Forbidden, match="bap_uri is on"):
            check_belongs(bap_id, bap_uri)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://10.0.0.8/",
        "https://169.254.169.254/",
        "https://[::1]/",
        "https://[fd00::1]/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://2130706433/",
        "http://198.51.100.7/",
    ],
)
def test_callbacks_never_go_inside(url):
    with pytest.raises(Forbidden):
        asyncio.run(public_address(url, frozenset()))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT30S", 30), ("P1M", 2592000), ("PT1M", 60), ("P1DT2H", 93600), ("PT0.5S", 0.5), ("P2W", 1209600)],
)
def test_durations(text, seconds):
    assert duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "P", "PT", "30S", "P1H", "PT-5S", "P1DT"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="no ISO 8601 duration"):
        duration(text)


def test_there_is_a_path_for_every_verb_and_none_for_callbacks(bpp):
    for verb in VERBS:
        assert bpp.client.post(f"/{verb}", content=b"{}").status_code == 400
    assert bpp.client.post("/on_search", content=b"{}").status_code == 404
