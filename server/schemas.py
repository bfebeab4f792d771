"""The wire types of the live dispatcher: shapes, units, examples. What they mean is `server.dispatcher`'s business."""

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Self, get_args

import numpy as np
import pandas as pd
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from data.calendar import PERIOD, YEARS, settlement_date, settlement_period
from data.schema import COLUMNS
from envs.information import READ
from server import decision as domain
from server import market_view
from server.bundle import PolicyName as DomainPolicyName
from server.market_view import HISTORY_PERIODS, MOST_HISTORY_PERIODS, MOST_PUBLISHED_AHEAD

BOUNDS: Final = {column.name: (column.low, column.high) for column in COLUMNS}
MOST_VALUES: Final = MOST_HISTORY_PERIODS + MOST_PUBLISHED_AHEAD
OTHERS: Final = tuple(name for name in BOUNDS if name not in READ)


def _other_column(name: str) -> str:
    if name not in OTHERS:
        raise ValueError(f"no such series; allowed are {', '.join(OTHERS)}")
    return name


def _text(value: object) -> object:
    if not isinstance(value, str | datetime):
        raise ValueError("not text in ISO 8601")
    return value


def _in_this_century(instant: datetime) -> datetime:
    if not YEARS[0] <= instant.year < YEARS[1]:
        raise ValueError(f"the year must be {YEARS[0]} to {YEARS[1] - 1}")
    return instant


