"""One half-hour of the whole site: how battery, cluster, hall, auction and flexibility market are coupled.

    tenants bid -> capacity sold -> cluster runs jobs and tenants -> IT power -> heat -> cooling power
      -> site import = base load + IT + cooling + battery -> settled; flexibility delivered = baseline - metered

Order of a period: the auction (at the start of a block), jobs, hall, battery, metering, money, offers for later.
"""

import numpy as np
from numba import njit

from models import baseline, chiller, cooling, hall, market, queue, vcg
from models import battery as battery_model
from models import cluster as cluster_model
from models.compiling import KERNEL, RARE
from models.cooling import Setting
from models.hall import HallState
from models.queue import JobTable
from models.settlement import adders_gbp, energy_gbp
from models.site import (
    AFTER_AUCTION,
    AUCTION,
    BLOCK_PERIODS,
    CAP,
    CAPACITY,
    CARBON,
    CARBON_INTENSITY,
    DAY_AHEAD,
    DAY_AHEAD_PRICE,
    END_PRICE,
    END_VALUE,
    FAN,
    FLEX_PRICE,
    FLEX_QUANTITY,
    FLEXIBILITY,
    GATE_PERIODS,
    IMBALANCE,
    IMBALANCE_PRICE,
    NETWORK,
    OVER_LIMIT,
    PERIOD_H,
    PERIODS_PER_DAY,
    PLANNED,
    POWER,
    RELEASE,
    RESOLUTION_KW,
    SETPOINT,
    SLA,
    THERMAL,
    UNDER_DELIVERY,
    WANTED,
    WEAR,
    WET_BULB,
    Outside,
    Record,
    Site,
    battery_limits_kw,
    cluster_limit_kw,
    job_limit_kw,
    position_kw,
    sellable_kw,
)


@njit(**KERNEL)
def begin(site: Site, outside: Outside, expected_kw: float, lane: Record) -> None:
    """Complete a lane of which `period` and `stop` are set and all else is 0.

    The day before it, not paid for, every job that fitted started at once; the hall is at rest, and the meter has
    always read `expected_kw`.
    """
    first = lane["period"]
    earliest = max(first - PERIODS_PER_DAY, 0)
    waiting, job_kw = lane["queue"], 0.0
    limit_kw = job_limit_kw(cluster_limit_kw(site), lane)
    queue.reset(outside.jobs, waiting, earliest)
    for t in range(earliest, first):
        queue.begin_period(site.queue, outside.jobs, waiting, t, limit_kw)
        queue.release(site.queue, waiting, t, limit_kw, limit_kw)
        job_kw, _ = queue.end_period(site.queue, outside.jobs, waiting, t)
    queue.begin_period(site.queue, outside.jobs, waiting, first, limit_kw)

    it_kw = cluster_model.it_power_kw(site.cluster, cluster_model.busy_gpus(site.cluster, job_kw), 1.0)
    rest = hall.steady_state(site.hall, it_kw, np.nan, 1.0)
    lane["mass_c"], lane["air_c"], lane["supply_c"] = rest.mass_c, rest.air_c, rest.supply_c
    lane["start_heat_kwh"] = hall.heat_content_kwh(site.hall, rest)
    lane["inlet_c"] = hall.inlet_c(rest, hall.recirculation_fraction(site.hall, it_kw, 1.0))
    lane["it_kw"], lane["grid_kw"] = it_kw, expected_kw
    lane["metered_kw"][:] = expected_kw
    baseline.reset(site.baseline, lane["baseline"], expected_kw)


