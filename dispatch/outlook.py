"""What prices and carbon are expected: the series that jobs are planned over."""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

import pandas as pd

from data.calendar import PERIOD
from data.load import load
from data.schedule import CarbonPoint, PricePoint
from data.synthetic import generate
from forecasting.grid_forecast import CARBON, GridForecaster

PRICE: Final = "day_ahead_price_gbp_per_mwh"
SYNTHETIC: Final = pd.Timedelta(days=45)  # a month and the longest horizon of a plan

# Both series as expected at an instant, from a half-hour in UTC on, for so many half-hours.
Outlook = Callable[[datetime, datetime, int], tuple[list[PricePoint], list[CarbonPoint]]]


def synthetic(issued_at: datetime, start: datetime, periods: int) -> tuple[list[PricePoint], list[CarbonPoint]]:
    """The seeded synthetic market, as it will be. For trying out: it knows nothing of today's grid."""
    first = pd.Timestamp(start)
    month = first.normalize().replace(day=1)  # so that within a month a half-hour is the same whoever asks
    table = generate(f"{month:%Y-%m-%d}", f"{month + SYNTHETIC:%Y-%m-%d}")
    table = table.loc[first : first + (periods - 1) * PERIOD]
    times = [at.to_pydatetime() for at in table.index]
    prices = [
        PricePoint(timestamp=at, system_buy_price_gbp_per_mwh=value, system_sell_price_gbp_per_mwh=value)
        for at, value in zip(times, table[PRICE].tolist(), strict=True)
    ]
    carbon = [
        CarbonPoint(timestamp=at, carbon_intensity_g_per_kwh=value)
        for at, value in zip(times, table[CARBON].tolist(), strict=True)
    ]
    return prices, carbon


def of_table(folder: Path) -> Outlook:
    """What the grid agent forecasts from the grid table in a folder.

    The table is read anew for every half-hour, because somebody keeps it up to date.

    Raises:
        FileNotFoundError: The folder holds no table.
        ValueError: The table breaks the schema.
    """
    load(folder)

    @lru_cache(maxsize=1)
    def outlook(issued_at: datetime, start: datetime, periods: int) -> tuple[list[PricePoint], list[CarbonPoint]]:
        return GridForecaster(load(folder)).forecast(issued_at, start, periods)

    return outlook
