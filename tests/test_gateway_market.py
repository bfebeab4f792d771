"""Bids to a gateway that runs on this machine and loses requests and answers, through the journal of orders."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatch.audit import Audit
from dispatch.gateway_market import GatewayMarket, submit_bid
from dispatch.orders import OPEN, Orders, State
from dispatch.store import Store
from tests.gateway_server import COUNTS, HASTY, KEY, Market, open_market

NOON = datetime(2024, 3, 31, 12, 0, tzinfo=UTC)
ONCE = HASTY._replace(attempts=1)


@pytest.fixture
def market(monkeypatch, tmp_path):
    """A gateway, and the environment that leads to it."""
    found = Market()
    with open_market(found) as url:
        monkeypatch.setenv("MARKET_GATEWAY_URL", url)
        monkeypatch.setenv("MARKET_GATEWAY_API_KEY", KEY)
        monkeypatch.setenv("MARKET_GATEWAY_ORDERS", str(tmp_path / "gateway" / "orders.sqlite"))
        yield found


@pytest.fixture
def orders(store):
    return Orders(store, Audit(store), GatewayMarket(ONCE), replacing=True)


def place(store, orders, name, at=NOON, **counts):
    with store.writing() as connection:
        return orders.place(connection, name, dict.fromkeys(COUNTS, 0) | counts, at + timedelta(minutes=30), at)


def send(orders, at):
    orders.send_due(lambda: at)


def bid(name, **counts):
    return {"client_order_id": name, **counts}


def test_a_bid_is_in_force_and_answered_from_the_record_ever_after(market):
    first = submit_bid(bid("bid-1", gpu_compute=2))
    assert first["gpu_compute"] == 2
    assert market.puts()[0]["Idempotency-Key"] == "bid-1"
    submit_bid(bid("bid-2", gpu_compute=3))
    assert submit_bid(bid("bid-1", gpu_compute=2, air_miners=0)) == first
    assert [a["gpu_compute"] for a in market.applied] == [2, 3]
    with pytest.raises(ValueError, match="give another order another id"):
        submit_bid(bid("bid-1", gpu_compute=4))


@pytest.mark.parametrize("fate", ["cut", "late", 500, 503])
def test_a_bid_that_arrived_but_was_not_answered_is_not_sent_again(market, fate):
    market.after = [fate]
    assert submit_bid(bid("bid-1", gpu_compute=2))["gpu_compute"] == 2
    assert len(market.applied) == len(market.puts()) == 1


@pytest.mark.parametrize("fate", ["cut", 429, 503])
def test_a_bid_that_did_not_arrive_is_sent_again_under_the_same_id(market, fate):
    market.before = [fate]
    submit_bid(bid("bid-1", gpu_compute=2))
    assert len(market.applied) == 1
    assert [headers["Idempotency-Key"] for headers in market.puts()] == ["bid-1"] * 2


def test_the_same_bid_many_times_at_once_is_sent_once(market):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(submit_bid(bid("bid-1", gpu_compute=2)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(market.applied) == len(market.puts()) == 1
    assert len(answers) == 4
    assert all(answer == answers[0] for answer in answers)


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fates=st.lists(st.sampled_from(["before", "after"]), max_size=5))
def test_whatever_gets_lost_every_bid_is_applied_once_and_in_its_turn(fates, market, tmp_path_factory):
    market.applied.clear()
    market.machines = None
    market.before, market.after = (["cut"] * fates.count(kind) for kind in ("before", "after"))
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('journal') / 'state.db'}")
    orders = Orders(store, Audit(store), GatewayMarket(ONCE), replacing=True)
    now = NOON
    for count in (1, 2, 3):
        place(store, orders, f"bid-{count}", now, gpu_compute=count)
        while orders.get(f"bid-{count}").state in OPEN:
            send(orders, now)
            now += timedelta(seconds=61)
    assert [a["gpu_compute"] for a in market.applied] == [1, 2, 3]
    assert {order.state for order in orders.newest(9)} == {State.ACCEPTED}
    store.close()


def test_a_bid_left_open_does_not_come_back_over_a_newer_one(market, store, orders):
    market.before = ["cut"]
    place(store, orders, "bid-1", gpu_compute=9)
    send(orders, NOON)
    later = NOON + timedelta(minutes=2)
    place(store, orders, "bid-2", later, gpu_compute=1)
    send(orders, later)
    assert [a["gpu_compute"] for a in market.applied] == [1]
    assert (orders.get("bid-1").state, orders.get("bid-2").state) == (State.EXPIRED, State.ACCEPTED)


def test_a_bid_that_needs_too_much_power_is_rejected_and_not_sent(market):
    with pytest.raises(ValueError, match=r"bid 'bid-1' was rejected.*needs 103\.323 kW and the site has 100 kW"):
        submit_bid(bid("bid-1", gpu_compute=31))
    assert not market.puts()


def test_what_the_gateway_calls_wrong_is_rejected_and_a_bad_key_is_not(market, store, orders, monkeypatch):
    market.before = [422]
    place(store, orders, "bid-1", gpu_compute=2)
    send(orders, NOON)
    assert orders.get("bid-1").state is State.REJECTED
    monkeypatch.setenv("MARKET_GATEWAY_API_KEY", "another")
    place(store, orders, "bid-2", NOON + timedelta(seconds=1), gpu_compute=3)
    send(orders, NOON + timedelta(seconds=1))
    assert orders.get("bid-2").state is State.SENDING
    monkeypatch.setenv("MARKET_GATEWAY_API_KEY", KEY)
    send(orders, NOON + timedelta(minutes=2))
    assert orders.get("bid-2").state is State.ACCEPTED


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"gpu_compute": 1}, "client_order_id"),
        (bid("", gpu_compute=1), "client_order_id"),
        (bid("a\nb", gpu_compute=1), "client_order_id"),
        (bid("x", asic_miners=1), "asic_miners"),  # a name the service would silently ignore
        (bid("x", gpu_compute=-1), "gpu_compute"),
        (bid("x", gpu_compute=1.5), "gpu_compute"),
        (bid("x", gpu_compute=True), "gpu_compute"),
    ],
)
def test_what_is_no_bid_is_refused_and_leaves_no_trace(market, payload, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        submit_bid(payload)
    assert not market.seen
    assert not (tmp_path / "gateway").exists()
