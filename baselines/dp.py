"""Dynamic programming over a grid of charge: exact for a price path, and for prices that a Markov chain moves.

Between grid points the worth of stored energy is a straight line. It is concave, so in every period there is one
charge up to which buying pays and one down to which selling pays; from any charge the best is to go towards them as
far as the power allows (Bellman, "Dynamic Programming", 1957; for storage: Secomandi, "Optimal Commodity Trading with a
Capacitated Storage Asset", Management Science 56(3), 2010). Where the price is so far below zero that burning energy
in the losses would pay, worth is not concave and the plan is feasible but may miss a little.
"""

from collections.abc import Sequence
from math import ceil
from typing import Final, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from baselines.finite import check_finite
from baselines.price_chain import PriceChain
from data import splits
from data.schema import PERIOD_H
from envs.battery import QUARTER_PAST
from envs.fields import Field, FloatArray, position, positions
from envs.information import FIELDS, FORECAST_PREFIX
from envs.single import SystemEnv
from models import battery as battery_model
from models.battery import Battery
from models.settlement import Adders

Floats = NDArray[np.float64]
POINTS: Final = 61
CERTAIN: Final = np.ones((1, 1))  # the chain of a price that is known


class ChargeGrid:
    """The battery's dynamic program; the same limits, losses and costs as `baselines.mpc.BatteryPlanner`."""

    def __init__(self, battery: Battery, adders: Adders, points: int = POINTS) -> None:
        """Lay out the grid.

        Args:
            battery: The simulated battery's own parameters.
            adders: Costs beside the market price.
            points: Charges at which worth is kept, evenly over the allowed band.

        Raises:
            ValueError: Fewer than 2 points, or a battery without a band to move in.
        """
        low_kwh, high_kwh = battery.min_fraction * battery.capacity_kwh, battery.max_fraction * battery.capacity_kwh
        if points < 2 or not high_kwh > low_kwh:
            raise ValueError(
                f"{points} points from {low_kwh} to {high_kwh} kWh; at least 2 are needed, and a band that is not empty"
            )
        self.battery, self.adders = battery, adders
        self.energy_kwh: Floats = np.linspace(low_kwh, high_kwh, points)

    def worth_gbp(self, price_gbp_per_mwh: Floats, chain: Floats, end_value_gbp_per_mwh: float) -> Floats:
        """Worth of the charge that is left after each period.

        Args:
            price_gbp_per_mwh: Expected price by period and state, shape (periods, states).
            chain: Probability of the next period's state by state, shape (states, states).
            end_value_gbp_per_mwh: Worth of each stored MWh after the last period; below 0 counts as 0.

        Returns:
            GBP, shape (periods, states, points): [k, s] is after period k if it was in state s.

        Raises:
            ValueError: An input is not finite.
        """
        check_finite(price_gbp_per_mwh=price_gbp_per_mwh, end_value_gbp_per_mwh=end_value_gbp_per_mwh)
        buy, sell = self.unit_gbp_per_kwh(price_gbp_per_mwh)
        last = max(end_value_gbp_per_mwh, 0.0) / 1000.0 * self.energy_kwh
        return _worth(buy, sell, chain, last, self.energy_kwh, *self._steps_kwh(PERIOD_H))

    def unit_gbp_per_kwh(self, price_gbp_per_mwh: Floats) -> tuple[Floats, Floats]:
        """What a stored kWh costs to buy and earns when sold at these prices: losses, wear and adders included."""
        b = self.battery
        buy = (price_gbp_per_mwh + self.adders.network_gbp_per_mwh) / 1000.0 + b.wear_gbp_per_kwh
        sell = price_gbp_per_mwh / 1000.0 - b.wear_gbp_per_kwh
        return buy / b.charge_efficiency, sell * b.discharge_efficiency

    def best_kw(self, energy_kwh: float, price_gbp_per_mwh: float, worth_gbp: Floats, hours: float = PERIOD_H) -> float:
        """Best grid power for `hours` at one price if energy left is worth `worth_gbp` (points,); charging positive."""
        b, grid = self.battery, self.energy_kwh
        now_kwh = min(max(energy_kwh, grid[0]), grid[-1])
        buy, sell = self.unit_gbp_per_kwh(np.float64(price_gbp_per_mwh))
        left_kwh = _target(worth_gbp, buy, sell, grid, now_kwh, *self._steps_kwh(hours))
        stored_kw = (left_kwh - now_kwh) / hours
        return float(stored_kw / b.charge_efficiency if stored_kw > 0.0 else stored_kw * b.discharge_efficiency)

    def plan_kw(
        self, energy_kwh: float, price_gbp_per_mwh: Floats, end_value_gbp_per_mwh: float, first_h: float = PERIOD_H
    ) -> Floats:
        """The cheapest grid power for a known price path; see `baselines.mpc.BatteryPlanner.plan_kw`."""
        worth = self.worth_gbp(price_gbp_per_mwh[:, None], CERTAIN, end_value_gbp_per_mwh)[:, 0]
        plan_kw = np.zeros(len(price_gbp_per_mwh))
        for k, price in enumerate(price_gbp_per_mwh):
            hours = PERIOD_H if k else first_h
            plan_kw[k] = self.best_kw(energy_kwh, price, worth[k], hours)
            energy_kwh, _ = battery_model.step(self.battery, energy_kwh, plan_kw[k], hours)
        return plan_kw

    def _steps_kwh(self, hours: float) -> tuple[float, float]:
        """Most energy that goes into store and out of it in so many hours."""
        b = self.battery
        return b.max_charge_kw * hours * b.charge_efficiency, b.max_discharge_kw * hours / b.discharge_efficiency


