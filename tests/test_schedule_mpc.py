"""Laws of the model predictive scheduler: against all plans there are, against the greedy one, and its prices."""

from datetime import timedelta
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines import greedy, schedule_mpc
from baselines.schedule import Reserved, Weights
from data.schema import HALF_HOUR
from tests.test_greedy import MARKETS, START, drawn_kw, job, jobs, series

LAW = settings(deadline=None, max_examples=25)
PERIODS = 8
SHORT = st.lists(st.floats(-50.0, 300.0), min_size=PERIODS, max_size=PERIODS)
CAP = Weights(0.0, 1.0, 1000.0)


@st.composite
def few(draw):
    """Up to three jobs that all fit on time, one after the other, and could wait to the end."""
    return [
        job(
            f"job-{i}",
            power_kw=draw(st.sampled_from([400.0, 600.0, 1000.0])),
            duration_hours=draw(st.sampled_from([0.5, 1.0])),
            deadline=START + timedelta(hours=draw(st.sampled_from([2.0, 3.0, 4.0]))),
            max_deferral_hours=4.0,
            sla_penalty_per_hour=draw(st.sampled_from([0.0, 20.0])),
        )
        for i in range(draw(st.integers(1, 3)))
    ]


def best_gbp(specs, prices, moved=None, window=(0, 0)):
    """The lowest cost over every plan there is; `moved` keeps out of its window and leaves its power there unused."""
    spans = [round(spec.duration_hours * 2) for spec in specs]
    best = np.inf
    for starts in product(*(range(PERIODS - span + 1) for span in spans)):
        kw, gbp = np.zeros(PERIODS), 0.0
        for spec, span, at in zip(specs, spans, starts, strict=True):
            kw[at : at + span] += spec.power_kw
            late_h = max((START + (at + span) * HALF_HOUR - spec.deadline) / timedelta(hours=1), 0.0)
            gbp += spec.power_kw * sum(prices[at : at + span]) / 2000.0 + late_h * spec.sla_penalty_per_hour
        if moved is not None:
            kw[slice(*window)] += specs[moved].power_kw
            if starts[moved] < window[1] and window[0] < starts[moved] + spans[moved]:
                continue
        if kw.max() <= 1000.0:
            best = min(best, gbp)
    return best


def cost_gbp(plan, specs):
    due = {spec.job_id: spec for spec in specs}
    return sum(
        row.expected_cost_gbp + row.metadata.lateness_hours * due[row.job_id].sla_penalty_per_hour
        for row in plan.scheduled_jobs
    )


