"""Measures and limits of risk: what may be lost, and how much exposure is allowed.

Gains are positive GBP, as everywhere; measures of loss are positive where money is lost. Scenarios are equally likely.
"""

from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SYMMETRY_TOLERANCE = 1e-9
EIGENVALUE_TOLERANCE = 1e-9


def value_at_risk(gains_gbp: ArrayLike, confidence: float = 0.95) -> float:
    """The smallest loss that is not exceeded with a probability of `confidence`, GBP.

    Args:
        gains_gbp: One gain for each equally likely scenario, shape (n,).
        confidence: Above 0 and below 1.

    Raises:
        ValueError: There is no scenario, one is not finite, or the confidence is out of range.
    """
    losses = _losses(gains_gbp, confidence)
    return float(losses[_rank(losses.size, confidence)])


def conditional_value_at_risk(gains_gbp: ArrayLike, confidence: float = 0.95) -> float:
    """Mean loss in the worst 1 - `confidence` of probability, GBP; a scenario on its edge counts in part.

    Source: Rockafellar and Uryasev, "Conditional Value-at-Risk for General Loss Distributions", Journal of Banking and
    Finance 26(7), 2002, Proposition 8.

    Args:
        gains_gbp: One gain for each equally likely scenario, shape (n,).
        confidence: 0 for the mean, below 1.

    Raises:
        ValueError: See `value_at_risk`.
    """
    if confidence == 0.0:
        return -float(_checked(gains_gbp, "gains").mean())
    losses = _losses(gains_gbp, confidence)
    rank = _rank(losses.size, confidence)
    tail = 1.0 - confidence
    part = (rank + 1.0) / losses.size - confidence  # of the edge scenario's probability that lies in the tail
    return float((part * losses[rank] + losses[rank + 1 :].sum() / losses.size) / tail)


def drawdown_gbp(value_gbp: ArrayLike) -> Floats:
    """How far a value lies below its highest so far, 0 or more, shape (n,).

    Raises:
        ValueError: There is no value, or one is not finite.
    """
    value = _checked(value_gbp, "values")
    return np.maximum.accumulate(value) - value


def max_drawdown_gbp(value_gbp: ArrayLike) -> float:
    """The deepest fall from a high to a later low; see `drawdown_gbp`."""
    return float(drawdown_gbp(value_gbp).max())


def exposure_gbp(position_mwh: ArrayLike, price_gbp_per_mwh: ArrayLike) -> Floats:
    """Money that hangs on each price: signed, long above 0, shape (n,).

    Raises:
        ValueError: The shapes differ, or a number is not finite.
    """
    position, price = _checked(position_mwh, "positions"), _checked(price_gbp_per_mwh, "prices")
    if position.shape != price.shape:
        raise ValueError(f"{position.size} positions and {price.size} prices; give one price for each position")
    return position * price


def limited(exposures_gbp: ArrayLike, each_gbp: float, total_gbp: float) -> Floats:
    """Exposures cut to a limit for each, then scaled together to a limit for the sum of their sizes, shape (n,).

    Raises:
        ValueError: A limit is not 0 or more, or an exposure is not finite.
    """
    if not (each_gbp >= 0.0 and total_gbp >= 0.0):
        raise ValueError(f"limits of {each_gbp} each and {total_gbp} in all; give numbers of 0 or more")
    cut = np.clip(_checked(exposures_gbp, "exposures"), -each_gbp, each_gbp)
    size = float(np.abs(cut).sum())
    return cut * min(total_gbp / size, 1.0) if size > 0.0 else cut


def joint_exposure_gbp(exposures_gbp: ArrayLike, correlation: ArrayLike) -> float:
    """Size of several exposures together, given how their prices move together.

    The standard deviation of the sum in units of one position's (Markowitz, "Portfolio Selection", Journal of Finance
    7(1), 1952): like exposures add up fully, opposed ones cancel, unrelated ones add up as squares.

    Args:
        exposures_gbp: Signed, shape (n,).
        correlation: Of the prices, shape (n, n).

    Raises:
        ValueError: The matrix is no correlation matrix of that size, or an exposure is not finite.
    """
    exposures = _checked(exposures_gbp, "exposures")
    matrix = _checked_correlation(correlation, exposures.size)
    return float(np.sqrt(max(float(exposures @ matrix @ exposures), 0.0)))


def within_joint_limit(exposures_gbp: ArrayLike, correlation: ArrayLike, limit_gbp: float) -> Floats:
    """Exposures scaled together so that their joint size keeps a limit, shape (n,); see `joint_exposure_gbp`.

    Raises:
        ValueError: The limit is not 0 or more; see also `joint_exposure_gbp`.
    """
    if not limit_gbp >= 0.0:
        raise ValueError(f"a limit of {limit_gbp}; give a number of 0 or more")
    joint = joint_exposure_gbp(exposures_gbp, correlation)
    exposures = _checked(exposures_gbp, "exposures")
    return exposures * min(limit_gbp / joint, 1.0) if joint > 0.0 else exposures


def _losses(gains_gbp: ArrayLike, confidence: float) -> Floats:
    """Losses in rising order."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}; a share above 0 and below 1 is needed, like 0.95")
    return np.sort(-_checked(gains_gbp, "gains"))


def _rank(n: int, confidence: float) -> int:
    """Place of the value at risk among n losses in rising order; a hair below a whole number counts as whole."""
    return min(max(ceil(n * confidence - 1e-9) - 1, 0), n - 1)


def _checked(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} of shape {array.shape}; a row of finite numbers is needed, at least one")
    return array


def _checked_correlation(correlation: ArrayLike, n: int) -> Floats:
    matrix = np.asarray(correlation, dtype=np.float64)
    if matrix.shape != (n, n) or not np.isfinite(matrix).all():
        raise ValueError(f"a correlation matrix of shape {matrix.shape}; finite numbers of shape {(n, n)} are needed")
    if np.abs(matrix - matrix.T).max() > SYMMETRY_TOLERANCE or np.abs(np.diag(matrix) - 1.0).max() > SYMMETRY_TOLERANCE:
        raise ValueError("a correlation matrix must be symmetric with ones on its diagonal")
    lowest = float(np.linalg.eigvalsh(matrix).min())
    if lowest < -EIGENVALUE_TOLERANCE:
        raise ValueError(f"no prices can be correlated like this: the matrix has the eigenvalue {lowest:.3g} below 0")
    return matrix
