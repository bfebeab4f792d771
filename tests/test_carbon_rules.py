"""Laws of the published rules for the job queue."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.carbon_rules import ProvisionPolicy, WaitAwhilePolicy, k_min_search, search_ratio
from baselines.queue_rules import UrgencyPolicy
from data.publication import hide_unpublished
from envs.fields import position, positions
from envs.job_queue import JobQueueSystem
from envs.outlook import CARBON_FIELDS
from envs.scenario import History, Scenario
from envs.single import SystemEnv

LAW = settings(deadline=None, max_examples=100)


@pytest.fixture(scope="module")
def env(history):
    return SystemEnv(JobQueueSystem(Scenario(history, "validation", "split")))


def shown(env, carbon, *jobs, free_kw=500.0):
    """An observation with these carbon forecasts and these jobs (power, duration, due, penalty)."""
    fields = env.system.observation_fields
    observation = np.zeros(len(fields), np.float32)
    observation[position(fields, "free_kw")] = free_kw
    observation[positions(fields, CARBON_FIELDS[1].name.removesuffix("00"))] = carbon
    for slot, values in enumerate(jobs):
        for name, value in zip(("power_kw", "duration_h", "due_h", "sla_gbp_per_h"), values, strict=True):
            observation[position(fields, f"slot_{slot:02d}_{name}")] = value
    return observation


@LAW
@given(st.floats(1.0, 100.0), st.floats(1.0, 50.0), st.integers(1, 12), st.data())
def test_a_search_costs_at_most_its_ratio_times_the_lowest_prices(lowest, ratio, k, data):
    """Played on any sequence, each price good for one unit, what is missing at the end bought from the last prices."""
    highest = lowest * ratio
    prices = data.draw(st.lists(st.floats(lowest, highest), min_size=k, max_size=40))
    reservations, bought = k_min_search(lowest, highest, k), []
    for i, price in enumerate(prices):
        missing = k - len(bought)
        if missing and (price <= reservations[len(bought)] or len(prices) - i == missing):
            bought.append(price)
    assert len(bought) == k
    assert sum(bought) <= search_ratio(lowest, highest, k) * sum(sorted(prices)[:k]) * (1.0 + 1e-6)


@LAW
@given(st.floats(0.1, 100.0), st.floats(1.001, 100.0), st.integers(1, 30))
def test_reservation_prices_fall_from_the_ratio_to_the_lowest_price(lowest, ratio, k):
    highest = lowest * ratio
    reservations, s = k_min_search(lowest, highest, k), search_ratio(lowest, highest, k)
    assert reservations[0] == pytest.approx(highest / s)
    assert (np.diff(reservations) < 1e-12).all()
    # The step after the last would be the lowest price itself: that is what makes the ratio the best.
    following = highest * (1.0 - (1.0 - 1.0 / s) * (1.0 + 1.0 / (k * s)) ** k)
    assert following == pytest.approx(lowest, rel=1e-6)


def test_one_search_is_the_geometric_mean():
    """El-Yaniv et al., "Optimal Search and One-Way Trading Online Algorithms", Algorithmica 30(1), 2001."""
    assert k_min_search(20.0, 180.0, 1) == pytest.approx([60.0])
    assert search_ratio(20.0, 180.0, 1) == pytest.approx(3.0)


@LAW
@given(st.lists(st.floats(0.0, 400.0), min_size=48, max_size=48), st.integers(1, 20), st.integers(-2, 40))
def test_waiting_awhile_starts_when_no_window_is_cleaner(env, carbon, duration, due):
    observation = shown(env, np.float32(carbon), (50.0, duration / 2.0, due / 2.0, 1.0))
    windows = [sum(np.float32(carbon)[at : at + duration]) for at in range(min(max(due, 0), 48 - duration) + 1)]
    started = WaitAwhilePolicy.for_env(env).act(observation)
    assert started[0] == (min(windows) > windows[0] - 1e-3) or abs(min(windows) - windows[0]) < 1e-2
    assert not started[1:].any()


def test_the_cleanest_hour_opens_the_whole_cluster_and_the_dirtiest_the_floor(env):
    job, policy = (400.0, 2.0, 10.0, 1.0), ProvisionPolicy.for_env(env, floor_fraction=0.5)
    small = (200.0, 2.0, 10.0, 1.0)
    rising, falling = np.linspace(50.0, 300.0, 48), np.linspace(300.0, 50.0, 48)
    np.testing.assert_array_equal(policy.act(shown(env, rising, job, small))[:2], [1.0, 0.0])  # 500 kW are free
    np.testing.assert_array_equal(policy.act(shown(env, falling, job, small))[:2], [0.0, 1.0])


def test_a_day_that_is_clean_throughout_is_no_reason_to_wait(env):
    observation = shown(env, np.full(48, 80.0), (400.0, 2.0, 10.0, 1.0))
    assert ProvisionPolicy.for_env(env, floor_fraction=0.0).act(observation)[0] == 1.0


def test_the_job_whose_lateness_costs_most_for_its_work_goes_first(env):
    cheap, dear = (300.0, 2.0, 0.0, 1.0), (300.0, 2.0, 0.5, 9.0)
    starts = UrgencyPolicy.for_env(env).act(shown(env, np.full(48, 80.0), cheap, dear))
    np.testing.assert_array_equal(starts[:2], [0.0, 1.0])
    assert not UrgencyPolicy.for_env(env).act(shown(env, np.full(48, 80.0))).any()


@pytest.mark.parametrize("policy", [WaitAwhilePolicy, ProvisionPolicy, UrgencyPolicy])
def test_no_rule_acts_on_what_is_not_published(policy, table, forecaster):
    for t in (1400, 1421):
        actions = []
        for each in (table, hide_unpublished(table, t)):
            env = SystemEnv(JobQueueSystem(Scenario(History(each, forecaster), "validation", "split")))
            env.reset(seed=0)
            env.lanes[0]["period"] = t
            actions.append(policy.for_env(env).act(env.observe()))
        np.testing.assert_array_equal(actions[0], actions[1])


def test_bad_settings_are_refused(env):
    with pytest.raises(ValueError, match="floor_fraction"):
        ProvisionPolicy.for_env(env, floor_fraction=1.5)
    with pytest.raises(ValueError, match="look_ahead"):
        UrgencyPolicy.for_env(env, look_ahead=0.0)
    with pytest.raises(ValueError, match="needed are"):
        k_min_search(5.0, 4.0, 3)
