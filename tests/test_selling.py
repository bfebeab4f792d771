"""What a plan puts on sale, and that no later plan takes it back, sells it twice or runs it twice."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines import schedule_mpc
from baselines.greedy import schedule
from baselines.schedule import Reserved, Weights
from data.calendar import GATE_CLOSURE
from data.jobs import JobSpec
from data.load import FILE_NAME
from data.schedule import CarbonPoint, FlexOffer, PricePoint
from data.synthetic import generate
from data.workloads import SAMPLE_DAY, workloads
from dispatch.audit import Audit
from dispatch.flex_offers import on_sale
from dispatch.flexibility import cancel, confirm, quote
from dispatch.outlook import of_table
from dispatch.selling import Seller, Terms, offers_of
from dispatch.store import Store
from forecasting.grid_forecast import GridForecaster

NOON = datetime(2024, 6, 16, 12, 0, tzinfo=UTC)
HALF = timedelta(minutes=30)


def flat(issued_at, start, periods):
    """Dear until three in the afternoon, cheap then, dear again at night: 100, 20 and 60 GBP/MWh."""
    times = [start + i * HALF for i in range(periods)]
    price = {at: 100.0 if at < NOON + 3 * HALF * 2 else 20.0 if at < NOON + 8 * HALF * 2 else 60.0 for at in times}
    prices = [
        PricePoint(timestamp=at, system_buy_price_gbp_per_mwh=price[at], system_sell_price_gbp_per_mwh=price[at])
        for at in times
    ]
    return prices, [CarbonPoint(timestamp=at, carbon_intensity_g_per_kwh=100.0) for at in times]


def job(name="a", power_kw=1000.0, hours=2.0, **more):
    terms = {"max_deferral_hours": 18.0, "priority": 5, "sla_penalty_per_hour": 25.0, "workload_type": "training"}
    known = {"arrival_time": NOON, "deadline": NOON + timedelta(hours=20), "cluster_id": "hpc-1", **terms, **more}
    return JobSpec(job_id=name, power_kw=power_kw, duration_hours=hours, **known)


@pytest.fixture
def store(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'state.db'}")
    yield store
    store.close()


@pytest.fixture(params=[schedule, schedule_mpc.schedule], ids=["greedy", "mpc"])
def seller_of(request):
    """A seller of some jobs, planned by either scheduler."""

    def seller(store, jobs, **changes):
        weights = Weights(0.0, 1.0, **changes)
        return Seller(store, Audit(store), lambda at: jobs, flat, weights, scheduler=request.param)

    return seller


def on_sale_from(seller, at):
    """What can be ordered once the seller has planned."""
    seller.renew(lambda: at)
    return seller.on_sale(at)


def order(store, offer_id, power_kw=None, at=NOON, name="order"):
    with store.writing() as connection:
        quote(connection, Audit(store), name, "buyer", "deal", offer_id, power_kw, at)
        return confirm(connection, Audit(store), name, at)


def test_a_job_is_planned_where_it_is_cheap_and_sold_for_what_moving_costs(store, seller_of):
    (offer,) = on_sale_from(seller_of(store, [job()]), NOON)
    assert (offer.offer_id, offer.power_kw) == ("flex-a", 1000.0)
    assert (offer.start, offer.end) == (NOON + timedelta(hours=3), NOON + timedelta(hours=5))
    assert offer.price_gbp_per_mwh == 0.0  # it can run two hours later at the same price
    assert offer.expires_at == offer.start - GATE_CLOSURE
    (dearer,) = on_sale_from(seller_of(store, [job(hours=4.0)]), NOON)
    assert dearer.price_gbp_per_mwh == 30.0  # one hour at 20 is left and then the night at 60: 50 instead of 20


def test_planning_again_writes_nothing_where_nothing_changed(store, seller_of):
    seller = seller_of(store, [job(), job("b", 500.0)])
    first = on_sale_from(seller, NOON)
    assert on_sale_from(seller, NOON + timedelta(minutes=1)) == first
    assert [entry.kind for entry in Audit(store).entries()] == ["offers_published"]


def test_only_what_has_changed_is_planned_anew(store):
    """A plan is a function of jobs, prices and what is bound; a sale or another half-hour changes one of them."""
    made = []

    def counted(*given):
        made.append(given)
        return schedule(*given)

    seller = Seller(store, Audit(store), lambda at: [job()], flat, Weights(0.0, 1.0), scheduler=counted)
    before = on_sale_from(seller, NOON)
    assert on_sale_from(seller, NOON) == before
    assert len(made) == 1
    order(store, "flex-a")
    assert on_sale_from(seller, NOON) == []
    assert len(made) == 2
    on_sale_from(seller, NOON + timedelta(minutes=1))
    assert len(made) == 3


def test_what_is_sold_is_not_sold_again_not_run_and_its_place_is_not_taken(store, seller_of):
    jobs = [job(), job("b", 600.0)]
    seller = seller_of(store, jobs, max_power_kw=1600.0)
    on_sale_from(seller, NOON)
    sold = order(store, "flex-a", 400.0)
    later = NOON + timedelta(minutes=5)
    offers = {offer.offer_id: offer for offer in on_sale_from(seller, later)}
    assert offers["flex-a"].power_kw == 600.0  # the rest of the same offer, in the same window
    assert (offers["flex-a"].start, offers["flex-a"].end) == (sold.start, sold.end)
    plan = seller.plan(later)
    (moved,) = [row for row in plan.schedule.scheduled_jobs if row.job_id == "a"]
    assert moved.start_time >= sold.end or moved.end_time <= sold.start
    drawn = sum(r.power_kw for r in plan.schedule.scheduled_jobs if r.start_time < sold.end and sold.start < r.end_time)
    assert drawn <= 1600.0 - 1000.0


def test_a_cancelled_order_frees_its_job_for_the_next_plan(store, seller_of):
    seller = seller_of(store, [job()])
    before = on_sale_from(seller, NOON)
    order(store, "flex-a")
    assert on_sale_from(seller, NOON) == []
    with store.writing() as connection:
        cancel(connection, Audit(store), "order", NOON)
    assert on_sale_from(seller, NOON) == before


def test_a_plan_made_before_a_sale_is_not_published_after_it(store, seller_of):
    seller = seller_of(store, [job()])
    on_sale_from(seller, NOON)
    stale = seller.plan(NOON)
    order(store, "flex-a")
    with store.writing() as connection:
        seller.publish(connection, stale, NOON)
        assert on_sale(connection, NOON) == []


def test_a_job_whose_planned_start_has_passed_runs_and_is_not_planned_again(store, seller_of):
    seller = seller_of(store, [job(max_deferral_hours=20.0, deadline=NOON + timedelta(hours=30))])
    (offer,) = on_sale_from(seller, NOON)
    running = offer.start + timedelta(minutes=10)
    plan = seller.plan(running)
    assert plan.schedule.scheduled_jobs == []
    assert plan.bound.begun == (Reserved("a", 1000.0, offer.start, offer.end),)
    assert seller_of(store, []).plan(offer.end + timedelta(days=1)).bound.begun != ()  # another process remembers


def test_a_sold_job_runs_once_after_its_window_and_is_never_offered_again(store, seller_of):
    jobs = [job(max_deferral_hours=20.0, deadline=NOON + timedelta(hours=30))]
    seller = seller_of(store, jobs)
    (offer,) = on_sale_from(seller, NOON)
    order(store, "flex-a")
    on_sale_from(seller, NOON)
    (moved,) = seller.plan(offer.start + timedelta(minutes=1)).schedule.scheduled_jobs
    assert moved.start_time >= offer.end
    assert on_sale_from(seller, moved.start_time - timedelta(hours=2)) == []
    assert seller.plan(moved.start_time + timedelta(minutes=1)).schedule.scheduled_jobs == []


def test_what_leaves_no_time_or_cannot_be_in_time_is_not_offered(store, seller_of):
    assert on_sale_from(seller_of(store, [job(deadline=NOON + timedelta(hours=2))]), NOON + timedelta(minutes=30)) == []
    late = FlexOffer(
        offer_id="flex-x",
        cluster_id="c",
        power_kw=1.23456,
        duration_hours=1.0,
        earliest_start=NOON + timedelta(hours=1),
        latest_end=NOON + timedelta(hours=2),
        price_gbp_per_mwh=10.001,
        carbon_intensity_cap_g_per_kwh=1.0,
    )
    assert offers_of([late], NOON) == []
    (offer,) = offers_of([late], NOON - timedelta(seconds=1), Terms("3_of_5", "imbalance", 5.0))
    assert (offer.power_kw, offer.price_gbp_per_mwh) == (1.234, 10.01)
    assert (offer.baseline, offer.payment) == ("3_of_5", "imbalance")
    (dearer,) = offers_of([late], NOON - timedelta(seconds=1), Terms(least_gbp_per_mwh=150.0))
    assert dearer.price_gbp_per_mwh == 150.0


def test_a_plan_reaches_a_week_ahead_from_the_next_half_hour(store):
    asked = []

    def outlook(issued_at, start, periods):
        asked.append((issued_at, start, periods))
        return flat(issued_at, start, periods)

    seller = Seller(store, Audit(store), lambda at: [], outlook)
    for minutes in (-29, 0):
        seller.plan(NOON + timedelta(minutes=minutes))
    assert asked == [(NOON - HALF, NOON, 7 * 48), (NOON, NOON, 7 * 48)]


def test_a_plan_during_which_a_job_began_is_not_published(store):
    """It would have had another job in its place; what runs, runs."""
    three = NOON + timedelta(hours=3)
    jobs = [job()]
    seller = Seller(store, Audit(store), lambda at: list(jobs), flat, Weights(0.0, 1.0, max_power_kw=1000.0))
    seller.renew(lambda: NOON)
    jobs.append(job("b", priority=9))
    times = iter([three - timedelta(seconds=5), three + timedelta(seconds=5)])
    seller.renew(lambda: next(times))
    assert seller.plan(three).bound.begun == (Reserved("a", 1000.0, three, three + timedelta(hours=2)),)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.floats(100.0, 900.0), st.integers(1, 8), st.integers(0, 6)), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 9), st.floats(10.0, 900.0), st.integers(0, 20), st.integers(1, 8)), max_size=4),
)
def test_no_plan_draws_reserved_power_or_runs_a_barred_job(rows, taken):
    prices, carbon = flat(NOON, NOON, 60)
    jobs = [job(f"{i}", kw, half / 2, priority=p) for i, (kw, half, p) in enumerate(rows)]
    reserved = [Reserved(f"{i}", kw, NOON + a * HALF, NOON + (a + n) * HALF) for i, kw, a, n in taken]
    plan = schedule(jobs, prices, carbon, Weights(0.0, 1.0, 1000.0), reserved)
    for point in prices:
        at = point.timestamp
        drawn = sum(r.power_kw for r in plan.scheduled_jobs if r.start_time <= at < r.end_time)
        kept = sum(r.power_kw for r in reserved if r.start <= at < r.end)
        assert drawn <= max(1000.0 - kept, 0.0) + 1e-6
    windows = [(r.job_id, r.start, r.end) for r in reserved]
    for row in plan.scheduled_jobs:
        assert not any(row.job_id == i and row.start_time < end and start < row.end_time for i, start, end in windows)
    assert not {f"flex-{i}" for i, _, _ in windows} & {offer.offer_id for offer in plan.flex_offers}


def test_the_sample_day_comes_every_day_under_names_of_its_own():
    today = workloads(None, SAMPLE_DAY + timedelta(hours=7))
    tomorrow = workloads(None, SAMPLE_DAY + timedelta(hours=31))
    assert len({one.job_id for one in today}) == len(today) == 3 * 94
    assert {one.job_id for one in today} & {one.job_id for one in tomorrow}
    by_name = {one.job_id: one for one in tomorrow}
    assert all(by_name[one.job_id] == one for one in today if one.job_id in by_name)


def test_an_outlook_is_what_the_grid_agent_forecasts_and_follows_its_table(tmp_path):
    table = generate("2024-05-15", "2024-06-18")
    dearer = table.assign(day_ahead_price_gbp_per_mwh=table["day_ahead_price_gbp_per_mwh"] + 50.0)
    table.to_parquet(tmp_path / FILE_NAME)
    outlook = of_table(tmp_path)
    assert outlook(NOON, NOON, 4) == GridForecaster(table).forecast(NOON, NOON, 4)
    dearer.to_parquet(tmp_path / FILE_NAME)
    assert outlook(NOON + HALF, NOON + HALF, 4) == GridForecaster(dearer).forecast(NOON + HALF, NOON + HALF, 4)
    with pytest.raises(ValueError, match="too old"):
        outlook(NOON + timedelta(weeks=8), NOON + timedelta(weeks=8), 4)
