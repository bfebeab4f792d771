"""Laws of the live dispatcher: it decides as the simulation does, and tells a caller what is wrong."""

import itertools
import json
import shutil
import subprocess
import sys
import time
import warnings
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.bundle import FORECASTER, best_network, write_bundle
from agents.improvement import ImprovementTrainer
from agents.ppo import PpoTrainer
from baselines.dp import StochasticDpPolicy
from baselines.mpc import BatteryPlanner
from baselines.price_chain import PriceChain
from baselines.price_fan import PriceFan
from data.publication import hide_unpublished
from data.synthetic import generate
from dispatch.ladder import Proposal
from dispatch.store import Store
from dispatch.worker import Worker
from envs.battery import BatterySystem
from envs.information import READ
from envs.scenario import History, Scenario
from envs.single import SystemEnv
from forecasting.boosted import BoostedForecaster
from forecasting.deviation import DeviationForecaster
from forecasting.saved import save
from models import battery as battery_model
from models.battery import Battery
from models.settlement import Adders
from server import practice
from server.app import MOST_BODY_BYTES, create_app
from server.bundle import Bundle, PolicyName, Site
from server.decision import explain
from server.dispatcher import Budgets, Dispatcher
from server.market_view import HISTORY_PERIODS
from server.minds import bundled_mind
from server.schemas import example

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer Starlettes ask for httpx2 and work with httpx
    from fastapi.testclient import TestClient

ROOT = Path(__file__).parents[1]
URL = "/v1/dispatch"
BATTERY = Battery(capacity_kwh=800.0, max_charge_kw=200.0, max_discharge_kw=300.0, min_fraction=0.1)
ADDERS = Adders(network_gbp_per_mwh=3.0)


@pytest.fixture(scope="module")
def table():
    """Nineteen days with the clock change of 31 March 2024, and gaps as real data have them."""
    table = generate("2024-03-20", "2024-04-08")
    rng = np.random.default_rng(0)
    for name in READ:
        if name != "day_ahead_price_gbp_per_mwh":
            table.loc[rng.random(len(table)) < 0.03, name] = np.nan
    return table


@pytest.fixture(scope="module")
def forecaster(table):
    return DeviationForecaster.fit(table)


@pytest.fixture(scope="module")
def systems(table, forecaster):
    """One that decides each period once and one that decides it twice."""
    scenario = Scenario(History(table, forecaster), "test", "split")
    return {minutes: BatterySystem(scenario, BATTERY, ADDERS, decision_minutes=minutes) for minutes in (30, 15)}


@pytest.fixture(scope="module")
def bundle(systems, forecaster, tmp_path_factory):
    """Writes a bundle of one kind."""

    def write(kind, minutes=30, **changes):
        system = systems[minutes]
        folder = tmp_path_factory.mktemp(kind)
        network = None
        if kind == "onnx":
            trainer = PpoTrainer(system, folder, n_lanes=8, n_steps=32, batch_size=128, hidden=(16,), levels=5)
            trainer.model.learn(4096)
            network = trainer.export()
        if kind == "forest":
            few = {"members": 1, "trees": 20, "leaves": 7, "rows_a_leaf": 30, "l2": 1.0}
            trainer = ImprovementTrainer(system, folder, _adviser, **few)
            trainer.learn(0, lambda policy: 0.0, 0, 0, progress_bar=False)
            network = best_network(folder)
        manifest = {
            "name": kind,
            "policy": kind,
            "env": "gridpilot/Battery-v0",
            "observation_fields": [f.name for f in system.observation_fields],
            "action_fields": [f.name for f in system.action_fields],
            "system": {"battery": system.battery._asdict(), "adders": system.adders._asdict()},
            "forecaster": {"column": forecaster.column, "sha256": save(forecaster, folder / FORECASTER)},
            "scores": {},
            "settings": _settings(kind, system),
        }
        return write_bundle(folder, {**manifest, **changes}, network)

    return write


def _adviser(env):
    chains = [PriceChain.from_json(chain) for chain in _settings("stochastic_dp", env.system)["chains"]]
    return StochasticDpPolicy(env.system.battery, env.system.adders, env.system.observation_fields, chains)


