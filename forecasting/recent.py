"""What the forecasters share in looking back: the newest known value, the last week, what a column scatters around."""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.publication import known_rows
from data.schema import PERIODS_PER_DAY
from forecasting.forecast import LEADS

WEEK: Final = 7 * PERIODS_PER_DAY
OUTLIERS: Final = 0.002  # share of a column's values at each end that are moved to the nearest value within
# The imbalance price scatters around the day-ahead price, which is published before it.
ANCHORS: Final = {"imbalance_price_gbp_per_mwh": "day_ahead_price_gbp_per_mwh"}


def week_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the values among the last 336, through longer gaps the newest such mean, shape (n,)."""
    return pd.Series(values).rolling(WEEK, min_periods=1).mean().ffill().to_numpy()


def at_rows(values: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values at rows, NaN at a row before the first."""
    return np.where(rows >= 0, values[np.maximum(rows, 0)], np.nan)


def published(column: str, index: pd.DatetimeIndex, minute: int = 0) -> NDArray[np.bool_]:
    """Which of the next 48 values of a column are out when each row is decided, so that none is left to forecast.

    Returns:
        Shape (n, 48).
    """
    rows = np.arange(len(index))[:, None] + np.arange(LEADS)
    return np.asarray(rows < known_rows(column, index, minute)[:, None])
