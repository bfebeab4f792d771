"""How the parts of the service are."""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from server.clock import Clock
from server.jobs import Jobs

logger = logging.getLogger(__name__)

SPEAKS_FOR: Final = timedelta(minutes=2)  # an older look says nothing of now


class Status(StrEnum):
    """From best to worst; what is off is so on purpose."""

    OFF = "off"
    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


class Part(NamedTuple):
    """How one part is, in a word and in a sentence."""

    status: Status
    message: str


class Parts:
    """Looks at every part when told to, and remembers what it saw."""

    def __init__(self, checks: Mapping[str, Callable[[], Part]]) -> None:
        """Name the parts; a check that raises says that its part has failed."""
        self._checks = dict(checks)
        self.seen: dict[str, Part] = {name: Part(Status.DEGRADED, "not looked at yet") for name in checks}
        self.seen_at = datetime.min.replace(tzinfo=UTC)

    def look(self) -> str:
        """Look at all of them; gives a sentence."""
        self.seen = {name: _checked(check) for name, check in self._checks.items()}
        self.seen_at = datetime.now(UTC)
        return f"{len(self.seen)} parts: {self.worst()}"

    def worst(self) -> Status:
        """The state of the whole."""
        order = list(Status)
        worst = max((part.status for part in self.seen.values()), key=order.index, default=Status.OK)
        if not timedelta(0) <= datetime.now(UTC) - self.seen_at <= SPEAKS_FOR:
            worst = max(worst, Status.DEGRADED, key=order.index)
        return Status.OK if worst is Status.OFF else worst


def jobs_part(jobs: Jobs) -> Part:
    """Whether what is done regularly succeeds."""
    failing = [name for name, record in jobs.records.items() if record.error is not None]
    if failing:
        return Part(Status.DEGRADED, f"failed the last time: {', '.join(failing)}; /v1/system/jobs says why")
    return Part(Status.OK, f"{sum(record.job.work is not None for record in jobs.records.values())} jobs are planned")


def clock_part(clock: Clock) -> Part:
    """Whether the clock ran evenly."""
    if clock.jumped_s:
        return Part(Status.DEGRADED, f"the clock was set by {clock.jumped_s:+.0f} s since the start; watch its source")
    return Part(Status.OK, "it ran evenly since the start")


def _checked(check: Callable[[], Part]) -> Part:
    try:
        return check()
    except Exception as error:  # whatever is wrong with a part is what we are here to say
        logger.warning("a part of the service failed: %s", error)
        return Part(Status.FAILED, f"{type(error).__name__}: {error}".splitlines()[0])
