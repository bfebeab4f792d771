"""The jobs that can be seen, one by one, as a linear or an integer program: when does each start?"""

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from data.schema import PERIOD_H

Floats = NDArray[np.float64]
JobsMode = Literal["relaxed", "integer"]

MIP_GAP: Final = 1e-4


class Jobs(NamedTuple):
    """Waiting jobs, every field of shape (jobs,).

    Attributes:
        power_kw: Draw while running.
        duration: Run time, periods.
        due: Periods until the last start that keeps the job's terms; below 0 it is late already.
        late_gbp_per_h: Price of each hour after that.
    """

    power_kw: Floats
    duration: NDArray[np.int64]
    due: NDArray[np.int64]
    late_gbp_per_h: Floats


class Surroundings(NamedTuple):
    """What the jobs run beside and what they cost; arrays of shape (horizon,) if nothing else is said.

    Attributes:
        capacity_kw: Highest power of running jobs.
        committed_kw: Promised to jobs that run.
        unknown_kw: Quantiles, each as likely, of what jobs not yet seen will draw, shape (quantiles, horizon).
        energy_gbp_per_kwh: Of what a job's power adds.
        end_gbp_per_kwh: The same after the horizon, a number.
        waiting_gbp_per_kwh: Price of power that waits, per kW and hour, a number.
        crowding_gbp_per_kwh: Price of load that may not fit, a number.
    """

    capacity_kw: float
    committed_kw: Floats
    unknown_kw: Floats
    energy_gbp_per_kwh: Floats
    end_gbp_per_kwh: float
    waiting_gbp_per_kwh: float
    crowding_gbp_per_kwh: float


class Starts(NamedTuple):
    """A plan.

    Attributes:
        cost_gbp: Energy, lateness and crowding of it.
        share: Of each job started in each period, the last column after the horizon, shape (jobs, horizon + 1).
    """

    cost_gbp: float
    share: Floats


def start_cost_gbp(jobs: Jobs, around: Surroundings) -> Floats:
    """Energy, waiting and lateness of each job by start, the last one after the horizon, shape (jobs, horizon + 1).

    Work after the horizon pays the price of crowding, or putting work off would look like a way round it.
    """
    n = around.committed_kw.size
    longest = int(jobs.duration.max(initial=1))
    price = np.concatenate([around.energy_gbp_per_kwh, np.full(longest + 1, around.end_gbp_per_kwh)])
    before = np.concatenate([[0.0], np.cumsum(price)])
    start = np.arange(n + 1)
    energy_gbp = jobs.power_kw[:, None] * PERIOD_H * (before[start + jobs.duration[:, None]] - before[start])
    late_h = PERIOD_H * np.maximum(start - jobs.due[:, None], 0)
    waiting_gbp = PERIOD_H * around.waiting_gbp_per_kwh * np.outer(jobs.power_kw, start)
    after_h = PERIOD_H * np.maximum(start + jobs.duration[:, None] - n, 0)
    crowding_gbp = around.crowding_gbp_per_kwh * jobs.power_kw[:, None] * after_h
    return energy_gbp + waiting_gbp + crowding_gbp + jobs.late_gbp_per_h[:, None] * late_h


def plan_starts(jobs: Jobs, around: Surroundings, mode: JobsMode = "relaxed", limit_s: float = 1.0) -> Starts | None:
    """The cheapest starts, by HiGHS; starting nothing within the horizon is always possible, so there is a plan.

    Args:
        jobs: What waits.
        around: What it waits for.
        mode: `integer` starts whole jobs; `relaxed` lets shares of a job start at different times, and costs no more.
        limit_s: Time after which the best plan found is taken.

    Returns:
        The plan, or None if HiGHS found none within its time.
    """
    count, n = jobs.power_kw.size, around.committed_kw.size
    quantiles = around.unknown_kw.shape[0]
    runs = sparse.coo_array(_running(jobs, n))  # power in each period by start: (n, count * (n + 1))
    once = sparse.kron(sparse.eye_array(count), np.ones((1, n + 1)))
    over = -sparse.eye_array(quantiles * n)
    crowd = sparse.hstack([sparse.vstack([runs] * quantiles), over])
    room_kw = np.maximum(around.capacity_kw - around.committed_kw, 0.0)
    spare_kw = (around.capacity_kw - around.committed_kw - around.unknown_kw).ravel()
    starts, crowded = count * (n + 1), quantiles * n
    weight = PERIOD_H * around.crowding_gbp_per_kwh / quantiles
    solution = milp(
        np.concatenate([start_cost_gbp(jobs, around).ravel(), np.full(crowded, weight)]),
        integrality=np.repeat([mode == "integer", False], [starts, crowded]).astype(np.uint8),
        bounds=Bounds(0.0, np.repeat([1.0, np.inf], [starts, crowded])),
        constraints=[
            LinearConstraint(sparse.hstack([once, sparse.csr_array((count, crowded))]).tocsc(), 1.0, 1.0),
            LinearConstraint(sparse.hstack([runs, sparse.csr_array((n, crowded))]).tocsc(), -np.inf, room_kw),
            LinearConstraint(crowd.tocsc(), -np.inf, spare_kw),
        ],
        options={"mip_rel_gap": MIP_GAP, "time_limit": limit_s},
    )
    if solution.x is None:
        return None
    return Starts(float(solution.fun), solution.x[:starts].reshape(count, n + 1))


def late_kw(jobs: Jobs, plan: Starts) -> float:
    """Power of the jobs, or shares of them, that a plan starts later than they are due."""
    late = np.arange(plan.share.shape[1]) > jobs.due[:, None]
    return float(jobs.power_kw @ (plan.share * late).sum(axis=1))


def _running(jobs: Jobs, horizon: int) -> sparse.coo_array:
    """Power drawn in each period per start of each job, shape (horizon, jobs * (horizon + 1))."""
    rows, columns, powers = [], [], []
    for j, (power_kw, duration) in enumerate(zip(jobs.power_kw, jobs.duration, strict=True)):
        start = np.repeat(np.arange(horizon), duration)
        period = start + np.tile(np.arange(duration), horizon)
        inside = period < horizon
        rows.append(period[inside])
        columns.append(j * (horizon + 1) + start[inside])
        powers.append(np.full(int(inside.sum()), power_kw))
    if not rows:
        return sparse.coo_array((horizon, 0))
    return sparse.coo_array(
        (np.concatenate(powers), (np.concatenate(rows), np.concatenate(columns))),
        shape=(horizon, jobs.power_kw.size * (horizon + 1)),
    )
