"""What a sequence model reads: the last two days and the next one of every column, unknown values masked.

Prices of 2020 and of 2022 differ fivefold, so the target and every column in its unit are read relative to the
target's own last day (level) and last week (scale); the other columns are standardised by what they were in the table
that the model is fitted on. A value that is not published at the decision of a row is 0, and so says its mask.
"""

from typing import Final, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.calendar import LOCAL_TIME_ZONE, PERIOD
from data.publication import RULES, DayAhead, carried_forward, known_rows
from data.schema import PERIOD_H, PERIODS_PER_DAY
from forecasting.forecast import LEADS
from forecasting.recent import ANCHORS, OUTLIERS, at_rows, week_mean
from forecasting.seasonal_naive import season_again

FloatArray = NDArray[np.float32]
PAST: Final = 2 * PERIODS_PER_DAY
CALENDAR_CHANNELS: Final = 7
FADING_H: Final = (2.0, 12.0)  # the newest difference to the anchor is shown fading in both ways
FAR: Final = 8.0  # inputs beyond so many scales are clipped
SMALLEST_SCALE: Final = 0.01  # quantile of the fitted table's scales; a calmer week counts as that calm


class Standard(NamedTuple):
    """How columns are scaled; fitted once.

    Attributes:
        target: The column that is forecast.
        columns: Every column that is read, the target first.
        relative: Whether a column is in the target's unit and so read relative to its level and scale.
        low: Lower outlier bound of each column.
        high: Upper outlier bound.
        mean: Mean of each column within the bounds.
        deviation: Standard deviation of each column within the bounds.
        smallest_scale: Lowest scale of the target.
    """

    target: str
    columns: tuple[str, ...]
    relative: tuple[bool, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    smallest_scale: float

    @classmethod
    def fit(cls, table: pd.DataFrame, target: str) -> Self:
        """Measure every column that has a publication rule and a value in a table."""
        columns = (target, *(c for c in table.columns if c != target and c in RULES and table[c].notna().any()))
        values = table[list(columns)].to_numpy(dtype=np.float64)
        low, high = np.nanquantile(values, (OUTLIERS, 1.0 - OUTLIERS), axis=0)
        clipped = np.clip(values, low, high)
        deviation = np.nanstd(clipped, axis=0)
        scale = week_mean(np.abs(_against_anchor(table, target)))
        return cls(
            target,
            columns,
            tuple(_unit(c) == _unit(target) for c in columns),
            tuple(low.tolist()),
            tuple(high.tolist()),
            tuple(np.nanmean(clipped, axis=0).tolist()),
            tuple(np.where(deviation > 0.0, deviation, 1.0).tolist()),
            max(float(np.nanquantile(scale, SMALLEST_SCALE)), 1e-6),
        )

    @property
    def published_ahead(self) -> list[int]:
        """Places of the columns whose coming values are published before their time."""
        return [i for i, c in enumerate(self.columns) if isinstance(RULES[c], DayAhead)]

    @property
    def past_channels(self) -> int:
        """Inputs per past half-hour: every column and the target's mask."""
        return len(self.columns) + 1

    @property
    def future_channels(self) -> int:
        """Inputs per coming half-hour: anchor, newest difference to it, lead, calendar, what is published and masks."""
        return 2 + len(FADING_H) + CALENDAR_CHANNELS + 2 * len(self.published_ahead)


class Sequences:
    """A table as inputs, cut into batches of rows on demand.

    Attributes:
        standard: How columns are scaled.
        anchor: What forecasts are relative to, shape (n, 48); NaN where nothing is known.
        scale: Unit of forecasts by row, shape (n,); NaN where nothing is known.
    """

    def __init__(self, standard: Standard, table: pd.DataFrame, minute: int = 0) -> None:
        """Lay out a table of n rows for decisions `minute` minutes into every period."""
        index = pd.DatetimeIndex(table.index)
        self.standard = standard
        missing = [c for c in standard.columns if c not in table]
        if missing:
            raise ValueError(f"the table lacks {missing}, which the forecaster of {standard.target} was fitted on")
        by_rule = {rule: known_rows(c, index, minute) for rule, c in {RULES[c]: c for c in standard.columns}.items()}
        self._known = np.stack([by_rule[RULES[c]] for c in standard.columns], axis=1)  # (n, columns)
        self._values = np.clip(table[list(standard.columns)].to_numpy(dtype=np.float64), standard.low, standard.high)
        self._calendar = _calendar(index)
        newest = self._known[:, 0] - 1
        deviation = _against_anchor(table, standard.target)
        target = pd.Series(self._values[:, 0])
        self._level = at_rows(target.rolling(PERIODS_PER_DAY, min_periods=1).mean().ffill().to_numpy(), newest)
        self.scale = np.maximum(at_rows(week_mean(np.abs(deviation)), newest), standard.smallest_scale)
        self._difference = at_rows(carried_forward(deviation), newest)
        self.anchor = season_again(table, ANCHORS.get(standard.target, standard.target), minute)

    def inputs(self, rows: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
        """Past (rows, 96, past channels) and future (rows, 48, future channels) of some rows; finite."""
        level, scale = self._level[rows, None, None], self.scale[rows, None, None]
        past, past_known = self._window(
            rows, np.arange(-PAST, 0), list(range(len(self.standard.columns))), level, scale
        )
        ahead = self.standard.published_ahead
        future, future_known = self._window(rows, np.arange(LEADS), ahead, level, scale)
        anchor = (self.anchor[rows, :, None] - level) / scale
        lead = np.broadcast_to((np.arange(LEADS) / LEADS)[:, None], anchor.shape)
        difference = np.clip(self._difference[rows, None, None] / scale, -FAR, FAR)
        left = difference * np.exp(-np.arange(LEADS) * PERIOD_H / np.array(FADING_H)[:, None]).T
        calendar = self._calendar[rows[:, None] + np.arange(LEADS)]
        coming = np.concatenate([np.clip(anchor, -FAR, FAR), left, lead, calendar, future, future_known], axis=2)
        return (
            np.nan_to_num(np.concatenate([past, past_known[:, :, :1]], axis=2)).astype(np.float32),
            np.nan_to_num(coming).astype(np.float32),
        )

    def _window(
        self,
        rows: NDArray[np.int64],
        shifts: NDArray[np.int64],
        columns: list[int],
        level: NDArray[np.float64],
        scale: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Scaled values of columns around rows, 0 where unknown, and where they are known: (rows, shifts, columns)."""
        standard, at = self.standard, rows[:, None] + shifts
        inside = np.clip(at, 0, len(self._values) - 1)
        values = self._values[inside][:, :, columns]
        known = (at >= 0)[:, :, None] & (at[:, :, None] < self._known[rows][:, None, columns]) & np.isfinite(values)
        fixed = (values - np.array(standard.mean)[columns]) / np.array(standard.deviation)[columns]
        scaled = np.where(np.array(standard.relative)[columns], (values - level) / scale, fixed)
        return np.where(known, np.clip(scaled, -FAR, FAR), 0.0), known


def _calendar(index: pd.DatetimeIndex) -> NDArray[np.float64]:
    """Hour, day of week and season as angles, and the weekend, local time: (n + 48, 7)."""
    longer = pd.date_range(index[0], periods=len(index) + LEADS, freq=PERIOD)
    wall = longer.tz_convert(LOCAL_TIME_ZONE).tz_localize(None)
    hour = (wall.hour.to_numpy() + wall.minute.to_numpy() / 60.0) / 24.0
    turns = (hour, (wall.day_of_week.to_numpy() + hour) / 7.0, wall.day_of_year.to_numpy() / 365.25)
    angles = [wave(2.0 * np.pi * turn) for turn in turns for wave in (np.sin, np.cos)]
    return np.column_stack([*angles, wall.day_of_week.to_numpy() >= 5])


def _against_anchor(table: pd.DataFrame, target: str) -> NDArray[np.float64]:
    """The target less its anchor's value of the same half-hour, or less its own value a day before, shape (n,)."""
    values = table[target]
    against = table[ANCHORS[target]] if target in ANCHORS else values.shift(PERIODS_PER_DAY)
    return (values - against).to_numpy(dtype=np.float64)


def _unit(column: str) -> str:
    """What a column's name ends in: two columns of one unit share it."""
    for unit in ("_gbp_per_mwh", "_g_per_kwh", "_mwh", "_kwh", "_mw", "_kw", "_pct", "_c"):
        if column.endswith(unit):
            return unit
    return column
