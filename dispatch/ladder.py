"""The fallback ladder: ways to decide from the best down to the one that cannot fail, and why each was left."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

logger = logging.getLogger(__name__)

Case = TypeVar("Case")


class Skipped(Exception):
    """A way to decide that does not fit the case; the text says why."""


class Proposal(NamedTuple):
    """What one way to decide wants.

    Attributes:
        power_kw: Grid power, charging positive; NaN is no answer.
        forecast: Prices expected from now on, GBP/MWh, this period first; empty where it needed none.
    """

    power_kw: float
    forecast: tuple[float, ...] = ()


class Rung(NamedTuple, Generic[Case]):
    """One way to decide.

    Attributes:
        name: As answers and logs call it.
        decide: Proposes for a case, or raises; it keeps its own deadline.
    """

    name: str
    decide: Callable[[Case], Proposal]


class Step(NamedTuple):
    """A rung that was left: which, why, and after how long."""

    rung: str
    reason: str
    after_s: float


class Descent(NamedTuple):
    """Where the ladder was left.

    Attributes:
        rung: The one that decided.
        proposal: What it wants; its power is finite.
        steps: Those tried before, from the top.
    """

    rung: str
    proposal: Proposal
    steps: list[Step]


def descend(rungs: Sequence[Rung[Case]], case: Case) -> Descent:
    """Take the first rung that proposes a finite power.

    Raises:
        RuntimeError: None of them did; end a ladder with a rung that cannot fail.
    """
    steps: list[Step] = []
    for rung in rungs:
        began = time.monotonic()
        try:
            proposal = rung.decide(case)
            if math.isfinite(proposal.power_kw):
                return Descent(rung.name, proposal, steps)
            reason = f"it asked for {proposal.power_kw} kW"
        except Exception as error:  # whatever breaks a rung, the next one decides
            reason = str(error) or type(error).__name__
        steps.append(Step(rung.name, reason, time.monotonic() - began))
        logger.warning("%s did not decide: %s", rung.name, reason)
    raise RuntimeError(f"no rung of {[rung.name for rung in rungs]} decided; the last one must be able to")
