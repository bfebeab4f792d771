"""The dispatcher with a memory: what was measured, decided and allowed, recorded before it is answered."""

import hashlib
import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import sqlalchemy as sa
from pydantic_core import to_json

from data.calendar import PERIOD
from dispatch import decisions, readings, risk
from dispatch.audit import Audit
from dispatch.decisions import Decided
from dispatch.execution import Commitment
from dispatch.exposure import Limits
from dispatch.readings import Reading, Readings
from dispatch.recorder import Recorder, Write
from dispatch.risk import Event, Permit, Risk
from dispatch.stops import Stops, stops
from dispatch.store import Store
from server.bundle import PolicyName
from server.decision import VISIBLE_KW, Answer, Decision, Telemetry
from server.dispatcher import Dispatcher
from server.market_view import MarketView, Published
from server.minds import Case

logger = logging.getLogger(__name__)

CLOCKS_APART: Final = timedelta(minutes=1)  # a caller's clock and ours
RECORD_WITHIN_S: Final = 1.0  # longer than this no answer waits for the database
OTHER_UNIT: Final = 10.0  # times the highest power that a battery has are W and not kW
HALF_HOUR: Final = PERIOD.to_pytimedelta()
IMBALANCE: Final = "imbalance_price_gbp_per_mwh"
Opinion = Literal["buy", "sell", "skip"]


def utc_now() -> datetime:
    """Now, by this machine's clock."""
    return datetime.now(UTC)


class Signal(NamedTuple):
    """An opinion on the current step, which nobody is bound to.

    Attributes:
        decision: What would be decided.
        opinion: Buy, sell or skip.
        confidence: Share of the half-hours ahead whose expected price is on the side that the opinion needs; 0
            where there is no forecast.
        rationale: Why.
        stops: Where to leave a trade; None where fewer than two prices are known.
    """

    decision: Decision
    opinion: Opinion
    confidence: float
    rationale: str
    stops: Stops | None


class Taken(NamedTuple):
    """What became of a reading: whether it was new, whether it is on disk, and what is odd about it."""

    new: bool
    recorded: bool
    notes: list[str]


