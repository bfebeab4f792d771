"""Scores and their intervals, from the rows of a rollout."""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

WEEK: Final = "168h"  # not "7D": a day is not a fixed span to pandas
RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95


class Interval(NamedTuple):
    """A point estimate with its bootstrap interval."""

    value: float
    low: float
    high: float


def weekly(trace: pd.DataFrame, column: str = "reward_gbp") -> NDArray[np.float64]:
    """Sums over consecutive seven-day blocks from the start of a rollout, the last one possibly shorter.

    Args:
        trace: Rows of `evaluation.rollout.play`.
        column: What to add up.

    Returns:
        Shape (n_weeks,).
    """
    return trace[column].resample(WEEK, origin="start").sum().to_numpy(dtype=np.float64)


def week_steps(trace: pd.DataFrame) -> int:
    """How many rows of a rollout are a week."""
    return round(pd.Timedelta(WEEK) / pd.Timedelta(hours=step_h(trace)))


def step_h(trace: pd.DataFrame) -> float:
    """Hours between two decisions of a rollout of at least two rows."""
    return float((trace.index[1] - trace.index[0]) / pd.Timedelta(hours=1))


def _resampled_sums(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Sums of `values` (weeks, k) over RESAMPLES draws of whole weeks with replacement, shape (RESAMPLES, k)."""
    weeks = values.shape[0]
    drawn = np.random.default_rng(seed).integers(weeks, size=(RESAMPLES, weeks))
    return values[drawn].sum(axis=1)


def total_interval(weekly_gbp: NDArray[np.float64], seed: int = 0) -> Interval:
    """Total over the split with a percentile bootstrap over weeks (Efron 1979), shape (weeks,) in."""
    sums = _resampled_sums(weekly_gbp[:, None], seed)[:, 0]
    return Interval(float(weekly_gbp.sum()), *percentiles(sums))


def difference_interval(weekly_gbp: NDArray[np.float64], rival_gbp: NDArray[np.float64], seed: int = 0) -> Interval:
    """Total lead over a rival on the same weeks: paired, so that what moves both does not widen it."""
    return total_interval(weekly_gbp - rival_gbp, seed)


def capture(value_gbp: float, idle_gbp: float, oracle_gbp: float) -> float:
    """Share of what perfect foresight would have added to doing nothing; NaN where it adds nothing."""
    possible = oracle_gbp - idle_gbp
    return (value_gbp - idle_gbp) / possible if possible > 0.0 else float("nan")


def capture_interval(
    weekly_gbp: NDArray[np.float64],
    idle_gbp: NDArray[np.float64],
    oracle_gbp: NDArray[np.float64],
    bound_gbp: float,
    seed: int = 0,
) -> Interval:
    """Capture with a paired bootstrap over weeks.

    Args:
        weekly_gbp: The policy's weeks, shape (weeks,).
        idle_gbp: Weeks of doing nothing.
        oracle_gbp: Weeks of the played oracle; scaled to the bound where what it could play earned less, they set the
            interval's width.
        bound_gbp: The proved bound on the whole split, which the point estimate is measured against.
        seed: Of the bootstrap.

    Returns:
        The capture of the whole split and its interval.
    """
    gained, possible = weekly_gbp - idle_gbp, oracle_gbp - idle_gbp
    point = capture(float(weekly_gbp.sum()), float(idle_gbp.sum()), bound_gbp)
    sums = _resampled_sums(np.column_stack([gained, possible]), seed)
    if possible.sum() > 0.0:
        sums[:, 1] *= (bound_gbp - idle_gbp.sum()) / possible.sum()
    ratios = sums[sums[:, 1] > 0.0]
    if not ratios.size:
        return Interval(point, float("nan"), float("nan"))
    return Interval(point, *percentiles(ratios[:, 0] / ratios[:, 1]))


def percentiles(samples: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of the percentile interval of bootstrap samples, shape (resamples,)."""
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(samples, [tail, 100.0 - tail])
    return float(low), float(high)