class DpPolicy:
    """Rolling 24-hour plans on the observed price forecast, by dynamic programming instead of a linear program."""

    def __init__(self, battery: Battery, adders: Adders, fields: Sequence[Field], points: int = POINTS) -> None:
        """Build the grid once; `fields` is the observation layout."""
        self.grid = ChargeGrid(battery, adders, points)
        self._forecast = positions(fields, FORECAST_PREFIX)
        self._charge = position(fields, "charge_fraction")
        self._hours_left = position(fields, "hours_left_h")
        self._held = self._gain_gbp = 0.0
        self._quarter_past = position(fields, QUARTER_PAST.name) if QUARTER_PAST in fields else None

    @classmethod
    def for_env(cls, env: SystemEnv, points: int = POINTS) -> Self:
        """For a battery environment: its battery, its adders, its observation layout."""
        return cls(env.system.battery, env.system.adders, env.system.observation_fields, points)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """First step of the plan as a share of the highest power, shape (1,)."""
        path = observation[self._forecast].astype(np.float64)
        return self._fraction(observation, path[0], self._worth_gbp(observation, path, path[:, None], CERTAIN)[0])

    def believed(self) -> dict[str, float]:
        """What the last plan expects of the coming day, and the worth of a MWh in store that it counts with."""
        return {"believed_gbp_per_day": self._gain_gbp, "believed_gbp_per_mwh": self._held}

    def _worth_gbp(self, observation: FloatArray, path: Floats, price_by_state: Floats, chain: Floats) -> Floats:
        """Worth after this period by its state, (states, points); prices in GBP/MWh, (48,) and (48, states)."""
        left = max(ceil(float(observation[self._hours_left]) / PERIOD_H), 1)  # half-hours, the first perhaps half over
        # What is left at the end of the episode, or beyond the forecast, is worth what it sells for on average.
        end_value = float(path[:left].mean()) * self.grid.battery.discharge_efficiency
        self._held = max(end_value, 0.0)
        return self.grid.worth_gbp(price_by_state[:left], chain, end_value)[0]

    def _half_over(self, observation: FloatArray) -> bool:
        return self._quarter_past is not None and bool(observation[self._quarter_past] > 0.0)

    def _fraction(self, observation: FloatArray, price_gbp_per_mwh: float, worth_gbp: Floats) -> FloatArray:
        b, hours = self.grid.battery, 0.5 * PERIOD_H if self._half_over(observation) else PERIOD_H
        energy_kwh = float(observation[self._charge]) * b.capacity_kwh
        power_kw = self.grid.best_kw(energy_kwh, price_gbp_per_mwh, worth_gbp, hours)
        left_kwh, _ = battery_model.step(b, energy_kwh, power_kw, hours)
        buy, sell = self.grid.unit_gbp_per_kwh(np.float64(price_gbp_per_mwh))
        paid_gbp = float((buy if left_kwh > energy_kwh else sell) * (left_kwh - energy_kwh))
        worth_left_gbp = float(np.interp(left_kwh, self.grid.energy_kwh, worth_gbp))
        self._gain_gbp = worth_left_gbp - paid_gbp - self._held * energy_kwh / 1000.0
        return np.array([battery_model.as_fraction(b, power_kw)], dtype=np.float32)


