"""Laws of the battery that decides each settlement period twice."""

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.dp import DpPolicy, StochasticDpPolicy
from baselines.ema import EmaPolicy
from baselines.idle import IdlePolicy
from baselines.mpc import BatteryPlanner, MpcPolicy
from baselines.oracle import OraclePolicy, perfect_foresight
from baselines.random import RandomPolicy
from baselines.rule import RulePolicy
from data.publication import hide_unpublished
from envs.battery import QUARTER_PAST, BatterySystem
from envs.fields import position
from envs.scenario import History, Scenario
from envs.single import SystemEnv
from evaluation.backtest import Run, score
from evaluation.rollout import play
from models import battery as model
from models.battery import Battery
from models.settlement import Adders, adders_gbp, energy_gbp

POLICIES = {
    "idle": IdlePolicy,
    "random": RandomPolicy,
    "rule": RulePolicy,
    "mpc": MpcPolicy,
    "dp": DpPolicy,
    "stochastic_dp": StochasticDpPolicy,
    "ema": EmaPolicy,
}
ADDERS = Adders(network_gbp_per_mwh=12.0, carbon_gbp_per_tonne=60.0)
SMALL = Battery(capacity_kwh=400.0)  # 250 kW fills it within two hours, so that limits bind often
SHARES = st.floats(-1.0, 1.0, width=32)


def quarterly(scenario, **parameters) -> SystemEnv:
    return SystemEnv(BatterySystem(scenario, adders=ADDERS, decision_minutes=15, **parameters))


class Repeats:
    """Does what it is told, one action a step."""

    def __init__(self, actions):
        self._actions = actions

    def reset(self, seed):
        self._left = iter(self._actions)

    def act(self, observation):
        return np.float32([next(self._left)])


