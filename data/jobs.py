"""Batch jobs: the wire form of one job and the compact table of many."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from data.calendar import in_utc
from data.schema import HALF_HOUR, PERIOD_H

WORKLOAD_TYPES: Final = ("training", "fine_tuning", "batch_inference", "evaluation", "other")
Name = Annotated[str, Field(min_length=1, max_length=100)]


class JobSpec(BaseModel):
    """One job as tenants send it; times are UTC, power is the whole draw of the job while it runs.

    `deadline` is when the job should have ended; `max_deferral_hours` bounds its waiting from arrival. A higher
    `priority` goes first. `workload_type` is free text; the table keeps those of `WORKLOAD_TYPES`, else "other".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    job_id: Name
    arrival_time: datetime
    power_kw: Annotated[float, Field(gt=0)]
    duration_hours: Annotated[float, Field(gt=0)]
    deadline: datetime
    max_deferral_hours: Annotated[float, Field(ge=0, le=8784)]  # a year
    priority: Annotated[int, Field(ge=0, le=100)]
    sla_penalty_per_hour: Annotated[float, Field(ge=0, le=1e6)]
    workload_type: Name
    cluster_id: Name

    @field_validator("arrival_time", "deadline")
    @classmethod
    def _in_utc(cls, instant: datetime) -> datetime:
        return in_utc(instant)

    @model_validator(mode="after")
    def _plausible(self) -> Self:
        if self.power_kw < 0.001:
            raise ValueError(f"power_kw is {self.power_kw}; a watt (0.001) or more is allowed: is it in MW or GW?")
        if self.duration_hours < 1.0 / 3600.0 - 1e-9:
            raise ValueError(f"duration_hours is {self.duration_hours}; a second (1/3600) or more is allowed")
        if self.power_kw > 100_000.0:
            raise ValueError(f"power_kw is {self.power_kw}; up to 100000 is allowed: is it in W? Divide by 1000")
        if self.duration_hours > 744.0:
            raise ValueError(f"duration_hours is {self.duration_hours}; up to 744 is allowed: is it in minutes?")
        if self.deadline <= self.arrival_time:
            raise ValueError(f"deadline {self.deadline} must be after arrival_time {self.arrival_time}")
        window_h = (self.deadline - self.arrival_time) / timedelta(hours=1)
        if self.duration_hours > window_h + 1e-9:
            raise ValueError(
                f"{self.duration_hours} h of work cannot fit in the {window_h:g} h between arrival_time and deadline; "
                "move the deadline or shorten the job"
            )
        return self