Instant = Annotated[AwareDatetime, BeforeValidator(_text), AfterValidator(_in_this_century)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Series = Annotated[list[Number | None], Field(min_length=1, max_length=MOST_VALUES)]
OtherColumn = Annotated[str, AfterValidator(_other_column)]


def _series(column: str, meaning: str) -> Any:
    low, high = BOUNDS[column]
    return Field(
        description=f"{meaning} One value per half-hour from `start` on, {low:g} to {high:g}; null is a gap.",
        min_length=1,
        max_length=MOST_VALUES,
    )


class Wire(BaseModel):
    """Strict about names: a misspelt key is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Shown(Wire):
    """Made from what has the same names inside."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


class Telemetry(Wire):
    """What the site measures now."""

    timestamp: Instant = Field(
        description="When this was measured: ISO 8601 with a time zone, such as 2024-01-03T12:05:00Z. The settlement "
        "period that holds it is decided or, by a policy that decides every 15 minutes, the half of the period.",
        examples=["2024-01-03T12:05:00Z"],
    )
    charge_fraction: Number = Field(
        description="State of charge: stored energy over capacity, 0 to 1. Divide a percentage by 100.",
        ge=0.0,
        le=1.0,
        examples=[0.62],
    )


class MarketView(Wire):
    """What the GB market has published, half-hour by half-hour, as one array per series.

    Every array begins at `start` and may end where its knowledge ends. Send 2 days of history or more (3 bridge
    longer gaps). A value that is not published yet when the decision is due is ignored with a warning.
    """

    start: Instant = Field(
        description=f"Start of the first half-hour, with a time zone: {HISTORY_PERIODS // 48} to "
        f"{MOST_HISTORY_PERIODS // 48} days before the period decided.",
        examples=["2024-01-01T12:00:00Z"],
    )
    day_ahead_price_gbp_per_mwh: list[Number | None] = _series(
        "day_ahead_price_gbp_per_mwh",
        "Day-ahead auction price, GBP/MWh, up to the end of today or, from 11:00 London time, of tomorrow.",
    )
    imbalance_price_gbp_per_mwh: list[Number | None] = _series(
        "imbalance_price_gbp_per_mwh",
        "Imbalance (system) price, GBP/MWh, up to two periods before the one decided, at a quarter past up to one.",
    )
    net_imbalance_volume_mwh: list[Number | None] = _series(
        "net_imbalance_volume_mwh",
        "Net imbalance volume, MWh, above 0 when the system was short, as far as the imbalance price.",
    )
    market_index_price_gbp_per_mwh: list[Number | None] = _series(
        "market_index_price_gbp_per_mwh",
        "Market index (intraday) price, GBP/MWh, up to two periods before.",
    )
    other: dict[OtherColumn, Series] = Field(
        default_factory=dict,
        description="Further series that the deployed forecaster was fitted on, by column, any of "
        f"{', '.join(OTHERS)}. What is not sent is forecast over. Such forecasters use up to 16 days of history.",
    )


def example() -> dict[str, Any]:
    """A whole order that the server answers: two plain days before noon of 3 January 2024."""
    day = np.arange(HISTORY_PERIODS + 72)  # noon to noon to noon, then to the end of tomorrow
    day_ahead = np.round(70.0 - 25.0 * np.cos(2.0 * np.pi * (day / 48.0 - 0.25)), 2)
    known = HISTORY_PERIODS - 1
    volume = np.round(150.0 * np.sin(day[:known] / 3.0), 1)
    return {
        "telemetry": {"timestamp": "2024-01-03T12:05:00Z", "charge_fraction": 0.62},
        "market": {
            "start": "2024-01-01T12:00:00Z",
            "day_ahead_price_gbp_per_mwh": day_ahead.tolist(),
            "imbalance_price_gbp_per_mwh": np.round(day_ahead[:known] + 0.1 * volume, 2).tolist(),
            "net_imbalance_volume_mwh": volume.tolist(),
            "market_index_price_gbp_per_mwh": np.round(day_ahead[:known] + 0.05 * volume, 2).tolist(),
        },
    }


class DispatchOrder(Wire):
    """What one decision is made on. What is not sent is taken from what is kept, or decided without."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": example()})

    telemetry: Telemetry | None = Field(
        None,
        description="Without it the current step is decided on the newest reading that `/v1/telemetry` was sent, if it "
        "is fresh; on rest if it is not.",
    )
    market: MarketView | None = Field(None, description="Without it the battery rests: nothing else knows its prices.")

    def to_domain(self) -> tuple[domain.Telemetry | None, market_view.MarketView | None]:
        """The same without wire names."""
        measured = self.telemetry
        telemetry = None if measured is None else domain.Telemetry(measured.timestamp, measured.charge_fraction)
        if self.market is None:
            return telemetry, None
        sent = {**{name: getattr(self.market, name) for name in READ}, **self.market.other}
        columns = {name: np.array(values, dtype=np.float64) for name, values in sent.items()}
        return telemetry, market_view.MarketView(self.market.start, columns)


class Period(Wire):
    """A settlement period."""

    start: datetime = Field(description="UTC.")
    end: datetime = Field(description="UTC.")
    settlement_date: str = Field(description="London calendar date.", examples=["2024-01-03"])
    settlement_period: int = Field(description="1 to 48; to 46 or 50 on clock-change days.", ge=1, le=50, examples=[25])

    @classmethod
    def of(cls, start: pd.Timestamp) -> Self:
        """The one that begins at an instant, UTC."""
        index = pd.DatetimeIndex([start])
        date, number = str(settlement_date(index)[0]), int(settlement_period(index)[0])
        return cls(start=start, end=start + PERIOD, settlement_date=date, settlement_period=number)


period_of: Final = lru_cache(maxsize=64)(Period.of)  # everybody who asks within a half-hour asks about the same one


class PlanStep(Shown):
    """One step of the plan: it lasts until the next one starts, the last one a half-hour."""

    start: datetime = Field(description="UTC.")
    power_kw: float = Field(description="Planned grid power, charging positive.")
    charge_fraction: float | None = Field(
        description="State of charge at the end of the step, 0 to 1; null where the charge is not known."
    )
    expected_price_gbp_per_mwh: float | None = Field(
        description="Forecast of the imbalance price, by the rule the day-ahead price; null where there is none."
    )


class PolicyName(Shown):
    """What decided."""

    name: str = Field(description="The policy's name in the evaluation report.", examples=["ppo"])
    kind: Literal["onnx", "forest", "mpc", "dp", "stochastic_dp", "mpc_scenario", "rule", "idle"] = Field(
        description="A learnt network, a planner corrected by learnt trees, a planner, thresholds or rest."
    )
    bundle_sha256: str = Field(description="SHA-256 of the bundle's files: the policy's identity.")


class LadderStep(Shown):
    """A way to decide that was left for the next one."""

    rung: str = Field(description="Which.")
    reason: str = Field(description="Why.")
    after_s: float = Field(description="Seconds spent on it.")


class DispatchPlan(Wire):
    """The set-point to hold until the next decision, the plan behind it, and why."""

    period: Period
    power_kw: float = Field(description="Grid power set-point: above 0 charges, below 0 discharges.", examples=[-250.0])
    hold_until: datetime = Field(description="UTC; the next decision is due then.")
    feasible_kw: tuple[float, float] = Field(
        description="Lowest and highest power that the charge and the risk limits allow."
    )
    plan: list[PlanStep] = Field(
        description="48 half-hours; a policy that decides every 15 minutes has the current one in two halves or its "
        "second half alone. The first step is the set-point; the rest is the cheapest continuation on the forecast. "
        "The set-point alone on the rungs rule and idle, or where no plan was found."
    )
    reason: str = Field(description="Why, in words, from the numbers used.")
    policy: PolicyName
    rung: Literal["policy", "mpc", "rule", "idle"] = Field(
        description="What decided: the bundle's policy, a plan on its forecast, thresholds on published day-ahead "
        "prices, or rest, which is always possible."
    )
    reasons: list[LadderStep] = Field(description="What was tried before and why it was left; empty when all is well.")
    warnings: list[str] = Field(description="What was ignored or missing in the market view; empty when all is well.")

    @classmethod
    def from_domain(cls, decision: domain.Decision, policy: DomainPolicyName) -> Self:
        """The answer for the wire."""
        return cls.model_validate(
            {
                "period": period_of(decision.start.floor(PERIOD)),
                "power_kw": decision.power_kw,
                "hold_until": decision.end,
                "feasible_kw": decision.feasible_kw,
                "plan": decision.plan,
                "reason": decision.reason,
                "policy": policy,
                "rung": decision.rung,
                "reasons": decision.steps,
                "warnings": decision.warnings,
            }
        )


class Health(Wire):
    """How the server is."""

    status: Literal["live", "ready"]


class Problem(Wire):
    """One thing that is wrong with a request."""

    field: str = Field(description="Where, such as `telemetry.charge_fraction`.")
    message: str = Field(description="What came, what is allowed, what to do.")


class Refusal(Wire):
    """Why a request was not answered."""

    detail: list[Problem]


def meaning(path: list[str]) -> str:
    """The description of a field of an order, or nothing if there is none: the help that goes with its errors."""
    model: Any = DispatchOrder
    text = ""
    for name in path:
        field = getattr(model, "model_fields", {}).get(name)
        if field is None:
            return text
        text, kinds = field.description or "", (field.annotation, *get_args(field.annotation))
        model = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    return text