@njit(**KERNEL)
def step(
    site: Site,
    outside: Outside,
    mode: int,
    expected_kw: float,
    limit_kw: float,
    lane: Record,
    action: np.ndarray,
    gbp: np.ndarray,
) -> bool:
    """Run the lane's period and write its money by term.

    Args:
        site: Parameters.
        outside: Prices, weather, bids and jobs.
        mode: Day-ahead position: `NONE`, `EXPECTED_LOAD` or `PLANNED`.
        expected_kw: See `expected_load_kw`.
        limit_kw: See `cluster_limit_kw`.
        lane: State, changed in place.
        action: The seven fields; NaN asks for nothing.
        gbp: Out, money by `TERMS`.

    Returns:
        Whether the episode has ended.
    """
    gbp[:] = 0.0
    t = lane["period"]
    # Set up before it is needed: long chains of operations that run beside the searches of auction and queue.
    setting = cooling.setting(site.hall, action[SETPOINT], action[FAN], PERIOD_H)
    if t % BLOCK_PERIODS == 0:
        gbp[AUCTION] = _sell_capacity(site, outside, lane, action[CAPACITY])
    gbp[SLA] = _run_jobs(site, outside.jobs, limit_kw, lane, action[RELEASE])
    gbp[THERMAL] = _cool(site, setting, outside.series[t, WET_BULB], lane)
    _move_battery(site, lane, action[POWER])
    _settle(site, outside.series[t], mode, expected_kw, lane, gbp)
    _deliver(site, lane, gbp)
    _offer(site, outside, lane, action[FLEX_QUANTITY], action[FLEX_PRICE])
    if mode == PLANNED:
        lane["metered_kw"][t % (2 * PERIODS_PER_DAY)] = lane["grid_kw"]
    over = t + 1 >= lane["stop"]
    lane["period"] = t + 1
    if over:
        gbp[END_VALUE] = _end_value_gbp(site, outside.series[t + 1, END_PRICE], outside.series[t, WET_BULB], lane)
    else:
        gbp[SLA] -= queue.begin_period(site.queue, outside.jobs, lane["queue"], t + 1, job_limit_kw(limit_kw, lane))
    return over


@njit(**KERNEL)
def _sell_capacity(site: Site, outside: Outside, lane: Record, share: float) -> float:
    """Auction a share of the sellable capacity for the block that starts now; returns the payments, GBP."""
    offered_kw = min(max(share, 0.0), 1.0) * sellable_kw(site, lane) if share == share else 0.0
    block, room = lane["period"] // BLOCK_PERIODS, outside.room
    lane["tenant_kw"] = lane["paid_gbp_per_kw"] = 0.0
    if offered_kw < RESOLUTION_KW:
        return 0.0
    vcg.allocate(
        outside.tenant_gbp_per_kw[block], outside.tenant_kw[block], outside.tenant_divisible[block],
        offered_kw, site.terms.reserve_gbp_per_kw, RESOLUTION_KW, room,
    )  # fmt: skip
    sold_kw, paid_gbp = room.allocation_kw.sum(), room.payment_gbp.sum()
    if sold_kw > 0.0:
        lane["tenant_kw"], lane["paid_gbp_per_kw"] = sold_kw, paid_gbp / sold_kw
    return paid_gbp


@njit(**KERNEL)
def _run_jobs(site: Site, jobs: JobTable, cluster_limit_kw: float, lane: Record, share: float) -> float:
    """Start a share of what could start, run the period; returns the lateness, GBP (0 or less)."""
    t, waiting, limit_kw = lane["period"], lane["queue"], job_limit_kw(cluster_limit_kw, lane)
    room_kw = queue.releasable_kw(site.queue, waiting, t, limit_kw) if share < 1.0 else np.inf
    budget_kw = queue.running_kw(waiting, t) + share * room_kw  # NaN starts nothing
    queue.release(site.queue, waiting, t, limit_kw, budget_kw)
    job_kw, late_gbp = queue.end_period(site.queue, jobs, waiting, t)
    busy = cluster_model.busy_gpus(site.cluster, job_kw + lane["tenant_kw"])
    lane["it_kw"] = cluster_model.it_power_kw(site.cluster, busy, 1.0)
    return -late_gbp


@njit(**KERNEL)
def _cool(site: Site, setting: Setting, wet_bulb_c: float, lane: Record) -> float:
    """Run the hall; returns the price of degree-hours above the limits, GBP (0 or less)."""
    state = HallState(lane["mass_c"], lane["air_c"], lane["supply_c"])
    state, flows = cooling.run(site.hall, site.chiller, setting, state, lane["it_kw"], wet_bulb_c)
    lane["mass_c"], lane["air_c"], lane["supply_c"] = state.mass_c, state.air_c, state.supply_c
    lane["cooling_kw"], lane["inlet_c"] = flows.cooling_kw, flows.inlet_c
    lane["excess_c_h"] = flows.recommended_excess_c_h
    return -cooling.inlet_penalty_gbp(site.inlet_penalty, flows)


@njit(**KERNEL)
def _move_battery(site: Site, lane: Record, share: float) -> None:
    """Charge or discharge within what battery and connection allow; meter the site."""
    load_kw = site.terms.base_load_kw + lane["it_kw"] + lane["cooling_kw"]
    low_kw, high_kw = battery_limits_kw(site, lane["energy_kwh"], load_kw)
    asked_kw = battery_model.asked_kw(site.battery, share)
    asked_kw = asked_kw if asked_kw == asked_kw else 0.0
    lane["energy_kwh"], lane["power_kw"] = battery_model.step(
        site.battery, lane["energy_kwh"], min(max(asked_kw, low_kw), high_kw), PERIOD_H
    )
    lane["grid_kw"] = load_kw + lane["power_kw"]


