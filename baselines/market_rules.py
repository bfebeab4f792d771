"""A plain rule for flexibility: offer what can be delivered at a mark-up, deliver it, recharge when it is cheap."""

from typing import Self

import numpy as np

from data.schema import PERIOD_H
from envs.fields import FloatArray, position, positions
from envs.information import FORECAST_PREFIX
from envs.market import MAX_PRICE_GBP_PER_MWH, MarketSystem
from envs.single import SystemEnv
from models.battery import Battery, as_fraction


class MarkUpPolicy:
    """Offers all it can still deliver at a mark-up on the forecast price, discharges what it sold, recharges cheaply.

    It charges at full power in the cheapest part of the forecast day, and discharges for sold turn-down only.
    """

    def __init__(self, system: MarketSystem, mark_up: float = 1.2, cheap_percentile: float = 25.0) -> None:
        """Set the rule.

        Args:
            system: Whose battery and observation layout it is for.
            mark_up: Price asked, in mean forecast prices of the next 24 h.
            cheap_percentile: Charge when the price now is at or below this percentile of them.

        Raises:
            ValueError: If the mark-up is not a finite number of 0 or more, or the percentile is not 0 to 100.
        """
        if not 0.0 <= mark_up < float("inf"):
            raise ValueError(f"mark_up is {mark_up}; give a finite number, 0 or above")
        if not 0.0 <= cheap_percentile <= 100.0:
            raise ValueError(f"cheap_percentile is {cheap_percentile}; 0 to 100 is allowed")
        self._battery: Battery = system.battery
        self._mark_up, self._percentile = mark_up, cheap_percentile
        fields = system.observation_fields
        self._forecast = positions(fields, FORECAST_PREFIX)
        self._charge = position(fields, "charge_fraction")
        self._sold_now, self._sold_next = position(fields, "sold_now_kw"), position(fields, "sold_next_kw")

    @classmethod
    def for_env(cls, env: SystemEnv, mark_up: float = 1.2, cheap_percentile: float = 25.0) -> Self:
        """For a market environment's battery and layout.

        Raises:
            ValueError: If the environment is not a market's.
        """
        if not isinstance(env.system, MarketSystem):
            raise ValueError(f"this rule offers turn-down of a MarketSystem, not of a {type(env.system).__name__}")
        return cls(env.system, mark_up, cheap_percentile)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Offered power, its price and the battery's power, shape (3,)."""
        b = self._battery
        forecast = observation[self._forecast]
        sold_kw = float(observation[self._sold_now]) + float(observation[self._sold_next])
        stock_kwh = (float(observation[self._charge]) - b.min_fraction) * b.capacity_kwh * b.discharge_efficiency
        offered_kw = min(max(stock_kwh / PERIOD_H - sold_kw, 0.0), b.max_discharge_kw)
        price = min(max(self._mark_up * float(forecast.mean()), 0.0), MAX_PRICE_GBP_PER_MWH)
        power_fraction = 0.0
        if observation[self._sold_now] > 0.0:
            power_fraction = as_fraction(b, -float(observation[self._sold_now]))
        elif forecast[0] <= np.percentile(forecast, self._percentile):
            power_fraction = 1.0
        return np.array([offered_kw, price, power_fraction], dtype=np.float32)
