"""What is special about the cooling environment: its money, its IT load, its end, and its rules."""

from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from baselines.cooling_rule import FixedSetpointPolicy, PrecoolPolicy
from baselines.idle import IdlePolicy
from baselines.random import RandomPolicy
from data.arrivals import JobSource
from data.jobs import arrival_periods
from envs.battery import BatterySystem
from envs.cooling import CoolingSystem
from envs.fields import position, positions
from envs.information import FORECAST_PREFIX
from envs.scenario import History, Scenario
from envs.single import SystemEnv
from evaluation.rollout import play
from models import cooling
from models.chiller import Chiller
from models.cluster import Cluster, job_capacity_kw
from models.cooling import InletPenalty
from models.hall import Hall, HallState, matched_fan_fraction, steady_state
from models.settlement import Adders

CONF = Path(__file__).parent.parent / "conf"


class Holds:
    """Asks for the same every period, or for `at_end` in the last few."""

    def __init__(self, setpoint_c, fan_fraction, at_end=None, last=0):
        self.usual, self.at_end, self.last = (setpoint_c, fan_fraction), at_end, last

    def reset(self, seed):
        pass

    def act(self, observation):
        hours_left_h = observation[position(CoolingSystem.observation_fields, "hours_left_h")]
        return np.float32(self.at_end if 2 * hours_left_h <= self.last else self.usual)


@pytest.fixture(scope="module")
def flat(table, forecaster):
    """Days of level prices and carbon, and of one cold wet bulb."""
    level = table.copy()
    for column, value in {
        "day_ahead_price_gbp_per_mwh": 80.0,
        "imbalance_price_gbp_per_mwh": 80.0,
        "carbon_intensity_mix_derived_g_per_kwh": 200.0,
        "wet_bulb_c": 2.0,
    }.items():
        level[column] = value
    return Scenario(History(level, forecaster), "validation", "day")


def test_every_term_is_what_the_model_and_the_market_say(days):
    adders, penalty = Adders(30.0, 80.0), InletPenalty(3.0, 40.0)
    system = CoolingSystem(days, adders=adders, inlet_penalty=penalty, position_kw=25.0)
    env, rng = SystemEnv(system), np.random.default_rng(0)
    env.reset(seed=3)
    first, stop = int(env.lanes[0]["period"]), int(env.lanes[0]["stop"])
    state = start = steady_state(Hall(), system.it_kw[first], 20.0, 1.0)
    market, capacities = days.market, np.array([50.0, 2.0, 6.0])
    for t in range(first, stop):
        setpoint_c, fan_fraction = rng.uniform([22.0, 0.3], [35.0, 0.6]).astype(np.float32)
        _, _, over, _, info = env.step(np.array([setpoint_c, fan_fraction]))
        wet_bulb_c = market.wet_bulb_c[t]
        state, flows = cooling.step(
            Hall(), Chiller(), state, system.it_kw[t], wet_bulb_c, setpoint_c, fan_fraction, 0.5
        )
        kwh, gbp = 0.5 * flows.cooling_kw, info["reward_gbp"]
        assert gbp["day_ahead"] == pytest.approx(-12.5 * market.day_ahead_price_gbp_per_mwh[t] / 1e3)
        assert gbp["imbalance"] == pytest.approx(-(kwh - 12.5) * market.imbalance_price_gbp_per_mwh[t] / 1e3)
        assert gbp["network"] == pytest.approx(-kwh * 30.0 / 1e3)
        assert gbp["carbon"] == pytest.approx(-kwh * market.carbon_g_per_kwh[t] * 80.0 / 1e6)
        degree_hours = (flows.recommended_excess_c_h, flows.allowable_excess_c_h)
        assert gbp["thermal"] == pytest.approx(-np.dot((3.0, 40.0), degree_hours))
        assert info["grid_kw"] == pytest.approx(flows.cooling_kw)
        assert (info["recommended_excess_c_h"], info["allowable_excess_c_h"]) == pytest.approx(degree_hours)
        if not over:
            assert gbp["end_value"] == 0.0
    assert over
    shed_kwh = capacities @ (np.array(start) - np.array(state))
    it_kw = system.it_kw[t]
    compressors_kw = cooling.compressor_kw(Chiller(), it_kw, 20.0, wet_bulb_c)
    price = market.end_price_gbp_per_mwh[stop] + 30.0 + 80.0 * market.carbon_g_per_kwh[t] / 1e3
    assert gbp["end_value"] == pytest.approx(shed_kwh * (compressors_kw / it_kw + 0.045) * price / 1e3)


def test_asking_for_nothing_is_the_safe_setpoint_at_full_fan_speed(days):
    env = SystemEnv(CoolingSystem(days))
    idle, safe = (play(env, policy, 0) for policy in (IdlePolicy(2), Holds(20.0, 1.0)))
    assert (idle["setpoint_c"] == 20.0).all()
    assert (idle["fan_fraction"] == 1.0).all()
    assert (idle["recommended_excess_c_h"] == 0.0).all()
    np.testing.assert_array_equal(idle["reward_gbp"], safe["reward_gbp"])


