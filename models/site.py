"""The whole site for one half-hour: how battery, cluster, hall, auction and flexibility market are coupled.

    tenants bid -> capacity sold -> cluster runs jobs and tenants -> IT power -> heat -> cooling power
      -> site import = base load + IT + cooling + battery -> settled; flexibility delivered = baseline - metered

Order of a period: the auction (at the start of a block), jobs, hall, battery, metering, money, offers for later.
"""

from math import isfinite
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit

from models import auction, baseline, chiller, cooling, hall, market, queue
from models import battery as battery_model
from models import cluster as cluster_model
from models.baseline import BaselineRules
from models.battery import Battery
from models.chiller import Chiller
from models.cluster import Cluster
from models.cooling import InletPenalty
from models.hall import Hall, HallState
from models.queue import JobTable, QueueRules
from models.settlement import Adders, adders_gbp, energy_gbp

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
        ("queue", queue.LANE),
        ("baseline", baseline.LANE),
        ("metered_kw", np.float32, 2 * PERIODS_PER_DAY),  # the last two days, at t % 96; plans the position
        ("period", np.int64),  # row of the history that is decided next
        ("stop", np.int64),  # row at which the episode ends
        ("energy_kwh", np.float64),
        ("start_energy_kwh", np.float64),
        ("mass_c", np.float64),
        ("air_c", np.float64),
        ("supply_c", np.float64),
        ("start_heat_kwh", np.float64),
        ("waiting_kwh", np.float64),
        ("waiting_kw", np.float64),
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
        series: Columns of `SERIES`, shape (n + 1, 8); one array, because each array costs time at every call.
        rival_kw: Offers of other sellers of flexibility, shape (n, rivals).
        rival_gbp_per_mwh: Their prices.
        tenant_gbp_per_kw: Bids for capacity per block, shape (blocks, tenants); block = row // BLOCK_PERIODS.
        tenant_kw: Wanted.
        tenant_divisible: Whether a part will do.
        jobs: Arrivals; see `models.queue.JobTable`.
    """

    series: np.ndarray
    rival_kw: np.ndarray
    rival_gbp_per_mwh: np.ndarray
    tenant_gbp_per_kw: np.ndarray
    tenant_kw: np.ndarray
    tenant_divisible: np.ndarray
    jobs: Any


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


@njit(cache=True)
def expected_load_kw(site: Site, busy_fraction: float) -> float:
    """Import with `busy_fraction` of the GPUs at work, the hall at rest at its safe set-point and no battery."""
    it_kw = cluster_model.it_power_kw(site.cluster, busy_fraction * site.cluster.gpus, 1.0)
    fan_fraction = min(max(hall.matched_fan_fraction(site.hall, it_kw), site.hall.min_fan_fraction), 1.0)
    fan_kw = hall.fan_power_kw(site.hall, fan_fraction)
    return site.terms.base_load_kw + it_kw + fan_kw + chiller.auxiliary_kw(site.chiller, it_kw + fan_kw)


@njit(cache=True)
def sellable_kw(site: Site, lane: Record) -> float:
    """Cluster capacity that can be sold for the block that starts now: running jobs keep theirs."""
    free_kw = site.queue.capacity_kw - queue.running_kw(lane["queue"], lane["period"])
    return max(min(free_kw, site.terms.sellable_fraction * site.queue.capacity_kw), 0.0)


@njit(cache=True)
def job_limit_kw(site: Site, lane: Record) -> float:
    """Highest power of running jobs beside the tenants, the cluster and the connection permitting."""
    room_kw = cluster_model.job_budget_kw(site.cluster, site.terms.site_power_kw - site.terms.base_load_kw)
    return max(min(site.queue.capacity_kw, room_kw) - lane["tenant_kw"], 0.0)


@njit(cache=True)
def battery_limits_kw(site: Site, energy_kwh: float, load_kw: float) -> tuple[float, float]:
    """Lowest and highest battery power that the battery and the connection allow beside `load_kw`."""
    low_kw, high_kw = battery_model.power_limits_kw(site.battery, energy_kwh, PERIOD_H)
    limit_kw = site.terms.site_power_kw
    return max(low_kw, min(-limit_kw - load_kw, 0.0)), max(min(high_kw, limit_kw - load_kw), low_kw)


@njit(cache=True)
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


@njit(cache=True)
def begin(site: Site, outside: Outside, lane: Record) -> None:
    """Let the jobs of the lane's period arrive and count what waits."""
    t, waiting = lane["period"], lane["queue"]
    queue.begin_period(site.queue, outside.jobs, waiting, t, job_limit_kw(site, lane))
    _count_waiting(outside.jobs, lane)


