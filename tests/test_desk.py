"""Laws of the dispatcher with a memory: recorded, answered in time whatever fails, and worth what the backtest says."""

import json
import math
import time
import warnings
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from dispatch import decisions
from dispatch.audit import Audit
from dispatch.exposure import Limits
from dispatch.store import Store
from envs.information import READ
from server.app import create_app
from server.desk import Desk
from server.dispatcher import Dispatcher
from server.live_routes import live_section
from server.risk_routes import risk_section
from server.schemas import example
from tests.small_bundle import write_small_bundle
from tests.test_orders import Clock

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer Starlettes ask for httpx2 and work with httpx
    from fastapi.testclient import TestClient

NOON = datetime(2024, 1, 3, 12, 5, tzinfo=UTC)
MARKET = example()["market"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_small_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def dispatcher(folder):
    return Dispatcher.from_bundle(folder)


@pytest.fixture
def opened(dispatcher):
    """Opens a service on a store at an hour that the test sets."""
    clients = []

    def open_on(store, clock=None, **limits):
        desk = Desk(dispatcher, store, Limits(**limits), clock or Clock(NOON))
        client = TestClient(create_app(desk, [live_section(desk), risk_section(desk)]))
        clients.append(client)
        return client.__enter__()

    yield open_on
    for client in clients:
        client.__exit__(None, None, None)


def reading(at, charge_fraction=0.62):
    return {"timestamp": at.isoformat(), "charge_fraction": charge_fraction}


def test_a_decision_on_stored_telemetry_is_that_on_sent_telemetry(store, opened):
    client = opened(store)
    sent = client.post("/v1/dispatch", json={"telemetry": reading(NOON), "market": MARKET}).json()
    assert client.post("/v1/telemetry", json=reading(NOON)).json() == {"new": True, "recorded": True, "notes": []}
    kept = client.post("/v1/dispatch", json={"market": MARKET}).json()
    assert kept == sent
    assert kept["rung"] == "policy"


def test_every_decision_is_in_the_audit_log_with_what_it_was_made_on(store, opened):
    client = opened(store)
    answer = client.post("/v1/dispatch", json=example()).json()
    (entry,) = Audit(store).entries("decision")
    said = json.loads(entry.body)
    assert said["policy"] == answer["policy"]
    assert (said["rung"], said["power_kw"], said["reason"]) == ("policy", answer["power_kw"], answer["reason"])
    assert said["telemetry"]["charge_fraction"] == 0.62
    seen = json.loads(decisions.view(store, said["market_sha256"]))
    assert {name: seen[name] for name in READ} == {name: MARKET[name] for name in READ}
    again = client.post("/v1/dispatch", json=example())
    assert again.json() == answer
    assert len(list(Audit(store).entries("decision"))) == 2
    assert Audit(store).faults() == []


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (sa.update(decisions.view_table).values(body="{}"), "was altered"),
        (sa.delete(decisions.view_table), "is missing"),
    ],
)
def test_a_market_view_that_was_altered_or_removed_is_found(deed, said, store, opened):
    opened(store).post("/v1/dispatch", json=example())
    with store.writing() as connection:
        connection.execute(deed)
    (fault,) = Audit(store).faults()
    assert fault.sequence == 0
    assert said in fault.problem


def test_the_plan_is_the_last_decision_with_its_age_also_after_a_restart(store, opened):
    clock = Clock(NOON)
    client = opened(store, clock)
    assert client.get("/v1/plan").status_code == 404
    answer = client.post("/v1/dispatch", json=example()).json()
    clock.now += timedelta(minutes=2)
    for each in (client, opened(store, clock)):
        assert each.get("/v1/plan").json() == {"age_s": 120.0, "expired": False, "decision": answer}
    clock.now = NOON + timedelta(minutes=30)
    assert client.get("/v1/plan").json()["expired"]


def test_what_is_asked_about_another_time_is_answered_and_audited_but_not_in_force(store, opened):
    client = opened(store, Clock(NOON + timedelta(days=40)))
    answer = client.post("/v1/dispatch", json=example()).json()
    assert answer["rung"] == "policy"
    assert "not in force" in answer["warnings"][-1]
    assert client.get("/v1/plan").status_code == 404
    assert json.loads(next(Audit(store).entries("decision")).body)["in_force"] is False
    assert decisions.newest(store) is None


@pytest.mark.parametrize(("hours", "hint"), [(0.2, "0:12:00 old"), (-1.0, "clock went back")])
def test_stale_telemetry_or_a_clock_that_jumps_rests(hours, hint, store, opened):
    clock = Clock(NOON)
    client = opened(store, clock)
    assert "ever received" in client.post("/v1/dispatch", json={"market": MARKET}).json()["reason"]
    client.post("/v1/telemetry", json=reading(NOON))
    clock.now += timedelta(hours=hours)
    answer = client.post("/v1/dispatch", json={"market": {**MARKET, "start": "2024-01-01T11:00:00Z"}}).json()
    assert (answer["rung"], answer["power_kw"]) == ("idle", 0.0)
    assert [step["rung"] for step in answer["reasons"]] == ["policy", "mpc", "rule"]
    assert all(hint in step["reason"] for step in answer["reasons"])


def test_without_a_market_it_rests(store, opened):
    answer = opened(store).post("/v1/dispatch", json={"telemetry": reading(NOON)}).json()
    assert (answer["rung"], answer["power_kw"]) == ("idle", 0.0)


