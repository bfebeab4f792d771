"""Model predictive control of the whole site: plan a day of everything together, do its first half-hour, plan again."""

from collections.abc import Mapping, Sequence
from typing import Final, Self, TypeVar

import numpy as np

from baselines.program import SOLVERS
from baselines.site_outlook import Expectations, SiteReader
from baselines.site_plan import Outlook, Plan, Prices
from baselines.site_planner import SitePlanner
from data.arrivals import expected_jobs
from data.schema import PERIOD_H
from envs.fields import FloatArray
from envs.information import FORECAST_PERIODS
from envs.single import SystemEnv
from envs.site import SiteSystem
from envs.site_view import WANTED_LEADS
from models.site import GATE_PERIODS

Settings = TypeVar("Settings", Prices, Expectations)
NEARLY_KW: Final = 0.01  # no plan is exact: by less, the last of the jobs that it starts would not fit


class SiteMpcPolicy:
    """Rolling plans of battery, hall, jobs, capacity and flexibility on what the observations show.

    The plan decides all but one field of the action: flexibility is offered at no price, because the DSO pays the
    clearing price to every offer and the site is small beside the rivals; how much is offered is planned.

    Attributes:
        planner: The program, with its counts of relaxed and of failed plans.
    """

    def __init__(
        self,
        system: SiteSystem,
        horizon_h: float = 24.0,
        prices: Prices | None = None,
        expectations: Expectations | None = None,
        solvers: Sequence[str] = SOLVERS,
    ) -> None:
        """Compile the program.

        Args:
            system: The site.
            horizon_h: How far a plan reaches; beyond the 24 hours of the forecasts it repeats them.
            prices: Of what the mean of the future does not show.
            expectations: What neither parameters nor observations tell.
            solvers: CVXPY solvers, tried in turn.

        Raises:
            ValueError: The horizon is shorter than the DSO's notice, or there is no solver.
        """
        self._system, self._expectations = system, expectations or Expectations()
        self._jobs = expected_jobs(system.site.queue.capacity_kw, self._expectations.load_fraction)
        self.planner = self._planner(prices or Prices(), round(horizon_h / PERIOD_H), solvers)
        self.reset(0)

    def _planner(self, prices: Prices, horizon: int, solvers: Sequence[str]) -> SitePlanner:
        return SitePlanner(self._system.site, self._jobs, prices, horizon, WANTED_LEADS, solvers)

    @classmethod
    def for_env(
        cls,
        env: SystemEnv,
        horizon_h: float = 24.0,
        prices: dict[str, float] | None = None,
        expectations: dict[str, float] | None = None,
        solvers: Sequence[str] = SOLVERS,
    ) -> Self:
        """For a site environment; `prices` and `expectations` by name, what is left out is the default.

        Raises:
            ValueError: The environment is not a site, or a name is unknown.
        """
        system = site_of(env)
        return cls(system, horizon_h, settings(Prices, prices), settings(Expectations, expectations), solvers)

    def reset(self, seed: int) -> None:
        """Forget the last episode."""
        self.planner.forget()
        self._reader = SiteReader(self._system, self.planner, self._jobs, self._expectations)

    def counts(self) -> dict[str, int]:
        """Plans that left a hard limit or began outside one, and plans that no solver found."""
        return {"relaxed_plans": self.planner.relaxed_plans, "failed_plans": self.planner.failed_plans}

    def believed(self) -> dict[str, float]:
        """What the last plan expects of the coming day, and the worth of a MWh in the battery that it counts with.

        What was bought day-ahead is taken to be worth what it cost. A plan that reaches further than a day, or less
        far, tells nothing.
        """
        if self.planner.horizon != FORECAST_PERIODS:
            return {}
        stored_kwh = self._plan.energy_kwh[-1] - self._now.energy_kwh
        held = max(self._now.stored_gbp_per_mwh, 0.0)
        gain_gbp = self.planner.earned_gbp + held * float(stored_kwh) / 1000.0
        return {"believed_gbp_per_day": gain_gbp, "believed_gbp_per_mwh": held}

    def plan(self, observation: FloatArray) -> Plan:
        """The whole plan behind `act`; each call takes the observation for the next period's."""
        outlooks = self._outlooks(observation)
        self._now, self._plan = outlooks[0], self.planner.plan(*outlooks)
        return self._plan

    def _outlooks(self, observation: FloatArray) -> list[Outlook]:
        """What is expected, one outlook for each path of the planner."""
        return [self._reader.read(observation)]

    def act(self, observation: FloatArray) -> FloatArray:
        """First half-hour of the plan as the seven fields of a site's action, shape (7,)."""
        seen, plan = self._reader.scalars(observation), self.plan(observation)
        battery, terms = self._system.site.battery, self._system.site.terms
        power_kw, start_kw = plan.power_kw[0], plan.start_kw[0]
        if start_kw > NEARLY_KW:
            start_kw += NEARLY_KW
        offered_kw = plan.offered_kw[0] if seen["block_starts"] > 0.5 else 0.0
        self._reader.offered(seen, min(offered_kw, seen["sellable_kw"]))
        return np.array(
            [
                _share(power_kw, battery.max_charge_kw if power_kw > 0.0 else battery.max_discharge_kw),
                _share(start_kw, min(seen["free_kw"], seen["waiting_kw"])),
                plan.setpoint_c[0],
                plan.fan_fraction[0],
                _share(offered_kw, seen["sellable_kw"]),
                _share(plan.turn_down_kw[GATE_PERIODS], terms.max_offer_kw),
                0.0,
            ],
            dtype=np.float32,
        )


def site_of(env: SystemEnv) -> SiteSystem:
    """The system of a site environment.

    Raises:
        ValueError: It is another one.
    """
    if not isinstance(env.system, SiteSystem):
        raise ValueError(f"this controller runs a SiteSystem, not a {type(env.system).__name__}")
    return env.system


def settings(kind: type[Settings], given: Mapping[str, float] | None) -> Settings:
    """Settings by name; what is left out is the default.

    Raises:
        ValueError: A name is unknown.
    """
    unknown = set(given or {}) - set(kind._fields)
    if unknown:
        raise ValueError(f"unknown settings {sorted(unknown)}; {kind.__name__} has {list(kind._fields)}")
    return kind(**(given or {}))


def _share(part: float, whole: float) -> float:
    """`part` over `whole`, -1 to 1; 0 of nothing."""
    return min(max(part / whole, -1.0), 1.0) if whole > 0.0 else 0.0
