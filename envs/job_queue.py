"""A queue of batch jobs on a GPU cluster: `gridpilot/JobQueue-v0`."""

from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from data.arrivals import JobSource
from data.jobs import Arrivals
from data.schema import PERIOD_H, PERIODS_PER_DAY
from envs import information, job_queue_view
from envs.episodes import EpisodeSystem
from envs.fields import Field, FloatArray
from envs.job_queue_view import Shown
from envs.outlook import CARBON_FIELDS
from envs.scenario import Market, Scenario, default_scenario
from envs.system import Lanes
from models import cluster as cluster_model
from models import queue, queue_fetch, queue_view
from models.cluster import Cluster
from models.compiling import KERNEL, LOOP
from models.fetch import fetch
from models.queue import QueueRules
from models.settlement import CARBON_PRICED, Adders, adders_gbp, checked_adders, checked_position_kw, energy_gbp

LANE: Final = np.dtype(
    [
        ("period", np.int64),  # row of the history that is decided next; its jobs have arrived, its due jobs run
        ("stop", np.int64),  # row at which the episode ends
        ("waiting_jobs", np.int64),  # all that have arrived and wait
        ("overflow_jobs", np.int64),  # those of them beyond the visible slots
        ("waiting_kwh", np.float64),  # their work
        ("overflow_kwh", np.float64),
        ("job_kw", np.float64),  # power of the jobs that ran in the last period
        ("grid_kw", np.float64),  # grid power of the last period
        ("queue", queue.LANE),
    ],
    align=True,
)
QUEUE_BYTE: Final = queue_fetch.byte_of(LANE, "queue")
FRONT_BYTES: Final = QUEUE_BYTE + queue_fetch.RUNNING_BYTE
TERMS: Final = ("day_ahead", "imbalance", "network", "carbon", "sla", "end_value")
WARM_UP_PERIODS: Final = PERIODS_PER_DAY  # no generated or replayed job runs for longer


