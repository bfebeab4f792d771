"""How much power may be asked for: limits of each device and of all together, and of the money that hangs on prices.

What was dispatched in the last periods is not settled yet, and the imbalance prices it will be settled at move together
with the next one. The cap is on the joint exposure of all of them (`baselines.risk_models.joint_exposure_gbp`).
"""

from collections.abc import Mapping
from math import inf, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from baselines.risk_models import limited

Floats = NDArray[np.float64]


class Limits(NamedTuple):
    """What is allowed; infinite where nothing limits it.

    Attributes:
        device_kw: Highest power of any one device, in either direction.
        total_kw: Of all devices together.
        exposure_gbp: Joint exposure of what is not settled yet.
        drawdown_gbp: Fall from the session's high at which trading stops until the next session.
    """

    device_kw: float = inf
    total_kw: float = inf
    exposure_gbp: float = inf
    drawdown_gbp: float = inf


def checked(limits: Limits) -> Limits:
    """Return the limits, or say which is wrong.

    Raises:
        ValueError: One is below 0 or no number.
    """
    for name, value in limits._asdict().items():
        if not value >= 0.0:
            raise ValueError(f"risk limit {name} is {value}; a number of 0 or more is needed")
    return limits


def within_power(asked_kw: Mapping[str, float], limits: Limits) -> dict[str, float]:
    """Powers of several devices cut to the limit of each, then scaled together to the limit of all.

    Raises:
        ValueError: A power is not finite.
    """
    if not asked_kw:
        return {}
    cut = limited(list(asked_kw.values()), limits.device_kw, limits.total_kw)
    return dict(zip(asked_kw, cut.tolist(), strict=True))


def autocorrelation(prices: Floats, lags: int) -> Floats:
    """Correlation matrix of a price with itself 0 to `lags` periods later, shape (lags + 1, lags + 1).

    The biased estimator divides by the same n at every lag, which makes the matrix a possible one (Brockwell and
    Davis, "Time Series: Theory and Methods", 1991, section 7.2).

    Args:
        prices: Known so far, oldest first, finite, shape (n,).
        lags: Of the last column.

    Returns:
        Ones where the price never moved or too little is known: then everything moves together.
    """
    away = prices - prices.mean() if prices.size else prices
    square = float(away @ away)
    if prices.size <= 2 * lags or square <= 0.0:
        return np.ones((lags + 1, lags + 1))
    by_lag = np.array([float(away[: away.size - k] @ away[k:]) / square for k in range(lags + 1)])
    places = np.arange(lags + 1)
    matrix: Floats = by_lag[np.abs(places[:, None] - places[None, :])]
    return matrix


def room_gbp(held_gbp: Floats, correlation: Floats, limit_gbp: float) -> tuple[float, float]:
    """Lowest and highest exposure that may be added to those held.

    Args:
        held_gbp: Signed exposures that stand, oldest first, shape (n,).
        correlation: Of their prices and, last, the price of the added one, shape (n + 1, n + 1).
        limit_gbp: Of all together.

    Returns:
        A range that holds 0, unless what is held exceeds the limit: then towards what brings it back most.
    """
    if limit_gbp == inf:
        return -inf, inf
    joint = float(held_gbp @ correlation[:-1, :-1] @ held_gbp)
    slope = float(held_gbp @ correlation[:-1, -1])
    # joint + 2 slope x + x^2 <= limit^2
    inside = slope * slope - joint + limit_gbp * limit_gbp
    if joint > limit_gbp * limit_gbp:
        # Moving to -slope lowers the joint exposure most; nothing in the other direction is allowed.
        return min(-slope, 0.0), max(-slope, 0.0)
    half = sqrt(max(inside, 0.0))
    return min(-slope - half, 0.0), max(-slope + half, 0.0)
