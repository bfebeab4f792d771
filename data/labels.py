"""Rows of answers on the grid of settlement periods; what is odd about them is counted, not hidden."""

from collections import Counter
from datetime import date
from typing import TypeAlias

import numpy as np
import pandas as pd

from data.calendar import PERIOD, period_start
from data.schema import INDEX_NAME
from data.sources import midnight

Rows: TypeAlias = pd.DataFrame
Quirks: TypeAlias = "Counter[str]"


def grid(first: date, last: date) -> pd.DatetimeIndex:
    """The half-hours of the settlement dates `first` to `last`, in UTC: 46, 48 or 50 of them a day."""
    index = pd.date_range(midnight(first), midnight(last, 1), freq=PERIOD, inclusive="left", name=INDEX_NAME)
    return index.as_unit("us")


def empty(index: pd.Index | None = None) -> pd.Series:
    """Zeros on an index, or a series that says nothing."""
    return pd.Series(0.0 if index is not None else np.nan, index=index, dtype=np.float64)


def labelled(rows: Rows, quirks: Quirks, source: str) -> Rows:
    """Rows by the UTC start of their period; those whose label is impossible or contradicts their time go."""
    start = period_start(rows["settlement_date"], rows["settlement_period"])
    wrong = np.asarray(start.isna())
    if "start" in rows:
        wrong = wrong | np.asarray(start != pd.DatetimeIndex(rows["start"]))
    quirks[f"{source}: label names no such half-hour"] += int(wrong.sum())
    return rows.set_index(start.rename(INDEX_NAME))[~wrong]


def once(rows: Rows, quirks: Quirks, source: str) -> Rows:
    """One row for each half-hour, the last one sent."""
    repeated = rows.index.duplicated(keep="last")
    quirks[f"{source}: half-hour sent twice"] += int(repeated.sum())
    return rows[~repeated]


def both_halves(hours: pd.Series) -> pd.Series:
    """An hourly series with its value on both half-hours."""
    both: pd.Series = pd.concat([hours, hours.set_axis(hours.index + PERIOD)])
    return both.sort_index()
