"""A queue of batch jobs and the jobs that run: one lane is one record, changed in place.

Order of a period t: `begin_period` (jobs arrive, due jobs start), then the decision (`release` by power or
`start_slots` by choice), then `end_period` (power is drawn, lateness is charged). Running jobs are never stopped and
draw `power_kw` to their end, so the power promised to the coming periods is known: one number per period.

Waiting jobs are kept in one order: earliest due period, then higher priority, then earlier row of the table. A job is
due when it must start now to meet both its latest start and its deadline. The first `visible_slots` are the slots an
agent sees; the others are the overflow. Arrivals beyond the room of a lane stay in the table, unsorted, until room
appears: nothing is ever dropped.

A waiting job is 16 bytes: its power, and one number for all else, see `models.job_order`. The table is read when a job
joins or is late. The first job is the last of the array, so that due ones leave, and urgent ones join, without moving
the others.
"""

from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models import job_order
from models.compiling import KERNEL

Record = Any  # one element of a structured array: numpy.void here, a pointer inside compiled code

MAX_ROOM: Final = 512
LONGEST_PERIODS: Final = 96
ROUND: Final = 128  # periods; a power of two, so that a place is found without a division
WIDE: Final = 8  # periods promised at once, without a branch; the longest run is a multiple of it
WAITING: Final = np.dtype([("order", np.int64), ("power_kw", np.float64)], align=True)
STARTED: Final = 0.0  # as the power of a job in the order: it has started and leaves
LANE: Final = np.dtype(
    [
        ("n_waiting", np.int64),  # jobs in `waiting`
        ("next_job", np.int64),  # first row of the table not yet in the order
        ("first_job", np.int64),  # first row this lane meets
        ("n_started", np.int64),
        ("waiting_kw", np.float64),  # power of the jobs in `waiting`
        ("waiting_kwh", np.float64),  # their work
        ("running_kw", np.float64, ROUND + LONGEST_PERIODS),  # promised in period t + k, at t % ROUND + k; 0 elsewhere
        ("waiting", WAITING, MAX_ROOM),  # in order, the first at `n_waiting` - 1; past it meaningless
    ],
    align=True,
)


class JobTable(Protocol):
    """Jobs in order of arrival, periods counted from the table's start; `data.jobs.Arrivals` is one."""

    @property
    def first_job(self) -> NDArray[np.int64]:
        """Rows `first_job[t]` to `first_job[t + 1]` arrive at the start of period t; (n_periods + 1,)."""

    @property
    def rows(self) -> NDArray[np.void]:
        """One record a job; (n,).

        Fields used: `power_kw`, `duration_periods`, `deadline_period` (late if it still runs then), `due_period` (last
        start that meets deadline and deferral limit), `priority` (higher first), `sla_penalty_gbp_per_h` (price of each
        hour past the deadline), `energy_before_kwh` (sum over all earlier rows).
        """


class QueueRules(NamedTuple):
    """Parameters of the queue.

    Attributes:
        capacity_kw: Highest total power of running jobs, whatever else is asked.
        visible_slots: Waiting jobs an agent sees and can choose from.
        force_due: Start due jobs as soon as the limit permits, before and whatever the agent decides, the first in the
            order first. While the first due job does not fit, nothing behind it may start, so that it soon does.
        room: Waiting jobs kept in order; later ones join in order of arrival when room appears.
        period_h: Length of a period.
        least_kw: No job draws less, so that a search for one that fits can end early; 0 is always right.
    """

    capacity_kw: float
    visible_slots: int = 16
    force_due: bool = True
    room: int = MAX_ROOM
    period_h: float = 0.5
    least_kw: float = 0.0


