"""Perfect foresight for a queue of jobs: a bound that no policy can beat, and the plan behind it."""

from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from baselines.program import solve_large
from baselines.work_block import WorkBlock, known_work, parts_of, promised_kw
from data.schema import PERIOD_H, PERIODS_PER_DAY
from envs.fields import FloatArray
from envs.job_queue import JobQueueSystem
from envs.single import SystemEnv
from models import cluster as cluster_model
from models import queue, queue_view

Floats = NDArray[np.float64]

WINDOW: Final = 672  # periods that are planned at once, two weeks


class QueueForesight(NamedTuple):
    """The best that could have been done.

    Attributes:
        value_gbp: Upper bound on the total reward of any policy.
        running_kw: Power of running jobs that reaches it, up to the relaxation, shape (periods,).
    """

    value_gbp: float
    running_kw: Floats


def queue_foresight(system: JobQueueSystem, lane: np.void, window: int = WINDOW) -> QueueForesight:
    """Solve linear programs over the windows of the episode that a lane begins, by HiGHS.

    Why their sum bounds every policy: jobs as told in `baselines.work_block.WorkBlock`; IT power, settlement and the
    price of work left are linear in the power of running jobs; work done is handed over between windows at one price,
    as told in `baselines.site_oracle.SiteProgram`. What is given away: parts of jobs apart and in fractions, and a
    little at the hand-overs.

    Args:
        system: The queue.
        lane: At the start of an episode.
        window: Periods that are planned at once.

    Returns:
        The bound and a plan.

    Raises:
        RuntimeError: If HiGHS finds no optimum, which no valid queue can cause.
    """
    first, stop = int(lane["period"]), int(lane["stop"])
    n, market, adders = stop - first, system.scenario.market, system.adders
    imbalance = market.imbalance_price_gbp_per_mwh[first:stop]
    carbon = adders.carbon_gbp_per_tonne * market.carbon_g_per_kwh[first:stop] / 1000.0
    price = PERIOD_H / 1000.0 * (imbalance + carbon + adders.network_gbp_per_mwh)  # GBP per kW of import
    position = PERIOD_H / 1000.0 * system.position_kw * (imbalance - market.day_ahead_price_gbp_per_mwh[first:stop])
    idle_kw = system.cluster.gpus * cluster_model.idle_kw_per_gpu(system.cluster)
    committed_kw, after_kwh = promised_kw(lane["queue"], first, n)
    work = known_work(lane["queue"], system.jobs, first, stop)
    parts, work_kwh = parts_of(work, n), PERIOD_H * float(work.power_kw @ work.duration)
    end_gbp_per_kwh = system.added_fraction * system.end_cost_gbp_per_mwh[stop] / 1000.0

    value_gbp, running_kw = float(position.sum() - idle_kw * price.sum()), []
    for begin in range(0, n, window):
        end = min(begin + window, n)
        block = WorkBlock(parts, committed_kw[begin:end], begin)
        earned_gbp: Any = -system.added_fraction * price[begin:end] @ block.running_kw - block.late_gbp
        if begin > 0:
            earned_gbp -= _worth(system, price, begin) * block.done_before_kwh
        if end < n:
            earned_gbp += _worth(system, price, end) * block.done_kwh
        else:
            earned_gbp -= end_gbp_per_kwh * (work_kwh + after_kwh - block.done_kwh)
        limits = [*block.constraints, block.running_kw <= system.rules.capacity_kw]
        value_gbp += solve_large(earned_gbp, limits, system.rules.capacity_kw * float(np.abs(price[begin:end]).sum()))
        running_kw.append(block.running_kw.value)
    return QueueForesight(value_gbp, np.concatenate(running_kw))


def _worth(system: JobQueueSystem, price: Floats, at: int) -> float:
    """GBP that a kWh of work done by a hand-over counts for: what energy costs around it."""
    near = price[max(at - PERIODS_PER_DAY, 0) : at + PERIODS_PER_DAY]
    return system.added_fraction * float(near.mean()) / PERIOD_H


class QueueOraclePolicy:
    """Follows the perfect-foresight plan of its environment's own episode as far as whole jobs can.

    Attributes:
        bound_gbp: Upper bound on the total reward of the episode.
    """

    def __init__(self, env: SystemEnv) -> None:
        """Bind to the environment whose future it reads.

        Raises:
            ValueError: If the environment is not a job queue.
        """
        if not isinstance(env.system, JobQueueSystem):
            raise ValueError(f"this oracle foresees a JobQueueSystem, not a {type(env.system).__name__}")
        self._lanes, self._system, self._first = env.lanes, env.system, 0
        self._running_kw = np.zeros(0)
        self.bound_gbp = np.nan

    @classmethod
    def for_env(cls, env: SystemEnv) -> Self:
        """For the environment it will be played in."""
        return cls(env)

    def reset(self, seed: int) -> None:
        """Solve the episode that the environment has just begun."""
        lane = self._lanes[0]
        self.bound_gbp, self._running_kw = queue_foresight(self._system, lane)
        self._first = int(lane["period"])

    def act(self, observation: FloatArray) -> FloatArray:
        """Start jobs in their order up to the planned power, shape (slots,)."""
        lane = self._lanes[0]["queue"]
        t = int(self._lanes[0]["period"])
        missing_kw = self._running_kw[t - self._first] - queue.running_kw(lane, t)
        action = np.zeros(self._system.rules.visible_slots, dtype=np.float32)
        for slot, power_kw in enumerate(queue_view.in_order(lane)["power_kw"][: action.size].tolist()):
            if power_kw <= missing_kw + 0.5 * power_kw:  # whole jobs: the nearest to the plan
                action[slot] = 1.0
                missing_kw -= power_kw
        return action
