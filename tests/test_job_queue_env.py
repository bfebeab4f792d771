"""Laws of the job queue environment and of its plain rules."""

from copy import copy
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.idle import IdlePolicy
from baselines.queue_rules import AsapPolicy, LowestWindowPolicy, WaitPolicy
from baselines.random import RandomPolicy
from data.arrivals import JobSource
from envs.battery import BatterySystem
from envs.choices import Choices
from envs.fields import position, positions
from envs.information import FORECAST_PREFIX
from envs.job_queue import WARM_UP_PERIODS, JobQueueSystem
from envs.job_queue_view import COMMITTED_LEADS
from envs.scenario import Episode, History, Scenario
from envs.single import SystemEnv
from evaluation.rollout import play
from forecasting.deviation import DeviationForecaster
from models import cluster as cluster_model
from models import job_order, queue, queue_view
from models.settlement import Adders

SLOTS = 16
FLAT_GBP_PER_MWH, FLAT_G_PER_KWH = 80.0, 200.0
LAW = settings(deadline=None, max_examples=15)


@pytest.fixture(scope="module")
def system(days):
    return JobQueueSystem(days)


@pytest.fixture(scope="module")
def flat(table):
    """A market whose prices and carbon never move, so that timing alone can neither earn nor lose."""
    still = table.copy()
    for column in ("day_ahead", "imbalance", "market_index"):
        still[f"{column}_price_gbp_per_mwh"] = FLAT_GBP_PER_MWH
    still["carbon_intensity_mix_derived_g_per_kwh"] = FLAT_G_PER_KWH
    return Scenario(History(still, DeviationForecaster((0.7, 0.5, 0.3))), "validation", "week")


def lanes_of(system, n=1, seed=0):
    lanes, rng = np.zeros(n, system.lane), np.random.default_rng(seed)
    system.draw([rng] * n, lanes)
    return lanes


def step(system, lanes, actions):
    terms, over = np.zeros((lanes.size, len(system.terms))), np.zeros(lanes.size, np.bool_)
    system.step(lanes, actions.astype(np.float32), terms, over, observe(system, lanes))
    return terms, over


def observe(system, lanes):
    observations = np.zeros((lanes.size, len(system.observation_fields)), np.float32)
    system.observe(lanes, observations)
    return observations


def column(system, observations, name):
    return observations[:, position(system.observation_fields, name)]


def waiting_rows(lane):
    return [job_order.row(order) for order in queue_view.in_order(lane["queue"])["order"]]


def promised_kwh(lane):
    return lane["queue"]["running_kw"].sum() * 0.5


def added_fraction(system):
    c = system.cluster
    return 1.0 - cluster_model.idle_kw_per_gpu(c) / cluster_model.job_kw_per_gpu(c)


def test_asking_for_nothing_starts_due_jobs_alone(system):
    lanes, seen = lanes_of(system, 1, seed=3), 0
    for _ in range(40):
        before, t = waiting_rows(lanes[0]), int(lanes[0]["period"])
        step(system, lanes, np.full((1, SLOTS), np.nan))
        gone = set(before) - set(waiting_rows(lanes[0]))
        assert (system.jobs.rows["due_period"][list(gone)] <= t + 1).all()
        seen += len(gone)
    assert seen > 20


@LAW
@given(st.integers(0, 2**32), st.floats(0.0, 1.0))
def test_ignoring_what_does_not_fit_is_the_same_as_masking_it(system, seed, eagerness):
    rng, choices = np.random.default_rng(seed), Choices(system.action_fields, 2)
    free, masked = lanes_of(system, 8, seed), lanes_of(system, 8, seed)
    ignored = 0
    for _ in range(30):
        wanted = rng.random((8, SLOTS)) < eagerness
        allowed = choices.masks(system, masked)[:, 1::2]
        ignored += int((wanted & ~allowed).sum())
        terms, _ = step(system, free, wanted)
        expected, _ = step(system, masked, wanted & allowed)
        np.testing.assert_array_equal(terms, expected)
        np.testing.assert_array_equal(free, masked)
    assert ignored > 0 or eagerness < 0.1


def test_a_slot_is_masked_when_it_is_empty_or_its_job_does_not_fit(system):
    lanes = lanes_of(system, 64)
    for _ in range(20):
        step(system, lanes, np.random.default_rng(0).random((64, SLOTS)))
    low, high = system.feasible(lanes)
    power_kw = observe(system, lanes)[
        :, [position(system.observation_fields, f"slot_{s:02d}_power_kw") for s in range(SLOTS)]
    ]
    free_kw = column(system, observe(system, lanes), "free_kw")
    expected = (power_kw > 0.0) & (power_kw <= free_kw[:, None])
    np.testing.assert_array_equal(high, expected)
    assert 0.0 < expected.mean() < 1.0
    assert not low.any()


