"""The whole site behind one meter: `gridpilot/Site-v0`."""

from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from data.arrivals import JobSource
from data.calendar import local_hour
from data.flexibility import FlexibilitySource
from data.schema import PERIOD_H, PERIOD_MINUTES, PERIODS_PER_DAY
from data.tenants import TenantSource
from envs import information
from envs.fields import Field, FloatArray, position, positions
from envs.outlook import CARBON_FIELDS, WET_BULB_FIELDS
from envs.parameters import as_record
from envs.scenario import Scenario, default_scenario
from envs.system import Lanes
from models import baseline, cooling, queue
from models import battery as battery_model
from models import cluster as cluster_model
from models import hall as hall_model
from models import site as model
from models.baseline import BaselineRules
from models.battery import Battery
from models.chiller import Chiller
from models.cluster import Cluster
from models.cooling import InletPenalty
from models.hall import Hall
from models.queue import QueueRules
from models.settlement import Adders
from models.site import Outside, Site, Terms

PositionMode = Literal["none", "expected_load", "planned"]
MODES: Final[dict[str, int]] = {"none": model.NONE, "expected_load": model.EXPECTED_LOAD, "planned": model.PLANNED}
HORIZON_H: Final = 24.0
AUCTION_LOCAL_HOUR: Final = 11.0  # of the day-ahead auction for the next local day
WARM_UP_PERIODS: Final = PERIODS_PER_DAY
MAX_PRICE_GBP_PER_MWH: Final = 600.0
WANTED_LEADS: Final = 12
COMMITTED_LEADS: Final = (0, 2, 4, 8, 16, 32, 48)  # edges, in periods; each bin holds the mean
KW_BOUND: Final = 1e5
KWH_BOUND: Final = 1e8


class SiteSystem:
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
    decision_minutes = PERIOD_MINUTES

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
        if start_fraction is not None and not self.battery.min_fraction <= start_fraction <= self.battery.max_fraction:
            raise ValueError(
                f"start_fraction is {start_fraction}; the battery allows "
                f"{self.battery.min_fraction} to {self.battery.max_fraction}"
            )
        self.start_fraction = start_fraction
        source, terms = jobs or JobSource(), model.checked(trade or Terms())
        cluster = cluster_model.checked(cluster or Cluster())
        hall, chiller = cooling.checked(hall or Hall(), chiller or Chiller())
        capacity_kw = cluster_model.job_capacity_kw(cluster)
        self.site = Site(
            battery=self.battery,
            hall=hall,
            chiller=chiller,
            cluster=cluster,
            queue=QueueRules(capacity_kw),
            baseline=baseline.checked(baseline_rules or BaselineRules()),
            adders=adders or Adders(carbon_gbp_per_tonne=60.0),
            inlet_penalty=cooling.checked_penalty(inlet_penalty or InletPenalty()),
            terms=terms,
        )
        self._record = as_record(self.site)
        self.adders = self.site.adders
        self.mode = MODES[day_ahead_position]
        self.fixed_terms = () if self.mode == model.PLANNED else ("day_ahead",)
        self.expected_kw = model.expected_load_kw(self.site, source.load_fraction)
        if self.expected_kw > terms.site_power_kw:
            raise ValueError(
                f"the expected load is {self.expected_kw:.0f} kW, above site_power_kw {terms.site_power_kw:g}; "
                "give the site a larger connection or a smaller cluster"
            )
        times = self.scenario.timestamps
        self.outside = _outside(
            self.scenario,
            source.arrivals(times[0].to_pydatetime(), len(times), capacity_kw),
            (tenants or TenantSource()).tenants(times, capacity_kw),
            (flexibility or FlexibilitySource()).market(times),
        )
        queue.new_queues(self.site.queue, self.outside.jobs, 1)  # refuses jobs that can never run
        self._own_fields = _own_fields(self.site)
        self._shown = _shown(self.scenario)
        self.observation_fields = (*self._own_fields, *information.FIELDS, *CARBON_FIELDS, *WET_BULB_FIELDS)
        self.action_fields = _action_fields(hall)

    def draw(self, rng: np.random.Generator, lane: np.void) -> None:
        """Set a lane to the start of a drawn episode, the cluster busy with the day before it."""
        first, stop = self.scenario.episodes[int(rng.integers(len(self.scenario.episodes)))]
        fraction = (
            rng.uniform(self.battery.min_fraction, self.battery.max_fraction)
            if self.start_fraction is None
            else self.start_fraction
        )
        _draw(self._record, self.outside, self.expected_kw, first, stop, fraction, lane)

    def observe(self, lanes: Lanes, observations: FloatArray) -> None:
        """Write each lane's observation; see `envs.system.System`."""
        _observe_lanes(self._record, self.outside, self._shown, lanes, observations)

    def step(self, lanes: Lanes, actions: FloatArray, terms: NDArray[np.float64], over: NDArray[np.bool_]) -> None:
        """Advance each lane by half an hour; see `envs.system.System`."""
        _step_lanes(self._record, self.outside, self.mode, self.expected_kw, lanes, actions, terms, over)

    def feasible(self, lanes: Lanes) -> tuple[FloatArray, FloatArray]:
        """Battery power within battery and connection, the rest within its bounds; see `envs.system.System`."""
        low = np.tile(np.array([f.low for f in self.action_fields], dtype=np.float32), (lanes.size, 1))
        high = np.tile(np.array([f.high for f in self.action_fields], dtype=np.float32), (lanes.size, 1))
        _feasible_lanes(self._record, self.outside, lanes, low, high)
        return low, high

    def parameters(self) -> dict[str, dict[str, float]]:
        """Every device and the terms of trade; see `envs.system.System`."""
        devices: dict[str, dict[str, float]] = {name: part._asdict() for name, part in self.site._asdict().items()}
        return {**devices, "position": {"mode": self.mode, "expected_kw": self.expected_kw}}

    def held_gbp(self, observations: FloatArray) -> NDArray[np.float64]:
        """Worth of the battery's energy beyond half the band at the mean forecast price, (lanes,)."""
        b = self.battery
        charge = observations[:, position(self._own_fields, "charge_fraction")].astype(np.float64)
        energy_mwh = (charge - 0.5 * (b.min_fraction + b.max_fraction)) * b.capacity_kwh / 1000.0
        forecast = observations[:, positions(self.observation_fields, information.FORECAST_PREFIX)]
        return energy_mwh * b.discharge_efficiency * forecast.mean(axis=1, dtype=np.float64)

    def telemetry(self, lane: np.void) -> dict[str, float]:
        """Flows, temperatures and work of the last period, and the prices it met."""
        row = self.outside.series[lane["period"] - 1]
        names = (
            "grid_kw", "power_kw", "it_kw", "cooling_kw", "inlet_c", "waiting_kwh", "tenant_kw", "called_kw",
            "delivered_kw", "excess_c_h",
        )  # fmt: skip
        return {
            **{name: float(lane[name]) for name in names},
            "charge_fraction": float(lane["energy_kwh"]) / self.battery.capacity_kwh,
            "imbalance_price_gbp_per_mwh": float(row[model.IMBALANCE_PRICE]),
            "carbon_g_per_kwh": float(row[model.CARBON_INTENSITY]),
        }

    def when(self, lane: np.void) -> pd.Timestamp:
        """Start of the period that a lane decides next, UTC."""
        return self.scenario.timestamps[lane["period"]]

    def picture(self, log: pd.DataFrame) -> NDArray[np.uint8]:
        """Where the power went, what it cost, the charge and the inlet, for the last two days."""
        from envs.picture import figure_to_rgb, site_panels  # plotting loads only when somebody looks

        return figure_to_rgb(site_panels(log))


