"""A battery planned under several price paths at once."""

from collections.abc import Sequence

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from baselines.battery_block import BatteryBlock
from baselines.program import SOLVERS, Program
from envs.information import FORECAST_PERIODS
from models.battery import Battery
from models.settlement import Adders

Floats = NDArray[np.float64]


class ScenarioPlanner:
    """One battery under several price paths: the first half-hour is decided before it is known which comes true.

    A two-stage linear program (Birge & Louveaux, Introduction to Stochastic Programming, ch. 2): every path has a plan
    of its own, all begin alike, and the expected cost is least.
    """

    def __init__(self, battery: Battery, adders: Adders, paths: int, solvers: Sequence[str] = SOLVERS) -> None:
        """Compile the program for a number of paths of `FORECAST_PERIODS` half-hours."""
        self._blocks = [BatteryBlock(battery, FORECAST_PERIODS) for _ in range(paths)]
        self._price = cp.Parameter((paths, FORECAST_PERIODS))  # GBP/kWh, times the path's weight
        self._weight = cp.Parameter(paths, nonneg=True)
        network = adders.network_gbp_per_mwh / 1000.0
        first, cost_gbp, constraints = self._blocks[0], 0.0, []
        for i, block in enumerate(self._blocks):
            cost_gbp += self._price[i] @ block.bought_kwh
            cost_gbp += self._weight[i] * (network * cp.sum(block.charged_kwh) + block.wear_gbp)
            constraints += block.constraints
            if i:
                constraints += [
                    block.charged_kwh[0] == first.charged_kwh[0],
                    block.bought_kwh[0] == first.bought_kwh[0],
                ]
        self._held = cp.Parameter(paths, nonneg=True)  # worth of a stored kWh at the end, times the weight
        cost_gbp -= sum(self._held[i] * block.energy_kwh[-1] for i, block in enumerate(self._blocks))
        self._program = Program(cost_gbp, constraints, solvers)

    def plan(
        self, energy_kwh: float, price_gbp_per_mwh: Floats, weight: Floats, end_value_gbp_per_mwh: Floats
    ) -> tuple[Floats, Floats, Floats] | None:
        """The cheapest plans; None, and a logged reason, if no solver finds them.

        Args:
            energy_kwh: Stored now.
            price_gbp_per_mwh: Paths, shape (paths, FORECAST_PERIODS).
            weight: Probability of each path, summing to 1.
            end_value_gbp_per_mwh: Worth of a stored MWh at the end of each path.

        Returns:
            Power in kW, energy in kWh and wear in GBP, the first two of shape (paths, FORECAST_PERIODS).
        """
        for block in self._blocks:
            block.feed(energy_kwh, 0.0)
        self._price.value = weight[:, None] * price_gbp_per_mwh / 1000.0
        self._weight.value = weight
        self._held.value = weight * np.maximum(end_value_gbp_per_mwh, 0.0) / 1000.0
        if not self._program.solve():
            return None
        return (
            np.array([block.power_kw for block in self._blocks]),
            np.array([block.energy_kwh.value for block in self._blocks]),
            np.array([float(block.wear_gbp.value) for block in self._blocks]),
        )
