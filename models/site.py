"""The whole site: what stands on it, what it remembers from period to period, and what it can do now.

What happens in a half-hour is in `models.site_period`.
"""

from math import isfinite
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit

from models import baseline, chiller, hall, queue
from models import battery as battery_model
from models import cluster as cluster_model
from models.baseline import BaselineRules
from models.battery import Battery
from models.chiller import Chiller
from models.cluster import Cluster
from models.compiling import KERNEL
from models.cooling import InletPenalty
from models.hall import Hall
from models.queue import QueueRules
from models.settlement import Adders
from models.vcg import Room

Record = Any

PERIOD_H: Final = 0.5
PERIODS_PER_DAY: Final = 48
BLOCK_PERIODS: Final = 8  # capacity is sold for four hours at a time
GATE_PERIODS: Final = 2  # an offer made now is for the period that starts in one hour
RESOLUTION_KW: Final = 10.0  # of the auction's dynamic program; all-or-nothing bids are multiples of it
TERMS: Final = (
    "day_ahead", "imbalance", "network", "carbon", "wear", "sla", "thermal", "over_limit",
    "flexibility", "under_delivery", "auction", "end_value",
)  # fmt: skip
(DAY_AHEAD, IMBALANCE, NETWORK, CARBON, WEAR, SLA, THERMAL, OVER_LIMIT,
 FLEXIBILITY, UNDER_DELIVERY, AUCTION, END_VALUE) = range(12)  # fmt: skip
POWER, RELEASE, SETPOINT, FAN, CAPACITY, FLEX_QUANTITY, FLEX_PRICE = range(7)  # fields of an action
NONE, EXPECTED_LOAD, PLANNED = range(3)  # day-ahead positions

LANE: Final = np.dtype(
    [
        ("period", np.int64),  # row of the history that is decided next
        ("stop", np.int64),  # row at which the episode ends
        ("energy_kwh", np.float64),
        ("start_energy_kwh", np.float64),
        ("mass_c", np.float64),
        ("air_c", np.float64),
        ("supply_c", np.float64),
        ("start_heat_kwh", np.float64),
        ("tenant_kw", np.float64),  # sold for the running block
        ("paid_gbp_per_kw", np.float64),  # what the last sale brought, per kW
        ("sold_kw", np.float64, GATE_PERIODS),  # flexibility sold for t and later periods, at t % GATE_PERIODS
        ("sold_gbp_per_mwh", np.float64, GATE_PERIODS),
        ("power_kw", np.float64),  # the last period's flows
        ("it_kw", np.float64),
        ("cooling_kw", np.float64),
        ("grid_kw", np.float64),
        ("inlet_c", np.float64),
        ("excess_c_h", np.float64),
        ("delivered_kw", np.float64),
        ("called_kw", np.float64),
        ("queue", queue.LANE),
        ("baseline", baseline.LANE),
        ("metered_kw", np.float32, 2 * PERIODS_PER_DAY),  # the last two days, at t % 96, if the position is planned
    ],
    align=True,
)


class Terms(NamedTuple):
    """Limits of the connection and prices of what goes wrong.

    Attributes:
        site_power_kw: Highest import and export.
        base_load_kw: Lighting, offices, losses: always drawn.
        over_limit_gbp_per_kwh: Price of import above `site_power_kw`.
        reserve_gbp_per_kw: Reserve price of sold capacity, per kW and block.
        sellable_fraction: Most of the cluster's capacity that may be sold at once.
        max_offer_kw: Most flexibility offered for one period.
        shortfall_factor: Charge for undelivered flexibility, in multiples of its price.
    """

    site_power_kw: float = 1000.0
    base_load_kw: float = 40.0
    over_limit_gbp_per_kwh: float = 2.0
    reserve_gbp_per_kw: float = 0.4
    sellable_fraction: float = 0.4
    max_offer_kw: float = 300.0
    shortfall_factor: float = 1.5


class Site(NamedTuple):
    """Everything that stands on the site, and its terms of trade."""

    battery: Battery
    hall: Hall
    chiller: Chiller
    cluster: Cluster
    queue: QueueRules
    baseline: BaselineRules
    adders: Adders
    inlet_penalty: InletPenalty
    terms: Terms


