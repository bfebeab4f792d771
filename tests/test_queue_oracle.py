"""No policy beats perfect foresight of the job queue."""

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from baselines.queue_oracle import QueueOraclePolicy, queue_foresight
from envs.battery import BatterySystem
from envs.job_queue import JobQueueSystem
from envs.scenario import Episode, History, Scenario
from envs.single import SystemEnv
from evaluation.rollout import play
from models.settlement import Adders
from tests.conftest import ROOT


def _env(scenario, offset, periods, **changes):
    env = SystemEnv(JobQueueSystem(scenario, **changes))
    first = scenario.episodes[0].first + offset
    env.system.scenario.episodes = [Episode(first, first + periods)]
    return env


def _earned(env):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        chosen = compose("evaluate", overrides=["env=job_queue"]).env.policies
    return {name: play(env, instantiate(partial)(env), 1)["reward_gbp"].sum() for name, partial in chosen.items()}


@pytest.mark.parametrize(("offset", "limit_kw", "price"), [(0, 1000.0, 0.0), (5, 400.0, 0.0), (40, 1000.0, -250.0)])
def test_no_policy_earns_more_than_the_bound(table, forecaster, offset, limit_kw, price):
    """Also where the cluster is crowded and where prices are negative."""
    changed = table.copy()
    changed["imbalance_price_gbp_per_mwh"] += price
    scenario = Scenario(History(changed, forecaster), "validation", "split")
    env = _env(scenario, offset, 142, it_limit_kw=limit_kw, adders=Adders(5.0, 60.0))
    env.reset(seed=0)
    bound_gbp = queue_foresight(env.system, env.lanes[0]).value_gbp
    earned = _earned(env)
    assert max(earned.values()) <= bound_gbp, (bound_gbp, earned)


def test_windows_raise_the_bound_a_little_and_the_played_plan_comes_near_it(history):
    env = _env(Scenario(history, "validation", "split"), 0, 6 * 48)
    oracle = QueueOraclePolicy.for_env(env)
    earned = _earned(env)
    played = play(env, oracle, 0)["reward_gbp"].sum()
    env.reset(seed=0)
    cut = queue_foresight(env.system, env.lanes[0], window=2 * 48).value_gbp
    assert oracle.bound_gbp - 0.5 <= cut <= oracle.bound_gbp + 60.0
    best = max(value for name, value in earned.items() if name != "oracle")
    assert played <= oracle.bound_gbp
    assert played > best or played > best - 0.2 * (oracle.bound_gbp - best)


def test_it_foresees_a_queue_and_nothing_else(days):
    with pytest.raises(ValueError, match="JobQueueSystem"):
        QueueOraclePolicy.for_env(SystemEnv(BatterySystem(days)))


def test_the_plan_runs_within_the_cluster(history):
    env = _env(Scenario(history, "validation", "split"), 3, 96)
    env.reset(seed=0)
    running_kw = queue_foresight(env.system, env.lanes[0]).running_kw
    assert running_kw.shape == (96,)
    assert (running_kw <= env.system.rules.capacity_kw + 1e-3).all()
    assert (running_kw >= -1e-3).all()
    assert np.isfinite(running_kw).all()