class JobQueueSystem(EpisodeSystem):
    """Batch jobs wait in slots; each period the policy says which of them start.

    Slots stand in order of due time. Every wanted job that fits starts, in slot order, and runs to its end. Asking
    for nothing (NaN) starts nothing, but a job that is due starts by itself as soon as it fits: it must start now to
    keep its deadline and its owner's limit on waiting. Idling is therefore the latest possible schedule. Asking for
    the start of a job that does not fit, or of an empty slot, changes nothing, so a masked and an unmasked policy
    that agree on the rest do the same.

    The IT hall is behind the meter alone. A flat position is bought day-ahead; the deviation from it is settled at
    the imbalance price, so that price is what a kWh costs at the margin. Lateness is charged when it becomes
    certain. At the end of an episode all work left, waiting or promised to running jobs, is paid for as if it were
    done at the mean day-ahead price and carbon intensity of the last 24 hours, adders included: never starting is no
    profit. An episode begins after a day, not paid for, in which everything that fitted started at once.
    """

    action_fields: tuple[Field, ...]
    observation_fields: tuple[Field, ...]
    terms = TERMS
    lane = LANE

    def __init__(
        self,
        scenario: Scenario | None = None,
        cluster: Cluster | None = None,
        jobs: JobSource | None = None,
        adders: Adders | None = None,
        it_limit_kw: float = 1000.0,
        position_kw: float | None = None,
        visible_slots: int = 16,
    ) -> None:
        """Put a cluster and its jobs into a market.

        Args:
            scenario: Where episodes come from; the synthetic training split by weeks if not given.
            cluster: The cluster; the default site's if not given.
            jobs: Where jobs come from; the seeded generator if not given.
            adders: Costs beside the market price; a carbon price of 60 GBP per tonne if not given.
            it_limit_kw: Highest power of the IT hall.
            position_kw: Power bought day-ahead for every period; the expected IT load if not given.
            visible_slots: Waiting jobs that the policy sees and can start.

        Raises:
            ValueError: If a parameter is out of range, or a job can never run within the limit.
        """
        self.scenario = scenario or default_scenario()
        self.cluster = cluster_model.checked(cluster or Cluster())
        self.adders = checked_adders(adders or CARBON_PRICED)
        if not it_limit_kw < float("inf"):
            raise ValueError(f"it_limit_kw is {it_limit_kw}; give the IT hall's highest power in kW, a finite number")
        self.rules = QueueRules(cluster_model.job_budget_kw(self.cluster, it_limit_kw), visible_slots)
        source, times = jobs or JobSource(), self.scenario.timestamps
        capacity_kw = cluster_model.job_capacity_kw(self.cluster)
        self.jobs = source.arrivals(times[0].to_pydatetime(), len(times), capacity_kw)
        queue.new_queues(self.rules, self.jobs, 1)  # refuses rules and jobs that cannot work together
        expected_kw = cluster_model.it_power_kw(self.cluster, source.load_fraction * self.cluster.gpus, 1.0)
        self.position_kw = checked_position_kw(position_kw, expected_kw)
        self.added_fraction: float = _added_fraction(self.cluster)
        self.end_cost_gbp_per_mwh = _end_cost_gbp_per_mwh(self.scenario.market, self.adders)
        self.action_fields = tuple(
            Field(f"start_slot_{slot:02d}", 0.0, 1.0, f"above 0.5 starts the job in slot {slot}, if it fits")
            for slot in range(visible_slots)
        )
        self.observation_fields = (*job_queue_view.own_fields(self.rules), *information.FIELDS, *CARBON_FIELDS)

    def begin(self, lane: np.void) -> None:
        """Keep the cluster busy with the day before; see `envs.episodes.EpisodeSystem`."""
        _warm_up(self.rules, self.jobs, lane)

    @cached_property
    def _shown(self) -> Shown:
        history = self.scenario.history
        return job_queue_view.shown(history.price_information, history.carbon_outlook, self.adders, self.added_fraction)

    def observe(self, lanes: Lanes, observations: FloatArray) -> None:
        """Write each lane's observation; see `envs.system.System`."""
        _observe_lanes(self.rules, self.jobs, self._shown, lanes, observations)

    def step(
        self,
        lanes: Lanes,
        actions: FloatArray,
        terms: NDArray[np.float64],
        over: NDArray[np.bool_],
        observations: FloatArray,
    ) -> None:
        """Advance each lane by half an hour; see `envs.system.System`."""
        _step_lanes(
            self.rules, self.cluster, self.adders, self.jobs, self.scenario.market, self.position_kw,
            self.end_cost_gbp_per_mwh, self._shown, lanes, actions, terms, over, observations,
        )  # fmt: skip

    def parameters(self) -> dict[str, dict[str, float]]:
        """Cluster, queue rules, adders and position; see `envs.system.System`."""
        return {
            "cluster": self.cluster._asdict(),
            "queue": self.rules._asdict(),
            "adders": self.adders._asdict(),
            "position": {"position_kw": self.position_kw},
        }

    def feasible(self, lanes: Lanes) -> tuple[FloatArray, FloatArray]:
        """1 is feasible where a slot holds a job that fits now; see `envs.system.System`."""
        low, high = np.zeros((2, lanes.size, len(self.action_fields)), dtype=np.float32)
        _feasible_lanes(self.rules, lanes, high)
        return low, high

    def telemetry(self, lane: np.void) -> dict[str, float]:
        """Power, jobs and prices of the last period, and what waits now."""
        last, market = lane["period"] - 1, self.scenario.market
        return {
            "grid_kw": float(lane["grid_kw"]),
            "job_kw": float(lane["job_kw"]),
            "waiting_jobs": float(lane["waiting_jobs"]),
            "waiting_kwh": float(lane["waiting_kwh"]),
            "imbalance_price_gbp_per_mwh": float(market.imbalance_price_gbp_per_mwh[last]),
            "carbon_g_per_kwh": float(market.carbon_g_per_kwh[last]),
        }

    def picture(self, log: pd.DataFrame) -> NDArray[np.uint8]:
        """Grid power and waiting work over the price and the carbon they met, for the last two days."""
        from envs.picture import figure_to_rgb, queue_panels  # plotting loads only when somebody looks

        return figure_to_rgb(queue_panels(log))


def _end_cost_gbp_per_mwh(market: Market, adders: Adders) -> NDArray[np.float64]:
    """What work left costs when an episode ends before row t: means of the 24 h before it, shape (n + 1,)."""
    carbon = pd.Series(market.carbon_g_per_kwh).rolling(PERIODS_PER_DAY, min_periods=1).mean().to_numpy()
    carbon_gbp_per_mwh = adders.carbon_gbp_per_tonne * np.concatenate([carbon[:1], carbon]) / 1000.0
    return market.end_price_gbp_per_mwh + adders.network_gbp_per_mwh + carbon_gbp_per_mwh


@njit(**KERNEL)
def _added_fraction(cluster: Cluster) -> float:
    """Share of a job's power that is bought for it: the idle floor of its GPUs is drawn anyway."""
    return 1.0 - cluster_model.idle_kw_per_gpu(cluster) / cluster_model.job_kw_per_gpu(cluster)


