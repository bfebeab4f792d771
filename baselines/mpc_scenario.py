"""Model predictive control of a battery under several price paths, with an eye on the worst of them."""

from collections.abc import Sequence
from math import ceil
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from baselines.price_chain import PriceChain
from baselines.price_fan import PriceFan
from baselines.program import SOLVERS
from baselines.scenario_planner import ScenarioPlanner
from baselines.stand_in import StandIn
from baselines.tail_risk import Risk
from data import splits
from data.schema import PERIOD_H
from envs.battery import QUARTER_PAST
from envs.fields import Field, FloatArray, position
from envs.information import FIELDS
from envs.single import SystemEnv
from models.battery import Battery, as_fraction
from models.settlement import Adders

Floats = NDArray[np.float64]

SHARED_PERIODS: Final = 2  # half-hours decided before the price of the first is published


class ScenarioMpcPolicy:
    """Rolling 24-hour plans against price paths around a corrected forecast.

    A two-stage program: this half-hour and the next are decided before their prices are known, so all paths share them;
    after that every path has a plan of its own, as if it were known by then. Paths are those of a `PriceFan`, in the
    size of the last day's deviations. The objective is (1 - weight) x mean + weight x CVaR of a day's cost.

    Attributes:
        planner: The program.
        failed_plans: Decisions of this episode for which no solver found a plan; the last plan, later, stood in.
    """

    def __init__(
        self,
        battery: Battery,
        adders: Adders,
        fields: Sequence[Field],
        chains: Sequence[PriceChain],
        fans: Sequence[PriceFan],
        spread_fraction: float = 0.5,
        risk: Risk | None = None,
        solvers: Sequence[str] = SOLVERS,
    ) -> None:
        """Compile the program.

        Args:
            battery: The simulated battery's own parameters.
            adders: Costs beside the market price.
            fields: Observation layout.
            chains: Correct the forecast; fitted on the training split, one for each decision of a period.
            fans: Paths about it, likewise.
            spread_fraction: Share of the fan's spread that is planned with: a plan that may choose anew on every path
                thinks too well of waiting. 0 is a certain forecast.
            risk: Weight and tail of the CVaR; none if not given.
            solvers: CVXPY solvers, tried in turn.

        Raises:
            ValueError: The share is not 0 to 1, or there is not one chain and one fan for each decision.
        """
        if not 0.0 <= spread_fraction <= 1.0:
            raise ValueError(f"spread_fraction is {spread_fraction}; 0 to 1 is allowed")
        self._quarter_past = position(fields, QUARTER_PAST.name) if QUARTER_PAST in fields else None
        decisions = 1 if self._quarter_past is None else 2
        if not len(chains) == len(fans) == decisions:
            raise ValueError(f"{len(chains)} chains and {len(fans)} fans for {decisions} decisions a period")
        self.chains, self.fans, self._spread_fraction = tuple(chains), tuple(fans), spread_fraction
        self.battery, self.failed_plans, self._stand_in = battery, 0, StandIn()
        self._believed: dict[str, float] = {}
        self.planner = ScenarioPlanner(battery, adders, fans[0].weight.size, solvers, SHARED_PERIODS, risk or Risk())
        first = position(fields, FIELDS[0].name)
        self._shown = slice(first, first + len(FIELDS))
        self._charge, self._hours_left = position(fields, "charge_fraction"), position(fields, "hours_left_h")

    @classmethod
    def for_env(
        cls,
        env: SystemEnv,
        states: int = 7,
        paths: int = 20,
        spread_fraction: float = 0.5,
        risk_weight: float = 0.0,
        tail_fraction: float = 0.1,
        solvers: Sequence[str] = SOLVERS,
    ) -> Self:
        """For a battery environment; chains and fans are fitted on the training split of its history, nothing else."""
        system, history = env.system, env.system.scenario.history
        rows = splits.rows(history.timestamps, history.train)
        price = history.market.imbalance_price_gbp_per_mwh[rows]
        twice = QUARTER_PAST in system.observation_fields
        shown = history.price_information_twice if twice else history.price_information[None]
        chains = [PriceChain.fit(each[rows], price, states) for each in shown]
        fans = [PriceFan.fit(chain, each[rows], price, paths) for chain, each in zip(chains, shown, strict=True)]
        return cls(
            system.battery, system.adders, system.observation_fields, chains, fans, spread_fraction,
            Risk(risk_weight, tail_fraction), solvers,
        )  # fmt: skip

    def fitted(self) -> dict[str, object]:
        """What a deployed copy needs beside the battery and the configuration, JSON-ready."""
        return {
            "chains": [chain.as_json() for chain in self.chains],
            "fans": [fan.as_json() for fan in self.fans],
        }

    def reset(self, seed: int) -> None:
        """Begin a new episode."""
        self.failed_plans = self.planner.relaxed_plans = 0
        self._stand_in.forget()

    def counts(self) -> dict[str, int]:
        """Plans that began outside the band of energy, and plans that no solver found."""
        return {"relaxed_plans": self.planner.relaxed_plans, "failed_plans": self.failed_plans}

    def believed(self) -> dict[str, float]:
        """What the last plan expects of the coming day, and the worth of a MWh in store that it counts with."""
        return self._believed

    def act(self, observation: FloatArray) -> FloatArray:
        """First step of the plan as a share of the highest power, shape (1,)."""
        half_over = self._quarter_past is not None and bool(observation[self._quarter_past] > 0.0)
        chain, fan = self.chains[int(half_over)], self.fans[int(half_over)]
        known, b = observation[self._shown][None], self.battery
        path = chain.path_gbp_per_mwh(known)[0]
        left = ceil(float(observation[self._hours_left]) / PERIOD_H)  # half-hours, the first perhaps half over
        # Beyond the end of the episode nothing can be traded: energy there is worth what ends up in store.
        end_value = float(path[: max(left, 1)].mean()) * b.discharge_efficiency
        prices = path + self._spread_fraction * chain.scale_gbp_per_mwh(known)[0] * fan.missed
        prices = np.where(np.arange(path.size) < left, prices, end_value)
        found = self.planner.plan(
            float(observation[self._charge]) * b.capacity_kwh, prices, fan.weight, np.full(fan.weight.size, end_value),
            0.5 * PERIOD_H if half_over else PERIOD_H,
        )  # fmt: skip
        held = max(end_value, 0.0)
        stored_mwh = float(observation[self._charge]) * b.capacity_kwh / 1000.0
        gain_gbp = float("nan") if found is None else -self.planner.cost_gbp - held * stored_mwh
        self._believed = {"believed_gbp_per_day": gain_gbp, "believed_gbp_per_mwh": held}
        if found is None:
            self.failed_plans += 1
            power_kw = float(self._stand_in.plan_kw(not half_over)[0])
        else:
            power_kw = float(found[0][0, 0])
            self._stand_in.keep(fan.weight @ found[0])
        return np.array([as_fraction(b, power_kw)], dtype=np.float32)
