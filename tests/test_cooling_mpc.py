"""Planning the cooling plant alone."""

import numpy as np
import pytest

from baselines.cooling_mpc import CoolingMpcPolicy
from baselines.cooling_rule import FixedSetpointPolicy
from data.publication import hide_unpublished
from envs.battery import BatterySystem
from envs.cooling import CoolingSystem
from envs.fields import position, positions
from envs.information import FORECAST_PREFIX
from envs.scenario import Episode, History, Scenario
from envs.single import SystemEnv
from evaluation.rollout import play


def _env(history, periods):
    env = SystemEnv(CoolingSystem(Scenario(history, "validation", "split")))
    first = env.system.scenario.episodes[0].first
    env.system.scenario.episodes = [Episode(first, first + periods)]
    return env


def test_the_plan_beats_the_rule_over_four_days(history):
    env = _env(history, 192)
    plan = play(env, CoolingMpcPolicy.for_env(env), 0)["reward_gbp"].sum()
    assert plan > play(env, FixedSetpointPolicy.for_env(env), 0)["reward_gbp"].sum()


def test_no_decision_rests_on_what_is_not_published(table, forecaster):
    taken = []
    first = _env(History(table, forecaster), 48).system.scenario.episodes[0].first
    for known in (table, hide_unpublished(table, first + 12)):
        env = _env(History(known, forecaster), 48)
        policy = CoolingMpcPolicy.for_env(env)
        observation, _ = env.reset(seed=0)
        actions = []
        for _ in range(13):
            actions.append(policy.act(observation))
            observation, *_ = env.step(actions[-1])
        taken.append(actions)
    np.testing.assert_array_equal(*taken)


def test_without_a_solver_the_safe_set_point_is_held_and_the_reason_is_logged(history, caplog):
    env = _env(history, 48)
    policy = CoolingMpcPolicy.for_env(env, solvers=["MOSEK"])  # a solver that is not installed
    observation, _ = env.reset(seed=0)
    action = policy.act(observation)
    assert env.action_space.contains(action)
    assert action[0] == env.system.hall.safe_setpoint_c
    assert policy.failed_plans == 1
    assert "MOSEK" in caplog.text


def test_a_hall_that_is_too_hot_gets_a_plan_that_is_counted_and_numbers_that_are_none_are_refused(history):
    env = _env(history, 48)
    policy = CoolingMpcPolicy.for_env(env)
    observation, _ = env.reset(seed=0)
    policy.act(observation)
    assert policy.counts() == {"relaxed_plans": 0, "failed_plans": 0}
    fields = env.system.observation_fields
    hot = observation.copy()
    for name in ("mass_c", "air_c", "supply_c"):
        hot[position(fields, name)] = 55.0
    assert env.action_space.contains(policy.act(hot))
    assert policy.counts() == {"relaxed_plans": 1, "failed_plans": 0}
    hot[positions(fields, FORECAST_PREFIX)] = np.nan
    with pytest.raises(ValueError, match="finite"):
        policy.act(hot)
    policy.reset(0)
    assert policy.counts() == {"relaxed_plans": 0, "failed_plans": 0}


def test_another_environment_is_refused(history):
    with pytest.raises(ValueError, match="CoolingSystem"):
        CoolingMpcPolicy.for_env(SystemEnv(BatterySystem(Scenario(history, "validation", "day"))))
