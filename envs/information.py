"""What the market tells a policy when it decides a period: one row per period, published values only."""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.calendar import LOCAL_TIME_ZONE, local_hour
from data.publication import at_known_rows, carried_forward
from envs.fields import Field, FloatArray
from forecasting.forecast import LEADS, Forecaster

FORECAST_PERIODS: Final = LEADS
PRICE_BOUND: Final = 10_000.0
FORECAST_PREFIX: Final = "forecast_price_gbp_per_mwh_"
IMBALANCE: Final = "imbalance_price_gbp_per_mwh"
READ: Final = (
    IMBALANCE,
    "day_ahead_price_gbp_per_mwh",
    "market_index_price_gbp_per_mwh",
    "net_imbalance_volume_mwh",
)

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


def information(table: pd.DataFrame, forecaster: Forecaster, minute: int = 0, rows: slice = slice(None)) -> FloatArray:
    """Everything published that a policy is shown, for every period of a table.

    Row t uses only values that `data.publication` calls known when t is decided. What has no published value yet
    (the first days of a table) is 0. Time fields and leads are those of the period, whenever in it the decision falls.

    Args:
        table: A checked grid table of n rows.
        forecaster: Forecasts the imbalance price.
        minute: Minutes between the start of a period and the decision.
        rows: Which rows to lay out, all by default; the others are history all the same.

    Returns:
        Shape (rows, len(FIELDS)), float32, C-contiguous, finite.
    """
    index = pd.DatetimeIndex(table.index)
    decided = index[rows]
    wall = decided.tz_convert(LOCAL_TIME_ZONE).tz_localize(None)
    hour = local_hour(decided) * (2.0 * np.pi / 24.0)
    season = (wall.day_of_year.to_numpy() - 1) * (2.0 * np.pi / 365.25)
    imbalance, day_ahead, market_index, volume = (table[name].to_numpy(dtype=np.float64) for name in READ)
    deviation = carried_forward(imbalance - day_ahead)
    spread = carried_forward(market_index - day_ahead)

    def known(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return at_known_rows(name, values, index, minute, rows)

    def day_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return pd.Series(values).rolling(FORECAST_PERIODS, min_periods=1).mean().to_numpy(dtype=np.float64)

    columns = [
        np.sin(hour),
        np.cos(hour),
        (wall.day_of_week.to_numpy() >= 5).astype(np.float64),
        np.sin(season),
        np.cos(season),
        (wall.minute.to_numpy() >= 30).astype(np.float64),
        carried_forward(day_ahead)[rows],  # where this period's price is missing, that of the newest earlier one
        known(IMBALANCE, carried_forward(imbalance)),
        known(IMBALANCE, deviation),
        known(IMBALANCE, np.concatenate([[np.nan], deviation[:-1]])),
        known(IMBALANCE, day_mean(deviation)),
        known(IMBALANCE, day_mean(np.abs(deviation))),
        known("net_imbalance_volume_mwh", carried_forward(volume)),
        known("market_index_price_gbp_per_mwh", spread),
    ]
    shown = np.column_stack([*columns, forecaster.predict(table, minute, rows).mean])
    return np.ascontiguousarray(np.nan_to_num(shown, nan=0.0), dtype=np.float32)
