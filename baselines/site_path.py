"""The whole site on one path of the future: its devices' blocks behind one meter."""

from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from baselines.battery_block import BatteryBlock
from baselines.compute_block import ComputeBlock
from baselines.site_plan import Outlook, Plan, Prices
from baselines.thermal_block import Linearisation, ThermalBlock
from baselines.trade_block import CapacityBlock, FlexibilityBlock
from data.arrivals import ExpectedJobs
from data.schema import PERIOD_H
from models import cluster as cluster_model
from models.site import GATE_PERIODS, Site

Floats = NDArray[np.float64]


class SitePath:
    """Battery, hall, compute and offers together.

    Attributes:
        capacity_kw: Highest power of jobs and tenants together.
        compute: Its jobs.
        cost_gbp: Of the plan, but for what is not linear in it.
        bent_gbp: The rest: the price of moves of the plant, and of a queue left at the end.
        paid_gbp: The part of the cost that is money changing hands within the horizon: no worth of what is left at its
            end, no price of a risk.
        constraints: Of all blocks and the meter.
    """

    def __init__(self, site: Site, near: Linearisation, jobs: ExpectedJobs, prices: Prices, leads: int) -> None:
        """Lay out the blocks.

        Args:
            site: The simulated site's own parameters.
            near: Its hall and plant near a reference; its horizon is the plan's.
            jobs: What jobs are like.
            prices: Of what the mean of the future does not show.
            leads: Periods ahead that the DSO's wants are shown.
        """
        terms, horizon, self._near = site.terms, near.horizon, near
        self._base_load_kw = terms.base_load_kw
        room_kw = cluster_model.job_budget_kw(site.cluster, terms.site_power_kw - terms.base_load_kw)
        self.capacity_kw = min(site.queue.capacity_kw, room_kw)
        self.battery = BatteryBlock(site.battery, horizon)
        self.capacity = CapacityBlock(terms.sellable_fraction * site.queue.capacity_kw, horizon)
        self.compute = ComputeBlock(site.cluster, self.capacity_kw, jobs, self.capacity.tenant_kw, horizon, *prices[:3])
        self.thermal = ThermalBlock(near, site.inlet_penalty, self.compute.it_kw, prices.inlet_margin_k)
        # Nothing forces a battery to feed in, so only the import can be beyond the connection.
        within_kw = cp.Variable(horizon, bounds=[-terms.site_power_kw, terms.site_power_kw])
        self._over_kw = cp.Variable(horizon, nonneg=True)
        self._grid_kw = within_kw + self._over_kw
        self.flexibility = FlexibilityBlock(terms, self._grid_kw, leads)
        self._import_price = cp.Parameter(horizon)  # GBP per kWh
        blocks = (self.battery, self.capacity, self.compute, self.thermal, self.flexibility)
        load_kw = terms.base_load_kw + self.compute.it_kw + self.thermal.cooling_kw
        metered_gbp: Any = (
            PERIOD_H * self._import_price @ self._grid_kw
            + PERIOD_H * terms.over_limit_gbp_per_kwh * cp.sum(self._over_kw)
        )
        if site.adders.network_gbp_per_mwh:  # paid for import only: a row and a variable, for nothing if it is 0
            metered_gbp += PERIOD_H * site.adders.network_gbp_per_mwh / 1000.0 * cp.sum(cp.pos(self._grid_kw))
        self.cost_gbp: Any = metered_gbp + sum(block.cost_gbp for block in blocks)
        sold_gbp = self.capacity.cost_gbp + self.flexibility.cost_gbp
        self.paid_gbp: Any = (
            metered_gbp + sold_gbp + self.battery.wear_gbp + self.compute.late_gbp + self.thermal.warm_gbp
        )
        self.bent_gbp = self.thermal.moves_gbp + self.compute.queue_left_gbp
        self.constraints = [
            self._grid_kw == load_kw + self.battery.bought_kwh / PERIOD_H,
            *(c for block in blocks for c in block.constraints),
        ]

    def decided(self, periods: int) -> list[Any]:
        """What is decided in the first periods: battery, starts, plant, tenants, and flexibility up to the gate."""
        own = [
            self.battery.charged_kwh,
            self.battery.bought_kwh,
            self.compute.start_kw,
            self.compute.started_kw,
            self.thermal.setpoint_c,
            self.thermal.fan_fraction,
            self.capacity.share,
        ]
        return [*(each[:periods] for each in own), self.flexibility.share[: GATE_PERIODS + periods]]

    def feed(self, now: Outlook) -> bool:
        """Set the start and what is expected of all but the hall.

        Returns:
            Whether the battery is where it may be.
        """
        within = self.battery.feed(now.energy_kwh, now.stored_gbp_per_mwh)
        self.capacity.feed(now.tenant_kw, now.to_auction, now.sellable_kw, now.paid_gbp_per_kw, now.sold_share)
        self.compute.feed(
            now.committed_kw, now.waiting_kw, now.due_kw, now.arriving_kw, now.level_sd, now.end_gbp_per_mwh
        )
        self.flexibility.feed(now.sold_kw, now.wanted_kw, now.deliverable_kw, now.flexibility_gbp_per_mwh)
        self._import_price.value = now.import_gbp_per_mwh / 1000.0
        return within

    @property
    def left_limit(self) -> float:
        """How far the plan found leaves a hard limit, kW or K."""
        softened = (self._over_kw, self.compute.beyond_kw, self.thermal.hot_k, self.compute.late_kw[0])
        return max(float(np.max(slack.value)) for slack in softened)

    def plan(self, sold_share: Floats) -> Plan:
        """The plan found; what is offered is what is meant to be sold over the share that sells."""
        return Plan(
            power_kw=self.battery.power_kw,
            energy_kwh=self.battery.energy_kwh.value,
            start_kw=self.compute.started_kw.value,
            running_kw=self.compute.running_kw.value,
            tenant_kw=self.capacity.tenant_kw.value,
            offered_kw=self.capacity.tenant_kw.value / sold_share,
            it_kw=self.compute.it_kw.value,
            setpoint_c=self.thermal.setpoint_c.value,
            fan_fraction=self.thermal.fan_fraction.value,
            mass_c=self.thermal.mass_c.value,
            cooling_kw=self.thermal.cooling_kw.value,
            grid_kw=self._grid_kw.value,
            turn_down_kw=self.flexibility.turn_down_kw.value,
        )

    def rest(self, now: Outlook) -> Plan:
        """Before any plan: running jobs run on, nothing starts, the hall holds its safe set-point."""
        idle = np.zeros(self.compute.horizon)
        it_kw = self.compute.idle_kw + self.compute.added_fraction * (now.committed_kw + now.tenant_kw)
        rest = self._near.at_rest(float(it_kw[0]))
        turn_down_kw = np.zeros(self.flexibility.leads)
        turn_down_kw[: len(now.sold_kw)] = now.sold_kw
        return Plan(
            power_kw=idle,
            energy_kwh=np.full(idle.size, now.energy_kwh),
            start_kw=idle,
            running_kw=now.committed_kw,
            tenant_kw=np.full(idle.size, now.tenant_kw),
            offered_kw=idle,
            it_kw=it_kw,
            setpoint_c=rest.setpoint_c,
            fan_fraction=rest.fan_fraction,
            mass_c=np.full(idle.size, now.hall.mass_c),
            cooling_kw=idle,
            grid_kw=self._base_load_kw + it_kw,
            turn_down_kw=turn_down_kw,
        )
