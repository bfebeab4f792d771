"""Other markets in the shape of the grid table, to see how a policy does where it was not trained.

What the files hold (hourly, hour start, UTC): a day-ahead price, and but for the Netherlands carbon intensity and the
weather at the region's data centre. What they do not hold, and what stands there instead:

* No intraday, imbalance or real-time price: energy is settled at the day-ahead price. Nothing is uncertain within a
  published day, so such a market asks whether a policy trades another price shape, not whether it forecasts.
* No volumes and no demand or generation: a constant, the mean of the GB table, which tells nobody anything.
* Dutch weather and carbon: the same. An environment that needs a column which never changes cannot be played there.

Half-hours take the value of their hour. Time is moved by whole hours so that the market's midnight is London's and a
day's prices come out together, at the hour that `data.publication` has for GB; the real auctions publish up to two
and a half hours later. In the weeks when the two clocks change on different dates, days begin an hour off.
Money is turned to GBP at one fixed, round rate, which scales values and leaves shares of foresight nearly as they are.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import pandas as pd

from data.calendar import PERIOD
from data.load import checked
from data.psychrometrics import wet_bulb_c
from data.schema import COLUMNS

GBP_PER_EUR: Final = 0.86  # the European Central Bank's yearly means of 2021 to 2023 are 0.85 to 0.87
GBP_PER_USD: Final = 0.79  # the Bank of England's yearly means of 2021 to 2023 are 0.73 to 0.81


class Market(NamedTuple):
    """A file of another market.

    Attributes:
        file: Its name.
        price: Column of the day-ahead price.
        gbp: GBP per unit of its money.
        hours_to_london: Added to its timestamps, so that its local midnight falls on London's.
    """

    file: str
    price: str
    gbp: float
    hours_to_london: int


MARKETS: Final[dict[str, Market]] = {
    "de_lu": Market("de_lu_hourly.parquet", "day_ahead_price_eur_per_mwh", GBP_PER_EUR, 1),
    "nl": Market("nl_day_ahead_hourly_2015_2024.parquet", "day_ahead_price_eur_per_mwh", GBP_PER_EUR, 1),
    "us_cal": Market("us_cal_ciso_hourly.parquet", "day_ahead_price_usd_per_mwh", GBP_PER_USD, -8),
    "us_tex": Market("us_tex_erco_hourly.parquet", "day_ahead_price_usd_per_mwh", GBP_PER_USD, -6),
}
# Stands in for what a file does not hold: about the mean of the GB table of 2020 to mid-2024.
CONSTANTS: Final[dict[str, float]] = {
    "net_imbalance_volume_mwh": 0.0,
    "carbon_intensity_mix_derived_g_per_kwh": 170.0,
    "demand_mw": 27_000.0,
    "wind_mw": 6_660.0,
    "embedded_wind_mw": 1_870.0,
    "embedded_solar_mw": 1_470.0,
    "demand_forecast_da_mw": 27_000.0,
    "wind_forecast_da_mw": 6_660.0,
    "embedded_wind_forecast_da_mw": 1_870.0,
    "embedded_solar_forecast_da_mw": 1_470.0,
    "temperature_c": 11.3,
    "relative_humidity_pct": 78.0,
    "wet_bulb_c": 8.9,
}


def load(path: str | Path, market: str, start: str = "2021-01-01") -> pd.DataFrame:
    """Another market as a grid table.

    Args:
        path: Folder with the markets' files.
        market: A name in `MARKETS`.
        start: First day to keep.

    Returns:
        The checked table; see `data.load.checked`.

    Raises:
        FileNotFoundError: The folder does not hold the market's file.
        ValueError: The market is unknown, or a value is not plausible.
    """
    if market not in MARKETS:
        raise ValueError(f"unknown market {market!r}; allowed are {sorted(MARKETS)}")
    file = Path(path) / MARKETS[market].file
    if not file.is_file():
        raise FileNotFoundError(f"no {file.name} in {str(path)!r}; set robustness.ood to the folder that holds it")
    return grid_table(pd.read_parquet(file), MARKETS[market], start)


def grid_table(hourly: pd.DataFrame, market: Market, start: str) -> pd.DataFrame:
    """Turn a market's hourly table into a grid table; see the module."""
    hours = hourly.set_axis(pd.DatetimeIndex(hourly.index) + pd.Timedelta(hours=market.hours_to_london))
    hours = hours[hours.index >= pd.Timestamp(start, tz="UTC")]
    index = pd.date_range(hours.index[0], hours.index[-1] + PERIOD, freq=PERIOD, name="timestamp_utc")
    halves = hours.reindex(index.floor("h")).set_axis(index)
    price = halves[market.price] * market.gbp
    columns: dict[str, Any] = {c.name: CONSTANTS.get(c.name, price) for c in COLUMNS}
    if "carbon_intensity_direct_g_per_kwh" in halves:
        columns["carbon_intensity_mix_derived_g_per_kwh"] = halves["carbon_intensity_direct_g_per_kwh"]
    if "temperature_c" in halves:
        columns["temperature_c"] = halves["temperature_c"]
        columns["relative_humidity_pct"] = halves["relative_humidity_pct"]
        columns["wet_bulb_c"] = wet_bulb_c(halves["temperature_c"], halves["relative_humidity_pct"])
    return checked(pd.DataFrame(columns, index=index))
