"""Learning where the planner errs: exact returns, nothing from the future, a policy that survives its file."""

import pickletools
import zipfile
from functools import partial

import numpy as np
import pytest

from agents.bundle import FOREST, best_network, kind_of, learnt_policy
from agents.improved_dp import ACTIONS, Features, ImprovedDpPolicy
from agents.improvement import CHARGES, ImprovementTrainer
from baselines.dp import StochasticDpPolicy
from data.publication import hide_unpublished
from envs.battery import BatterySystem
from envs.scenario import History, Scenario
from envs.single import SystemEnv
from evaluation.rollout import play
from models.battery import Battery
from models.settlement import Adders

SMALL = {"members": 2, "trees": 30, "leaves": 7, "rows_a_leaf": 60, "l2": 1.0, "learning_rate": 0.1}
ADVISER = partial(StochasticDpPolicy.for_env, states=3, points=31)


@pytest.fixture(scope="module")
def system(history):
    return BatterySystem(Scenario(history, "train", "week"), start_fraction=None)


@pytest.fixture(scope="module")
def trained(system, tmp_path_factory):
    trainer = ImprovementTrainer(system, tmp_path_factory.mktemp("run"), ADVISER, **SMALL)
    assert trainer.learn(0, lambda policy: 0.0, 0, 0, progress_bar=False) is True
    return trainer


@pytest.fixture(scope="module")
def policy(trained):
    return learnt_policy(best_network(trained.run_dir))


def test_returns_are_what_playing_on_earns(history):
    """With a step of just one grid point the recursion must agree with the simulator to the penny."""
    battery = Battery(
        max_charge_kw=100.0, max_discharge_kw=100.0, charge_efficiency=1.0, discharge_efficiency=1.0
    )  # 50 kWh a period, 750 kWh over 15 steps
    system = BatterySystem(Scenario(history, "train", "split"), battery, Adders(12.0, 60.0))
    trainer = ImprovementTrainer(system, "unused", ADVISER)
    env, stop = SystemEnv(system), system.scenario.episodes[0].stop
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(ACTIONS), (stop, CHARGES))
    returns = trainer.returns_gbp(chosen)
    for first in (stop - 1, stop - 60):
        charge = int(rng.integers(1, CHARGES - 1))
        values = []
        for action in range(len(ACTIONS)):
            env.reset(seed=0)
            env.lanes["period"], env.lanes["energy_kwh"] = first, trainer.energy_kwh[charge]
            _, value_gbp, over, _, info = env.step(np.float32([ACTIONS[action]]))
            while not over:
                at = round((info["energy_kwh"] - 150.0) / 50.0)
                _, reward_gbp, over, _, info = env.step(np.float32([ACTIONS[chosen[env.lanes[0]["period"], at]]]))
                value_gbp += reward_gbp
            values.append(value_gbp)
        np.testing.assert_allclose(np.diff(returns[first, charge]), np.diff(values), atol=1e-6)


def test_learning_earns_more_than_the_planner_where_it_learnt(system, trained, policy):
    env = SystemEnv(BatterySystem(Scenario(system.scenario.history, "train", "split")))
    planner = play(env, trained.adviser, 0)["reward_gbp"].sum()
    assert play(env, policy, 0)["reward_gbp"].sum() > planner + 0.02 * abs(planner)


def test_where_the_trees_know_nothing_the_planner_decides(system, trained, policy):
    silent = policy.forest._replace(leaf=np.zeros_like(policy.forest.leaf))
    uncorrected = ImprovedDpPolicy(trained.adviser, system.observation_fields, silent)
    env = SystemEnv(system)
    agreed = set()
    for seed in range(60):
        observation, _ = env.reset(seed=seed)
        planned = trained.adviser.act(observation)
        low, high = (bound[0] for bound in env.system.feasible(env.lanes))
        whole = [bound for bound in (low, np.zeros(1, np.float32), high) if np.allclose(planned, bound, atol=1e-6)]
        if whole:  # a planner that stops on the way has no such action to agree on
            # Asked for more than is feasible the battery does what is feasible.
            np.testing.assert_allclose(np.clip(uncorrected.act(observation), low, high), whole[0], atol=1e-6)
            agreed.add(float(np.sign(planned[0])))
    assert agreed == {-1.0, 0.0, 1.0}


def test_its_file_holds_all_of_it_and_nothing_that_runs(policy, system, tmp_path):
    network = policy.to_bytes()
    assert kind_of(network) == FOREST
    again, env = learnt_policy(network), SystemEnv(system)
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        np.testing.assert_array_equal(again.act(observation), policy.act(observation))
    (tmp_path / "policy.npz").write_bytes(network)
    with zipfile.ZipFile(tmp_path / "policy.npz") as archive:
        for name in archive.namelist():
            with pytest.raises(ValueError):
                list(pickletools.genops(archive.read(name)))


def test_it_acts_on_nothing_unpublished(policy, table, forecaster):
    for t in (1400, 1421, 1422, 1500):
        actions = []
        for each in (table, hide_unpublished(table, t)):
            env = SystemEnv(BatterySystem(Scenario(History(each, forecaster), "validation", "split")))
            env.reset(seed=0)
            env.lanes[0]["period"], env.lanes[0]["stop"] = t, t + 500
            actions.append(policy.act(env.observe()))
        np.testing.assert_array_equal(actions[0], actions[1])


def test_a_seed_fixes_what_is_learnt(system, trained, tmp_path):
    def learnt(seed):
        trainer = ImprovementTrainer(system, tmp_path, ADVISER, seed=seed, **SMALL)
        trainer.learn(0, lambda policy: 0.0, 0, 0, progress_bar=False)
        return learnt_policy(best_network(tmp_path)).forest.leaf

    same, other = learnt(0), learnt(1)
    np.testing.assert_array_equal(same, learnt_policy(best_network(trained.run_dir)).forest.leaf)
    assert not np.array_equal(same, other)


def test_what_it_cannot_do_is_refused(days, trained):
    twice = BatterySystem(days, decision_minutes=15)
    with pytest.raises(ValueError, match="once"):
        Features(trained.adviser, twice.observation_fields)
    with pytest.raises(ValueError, match="anew"):
        trained.load_checkpoint()
    with pytest.raises(ValueError, match="train it again"):
        ImprovedDpPolicy.from_bytes(_empty_archive())


def _empty_archive():
    import io

    stream = io.BytesIO()
    np.savez(stream, nothing=np.zeros(1))
    return stream.getvalue()
