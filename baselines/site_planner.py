"""The whole site as one convex program: the sum of its devices' blocks behind one meter."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from baselines.battery_block import BatteryBlock
from baselines.compute_block import ComputeBlock
from baselines.program import SOLVERS, Program
from baselines.thermal_block import Reference, ThermalBlock
from baselines.trade_block import CapacityBlock, FlexibilityBlock
from data.arrivals import ExpectedJobs
from data.schema import PERIOD_H
from models import cluster as cluster_model
from models.hall import HallState
from models.site import Site

Floats = NDArray[np.float64]
RELAXED: Final = 0.5  # kW or K: a plan that leaves a limit by more is counted as relaxed


class Prices(NamedTuple):
    """What a planner is told to reckon with beyond what the site's own parameters say.

    Attributes:
        late_gbp_per_kwh: Of due work that waits.
        waiting_gbp_per_kwh: Of work that waits and is not due.
        crowding_gbp_per_kwh: Of load that may not fit.
        inlet_margin_k: Kept from the recommended inlet, for the load that turns out higher.
    """

    late_gbp_per_kwh: float = 0.25
    waiting_gbp_per_kwh: float = 0.01
    crowding_gbp_per_kwh: float = 0.1
    inlet_margin_k: float = 0.6


class Outlook(NamedTuple):
    """State and expectations at the start of a plan; arrays have shape (horizon,) if nothing else is said.

    Attributes:
        energy_kwh: In the battery.
        hall: Temperatures.
        committed_kw: Promised to running jobs.
        waiting_kw: Of jobs that wait and are not due.
        due_kw: Of jobs that wait and are due.
        arriving_kw: Power of the jobs expected to arrive.
        level_sd: Standard deviation of their level over its mean.
        tenant_kw: Sold for the running block.
        to_auction: Periods until the next auction.
        sellable_kw: Most that can be sold now.
        paid_gbp_per_kw: Expected of an auction held in a period.
        sold_share: Of the offered capacity, expected.
        sold_kw: Flexibility to deliver now and in the next period.
        wanted_kw: Flexibility wanted, shape (leads,).
        deliverable_kw: Baseline less a margin, shape (leads,).
        flexibility_gbp_per_mwh: Expected price of it, shape (leads,).
        wet_bulb_c: Expected.
        import_gbp_per_mwh: What a MWh of net import costs, carbon included.
        end_gbp_per_mwh: The same of energy after the horizon.
        stored_gbp_per_mwh: Worth of a MWh in the battery at the end.
    """

    energy_kwh: float
    hall: HallState
    committed_kw: Floats
    waiting_kw: float
    due_kw: float
    arriving_kw: Floats
    level_sd: Floats
    tenant_kw: float
    to_auction: int
    sellable_kw: float
    paid_gbp_per_kw: Floats
    sold_share: Floats
    sold_kw: tuple[float, float]
    wanted_kw: Floats
    deliverable_kw: Floats
    flexibility_gbp_per_mwh: Floats
    wet_bulb_c: Floats
    import_gbp_per_mwh: Floats
    end_gbp_per_mwh: float
    stored_gbp_per_mwh: float


class Plan(NamedTuple):
    """What a site is to do, one value a period, shape (horizon,) but for `turn_down_kw` (leads,).

    Attributes:
        power_kw: Of the battery, charging positive.
        energy_kwh: In the battery at the end of each period.
        start_kw: Power of jobs started.
        running_kw: Of all running jobs.
        tenant_kw: Capacity sold.
        offered_kw: Capacity to offer in an auction of that period, for as much to sell as is meant to.
        it_kw: IT power.
        setpoint_c: Supply set-point.
        fan_fraction: Fan speed.
        mass_c: Thermal mass at the end of each period.
        cooling_kw: Electricity of the plant.
        grid_kw: Import.
        turn_down_kw: Flexibility sold or to be offered.
    """

    power_kw: Floats
    energy_kwh: Floats
    start_kw: Floats
    running_kw: Floats
    tenant_kw: Floats
    offered_kw: Floats
    it_kw: Floats
    setpoint_c: Floats
    fan_fraction: Floats
    mass_c: Floats
    cooling_kw: Floats
    grid_kw: Floats
    turn_down_kw: Floats

    def later(self) -> "Plan":
        """The plan one period on, its last period repeated."""
        return Plan(*(np.append(values[1:], values[-1]) for values in self))


class SitePlanner:
    """Plans battery, hall, compute and offers together; compiled once, then only fed numbers.

    Everything that could make a plan impossible is soft, at a stated price: import beyond the connection at the
    site's own `over_limit_gbp_per_kwh`, warm inlets at the inlet penalty, late jobs at `Prices`, sold turn-down at its
    shortfall charge, promised power beyond the cluster at `compute_block.BEYOND_GBP_PER_KWH`.

    Attributes:
        horizon: Number of half-hours planned.
        relaxed_plans: Plans so far that began outside a limit or left one: import beyond the connection, inlets above
            the allowable limit, promises beyond the cluster, due jobs that cannot start at once.
        cost_gbp: Of the last plan found, as the planner counts it.
        failed_plans: Plans so far that no solver found; the last one, a period later, stood in.
    """

    def __init__(
        self,
        site: Site,
        jobs: ExpectedJobs,
        prices: Prices,
        horizon: int,
        leads: int,
        solvers: Sequence[str] = SOLVERS,
    ) -> None:
        """Compile the program.

        Args:
            site: The simulated site's own parameters.
            jobs: What jobs are like.
            prices: Of what the mean of the future does not show.
            horizon: Number of half-hours planned.
            leads: Periods ahead that the DSO's wants are shown.
            solvers: Tried in turn.

        Raises:
            ValueError: The horizon is shorter than the leads.
        """
        if not horizon >= max(leads, 2):
            raise ValueError(f"horizon is {horizon} half-hours; it must be at least {max(leads, 2)}")
        self.site, self.horizon = site, horizon
        self.relaxed_plans = self.failed_plans = 0
        self.cost_gbp = 0.0
        terms = site.terms
        room_kw = cluster_model.job_budget_kw(site.cluster, terms.site_power_kw - terms.base_load_kw)
        self.capacity_kw = min(site.queue.capacity_kw, room_kw)
        self.battery = BatteryBlock(site.battery, horizon)
        self.capacity = CapacityBlock(terms.sellable_fraction * site.queue.capacity_kw, horizon)
        self.compute = ComputeBlock(site.cluster, self.capacity_kw, jobs, self.capacity.tenant_kw, horizon, *prices[:3])
        self.thermal = ThermalBlock(
            site.hall, site.chiller, site.inlet_penalty, self.compute.it_kw, horizon, prices.inlet_margin_k
        )
        self._grid_kw, self._import_kw = cp.Variable(horizon), cp.Variable(horizon, nonneg=True)
        self._over_kw = cp.Variable(horizon, nonneg=True)
        self.flexibility = FlexibilityBlock(terms, self._grid_kw, leads)
        self._import_price = cp.Parameter(horizon)  # GBP per kWh
        blocks = (self.battery, self.capacity, self.compute, self.thermal, self.flexibility)
        load_kw = terms.base_load_kw + self.compute.it_kw + self.thermal.cooling_kw
        cost_gbp = (
            PERIOD_H * self._import_price @ self._grid_kw
            + PERIOD_H * site.adders.network_gbp_per_mwh / 1000.0 * cp.sum(self._import_kw)
            + PERIOD_H * terms.over_limit_gbp_per_kwh * cp.sum(self._over_kw)
            + sum(block.cost_gbp for block in blocks)
        )
        meter = [
            self._grid_kw == load_kw + self.battery.bought_kwh / PERIOD_H,
            self._grid_kw <= self._import_kw,
            self._import_kw <= terms.site_power_kw + self._over_kw,
            self._grid_kw >= -terms.site_power_kw - self._over_kw,
        ]
        self._program = Program(cost_gbp, [*meter, *(c for block in blocks for c in block.constraints)], solvers)
        self._last: Plan | None = None

    def forget(self) -> None:
        """Begin a new episode: there is no last plan."""
        self._last = None

    def plan(self, now: Outlook) -> Plan:
        """The cheapest plan; if no solver finds one, the last one a period later, or rest.

        Raises:
            ValueError: An input is not finite.
        """
        for name, value in now._asdict().items():
            if not np.isfinite(value).all():
                raise ValueError(f"a plan needs finite numbers; {name} is {value}")
        last = self._last.later() if self._last else self._rest(now)
        reference = Reference(last.it_kw, last.setpoint_c, last.fan_fraction)
        within = self.battery.feed(now.energy_kwh, now.stored_gbp_per_mwh)
        self.capacity.feed(now.tenant_kw, now.to_auction, now.sellable_kw, now.paid_gbp_per_kw, now.sold_share)
        self.compute.feed(
            now.committed_kw, now.waiting_kw, now.due_kw, now.arriving_kw, now.level_sd, now.end_gbp_per_mwh
        )
        within &= self.thermal.feed(now.hall, reference, now.wet_bulb_c, now.end_gbp_per_mwh)
        self.flexibility.feed(now.sold_kw, now.wanted_kw, now.deliverable_kw, now.flexibility_gbp_per_mwh)
        self._import_price.value = now.import_gbp_per_mwh / 1000.0
        if not self._program.solve():
            self.failed_plans += 1
            self._last = last
            return last
        softened = (self._over_kw, self.compute.beyond_kw, self.thermal.hot_k, self.compute.late_kw[0])
        self.relaxed_plans += int(not within or any(float(np.max(slack.value)) > RELAXED for slack in softened))
        self.cost_gbp = self._program.cost_gbp
        self._last = Plan(
            power_kw=self.battery.power_kw,
            energy_kwh=self.battery.energy_kwh.value,
            start_kw=self.compute.started_kw.value,
            running_kw=self.compute.running_kw.value,
            tenant_kw=self.capacity.tenant_kw.value,
            offered_kw=self.capacity.tenant_kw.value / now.sold_share,
            it_kw=self.compute.it_kw.value,
            setpoint_c=self.thermal.setpoint_c.value,
            fan_fraction=self.thermal.fan_fraction.value,
            mass_c=self.thermal.mass_c.value,
            cooling_kw=self.thermal.cooling_kw.value,
            grid_kw=self._grid_kw.value,
            turn_down_kw=self.flexibility.turn_down_kw.value,
        )
        return self._last

    def _rest(self, now: Outlook) -> Plan:
        """Before any plan: running jobs run on, nothing starts, the hall holds its safe set-point."""
        idle = np.zeros(self.horizon)
        it_kw = self.compute.idle_kw + self.compute.added_fraction * (now.committed_kw + now.tenant_kw)
        rest = self.thermal.at_rest(float(it_kw[0]))
        turn_down_kw = np.zeros(self.flexibility.leads)
        turn_down_kw[: len(now.sold_kw)] = now.sold_kw
        return Plan(
            power_kw=idle,
            energy_kwh=np.full(self.horizon, now.energy_kwh),
            start_kw=idle,
            running_kw=now.committed_kw,
            tenant_kw=np.full(self.horizon, now.tenant_kw),
            offered_kw=idle,
            it_kw=it_kw,
            setpoint_c=rest.setpoint_c,
            fan_fraction=rest.fan_fraction,
            mass_c=np.full(self.horizon, now.hall.mass_c),
            cooling_kw=idle,
            grid_kw=self.site.terms.base_load_kw + it_kw,
            turn_down_kw=turn_down_kw,
        )