@LAW
@given(st.floats(300.0, 700.0), st.integers(0, 2**32))
def test_no_action_takes_the_hall_over_its_limit(days, limit_kw, seed):
    small = JobQueueSystem(days, it_limit_kw=limit_kw)
    lanes, rng = lanes_of(small, 4, seed), np.random.default_rng(seed)
    for _ in range(40):
        step(small, lanes, rng.choice([np.nan, np.inf, -np.inf, 0.0, 1.0], (4, SLOTS)))
        assert (lanes["grid_kw"] <= limit_kw + 1e-6).all()


@pytest.mark.parametrize("policy", [IdlePolicy, AsapPolicy, RandomPolicy])
def test_every_job_that_arrives_is_run_waits_or_is_promised_power(flat, policy):
    env = SystemEnv(JobQueueSystem(flat))
    env.reset(seed=0)
    lane, rows = env.lanes[0], env.system.jobs.rows
    first, stop = int(lane["period"]), int(lane["stop"])
    given_kwh = lane["waiting_kwh"] + promised_kwh(lane)
    later = slice(*env.system.jobs.first_job[[first + 1, stop]])
    given_kwh += (rows["power_kw"][later] * rows["duration_periods"][later]).sum() * 0.5
    trace = play(env, policy.for_env(env), 0)
    assert trace["job_kw"].sum() * 0.5 + lane["waiting_kwh"] + promised_kwh(lane) == pytest.approx(given_kwh)


def test_where_prices_stand_still_no_schedule_earns_anything_but_punctuality(flat):
    env = SystemEnv(JobQueueSystem(flat, adders=Adders(network_gbp_per_mwh=10.0, carbon_gbp_per_tonne=60.0)))
    money = {}
    for policy in (IdlePolicy, AsapPolicy, RandomPolicy):
        trace = play(env, policy.for_env(env), 0)
        money[policy] = trace["reward_gbp"].sum() - trace["sla_gbp"].sum()
        assert trace["end_value_gbp"].iloc[:-1].eq(0.0).all()
        assert trace["end_value_gbp"].iloc[-1] < 0.0
    assert money[IdlePolicy] == pytest.approx(money[AsapPolicy], rel=1e-9)
    assert money[RandomPolicy] == pytest.approx(money[AsapPolicy], rel=1e-9)


def test_money_follows_from_the_power_drawn(days):
    adders = Adders(network_gbp_per_mwh=7.0, carbon_gbp_per_tonne=60.0)
    env = SystemEnv(JobQueueSystem(days, adders=adders, position_kw=400.0))
    trace = play(env, AsapPolicy.for_env(env), 0)
    first = int(env.lanes[0]["stop"]) - len(trace)
    market = env.system.scenario.market
    rows = slice(first, first + len(trace))
    mwh = trace["grid_kw"].to_numpy() * 0.5 / 1000.0
    np.testing.assert_allclose(trace["day_ahead_gbp"], -0.2 * market.day_ahead_price_gbp_per_mwh[rows])
    np.testing.assert_allclose(trace["imbalance_gbp"], (0.2 - mwh) * market.imbalance_price_gbp_per_mwh[rows])
    np.testing.assert_allclose(trace["network_gbp"], -7.0 * mwh)
    np.testing.assert_allclose(trace["carbon_gbp"], -0.06 * mwh * market.carbon_g_per_kwh[rows])
    busy = trace["job_kw"].to_numpy() / cluster_model.job_capacity_kw(env.system.cluster)
    np.testing.assert_allclose(trace["grid_kw"], 185.976 + busy * (596.304 - 185.976))


def test_lateness_is_what_the_queue_model_charges_for_the_same_starts(flat):
    system = JobQueueSystem(flat, jobs=JobSource(load_fraction=0.9))
    rules, jobs, lanes = system.rules, system.jobs, lanes_of(system)
    lane, limit_kw, rng = lanes[0]["queue"].copy(), system.rules.capacity_kw, np.random.default_rng(0)
    total_gbp, over = 0.0, np.zeros(1, bool)
    while not over[0]:
        t, wanted = int(lanes["period"][0]), rng.random(SLOTS) < 0.5
        terms, over = step(system, lanes, wanted[None])
        queue.start_slots(rules, lane, t, limit_kw, wanted)
        _, late_gbp = queue.end_period(rules, jobs, lane, t)
        if not over[0]:
            late_gbp += queue.begin_period(rules, jobs, lane, t + 1, limit_kw)
        assert terms[0, system.terms.index("sla")] == -late_gbp
        total_gbp += late_gbp
    assert total_gbp > 100.0


