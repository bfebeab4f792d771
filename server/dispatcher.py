"""The live dispatcher: telemetry and a market view in; a power set-point, a plan and a reason out."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.calendar import PERIOD
from data.schema import PERIOD_H
from dispatch.ladder import Proposal, Rung, Skipped, Step, descend
from dispatch.risk import FREE, Permit
from dispatch.worker import Unanswered, Worker
from models import battery as battery_model
from models.battery import Battery
from server.bundle import Bundle, PolicyName, Site
from server.market_view import MarketView, Published, published
from server.minds import Case, Remainder, at_rest, bundled_mind, bundled_planner, by_rule, continued, rest_of
from server.policy_process import start_policy

logger = logging.getLogger(__name__)

Powers = NDArray[np.float64]
VISIBLE_KW: Final = 0.05  # smaller powers are nothing in a sentence with one decimal
READY_WITHIN_S: Final = 60.0
NO_MARKET: Final = "no market view was given"


class Budgets(NamedTuple):
    """How long an answer is waited for, seconds; decisions are due every half-hour or quarter of an hour."""

    policy_s: float = 2.0
    planner_s: float = 2.0


class Telemetry(NamedTuple):
    """What the site measures.

    Attributes:
        timestamp: When, with a time zone; the step that holds it is decided.
        charge_fraction: Stored energy over capacity; NaN where it is not known.
        unknown: Why it is not known, empty if it is.
    """

    timestamp: datetime
    charge_fraction: float
    unknown: str = ""


class PlanStep(NamedTuple):
    """One step of the plan, until the next begins; `charge_fraction` is at its end."""

    start: pd.Timestamp
    power_kw: float
    charge_fraction: float | None
    expected_price_gbp_per_mwh: float | None


class Decision(NamedTuple):
    """An answer.

    Attributes:
        start: Start of the step decided, UTC: a settlement period or, for a policy that decides twice in it, a half.
        end: When the next decision is due.
        power_kw: Grid power to hold until then, charging positive.
        feasible_kw: Lowest and highest power that charge and risk limits allow.
        plan: The set-point, the rest of the period if there is one, then half-hours until 48 periods are planned. All
            but the set-point is the cheapest continuation on the same forecast. The set-point alone where there is no
            forecast or no plan was found.
        reason: Why, in words, from the numbers used.
        warnings: What to know about the input.
        rung: What decided: `policy`, `mpc`, `rule` or `idle`.
        steps: What was tried before and why it was left.
    """

    start: pd.Timestamp
    end: pd.Timestamp
    power_kw: float
    feasible_kw: tuple[float, float]
    plan: list[PlanStep]
    reason: str
    warnings: list[str]
    rung: str
    steps: list[Step]


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
        case = self._case(start, telemetry, known)
        permit = allowed(case)
        rungs = self.rungs[-1:] if permit.halted else self.rungs
        left = [Step(rung.name, permit.halted, 0.0) for rung in self.rungs[:-1]] if permit.halted else []
        rung, proposal, steps = descend(rungs, case)
        return self._decision(case, permit, known, rung, proposal, left + steps)

    def _case(self, start: pd.Timestamp, telemetry: Telemetry, known: Published | None) -> Case:
        energy_kwh = telemetry.charge_fraction * self.battery.capacity_kwh
        if known is None:
            return Case(start, energy_kwh, None, 0, NO_MARKET, telemetry.unknown)
        return Case(start, energy_kwh, known.table, known.row, " ".join(known.stale), telemetry.unknown)

    def _decision(
        self, case: Case, permit: Permit, known: Published | None, rung: str, proposal: Proposal, steps: list[Step]
    ) -> Decision:
        start, end = case.start, case.start + self._step
        warnings = [] if known is None else list(known.warnings)
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
            reason = f"{_left(steps)} {reason}"
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
        if start == start.floor(PERIOD):  # the last step lies after the forecast
            powers_kw, prices = powers_kw[:-1], prices[:-1]
        hours, plan = remainder.first_h, []
        steps = zip(_starts(start, prices.size), powers_kw.round(3).tolist(), prices.tolist(), strict=True)
        for step, planned_kw, price in steps:
            energy_kwh, done_kw = battery_model.step(self.battery, energy_kwh, planned_kw, hours)
            plan.append(PlanStep(step, done_kw, self._fraction(energy_kwh), round(price, 4)))
            hours = PERIOD_H
        return plan

    def _fraction(self, energy_kwh: float) -> float:
        return round(energy_kwh / self.battery.capacity_kwh, 6)


@lru_cache(maxsize=16)  # everybody who asks within a half-hour plans the same ones, and calendars are slow
def _starts(start: pd.Timestamp, n: int) -> tuple[pd.Timestamp, ...]:
    """Starts of `n` steps: the first at an instant, the others at the half-hours after it."""
    return start, *pd.date_range(start.floor(PERIOD) + PERIOD, periods=n - 1, freq=PERIOD)


def explain(
    battery: Battery,
    charge_fraction: float,
    wanted_kw: float,
    power_kw: float,
    feasible_kw: tuple[float, float],
    forecast: Powers,
) -> str:
    """Say what was decided and what it was decided on.

    Args:
        battery: The battery.
        charge_fraction: Its charge now; NaN if it is not known.
        wanted_kw: What was asked for; NaN asks for nothing.
        power_kw: What it gets.
        feasible_kw: Lowest and highest feasible power.
        forecast: Expected prices, GBP/MWh, this period first, shape (48,); or empty.

    Returns:
        Up to three sentences.
    """
    deed = "Resting"
    if abs(power_kw) >= VISIBLE_KW:
        deed = f"{'Charging' if power_kw > 0.0 else 'Discharging'} at {abs(power_kw):.1f} kW"
    sentences = [f"{deed}."]
    if forecast.size:
        now, ahead = forecast[0], forecast[1:]
        sentences.append(
            f"The price expected now, {now:.2f} GBP/MWh, is above {100.0 * np.mean(ahead < now):.0f} % and below "
            f"{100.0 * np.mean(ahead > now):.0f} % of the half-hours of the day ahead (mean {ahead.mean():.2f}, from "
            f"{ahead.min():.2f} to {ahead.max():.2f})."
        )
    if not np.isnan(charge_fraction):
        sentences.append(
            f"The battery is {100.0 * charge_fraction:.1f} % full and may hold {100.0 * battery.min_fraction:.0f} to "
            f"{100.0 * battery.max_fraction:.0f} %; {_limit(battery, wanted_kw, power_kw, feasible_kw)}."
        )
    return " ".join(sentences)


def _limit(battery: Battery, wanted_kw: float, power_kw: float, feasible_kw: tuple[float, float]) -> str:
    """What held the power where it is."""
    low_kw, high_kw = feasible_kw
    asked = 0.0 if np.isnan(wanted_kw) else wanted_kw
    if abs(asked - power_kw) >= VISIBLE_KW:
        return f"the policy asks for {asked:.1f} kW, of which the charge allows {power_kw:.1f} kW"
    if abs(power_kw) < VISIBLE_KW:
        return f"the policy asks for no power, where {low_kw:.1f} to {high_kw:.1f} kW are feasible"
    if power_kw in (battery.max_charge_kw, -battery.max_discharge_kw):
        return "this is the battery's highest power"
    return f"{low_kw:.1f} to {high_kw:.1f} kW are feasible"


def _left(steps: list[Step]) -> str:
    """A sentence for each rung that was left."""
    return " ".join(f"Not by {step.rung}: {step.reason.rstrip('.')}." for step in steps)


def _if_sound(decide: Callable[[Case], Proposal], case: Case) -> Proposal:
    """Ask only where charge and market are known well enough to forecast."""
    if case.unknown or case.doubts:
        raise Skipped(case.unknown or case.doubts)
    return decide(case)
