"""The commands of the agents, as they travel: shapes, units, limits, examples."""

from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from baselines.schedule import Weights
from data.jobs import JobSpec, Name
from data.schedule import Instant
from data.schema import PERIOD_H

LONGEST: Final = timedelta(days=7)  # a window
MOST_JOBS: Final = 10_000
DAY: Final = {"from": "2025-11-24T00:00:00Z", "to": "2025-11-25T00:00:00Z"}
JOB: Final = {
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

Region = Literal["GB"]


def _with_example(**example: Any) -> ConfigDict:
    return ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, json_schema_extra={"example": example})


class Command(BaseModel):
    """Strict about names: a misspelt key is an error, never ignored."""

    model_config = _with_example()


class Window(Command):
    """A span of time from `from` up to but without `to`, at most 7 days; it stands for every half-hour it touches."""

    start: Instant = Field(alias="from", description="ISO 8601 with a time zone.")
    end: Instant = Field(alias="to", description="ISO 8601 with a time zone, after `from`.")

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"from is {self.start.isoformat()} and to is {self.end.isoformat()}; from must be before")
        if self.end - self.start > LONGEST:
            raise ValueError(f"{self.end - self.start} lie between from and to; ask for at most {LONGEST.days} days")
        return self


class IngestJobs(Command):
    """Take in batch jobs; all of a message or none. A job that is known already is left as it is."""

    model_config = _with_example(command="ingest_jobs", jobs=[JOB])

    command: Literal["ingest_jobs"] = "ingest_jobs"
    jobs: Annotated[list[JobSpec], Field(min_length=1, max_length=MOST_JOBS)]


class GetFlexibilityProfile(Window):
    """When the jobs of a window may run, their power by half-hour, and what lateness costs."""

    model_config = _with_example(command="get_flexibility_profile", **DAY, cluster_id="hpc-1")

    command: Literal["get_flexibility_profile"] = "get_flexibility_profile"
    cluster_id: Name | None = Field(None, description="All clusters if not given.")


class GetGridForecast(Window):
    """Forecast carbon intensity and system buy and sell prices, one value for each half-hour of a window."""

    model_config = _with_example(command="get_grid_forecast", **DAY, region="GB")

    command: Literal["get_grid_forecast"] = "get_grid_forecast"
    region: Region = "GB"


class Optimization(Command):
    """What counts how much in a plan; see `baselines.schedule.Weights`."""

    carbon_penalty_weight: Annotated[float, Field(ge=0, le=1e6, description="GBP per kg of carbon dioxide.")] = (
        Weights().carbon_penalty_weight
    )
    sla_penalty_weight: Annotated[float, Field(ge=0, le=1e6, description="Times each job's price of lateness.")] = (
        Weights().sla_penalty_weight
    )
    max_power_kw: Annotated[float, Field(gt=0, le=1e6, description="Of all jobs together.")] = Weights().max_power_kw


class RunCacoPlanning(Command):
    """Plan the jobs of a cluster over the coming hours by cost, carbon and lateness, and offer what could move."""

    model_config = _with_example(
        command="run_caco_planning",
        horizon_hours=24,
        region="GB",
        cluster_id="hpc-1",
        optimization={"carbon_penalty_weight": 0.5, "sla_penalty_weight": 2.0, "max_power_kw": 12000},
    )

    command: Literal["run_caco_planning"] = "run_caco_planning"
    start: Instant | None = Field(
        None, alias="from", description="First instant of the plan; the next half-hour if not given."
    )
    horizon_hours: Annotated[float, Field(gt=0, le=LONGEST / timedelta(hours=1), multiple_of=PERIOD_H)] = 24.0
    region: Region = "GB"
    cluster_id: Name | None = Field(None, description="All clusters if not given.")
    optimization: Optimization = Optimization()


class GetLatestPlan(Command):
    """The newest plan again, with the jobs that found no place in it."""

    model_config = _with_example(command="get_latest_plan")

    command: Literal["get_latest_plan"] = "get_latest_plan"


def name_of(command: type[Command]) -> str:
    """What a command is called on the wire."""
    return command.model_fields["command"].default


def example_of(command: type[Command]) -> dict[str, Any]:
    """A whole command that is understood."""
    extra = command.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    return dict(extra["example"])
