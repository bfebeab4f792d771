"""Perfect foresight for the whole site: a bound that no policy can beat, and the plan behind it."""

from typing import Any, Final, NamedTuple, Self

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from baselines.heat_block import HeatBlock, content_kwh, heat_worth, lowest_c
from baselines.program import solve_large
from baselines.sale_bounds import capacity_curve, flexibility_most_gbp
from baselines.work_block import WorkBlock, known_work, parts_of, promised_kw
from data.schema import PERIOD_H
from envs.fields import FloatArray
from envs.single import SystemEnv
from envs.site import SiteSystem
from models import cluster as cluster_model
from models import hall as hall_model
from models import queue, vcg
from models import site as model
from models.battery import as_fraction
from models.chiller import work_per_heat
from models.hall import HallState
from models.site import BLOCK_PERIODS, GATE_PERIODS, PERIODS_PER_DAY, Outside, Site

Floats = NDArray[np.float64]

SETPOINT_C: Final = 24.0
WINDOW: Final = 672  # two weeks


class SiteForesight(NamedTuple):
    """What a site could have earned at most, and how; arrays of shape (periods,).

    Attributes:
        value_gbp: Upper bound on the total reward of any policy.
        power_kw: Of the battery, charging positive.
        running_kw: Of running jobs.
        tenant_kw: Capacity sold.
    """

    value_gbp: float
    power_kw: Floats
    running_kw: Floats
    tenant_kw: Floats


class _Boundary(NamedTuple):
    """Prices of what is handed over between two windows: of stored and of done energy and of heat in the hall."""

    stored_gbp_per_kwh: float
    done_gbp_per_kwh: float
    heat_gbp_per_kwh: float


