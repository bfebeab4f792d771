"""A queue of batch jobs on a GPU cluster: `gridpilot/JobQueue-v0`."""

from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from data.arrivals import JobSource
from data.jobs import Arrivals
from data.schema import PERIOD_H, PERIODS_PER_DAY
from envs import information
from envs.episodes import EpisodeSystem
from envs.fields import Field, FloatArray, copy_row, positions
from envs.information import FORECAST_PERIODS, FORECAST_PREFIX
from envs.outlook import CARBON_FIELDS
from envs.scenario import Market, Scenario, default_scenario
from envs.system import Lanes
from models import cluster as cluster_model
from models import queue
from models.cluster import Cluster
from models.compiling import KERNEL, LOOP
from models.queue import QueueRules
from models.settlement import Adders, adders_gbp, energy_gbp

LANE: Final = np.dtype(
    [
        ("queue", queue.LANE),
        ("period", np.int64),  # row of the history that is decided next; its jobs have arrived, its due jobs run
        ("stop", np.int64),  # row at which the episode ends
        ("waiting_jobs", np.int64),  # all that have arrived and wait
        ("overflow_jobs", np.int64),  # those of them beyond the visible slots
        ("waiting_kwh", np.float64),  # their work
        ("overflow_kwh", np.float64),
        ("job_kw", np.float64),  # power of the jobs that ran in the last period
        ("grid_kw", np.float64),  # grid power of the last period
    ],
    align=True,
)
TERMS: Final = ("day_ahead", "imbalance", "network", "carbon", "sla", "end_value")
HORIZON_H: Final = 24.0
WARM_UP_PERIODS: Final = PERIODS_PER_DAY  # no generated or replayed job runs for longer
DUE_BOUND_H: Final = 48.0
SLA_BOUND_GBP_PER_H: Final = 10_000.0
SAVING_BOUND_GBP: Final = 1e6
ENERGY_BOUND_KWH: Final = 1e8
JOBS_BOUND: Final = 1e6
COMMITTED_LEADS: Final = (0, 1, 2, 4, 8, 16, 32, 48)  # edges, in periods; each bin holds the mean
SLOT_FIELDS: Final = 6
PRICE_FORECAST: Final = positions(information.FIELDS, FORECAST_PREFIX).start


class Shown(NamedTuple):
    """What an observation shows of the world, one row per half-hour and one more.

    Attributes:
        prices: Rows of `envs.information.FIELDS`.
        carbon: Rows of `envs.outlook.CARBON_FIELDS`.
        cost_before_gbp_per_kw: Forecast cost of a kW of jobs from now to each lead, shape (n + 1, 49).
    """

    prices: FloatArray
    carbon: FloatArray
    cost_before_gbp_per_kw: NDArray[np.float64]


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
        self.adders = adders or Adders(carbon_gbp_per_tonne=60.0)
        if not it_limit_kw < float("inf"):
            raise ValueError(f"it_limit_kw is {it_limit_kw}; give the IT hall's highest power in kW, a finite number")
        self.rules = QueueRules(cluster_model.job_budget_kw(self.cluster, it_limit_kw), visible_slots)
        source, times = jobs or JobSource(), self.scenario.timestamps
        capacity_kw = cluster_model.job_capacity_kw(self.cluster)
        self.jobs = source.arrivals(times[0].to_pydatetime(), len(times), capacity_kw)
        queue.new_queues(self.rules, self.jobs, 1)  # refuses rules and jobs that cannot work together
        expected_kw = cluster_model.it_power_kw(self.cluster, source.load_fraction * self.cluster.gpus, 1.0)
        self.position_kw = expected_kw if position_kw is None else float(position_kw)
        if not abs(self.position_kw) < float("inf"):
            raise ValueError(f"position_kw is {position_kw}; give a finite number of kW, or null for the expected load")
        self.added_fraction: float = _added_fraction(self.cluster)
        self._end_cost_gbp_per_mwh = _end_cost_gbp_per_mwh(self.scenario.market, self.adders)
        self.action_fields = tuple(
            Field(f"start_slot_{slot:02d}", 0.0, 1.0, f"above 0.5 starts the job in slot {slot}, if it fits")
            for slot in range(visible_slots)
        )
        self.observation_fields = (*_own_fields(self.rules), *information.FIELDS, *CARBON_FIELDS)

    def begin(self, lane: np.void) -> None:
        """Keep the cluster busy with the day before; see `envs.episodes.EpisodeSystem`."""
        _warm_up(self.rules, self.jobs, lane)

    @cached_property
    def _shown(self) -> Shown:
        history = self.scenario.history
        shares = self.adders, _added_fraction(self.cluster)
        cost_before = _cost_before_gbp_per_kw(history.price_information, history.carbon_outlook, *shares)
        return Shown(history.price_information, history.carbon_outlook, cost_before)

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
            self._end_cost_gbp_per_mwh, self._shown, lanes, actions, terms, over, observations,
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


