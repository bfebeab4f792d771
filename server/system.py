"""What an operator asks the service about itself."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from pydantic import Field

from server.health import Parts, Status
from server.jobs import Busy, Jobs, Record
from server.schemas import Problem, Refusal, Wire
from server.section import Section


class PartHealth(Wire):
    """How a part is."""

    status: Status
    message: str = Field(description="Why, and what to do.")


class SystemHealth(Wire):
    """How the service is."""

    status: Status = Field(description="The worst of its parts.")
    checked_at: datetime | None = Field(description="When the parts were looked at, UTC; null before the first time.")
    parts: dict[str, PartHealth]


class JobState(Wire):
    """A job and how it has fared."""

    name: str
    about: str
    configured: bool
    missing: str = Field(description="What has to be configured for it to run.")
    every_s: float
    running: bool
    next_run_at: datetime | None
    runs: int
    failures: int
    skipped: int = Field(description="Runs left out because the one before was still at work.")
    started_at: datetime | None = Field(description="Of the last run, UTC.")
    took_s: float | None
    result: str | None = Field(description="What the last good run did.")
    error: str | None = Field(description="What went wrong in the last run, null if nothing did.")


class Started(Wire):
    """A job was told to run."""

    name: str


def system_section(parts: Parts, jobs: Jobs) -> Section:
    """`/v1/system/...`, with the jobs running beside it."""
    router = APIRouter(prefix="/v1/system", tags=["system"])

    @router.get("/health")
    async def health() -> SystemHealth:
        """How each part of the service is: status, reason, what to do."""
        seen = {name: PartHealth(**part._asdict()) for name, part in parts.seen.items()}
        at = parts.seen_at if parts.seen_at.year > 1 else None
        return SystemHealth(status=parts.worst(), checked_at=at, parts=seen)

    @router.get("/jobs")
    async def list_jobs() -> list[JobState]:
        """Every job, also those that are not configured, and how the last run went."""
        return [_state(record, jobs) for record in jobs.records.values()]

    @router.post(
        "/jobs/{name}/run",
        status_code=202,
        responses={
            404: {"model": Refusal, "description": "No such job."},
            409: {"model": Refusal, "description": "It is at work, or not configured."},
        },
    )
    async def run_job(name: Annotated[str, Path(max_length=64, examples=["health"])]) -> Started:
        """Have a job done now instead of when it is due."""
        if name not in jobs.records:
            text = f"no job is called {name[:64]!a}; there are {', '.join(jobs.records)}"
            raise HTTPException(404, [Problem(field="name", message=text).model_dump()])
        try:
            jobs.run_now(name)
        except (Busy, ValueError) as error:
            raise HTTPException(409, [Problem(field="name", message=str(error)).model_dump()]) from error
        return Started(name=name)

    return Section(router, jobs.running)


def _state(record: Record, jobs: Jobs) -> JobState:
    return JobState(
        name=record.job.name,
        about=record.job.about,
        configured=record.job.work is not None,
        missing=record.job.missing,
        every_s=record.job.every.total_seconds(),
        running=record.running,
        next_run_at=jobs.next_run_at(record.job.name),
        runs=record.runs,
        failures=record.failures,
        skipped=record.skipped,
        started_at=record.started_at,
        took_s=record.took_s,
        result=record.result,
        error=record.error,
    )
