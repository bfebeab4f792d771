"""The site's own half-hourly signals as columns beside the grid table; `data.publication` says when they are known."""

import numpy as np
import pandas as pd

from data.jobs import Arrivals, arrival_periods
from data.schema import PERIOD_H


def job_signals(arrivals: Arrivals, index: pd.DatetimeIndex) -> pd.DataFrame:
    """What tenants send in each half-hour.

    Args:
        arrivals: Jobs of n periods.
        index: Start of each of them, shape (n,).

    Returns:
        `arriving_jobs`, how many arrive, and `arriving_kwh`, the energy that they need in all, shape (n, 2).

    Raises:
        ValueError: The index is not as long as the table of jobs.
    """
    n = len(arrivals.first_job) - 1
    if len(index) != n:
        raise ValueError(f"{len(index)} timestamps for jobs of {n} periods; give one each")
    energy_kwh = arrivals.rows["power_kw"] * arrivals.rows["duration_periods"] * PERIOD_H
    return pd.DataFrame(
        {
            "arriving_jobs": np.diff(arrivals.first_job).astype(np.float64),
            "arriving_kwh": np.bincount(arrival_periods(arrivals), weights=energy_kwh, minlength=n),
        },
        index=index,
    )


def site_load_kw(trace: pd.DataFrame, index: pd.DatetimeIndex) -> pd.Series:
    """What the site draws beside its battery, from the telemetry of a rollout.

    Args:
        trace: Rows with `grid_kw` and the battery's `power_kw` by period.
        index: Periods wanted; those that the trace lacks are NaN.

    Returns:
        Shape (n,), named `site_load_kw`.
    """
    return (trace["grid_kw"] - trace["power_kw"]).reindex(index).rename("site_load_kw")
