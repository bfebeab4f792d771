"""The forecaster that every other has to beat: the same half-hour of the last known day or week again.

Hyndman and Athanasopoulos, Forecasting: Principles and Practice (2021), section 5.2.
"""

from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from data.publication import known_rows
from data.schema import PERIODS_PER_DAY
from forecasting.forecast import LEADS, QUANTILES, Forecast, around, error_quantiles
from forecasting.recent import published


class SeasonalNaiveForecaster(NamedTuple):
    """The newest known value of the same half-hour, whole seasons back; what is already published stands as it is.

    Attributes:
        column: Column of the table.
        season_days: 1 for the last known day, 7 for the last known week.
        offsets: Distance of each quantile from the mean by lead, shape (48, 7); none: a certain forecast.
    """

    column: str
    season_days: int = 1
    offsets: tuple[tuple[float, ...], ...] = ((0.0,) * len(QUANTILES),) * LEADS

    @classmethod
    def fit(cls, table: pd.DataFrame, column: str, season_days: int = 1) -> Self:
        """Take the quantiles of the errors that the forecast makes on a table.

        Args:
            table: A table holding nothing but what the forecaster may learn from.
            column: What to forecast.
            season_days: 1 or 7.

        Raises:
            ValueError: The season is shorter than a day.
        """
        if season_days < 1:
            raise ValueError(f"season_days is {season_days}; give 1 for the last day or 7 for the last week")
        mean = season_again(table, column, season_days=season_days)
        mean[published(column, pd.DatetimeIndex(table.index))] = np.nan  # certain: no error to learn from
        offsets = error_quantiles(table[column].to_numpy(dtype=np.float64), mean)
        return cls(column, season_days, tuple(tuple(row) for row in offsets.tolist()))

    def predict(self, table: pd.DataFrame, minute: int = 0, rows: slice = slice(None)) -> Forecast:
        """Forecast the column; see `forecasting.forecast.Forecaster`."""
        mean = season_again(table, self.column, minute, self.season_days)
        unsure = ~published(self.column, pd.DatetimeIndex(table.index), minute)
        return around(mean[rows], unsure[rows, :, None] * np.array(self.offsets))


def season_again(table: pd.DataFrame, column: str, minute: int = 0, season_days: int = 1) -> NDArray[np.float32]:
    """For every row the next 48 half-hours of a column: as published, else its newest known value whole seasons back.

    Args:
        table: n rows.
        column: A column with a publication rule.
        minute: When in the period the decision is taken.
        season_days: Days that a step back spans.

    Returns:
        Shape (n, 48); NaN where the table holds no such value.
    """
    known = known_rows(column, pd.DatetimeIndex(table.index), minute)
    return again(table[column].to_numpy(dtype=np.float64), known, season_days * PERIODS_PER_DAY)


@njit(cache=True)
def again(values: np.ndarray, known: np.ndarray, season: int) -> np.ndarray:
    """Rows [0, known[t]) of `values` are known at t: each of the next 48, else what stood whole seasons before it.

    Args:
        values: Shape (n,), gaps NaN.
        known: Shape (n,).
        season: Periods.

    Returns:
        Shape (n, 48), float32; NaN where there is no such value.
    """
    forecast = np.full((values.size, LEADS), np.nan, dtype=np.float32)
    for t in range(values.size):
        for lead in range(LEADS):
            source = t + lead
            while source >= 0 and (source >= known[t] or not np.isfinite(values[source])):
                source -= season
            if source >= 0:
                forecast[t, lead] = values[source]
    return forecast
