"""The wire types of what the service keeps: telemetry, the plan in force, signals, and where risk stands."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints

from dispatch.decisions import Decided
from server.bundle import PolicyName as DomainPolicyName
from server.desk import Signal as DomainSignal
from server.desk import Taken
from server.schemas import DispatchPlan, Number, PolicyName, Telemetry, Wire

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class Measured(Telemetry):
    """What the site measures, to be kept."""

    power_kw: Number | None = Field(
        None, description="Metered grid power of the battery, charging positive.", ge=-1e6, le=1e6
    )


class Receipt(Wire):
    """What became of a reading."""

    new: bool = Field(description="False if this very reading was stored before.")
    recorded: bool = Field(description="Whether it is on disk; if not, it will be when the database answers.")
    notes: list[str] = Field(description="What is odd about it: a silence before it, or clocks that disagree.")

    @classmethod
    def from_domain(cls, taken: Taken) -> Self:
        """For the wire."""
        return cls(new=taken.new, recorded=taken.recorded, notes=taken.notes)


class Plan(Wire):
    """The decision last made."""

    age_s: float = Field(description="Seconds since it was made.")
    expired: bool = Field(description="Whether the step that it decided is over.")
    decision: DispatchPlan

    @classmethod
    def from_domain(cls, decided: Decided, age_s: float, now: datetime) -> Self:
        """For the wire."""
        return cls(age_s=age_s, expired=now >= decided.end, decision=DispatchPlan.model_validate_json(decided.answer))


class Signal(Wire):
    """An opinion on the current step; nobody is bound to it."""

    opinion: Literal["skip", "buy", "sell"]
    confidence: float = Field(
        description="Share of the half-hours ahead whose expected price is on the side that the opinion needs; 0 "
        "without a forecast.",
        ge=0.0,
        le=1.0,
    )
    rationale: str = Field(description="Why, in words, from the numbers used.")
    power_kw: float = Field(description="What would be dispatched, charging positive.")
    stop_loss_gbp_per_mwh: float | None = Field(description="Price to give the trade up at; null without a trade.")
    take_profit_gbp_per_mwh: float | None = Field(description="Price to take the gain at; null without a trade.")
    true_range_gbp_per_mwh: float | None = Field(description="Average true range of the known imbalance prices.")
    regime: Literal["calm", "normal", "turbulent"] | None = Field(description="How volatile the market is.")
    rung: str = Field(description="What decided; see `/v1/dispatch`.")
    policy: PolicyName

    @classmethod
    def from_domain(cls, signal: DomainSignal, policy: DomainPolicyName) -> Self:
        """For the wire."""
        away = signal.stops
        return cls(
            opinion=signal.opinion,
            confidence=signal.confidence,
            rationale=signal.rationale,
            power_kw=signal.decision.power_kw,
            stop_loss_gbp_per_mwh=away and away.stop_loss_gbp_per_mwh,
            take_profit_gbp_per_mwh=away and away.take_profit_gbp_per_mwh,
            true_range_gbp_per_mwh=away and away.true_range_gbp_per_mwh,
            regime=away and away.regime,
            rung=signal.decision.rung,
            policy=PolicyName(**policy._asdict()),
        )


class Switch(Wire):
    """The operator's pause, or the kill switch."""

    on: bool = Field(description="True stops, false lets go again.", strict=True)
    reason: Reason = Field(description="Who and why; it is audited and shown with every decision that it stops.")


class HeartRate(Wire):
    """The operator's heart-rate variability; only its ratio to the usual one is kept."""

    variability_ms: float = Field(description="RMSSD now, milliseconds.", ge=1.0, le=1000.0)
    usual_ms: float = Field(description="RMSSD of this operator when rested.", ge=1.0, le=1000.0)


class RiskLimits(Wire):
    """What is allowed; null where nothing limits it."""

    device_kw: float | None = Field(description="Highest power of any one device, in either direction.")
    total_kw: float | None = Field(description="Of all devices together.")
    exposure_gbp: float | None = Field(description="Joint exposure of what is not settled yet.")
    drawdown_gbp: float | None = Field(description="Fall from the session's high that stops it.")


class RiskState(Wire):
    """Where the limits stand."""

    session: str = Field(description="GB settlement date.")
    session_ends: datetime = Field(description="UTC; a tripped circuit breaker is reset then.")
    halted: str = Field(description="Why nothing is dispatched; empty if something may be.")
    killed: str = Field(description="Why the kill switch is on; empty if it is off.")
    paused: str = Field(description="Why the operator's pause is on; empty if it is off.")
    gain_gbp: float = Field(description="Earned in this session, as far as prices are published.")
    drawdown_gbp: float = Field(description="Deepest fall from the session's high.")
    unsettled_mwh: float = Field(description="Net energy whose price is not published yet, charging positive.")
    limits: RiskLimits
    recorded: bool = Field(True, description="Whether what was just changed is on disk.")


class RiskEvent(Wire):
    """Something that happened to the limits."""

    sequence: int = Field(description="Of the entry in the audit log.")
    at: datetime
    kind: Literal["kill", "pause", "breaker", "hrv"]
    body: dict[str, Any]