@settings(deadline=None, max_examples=30)
@given(day=st.integers(0, 5), shares=st.lists(SHARES, min_size=100, max_size=100))
def test_booking_each_quarter_adds_up_to_settling_the_period_once(clock_change_days, day, shares):
    """Metered energy of both quarters by the model, then one settlement of their sum, on days of 46 to 50 periods."""
    first, stop = clock_change_days.episodes[day]
    scenario, market = _one(clock_change_days, day), clock_change_days.market
    env = quarterly(scenario, battery=SMALL)
    trace = play(env, Repeats(shares), 0)
    assert len(trace) == 2 * (stop - first)
    powers_kw = trace["power_kw"].to_numpy().reshape(-1, 2)
    energy_kwh = 0.5 * SMALL.capacity_kwh
    for t, period in enumerate(powers_kw):
        booked = trace.iloc[2 * t : 2 * t + 2]
        metered_kwh = 0.25 * period.sum()
        _, imbalance_gbp = energy_gbp(0.0, metered_kwh, 0.0, market.imbalance_price_gbp_per_mwh[first + t])
        # A meter registers import and export apart, so that what the first quarter imported pays its network costs.
        imported_kwh = 0.25 * np.maximum(period, 0.0).sum()
        network_gbp, _ = adders_gbp(ADDERS, imported_kwh, 0.0)
        _, carbon_gbp = adders_gbp(ADDERS, metered_kwh, market.carbon_g_per_kwh[first + t])
        wear_gbp = -SMALL.wear_gbp_per_kwh * 0.25 * np.abs(period).sum()
        for term, gbp in zip(
            ("imbalance", "network", "carbon", "wear"), (imbalance_gbp, network_gbp, carbon_gbp, wear_gbp), strict=True
        ):
            assert booked[f"{term}_gbp"].sum() == pytest.approx(gbp, abs=1e-9)
        for asked, power_kw in zip(shares[2 * t : 2 * t + 2], period, strict=True):
            energy_kwh, expected_kw = model.step(SMALL, energy_kwh, asked * 250.0, 0.25)
            assert power_kw == pytest.approx(expected_kw, abs=1e-6)
        assert booked["energy_kwh"].iloc[1] == pytest.approx(energy_kwh, abs=1e-6)
        assert (booked["imbalance_price_gbp_per_mwh"] == market.imbalance_price_gbp_per_mwh[first + t]).all()
    gained_gbp = (energy_kwh - 0.5 * SMALL.capacity_kwh) * SMALL.discharge_efficiency / 1000.0
    assert trace["end_value_gbp"].sum() == pytest.approx(gained_gbp * market.end_price_gbp_per_mwh[stop], abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(shares=st.lists(SHARES, min_size=50, max_size=50), day=st.integers(0, 5))
def test_the_same_action_in_both_quarters_is_the_half_hour(clock_change_days, shares, day):
    """Even where a limit binds the energy is the same: full power first and then nothing, or less all along."""
    scenario = _one(clock_change_days, day)
    whole = play(SystemEnv(BatterySystem(scenario, SMALL, ADDERS)), Repeats(shares), 0)
    halves = play(quarterly(scenario, battery=SMALL), Repeats(np.repeat(shares, 2)), 0)
    terms = [column for column in whole if column.endswith("_gbp")]
    pd.testing.assert_frame_equal(halves[terms].resample("30min").sum(), whole[terms], check_freq=False, atol=1e-9)
    np.testing.assert_allclose(halves["energy_kwh"].iloc[1::2], whole["energy_kwh"], atol=1e-9)


def test_time_goes_by_in_quarters_and_tells_so(clock_change_days):
    env = quarterly(clock_change_days)
    left, flag = (position(env.system.observation_fields, name) for name in ("hours_left_h", QUARTER_PAST.name))
    whole = SystemEnv(BatterySystem(clock_change_days))
    for seed in range(4):
        observation, _ = env.reset(seed=seed)
        half_hour, _ = whole.reset(seed=seed)
        first, stop = (int(env.lanes[0][name]) for name in ("period", "stop"))
        times, over = [], False
        while not over:
            t, late = divmod(len(times), 2)
            times.append(env.system.when(env.lanes[0]))
            assert observation[flag] == late
            assert observation[left] == min((stop - first - t) * 0.5 - late * 0.25, 24.0)
            if not late:  # what the start of a period shows is what it shows to who decides once
                np.testing.assert_array_equal(observation[1:flag], half_hour[1:])
            observation, _, over, _, _ = env.step(np.float32([0.3]))
            if late:
                half_hour, *_ = whole.step(np.float32([0.3]))
        expected = pd.date_range(env.system.scenario.timestamps[first], periods=2 * (stop - first), freq="15min")
        assert list(expected) == times
        assert observation[left] == observation[flag] == 0.0


def test_at_a_quarter_past_the_price_of_the_period_before_is_shown(history):
    env = quarterly(Scenario(history, "validation", "day"))
    known = position(env.system.observation_fields, "known_imbalance_price_gbp_per_mwh")
    env.reset(seed=0)
    price, t = history.market.imbalance_price_gbp_per_mwh, env.lanes[0]["period"]
    assert env.observe()[known] == pytest.approx(price[t - 2])
    env.step(np.float32([0.0]))
    assert env.observe()[known] == pytest.approx(price[t - 1])


@pytest.mark.parametrize("minute", [0, 15])
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_no_policy_acts_on_what_is_not_published(name, minute, table, forecaster):
    for t in (1400, 1421, 1422, 1500):
        actions = []
        for each in (table, hide_unpublished(table, t, minute)):
            env = quarterly(Scenario(History(each, forecaster), "validation", "split"))
            env.reset(seed=0)
            env.lanes[0]["period"], env.lanes[0]["quarter_past"], env.lanes[0]["stop"] = t, minute > 0, t + 500
            policy = POLICIES[name].for_env(env)
            policy.reset(0)
            actions.append(policy.act(env.observe()))
        np.testing.assert_array_equal(actions[0], actions[1])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(-200.0, 500.0), min_size=8, max_size=8),
    st.lists(SHARES, min_size=16, max_size=16),
    st.floats(0.15, 0.9),
    st.floats(0.0, 100.0),
)
def test_quarters_earn_at_most_the_half_hourly_bound(prices, asked, fraction, end_price):
    energy_kwh = start_kwh = fraction * SMALL.capacity_kwh
    value_gbp, carbon = 0.0, np.linspace(50.0, 300.0, 8)
    for quarter, share in enumerate(asked):
        t = quarter // 2
        energy_kwh, power_kw = model.step(SMALL, energy_kwh, share * 250.0, 0.25)
        value_gbp += sum(energy_gbp(0.0, power_kw * 0.25, 0.0, prices[t])) - SMALL.wear_gbp_per_kwh * abs(power_kw) / 4
        value_gbp += sum(adders_gbp(ADDERS, power_kw * 0.25, carbon[t]))
    value_gbp += (energy_kwh - start_kwh) * SMALL.discharge_efficiency * end_price / 1000.0
    bound = perfect_foresight(SMALL, ADDERS, start_kwh, np.array(prices), carbon, end_price)
    assert value_gbp <= bound.value_gbp + 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_a_program_over_quarters_has_the_same_optimum_as_the_one_over_half_hours(seed):
    rng = np.random.default_rng(seed)
    n, b, price, carbon = 48, SMALL, rng.normal(60.0, 60.0, 48), rng.uniform(50.0, 300.0, 48)
    charge, discharge = cp.Variable(2 * n, nonneg=True), cp.Variable(2 * n, nonneg=True)
    energy = 200.0 + 0.25 * cp.cumsum(b.charge_efficiency * charge - discharge / b.discharge_efficiency)
    unit_gbp = np.repeat((price + ADDERS.carbon_gbp_per_tonne * carbon / 1000.0) / 1000.0, 2)
    earned = (
        -0.25 * unit_gbp @ (charge - discharge)
        - 0.25 * b.wear_gbp_per_kwh * cp.sum(charge + discharge)
        - 0.25 * ADDERS.network_gbp_per_mwh / 1000.0 * cp.sum(charge)
        + b.discharge_efficiency * 60.0 / 1000.0 * (energy[2 * n - 1] - 200.0)
    )
    limits = [charge <= 250.0, discharge <= 250.0, energy >= 60.0, energy <= 360.0]
    problem = cp.Problem(cp.Maximize(earned), limits)
    problem.solve(solver="CLARABEL")
    assert perfect_foresight(b, ADDERS, 200.0, price, carbon, 60.0).value_gbp == pytest.approx(problem.value, rel=1e-6)