@pytest.mark.parametrize("last", [1, 4, 12])
@pytest.mark.parametrize("setpoint_c", [17.0, 23.5])
def test_a_warm_or_cold_end_is_no_profit_while_prices_are_level(flat, setpoint_c, last):
    env = SystemEnv(CoolingSystem(flat))
    steady = play(env, Holds(20.0, 1.0), 0)
    changed = play(env, Holds(20.0, 1.0, at_end=(setpoint_c, 1.0), last=last), 0)
    assert steady["chiller_kw"].sum() == changed["chiller_kw"].sum() == 0.0  # all of it free cooling
    spent_gbp = steady.filter(like="_gbp").sum() - changed.filter(like="_gbp").sum()
    assert abs(spent_gbp["imbalance_gbp"]) > 0.02
    assert changed["reward_gbp"].sum() == pytest.approx(steady["reward_gbp"].sum(), abs=1e-6)


def test_slow_fans_are_cheap_until_the_racks_breathe_their_own_air(flat):
    env = SystemEnv(CoolingSystem(flat))
    full, matched, slow = (play(env, Holds(24.0, fan), 0) for fan in (1.0, 0.8, 0.35))
    assert (full["fan_kw"] - matched["fan_kw"]).to_numpy() == pytest.approx(40.0 * (1.0 - 0.8**3))
    assert full["thermal_gbp"].sum() == matched["thermal_gbp"].sum() == 0.0
    assert matched["reward_gbp"].sum() > full["reward_gbp"].sum()
    assert slow["grid_kw"].sum() < matched["grid_kw"].sum()
    assert slow["reward_gbp"].sum() < full["reward_gbp"].sum()


def test_the_it_load_is_every_job_run_on_arrival(days):
    source, cluster = JobSource(seed=5), Cluster()
    system = CoolingSystem(days, jobs=source)
    n = len(days.timestamps) + 1
    arrivals = source.arrivals(days.timestamps[0].to_pydatetime(), n, job_capacity_kw(cluster))
    job_kw = np.zeros(n)
    for begun, job in zip(arrival_periods(arrivals), arrivals.rows, strict=True):
        job_kw[begun : begun + job["duration_periods"]] += job["power_kw"]
    busy = np.minimum(job_kw / 0.606, 984.0)
    np.testing.assert_allclose(system.it_kw, 984.0 * 0.189 + busy * (0.606 - 0.189), rtol=1e-9)
    assert 0.3 < system.it_kw.mean() / system.full_it_kw < 0.9
    assert np.ptp(system.it_kw) > 100.0
    assert not np.array_equal(system.it_kw, CoolingSystem(days).it_kw)


def test_a_longer_history_has_the_same_it_load_before(history, table, forecaster):
    whole = CoolingSystem(Scenario(history, "train", "day"))
    part = CoolingSystem(Scenario(History(table.iloc[:1000], forecaster), "train", "day"))
    np.testing.assert_array_equal(whole.it_kw[:1001], part.it_kw)


def test_the_policy_sees_this_load_and_the_last_and_the_hall_as_it_is(days):
    env = SystemEnv(CoolingSystem(days))
    at = {field.name: i for i, field in enumerate(env.system.observation_fields)}
    observation, _ = env.reset(seed=0)
    for _ in range(20):
        t = int(env.lanes[0]["period"])
        assert observation[at["it_fraction"]] == pytest.approx(env.system.it_kw[t] / env.system.full_it_kw)
        assert observation[at["last_it_fraction"]] == pytest.approx(env.system.it_kw[t - 1] / env.system.full_it_kw)
        assert observation[at["known_wet_bulb_c"]] == pytest.approx(days.market.wet_bulb_c[t - 1], abs=1e-4)
        observation, _, _, _, info = env.step(env.action_space.sample())
        for name in ("mass_c", "air_c", "supply_c"):
            assert observation[at[name]] == pytest.approx(info[name], rel=1e-6)


def test_an_episode_begins_at_rest(days):
    system = CoolingSystem(days)
    env = SystemEnv(system)
    env.reset(seed=1)
    lane = env.lanes[0]
    start = [float(lane[name]) for name in ("mass_c", "air_c", "supply_c")]
    after, _ = cooling.step(Hall(), Chiller(), HallState(*start), system.it_kw[lane["period"]], 10.0, nan, nan, 0.5)
    np.testing.assert_allclose(after, start, rtol=1e-9)


def test_the_expected_load_is_what_a_hall_at_rest_takes_without_compressors(days):
    system = CoolingSystem(days)
    it_kw = 984.0 * (0.189 + 0.55 * (0.606 - 0.189))
    fan_fraction = matched_fan_fraction(Hall(), it_kw)
    state = steady_state(Hall(), it_kw, 24.0, fan_fraction)
    _, flows = cooling.step(Hall(), Chiller(), state, it_kw, -5.0, 24.0, fan_fraction, 0.5)
    assert flows.chiller_kw == 0.0
    assert system.position_kw == pytest.approx(flows.cooling_kw)


