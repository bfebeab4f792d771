"""Jobs known in advance as part of a linear program that no way of running them can beat."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from data.schema import PERIOD_H
from models import job_order, queue_view
from models.queue import LONGEST_PERIODS, place

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Run times that are kept whole, half-hours; a job of another run time is cut into the longest of them that fit.
WHOLE: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, LONGEST_PERIODS)
LATE_TIERS: Final = (0.0, 0.03, 0.12)  # GBP per kW and hour: parts are grouped between these prices


class Work(NamedTuple):
    """Jobs from the start of an episode on, every field of shape (jobs,), periods counted from the episode's start.

    Attributes:
        power_kw: While running.
        duration: Run time, periods.
        arrival: First period in which it may start, 0 or later.
        due: Last start without lateness.
        late_gbp_per_h: Price of each hour after it.
    """

    power_kw: Floats
    duration: Integers
    arrival: Integers
    due: Integers
    late_gbp_per_h: Floats


class Part(NamedTuple):
    """Parts of jobs with one run time and prices of lateness of one tier, added up; arrays of shape (periods,).

    Attributes:
        periods: Run time.
        late_gbp_per_kw_h: The lowest price of lateness among them.
        arrived_kw: Power that may have started by the end of each period.
        due_kw: Power that is late if it has not started by the end of each period.
    """

    periods: int
    late_gbp_per_kw_h: float
    arrived_kw: Floats
    due_kw: Floats


def known_work(lane: np.void, arrivals: Any, first: int, stop: int) -> Work:
    """Jobs that wait when an episode begins, and those that arrive in it.

    Args:
        lane: A queue, after `begin_period` of the first period.
        arrivals: The table behind it, see `models.queue.JobTable`.
        first: First period of the episode.
        stop: The period after its last.
    """
    waiting = np.array([job_order.row(order) for order in queue_view.in_order(lane)["order"]], dtype=np.int64)
    later = np.arange(lane["next_job"], arrivals.first_job[stop], dtype=np.int64)
    rows = arrivals.rows[np.concatenate([waiting, later])]
    arrival = np.searchsorted(arrivals.first_job, later, side="right") - 1
    began = np.concatenate([np.full(waiting.size, first), np.maximum(arrival, first)]) - first
    duration = rows["duration_periods"].astype(np.int64)
    return Work(
        power_kw=rows["power_kw"].astype(np.float64),
        duration=duration,
        arrival=began,
        due=np.maximum(rows["deadline_period"].astype(np.int64) - duration - first, began),
        late_gbp_per_h=rows["sla_penalty_gbp_per_h"].astype(np.float64),
    )


def promised_kw(lane: np.void, first: int, periods: int) -> tuple[Floats, float]:
    """Power of the jobs that run when an episode begins, shape (periods,), and the energy after that, kWh."""
    promised = lane["running_kw"][place(first) :].astype(np.float64)
    inside = np.concatenate([promised[:periods], np.zeros(max(periods - promised.size, 0))])
    return inside, PERIOD_H * float(promised.sum() - inside.sum())


def parts_of(work: Work, periods: int) -> list[Part]:
    """Cut the jobs into parts and add up what is alike; the parts of a job follow one another in it."""
    pieces = []
    left, offset = work.duration.copy(), np.zeros_like(work.duration)
    rate = work.late_gbp_per_h / work.power_kw
    lengths = np.array(WHOLE)
    while (left > 0).any():
        length = np.where(left > 0, lengths[np.searchsorted(lengths, np.maximum(left, 1), side="right") - 1], 0)
        at = left > 0
        share = length / work.duration
        pieces.append(
            np.column_stack([work.power_kw, length, work.arrival + offset, work.due + offset, rate * share])[at]
        )
        left, offset = left - length, offset + length
    power_kw, length, arrival, due, price = (np.vstack(pieces) if pieces else np.zeros((0, 5))).T
    tier = np.searchsorted(LATE_TIERS, price, side="right")
    parts = []
    for key in sorted({(int(a), int(b)) for a, b in zip(length, tier, strict=True)}):
        these = (length == key[0]) & (tier == key[1]) & (arrival < periods)
        if these.any():
            arrived_kw, due_kw = (_so_far(when[these], power_kw[these], periods) for when in (arrival, due))
            parts.append(Part(key[0], float(price[these].min()), arrived_kw, due_kw))
    return parts


def _so_far(when: Floats, power_kw: Floats, periods: int) -> Floats:
    """Power that has come by the end of each period, shape (periods,)."""
    inside = when < periods
    return np.cumsum(np.bincount(when[inside].astype(np.int64), power_kw[inside], periods))


class WorkBlock:
    """Power of running jobs in a window of an episode, for a program that bounds every policy.

    Why it contains whatever a queue can do: let a job start in some period. Each of its parts then starts a fixed
    number of periods later and runs to its end without a break. So the sum over the parts of a class of what has
    started never falls, never exceeds what has arrived, and less what has ended it is what they draw. A job that starts
    late pays its price for every period of it; each of its parts is as late, only later on, and their prices, in
    proportion to their run times, add up to the job's. What is due of a class and not started pays the lowest price of
    the class: no more.
    Sums of what started before the window are free within the same limits. The program may do what no queue can: start
    parts of a job apart, in any order, and in fractions.

    Attributes:
        running_kw: Power of running jobs, shape (periods of the window,).
        late_gbp: Lateness in the window at its lowest price.
        done_before_kwh: Work done since the episode began, up to the window.
        done_kwh: The same, up to its end.
        constraints: Arrival before start.
    """

    def __init__(self, parts: Sequence[Part], committed_kw: Floats, begin: int) -> None:
        """Lay out the block.

        Args:
            parts: Of all jobs of the episode that do not run when it begins.
            committed_kw: Power of those that do, shape (periods of the window,).
            begin: First period of the window.
        """
        n = committed_kw.size
        running, late, before, done = [cp.Constant(committed_kw)], [], [], []
        self.constraints: list[Any] = []
        for part in parts:
            known = min(part.periods, begin)  # periods before the window whose starts still matter
            span = slice(begin - known, begin + n)
            due_kw = part.due_kw[span]
            late_kw = cp.Variable(known + n, bounds=[0.0, due_kw])
            early_kw = cp.Variable(known + n, bounds=[0.0, np.maximum(part.arrived_kw[span] - due_kw, 0.0)])
            started_kw = due_kw - late_kw + early_kw
            never = part.periods - known  # before the episode nothing had started
            running.append(started_kw[known:])
            if never < n:
                running.append(-cp.hstack([np.zeros(never), started_kw[: n - never]]) if never else -started_kw[:n])
            late.append(part.late_gbp_per_kw_h * cp.sum(late_kw[known:]))
            before.append(cp.sum(started_kw[:known]) if known else cp.Constant(0.0))
            done.append(cp.sum(started_kw[max(known + n - part.periods, 0) :]))
            self.constraints.append(started_kw[1:] >= started_kw[:-1])
        self.running_kw = cp.Variable(n)
        self.constraints.append(self.running_kw == sum(running))
        self.late_gbp = PERIOD_H * sum(late, cp.Constant(0.0))
        self.done_before_kwh = PERIOD_H * sum(before, cp.Constant(0.0))
        self.done_kwh = PERIOD_H * sum(done, cp.Constant(0.0))