def new_queues(rules: QueueRules, jobs: JobTable, n_lanes: int) -> NDArray[np.void]:
    """Lanes over one table, shape (n_lanes,), of type `LANE`; call `reset` on each before use.

    Raises:
        ValueError: A rule is outside its range, or a job can never run: its power is above the capacity or not a number
            above 0, or its run time is not 1 to `LONGEST_PERIODS`; or a job draws less than the rules say.
    """
    if n_lanes < 1 or not 1 <= rules.visible_slots <= rules.room <= MAX_ROOM:
        raise ValueError(
            f"{n_lanes} lanes, {rules.visible_slots} visible_slots and room {rules.room}; "
            f"it must be n_lanes >= 1 and 1 <= visible_slots <= room <= {MAX_ROOM}"
        )
    if not (rules.capacity_kw > 0.0 and rules.period_h > 0.0):
        raise ValueError(f"capacity_kw {rules.capacity_kw} and period_h {rules.period_h} must be above 0")
    power_kw, duration = jobs.rows["power_kw"], jobs.rows["duration_periods"]
    for j in np.flatnonzero(~((power_kw > 0.0) & (power_kw <= rules.capacity_kw)))[:1]:
        raise ValueError(
            f"the job in row {j} asks for {power_kw[j]} kW and can never run; above 0 and up to "
            f"{rules.capacity_kw:.1f} kW (the capacity) is allowed: check that it is in kW, or split the job"
        )
    for j in np.flatnonzero((duration < 1) | (duration > LONGEST_PERIODS))[:1]:
        raise ValueError(
            f"the job in row {j} runs for {duration[j]} periods; 1 to {LONGEST_PERIODS} is allowed: split the job"
        )
    for j in np.flatnonzero(power_kw < rules.least_kw)[:1]:
        raise ValueError(f"the job in row {j} draws {power_kw[j]} kW; at least {rules.least_kw} (least_kw) is allowed")
    job_order.check(jobs.rows)
    return np.zeros(n_lanes, LANE)


def least_kw(jobs: JobTable) -> float:
    """Lowest power of a job of the table, 0 if it is empty: see `QueueRules`."""
    return float(jobs.rows["power_kw"].min()) if len(jobs.rows) else 0.0


@njit(**KERNEL)
def reset(jobs: JobTable, lane: Record, t: int) -> None:
    """Empty the lane; the first jobs it will meet are those that arrive in period t."""
    lane["running_kw"][:] = 0.0
    lane["n_waiting"] = lane["n_started"] = 0
    lane["waiting_kw"] = lane["waiting_kwh"] = 0.0
    lane["next_job"] = jobs.first_job[t]
    lane["first_job"] = jobs.first_job[t]


@njit(**KERNEL)
def place(t: int) -> int:
    """Where the power promised in period t stands while t is the current period; later periods stand behind it."""
    return t & (ROUND - 1)


@njit(**KERNEL)
def running_kw(lane: Record, t: int) -> float:
    """Total power of the jobs running in period t."""
    return lane["running_kw"][place(t)]


@njit(**KERNEL)
def headroom_kw(rules: QueueRules, lane: Record, t: int, limit_kw: float) -> float:
    """Power in which jobs may start now: the one answer that every way to start a job obeys.

    `limit_kw` is the highest total power of running jobs in this period, the capacity if that is lower; NaN allows
    nothing. Promised power never rises over the coming periods, so a job that fits now fits until it ends.
    """
    room_kw = min(limit_kw, rules.capacity_kw) - running_kw(lane, t) if limit_kw > 0.0 else 0.0
    if room_kw > 0.0 and rules.force_due and lane["n_waiting"] > 0:
        first = lane["waiting"][lane["n_waiting"] - 1]
        if job_order.due_period(first["order"]) <= t and first["power_kw"] > room_kw:
            return 0.0
    return max(room_kw, 0.0)


@njit(**KERNEL)
def releasable_kw(rules: QueueRules, lane: Record, t: int, limit_kw: float) -> float:
    """Upper bound of the power that `release` can add now: the headroom, or all that waits if that is less."""
    return min(headroom_kw(rules, lane, t, limit_kw), lane["waiting_kw"])


