"""Whether the price came as often below a forecast's quantiles as the forecast said it would."""

from typing import Any, Final

import numpy as np
import pandas as pd

from data.schema import PERIOD_H
from forecasting.forecast import QUANTILES, Forecaster

LEADS: Final = (0, 1, 3, 7, 15, 31, 47)


def below(quantile: float) -> str:
    """Column that holds the share of values at or below a quantile."""
    return f"below_{round(100 * quantile):02d}"


def calibration(table: pd.DataFrame, forecaster: Forecaster, spans: dict[str, slice]) -> list[dict[str, Any]]:
    """How the forecasts that every policy was shown came true.

    Args:
        table: A checked grid table.
        forecaster: What policies were shown.
        spans: Rows of each split, by its name.

    Returns:
        One row per split and lead, with the `column` forecast, `lead_h` (from the start of the decision's period to
        that of the period forecast), `periods`, `mean_error` and `mean_absolute_error` in the column's unit, and one
        `below_<per cent>` per quantile: the share of values that were not above it. Leads without a value have no row.
    """
    mean, quantiles = forecaster.predict(table)
    truth = table[forecaster.column].to_numpy(dtype=np.float64)
    rows = []
    for split, span in spans.items():
        for lead in LEADS:
            made = np.arange(span.start, span.stop - lead)
            known = np.isfinite(truth[made + lead]) & np.isfinite(mean[made, lead])
            made = made[known]
            if not made.size:
                continue
            came = truth[made + lead]
            error = mean[made, lead].astype(np.float64) - came
            shares = (came[:, None] <= quantiles[made, lead]).mean(axis=0)
            rows.append(
                {
                    "split": split,
                    "column": forecaster.column,
                    "lead_h": lead * PERIOD_H,
                    "periods": made.size,
                    "mean_error": float(error.mean()),
                    "mean_absolute_error": float(np.abs(error).mean()),
                    **{below(q): float(share) for q, share in zip(QUANTILES, shares, strict=True)},
                }
            )
    return rows
