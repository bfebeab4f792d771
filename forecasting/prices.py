"""The next day of prices from a table of what is known, with uncertainty: data frame in, data frame out."""

from pathlib import Path
from typing import Final, Self

import numpy as np
import pandas as pd

from data.calendar import PERIOD
from data.load import checked_index
from data.schema import COLUMNS, INDEX_NAME, PERIOD_MINUTES
from forecasting import forecast
from forecasting.forecast import LEADS, QUANTILES, Forecast
from forecasting.saved import load

QUARTER_PAST: Final = PERIOD_MINUTES // 2  # by then the price of the period before is out
QUANTILE_COLUMNS: Final = tuple(f"q{round(100 * level):02d}_gbp_per_mwh" for level in QUANTILES)
# Each quantile stands for the probabilities nearest to it.
WEIGHTS: Final = np.diff([0.0, *(np.array(QUANTILES[1:]) + np.array(QUANTILES[:-1])) / 2.0, 1.0])


class Forecaster:
    """Prices and their volatility over the 48 half-hours after the last known price.

    Attributes:
        fitted: What forecasts.
    """

    def __init__(self, fitted: forecast.Forecaster) -> None:
        """Take a fitted forecaster of a price."""
        self.fitted = fitted

    @classmethod
    def from_folder(cls, folder: str | Path) -> Self:
        """Read a forecaster that `forecasting.saved.save` wrote, for example a bundle's."""
        return cls(load(Path(folder)))

    def predict_next(self, prices: pd.DataFrame) -> pd.DataFrame:
        """Expected price and its quantiles.

        Args:
            prices: Half-hourly, with columns of `data.schema`, among them the price that is forecast, and a
                `timestamp_utc` index or column; columns that are not there count as unknown.

        Returns:
            48 rows from the period after the last known price on, indexed by `timestamp_utc`: `mean_gbp_per_mwh`,
            then one column per quantile, `q05_gbp_per_mwh` to `q95_gbp_per_mwh`.

        Raises:
            ValueError: Irregular timestamps, or the price is missing throughout.
        """
        index, found = self._next(prices)
        columns = {"mean_gbp_per_mwh": found.mean[0]}
        columns |= dict(zip(QUANTILE_COLUMNS, found.quantiles[0].T, strict=True))
        return pd.DataFrame(columns, index=index, dtype=np.float64)

    def predict_volatility(self, prices: pd.DataFrame) -> pd.DataFrame:
        """How uncertain the price of each period is.

        Args:
            prices: As for `predict_next`.

        Returns:
            The same 48 rows: `volatility_gbp_per_mwh`, the standard deviation of the forecast distribution, and
            `interval_90_gbp_per_mwh`, the width of the interval that holds the price with probability 0.9.
        """
        index, found = self._next(prices)
        quantiles = found.quantiles[0].astype(np.float64)
        centre = quantiles @ WEIGHTS
        deviation = np.sqrt((quantiles - centre[:, None]) ** 2 @ WEIGHTS)
        columns = {"volatility_gbp_per_mwh": deviation, "interval_90_gbp_per_mwh": quantiles[:, -1] - quantiles[:, 0]}
        return pd.DataFrame(columns, index=index)

    def feature_importance(self) -> dict[str, float]:
        """Share of each input in what was learnt; sums to 1. Empty if the fitted forecaster learns no such thing."""
        own = getattr(self.fitted, "importance", None)
        return dict(own()) if own is not None else {}

    def _next(self, prices: pd.DataFrame) -> tuple[pd.DatetimeIndex, Forecast]:
        prices = prices.set_index(INDEX_NAME) if INDEX_NAME in prices.columns else prices
        index, column = checked_index(prices.index), self.fitted.column
        known = np.flatnonzero(prices[column].notna()) if column in prices else np.zeros(0, dtype=np.int64)
        if not known.size:
            raise ValueError(f"there is no {column} to go on; send its history, two weeks or more is best")
        row = int(known[-1]) + 1
        longer = pd.date_range(index[0], periods=max(len(index), row + LEADS), freq=PERIOD, name=INDEX_NAME)
        # Settled by position: an index that is equal in time may differ in resolution.
        columns = {c.name: np.full(len(longer), np.nan) for c in COLUMNS}
        for name in columns.keys() & set(prices.columns):
            columns[name][: len(index)] = prices[name].to_numpy(dtype=np.float64)
        table = pd.DataFrame(columns, index=longer)
        return longer[row : row + LEADS], self.fitted.predict(table, QUARTER_PAST, slice(row, row + 1))
