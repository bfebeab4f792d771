"""What stands between a decision and the market: limits, a daily circuit breaker, the operator's pause, a kill switch.

State is kept in memory and rebuilt at start from what is stored: pause and kill switch from the audit log's newest
events, losses and exposure from the decisions. A session is a GB settlement day, midnight to midnight in London.
"""

import json
import threading
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from math import inf
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from baselines.risk_models import max_drawdown_gbp
from data.calendar import local_midnight_utc, settlement_date
from dispatch import decisions
from dispatch.audit import Audit
from dispatch.exposure import Limits, autocorrelation, checked, room_gbp
from dispatch.store import Store
from models.battery import Battery
from models.settlement import Adders, adders_gbp, energy_gbp

Floats = NDArray[np.float64]
LOOK_BACK: Final = timedelta(days=3)  # covers a session and whatever of the one before is not settled
UNSETTLED: Final = timedelta(days=1)  # a price that is still missing then never came
FATIGUE: Final = 0.6  # of the operator's own heart-rate variability; below it decisions are paused
PREFIX: Final = "risk_"
KILL, PAUSE, BREAKER, HRV = (f"{PREFIX}{name}" for name in ("kill", "pause", "breaker", "hrv"))


class Permit(NamedTuple):
    """What may be done now.

    Attributes:
        low_kw: Lowest grid power.
        high_kw: Highest grid power.
        halted: Why nothing may be done at all, empty if something may.
    """

    low_kw: float = -inf
    high_kw: float = inf
    halted: str = ""


FREE: Final = Permit()


class Step(NamedTuple):
    """A decided step; `gain_gbp` is None until its price is known."""

    start: datetime
    end: datetime
    power_kw: float
    gain_gbp: float | None = None

    @property
    def energy_mwh(self) -> float:
        """Exchanged with the grid, charging positive."""
        return self.power_kw * _hours(self.end - self.start) / 1000.0


class Event(NamedTuple):
    """Something that happened to the limits: what, when, and the details that are audited."""

    kind: str
    at: datetime
    body: dict[str, Any]


