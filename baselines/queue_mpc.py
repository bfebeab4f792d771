"""Model predictive control of a job queue: plan when each visible job starts, start those that are to start now."""

import logging
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from baselines.calendar_ahead import CalendarAhead, hour_of, same_day
from baselines.compute_block import unknown_load_kw
from baselines.finite import check_finite
from baselines.job_block import Jobs, JobsMode, Surroundings, late_kw, plan_starts
from baselines.program import RELAXED
from baselines.site_memory import Arrivals
from data.arrivals import expected_jobs, weekly_rhythm
from data.schema import PERIOD_H
from envs.fields import FloatArray, position, positions
from envs.information import FORECAST_PERIODS, FORECAST_PREFIX
from envs.job_queue import JobQueueSystem
from envs.job_queue_view import COMMITTED_LEADS
from envs.outlook import CARBON_FIELDS
from envs.single import SystemEnv
from models import cluster as cluster_model

logger = logging.getLogger(__name__)
Floats = NDArray[np.float64]

NAMES: Final = ("hours_left_h", "free_kw", "overflow_kwh", "hour_sin", "hour_cos", "weekend")
SLOT_NAMES: Final = ("power_kw", "duration_h", "due_h", "sla_gbp_per_h")


class QueueMpcPolicy:
    """Rolling 24-hour plans on the shown prices and carbon; later arrivals and the overflow are expected in the mean.

    Attributes:
        relaxed_plans: Plans of this episode in which a job cannot end in time, or more runs than there is room for.
        failed_plans: Decisions of this episode for which HiGHS found no plan in time, and all that fits was started.
    """

    def __init__(
        self,
        system: JobQueueSystem,
        load_fraction: float = 0.55,
        waiting_gbp_per_kwh: float = 0.03,
        crowding_gbp_per_kwh: float = 0.1,
        jobs: JobsMode = "relaxed",
    ) -> None:
        """Set up the planner.

        Args:
            system: The queue.
            load_fraction: Mean load of jobs over the cluster.
            waiting_gbp_per_kwh: Price of work that waits: what the mean does not see of the risk of waiting.
            crowding_gbp_per_kwh: Price of load that may not fit beside what is expected to arrive.
            jobs: `relaxed` plans by linear program and starts jobs of which half or more would start now; `integer`
                plans whole jobs.

        Raises:
            ValueError: An unknown way to plan jobs.
        """
        if jobs not in ("relaxed", "integer"):
            raise ValueError(f"jobs is {jobs!r}; allowed are 'relaxed' and 'integer'")
        self._mode: JobsMode = jobs
        self._system, self._prices = system, (waiting_gbp_per_kwh, crowding_gbp_per_kwh)
        c = system.cluster
        self._added_fraction = 1.0 - cluster_model.idle_kw_per_gpu(c) / cluster_model.job_kw_per_gpu(c)
        self._expected = expected_jobs(cluster_model.job_capacity_kw(c), load_fraction)
        fields = system.observation_fields
        self._at = {name: position(fields, name) for name in NAMES}
        slots = range(system.rules.visible_slots)
        self._slots = [[position(fields, f"slot_{s:02d}_{name}") for name in SLOT_NAMES] for s in slots]
        self._price, self._committed = positions(fields, FORECAST_PREFIX), positions(fields, "committed_kw_")
        self._carbon = positions(fields, CARBON_FIELDS[1].name.removesuffix("00"))
        self.reset(0)

    @classmethod
    def for_env(
        cls,
        env: SystemEnv,
        load_fraction: float = 0.55,
        waiting_gbp_per_kwh: float = 0.03,
        crowding_gbp_per_kwh: float = 0.1,
        jobs: JobsMode = "relaxed",
    ) -> Self:
        """For a job queue; the rest as in `__init__`.

        Raises:
            ValueError: The environment is not a job queue, or an unknown way to plan jobs.
        """
        if not isinstance(env.system, JobQueueSystem):
            raise ValueError(f"this controller starts jobs of a JobQueueSystem, not of a {type(env.system).__name__}")
        return cls(env.system, load_fraction, waiting_gbp_per_kwh, crowding_gbp_per_kwh, jobs)

    def reset(self, seed: int) -> None:
        """Forget the last episode."""
        self._calendar, self._arrivals, self._ran_kw = CalendarAhead(), Arrivals(self._expected), 0.0
        self.relaxed_plans = self.failed_plans = 0

    def counts(self) -> dict[str, int]:
        """Plans that leave a limit, and plans that HiGHS did not find in time."""
        return {"relaxed_plans": self.relaxed_plans, "failed_plans": self.failed_plans}

    def act(self, observation: FloatArray) -> FloatArray:
        """Which slots start, shape (slots,).

        Raises:
            ValueError: The observation holds numbers that are not finite.
        """
        check_finite(observation=observation)
        shown = observation[self._slots].astype(np.float64)  # (slots, 4)
        around = self._surroundings(observation, float(shown[:, 0].sum()))
        filled = shown[:, 0] > 0.0
        action = np.zeros(len(self._slots), dtype=np.float32)
        if not filled.any():
            return action
        power_kw, duration_h, due_h, late = shown[filled].T
        periods = np.round(np.array([duration_h, due_h]) / PERIOD_H).astype(np.int64)
        jobs = Jobs(power_kw, periods[0], periods[1], late)
        plan = plan_starts(jobs, around, self._mode)
        if plan is None:
            self.failed_plans += 1
            logger.warning("HiGHS found no plan for %d jobs in time; starting what fits", power_kw.size)
            return np.ones_like(action)
        over_kw = float(np.max(around.committed_kw)) - around.capacity_kw
        self.relaxed_plans += int(max(late_kw(jobs, plan), over_kw) > RELAXED)
        action[filled] = plan.share[:, 0] >= 0.5
        self._ran_kw += min(float(power_kw @ action[filled]), float(observation[self._at["free_kw"]]))
        return action

    def _surroundings(self, observation: FloatArray, visible_kw: float) -> Surroundings:
        seen = {name: float(observation[i]) for name, i in self._at.items()}
        adders, n = self._system.adders, FORECAST_PERIODS
        self._calendar.see(hour_of(seen["hour_sin"], seen["hour_cos"]), seen["weekend"] > 0.5)
        carbon_gbp_per_mwh = adders.carbon_gbp_per_tonne * observation[self._carbon].astype(np.float64) / 1000.0
        price = observation[self._price] + carbon_gbp_per_mwh + adders.network_gbp_per_mwh
        left = round(seen["hours_left_h"] / PERIOD_H)
        end_price = float(price[: max(left, 1)].mean())
        price = np.where(np.arange(n) < left, price, end_price)
        edges = np.array(COMMITTED_LEADS)
        committed_kw = np.repeat(observation[self._committed].astype(np.float64), np.diff(edges))[:n]
        jobs = self._expected
        overflow_kw = seen["overflow_kwh"] / (PERIOD_H * jobs.still_running.sum())
        hours, weekends = self._calendar.ahead(n)
        usual_kw = jobs.arriving_kw * weekly_rhythm(hours, weekends)
        self._arrivals.see(
            visible_kw + overflow_kw, committed_kw[0], committed_kw[1], self._ran_kw, usual_kw[0], hours[0] == 0.0
        )
        self._ran_kw = committed_kw[0]
        level, level_sd = self._arrivals.ahead(same_day(hours))
        mean_kw, about_kw = unknown_load_kw(jobs, level * usual_kw, level_sd)
        overflow_runs_kw = overflow_kw * np.append(jobs.still_running, np.zeros(n))[:n]
        return Surroundings(
            capacity_kw=self._system.rules.capacity_kw,
            committed_kw=committed_kw,
            unknown_kw=mean_kw + overflow_runs_kw + about_kw,
            energy_gbp_per_kwh=self._added_fraction * price / 1000.0,
            end_gbp_per_kwh=self._added_fraction * end_price / 1000.0,
            waiting_gbp_per_kwh=self._prices[0],
            crowding_gbp_per_kwh=self._prices[1],
        )