def test_only_jobs_that_have_arrived_are_seen(flat):
    system, changed = JobQueueSystem(flat), JobQueueSystem(flat)
    lanes, same_lanes = lanes_of(system), lanes_of(changed)
    t = int(lanes["period"][0]) + 60
    rows = changed.jobs.rows.copy()
    first = changed.jobs.first_job[t + 1]
    rows["power_kw"][first:] *= 0.5
    rows["due_period"][first:] += 3
    rows["energy_before_kwh"][first + 1 :] *= 0.5
    changed.jobs = changed.jobs._replace(rows=rows)
    rng = np.random.default_rng(0)
    while lanes["period"][0] <= t + 1:
        alike = np.array_equal(observe(system, lanes), observe(changed, same_lanes))
        assert alike == (lanes["period"][0] <= t)
        action = rng.random((1, SLOTS))
        step(system, lanes, action)
        step(changed, same_lanes, action)


def test_slots_show_the_jobs_in_the_order_in_which_they_are_due(system):
    lanes = lanes_of(system, 32)
    for _ in range(10):
        step(system, lanes, np.zeros((32, SLOTS)))
    observations, rows = observe(system, lanes), system.jobs.rows
    full = 0
    for lane, observation in zip(lanes, observations, strict=True):
        jobs = rows[waiting_rows(lane)]
        slots = observation[positions(system.observation_fields, "slot_")].reshape(SLOTS, -1)
        shown = jobs[:SLOTS]
        np.testing.assert_allclose(slots[: shown.size, 0], shown["power_kw"], rtol=1e-6)
        np.testing.assert_allclose(slots[: shown.size, 1], shown["duration_periods"] * 0.5)
        np.testing.assert_allclose(slots[: shown.size, 2], (shown["due_period"] - lane["period"]) * 0.5)
        np.testing.assert_allclose(slots[: shown.size, 3], shown["priority"])
        np.testing.assert_allclose(slots[: shown.size, 4], shown["sla_penalty_gbp_per_h"], rtol=1e-6)
        assert (np.diff(slots[: shown.size, 2]) >= 0.0).all()
        assert not slots[shown.size :].any()
        beyond = jobs[SLOTS:]
        kwh = (beyond["power_kw"] * beyond["duration_periods"]).sum() * 0.5
        assert observation[position(system.observation_fields, "overflow_kwh")] == pytest.approx(kwh, rel=1e-5)
        assert observation[position(system.observation_fields, "overflow_jobs")] == beyond.size
        full += beyond.size > 0
    assert full > 0


def test_the_saving_shown_is_the_best_of_all_later_windows(system):
    lanes = lanes_of(system, 16)
    for _ in range(10):
        step(system, lanes, np.zeros((16, SLOTS)))
    found = 0
    for lane, seen in zip(lanes, observe(system, lanes).astype(np.float64), strict=True):
        price = seen[positions(system.observation_fields, FORECAST_PREFIX)]
        carbon = seen[positions(system.observation_fields, "forecast_carbon_g_per_kwh_")]
        gbp_per_kwh = (price + 60.0 * carbon / 1000.0) / 1000.0 * added_fraction(system)
        for slot, job in enumerate(system.jobs.rows[waiting_rows(lane)[:SLOTS]]):
            d, slack = int(job["duration_periods"]), int(job["due_period"] - lane["period"])
            cost = [
                gbp_per_kwh[k : k + d].sum() * 0.5 * job["power_kw"] for k in range(max(slack, 0) + 1) if k + d <= 48
            ]
            saving = seen[position(system.observation_fields, f"slot_{slot:02d}_saving_gbp")]
            assert saving == pytest.approx(cost[0] - min(cost), abs=1e-4)
            found += saving > 0.0
    assert found > 50


def test_promised_power_is_what_runs_when_nothing_more_starts(flat):
    system = JobQueueSystem(flat)
    lanes = lanes_of(system)
    system.jobs = system.jobs._replace(first_job=np.minimum(system.jobs.first_job, lanes[0]["queue"]["next_job"]))
    lanes[0]["queue"]["n_waiting"] = 0
    names = [f"committed_kw_{lead:02d}" for lead in COMMITTED_LEADS[:-1]]
    promised_kw = [column(system, observe(system, lanes), name)[0] for name in names]
    ran_kw = []
    for _ in range(COMMITTED_LEADS[-1]):
        step(system, lanes, np.ones((1, SLOTS)))
        ran_kw.append(lanes[0]["job_kw"])
    means = [np.mean(ran_kw[a:b]) for a, b in pairwise(COMMITTED_LEADS)]
    np.testing.assert_allclose(promised_kw, means, rtol=1e-6, atol=1e-4)
    assert promised_kw[0] > 0.0