def _settings(kind, system):
    if kind not in ("stochastic_dp", "mpc_scenario"):
        return {}
    history = system.scenario.history  # what it is fitted on makes no difference here
    price = history.market.imbalance_price_gbp_per_mwh
    shown = history.price_information_twice[: 1 if system.decision_minutes == 30 else 2]
    chains = [PriceChain.fit(each[: price.size], price) for each in shown]
    settings = {"chains": [chain.as_json() for chain in chains], "spread_fraction": 0.5}
    if kind == "stochastic_dp":
        return {**settings, "points": 61}
    fans = [PriceFan.fit(chain, each, price, paths=3).as_json() for chain, each in zip(chains, shown, strict=True)]
    return {**settings, "fans": fans, "risk_weight": 0.2, "tail_fraction": 0.3}


@pytest.fixture(scope="module")
def client(bundle):
    with TestClient(create_app(Dispatcher.from_bundle(bundle("mpc")))) as client:
        yield client


def order_at(table, row, charge_fraction, history=HISTORY_PERIODS, minute=0, names=READ):
    """What a caller who keeps `history` periods sends 10 minutes after a decision in a row was due."""
    view = hide_unpublished(table[list(names)], row, minute).iloc[row - history : row + 110]
    columns = {}
    for name in names:
        values = view[name]
        last = values.index.get_loc(values.last_valid_index())
        columns[name] = [None if np.isnan(value) else value for value in values.iloc[: last + 1]]
    when = table.index[row] + pd.Timedelta(minutes=minute + 10)
    other = {name: columns.pop(name) for name in names if name not in READ}
    return {
        "telemetry": {"timestamp": when.isoformat(), "charge_fraction": charge_fraction},
        "market": {"start": view.index[0].isoformat(), **columns, "other": other},
    }


def changed(where, value):
    """The example with one field replaced, or removed if the value is `...`."""
    order = example()
    inner = order
    for key in where[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[where[-1]]
    else:
        inner[where[-1]] = value
    return order


def only_problem(answer, status=422):
    assert answer.status_code == status, answer.text
    (problem,) = answer.json()["detail"]
    return problem["field"], problem["message"]


@pytest.mark.parametrize(
    ("kind", "minutes"),
    [
        *itertools.product(["onnx", "mpc", "dp", "stochastic_dp", "mpc_scenario", "rule", "idle"], [30, 15]),
        ("forest", 30),
    ],
)
def test_live_equals_simulation(kind, minutes, bundle, systems, table):
    folder = bundle(kind, minutes)
    dispatcher, bundled = Dispatcher.from_bundle(folder), Bundle.read(folder)
    policy = bundled.policy()
    env = SystemEnv(systems[minutes])
    observation, _ = env.reset(seed=0)
    charge_fraction = env.system.start_fraction
    changes_at = table.index.get_loc(pd.Timestamp("2024-03-31T00:00Z"))
    asked = set(range(240, 290)) | set(range(changes_at - 26, changes_at + 26))
    powers_kw = []
    with TestClient(create_app(dispatcher)) as client:
        for row, minute in itertools.product(range(max(asked) + 1), range(0, 30, minutes)):
            observation, *_, info = env.step(policy.act(observation))
            measured, charge_fraction = charge_fraction, info["charge_fraction"]
            if row not in asked:
                continue
            answer = client.post(URL, json=order_at(table, row, measured, history=144, minute=minute))
            assert answer.status_code == 200, answer.text
            assert pd.Timestamp(answer.json()["hold_until"]) == env.system.when(env.lanes[0])
            assert pd.Timestamp(answer.json()["period"]["start"]) == table.index[row]
            assert answer.json()["power_kw"] == pytest.approx(info["power_kw"], abs=1e-4)
            assert (answer.json()["rung"], answer.json()["reasons"]) == ("policy", [])
            powers_kw.append(info["power_kw"])
    assert kind == "idle" or np.ptp(powers_kw) > 100.0, "a policy that never moves proves nothing"


def test_a_forecaster_that_reads_more_forecasts_live_as_over_the_table(bundle, tmp_path):
    table = generate("2024-02-20", "2024-04-08")
    boosted = BoostedForecaster.fit(table, "imbalance_price_gbp_per_mwh", mean_rounds=9, quantile_rounds=1)
    sha256 = save(boosted, tmp_path)
    folder = bundle("mpc", forecaster={"column": boosted.column, "sha256": sha256})
    shutil.copytree(tmp_path, folder / FORECASTER, dirs_exist_ok=True)
    names = tuple(table.columns)
    with TestClient(create_app(Dispatcher.from_bundle(folder))) as client:
        for row in (1990, 2001, 2050):
            order = order_at(table, row, 0.5, history=16 * 48, names=names)
            expected = boosted.predict(table, rows=slice(row, row + 1)).mean[0]
            answer = client.post(URL, json=order)
            assert answer.status_code == 200, answer.text
            got = [step["expected_price_gbp_per_mwh"] for step in answer.json()["plan"]]
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)
            alone = client.post(URL, json=order_at(table, row, 0.5))  # prices alone: forecast over, not refused
            assert alone.status_code == 200
        order["market"]["other"] = {"demand": [1.0]}
        refused = client.post(URL, json=order)
        assert refused.status_code == 422
        assert "allowed are" in refused.text
        assert "demand_mw" in refused.text


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_two_days_of_history_are_as_good_as_eight(client, table, data):
    row = data.draw(st.integers(8 * 48, len(table) - 48))
    gapless = table.ffill()
    answers = [client.post(URL, json=order_at(gapless, row, 0.5, history)).json() for history in (HISTORY_PERIODS, 384)]
    assert answers[0] == answers[1]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_plan_starts_with_the_set_point_and_replays_through_the_battery(client, table, data):
    charge_fraction = data.draw(st.floats(0.0, 1.0))
    answer = client.post(URL, json=order_at(table, data.draw(st.integers(200, 800)), charge_fraction)).json()
    low_kw, high_kw = answer["feasible_kw"]
    assert low_kw <= answer["power_kw"] <= high_kw
    plan = answer["plan"]
    assert len(plan) == 48
    assert plan[0]["power_kw"] == answer["power_kw"]
    assert [pd.Timestamp(step["start"]) for step in plan] == list(
        pd.date_range(answer["period"]["start"], periods=48, freq="30min")
    )
    charge = charge_fraction
    for step in plan:
        stored = step["power_kw"] * (
            BATTERY.charge_efficiency if step["power_kw"] > 0 else 1 / BATTERY.discharge_efficiency
        )
        charge += 0.5 * stored / BATTERY.capacity_kwh
        assert step["charge_fraction"] == pytest.approx(charge, abs=1e-5)
        assert -BATTERY.max_discharge_kw - 1e-9 <= step["power_kw"] <= BATTERY.max_charge_kw + 1e-9
        inside = BATTERY.min_fraction - 1e-6 <= charge <= BATTERY.max_fraction + 1e-6
        assert inside or abs(charge - 0.5) <= abs(charge_fraction - 0.5), "outside its band it only moves back"