@njit(cache=True)
def _count_waiting(jobs: JobTable, lane: Record) -> None:
    waiting, kwh, kw = lane["queue"], 0.0, 0.0
    for i in range(waiting["n_waiting"]):
        job = jobs.rows[waiting["waiting"][i]]
        kw += job["power_kw"]
        kwh += job["power_kw"] * job["duration_periods"] * PERIOD_H
    lane["waiting_kw"], lane["waiting_kwh"] = kw, kwh


# Inlined into the loop over lanes, its one caller: references to the arrays of `outside` are then counted once and not
# for every lane, 40 of 1000 ns. For the same reason the functions below take only the arrays that they read.
@njit(cache=True, inline="always")
def step(
    site: Site, outside: Outside, mode: int, expected_kw: float, lane: Record, action: np.ndarray, gbp: np.ndarray
) -> bool:
    """Run the lane's period and write its money by term.

    Args:
        site: Parameters.
        outside: Prices, weather, bids and jobs.
        mode: Day-ahead position: `NONE`, `EXPECTED_LOAD` or `PLANNED`.
        expected_kw: See `expected_load_kw`.
        lane: State, changed in place.
        action: The seven fields; NaN asks for nothing.
        gbp: Out, money by `TERMS`.

    Returns:
        Whether the episode has ended.
    """
    gbp[:] = 0.0
    t = lane["period"]
    if t % BLOCK_PERIODS == 0:
        gbp[AUCTION] = _sell_capacity(site, outside, lane, action[CAPACITY])
    gbp[SLA] = _run_jobs(site, outside.jobs, lane, action[RELEASE])
    gbp[THERMAL] = _cool(site, outside.series[t, WET_BULB], lane, action[SETPOINT], action[FAN])
    _move_battery(site, lane, action[POWER])
    _settle(site, outside.series[t], mode, expected_kw, lane, gbp)
    _deliver(site, lane, gbp)
    if t + GATE_PERIODS < outside.rival_kw.shape[0]:
        _offer(site, outside, lane, action[FLEX_QUANTITY], action[FLEX_PRICE])
    lane["metered_kw"][t % (2 * PERIODS_PER_DAY)] = lane["grid_kw"]
    over = t + 1 >= lane["stop"]
    lane["period"] = t + 1
    if over:
        _count_waiting(outside.jobs, lane)
        gbp[END_VALUE] = _end_value_gbp(site, outside.series[t + 1, END_PRICE], outside.series[t, WET_BULB], lane)
    else:
        gbp[SLA] -= queue.begin_period(site.queue, outside.jobs, lane["queue"], t + 1, job_limit_kw(site, lane))
        _count_waiting(outside.jobs, lane)
    return over


@njit(cache=True)
def _sell_capacity(site: Site, outside: Outside, lane: Record, share: float) -> float:
    """Auction a share of the sellable capacity for the block that starts now; returns the payments, GBP."""
    offered_kw = min(max(share, 0.0), 1.0) * sellable_kw(site, lane) if share == share else 0.0
    block = lane["period"] // BLOCK_PERIODS
    lane["tenant_kw"] = lane["paid_gbp_per_kw"] = 0.0
    if offered_kw < RESOLUTION_KW:
        return 0.0
    sold_kw, paid_gbp = np.empty(outside.tenant_kw.shape[1]), np.empty(outside.tenant_kw.shape[1])
    auction.allocate(
        outside.tenant_gbp_per_kw[block], outside.tenant_kw[block], outside.tenant_divisible[block],
        offered_kw, site.terms.reserve_gbp_per_kw, RESOLUTION_KW, sold_kw, paid_gbp,
    )  # fmt: skip
    total_kw = sold_kw.sum()
    if total_kw > 0.0:
        lane["tenant_kw"], lane["paid_gbp_per_kw"] = total_kw, paid_gbp.sum() / total_kw
    return paid_gbp.sum()


