"""What the service does by itself from time to time."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from server.clock import Clock

logger = logging.getLogger(__name__)

AT_ONCE: Final = 4
LOOK_S: Final = 1.0  # how often the clock is looked at


class Job(NamedTuple):
    """Something to do again and again.

    Attributes:
        name: In lower case with underscores.
        about: What it does.
        every: How often.
        work: Does it, in a thread of its own, and says in a few words what was done; None where it cannot be done.
        missing: What has to be configured first, if it cannot be done.
    """

    name: str
    about: str
    every: timedelta
    work: Callable[[], str] | None
    missing: str = ""


@dataclass
class Record:
    """How a job has fared."""

    job: Job
    runs: int = 0
    failures: int = 0
    skipped: int = 0
    started_at: datetime | None = None
    took_s: float | None = None
    result: str | None = None
    error: str | None = None
    busy: threading.Lock = field(default_factory=threading.Lock)

    @property
    def running(self) -> bool:
        """Whether it is at work now."""
        return self.busy.locked()


class Busy(Exception):
    """A job is at work already."""


class Jobs:
    """Runs jobs; a run that is due while the last one still works is left out, many that were missed become one."""

    def __init__(self, jobs: Sequence[Job], clock: Clock) -> None:
        """Plan them; they start with `running`."""
        self.records = {job.name: Record(job) for job in jobs}
        self._clock = clock
        self._scheduler = self._planned()

    def _planned(self) -> BackgroundScheduler:
        """Everything planned to begin at the start; a scheduler that was stopped can plan no more."""
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(AT_ONCE)},
            job_defaults={
                "coalesce": True,
                "max_instances": 1,
                "misfire_grace_time": None,
            },  # late is better than never
        )
        scheduler.add_listener(self._note_skipped, EVENT_JOB_MAX_INSTANCES)
        for name, record in self.records.items():
            if record.job.work is not None:
                every_s, now = record.job.every.total_seconds(), datetime.now(UTC)
                scheduler.add_job(self._run, "interval", seconds=every_s, args=(name,), id=name, next_run_time=now)
        return scheduler

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work until the context ends; then what is at work comes to its end."""
        self._scheduler.start()
        watch = asyncio.create_task(self._watch_clock())
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            await asyncio.to_thread(self._scheduler.shutdown)
            self._scheduler = self._planned()

    def next_run_at(self, name: str) -> datetime | None:
        """When a job is due, None where it is not planned."""
        planned = self._scheduler.get_job(name)
        return None if planned is None else planned.next_run_time

    def run_now(self, name: str) -> None:
        """Have a job done at once.

        Raises:
            KeyError: There is no such job.
            ValueError: It is not configured.
            Busy: It is at work.
        """
        record = self.records[name]
        if record.job.work is None:
            raise ValueError(f"{name} cannot be done: {record.job.missing}")
        if record.running:
            raise Busy(f"{name} is at work since {record.started_at:%H:%M:%S} UTC; ask again when it has ended")
        self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))

    def replan(self) -> None:
        """Make everything due now: after the clock was set back, a plan by the old time would wait for long."""
        for name, record in self.records.items():
            with suppress(JobLookupError):
                if record.job.work is not None:
                    self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))

    async def _watch_clock(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            jump_s = self._clock.jump()
            if jump_s:
                logger.warning("the clock was set by %+.1f s; every job runs now", jump_s)
                self.replan()

    def _run(self, name: str) -> None:
        record = self.records[name]
        if not record.busy.acquire(blocking=False):
            record.skipped += 1
            return
        started = time.monotonic()
        record.started_at = datetime.now(UTC)
        try:
            assert record.job.work is not None
            record.result, record.error = record.job.work(), None
        except Exception as error:  # the next run may do better, and the others must not suffer
            logger.exception("job %s failed", name)
            record.failures += 1
            record.error = f"{type(error).__name__}: {error}".splitlines()[0]
        finally:
            record.runs += 1
            record.took_s = time.monotonic() - started
            record.busy.release()

    def _note_skipped(self, event: JobSubmissionEvent) -> None:
        self.records[event.job_id].skipped += 1