def test_the_oracle_plays_its_bound_and_every_policy_stays_below(history):
    env = quarterly(Scenario(history, "validation", "split"))
    whole = SystemEnv(BatterySystem(env.system.scenario, adders=ADDERS))
    oracle = OraclePolicy.for_env(env)
    runs = [Run(name, 0, play(env, policy.for_env(env), 0)) for name, policy in POLICIES.items()]
    runs.append(Run("oracle", 0, play(env, oracle, 0), oracle.bound_gbp))
    rows = {row["policy"]: row for row in score(runs, "battery", "validation", "rule")}  # refuses what beats the bound
    assert rows["oracle"]["value_gbp"] == pytest.approx(oracle.bound_gbp, rel=2e-3)
    once = play(whole, OraclePolicy.for_env(whole), 0)
    assert rows["oracle"]["value_gbp"] == pytest.approx(once["reward_gbp"].sum(), rel=1e-9)
    assert rows["oracle"]["battery_throughput_kwh"] == pytest.approx(once["power_kw"].abs().sum() / 2, rel=1e-9)
    assert rows["oracle"]["periods"] == len(once)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0.0, 600.0), min_size=48, max_size=48), st.floats(150.0, 900.0))
def test_the_plan_from_a_quarter_past_is_optimal(prices, energy_kwh):
    """Against a program in kW, whose first step lasts a quarter of an hour, by another solver."""
    price, b = np.array(prices), Battery()
    end = float(price.mean())
    plan_kw = _planner().plan_kw(energy_kwh, price, end * b.discharge_efficiency, 0.25)
    hours, now_kwh, value_gbp = np.array([0.25] + [0.5] * 47), energy_kwh, 0.0
    for asked_kw, step_h, gbp_per_mwh in zip(plan_kw, hours, price, strict=True):
        now_kwh, power_kw = model.step(b, now_kwh, asked_kw, step_h)
        assert power_kw == pytest.approx(asked_kw, abs=2.0)
        value_gbp -= gbp_per_mwh * power_kw * step_h / 1000.0 + b.wear_gbp_per_kwh * abs(power_kw) * step_h
    value_gbp += (now_kwh - energy_kwh) * b.discharge_efficiency * end / 1000.0
    charge, discharge = cp.Variable(48, nonneg=True), cp.Variable(48, nonneg=True)
    stored_kw = b.charge_efficiency * charge - discharge / b.discharge_efficiency
    energy = energy_kwh + cp.cumsum(cp.multiply(hours, stored_kw))
    earned = -(price * hours) @ (charge - discharge) / 1000.0 - b.wear_gbp_per_kwh * hours @ (charge + discharge)
    earned += end * b.discharge_efficiency * (energy[47] - energy_kwh) / 1000.0
    problem = cp.Problem(cp.Maximize(earned), [charge <= 250.0, discharge <= 250.0, energy >= 150.0, energy <= 900.0])
    problem.solve(solver="CLARABEL")
    assert value_gbp == pytest.approx(problem.value, abs=0.05)


_PLANNERS: list[BatteryPlanner] = []


def _planner() -> BatteryPlanner:
    if not _PLANNERS:
        _PLANNERS.append(BatteryPlanner(Battery(), Adders()))
    return _PLANNERS[0]


def test_the_information_of_a_quarter_past_is_made_only_for_who_asks(table, forecaster):
    history = History(table, forecaster)
    SystemEnv(BatterySystem(Scenario(history, "validation", "day"))).reset(seed=0)
    assert "price_information_twice" not in vars(history)


@pytest.mark.parametrize("minutes", [0, 10, 60, 15.5])
def test_other_step_lengths_are_refused(minutes, days):
    with pytest.raises(ValueError, match="allowed are 30 and 15"):
        BatterySystem(days, decision_minutes=minutes)


def _one(scenario, day):
    """The scenario with a single episode."""
    one = Scenario(scenario.history, scenario.split, "day")
    one.episodes = [scenario.episodes[day]]
    return one
