"""The built-in forecaster of slow signals: yesterday again, moved by how today differs so far.

For carbon intensity and weather, the value of the same half-hour a day before is hard to beat without a weather
model; the newest known difference to it is added and fades with the lead.
"""

from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numba import njit

from data.publication import known_rows
from data.schema import PERIOD_H, PERIODS_PER_DAY
from forecasting.forecast import LEADS, QUANTILES, Forecast, around, error_quantiles
from forecasting.recent import published


class PersistenceForecaster(NamedTuple):
    """Same half-hour of the last known day plus a fading difference.

    Attributes:
        column: Column of the grid table.
        fading_h: Time after which 1/e of the newest difference is left.
        offsets: Distance of each quantile from the mean by lead, shape (48, 7); none: a certain forecast.
    """

    column: str
    fading_h: float = 12.0
    offsets: tuple[tuple[float, ...], ...] = ((0.0,) * len(QUANTILES),) * LEADS

    @classmethod
    def fit(cls, table: pd.DataFrame, column: str) -> Self:
        """Take the quantiles of the errors that the forecast makes on a table.

        Args:
            table: A checked grid table holding nothing but the training split.
            column: What to forecast.
        """
        mean = cls(column).predict(table).mean
        mean[published(column, pd.DatetimeIndex(table.index))] = np.nan  # certain: no error to learn from
        offsets = error_quantiles(table[column].to_numpy(dtype=np.float64), mean)
        return cls(column, offsets=tuple(tuple(row) for row in offsets.tolist()))

    def predict(self, table: pd.DataFrame, minute: int = 0, rows: slice = slice(None)) -> Forecast:
        """Forecast the column; see `forecasting.forecast.Forecaster`."""
        values = table[self.column].ffill().to_numpy(dtype=np.float64)
        index = pd.DatetimeIndex(table.index)
        mean = _predict(values, known_rows(self.column, index, minute), float(np.exp(-PERIOD_H / self.fading_h)))
        unsure = ~published(self.column, index, minute)
        return around(mean[rows], unsure[rows, :, None] * np.array(self.offsets))


@njit(cache=True)
def _predict(values: np.ndarray, known: np.ndarray, fading: float) -> np.ndarray:
    forecast = np.full((values.size, LEADS), np.nan, dtype=np.float32)
    for t in range(values.size):
        newest = known[t] - 1
        if newest < 0 or not np.isfinite(values[newest]):
            continue
        difference = 0.0
        if newest >= PERIODS_PER_DAY and np.isfinite(values[newest - PERIODS_PER_DAY]):
            difference = values[newest] - values[newest - PERIODS_PER_DAY]
        for lead in range(LEADS):
            if t + lead <= newest:  # already published
                forecast[t, lead] = values[t + lead]
                continue
            source = t + lead
            while source > newest:
                source -= PERIODS_PER_DAY
            if source >= 0 and np.isfinite(values[source]):
                forecast[t, lead] = values[source] + difference * fading ** (t + lead - newest)
            else:
                forecast[t, lead] = values[newest]
    return forecast
