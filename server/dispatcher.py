"""The live dispatcher: telemetry and a market view in; a power set-point, a plan and a reason out."""

import hashlib
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.bundle import FORECASTER, MANIFEST, NETWORK, OnnxPolicy, check_layout, read_manifest
from baselines.dp import DpPolicy, StochasticDpPolicy
from baselines.idle import IdlePolicy
from baselines.mpc import BatteryPlanner, MpcPolicy
from baselines.price_chain import PriceChain
from baselines.rule import RulePolicy
from data.calendar import PERIOD
from data.schema import PERIOD_H, PERIOD_MINUTES
from envs.battery import HORIZON_H, BatterySystem, decision_minutes, observation_fields, write_observation
from envs.fields import Field, positions
from envs.information import FORECAST_PERIODS, FORECAST_PREFIX, information
from evaluation.policy import Policy
from forecasting.forecast import Forecaster
from forecasting.saved import digest as forecaster_sha256
from forecasting.saved import load as load_forecaster
from models import battery as battery_model
from models.battery import Battery, asked_kw
from models.settlement import Adders
from server.market_view import MarketView, published

logger = logging.getLogger(__name__)

ENV: Final = "gridpilot/Battery-v0"
VISIBLE_KW: Final = 0.05  # smaller powers are nothing in a sentence with one decimal
FORECAST: Final = positions(observation_fields(PERIOD_MINUTES), FORECAST_PREFIX)


class Site(NamedTuple):
    """What a bundle says about the battery, its costs and how often it is decided."""

    battery: Battery
    adders: Adders
    decision_minutes: int = PERIOD_MINUTES

    @property
    def observation_fields(self) -> tuple[Field, ...]:
        """What its policy is shown."""
        return observation_fields(self.decision_minutes)


# A closed table: a bundle names a kind, never code.
POLICIES: Final[dict[str, Callable[[Path, Site, dict[str, Any]], Policy]]] = {
    "onnx": lambda folder, site, settings: OnnxPolicy(folder / NETWORK),
    "mpc": lambda folder, site, settings: MpcPolicy(site.battery, site.adders, site.observation_fields),
    "dp": lambda folder, site, settings: DpPolicy(site.battery, site.adders, site.observation_fields, **settings),
    "stochastic_dp": lambda folder, site, settings: StochasticDpPolicy(
        site.battery,
        site.adders,
        site.observation_fields,
        [PriceChain.from_json(chain) for chain in settings["chains"]],
        settings["spread_fraction"],
        settings["points"],
    ),
    "rule": lambda folder, site, settings: RulePolicy(site.observation_fields, **settings),
    "idle": lambda folder, site, settings: IdlePolicy(len(BatterySystem.action_fields)),
}


class Telemetry(NamedTuple):
    """What the site measures.

    Attributes:
        timestamp: When, with a time zone; the step that holds it is decided.
        charge_fraction: Stored energy over capacity.
    """

    timestamp: datetime
    charge_fraction: float


class PolicyName(NamedTuple):
    """Which policy decides.

    Attributes:
        name: As evaluation calls it.
        kind: A key of `POLICIES`.
        bundle_sha256: Of the manifest and, for a learnt policy, its network.
    """

    name: str
    kind: str
    bundle_sha256: str


class PlanStep(NamedTuple):
    """One step of the plan, until the next begins; `charge_fraction` is at its end."""

    start: pd.Timestamp
    power_kw: float
    charge_fraction: float
    expected_price_gbp_per_mwh: float


class Decision(NamedTuple):
    """An answer.

    Attributes:
        start: Start of the step decided, UTC: a settlement period or, for a policy that decides twice in it, a half.
        end: When the next decision is due.
        power_kw: Grid power to hold until then, charging positive.
        feasible_kw: Lowest and highest power that the charge allows.
        plan: The set-point, the rest of the period if there is one, then half-hours until 48 periods are planned. All
            but the set-point is the cheapest continuation on the same forecast.
        reason: Why, in words, from the numbers used.
        warnings: What to know about the input.
        fallback: Whether the policy failed and the battery rests instead.
    """

    start: pd.Timestamp
    end: pd.Timestamp
    power_kw: float
    feasible_kw: tuple[float, float]
    plan: list[PlanStep]
    reason: str
    warnings: list[str]
    fallback: bool


