"""Laws of the greedy scheduler, against brute force, and of its policy on the job queue."""

from datetime import UTC, datetime, timedelta
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from baselines.greedy import GreedyPolicy, best_start, schedule
from baselines.queue_rules import AsapPolicy
from baselines.schedule import NOWHERE, Weights
from data.jobs import JobSpec
from data.publication import hide_unpublished
from data.schedule import CarbonPoint, FlexOffer, PricePoint, ScheduledJob
from envs.battery import BatterySystem
from envs.fields import positions
from envs.information import FORECAST_PREFIX
from envs.job_queue import JobQueueSystem
from envs.scenario import History, Scenario
from envs.single import SystemEnv
from evaluation.rollout import play

START = datetime(2025, 11, 24, 6, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
LAW = settings(deadline=None, max_examples=60)


def series(prices, intensities=None):
    times = [START + i * HALF_HOUR for i in range(len(prices))]
    carbon = [100.0] * len(prices) if intensities is None else intensities
    return (
        [
            PricePoint(timestamp=t, system_buy_price_gbp_per_mwh=p, system_sell_price_gbp_per_mwh=p)
            for t, p in zip(times, prices, strict=True)
        ],
        [CarbonPoint(timestamp=t, carbon_intensity_g_per_kwh=c) for t, c in zip(times, carbon, strict=True)],
    )


def job(name="job-001", **changes):
    return JobSpec(
        **{
            "job_id": name,
            "arrival_time": START,
            "power_kw": 1500.0,
            "duration_hours": 4.0,
            "deadline": START + timedelta(hours=14),
            "max_deferral_hours": 12.0,
            "priority": 5,
            "sla_penalty_per_hour": 25.0,
            "workload_type": "training",
            "cluster_id": "hpc-1",
            **changes,
        }
    )


@st.composite
def jobs(draw, most=8):
    made = []
    for number in range(draw(st.integers(1, most))):
        arrival = START + timedelta(minutes=draw(st.integers(-180, 12 * 60)))
        duration_h = draw(st.sampled_from([0.3, 0.5, 1.0, 2.25, 4.0]))
        slack_h = draw(st.floats(0.0, 12.0))
        made.append(
            job(
                f"job-{number}",
                arrival_time=arrival,
                power_kw=draw(st.floats(50.0, 900.0)),
                duration_hours=duration_h,
                deadline=arrival + timedelta(hours=duration_h + slack_h),
                max_deferral_hours=draw(st.floats(0.0, 14.0)),
                priority=draw(st.integers(0, 9)),
                sla_penalty_per_hour=draw(st.floats(0.0, 50.0)),
            )
        )
    return made


MARKETS = st.lists(st.tuples(st.floats(-50.0, 300.0), st.floats(0.0, 400.0)), min_size=48, max_size=48)


def drawn_kw(plan, periods=48):
    """Power in every half-hour that a job touches."""
    kw = np.zeros(periods)
    for row in plan.scheduled_jobs:
        for i in range(periods):
            slot = START + i * HALF_HOUR
            if row.start_time < slot + HALF_HOUR and row.end_time > slot:
                kw[i] += row.power_kw
    return kw


@LAW
@given(jobs(), MARKETS, st.floats(900.0, 2500.0))
def test_no_plan_breaks_the_cap_or_starts_before_arrival_and_every_job_is_answered(specs, market, cap_kw):
    prices, carbon = series(*zip(*market, strict=True))
    plan = schedule(specs, prices, carbon, Weights(max_power_kw=cap_kw))
    assert drawn_kw(plan).max() <= cap_kw + 1e-6
    by_id = {spec.job_id: spec for spec in specs}
    for row in plan.scheduled_jobs:
        spec = by_id[row.job_id]
        assert row.start_time >= spec.arrival_time
        assert row.end_time - row.start_time == timedelta(hours=spec.duration_hours)
        assert START <= row.start_time <= row.end_time <= START + 48 * HALF_HOUR
        late_h = max((row.end_time - spec.deadline) / timedelta(hours=1), 0.0)
        assert row.metadata.lateness_hours == pytest.approx(late_h)
    assert sorted([row.job_id for row in plan.scheduled_jobs] + plan.unplaced) == sorted(by_id)


@LAW
@given(jobs(), MARKETS)
def test_a_job_waits_longer_than_its_owner_allows_only_where_no_earlier_start_fits(specs, market):
    """Against a scan of all starts, with the power that jobs placed before it have taken."""
    prices, carbon = series(*zip(*market, strict=True))
    weights = Weights(max_power_kw=1000.0)
    rows = {row.job_id: row for row in schedule(specs, prices, carbon, weights).scheduled_jobs}
    taken_kw = np.zeros(48)
    for spec in sorted(specs, key=lambda s: (-s.priority, s.deadline, s.job_id)):
        slots = int(np.ceil(spec.duration_hours * 2.0 - 1e-9))
        latest = spec.arrival_time + timedelta(hours=spec.max_deferral_hours)
        starts = [START + i * HALF_HOUR for i in range(48 - slots + 1)]
        fits = [
            t
            for i, t in enumerate(starts)
            if t >= spec.arrival_time and (taken_kw[i : i + slots] + spec.power_kw <= 1000.0 + 1e-9).all()
        ]
        allowed = [t for t in fits if t <= latest]
        if spec.job_id not in rows:
            assert not fits
            continue
        began = rows[spec.job_id].start_time
        assert began in (allowed or fits[:1])
        first = (began - START) // HALF_HOUR
        taken_kw[first : first + slots] += spec.power_kw


@LAW
@given(jobs(most=1), MARKETS, st.floats(0.0, 2.0), st.floats(0.0, 5.0))
def test_a_single_job_gets_the_slot_of_lowest_score(specs, market, carbon_weight, sla_weight):
    (spec,) = specs
    prices, carbon = series(*zip(*market, strict=True))
    slots = int(np.ceil(spec.duration_hours * 2.0 - 1e-9))
    scores = {}
    for i in range(48 - slots + 1):
        began = START + i * HALF_HOUR
        if not spec.arrival_time <= began <= spec.arrival_time + timedelta(hours=spec.max_deferral_hours):
            continue
        energy_kwh = spec.power_kw * 0.5
        gbp = sum(energy_kwh * p / 1000.0 + carbon_weight * energy_kwh * c / 1000.0 for p, c in market[i : i + slots])
        late = max(i + slots - (spec.deadline - START) // HALF_HOUR, 0)
        scores[began] = gbp + sla_weight * spec.sla_penalty_per_hour * late * 0.5
    plan = schedule(specs, prices, carbon, Weights(carbon_weight, sla_weight, 1000.0))
    if scores:
        assert scores[plan.scheduled_jobs[0].start_time] == pytest.approx(min(scores.values()), abs=1e-6)


@LAW
@given(jobs(), MARKETS, st.randoms(use_true_random=False))
def test_the_order_in_which_jobs_come_changes_nothing(specs, market, random):
    prices, carbon = series(*zip(*market, strict=True))
    shuffled = list(specs)
    random.shuffle(shuffled)
    assert schedule(specs, prices, carbon) == schedule(shuffled, prices, carbon)


def test_of_equal_slots_the_earlier_is_taken():
    plan = schedule([job("b"), job("a")], *series([80.0] * 48), Weights(max_power_kw=1500.0))
    assert [(row.job_id, row.start_time) for row in plan.scheduled_jobs] == [
        ("a", START),
        ("b", START + timedelta(hours=4)),
    ]


def test_the_higher_priority_gets_the_cheap_slot():
    prices = [100.0] * 10 + [20.0] * 8 + [100.0] * 30
    plan = schedule([job("low", priority=1), job("high", priority=9)], *series(prices), Weights(max_power_kw=1500.0))
    starts = {row.job_id: row.start_time for row in plan.scheduled_jobs}
    assert starts["high"] == START + timedelta(hours=5)
    assert starts["low"] != starts["high"]


def test_lateness_that_cannot_be_avoided_is_stated():
    full = job("first", priority=9, deadline=START + timedelta(hours=4), max_deferral_hours=0.0)
    late = job("second", deadline=START + timedelta(hours=4.5), max_deferral_hours=0.5)
    plan = schedule([full, late], *series([80.0] * 48), Weights(max_power_kw=1500.0))
    second = next(row for row in plan.scheduled_jobs if row.job_id == "second")
    assert second.start_time == START + timedelta(hours=4)
    assert second.metadata.lateness_hours == 3.5


def test_money_and_carbon_of_the_contract_example_add_up():
    prices = [90.0, 90.0] + [24.0] * 8 + [90.0] * 38
    plan = schedule([job()], *series(prices, [20.0] * 48), Weights())
    (row,), (offer,) = plan.scheduled_jobs, plan.flex_offers
    assert row.start_time == START + timedelta(hours=1)
    assert row.expected_cost_gbp == pytest.approx(1500.0 * 4.0 * 24.0 / 1000.0)
    assert row.expected_carbon_kg == pytest.approx(1500.0 * 4.0 * 20.0 / 1000.0)
    assert offer.price_gbp_per_mwh == pytest.approx(90.0 - 24.0)
    assert (offer.earliest_start, offer.latest_end) == (row.start_time, row.end_time)
    assert offer.carbon_intensity_cap_g_per_kwh == 20.0


def test_weights_in_whole_numbers_are_weights():
    prices = series([50.0 + t for t in range(48)])
    assert schedule([job()], *prices, Weights(1, 2, 12_000)) == schedule([job()], *prices, Weights(1.0, 2.0, 12_000.0))


def test_a_job_without_another_time_is_no_offer():
    plan = schedule([job(max_deferral_hours=0.0)], *series([80.0] * 48))
    assert not plan.scheduled_jobs[0].is_flexible_offer
    assert plan.flex_offers == []


@LAW
@given(jobs(), MARKETS)
def test_an_offer_stands_for_every_flexible_job_and_none_costs_less_than_nothing(specs, market):
    plan = schedule(specs, *series(*zip(*market, strict=True)), Weights(max_power_kw=1000.0))
    flexible = [row.job_id for row in plan.scheduled_jobs if row.is_flexible_offer]
    assert [offer.offer_id for offer in plan.flex_offers] == [f"flex-{name}" for name in flexible]


def test_the_wire_form_has_exactly_the_agreed_fields():
    plan = schedule([job()], *series([80.0] * 48))
    assert set(plan.scheduled_jobs[0].model_dump()) == {
        "job_id", "start_time", "end_time", "power_kw", "expected_cost_gbp", "expected_carbon_kg", "is_flexible_offer",
        "metadata",
    }  # fmt: skip
    assert set(plan.scheduled_jobs[0].model_dump()["metadata"]) == {"lateness_hours", "cluster_id", "priority"}
    assert set(plan.flex_offers[0].model_dump()) == {
        "offer_id", "cluster_id", "power_kw", "duration_hours", "earliest_start", "latest_end", "price_gbp_per_mwh",
        "carbon_intensity_cap_g_per_kwh",
    }  # fmt: skip
    for row, kind in ((plan.scheduled_jobs[0], ScheduledJob), (plan.flex_offers[0], FlexOffer)):
        assert kind.model_validate_json(row.model_dump_json()) == row
    assert '"start_time":"2025-11-24T06:00:00Z"' in plan.scheduled_jobs[0].model_dump_json()


def test_series_that_do_not_belong_together_are_refused():
    prices, carbon = series([80.0] * 8)
    for bad_prices, bad_carbon, hint in (
        ([], [], "at least one"),
        (prices[:3] + prices[4:], carbon, "consecutive"),
        (prices, carbon[:-1], "other times"),
    ):
        with pytest.raises(ValueError, match=hint):
            schedule([job()], bad_prices, bad_carbon)
    with pytest.raises(ValueError, match="twice"):
        schedule([job(), job()], prices, carbon)
    with pytest.raises(ValueError, match="max_power_kw"):
        schedule([job()], prices, carbon, Weights(max_power_kw=0.0))
    with pytest.raises(ValidationError, match="time zone"):
        PricePoint(timestamp="2025-11-24T06:00:00", system_buy_price_gbp_per_mwh=1.0, system_sell_price_gbp_per_mwh=1.0)


@LAW
@given(
    st.lists(st.floats(0.0, 100.0), min_size=10, max_size=10),
    st.lists(st.floats(-50.0, 200.0), min_size=10, max_size=10),
    st.integers(1, 4),
    st.integers(0, 6),
    st.integers(0, 12),
    st.integers(-3, 9),
)
def test_the_best_start_is_that_of_a_full_scan(free, unit, duration, earliest, latest, on_time):
    before = np.append(0.0, np.cumsum(unit))
    scores = [
        (50.0 * (before[s + duration] - before[s]) + 3.0 * max(s - on_time, 0), s)
        for s in range(earliest, min(latest, 10 - duration) + 1)
        if min(free[s : s + duration]) >= 50.0
    ]
    found = best_start(np.array(free), 50.0, duration, earliest, latest, on_time, before, 3.0)
    assert (found == NOWHERE) == (not scores)
    if scores:
        assert {s: score for score, s in scores}[found] == pytest.approx(min(scores)[0], abs=1e-6)


@pytest.fixture(scope="module")
def queue_env(history):
    return SystemEnv(JobQueueSystem(Scenario(history, "validation", "split")))


def test_the_policy_that_never_waits_starts_nearly_all_that_fits(queue_env):
    """Without a saving worth waiting for, only jobs that would take the room of a higher priority are left."""
    eager = GreedyPolicy.for_env(queue_env, min_saving_gbp_per_mwh=1e9)
    mine, asap = (play(queue_env, p, 0) for p in (eager, AsapPolicy.for_env(queue_env)))
    assert mine["job_kw"].sum() == pytest.approx(asap["job_kw"].sum(), rel=0.01)


def test_the_policy_starts_now_what_is_cheapest_now_and_waits_for_a_cheap_night(queue_env):
    policy, fields = GreedyPolicy.for_env(queue_env), queue_env.system.observation_fields
    names = [field.name for field in fields]
    observation = np.zeros(len(fields), np.float32)
    observation[names.index("free_kw")] = queue_env.system.rules.capacity_kw
    for what, value in (("power_kw", 50.0), ("duration_h", 2.0), ("due_h", 12.0), ("priority", 3.0)):
        observation[names.index(f"slot_00_{what}")] = value
    forecast = positions(fields, FORECAST_PREFIX)
    for prices, wanted in ((np.linspace(20.0, 200.0, 48), 1.0), (np.linspace(200.0, 20.0, 48), 0.0)):
        observation[forecast] = prices
        assert policy.act(observation)[0] == wanted
        assert not policy.act(observation)[1:].any()
    observation[names.index("slot_00_due_h")] = -0.5  # nothing is left to wait for
    assert policy.act(observation)[0] == 1.0


def test_the_policy_acts_on_nothing_that_is_not_published(table, forecaster):
    for t, start in product((1400, 1421), (False, True)):
        actions = []
        for each in (table, hide_unpublished(table, t)):
            env = SystemEnv(JobQueueSystem(Scenario(History(each, forecaster), "validation", "split")))
            env.reset(seed=0)
            if start:
                env.step(np.ones(16, np.float32))
            env.lanes[0]["period"] = t
            actions.append(GreedyPolicy.for_env(env).act(env.observe()))
        np.testing.assert_array_equal(actions[0], actions[1])


def test_bad_settings_are_refused(queue_env, days):
    with pytest.raises(ValueError, match="patient_below"):
        GreedyPolicy.for_env(queue_env, patient_below=1.5)
    with pytest.raises(ValueError, match="weights"):
        GreedyPolicy.for_env(queue_env, sla_penalty_weight=-1.0)
    with pytest.raises(ValueError, match="JobQueueSystem"):
        GreedyPolicy.for_env(SystemEnv(BatterySystem(days)))
