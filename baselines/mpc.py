"""Model predictive control: plan the forecast day as a linear program, do its first step, plan again."""

from collections.abc import Sequence
from math import ceil
from typing import Any, Final, Self

import cvxpy as cp
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from baselines.battery_block import BatteryBlock
from baselines.finite import check_finite
from baselines.price_frame import PERCENTILE, PRICE, by_our_names
from baselines.program import SOLVERS, Program
from baselines.scenario_planner import ScenarioPlanner
from baselines.stand_in import StandIn
from data.schema import PERIOD_H
from envs.battery import QUARTER_PAST
from envs.fields import Field, FloatArray, position, positions
from envs.information import FORECAST_PERIODS, FORECAST_PREFIX
from envs.single import SystemEnv
from models import battery as battery_model
from models.battery import Battery, as_fraction
from models.settlement import Adders, checked_adders

Floats = NDArray[np.float64]

REQUIRED_STATE: Final = "charge_fraction"
OPTIONAL_STATE: Final = "end_value_gbp_per_mwh"


class BatteryPlanner:
    """The battery's linear program over a fixed horizon, compiled once and then only fed numbers.

    Minimises price x energy + wear + network adders less the value of what is left, subject to the model's own
    limits; see `baselines.battery_block`.

    Attributes:
        solved: Whether a solver found the last plan.
        gain_gbp: What it expects of the horizon, what is in store counted before and after it; NaN if there is none.
        relaxed_plans: Plans so far that began outside the band of energy, and were made from its nearest edge.
        failed_plans: Plans so far that no solver found; the last one, a period later, stood in.
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
        self.battery, self.horizon, self.solved = battery, horizon, False
        self.relaxed_plans = self.failed_plans = 0
        self.gain_gbp = float("nan")
        self._stand_in = StandIn(horizon)
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
            Grid power in kW, charging positive, shape (horizon,). If no solver finds a plan the reason is logged, and
            the last plan found is gone on with: a caller always gets something to do.

        Raises:
            ValueError: An input is not finite.
        """
        check_finite(
            energy_kwh=energy_kwh, price_gbp_per_mwh=price_gbp_per_mwh, end_value_gbp_per_mwh=end_value_gbp_per_mwh
        )
        self.relaxed_plans += int(not self._block.feed(energy_kwh, end_value_gbp_per_mwh, first_h))
        self._price.value = price_gbp_per_mwh / 1000.0
        self.solved = self._program.solve()
        if not self.solved:
            self.failed_plans += 1
            self.gain_gbp = float("nan")
            return self._stand_in.plan_kw(first_h == PERIOD_H)
        self.gain_gbp = -self._program.cost_gbp - max(end_value_gbp_per_mwh, 0.0) * energy_kwh / 1000.0
        self._stand_in.keep(self._block.power_kw)
        return self._block.power_kw

    def forget(self) -> None:
        """Begin a new episode: nothing is counted, and there is no last plan."""
        self.relaxed_plans = self.failed_plans = 0
        self._stand_in.forget()


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
        self._end_value = 0.0
        self._quarter_past = position(fields, QUARTER_PAST.name) if QUARTER_PAST in fields else None

    @classmethod
    def for_env(cls, env: SystemEnv, solvers: Sequence[str] = SOLVERS) -> Self:
        """For a battery environment: its battery, its adders, its observation layout."""
        return cls(env.system.battery, env.system.adders, env.system.observation_fields, solvers)

    def reset(self, seed: int) -> None:
        """Forget the last episode."""
        self.planner.forget()

    def counts(self) -> dict[str, int]:
        """Plans that began outside the band of energy, and plans that no solver found."""
        return {"relaxed_plans": self.planner.relaxed_plans, "failed_plans": self.planner.failed_plans}

    def believed(self) -> dict[str, float]:
        """What the last plan expects of the coming day, and the worth of a MWh in store that it counts with."""
        return {"believed_gbp_per_day": self.planner.gain_gbp, "believed_gbp_per_mwh": max(self._end_value, 0.0)}

    def plan_kw(self, observation: FloatArray) -> NDArray[np.float64]:
        """The whole plan behind `act`, kW, shape (48,); zero after the end of the episode."""
        forecast = observation[self._forecast].astype(np.float64)
        left = ceil(float(observation[self._hours_left]) / PERIOD_H)  # half-hours, the first perhaps half over
        half_over = self._quarter_past is not None and observation[self._quarter_past] > 0.0
        # Beyond the end of the episode nothing can be traded: energy there is worth what ends up in store.
        end_value = float(forecast[: max(left, 1)].mean()) * self.planner.battery.discharge_efficiency
        price = np.where(np.arange(forecast.size) < left, forecast, end_value)
        energy_kwh = float(observation[self._charge]) * self.planner.battery.capacity_kwh
        self._end_value = end_value
        return self.planner.plan_kw(energy_kwh, price, end_value, 0.5 * PERIOD_H if half_over else PERIOD_H)

    def act(self, observation: FloatArray) -> FloatArray:
        """First step of the plan as a share of the highest power, shape (1,)."""
        power_kw = self.plan_kw(observation)[0]
        return np.array([as_fraction(self.planner.battery, power_kw)], dtype=np.float32)