@njit(**KERNEL)
def _settle(site: Site, row: np.ndarray, mode: int, expected_kw: float, lane: Record, gbp: np.ndarray) -> None:
    metered_kwh = lane["grid_kw"] * PERIOD_H
    bought_kwh = position_kw(mode, expected_kw, lane, row[AFTER_AUCTION]) * PERIOD_H
    gbp[DAY_AHEAD], gbp[IMBALANCE] = energy_gbp(bought_kwh, metered_kwh, row[DAY_AHEAD_PRICE], row[IMBALANCE_PRICE])
    gbp[NETWORK], gbp[CARBON] = adders_gbp(site.adders, metered_kwh, row[CARBON_INTENSITY])
    gbp[WEAR] = -site.battery.wear_gbp_per_kwh * abs(lane["power_kw"]) * PERIOD_H
    over_kw = max(abs(lane["grid_kw"]) - site.terms.site_power_kw, 0.0)
    gbp[OVER_LIMIT] = -site.terms.over_limit_gbp_per_kwh * over_kw * PERIOD_H


@njit(**KERNEL)
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


@njit(**KERNEL)
def _offer(site: Site, outside: Outside, lane: Record, share: float, price_gbp_per_mwh: float) -> None:
    """Offer flexibility for the period after the gate, if somebody wants any."""
    t = lane["period"] + GATE_PERIODS
    place = t % GATE_PERIODS
    lane["sold_kw"][place] = lane["sold_gbp_per_mwh"][place] = 0.0
    offered_kw = min(max(share, 0.0), 1.0) * site.terms.max_offer_kw if share == share else 0.0
    if t < outside.rival_kw.shape[0] and outside.series[t, WANTED] > 0.0 and offered_kw > 0.0:
        sold_kw, price = _cleared(outside, t, offered_kw, price_gbp_per_mwh)
        if sold_kw > 0.0:
            lane["sold_kw"][place], lane["sold_gbp_per_mwh"][place] = sold_kw, price


@njit(**RARE)
def _cleared(outside: Outside, t: int, offered_kw: float, price_gbp_per_mwh: float) -> tuple[float, float]:
    """What the buyer of flexibility takes of an offer, kW, and the one price of all offers it takes."""
    rivals = outside.rival_kw.shape[1]
    offer_kw, offer_gbp, sold_kw, bought_kw = outside.book
    for k in range(rivals):
        offer_kw[k], offer_gbp[k] = outside.rival_kw[t, k], outside.rival_gbp_per_mwh[t, k]
    offer_kw[rivals], offer_gbp[rivals] = offered_kw, price_gbp_per_mwh  # a NaN price asks for nothing
    cap, wanted_kw = outside.series[t, CAP : CAP + 1], outside.series[t, WANTED : WANTED + 1]
    price, _ = market.clear(offer_gbp, offer_kw, cap, wanted_kw, sold_kw, bought_kw[:1])
    return float(sold_kw[rivals]), price


@njit(**KERNEL)
def _end_value_gbp(site: Site, price_gbp_per_mwh: float, wet_bulb_c: float, lane: Record) -> float:
    """What the episode leaves behind, at the mean day-ahead price of its last 24 hours.

    Energy gained in the battery is worth its discharge; heat gained in the hall costs its removal; jobs not yet
    done, and capacity sold for the rest of the block, cost the energy they will add.
    """
    gained_kwh = (lane["energy_kwh"] - lane["start_energy_kwh"]) * site.battery.discharge_efficiency
    state = HallState(lane["mass_c"], lane["air_c"], lane["supply_c"])
    heat_kwh = hall.heat_content_kwh(site.hall, state) - lane["start_heat_kwh"]
    removal = chiller.electricity_per_heat(site.chiller, lane["it_kw"], lane["supply_c"], wet_bulb_c)
    left = lane["queue"]["waiting_kwh"] + lane["queue"]["running_kw"].sum() * PERIOD_H
    left += lane["tenant_kw"] * (-lane["period"] % BLOCK_PERIODS) * PERIOD_H
    added = 1.0 - cluster_model.idle_kw_per_gpu(site.cluster) / cluster_model.job_kw_per_gpu(site.cluster)
    return (gained_kwh - heat_kwh * removal - left * added) * price_gbp_per_mwh / 1000.0