class StochasticDpPolicy(DpPolicy):
    """Knows that it will know more: plans on a Markov chain of what it is going to believe about the price.

    The state of a period is the belief about its deviation that the policy will hold when it comes to decide it, the
    newest known price being two periods old then as now. The chain starts between the two states that enclose
    today's belief and moves around the corrected forecast, so that on average the price comes as forecast; with one
    state this is `DpPolicy` on that forecast. Solved anew from every observation.
    """

    def __init__(
        self,
        battery: Battery,
        adders: Adders,
        fields: Sequence[Field],
        chains: Sequence[PriceChain],
        spread_fraction: float = 0.5,
        points: int = POINTS,
    ) -> None:
        """Build the grid once.

        Args:
            battery: The simulated battery's own parameters.
            adders: Costs beside the market price.
            fields: Observation layout.
            chains: Fitted on the training split, one for each decision of a period.
            spread_fraction: Share of the chain's spread that is planned with. Beliefs do worse on new data than on
                those they were fitted on, so less of their movement is worth waiting for; 0 is a certain forecast.
            points: See `ChargeGrid`.

        Raises:
            ValueError: The share is not 0 to 1, or there is not one chain for each decision.
        """
        super().__init__(battery, adders, fields, points)
        if not 0.0 <= spread_fraction <= 1.0:
            raise ValueError(f"spread_fraction is {spread_fraction}; 0 to 1 is allowed")
        decisions = 1 if self._quarter_past is None else 2
        if len(chains) != decisions:
            raise ValueError(f"{len(chains)} chains for {decisions} decisions a period; give one for each")
        self.chains, self.spread_fraction = tuple(chains), spread_fraction
        first = position(fields, FIELDS[0].name)
        self._shown = slice(first, first + len(FIELDS))

    @classmethod
    def for_env(
        cls,
        env: SystemEnv,
        states: int = 7,
        spread_fraction: float = 0.5,
        points: int = POINTS,
    ) -> Self:
        """For a battery environment; the chains are fitted on the training split of its history, nothing else."""
        system, history = env.system, env.system.scenario.history
        twice = QUARTER_PAST in system.observation_fields
        rows = splits.rows(history.timestamps, history.train)
        price = history.market.imbalance_price_gbp_per_mwh[rows]
        shown = history.price_information_twice if twice else history.price_information[None]
        chains = [PriceChain.fit(at_decision[rows], price, states) for at_decision in shown]
        return cls(system.battery, system.adders, system.observation_fields, chains, spread_fraction, points)

    def fitted(self) -> dict[str, object]:
        """What a deployed copy needs beside the battery and the configuration, JSON-ready."""
        return {"chains": [chain.as_json() for chain in self.chains]}

    def act(self, observation: FloatArray) -> FloatArray:
        """Best first step as a share of the highest power, shape (1,)."""
        path, worth = self.outlook(observation)
        return self._fraction(observation, path[0], worth)

    def outlook(self, observation: FloatArray) -> tuple[Floats, Floats]:
        """The corrected forecast, (48,), and the worth after this period of each charge of the grid, (points,)."""
        chain = self.chains[int(self._half_over(observation))]
        belief = chain.belief(observation[self._shown])
        path = belief.path_gbp_per_mwh
        moved = belief.states_gbp_per_mwh - belief.expected_gbp_per_mwh[:, None]
        price = path[:, None] + self.spread_fraction * moved
        worth = self._worth_gbp(observation, path, price, chain.transition_array)
        return path, belief.weights @ worth


@njit(cache=True)
def _line(worth: np.ndarray, grid: np.ndarray, energy: float) -> float:
    """Worth at a charge between grid points."""
    at = (energy - grid[0]) / (grid[1] - grid[0])
    cell = min(int(at), grid.size - 2)
    return worth[cell] + (at - cell) * (worth[cell + 1] - worth[cell])


@njit(cache=True)
def _bounds(worth: np.ndarray, buy: float, sell: float, grid: np.ndarray) -> tuple[int, int]:
    """Grid points up to which buying pays, and down to which selling pays."""
    step = grid[1] - grid[0]
    low, high = 0, grid.size - 1
    while low < grid.size - 1 and worth[low + 1] - worth[low] >= buy * step:
        low += 1
    while high > 0 and worth[high] - worth[high - 1] <= sell * step:
        high -= 1
    return low, high


@njit(cache=True)
def _target(
    worth: np.ndarray, buy: float, sell: float, grid: np.ndarray, energy: float, up: float, down: float
) -> float:
    """Best charge after a period that starts with `energy`."""
    low, high = _bounds(worth, buy, sell, grid)
    best, gain = energy, _line(worth, grid, energy)
    if energy < grid[low]:
        filled = min(energy + up, grid[low])
        value = _line(worth, grid, filled) - buy * (filled - energy)
        if value > gain:
            best, gain = filled, value
    if energy > grid[high]:
        drained = max(energy - down, grid[high])
        if _line(worth, grid, drained) + sell * (energy - drained) > gain:
            best = drained
    return best


@njit(cache=True)
def _worth(
    buy: np.ndarray, sell: np.ndarray, chain: np.ndarray, last: np.ndarray, grid: np.ndarray, up: float, down: float
) -> np.ndarray:
    """Backward recursion; see `ChargeGrid.worth_gbp`."""
    periods, states = buy.shape
    after = np.empty((periods, states, grid.size))
    after[periods - 1] = last
    before = np.empty((states, grid.size))
    for k in range(periods - 1, 0, -1):
        for s in range(states):
            worth = after[k, s]
            low, high = _bounds(worth, buy[k, s], sell[k, s], grid)
            for i in range(grid.size):
                best = worth[i]
                if i < low:
                    filled = min(grid[i] + up, grid[low])
                    best = max(best, _line(worth, grid, filled) - buy[k, s] * (filled - grid[i]))
                if i > high:
                    drained = max(grid[i] - down, grid[high])
                    best = max(best, _line(worth, grid, drained) + sell[k, s] * (grid[i] - drained))
                before[s, i] = best
        for s in range(states):
            for i in range(grid.size):
                after[k - 1, s, i] = 0.0
            for j in range(states):
                for i in range(grid.size):
                    after[k - 1, s, i] += chain[s, j] * before[j, i]
    return after
