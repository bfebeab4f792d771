"""The greedy carbon-aware scheduler: highest priority first, each job into its cheapest slot that fits.

List scheduling (Graham, "Bounds on Multiprocessing Timing Anomalies", SIAM J. Applied Mathematics 17(2), 1969) with the
score of a slot as its cost: energy, carbon and lateness, added up in GBP.
"""

from collections.abc import Sequence
from typing import Final, Self

import numpy as np
from numba import njit

from baselines.queue_rules import queue_of, slot_positions
from baselines.schedule import (
    NOWHERE,
    Board,
    Floats,
    Place,
    Reserved,
    Schedule,
    Task,
    Weights,
    before,
    check_weights,
    schedule_by,
    scores_gbp,
)
from data.jobs import JobSpec
from data.schedule import CarbonPoint, PricePoint
from data.schema import PERIOD_H
from envs.fields import Field, FloatArray, position, positions
from envs.information import FORECAST_PERIODS, FORECAST_PREFIX
from envs.job_queue_view import COMMITTED_LEADS
from envs.outlook import CARBON_FIELDS
from envs.single import SystemEnv

ROUNDING_KW: Final = 1e-9  # sums of powers differ by this at most


def schedule(
    jobs: Sequence[JobSpec],
    prices: Sequence[PricePoint],
    carbon: Sequence[CarbonPoint],
    weights: Weights = Weights(),  # noqa: B008 - immutable
    reserved: Sequence[Reserved] = (),
) -> Schedule:
    """Place every job once, whole, in the half-hours that both series cover.

    Jobs are taken by priority, then deadline, then id. A job never starts before it arrives, and runs at its power
    without a pause. It starts within its maximum deferral where any start fits; only if none does, at the first that
    fits later. Of equal slots the earlier is taken.

    Args:
        jobs: What to place.
        prices: Consecutive half-hours; energy is bought at the system buy price.
        carbon: The same half-hours.
        weights: What counts how much.
        reserved: Power that nobody can have any more.

    Raises:
        ValueError: The series are empty, have gaps or differ in time, two jobs share an id, or a weight is not a
            finite number of 0 or more (the power above 0).
    """
    return schedule_by(greedily, jobs, prices, carbon, weights, reserved)


def greedily(tasks: Sequence[Task], board: Board) -> list[Place]:
    """Place task by task; what moving one costs is with the others where they are. A `Planner`."""
    free_kw = board.free_kw.copy()
    starts = [first_come(free_kw, task, board) for task in tasks]
    return [
        Place(at, None if at == NOWHERE else cost_of_moving(free_kw, task, at, board))
        for task, at in zip(tasks, starts, strict=True)
    ]


def first_come(free_kw: Floats, task: Task, board: Board) -> int:
    """Take the best place that is left for a task off what is free, shape (n,), and say where; `NOWHERE` if none is."""
    left_kw = np.minimum(free_kw, task.free_kw) if task.barred else free_kw
    power_kw, last = task.spec.power_kw, free_kw.size - task.duration
    at: int = best_start(
        left_kw,
        power_kw,
        task.duration,
        task.earliest,
        min(task.latest, last),
        task.on_time,
        board.score_before,
        task.late_gbp,
    )
    if at == NOWHERE:  # unavoidable: the first that fits at all
        later = range(max(task.latest + 1, task.earliest), last + 1)
        fits = (slot for slot in later if left_kw[slot : slot + task.duration].min() >= power_kw - ROUNDING_KW)
        at = next(fits, NOWHERE)
    if at != NOWHERE:
        free_kw[at : at + task.duration] -= power_kw
    return at


def cost_of_moving(free_kw: Floats, task: Task, at: int, board: Board) -> float | None:
    """GBP by which the best other time for a task is worse, none of it in its own.

    Args:
        free_kw: Power left in each half-hour, shape (n,).
        task: Runs from `at` on.
        at: Half-hour.
        board: Where it runs.

    Returns:
        The difference, 0 or more; None if there is no other time, or the task's power is sold already.
    """
    if task.barred:
        return None
    score = scores_gbp(task, board)
    others = [
        score[slot]
        for first, stop in ((task.earliest, at - task.duration), (at + task.duration, task.latest))
        if (
            slot := best_start(
                free_kw,
                task.spec.power_kw,
                task.duration,
                first,
                min(stop, task.latest),
                task.on_time,
                board.score_before,
                task.late_gbp,
            )
        )
        != NOWHERE
    ]
    return max(float(min(others) - score[at]), 0.0) if others else None


