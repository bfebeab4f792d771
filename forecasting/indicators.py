"""Indicators of technical analysis on a price series; each value uses that price and earlier ones alone.

Definitions: J. Welles Wilder, "New Concepts in Technical Trading Systems" (1978), for RSI and average true range. A
half-hourly price has no high and low, so the true range of a period is the size of its move.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.schema import PERIODS_PER_DAY

Array = NDArray[np.float64]
PERIODS: Final = 14  # Wilder's smoothing of RSI and average true range
SLOW_PERIODS: Final = 18
RANK_DAYS: Final = 14


def rsi(price: Array) -> Array:
    """Relative strength index, 0 to 100: 50 where nothing moved, NaN before the first move is known."""
    move = _moves(price)
    rise, fall = (_wilder(np.maximum(part, 0.0)) for part in (move, -move))
    total = rise + fall
    return np.where(
        total > 0.0, 100.0 * rise / np.where(total > 0.0, total, 1.0), np.where(np.isnan(total), np.nan, 50)
    )


def average_true_range(price: Array) -> Array:
    """Wilder's mean size of a half-hour's move, in the price's unit."""
    return _wilder(np.abs(_moves(price)))


def above_slow_average(price: Array) -> Array:
    """EMA(1) less EMA(18), in the price's unit; the average over one period is the price itself."""
    series = pd.Series(price)
    return (series - series.ewm(span=SLOW_PERIODS, ignore_na=True).mean()).to_numpy(dtype=np.float64)


def rsi_divergence(price: Array) -> Array:
    """How far price and RSI disagree over 14 periods, -1 to 1: above 0 the price falls while RSI rises (bullish)."""
    strength, move = _moves(rsi(price), PERIODS) / 100.0, _moves(price, PERIODS)
    path = pd.Series(np.abs(_moves(price))).rolling(PERIODS, min_periods=1).sum().to_numpy(dtype=np.float64)
    direction = np.where(path > 0.0, move / np.where(path > 0.0, path, 1.0), 0.0 * move)
    return np.where(strength * direction < 0.0, 0.5 * (strength - direction), 0.0 * strength)


def volatility(price: Array) -> Array:
    """Standard deviation of the half-hourly moves of the last day, in the price's unit."""
    return pd.Series(_moves(price)).rolling(PERIODS_PER_DAY, min_periods=2).std().to_numpy(dtype=np.float64)


def volatility_rank(price: Array) -> Array:
    """Share of the last fortnight whose volatility was not higher than now, above 0 to 1."""
    window = RANK_DAYS * PERIODS_PER_DAY
    return (
        pd.Series(volatility(price))
        .rolling(window, min_periods=2)
        .rank(method="max", pct=True)
        .to_numpy(dtype=np.float64)
    )


def _moves(values: Array, periods: int = 1) -> Array:
    """Each value less the one `periods` before it, shape (n,)."""
    return values - np.concatenate([np.full(periods, np.nan), values])[: values.size]


def _wilder(values: Array) -> Array:
    return pd.Series(values).ewm(alpha=1.0 / PERIODS, ignore_na=True).mean().to_numpy(dtype=np.float64)