@njit(**KERNEL)
def feasible_start_mask(rules: QueueRules, lane: Record, t: int, limit_kw: float, mask: NDArray[Any]) -> None:
    """Write into `mask` (visible_slots,) 1 where a slot holds a job that may start now, taken alone, 0 elsewhere."""
    room_kw, waiting = headroom_kw(rules, lane, t, limit_kw), lane["n_waiting"]
    seen = min(waiting, rules.visible_slots)
    for slot in range(mask.shape[0]):
        mask[slot] = slot < seen and lane["waiting"][waiting - 1 - slot]["power_kw"] <= room_kw


@njit(**KERNEL)
def begin_period(rules: QueueRules, jobs: JobTable, lane: Record, t: int, limit_kw: float) -> float:
    """Let the jobs of period t join the queue, then start due jobs if the rules force them.

    Returns:
        GBP (a cost, 0 or more) for lateness that was already certain when a job joined.
    """
    sla_gbp, waiting = _admit(rules, jobs, lane, t), lane["n_waiting"]
    if rules.force_due and waiting > 0 and job_order.due_period(lane["waiting"][waiting - 1]["order"]) <= t:
        room_kw = headroom_kw(rules, lane, t, limit_kw)
        while waiting > 0:
            job = lane["waiting"][waiting - 1]
            if job_order.due_period(job["order"]) > t or job["power_kw"] > room_kw:
                break
            room_kw -= _start(rules, lane, t, job)
            waiting -= 1
        _leave(lane, waiting)
    return sla_gbp


@njit(**KERNEL)
def release(rules: QueueRules, lane: Record, t: int, limit_kw: float, budget_kw: float) -> float:
    """Start waiting jobs, visible or not, in order, each one that fits (a smaller job may pass a larger one).

    `budget_kw` is the total power of running jobs that the caller wants; NaN starts nothing.

    Returns:
        Power of the jobs started, kW.
    """
    wanted_kw = budget_kw - running_kw(lane, t)
    if not wanted_kw > 0.0:
        return 0.0
    room_kw = min(headroom_kw(rules, lane, t, limit_kw), wanted_kw)
    started_kw, lowest = 0.0, lane["n_waiting"]
    for at in range(lane["n_waiting"] - 1, -1, -1):
        if room_kw - started_kw < rules.least_kw:
            break
        job = lane["waiting"][at]
        if job["power_kw"] <= room_kw - started_kw:
            started_kw += _start(rules, lane, t, job)
            lowest = at
    _close_gaps(lane, lowest)
    return started_kw


@njit(**KERNEL)
def start_slots(rules: QueueRules, lane: Record, t: int, limit_kw: float, wanted: NDArray[Any]) -> float:
    """Start the jobs in the wanted slots, in slot order, each one that fits.

    `wanted` is (visible_slots,) or shorter, of truth values or of numbers: above 0.5 is wanted, NaN is not.

    Returns:
        Power of the jobs started, kW.
    """
    room_kw, started_kw, last = headroom_kw(rules, lane, t, limit_kw), 0.0, lane["n_waiting"] - 1
    lowest = last + 1
    for slot in range(min(last + 1, wanted.shape[0], rules.visible_slots)):
        job = lane["waiting"][last - slot]
        if wanted[slot] > 0.5 and job["power_kw"] <= room_kw - started_kw:
            started_kw += _start(rules, lane, t, job)
            lowest = last - slot
    _close_gaps(lane, lowest)
    return started_kw


@njit(**KERNEL)
def end_period(rules: QueueRules, jobs: JobTable, lane: Record, t: int) -> tuple[float, float]:
    """Draw the power of period t and charge the lateness that its passing made certain.

    A job that waits through its last chance to end on time is charged one period, and one more for every further
    period of waiting. With `begin_period` this adds up to exactly penalty x (end - deadline) when the job starts,
    and shows the cost when it is caused rather than hours later.

    Returns:
        Total power of the jobs that ran, kW; and the lateness, GBP (a cost, 0 or more).
    """
    sla_gbp = 0.0
    for at in range(lane["n_waiting"] - 1, -1, -1):
        order = lane["waiting"][at]["order"]
        if job_order.due_period(order) > t:
            break
        job = jobs.rows[job_order.row(order)]
        if job["deadline_period"] - job["duration_periods"] <= t:
            sla_gbp += job["sla_penalty_gbp_per_h"] * rules.period_h
    now, promised_kw = place(t), lane["running_kw"]
    drawn_kw = promised_kw[now]
    promised_kw[now] = 0.0
    if now == ROUND - 1:
        for ahead in range(LONGEST_PERIODS):
            promised_kw[ahead] = promised_kw[ROUND + ahead]
            promised_kw[ROUND + ahead] = 0.0
    return drawn_kw, sla_gbp