class SaleBlock:
    """Capacity sold in every auction of a window, by concave bounds on what it brings.

    Attributes:
        tenant_kw: Sold, shape (periods,).
        earned_gbp: At most.
    """

    def __init__(self, site: Site, outside: Outside, first: int, stop: int) -> None:
        """Lay out the block for the rows `first` to `stop`; nothing is sold before its first auction."""
        n, capacity_kw = stop - first, site.queue.capacity_kw
        room = vcg.room(outside.tenant_kw.shape[1], capacity_kw, model.RESOLUTION_KW)
        rows, columns, width_kw, slope, start_gbp = [], [], [], [], 0.0
        for t in range(-(-first // BLOCK_PERIODS) * BLOCK_PERIODS, stop, BLOCK_PERIODS):
            block = t // BLOCK_PERIODS
            curve = capacity_curve(
                outside.tenant_gbp_per_kw[block], outside.tenant_kw[block], outside.tenant_divisible[block],
                site.terms.sellable_fraction * capacity_kw, site.terms.reserve_gbp_per_kw, room,
            )  # fmt: skip
            during = np.arange(t - first, min(t - first + BLOCK_PERIODS, n))
            pieces = len(width_kw) + np.arange(curve.width_kw.size)
            rows.append(np.tile(during, pieces.size))
            columns.append(np.repeat(pieces, during.size))
            width_kw.extend(curve.width_kw)
            slope.extend(curve.slope_gbp_per_kw)
            start_gbp += curve.start_gbp
        self.tenant_kw: Any = cp.Constant(np.zeros(n))
        self.earned_gbp: Any = cp.Constant(start_gbp)
        if width_kw:
            sold_kw = cp.Variable(len(width_kw), bounds=[0.0, np.array(width_kw)])
            where = np.concatenate(rows), np.concatenate(columns)
            self.tenant_kw = sparse.csr_array((np.ones(where[0].size), where), shape=(n, len(width_kw))) @ sold_kw
            self.earned_gbp = start_gbp + np.array(slope) @ sold_kw


class SiteProgram:
    """Linear programs over the windows of an episode, whose optima add up to a bound on every policy.

    Why they bound every policy. In each window every episode gives a feasible point of the program, and the money of
    these points adds up to at least the episode's, term by term:

    - Battery: as in `baselines.oracle.perfect_foresight`; that the connection may limit its power is left out.
    - Jobs: as told in `baselines.work_block.WorkBlock`, where a late job's later parts pay later than the queue did,
      perhaps in the next window; jobs and tenants together never draw more than the cluster's capacity, and IT power is
      linear in their power.
    - Tenants: payments lie under the curves of `baselines.sale_bounds.capacity_curve`; at most `sellable_fraction` of
      the capacity is for sale, in whole blocks, which no window cuts.
    - Flexibility: every period in which it is wanted brings the most that any offer can, as if delivered in full, from
      the first gate on; what is charged for shortfalls is 0 or more. It is no part of the programs.
    - Hall: as told in `baselines.heat_block.HeatBlock`; the price of warm inlets is 0 or more and left out.
    - Meter and settlement are linear in these, and so is a day-ahead position that was metered a day or two before;
      import beyond the connection and network costs are convex costs of the import.
    - End: energy, work and sold capacity left are linear; heat is bounded by `baselines.heat_block.heat_worth`. Work
      that found no room in the order of the queue (512 jobs wait before that happens) leaves without a price in the
      simulation and with one here: the bound holds for episodes that do not end so, as no known policy's has.

    Windows begin with any charge, any heat and any work done that an episode could have reached: a larger choice. What
    is handed over from one to the next is credited to the one and debited to the other at one price. For a whole
    episode the two cancel, whatever the price, so the sum of the optima bounds the sum of the money: a Lagrangian
    relaxation of the hand-over (Geoffrion, Mathematical Programming Study 2, 1974). A price near the worth of energy
    makes it tight.

    What is given away: parts of jobs apart and in fractions, baselines that never fall short of what is sold, a
    cheaper plant, and a little at the hand-overs.
    """

    def __init__(self, system: SiteSystem, lane: np.void, window: int = WINDOW) -> None:
        """Prepare an episode.

        Args:
            system: The site.
            lane: At the start of the episode.
            window: Periods that are planned at once; a whole number of auction blocks.
        """
        assert window % BLOCK_PERIODS == 0, "a window must not cut an auction block"
        self._system, self._lane = system, lane
        self.first, self.stop = int(lane["period"]), int(lane["stop"])
        site, outside, n = system.site, system.outside, self.stop - self.first
        aligned = self.first // BLOCK_PERIODS * BLOCK_PERIODS
        self.edges = [self.first, *range(aligned + window, self.stop, window), self.stop]
        self._rows = outside.series[self.first : self.stop]
        self._price, self.fixed_gbp = _settled(system, self.first, self.stop)
        self._committed_kw, self._after_kwh = promised_kw(lane["queue"], self.first, n)
        work = known_work(lane["queue"], outside.jobs, self.first, self.stop)
        self._parts = parts_of(work, n)
        self._work_kwh = PERIOD_H * float(work.power_kw @ work.duration)
        self._start = HallState(float(lane["mass_c"]), float(lane["air_c"]), float(lane["supply_c"]))
        self._floor_c = lowest_c(site.hall, site.chiller, self._start)
        self._end_price = float(outside.series[self.stop, model.END_PRICE])
        per_job = cluster_model.idle_kw_per_gpu(site.cluster) / cluster_model.job_kw_per_gpu(site.cluster)
        self._idle_kw, self._added = site.cluster.gpus * cluster_model.idle_kw_per_gpu(site.cluster), 1.0 - per_job
        self.fixed_gbp += _flexibility_gbp(site, outside, self.first, self.stop)

    def _boundary(self, row: int) -> _Boundary | None:
        """Prices at which a window hands over to the next; nothing is handed over where an episode begins or ends."""
        if row in (self.first, self.stop):
            return None
        site, k = self._system.site, row - self.first
        near = self._price[max(k - PERIODS_PER_DAY, 0) : k + PERIODS_PER_DAY].mean() / PERIOD_H  # GBP/kWh
        plant = site.chiller.parasitic_fraction
        # One price of heat for all hand-overs, or it would pay to carry heat along; for the same reason not above what
        # the end asks for it. The plant removes heat in the cheapest periods that suffice, and this is their dearest.
        usual_kw = cluster_model.it_power_kw(site.cluster, 0.5 * site.cluster.gpus, 1.0)
        dearest = float(np.quantile(self._price, min(usual_kw / site.chiller.capacity_kw, 1.0))) / PERIOD_H
        heat = plant * max(min(dearest, self._end_price / 1000.0), 0.0)
        done = self._added * (1.0 + plant) * near
        return _Boundary(max(near, 0.0) * site.battery.discharge_efficiency, done, heat)

    def solve(self, window: int) -> tuple[float, Floats]:
        """Solve one window.

        Returns:
            GBP that its program earns, hand-overs included; and power of the battery, of running jobs and of tenants,
            shape (3, periods).

        Raises:
            RuntimeError: If HiGHS finds no optimum, which no valid site can cause.
        """
        first, stop = self.edges[window : window + 2]
        site, n, begin = self._system.site, stop - first, first - self.first
        rows, price = self._rows[begin : begin + n], self._price[begin : begin + n]
        before, after = self._boundary(first), self._boundary(stop)

        charge, discharge = (
            cp.Variable(n, bounds=[0.0, limit]) for limit in (site.battery.max_charge_kw, site.battery.max_discharge_kw)
        )
        b = site.battery
        stored_kwh = cp.Variable(n + 1, bounds=[b.min_fraction * b.capacity_kwh, b.max_fraction * b.capacity_kwh])
        into_kw = b.charge_efficiency * charge - discharge / b.discharge_efficiency
        work = WorkBlock(self._parts, self._committed_kw[begin : begin + n], begin)
        sales = SaleBlock(site, self._system.outside, first, stop)
        it_kw = cp.Variable(n)
        heat_kwh = content_kwh(site.hall, self._floor_c), self._most_heat_kwh(begin + n)
        heat = HeatBlock(site.hall, site.chiller, heat_kwh, self._floor_c, it_kw, rows[:, model.WET_BULB])
        grid_kw, import_kw, over_kw = cp.Variable(n), cp.Variable(n, nonneg=True), cp.Variable(n, nonneg=True)
        limit_kw = site.terms.site_power_kw
        earned_gbp = (
            -price @ grid_kw
            - PERIOD_H / 1000.0 * site.adders.network_gbp_per_mwh * cp.sum(import_kw)
            - PERIOD_H * site.terms.over_limit_gbp_per_kwh * cp.sum(over_kw)
            - PERIOD_H * site.battery.wear_gbp_per_kwh * cp.sum(charge + discharge)
            - work.late_gbp
            + sales.earned_gbp
        )
        constraints = [
            *work.constraints,
            *heat.constraints,
            stored_kwh[1:] == stored_kwh[:-1] + PERIOD_H * into_kw,
            work.running_kw + sales.tenant_kw <= site.queue.capacity_kw,
            it_kw == self._idle_kw + self._added * (work.running_kw + sales.tenant_kw),
            grid_kw == site.terms.base_load_kw + it_kw + heat.cooling_kw + charge - discharge,
            import_kw >= grid_kw,
            over_kw >= cp.abs(grid_kw) - limit_kw,
        ]
        if before:
            earned_gbp += before.heat_gbp_per_kwh * heat.held_kwh[0]
            earned_gbp -= before.stored_gbp_per_kwh * stored_kwh[0] + before.done_gbp_per_kwh * work.done_before_kwh
        else:
            start_kwh = hall_model.heat_content_kwh(site.hall, self._start)
            constraints += [stored_kwh[0] == float(self._lane["energy_kwh"]), heat.held_kwh[0] == start_kwh]
        if after:
            earned_gbp -= after.heat_gbp_per_kwh * heat.held_kwh[n]
            earned_gbp += after.stored_gbp_per_kwh * stored_kwh[n] + after.done_gbp_per_kwh * work.done_kwh
        else:
            earned_gbp += self._end_gbp(stored_kwh[n], heat.held_kwh[n], work.done_kwh, sales.tenant_kw[n - 1])
        earned = solve_large(earned_gbp, constraints, limit_kw * float(np.abs(price).sum()))
        plan = np.array([charge.value - discharge.value, work.running_kw.value, sales.tenant_kw.value])
        return earned, plan

    def _most_heat_kwh(self, periods: int) -> float:
        """Heat in the hall if none is ever removed."""
        site = self._system.site
        full_kw = cluster_model.it_power_kw(site.cluster, site.cluster.gpus, 1.0) + site.hall.rated_fan_kw
        return float(hall_model.heat_content_kwh(site.hall, self._start)) + PERIOD_H * periods * full_kw

    def _end_gbp(self, stored_kwh: Any, held_kwh: Any, done_kwh: Any, tenant_kw: Any) -> Any:
        """What an episode leaves behind, as in `models.site_period`; heat at the most it can be worth."""
        system, lane, last = self._system, self._lane, self._rows[-1]
        site, end_price = system.site, self._end_price
        start_kwh = hall_model.heat_content_kwh(site.hall, self._start)
        heat = heat_worth(site.hall, start_kwh, self._floor_c, _removal(site, self._floor_c, last), end_price)
        gained_kwh = (stored_kwh - float(lane["start_energy_kwh"])) * site.battery.discharge_efficiency
        left_kwh = self._work_kwh + self._after_kwh - done_kwh
        left_kwh += PERIOD_H * (-self.stop % BLOCK_PERIODS) * tenant_kw
        heat_gbp = heat.slope_gbp_per_kwh * (held_kwh - start_kwh) + heat.offset_gbp
        return (gained_kwh - self._added * left_kwh) * end_price / 1000.0 + heat_gbp


def site_foresight(system: SiteSystem, lane: np.void, window: int = WINDOW) -> SiteForesight:
    """Bound what any policy can earn in the episode that a lane begins; see `SiteProgram`.

    Args:
        system: The site.
        lane: At the start of an episode.
        window: Periods that are planned at once.

    Returns:
        The bound and the plan.
    """
    program = SiteProgram(system, lane, window)
    solved = [program.solve(k) for k in range(len(program.edges) - 1)]
    return SiteForesight(program.fixed_gbp + sum(gbp for gbp, _ in solved), *np.hstack([plan for _, plan in solved]))


def _removal(site: Site, floor_c: float, last: Floats) -> tuple[float, float]:
    """Least and most electricity per heat that the end of an episode values heat at."""
    chiller = site.chiller
    full_kw = cluster_model.it_power_kw(site.cluster, site.cluster.gpus, 1.0)
    load = max(full_kw / chiller.capacity_kw, 1.0)
    worst = work_per_heat(chiller, floor_c, last[model.WET_BULB], load)
    return chiller.parasitic_fraction, chiller.parasitic_fraction + worst


def _settled(system: SiteSystem, first: int, stop: int) -> tuple[Floats, float]:
    """GBP that a kW of import costs in each period, positions included, shape (periods,), and what is earned anyway."""
    rows = system.outside.series[first:stop]
    carbon = system.site.adders.carbon_gbp_per_tonne * rows[:, model.CARBON_INTENSITY] / 1000.0
    per_kw = PERIOD_H / 1000.0
    price = per_kw * (rows[:, model.IMBALANCE_PRICE] + carbon)
    position_gbp = per_kw * (rows[:, model.DAY_AHEAD_PRICE] - rows[:, model.IMBALANCE_PRICE])  # cost of a kW of it
    if system.mode == model.NONE:
        return price, 0.0
    if system.mode == model.EXPECTED_LOAD:
        return price, -system.expected_kw * float(position_gbp.sum())
    back = np.where(rows[:, model.AFTER_AUCTION] > 0.5, 2, 1) * PERIODS_PER_DAY
    metered = np.arange(stop - first) - back
    inside = metered >= 0
    np.add.at(price, metered[inside], position_gbp[inside])
    return price, -system.expected_kw * float(position_gbp[~inside].sum())


def _flexibility_gbp(site: Site, outside: Outside, first: int, stop: int) -> float:
    """The most that flexibility earns in all periods that an offer can still reach."""
    rows = outside.series
    return sum(
        flexibility_most_gbp(
            rows[t, model.WANTED], rows[t, model.CAP], outside.rival_kw[t], outside.rival_gbp_per_mwh[t],
            site.terms.max_offer_kw,
        )
        for t in range(first + GATE_PERIODS, stop)
        if rows[t, model.WANTED] > 0.0
    )  # fmt: skip


class SiteOraclePolicy:
    """Follows the perfect-foresight plan of its environment's own episode as far as the site can.

    Battery, running jobs and sold capacity follow the plan; the hall holds one set-point, fans after the load, and no
    flexibility is offered. What it earns is less than the bound, which scores are measured against.

    Attributes:
        bound_gbp: Upper bound on the total reward of the episode.
    """

    def __init__(self, env: SystemEnv) -> None:
        """Bind to the environment whose future it reads.

        Raises:
            ValueError: If the environment is not a site.
        """
        if not isinstance(env.system, SiteSystem):
            raise ValueError(f"this oracle foresees a SiteSystem, not a {type(env.system).__name__}")
        self._lanes, self._system, self._first = env.lanes, env.system, 0
        self._plan: SiteForesight | None = None
        self.bound_gbp = np.nan

    @classmethod
    def for_env(cls, env: SystemEnv) -> Self:
        """For the environment it will be played in."""
        return cls(env)

    def reset(self, seed: int) -> None:
        """Solve the episode that the environment has just begun."""
        lane = self._lanes[0]
        self._plan, self._first = site_foresight(self._system, lane), int(lane["period"])
        self.bound_gbp = self._plan.value_gbp

    def act(self, observation: FloatArray) -> FloatArray:
        """The seven fields of a site's action, shape (7,)."""
        assert self._plan is not None, "reset comes before act"
        site, lane = self._system.site, self._lanes[0]
        t = int(lane["period"])
        k = t - self._first
        waiting = lane["queue"]
        power_kw, running_kw, tenant_kw = (float(plan[k]) for plan in self._plan[1:])
        sellable_kw = model.sellable_kw(site, lane)
        limit_kw = model.job_limit_kw(model.cluster_limit_kw(site), lane)
        room_kw = queue.releasable_kw(site.queue, waiting, t, limit_kw)
        missing_kw = running_kw - queue.running_kw(waiting, t)
        full_kw = cluster_model.it_power_kw(
            site.cluster, cluster_model.busy_gpus(site.cluster, running_kw + tenant_kw), 1.0
        )
        return np.array(
            [
                as_fraction(site.battery, power_kw),
                min(max(missing_kw / room_kw, 0.0), 1.0) if room_kw > 0.0 else 0.0,
                SETPOINT_C,
                hall_model.matched_fan_fraction(site.hall, full_kw),
                min(tenant_kw / sellable_kw, 1.0) if sellable_kw > 0.0 else 0.0,
                0.0,
                0.0,
            ],
            dtype=np.float32,
        )
