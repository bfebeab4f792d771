"""Local hours and weekends of the coming periods, from what an observation tells of today."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.schema import PERIOD_H

Floats = NDArray[np.float64]
HOURS_PER_DAY: Final = 24.0


def hour_of(hour_sin: float, hour_cos: float) -> float:
    """The hour behind an angle, to the period."""
    turn = float(np.arctan2(hour_sin, hour_cos)) / (2.0 * np.pi)
    return round(turn * HOURS_PER_DAY / PERIOD_H) * PERIOD_H % HOURS_PER_DAY


def same_day(hours: Floats) -> NDArray[np.bool_]:
    """Which of the coming periods, whose local hours these are, belong to the day of the first."""
    return np.cumsum(np.append(False, np.diff(hours) < 0.0)) == 0


class CalendarAhead:
    """Follows the days of an episode.

    The weekend flag tells today's kind of day only; the day of the week is known once a weekend has been seen to begin
    or end. Until then the coming days are taken to be like today.
    """

    def __init__(self) -> None:
        self._weekday: int | None = None  # 0 is Monday
        self._last: tuple[float, bool] | None = None

    def see(self, hour: float, weekend: bool) -> None:
        """Take note of a period's local hour and kind of day; periods come in order."""
        if self._last is not None and hour < self._last[0] - 12.0:  # past midnight
            if weekend != self._last[1]:
                self._weekday = 5 if weekend else 0
            elif self._weekday is not None:
                self._weekday = (self._weekday + 1) % 7
        self._last = (hour, weekend)

    def ahead(self, horizon: int) -> tuple[Floats, NDArray[np.bool_]]:
        """Local hour and whether it is a weekend, of the next `horizon` periods, this one first."""
        assert self._last is not None, "see a period first"
        hour, weekend = self._last
        hours = hour + 0.5 * np.arange(horizon)
        days = (hours // HOURS_PER_DAY).astype(np.int64)
        later = np.full(horizon, weekend) if self._weekday is None else (self._weekday + days) % 7 >= 5
        return hours % HOURS_PER_DAY, np.where(days == 0, weekend, later)
