"""What can be read off a queue: how much waits, how much is hidden, what is promised."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models import job_order
from models.compiling import KERNEL
from models.queue import JobTable, QueueRules, Record, arrived, energy_kwh, place


def in_order(lane: Record) -> NDArray[np.void]:
    """The waiting jobs kept in order, the first first: a view of records `models.queue.WAITING`, for plain Python."""
    jobs: NDArray[np.void] = lane["waiting"][: lane["n_waiting"]][::-1]
    return jobs


@njit(**KERNEL)
def backlog(rules: QueueRules, jobs: JobTable, lane: Record, t: int) -> tuple[int, float]:
    """Number and energy (kWh) of the jobs that have arrived and found no room in the order."""
    number = arrived(jobs, t) - lane["next_job"]
    if number <= 0:
        return 0, 0.0
    first, last = jobs.rows[lane["next_job"]], jobs.rows[arrived(jobs, t) - 1]
    last_kwh = energy_kwh(rules, last["power_kw"], last["duration_periods"])
    return number, last["energy_before_kwh"] + last_kwh - first["energy_before_kwh"]


@njit(**KERNEL)
def overflow(rules: QueueRules, jobs: JobTable, lane: Record, t: int) -> tuple[int, float]:
    """Number and energy (kWh) of the waiting jobs beyond the visible slots."""
    number, kwh = backlog(rules, jobs, lane, t)
    hidden = lane["n_waiting"] - rules.visible_slots
    if hidden > 0:
        number, kwh = number + hidden, kwh + lane["waiting_kwh"]
        for slot in range(rules.visible_slots):
            job = lane["waiting"][lane["n_waiting"] - 1 - slot]
            kwh -= energy_kwh(rules, job["power_kw"], job_order.run_periods(job["order"]))
    return number, kwh


@njit(**KERNEL, fastmath={"reassoc"})
def mean_committed_kw(lane: Record, t: int, first: int, stop: int) -> float:
    """Mean power promised to running jobs from `first` to before `stop` periods ahead, at most `LONGEST_PERIODS`.

    With numbers known to the compiler, as those of a global tuple, it is a few additions of vectors.
    """
    now, kw = place(t), 0.0
    for ahead in range(first, stop):
        kw += lane["running_kw"][now + ahead]
    return kw / (stop - first)


@njit(**KERNEL)
def tally(jobs: JobTable, lane: Record, t: int) -> tuple[int, int, int]:
    """Jobs arrived since reset, waiting and started by period t; between `begin_period` and `end_period`."""
    last = arrived(jobs, t)
    return last - lane["first_job"], lane["n_waiting"] + last - lane["next_job"], lane["n_started"]
