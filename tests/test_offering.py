"""Set-points that leave room for machines, sent by the service to a gateway that runs on this machine and may fail."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch.audit import Audit
from dispatch.execution import Commitment, Execution, order_id
from dispatch.offering import Offering
from dispatch.orders import Orders, State
from dispatch.risk import KILL, Event, write
from dispatch.set_points import SetPointMarket
from dispatch.store import Store
from server.dispatcher import Dispatcher
from server.schemas import example
from server.service import Operation, create_service
from server.settings import Settings
from tests.gateway_server import COUNTS, HASTY, INVENTORY, KEY, LATE_S, Market, open_market
from tests.small_bundle import write_small_bundle
from tests.test_orders import Clock

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer Starlettes ask for httpx2 and work with httpx
    from fastapi.testclient import TestClient

ROOT = Path(__file__).parents[1]
HALF = timedelta(minutes=30)
ONCE = HASTY._replace(attempts=1)
OFFERING = Offering(site_power_kw=100.0, cooling_kw=10.0, gpu_compute=24)  # 3.333 kW each, 90 kW beside the cooling


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_small_bundle(tmp_path_factory.mktemp("bundle"), "idle")


@pytest.fixture
def gateway(monkeypatch):
    """A gateway, and the environment that leads to it."""
    found = Market()
    with open_market(found) as url:
        monkeypatch.setenv("MARKET_GATEWAY_URL", url)
        monkeypatch.setenv("MARKET_GATEWAY_API_KEY", KEY)
        yield found


def until(condition, within_s=20.0):
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)
    return found


def execution(store, clock, powers_kw, killed=lambda: ""):
    """Set-points one after the other, sent to the gateway."""
    powers = iter(powers_kw)

    def start_of(instant):
        return instant.replace(minute=instant.minute // 30 * 30, second=0, microsecond=0)

    def propose(start):
        payload = {"start": start.isoformat(), "end": (start + HALF).isoformat(), "power_kw": next(powers)}
        return Commitment(start, start + HALF, payload, lambda connection: None)

    return Execution(store, Audit(store), SetPointMarket(OFFERING, ONCE), start_of, propose, killed, clock)


@settings(deadline=None)
@given(
    st.floats(-500.0, 500.0),
    st.builds(Offering, st.floats(0.0, 500.0), st.floats(0.0, 100.0), *[st.integers(0, 20)] * len(COUNTS)),
)
def test_what_is_offered_fits_beside_battery_and_cooling_and_is_no_more_than_wanted(power_kw, offering):
    counts = offering.beside(power_kw, INVENTORY)
    assert tuple(sorted(counts)) == tuple(sorted(COUNTS))
    assert all(0 <= count <= getattr(offering, name) for name, count in counts.items())
    group = {"gpu_compute": ("inference", "gpu"), "asic_compute": ("inference", "asic")}
    watts = 0.0
    for name, count in counts.items():
        kind, machine = group.get(name, ("miners", name.removesuffix("_miners")))
        watts += count * INVENTORY[kind][machine]["power"]
    if watts:
        assert watts / 1000.0 + max(power_kw, 0.0) + offering.cooling_kw <= offering.site_power_kw + 1e-6
    assert counts == offering.beside(max(power_kw, 0.0), INVENTORY), "a battery that discharges makes no room"


def test_each_step_s_offer_is_in_force_once_whatever_gets_lost(gateway, store):
    clock = Clock()
    gateway.before, gateway.after = ["cut", 503], ["cut", "late"]
    loop = execution(store, clock, [0.0, 50.0, -50.0])
    for _ in range(3):
        begin = clock.now
        loop.commit()
        for _ in range(4):
            loop.send()
            clock.now += timedelta(minutes=2)
        clock.now = begin + HALF
    assert [applied["gpu_compute"] for applied in gateway.applied] == [24, 12, 24]
    assert {order.state for order in loop.orders.newest(9)} == {State.ACCEPTED}
    assert loop.reconcile() == []


def test_a_gateway_that_lets_something_else_be_in_force_is_found_out(gateway, store):
    loop = execution(store, Clock(), [0.0])
    loop.commit()
    loop.send()
    gateway.machines = gateway.machines | {"gpu_compute": 1}
    (denied,) = loop.reconcile()
    assert len(gateway.applied) == 1, "nothing is sent again"
    assert loop.orders.get(denied).attempts == 1


def test_the_kill_switch_lets_orders_under_way_be_looked_up_and_sends_none(gateway, store):
    clock, killed = Clock(), [""]
    gateway.after = ["cut"]  # it arrives, and nobody hears
    loop = execution(store, clock, [0.0, 1.0], lambda: killed[0])
    loop.commit()
    loop.send()
    assert loop.orders.newest(1)[0].state is State.SENDING
    with store.writing() as connection:
        waits = loop.orders.place(connection, "waits", {"power_kw": 9.0}, clock.now + HALF, clock.now)
    killed[0] = "fire"
    clock.now += timedelta(minutes=1)
    assert [order.state for order in loop.send()] == [State.ACCEPTED]
    assert loop.orders.get(waits.client_order_id).state is State.WRITTEN
    assert len(gateway.puts()) == 1


def test_a_switch_thrown_while_an_order_is_looked_up_still_stops_it(gateway, store):
    clock, answers = Clock(), iter(["", "", "fire", "fire"])
    gateway.before = ["cut"]
    loop = execution(store, clock, [0.0], lambda: next(answers, "fire"))
    loop.commit()
    loop.send()
    for _ in range(3):
        clock.now += timedelta(minutes=1)
        loop.send()
    assert (gateway.applied, loop.orders.newest(1)[0].state) == ([], State.SENDING)


def test_the_service_sends_its_steps_to_the_gateway_and_a_gateway_that_is_down_is_told(gateway, bundle, store):
    gateway.before = ["cut"]
    operation = Operation(orders_every_s=0.05, health_every_s=0.1, sends_orders=True, offering=OFFERING)
    market = SetPointMarket(OFFERING, ONCE)
    app = create_service(Dispatcher.from_bundle(bundle), store, Settings(), operation, market)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        until(lambda: gateway.applied)
        until(lambda: client.get("/v1/system/health").json()["parts"]["market"]["message"] == "0 orders under way")
        assert client.post("/v1/risk/kill", json={"on": True, "reason": "a test"}).status_code == 200
        sent = len(gateway.puts())
        time.sleep(0.3)
        assert len(gateway.puts()) == sent
    assert gateway.applied[0] == dict.fromkeys(COUNTS, 0) | {"gpu_compute": 24}
    assert gateway.puts()[0]["Idempotency-Key"].startswith("dispatch-")
    assert Audit(store).faults() == []


def test_the_kill_switch_of_another_process_on_the_database_stops_this_one_too(gateway, bundle, store):
    operation = Operation(orders_every_s=0.05, health_every_s=0.1, sends_orders=True, offering=OFFERING)
    event = Event(KILL, datetime.now(UTC), {"on": True, "reason": "thrown elsewhere", "note": ""})
    app = create_service(Dispatcher.from_bundle(bundle), store, Settings(), operation, SetPointMarket(OFFERING, ONCE))
    with store.writing() as connection:
        write(connection, Audit(store), event)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        until(lambda: next(j for j in client.get("/v1/system/jobs").json() if j["name"] == "orders")["runs"] > 3)
    assert gateway.seen == []


def test_a_gateway_that_answers_after_the_time_limit_holds_up_no_decision_and_gets_no_offer_twice(
    gateway, bundle, store
):
    gateway.after = ["late"]
    operation = Operation(orders_every_s=0.05, health_every_s=0.1, sends_orders=True, offering=OFFERING)
    market = SetPointMarket(OFFERING, ONCE._replace(timeout_s=LATE_S / 2.0))
    app = create_service(Dispatcher.from_bundle(bundle), store, Settings(), operation, market)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        until(lambda: gateway.applied)
        assert client.post("/v1/dispatch", json=example()).json()["rung"] == "policy", "while the gateway says nothing"
        orders = Orders(store, Audit(store), SetPointMarket(OFFERING, ONCE))
        until(lambda: orders.newest(1)[0].state is State.ACCEPTED)
    sent = [headers["Idempotency-Key"] for headers in gateway.puts()]
    assert len(sent) == len(set(sent)) == len(gateway.applied)
    assert Audit(store).faults() == []


@pytest.mark.parametrize(
    ("url", "offering", "hint"),
    [
        ("", OFFERING, "MARKET_GATEWAY_URL is not set"),
        ("http://127.0.0.1:1", Offering(), "nothing is offered"),
        ("http://127.0.0.1:1", Offering(cooling_kw=-1.0, gpu_compute=1), "cooling_kw"),
    ],
)
def test_what_cannot_be_sent_stops_the_start(url, offering, hint, monkeypatch):
    monkeypatch.setenv("MARKET_GATEWAY_URL", url)
    with pytest.raises(ValueError, match=hint):
        SetPointMarket.from_environment(offering)


def test_told_to_stop_with_an_open_outbox_the_next_start_carries_it_out_once(gateway, bundle, tmp_path):
    """By `serve.py` itself, as an operator configures it."""
    gateway.before = ["cut"] * 1000
    url = f"sqlite:///{tmp_path / 'state.db'}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    chosen = ["operation.sends_orders=true", "operation.offering.gpu_compute=24", "operation.orders_every_s=0.1"]
    command = [sys.executable, "serve.py", f"bundle={bundle}", f"port={port}", *chosen]
    environment = os.environ | {"GRIDPILOT_DATABASE_URL": url}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: gateway.puts() or process.poll() is not None, within_s=60.0)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30.0)[1]
    assert process.returncode == 0, said
    store, gateway.before = Store(url), []
    orders = Orders(store, Audit(store), SetPointMarket(OFFERING, ONCE))
    (left,) = orders.newest(9)
    assert left.state is State.SENDING
    assert left.client_order_id == order_id(datetime.fromisoformat(json.loads(left.payload)["start"]))
    orders.send_due(lambda: datetime.now(UTC) + timedelta(minutes=1.0))
    assert orders.newest(1)[0].state in (State.ACCEPTED, State.EXPIRED)
    assert len(gateway.applied) == (orders.newest(1)[0].state is State.ACCEPTED)
    store.close()
