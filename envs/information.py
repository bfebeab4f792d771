"""What the market tells a policy when it decides a period: one row per period, published values only."""

from typing import Final

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from data.calendar import hour_of_day, wall_time
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
    index = table.index
    assert isinstance(index, pd.DatetimeIndex)
    wall = wall_time(index, rows)
    hour = hour_of_day(wall) * (2.0 * np.pi / 24.0)
    day = wall.astype("datetime64[D]")
    season = (day - wall.astype("datetime64[Y]").astype(day.dtype)).astype(np.int64) * (2.0 * np.pi / 365.25)
    imbalance, day_ahead, market_index, volume = (table[name].to_numpy(dtype=np.float64) for name in READ)
    deviation = carried_forward(imbalance - day_ahead)
    spread = carried_forward(market_index - day_ahead)
    before = np.concatenate([np.full(FORECAST_PERIODS - 1, np.nan), deviation])
    last_day = sliding_window_view(before, FORECAST_PERIODS)  # (n, FORECAST_PERIODS), the newest last

    def known(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return at_known_rows(name, values, index, minute, rows)

    known_day = known(IMBALANCE, last_day)
    columns = [
        np.sin(hour),
        np.cos(hour),
        ~np.is_busday(day),
        np.sin(season),
        np.cos(season),
        wall.astype("datetime64[m]").astype(np.int64) % 60 >= 30,
        carried_forward(day_ahead)[rows],  # where this period's price is missing, that of the newest earlier one
        known(IMBALANCE, carried_forward(imbalance)),
        known_day[:, -1],
        known_day[:, -2],
        _mean(known_day),
        _mean(np.abs(known_day)),
        known("net_imbalance_volume_mwh", carried_forward(volume)),
        known("market_index_price_gbp_per_mwh", spread),
    ]
    shown = np.column_stack([*columns, forecaster.predict(table, minute, rows).mean])
    return np.ascontiguousarray(np.nan_to_num(shown, nan=0.0), dtype=np.float32)


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each row, gaps left out, 0 where there is nothing else: (n, k) to (n,)."""
    there = ~np.isnan(values)
    mean: NDArray[np.float64] = np.where(there, values, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return mean