def test_contradicting_telemetry_is_a_conflict(store, opened):
    client = opened(store)
    assert client.post("/v1/telemetry", json=reading(NOON)).json()["new"]
    assert not client.post("/v1/telemetry", json=reading(NOON)).json()["new"]
    for wrong in (
        reading(NOON, 0.7),
        reading(NOON - timedelta(minutes=1)),
        reading(NOON + timedelta(hours=1)),
    ):
        answer = client.post("/v1/telemetry", json=wrong)
        assert answer.status_code == 409
        assert answer.json()["detail"][0]["field"] == "timestamp"
    assert client.post("/v1/telemetry", json={**reading(NOON), "soc": 1}).status_code == 422
    in_w = client.post("/v1/telemetry", json={**reading(NOON + timedelta(minutes=1)), "power_kw": -250_000.0})
    assert in_w.status_code == 422
    assert "is it W?" in in_w.text


def test_a_signal_is_an_opinion_with_stops_and_is_audited_but_not_in_force(store, opened):
    client = opened(store)
    decision = client.post("/v1/dispatch", json=example()).json()
    signal = client.post("/v1/signals", json=example()).json()
    power_kw = signal["power_kw"]
    assert power_kw == decision["power_kw"] != 0.0
    assert signal["opinion"] == ("buy" if power_kw > 0.0 else "sell")
    assert 0.0 < signal["confidence"] <= 1.0
    assert signal["rationale"] == decision["reason"]
    rise = 1.0 if power_kw > 0.0 else -1.0
    assert rise * (signal["take_profit_gbp_per_mwh"] - signal["stop_loss_gbp_per_mwh"]) > 0.0
    assert len(list(Audit(store).entries("decision"))) == 1
    (entry,) = Audit(store).entries("signal")
    assert json.loads(entry.body)["opinion"] == signal["opinion"]


def test_pause_and_kill_rest_at_once_and_let_go_again(store, opened):
    client = opened(store)
    for path, hint in (("pause", "paused: lunch"), ("kill", "the kill switch is on: lunch")):
        state = client.post(f"/v1/risk/{path}", json={"on": True, "reason": " lunch "}).json()
        assert hint in state["halted"]
        assert state["recorded"]
        answer = client.post("/v1/dispatch", json=example()).json()
        assert (answer["rung"], answer["power_kw"], answer["feasible_kw"]) == ("idle", 0.0, [0.0, 0.0])
        assert all(hint in step["reason"] for step in answer["reasons"])
        client.post(f"/v1/risk/{path}", json={"on": False, "reason": "back"})
        assert client.post("/v1/dispatch", json=example()).json()["rung"] == "policy"
    assert client.post("/v1/risk/hrv", json={"variability_ms": 10.0, "usual_ms": 50.0}).json()["paused"]
    kinds = [event["kind"] for event in client.get("/v1/risk/events?count=3").json()]
    assert kinds == ["pause", "hrv", "kill"]
    beyond = client.post("/v1/risk/hrv", json={"variability_ms": 1000.0, "usual_ms": 5e-324})
    assert beyond.status_code == 422, "a ratio that no log can hold"
    assert client.post("/v1/risk/pause", json={"on": True, "reason": " "}).status_code == 422


def test_limits_of_power_hold_whatever_the_policy_wants(store, opened):
    free = opened(store).post("/v1/dispatch", json=example()).json()
    assert abs(free["power_kw"]) > 60.0
    client = opened(store, device_kw=60.0)
    answer = client.post("/v1/dispatch", json=example()).json()
    assert answer["power_kw"] == math.copysign(60.0, free["power_kw"])
    assert answer["feasible_kw"] == [-60.0, 60.0]
    assert answer["plan"][0]["power_kw"] == answer["power_kw"]
    assert client.get("/v1/risk/state").json()["limits"]["device_kw"] == 60.0


def test_a_database_that_is_gone_holds_up_no_answer_and_gets_every_record_when_it_is_back(
    tmp_path, opened, monkeypatch
):
    monkeypatch.setattr("server.desk.RECORD_WITHIN_S", 0.3)
    store = Store(f"sqlite:///{tmp_path / 'state.db'}")
    client = opened(store)
    gone = True

    @sa.event.listens_for(store.engine, "begin")
    def refuse(connection):
        if gone:
            raise sa.exc.OperationalError("BEGIN", {}, OSError("the server closed the connection"))

    for minute in range(3):
        began = time.monotonic()
        measured = client.post("/v1/telemetry", json=reading(NOON + timedelta(seconds=minute))).json()
        answer = client.post("/v1/dispatch", json={"market": MARKET}).json()
        assert time.monotonic() - began < 3.0
        assert not measured["recorded"]
        assert answer["rung"] == "policy"
        assert "not recorded yet" in answer["warnings"][-1]
    assert not client.post("/v1/risk/pause", json={"on": True, "reason": "no database"}).json()["recorded"]
    assert client.post("/v1/dispatch", json={"market": MARKET}).json()["rung"] == "idle"
    gone = False
    client.post("/v1/risk/pause", json={"on": False, "reason": "back"})
    deadline = time.monotonic() + 20.0
    while len(list(Audit(store).entries())) < 6 and time.monotonic() < deadline:
        time.sleep(0.1)
    kinds = [entry.kind for entry in Audit(store).entries()]
    assert kinds == [*["decision"] * 3, "risk_pause", "decision", "risk_pause"]
    assert Audit(store).faults() == []