class Risk:
    """The limits and where they stand; safe to call from several threads.

    Attributes:
        limits: What is allowed.
    """

    def __init__(self, limits: Limits, battery: Battery, adders: Adders, store: Store) -> None:
        """Take up where the store says it stopped.

        Raises:
            ValueError: A limit is below 0 or no number.
        """
        self.limits, self._battery, self._adders = checked(limits), battery, adders
        self._lock = threading.Lock()
        audit = Audit(store)
        self._killed, self._paused = switched_on(audit, KILL), switched_on(audit, PAUSE)
        self._tripped: str | None = _last_said(audit, BREAKER).get("session")
        newest = decisions.newest(store)
        self._steps: dict[datetime, Step] = {}
        if newest is not None:
            for row in decisions.since(store, newest.start - LOOK_BACK):
                self._steps[row.start] = Step(row.start, row.end, row.power_kw, row.gain_gbp)

    @property
    def killed(self) -> str:
        """Why nothing may be sent, empty if something may."""
        return self._killed

    def switch(self, kind: str, on: bool, reason: str, at: datetime) -> Event:
        """Throw the kill switch (`KILL`) or the pause (`PAUSE`), or release it."""
        with self._lock:
            text = reason if on else ""
            if kind == KILL:
                self._killed = text
            else:
                self._paused = text
        return Event(kind, at, {"on": on, "reason": text, "note": reason})

    def heart_rate(self, variability_ms: float, usual_ms: float, at: datetime) -> list[Event]:
        """Pause if the operator's heart-rate variability has fallen far below what it usually is; never resume.

        Only the ratio is kept: the values themselves are the operator's own.
        """
        ratio = round(variability_ms / usual_ms, 3)
        events = [Event(HRV, at, {"ratio": ratio, "pauses_below": FATIGUE})]
        if ratio < FATIGUE and not self._paused:
            events.append(self.switch(PAUSE, True, f"operator fatigue: variability at {ratio:.0%} of the usual", at))
        return events

    def permit(self, start: datetime, end: datetime, price: Callable[[], Floats]) -> Permit:
        """What may be done in a step.

        Args:
            start: Of the step.
            end: Of the step.
            price: Known imbalance prices so far, oldest first, without gaps; only asked for where exposure is limited.
        """
        with self._lock:
            session = session_of(start)
            halted = self._halted(session)
            if halted:
                return Permit(0.0, 0.0, halted)
            most_kw = min(self.limits.device_kw, self.limits.total_kw)
            low_kw, high_kw = -most_kw, most_kw
            if self.limits.exposure_gbp < inf:
                low_mwh, high_mwh = self._room_mwh(start, price())
                per_mwh = 1000.0 / _hours(end - start)
                low_kw, high_kw = max(low_kw, low_mwh * per_mwh), min(high_kw, high_mwh * per_mwh)
            return Permit(low_kw, high_kw)

    def decided(self, start: datetime, end: datetime, power_kw: float) -> None:
        """Take a decision into account."""
        with self._lock:
            self._steps[start] = Step(start, end, power_kw)
            for old in [each for each in self._steps if each < start - LOOK_BACK]:
                del self._steps[old]

    def waiting(self) -> list[datetime]:
        """Starts of the settlement periods whose price something decided waits for."""
        with self._lock:
            return sorted({_period(start) for start, step in self._steps.items() if step.gain_gbp is None})

    def settle(self, prices: Mapping[datetime, float], at: datetime) -> tuple[dict[datetime, float], list[Event]]:
        """Work out what steps earned whose price is now known, and trip the breaker if a session lost too much.

        Args:
            prices: Published imbalance prices by start of settlement period, GBP/MWh.
            at: Now.

        Returns:
            Gains by start of step, and what happened.
        """
        gains: dict[datetime, float] = {}
        with self._lock:
            for start, step in self._steps.items():
                price = prices.get(_period(start))
                if step.gain_gbp is None and price is not None:
                    hours = _hours(step.end - start)
                    gains[start] = gain_gbp(self._battery, self._adders, step.power_kw, hours, price)
            for start, gain in gains.items():
                self._steps[start] = self._steps[start]._replace(gain_gbp=gain)
            events = [self._trip(session, at) for session in sorted({session_of(start) for start in gains})]
        return gains, [event for event in events if event is not None]

    def state(self, now: datetime) -> dict[str, Any]:
        """Where everything stands, for the session that holds an instant."""
        with self._lock:
            session = session_of(now)
            gains = self._gains(session)
            held = [step for step in self._steps.values() if step.gain_gbp is None and now - step.start <= UNSETTLED]
            return {
                "session": session.isoformat(),
                "session_ends": _start_of(session + timedelta(days=1)).isoformat(),
                "halted": self._halted(session),
                "killed": self._killed,
                "paused": self._paused,
                "gain_gbp": float(gains.sum()),
                "drawdown_gbp": _deepest(gains),
                "unsettled_mwh": sum(step.energy_mwh for step in held),
                "limits": {name: None if value == inf else value for name, value in self.limits._asdict().items()},
            }

    def _halted(self, session: date) -> str:
        if self._killed:
            return f"the kill switch is on: {self._killed}"
        if self._paused:
            return f"paused: {self._paused}"
        if self._tripped == session.isoformat():
            return (
                f"session {session.isoformat()} lost {_deepest(self._gains(session)):.2f} GBP from its high, of "
                f"{self.limits.drawdown_gbp:.2f} allowed; the next session begins at "
                f"{_start_of(session + timedelta(days=1)).isoformat()}"
            )
        return ""

    def _trip(self, session: date, at: datetime) -> Event | None:
        fallen = _deepest(self._gains(session))
        if fallen < self.limits.drawdown_gbp or self._tripped == session.isoformat():
            return None
        if self._tripped is not None and session.isoformat() < self._tripped:
            return None  # late prices of a session that is over
        self._tripped = session.isoformat()
        body = {"session": self._tripped, "drawdown_gbp": fallen, "limit_gbp": self.limits.drawdown_gbp}
        return Event(BREAKER, at, body)

    def _gains(self, session: date) -> Floats:
        steps = sorted((start, step.gain_gbp) for start, step in self._steps.items() if step.gain_gbp is not None)
        return np.array([gain for start, gain in steps if session_of(start) == session])

    def _room_mwh(self, start: datetime, prices: Floats) -> tuple[float, float]:
        held = sorted(
            (step.start, step.energy_mwh)
            for step in self._steps.values()
            if step.gain_gbp is None and start - UNSETTLED <= step.start < start
        )
        price = abs(float(prices[-1])) if prices.size else inf
        if price == 0.0:
            return -inf, inf
        if price == inf:
            return 0.0, 0.0  # nobody knows what hangs on it
        periods_back = np.array([round((start - then) / timedelta(minutes=30)) for then, _ in held] + [0])
        matrix = autocorrelation(prices, int(periods_back.max()))
        correlation = matrix[0][np.abs(periods_back[:, None] - periods_back[None, :])]
        exposures = np.array([energy_mwh * price for _, energy_mwh in held])
        low_gbp, high_gbp = room_gbp(exposures, correlation, self.limits.exposure_gbp)
        return low_gbp / price, high_gbp / price


