"""A battery as part of a linear program."""

import cvxpy as cp
import numpy as np

from data.schema import PERIOD_H
from models.battery import Battery


class BatteryBlock:
    """Energy charged and discharged in each step, and the energy in store, within the model's own limits.

    Charging and discharging are separate variables, so the block is a relaxation: at negative prices a plan may do
    both at once, and the difference is what is asked of the battery.

    Attributes:
        bought_kwh: Exchanged with the grid, charging positive, shape (horizon,).
        charged_kwh: Its charging part.
        energy_kwh: Stored at the end of each step, shape (horizon,).
        wear_gbp: Ageing cost.
        cost_gbp: Wear, less the worth of what is in store at the end.
        constraints: How energy follows from power, and what is left of the first step.
    """

    def __init__(self, battery: Battery, horizon: int) -> None:
        """Lay out the block for the simulated battery's own parameters."""
        self._low_kwh = battery.min_fraction * battery.capacity_kwh
        self._high_kwh = battery.max_fraction * battery.capacity_kwh
        self._start_kwh = cp.Parameter()
        self._first_h = cp.Parameter(nonneg=True)  # left of the first step; alone on its side, the program stays DPP
        self._end_value = cp.Parameter(nonneg=True)  # GBP per stored kWh
        # Limits stand as bounds of variables, which costs a solver less than rows; a bound cannot be a parameter.
        self.charged_kwh = cp.Variable(horizon, bounds=[0.0, PERIOD_H * battery.max_charge_kw])
        discharged_kwh = cp.Variable(horizon, bounds=[0.0, PERIOD_H * battery.max_discharge_kw])
        # A variable and not a sum: the program stays sparse.
        self.energy_kwh = cp.Variable(horizon, bounds=[self._low_kwh, self._high_kwh])
        stored_kwh = battery.charge_efficiency * self.charged_kwh - discharged_kwh / battery.discharge_efficiency
        self.bought_kwh = self.charged_kwh - discharged_kwh
        self.wear_gbp = battery.wear_gbp_per_kwh * cp.sum(self.charged_kwh + discharged_kwh)
        self.cost_gbp = self.wear_gbp - self._end_value * self.energy_kwh[-1]
        self.constraints = [
            self.energy_kwh[0] == self._start_kwh + stored_kwh[0],
            self.energy_kwh[1:] == self.energy_kwh[:-1] + stored_kwh[1:],
            self.charged_kwh[0] <= battery.max_charge_kw * self._first_h,
            discharged_kwh[0] <= battery.max_discharge_kw * self._first_h,
        ]

    @property
    def power_kw(self) -> np.ndarray:
        """Grid power of the plan found, charging positive, shape (horizon,)."""
        power_kw = self.bought_kwh.value / PERIOD_H
        power_kw[0] *= PERIOD_H / self._first_h.value
        return power_kw

    def feed(self, energy_kwh: float, end_value_gbp_per_mwh: float, first_h: float = PERIOD_H) -> bool:
        """Set where the plan starts and what it is worth to end with.

        Args:
            energy_kwh: In store now.
            end_value_gbp_per_mwh: Of a stored MWh at the end; below 0 counts as 0.
            first_h: What is left of the first half-hour.

        Returns:
            Whether the energy was within its band. A reading outside is taken as the nearest edge: an interior-point
            solver needs an interior, exactly on the edge it still has one, beyond it there is none.
        """
        held_kwh = float(np.clip(energy_kwh, self._low_kwh, self._high_kwh))
        self._start_kwh.value, self._first_h.value = held_kwh, first_h
        self._end_value.value = max(end_value_gbp_per_mwh, 0.0) / 1000.0
        return abs(held_kwh - energy_kwh) < 1e-3
