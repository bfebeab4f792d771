"""What may go wrong: changes to a grid table, or to what a policy is told, that no policy was trained on.

A table is changed only in the span that is played, so that nothing announces a shock.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from data.schema import COLUMNS
from forecasting.forecast import Forecast, Forecaster

PRICES = tuple(c.name for c in COLUMNS if c.name.endswith("_price_gbp_per_mwh"))
PLAUSIBLE = {c.name: (c.low, c.high) for c in COLUMNS}


def scaled_prices(table: pd.DataFrame, rows: slice, factor: float) -> pd.DataFrame:
    """Every price times `factor`, up to what the schema calls plausible.

    Args:
        table: A checked grid table.
        rows: Rows that are played.
        factor: Above 0.

    Returns:
        A changed copy.
    """
    return _changed(table, rows, {column: table[column].iloc[rows] * factor for column in PRICES})


def heat_wave(table: pd.DataFrame, rows: slice, rise_c: float = 8.0, days: int = 7) -> pd.DataFrame:
    """Outdoor air and its wet bulb warmer by `rise_c` in the first `days` days of every month (UTC).

    That both rise alike means damp heat: the relative humidity is left as it was.
    """
    played = table.iloc[rows]
    hot = pd.DatetimeIndex(played.index).day <= days
    raised = {c: played[c] + rise_c * hot for c in ("temperature_c", "wet_bulb_c")}
    return _changed(table, rows, raised)


class Biased(NamedTuple):
    """A forecaster that is wrong in one direction; what is published stays right.

    Attributes:
        forecaster: The one that is made wrong.
        fraction: How far the mean and every quantile are moved up, as a share of the mean's size.
    """

    forecaster: Forecaster
    fraction: float

    @property
    def column(self) -> str:
        """What is forecast."""
        return self.forecaster.column

    def predict(self, table: pd.DataFrame, minute: int = 0, rows: slice = slice(None)) -> Forecast:
        """Forecast and move; see `forecasting.forecast.Forecaster`."""
        mean, quantiles = self.forecaster.predict(table, minute, rows)
        moved = np.abs(mean) * np.float32(self.fraction)
        return Forecast(mean + moved, quantiles + moved[:, :, None])


def _changed(table: pd.DataFrame, rows: slice, columns: dict[str, Any]) -> pd.DataFrame:
    changed = table.copy()
    for name, values in columns.items():
        changed.loc[table.index[rows], name] = values.clip(*PLAUSIBLE[name])
    return changed
