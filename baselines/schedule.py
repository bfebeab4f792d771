"""What every planner of a schedule shares: the half-hours to place jobs in, and what a placing comes to."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.jobs import JobSpec
from data.schedule import CarbonPoint, FlexOffer, JobMetadata, PricePoint, ScheduledJob
from data.schema import HALF_HOUR, PERIOD_H

Floats = NDArray[np.float64]
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


class Task(NamedTuple):
    """A job in half-hours of the horizon.

    Attributes:
        spec: The job.
        duration: Half-hours that it runs.
        earliest: First start allowed.
        latest: Last start that its maximum deferral allows; may lie outside of the horizon.
        on_time: Last start that meets its deadline; the same.
        late_gbp: Of each half-hour that a start comes later than that.
        free_kw: Power left to it before any task is placed, 0 where it may not run; shape (n,).
        barred: Whether there are windows in which it may not run, because they are sold.
    """

    spec: JobSpec
    duration: int
    earliest: int
    latest: int
    on_time: int
    late_gbp: float
    free_kw: Floats
    barred: bool


class Board(NamedTuple):
    """The half-hours that tasks are placed in.

    Attributes:
        start: Of the first.
        free_kw: Power left in each, below 0 where more is spoken for than there may be; shape (n,).
        score_before: GBP of energy and carbon of a kW from the first to each, shape (n + 1,).
    """

    start: datetime
    free_kw: Floats
    score_before: Floats


class Place(NamedTuple):
    """Where a task runs.

    Attributes:
        at: Its first half-hour, or `NOWHERE`.
        moving_gbp: By how much the plan is worse if it does not run then; None if it must.
    """

    at: int
    moving_gbp: float | None


Planner = Callable[[Sequence[Task], Board], Sequence[Place]]  # tasks come by priority, then deadline, then id
Scheduler = Callable[
    [Sequence[JobSpec], Sequence[PricePoint], Sequence[CarbonPoint], Weights, Sequence[Reserved]], Schedule
]


def schedule_by(
    planner: Planner,
    jobs: Sequence[JobSpec],
    prices: Sequence[PricePoint],
    carbon: Sequence[CarbonPoint],
    weights: Weights,
    reserved: Sequence[Reserved],
) -> Schedule:
    """Have every job placed once, whole, in the half-hours that both series cover.

    Args:
        planner: Says what goes where.
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
    check_weights(weights)
    seen = [job.job_id for job in jobs]
    if len(set(seen)) < len(seen):
        raise ValueError(f"job ids come twice: {sorted({i for i in seen if seen.count(i) > 1})}; give each job its own")
    price = np.array([point.system_buy_price_gbp_per_mwh for point in prices])
    intensity = np.array([point.carbon_intensity_g_per_kwh for point in carbon])
    cost_before, carbon_before = before(price * PERIOD_H / 1000.0), before(intensity * PERIOD_H / 1000.0)
    free_kw = np.full(len(price), weights.max_power_kw, dtype=np.float64)
    barred: dict[str, list[slice]] = {}
    for one in reserved:
        window = _window(one, start, free_kw.size)
        free_kw[window] -= one.power_kw
        barred.setdefault(one.job_id, []).append(window)
    board = Board(start, free_kw, cost_before + weights.carbon_penalty_weight * carbon_before)
    tasks = [
        _task(job, board, barred.get(job.job_id, []), weights)
        for job in sorted(jobs, key=lambda job: (-job.priority, job.deadline, job.job_id))
    ]
    placed = list(zip(tasks, planner(tasks, board), strict=True))
    rows, offers = [], []
    for task, (at, moving_gbp) in sorted(placed, key=lambda pair: (pair[1].at, pair[0].spec.job_id)):
        if at == NOWHERE:
            continue
        job, began = task.spec, start + at * HALF_HOUR
        cost_gbp, carbon_kg = (
            job.power_kw * _share(sums, at, job.duration_hours) for sums in (cost_before, carbon_before)
        )
        rows.append(_scheduled(job, began, cost_gbp, carbon_kg, moving_gbp is not None))
        if moving_gbp is not None:
            offers.append(_offered(job, began, moving_gbp, float(intensity[at : at + task.duration].max())))
    return Schedule(rows, offers, [task.spec.job_id for task, place in placed if place.at == NOWHERE])


