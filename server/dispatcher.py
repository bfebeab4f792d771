"""The live dispatcher: telemetry and a market view in; a power set-point, a plan and a reason out."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
import pandas as pd

from data.calendar import PERIOD
from data.schema import PERIOD_H
from dispatch.ladder import Proposal, Rung, Skipped, Step, descend
from dispatch.risk import FREE, Permit
from dispatch.worker import Unanswered, Worker
from models import battery as battery_model
from server.bundle import Bundle, PolicyName, Site
from server.decision import Answer, Decision, PlanStep, Powers, Telemetry, explain, left_behind
from server.market_view import MarketView, published
from server.minds import Case, Remainder, at_rest, bundled_mind, bundled_planner, by_rule, continued, rest_of
from server.policy_process import start_policy
from server.schemas import DispatchPlan

logger = logging.getLogger(__name__)

READY_WITHIN_S: Final = 60.0
NO_MARKET: Final = "no market view was given"


class Budgets(NamedTuple):
    """How long an answer is waited for, seconds; decisions are due every half-hour or quarter of an hour."""

    policy_s: float = 2.0
    planner_s: float = 2.0


class Dispatcher:
    """A ladder of ways to decide, and the battery's own limits around whatever they want.

    Attributes:
        battery: The battery that the policy was made for.
        adders: Costs beside the market price.
        policy_name: Which policy decides at the top of the ladder.
        rungs: From the best to the one that cannot fail.
    """

    def __init__(
        self,
        site: Site,
        policy_name: PolicyName,
        policy: Callable[[Case], Proposal],
        plan: Callable[[Case], Proposal],
        continuation: Callable[[Remainder], Powers],
    ) -> None:
        """Put the parts together; `from_bundle` and `guarded` are the usual ways.

        Args:
            site: Battery, costs, length of a step.
            policy_name: Which policy it is.
            policy: Top rung.
            plan: Second rung.
            continuation: Cheapest powers after a set-point, kW, shape (FORECAST_PERIODS,).
        """
        self.battery, self.adders = site.battery, site.adders
        self.policy_name, self._continuation = policy_name, continuation
        self._step = pd.Timedelta(minutes=site.decision_minutes)
        self.rungs: Sequence[Rung[Case]] = (
            Rung("policy", partial(_if_sound, policy)),
            Rung("mpc", partial(_if_sound, plan)),
            Rung("rule", partial(by_rule, site)),
            Rung("idle", at_rest),
        )
        self._workers: list[Worker[Any, Any]] = []

    @classmethod
    def from_bundle(cls, folder: str | Path) -> Self:
        """Everything in this process, without deadlines: for replays and tests.

        Raises:
            FileNotFoundError: There is no bundle, or its network or forecaster is missing.
            ValueError: It is damaged, or made for another environment, layout or kind of policy.
        """
        bundle = Bundle.read(folder)
        mind, planner = bundled_mind(bundle.folder), bundled_planner(bundle.folder)
        return cls(bundle.site, bundle.policy_name, mind.propose, planner, partial(continued, bundle.site))

    @classmethod
    def guarded(
        cls, folder: str | Path, budgets: Budgets | None = None, policy: Worker[Case, Proposal] | None = None
    ) -> Self:
        """Policy and planner in processes of their own, each with its deadline: for live operation.

        Args:
            folder: The bundle.
            budgets: Deadlines.
            policy: Its process, where that was started already; see `server.policy_process`.

        Raises:
            FileNotFoundError: There is no bundle, or its network is missing.
            ValueError: It is damaged, made for another environment, layout or kind of policy, or cannot be loaded.
        """
        policy = policy or start_policy(folder)
        try:
            bundle, within = Bundle.read(folder), budgets or Budgets()
            policy.await_ready(READY_WITHIN_S)
        except (OSError, ValueError):
            policy.close()
            raise
        except Unanswered as error:
            policy.close()
            raise ValueError(str(error)) from error
        # Not waited for, and not sooner: the first rung decides meanwhile, and needs the processor to get ready.
        planner = Worker[Case, Proposal]("the planner", "server.practice:planner", bundle.folder)
        dispatcher = cls(
            bundle.site,
            bundle.policy_name,
            partial(policy.ask, within_s=within.policy_s),
            partial(planner.ask, within_s=within.planner_s),
            partial(continued, bundle.site),
        )
        dispatcher._workers = [policy, planner]
        return dispatcher

    def rehearse(self, telemetry: Telemetry, market: MarketView) -> Decision:
        """Decide for practice; a dispatcher keeps nothing in any case."""
        return self.decide(telemetry, market)

    def close(self) -> None:
        """End the processes, if there are any."""
        for worker in self._workers:
            worker.close()

    @property
    def step(self) -> pd.Timedelta:
        """Time between two decisions."""
        return self._step

    def step_of(self, instant: datetime) -> pd.Timestamp:
        """Start of the step that holds an instant, UTC."""
        return pd.Timestamp(instant).tz_convert("UTC").floor(self._step)

    def answer(self, telemetry: Telemetry | None, market: MarketView | None) -> Answer:
        """Decide and say it; see `decide`."""
        return self.said(self.decide(telemetry, market))

    def said(self, decision: Decision) -> Answer:
        """A decision with what its caller is told."""
        return Answer(decision, DispatchPlan.from_domain(decision, self.policy_name).model_dump_json())

    def decide(
        self,
        telemetry: Telemetry | None,
        market: MarketView | None,
        allowed: Callable[[Case], Permit] = lambda case: FREE,
    ) -> Decision:
        """Decide the settlement period, or the half of it, that holds the telemetry's timestamp.

        The answer is what the battery model calls feasible and risk allows; whatever fails, there is one.

        Args:
            telemetry: What the site measures.
            market: What the market has published; None where that is not known.
            allowed: What risk says to the case, asked before anything decides.

        Raises:
            ValueError: There is no telemetry, or the market view is wrong in itself; see
                `server.market_view.published`.
        """
        if telemetry is None:
            raise ValueError("telemetry is missing, and none is kept here: send it with the order")
        start = self.step_of(telemetry.timestamp)
        known = None if market is None else published(market, start)
        doubts = NO_MARKET if known is None else " ".join(known.stale)
        energy_kwh = telemetry.charge_fraction * self.battery.capacity_kwh
        case = Case(start, energy_kwh, known, doubts, telemetry.unknown)
        permit = allowed(case)
        rungs = self.rungs[-1:] if permit.halted else self.rungs
        left = [Step(rung.name, permit.halted, 0.0) for rung in self.rungs[:-1]] if permit.halted else []
        rung, proposal, steps = descend(rungs, case)
        return self._decision(case, permit, rung, proposal, left + steps)

    def _decision(self, case: Case, permit: Permit, rung: str, proposal: Proposal, steps: list[Step]) -> Decision:
        start, end = case.start, case.start + self._step
        warnings = [] if case.known is None else list(case.known.warnings)
        forecast = np.array(proposal.forecast, dtype=np.float64)
        feasible_kw, power_kw, after_kwh = self._shielded(case.energy_kwh, proposal.power_kw, permit)
        price = round(float(forecast[0]), 4) if forecast.size else None
        plan = [PlanStep(start, power_kw, None if case.unknown else self._fraction(after_kwh), price)]
        if rung in ("policy", "mpc"):
            try:
                plan += self._continued(end, after_kwh, forecast)
            except Exception as error:  # the set-point stands without it
                warnings.append(f"no plan beyond the set-point: {error}")
                logger.warning("no plan beyond the set-point of %s: %s", start, error)
        reason = explain(
            self.battery,
            case.energy_kwh / self.battery.capacity_kwh,
            proposal.power_kw,
            power_kw,
            feasible_kw,
            forecast,
        )
        if steps:
            reason = f"{left_behind(steps)} {reason}"
        return Decision(start, end, power_kw, feasible_kw, plan, reason, warnings, rung, steps)

    def _shielded(
        self, energy_kwh: float, wanted_kw: float, permit: Permit
    ) -> tuple[tuple[float, float], float, float]:
        """Feasible powers, the power inside them, and the energy stored after it; rest where the charge is unknown."""
        step_h = self._step / pd.Timedelta(hours=1)
        if np.isnan(energy_kwh) or permit.halted:
            return (0.0, 0.0), 0.0, energy_kwh
        low_kw, high_kw = battery_model.power_limits_kw(self.battery, energy_kwh, step_h)
        low_kw, high_kw = max(low_kw, permit.low_kw), min(high_kw, permit.high_kw)
        allowed_kw = min(max(wanted_kw, low_kw), high_kw)
        after_kwh, power_kw = battery_model.step(self.battery, energy_kwh, allowed_kw, step_h)
        return (low_kw, high_kw), power_kw, after_kwh

    def _continued(self, start: pd.Timestamp, energy_kwh: float, forecast: Powers) -> list[PlanStep]:
        """The cheapest plan from the end of the set-point on, to the end of the forecast."""
        end_value = max(float(forecast.mean()) * self.battery.discharge_efficiency, 0.0)
        remainder = rest_of(start, energy_kwh, forecast, end_value)
        powers_kw, prices = self._continuation(remainder), remainder.prices
        if start.value % PERIOD.value == 0:  # the last step lies after the forecast
            powers_kw, prices = powers_kw[:-1], prices[:-1]
        hours = np.full(prices.size, PERIOD_H)
        hours[0] = remainder.first_h
        stored_kwh, done_kw = battery_model.follow(self.battery, energy_kwh, powers_kw.round(3), hours)
        fractions = (stored_kwh / self.battery.capacity_kwh).round(6).tolist()
        return list(map(PlanStep, _starts(start, prices.size), done_kw.tolist(), fractions, prices.round(4).tolist()))

    def _fraction(self, energy_kwh: float) -> float:
        return round(energy_kwh / self.battery.capacity_kwh, 6)


@lru_cache(maxsize=16)  # everybody who asks within a half-hour plans the same ones, and calendars are slow
def _starts(start: pd.Timestamp, n: int) -> tuple[pd.Timestamp, ...]:
    """Starts of `n` steps: the first at an instant, the others at the half-hours after it."""
    return start, *pd.date_range(start.floor(PERIOD) + PERIOD, periods=n - 1, freq=PERIOD)


def _if_sound(decide: Callable[[Case], Proposal], case: Case) -> Proposal:
    """Ask only where charge and market are known well enough to forecast."""
    if case.unknown or case.doubts:
        raise Skipped(case.unknown or case.doubts)
    return decide(case)
