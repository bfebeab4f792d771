"""The whole site behind one meter: `gridpilot/Site-v0`."""

from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from data.arrivals import JobSource
from data.calendar import local_hour
from data.flexibility import FlexibilitySource
from data.jobs import Arrivals
from data.tenants import TenantSource
from envs import charge, information, site_view
from envs.fields import FloatArray
from envs.outlook import CARBON_FIELDS, WET_BULB_FIELDS
from envs.parameters import as_record, as_tuple
from envs.scenario import Scenario, default_scenario
from envs.system import Lanes
from models import baseline, cooling, queue, site_fetch, site_period, vcg
from models import battery as battery_model
from models import cluster as cluster_model
from models import site as model
from models.baseline import BaselineRules
from models.battery import Battery
from models.chiller import Chiller
from models.cluster import Cluster
from models.compiling import LOOP
from models.cooling import InletPenalty
from models.fetch import fetch_row
from models.hall import Hall
from models.queue import QueueRules
from models.settlement import CARBON_PRICED, Adders, checked_adders
from models.site import Outside, Site, Terms
from models.vcg import Room

PositionMode = Literal["none", "expected_load", "planned"]
MODES: Final[dict[str, int]] = {"none": model.NONE, "expected_load": model.EXPECTED_LOAD, "planned": model.PLANNED}
AUCTION_LOCAL_HOUR: Final = 11.0  # of the day-ahead auction for the next local day