@pytest.mark.parametrize("minute", [0, 15])
def test_a_plan_of_quarters_starts_at_the_decision_and_replays_through_the_battery(bundle, table, minute):
    with TestClient(create_app(Dispatcher.from_bundle(bundle("mpc", 15)))) as client:
        answer = client.post(URL, json=order_at(table, 400, 0.5, minute=minute)).json()
    period = table.index[400]
    starts = [pd.Timestamp(step["start"]) for step in answer["plan"]]
    halves = [period + pd.Timedelta(minutes=m) for m in (0, 15) if m >= minute]
    assert starts == [*halves, *pd.date_range(period + pd.Timedelta(minutes=30), periods=47, freq="30min")]
    charge_kwh, ends = 0.5 * BATTERY.capacity_kwh, [*starts[1:], starts[-1] + pd.Timedelta(minutes=30)]
    for step, start, end in zip(answer["plan"], starts, ends, strict=True):
        charge_kwh, power_kw = battery_model.step(BATTERY, charge_kwh, step["power_kw"], (end - start).seconds / 3600.0)
        assert power_kw == pytest.approx(step["power_kw"], abs=1e-6)
        assert step["charge_fraction"] == pytest.approx(charge_kwh / BATTERY.capacity_kwh, abs=1e-6)


def test_at_a_quarter_past_one_more_price_counts_for_who_decides_then(bundle, table):
    """The price of the period before is used by a policy of quarters and ignored, with a warning, by one of halves."""
    order = order_at(table.ffill(), 400, 0.5, minute=15)
    dearer = json.loads(json.dumps(order))
    dearer["market"]["imbalance_price_gbp_per_mwh"][-1] += 100.0
    for minutes in (15, 30):
        with TestClient(create_app(Dispatcher.from_bundle(bundle("mpc", minutes)))) as client:
            plain, other = (client.post(URL, json=each).json() for each in (order, dearer))
        expected = [answer["plan"][0]["expected_price_gbp_per_mwh"] for answer in (plain, other)]
        assert (expected[0] < expected[1]) == (minutes == 15)
        assert (plain["warnings"] == []) == (minutes == 15)


