"""The built-in price forecaster: the day-ahead price plus the last known deviation, decaying.

The imbalance price scatters around the day-ahead price. Where the day-ahead price is published it is the
forecast's level, beyond that the same half-hour of the last published day is. On top comes what is left of the
newest known deviation (imbalance less day-ahead), with one factor per age of that deviation. The quantiles lie
around it as the errors on the training split did, one set per lead.
"""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numba import njit

from data.publication import known_rows
from data.schema import PERIODS_PER_DAY
from forecasting.forecast import LEADS, QUANTILES, Forecast, around, error_quantiles

FRESHEST_AGE: Final = 1  # the newest imbalance price in the middle of t is that of t-1; at its start, that of t-2
SPIKE_GBP_PER_MWH: Final = 150.0  # deviations beyond this are clipped: spikes say little about what follows


class DeviationForecaster(NamedTuple):
    """Day-ahead price plus decaying last known deviation.

    Attributes:
        factors: Share of a deviation still expected after 1, 2, 3, ... periods; none is left after the last.
        offsets_gbp_per_mwh: Distance of each quantile from the mean by lead, shape (48, 7); none: a certain forecast.
    """

    factors: tuple[float, ...]
    offsets_gbp_per_mwh: tuple[tuple[float, ...], ...] = ((0.0,) * len(QUANTILES),) * LEADS

    @property
    def column(self) -> str:
        """What is forecast."""
        return "imbalance_price_gbp_per_mwh"

    @classmethod
    def fit(cls, table: pd.DataFrame) -> "DeviationForecaster":
        """Fit one factor per age by least squares on clipped deviations, then the quantiles of what is left.

        Args:
            table: A checked grid table holding nothing but the training split.

        Returns:
            The fitted forecaster.
        """
        deviation = np.clip(
            (table["imbalance_price_gbp_per_mwh"] - table["day_ahead_price_gbp_per_mwh"]).to_numpy(dtype=np.float64),
            -SPIKE_GBP_PER_MWH,
            SPIKE_GBP_PER_MWH,
        )
        factors = []
        for age in range(FRESHEST_AGE, FRESHEST_AGE + LEADS + 1):
            past, now = deviation[:-age], deviation[age:]
            both = np.isfinite(past) & np.isfinite(now)
            power = float(past[both] @ past[both])
            factors.append(float(past[both] @ now[both]) / power if power > 0.0 else 0.0)
        mean = cls(tuple(factors)).predict(table).mean
        offsets = error_quantiles(table["imbalance_price_gbp_per_mwh"].to_numpy(dtype=np.float64), mean)
        return cls(tuple(factors), tuple(tuple(row) for row in offsets.tolist()))

    def predict(self, table: pd.DataFrame, minute: int = 0, rows: slice = slice(None)) -> Forecast:
        """Forecast the imbalance price, GBP/MWh; see `forecasting.forecast.Forecaster`."""
        index = table.index
        assert isinstance(index, pd.DatetimeIndex)
        mean = _predict(
            table["day_ahead_price_gbp_per_mwh"].to_numpy(dtype=np.float64),
            table["imbalance_price_gbp_per_mwh"].to_numpy(dtype=np.float64),
            np.arange(len(index))[rows],
            known_rows("day_ahead_price_gbp_per_mwh", index, minute, rows),
            known_rows("imbalance_price_gbp_per_mwh", index, minute, rows),
            np.array(self.factors),
        )
        return around(mean, np.array(self.offsets_gbp_per_mwh))


@njit(cache=True)
def _predict(
    day_ahead: np.ndarray,
    imbalance: np.ndarray,
    rows: np.ndarray,
    day_ahead_known: np.ndarray,
    imbalance_known: np.ndarray,
    factors: np.ndarray,
) -> np.ndarray:
    forecast = np.full((rows.size, LEADS), np.nan, dtype=np.float32)
    for i in range(rows.size):
        t = rows[i]
        newest = imbalance_known[i] - 1
        while newest >= 0 and not (
            newest < day_ahead_known[i] and np.isfinite(imbalance[newest]) and np.isfinite(day_ahead[newest])
        ):
            newest -= 1
        deviation = 0.0
        if newest >= 0:
            deviation = min(max(imbalance[newest] - day_ahead[newest], -SPIKE_GBP_PER_MWH), SPIKE_GBP_PER_MWH)
        for lead in range(LEADS):
            source = t + lead
            while source >= 0 and (source >= day_ahead_known[i] or not np.isfinite(day_ahead[source])):
                source -= PERIODS_PER_DAY
            if source >= 0:
                age = t + lead - newest - FRESHEST_AGE
                left = factors[age] * deviation if newest >= 0 and age < factors.size else 0.0
                forecast[i, lead] = day_ahead[source] + left
    return forecast
