"""What can be read off a queue: how much waits, how much is hidden, what is promised."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models import job_order
from models.compiling import KERNEL
from models.queue import RING, JobTable, QueueRules, Record, arrived, energy_kwh


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


@njit(**KERNEL)
def write_committed_kw(lane: Record, t: int, edges: tuple[int, ...], out: NDArray[np.float32], at: int) -> int:
    """Write the mean power promised to running jobs between each two edges, in periods ahead.

    Args:
        lane: The lane.
        t: The period now.
        edges: Ascending from 0, at most `LONGEST_PERIODS`.
        out: Written from place `at` on.
        at: First place written.

    Returns:
        The place behind the last one written.
    """
    for k in range(len(edges) - 1):
        kw = 0.0
        for period in range(t + edges[k], t + edges[k + 1]):
            kw += lane["running_kw"][period & (RING - 1)]
        out[at + k] = kw / (edges[k + 1] - edges[k])
    return at + len(edges) - 1


@njit(**KERNEL)
def tally(jobs: JobTable, lane: Record, t: int) -> tuple[int, int, int]:
    """Jobs arrived since reset, waiting and started by period t; between `begin_period` and `end_period`."""
    last = arrived(jobs, t)
    return last - lane["first_job"], lane["n_waiting"] + last - lane["next_job"], lane["n_started"]
