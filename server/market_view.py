"""What the market has published, as a caller tells it: checked, and laid out as the table that simulation reads."""

from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.calendar import PERIOD
from data.publication import RULES, DayAhead, known_rows
from data.schema import COLUMNS, INDEX_NAME, PERIODS_PER_DAY, Column
from envs.information import READ

# The longest look back of what every policy is shown is a mean over 48 periods that ends two periods ago; the rest
# covers gaps in it. A forecaster may look back a fortnight and a day.
HISTORY_PERIODS: Final = 2 * PERIODS_PER_DAY
MOST_HISTORY_PERIODS: Final = 16 * PERIODS_PER_DAY
MOST_PUBLISHED_AHEAD: Final = 100  # from the start of a 25-hour day to the end of the next
NAMES: Final = tuple(column.name for column in COLUMNS)
COLUMN_NAMES: Final = pd.Index(NAMES, dtype=object)  # one of Arrow strings makes every look at a column slower
STALE_PERIODS: Final = PERIODS_PER_DAY
USUAL: Final = 0.9  # share of small values that shows a unit; in no two days of 2020 to 2024 were more than 0.31 so
UNIT_HINTS: Final = {
    "gbp_per_mwh": "send GBP/MWh (GBP/kWh x 1000, p/kWh x 10)",
    "net_imbalance_volume_mwh": "send MWh per half-hour (average MW / 2)",
    "_mw": "send the period's average MW",
    "g_per_kwh": "send gCO2 per kWh",
    "_c": "send degrees Celsius",
    "_pct": "send per cent",
}


class MarketView(NamedTuple):
    """Half-hourly series that all begin at `start`.

    Attributes:
        start: Start of the first period, with a time zone.
        columns: One array per name in `envs.information.READ` and, for forecasters that read more, of other columns;
            each as long as its caller knows. NaN is a gap.
    """

    start: datetime
    columns: dict[str, NDArray[np.float64]]


class Published(NamedTuple):
    """What is known when a period is decided.

    Attributes:
        start: Of the first half-hour, UTC.
        columns: The series that came, all of one length; what is unknown is NaN.
        row: The place of the period.
        warnings: What was ignored or is missing, for the caller to read.
        stale: What is too old or too full of gaps to forecast on; empty if nothing is.
    """

    start: pd.Timestamp
    columns: dict[str, NDArray[np.float64]]
    row: int
    warnings: list[str]
    stale: list[str]

    def table(self) -> pd.DataFrame:
        """All of it as a grid table, with every column of `data.schema`: NaN in those that did not come."""
        n = self.row + MOST_PUBLISHED_AHEAD
        values = np.full((len(NAMES), n), np.nan)  # a column is a run of memory, as in a table that was read
        for place, name in enumerate(NAMES):
            if name in self.columns:
                values[place] = self.columns[name]
        return pd.DataFrame(values.T, index=_half_hours(self.start, n), columns=COLUMN_NAMES, copy=False)


def published(view: MarketView, decided: pd.Timestamp) -> Published:
    """Check a view and keep what was published when a period is decided.

    A value that could not have been published by then is ignored with a warning, because the policy was never
    trained to know it. A late or missing value is forecast over with a warning, as in simulation: the source of
    day-ahead prices itself has four gaps each time that clocks change. Without the day-ahead price of the period
    itself, or where a series ended more than a day ago, the view is stale.

    Args:
        view: What the caller knows.
        decided: When the decision is due, UTC: the start of a period, or a quarter past it.

    Raises:
        ValueError: A value out of its unit's range, or too short or too long a history.
    """
    start = pd.Timestamp(view.start).tz_convert("UTC")
    if start != start.floor(PERIOD):
        raise ValueError(f"start is {_iso(start)}; it must be on the half-hour, where a settlement period begins")
    period = decided.floor(PERIOD)
    minute = (decided - period) // pd.Timedelta(minutes=1)
    row = (period - start) // PERIOD
    if not HISTORY_PERIODS <= row <= MOST_HISTORY_PERIODS:
        raise ValueError(
            f"start is {_iso(start)}; history must begin 2 to 16 days before the period decided, which begins "
            f"{_iso(period)}: send every series from {_iso(period - HISTORY_PERIODS * PERIOD)}"
        )
    n = row + MOST_PUBLISHED_AHEAD
    columns: dict[str, NDArray[np.float64]] = {}
    warnings: list[str] = []
    stale: list[str] = []
    for column in COLUMNS:
        values = view.columns.get(column.name)
        if values is None:
            continue
        _check_range(column, values, start)
        known = _known_rows(column.name, start, n, row, minute)
        early = int(np.isfinite(values[known:]).sum())
        if early:
            warnings.append(
                f"{column.name}: ignored {early} value(s) from {_iso(start + known * PERIOD)} on, which are not "
                f"published by {_iso(decided)} under the rules that the policy was trained with"
            )
        held = columns[column.name] = np.full(n, np.nan)
        held[: min(known, values.size)] = values[:known]
        late, old = _gaps(column.name, held[:known], start, row)
        warnings += late
        stale += old
    return Published(start, columns, row, warnings, stale)


