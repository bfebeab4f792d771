"""What is known when: the publication rule of every column, and the only place that has one.

Every rule makes the known part of a series a prefix: at the start of period t a reader knows rows
0 .. known_rows[t] - 1 of that column and nothing after. Forecasters and observations go through here.
"""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from data.calendar import PERIOD, local_hour, local_midnight_utc


class Lagged(NamedTuple):
    """Published `periods` half-hours after the period began: at t, rows up to t - periods are known."""

    periods: int


class DayAhead(NamedTuple):
    """The whole local day D is published at `local_hour` on D-1."""

    local_hour: float


RULES: Final[dict[str, Lagged | DayAhead]] = {
    # Auction results of day D are out late in the morning of D-1.
    "day_ahead_price_gbp_per_mwh": DayAhead(11.0),
    # Elexon computes the system price about a quarter of an hour after the period has ended, so at the start of t
    # the newest one is that of t-2.
    "imbalance_price_gbp_per_mwh": Lagged(2),
    "net_imbalance_volume_mwh": Lagged(2),
    "market_index_price_gbp_per_mwh": Lagged(2),
    "carbon_intensity_mix_derived_g_per_kwh": Lagged(2),
    "demand_mw": Lagged(2),
    "wind_mw": Lagged(2),
    "embedded_wind_mw": Lagged(2),
    "embedded_solar_mw": Lagged(2),
    "demand_forecast_da_mw": DayAhead(10.0),
    "wind_forecast_da_mw": DayAhead(10.0),
    "embedded_wind_forecast_da_mw": DayAhead(10.0),
    "embedded_solar_forecast_da_mw": DayAhead(10.0),
    "temperature_c": Lagged(1),
    "relative_humidity_pct": Lagged(1),
    "wet_bulb_c": Lagged(1),
}


def known_rows(column: str, index: pd.DatetimeIndex) -> np.ndarray:
    """How many leading rows of a column are published at the start of each period.

    Args:
        column: A column of `data.schema`.
        index: The table's timestamps, shape (n,), regular half-hours in UTC.

    Returns:
        Integers in 0..n, shape (n,), non-decreasing: at period t rows [0, known_rows[t]) are known.

    Raises:
        ValueError: If the column has no publication rule.
    """
    rule = RULES.get(column)
    if rule is None:
        raise ValueError(f"no publication rule for column {column!r}; known are {sorted(RULES)}")
    n = len(index)
    if isinstance(rule, Lagged):
        return np.clip(np.arange(n) - rule.periods + 1, 0, n)
    published = local_hour(index) >= rule.local_hour
    ends = [local_midnight_utc(index, days).to_numpy(dtype="datetime64[s]") for days in (1, 2)]
    end_today, end_tomorrow = ((end - index[0].to_datetime64()) // PERIOD.to_timedelta64() for end in ends)
    return np.clip(np.where(published, end_tomorrow, end_today), 0, n).astype(np.int64)


def latest_known(column: str, table: pd.DataFrame) -> np.ndarray:
    """The newest published value of a column at the start of each period, gaps skipped, shape (n,).

    NaN where nothing has been published yet.
    """
    values = carried_forward(table[column].to_numpy(dtype=np.float64))
    return at_known_rows(column, values, pd.DatetimeIndex(table.index))


def at_known_rows(column: str, values: np.ndarray, index: pd.DatetimeIndex) -> np.ndarray:
    """At the start of each period the newest of `values` that is known if they are published as `column` is.

    NaN where nothing has been published yet.
    """
    rows = known_rows(column, index)
    return np.where(rows > 0, values[np.maximum(rows - 1, 0)], np.nan)


def carried_forward(values: np.ndarray) -> np.ndarray:
    """Each gap filled with the last value before it, shape (n,); leading gaps stay NaN."""
    newest = np.where(np.isnan(values), 0, np.arange(values.size))
    return values[np.maximum.accumulate(newest)]


def hide_unpublished(table: pd.DataFrame, t: int) -> pd.DataFrame:
    """A copy of the table in which every value that is not yet published at the start of row t is NaN."""
    index = pd.DatetimeIndex(table.index)
    row = np.arange(len(index))
    return pd.DataFrame(
        {column: table[column].where(row < known_rows(column, index)[t]) for column in table.columns}, index=index
    )
