"""A grid table as it is known at each decision: features read it through here and nowhere else."""

from collections.abc import Callable
from copy import copy
from functools import wraps
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.calendar import PERIOD
from data.publication import RULES, known_rows
from data.schema import PERIODS_PER_DAY
from forecasting.regimes import Regimes

Array = NDArray[np.float64]
Rows = NDArray[np.int64]


Result = TypeVar("Result")


def remembered(of: Callable[["Known"], Result]) -> Callable[["Known"], Result]:
    """Compute something of a table and its decisions once, whatever leads are asked about."""

    @wraps(of)
    def once(known: "Known") -> Result:
        return _once(known.memory, of, known)

    return once


def remembered_for_leads(of: Callable[["Known"], Result]) -> Callable[["Known"], Result]:
    """Compute something of a table, its decisions and the leads asked about once."""

    @wraps(of)
    def once(known: "Known") -> Result:
        return _once(known.asked, of, known)

    return once


def _once(memory: dict[str, Any], of: Callable[["Known"], Result], known: "Known") -> Result:
    if of.__qualname__ not in memory:
        memory[of.__qualname__] = of(known)
    return memory[of.__qualname__]


class Known:
    """What m decisions know, and the L leads each of them asks about.

    Attributes:
        index: Timestamps of the table, shape (n,).
        minute: When in its period a decision falls.
        rows: The periods decided, shape (m, 1).
        leads: Half-hours ahead, shape (L,).
        ahead_rows: The periods asked about, shape (m, L); they may lie beyond the table.
        regimes: Fitted market regimes.
        memory: What has been computed already and holds for any leads, by name.
        asked: What has been computed already and holds for these leads.
    """

    def __init__(self, table: pd.DataFrame, minute: int, rows: Rows, regimes: Regimes) -> None:
        """Bind a table to decisions that ask about the current period; see `asking`.

        Args:
            table: A checked grid table, shape (n, columns).
            minute: When in its period a decision falls.
            rows: Rows decided, shape (m,).
            regimes: Fitted market regimes.
        """
        self._table, self.index, self.minute = table, pd.DatetimeIndex(table.index), minute
        self._decided, self.rows, self.regimes = rows, rows[:, None], regimes
        self.memory: dict[str, Any] = {}
        self.asked: dict[str, Any] = {}
        self.leads = np.zeros(1, dtype=np.int64)
        self.ahead_rows = self.rows + self.leads

    def asking(self, leads: Rows) -> Self:
        """The same decisions asking about other periods; what holds for any leads is shared."""
        other = copy(self)
        other.leads, other.ahead_rows, other.asked = leads, self.rows + leads, {}
        return other

    @property
    def clock(self) -> pd.DatetimeIndex:
        """Timestamps of the table and of the day after it, UTC, shape (n + 48,)."""
        return _clock(self)

    def column(self, name: str) -> Array:
        """A whole column, published or not, shape (n,): give what is made of it to one of the methods below."""
        if name not in self.memory:
            self.memory[name] = self._table[name].to_numpy(dtype=np.float64)
        return self.memory[name]

    def known(self, *columns: str) -> Rows:
        """How many leading rows of all these columns each decision knows, shape (m, 1)."""
        rules = tuple(dict.fromkeys(RULES[name] for name in columns))
        key = f"known {rules}"
        if key not in self.memory:
            self.memory[key] = (
                known_rows(columns[0], self.index, self.minute, self._decided)[:, None]
                if len(rules) == 1
                else np.minimum.reduce([self.known(name) for name in columns])
            )
        return self.memory[key]

    def newest(self, values: Array, *columns: str, back: int = 0) -> Array:
        """The newest known value, or the one `back` periods before it, shape (m, 1); NaN before the first.

        Args:
            values: Shape (n,); row i may depend on rows 0 .. i of `columns` and on nothing else.
            columns: What `values` was made of.
            back: Periods back.
        """
        return _at(values, self.known(*columns) - 1 - back)

    def earlier(self, values: Array, *columns: str, days: int = 1, shift: int = 0) -> Array:
        """The value at the same half-hour `days` days before each period asked about, shape (m, L).

        Where that is not known yet, the newest day before on which it is. Arguments as for `newest`.
        """
        source = self.ahead_rows + shift - days * PERIODS_PER_DAY
        late = source - (self.known(*columns) - 1)
        return _at(values, source - np.maximum(-(-late // PERIODS_PER_DAY), 0) * PERIODS_PER_DAY)

    def ahead(self, values: Array, *columns: str, shift: int = 0) -> Array:
        """The value of each period asked about, or `shift` periods after it; NaN where not published, shape (m, L)."""
        source = self.ahead_rows + shift
        return np.where(source < self.known(*columns), _at(values, source), np.nan)

    def stand_in(self, values: Array, *columns: str, shift: int = 0) -> Array:
        """As `ahead`; what is unpublished or missing is taken from the last day that has it, shape (m, L)."""
        source, known = self.ahead_rows + shift, self.known(*columns)
        found = np.full(source.shape, np.nan)
        for _ in range(4):  # today's price stands in for tomorrow's; older days bridge gaps
            use = np.isnan(found) & (source < known)
            found = np.where(use, _at(values, source), found)
            source = source - PERIODS_PER_DAY * np.isnan(found)
        return found


@remembered
def _clock(known: Known) -> pd.DatetimeIndex:
    return pd.date_range(known.index[0], periods=len(known.index) + PERIODS_PER_DAY, freq=PERIOD)


def _at(values: Array, rows: Rows) -> Array:
    inside = (rows >= 0) & (rows < values.size)
    return np.where(inside, values[np.where(inside, rows, 0)], np.nan)
