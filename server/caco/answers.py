"""What the agents answer, as it travels."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data.jobs import JobSpec
from data.schedule import CarbonPoint, FlexOffer, Instant, PricePoint, ScheduledJob


class Answer(BaseModel):
    """Part of an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Problem(Answer):
    """One thing that is wrong with a command."""

    field: str
    message: str


class ErrorAnswer(Answer):
    """Why a command was not carried out, and what to do."""

    status: Literal["error"] = "error"
    message: str
    problems: list[Problem]


class HalfHours(Answer):
    """The half-hours that an answer covers."""

    start: Instant = Field(alias="from")
    end: Instant = Field(alias="to")


class GridHalfHours(HalfHours):
    """The half-hours of a region."""

    region: Literal["GB"] = "GB"


class Ingested(Answer):
    """What became of jobs; `tracked_jobs` counts all that are known now."""

    status: Literal["success"] = "success"
    ingested_jobs: int
    known_jobs: int
    tracked_jobs: int


class FlexibilityWindow(Answer):
    """Between when a job may start, in half-hours."""

    job_id: str
    power_kw: float
    duration_hours: float
    earliest_start: Instant
    latest_start: Instant


class PowerPoint(Answer):
    """Power of a half-hour if every job started as early or as late as it may, and the early power that could wait."""

    timestamp: Instant
    earliest_kw: float
    latest_kw: float
    deferrable_kw: float


class Sla(Answer):
    """What tenants were promised: all lateness together costs `penalty_gbp_per_hour`."""

    jobs: int
    energy_kwh: float
    penalty_gbp_per_hour: float
    highest_priority: int | None
    earliest_deadline: datetime | None


class FlexibilityProfile(Answer):
    """The jobs that arrive before a window ends and are due after it begins, and how they could move."""

    status: Literal["success"] = "success"
    window: HalfHours
    cluster_id: str | None
    jobs: list[JobSpec]
    flexibility_windows: list[FlexibilityWindow]
    power: list[PowerPoint]
    sla: Sla


class GridForecast(Answer):
    """Expected carbon intensity and prices; nothing published after `issued_at` was used."""

    status: Literal["success"] = "success"
    window: GridHalfHours
    issued_at: Instant
    carbon: list[CarbonPoint]
    prices: list[PricePoint]


class Plan(Answer):
    """When jobs run, and whose power could be bought back."""

    status: Literal["success"] = "success"
    window: GridHalfHours
    scheduled_jobs: list[ScheduledJob]
    flex_offers: list[FlexOffer]


class LatestPlan(Plan):
    """A plan with when it was made and the jobs that do not fit into it."""

    planned_at: Instant
    unplaced_jobs: list[str]