def _action_fields(hall: Hall) -> tuple[Field, ...]:
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


def _own_fields(site: Site) -> tuple[Field, ...]:
    """Layout of what the site shows of itself; `_observe_lanes` writes in this order."""
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
        Field("cap_gbp_per_mwh", 0.0, 10_000.0, "highest price the DSO pays for the period offered now"),
        *(
            Field(f"wanted_kw_{k:02d}", 0.0, KW_BOUND, f"flexibility the DSO wants {k} periods ahead")
            for k in range(WANTED_LEADS)
        ),
    )


def _outside(scenario: Scenario, jobs: Any, tenants: Any, wanted: Any) -> Outside:
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
    )


def _shown(scenario: Scenario) -> FloatArray:
    """Prices, carbon and wet bulb as shown, in one array, shape (n + 1, fields)."""
    history = scenario.history
    return np.ascontiguousarray(
        np.hstack([history.price_information, history.carbon_outlook, history.wet_bulb_outlook])
    )


@njit(cache=True)
def _draw(
    sites: np.ndarray, outside: Outside, expected_kw: float, first: int, stop: int, fraction: float, lane: np.void
) -> None:
    site = sites[0]
    start = max(first - WARM_UP_PERIODS, 0)
    waiting = lane["queue"]
    queue.reset(outside.jobs, waiting, start)
    lane["tenant_kw"] = lane["paid_gbp_per_kw"] = 0.0
    limit_kw = model.job_limit_kw(site, lane)
    job_kw = 0.0
    for t in range(start, first):
        queue.begin_period(site.queue, outside.jobs, waiting, t, limit_kw)
        queue.release(site.queue, outside.jobs, waiting, t, limit_kw, limit_kw)
        job_kw, _ = queue.end_period(site.queue, outside.jobs, waiting, t)
    lane["period"], lane["stop"] = first, stop
    lane["energy_kwh"] = lane["start_energy_kwh"] = fraction * site.battery.capacity_kwh
    it_kw = cluster_model.it_power_kw(site.cluster, cluster_model.busy_gpus(site.cluster, job_kw), 1.0)
    rest = hall_model.steady_state(site.hall, it_kw, np.nan, 1.0)
    lane["mass_c"], lane["air_c"], lane["supply_c"] = rest.mass_c, rest.air_c, rest.supply_c
    lane["start_heat_kwh"] = hall_model.heat_content_kwh(site.hall, rest)
    lane["inlet_c"] = hall_model.inlet_c(rest, hall_model.recirculation_fraction(site.hall, it_kw, 1.0))
    lane["it_kw"], lane["grid_kw"] = it_kw, expected_kw
    lane["power_kw"] = lane["cooling_kw"] = lane["excess_c_h"] = lane["delivered_kw"] = lane["called_kw"] = 0.0
    lane["sold_kw"][:] = 0.0
    lane["sold_gbp_per_mwh"][:] = 0.0
    lane["metered_kw"][:] = expected_kw
    baseline.reset(lane["baseline"], expected_kw)
    model.begin(site, outside, lane)


