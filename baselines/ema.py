"""Crossing of two exponential moving averages, traded against: the imbalance price falls back to its average.

The short average has a span of one, which is the newest price itself. In trending markets the crossing is followed; the
imbalance price reverts, and following it loses money with a battery (see the report), so a price above the long
average is sold and one below is bought. How far off it must be, and the suggested stop-loss and take-profit, are
multiples of the average true range (Wilder, "New Concepts in Technical Trading Systems", 1978).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Self

import numpy as np

from baselines.strategy import Signal
from envs.fields import Field, FloatArray, position
from envs.single import SystemEnv

SHARE: Final = {"skip": 0.0, "buy": 1.0, "sell": -1.0}


class EmaState(NamedTuple):
    """The market as the strategy sees it, GBP/MWh.

    Attributes:
        price: The newest known price, which is the short average.
        average: The long average, that price included.
        true_range: Wilder's average of the absolute changes of the price.
    """

    price: float
    average: float
    true_range: float


class EmaPolicy:
    """A `baselines.strategy.Strategy` on the newest published imbalance price, played at the battery's full power."""

    def __init__(
        self,
        fields: Sequence[Field],
        span: int = 18,
        range_periods: int = 14,
        entry_ranges: float = 0.5,
        stop_ranges: float = 2.0,
        profit_ranges: float = 1.0,
    ) -> None:
        """Set the rule.

        Args:
            fields: Observation layout.
            span: Of the long average, in decisions; its newest price weighs 2 / (span + 1).
            range_periods: Of the average true range; its newest change weighs 1 / range_periods.
            entry_ranges: It trades a price that is further than this many ranges from the average.
            stop_ranges: Suggested stop-loss, in ranges from the price.
            profit_ranges: Suggested take-profit, likewise.

        Raises:
            ValueError: A span is below 1, or a multiple is not a finite number of 0 or more.
        """
        multiples = (entry_ranges, stop_ranges, profit_ranges)
        if min(span, range_periods) < 1 or not all(0.0 <= m < float("inf") for m in multiples):
            raise ValueError(
                f"span {span} and range_periods {range_periods} must be 1 or more, and the multiples of the range "
                f"{multiples} finite numbers of 0 or more"
            )
        self._weight, self._range_weight = 2.0 / (span + 1.0), 1.0 / range_periods
        self._entry, self._stop, self._profit = multiples
        self._price = position(fields, "known_imbalance_price_gbp_per_mwh")
        self._last: EmaState | None = None

    @classmethod
    def for_env(cls, env: SystemEnv, **settings: float) -> Self:
        """For a battery environment's observation layout; `settings` as in `__init__`."""
        return cls(env.system.observation_fields, **settings)

    def reset(self, seed: int) -> None:
        """Forget every price."""
        self._last = None

    def prepare_state(self, observation: FloatArray) -> EmaState:
        """Averages with the newest known price taken in; nothing is remembered yet."""
        price, last = float(observation[self._price]), self._last
        if last is None:
            return EmaState(price, price, 0.0)
        change = abs(price - last.price)
        return EmaState(
            price,
            last.average + self._weight * (price - last.average),
            last.true_range + self._range_weight * (change - last.true_range),
        )

    def generate_signal(self, state: EmaState) -> Signal:
        """Buy well below the average, sell well above it."""
        away = state.price - state.average
        if abs(away) <= self._entry * state.true_range:
            return Signal("skip")
        rise = -1.0 if away > 0.0 else 1.0  # where the price is expected to go
        stop = state.price - rise * self._stop * state.true_range
        return Signal("buy" if rise > 0.0 else "sell", stop, state.price + rise * self._profit * state.true_range)

    def post_trade_update(self, state: EmaState, signal: Signal) -> None:
        """Remember the averages."""
        self._last = state

    def act(self, observation: FloatArray) -> FloatArray:
        """Full charge, full discharge or rest, shape (1,)."""
        state = self.prepare_state(observation)
        signal = self.generate_signal(state)
        self.post_trade_update(state, signal)
        return np.array([SHARE[signal.action]], dtype=np.float32)
