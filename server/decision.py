"""What a decision is made on, what it is, and how it is said in words."""

from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dispatch.ladder import Step
from models.battery import Battery

Powers = NDArray[np.float64]
VISIBLE_KW: Final = 0.05  # smaller powers are nothing in a sentence with one decimal


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


class Answer(NamedTuple):
    """A decision and what its caller is told: JSON."""

    decision: Decision
    text: str


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


def left_behind(steps: list[Step]) -> str:
    """A sentence for each rung that was left."""
    return " ".join(f"Not by {step.rung}: {step.reason.rstrip('.')}." for step in steps)