def load_jobs(path: str | Path, power_limit_kw: float) -> list[JobSpec]:
    """Read a JSON file of jobs: a list, or an object with a list named `jobs`.

    Args:
        path: The file.
        power_limit_kw: What the cluster can give to one job.

    Raises:
        ValueError: Not JSON, a job breaks `JobSpec`, a `job_id` comes twice, or a job asks for more than the limit.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    rows = content.get("jobs") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds no list of jobs; write [...] or {{'jobs': [...]}}")
    try:
        specs = TypeAdapter(list[JobSpec]).validate_python(rows)
        check_jobs(specs, power_limit_kw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ValueError(f"{path}: job {where}: {first['msg']} ({error.error_count()} problems in all)") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return specs


def check_jobs(specs: Sequence[JobSpec], power_limit_kw: float) -> None:
    """Refuse jobs that are each well-formed but cannot be taken together by one cluster.

    Raises:
        ValueError: A `job_id` comes twice, or a job asks for more than the limit.
    """
    seen: set[str] = set()
    for spec in specs:
        if spec.job_id in seen:
            raise ValueError(f"job_id {spec.job_id!r} comes twice; give every job its own")
        seen.add(spec.job_id)
        if spec.power_kw > power_limit_kw:
            hint = "is it in W? Divide by 1000" if spec.power_kw / 1000.0 <= power_limit_kw else "split the job"
            raise ValueError(
                f"job {spec.job_id!r} asks for {spec.power_kw} kW; at most {power_limit_kw} kW is allowed: {hint}"
            )


JOB: Final = np.dtype(
    [
        ("power_kw", np.float64),  # draw while running
        ("sla_penalty_gbp_per_h", np.float64),  # price of each hour past the deadline
        ("energy_before_kwh", np.float64),  # energy of all rows before this one
        ("duration_periods", np.int32),  # run time in half-hours, 1 or more
        ("deadline_period", np.int32),  # on time if it has ended when this period starts
        ("latest_start_period", np.int32),  # last period in which its owner lets it start
        ("due_period", np.int32),  # last period whose start meets both: min(latest start, deadline - duration)
        ("priority", np.int32),  # higher goes first
        ("workload_type", np.int32),  # index into WORKLOAD_TYPES
    ],
    align=True,
)


class Arrivals(NamedTuple):
    """Jobs in order of arrival, periods counted from the table's start.

    Attributes:
        first_job: Rows `first_job[t]` to `first_job[t + 1]` arrive at the start of period t; (n_periods + 1,).
        rows: One `JOB` each; (n,).
    """

    first_job: NDArray[np.int64]
    rows: NDArray[np.void]


def arrival_periods(arrivals: Arrivals) -> NDArray[np.int32]:
    """Period in which each job arrives, shape (n,)."""
    return np.repeat(np.arange(len(arrivals.first_job) - 1, dtype=np.int32), np.diff(arrivals.first_job))


def arrival_order(spec: JobSpec) -> tuple[datetime, str]:
    """Sort key of the rows that `from_specs` makes: row i of the table is `sorted(specs, key=arrival_order)[i]`."""
    return spec.arrival_time, spec.job_id


def from_specs(specs: list[JobSpec], start: datetime, periods: int) -> Arrivals:
    """Turn jobs into a table of `periods` half-hours from `start`; rows are in `arrival_order`.

    A job arrives at the first half-hour boundary at or after its arrival, or at `start` if it came before; its run time
    is rounded up, its deadline and latest start are rounded down, so a plan for the table holds for the job.

    Raises:
        ValueError: `start` is not a half-hour in UTC, or a job arrives after the table's last period.
    """
    start = checked_start(start, periods)
    rows = sorted(specs, key=arrival_order)
    arrival = np.array([max(-((start - s.arrival_time) // HALF_HOUR), 0) for s in rows], np.int32)
    if rows and arrival[-1] >= periods:
        raise ValueError(
            f"job {rows[-1].job_id!r} arrives {rows[-1].arrival_time}, after the last of {periods} periods from {start}"
        )
    latest = [(s.arrival_time + timedelta(hours=s.max_deferral_hours) - start) // HALF_HOUR for s in rows]
    types = [s.workload_type if s.workload_type in WORKLOAD_TYPES else "other" for s in rows]
    return make_arrivals(
        periods,
        arrival,
        power_kw=[s.power_kw for s in rows],
        duration_periods=[np.ceil(s.duration_hours / PERIOD_H - 1e-9) for s in rows],
        deadline_period=[(s.deadline - start) // HALF_HOUR for s in rows],
        latest_start_period=latest,
        priority=[s.priority for s in rows],
        sla_penalty_gbp_per_h=[s.sla_penalty_per_hour for s in rows],
        workload_type=[WORKLOAD_TYPES.index(name) for name in types],
    )


def to_specs(arrivals: Arrivals, start: datetime, cluster_id: str = "gridpilot") -> list[JobSpec]:
    """Turn a table that begins at `start` into jobs named `job-000000`, `job-000001`, ... by row."""
    start = checked_start(start, len(arrivals.first_job) - 1)
    return [
        JobSpec(
            job_id=f"job-{number:06d}",
            arrival_time=start + arrival * HALF_HOUR,
            power_kw=float(row["power_kw"]),
            duration_hours=float(row["duration_periods"]) * PERIOD_H,
            deadline=start + int(row["deadline_period"]) * HALF_HOUR,
            max_deferral_hours=max(int(row["latest_start_period"]) - arrival, 0) * PERIOD_H,
            priority=int(row["priority"]),
            sla_penalty_per_hour=float(row["sla_penalty_gbp_per_h"]),
            workload_type=WORKLOAD_TYPES[row["workload_type"]],
            cluster_id=cluster_id,
        )
        for number, (arrival, row) in enumerate(zip(arrival_periods(arrivals).tolist(), arrivals.rows, strict=True))
    ]


def make_arrivals(periods: int, arrival: ArrayLike, **columns: ArrayLike) -> Arrivals:
    """Build a table from the columns of `JOB`, each (n,), less the two that follow from the others.

    Args:
        periods: Half-hours in the table.
        arrival: Period of each job, ascending.
        **columns: Every field of `JOB` except `due_period` and `energy_before_kwh`.
    """
    rows = np.zeros(len(np.asarray(arrival)), JOB)
    for name, values in columns.items():
        rows[name] = values
    rows["due_period"] = np.minimum(rows["latest_start_period"], rows["deadline_period"] - rows["duration_periods"])
    energy_kwh = rows["power_kw"] * rows["duration_periods"] * PERIOD_H
    rows["energy_before_kwh"][1:] = np.cumsum(energy_kwh)[:-1]
    return Arrivals(np.searchsorted(arrival, np.arange(periods + 1)).astype(np.int64), rows)


def checked_start(start: datetime, periods: int) -> datetime:
    """The start of a table in UTC.

    Raises:
        ValueError: It is not a half-hour with a time zone, or there are no periods.
    """
    if start.tzinfo is None or start.timestamp() % (3600.0 * PERIOD_H) != 0.0:
        raise ValueError(f"start is {start}; a half-hour with a time zone is needed, like 2024-01-01T00:00:00+00:00")
    if periods < 1:
        raise ValueError(f"periods is {periods}; at least 1 half-hour is needed")
    return start.astimezone(UTC)
