"""Published carbon-aware rules for a queue of jobs that run without a pause.

Rules that pause jobs or change their size (Hanafy et al., "CarbonScaler", POMACS 7(3), 2023) have no counterpart here.
"""

from collections.abc import Sequence
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from baselines.greedy import best_start
from baselines.queue_rules import FORECASTS, queue_of, slot_positions
from data.schema import PERIOD_H
from envs.fields import Field, FloatArray, position, positions
from envs.information import FORECAST_PERIODS
from envs.single import SystemEnv

MIN_CARBON_G_PER_KWH: Final = 1.0  # thresholds need a signal above 0
LARGEST_RATIO: Final = 1e12


class WaitAwhilePolicy:
    """Starts each job when the cleanest forecast window that it can still wait for begins now.

    The non-interrupting strategy of Wiesner et al., "Let's Wait Awhile: How Temporal Workload Shifting Can Reduce
    Carbon Emissions in the Cloud", Middleware 2021; prices and other jobs play no part.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        """Read an observation layout of a job queue."""
        self._carbon = positions(fields, FORECASTS["carbon"])
        self._slots = slot_positions(fields, "power_kw", "duration_h", "due_h")

    @classmethod
    def for_env(cls, env: SystemEnv) -> Self:
        """For a job queue's observation layout."""
        return cls(queue_of(env).observation_fields)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Start the jobs whose window begins now, shape (slots,)."""
        before = np.append(0.0, np.cumsum(observation[self._carbon], dtype=np.float64))
        free_kw = np.full(FORECAST_PERIODS, np.inf)
        jobs = observation[self._slots].astype(np.float64).T
        starts = [
            power_kw > 0.0
            and best_start(
                free_kw, 1.0, round(duration_h / PERIOD_H), 0, max(round(due_h / PERIOD_H), 0), 0, before, 0.0
            )
            <= 0  # no window is NOWHERE: the job is longer than the forecast and does not wait
            for power_kw, duration_h, due_h in jobs
        ]
        return np.array(starts, dtype=np.float32)


class ProvisionPolicy:
    """Lets the more of the cluster run the cleaner the grid is, by the thresholds of an online search.

    Carbon-aware provisioning (CAP) of Lechowicz et al., "Carbon- and Precedence-Aware Scheduling for Data Processing
    Clusters" (PCAPS), SIGCOMM 2025, on the k-min search of Lorenz, Panagiotou and Steger, Algorithmica 55(2), 2009:
    step i of the power above a floor may be used while the carbon intensity is at or below threshold i. The range that
    the search needs is that of the forecast day. Within the power jobs start in order of due time.
    """

    def __init__(
        self, fields: Sequence[Field], capacity_kw: float, floor_fraction: float = 0.85, steps: int = 20
    ) -> None:
        """Set the rule.

        Args:
            fields: Observation layout of a job queue.
            capacity_kw: Power of all jobs that may run at once.
            floor_fraction: Share of it that is always allowed.
            steps: Steps between the floor and the whole.

        Raises:
            ValueError: If the share is not 0 to 1, or there is no step.
        """
        if not 0.0 <= floor_fraction <= 1.0 or steps < 1:
            raise ValueError(f"floor_fraction {floor_fraction} and steps {steps}; allowed are 0 to 1, and 1 or more")
        self._capacity_kw, self._floor_fraction, self._steps = capacity_kw, floor_fraction, steps
        self._carbon = positions(fields, FORECASTS["carbon"])
        (self._power,) = slot_positions(fields, "power_kw")
        self._free, self._running = position(fields, "free_kw"), positions(fields, "committed_kw_").start

    @classmethod
    def for_env(cls, env: SystemEnv, floor_fraction: float = 0.85, steps: int = 20) -> Self:
        """For a job queue's capacity and observation layout."""
        system = queue_of(env)
        return cls(system.observation_fields, system.rules.capacity_kw, floor_fraction, steps)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Start what fits into the power allowed now, shape (slots,)."""
        day = np.maximum(observation[self._carbon].astype(np.float64), MIN_CARBON_G_PER_KWH)
        thresholds = k_min_search(float(day.min()), float(day.max()), self._steps)
        share = np.count_nonzero(thresholds >= day[0] * (1.0 - 1e-9)) / self._steps
        allowed_kw = self._capacity_kw * (self._floor_fraction + (1.0 - self._floor_fraction) * share)
        room_kw = min(float(observation[self._free]), allowed_kw - float(observation[self._running]))
        starts = np.zeros(self._power.size, dtype=np.float32)
        for slot, power_kw in enumerate(observation[self._power]):
            if 0.0 < power_kw <= room_kw:
                starts[slot] = 1.0
                room_kw -= power_kw
        return starts


def k_min_search(lowest: float, highest: float, k: int) -> NDArray[np.float64]:
    """Reservation prices of the optimal deterministic search for the k lowest of a sequence, falling, shape (k,).

    Unit i is bought at the first price at or below its reservation price. Whatever the sequence, the k units cost at
    most s times the k lowest prices, and no deterministic rule has a lower s.

    Source: Lorenz, Panagiotou and Steger, "Optimal Algorithms for k-Search with Application in Option Pricing",
    Algorithmica 55(2), 2009, Theorem 2.

    Args:
        lowest: No price is below it; above 0.
        highest: No price is above it.
        k: Units to buy.

    Raises:
        ValueError: The range is not 0 < lowest <= highest, or k is below 1.
    """
    if not (0.0 < lowest <= highest < float("inf")) or k < 1:
        raise ValueError(
            f"a search for {k} prices from {lowest} to {highest}; needed are k >= 1, 0 < lowest <= highest"
        )
    s = search_ratio(lowest, highest, k)
    return highest * (1.0 - (1.0 - 1.0 / s) * (1.0 + 1.0 / (k * s)) ** np.arange(k))


def search_ratio(lowest: float, highest: float, k: int) -> float:
    """The competitive ratio s of `k_min_search`: the root of (1 - lowest/highest) / (1 - 1/s) = (1 + 1/(ks))^k."""
    gap = 1.0 - lowest / highest
    if gap < 1e-9:
        return 1.0

    def excess(s: float) -> float:
        return (1.0 - 1.0 / s) * (1.0 + 1.0 / (k * s)) ** k - gap

    return float(brentq(excess, 1.0, LARGEST_RATIO))
