"""Model predictive control of a cooling plant: the site's thermal block behind a meter of its own."""

from collections.abc import Sequence
from typing import Final, Self

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from baselines.calendar_ahead import CalendarAhead, hour_of
from baselines.compute_block import expected_running_kw
from baselines.finite import check_finite
from baselines.program import RELAXED, SOLVERS, Program
from baselines.thermal_block import Linearisation, Reference, ThermalBlock
from data.arrivals import expected_jobs, weekly_rhythm
from data.schema import PERIOD_H
from envs.cooling import CoolingSystem
from envs.fields import FloatArray, position, positions
from envs.information import FORECAST_PERIODS, FORECAST_PREFIX
from envs.outlook import CARBON_FIELDS, WET_BULB_FIELDS
from envs.single import SystemEnv
from models import cluster as cluster_model
from models.hall import HallState

Floats = NDArray[np.float64]
NAMES: Final = ("mass_c", "air_c", "supply_c", "it_fraction", "hours_left_h", "hour_sin", "hour_cos", "weekend")


class CoolingMpcPolicy:
    """Rolling 24-hour plans of set-point and fans on the shown price, carbon and wet bulb.

    The IT load of the period is shown; later it is expected to run out as jobs do and to be filled by the mean
    arrivals of the hour.

    Attributes:
        relaxed_plans: Plans of this episode that began with a hall too hot or cold to be one, or leave its inlets above
            the allowable limit.
        failed_plans: Plans of this episode that no solver found; the last one, a period later, stood in.
    """

    def __init__(
        self,
        system: CoolingSystem,
        load_fraction: float = 0.55,
        inlet_margin_k: float = 0.3,
        solvers: Sequence[str] = SOLVERS,
    ) -> None:
        """Compile the program.

        Args:
            system: The plant.
            load_fraction: Mean load of jobs over the cluster.
            inlet_margin_k: Kept from the recommended inlet: what the linearisation may be wrong by.
            solvers: CVXPY solvers, tried in turn.
        """
        n = FORECAST_PERIODS
        self._system, self._jobs = system, expected_jobs(cluster_model.job_capacity_kw(system.cluster), load_fraction)
        self._it_kw, self._price = cp.Parameter(n), cp.Parameter(n)  # kW, GBP per kWh
        self._near = Linearisation(system.hall, system.chiller, n)
        it_kw, cooling_kw = cp.Variable(n), cp.Variable(n)  # a product with a parameter must have none itself
        self._thermal = ThermalBlock(self._near, system.inlet_penalty, it_kw, inlet_margin_k)
        cost_gbp = PERIOD_H * self._price @ cooling_kw + self._thermal.cost_gbp + self._thermal.moves_gbp
        defined = [it_kw == self._it_kw, cooling_kw == self._thermal.cooling_kw]
        self._program = Program(cost_gbp, [*defined, *self._thermal.constraints], solvers)
        fields = system.observation_fields
        self._at = {name: position(fields, name) for name in NAMES}
        self._forecast = positions(fields, FORECAST_PREFIX)
        self._carbon = positions(fields, CARBON_FIELDS[1].name.removesuffix("00"))
        self._wet_bulb = positions(fields, WET_BULB_FIELDS[1].name.removesuffix("00"))
        self.reset(0)

    @classmethod
    def for_env(
        cls,
        env: SystemEnv,
        load_fraction: float = 0.55,
        inlet_margin_k: float = 0.3,
        solvers: Sequence[str] = SOLVERS,
    ) -> Self:
        """For a cooling environment; the rest as in `__init__`.

        Raises:
            ValueError: If the environment is not a cooling plant.
        """
        if not isinstance(env.system, CoolingSystem):
            raise ValueError(f"this controller runs a CoolingSystem, not a {type(env.system).__name__}")
        return cls(env.system, load_fraction, inlet_margin_k, solvers)

    def reset(self, seed: int) -> None:
        """Forget the last episode."""
        self._calendar, self._last = CalendarAhead(), None
        self.relaxed_plans = self.failed_plans = 0

    def counts(self) -> dict[str, int]:
        """Plans of this episode that begin outside a limit or leave one, and plans that no solver found."""
        return {"relaxed_plans": self.relaxed_plans, "failed_plans": self.failed_plans}

    def act(self, observation: FloatArray) -> FloatArray:
        """Set-point in Celsius and fan speed, shape (2,).

        Raises:
            ValueError: The observation holds numbers that are not finite.
        """
        check_finite(observation=observation)
        seen = {name: float(observation[i]) for name, i in self._at.items()}
        adders = self._system.adders
        self._calendar.see(hour_of(seen["hour_sin"], seen["hour_cos"]), seen["weekend"] > 0.5)
        it_kw = self._expected_it_kw(seen["it_fraction"] * self._system.full_it_kw)
        carbon_gbp_per_mwh = adders.carbon_gbp_per_tonne * observation[self._carbon].astype(np.float64) / 1000.0
        price = observation[self._forecast] + carbon_gbp_per_mwh + adders.network_gbp_per_mwh
        left = round(seen["hours_left_h"] / PERIOD_H)
        end_price = float(price[: max(left, 1)].mean())
        self._price.value = np.where(np.arange(price.size) < left, price, end_price) / 1000.0
        self._it_kw.value = it_kw
        last = (self._last or self._near.at_rest(it_kw[0]))._replace(it_kw=it_kw)
        state = HallState(seen["mass_c"], seen["air_c"], seen["supply_c"])
        within = self._near.feed(state, last, observation[self._wet_bulb].astype(np.float64), end_price)
        if self._program.solve():
            self.relaxed_plans += int(not within or float(self._thermal.hot_k.value.max()) > RELAXED)
            last = Reference(it_kw, self._thermal.setpoint_c.value, self._thermal.fan_fraction.value)
        else:
            self.failed_plans += 1
        self._last = last.later()
        return np.array([last.setpoint_c[0], last.fan_fraction[0]], dtype=np.float32)

    def _expected_it_kw(self, it_kw: float) -> Floats:
        """IT power of the coming periods, the first as shown, shape (48,)."""
        c = self._system.cluster
        idle, job = cluster_model.idle_kw_per_gpu(c), cluster_model.job_kw_per_gpu(c)
        running_kw = max(it_kw - c.gpus * idle, 0.0) * job / (job - idle)
        rhythm = weekly_rhythm(*self._calendar.ahead(FORECAST_PERIODS))
        expected_kw = np.minimum(expected_running_kw(self._jobs, running_kw, rhythm), c.gpus * job)
        return c.gpus * idle + expected_kw * (job - idle) / job
