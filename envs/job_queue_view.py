"""What the job queue shows of itself, its jobs and the hours ahead."""

from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data.jobs import Arrivals
from data.schema import PERIOD_H
from envs import information
from envs.fields import Field, FloatArray, copy_row, positions
from envs.information import FORECAST_PERIODS, FORECAST_PREFIX
from models import job_order, queue, queue_view
from models.compiling import KERNEL
from models.fetch import fetch_row
from models.queue import QueueRules
from models.settlement import Adders

HORIZON_H: Final = 24.0
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


def own_fields(rules: QueueRules) -> tuple[Field, ...]:
    """Layout of what the queue itself shows; `observe` writes in this order."""
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


def shown(prices: FloatArray, carbon: FloatArray, adders: Adders, added_fraction: float) -> Shown:
    """Lay out what is shown of the world; a job adds `added_fraction` of its power to what is bought."""
    forecast = prices[:, PRICE_FORECAST : PRICE_FORECAST + FORECAST_PERIODS].astype(np.float64)
    forecast += adders.carbon_gbp_per_tonne * carbon[:, 1:] / 1000.0
    before = np.zeros((forecast.shape[0], FORECAST_PERIODS + 1))
    np.cumsum(forecast * (added_fraction * PERIOD_H / 1000.0), axis=1, out=before[:, 1:])
    return Shown(prices, carbon, before)


@njit(**KERNEL)
def fetch_shown(shown: Shown, t: int) -> None:
    """Ask for what an observation at t is going to show."""
    fetch_row(shown.prices, t)
    fetch_row(shown.carbon, t)
    fetch_row(shown.cost_before_gbp_per_kw, t)


@njit(**KERNEL)
def _saving_of_waiting(cost_before: np.ndarray, t: int, duration: int, slack: int) -> float:
    """Cost of 1 kW of a job that starts now less that of its cheapest start within the slack and the forecast."""
    cost_now = cost_before[t, duration] - cost_before[t, 0]
    lowest = cost_now
    for lead in range(1, min(slack, FORECAST_PERIODS - duration) + 1):
        lowest = min(lowest, cost_before[t, lead + duration] - cost_before[t, lead])
    return cost_now - lowest


@njit(**KERNEL)
def observe(rules: QueueRules, jobs: Arrivals, shown: Shown, lane: np.void, observation: np.ndarray) -> None:
    """Write `own_fields`, then what the market and the grid tell."""
    t, waiting = lane["period"], lane["queue"]
    observation[0] = min((lane["stop"] - t) * PERIOD_H, HORIZON_H)
    observation[1] = queue.headroom_kw(rules, waiting, t, rules.capacity_kw)
    observation[2] = min(lane["waiting_kwh"], ENERGY_BOUND_KWH)
    observation[3] = min(lane["overflow_kwh"], ENERGY_BOUND_KWH)
    observation[4] = min(lane["overflow_jobs"], JOBS_BOUND)
    a, b, c, d, e, f, g, h = COMMITTED_LEADS
    observation[5] = queue_view.mean_committed_kw(waiting, t, a, b)
    observation[6] = queue_view.mean_committed_kw(waiting, t, b, c)
    observation[7] = queue_view.mean_committed_kw(waiting, t, c, d)
    observation[8] = queue_view.mean_committed_kw(waiting, t, d, e)
    observation[9] = queue_view.mean_committed_kw(waiting, t, e, f)
    observation[10] = queue_view.mean_committed_kw(waiting, t, f, g)
    observation[11] = queue_view.mean_committed_kw(waiting, t, g, h)
    at = 12
    seen = min(waiting["n_waiting"], rules.visible_slots)
    for slot in range(seen):
        job = waiting["waiting"][waiting["n_waiting"] - 1 - slot]
        order, power_kw = job["order"], job["power_kw"]
        run_periods, slack = job_order.run_periods(order), job_order.due_period(order) - t
        penalty = jobs.rows[job_order.row(order)]["sla_penalty_gbp_per_h"]
        saving = _saving_of_waiting(shown.cost_before_gbp_per_kw, t, min(run_periods, FORECAST_PERIODS), slack)
        observation[at] = power_kw
        observation[at + 1] = run_periods * PERIOD_H
        observation[at + 2] = min(max(slack * PERIOD_H, -DUE_BOUND_H), DUE_BOUND_H)
        observation[at + 3] = job_order.priority(order)
        observation[at + 4] = min(penalty, SLA_BOUND_GBP_PER_H)
        observation[at + 5] = min(power_kw * saving, SAVING_BOUND_GBP)
        at += SLOT_FIELDS
    for _ in range((rules.visible_slots - seen) * SLOT_FIELDS):
        observation[at] = 0.0
        at += 1
    at = copy_row(shown.prices, t, observation, at)
    copy_row(shown.carbon, t, observation, at)
