"""A queue of batch jobs and the jobs that run: one lane is one record, changed in place.

Order of a period t: `begin_period` (jobs arrive, due jobs start), then the decision (`release` by power or
`start_slots` by choice), then `end_period` (power is drawn, lateness is charged). Running jobs are never stopped and
draw `power_kw` to their end, so the power promised to the coming periods is known: a ring of one number per period.

Waiting jobs are kept in one order: earliest due period, then higher priority, then earlier row of the table. A job is
due when it must start now to meet both its latest start and its deadline. The first `visible_slots` are the slots an
agent sees; the others are the overflow. Arrivals beyond the room of a lane stay in the table, unsorted, until room
appears: nothing is ever dropped.

Records rather than tuples of arrays, because Numba counts references for each array that a call takes out of a tuple:
tens of nanoseconds a call, more than the work itself.
"""

from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

Record = Any  # one element of a structured array: numpy.void here, a pointer inside compiled code

MAX_ROOM: Final = 512
LONGEST_PERIODS: Final = 96
LANE: Final = np.dtype(
    [
        ("n_waiting", np.int64),  # jobs in `waiting`
        ("next_job", np.int64),  # first row of the table not yet in the order
        ("first_job", np.int64),  # first row this lane meets
        ("n_started", np.int64),
        ("waiting", np.int32, MAX_ROOM),  # rows of waiting jobs in order; past `n_waiting` meaningless
        ("running_jobs", np.int32, LONGEST_PERIODS),  # jobs that will run in period t, at t % LONGEST_PERIODS
        ("running_kw", np.float64, LONGEST_PERIODS),  # the power promised to them
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
    """

    capacity_kw: float
    visible_slots: int = 16
    force_due: bool = True
    room: int = MAX_ROOM
    period_h: float = 0.5


def new_queues(rules: QueueRules, jobs: JobTable, n_lanes: int) -> NDArray[np.void]:
    """Lanes over one table, shape (n_lanes,), of type `LANE`; call `reset` on each before use.

    Raises:
        ValueError: A rule is outside its range, or a job can never run: its power is above the capacity or not a number
            above 0, or its run time is not 1 to `LONGEST_PERIODS`.
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
    return np.zeros(n_lanes, LANE)


@njit(cache=True)
def reset(jobs: JobTable, lane: Record, t: int) -> None:
    """Empty the lane; the first jobs it will meet are those that arrive in period t."""
    lane["running_kw"][:] = 0.0
    lane["running_jobs"][:] = 0
    lane["n_waiting"] = 0
    lane["n_started"] = 0
    lane["next_job"] = jobs.first_job[t]
    lane["first_job"] = jobs.first_job[t]


@njit(cache=True)
def running_kw(lane: Record, t: int) -> float:
    """Total power of the jobs running in period t."""
    return lane["running_kw"][t % LONGEST_PERIODS]


@njit(cache=True)
def headroom_kw(rules: QueueRules, jobs: JobTable, lane: Record, t: int, limit_kw: float) -> float:
    """Power in which jobs may start now: the one answer that every way to start a job obeys.

    `limit_kw` is the highest total power of running jobs in this period, the capacity if that is lower; NaN allows
    nothing. Promised power never rises over the coming periods, so a job that fits now fits until it ends.
    """
    room_kw = min(limit_kw, rules.capacity_kw) - running_kw(lane, t) if limit_kw > 0.0 else 0.0
    if room_kw > 0.0 and rules.force_due and lane["n_waiting"] > 0:
        first = jobs.rows[lane["waiting"][0]]
        if first["due_period"] <= t and first["power_kw"] > room_kw:
            return 0.0
    return max(room_kw, 0.0)


@njit(cache=True)
def releasable_kw(rules: QueueRules, jobs: JobTable, lane: Record, t: int, limit_kw: float) -> float:
    """Upper bound of the power that `release` can add now: the headroom, or all that waits if that is less."""
    room_kw, waiting_kw = headroom_kw(rules, jobs, lane, t, limit_kw), 0.0
    for i in range(lane["n_waiting"]):
        waiting_kw += jobs.rows[lane["waiting"][i]]["power_kw"]
        if waiting_kw >= room_kw:
            return room_kw
    return waiting_kw


@njit(cache=True)
def feasible_start_mask(
    rules: QueueRules, jobs: JobTable, lane: Record, t: int, limit_kw: float, mask: NDArray[np.bool_]
) -> None:
    """Write into `mask` (visible_slots,) which slots hold a job that may start now, each taken alone."""
    room_kw, seen = headroom_kw(rules, jobs, lane, t, limit_kw), min(lane["n_waiting"], rules.visible_slots)
    for i in range(mask.shape[0]):
        mask[i] = i < seen and jobs.rows[lane["waiting"][i]]["power_kw"] <= room_kw


@njit(cache=True)
def begin_period(rules: QueueRules, jobs: JobTable, lane: Record, t: int, limit_kw: float) -> float:
    """Let the jobs of period t join the queue, then start due jobs if the rules force them.

    Returns:
        GBP (a cost, 0 or more) for lateness that was already certain when a job joined.
    """
    sla_gbp = _admit(rules, jobs, lane, t)
    if rules.force_due:
        n_due, room_kw = 0, headroom_kw(rules, jobs, lane, t, limit_kw)
        while n_due < lane["n_waiting"]:
            job = jobs.rows[lane["waiting"][n_due]]
            if job["due_period"] > t or job["power_kw"] > room_kw:
                break
            room_kw -= _start(lane, t, job)
            n_due += 1
        _close_gap(lane, 0, n_due)
    return sla_gbp


@njit(cache=True)
def release(rules: QueueRules, jobs: JobTable, lane: Record, t: int, limit_kw: float, budget_kw: float) -> float:
    """Start waiting jobs, visible or not, in order, each one that fits (a smaller job may pass a larger one).

    `budget_kw` is the total power of running jobs that the caller wants; NaN starts nothing.

    Returns:
        Power of the jobs started, kW.
    """
    wanted_kw = budget_kw - running_kw(lane, t)
    if not wanted_kw > 0.0:
        return 0.0
    room_kw = min(headroom_kw(rules, jobs, lane, t, limit_kw), wanted_kw)
    started_kw, kept = 0.0, 0
    for i in range(lane["n_waiting"]):
        job = jobs.rows[lane["waiting"][i]]
        if job["power_kw"] <= room_kw - started_kw:
            started_kw += _start(lane, t, job)
        else:
            lane["waiting"][kept] = lane["waiting"][i]
            kept += 1
    lane["n_waiting"] = kept
    return started_kw


@njit(cache=True)
def start_slots(
    rules: QueueRules, jobs: JobTable, lane: Record, t: int, limit_kw: float, wanted: NDArray[np.bool_]
) -> float:
    """Start the jobs in the wanted slots, in slot order, each one that fits; `wanted` is (visible_slots,) or shorter.

    Returns:
        Power of the jobs started, kW.
    """
    room_kw, started_kw, kept = headroom_kw(rules, jobs, lane, t, limit_kw), 0.0, 0
    seen = min(lane["n_waiting"], wanted.shape[0], rules.visible_slots)
    for i in range(seen):
        job = jobs.rows[lane["waiting"][i]]
        if wanted[i] and job["power_kw"] <= room_kw - started_kw:
            started_kw += _start(lane, t, job)
        else:
            lane["waiting"][kept] = lane["waiting"][i]
            kept += 1
    _close_gap(lane, kept, seen - kept)
    return started_kw


@njit(cache=True)
def end_period(rules: QueueRules, jobs: JobTable, lane: Record, t: int) -> tuple[float, float]:
    """Draw the power of period t and charge the lateness that its passing made certain.

    A job that waits through its last chance to end on time is charged one period, and one more for every further
    period of waiting. With `begin_period` this adds up to exactly penalty x (end - deadline) when the job starts,
    and shows the cost when it is caused rather than hours later.

    Returns:
        Total power of the jobs that ran, kW; and the lateness, GBP (a cost, 0 or more).
    """
    sla_gbp = 0.0
    for i in range(lane["n_waiting"]):
        job = jobs.rows[lane["waiting"][i]]
        if job["due_period"] > t:
            break
        if job["deadline_period"] - job["duration_periods"] <= t:
            sla_gbp += job["sla_penalty_gbp_per_h"] * rules.period_h
    now = t % LONGEST_PERIODS
    drawn_kw = lane["running_kw"][now]
    lane["running_kw"][now] = 0.0
    lane["running_jobs"][now] = 0
    return drawn_kw, sla_gbp


@njit(cache=True)
def overflow(rules: QueueRules, jobs: JobTable, lane: Record, t: int) -> tuple[int, float]:
    """Number and energy (kWh) of the waiting jobs beyond the visible slots."""
    number, energy_kwh = _arrived(jobs, t) - lane["next_job"], 0.0
    if number > 0:
        first, last = jobs.rows[lane["next_job"]], jobs.rows[_arrived(jobs, t) - 1]
        energy_kwh = last["energy_before_kwh"] + _energy_kwh(rules, last) - first["energy_before_kwh"]
    for i in range(rules.visible_slots, lane["n_waiting"]):
        number += 1
        energy_kwh += _energy_kwh(rules, jobs.rows[lane["waiting"][i]])
    return number, energy_kwh


@njit(cache=True)
def tally(jobs: JobTable, lane: Record, t: int) -> tuple[int, int, int, int]:
    """Jobs arrived since reset, waiting, running in period t, and done; between `begin_period` and `end_period`."""
    arrived = _arrived(jobs, t)
    waiting = lane["n_waiting"] + arrived - lane["next_job"]
    running = lane["running_jobs"][t % LONGEST_PERIODS]
    return arrived - lane["first_job"], waiting, running, lane["n_started"] - running


@njit(cache=True)
def _arrived(jobs: JobTable, t: int) -> int:
    """Rows that have arrived by period t; past the end of the table nothing more comes."""
    return jobs.first_job[min(t + 1, jobs.first_job.shape[0] - 1)]


@njit(cache=True)
def _energy_kwh(rules: QueueRules, job: Record) -> float:
    return job["power_kw"] * job["duration_periods"] * rules.period_h


@njit(cache=True)
def _goes_before(a: Record, b: Record) -> bool:
    """Whether job `a`, of a later row, is ahead of job `b` in the order of waiting jobs."""
    if a["due_period"] != b["due_period"]:
        return a["due_period"] < b["due_period"]
    return a["priority"] > b["priority"]


@njit(cache=True)
def _admit(rules: QueueRules, jobs: JobTable, lane: Record, t: int) -> float:
    """Insert arrived jobs into the order while there is room; returns the GBP of lateness certain on joining."""
    sla_gbp, arrived = 0.0, _arrived(jobs, t)
    while lane["next_job"] < arrived and lane["n_waiting"] < rules.room:
        job, place = jobs.rows[lane["next_job"]], lane["n_waiting"]
        while place > 0 and _goes_before(job, jobs.rows[lane["waiting"][place - 1]]):
            lane["waiting"][place] = lane["waiting"][place - 1]
            place -= 1
        lane["waiting"][place] = lane["next_job"]
        lane["n_waiting"] += 1
        lane["next_job"] += 1
        late_periods = max(t + job["duration_periods"] - job["deadline_period"], 0)
        sla_gbp += job["sla_penalty_gbp_per_h"] * late_periods * rules.period_h
    return sla_gbp


@njit(cache=True)
def _start(lane: Record, t: int, job: Record) -> float:
    """Promise the job its power from period t to its end; returns that power, kW."""
    for period in range(t, t + job["duration_periods"]):
        lane["running_kw"][period % LONGEST_PERIODS] += job["power_kw"]
        lane["running_jobs"][period % LONGEST_PERIODS] += 1
    lane["n_started"] += 1
    return job["power_kw"]


@njit(cache=True)
def _close_gap(lane: Record, start: int, length: int) -> None:
    """Remove `length` entries of the order from `start` on."""
    if length > 0:
        for i in range(start, lane["n_waiting"] - length):
            lane["waiting"][i] = lane["waiting"][i + length]
        lane["n_waiting"] -= length
