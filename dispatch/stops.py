"""Where a trade should be given up and where its gain be taken: multiples of the average true range, by regime.

The average true range is Wilder's (see `forecasting.indicators`); the regime is how volatile the market is against its
own recent days. In a turbulent market both prices lie further away, or noise alone would reach them.
"""

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.schema import PERIODS_PER_DAY
from forecasting.indicators import average_true_range, volatility_rank

Regime = Literal["calm", "normal", "turbulent"]
STOP_RANGES: Final[dict[Regime, float]] = {"calm": 1.5, "normal": 2.0, "turbulent": 3.0}
PROFIT_RANGES: Final[dict[Regime, float]] = {"calm": 1.0, "normal": 1.0, "turbulent": 1.5}
CALM, TURBULENT = 1.0 / 3.0, 2.0 / 3.0  # thirds of the recent past


class Stops(NamedTuple):
    """Prices to leave a trade at, GBP/MWh; None for both where there is no trade."""

    stop_loss_gbp_per_mwh: float | None
    take_profit_gbp_per_mwh: float | None
    true_range_gbp_per_mwh: float
    regime: Regime


def regime_of(prices: NDArray[np.float64]) -> Regime:
    """How volatile the newest day of a price series is against the days before it; normal where it is too short."""
    if prices.size <= PERIODS_PER_DAY:
        return "normal"
    rank = float(volatility_rank(prices)[-1])
    return "calm" if rank <= CALM else "turbulent" if rank > TURBULENT else "normal"


def stops(prices: NDArray[np.float64], side: Literal["skip", "buy", "sell"]) -> Stops:
    """Stop-loss and take-profit of a trade at the newest price.

    Args:
        prices: Known so far, GBP/MWh, oldest first, without gaps, shape (n,), at least 2.
        side: Buy gives up when the price falls, sell when it rises.

    Raises:
        ValueError: Fewer than two prices, or one that is not finite.
    """
    if prices.size < 2 or not np.isfinite(prices).all():
        raise ValueError(
            f"{prices.size} prices, {int((~np.isfinite(prices)).sum())} not finite; two known ones are needed"
        )
    true_range, regime = float(average_true_range(prices)[-1]), regime_of(prices)
    if side == "skip":
        return Stops(None, None, true_range, regime)
    rise, price = 1.0 if side == "buy" else -1.0, float(prices[-1])
    return Stops(
        price - rise * STOP_RANGES[regime] * true_range,
        price + rise * PROFIT_RANGES[regime] * true_range,
        true_range,
        regime,
    )
