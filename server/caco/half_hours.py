"""The half-hours around any instant, UTC; settlement periods begin at them on every day of the year."""

from datetime import UTC, datetime
from typing import Final

from data.schema import HALF_HOUR

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def begun(instant: datetime) -> datetime:
    """The half-hour that an instant lies in."""
    return EPOCH + (instant - EPOCH) // HALF_HOUR * HALF_HOUR


def coming(instant: datetime) -> datetime:
    """The first half-hour that begins at an instant or after it."""
    return EPOCH - (EPOCH - instant) // HALF_HOUR * HALF_HOUR


def touched(start: datetime, end: datetime) -> tuple[datetime, int]:
    """The first of the half-hours that a span touches, and how many they are."""
    first = begun(start)
    return first, (coming(end) - first) // HALF_HOUR
