"""What a forecaster gives: for every period of a table the next 48 half-hours, their mean and their quantiles."""

from typing import Final, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

LEADS: Final = 48  # half-hours ahead, the current one first
QUANTILES: Final = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)


class Forecast(NamedTuple):
    """Forecasts of one column, in its unit; NaN where nothing has been published yet.

    Attributes:
        mean: Expected value, shape (n, 48), float32: [t, k] is made at the decision in period t, for period t + k.
        quantiles: Value that is not exceeded with probability `QUANTILES[q]`, shape (n, 48, 7), float32, rising in q.
    """

    mean: NDArray[np.float32]
    quantiles: NDArray[np.float32]

    def rows(self, rows: slice) -> "Forecast":
        """Those of some rows."""
        return Forecast(self.mean[rows], self.quantiles[rows])


class Forecaster(Protocol):
    """Forecasts one column of the grid table from published values; fitted before, changed by nothing after.

    Attributes:
        column: What is forecast.
    """

    @property
    def column(self) -> str:
        """What is forecast, a column of the grid table."""
        ...

    def predict(self, table: pd.DataFrame, minute: int = 0, rows: slice = slice(None)) -> Forecast:
        """Forecast from the rows of a table.

        Args:
            table: A checked grid table, n rows; values that `data.publication` calls unknown at the decision of a
                row are not used for that row.
            minute: When in the period the decision is taken: 0, or 15 for the second one of a period.
            rows: Which rows to forecast from, all by default; the others are history all the same.

        Returns:
            Forecasts for each chosen row's own period and the 47 after it.
        """
        ...


def ahead(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What came in the next 48 half-hours of every row, NaN after the end: (n,) to a read-only view (n, 48)."""
    longer = np.concatenate([values, np.full(LEADS - 1, np.nan)])
    return np.lib.stride_tricks.sliding_window_view(longer, LEADS)


def around(mean: NDArray[np.float32], offsets: NDArray[np.float64]) -> Forecast:
    """A forecast whose quantiles lie at given distances from its mean.

    Args:
        mean: Shape (n, 48).
        offsets: Distance of each quantile by lead, shape (48, 7), or by row too, (n, 48, 7).
    """
    return Forecast(mean, (mean[:, :, None] + offsets).astype(np.float32))


def error_quantiles(
    truth: NDArray[np.float64], mean: NDArray[np.float32], scale: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Quantiles of the errors that forecasts made, by lead.

    Args:
        truth: The column, shape (n,).
        mean: Forecasts of it, shape (n, 48).
        scale: What the errors of each row are divided by, shape (n,); 1 if not given.

    Returns:
        Shape (48, 7), in the column's unit or in scales; 0 for a lead without a single error.
    """
    offsets = np.zeros((LEADS, len(QUANTILES)))
    for lead in range(min(LEADS, truth.size)):
        errors = truth[lead:] - mean[: truth.size - lead, lead]
        if scale is not None:
            errors = errors / scale[: truth.size - lead]
        errors = errors[np.isfinite(errors)]
        if errors.size:
            offsets[lead] = np.quantile(errors, QUANTILES)
    return offsets
