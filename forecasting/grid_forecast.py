"""Forecasts of prices and carbon intensity for coming half-hours, as they travel: what jobs are planned over."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.calendar import PERIOD
from data.publication import hide_unpublished
from data.schedule import CarbonPoint, PricePoint
from data.schema import INDEX_NAME, PERIODS_PER_DAY
from forecasting.deviation import DeviationForecaster
from forecasting.forecast import LEADS, Forecaster
from forecasting.persistence import PersistenceForecaster

HISTORY: Final = 180 * PERIODS_PER_DAY  # rows that forecasters are fitted on
LEAST_HISTORY: Final = 7 * PERIODS_PER_DAY
MOST_STALE: Final = 2 * PERIODS_PER_DAY  # rows that may be missing between a table's end and now
MOST_AHEAD: Final = timedelta(days=14)
CARBON: Final = "carbon_intensity_mix_derived_g_per_kwh"

Fit = Callable[[pd.DataFrame], Forecaster]
CARBON_FIT: Final[Fit] = partial(PersistenceForecaster.fit, column=CARBON)


class GridForecaster:
    """Forecasts from what a grid table holds and what of it was published by then; fitted anew for every forecast."""

    def __init__(
        self,
        table: pd.DataFrame,
        price: Fit = DeviationForecaster.fit,
        carbon: Fit = CARBON_FIT,
    ) -> None:
        """Keep a table.

        Args:
            table: A checked grid table.
            price: Fits the forecaster of the imbalance price.
            carbon: Fits the forecaster of the carbon intensity.
        """
        self._table, self._price, self._carbon = table, price, carbon

    def forecast(
        self, issued_at: datetime, start: datetime, periods: int
    ) -> tuple[list[PricePoint], list[CarbonPoint]]:
        """Forecast the system prices and the carbon intensity of half-hours.

        Buy and sell price are one, as they have been in settlement since 2015 (BSC modification P305). Where the
        forecasters' 48 half-hours end, their last day comes again.

        Args:
            issued_at: When the forecast is made, a half-hour in UTC; nothing published later is used.
            start: First half-hour that is wanted, UTC, not before `issued_at`.
            periods: How many are wanted.

        Raises:
            ValueError: The table does not reach back or on far enough, or more than 14 days ahead are wanted.
        """
        first_lead = int((start - issued_at) / PERIOD)
        if first_lead < 0 or start + periods * PERIOD - issued_at > MOST_AHEAD:
            raise ValueError(
                f"{periods} half-hours from {start} cannot be forecast at {issued_at}; ask for the next "
                f"{MOST_AHEAD.days} days"
            )
        shown = self._shown(pd.Timestamp(issued_at))
        lead = np.arange(first_lead, first_lead + periods)
        lead = np.where(lead < LEADS, lead, lead % PERIODS_PER_DAY)
        price, carbon = (_mean(fit, shown)[lead].tolist() for fit in (self._price, self._carbon))
        times = [start + k * PERIOD.to_pytimedelta() for k in range(periods)]
        return (
            [
                PricePoint(timestamp=at, system_buy_price_gbp_per_mwh=value, system_sell_price_gbp_per_mwh=value)
                for at, value in zip(times, price, strict=True)
            ],
            [
                CarbonPoint(timestamp=at, carbon_intensity_g_per_kwh=max(value, 0.0))
                for at, value in zip(times, carbon, strict=True)
            ],
        )

    def _shown(self, at: pd.Timestamp) -> pd.DataFrame:
        """The history before a half-hour and the day from it on, with what is published when it begins."""
        index = pd.DatetimeIndex(self._table.index)
        covered = f"the grid table covers {index[0]:%Y-%m-%d %H:%M} to {index[-1]:%Y-%m-%d %H:%M} UTC"
        before = (at - index[0]) // PERIOD
        if before < LEAST_HISTORY:
            raise ValueError(
                f"{covered}; a forecast at {at:%Y-%m-%d %H:%M} needs {LEAST_HISTORY // PERIODS_PER_DAY} days before it"
            )
        if before > len(index) + MOST_STALE:
            raise ValueError(
                f"{covered}; that is too old for a forecast at {at:%Y-%m-%d %H:%M}: renew the table with "
                "python -m data.download"
            )
        kept = min(before, HISTORY)
        span = pd.date_range(at - kept * PERIOD, periods=kept + LEADS, freq=PERIOD, name=INDEX_NAME)
        return hide_unpublished(self._table.reindex(span), kept)


def _mean(fit: Fit, shown: pd.DataFrame) -> NDArray[np.float64]:
    """What is expected in the last 48 rows, shape (48,), by a forecaster fitted on the rows before them."""
    row = len(shown) - LEADS
    mean = fit(shown.iloc[:row]).predict(shown, rows=slice(row, row + 1)).mean[0].astype(np.float64)
    filled = pd.Series(mean).ffill().bfill().to_numpy()
    if np.isnan(filled).any():
        raise ValueError(f"nothing to forecast from was published before {shown.index[row]}; supply the grid series")
    return filled