@njit(cache=True)
def _run_jobs(site: Site, jobs: JobTable, lane: Record, share: float) -> float:
    """Start a share of what could start, run the period; returns the lateness, GBP (0 or less)."""
    t, waiting, limit_kw = lane["period"], lane["queue"], job_limit_kw(site, lane)
    room_kw = queue.releasable_kw(site.queue, jobs, waiting, t, limit_kw)
    budget_kw = queue.running_kw(waiting, t) + min(share, 1.0) * room_kw  # NaN starts nothing
    queue.release(site.queue, jobs, waiting, t, limit_kw, budget_kw)
    job_kw, late_gbp = queue.end_period(site.queue, jobs, waiting, t)
    busy = cluster_model.busy_gpus(site.cluster, job_kw + lane["tenant_kw"])
    lane["it_kw"] = cluster_model.it_power_kw(site.cluster, busy, 1.0)
    return -late_gbp


@njit(cache=True)
def _cool(site: Site, wet_bulb_c: float, lane: Record, setpoint_c: float, fan_fraction: float) -> float:
    """Run the hall; returns the price of degree-hours above the limits, GBP (0 or less)."""
    state = HallState(lane["mass_c"], lane["air_c"], lane["supply_c"])
    state, flows = cooling.step(
        site.hall, site.chiller, state, lane["it_kw"], wet_bulb_c, setpoint_c, fan_fraction, PERIOD_H
    )
    lane["mass_c"], lane["air_c"], lane["supply_c"] = state.mass_c, state.air_c, state.supply_c
    lane["cooling_kw"], lane["inlet_c"] = flows.cooling_kw, flows.inlet_c
    lane["excess_c_h"] = flows.recommended_excess_c_h
    return -cooling.inlet_penalty_gbp(site.inlet_penalty, flows)


@njit(cache=True)
def _move_battery(site: Site, lane: Record, share: float) -> None:
    """Charge or discharge within what battery and connection allow; meter the site."""
    load_kw = site.terms.base_load_kw + lane["it_kw"] + lane["cooling_kw"]
    low_kw, high_kw = battery_limits_kw(site, lane["energy_kwh"], load_kw)
    asked_kw = share * (site.battery.max_charge_kw if share > 0.0 else site.battery.max_discharge_kw)
    asked_kw = asked_kw if asked_kw == asked_kw else 0.0
    lane["energy_kwh"], lane["power_kw"] = battery_model.step(
        site.battery, lane["energy_kwh"], min(max(asked_kw, low_kw), high_kw), PERIOD_H
    )
    lane["grid_kw"] = load_kw + lane["power_kw"]


@njit(cache=True)
def _settle(site: Site, row: np.ndarray, mode: int, expected_kw: float, lane: Record, gbp: np.ndarray) -> None:
    metered_kwh = lane["grid_kw"] * PERIOD_H
    bought_kwh = position_kw(mode, expected_kw, lane, row[AFTER_AUCTION]) * PERIOD_H
    gbp[DAY_AHEAD], gbp[IMBALANCE] = energy_gbp(bought_kwh, metered_kwh, row[DAY_AHEAD_PRICE], row[IMBALANCE_PRICE])
    gbp[NETWORK], gbp[CARBON] = adders_gbp(site.adders, metered_kwh, row[CARBON_INTENSITY])
    gbp[WEAR] = -site.battery.wear_gbp_per_kwh * abs(lane["power_kw"]) * PERIOD_H
    over_kw = max(abs(lane["grid_kw"]) - site.terms.site_power_kw, 0.0)
    gbp[OVER_LIMIT] = -site.terms.over_limit_gbp_per_kwh * over_kw * PERIOD_H