def test_the_planner_continues_its_own_plan(bundle, table):
    """The set-point is the first step of the 24-hour program, the rest a program from there: together one optimum."""
    dispatcher = Dispatcher.from_bundle(bundle("mpc"))
    with TestClient(create_app(dispatcher)) as client:
        plan = client.post(URL, json=order_at(table, 400, 0.5)).json()["plan"]
    prices = np.array([step["expected_price_gbp_per_mwh"] for step in plan])
    end_value = prices.mean() * BATTERY.discharge_efficiency
    powers_kw = np.array([step["power_kw"] for step in plan])
    whole_kw = BatteryPlanner(BATTERY, ADDERS).plan_kw(0.5 * BATTERY.capacity_kwh, prices, end_value)

    def cost_gbp(power_kw):
        gained_kwh = (np.maximum(power_kw, 0) * BATTERY.charge_efficiency).sum() / 2
        gained_kwh += (np.minimum(power_kw, 0) / BATTERY.discharge_efficiency).sum() / 2
        paid = (prices @ power_kw + ADDERS.network_gbp_per_mwh * np.maximum(power_kw, 0).sum()) / 2000
        return paid + BATTERY.wear_gbp_per_kwh * np.abs(power_kw).sum() / 2 - end_value * gained_kwh / 1000

    assert cost_gbp(powers_kw) == pytest.approx(cost_gbp(whole_kw), abs=1e-3)
    assert cost_gbp(powers_kw) < -1.0, "a day of trading earns"


@pytest.mark.parametrize(
    ("timestamp", "date", "number"),
    [
        ("2024-03-31T00:59:59Z", "2024-03-31", 2),
        ("2024-03-31T01:00:00Z", "2024-03-31", 3),  # 02:00 local: the clock has just gone forward
        ("2024-03-31T22:40:00Z", "2024-03-31", 46),
        ("2024-03-31T23:00:00Z", "2024-04-01", 1),
        ("2024-04-02T01:30:00+01:00", "2024-04-02", 4),
        ("2023-10-29T23:45:00Z", "2023-10-29", 50),
        ("2023-10-29T00:30:00Z", "2023-10-29", 4),
    ],
)
def test_the_settlement_period_is_london_s(client, timestamp, date, number):
    order = example()
    period = pd.Timestamp(timestamp).tz_convert("UTC").floor("30min")
    order["telemetry"]["timestamp"] = timestamp
    order["market"]["start"] = (period - pd.Timedelta(days=2)).isoformat()
    answer = client.post(URL, json=order).json()
    assert (answer["period"]["settlement_date"], answer["period"]["settlement_period"]) == (date, number)
    assert pd.Timestamp(answer["period"]["start"]) == period
    assert pd.Timestamp(answer["period"]["end"]) == period + pd.Timedelta(minutes=30)


def test_a_value_from_the_future_changes_nothing_but_the_warnings(client):
    order = example()
    honest = client.post(URL, json=order).json()
    order["market"]["imbalance_price_gbp_per_mwh"] += [4000.0, 5000.0]
    order["market"]["day_ahead_price_gbp_per_mwh"] += [-500.0] * 20
    told = client.post(URL, json=order).json()
    assert honest["warnings"] == []
    assert len(told["warnings"]) == 2
    assert all("ignored" in warning for warning in told["warnings"])
    assert {**told, "warnings": []} == honest


def test_a_gap_of_the_source_as_clocks_change_holds_up_no_policy_for_days(client):
    """The auction whose prices are published leaves out the last two hours of the day on which clocks change."""
    order = example()
    for row in range(66, 70):
        order["market"]["day_ahead_price_gbp_per_mwh"][row] = None
    answer = client.post(URL, json=order).json()
    assert (answer["rung"], answer["reasons"]) == ("policy", [])
    (warning,) = answer["warnings"]
    assert "missing at 2024-01-02T21:00Z" in warning