class SiteSystem(charge.ChargedSystem):
    """Battery, hall, cluster, tenants' auction and flexibility market, each a part of one decision every half-hour.

    See `models.site` for what a period does. Asking for nothing (NaN) leaves the battery alone, starts only jobs
    that are due, holds the safe set-point at full fan speed, sells no capacity and offers no flexibility. An episode
    begins after a day, not paid for, in which every job that fitted started at once, with the hall at rest and a
    flat history of the expected load behind the meter.

    Attributes:
        site: Every device and the terms of trade.
        fixed_terms: Money that no action moves: what is bought day-ahead, unless it follows what was metered. A learner
            leaves it out of its rewards, where it is most of the noise.
    """

    terms: tuple[str, ...] = model.TERMS
    lane = model.LANE

    def __init__(
        self,
        scenario: Scenario | None = None,
        battery: Battery | None = None,
        hall: Hall | None = None,
        chiller: Chiller | None = None,
        cluster: Cluster | None = None,
        jobs: JobSource | None = None,
        tenants: TenantSource | None = None,
        flexibility: FlexibilitySource | None = None,
        baseline_rules: BaselineRules | None = None,
        adders: Adders | None = None,
        inlet_penalty: InletPenalty | None = None,
        trade: Terms | None = None,
        day_ahead_position: PositionMode = "expected_load",
        start_fraction: float | None = 0.5,
    ) -> None:
        """Build a site in a market; whatever is not given is the default site's.

        Args:
            scenario: Where episodes come from; the synthetic training split by weeks if not given.
            battery: The battery.
            hall: The GPU hall.
            chiller: Its cooling plant.
            cluster: The GPUs.
            jobs: Where jobs come from.
            tenants: Where bids for capacity come from.
            flexibility: What the DSO wants and rivals offer.
            baseline_rules: How delivered flexibility is measured.
            adders: Costs beside the market price; 60 GBP per tonne of carbon if not given.
            inlet_penalty: What warm rack inlets cost.
            trade: Limits of the connection and prices of what goes wrong.
            day_ahead_position: What is bought day-ahead: nothing, the flat expected load, or what was metered a day
                before the auction.
            start_fraction: State of charge at the start of an episode; None draws it from the allowed band.

        Raises:
            ValueError: If a parameter is out of range, or parts do not belong together.
        """
        if day_ahead_position not in MODES:
            raise ValueError(f"unknown day_ahead_position {day_ahead_position!r}; allowed are {sorted(MODES)}")
        self.scenario = scenario or default_scenario()
        self.battery = battery_model.checked(battery or Battery())
        self.start_fraction = charge.checked_start(self.battery, start_fraction)
        source, terms = jobs or JobSource(), model.checked(trade or Terms())
        cluster = cluster_model.checked(cluster or Cluster())
        hall, chiller = cooling.checked(hall or Hall(), chiller or Chiller())
        capacity_kw = cluster_model.job_capacity_kw(cluster)
        times = self.scenario.timestamps
        arrivals = source.arrivals(times[0].to_pydatetime(), len(times), capacity_kw)
        self.site = Site(
            battery=self.battery,
            hall=hall,
            chiller=chiller,
            cluster=cluster,
            queue=QueueRules(capacity_kw, least_kw=queue.least_kw(arrivals)),
            baseline=baseline.checked(baseline_rules or BaselineRules()),
            adders=checked_adders(adders or CARBON_PRICED),
            inlet_penalty=cooling.checked_penalty(inlet_penalty or InletPenalty()),
            terms=terms,
        )
        self._record = as_record(self.site)
        self.adders = self.site.adders
        self.mode = MODES[day_ahead_position]
        self.fixed_terms = () if self.mode == model.PLANNED else ("day_ahead",)
        self.expected_kw = model.expected_load_kw(self.site, source.load_fraction)
        _check_connection(terms, self.expected_kw)
        self.outside = _outside(
            self.scenario,
            capacity_kw,
            arrivals,
            (tenants or TenantSource()).tenants(times, capacity_kw),
            (flexibility or FlexibilitySource()).market(times),
        )
        queue.new_queues(self.site.queue, self.outside.jobs, 1)  # refuses jobs that can never run
        history = self.scenario.history
        told = history.price_information, history.carbon_outlook, history.wet_bulb_outlook
        self._shown = np.hstack([site_view.published(self.outside.series), *told])
        self.observation_fields = (
            *site_view.own_fields(self.site),
            *site_view.published_fields(),
            *information.FIELDS,
            *CARBON_FIELDS,
            *WET_BULB_FIELDS,
        )
        self.action_fields = site_view.action_fields(hall)

    def begin(self, lane: np.void) -> None:
        """Keep the cluster busy with the day before, the hall at rest; see `envs.episodes.EpisodeSystem`."""
        _begin(self._record, self.outside, self.expected_kw, lane)

    def observe(self, lanes: Lanes, observations: FloatArray) -> None:
        """Write each lane's observation; see `envs.system.System`."""
        _observe_lanes(self._record, self._shown, lanes, observations)

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
            self._record, self.mode, self.expected_kw, self._shown, lanes, actions, terms, over, observations,
            *self.outside[:6], *self.outside.jobs, *self.outside.room, self.outside.book,
        )  # fmt: skip

    def feasible(self, lanes: Lanes) -> tuple[FloatArray, FloatArray]:
        """Battery power within battery and connection, the rest within its bounds; see `envs.system.System`."""
        low, high = super().feasible(lanes)
        _feasible_lanes(self._record, self.outside, lanes, low, high)
        return low, high

    def parameters(self) -> dict[str, dict[str, float]]:
        """Every device and the terms of trade; see `envs.system.System`."""
        devices: dict[str, dict[str, float]] = {name: part._asdict() for name, part in self.site._asdict().items()}
        return {**devices, "position": {"mode": self.mode, "expected_kw": self.expected_kw}}

    def telemetry(self, lane: np.void) -> dict[str, float]:
        """Flows, temperatures and work of the last period, and the prices it met."""
        row = self.outside.series[lane["period"] - 1]
        names = (
            "grid_kw", "power_kw", "it_kw", "cooling_kw", "inlet_c", "tenant_kw", "called_kw", "delivered_kw",
            "excess_c_h",
        )  # fmt: skip
        energy_kwh = float(lane["energy_kwh"])
        return {
            **{name: float(lane[name]) for name in names},
            "pue": cooling.pue(float(lane["it_kw"]), float(lane["cooling_kw"]), self.site.terms.base_load_kw),
            "waiting_kwh": float(lane["queue"]["waiting_kwh"]),
            "energy_kwh": energy_kwh,
            "charge_fraction": energy_kwh / self.battery.capacity_kwh,
            "imbalance_price_gbp_per_mwh": float(row[model.IMBALANCE_PRICE]),
            "carbon_g_per_kwh": float(row[model.CARBON_INTENSITY]),
        }

    def picture(self, log: pd.DataFrame) -> NDArray[np.uint8]:
        """Where the power went, what it cost, the charge and the inlet, for the last two days."""
        from envs.picture import figure_to_rgb, site_panels  # plotting loads only when somebody looks

        return figure_to_rgb(site_panels(log))


def _check_connection(terms: Terms, expected_kw: float) -> None:
    """Raise ValueError where the connection is too small for the site, or in another unit."""
    if expected_kw > terms.site_power_kw:
        raise ValueError(
            f"the expected load is {expected_kw:.0f} kW, above site_power_kw {terms.site_power_kw:g}; "
            "give the site a larger connection or a smaller cluster"
        )
    if terms.site_power_kw >= 1000.0 * expected_kw:
        raise ValueError(
            f"site_power_kw is {terms.site_power_kw:g}, a thousand times the expected load of "
            f"{expected_kw:.0f} kW or more: is it in W?"
        )