@njit(cache=True)
def _deliver(site: Site, lane: Record, gbp: np.ndarray) -> None:
    """Settle flexibility sold for this period; a day with a sale leaves the baseline's history alone."""
    t = lane["period"]
    place = t % GATE_PERIODS
    sold_kw = lane["sold_kw"][place]
    lane["called_kw"], lane["delivered_kw"] = sold_kw, 0.0
    if sold_kw > 0.0:
        expected = baseline.baseline_kw(site.baseline, lane["baseline"], t)
        lane["delivered_kw"] = baseline.delivered_kw(expected, lane["grid_kw"])
        gbp[FLEXIBILITY], gbp[UNDER_DELIVERY] = baseline.delivery_gbp(
            sold_kw, lane["sold_gbp_per_mwh"][place], lane["delivered_kw"], site.terms.shortfall_factor, PERIOD_H
        )
    else:
        baseline.record(site.baseline, lane["baseline"], t, lane["grid_kw"])


@njit(cache=True)
def _offer(site: Site, outside: Outside, lane: Record, share: float, price_gbp_per_mwh: float) -> None:
    """Offer flexibility for the period after the gate; the buyer clears all offers at one price."""
    t = lane["period"] + GATE_PERIODS
    place = t % GATE_PERIODS
    lane["sold_kw"][place] = lane["sold_gbp_per_mwh"][place] = 0.0
    wanted_kw = outside.series[t, WANTED]
    offered_kw = min(max(share, 0.0), 1.0) * site.terms.max_offer_kw if share == share else 0.0
    if not (wanted_kw > 0.0 and offered_kw > 0.0):
        return
    rivals = outside.rival_kw.shape[1]
    offer_kw, offer_gbp, sold_kw = np.empty(rivals + 1), np.empty(rivals + 1), np.empty(rivals + 1)
    offer_kw[:rivals], offer_gbp[:rivals] = outside.rival_kw[t], outside.rival_gbp_per_mwh[t]
    offer_kw[rivals], offer_gbp[rivals] = offered_kw, price_gbp_per_mwh  # a NaN price asks for nothing
    price, _ = market.clear(
        offer_gbp, offer_kw, np.array([outside.series[t, CAP]]), np.array([wanted_kw]), sold_kw, np.empty(1)
    )
    if sold_kw[rivals] > 0.0:
        lane["sold_kw"][place], lane["sold_gbp_per_mwh"][place] = sold_kw[rivals], price


@njit(cache=True)
def _end_value_gbp(site: Site, price_gbp_per_mwh: float, wet_bulb_c: float, lane: Record) -> float:
    """What the episode leaves behind, at the mean day-ahead price of its last 24 hours.

    Energy gained in the battery is worth its discharge; heat gained in the hall costs its removal; jobs not yet
    done, and capacity sold for the rest of the block, cost the energy they will add.
    """
    gained_kwh = (lane["energy_kwh"] - lane["start_energy_kwh"]) * site.battery.discharge_efficiency
    state = HallState(lane["mass_c"], lane["air_c"], lane["supply_c"])
    heat_kwh = hall.heat_content_kwh(site.hall, state) - lane["start_heat_kwh"]
    removal = chiller.electricity_per_heat(site.chiller, lane["it_kw"], lane["supply_c"], wet_bulb_c)
    left = lane["waiting_kwh"] + lane["queue"]["running_kw"].sum() * PERIOD_H
    left += lane["tenant_kw"] * (-lane["period"] % BLOCK_PERIODS) * PERIOD_H
    added = 1.0 - cluster_model.idle_kw_per_gpu(site.cluster) / cluster_model.job_kw_per_gpu(site.cluster)
    return (gained_kwh - heat_kwh * removal - left * added) * price_gbp_per_mwh / 1000.0
