"""Model predictive control: plan the forecast day as a linear program, do its first step, plan again."""

from collections.abc import Sequence
from math import ceil
from typing import Self

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from baselines.battery_block import BatteryBlock
from baselines.program import SOLVERS, Program
from data.schema import PERIOD_H
from envs.battery import QUARTER_PAST
from envs.fields import Field, FloatArray, position, positions
from envs.information import FORECAST_PERIODS, FORECAST_PREFIX
from envs.single import SystemEnv
from models.battery import Battery
from models.settlement import Adders


class BatteryPlanner:
    """The battery's linear program over a fixed horizon, compiled once and then only fed numbers.

    Minimises price x energy + wear + network adders less the value of what is left, subject to the model's own
    limits; see `baselines.battery_block`.
    """

    def __init__(
        self, battery: Battery, adders: Adders, horizon: int = FORECAST_PERIODS, solvers: Sequence[str] = SOLVERS
    ) -> None:
        """Compile the program.

        Args:
            battery: The simulated battery's own parameters.
            adders: Costs beside the market price.
            horizon: Number of half-hours planned, the first of them whole or what is left of it.
            solvers: CVXPY solvers, tried in turn.
        """
        self.battery, self.horizon = battery, horizon
        self._block = BatteryBlock(battery, horizon)
        self._price = cp.Parameter(horizon)  # GBP/kWh
        network_gbp = adders.network_gbp_per_mwh / 1000.0 * cp.sum(self._block.charged_kwh)
        cost_gbp = self._price @ self._block.bought_kwh + network_gbp + self._block.cost_gbp
        self._program = Program(cost_gbp, self._block.constraints, solvers)

    def plan_kw(
        self,
        energy_kwh: float,
        price_gbp_per_mwh: NDArray[np.float64],
        end_value_gbp_per_mwh: float,
        first_h: float = PERIOD_H,
    ) -> NDArray[np.float64]:
        """The cheapest grid power for every step of the horizon.

        Args:
            energy_kwh: Stored energy now; a reading outside the allowed band is read as the nearest edge.
            price_gbp_per_mwh: Expected price, shape (horizon,).
            end_value_gbp_per_mwh: Worth of each stored MWh at the end; below 0 counts as 0.
            first_h: What is left of the first half-hour.

        Returns:
            Grid power in kW, charging positive, shape (horizon,). All zeros, and a logged reason, if no solver
            finds a plan: a caller always gets something safe to do.

        Raises:
            ValueError: An input is not finite.
        """
        if not (np.isfinite(price_gbp_per_mwh).all() and np.isfinite([energy_kwh, end_value_gbp_per_mwh]).all()):
            raise ValueError(
                f"a plan needs finite numbers; got energy {energy_kwh}, end value {end_value_gbp_per_mwh} and "
                f"{int((~np.isfinite(price_gbp_per_mwh)).sum())} prices that are not"
            )
        self._block.feed(energy_kwh, end_value_gbp_per_mwh, first_h)
        self._price.value = price_gbp_per_mwh / 1000.0
        return self._block.power_kw if self._program.solve() else np.zeros(self.horizon)


class MpcPolicy:
    """Rolling 24-hour plans on the observed price forecast."""

    def __init__(
        self, battery: Battery, adders: Adders, fields: Sequence[Field], solvers: Sequence[str] = SOLVERS
    ) -> None:
        """Build the planner once.

        Args:
            battery: The simulated battery's own parameters.
            adders: Costs beside the market price.
            fields: Observation layout.
            solvers: CVXPY solvers, tried in turn.
        """
        self.planner = BatteryPlanner(battery, adders, solvers=solvers)
        self._forecast = positions(fields, FORECAST_PREFIX)
        self._charge = position(fields, "charge_fraction")
        self._hours_left = position(fields, "hours_left_h")
        self._quarter_past = position(fields, QUARTER_PAST.name) if QUARTER_PAST in fields else None

    @classmethod
    def for_env(cls, env: SystemEnv, solvers: Sequence[str] = SOLVERS) -> Self:
        """For a battery environment: its battery, its adders, its observation layout."""
        return cls(env.system.battery, env.system.adders, env.system.observation_fields, solvers)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def plan_kw(self, observation: FloatArray) -> NDArray[np.float64]:
        """The whole plan behind `act`, kW, shape (48,); zero after the end of the episode."""
        forecast = observation[self._forecast].astype(np.float64)
        left = ceil(float(observation[self._hours_left]) / PERIOD_H)  # half-hours, the first perhaps half over
        half_over = self._quarter_past is not None and observation[self._quarter_past] > 0.0
        # Beyond the end of the episode nothing can be traded: energy there is worth what ends up in store.
        end_value = float(forecast[: max(left, 1)].mean()) * self.planner.battery.discharge_efficiency
        price = np.where(np.arange(forecast.size) < left, forecast, end_value)
        energy_kwh = float(observation[self._charge]) * self.planner.battery.capacity_kwh
        return self.planner.plan_kw(energy_kwh, price, end_value, 0.5 * PERIOD_H if half_over else PERIOD_H)

    def act(self, observation: FloatArray) -> FloatArray:
        """First step of the plan as a share of the highest power, shape (1,)."""
        power_kw = self.plan_kw(observation)[0]
        b = self.planner.battery
        return np.array([power_kw / (b.max_charge_kw if power_kw > 0.0 else b.max_discharge_kw)], dtype=np.float32)
