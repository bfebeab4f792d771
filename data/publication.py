"""What is known when: the publication rule of every column, and the only place that has one.

Every rule makes the known part of a series a prefix: a reader who decides in period t knows rows
0 .. known_rows[t] - 1 of that column and nothing after. Forecasters and observations go through here. Decisions
fall at the start of a period or, where a period is decided twice, 15 minutes into it.
"""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from data.calendar import hour_of_day, wall_time
from data.schema import PERIOD_MINUTES, PERIODS_PER_DAY


class Lagged(NamedTuple):
    """The value of a period is published `minutes` after the period began."""

    minutes: int


class DayAhead(NamedTuple):
    """The whole local day D is published at `local_hour` on D-1."""

    local_hour: float


RULES: Final[dict[str, Lagged | DayAhead]] = {
    # Auction results of day D are out late in the morning of D-1.
    "day_ahead_price_gbp_per_mwh": DayAhead(11.0),
    # Elexon computes the system price about a quarter of an hour after the period has ended, so at the start of t
    # the newest one is that of t-2, and in the middle of t that of t-1.
    "imbalance_price_gbp_per_mwh": Lagged(45),
    "net_imbalance_volume_mwh": Lagged(45),
    "market_index_price_gbp_per_mwh": Lagged(60),
    "carbon_intensity_mix_derived_g_per_kwh": Lagged(60),
    "demand_mw": Lagged(60),
    "wind_mw": Lagged(60),
    "embedded_wind_mw": Lagged(60),
    "embedded_solar_mw": Lagged(60),
    "demand_forecast_da_mw": DayAhead(10.0),
    "wind_forecast_da_mw": DayAhead(10.0),
    "embedded_wind_forecast_da_mw": DayAhead(10.0),
    "embedded_solar_forecast_da_mw": DayAhead(10.0),
    "temperature_c": Lagged(30),
    "relative_humidity_pct": Lagged(30),
    "wet_bulb_c": Lagged(30),
    # Own meters are read at once: what a period took is known when it ends.
    "site_load_kw": Lagged(30),
    "arriving_jobs": Lagged(30),
    "arriving_kwh": Lagged(30),
}


def known_rows(
    column: str, index: pd.DatetimeIndex, minute: int = 0, rows: slice | np.ndarray = slice(None)
) -> np.ndarray:
    """How many leading rows of a column are published when each period is decided.

    Args:
        column: A column of `data.schema`.
        index: The table's timestamps, shape (n,), regular half-hours in UTC.
        minute: Minutes between the start of a period and the decision, 0 to 29.
        rows: Of which periods, all by default.

    Returns:
        Integers in 0..n, shape (rows,), non-decreasing: at period t rows [0, known_rows[t]) are known.

    Raises:
        ValueError: If the column has no publication rule, or the decision lies outside its period.
    """
    rule = RULES.get(column)
    if rule is None:
        raise ValueError(f"no publication rule for column {column!r}; known are {sorted(RULES)}")
    if not 0 <= minute < PERIOD_MINUTES:
        raise ValueError(f"a decision {minute} minutes into its period; allowed are 0 to {PERIOD_MINUTES - 1}")
    n = len(index)
    decided = np.arange(n)[rows]
    if isinstance(rule, Lagged):
        return np.minimum(np.maximum(decided + (minute - rule.minutes) // PERIOD_MINUTES + 1, 0), n)
    if not decided.size:
        return decided
    # A rule reaches to the end of tomorrow; the calendar of a whole table takes long where one row is asked for.
    first = int(decided.min())
    wall = wall_time(index, slice(first, int(decided.max()) + 3 * PERIODS_PER_DAY))
    day, decided = wall.astype("datetime64[D]"), decided - first
    published = hour_of_day(wall[decided]) + minute / 60.0 >= rule.local_hour
    return first + day.searchsorted(day[decided] + published.astype(np.int64), side="right")


def latest_known(column: str, table: pd.DataFrame, minute: int = 0) -> np.ndarray:
    """The newest published value of a column when each period is decided, gaps skipped, shape (n,).

    NaN where nothing has been published yet.
    """
    values = carried_forward(table[column].to_numpy(dtype=np.float64))
    return at_known_rows(column, values, pd.DatetimeIndex(table.index), minute)


def at_known_rows(
    column: str, values: np.ndarray, index: pd.DatetimeIndex, minute: int = 0, rows: slice = slice(None)
) -> np.ndarray:
    """When each of some periods is decided the newest of `values` that is known if they are published as `column` is.

    Args:
        column: Whose publication rule holds.
        values: One for each row of the table or several, shape (n,) or (n, k).
        index: The table's timestamps, shape (n,).
        minute: Minutes between the start of a period and the decision, 0 to 29.
        rows: Of which periods, all by default.

    Returns:
        Shape (rows,) or (rows, k); NaN where nothing has been published yet.
    """
    known = known_rows(column, index, minute, rows)
    newest: np.ndarray = values[np.maximum(known - 1, 0)]
    newest[known == 0] = np.nan
    return newest


def carried_forward(values: np.ndarray) -> np.ndarray:
    """Each gap filled with the last value before it, shape (n,); leading gaps stay NaN."""
    newest = np.where(np.isnan(values), 0, np.arange(values.size))
    return values[np.maximum.accumulate(newest)]


def hide_unpublished(table: pd.DataFrame, t: int, minute: int = 0) -> pd.DataFrame:
    """A copy of the table in which every value that is not yet published when row t is decided is NaN."""
    index = pd.DatetimeIndex(table.index)
    row = np.arange(len(index))
    return pd.DataFrame(
        {column: table[column].where(row < known_rows(column, index, minute)[t]) for column in table.columns},
        index=index,
    )
