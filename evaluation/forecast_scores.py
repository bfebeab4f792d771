"""How good forecasts were: losses per forecast, rows of scores by group, and whether two forecasters differ.

Pinball loss: Koenker and Bassett, Econometrica 46 (1978) 33-50. CRPS as an integral of it over all levels: Gneiting and
Raftery, JASA 102 (2007) 359-378; here a sum over seven levels, each for the levels nearest to it.
"""

from collections.abc import Mapping
from itertools import pairwise
from math import erfc, sqrt
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecasting.forecast import LEADS, QUANTILES, Forecast

Array = NDArray[np.float64]
LEVELS: Final = np.array(QUANTILES)
# Share of all levels that lie nearest to each.
LEVEL_WIDTHS: Final = np.diff([0.0, *(LEVELS[1:] + LEVELS[:-1]) / 2.0, 1.0])
LEAD_GROUPS: Final = {"now": (0, 1), "0.5 to 2 h": (1, 5), "2.5 to 6 h": (5, 13), "6.5 to 24 h": (13, LEADS)}
INTERVALS: Final = {0.9: (0, 6), 0.8: (1, 5), 0.5: (2, 4)}  # nominal coverage: places of its two quantiles


class Losses(NamedTuple):
    """What each forecast lost, shape (n, 48) each unless told; NaN where nothing came or nothing was forecast.

    Attributes:
        pinball: Mean pinball loss over the seven levels.
        crps: Approximate continuous ranked probability score.
        absolute: Absolute error of the mean.
        square: Squared error of the mean.
        below: Whether the outcome was not above each quantile, shape (n, 48, 7).
        inside: Whether it was inside each of `INTERVALS`, ends included, shape (n, 48, 3).
    """

    pinball: Array
    crps: Array
    absolute: Array
    square: Array
    below: NDArray[np.bool_]
    inside: NDArray[np.bool_]

    def rows(self, rows: slice) -> "Losses":
        """Those of some rows."""
        parts = (self.pinball[rows], self.crps[rows], self.absolute[rows], self.square[rows])
        return Losses(*parts, below=self.below[rows], inside=self.inside[rows])


def losses(forecast: Forecast, truth: Array) -> Losses:
    """Losses of forecasts.

    Args:
        forecast: Of n rows.
        truth: What came, NaN where it is missing or not to be scored, shape (n, 48).
    """
    error = truth[:, :, None] - forecast.quantiles
    pinball = np.maximum(LEVELS * error, (LEVELS - 1.0) * error)
    inside = np.stack([(error[:, :, a] >= 0.0) & (error[:, :, b] <= 0.0) for a, b in INTERVALS.values()], axis=2)
    miss = truth - forecast.mean
    return Losses(pinball.mean(axis=2), 2.0 * pinball @ LEVEL_WIDTHS, np.abs(miss), miss**2, error <= 0.0, inside)


