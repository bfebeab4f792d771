"""What the followed grid table says has been published."""

import math
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from data.calendar import PERIOD
from data.load import FILE_NAME, load
from data.schema import COLUMNS
from envs.information import READ
from server.market_view import MOST_HISTORY_PERIODS, MOST_PUBLISHED_AHEAD, MarketView

IMBALANCE: Final = "imbalance_price_gbp_per_mwh"
HISTORY_PERIODS: Final = MOST_HISTORY_PERIODS - 1  # a step later it must still not be too long


class LiveMarket:
    """Reads the table again when it has changed."""

    def __init__(self, folder: Path) -> None:
        """Name the folder that the data job keeps up to date."""
        self._folder = folder
        self._read_at: float | None = None
        self._table = pd.DataFrame()

    def view(self, start: pd.Timestamp) -> MarketView | None:
        """Everything known around a step; None where the table does not reach back far enough.

        Args:
            start: Of the step, UTC.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not a grid table.
        """
        table = self._newest_table()
        first = max(start.floor(PERIOD) - HISTORY_PERIODS * PERIOD, table.index[0])
        known = table.loc[first : start + MOST_PUBLISHED_AHEAD * PERIOD]
        if known.empty:
            return None
        columns = {
            column.name: known[column.name].to_numpy(dtype=np.float64)
            for column in COLUMNS
            if column.name in READ or known[column.name].notna().any()
        }
        return MarketView(known.index[0], columns)

    def age_s(self, now: datetime) -> float:
        """Seconds since the end of the newest half-hour whose imbalance price is known; infinite where none is.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not a grid table.
        """
        newest = self._newest_table()[IMBALANCE].last_valid_index()
        return math.inf if newest is None else (pd.Timestamp(now) - newest - PERIOD).total_seconds()

    def _newest_table(self) -> pd.DataFrame:
        changed_at = (self._folder / FILE_NAME).stat().st_mtime
        if changed_at != self._read_at:
            self._table, self._read_at = load(self._folder), changed_at
        return self._table
