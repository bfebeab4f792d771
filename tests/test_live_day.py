"""A day of operation in accelerated time is worth what the backtest of the same day says, to the penny."""

import json
import threading
import time
import warnings
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import numpy as np
import pandas as pd
import pytest
import uvicorn

from agents.bundle import MANIFEST, write_bundle
from agents.ppo import PpoTrainer
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
from server.dispatcher import Budgets, Dispatcher
from server.live_routes import live_section
from server.risk_routes import risk_section
from tests.small_bundle import BATTERY, write_small_bundle
from tests.test_orders import Clock

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer Starlettes ask for httpx2 and work with httpx
    from fastapi.testclient import TestClient

PERIODS = {"2024-03-31": 46, "2024-10-27": 50, "2024-06-04": 48}
LATER = 4  # half-hours after the day in which its last prices are published
PENNY_GBP = 0.005


def view_at(table, row, minute, history=144):
    """What a caller who keeps `history` periods knows of the market when a row is decided."""
    view = hide_unpublished(table[list(READ)], row, minute).iloc[row - history : row + 110]
    columns = {}
    for name in READ:
        values = view[name]
        last = values.index.get_loc(values.last_valid_index())
        columns[name] = [None if np.isnan(value) else value for value in values.iloc[: last + 1]]
    return {"start": view.index[0].isoformat(), **columns}


class Day:
    """A day of the simulated battery from half full on, told by the hour that its clock shows."""

    def __init__(self, day, folder, minutes=30):
        periods = PERIODS[day]
        first, last = pd.Timestamp(day) - pd.Timedelta(days=5), pd.Timestamp(day) + pd.Timedelta(days=3)
        span = (str(first.date()), str(last.date()))
        self.day, self.folder, self.clock = day, folder, Clock(datetime(2024, 1, 1, tzinfo=UTC))
        self.begin = pd.Timestamp(day, tz="Europe/London").tz_convert("UTC")
        self.table = generate(*span)
        self.per_period, self.steps = 30 // minutes, periods * (30 // minutes)
        scenario = Scenario(History(self.table, Bundle.read(folder).forecaster()), span, "split")
        row = self.table.index.get_loc(self.begin)
        # Live operation never ends, so neither does the episode in sight.
        scenario.episodes = [(row, row + periods + 60)]
        self.system = BatterySystem(scenario, BATTERY, decision_minutes=minutes)
        self.system.start_fraction = 0.5

    def earned_gbp(self, policy):
        """What the day earns in a backtest, and the powers of every step, kW."""
        played = play(SystemEnv(self.system), policy, seed=0)
        money = (played["imbalance_gbp"] + played["wear_gbp"]).iloc[: self.steps].sum()
        return money, played["power_kw"].to_numpy()

    def live(self, client):
        """Readings, decisions and prices through a service; gives what its answers earn, and they, kW."""
        env = SystemEnv(self.system)
        env.reset(seed=0)
        charge_fraction, gains_gbp, powers_kw = 0.5, [], []
        for _ in range(self.steps + LATER * self.per_period):
            due = env.system.when(env.lanes[0])
            self.clock.now = (due + pd.Timedelta(seconds=20)).to_pydatetime()
            measured = {"timestamp": self.clock.now.isoformat(), "charge_fraction": charge_fraction}
            assert client.post("/v1/telemetry", json=measured).json()["recorded"]
            view = view_at(self.table, self.table.index.get_loc(due.floor("30min")), due.minute % 30)
            answer = client.post("/v1/dispatch", json={"market": view}).json()
            assert answer["rung"] == "policy"
            power_kw = answer["power_kw"]
            most_kw = BATTERY.max_charge_kw if power_kw > 0.0 else BATTERY.max_discharge_kw
            *_, info = env.step(np.array([power_kw / most_kw], dtype=np.float32))
            assert info["power_kw"] == pytest.approx(power_kw, abs=1e-3), "what was answered is what the battery did"
            charge_fraction = info["charge_fraction"]
            gains_gbp.append(sum(value for name, value in info["reward_gbp"].items() if name in ("imbalance", "wear")))
            powers_kw.append(power_kw)
        return sum(gains_gbp[: self.steps]), np.array(powers_kw)

    def check(self, client, store):
        """The backtest, the answers and the service's own books say the same."""
        expected_gbp, backtest_kw = self.earned_gbp(Bundle.read(self.folder).policy())
        live_gbp, powers_kw = self.live(client)
        assert powers_kw == pytest.approx(backtest_kw[: powers_kw.size], abs=1e-3)
        assert live_gbp == pytest.approx(expected_gbp, abs=PENNY_GBP)
        assert abs(expected_gbp) > 1.0
        rows = list(decisions.since(store, self.begin.to_pydatetime()))
        assert len(rows) == powers_kw.size
        booked = [each.gain_gbp for each in rows[: self.steps]]
        assert None not in booked
        assert sum(booked) == pytest.approx(expected_gbp, abs=PENNY_GBP), "the service's own books agree to the penny"
        assert client.get("/v1/risk/state").json()["session"] > self.day
        assert len(list(Audit(store).entries("decision"))) == len(rows)
        assert Audit(store).faults() == []


@pytest.fixture
def kept(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'state.db'}")
    yield store
    store.close()


def service(dispatcher, store, clock):
    desk = Desk(dispatcher, store, Limits(), clock)
    return create_app(desk, [live_section(desk), risk_section(desk)])


@contextmanager
def listening(app):
    """A real server on a port of its own; gives a client of it."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("minutes", [30, 15])
@pytest.mark.parametrize("day", PERIODS)
def test_a_day_through_the_service_is_worth_what_the_backtest_says(day, minutes, kept, tmp_path):
    lived = Day(day, write_small_bundle(tmp_path, minutes=minutes), minutes)
    with TestClient(service(Dispatcher.from_bundle(lived.folder), kept, lived.clock)) as client:
        lived.check(client, kept)


def test_a_day_of_a_learnt_policy_in_its_own_process_over_http_is_worth_what_the_backtest_says(kept, tmp_path):
    lived = Day("2024-06-04", write_small_bundle(tmp_path))
    trainer = PpoTrainer(lived.system, tmp_path, n_lanes=8, n_steps=32, batch_size=128, hidden=(16,), levels=5)
    trainer.model.learn(2048)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    write_bundle(tmp_path, {**manifest, "policy": "onnx"}, trainer.export())
    dispatcher = Dispatcher.guarded(tmp_path, Budgets(policy_s=30.0, planner_s=30.0))
    try:
        with listening(service(dispatcher, kept, lived.clock)) as client:
            lived.check(client, kept)
    finally:
        dispatcher.close()