def _own_fields(rules: QueueRules) -> tuple[Field, ...]:
    """Layout of what the queue itself shows; `_observe_lanes` writes in this order."""
    kw, kwh = rules.capacity_kw, ENERGY_BOUND_KWH
    slots: list[Field] = []
    for s in range(rules.visible_slots):
        name, of = f"slot_{s:02d}", f"of the job in slot {s}; 0 if empty"
        slots += [
            Field(f"{name}_power_kw", 0.0, kw, f"power {of}"),
            Field(f"{name}_duration_h", 0.0, queue.LONGEST_PERIODS * PERIOD_H, f"run time {of}"),
            Field(f"{name}_due_h", -DUE_BOUND_H, DUE_BOUND_H, f"time until the last start that keeps the terms {of}"),
            Field(f"{name}_priority", 0.0, 100.0, f"priority {of}"),
            Field(f"{name}_sla_gbp_per_h", 0.0, SLA_BOUND_GBP_PER_H, f"price of an hour past the deadline {of}"),
            Field(
                f"{name}_saving_gbp", 0.0, SAVING_BOUND_GBP, f"saved if the cheapest forecast start is awaited, {of}"
            ),
        ]
    return (
        Field("hours_left_h", 0.0, HORIZON_H, "time until the episode ends, at most 24 h"),
        Field("free_kw", 0.0, kw, "power in which jobs may start now"),
        Field("waiting_kwh", 0.0, kwh, "work of all jobs that wait"),
        Field("overflow_kwh", 0.0, kwh, "work of the jobs beyond the visible slots"),
        Field("overflow_jobs", 0.0, JOBS_BOUND, "jobs beyond the visible slots"),
        *(
            Field(f"committed_kw_{a:02d}", 0.0, kw, f"mean power promised to running jobs {a} to {b} periods ahead")
            for a, b in pairwise(COMMITTED_LEADS)
        ),
        *slots,
    )


def _end_cost_gbp_per_mwh(market: Market, adders: Adders) -> NDArray[np.float64]:
    """What work left costs when an episode ends before row t: means of the 24 h before it, shape (n + 1,)."""
    carbon = pd.Series(market.carbon_g_per_kwh).rolling(PERIODS_PER_DAY, min_periods=1).mean().to_numpy()
    carbon_gbp_per_mwh = adders.carbon_gbp_per_tonne * np.concatenate([carbon[:1], carbon]) / 1000.0
    return market.end_price_gbp_per_mwh + adders.network_gbp_per_mwh + carbon_gbp_per_mwh


def _cost_before_gbp_per_kw(
    prices: FloatArray, carbon: FloatArray, adders: Adders, added_fraction: float
) -> NDArray[np.float64]:
    """See `Shown`."""
    forecast = prices[:, PRICE_FORECAST : PRICE_FORECAST + FORECAST_PERIODS].astype(np.float64)
    forecast += adders.carbon_gbp_per_tonne * carbon[:, 1:] / 1000.0
    before = np.zeros((forecast.shape[0], FORECAST_PERIODS + 1))
    np.cumsum(forecast * (added_fraction * PERIOD_H / 1000.0), axis=1, out=before[:, 1:])
    return before


@njit(**KERNEL)
def _added_fraction(cluster: Cluster) -> float:
    """Share of a job's power that is bought for it: the idle floor of its GPUs is drawn anyway."""
    return 1.0 - cluster_model.idle_kw_per_gpu(cluster) / cluster_model.job_kw_per_gpu(cluster)