class MPCController:
    """Plans a battery 24 hours ahead, wear included, under one or several price paths.

    Attributes:
        battery: What is planned for; `update_constraints` changes it.
        relaxed_plans: Calls with a charge outside the battery's band, planned from its nearest edge.
        failed_plans: Calls for which no solver found a plan; the last one, a period later, stood in.
    """

    def __init__(
        self, battery: Battery | None = None, adders: Adders | None = None, solvers: Sequence[str] = SOLVERS
    ) -> None:
        """Choose the battery, the default site's if not given, and costs beside the price.

        Raises:
            ValueError: A parameter of the battery is out of range.
        """
        self.battery, self._adders = battery_model.checked(battery or Battery()), checked_adders(adders or Adders())
        self._solvers, self.relaxed_plans, self.failed_plans = tuple(solvers), 0, 0
        self._planners: dict[int, ScenarioPlanner] = {}
        self._stand_in = StandIn()

    def optimize_horizon(self, forecast: pd.DataFrame, current_state: dict[str, float]) -> dict[str, Any]:
        """The cheapest plan for the next 24 hours.

        Args:
            forecast: One row per half-hour from now; of 48 or more the first 48 count. `price_gbp_per_mwh` is the
                expected price. Columns `price_gbp_per_mwh_p05`, `_p50`, ... are percentiles: with them, each is a price
                path, as likely as the percentiles next to it leave it, and the plan is the best against all of them.
                `mean_gbp_per_mwh` and `q05_gbp_per_mwh`, ... of `forecasting.prices.Forecaster` are read too.
            current_state: `charge_fraction`, stored energy over capacity, 0 to 1; a reading outside the battery's band
                is taken as its edge. Optionally `end_value_gbp_per_mwh`, the worth of a stored MWh after the 24 hours;
                without it the mean price of each path, less the loss of discharging.

        Returns:
            `power_kw`: grid power of every half-hour, charging positive, list of 48; the first is to be done, the later
            ones are means over the paths. `charge_fraction`: at the end of each. `expected_cost_gbp`: energy, network
            and wear, less the worth of what is left. `wear_gbp`: its part of that. `paths`: how many were planned for.
            `relaxed`: whether the charge was outside the band. `solved`: False if no solver found a plan: what is given
            is the last plan found, a period later and as far as the battery can do it, or rest.

        Raises:
            ValueError: A column or key is missing or unknown, too few rows, or a number that is not finite.
        """
        prices, weight = _paths(by_our_names(forecast))
        charge_fraction = _state(current_state)
        b = self.battery
        left = current_state.get(OPTIONAL_STATE)
        worth = prices.mean(axis=1) * b.discharge_efficiency if left is None else np.full(weight.size, float(left))
        if weight.size not in self._planners:
            self._planners[weight.size] = ScenarioPlanner(b, self._adders, weight.size, self._solvers)
        energy_kwh = charge_fraction * b.capacity_kwh
        planner = self._planners[weight.size]
        planner.relaxed_plans = 0
        found = planner.plan(energy_kwh, prices, weight, worth)
        solved, relaxed = found is not None, planner.relaxed_plans > 0
        self.relaxed_plans += int(relaxed)
        if found is None:
            self.failed_plans += 1
            found = _carried_out(b, energy_kwh, self._stand_in.plan_kw(), weight.size)
        else:
            self._stand_in.keep(weight @ found[0])
        power_kw, stored_kwh, wear_gbp = found
        bought_kwh = PERIOD_H * power_kw
        network_gbp = self._adders.network_gbp_per_mwh / 1000.0 * np.maximum(bought_kwh, 0.0).sum(axis=1)
        held_gbp = np.maximum(worth, 0.0) * stored_kwh[:, -1] / 1000.0
        cost_gbp = (prices * bought_kwh).sum(axis=1) / 1000.0 + network_gbp + wear_gbp - held_gbp
        return {
            "power_kw": (weight @ power_kw).tolist(),
            "charge_fraction": (weight @ stored_kwh / b.capacity_kwh).tolist(),
            "expected_cost_gbp": float(weight @ cost_gbp),
            "wear_gbp": float(weight @ wear_gbp),
            "paths": int(weight.size),
            "relaxed": relaxed,
            "solved": solved,
        }

    def update_constraints(self, new_constraints: dict[str, float]) -> None:
        """Change limits or costs of the battery: any field of `models.battery.Battery`, by name.

        Raises:
            ValueError: A name is unknown or a value out of range; nothing has changed then.
        """
        unknown = set(new_constraints) - set(Battery._fields)
        if unknown:
            raise ValueError(f"unknown constraints {sorted(unknown)}; allowed are {list(Battery._fields)}")
        self.battery = battery_model.checked(self.battery._replace(**new_constraints))
        self._planners.clear()