def score_rows(lost: Losses, labels: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """One row of scores for all forecasts, for each group of leads, and for each value of each label.

    Args:
        lost: Of n rows.
        labels: What else to group by, for example the month of each row, shape (n,).

    Returns:
        Rows with `by`, `group`, `count`, `pinball`, `mae`, `rmse`, `crps` and `coverage_90`, `coverage_80`,
        `coverage_50`: the share of outcomes inside the interval of that nominal coverage.
    """
    rows = [_row(lost, "all", "all", np.s_[:, :])]
    rows += [_row(lost, "lead", name, np.s_[:, low:high]) for name, (low, high) in LEAD_GROUPS.items()]
    for by, values in labels.items():
        rows += [_row(lost, by, str(value), np.s_[values == value, :]) for value in dict.fromkeys(values.tolist())]
    return rows


def _row(lost: Losses, by: str, group: str, where: Any) -> dict[str, Any]:
    there = np.isfinite(lost.pinball[where])
    if not there.any():
        return {"by": by, "group": group, "count": 0}
    inside = lost.inside[where][there].mean(axis=0)
    return {
        "by": by,
        "group": group,
        "count": int(there.sum()),
        "pinball": float(lost.pinball[where][there].mean()),
        "mae": float(lost.absolute[where][there].mean()),
        "rmse": float(np.sqrt(lost.square[where][there].mean())),
        "crps": float(lost.crps[where][there].mean()),
        **{f"coverage_{100 * n:.0f}": float(share) for n, share in zip(INTERVALS, inside, strict=True)},
    }


def by_lead(values: NDArray[Any]) -> Array:
    """Mean over rows for each lead, shape (48,), NaN where no row counts."""
    there = np.isfinite(values)
    count = there.sum(axis=0)
    return np.asarray(np.where(there, values, 0.0).sum(axis=0) / np.where(count > 0, count, np.nan))


def reliability(lost: Losses) -> Array:
    """Share of outcomes not above each quantile, shape (7,); reliable forecasts give `QUANTILES`."""
    there = np.isfinite(lost.pinball)
    return np.asarray(lost.below[there].mean(axis=0, dtype=np.float64))


class Comparison(NamedTuple):
    """Whether two forecasters differ.

    Attributes:
        difference: Mean loss of the first less that of the second.
        statistic: It over its standard error.
        p_value: Two-sided, of no difference.
        lags: Lags of the standard error.
    """

    difference: float
    statistic: float
    p_value: float
    lags: int


def diebold_mariano(first: Array, second: Array) -> Comparison:
    """The test of equal accuracy of Diebold and Mariano, JBES 13 (1995) 253-263, on the mean loss of each row.

    Forecasts of 48 half-hours made every half-hour overlap, so their losses hang together: the variance is that of
    Newey and West, Econometrica 55 (1987) 703-708, with Bartlett weights over 1.3 sqrt(n) lags (Lazarus, Lewis, Stock
    and Watson, JBES 36 (2018) 541-559), at least those of the overlap.

    Args:
        first: Losses of the first forecaster, shape (n, 48).
        second: Losses of the second on the same rows.

    Raises:
        ValueError: Too few rows have losses of both.
    """
    both = np.isfinite(first) & np.isfinite(second)
    rows = both.any(axis=1)
    if rows.sum() < 2 * LEADS:
        raise ValueError(f"{int(rows.sum())} rows have losses of both forecasters; {2 * LEADS} or more are needed")
    difference = np.where(both, first - second, 0.0)[rows].sum(axis=1) / both[rows].sum(axis=1)
    n = difference.size
    lags = min(max(LEADS - 1, int(np.ceil(1.3 * np.sqrt(n)))), n - 1)
    apart = difference - difference.mean()
    variance = float(apart @ apart) / n
    for lag in range(1, lags + 1):
        variance += 2.0 * (1.0 - lag / (lags + 1)) * float(apart[lag:] @ apart[:-lag]) / n
    mean = float(difference.mean())
    if variance <= 0.0:
        return Comparison(mean, 0.0 if mean == 0.0 else float("inf") * np.sign(mean), float(mean == 0.0), lags)
    statistic = mean / sqrt(variance / n)
    return Comparison(mean, statistic, erfc(abs(statistic) / sqrt(2.0)), lags)


def hard_week(pinball: Array, days: NDArray[np.datetime64]) -> slice:
    """Rows of the seven days in a row on which forecasts lost most, the first at a day's start.

    Args:
        pinball: Of any forecaster, shape (n, 48).
        days: Day of each row, ascending, shape (n,).
    """
    starts = np.flatnonzero(np.diff(days, prepend=days[0] - np.timedelta64(1, "D")) != np.timedelta64(0, "D"))
    edges = [*starts.tolist(), days.size]
    if len(edges) < 8:
        return slice(0, days.size)
    there = np.isfinite(pinball)
    lost = np.where(there, pinball, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    daily = np.array([lost[a:b].mean() for a, b in pairwise(edges)])
    first = int(np.argmax(np.convolve(daily, np.ones(7), mode="valid")))
    return slice(edges[first], edges[first + 7])
