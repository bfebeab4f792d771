"""Laws of the dispatcher with a memory: recorded, answered in time whatever fails, and worth what the backtest says."""

import json
import math
import time
import warnings
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from data.publication import hide_unpublished
from data.synthetic import generate
from dispatch import decisions
from dispatch.audit import Audit
from dispatch.exposure import Limits
from dispatch.store import Store
from envs.battery import BatterySystem
from envs.information import READ
from envs.scenario import History, Scenario
from envs.single import SystemEnv
from evaluation.rollout import play
from server.app import create_app
from server.bundle import Bundle
from server.desk import Desk
from server.dispatcher import Dispatcher
from server.live_routes import live_section
from server.risk_routes import risk_section
from server.schemas import example
from tests.small_bundle import BATTERY, write_small_bundle
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


def view_at(table, row, minute=0, history=144):
    """What a caller who keeps `history` periods knows of the market when a row is decided."""
    view = hide_unpublished(table[list(READ)], row, minute).iloc[row - history : row + 110]
    columns = {}
    for name in READ:
        values = view[name]
        last = values.index.get_loc(values.last_valid_index())
        columns[name] = [None if np.isnan(value) else value for value in values.iloc[: last + 1]]
    return {"start": view.index[0].isoformat(), **columns}


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


DAYS = {"2024-03-31": 46, "2024-10-27": 50, "2024-06-04": 48}


@pytest.mark.parametrize("minutes", [30, 15])
@pytest.mark.parametrize(("day", "periods"), DAYS.items())
def test_a_day_through_the_service_is_worth_what_the_backtest_says(day, periods, minutes, tmp_path, opened_of):
    """Readings, decisions and prices in accelerated time; the battery is the simulated one, fed with the answers."""
    first = pd.Timestamp(day) - pd.Timedelta(days=5)
    span = (str(first.date()), str((pd.Timestamp(day) + pd.Timedelta(days=3)).date()))
    table = generate(*span)
    begin = pd.Timestamp(day, tz="Europe/London").tz_convert("UTC")
    bundle = Bundle.read(write_small_bundle(tmp_path / "bundle", minutes=minutes))
    scenario = Scenario(History(table, bundle.forecaster()), span, "split")
    row = table.index.get_loc(begin)
    scenario.episodes = [(row, row + periods + 60)]  # live operation never ends, so neither does the episode in sight
    system = BatterySystem(scenario, BATTERY, decision_minutes=minutes)
    system.start_fraction = 0.5
    backtest = play(SystemEnv(system), bundle.policy(), seed=0)

    clock = Clock()
    store = Store(f"sqlite:///{tmp_path / 'state.db'}")
    client = opened_of(bundle.folder, store, clock)
    env = SystemEnv(system)
    env.reset(seed=0)
    charge_fraction, gains_gbp = 0.5, []
    per_period = 30 // minutes
    for n in range((periods + 4) * per_period):  # the last prices of the day are published after it
        due = env.system.when(env.lanes[0])
        clock.now = (due + pd.Timedelta(seconds=20)).to_pydatetime()
        measured = client.post("/v1/telemetry", json=reading(clock.now, charge_fraction)).json()
        assert measured["recorded"]
        at = table.index.get_loc(due.floor("30min"))
        answer = client.post("/v1/dispatch", json={"market": view_at(table, at, due.minute % 30)}).json()
        assert answer["rung"] == "policy"
        power_kw = answer["power_kw"]
        assert power_kw == pytest.approx(backtest["power_kw"].iloc[n], abs=1e-3)
        most_kw = BATTERY.max_charge_kw if power_kw > 0.0 else BATTERY.max_discharge_kw
        *_, info = env.step(np.array([power_kw / most_kw], dtype=np.float32))
        assert info["power_kw"] == pytest.approx(power_kw, abs=1e-3), "what was answered is what the battery did"
        charge_fraction = info["charge_fraction"]
        gains_gbp.append(sum(value for name, value in info["reward_gbp"].items() if name in ("imbalance", "wear")))

    steps = periods * per_period
    earned = (backtest["imbalance_gbp"] + backtest["wear_gbp"]).iloc[:steps]
    assert sum(gains_gbp[:steps]) == pytest.approx(earned.sum(), abs=0.005)
    state = client.get("/v1/risk/state").json()
    rows = list(decisions.since(store, begin.to_pydatetime()))
    assert len(rows) == steps + 4 * per_period
    booked = [each.gain_gbp for each in rows[:steps]]
    assert None not in booked
    assert sum(booked) == pytest.approx(earned.sum(), abs=0.005), "the service's own books agree to the penny"
    assert abs(earned.sum()) > 1.0
    assert state["session"] > day
    assert len(list(Audit(store).entries("decision"))) == len(rows)
    assert Audit(store).faults() == []


@pytest.fixture
def opened_of(opened):
    """As `opened`, for a bundle of its own."""
    clients = []

    def open_on(folder, store, clock):
        desk = Desk(Dispatcher.from_bundle(folder), store, Limits(), clock)
        client = TestClient(create_app(desk, [live_section(desk), risk_section(desk)]))
        clients.append(client)
        return client.__enter__()

    yield open_on
    for client in clients:
        client.__exit__(None, None, None)