class Outside(NamedTuple):
    """What happens to the site, one row per half-hour of the history (n rows).

    Attributes:
        series: Columns of `SERIES`, shape (n + 1, 8); one array, because each costs time at a call from Python.
        rival_kw: Offers of other sellers of flexibility, shape (n, rivals).
        rival_gbp_per_mwh: Their prices.
        tenant_gbp_per_kw: Bids for capacity per block, shape (blocks, tenants); block = row // BLOCK_PERIODS.
        tenant_kw: Wanted.
        tenant_divisible: Whether a part will do.
        jobs: Arrivals; see `models.queue.JobTable`.
        room: Where an auction of capacity writes.
        book: Where one of flexibility writes: offers, their prices, what they sell, what is bought, (4, rivals + 1).
    """

    series: np.ndarray
    rival_kw: np.ndarray
    rival_gbp_per_mwh: np.ndarray
    tenant_gbp_per_kw: np.ndarray
    tenant_kw: np.ndarray
    tenant_divisible: np.ndarray
    jobs: Any
    room: Room
    book: np.ndarray


SERIES: Final = (
    "day_ahead_price_gbp_per_mwh", "imbalance_price_gbp_per_mwh", "carbon_g_per_kwh", "wet_bulb_c",
    "end_price_gbp_per_mwh", "wanted_kw", "cap_gbp_per_mwh", "after_auction",
)  # fmt: skip
(DAY_AHEAD_PRICE, IMBALANCE_PRICE, CARBON_INTENSITY, WET_BULB, END_PRICE, WANTED, CAP, AFTER_AUCTION) = range(8)


def checked(terms: Terms) -> Terms:
    """Return the terms, or say which is wrong.

    Raises:
        ValueError: A number is negative or not finite, a share is above 1, or the limit is in the wrong unit.
    """
    for name, value in terms._asdict().items():
        if not isfinite(value) or value < 0.0:
            raise ValueError(f"site {name} is {value}; it must be a finite number, 0 or above")
    if terms.sellable_fraction > 1.0:
        raise ValueError(f"site sellable_fraction is {terms.sellable_fraction}; it must be at most 1")
    if terms.site_power_kw <= terms.base_load_kw:
        raise ValueError(
            f"site_power_kw is {terms.site_power_kw} and base_load_kw {terms.base_load_kw}; "
            "the connection must be the larger: are both in kW?"
        )
    return terms


@njit(**KERNEL)
def expected_load_kw(site: Site, busy_fraction: float) -> float:
    """Import with `busy_fraction` of the GPUs at work, the hall at rest at its safe set-point and no battery."""
    it_kw = cluster_model.it_power_kw(site.cluster, busy_fraction * site.cluster.gpus, 1.0)
    fan_fraction = min(max(hall.matched_fan_fraction(site.hall, it_kw), site.hall.min_fan_fraction), 1.0)
    fan_kw = hall.fan_power_kw(site.hall, fan_fraction)
    return site.terms.base_load_kw + it_kw + fan_kw + chiller.auxiliary_kw(site.chiller, it_kw + fan_kw)


@njit(**KERNEL)
def sellable_kw(site: Site, lane: Record) -> float:
    """Cluster capacity that can be sold for the block that starts now: running jobs keep theirs."""
    free_kw = site.queue.capacity_kw - queue.running_kw(lane["queue"], lane["period"])
    return max(min(free_kw, site.terms.sellable_fraction * site.queue.capacity_kw), 0.0)


@njit(**KERNEL)
def cluster_limit_kw(site: Site) -> float:
    """Highest power of jobs and tenants together, the cluster and the connection permitting."""
    room_kw = cluster_model.job_budget_kw(site.cluster, site.terms.site_power_kw - site.terms.base_load_kw)
    return min(site.queue.capacity_kw, room_kw)


@njit(**KERNEL)
def job_limit_kw(cluster_limit_kw: float, lane: Record) -> float:
    """Highest power of running jobs beside the tenants; see `cluster_limit_kw`, the same in every period."""
    return max(cluster_limit_kw - lane["tenant_kw"], 0.0)


@njit(**KERNEL)
def battery_limits_kw(site: Site, energy_kwh: float, load_kw: float) -> tuple[float, float]:
    """Lowest and highest battery power that the battery and the connection allow beside `load_kw`."""
    low_kw, high_kw = battery_model.power_limits_kw(site.battery, energy_kwh, PERIOD_H)
    limit_kw = site.terms.site_power_kw
    return max(low_kw, min(-limit_kw - load_kw, 0.0)), max(min(high_kw, limit_kw - load_kw), low_kw)


@njit(**KERNEL)
def position_kw(mode: int, expected_kw: float, lane: Record, after_auction: float) -> float:
    """Power bought day-ahead for the period now running.

    `PLANNED` buys what was metered in the same half-hour one day before its auction: the auction for a day is at
    11:00 local on the day before, so half-hours after that time were not yet metered then and come from two days ago.
    """
    if mode == NONE:
        return 0.0
    if mode == EXPECTED_LOAD:
        return expected_kw
    back = 2 * PERIODS_PER_DAY if after_auction > 0.5 else PERIODS_PER_DAY
    return lane["metered_kw"][(lane["period"] - back) % (2 * PERIODS_PER_DAY)]
