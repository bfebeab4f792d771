"""One contract for every registered environment."""

import itertools

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
from gymnasium.envs.registration import load_env_creator
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from agents.lanes_vec_env import LanesVecEnv
from data.publication import known_rows
from data.schema import PERIOD_MINUTES
from envs import SYSTEMS
from envs.choices import Choices
from envs.scenario import History, Scenario
from envs.single import SystemEnv
from envs.vector import SystemVectorEnv
from models.settlement import Adders

CASES = {name: (name, {}) for name in SYSTEMS}
CASES["gridpilot/Battery-v0 every 15 minutes"] = ("gridpilot/Battery-v0", {"decision_minutes": 15})
EVERY = pytest.mark.parametrize("name", sorted(CASES))


def build(name: str, scenario: Scenario):
    env, parameters = CASES[name]
    return load_env_creator(SYSTEMS[env])(scenario=scenario, **parameters)


def rollout(env: SystemEnv, seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Observations and rewards of `steps` steps with drawn actions, over as many episodes as that takes."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    observations, rewards = [observation], []
    for _ in range(steps):
        action = rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
        observation, reward, over, _, _ = env.step(action)
        if over:
            observation, _ = env.reset()
        observations.append(observation)
        rewards.append(reward)
    return np.array(observations), np.array(rewards)


# Actions keep their physical units (C, GBP/MWh); learners see choices or -1..1 through LanesVecEnv.
@pytest.mark.filterwarnings("ignore:.*symmetric and normalized.*")
@EVERY
def test_gymnasium_and_sb3_find_nothing_to_complain_about(name, days):
    env = SystemEnv(build(name, days), render_mode="rgb_array")
    check_env(env, skip_render_check=True)
    check_env_for_sb3(env)


@EVERY
def test_it_is_made_by_name_after_install(name):
    registered, parameters = CASES[name]
    with gym.make(f"envs:{registered}", **parameters) as env:
        observation, _ = env.reset(seed=1)
        assert env.observation_space.contains(observation)
    vector = gym.make_vec(f"envs:{registered}", 3, vectorization_mode="vector_entry_point", **parameters)
    observations, _ = vector.reset(seed=1)
    np.testing.assert_array_equal(observations[0], observation)


@EVERY
def test_the_same_seed_gives_the_same_run_and_another_does_not(name, days):
    env = SystemEnv(build(name, days))
    first, again, other = (rollout(env, seed, 200) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@EVERY
def test_observations_stay_in_bounds_and_every_field_lives(name, history):
    env = SystemEnv(build(name, Scenario(history, "train", "split")))
    observations, rewards = rollout(env, 0, 900)
    assert np.isfinite(observations).all()
    assert np.isfinite(rewards).all()
    assert (observations >= env.observation_space.low).all()
    assert (observations <= env.observation_space.high).all()
    days, _ = rollout(SystemEnv(build(name, Scenario(history, "train", "day"))), 0, 900)
    still = (np.ptp(observations, axis=0) == 0.0) & (np.ptp(days, axis=0) == 0.0)
    # The season hardly moves in a few weeks, but it does.
    dead = [f.name for f, is_still in zip(env.system.observation_fields, still, strict=True) if is_still]
    assert not dead, f"these fields never change: feed them or drop them: {dead}"


@EVERY
def test_the_reward_is_the_sum_of_its_named_terms(name, days):
    env = SystemEnv(build(name, days))
    env.reset(seed=0)
    over = False
    while not over:
        _, reward, over, truncated, info = env.step(env.action_space.sample())
        assert reward == pytest.approx(sum(info["reward_gbp"].values()))
        assert tuple(info["reward_gbp"]) == env.system.terms
        assert not truncated


@EVERY
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_no_action_breaks_anything(name, days, bad):
    env = SystemEnv(build(name, days))
    env.reset(seed=0)
    over = False
    while not over:
        observation, reward, over, _, info = env.step(np.full(env.action_space.shape, bad, dtype=np.float32))
        assert np.isfinite(reward)
        assert env.observation_space.contains(observation)
        assert np.isfinite([v for k, v in info.items() if k != "reward_gbp"]).all()


@EVERY
def test_lanes_equal_single_environments_through_interleaved_restarts(name, clock_change_days):
    system = build(name, clock_change_days)
    n_lanes, rng = 5, np.random.default_rng(0)
    vector = SystemVectorEnv(system, n_lanes)
    singles = [SystemEnv(system) for _ in range(n_lanes)]
    observations, _ = vector.reset(seed=7)
    expected = [env.reset(seed=7 + lane)[0] for lane, env in enumerate(singles)]
    np.testing.assert_array_equal(observations, expected)
    ends = []
    for step in range(250 * PERIOD_MINUTES // system.decision_minutes):
        actions = rng.uniform(vector.action_space.low, vector.action_space.high).astype(np.float32)
        observations, rewards, over, truncated, info = vector.step(actions)
        assert not truncated.any()
        for lane, env in enumerate(singles):
            expected_observation, reward, ended, _, _ = env.step(actions[lane])
            assert rewards[lane] == pytest.approx(reward, abs=1e-12)
            assert over[lane] == ended
            if ended:
                ends.append((step, lane))
                np.testing.assert_array_equal(info["final_obs"][lane], expected_observation)
                expected_observation, _ = env.reset()
            np.testing.assert_array_equal(observations[lane], expected_observation)
    assert len({step for step, _ in ends}) > 5, "restarts were meant to interleave"


@EVERY
def test_the_learners_lanes_step_like_the_vector_environment(name, clock_change_days):
    system = build(name, clock_change_days)
    choices = Choices(system.action_fields, 3)
    learner, vector = LanesVecEnv(system, 3, choices), SystemVectorEnv(system, 3)
    learner.seed(5)
    np.testing.assert_array_equal(learner.reset(), vector.reset(seed=5)[0])
    rng = np.random.default_rng(1)
    for _ in range(120 * PERIOD_MINUTES // system.decision_minutes):
        shape = (3,) if len(choices.values) == 1 else (3, len(choices.values))
        chosen = rng.integers(3, size=shape)
        observations, rewards, over, infos = learner.step(chosen)
        expected, expected_rewards, expected_over, _, info = vector.step(choices.decode(chosen))
        np.testing.assert_array_equal(observations, expected)
        np.testing.assert_allclose(rewards, expected_rewards, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(over, expected_over)
        for lane in np.flatnonzero(over):
            np.testing.assert_array_equal(infos[lane]["terminal_observation"], info["final_obs"][lane])


@EVERY
def test_an_unmasked_choice_exists_and_masked_ones_change_nothing(name, days):
    system = build(name, days)
    learner = LanesVecEnv(system, 4, Choices(system.action_fields, 5))
    learner.seed(0)
    learner.reset()
    rng = np.random.default_rng(0)
    for _ in range(60):
        masks = learner.env_method("action_masks")
        assert len(masks) == 4
        for mask in masks:
            for field in np.split(mask, len(system.action_fields)):
                assert field.any()
        learner.step(rng.integers(5, size=(4, len(system.action_fields))).squeeze(-1 if mask.size == 5 else ()))


@EVERY
def test_nothing_unpublished_reaches_an_observation(name, table, forecaster):
    """Corrupt every value published after a decision: what was observed up to it must not move."""
    minutes = build(name, Scenario(History(table, forecaster), "validation", "split")).decision_minutes
    index = pd.DatetimeIndex(table.index)
    first = int(index.searchsorted(pd.Timestamp("2023-07-01", tz="UTC")))
    for offset, minute in itertools.product((0, 1, 21, 22, 23, 47, 200), range(0, PERIOD_MINUTES, minutes)):
        t = first + offset
        spoilt = table.copy()
        rng = np.random.default_rng(offset)
        for column in table.columns:
            known = known_rows(column, index, minute)[t]
            tail = table[column].to_numpy()[known:]
            spoilt.iloc[known:, spoilt.columns.get_loc(column)] = rng.permutation(tail) * 0.5 + 1.0
        systems = [build(name, Scenario(History(each, forecaster), "validation", "split")) for each in (table, spoilt)]
        seen = []
        for system in systems:
            env = SystemEnv(system)
            observation, _ = env.reset(seed=0)
            observations = [observation]
            actions = np.random.default_rng(1)
            for _ in range((offset * PERIOD_MINUTES + minute) // minutes):
                action = actions.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
                observations.append(env.step(action)[0])
            seen.append(np.array(observations))
        np.testing.assert_array_equal(seen[0], seen[1])


@EVERY
def test_it_draws_a_picture(name, days):
    env = SystemEnv(build(name, days), render_mode="rgb_array")
    env.reset(seed=0)
    empty = env.render()
    for _ in range(40):
        env.step(env.action_space.sample())
    picture = env.render()
    assert picture.shape == empty.shape
    assert picture.dtype == np.uint8
    assert not np.array_equal(picture, empty)


@EVERY
def test_what_is_feasible_lies_in_the_action_space(name, days):
    env = SystemEnv(build(name, days))
    env.reset(seed=0)
    for _ in range(48):
        low, high = env.system.feasible(env.lanes)
        assert (low <= high).all()
        assert (low >= env.action_space.low - 1e-6).all()
        assert (high <= env.action_space.high + 1e-6).all()
        env.step(env.action_space.sample())


@pytest.mark.parametrize("adders", [Adders(np.nan), Adders(-1.0), Adders(0.0, 60_000.0), Adders(0.0, np.inf)])
@pytest.mark.parametrize("name", SYSTEMS)
def test_adders_that_are_no_numbers_or_in_another_unit_are_refused(name, days, adders):
    with pytest.raises(ValueError, match=r"gbp_per_.*another unit"):
        load_env_creator(SYSTEMS[name])(scenario=days, adders=adders)


def test_an_unknown_render_mode_is_refused(days):
    with pytest.raises(ValueError, match="rgb_array"):
        SystemEnv(build("gridpilot/Battery-v0", days), render_mode="human")