@LAW
@given(few(), SHORT)
def test_a_plan_and_every_price_are_those_of_a_search_through_all_plans(specs, prices):
    """What is turned down, and at what price, is the best plan without it less the best plan with it."""
    plan = schedule_mpc.schedule(specs, *series(prices), CAP)
    with_it = best_gbp(specs, prices)
    assert cost_gbp(plan, specs) == pytest.approx(with_it, abs=1e-2)
    offers = {offer.offer_id: offer for offer in plan.flex_offers}
    for row in plan.scheduled_jobs:
        number = [spec.job_id for spec in specs].index(row.job_id)
        window = [(at - START) // HALF_HOUR for at in (row.start_time, row.end_time)]
        without = best_gbp(specs, prices, number, window)
        if not np.isfinite(without):
            assert f"flex-{row.job_id}" not in offers
            continue
        offer = offers[f"flex-{row.job_id}"]
        mwh = offer.power_kw * offer.duration_hours / 1000.0
        assert offer.price_gbp_per_mwh * mwh == pytest.approx(without - with_it, abs=1e-2)


@LAW
@given(jobs(), MARKETS, st.sampled_from([900.0, 1200.0, 2500.0]))
def test_no_plan_breaks_the_cap_and_none_is_worse_than_the_greedy_one_of_the_same_jobs(specs, market, cap_kw):
    prices, carbon = series(*zip(*market, strict=True))
    weights = Weights(0.1, 1.0, cap_kw)
    ours, theirs = (planner.schedule(specs, prices, carbon, weights) for planner in (schedule_mpc, greedy))
    assert drawn_kw(ours).max() <= cap_kw + 1e-3
    by_id = {spec.job_id: spec for spec in specs}
    assert all(row.start_time >= by_id[row.job_id].arrival_time for row in ours.scheduled_jobs)
    assert sorted([row.job_id for row in ours.scheduled_jobs] + ours.unplaced) == sorted(by_id)

    def in_time(plan):
        latest = {i: spec.arrival_time + timedelta(hours=spec.max_deferral_hours) for i, spec in by_id.items()}
        return {row.job_id for row in plan.scheduled_jobs if row.start_time <= latest[row.job_id]}

    def score_gbp(plan):
        """As planners count: every half-hour that a job begins, and limits rounded down to half-hours."""
        total = 0.0
        for row in plan.scheduled_jobs:
            spec, at = by_id[row.job_id], (row.start_time - START) // HALF_HOUR
            slots = int(np.ceil(spec.duration_hours * 2.0 - 1e-9))
            late = max(at + slots - (spec.deadline - START) // HALF_HOUR, 0)
            unit = sum(price + 0.1 * intensity for price, intensity in market[at : at + slots])
            total += spec.power_kw * unit / 2000.0 + late * spec.sla_penalty_per_hour / 2.0
        return total

    worth = [sum(1 + by_id[i].priority for i in in_time(plan)) for plan in (ours, theirs)]
    assert worth[0] >= worth[1]
    if in_time(ours) == in_time(theirs) == set(by_id):
        assert score_gbp(ours) <= score_gbp(theirs) + 1e-3


def test_a_job_makes_way_for_another_where_the_greedy_planner_would_leave_it():
    """Two jobs, one cheap hour: the greedy planner gives it to the first in line, who gains less by it."""
    prices = [100.0, 100.0, 10.0, 10.0, 40.0, 40.0, 40.0, 40.0]
    small = job("small", power_kw=100.0, duration_hours=1.0, priority=9, max_deferral_hours=4.0)
    big = job("big", power_kw=950.0, duration_hours=1.0, priority=1, max_deferral_hours=4.0)
    ours, theirs = (planner.schedule([small, big], *series(prices), CAP) for planner in (schedule_mpc, greedy))
    began = {plan: {row.job_id: (row.start_time - START) // HALF_HOUR for row in made.scheduled_jobs}
             for plan, made in (("ours", ours), ("theirs", theirs))}  # fmt: skip
    assert began["theirs"] == {"small": 2, "big": 4}
    assert began["ours"] == {"big": 2, "small": 4}
    price = {offer.offer_id: offer.price_gbp_per_mwh for offer in ours.flex_offers}
    # Out of the cheap hour the big job runs at 40, and nobody may take its power in it.
    assert price["flex-big"] == pytest.approx(30.0)
    assert price["flex-small"] == pytest.approx(0.0)  # the hour after costs the same


def test_what_is_promised_is_left_alone():
    """A sold job keeps out of its window, and nothing takes its place there."""
    specs = [job("a", power_kw=600.0, duration_hours=1.0), job("b", power_kw=600.0, duration_hours=1.0)]
    prices = [50.0, 50.0, 10.0, 10.0, *[60.0] * 20]
    sold = Reserved("a", 600.0, START + 2 * HALF_HOUR, START + 4 * HALF_HOUR)
    plan = schedule_mpc.schedule(specs, *series(prices), CAP, [sold])
    for row in plan.scheduled_jobs:
        assert row.end_time <= sold.start or row.start_time >= sold.end
    assert [offer.offer_id for offer in plan.flex_offers] == ["flex-b"]


def test_a_plan_that_is_not_found_in_time_is_the_greedy_one(monkeypatch):
    specs = [job(f"job-{i}", power_kw=400.0) for i in range(6)]
    monkeypatch.setattr(schedule_mpc, "PLANNED_S", 0.0)
    monkeypatch.setattr(schedule_mpc, "PRICED_S", 0.0)
    market = series([50.0 + 7.0 * (i * i % 11) for i in range(48)])
    assert schedule_mpc.schedule(specs, *market, CAP) == greedy.schedule(specs, *market, CAP)