class Desk:
    """Decides on what is known, within what risk allows, and keeps a record of it.

    Attributes:
        policy_name: Which policy decides at the top of the ladder.
        risk: The limits and where they stand.
        audit: The log.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        store: Store,
        limits: Limits,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Take up where the store says it stopped.

        Raises:
            ValueError: A risk limit is wrong.
        """
        self.policy_name, self.rungs = dispatcher.policy_name, dispatcher.rungs
        self.audit = Audit(store)
        self.risk = Risk(limits, dispatcher.battery, dispatcher.adders, store)
        self._dispatcher, self._clock = dispatcher, clock
        self._readings = Readings(store)
        self._latest = decisions.newest(store)
        self._recorder = Recorder(store)

    def rehearse(self, telemetry: Telemetry, market: MarketView) -> Decision:
        """Decide for practice: nothing is recorded and no limit asked."""
        return self._dispatcher.decide(telemetry, market)

    def measured(self, timestamp: datetime, charge_fraction: float, power_kw: float | None) -> Taken:
        """Take a reading.

        Raises:
            Disorder: It contradicts what is stored or the clock.
            ValueError: Its power is in another unit.
        """
        highest_kw = max(self._dispatcher.battery.max_charge_kw, self._dispatcher.battery.max_discharge_kw)
        if power_kw is not None and abs(power_kw) > OTHER_UNIT * max(highest_kw, 1.0):
            raise ValueError(
                f"{power_kw:g} kW were measured, and the battery's highest power is {highest_kw:g}: is it W?"
            )
        reading = Reading(timestamp, charge_fraction, power_kw, self._clock())
        new, notes = self._readings.take(reading)
        for note in notes:
            logger.warning("telemetry of %s: %s", timestamp.isoformat(), note)
        recorded = self.record(lambda connection: readings.write(connection, reading))
        return Taken(new, recorded, notes)

    def answer(self, telemetry: Telemetry | None, market: MarketView | None) -> Answer:
        """Decide the current step: the one that holds the telemetry's timestamp or, without telemetry, now.

        Args:
            telemetry: What the site measures; None takes the newest reading, if it is fresh.
            market: What the market has published; None where that is not known.

        Returns:
            The decision, recorded; where the database does not answer in time, a warning says that it is not yet.

        Raises:
            ValueError: The market view is wrong in itself.
        """
        answer, write = self._decided(telemetry, market)
        if self.record(write):
            return answer
        late = "not recorded yet: the database does not answer; it will be written when it does"
        return self._dispatcher.said(answer.decision._replace(warnings=[*answer.decision.warnings, late]))

    def propose(self, market: MarketView | None) -> Commitment:
        """Decide the current step on the newest reading, to be put in force by `dispatch.execution`.

        Raises:
            ValueError: The market view is wrong in itself.
        """
        (decision, _), write = self._decided(None, market)
        start, end = decision.start.to_pydatetime(), decision.end.to_pydatetime()
        payload = {"start": start.isoformat(), "end": end.isoformat(), "power_kw": decision.power_kw}
        return Commitment(start, end, payload, write)

    def _decided(self, telemetry: Telemetry | None, market: MarketView | None) -> tuple[Answer, Write]:
        """A decision as it is said, and what records it."""
        at = self._clock()
        seen = telemetry or self._seen(at)
        decision = self._dispatcher.decide(seen, market, partial(self._allowed, at))
        start, end = decision.start.to_pydatetime(), decision.end.to_pydatetime()
        in_force = start - CLOCKS_APART <= at < end + CLOCKS_APART
        if not in_force:
            decision.warnings.append(
                f"the step decided is not the current one: by this server's clock it is {at.isoformat()}; the decision "
                "is audited but not in force"
            )
        answer = self._dispatcher.said(decision)
        decided: Decided | None = None
        if in_force:
            self.risk.decided(start, end, decision.power_kw)
            decided = self._latest = Decided(start, end, at, decision.power_kw, decision.rung, answer.text)
        said = {**decision_said(decision, seen, self.policy_name), "in_force": in_force}
        view = None if market is None else view_text(market)
        if view is not None:
            said["market_sha256"] = hashlib.sha256(view.encode()).hexdigest()

        def write(connection: sa.Connection) -> None:
            if view is not None:
                decisions.write_view(connection, said["market_sha256"], view)
            if decided is not None:
                decisions.write(connection, decided)
            self.audit.append(connection, "decision", said, at)

        return answer, write

    def signal(self, telemetry: Telemetry | None, market: MarketView | None) -> Signal:
        """What would be decided and how sure that is; nothing is put in force, and the opinion is audited.

        Raises:
            ValueError: The market view is wrong in itself.
        """
        at = self._clock()
        seen = telemetry or self._seen(at)
        known: list[np.ndarray] = []

        def allowed(case: Case) -> Permit:
            known.append(known_prices(case))
            return self._allowed(at, case)

        signal = signal_of(self._dispatcher.decide(seen, market, allowed), known[0])
        said = decision_said(signal.decision, seen, self.policy_name)
        said |= {"opinion": signal.opinion, "confidence": signal.confidence}
        self.record(lambda connection: self.audit.append(connection, "signal", said, at))
        return signal

    def latest(self) -> tuple[Decided, float] | None:
        """The decision last made and its age in seconds."""
        if self._latest is None:
            return None
        return self._latest, (self._clock() - self._latest.decided_at).total_seconds()

    def note(self, events: list[Event]) -> bool:
        """Record what happened to the limits; whether that is on disk."""

        def write(connection: sa.Connection) -> None:
            for event in events:
                risk.write(connection, self.audit, event)

        for event in events:
            logger.warning("%s: %s", event.kind, event.body)
        return self.record(write) if events else True

    def record(self, write: Write) -> bool:
        """Write to the store; whether it is committed by now."""
        try:
            return self._recorder.record(write, RECORD_WITHIN_S)
        except RuntimeError as error:
            logger.error("%s", error)
            return False

    def ages_s(self) -> dict[str, float]:
        """Seconds since the newest reading was measured and since the last decision; what there is not is left out."""
        reading, decided = self._readings.newest, self._latest
        newest = {"telemetry": reading and reading.measured_at, "decision": decided and decided.decided_at}
        return {name: (self._clock() - at).total_seconds() for name, at in newest.items() if at is not None}

    @property
    def backlog(self) -> int:
        """How many records wait for the database."""
        return self._recorder.backlog

    def now(self) -> datetime:
        """By the clock that everything here goes by."""
        return self._clock()

    def close(self) -> None:
        """Write what waits."""
        self._recorder.close()

    def _seen(self, at: datetime) -> Telemetry:
        charge_fraction, unknown = self._readings.usable(at)
        return Telemetry(at, charge_fraction, unknown)

    def _allowed(self, at: datetime, case: Case) -> Permit:
        """Book what has become known, then ask risk."""
        if case.known is not None:
            gains, events = self.risk.settle(self._published(case.known), at)
            self.note(events)
            if gains:
                self.record(partial(_write_gains, gains))
        end = case.start + self._dispatcher.step
        return self.risk.permit(case.start.to_pydatetime(), end.to_pydatetime(), lambda: known_prices(case))

    def _published(self, known: Published) -> dict[datetime, float]:
        """Prices that decided steps wait for."""
        prices, first = known.columns[IMBALANCE], known.start.to_pydatetime()
        rows = {start: (start - first) // HALF_HOUR for start in self.risk.waiting()}
        found = {start: float(prices[row]) for start, row in rows.items() if 0 <= row < prices.size}
        return {start: price for start, price in found.items() if not math.isnan(price)}


def known_prices(case: Case) -> np.ndarray:
    """Published imbalance prices, oldest first, gaps left out."""
    if case.known is None:
        return np.empty(0)
    prices = case.known.columns[IMBALANCE]
    return prices[np.isfinite(prices)]


def signal_of(decision: Decision, prices: np.ndarray) -> Signal:
    """Put a decision in a trader's words.

    Args:
        decision: What would be decided.
        prices: Known imbalance prices, oldest first.
    """
    power_kw = decision.power_kw
    opinion: Opinion = "skip" if abs(power_kw) < VISIBLE_KW else "buy" if power_kw > 0.0 else "sell"
    ahead = np.array([step.expected_price_gbp_per_mwh for step in decision.plan[1:]], dtype=np.float64)
    confidence, now = 0.0, decision.plan[0].expected_price_gbp_per_mwh
    if ahead.size and now is not None:
        above, below = float(np.mean(ahead > now)), float(np.mean(ahead < now))
        confidence = {"buy": above, "sell": below, "skip": 1.0 - abs(above - below)}[opinion]
    return Signal(decision, opinion, confidence, decision.reason, stops(prices, opinion) if prices.size > 1 else None)


def decision_said(decision: Decision, telemetry: Telemetry, policy: PolicyName) -> dict[str, Any]:
    """What the audit log says of a decision: inputs, policy version, rung and explanation."""
    known = None if math.isnan(telemetry.charge_fraction) else telemetry.charge_fraction
    return {
        "start": decision.start.isoformat(),
        "end": decision.end.isoformat(),
        "telemetry": {"timestamp": telemetry.timestamp.isoformat(), "charge_fraction": known},
        "policy": policy._asdict(),
        "rung": decision.rung,
        "left": [{"rung": step.rung, "reason": step.reason} for step in decision.steps],
        "power_kw": decision.power_kw,
        "feasible_kw": list(decision.feasible_kw),
        "reason": decision.reason,
        "warnings": list(decision.warnings),
    }


def view_text(market: MarketView) -> str:
    """A market view as JSON, always the same for the same."""
    columns = {name: market.columns[name].tolist() for name in sorted(market.columns)}
    start = market.start.astimezone(UTC).isoformat()
    return to_json({**columns, "start": start}, inf_nan_mode="null").decode()


def _write_gains(gains: dict[datetime, float], connection: sa.Connection) -> None:
    for start, gain in gains.items():
        decisions.write_gain(connection, start, gain)