@njit(**LOOP)
def _warm_up(rules: QueueRules, jobs: Arrivals, lane: np.void) -> None:
    """Run the day before the episode, or what the history holds of it, each job as soon as it fits."""
    first = lane["period"]
    start = max(first - WARM_UP_PERIODS, 0)
    queue.reset(jobs, lane["queue"], start)
    for t in range(start, first):
        queue.begin_period(rules, jobs, lane["queue"], t, rules.capacity_kw)
        queue.release(rules, lane["queue"], t, rules.capacity_kw, rules.capacity_kw)
        queue.end_period(rules, jobs, lane["queue"], t)
    queue.begin_period(rules, jobs, lane["queue"], first, rules.capacity_kw)
    _count_waiting(rules, jobs, lane, first)


@njit(**KERNEL)
def _count_waiting(rules: QueueRules, jobs: Arrivals, lane: np.void, t: int) -> None:
    """Keep number and energy of the jobs that have arrived by period t and wait."""
    waiting = lane["queue"]
    _, lane["waiting_jobs"], _ = queue_view.tally(jobs, waiting, t)
    lane["waiting_kwh"] = waiting["waiting_kwh"] + queue_view.backlog(rules, jobs, waiting, t)[1]
    lane["overflow_jobs"], lane["overflow_kwh"] = queue_view.overflow(rules, jobs, waiting, t)


@njit(**LOOP)
def _step_lanes(
    rules: QueueRules,
    cluster: Cluster,
    adders: Adders,
    jobs: Arrivals,
    market: Market,
    position_kw: float,
    end_cost_gbp_per_mwh: np.ndarray,
    shown: Shown,
    lanes: np.ndarray,
    actions: np.ndarray,
    terms: np.ndarray,
    over: np.ndarray,
    observations: np.ndarray,
) -> None:
    limit_kw = rules.capacity_kw
    added_fraction = _added_fraction(cluster)
    for i in range(lanes.size):
        lane = lanes[i]
        t, waiting = lane["period"], lane["queue"]
        fetch(lanes, i + 2, 0, FRONT_BYTES)
        queue_fetch.fetch_queue(lanes, min(i + 1, lanes.size - 1), QUEUE_BYTE, jobs)
        job_queue_view.fetch_shown(shown, t + 1)
        queue.start_slots(rules, waiting, t, limit_kw, actions[i])
        job_kw, late_gbp = queue.end_period(rules, jobs, waiting, t)
        grid_kw = cluster_model.it_power_kw(cluster, cluster_model.busy_gpus(cluster, job_kw), 1.0)
        metered_kwh = grid_kw * PERIOD_H
        terms[i, 0], terms[i, 1] = energy_gbp(
            position_kw * PERIOD_H,
            metered_kwh,
            market.day_ahead_price_gbp_per_mwh[t],
            market.imbalance_price_gbp_per_mwh[t],
        )
        terms[i, 2], terms[i, 3] = adders_gbp(adders, metered_kwh, market.carbon_g_per_kwh[t])
        over[i] = t + 1 >= lane["stop"]
        terms[i, 5] = 0.0
        if over[i]:
            _count_waiting(rules, jobs, lane, t)
            left_kwh = lane["waiting_kwh"] + waiting["running_kw"].sum() * PERIOD_H
            terms[i, 5] = -left_kwh * added_fraction * end_cost_gbp_per_mwh[t + 1] / 1000.0
        else:
            late_gbp += queue.begin_period(rules, jobs, waiting, t + 1, limit_kw)
            _count_waiting(rules, jobs, lane, t + 1)
        terms[i, 4] = -late_gbp
        lane["job_kw"], lane["grid_kw"] = job_kw, grid_kw
        lane["period"] = t + 1
        job_queue_view.observe(rules, jobs, shown, lane, observations[i])


@njit(**LOOP)
def _observe_lanes(
    rules: QueueRules, jobs: Arrivals, shown: Shown, lanes: np.ndarray, observations: np.ndarray
) -> None:
    for i in range(lanes.size):
        job_queue_view.observe(rules, jobs, shown, lanes[i], observations[i])


@njit(**LOOP)
def _feasible_lanes(rules: QueueRules, lanes: np.ndarray, high: np.ndarray) -> None:
    for i in range(lanes.size):
        queue.feasible_start_mask(rules, lanes[i]["queue"], lanes[i]["period"], rules.capacity_kw, high[i])
