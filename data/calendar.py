"""GB market time: local settlement dates and periods at the edge of a UTC world."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np
import pandas as pd

from data.schema import PERIOD_H

LOCAL_TIME_ZONE: Final = "Europe/London"
PERIOD: Final = pd.Timedelta(hours=PERIOD_H)
GATE_CLOSURE: Final = timedelta(hours=1)  # before a period: what is contracted for it stands
YEARS: Final = (2000, 2100)  # a clock that shows another one is broken, and near the calendar's ends sums overflow


def in_utc(instant: datetime) -> datetime:
    """An instant that came from outside, in UTC.

    Raises:
        ValueError: It has no time zone, or lies in another century.
    """
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} has no time zone; write UTC as {instant.isoformat()}Z")
    if not YEARS[0] <= instant.year < YEARS[1]:
        raise ValueError(f"{instant.isoformat()} is far away; the year must be {YEARS[0]} to {YEARS[1] - 1}")
    return instant.astimezone(UTC)


def local_midnight_utc(index: pd.DatetimeIndex, days_ahead: int = 0) -> pd.DatetimeIndex:
    """Start, in UTC, of the local day of each instant, `days_ahead` days later.

    Args:
        index: Instants, tz-aware UTC, shape (n,).
        days_ahead: 0 for the same local day, 1 for the next one.

    Returns:
        UTC instants, shape (n,); a clock-change day is 23 or 25 hours long.
    """
    day = index.tz_convert(LOCAL_TIME_ZONE).tz_localize(None).normalize() + pd.Timedelta(days=days_ahead)
    return day.tz_localize(LOCAL_TIME_ZONE).tz_convert("UTC")


def local_hour(index: pd.DatetimeIndex) -> np.ndarray:
    """Local hour of day with its fraction, 0 to 23.5, shape (n,)."""
    wall = index.tz_convert(LOCAL_TIME_ZONE).tz_localize(None)  # reading fields off a zoned index converts every time
    return wall.hour.to_numpy() + wall.minute.to_numpy() / 60.0


def settlement_period(index: pd.DatetimeIndex) -> np.ndarray:
    """Settlement period number of each half-hour, 1 to 46, 48 or 50, shape (n,).

    Counted from local midnight (BSC Section X-1), so it never equals hour x 2 after a clock change.
    """
    return ((index - local_midnight_utc(index)) // PERIOD + 1).to_numpy(dtype=np.int64)


def settlement_date(index: pd.DatetimeIndex) -> np.ndarray:
    """Local calendar date of each half-hour as datetime64[D], shape (n,)."""
    return index.tz_convert(LOCAL_TIME_ZONE).tz_localize(None).to_numpy().astype("datetime64[D]")


def period_start(dates: Iterable[date], periods: Iterable[int]) -> pd.DatetimeIndex:
    """Start, in UTC, of settlement periods: the inverse of `settlement_date` and `settlement_period`.

    Args:
        dates: Local calendar dates, shape (n,).
        periods: Period numbers from 1, shape (n,).

    Returns:
        UTC instants, shape (n,); NaT where the day has no such period (47 on the spring clock-change day).
    """
    wall = pd.DatetimeIndex(pd.to_datetime(list(dates)))
    midnight, next_midnight = (
        (wall + pd.Timedelta(days=n)).tz_localize(LOCAL_TIME_ZONE).tz_convert("UTC") for n in (0, 1)
    )
    number = np.array(list(periods), dtype=np.int64)
    start = midnight + (number - 1) * PERIOD
    return pd.DatetimeIndex(start.where((number >= 1) & (start < next_midnight)))


def local_day_starts(index: pd.DatetimeIndex) -> np.ndarray:
    """Positions at which a local day begins, ascending, shape (n_days,)."""
    return np.flatnonzero(settlement_period(index) == 1)
