"""Perfect foresight for a battery: the upper bound that every score is measured against."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from data.schema import PERIOD_H, PERIOD_MINUTES
from envs.battery import BatterySystem
from envs.fields import FloatArray
from envs.single import SystemEnv
from models.battery import Battery, as_fraction
from models.settlement import Adders


class Foresight(NamedTuple):
    """The best that could have been done.

    Attributes:
        value_gbp: Upper bound on the total reward of any policy.
        power_kw: Grid power that reaches it, up to the relaxation, shape (n,).
    """

    value_gbp: float
    power_kw: NDArray[np.float64]


def perfect_foresight(
    battery: Battery,
    adders: Adders,
    start_energy_kwh: float,
    price_gbp_per_mwh: NDArray[np.float64],
    carbon_g_per_kwh: NDArray[np.float64],
    end_price_gbp_per_mwh: float,
) -> Foresight:
    """Solve one linear program over the whole episode, by HiGHS.

    Why it bounds every policy: whatever a policy asks for, the battery model exchanges a power p within the
    limits below and moves its energy by p x charge efficiency or p / discharge efficiency. Splitting p into its
    positive part c and negative part d gives a feasible point of this program with the same money. The program
    also allows c and d together, which no battery does, so its optimum can only be higher.

    It bounds policies that decide twice in a period too, and no program over quarters of an hour is tighter. The means
    of c and of d over a period's two quarters lie within the limits, lead to the same energy at its end, and earn the
    same, because price and carbon are the period's and every term is linear in c and d. The other way round, c and d
    held for both quarters stay within the limits, because energy between two allowed levels is allowed.

    Args:
        battery: The battery.
        adders: Costs beside the market price.
        start_energy_kwh: Stored energy at the start.
        price_gbp_per_mwh: Settlement prices, shape (n,).
        carbon_g_per_kwh: Carbon intensity, shape (n,).
        end_price_gbp_per_mwh: Values the energy gained at the end.

    Returns:
        The bound and a plan.

    Raises:
        RuntimeError: If HiGHS finds no optimum, which no valid battery can cause.
    """
    n = price_gbp_per_mwh.size
    wear = battery.wear_gbp_per_kwh * PERIOD_H
    per_kw = PERIOD_H / 1000.0
    exchange = (price_gbp_per_mwh + adders.carbon_gbp_per_tonne * carbon_g_per_kwh / 1000.0) * per_kw
    end_value = battery.discharge_efficiency * end_price_gbp_per_mwh / 1000.0
    # Variables: charge_kw (n), discharge_kw (n), energy_kwh at the end of each period (n).
    cost = np.concatenate([exchange + wear + adders.network_gbp_per_mwh * per_kw, wear - exchange, np.zeros(n)])
    cost[-1] = -end_value
    eye = sparse.eye_array(n, format="csr")
    change = eye - sparse.eye_array(n, k=-1, format="csr")
    balance = sparse.hstack(
        [-PERIOD_H * battery.charge_efficiency * eye, PERIOD_H / battery.discharge_efficiency * eye, change]
    )
    right = np.zeros(n)
    right[0] = start_energy_kwh
    low_kwh, high_kwh = battery.min_fraction * battery.capacity_kwh, battery.max_fraction * battery.capacity_kwh
    bounds = np.repeat([[0.0, battery.max_charge_kw], [0.0, battery.max_discharge_kw], [low_kwh, high_kwh]], n, axis=0)
    solution = linprog(cost, A_eq=balance.tocsr(), b_eq=right, bounds=bounds, method="highs")
    if not solution.success:
        raise RuntimeError(f"the perfect-foresight program of {n} periods was not solved: {solution.message}")
    power_kw = solution.x[:n] - solution.x[n : 2 * n]
    return Foresight(-float(solution.fun) - end_value * start_energy_kwh, power_kw)


class OraclePolicy:
    """Plays the perfect-foresight plan of its environment's own episode; the only policy that sees the future.

    Attributes:
        bound_gbp: Upper bound on the total reward of the episode.
    """

    def __init__(self, env: SystemEnv) -> None:
        """Bind to the environment whose future it reads.

        Raises:
            ValueError: If the environment is not a battery's.
        """
        if not isinstance(env.system, BatterySystem):
            raise ValueError(f"this oracle foresees a BatterySystem, not a {type(env.system).__name__}")
        self._lanes, self._system = env.lanes, env.system
        self._plan = np.zeros(0)
        self._next = 0
        self.bound_gbp = np.nan

    @classmethod
    def for_env(cls, env: SystemEnv) -> Self:
        """For the environment it will be played in."""
        return cls(env)

    def reset(self, seed: int) -> None:
        """Solve the episode that the environment has just begun."""
        lane, market = self._lanes[0], self._system.scenario.market
        first, stop = int(lane["period"]), int(lane["stop"])
        foresight = perfect_foresight(
            self._system.battery,
            self._system.adders,
            float(lane["energy_kwh"]),
            market.imbalance_price_gbp_per_mwh[first:stop],
            market.carbon_g_per_kwh[first:stop],
            float(market.end_price_gbp_per_mwh[stop]),
        )
        decisions = PERIOD_MINUTES // self._system.decision_minutes
        self._plan, self._next = np.repeat(foresight.power_kw, decisions), 0
        self.bound_gbp = foresight.value_gbp

    def act(self, observation: FloatArray) -> FloatArray:
        """The plan's next power as a share of the highest, shape (1,)."""
        power_kw = float(self._plan[self._next])
        self._next += 1
        return np.array([as_fraction(self._system.battery, power_kw)], dtype=np.float32)