def gain_gbp(battery: Battery, adders: Adders, power_kw: float, hours: float, price_gbp_per_mwh: float) -> float:
    """What a step earned at the imbalance price, with network adders and wear, as `envs.battery` books it.

    Carbon is not in it: the metered intensity is published later than the price.
    """
    metered_kwh = power_kw * hours
    _, energy = energy_gbp(0.0, metered_kwh, 0.0, price_gbp_per_mwh)
    network, _ = adders_gbp(adders, metered_kwh, 0.0)
    return float(energy + network - battery.wear_gbp_per_kwh * abs(metered_kwh))


@lru_cache(maxsize=64)  # asked for the same step by every order, and calendars are slow
def session_of(instant: datetime) -> date:
    """The session that holds an instant: its settlement date."""
    day: date = settlement_date(pd.DatetimeIndex([instant]))[0].item()
    return day


def switched_on(audit: Audit, kind: str) -> str:
    """Why a switch is on (`KILL` or `PAUSE`) as far as the log says; empty if it is off."""
    return str(_last_said(audit, kind).get("reason", ""))


def write(connection: Any, audit: Audit, event: Event) -> None:
    """Append an event to the audit log."""
    audit.append(connection, event.kind, event.body, event.at)


def events(audit: Audit, count: int) -> list[dict[str, Any]]:
    """The newest events, newest first."""
    return [
        {"sequence": e.sequence, "at": e.at, "kind": e.kind.removeprefix(PREFIX), "body": json.loads(e.body)}
        for e in audit.newest((KILL, PAUSE, BREAKER, HRV), count)
    ]


def _last_said(audit: Audit, kind: str) -> dict[str, Any]:
    newest = audit.newest([kind])
    return dict(json.loads(newest[0].body)) if newest else {}


def _deepest(gains: Floats) -> float:
    """Deepest fall of the sum below its high; a session starts at zero."""
    return max_drawdown_gbp(np.concatenate([[0.0], np.cumsum(gains)]))


def _start_of(session: date) -> datetime:
    noon = pd.DatetimeIndex([pd.Timestamp(session, tz="UTC") + pd.Timedelta(hours=12)])
    return local_midnight_utc(noon)[0].to_pydatetime()


def _period(start: datetime) -> datetime:
    """Start of the settlement period that holds a step."""
    return start.replace(minute=start.minute // 30 * 30)


def _hours(span: timedelta) -> float:
    return span.total_seconds() / 3600.0