def test_what_is_late_is_forecast_over_with_a_warning(client):
    order = example()
    order["market"]["imbalance_price_gbp_per_mwh"] = order["market"]["imbalance_price_gbp_per_mwh"][:-3]
    order["market"]["day_ahead_price_gbp_per_mwh"] = order["market"]["day_ahead_price_gbp_per_mwh"][:-48]
    answer = client.post(URL, json=order)
    assert answer.status_code == 200
    late, missing = sorted(answer.json()["warnings"])
    assert "2024-01-04T00:00Z" in late
    assert "3 published" in missing


BAD = {
    "naive timestamp": (("telemetry", "timestamp"), "2024-01-03T12:05:00", "time zone"),
    "seconds since 1970": (("telemetry", "timestamp"), 1704283500, "ISO 8601"),
    "year": (("telemetry", "timestamp"), "1970-01-01T00:00:00Z", "2000 to 2099"),
    "percent": (("telemetry", "charge_fraction"), 50, "Divide a percentage by 100"),
    "negative charge": (("telemetry", "charge_fraction"), -0.01, "0 to 1"),
    "charge as text": (("telemetry", "charge_fraction"), "0.5", "valid number"),
    "charge as truth": (("telemetry", "charge_fraction"), True, "valid number"),
    "no charge": (("telemetry", "charge_fraction"), ..., "Field required"),
    "no prices": (("market", "day_ahead_price_gbp_per_mwh"), ..., "Field required"),
    "empty array": (("market", "imbalance_price_gbp_per_mwh"), [], "at least 1 item"),
    "endless array": (("market", "imbalance_price_gbp_per_mwh"), [1.0] * 2000, "at most"),
    "extra key": (("telemetry", "soc"), 0.5, "not permitted"),
    "unit of price": (("market", "day_ahead_price_gbp_per_mwh", 5), 100000.0, "GBP/kWh x 1000"),
    "unit of all prices": (
        ("market", "market_index_price_gbp_per_mwh"),
        [0.01 * i for i in range(95)],
        "GBP/kWh x 1000",
    ),
    "unit of volume": (("market", "net_imbalance_volume_mwh", 5), 60000.0, "MWh per half-hour"),
    "short history": (("market", "start"), "2024-01-02T00:00:00Z", "2024-01-01T12:00Z"),
    "long history": (("market", "start"), "2023-12-01T00:00:00Z", "2 to 16 days"),
    "quarter past": (("market", "start"), "2024-01-01T12:15:00Z", "half-hour"),
}