@njit(cache=True)
def _warm_up(rules: QueueRules, jobs: Arrivals, lane: np.void) -> None:
    """Run the day before the episode, or what the history holds of it, each job as soon as it fits."""
    first = lane["period"]
    start = max(first - WARM_UP_PERIODS, 0)
    queue.reset(jobs, lane["queue"], start)
    for t in range(start, first):
        queue.begin_period(rules, jobs, lane["queue"], t, rules.capacity_kw)
        queue.release(rules, jobs, lane["queue"], t, rules.capacity_kw, rules.capacity_kw)
        queue.end_period(rules, jobs, lane["queue"], t)
    queue.begin_period(rules, jobs, lane["queue"], first, rules.capacity_kw)
    _count_waiting(rules, jobs, lane, first)


@njit(**KERNEL)
def _count_waiting(rules: QueueRules, jobs: Arrivals, lane: np.void, t: int) -> None:
    """Keep number and energy of the jobs that have arrived by period t and wait."""
    waiting = lane["queue"]
    _, lane["waiting_jobs"], _ = queue.tally(jobs, waiting, t)
    lane["waiting_kwh"] = waiting["waiting_kwh"] + queue.backlog(rules, jobs, waiting, t)[1]
    lane["overflow_jobs"], lane["overflow_kwh"] = queue.overflow(rules, jobs, waiting, t)


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
        queue.start_slots(rules, jobs, waiting, t, limit_kw, actions[i])
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
        _observe(rules, jobs, shown, lane, observations[i])


@njit(**KERNEL)
def _saving_of_waiting(cost_before: np.ndarray, t: int, duration: int, slack: int) -> float:
    """Cost of 1 kW of a job that starts now less that of its cheapest start within the slack and the forecast."""
    cost_now = cost_before[t, duration] - cost_before[t, 0]
    lowest = cost_now
    for lead in range(1, min(slack, FORECAST_PERIODS - duration) + 1):
        lowest = min(lowest, cost_before[t, lead + duration] - cost_before[t, lead])
    return cost_now - lowest


@njit(**LOOP)
def _observe_lanes(
    rules: QueueRules, jobs: Arrivals, shown: Shown, lanes: np.ndarray, observations: np.ndarray
) -> None:
    for i in range(lanes.size):
        _observe(rules, jobs, shown, lanes[i], observations[i])


@njit(**KERNEL)
def _observe(rules: QueueRules, jobs: Arrivals, shown: Shown, lane: np.void, observation: np.ndarray) -> None:
    t, waiting = lane["period"], lane["queue"]
    observation[0] = min((lane["stop"] - t) * PERIOD_H, HORIZON_H)
    observation[1] = queue.headroom_kw(rules, waiting, t, rules.capacity_kw)
    observation[2] = min(lane["waiting_kwh"], ENERGY_BOUND_KWH)
    observation[3] = min(lane["overflow_kwh"], ENERGY_BOUND_KWH)
    observation[4] = min(lane["overflow_jobs"], JOBS_BOUND)
    at = queue.write_committed_kw(waiting, t, COMMITTED_LEADS, observation, 5)
    seen = min(waiting["n_waiting"], rules.visible_slots)
    for slot in range(seen):
        job = jobs.rows[waiting["waiting"][slot]["row"]]
        observation[at] = job["power_kw"]
        observation[at + 1] = job["duration_periods"] * PERIOD_H
        observation[at + 2] = min(max((job["due_period"] - t) * PERIOD_H, -DUE_BOUND_H), DUE_BOUND_H)
        observation[at + 3] = job["priority"]
        observation[at + 4] = min(job["sla_penalty_gbp_per_h"], SLA_BOUND_GBP_PER_H)
        duration = min(job["duration_periods"], FORECAST_PERIODS)
        saving = _saving_of_waiting(shown.cost_before_gbp_per_kw, t, duration, job["due_period"] - t)
        observation[at + 5] = min(job["power_kw"] * saving, SAVING_BOUND_GBP)
        at += SLOT_FIELDS
    for _ in range((rules.visible_slots - seen) * SLOT_FIELDS):
        observation[at] = 0.0
        at += 1
    at = copy_row(shown.prices, t, observation, at)
    copy_row(shown.carbon, t, observation, at)


@njit(cache=True)
def _feasible_lanes(rules: QueueRules, lanes: np.ndarray, high: np.ndarray) -> None:
    mask = np.empty(high.shape[1], np.bool_)
    for i in range(lanes.size):
        lane = lanes[i]
        queue.feasible_start_mask(rules, lane["queue"], lane["period"], rules.capacity_kw, mask)
        for slot in range(mask.size):
            high[i, slot] = mask[slot]
