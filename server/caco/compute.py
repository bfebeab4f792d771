"""The compute agent: keeps the cluster's batch jobs and says how they could move."""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

import numpy as np

from data.jobs import JobSpec, arrival_order, arrival_periods, check_jobs, from_specs
from data.schema import HALF_HOUR
from server.caco.agent import Agent, Refused, Skill
from server.caco.answers import FlexibilityProfile, FlexibilityWindow, HalfHours, Ingested, PowerPoint, Sla
from server.caco.commands import MOST_JOBS, GetFlexibilityProfile, IngestJobs
from server.caco.half_hours import touched


class ComputeAgent(Agent):
    """Knows the jobs; a job, once taken in, stays as it came."""

    name: ClassVar = "compute"
    description: ClassVar = (
        "Takes in batch jobs and tells when they may run, how much power they draw, what was promised."
    )

    def __init__(self, power_limit_kw: float, jobs: Sequence[JobSpec] = ()) -> None:
        """Begin with some jobs.

        Args:
            power_limit_kw: What the cluster can give to one job.
            jobs: As `data.jobs.load_jobs` gives them.
        """
        self._power_limit_kw = power_limit_kw
        self._jobs = {job.job_id: job for job in jobs}

    @property
    def skills(self) -> tuple[Skill, ...]:
        """Every command it knows."""
        return Skill(IngestJobs, self.ingest), Skill(GetFlexibilityProfile, self.profile)

    async def ingest(self, command: IngestJobs) -> Ingested:
        """Take in all jobs of a command or none; one that is known already stays, so a repeated message does no harm.

        Raises:
            Refused: A job cannot be taken, or differs from the one that is known by its id.
        """
        try:
            check_jobs(command.jobs, self._power_limit_kw)
        except ValueError as error:
            raise Refused(str(error)) from error
        for job in command.jobs:
            if self._jobs.get(job.job_id, job) != job:
                raise Refused(f"job {job.job_id!r} is known already and differs; send a changed job under a new job_id")
        fresh = {job.job_id: job for job in command.jobs if job.job_id not in self._jobs}
        if len(self._jobs) + len(fresh) > MOST_JOBS:
            raise Refused(f"{len(self._jobs)} jobs are known and {len(fresh)} came; at most {MOST_JOBS} are kept")
        self._jobs |= fresh
        known = len(command.jobs) - len(fresh)
        return Ingested(ingested_jobs=len(fresh), known_jobs=known, tracked_jobs=len(self._jobs))

    async def profile(self, command: GetFlexibilityProfile) -> FlexibilityProfile:
        """How the jobs of a window could move: those that arrive before it ends and are due after it begins.

        Raises:
            Refused: There are jobs, but none of the cluster.
        """
        clusters = sorted({job.cluster_id for job in self._jobs.values()})
        if self._jobs and command.cluster_id not in (None, *clusters):
            raise Refused(f"no job of cluster {command.cluster_id!r} is known; known clusters are {clusters}")
        start, periods = touched(command.start, command.end)
        last = start + (periods - 1) * HALF_HOUR
        jobs = [
            job
            for job in sorted(self._jobs.values(), key=arrival_order)
            if command.cluster_id in (None, job.cluster_id) and job.arrival_time <= last and job.deadline > start
        ]
        windows, power = _flexibility(jobs, start, periods)
        return FlexibilityProfile(
            window=HalfHours(**{"from": start, "to": start + periods * HALF_HOUR}),
            cluster_id=command.cluster_id,
            jobs=jobs,
            flexibility_windows=windows,
            power=power,
            sla=_sla(jobs),
        )


def _flexibility(
    jobs: Sequence[JobSpec], start: datetime, periods: int
) -> tuple[list[FlexibilityWindow], list[PowerPoint]]:
    """Between when each job may start, and the power of each half-hour if all start early or late.

    A job that can no longer start in time may only start at once.
    """
    arrivals = from_specs(list(jobs), start, periods)
    earliest = arrival_periods(arrivals)
    latest = np.maximum(arrivals.rows["due_period"], earliest)
    duration, power_kw = arrivals.rows["duration_periods"], arrivals.rows["power_kw"]
    windows = [
        FlexibilityWindow(
            job_id=job.job_id,
            power_kw=job.power_kw,
            duration_hours=job.duration_hours,
            earliest_start=start + first * HALF_HOUR,
            latest_start=start + final * HALF_HOUR,
        )
        for job, first, final in zip(jobs, earliest.tolist(), latest.tolist(), strict=True)
    ]
    profiles = [
        _power_kw(periods, begins, duration, drawn_kw)
        for begins, drawn_kw in ((earliest, power_kw), (latest, power_kw), (earliest, power_kw * (latest > earliest)))
    ]
    points = [
        PowerPoint(timestamp=start + t * HALF_HOUR, earliest_kw=early, latest_kw=late, deferrable_kw=could_wait)
        for t, (early, late, could_wait) in enumerate(zip(*profiles, strict=True))
    ]
    return windows, points


def _power_kw(periods: int, begins: np.ndarray, duration: np.ndarray, power_kw: np.ndarray) -> list[float]:
    """Power of each half-hour if every job begins when it is said to, shape (periods,)."""
    total_kw = np.zeros(periods)
    for first, count, drawn_kw in zip(begins.tolist(), duration.tolist(), power_kw.tolist(), strict=True):
        total_kw[first : first + count] += drawn_kw
    return total_kw.tolist()


def _sla(jobs: Sequence[JobSpec]) -> Sla:
    return Sla(
        jobs=len(jobs),
        energy_kwh=sum(job.power_kw * job.duration_hours for job in jobs),
        penalty_gbp_per_hour=sum(job.sla_penalty_per_hour for job in jobs),
        highest_priority=max((job.priority for job in jobs), default=None),
        earliest_deadline=min((job.deadline for job in jobs), default=None),
    )
