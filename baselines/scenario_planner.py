"""A battery planned under several price paths at once."""

from collections.abc import Sequence

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from baselines.battery_block import BatteryBlock
from baselines.finite import check_finite
from baselines.program import SOLVERS, Program
from baselines.tail_risk import Risk
from data.schema import PERIOD_H
from envs.information import FORECAST_PERIODS
from models.battery import Battery
from models.settlement import Adders

Floats = NDArray[np.float64]


class ScenarioPlanner:
    """One battery under several price paths: the first half-hours are decided before it is known which comes true.

    A two-stage linear program (Birge & Louveaux, Introduction to Stochastic Programming, ch. 2): every path has a plan
    of its own, all begin alike, and the expected cost is least, or what `Risk` makes of it.

    Attributes:
        cost_gbp: Of the last plan found, less the worth of what it leaves in store.
        relaxed_plans: Plans so far that began outside the band of energy, and were made from its nearest edge.
    """

    def __init__(
        self,
        battery: Battery,
        adders: Adders,
        paths: int,
        solvers: Sequence[str] = SOLVERS,
        shared: int = 1,
        risk: Risk | None = None,
    ) -> None:
        """Compile the program for a number of paths of `FORECAST_PERIODS` half-hours.

        Args:
            battery: What is planned for.
            adders: Costs beside the price.
            paths: How many.
            solvers: CVXPY solvers, tried in turn.
            shared: Half-hours that are decided before it is known which path comes true.
            risk: How much the worst paths count; not more than others if not given.

        Raises:
            ValueError: A weight or a tail is out of range.
        """
        self.cost_gbp, self.relaxed_plans = 0.0, 0
        self._blocks = [BatteryBlock(battery, FORECAST_PERIODS) for _ in range(paths)]
        # Money of each path times its probability: prices come multiplied, as the program must be linear in them. All
        # is counted as often as there are paths, or the coefficients would get small for the solvers.
        self._paths = paths
        self._price = cp.Parameter((paths, FORECAST_PERIODS))  # GBP/kWh
        self._weight = cp.Parameter(paths, nonneg=True)
        self._held = cp.Parameter(paths, nonneg=True)  # worth of a stored kWh at the end
        network = adders.network_gbp_per_mwh / 1000.0
        first, costs = self._blocks[0], []
        constraints: list[cp.Constraint] = []
        for i, block in enumerate(self._blocks):
            own = self._weight[i] * (network * cp.sum(block.charged_kwh) + block.wear_gbp)
            costs.append(self._price[i] @ block.bought_kwh + own - self._held[i] * block.energy_kwh[-1])
            constraints += block.constraints
            if i:
                constraints += [
                    block.charged_kwh[:shared] == first.charged_kwh[:shared],
                    block.bought_kwh[:shared] == first.bought_kwh[:shared],
                ]
        objective, tail = (risk or Risk()).objective(costs, self._weight)
        self._program = Program(objective, [*constraints, *tail], solvers)

    def plan(
        self,
        energy_kwh: float,
        price_gbp_per_mwh: Floats,
        weight: Floats,
        end_value_gbp_per_mwh: Floats,
        first_h: float = PERIOD_H,
    ) -> tuple[Floats, Floats, Floats] | None:
        """The cheapest plans; None, and a logged reason, if no solver finds them.

        Args:
            energy_kwh: Stored now.
            price_gbp_per_mwh: Paths, shape (paths, FORECAST_PERIODS).
            weight: Probability of each path, summing to 1.
            end_value_gbp_per_mwh: Worth of a stored MWh at the end of each path.
            first_h: What is left of the first half-hour.

        Returns:
            Power in kW, energy in kWh and wear in GBP, the first two of shape (paths, FORECAST_PERIODS).

        Raises:
            ValueError: An input is not finite.
        """
        check_finite(
            energy_kwh=energy_kwh, price_gbp_per_mwh=price_gbp_per_mwh, end_value_gbp_per_mwh=end_value_gbp_per_mwh
        )
        within = [block.feed(energy_kwh, 0.0, first_h) for block in self._blocks]
        self.relaxed_plans += int(not all(within))
        share = self._paths * weight
        self._price.value = share[:, None] * price_gbp_per_mwh / 1000.0
        self._weight.value = share
        self._held.value = share * np.maximum(end_value_gbp_per_mwh, 0.0) / 1000.0
        if not self._program.solve():
            return None
        self.cost_gbp = self._program.cost_gbp / self._paths
        return (
            np.array([block.power_kw for block in self._blocks]),
            np.array([block.energy_kwh.value for block in self._blocks]),
            np.array([float(block.wear_gbp.value) for block in self._blocks]),
        )
