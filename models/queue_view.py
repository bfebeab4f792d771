"""What can be read off a queue: how much waits, how much is hidden, what is promised."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.compiling import KERNEL
from models.queue import LONGEST_PERIODS, JobTable, QueueRules, Record, arrived, energy_kwh


@njit(**KERNEL)
def backlog(rules: QueueRules, jobs: JobTable, lane: Record, t: int) -> tuple[int, float]:
    """Number and energy (kWh) of the jobs that have arrived and found no room in the order."""
    number = arrived(jobs, t) - lane["next_job"]
    if number <= 0:
        return 0, 0.0
    first, last = jobs.rows[lane["next_job"]], jobs.rows[arrived(jobs, t) - 1]
    return number, last["energy_before_kwh"] + energy_kwh(rules, last) - first["energy_before_kwh"]


@njit(**KERNEL)
def overflow(rules: QueueRules, jobs: JobTable, lane: Record, t: int) -> tuple[int, float]:
    """Number and energy (kWh) of the waiting jobs beyond the visible slots."""
    number, kwh = backlog(rules, jobs, lane, t)
    hidden = lane["n_waiting"] - rules.visible_slots
    if hidden > 0:
        number, kwh = number + hidden, kwh + lane["waiting_kwh"]
        for i in range(rules.visible_slots):
            kwh -= energy_kwh(rules, jobs.rows[lane["waiting"][i]["row"]])
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
    place = t % LONGEST_PERIODS
    for k in range(len(edges) - 1):
        kw = 0.0
        for _ in range(edges[k], edges[k + 1]):
            kw += lane["running_kw"][place]
            place = place + 1 if place + 1 < LONGEST_PERIODS else 0  # faster than a remainder
        out[at + k] = kw / (edges[k + 1] - edges[k])
    return at + len(edges) - 1


@njit(**KERNEL)
def tally(jobs: JobTable, lane: Record, t: int) -> tuple[int, int, int]:
    """Jobs arrived since reset, waiting and started by period t; between `begin_period` and `end_period`."""
    last = arrived(jobs, t)
    return last - lane["first_job"], lane["n_waiting"] + last - lane["next_job"], lane["n_started"]
