"""Laws of job specifications and job tables."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data import jobs
from data.arrivals import generate_arrivals
from data.jobs import JobSpec

START = datetime(2024, 1, 1, tzinfo=UTC)
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
        ({"max_deferral_hours": 1e300}, "less than or equal to 8784"),
        ({"arrival_time": "0001-01-01T00:00:00+14:00"}, "year must be"),
        ({"deadline": "9999-12-31T23:59:59-14:00"}, "year must be"),
        ({"power_kw": 1e-300}, "a watt"),
        ({"duration_hours": 1e-300}, "a second"),
        ({"job_id": "j" * 101}, "at most 100"),
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
    table = generate_arrivals(START, 96, seed=3)
    assert same(jobs.from_specs(jobs.to_specs(table, START), START, 96), table)
