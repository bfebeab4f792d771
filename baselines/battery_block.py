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
        constraints: Limits of power and energy.
    """

    def __init__(self, battery: Battery, horizon: int) -> None:
        """Lay out the block for the simulated battery's own parameters."""
        self._low_kwh = battery.min_fraction * battery.capacity_kwh
        self._high_kwh = battery.max_fraction * battery.capacity_kwh
        self._start_kwh = cp.Parameter()
        self._hours = cp.Parameter(horizon, nonneg=True)  # of each step; only in bounds, which keeps the program DPP
        self._end_value = cp.Parameter(nonneg=True)  # GBP per stored kWh
        self.charged_kwh, discharged_kwh = cp.Variable(horizon), cp.Variable(horizon)
        self.energy_kwh = cp.Variable(horizon)  # a variable and not a sum: the program stays sparse
        stored_kwh = battery.charge_efficiency * self.charged_kwh - discharged_kwh / battery.discharge_efficiency
        self.bought_kwh = self.charged_kwh - discharged_kwh
        self.wear_gbp = battery.wear_gbp_per_kwh * cp.sum(self.charged_kwh + discharged_kwh)
        self.cost_gbp = self.wear_gbp - self._end_value * self.energy_kwh[-1]
        self.constraints = [
            self.energy_kwh[0] == self._start_kwh + stored_kwh[0],
            self.energy_kwh[1:] == self.energy_kwh[:-1] + stored_kwh[1:],
            self.charged_kwh >= 0.0,
            self.charged_kwh <= battery.max_charge_kw * self._hours,
            discharged_kwh >= 0.0,
            discharged_kwh <= battery.max_discharge_kw * self._hours,
            self.energy_kwh >= self._low_kwh,
            self.energy_kwh <= self._high_kwh,
        ]

    @property
    def power_kw(self) -> np.ndarray:
        """Grid power of the plan found, charging positive, shape (horizon,)."""
        return self.bought_kwh.value / self._hours.value

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
        hours = np.full(self._hours.size, PERIOD_H)
        hours[0] = first_h
        self._start_kwh.value, self._hours.value = held_kwh, hours
        self._end_value.value = max(end_value_gbp_per_mwh, 0.0) / 1000.0
        return abs(held_kwh - energy_kwh) < 1e-3