def _carried_out(b: Battery, energy_kwh: float, asked_kw: Floats, paths: int) -> tuple[Floats, Floats, Floats]:
    """Powers as far as a battery can do them, energy in store and wear, the same on every path."""
    power_kw, stored_kwh = np.empty(asked_kw.size), np.empty(asked_kw.size)
    for t, asked in enumerate(asked_kw):
        energy_kwh, power_kw[t] = battery_model.step(b, energy_kwh, asked, PERIOD_H)
        stored_kwh[t] = energy_kwh
    wear_gbp = b.wear_gbp_per_kwh * PERIOD_H * float(np.abs(power_kw).sum())
    return np.tile(power_kw, (paths, 1)), np.tile(stored_kwh, (paths, 1)), np.full(paths, wear_gbp)


def _paths(forecast: pd.DataFrame) -> tuple[Floats, Floats]:
    """Price paths, shape (paths, FORECAST_PERIODS), and their probabilities."""
    percentiles = {c: c.removeprefix(PERCENTILE) for c in forecast.columns if str(c).startswith(PERCENTILE)}
    bad = [c for c, digits in percentiles.items() if not (digits.isdigit() and 0 < int(digits) < 100)]
    if bad:
        raise ValueError(f"cannot read the percentile of {bad}; name columns {PERCENTILE}05, {PERCENTILE}50, ...")
    if PRICE not in forecast.columns and not percentiles:
        raise ValueError(f"the forecast lacks {PRICE!r}; it has {list(forecast.columns)}")
    if len(forecast) < FORECAST_PERIODS:
        raise ValueError(f"the forecast has {len(forecast)} rows; give the next {FORECAST_PERIODS} half-hours or more")
    columns = sorted(percentiles, key=lambda c: int(percentiles[c])) or [PRICE]
    prices = forecast[columns].to_numpy(np.float64)[:FORECAST_PERIODS].T
    if not np.isfinite(prices).all():
        raise ValueError(f"{int((~np.isfinite(prices)).sum())} prices of the next 24 hours are not finite numbers")
    levels = np.array([int(percentiles[c]) / 100.0 for c in columns]) if percentiles else np.array([0.5])
    edges = np.concatenate([[0.0], 0.5 * (levels[1:] + levels[:-1]), [1.0]])
    return prices, np.diff(edges)


def _state(current_state: dict[str, float]) -> float:
    """The state of charge of a checked state."""
    unknown = set(current_state) - {REQUIRED_STATE, OPTIONAL_STATE}
    if unknown or REQUIRED_STATE not in current_state:
        raise ValueError(
            f"the state has the keys {sorted(current_state)}; {REQUIRED_STATE!r} is needed, {OPTIONAL_STATE!r} allowed"
        )
    for name, value in current_state.items():
        if not np.isfinite(value):
            raise ValueError(f"{name} is {value}; give a finite number")
    charge_fraction = float(current_state[REQUIRED_STATE])
    if not 0.0 <= charge_fraction <= 1.0:
        raise ValueError(f"charge_fraction is {charge_fraction}; 0 to 1 is allowed, a share and not a percentage")
    return charge_fraction
