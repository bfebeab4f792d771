"""What the market tells a policy at the start of each period: one row per period, published values only."""

from typing import Final, Protocol

import numpy as np
import pandas as pd

from data.calendar import local_hour
from data.publication import latest_known
from envs.fields import Field, FloatArray

FORECAST_PERIODS: Final = 48
PRICE_BOUND: Final = 10_000.0
FORECAST_PREFIX: Final = "forecast_price_gbp_per_mwh_"

FIELDS: Final[tuple[Field, ...]] = (
    Field("hour_sin", -1.0, 1.0, "local hour of day, as an angle"),
    Field("hour_cos", -1.0, 1.0, "local hour of day, as an angle"),
    Field("weekend", 0.0, 1.0, "1 on Saturday and Sunday, local"),
    Field("year_sin", -1.0, 1.0, "day of year, as an angle"),
    Field("year_cos", -1.0, 1.0, "day of year, as an angle"),
    Field("half_hour", 0.0, 1.0, "1 in the second half of an hour"),
    Field("day_ahead_price_gbp_per_mwh", -PRICE_BOUND, PRICE_BOUND, "day-ahead price of this period"),
    Field("known_imbalance_price_gbp_per_mwh", -PRICE_BOUND, PRICE_BOUND, "newest published imbalance price"),
    Field("known_deviation_gbp_per_mwh", -PRICE_BOUND, PRICE_BOUND, "that price less its day-ahead price"),
    Field("earlier_deviation_gbp_per_mwh", -PRICE_BOUND, PRICE_BOUND, "the deviation one period before that"),
    Field("day_mean_deviation_gbp_per_mwh", -PRICE_BOUND, PRICE_BOUND, "mean deviation over the last known 24 h"),
    Field("day_mean_absolute_deviation_gbp_per_mwh", 0.0, PRICE_BOUND, "mean size of it over the last known 24 h"),
    Field(
        "known_net_imbalance_volume_mwh", -PRICE_BOUND, PRICE_BOUND, "newest published; above 0 the system was short"
    ),
    Field("known_market_index_spread_gbp_per_mwh", -PRICE_BOUND, PRICE_BOUND, "newest intraday less day-ahead price"),
    *(
        Field(f"{FORECAST_PREFIX}{k:02d}", -PRICE_BOUND, PRICE_BOUND, f"imbalance price expected {k} periods ahead")
        for k in range(FORECAST_PERIODS)
    ),
)


class PriceForecaster(Protocol):
    """Anything that forecasts the imbalance price from published values."""

    def predict(self, table: pd.DataFrame) -> np.ndarray:
        """Forecasts of shape (n, 48), GBP/MWh, row t made at the start of period t."""
        ...


def information(table: pd.DataFrame, forecaster: PriceForecaster) -> FloatArray:
    """Everything published that a policy is shown, for every period of a table.

    Row t uses only values that `data.publication` calls known at the start of t. What has no published value
    yet (the first days of a table) is 0.

    Args:
        table: A checked grid table of n rows.
        forecaster: Makes the price forecasts.

    Returns:
        Shape (n, len(FIELDS)), float32, C-contiguous, finite.
    """
    index = pd.DatetimeIndex(table.index)
    local = index.tz_convert("Europe/London")
    hour = local_hour(index) * (2.0 * np.pi / 24.0)
    season = (local.day_of_year.to_numpy() - 1) * (2.0 * np.pi / 365.25)
    spreads = table[["day_ahead_price_gbp_per_mwh"]].copy()
    deviation = (table["imbalance_price_gbp_per_mwh"] - table["day_ahead_price_gbp_per_mwh"]).ffill()
    spreads["imbalance_price_gbp_per_mwh"] = deviation
    spreads["market_index_price_gbp_per_mwh"] = (
        table["market_index_price_gbp_per_mwh"] - table["day_ahead_price_gbp_per_mwh"]
    ).ffill()
    known_deviation = latest_known("imbalance_price_gbp_per_mwh", spreads)

    def known_window(series: pd.Series) -> np.ndarray:
        smooth = series.rolling(FORECAST_PERIODS, min_periods=1).mean().to_frame("imbalance_price_gbp_per_mwh")
        return latest_known("imbalance_price_gbp_per_mwh", smooth)

    forecast = forecaster.predict(table)
    columns = [
        np.sin(hour),
        np.cos(hour),
        (local.day_of_week.to_numpy() >= 5).astype(np.float64),
        np.sin(season),
        np.cos(season),
        (local.minute.to_numpy() >= 30).astype(np.float64),
        _published_now(table),
        latest_known("imbalance_price_gbp_per_mwh", table),
        known_deviation,
        np.concatenate([[np.nan], known_deviation[:-1]]),
        known_window(deviation),
        known_window(deviation.abs()),
        latest_known("net_imbalance_volume_mwh", table),
        latest_known("market_index_price_gbp_per_mwh", spreads),
        *forecast.T,
    ]
    return np.ascontiguousarray(np.nan_to_num(np.column_stack(columns), nan=0.0), dtype=np.float32)


def _published_now(table: pd.DataFrame) -> np.ndarray:
    """Day-ahead price of the current period; where it is missing, that of the newest earlier period."""
    return table["day_ahead_price_gbp_per_mwh"].ffill().to_numpy(dtype=np.float64)