def _outside(scenario: Scenario, capacity_kw: float, jobs: Any, tenants: Any, wanted: Any) -> Outside:
    """Lay out what happens to the site."""
    m, times = scenario.market, scenario.timestamps
    after_auction = (local_hour(times) >= AUCTION_LOCAL_HOUR).astype(np.float64)
    series = np.column_stack(
        [
            m.day_ahead_price_gbp_per_mwh, m.imbalance_price_gbp_per_mwh, m.carbon_g_per_kwh, m.wet_bulb_c,
            m.end_price_gbp_per_mwh[:-1], wanted.wanted_kw, wanted.cap_gbp_per_mwh, after_auction,
        ]
    )  # fmt: skip
    series = np.vstack([series, series[-1:]])
    series[-1, model.END_PRICE] = m.end_price_gbp_per_mwh[-1]
    return Outside(
        series=np.ascontiguousarray(series),
        rival_kw=wanted.rival_kw,
        rival_gbp_per_mwh=wanted.rival_gbp_per_mwh,
        tenant_gbp_per_kw=tenants.value_gbp_per_kw,
        tenant_kw=tenants.quantity_kw,
        tenant_divisible=tenants.divisible,
        jobs=jobs,
        room=vcg.room(tenants.quantity_kw.shape[1], capacity_kw, model.RESOLUTION_KW),
        book=np.zeros((4, wanted.rival_kw.shape[1] + 1)),
    )


@njit(**LOOP)
def _begin(sites: np.ndarray, outside: Outside, expected_kw: float, lane: np.void) -> None:
    site_period.begin(sites[0], outside, expected_kw, lane)


@njit(**LOOP)
def _step_lanes(
    sites: np.ndarray,
    mode: int,
    expected_kw: float,
    shown: np.ndarray,
    lanes: np.ndarray,
    actions: np.ndarray,
    terms: np.ndarray,
    over: np.ndarray,
    observations: np.ndarray,
    *arrays: np.ndarray,
) -> None:
    site = as_tuple(sites[0], Site)
    # What happens outside comes array by array: to look through nested tuples takes half of a call from Python.
    outside = Outside(
        arrays[0], arrays[1], arrays[2], arrays[3], arrays[4], arrays[5], Arrivals(arrays[6], arrays[7]),
        Room(
            arrays[8], arrays[9], arrays[10], arrays[11], arrays[12], arrays[13], arrays[14], arrays[15], arrays[16]
        ),
        arrays[17],
    )  # fmt: skip
    limit_kw = model.cluster_limit_kw(site)
    for i in range(lanes.size):
        fetch_row(shown, lanes[i]["period"] + 1)
        site_fetch.fetch_step(outside, lanes, min(i + 1, lanes.size - 1))
        over[i] = site_period.step(site, outside, mode, expected_kw, limit_kw, lanes[i], actions[i], terms[i])
        site_view.observe(site, limit_kw, shown, lanes[i], observations[i])


@njit(**LOOP)
def _observe_lanes(sites: np.ndarray, shown: np.ndarray, lanes: np.ndarray, observations: np.ndarray) -> None:
    limit_kw = model.cluster_limit_kw(sites[0])
    for i in range(lanes.size):
        site_view.observe(sites[0], limit_kw, shown, lanes[i], observations[i])


@njit(**LOOP)
def _feasible_lanes(sites: np.ndarray, outside: Outside, lanes: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    site = sites[0]
    cluster_limit_kw = model.cluster_limit_kw(site)
    for i in range(lanes.size):
        lane = lanes[i]
        # The load of the coming period is not known yet; that of the last one stands for it.
        load_kw = lane["grid_kw"] - lane["power_kw"]
        low_kw, high_kw = model.battery_limits_kw(site, lane["energy_kwh"], load_kw)
        low[i, model.POWER] = battery_model.as_fraction(site.battery, low_kw)
        high[i, model.POWER] = battery_model.as_fraction(site.battery, high_kw)
        limit_kw = model.job_limit_kw(cluster_limit_kw, lane)
        if queue.releasable_kw(site.queue, lane["queue"], lane["period"], limit_kw) <= 0.0:
            high[i, model.RELEASE] = 0.0
        if lane["period"] % model.BLOCK_PERIODS != 0:
            high[i, model.CAPACITY] = 0.0
        gate = min(lane["period"] + model.GATE_PERIODS, outside.series.shape[0] - 1)
        if outside.series[gate, model.WANTED] <= 0.0:
            high[i, model.FLEX_QUANTITY] = high[i, model.FLEX_PRICE] = 0.0