def test_an_episode_begins_as_if_everything_had_always_started_at_once(flat):
    """While jobs are few, a day of warm-up forgets everything before it."""
    system = JobQueueSystem(flat, jobs=JobSource(load_fraction=0.2))
    lanes = lanes_of(system)
    for _ in range(3 * WARM_UP_PERIODS):
        step(system, lanes, np.ones((1, SLOTS)))
    # What waits was left by the last step for the next decision: it starts in neither before that.
    first = int(lanes["period"][0])
    fresh = lanes_of(JobQueueSystem(_one_episode(flat, Episode(first, first + 10)), jobs=JobSource(load_fraction=0.2)))
    assert waiting_rows(fresh[0]) == waiting_rows(lanes[0])
    np.testing.assert_allclose(fresh[0]["queue"]["running_kw"], lanes[0]["queue"]["running_kw"], atol=1e-9)
    assert fresh[0]["queue"]["running_kw"].max() > 0.0


def _one_episode(scenario, episode):
    changed = copy(scenario)
    changed.episodes = [episode]
    return changed


def test_an_episode_may_begin_with_the_history(flat):
    system = JobQueueSystem(_one_episode(flat, Episode(0, 10)))
    lanes = lanes_of(system)
    assert lanes[0]["queue"]["n_started"] <= system.jobs.first_job[1]


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"it_limit_kw": np.nan}, "finite"),
        ({"it_limit_kw": np.inf}, "finite"),
        ({"it_limit_kw": 150.0}, "capacity_kw 0.0"),
        ({"it_limit_kw": 190.0}, "can never run"),
        ({"position_kw": np.nan}, "position_kw"),
        ({"visible_slots": 0}, "visible_slots"),
        ({"visible_slots": 10_000}, "visible_slots"),
    ],
)
def test_a_wrong_parameter_is_refused_with_the_reason(days, change, hint):
    with pytest.raises(ValueError, match=hint):
        JobQueueSystem(days, **change)


@pytest.mark.parametrize("slots", [1, 16, 40])
def test_the_number_of_slots_is_the_number_of_choices(days, slots):
    system = JobQueueSystem(days, visible_slots=slots)
    lanes = lanes_of(system)
    step(system, lanes, np.ones((1, slots)))
    assert len(system.action_fields) == slots
    assert system.feasible(lanes)[1].shape == (1, slots)
    assert np.isfinite(observe(system, lanes)).all()


def test_waiting_rules_lie_between_starting_all_and_starting_none(flat, days):
    env = SystemEnv(JobQueueSystem(days))
    observation, _ = env.reset(seed=0)
    assert WaitPolicy.for_env(env, "carbon", 100.0).act(observation).all()
    started = [
        [WaitPolicy.for_env(env, "price", q).act(o)[0] for q in (0.0, 30.0, 100.0)]
        for o in observe(env.system, lanes_of(env.system, 50))
    ]
    assert (np.diff(np.array(started), axis=1) >= 0.0).all()
    assert 0.0 < np.mean(started, axis=0)[1] < 1.0
    # Where prices and carbon stand still, no later window is cheaper.
    still = SystemEnv(JobQueueSystem(flat))
    assert LowestWindowPolicy.for_env(still).act(still.reset(seed=0)[0]).all()


def test_a_rule_for_jobs_refuses_what_it_was_not_made_for(days):
    with pytest.raises(ValueError, match="not of a BatterySystem"):
        AsapPolicy.for_env(SystemEnv(BatterySystem(days)))
    queue_env = SystemEnv(JobQueueSystem(days))
    with pytest.raises(ValueError, match="unknown signal"):
        WaitPolicy.for_env(queue_env, "weather")
    with pytest.raises(ValueError, match="percentile"):
        WaitPolicy.for_env(queue_env, "price", 101.0)


def test_a_picture_is_drawn_of_any_log(system):
    env = SystemEnv(system, render_mode="rgb_array")
    env.reset(seed=0)
    blank = env.render()
    for _ in range(5):
        env.step(np.ones(SLOTS, np.float32))
    assert env.render().shape == blank.shape == (500, 800, 3)
    assert not np.array_equal(env.render(), blank)