def _scheduled(job: JobSpec, began: datetime, cost_gbp: float, carbon_kg: float, flexible: bool) -> ScheduledJob:
    ended = began + timedelta(hours=job.duration_hours)
    return ScheduledJob(
        job_id=job.job_id,
        start_time=began,
        end_time=ended,
        power_kw=job.power_kw,
        expected_cost_gbp=cost_gbp,
        expected_carbon_kg=carbon_kg,
        is_flexible_offer=flexible,
        metadata=JobMetadata(
            lateness_hours=max((ended - job.deadline) / timedelta(hours=1), 0.0),
            cluster_id=job.cluster_id,
            priority=job.priority,
        ),
    )


def _offered(job: JobSpec, began: datetime, moving_gbp: float, dirtiest_g_per_kwh: float) -> FlexOffer:
    """What not to run then is worth: its price spreads `moving_gbp` over the job's energy."""
    return FlexOffer(
        offer_id=f"flex-{job.job_id}",
        cluster_id=job.cluster_id,
        power_kw=job.power_kw,
        duration_hours=job.duration_hours,
        earliest_start=began,
        latest_end=began + timedelta(hours=job.duration_hours),
        price_gbp_per_mwh=moving_gbp / (job.power_kw * job.duration_hours / 1000.0),
        carbon_intensity_cap_g_per_kwh=dirtiest_g_per_kwh,
    )


def scores_gbp(task: Task, board: Board) -> Floats:
    """Energy, carbon and lateness of a task by its start, shape (starts that end within the horizon,)."""
    starts = np.arange(max(board.free_kw.size - task.duration + 1, 0))
    energy = board.score_before[starts + task.duration] - board.score_before[starts]
    scores: Floats = task.spec.power_kw * energy + task.late_gbp * np.maximum(starts - task.on_time, 0)
    return scores


def check_weights(weights: Weights) -> None:
    """Refuse what nothing can be judged by.

    Raises:
        ValueError: A weight is not a finite number of 0 or more, or the power not above 0.
    """
    if not (all(0.0 <= w < float("inf") for w in weights) and weights.max_power_kw > 0.0):
        raise ValueError(f"{weights}: weights must be finite numbers, 0 or above, and max_power_kw above 0")


def before(values: Floats) -> Floats:
    """Sum of all values before each, and of all: shape (n,) to (n + 1,)."""
    return np.append(0.0, np.cumsum(values))


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


def _share(sums: Floats, at: int, hours: float) -> float:
    """Sum over `hours` from slot `at`, the last slot perhaps in part."""
    return float(np.interp(at + hours / PERIOD_H, np.arange(sums.size), sums) - sums[at])


def _task(job: JobSpec, board: Board, barred: Sequence[slice], weights: Weights) -> Task:
    """Times rounded so that a plan in half-hours holds for the job: arrival and duration up, the limits down."""
    free_kw = board.free_kw
    if barred:
        free_kw = free_kw.copy()
        for window in barred:
            free_kw[window] = 0.0
    duration = int(np.ceil(job.duration_hours / PERIOD_H - 1e-9))
    return Task(
        job,
        duration,
        earliest=max(-((board.start - job.arrival_time) // HALF_HOUR), 0),
        latest=(job.arrival_time + timedelta(hours=job.max_deferral_hours) - board.start) // HALF_HOUR,
        on_time=(job.deadline - board.start) // HALF_HOUR - duration,
        late_gbp=weights.sla_penalty_weight * job.sla_penalty_per_hour * PERIOD_H,
        free_kw=free_kw,
        barred=bool(barred),
    )


def _window(one: Reserved, start: datetime, periods: int) -> slice:
    """Half-hours of the horizon that a reservation touches."""
    first, stop = (one.start - start) // HALF_HOUR, -((start - one.end) // HALF_HOUR)
    return slice(min(max(first, 0), periods), min(max(stop, 0), periods))
