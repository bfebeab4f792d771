"""GB market time: local settlement dates and periods at the edge of a UTC world."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import cache
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


def wall_time(index: pd.DatetimeIndex, rows: slice = slice(None)) -> np.ndarray:
    """What a local clock on the wall shows at each instant, from 1970 to 2199.

    What pandas' conversion gives, which takes long where one row is asked for, as it is live.

    Args:
        index: Instants, tz-aware, shape (n,).
        rows: Which of them, all by default.

    Returns:
        datetime64[s], shape (rows,).
    """
    utc = index.asi8[rows].view(f"datetime64[{index.unit}]").astype("datetime64[s]")
    changes, ahead = _clock_changes()
    wall: np.ndarray = utc + ahead[changes.searchsorted(utc, side="right") - 1]
    return wall


@cache
def _clock_changes() -> tuple[np.ndarray, np.ndarray]:
    """Instants from which the local clock is ahead of UTC by so much, both of shape (changes,) and in seconds."""

    def ahead(utc: np.ndarray) -> np.ndarray:
        wall = pd.DatetimeIndex(utc, tz="UTC").tz_convert(LOCAL_TIME_ZONE).tz_localize(None)
        by: np.ndarray = wall.to_numpy(dtype="datetime64[s]") - utc
        return by

    days = np.arange("1970", "2200", dtype="datetime64[D]").astype("datetime64[s]")
    changed = days[:-1][np.diff(ahead(days)) != np.timedelta64(0)]
    hours = (changed[:, None] + np.arange(25) * np.timedelta64(3600, "s")).ravel()  # clocks change on the hour of UTC
    later = 1 + np.flatnonzero(np.diff(ahead(hours)) != np.timedelta64(0))
    starts = np.unique(np.concatenate([days[:1], hours[later]]))
    return starts, ahead(starts)


def local_hour(index: pd.DatetimeIndex) -> np.ndarray:
    """Local hour of day with its fraction, 0 to 23.5, shape (n,)."""
    return hour_of_day(wall_time(index))


def hour_of_day(wall: np.ndarray) -> np.ndarray:
    """Hour of day of what `wall_time` gives, with its fraction, shape (n,)."""
    minutes = wall.astype("datetime64[m]").astype(np.int64) % (24 * 60)
    return minutes // 60 + minutes % 60 / 60.0


def settlement_period(index: pd.DatetimeIndex) -> np.ndarray:
    """Settlement period number of each half-hour, 1 to 46, 48 or 50, shape (n,).

    Counted from local midnight (BSC Section X-1), so it never equals hour x 2 after a clock change.
    """
    return ((index - local_midnight_utc(index)) // PERIOD + 1).to_numpy(dtype=np.int64)


def settlement_date(index: pd.DatetimeIndex) -> np.ndarray:
    """Local calendar date of each half-hour as datetime64[D], shape (n,)."""
    return wall_time(index).astype("datetime64[D]")


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