@njit(**KERNEL)
def arrived(jobs: JobTable, t: int) -> int:
    """Rows that have arrived by period t; past the end of the table nothing more comes."""
    return jobs.first_job[min(t + 1, jobs.first_job.shape[0] - 1)]


@njit(**KERNEL)
def energy_kwh(rules: QueueRules, power_kw: float, run_periods: int) -> float:
    """Work of a job."""
    return power_kw * run_periods * rules.period_h


@njit(**KERNEL)
def _admit(rules: QueueRules, jobs: JobTable, lane: Record, t: int) -> float:
    """Insert arrived jobs into the order while there is room; returns the GBP of lateness certain on joining."""
    sla_gbp, waiting, n_waiting, next_job = 0.0, lane["waiting"], lane["n_waiting"], lane["next_job"]
    waiting_kw, waiting_kwh = lane["waiting_kw"], lane["waiting_kwh"]
    last = min(arrived(jobs, t), next_job + rules.room - n_waiting)
    for row in range(next_job, last):
        job = jobs.rows[row]
        power_kw, run_periods = job["power_kw"], job["duration_periods"]
        order = job_order.order(job["due_period"], job["priority"], row, run_periods)
        at = n_waiting
        while at > 0 and waiting[at - 1]["order"] < order:
            waiting[at] = waiting[at - 1]
            at -= 1
        waiting[at]["order"], waiting[at]["power_kw"] = order, power_kw
        n_waiting += 1
        waiting_kw += power_kw
        waiting_kwh += energy_kwh(rules, power_kw, run_periods)
        late_periods = max(t + run_periods - job["deadline_period"], 0)
        sla_gbp += job["sla_penalty_gbp_per_h"] * late_periods * rules.period_h
    lane["n_waiting"], lane["next_job"] = n_waiting, max(next_job, last)
    lane["waiting_kw"], lane["waiting_kwh"] = waiting_kw, waiting_kwh
    return sla_gbp


@njit(**KERNEL)
def _start(rules: QueueRules, lane: Record, t: int, job: Record) -> float:
    """Promise a waiting job its power from period t to its end; returns that power, kW. The caller closes the gap."""
    power_kw, run_periods = job["power_kw"], job_order.run_periods(job["order"])
    now = place(t)
    for first in range(0, run_periods, WIDE):
        for ahead in range(first, first + WIDE):
            lane["running_kw"][now + ahead] += power_kw if ahead < run_periods else 0.0
    lane["n_started"] += 1
    lane["waiting_kw"] -= power_kw
    lane["waiting_kwh"] -= energy_kwh(rules, power_kw, run_periods)
    job["power_kw"] = STARTED
    return power_kw


@njit(**KERNEL)
def _close_gaps(lane: Record, lowest: int) -> None:
    """Remove from the order the jobs that have started; none of them is below place `lowest`."""
    kept = lowest
    for at in range(lowest, lane["n_waiting"]):
        job = lane["waiting"][at]
        lane["waiting"][kept] = job
        kept += job["power_kw"] != STARTED
    _leave(lane, kept)


@njit(**KERNEL)
def _leave(lane: Record, n_waiting: int) -> None:
    """Cut the order to its lowest `n_waiting` places; what rounding leaves in the sums ends with an empty queue."""
    lane["n_waiting"] = n_waiting
    if n_waiting == 0:
        lane["waiting_kw"] = lane["waiting_kwh"] = 0.0
