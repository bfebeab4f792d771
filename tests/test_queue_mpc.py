"""Planning jobs one by one: bounds between the relaxed, the integer and the greedy plan, and the policy on its env."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.job_block import Jobs, Surroundings, plan_starts, start_cost_gbp
from baselines.queue_mpc import QueueMpcPolicy
from data.publication import hide_unpublished
from envs.battery import BatterySystem
from envs.fields import position, positions
from envs.information import FORECAST_PREFIX
from envs.job_queue import JobQueueSystem
from envs.scenario import Episode, History, Scenario
from envs.single import SystemEnv
from evaluation.rollout import play

N = 24


def _around(price, committed_kw=0.0, crowding=0.05, capacity_kw=100.0):
    unknown_kw = np.outer([0.5, 1.0, 1.5], np.linspace(0.0, 60.0, N))
    committed = np.linspace(committed_kw, 0.0, N)
    return Surroundings(capacity_kw, committed, unknown_kw, np.array(price), float(np.mean(price)), 0.001, crowding)


def _cost_gbp(jobs, around, starts):
    """Of whole jobs that start in the given periods, counted period by period."""
    running = around.committed_kw.copy()
    for power_kw, duration, start in zip(jobs.power_kw, jobs.duration, starts, strict=True):
        running[start : start + duration] += power_kw
    begun = np.array(starts) < N
    assert (running <= np.maximum(around.capacity_kw, around.committed_kw) + 1e-6).all() or not begun.any()
    crowded = np.maximum(running + around.unknown_kw - around.capacity_kw, 0.0).mean(axis=0).sum()
    own = start_cost_gbp(jobs, around)[np.arange(len(starts)), starts].sum()
    return own + 0.5 * around.crowding_gbp_per_kwh * crowded


def _greedy(jobs, around):
    """The earliest due first, each as soon as it fits."""
    running, starts = around.committed_kw.copy(), np.full(jobs.power_kw.size, N)
    for j in np.argsort(jobs.due, kind="stable"):
        for k in range(N):
            if (running[k : k + jobs.duration[j]] + jobs.power_kw[j] <= around.capacity_kw + 1e-9).all():
                running[k : k + jobs.duration[j]] += jobs.power_kw[j]
                starts[j] = k
                break
    return starts


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from([10.0, 20.0, 40.0, 80.0]), st.integers(1, 10), st.integers(-2, 20)),
        min_size=1, max_size=6,
    ),
    st.lists(st.floats(0.0, 0.3), min_size=N, max_size=N),
    st.sampled_from([0.0, 50.0, 90.0]),
)  # fmt: skip
def test_relaxed_costs_at_most_integer_and_integer_at_most_greedy(drawn, price, committed_kw):
    power_kw, duration, due = (np.array(column) for column in zip(*drawn, strict=True))
    jobs, around = Jobs(power_kw, duration, due, 0.2 * power_kw), _around(price, committed_kw)
    relaxed, whole = plan_starts(jobs, around), plan_starts(jobs, around, "integer", limit_s=10.0)
    tolerance = 1e-3 + 2e-4 * abs(whole.cost_gbp)
    assert relaxed.cost_gbp <= whole.cost_gbp + tolerance
    assert whole.cost_gbp <= _cost_gbp(jobs, around, _greedy(jobs, around)) + tolerance
    assert set(np.unique(whole.share.round(6))) <= {0.0, 1.0}
    starts = whole.share.argmax(axis=1)
    assert _cost_gbp(jobs, around, starts) == pytest.approx(whole.cost_gbp, abs=1e-3)  # counted in another way


def test_a_job_waits_for_the_cheap_hour_but_not_beyond_its_term():
    price = np.full(N, 0.2)
    price[6:8], price[12:14] = 0.1, 0.01
    around = _around(price, crowding=0.0)
    for due, start in ((20, 12), (8, 6), (3, 0)):
        jobs = Jobs(np.array([40.0]), np.array([2]), np.array([due]), np.array([100.0]))
        share = plan_starts(jobs, around, "integer").share[0]
        assert share[: due + 1].sum() == pytest.approx(1.0)
        assert due == 3 or share.argmax() == start


def test_more_promised_than_fits_starts_nothing_until_it_does():
    jobs = Jobs(np.array([40.0, 30.0]), np.array([2, 2]), np.array([-4, 0]), np.array([10.0, 10.0]))
    around = _around(np.full(N, 0.1), committed_kw=150.0)
    share = plan_starts(jobs, around).share
    assert share[:, 0] == pytest.approx(0.0)
    assert share.sum(axis=1) == pytest.approx(1.0)


def _env(history, periods):
    env = SystemEnv(JobQueueSystem(Scenario(history, "validation", "split")))
    first = env.system.scenario.episodes[0].first
    env.system.scenario.episodes = [Episode(first, first + periods)]
    return env


@pytest.mark.parametrize("jobs", ["relaxed", "integer"])
def test_both_ways_of_planning_play(jobs, history):
    env = _env(history, 48)
    policy = QueueMpcPolicy.for_env(env, jobs=jobs)
    assert np.isfinite(play(env, policy, 0)["reward_gbp"]).all()
    assert policy.failed_plans == 0


def test_no_decision_rests_on_what_is_not_published(table, forecaster):
    taken = []
    first = _env(History(table, forecaster), 48).system.scenario.episodes[0].first
    for known in (table, hide_unpublished(table, first + 12)):
        env = _env(History(known, forecaster), 48)
        policy = QueueMpcPolicy.for_env(env)
        observation, _ = env.reset(seed=0)
        actions = []
        for _ in range(13):
            actions.append(policy.act(observation))
            observation, *_ = env.step(actions[-1])
        taken.append(actions)
    np.testing.assert_array_equal(*taken)


def test_a_job_that_cannot_end_in_time_is_planned_and_counted_and_numbers_that_are_none_are_refused(history):
    env = _env(history, 48)
    policy = QueueMpcPolicy.for_env(env)
    fields = env.system.observation_fields
    observation, _ = env.reset(seed=0)
    observation[[position(fields, f"slot_{s:02d}_power_kw") for s in range(env.system.rules.visible_slots)]] = 0.0
    job = {"power_kw": 40.0, "duration_h": 2.0, "due_h": 6.0, "sla_gbp_per_h": 50.0}
    for name, value in job.items():
        observation[position(fields, f"slot_00_{name}")] = value
    policy.act(observation)
    assert policy.counts() == {"relaxed_plans": 0, "failed_plans": 0}
    observation[position(fields, "slot_00_due_h")] = -3.0
    assert env.action_space.contains(policy.act(observation))
    assert policy.counts() == {"relaxed_plans": 1, "failed_plans": 0}
    observation[positions(fields, FORECAST_PREFIX)] = np.nan
    with pytest.raises(ValueError, match="finite"):
        policy.act(observation)


def test_what_it_cannot_run_is_refused(history):
    with pytest.raises(ValueError, match="JobQueueSystem"):
        QueueMpcPolicy.for_env(SystemEnv(BatterySystem(Scenario(history, "validation", "day"))))
    with pytest.raises(ValueError, match="whole"):
        QueueMpcPolicy.for_env(_env(history, 48), jobs="whole")