class GreedyPolicy:
    """Plans the jobs it is shown by the same rule on forecasts, and starts those whose best slot is now.

    Jobs that will arrive are not known. So it holds a job back only while the cluster is not busy, for a saving that
    is worth it.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        weights: Weights,
        added_fraction: float = 1.0,
        patient_below: float = 0.7,
        min_saving_gbp_per_mwh: float = 10.0,
    ) -> None:
        """Set the rule.

        Args:
            fields: Observation layout of a job queue.
            weights: What counts how much; the power is that of all running jobs.
            added_fraction: Share of a job's power that is bought for it.
            patient_below: It waits only while a smaller share of the power than this is taken.
            min_saving_gbp_per_mwh: And only if the score saves this much on each MWh of the job.

        Raises:
            ValueError: A share is not 0 to 1, or a weight or the saving is not a finite number of 0 or more.
        """
        check_weights(weights)
        if not (0.0 <= patient_below <= 1.0 and 0.0 <= min_saving_gbp_per_mwh < float("inf")):
            raise ValueError(
                f"patient_below {patient_below} and min_saving_gbp_per_mwh {min_saving_gbp_per_mwh}; "
                "allowed are 0 to 1 and a finite number, 0 or above"
            )
        self._weights, self._added_fraction = weights, added_fraction
        self._busy_kw, self._min_saving = patient_below * weights.max_power_kw, min_saving_gbp_per_mwh
        self._price = positions(fields, FORECAST_PREFIX)
        self._carbon = positions(fields, CARBON_FIELDS[1].name.removesuffix("00"))
        self._committed = positions(fields, "committed_kw_")
        self._free = position(fields, "free_kw")
        self._slots = slot_positions(fields, "power_kw", "duration_h", "due_h", "priority", "sla_gbp_per_h")
        self._leads = np.diff(COMMITTED_LEADS)

    @classmethod
    def for_env(
        cls,
        env: SystemEnv,
        sla_penalty_weight: float = 1.0,
        patient_below: float = 0.7,
        min_saving_gbp_per_mwh: float = 10.0,
    ) -> Self:
        """For a job queue: its power, its price of carbon, its observation layout.

        Raises:
            ValueError: If the environment is not a job queue.
        """
        system = queue_of(env)
        weights = Weights(system.adders.carbon_gbp_per_tonne / 1000.0, sla_penalty_weight, system.rules.capacity_kw)
        return cls(system.observation_fields, weights, system.added_fraction, patient_below, min_saving_gbp_per_mwh)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Start the jobs whose best slot is now, shape (slots,)."""
        seen = observation.astype(np.float64)
        gbp_per_mwh = seen[self._price] + self._weights.carbon_penalty_weight * seen[self._carbon]
        # Beyond the forecast a day like the one before: the mean is all that is needed to rank what reaches there.
        unit = np.append(gbp_per_mwh, np.full(FORECAST_PERIODS, gbp_per_mwh.mean())) * PERIOD_H / 1000.0
        free_kw = np.full(2 * FORECAST_PERIODS, self._weights.max_power_kw, dtype=np.float64)
        free_kw[:FORECAST_PERIODS] -= np.repeat(seen[self._committed], self._leads)
        busy = free_kw[0] <= self._weights.max_power_kw - self._busy_kw
        free_kw[0] = min(free_kw[0], seen[self._free])
        return _starts(
            seen[self._slots],
            free_kw,
            before(unit) * self._added_fraction,
            self._weights.sla_penalty_weight,
            np.inf if busy else self._min_saving,
        )


@njit(cache=True)
def best_start(
    free_kw: np.ndarray,
    power_kw: float,
    duration: int,
    earliest: int,
    latest: int,
    on_time: int,
    score_before: np.ndarray,
    late_gbp: float,
) -> int:
    """The start with the lowest score at which a job fits.

    Args:
        free_kw: Power left in each slot, shape (n,).
        power_kw: Power of the job.
        duration: Slots that it runs.
        earliest: First start allowed.
        latest: Last start allowed.
        on_time: Last start that meets the deadline.
        score_before: GBP of a kW from the first slot to each, shape (n + 1,).
        late_gbp: GBP of each slot that a start comes later.

    Returns:
        The slot, the first of equals; `NOWHERE` if the job fits in none.
    """
    best, lowest, at = NOWHERE, np.inf, max(earliest, 0)
    while at <= latest and at + duration <= free_kw.size:
        fits = True
        for slot in range(at, at + duration):
            if free_kw[slot] < power_kw - ROUNDING_KW:
                fits, blocked = False, slot
        if not fits:
            at = blocked + 1
            continue
        score = power_kw * (score_before[at + duration] - score_before[at]) + late_gbp * max(at - on_time, 0)
        if score < lowest - 1e-9:
            best, lowest = at, score
        at += 1
    return best


@njit(cache=True)
def _starts(
    slots: np.ndarray, free_kw: np.ndarray, score_before: np.ndarray, sla_weight: float, min_saving: float
) -> np.ndarray:
    """Which of the shown jobs start now; `slots` is power, duration, due, priority and lateness by slot, (5, n)."""
    wanted = np.zeros(slots.shape[1], np.float32)
    for i in np.argsort(-slots[3], kind="mergesort"):
        power_kw, duration, due = slots[0, i], round(slots[1, i] / PERIOD_H), round(slots[2, i] / PERIOD_H)
        if power_kw <= 0.0 or duration > FORECAST_PERIODS:
            wanted[i] = power_kw > 0.0
            continue
        late_gbp = sla_weight * slots[4, i] * PERIOD_H
        at = best_start(free_kw, power_kw, duration, 0, max(due, 0), due, score_before, late_gbp)
        if at == NOWHERE:
            continue
        if at > 0 and free_kw[0] >= power_kw - ROUNDING_KW:
            now, then = score_before[duration] - score_before[0], score_before[at + duration] - score_before[at]
            if (now - then) * 1000.0 < min_saving * duration * PERIOD_H:
                at = 0
        wanted[i] = at == 0
        free_kw[at : at + duration] -= power_kw
    return wanted