@njit(cache=True)
def _step_lanes(
    sites: np.ndarray,
    outside: Outside,
    mode: int,
    expected_kw: float,
    lanes: np.ndarray,
    actions: np.ndarray,
    terms: np.ndarray,
    over: np.ndarray,
) -> None:
    site = sites[0]
    for i in range(lanes.size):
        over[i] = model.step(site, outside, mode, expected_kw, lanes[i], actions[i], terms[i])


@njit(cache=True)
def _observe_lanes(
    sites: np.ndarray, outside: Outside, shown: np.ndarray, lanes: np.ndarray, observations: np.ndarray
) -> None:
    site = sites[0]
    last = outside.series.shape[0] - 1
    for i in range(lanes.size):
        lane, seen = lanes[i], observations[i]
        t, waiting = lane["period"], lane["queue"]
        seen[0] = lane["energy_kwh"] / site.battery.capacity_kwh
        seen[1] = min((lane["stop"] - t) * PERIOD_H, HORIZON_H)
        seen[2], seen[3], seen[4], seen[5] = lane["mass_c"], lane["air_c"], lane["supply_c"], lane["inlet_c"]
        seen[6], seen[7] = lane["it_kw"], lane["grid_kw"]
        limit_kw = model.job_limit_kw(site, lane)
        seen[8] = queue.headroom_kw(site.queue, outside.jobs, waiting, t, limit_kw)
        seen[9] = min(lane["waiting_kw"], KWH_BOUND)
        seen[10] = min(lane["waiting_kwh"], KWH_BOUND)
        seen[11] = 48.0
        if waiting["n_waiting"] > 0:
            due_h = (outside.jobs.rows[waiting["waiting"][0]]["due_period"] - t) * PERIOD_H
            seen[11] = min(max(due_h, -48.0), 48.0)
        at, place = 12, t % queue.LONGEST_PERIODS
        for k in range(len(COMMITTED_LEADS) - 1):
            kw = 0.0
            for _ in range(COMMITTED_LEADS[k], COMMITTED_LEADS[k + 1]):
                kw += waiting["running_kw"][place]
                place = place + 1 if place + 1 < queue.LONGEST_PERIODS else 0  # 50 ns less than remainders
            seen[at] = kw / (COMMITTED_LEADS[k + 1] - COMMITTED_LEADS[k])
            at += 1
        seen[at] = lane["tenant_kw"]
        seen[at + 1] = model.sellable_kw(site, lane)
        seen[at + 2] = 1.0 if t % model.BLOCK_PERIODS == 0 else 0.0
        seen[at + 3] = lane["paid_gbp_per_kw"]
        seen[at + 4] = baseline.baseline_kw(site.baseline, lane["baseline"], t)
        seen[at + 5] = lane["sold_kw"][t % model.GATE_PERIODS]
        seen[at + 6] = lane["sold_kw"][(t + 1) % model.GATE_PERIODS]
        seen[at + 7] = outside.series[min(t + model.GATE_PERIODS, last), model.CAP]
        at += 8
        for k in range(WANTED_LEADS):
            seen[at + k] = outside.series[min(t + k, last), model.WANTED]
        at += WANTED_LEADS
        for k in range(shown.shape[1]):  # a slice takes 35 ns more
            seen[at + k] = shown[t, k]


@njit(cache=True)
def _feasible_lanes(sites: np.ndarray, outside: Outside, lanes: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    site = sites[0]
    b = site.battery
    for i in range(lanes.size):
        lane = lanes[i]
        # The load of the coming period is not known yet; that of the last one stands for it.
        load_kw = lane["grid_kw"] - lane["power_kw"]
        low_kw, high_kw = model.battery_limits_kw(site, lane["energy_kwh"], load_kw)
        low[i, model.POWER] = low_kw / b.max_discharge_kw if b.max_discharge_kw > 0.0 else 0.0
        high[i, model.POWER] = high_kw / b.max_charge_kw if b.max_charge_kw > 0.0 else 0.0
        limit_kw = model.job_limit_kw(site, lane)
        if queue.releasable_kw(site.queue, outside.jobs, lane["queue"], lane["period"], limit_kw) <= 0.0:
            high[i, model.RELEASE] = 0.0
        if lane["period"] % model.BLOCK_PERIODS != 0:
            high[i, model.CAPACITY] = 0.0
        gate = min(lane["period"] + model.GATE_PERIODS, outside.series.shape[0] - 1)
        if outside.series[gate, model.WANTED] <= 0.0:
            high[i, model.FLEX_QUANTITY] = high[i, model.FLEX_PRICE] = 0.0