class Dispatcher:
    """A policy with everything it needs to decide live; not to be called from two threads at once.

    Attributes:
        battery: The battery that the policy was made for.
        policy_name: Which policy decides.
    """

    def __init__(self, site: Site, forecaster: Forecaster, policy: Policy, policy_name: PolicyName) -> None:
        """Put the parts together; `from_bundle` is the usual way."""
        self.battery, self.policy_name = site.battery, policy_name
        self._fields, self._step = site.observation_fields, pd.Timedelta(minutes=site.decision_minutes)
        self._forecaster, self._policy = forecaster, policy
        self._planner = BatteryPlanner(site.battery, site.adders, FORECAST_PERIODS)
        self._policy.reset(0)

    @classmethod
    def from_bundle(cls, folder: str | Path) -> Self:
        """Load what evaluation chose.

        Raises:
            FileNotFoundError: There is no bundle, or its network or forecaster is missing.
            ValueError: It is damaged, or made for another environment, layout or kind of policy.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        if manifest["env"] != ENV:
            raise ValueError(f"the bundle is for {manifest['env']!r}; only {ENV!r} is dispatched: evaluate env=battery")
        site = _site(manifest)
        check_layout(manifest, site.observation_fields, BatterySystem.action_fields)
        kind = manifest["policy"]
        if kind not in POLICIES:
            raise ValueError(f"the bundle's policy is {kind!r}; this version dispatches {sorted(POLICIES)}")
        files = [MANIFEST, NETWORK] if kind == "onnx" else [MANIFEST]
        missing = [name for name in files if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(f"no {missing[0]} in {str(folder)!r}; write the bundle again: python evaluate.py")
        digest = hashlib.sha256(b"".join((folder / name).read_bytes() for name in files)).hexdigest()
        try:
            policy = POLICIES[kind](folder, site, manifest.get("settings", {}))
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise ValueError(
                f"the {kind} policy in {folder} cannot be loaded ({error}); write the bundle again"
            ) from error
        forecaster = _forecaster(folder / FORECASTER, manifest["forecaster"])
        return cls(site, forecaster, policy, PolicyName(manifest["name"], kind, digest))

    def decide(self, telemetry: Telemetry, market: MarketView) -> Decision:
        """Decide the settlement period, or the half of it, that holds the telemetry's timestamp.

        The observation is the simulation's: `envs.information` on what is published, then the battery's own fields,
        with a day left as always in an endless operation. The answer is what the battery model calls feasible.

        Raises:
            ValueError: The market view cannot be decided on; see `server.market_view.published`.
        """
        start = pd.Timestamp(telemetry.timestamp).tz_convert("UTC").floor(self._step)
        minute, step_h = start.minute % PERIOD_MINUTES, self._step / pd.Timedelta(hours=1)
        table, row, warnings = published(market, start)
        energy_kwh = telemetry.charge_fraction * self.battery.capacity_kwh
        observation = np.empty(len(self._fields), dtype=np.float32)
        shown = information(table, self._forecaster, minute, slice(row, row + 1))[0]
        write_observation(self.battery, energy_kwh, HORIZON_H, int(minute > 0), shown, observation)
        fallback = False
        try:
            wanted_kw = asked_kw(self.battery, float(self._policy.act(observation)[0]))
        except Exception:
            logger.exception("%s failed to decide %s; resting", self.policy_name.name, start)
            wanted_kw, fallback = float("nan"), True
        feasible_kw = battery_model.power_limits_kw(self.battery, energy_kwh, step_h)
        energy_after_kwh, power_kw = battery_model.step(self.battery, energy_kwh, wanted_kw, step_h)
        forecast = observation[FORECAST].astype(np.float64)
        reason = explain(self.battery, telemetry.charge_fraction, wanted_kw, power_kw, feasible_kw, forecast)
        if fallback:
            reason = f"The policy failed, so the battery rests until the next decision; the log says why. {reason}"
        first = PlanStep(start, power_kw, self._fraction(energy_after_kwh), round(float(forecast[0]), 4))
        plan = [first, *self._continued(start + self._step, energy_after_kwh, forecast)]
        return Decision(start, start + self._step, power_kw, feasible_kw, plan, reason, warnings, fallback)

    def _continued(self, start: pd.Timestamp, energy_kwh: float, forecast: NDArray[np.float64]) -> list[PlanStep]:
        """The cheapest plan from the end of the set-point on, to the end of the forecast."""
        left_h = (start.ceil(PERIOD) - start) / pd.Timedelta(hours=1)  # of the period decided
        end_value = max(float(forecast.mean()) * self.battery.discharge_efficiency, 0.0)
        # The program's horizon is fixed: at the price of what stays in store its last period has nothing to gain.
        prices = forecast if left_h else np.append(forecast[1:], end_value)
        powers_kw = self._planner.plan_kw(energy_kwh, prices, end_value, left_h or PERIOD_H)
        if not left_h:
            powers_kw, prices = powers_kw[:-1], prices[:-1]
        plan = []
        for planned_kw, price in zip(
            powers_kw.round(3).tolist(), prices.tolist(), strict=True
        ):  # solvers leave milliwatts
            end = start.floor(PERIOD) + PERIOD
            hours = (end - start) / pd.Timedelta(hours=1)
            energy_kwh, done_kw = battery_model.step(self.battery, energy_kwh, planned_kw, hours)
            plan.append(PlanStep(start, done_kw, self._fraction(energy_kwh), round(price, 4)))
            start = end
        return plan

    def _fraction(self, energy_kwh: float) -> float:
        return round(energy_kwh / self.battery.capacity_kwh, 6)


def explain(
    battery: Battery,
    charge_fraction: float,
    wanted_kw: float,
    power_kw: float,
    feasible_kw: tuple[float, float],
    forecast: NDArray[np.float64],
) -> str:
    """Say what was decided and what it was decided on.

    Args:
        battery: The battery.
        charge_fraction: Its charge now.
        wanted_kw: What the policy asked for; NaN asks for nothing.
        power_kw: What it gets.
        feasible_kw: Lowest and highest feasible power.
        forecast: Expected prices, GBP/MWh, this period first, shape (48,).

    Returns:
        Two or three sentences.
    """
    deed = "Resting"
    if abs(power_kw) >= VISIBLE_KW:
        deed = f"{'Charging' if power_kw > 0.0 else 'Discharging'} at {abs(power_kw):.1f} kW"
    now, ahead = forecast[0], forecast[1:]
    low_kw, high_kw = feasible_kw
    asked = 0.0 if np.isnan(wanted_kw) else wanted_kw
    if abs(asked - power_kw) >= VISIBLE_KW:
        limit = f"the policy asks for {asked:.1f} kW, of which the charge allows {power_kw:.1f} kW"
    elif abs(power_kw) < VISIBLE_KW:
        limit = f"the policy asks for no power, where {low_kw:.1f} to {high_kw:.1f} kW are feasible"
    elif power_kw in (battery.max_charge_kw, -battery.max_discharge_kw):
        limit = "this is the battery's highest power"
    else:
        limit = f"{low_kw:.1f} to {high_kw:.1f} kW are feasible"
    return (
        f"{deed}. The price expected now, {now:.2f} GBP/MWh, is above {100.0 * np.mean(ahead < now):.0f} % and below "
        f"{100.0 * np.mean(ahead > now):.0f} % of the half-hours of the day ahead (mean {ahead.mean():.2f}, from "
        f"{ahead.min():.2f} to {ahead.max():.2f}). The battery is {100.0 * charge_fraction:.1f} % full and may hold "
        f"{100.0 * battery.min_fraction:.0f} to {100.0 * battery.max_fraction:.0f} %; {limit}."
    )


def _forecaster(folder: Path, expected: dict[str, Any]) -> Forecaster:
    """What evaluation saved beside the manifest, and nothing else."""
    if not isinstance(expected, dict) or "sha256" not in expected:
        raise ValueError(
            "the bundle does not say which forecaster it was made with; write it again: python evaluate.py"
        )
    forecaster = load_forecaster(folder)
    if forecaster_sha256(folder) != expected["sha256"]:
        raise ValueError(f"the forecaster in {folder} is not the one the bundle was made with; write it again")
    return forecaster


def _site(manifest: dict[str, Any]) -> Site:
    try:
        battery, adders = Battery(**manifest["system"]["battery"]), Adders(**manifest["system"]["adders"])
        site = Site(battery_model.checked(battery), adders, decision_minutes(manifest["observation_fields"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the bundle's parameters cannot be read ({error}); write it again") from error
    if not np.isfinite(adders).all():
        raise ValueError("the bundle's adders hold no finite numbers; write it again: python evaluate.py")
    return site
