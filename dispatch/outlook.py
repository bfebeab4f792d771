"""What prices and carbon are expected: the series that jobs are planned over."""

from datetime import datetime
from typing import Final, Protocol

import pandas as pd

from data.calendar import PERIOD
from data.schedule import CarbonPoint, PricePoint
from data.synthetic import generate

PRICE: Final = "day_ahead_price_gbp_per_mwh"
CARBON: Final = "carbon_intensity_mix_derived_g_per_kwh"
WEEK: Final = pd.Timedelta(days=7)
OLDEST_WEEKS: Final = 5
SYNTHETIC: Final = pd.Timedelta(days=45)  # a month and the longest horizon of a plan


class Outlook(Protocol):
    """Expects prices and carbon intensity of coming half-hours."""

    def __call__(self, start: datetime, periods: int) -> tuple[list[PricePoint], list[CarbonPoint]]:
        """Both series for `periods` half-hours from `start`, a half-hour in UTC.

        Raises:
            ValueError: There is nothing to expect them from.
        """
        ...


def synthetic(start: datetime, periods: int) -> tuple[list[PricePoint], list[CarbonPoint]]:
    """The seeded synthetic market; see `Outlook`. For trying out: it knows nothing of today's grid."""
    first = pd.Timestamp(start)
    month = first.normalize().replace(day=1)  # so that within a month a half-hour is the same whoever asks
    table = generate(f"{month:%Y-%m-%d}", f"{month + SYNTHETIC:%Y-%m-%d}")
    return _points(table.loc[first : first + (periods - 1) * PERIOD, [PRICE, CARBON]])


class TableOutlook:
    """A grid table: the day-ahead price where it is published, else the newest same half-hour of the week."""

    def __init__(self, table: pd.DataFrame) -> None:
        """Keep a table as `data.load.load` gives it."""
        self._table = table[[PRICE, CARBON]]

    def __call__(self, start: datetime, periods: int) -> tuple[list[PricePoint], list[CarbonPoint]]:
        """Both series; see `Outlook`."""
        index = pd.date_range(start, periods=periods, freq=PERIOD)
        expected = self._table.reindex(index)
        for weeks in range(1, OLDEST_WEEKS + 1):
            expected = expected.fillna(self._table.reindex(index - weeks * WEEK).set_axis(index))
        if expected.isna().to_numpy().any():
            raise ValueError(
                f"the grid table ends {self._table.index[-1]:%Y-%m-%d %H:%M}, more than {OLDEST_WEEKS} weeks before "
                f"{index[-1]:%Y-%m-%d %H:%M}; renew it with python -m data.download"
            )
        return _points(expected)


def _points(table: pd.DataFrame) -> tuple[list[PricePoint], list[CarbonPoint]]:
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
