"""The built-in forecaster of slow signals: yesterday again, moved by how today differs so far.

For carbon intensity and weather, the value of the same half-hour a day before is hard to beat without a weather
model; the newest known difference to it is added and fades with the lead.
"""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numba import njit

from data.publication import known_rows
from data.schema import PERIOD_H, PERIODS_PER_DAY

LEADS: Final = 48


class PersistenceForecaster(NamedTuple):
    """Same half-hour of the last known day plus a fading difference.

    Attributes:
        column: Column of the grid table.
        fading_h: Time after which 1/e of the newest difference is left.
    """

    column: str
    fading_h: float = 12.0

    def predict(self, table: pd.DataFrame) -> np.ndarray:
        """Forecast the next 48 periods at the start of every period.

        Args:
            table: A checked grid table, n rows; values published later than a row are not used for that row.

        Returns:
            Shape (n, 48), float32, in the column's unit: [t, k] is made at the start of t for t + k. NaN where
            nothing has been published yet.
        """
        values = table[self.column].ffill().to_numpy(dtype=np.float64)
        known = known_rows(self.column, pd.DatetimeIndex(table.index))
        return _predict(values, known, float(np.exp(-PERIOD_H / self.fading_h)))


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
            source = t + lead
            while source > newest:
                source -= PERIODS_PER_DAY
            if source >= 0 and np.isfinite(values[source]):
                forecast[t, lead] = values[source] + difference * fading ** (t + lead - newest)
            else:
                forecast[t, lead] = values[newest]
    return forecast