# Everybody who asks within a half-hour asks about the same one, and calendars are slow.
@lru_cache(maxsize=64)
def _half_hours(start: pd.Timestamp, n: int) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=n, freq=PERIOD, name=INDEX_NAME)


@lru_cache(maxsize=1024)
def _known_rows(column: str, start: pd.Timestamp, n: int, row: int, minute: int) -> int:
    return int(known_rows(column, _half_hours(start, n), minute, slice(row, row + 1))[0])


def _check_range(column: Column, values: NDArray[np.float64], start: pd.Timestamp) -> None:
    bad = np.flatnonzero((values < column.low) | (values > column.high) | np.isinf(values))
    if bad.size:
        hint = next(hint for end, hint in UNIT_HINTS.items() if column.name.endswith(end))
        raise ValueError(
            f"{column.name} is {values[bad[0]]:g} at {_iso(start + int(bad[0]) * PERIOD)}; plausible is "
            f"{column.low:g} to {column.high:g} ({bad.size} such value(s)): {hint}"
        )
    size = np.abs(values[np.isfinite(values)])
    small = size[size < column.least]
    if size.size >= PERIODS_PER_DAY and small.size >= USUAL * size.size and small.any():
        hint = next(hint for end, hint in UNIT_HINTS.items() if column.name.endswith(end))
        raise ValueError(
            f"{column.name}: {small.size} of {size.size} values are below {column.least:g}, far more than ever: {hint}"
        )


def _gaps(name: str, known: NDArray[np.float64], start: pd.Timestamp, row: int) -> tuple[list[str], list[str]]:
    """What should have been published and is not there: what can be forecast over, and what makes a view stale."""
    missing = np.flatnonzero(np.isnan(known))
    if not missing.size:
        return [], []
    first = _iso(start + int(missing[0]) * PERIOD)
    if name not in READ:
        return [f"{name}: {missing.size} published value(s) missing, the first at {first}; they are forecast over"], []
    if isinstance(RULES[name], DayAhead):
        if row in missing or not np.isfinite(known[row - STALE_PERIODS : row]).any():
            return [], [
                f"{name} has no value at {first}; that of {_iso(start + row * PERIOD)}, the period to decide, and some "
                "of the day before it are needed: send the missing price(s)."
            ]
        return [f"{name}: missing at {first} though published; half-hours of the days before stand in"], []
    present = np.flatnonzero(np.isfinite(known))
    newest = int(present[-1]) if present.size else -1
    if newest < known.size - STALE_PERIODS:
        held = f"ends at {_iso(start + newest * PERIOD)}" if present.size else "holds no published value"
        return [], [
            f"{name} {held}; at {_iso(start + row * PERIOD)} values up to {_iso(start + (known.size - 1) * PERIOD)} "
            "are published and at least one of the last 24 hours is needed: send newer ones."
        ]
    return [
        f"{name}: {missing.size} published value(s) missing, the first at {first}; the last one before stands in"
    ], []


def _iso(instant: pd.Timestamp) -> str:
    return instant.strftime("%Y-%m-%dT%H:%MZ")
