"""Deferrable jobs as part of a linear program: two classes of power that flows from waiting to running."""

from typing import Final

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import toeplitz
from scipy.optimize import nnls
from scipy.stats import norm

from data.arrivals import ExpectedJobs
from data.schema import PERIOD_H
from models import cluster as cluster_model
from models.cluster import Cluster

Floats = NDArray[np.float64]

QUANTILES: Final = (0.2, 0.5, 0.8)  # of the load that jobs not yet known will add, each as likely
SCORES: Final = norm.ppf(QUANTILES)
CLASS_PERIODS: Final = (1.0, 4.0, 16.0)  # time constants of run time
BEYOND_GBP_PER_KWH: Final = 10.0  # of power promised beyond the capacity: only readings that cannot be lead there


def expected_running_kw(jobs: ExpectedJobs, running_kw: float, rhythm: Floats) -> Floats:
    """Power of running jobs if every job starts when it arrives, given that of now, shape of `rhythm`.

    Jobs found running have been so for a time that is not known: what is left of them is the mean residual.
    """
    tail = _padded(jobs.still_running, rhythm.size)
    residual = 1.0 - np.concatenate([[0.0], np.cumsum(tail)[:-1]]) / jobs.still_running.sum()
    return running_kw * residual + toeplitz(tail, np.zeros(rhythm.size)) @ np.append(0.0, jobs.arriving_kw * rhythm[1:])


def unknown_load_kw(jobs: ExpectedJobs, arriving_kw: Floats, level_sd: Floats) -> tuple[Floats, Floats]:
    """Mean and spread of what jobs that have not arrived will draw if each starts on arrival.

    Args:
        jobs: What jobs are like.
        arriving_kw: Expected, shape (horizon,); those of the first period have arrived and do not count.
        level_sd: Standard deviation of their level over its mean, shape (horizon,).

    Returns:
        Mean, shape (horizon,), and quantiles about it, shape (quantiles, horizon): chance, as in a compound Poisson
        process, and the level.
    """
    surviving = toeplitz(_padded(jobs.still_running, arriving_kw.size), np.zeros(arriving_kw.size))
    unknown_kw = np.append(0.0, arriving_kw[1:])
    mean_kw = surviving @ unknown_kw
    spread_kw = np.sqrt(jobs.job_kw * mean_kw + (surviving @ (level_sd * unknown_kw)) ** 2)
    return mean_kw, np.outer(SCORES, spread_kw)


def _padded(still_running: Floats, horizon: int) -> Floats:
    return np.concatenate([still_running[:horizon], np.zeros(max(horizon - still_running.size, 0))])


def _classes(still_running: Floats) -> tuple[Floats, Floats]:
    """Classes of exponential run time that together run out as the mean job does: kept a period, and shares.

    As states they keep the program sparse; the survival itself would couple every period with all before it.
    """
    keeps = np.exp(-1.0 / np.array(CLASS_PERIODS))
    shares, _ = nnls(keeps ** np.arange(still_running.size)[:, None], still_running)
    used = shares > 0.0
    return keeps[used], shares[used] / shares.sum()


