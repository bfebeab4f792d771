"""Laws of the job generator and of replayed traces."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import arrivals
from data.arrivals import JobSource
from data.jobs import WORKLOAD_TYPES, Arrivals, arrival_periods, from_specs, to_specs
from tests.conftest import REAL_DATA

START = datetime(2024, 1, 1, tzinfo=UTC)
WEEK = 336


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def demand_kw(table):
    """Power in each period if every job started on arrival: the load that the arrivals ask for."""
    change, arrival = np.zeros(len(table.first_job) + 100), arrival_periods(table)
    np.add.at(change, arrival, table.rows["power_kw"])
    np.add.at(change, arrival + table.rows["duration_periods"], -table.rows["power_kw"])
    return np.cumsum(change)[: len(table.first_job) - 1]


@pytest.fixture(scope="module")
def year():
    return arrivals.generate_arrivals(START, 52 * WEEK, seed=7)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 400), st.integers(0, 400))
def test_a_longer_table_begins_with_the_shorter_one(seed, periods, more):
    short = arrivals.generate_arrivals(START, periods, seed)
    long = arrivals.generate_arrivals(START, periods + more, seed)
    cut = Arrivals(long.first_job[: periods + 1], long.rows[: len(short.rows)])
    assert same(short, cut)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 400), st.floats(1.0, 20_000.0), st.floats(0.05, 0.95))
def test_every_generated_job_can_be_served_alone(seed, periods, capacity_kw, load_fraction):
    table = arrivals.generate_arrivals(START, periods, seed, capacity_kw, load_fraction)
    arrival = arrival_periods(table)
    assert table.first_job[-1] == len(arrival) == len(table.rows)
    assert ((table.rows["power_kw"] > 0.0) & (table.rows["power_kw"] <= capacity_kw)).all()
    assert (
        (table.rows["duration_periods"] >= 1) & (table.rows["duration_periods"] <= arrivals.MAX_DURATION_PERIODS)
    ).all()
    assert (table.rows["deadline_period"] >= arrival + table.rows["duration_periods"]).all()
    assert (table.rows["latest_start_period"] >= arrival).all()
    assert (table.rows["sla_penalty_gbp_per_h"] > 0.0).all()


def test_the_load_asked_for_is_the_load_fraction(year):
    share = demand_kw(year)[WEEK:] / arrivals.CAPACITY_KW
    assert 0.50 < share.mean() < 0.60
    assert np.quantile(share, 0.95) > 1.0 > np.quantile(share, 0.8), "peaks must need shifting, most hours must not"


def test_the_expected_run_time_equals_its_average_over_many_draws():
    rng = np.random.default_rng(0)
    for w in arrivals.WORKLOADS:
        hours = w.median_h * np.exp(w.log_sd * rng.standard_normal(200_000))
        mean = np.clip(np.ceil(hours * 2.0), 1, arrivals.MAX_DURATION_PERIODS).mean()
        assert arrivals._still_running(w).sum() == pytest.approx(mean, rel=0.01)


def test_arrivals_have_the_rhythm_and_the_bursts_they_were_given(year):
    counts = np.diff(year.first_job).reshape(-1, 7, 48)
    by_day, by_period = counts.mean(axis=(0, 2)), counts.mean(axis=(0, 1))
    assert by_day[5:].mean() / by_day[:5].mean() == pytest.approx(arrivals.WEEKEND_FRACTION, abs=0.06)
    assert (by_period.max() - by_period.min()) / (2.0 * by_period.mean()) == pytest.approx(0.46, abs=0.15)
    assert abs(int(by_period.argmax()) / 2.0 - arrivals.PEAK_HOUR) < 4.0
    same_hour = counts[:, :5, 24:36].ravel()
    assert same_hour.var() > 1.5 * same_hour.mean(), "arrivals of one hour of the week must vary more than Poisson"


def test_another_seed_gives_other_jobs(year):
    assert not same(year, arrivals.generate_arrivals(START, 52 * WEEK, seed=8))


def test_kinds_and_urgent_jobs_come_in_their_shares(year):
    shares = np.bincount(year.rows["workload_type"], minlength=4) / len(year.rows["workload_type"])
    assert shares == pytest.approx([w.share for w in arrivals.WORKLOADS], abs=0.02)
    no_slack = year.rows["deadline_period"] - year.rows["duration_periods"] == arrival_periods(year)
    assert (no_slack & (year.rows["priority"] >= 6)).mean() == pytest.approx(arrivals.URGENT_SHARE, abs=0.02)
    assert (year.rows["priority"][~no_slack] <= 5).all()


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"start": datetime(2024, 1, 1)}, "time zone"),
        ({"start": START + timedelta(minutes=5)}, "half-hour"),
        ({"periods": 0}, "at least 1"),
        ({"capacity_kw": float("nan")}, "above 0"),
        ({"capacity_kw": 596e6}, "is it in W"),
        ({"load_fraction": 55.0}, "below 1"),
    ],
)
def test_a_wrong_argument_of_the_generator_is_named(change, hint):
    with pytest.raises(ValueError, match=hint):
        arrivals.generate_arrivals(**({"start": START, "periods": 48, "seed": 0} | change))


@pytest.fixture
def trace(tmp_path):
    """Five weeks of a trace: one job an hour of 1 to 4 GPUs and 0.1 to 10 hours, some that never ran."""
    n, rng = 5 * 168, np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "submit_time_s": np.arange(n) * 3600.0,
            "duration_s": rng.uniform(360.0, 36_000.0, n),
            "num_gpus": rng.integers(1, 5, n),
        }
    )
    table.loc[::50, "duration_s"] = np.nan
    table.loc[1::50, "num_gpus"] = 0
    table.to_parquet(tmp_path / "trace.parquet")
    return tmp_path / "trace.parquet"


def test_a_trace_is_scaled_to_the_load_asked_for(trace):
    table = arrivals.load_trace(trace, START, 20 * WEEK, seed=0, capacity_kw=1000.0, load_fraction=0.4)
    assert demand_kw(table)[WEEK:].mean() == pytest.approx(400.0, rel=0.02)


def test_a_trace_repeats_in_whole_weeks_at_its_own_hour(trace):
    table = arrivals.load_trace(trace, START, 20 * WEEK, seed=0)
    later = arrivals.load_trace(trace, START + timedelta(hours=7), 20 * WEEK, seed=0)
    counts = np.diff(table.first_job)
    kept_weeks = next(k for k in range(1, 6) if np.array_equal(counts[: -k * WEEK], counts[k * WEEK :]))
    assert kept_weeks >= 3
    assert np.array_equal(np.diff(later.first_job)[:-14], counts[14:])
    assert not counts[1::2].any(), "every job of this trace comes on the hour"


def test_the_local_clock_of_a_trace_sets_day_and_hour(tmp_path, trace):
    table = pd.read_parquet(trace)
    table["submit_time_local"] = pd.Timestamp("2017-09-05 03:30") + pd.to_timedelta(table["submit_time_s"], unit="s")
    table.to_parquet(tmp_path / "local.parquet")
    counts = np.diff(arrivals.load_trace(tmp_path / "local.parquet", START, 6 * WEEK, seed=0).first_job)
    assert not counts[0::2].any(), "every job of this trace comes at half past"


def test_traces_of_shared_gpus_and_of_cpus_are_read(tmp_path, trace):
    whole = arrivals.load_trace(trace, START, WEEK, seed=0)
    table = pd.read_parquet(trace)
    table.rename(columns={"num_gpus": "num_cpus"}).to_parquet(tmp_path / "cpus.parquet")
    assert same(arrivals.load_trace(tmp_path / "cpus.parquet", START, WEEK, seed=0), whole)
    table.assign(gpu_milli_per_gpu=np.where(table["num_gpus"] > 2, 500, 1000)).to_parquet(tmp_path / "milli.parquet")
    shared = arrivals.load_trace(tmp_path / "milli.parquet", START, WEEK, seed=0)
    assert len(np.unique(whole.rows["power_kw"])) == 4
    assert len(np.unique(shared.rows["power_kw"])) == 3


def test_a_trace_without_its_columns_or_too_short_is_refused(tmp_path, trace):
    table = pd.read_parquet(trace)
    table.drop(columns="duration_s").to_parquet(tmp_path / "wrong.parquet")
    with pytest.raises(ValueError, match="lacks"):
        arrivals.load_trace(tmp_path / "wrong.parquet", START, 48, seed=0)
    for rows in (0, 30):
        table.head(rows).to_parquet(tmp_path / "short.parquet")
        with pytest.raises(ValueError, match="less than a week"):
            arrivals.load_trace(tmp_path / "short.parquet", START, 48, seed=0)


def test_rows_of_each_period_are_contiguous_and_in_order(year):
    assert year.first_job[0] == 0
    assert all(a <= b for a, b in pairwise(year.first_job.tolist()))
    kwh = year.rows["power_kw"] * year.rows["duration_periods"] * 0.5
    assert np.diff(year.rows["energy_before_kwh"]) == pytest.approx(kwh[:-1])
    assert year.rows["energy_before_kwh"][0] == 0.0


def test_kinds_are_named_in_the_order_of_the_table():
    assert (*(w.name for w in arrivals.WORKLOADS), "other") == WORKLOAD_TYPES


def test_a_source_draws_jobs_or_replays_its_trace(trace):
    drawn = JobSource(seed=4, load_fraction=0.3).arrivals(START, WEEK, 1000.0)
    assert same(drawn, arrivals.generate_arrivals(START, WEEK, 4, 1000.0, 0.3))
    replayed = JobSource(seed=4, load_fraction=0.3, trace=str(trace)).arrivals(START, WEEK, 1000.0)
    assert same(replayed, arrivals.load_trace(trace, START, WEEK, 4, 1000.0, 0.3))


@pytest.fixture
def requests(tmp_path):
    """Ten minutes of two services and six seconds more: one `chat` a second, and 60 of `code` in one of the minutes."""
    chat = pd.DataFrame({"arrival_time_s": np.arange(0.0, 606.0), "service": "chat", "context_tokens": 400})
    code = pd.DataFrame({"arrival_time_s": 240.0 + np.arange(60), "service": "code", "context_tokens": 4000})
    path = tmp_path / "requests.parquet"
    pd.concat([chat.assign(generated_tokens=100), code.assign(generated_tokens=0)]).to_parquet(path)
    return path


def test_requests_ask_for_the_load_fraction_in_the_rhythm_of_the_day(requests):
    table = arrivals.load_requests(requests, START, 4 * WEEK, seed=1, capacity_kw=1000.0, load_fraction=0.4)
    load = demand_kw(table)
    assert load.mean() == pytest.approx(400.0, rel=0.02)
    by_hour = load.reshape(-1, 48)[np.arange(28) % 7 < 5].mean(axis=0)
    assert abs(int(by_hour.argmax()) / 2.0 - arrivals.PEAK_HOUR) < 3.0
    assert (table.rows["power_kw"] <= 250.0).all()


def test_requests_cost_their_tokens(requests):
    """Chat costs 200 a second for ten minutes, code 1000 a second for one of them: a third of all cost."""
    table = arrivals.load_requests(requests, START, 8 * WEEK, seed=1, capacity_kw=1000.0, load_fraction=0.05)
    first, power_kw = np.diff(arrival_periods(table), prepend=-1) > 0, table.rows["power_kw"]
    assert np.diff(table.first_job).max() == 2, "at this load one job for each service, chat's first"
    assert power_kw[first].sum() / power_kw.sum() == pytest.approx(2.0 / 3.0, abs=0.02)


def test_requests_cannot_wait(requests):
    table = arrivals.load_requests(requests, START, WEEK, seed=1)
    arrival = arrival_periods(table)
    assert (table.rows["duration_periods"] == 1).all()
    assert (table.rows["latest_start_period"] == arrival).all()
    assert (table.rows["deadline_period"] == arrival + 1).all()


def test_a_longer_table_of_requests_begins_with_the_shorter_one(requests):
    short, long = (arrivals.load_requests(requests, START, periods, seed=2) for periods in (100, 300))
    assert same(short, Arrivals(long.first_job[:101], long.rows[: len(short.rows)]))
    assert not same(short, arrivals.load_requests(requests, START, 100, seed=3))


def test_a_source_serves_requests_if_its_trace_holds_tokens(requests):
    served = JobSource(seed=4, load_fraction=0.3, trace=str(requests)).arrivals(START, WEEK, 1000.0)
    assert same(served, arrivals.load_requests(requests, START, WEEK, 4, 1000.0, 0.3))


def test_requests_without_their_columns_or_a_whole_minute_are_refused(tmp_path, requests):
    table = pd.read_parquet(requests)
    table.drop(columns="service").to_parquet(tmp_path / "wrong.parquet")
    with pytest.raises(ValueError, match="lacks"):
        arrivals.load_requests(tmp_path / "wrong.parquet", START, 48, seed=0)
    for rows in (0, 30):
        table.head(rows).to_parquet(tmp_path / "short.parquet")
        with pytest.raises(ValueError, match="two minutes"):
            arrivals.load_requests(tmp_path / "short.parquet", START, 48, seed=0)


REAL_TRACES = (
    "philly_2017",
    "alibaba_gpu_2023_pods",
    "alibaba_pai_2020_year100k",
    "azure_llm_inference_2023",
)


@pytest.mark.parametrize("name", REAL_TRACES)
def test_a_real_trace_becomes_a_stream_of_jobs_that_a_cluster_can_serve(name):
    path = REAL_DATA / "jobs" / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in {path.parent}; set GRIDPILOT_DATA to a folder that holds jobs/")
    source = JobSource(seed=5, load_fraction=0.4, trace=str(path))
    table = source.arrivals(START, 2 * WEEK, 600.0)
    specs = to_specs(table, START)
    assert len(specs) > 300
    assert same(from_specs(specs, START, 2 * WEEK), table)
    assert all(0.0 < spec.power_kw <= 150.0 for spec in specs)
    assert all(spec.arrival_time >= START for spec in specs)
    year = source.arrivals(START, 52 * WEEK, 600.0)
    assert demand_kw(year)[WEEK:].mean() == pytest.approx(240.0, rel=0.15)
