"""Prices as a trader reads them: against the day ahead, not in pounds.

A policy trained on raw prices learns the level of its training years. Dividing by the spread of the forecast day
makes a calm 2020 and the crisis of 2022 look alike, and both teach.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from envs.fields import Field, FloatArray, positions
from envs.information import FORECAST_PREFIX

PRICE_UNIT: Final = "_gbp_per_mwh"
DIFFERENCES: Final = ("deviation", "spread")  # prices that are differences already and have no level to take off
FLOOR_GBP_PER_MWH: Final = 5.0  # keeps a flat forecast day from blowing noise up


class RelativePrices:
    """Takes the mean of the forecast day off every price and divides by the day's mean absolute spread.

    Works on NumPy arrays and torch tensors alike, because training and the exported policy must agree.

    Attributes:
        centre: Shape (fields, fields): multiplying by it takes the forecast mean off the price fields.
        priced: Shape (fields,): 1 for prices and their differences, else 0.
        spread_weights: Shape (fields,): averages the forecast fields.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        """Find the prices by their unit.

        Raises:
            ValueError: If the layout has no price forecast.
        """
        forecast = positions(fields, FORECAST_PREFIX)
        prices = [PRICE_UNIT in f.name for f in fields]
        levels = [
            is_price and not any(d in f.name for d in DIFFERENCES) for is_price, f in zip(prices, fields, strict=True)
        ]
        self.spread_weights = np.zeros(len(fields), dtype=np.float32)
        self.spread_weights[forecast] = 1.0 / (forecast.stop - forecast.start)
        self.centre = np.eye(len(fields), dtype=np.float32) - np.outer(self.spread_weights, np.float32(levels))
        self.priced = np.float32(prices)

    def __call__(self, observations: Any, centre: Any, spread_weights: Any, priced: Any) -> Any:
        """Apply to (lanes, fields), given the three attributes in the same array library."""
        centred = observations @ centre
        spread = (abs(centred) @ spread_weights)[:, None] + FLOOR_GBP_PER_MWH
        return centred / (priced * (spread - 1.0) + 1.0)

    def of(self, observations: FloatArray) -> FloatArray:
        """Apply to a NumPy array of shape (lanes, fields)."""
        return self(observations, self.centre, self.spread_weights, self.priced)


class RelativePricesVecEnv(VecEnvWrapper):
    """Lanes whose observations pass through `RelativePrices`; the observation space loses its bounds."""

    def __init__(self, venv: VecEnv, relative: RelativePrices) -> None:
        super().__init__(venv)
        self._relative = relative

    def reset(self) -> VecEnvObs:
        """Restart every lane."""
        return self._relative.of(self.venv.reset())

    def step_wait(self) -> VecEnvStepReturn:
        """Advance every lane."""
        observations, rewards, dones, infos = self.venv.step_wait()
        for lane in np.flatnonzero(dones):
            infos[lane]["terminal_observation"] = self._relative.of(infos[lane]["terminal_observation"][None])[0]
        return self._relative.of(observations), rewards, dones, infos
