"""What the whole site shows of itself, and what may be asked of it."""

from itertools import pairwise
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data.schema import PERIOD_H
from envs.fields import Field, FloatArray, copy_row
from models import baseline, job_order, queue, queue_view
from models import hall as hall_model
from models import site as model
from models.compiling import KERNEL
from models.hall import Hall
from models.site import Site

HORIZON_H: Final = 24.0
MAX_PRICE_GBP_PER_MWH: Final = 600.0
WANTED_LEADS: Final = 12
COMMITTED_LEADS: Final = (0, 2, 4, 8, 16, 32, 48)  # edges, in periods; each bin holds the mean
KW_BOUND: Final = 1e5
KWH_BOUND: Final = 1e8


def action_fields(hall: Hall) -> tuple[Field, ...]:
    """Layout of an action, in the order of `models.site`."""
    low_c, high_c = hall_model.setpoint_limits_c(hall)
    low, high = hall_model.fan_limits(hall)
    return (
        Field("power_fraction", -1.0, 1.0, "share of the highest charging (above 0) or discharging battery power"),
        Field("release_fraction", 0.0, 1.0, "share of the job power that could start now"),
        Field("supply_setpoint_c", low_c, high_c, "supply air set-point of the hall"),
        Field("fan_fraction", low, high, "hall fan speed"),
        Field("capacity_fraction", 0.0, 1.0, "share of the sellable capacity offered, at the start of a block"),
        Field("flexibility_fraction", 0.0, 1.0, "share of the highest turn-down, offered for one hour ahead"),
        Field("flexibility_price_gbp_per_mwh", 0.0, MAX_PRICE_GBP_PER_MWH, "price of that offer"),
    )


def own_fields(site: Site) -> tuple[Field, ...]:
    """Layout of what the site shows of itself; `observe` writes in this order."""
    kw = site.queue.capacity_kw
    return (
        Field("charge_fraction", 0.0, 1.0, "stored energy over capacity"),
        Field("hours_left_h", 0.0, HORIZON_H, "time until the episode ends, at most 24 h"),
        Field("mass_c", -50.0, 200.0, "temperature of racks, floor and water"),
        Field("air_c", -50.0, 200.0, "temperature of the hall air"),
        Field("supply_c", -50.0, 200.0, "temperature of the supply air"),
        Field("inlet_c", -50.0, 200.0, "temperature at the rack inlets"),
        Field("it_kw", 0.0, KW_BOUND, "IT power of the last period"),
        Field("grid_kw", -KW_BOUND, KW_BOUND, "import of the last period"),
        Field("free_kw", 0.0, kw, "power in which jobs may start now"),
        Field("waiting_kw", 0.0, KWH_BOUND, "power of all jobs that wait"),
        Field("waiting_kwh", 0.0, KWH_BOUND, "their work"),
        Field("first_due_h", -48.0, 48.0, "time until the first waiting job must start; 48 if none waits"),
        *(
            Field(f"committed_kw_{a:02d}", 0.0, kw, f"mean power promised to running jobs {a} to {b} periods ahead")
            for a, b in pairwise(COMMITTED_LEADS)
        ),
        Field("tenant_kw", 0.0, kw, "capacity sold for the running block"),
        Field("sellable_kw", 0.0, kw, "capacity that could be sold if a block began now"),
        Field("block_starts", 0.0, 1.0, "1 if capacity is auctioned now"),
        Field("paid_gbp_per_kw", 0.0, 1e5, "what the last auction brought per kW; 0 if nothing was sold"),
        Field("baseline_kw", -KW_BOUND, KW_BOUND, "import that flexibility is measured against now"),
        Field("sold_now_kw", 0.0, KW_BOUND, "flexibility to deliver now"),
        Field("sold_next_kw", 0.0, KW_BOUND, "flexibility to deliver in the next period"),
    )


def published_fields() -> tuple[Field, ...]:
    """Layout of what the DSO has published; `published` writes in this order."""
    return (
        Field("cap_gbp_per_mwh", 0.0, 10_000.0, "highest price the DSO pays for the period offered now"),
        *(
            Field(f"wanted_kw_{k:02d}", 0.0, KW_BOUND, f"flexibility the DSO wants {k} periods ahead")
            for k in range(WANTED_LEADS)
        ),
    )


def published(series: NDArray[np.float64]) -> FloatArray:
    """Rows of `published_fields`, shape (n + 1, fields), from columns of `models.site.SERIES`."""
    row, last = np.arange(series.shape[0]), series.shape[0] - 1
    cap = series[np.minimum(row + model.GATE_PERIODS, last), model.CAP]
    wanted_kw = [series[np.minimum(row + k, last), model.WANTED] for k in range(WANTED_LEADS)]
    return np.column_stack([cap, *wanted_kw]).astype(np.float32)


@njit(**KERNEL)
def observe(site: Site, limit_kw: float, shown: np.ndarray, lane: np.void, seen: np.ndarray) -> None:
    """Write what the site shows of itself (`own_fields`) and after it a row of what is shown to it.

    Args:
        site: Parameters.
        limit_kw: See `models.site.cluster_limit_kw`.
        shown: Rows of `published_fields` and of what the market tells, one per half-hour and one more; in one array,
            so that a row lies together in memory.
        lane: State.
        seen: Out, shape (observation fields,).
    """
    t, waiting = lane["period"], lane["queue"]
    seen[0] = lane["energy_kwh"] / site.battery.capacity_kwh
    seen[1] = min((lane["stop"] - t) * PERIOD_H, HORIZON_H)
    seen[2], seen[3], seen[4], seen[5] = lane["mass_c"], lane["air_c"], lane["supply_c"], lane["inlet_c"]
    seen[6], seen[7] = lane["it_kw"], lane["grid_kw"]
    seen[8] = queue.headroom_kw(site.queue, waiting, t, model.job_limit_kw(limit_kw, lane))
    seen[9] = min(waiting["waiting_kw"], KWH_BOUND)
    seen[10] = min(waiting["waiting_kwh"], KWH_BOUND)
    seen[11] = 48.0
    if waiting["n_waiting"] > 0:
        first = waiting["waiting"][waiting["n_waiting"] - 1]
        seen[11] = min(max((job_order.due_period(first["order"]) - t) * PERIOD_H, -48.0), 48.0)
    a, b, c, d, e, f, g = COMMITTED_LEADS
    seen[12] = queue_view.mean_committed_kw(waiting, t, a, b)
    seen[13] = queue_view.mean_committed_kw(waiting, t, b, c)
    seen[14] = queue_view.mean_committed_kw(waiting, t, c, d)
    seen[15] = queue_view.mean_committed_kw(waiting, t, d, e)
    seen[16] = queue_view.mean_committed_kw(waiting, t, e, f)
    seen[17] = queue_view.mean_committed_kw(waiting, t, f, g)
    at = 18
    seen[at] = lane["tenant_kw"]
    seen[at + 1] = model.sellable_kw(site, lane)
    seen[at + 2] = 1.0 if t % model.BLOCK_PERIODS == 0 else 0.0
    seen[at + 3] = lane["paid_gbp_per_kw"]
    seen[at + 4] = baseline.baseline_kw(site.baseline, lane["baseline"], t)
    seen[at + 5] = lane["sold_kw"][t % model.GATE_PERIODS]
    seen[at + 6] = lane["sold_kw"][(t + 1) % model.GATE_PERIODS]
    copy_row(shown, t, seen, at + 7)