def test_the_position_moves_money_between_markets_and_changes_no_decision(days):
    traces = []
    for position_kw in (0.0, 40.0):
        env = SystemEnv(CoolingSystem(days, position_kw=position_kw))
        traces.append(play(env, FixedSetpointPolicy.for_env(env), 0))
    first, second = traces
    np.testing.assert_array_equal(first["grid_kw"], second["grid_kw"])
    assert (first["day_ahead_gbp"] == 0.0).all()
    prices = days.market
    rows = [days.timestamps.get_loc(t) for t in first.index]
    spread = (prices.imbalance_price_gbp_per_mwh - prices.day_ahead_price_gbp_per_mwh)[rows]
    np.testing.assert_allclose(second["reward_gbp"] - first["reward_gbp"], 0.02 * spread, atol=1e-9)


def test_twelve_default_sites_are_the_large_site(days):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        systems = [
            instantiate(compose("train", overrides=["env=cooling", f"site={site}"]).env.system)(scenario=days)
            for site in ("gridpilot", "hpc_12mw")
        ]
    rng = np.random.default_rng(0)
    small, large = (SystemEnv(system) for system in systems)
    np.testing.assert_allclose(small.reset(seed=0)[0], large.reset(seed=0)[0], rtol=1e-6)
    over = False
    while not over:
        action = rng.uniform(small.action_space.low, small.action_space.high).astype(np.float32)
        observation, reward, over, _, _ = small.step(action)
        expected_observation, large_reward, _, _, _ = large.step(action)
        assert large_reward == pytest.approx(12.0 * reward, rel=1e-9)
        np.testing.assert_allclose(observation, expected_observation, rtol=1e-5, atol=1e-5)


def test_the_rule_beats_idling_which_beats_chance(history):
    env = SystemEnv(CoolingSystem(Scenario(history, "validation", "split")))
    policies = (FixedSetpointPolicy.for_env(env), IdlePolicy.for_env(env), RandomPolicy.for_env(env))
    rule, idle, chance = (play(env, policy, 0)["reward_gbp"].sum() for policy in policies)
    assert rule > idle > chance


def test_the_rule_delivers_the_air_that_the_servers_draw(days):
    env = SystemEnv(CoolingSystem(days))
    trace = play(env, FixedSetpointPolicy.for_env(env, setpoint_c=23.0, fan_margin=1.1), 0)
    assert (trace["setpoint_c"] == 23.0).all()
    wanted = 1.1 * trace["it_kw"] / 15.0 / 50.0
    np.testing.assert_allclose(trace["fan_fraction"], wanted.clip(0.3, 1.0), rtol=1e-6)


@pytest.mark.parametrize(("now", "setpoint_c"), [(50.0, 22.0), (100.0, 24.0), (105.0, 24.0), (150.0, 26.0)])
def test_precooling_stores_cold_before_dear_hours_and_spends_it_in_them(days, now, setpoint_c):
    env = SystemEnv(CoolingSystem(days))
    policy = PrecoolPolicy.for_env(env, swing_k=2.0, spread_gbp_per_mwh=10.0, hours_ahead_h=2.0)
    observation, _ = env.reset(seed=0)
    forecast = positions(env.system.observation_fields, FORECAST_PREFIX)
    observation[forecast] = 1000.0  # beyond the hours it looks at
    observation[forecast.start + 1 : forecast.start + 5] = 100.0
    observation[forecast.start] = now
    assert policy.act(observation)[0] == setpoint_c


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"position_kw": nan}, "position_kw"),
        ({"position_kw": inf}, "position_kw"),
        ({"inlet_penalty": InletPenalty(recommended_gbp_per_c_h=-1.0)}, "recommended_gbp_per_c_h"),
        ({"inlet_penalty": InletPenalty(allowable_gbp_per_c_h=nan)}, "allowable_gbp_per_c_h"),
        ({"hall": Hall(min_fan_fraction=2.0)}, "min_fan_fraction"),
        ({"chiller": Chiller(capacity_kw=0.75)}, "capacity_kw"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(days, wrong, message):
    with pytest.raises(ValueError, match=message):
        CoolingSystem(days, **wrong)


@pytest.mark.parametrize(
    ("policy", "wrong"),
    [
        (FixedSetpointPolicy, {"fan_margin": 0.0}),
        (FixedSetpointPolicy, {"setpoint_c": nan}),
        (PrecoolPolicy, {"hours_ahead_h": 24.0}),
        (PrecoolPolicy, {"swing_k": -1.0}),
    ],
)
def test_a_wrong_setting_of_a_rule_is_refused_by_name(days, policy, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        policy.for_env(SystemEnv(CoolingSystem(days)), **wrong)


def test_a_rule_for_another_system_is_refused(days):
    with pytest.raises(ValueError, match="BatterySystem"):
        FixedSetpointPolicy.for_env(SystemEnv(BatterySystem(days)))