@pytest.mark.parametrize(("where", "value", "hint"), BAD.values(), ids=list(BAD))
def test_each_mistake_has_its_own_answer(client, where, value, hint):
    field, message = only_problem(client.post(URL, json=changed(where, value)))
    assert hint in message
    assert field.startswith(where[0])


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
def test_what_is_not_a_finite_number_is_refused(client, number):
    text = json.dumps(example())
    for old in ('"charge_fraction": 0.62', '"net_imbalance_volume_mwh": [0.0'):
        assert old in text
        body = text.replace(old, old[: old.rindex("0.")] + number)
        answer = client.post(URL, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(
    ("body", "content_type", "status", "hint"),
    [
        (b'{"telemetry": ', "application/json", 422, "not JSON at character"),
        (b"", "application/json", 422, "required"),
        (b"[1, 2]", "application/json", 422, "JSON object"),
        (b"charge=0.5", "application/x-www-form-urlencoded", 422, "application/json"),
        (b'"\xff"', "application/json", 400, "parsing the body"),
        (b"[" * 100_000, "application/json", 400, "parsing the body"),
        (b" " * (MOST_BODY_BYTES + 1), "application/json", 413, "larger than"),
    ],
)
def test_a_broken_body_is_explained(client, body, content_type, status, hint):
    answer = client.post(URL, content=body, headers={"Content-Type": content_type})
    assert hint in only_problem(answer, status)[1]


def test_a_body_of_unknown_length_is_cut_off(client):
    pieces = (b" " * 10_000 for _ in range(MOST_BODY_BYTES // 10_000 + 1))
    answer = client.post(URL, content=pieces, headers={"Content-Type": "application/json"})
    assert only_problem(answer, 413)[0] == "body"


def test_other_refusals_have_the_same_shape(client):
    assert only_problem(client.get("/nothing"), 404)[0] == "request"
    assert only_problem(client.get(URL), 405)[0] == "request"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PLACES = st.sampled_from(
    [("telemetry",), ("market",), ("telemetry", "timestamp"), ("telemetry", "charge_fraction"), ("market", "start")]
    + [("market", name) for name in READ]
    + [("market", name, row) for name in READ for row in (0, 47, 94)]
    + [("market", "more"), ("more",)]
)
TIMES = st.datetimes(timezones=st.timezones() | st.just(UTC)).map(datetime.isoformat)
SERIES = st.lists(st.none() | st.floats(-1500.0, 1500.0), max_size=300)


@settings(deadline=None, max_examples=400)
@given(where=PLACES, value=JSON | TIMES | SERIES | st.floats(-0.1, 1.1))
def test_no_order_breaks_the_server(client, where, value):
    body = json.dumps(changed(where, value))
    answer = client.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 422), answer.text
    if answer.status_code == 200:
        assert -BATTERY.max_discharge_kw <= answer.json()["power_kw"] <= BATTERY.max_charge_kw
    else:
        assert all(problem["field"] and problem["message"] for problem in answer.json()["detail"])


@settings(deadline=None, max_examples=200)
@given(prices=st.lists(st.floats(-600.0, 7000.0), min_size=48, max_size=48), charge_fraction=st.floats(0.0, 1.0))
def test_any_plausible_market_is_decided(client, prices, charge_fraction):
    prices = prices[:-12] + [60.0] * 12  # nothing but small prices would be another unit
    order = changed(("telemetry", "charge_fraction"), charge_fraction)
    for name, bound in zip(READ, (1e4, 7e3, 7e3, 6e3), strict=True):
        n = len(order["market"][name])
        order["market"][name] = np.clip(np.resize(prices, n), -bound, bound).tolist()
    answer = client.post(URL, json=order)
    assert answer.status_code == 200, answer.text
    assert -BATTERY.max_discharge_kw <= answer.json()["power_kw"] <= BATTERY.max_charge_kw


IMBALANCE, VOLUME = (("market", name) for name in ("imbalance_price_gbp_per_mwh", "net_imbalance_volume_mwh"))
STALE = {
    "no price of the day before": (
        ("market", "day_ahead_price_gbp_per_mwh"),
        [60.0] * 48 + [None] * 48 + [60.0, 70.0, 80.0, 90.0] * 18,
        "2024-01-02T12:00Z",
        "rule",
    ),
    "no price now": (("market", "day_ahead_price_gbp_per_mwh", 96), None, "2024-01-03T12:00Z", "idle"),
    "no imbalance price for a day": (
        ("market", "imbalance_price_gbp_per_mwh"),
        [60.0] * 40,
        "2024-01-02T07:30Z",
        "rule",
    ),
    "no volume at all": (VOLUME, [None] * 90, "holds no published value", "rule"),
}


@pytest.mark.parametrize(("where", "value", "hint", "rung"), STALE.values(), ids=list(STALE))
def test_a_stale_market_is_decided_on_day_ahead_prices_or_not_at_all(client, where, value, hint, rung):
    answer = client.post(URL, json=changed(where, value)).json()
    assert answer["rung"] == rung
    assert [step["rung"] for step in answer["reasons"]] == ["policy", "mpc", "rule"][: 2 + (rung == "idle")]
    assert hint in answer["reasons"][0]["reason"]
    assert hint in answer["reason"]
    assert rung == "rule" or answer["power_kw"] == 0.0
    assert len(answer["plan"]) == 1


def test_the_rule_is_the_rule_on_day_ahead_prices(client):
    """The example's price lies on a cosine: its cheapest quarter is charged in, its dearest discharged in."""
    seen = set()
    for row in range(96, 144):
        order = changed(("market", "net_imbalance_volume_mwh"), [None] * 90)
        order["telemetry"]["timestamp"] = str(pd.Timestamp("2024-01-01T12:00Z") + pd.Timedelta(minutes=30 * row))
        order["market"]["imbalance_price_gbp_per_mwh"] = [50.0] * 140
        prices = np.array(order["market"]["day_ahead_price_gbp_per_mwh"])
        price = prices[row]
        ahead = np.concatenate([prices[row : row + 48], prices[row - 48 : row][max(0, len(prices) - row) :]])
        cheap, dear = np.percentile(ahead, [25.0, 75.0])
        answer = client.post(URL, json=order).json()
        assert answer["rung"] == "rule"
        sign = np.sign(answer["power_kw"])
        assert sign == (1.0 if price <= cheap + 1e-6 else -1.0 if price >= dear - 1e-6 else 0.0)
        seen.add(sign)
    assert seen == {-1.0, 0.0, 1.0}


def fails(case):
    raise FloatingPointError("overflow")


def dispatcher_of(policy, plan=fails, continuation=fails):
    return Dispatcher(Site(BATTERY, ADDERS), PolicyName("broken", "idle", "0"), policy, plan, continuation)


def test_a_policy_that_fails_leaves_it_to_the_plan_and_the_server_is_not_ready(bundle, caplog):
    whole = Dispatcher.from_bundle(bundle("mpc"))
    broken = dispatcher_of(fails, whole.rungs[1].decide, whole._continuation)
    with TestClient(create_app(broken)) as client, TestClient(create_app(whole)) as sound:
        answer, expected = (each.post(URL, json=example()).json() for each in (client, sound))
        assert (answer["power_kw"], answer["plan"]) == (expected["power_kw"], expected["plan"])
        assert answer["rung"] == "mpc"
        assert [step["reason"] for step in answer["reasons"]] == ["overflow"]
        assert answer["reason"].startswith("Not by policy: overflow.")
        assert client.get("/health/live").status_code == 200
        assert "server's log" in only_problem(client.get("/health/ready"), 503)[1]
    assert "overflow" in caplog.text


def test_a_policy_that_is_late_at_the_start_is_tried_again():
    answers = iter([TimeoutError("late"), Proposal(10.0, (50.0,) * 48)])

    def late_once(case):
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    with TestClient(create_app(dispatcher_of(late_once, lambda case: Proposal(0.0, (50.0,) * 48)))) as client:
        assert client.get("/health/ready").status_code == 200
        assert client.get("/health/ready").status_code == 200, "no third decision is asked for"


def test_an_error_of_ours_is_a_json_answer():
    groundless = dispatcher_of(fails)
    groundless.rungs = ()
    with TestClient(create_app(groundless), raise_server_exceptions=False) as client:
        assert "at rest" in only_problem(client.post(URL, json=example()), 500)[1]


def test_without_a_continuation_the_set_point_stands_alone():
    with TestClient(create_app(dispatcher_of(lambda case: Proposal(10.0, (50.0,) * 48)))) as client:
        answer = client.post(URL, json=example()).json()
    assert (answer["rung"], answer["power_kw"], len(answer["plan"])) == ("policy", 10.0, 1)
    assert answer["warnings"] == ["no plan beyond the set-point: overflow"]


@pytest.mark.parametrize("deed", ["sleep", "hold the lock", "die", "raise", "nan"])
def test_policy_and_solver_may_hang_die_or_fail_and_the_answer_comes_in_time(deed):
    workers = [Worker[Any, Any](name, "tests.pathological:build", deed) for name in ("policy", "planner")]
    for worker in workers:
        worker.await_ready(60.0)
    policy, planner = (partial(worker.ask, within_s=0.3) for worker in workers)
    with TestClient(create_app(dispatcher_of(policy, planner, planner))) as client:
        for _ in range(2):  # at the second order, right after, the processes may still be starting again
            began = time.monotonic()
            answer = client.post(URL, json=example()).json()
            assert time.monotonic() - began < 2.0
            assert answer["rung"] == "rule"
            assert [step["rung"] for step in answer["reasons"]] == ["policy", "mpc"]
            assert all(step["reason"] and step["after_s"] < 1.0 for step in answer["reasons"])
    for worker in workers:
        worker.close()


def test_in_processes_of_their_own_policy_and_planner_decide_the_same(bundle, table):
    folder = bundle("onnx")
    guarded, plain = Dispatcher.guarded(folder, Budgets(20.0, 20.0)), Dispatcher.from_bundle(folder)
    with TestClient(create_app(guarded)) as one, TestClient(create_app(plain)) as other:
        for row in (400, 410, 420):
            order = order_at(table, row, 0.4)
            assert one.post(URL, json=order).json() == other.post(URL, json=order).json()
    guarded.close()


@pytest.mark.parametrize("kind", ["onnx", "mpc"])
def test_a_process_that_decides_has_decided_before_it_calls_itself_ready(kind, bundle):
    asked = []
    mind = bundled_mind(bundle(kind))

    def propose(case):
        asked.append(mind.propose(case))
        return asked[-1]

    assert practice.practised(propose, BATTERY) is propose
    assert len(asked) == 1
    assert np.isfinite([asked[0].power_kw, *asked[0].forecast]).all(), "all that a decision needs was at work"
    assert practice.practised(fails, BATTERY) is fails, "the ladder sees to it"


def test_a_bundle_that_cannot_be_loaded_in_its_process_is_refused(bundle):
    folder = bundle("onnx")
    (folder / "policy.onnx").write_bytes(b"not a network")
    with pytest.raises(ValueError, match="cannot be loaded"):
        Dispatcher.guarded(folder)


def test_ready_after_the_first_decision(client):
    assert client.get("/health/ready").json() == {"status": "ready"}
    assert client.get("/health/live").json() == {"status": "live"}


def test_the_docs_show_an_order_that_works(client):
    api = client.get("/openapi.json").json()
    order = api["components"]["schemas"]["DispatchOrder"]["example"]
    answer = client.post(URL, json=order)
    assert answer.status_code == 200
    assert answer.json()["warnings"] == []
    for name, schema in api["components"]["schemas"].items():
        if name in ("Telemetry", "MarketView", "PlanStep", "DispatchPlan"):
            assert all("description" in field or "$ref" in field for field in schema["properties"].values()), name


POWERS_KW = st.sampled_from([0.0, 0.01, 10.0, 200.0, -300.0, -75.5, float("nan")])


@given(
    wanted_kw=POWERS_KW,
    power_kw=POWERS_KW.filter(lambda x: x == x),
    prices=st.lists(st.integers(-50, 300), min_size=48, max_size=48),
)
def test_a_reason_tells_the_truth(wanted_kw, power_kw, prices):
    forecast = np.array(prices, dtype=np.float64)
    text = explain(BATTERY, 0.5, wanted_kw, power_kw, (-300.0, 200.0), forecast)
    assert text.startswith(
        "Charging at " if power_kw >= 0.05 else "Discharging at " if power_kw <= -0.05 else "Resting"
    )
    above = sum(price < prices[0] for price in prices[1:]) / 47
    below = sum(price > prices[0] for price in prices[1:]) / 47
    assert f"{prices[0]:.2f} GBP/MWh, is above {100 * above:.0f} % and below {100 * below:.0f} %" in text
    differs = abs((0.0 if np.isnan(wanted_kw) else wanted_kw) - power_kw) >= 0.05
    assert ("of which the charge allows" in text) == differs


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"policy": "os.system"}, "dispatches"),
        ({"env": "gridpilot/Site-v0"}, "Battery-v0"),
        ({"observation_fields": ["charge_fraction"]}, "train and evaluate again"),
        ({"system": {"battery": {"capacity": 5.0}, "adders": {}}}, "cannot be read"),
        ({"system": {"battery": {"capacity_kwh": -5.0}, "adders": {}}}, "capacity_kwh"),
        ({"forecaster": {"factors": []}}, "does not say which forecaster"),
        ({"forecaster": {"sha256": "0"}}, "not the one the bundle was made with"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused(bundle, changes, hint):
    with pytest.raises(ValueError, match=hint):
        Dispatcher.from_bundle(bundle("mpc", **changes))


def test_a_network_that_is_missing_or_damaged_is_refused(bundle, tmp_path):
    manifest = json.loads((bundle("mpc") / "bundle.json").read_text())
    write_bundle(tmp_path, {**manifest, "policy": "onnx"})
    with pytest.raises(FileNotFoundError, match=r"policy\.onnx"):
        Dispatcher.from_bundle(tmp_path)
    (tmp_path / "policy.onnx").write_bytes(b"not a network")
    with pytest.raises(ValueError, match="cannot be loaded"):
        Dispatcher.from_bundle(tmp_path)


def test_serving_loads_no_learner_no_solver_no_client_and_no_migration(tmp_path):
    """Each of them would be waited for at every start."""
    url = f"sqlite:///{tmp_path / 'state.db'}"
    Store(url).close()
    unwanted = ("torch", "stable_baselines3", "hydra", "cvxpy", "httpx", "alembic", "onnxruntime", "jinja2")
    code = (
        "import server.service, sys; from dispatch.store import Store; "
        f"Store({url!r}).close(); print([m for m in {unwanted} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_serve_explains_a_missing_bundle():
    command = [sys.executable, "serve.py", "bundle=nowhere"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "python evaluate.py" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