class ComputeBlock:
    """Jobs in the mean: power that arrives, waits, falls due, starts and runs out.

    Two classes of deadline: free jobs fall due at a constant rate (slack is close to exponential, so what is left of
    it has the same distribution), due jobs cost for every period they wait. What has started runs down as the mean
    job does. That jobs come whole and arrive by chance is not in the mean: where planned and sold power, with the
    spread of what may arrive, exceed the capacity, a price of crowding is paid.

    Attributes:
        start_kw: Power of free jobs started in each period, shape (horizon,).
        started_kw: Of all jobs started.
        running_kw: Power of running jobs, shape (horizon,).
        it_kw: IT power, idle floor and tenants included, shape (horizon,).
        beyond_kw: Promised beyond the capacity and so not drawn, shape (horizon,).
        late_kw: Due jobs that still wait at the end of a period, shape (horizon,).
        late_gbp: Lateness.
        cost_gbp: That, waiting, crowding, and the energy of work that is left at the end.
        queue_left_gbp: Lateness of the queue left at the end, quadratic.
        constraints: Flow and capacity.
    """

    def __init__(
        self,
        cluster: Cluster,
        capacity_kw: float,
        jobs: ExpectedJobs,
        tenant_kw: cp.Expression,
        horizon: int,
        late_gbp_per_kwh: float,
        waiting_gbp_per_kwh: float,
        crowding_gbp_per_kwh: float,
    ) -> None:
        """Lay out the block.

        Args:
            cluster: The simulated cluster's own parameters.
            capacity_kw: Highest power of jobs and tenants together.
            jobs: What jobs are like.
            tenant_kw: Capacity sold, shape (horizon,).
            horizon: Number of half-hours planned.
            late_gbp_per_kwh: Price of due work that waits, per kW and hour.
            waiting_gbp_per_kwh: The same of free work: what the mean does not see of the risk of waiting.
            crowding_gbp_per_kwh: Price of load that may not fit, per kW and hour.
        """
        self._jobs, self._capacity_kw, self.horizon = jobs, capacity_kw, horizon
        keeps, shares = _classes(jobs.still_running)
        falls_due = 1.0 - np.exp(-PERIOD_H / jobs.slack_h)
        self.added_fraction = 1.0 - cluster_model.idle_kw_per_gpu(cluster) / cluster_model.job_kw_per_gpu(cluster)
        self.idle_kw = cluster.gpus * cluster_model.idle_kw_per_gpu(cluster)

        self._committed_kw, self._free_arriving_kw = cp.Parameter(horizon), cp.Parameter(horizon)
        self._due_arriving_kw, self._unknown_kw = cp.Parameter(horizon), cp.Parameter((len(QUANTILES), horizon))
        self._end_price = cp.Parameter(nonneg=True)  # GBP per kWh
        self.start_kw, due_start_kw = cp.Variable(horizon, nonneg=True), cp.Variable(horizon, nonneg=True)
        waiting_kw = cp.Variable(horizon, nonneg=True)
        self.late_kw = cp.Variable(horizon, nonneg=True)
        self.beyond_kw = cp.Variable(horizon, nonneg=True)
        crowded_kw = cp.Variable((len(QUANTILES), horizon), nonneg=True)
        self.started_kw = self.start_kw + due_start_kw
        drawn_kw = cp.Variable(horizon, bounds=[-np.inf, capacity_kw])  # by jobs and tenants
        self.running_kw = drawn_kw + self.beyond_kw - tenant_kw
        self.it_kw = self.idle_kw + self.added_fraction * drawn_kw
        before_kw, late_before_kw = cp.hstack([0.0, waiting_kw[:-1]]), cp.hstack([0.0, self.late_kw[:-1]])
        running_kw = cp.Variable((keeps.size, horizon))  # of the jobs started by the plan, by class of run time
        before_running_kw = cp.hstack([np.zeros((keeps.size, 1)), running_kw[:, :-1]])
        # Work that the horizon does not see ends: what still runs, and what has not started.
        left_kwh = PERIOD_H * (
            cp.sum(cp.multiply(keeps / (1.0 - keeps), running_kw[:, -1]))
            + jobs.still_running.sum() * (waiting_kw[-1] + self.late_kw[-1])
        )
        # A queue left at the end is late for as long as what the mean load leaves free takes to clear it.
        mean_kw = jobs.arriving_kw * jobs.still_running.sum()
        queue_h_per_kw = PERIOD_H * jobs.still_running.sum() / max(capacity_kw - mean_kw, 0.1 * capacity_kw)
        self.late_gbp = PERIOD_H * late_gbp_per_kwh * cp.sum(self.late_kw)
        self.cost_gbp = (
            self.late_gbp
            + PERIOD_H * waiting_gbp_per_kwh * cp.sum(waiting_kw)
            + PERIOD_H * crowding_gbp_per_kwh / len(QUANTILES) * cp.sum(crowded_kw)
            + PERIOD_H * BEYOND_GBP_PER_KWH * cp.sum(self.beyond_kw)
            + self._end_price * self.added_fraction * left_kwh
        )
        left_kw = waiting_kw[-1] + self.late_kw[-1]
        self.queue_left_gbp = 0.5 * late_gbp_per_kwh * queue_h_per_kw * cp.square(left_kw)
        self.constraints = [
            running_kw
            == cp.multiply(keeps[:, None] * np.ones((1, horizon)), before_running_kw)
            + shares[:, None] @ cp.reshape(self.started_kw, (1, horizon), order="C"),
            self.running_kw == self._committed_kw + cp.sum(running_kw, axis=0),
            waiting_kw == (1.0 - falls_due) * before_kw + self._free_arriving_kw - self.start_kw,
            self.late_kw == late_before_kw + falls_due * before_kw + self._due_arriving_kw - due_start_kw,
            *(crowded_kw[q] >= drawn_kw + self._unknown_kw[q] - capacity_kw for q in range(len(QUANTILES))),
        ]

    def feed(
        self,
        committed_kw: Floats,
        waiting_kw: float,
        due_kw: float,
        arriving_kw: Floats,
        level_sd: Floats,
        end_price_gbp_per_mwh: float,
    ) -> None:
        """Set what runs, waits and is expected.

        Args:
            committed_kw: Power promised to running jobs, shape (horizon,).
            waiting_kw: Power of the jobs that wait now and are not due.
            due_kw: Power of those that are.
            arriving_kw: Expected, shape (horizon,); those of the first period wait already.
            level_sd: Standard deviation of the arrivals' level over its mean, shape (horizon,).
            end_price_gbp_per_mwh: Of the energy of work left at the end; below 0 counts as 0.
        """
        _, self._unknown_kw.value = unknown_load_kw(self._jobs, arriving_kw, level_sd)
        arriving_kw = np.append(0.0, arriving_kw[1:])
        self._committed_kw.value = committed_kw
        urgent_kw = self._jobs.urgent_share * arriving_kw
        self._free_arriving_kw.value = arriving_kw - urgent_kw + np.where(np.arange(self.horizon) == 0, waiting_kw, 0.0)
        self._due_arriving_kw.value = urgent_kw + np.where(np.arange(self.horizon) == 0, due_kw, 0.0)
        self._end_price.value = max(end_price_gbp_per_mwh, 0.0) / 1000.0
