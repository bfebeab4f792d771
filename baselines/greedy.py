"""The greedy carbon-aware scheduler: highest priority first, each job into its cheapest slot that fits.

List scheduling (Graham, "Bounds on Multiprocessing Timing Anomalies", SIAM J. Applied Mathematics 17(2), 1969) with the
score of a slot as its cost: energy, carbon and lateness, added up in GBP.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from baselines.queue_rules import queue_of, slot_positions
from data.jobs import JobSpec
from data.schedule import CarbonPoint, FlexOffer, JobMetadata, PricePoint, ScheduledJob
from data.schema import PERIOD_H
from envs.fields import Field, FloatArray, position, positions
from envs.information import FORECAST_PERIODS, FORECAST_PREFIX
from envs.job_queue_view import COMMITTED_LEADS
from envs.outlook import CARBON_FIELDS
from envs.single import SystemEnv

Floats = NDArray[np.float64]
HALF_HOUR: Final = timedelta(hours=PERIOD_H)
ROUNDING_KW: Final = 1e-9  # sums of powers differ by this at most
NOWHERE: Final = -1


class Weights(NamedTuple):
    """What a slot is judged by.

    Attributes:
        carbon_penalty_weight: GBP per kg of carbon dioxide.
        sla_penalty_weight: Times each job's own price of lateness.
        max_power_kw: Highest power of all jobs together.
    """

    carbon_penalty_weight: float = 0.5
    sla_penalty_weight: float = 2.0
    max_power_kw: float = 12_000.0


class Reserved(NamedTuple):
    """Power that is spoken for: drawn by a job that has begun, or promised not to be drawn.

    Attributes:
        job_id: Whose it is. That job neither runs in the window nor is offered again.
        power_kw: How much.
        start: First instant.
        end: First instant after it.
    """

    job_id: str
    power_kw: float
    start: datetime
    end: datetime


class Schedule(NamedTuple):
    """Where everything goes.

    Attributes:
        scheduled_jobs: In order of start, then of job id.
        flex_offers: Of those that could run at another time, in the same order.
        unplaced: Ids of jobs that do not fit into the horizon at all, in the order in which they were tried.
    """

    scheduled_jobs: list[ScheduledJob]
    flex_offers: list[FlexOffer]
    unplaced: list[str]


class _Task(NamedTuple):
    """A job in half-hours of the horizon."""

    spec: JobSpec
    duration: int
    earliest: int
    latest: int
    deadline: int


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
    start = _checked_series(prices, carbon)
    _check_weights(weights)
    seen = [job.job_id for job in jobs]
    if len(set(seen)) < len(seen):
        raise ValueError(f"job ids come twice: {sorted({i for i in seen if seen.count(i) > 1})}; give each job its own")
    price = np.array([point.system_buy_price_gbp_per_mwh for point in prices])
    intensity = np.array([point.carbon_intensity_g_per_kwh for point in carbon])
    cost_before, carbon_before = _before(price * PERIOD_H / 1000.0), _before(intensity * PERIOD_H / 1000.0)
    score_before = cost_before + weights.carbon_penalty_weight * carbon_before
    free_kw = np.full(len(price), weights.max_power_kw)
    barred: dict[str, list[slice]] = {}
    for one in reserved:
        window = _window(one, start, free_kw.size)
        free_kw[window] -= one.power_kw
        barred.setdefault(one.job_id, []).append(window)
    placed: list[tuple[_Task, int]] = []
    unplaced = []
    for job in sorted(jobs, key=lambda job: (-job.priority, job.deadline, job.job_id)):
        task = _task(job, start)
        at = _place(_without(free_kw, barred.get(job.job_id, [])), task, score_before, weights)
        if at == NOWHERE:
            unplaced.append(job.job_id)
            continue
        free_kw[at : at + task.duration] -= job.power_kw
        placed.append((task, at))
    rows, offers = [], []
    for task, at in sorted(placed, key=lambda pair: (pair[1], pair[0].spec.job_id)):
        job, stop = task.spec, at + task.duration
        extra_gbp = None if job.job_id in barred else _cost_of_moving(free_kw, task, at, score_before, weights)
        began = start + at * HALF_HOUR
        ended = began + timedelta(hours=job.duration_hours)
        rows.append(
            ScheduledJob(
                job_id=job.job_id,
                start_time=began,
                end_time=ended,
                power_kw=job.power_kw,
                expected_cost_gbp=job.power_kw * _share(cost_before, at, job.duration_hours),
                expected_carbon_kg=job.power_kw * _share(carbon_before, at, job.duration_hours),
                is_flexible_offer=extra_gbp is not None,
                metadata=JobMetadata(
                    lateness_hours=max((ended - job.deadline) / timedelta(hours=1), 0.0),
                    cluster_id=job.cluster_id,
                    priority=job.priority,
                ),
            )
        )
        if extra_gbp is not None:
            offers.append(
                FlexOffer(
                    offer_id=f"flex-{job.job_id}",
                    cluster_id=job.cluster_id,
                    power_kw=job.power_kw,
                    duration_hours=job.duration_hours,
                    earliest_start=began,
                    latest_end=ended,
                    price_gbp_per_mwh=extra_gbp / (job.power_kw * job.duration_hours / 1000.0),
                    carbon_intensity_cap_g_per_kwh=float(intensity[at:stop].max()),
                )
            )
    return Schedule(rows, offers, unplaced)


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
        _check_weights(weights)
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
        free_kw = np.full(2 * FORECAST_PERIODS, self._weights.max_power_kw)
        free_kw[:FORECAST_PERIODS] -= np.repeat(seen[self._committed], self._leads)
        busy = free_kw[0] <= self._weights.max_power_kw - self._busy_kw
        free_kw[0] = min(free_kw[0], seen[self._free])
        return _starts(
            seen[self._slots],
            free_kw,
            _before(unit) * self._added_fraction,
            self._weights.sla_penalty_weight,
            np.inf if busy else self._min_saving,
        )


def _checked_series(prices: Sequence[PricePoint], carbon: Sequence[CarbonPoint]) -> datetime:
    times = [point.timestamp for point in prices]
    if not times:
        raise ValueError("no price is given; a schedule needs at least one half-hour of prices and carbon")
    if times != [times[0] + i * HALF_HOUR for i in range(len(times))] or times[0].timestamp() % 1800.0:
        raise ValueError(f"prices from {times[0]} on must be consecutive half-hours; sort them and fill the gaps")
    if [point.timestamp for point in carbon] != times:
        raise ValueError(
            f"prices cover {times[0]} to {times[-1]} and carbon other times; cut both to the same half-hours"
        )
    return times[0]


def _check_weights(weights: Weights) -> None:
    if not (all(0.0 <= w < float("inf") for w in weights) and weights.max_power_kw > 0.0):
        raise ValueError(f"{weights}: weights must be finite numbers, 0 or above, and max_power_kw above 0")


def _before(values: Floats) -> Floats:
    """Sum of all values before each, and of all: shape (n,) to (n + 1,)."""
    return np.append(0.0, np.cumsum(values))


def _share(before: Floats, at: int, hours: float) -> float:
    """Sum over `hours` from slot `at`, the last slot perhaps in part."""
    return float(np.interp(at + hours / PERIOD_H, np.arange(before.size), before) - before[at])


def _task(job: JobSpec, start: datetime) -> _Task:
    """Times rounded so that a plan in half-hours holds for the job: arrival and duration up, the limits down."""
    return _Task(
        job,
        duration=int(np.ceil(job.duration_hours / PERIOD_H - 1e-9)),
        earliest=max(-((start - job.arrival_time) // HALF_HOUR), 0),
        latest=(job.arrival_time + timedelta(hours=job.max_deferral_hours) - start) // HALF_HOUR,
        deadline=(job.deadline - start) // HALF_HOUR,
    )


def _window(one: Reserved, start: datetime, periods: int) -> slice:
    """Half-hours of the horizon that a reservation touches."""
    first, stop = (one.start - start) // HALF_HOUR, -((start - one.end) // HALF_HOUR)
    return slice(min(max(first, 0), periods), min(max(stop, 0), periods))


def _without(free_kw: Floats, windows: Sequence[slice]) -> Floats:
    """Power left to a job that may not run in some windows."""
    if not windows:
        return free_kw
    left = free_kw.copy()
    for window in windows:
        left[window] = 0.0
    return left


def _place(free_kw: Floats, task: _Task, score_before: Floats, weights: Weights) -> int:
    late_gbp = weights.sla_penalty_weight * task.spec.sla_penalty_per_hour * PERIOD_H
    on_time = task.deadline - task.duration
    power_kw, last = task.spec.power_kw, free_kw.size - task.duration
    at = best_start(
        free_kw, power_kw, task.duration, task.earliest, min(task.latest, last), on_time, score_before, late_gbp
    )
    if at == NOWHERE:  # unavoidable: the first that fits at all
        for at in range(max(task.latest + 1, task.earliest), last + 1):
            if free_kw[at : at + task.duration].min() >= power_kw - ROUNDING_KW:
                return at
        return NOWHERE
    return at


def _cost_of_moving(free_kw: Floats, task: _Task, at: int, score_before: Floats, weights: Weights) -> float | None:
    """GBP of score by which the best other time, none of it in the job's own, is worse; None if there is none."""
    job = task.spec
    late_gbp = weights.sla_penalty_weight * job.sla_penalty_per_hour * PERIOD_H
    on_time, last = task.deadline - task.duration, free_kw.size - task.duration

    def score(slot: int) -> float:
        return float(
            job.power_kw * (score_before[slot + task.duration] - score_before[slot]) + late_gbp * max(slot - on_time, 0)
        )

    others = [
        score(slot)
        for first, stop in ((task.earliest, at - task.duration), (at + task.duration, min(task.latest, last)))
        if (
            slot := best_start(
                free_kw, job.power_kw, task.duration, first, min(stop, task.latest), on_time, score_before, late_gbp
            )
        )
        != NOWHERE
    ]
    return max(min(others) - score(at), 0.0) if others else None


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
