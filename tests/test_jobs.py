"""Laws of job specifications, job tables, traces and the generator."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data import jobs
from data.jobs import Arrivals, JobSpec

START = datetime(2024, 1, 1, tzinfo=UTC)
WEEK = 336
EXAMPLE = {
    "job_id": "job-001",
    "arrival_time": "2025-11-24T06:00:00Z",
    "power_kw": 1500,
    "duration_hours": 4,
    "deadline": "2025-11-24T20:00:00Z",
    "max_deferral_hours": 12,
    "priority": 5,
    "sla_penalty_per_hour": 25,
    "workload_type": "training",
    "cluster_id": "hpc-1",
}


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def demand_kw(table):
    """Power in each period if every job started on arrival: the load that the arrivals ask for."""
    change, arrival = np.zeros(len(table.first_job) + 100), jobs.arrival_periods(table)
    np.add.at(change, arrival, table.rows["power_kw"])
    np.add.at(change, arrival + table.rows["duration_periods"], -table.rows["power_kw"])
    return np.cumsum(change)[: len(table.first_job) - 1]


@pytest.fixture(scope="module")
def year():
    return jobs.generate_arrivals(START, 52 * WEEK, seed=7)


@st.composite
def specs(draw, aligned=True):
    """Jobs on half-hours, or at any second."""
    step = timedelta(minutes=30) if aligned else timedelta(seconds=1)
    per_hour = timedelta(hours=1) / step
    found = []
    for n in range(draw(st.integers(0, 8))):
        hours = [round(draw(st.floats(0.0, 20.0)) * per_hour) for _ in range(4)]
        arrival, duration = START + hours[0] * step, max(hours[1], 1) / per_hour
        found.append(
            JobSpec(
                job_id=f"job-{n:06d}",
                arrival_time=arrival,
                power_kw=draw(st.floats(0.1, 5000.0)),
                duration_hours=duration,
                deadline=arrival + (max(hours[1], 1) + hours[2]) * step,
                max_deferral_hours=hours[3] / per_hour,
                priority=draw(st.integers(0, 100)),
                sla_penalty_per_hour=draw(st.floats(0.0, 1e4)),
                workload_type=draw(st.sampled_from(jobs.WORKLOAD_TYPES)),
                cluster_id="hpc-1",
            )
        )
    return found


def test_the_published_example_is_a_job():
    spec = JobSpec.model_validate(EXAMPLE)
    assert spec.deadline == datetime(2025, 11, 24, 20, tzinfo=UTC)
    assert json.loads(spec.model_dump_json()) == EXAMPLE


@given(specs(aligned=False))
def test_a_job_survives_json(found):
    for spec in found:
        assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


def test_times_of_any_zone_are_kept_as_the_same_instant_in_utc():
    spec = JobSpec.model_validate(EXAMPLE | {"arrival_time": "2025-11-24T08:00:00+02:00"})
    assert spec.arrival_time.isoformat() == "2025-11-24T06:00:00+00:00"


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"arrival_time": "2025-11-24T06:00:00"}, "no time zone"),
        ({"deadline": "2025-11-24T06:00:00Z"}, "must be after"),
        ({"duration_hours": 14.5}, "cannot fit in the 14 h"),
        ({"duration_hours": 0}, "greater than 0"),
        ({"duration_hours": 1440}, "in minutes"),
        ({"power_kw": -1}, "greater than 0"),
        ({"power_kw": float("nan")}, "finite"),
        ({"power_kw": 1_500_000}, "is it in W"),
        ({"sla_penalty_per_hour": float("inf")}, "finite"),
        ({"max_deferral_hours": -0.5}, "greater than or equal to 0"),
        ({"priority": 101}, "less than or equal to 100"),
        ({"workload_type": ""}, "at least 1 character"),
        ({"colour": "blue"}, "not permitted"),
    ],
)
def test_a_wrong_job_is_refused_with_the_reason(change, hint):
    with pytest.raises(ValidationError, match=hint):
        JobSpec.model_validate(EXAMPLE | change)


@pytest.mark.parametrize("wrap", [list, lambda rows: {"jobs": rows}])
def test_a_file_of_jobs_is_read_bare_or_wrapped(tmp_path, wrap):
    path = tmp_path / "workloads.json"
    path.write_text(json.dumps(wrap([EXAMPLE, EXAMPLE | {"job_id": "job-002"}])))
    assert [spec.job_id for spec in jobs.load_jobs(path, 12_000.0)] == ["job-001", "job-002"]


@pytest.mark.parametrize(
    ("content", "limit_kw", "hint"),
    [
        ([EXAMPLE, EXAMPLE], 12_000.0, "comes twice"),
        ([EXAMPLE], 1000.0, "at most 1000.0 kW is allowed: is it in W"),
        ([EXAMPLE], 1.0, "split the job"),
        ({"work": []}, 1000.0, "no list of jobs"),
        ([EXAMPLE | {"power_kw": None}], 12_000.0, "valid number"),
    ],
)
def test_a_wrong_file_of_jobs_is_refused_with_the_reason(tmp_path, content, limit_kw, hint):
    path = tmp_path / "workloads.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=hint):
        jobs.load_jobs(path, limit_kw)


@given(specs())
def test_jobs_on_half_hours_survive_the_table(found):
    table = jobs.from_specs(found, START, 48)
    back = jobs.to_specs(table, START, "hpc-1")
    ordered = sorted(found, key=jobs.arrival_order)
    assert [s.model_copy(update={"job_id": o.job_id}) for s, o in zip(back, ordered, strict=True)] == ordered
    assert same(jobs.from_specs(back, START, 48), table)


@given(specs(aligned=False))
def test_a_start_that_is_on_time_in_the_table_is_on_time_for_the_job(found):
    table = jobs.from_specs(found, START, 48)
    arrival = jobs.arrival_periods(table)
    for row, spec in enumerate(sorted(found, key=jobs.arrival_order)):
        instant = START + int(arrival[row]) * timedelta(minutes=30)
        run = timedelta(hours=float(table.rows["duration_periods"][row]) * 0.5)
        assert timedelta(0) <= instant - spec.arrival_time < timedelta(minutes=30)
        assert timedelta(0) <= run - timedelta(hours=spec.duration_hours) < timedelta(minutes=30)
        assert START + int(table.rows["deadline_period"][row]) * timedelta(minutes=30) <= spec.deadline
        latest = START + int(table.rows["latest_start_period"][row]) * timedelta(minutes=30)
        assert latest <= spec.arrival_time + timedelta(hours=spec.max_deferral_hours)


def test_a_job_from_before_the_table_arrives_at_its_start_with_its_own_deadline():
    spec = JobSpec.model_validate(EXAMPLE)
    table = jobs.from_specs([spec], spec.arrival_time + timedelta(hours=1), 4)
    assert list(table.first_job) == [0, 1, 1, 1, 1]
    assert (table.rows["deadline_period"][0], table.rows["latest_start_period"][0]) == (26, 22)


def test_a_job_from_after_the_table_is_refused():
    spec = JobSpec.model_validate(EXAMPLE)
    with pytest.raises(ValueError, match="after the last of 4 periods"):
        jobs.from_specs([spec], spec.arrival_time - timedelta(hours=2), 4)


def test_generated_jobs_survive_the_wire():
    table = jobs.generate_arrivals(START, 96, seed=3)
    assert same(jobs.from_specs(jobs.to_specs(table, START), START, 96), table)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 400), st.integers(0, 400))
def test_a_longer_table_begins_with_the_shorter_one(seed, periods, more):
    short = jobs.generate_arrivals(START, periods, seed)
    long = jobs.generate_arrivals(START, periods + more, seed)
    cut = Arrivals(long.first_job[: periods + 1], long.rows[: len(short.rows)])
    assert same(short, cut)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 400), st.floats(1.0, 20_000.0), st.floats(0.05, 0.95))
def test_every_generated_job_can_be_served_alone(seed, periods, capacity_kw, load_fraction):
    table = jobs.generate_arrivals(START, periods, seed, capacity_kw, load_fraction)
    arrival = jobs.arrival_periods(table)
    assert table.first_job[-1] == len(arrival) == len(table.rows)
    assert ((table.rows["power_kw"] > 0.0) & (table.rows["power_kw"] <= capacity_kw)).all()
    assert ((table.rows["duration_periods"] >= 1) & (table.rows["duration_periods"] <= jobs.MAX_DURATION_PERIODS)).all()
    assert (table.rows["deadline_period"] >= arrival + table.rows["duration_periods"]).all()
    assert (table.rows["latest_start_period"] >= arrival).all()
    assert (table.rows["sla_penalty_gbp_per_h"] > 0.0).all()


def test_the_load_asked_for_is_the_load_fraction(year):
    share = demand_kw(year)[WEEK:] / jobs.CAPACITY_KW
    assert 0.50 < share.mean() < 0.60
    assert np.quantile(share, 0.95) > 1.0 > np.quantile(share, 0.8), "peaks must need shifting, most hours must not"


def test_the_expected_run_time_equals_its_average_over_many_draws():
    rng = np.random.default_rng(0)
    for w in jobs.WORKLOADS:
        hours = w.median_h * np.exp(w.log_sd * rng.standard_normal(200_000))
        mean = np.clip(np.ceil(hours * 2.0), 1, jobs.MAX_DURATION_PERIODS).mean()
        assert jobs._mean_duration_periods(w) == pytest.approx(mean, rel=0.01)


def test_arrivals_have_the_rhythm_and_the_bursts_they_were_given(year):
    counts = np.diff(year.first_job).reshape(-1, 7, 48)
    by_day, by_period = counts.mean(axis=(0, 2)), counts.mean(axis=(0, 1))
    assert by_day[5:].mean() / by_day[:5].mean() == pytest.approx(jobs.WEEKEND_FRACTION, abs=0.06)
    assert (by_period.max() - by_period.min()) / (2.0 * by_period.mean()) == pytest.approx(0.46, abs=0.15)
    assert abs(int(by_period.argmax()) / 2.0 - jobs.PEAK_HOUR) < 4.0
    same_hour = counts[:, :5, 24:36].ravel()
    assert same_hour.var() > 1.5 * same_hour.mean(), "arrivals of one hour of the week must vary more than Poisson"


def test_another_seed_gives_other_jobs(year):
    assert not same(year, jobs.generate_arrivals(START, 52 * WEEK, seed=8))


def test_kinds_and_urgent_jobs_come_in_their_shares(year):
    shares = np.bincount(year.rows["workload_type"], minlength=4) / len(year.rows["workload_type"])
    assert shares == pytest.approx([w.share for w in jobs.WORKLOADS], abs=0.02)
    no_slack = year.rows["deadline_period"] - year.rows["duration_periods"] == jobs.arrival_periods(year)
    assert (no_slack & (year.rows["priority"] >= 6)).mean() == pytest.approx(jobs.URGENT_SHARE, abs=0.02)
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
        jobs.generate_arrivals(**({"start": START, "periods": 48, "seed": 0} | change))


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
    table = jobs.load_trace(trace, START, 20 * WEEK, seed=0, capacity_kw=1000.0, load_fraction=0.4)
    assert demand_kw(table)[WEEK:].mean() == pytest.approx(400.0, rel=0.02)


def test_a_trace_repeats_in_whole_weeks_at_its_own_hour(trace):
    table = jobs.load_trace(trace, START, 20 * WEEK, seed=0)
    later = jobs.load_trace(trace, START + timedelta(hours=7), 20 * WEEK, seed=0)
    counts = np.diff(table.first_job)
    kept_weeks = next(k for k in range(1, 6) if np.array_equal(counts[: -k * WEEK], counts[k * WEEK :]))
    assert kept_weeks >= 3
    assert np.array_equal(np.diff(later.first_job)[:-14], counts[14:])
    assert not counts[1::2].any(), "every job of this trace comes on the hour"


def test_the_local_clock_of_a_trace_sets_day_and_hour(tmp_path, trace):
    table = pd.read_parquet(trace)
    table["submit_time_local"] = pd.Timestamp("2017-09-05 03:30") + pd.to_timedelta(table["submit_time_s"], unit="s")
    table.to_parquet(tmp_path / "local.parquet")
    counts = np.diff(jobs.load_trace(tmp_path / "local.parquet", START, 6 * WEEK, seed=0).first_job)
    assert not counts[0::2].any(), "every job of this trace comes at half past"


def test_traces_of_shared_gpus_and_of_cpus_are_read(tmp_path, trace):
    whole = jobs.load_trace(trace, START, WEEK, seed=0)
    table = pd.read_parquet(trace)
    table.rename(columns={"num_gpus": "num_cpus"}).to_parquet(tmp_path / "cpus.parquet")
    assert same(jobs.load_trace(tmp_path / "cpus.parquet", START, WEEK, seed=0), whole)
    table.assign(gpu_milli_per_gpu=np.where(table["num_gpus"] > 2, 500, 1000)).to_parquet(tmp_path / "milli.parquet")
    shared = jobs.load_trace(tmp_path / "milli.parquet", START, WEEK, seed=0)
    assert len(np.unique(whole.rows["power_kw"])) == 4
    assert len(np.unique(shared.rows["power_kw"])) == 3


def test_a_trace_without_its_columns_or_too_short_is_refused(tmp_path, trace):
    table = pd.read_parquet(trace)
    table.drop(columns="duration_s").to_parquet(tmp_path / "wrong.parquet")
    with pytest.raises(ValueError, match="lacks"):
        jobs.load_trace(tmp_path / "wrong.parquet", START, 48, seed=0)
    for rows in (0, 30):
        table.head(rows).to_parquet(tmp_path / "short.parquet")
        with pytest.raises(ValueError, match="less than a week"):
            jobs.load_trace(tmp_path / "short.parquet", START, 48, seed=0)


def test_rows_of_each_period_are_contiguous_and_in_order(year):
    assert year.first_job[0] == 0
    assert all(a <= b for a, b in pairwise(year.first_job.tolist()))
    kwh = year.rows["power_kw"] * year.rows["duration_periods"] * 0.5
    assert np.diff(year.rows["energy_before_kwh"]) == pytest.approx(kwh[:-1])
    assert year.rows["energy_before_kwh"][0] == 0.0
