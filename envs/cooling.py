"""A GPU hall and its cooling plant: `gridpilot/Cooling-v0`."""

from datetime import datetime
from functools import cache
from typing import Final

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from data.arrivals import JobSource
from data.jobs import Arrivals
from data.schema import PERIOD_H
from envs import information
from envs.episodes import EpisodeSystem
from envs.fields import Field, FloatArray, copy_row
from envs.outlook import CARBON_FIELDS, WET_BULB_FIELDS
from envs.scenario import Market, Scenario, default_scenario
from envs.system import Lanes
from models import cluster as cluster_model
from models import cooling as cooling_model
from models.chiller import Chiller, auxiliary_kw, electricity_per_heat
from models.cluster import Cluster
from models.compiling import KERNEL, LOOP
from models.cooling import CoolingFlows, InletPenalty
from models.hall import (
    Hall,
    HallState,
    fan_limits,
    fan_power_kw,
    feasible_action,
    heat_content_kwh,
    matched_fan_fraction,
    setpoint_limits_c,
    steady_state,
)
from models.settlement import CARBON_PRICED, Adders, adders_gbp, checked_adders, checked_position_kw, energy_gbp

LANE: Final = np.dtype(
    [
        ("mass_c", np.float64),
        ("air_c", np.float64),
        ("supply_c", np.float64),
        ("start_heat_kwh", np.float64),  # heat in the hall when the episode began
        ("period", np.int64),  # row of the history that is decided next
        ("stop", np.int64),  # row at which the episode ends
        ("flows", np.dtype([(name, np.float64) for name in CoolingFlows._fields])),  # of the last period
    ]
)
TERMS: Final = ("day_ahead", "imbalance", "network", "carbon", "thermal", "end_value")
HORIZON_H: Final = 24.0
HIGHEST_C: Final = 100.0

OWN_FIELDS: Final = (
    Field("mass_c", 0.0, HIGHEST_C, "temperature of racks, floor and water"),
    Field("air_c", 0.0, HIGHEST_C, "hall air, which returns to the plant"),
    Field("supply_c", 0.0, HIGHEST_C, "supply air"),
    Field("it_fraction", 0.0, 1.0, "IT load of this period over that of the busy cluster"),
    Field("last_it_fraction", 0.0, 1.0, "the same of the period before"),
    Field("hours_left_h", 0.0, HORIZON_H, "time until the episode ends, at most 24 h"),
)


class CoolingSystem(EpisodeSystem):
    """The cooling plant of a hall behind its own meter; every period it is given a supply set-point and a fan speed.

    The IT load is a given of the scenario: every job starts when it arrives, up to every GPU busy. A policy knows the
    load of this period and of the last, not the future. Asking for nothing (NaN) holds the safe set-point at full fan
    speed.

    A flat position is bought day-ahead; the deviation from it is settled at the imbalance price, so that price is what
    a kWh costs at the margin. Inlets above the
    recommended limit cost, above the allowable limit much more. At the end of an episode, heat gained or lost in mass,
    air and loop since its start is valued at the electricity that the plant takes per unit of heat at its safe
    set-point, this load and this wet bulb, priced at the mean day-ahead price of the last 24 hours and the adders of
    the last period: letting the hall warm up at the end is no profit.
    """

    observation_fields = (*OWN_FIELDS, *information.FIELDS, *WET_BULB_FIELDS, *CARBON_FIELDS)
    action_fields: tuple[Field, ...]
    terms = TERMS
    lane = LANE

    def __init__(
        self,
        scenario: Scenario | None = None,
        hall: Hall | None = None,
        chiller: Chiller | None = None,
        inlet_penalty: InletPenalty | None = None,
        cluster: Cluster | None = None,
        jobs: JobSource | None = None,
        adders: Adders | None = None,
        position_kw: float | None = None,
    ) -> None:
        """Put a hall into weather and market.

        Args:
            scenario: Where episodes come from; the synthetic training split by weeks if not given.
            hall: The hall; the default site's if not given.
            chiller: Its plant; the default site's if not given.
            inlet_penalty: What warm rack inlets cost; the default site's if not given.
            cluster: The IT equipment in the hall; the default site's if not given.
            jobs: What keeps it busy; the seeded generator if not given.
            adders: Costs beside the market price; a carbon price of 60 GBP per tonne if not given.
            position_kw: Power bought day-ahead for every period; the expected cooling load if not given.

        Raises:
            ValueError: If a parameter is out of range.
        """
        self.scenario = scenario or default_scenario()
        self.hall, self.chiller = cooling_model.checked(hall or Hall(), chiller or Chiller())
        self.inlet_penalty = cooling_model.checked_penalty(inlet_penalty or InletPenalty())
        self.cluster = cluster_model.checked(cluster or Cluster())
        self.adders = checked_adders(adders or CARBON_PRICED)
        source, times = jobs or JobSource(), self.scenario.timestamps
        # One period more than the history, for the observation after the last.
        self.it_kw = _it_load_kw(times[0].to_pydatetime(), len(times) + 1, self.cluster, source)
        self.full_it_kw = cluster_model.it_power_kw(self.cluster, self.cluster.gpus, 1.0)
        expected_it_kw = cluster_model.it_power_kw(self.cluster, source.load_fraction * self.cluster.gpus, 1.0)
        self.position_kw = checked_position_kw(position_kw, _expected_kw(self.hall, self.chiller, expected_it_kw))
        low_c, high_c = setpoint_limits_c(self.hall)
        low, high = fan_limits(self.hall)
        self.action_fields = (
            Field("setpoint_c", low_c, high_c, "supply air set-point"),
            Field("fan_fraction", low, high, "speed of the hall fans over full speed"),
        )

    def begin(self, lane: np.void) -> None:
        """Rest under the present load and the safe set-point; see `envs.episodes.EpisodeSystem`."""
        state = steady_state(self.hall, self.it_kw[lane["period"]], np.nan, np.nan)
        lane["mass_c"], lane["air_c"], lane["supply_c"] = state
        lane["start_heat_kwh"] = heat_content_kwh(self.hall, state)

    def observe(self, lanes: Lanes, observations: FloatArray) -> None:
        """Write each lane's observation; see `envs.system.System`."""
        _observe_lanes(self.it_kw, self.full_it_kw, self._shown(), lanes, observations)

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
            self.hall, self.chiller, self.inlet_penalty, self.adders, self.scenario.market, self.it_kw,
            self.position_kw, self.full_it_kw, self._shown(), lanes, actions, terms, over, observations,
        )  # fmt: skip

    def _shown(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """What an observation ends with."""
        history = self.scenario.history
        return history.price_information, history.wet_bulb_outlook, history.carbon_outlook

    def parameters(self) -> dict[str, dict[str, float]]:
        """Hall, chiller, penalty, cluster, adders and position; see `envs.system.System`."""
        return {
            "hall": self.hall._asdict(),
            "chiller": self.chiller._asdict(),
            "inlet_penalty": self.inlet_penalty._asdict(),
            "cluster": self.cluster._asdict(),
            "adders": self.adders._asdict(),
            "position": {"position_kw": self.position_kw},
        }

    def telemetry(self, lane: np.void) -> dict[str, float]:
        """Electricity, temperatures and settings of the last period, and what it met; degree-hours of that period."""
        last, market, flows = lane["period"] - 1, self.scenario.market, lane["flows"]
        return {
            "grid_kw": float(flows["cooling_kw"]),
            "chiller_kw": float(flows["chiller_kw"]),
            "fan_kw": float(flows["fan_kw"]),
            "it_kw": float(self.it_kw[last]),
            "pue": cooling_model.pue(float(self.it_kw[last]), float(flows["cooling_kw"]), 0.0),
            "setpoint_c": float(flows["setpoint_c"]),
            "fan_fraction": float(flows["fan_fraction"]),
            "supply_c": float(lane["supply_c"]),
            "inlet_c": float(flows["inlet_c"]),
            "air_c": float(lane["air_c"]),
            "mass_c": float(lane["mass_c"]),
            "recommended_excess_c_h": float(flows["recommended_excess_c_h"]),
            "allowable_excess_c_h": float(flows["allowable_excess_c_h"]),
            "wet_bulb_c": float(market.wet_bulb_c[last]),
            "imbalance_price_gbp_per_mwh": float(market.imbalance_price_gbp_per_mwh[last]),
            "carbon_g_per_kwh": float(market.carbon_g_per_kwh[last]),
        }

    def picture(self, log: pd.DataFrame) -> NDArray[np.uint8]:
        """Temperatures, and electricity under the price it met, for the last two days."""
        from envs.picture import cooling_panels, figure_to_rgb  # plotting loads only when somebody looks

        return figure_to_rgb(cooling_panels(log, self.hall.recommended_inlet_c))


def _expected_kw(hall: Hall, chiller: Chiller, it_kw: float) -> float:
    """Electricity of the plant at rest, fans matched to the load and compressors off, as in most hours of the year."""
    _, fan_fraction = feasible_action(hall, np.nan, matched_fan_fraction(hall, it_kw))
    fan_kw: float = fan_power_kw(hall, fan_fraction)
    return fan_kw + auxiliary_kw(chiller, it_kw + fan_kw)


@cache
def _it_load_kw(start: datetime, periods: int, cluster: Cluster, jobs: JobSource) -> NDArray[np.float64]:
    """Power of the IT hall in every period, shape (periods,), shared and read-only."""
    capacity_kw = cluster_model.job_capacity_kw(cluster)
    it_kw: NDArray[np.float64] = _run_at_once(cluster, jobs.arrivals(start, periods, capacity_kw))
    it_kw.flags.writeable = False
    return it_kw


@njit(cache=True)
def _run_at_once(cluster: Cluster, arrivals: Arrivals) -> np.ndarray:
    """IT power if every job starts when it arrives; what would take more than all GPUs is turned away."""
    periods = arrivals.first_job.size - 1
    added_kw = np.zeros(periods + 1)
    for t in range(periods):
        for j in range(arrivals.first_job[t], arrivals.first_job[t + 1]):
            added_kw[t] += arrivals.rows[j].power_kw
            added_kw[min(t + arrivals.rows[j].duration_periods, periods)] -= arrivals.rows[j].power_kw
    it_kw, job_kw = np.empty(periods), 0.0
    for t in range(periods):
        job_kw += added_kw[t]
        it_kw[t] = cluster_model.it_power_kw(cluster, cluster_model.busy_gpus(cluster, job_kw), 1.0)
    return it_kw


@njit(**LOOP)
def _step_lanes(
    hall: Hall,
    chiller: Chiller,
    inlet_penalty: InletPenalty,
    adders: Adders,
    market: Market,
    it_kw: np.ndarray,
    position_kw: float,
    full_it_kw: float,
    shown: tuple[np.ndarray, np.ndarray, np.ndarray],
    lanes: np.ndarray,
    actions: np.ndarray,
    terms: np.ndarray,
    over: np.ndarray,
    observations: np.ndarray,
) -> None:
    for i in range(lanes.size):
        lane = lanes[i]
        t = lane.period
        wet_bulb_c, carbon_g_per_kwh = market.wet_bulb_c[t], market.carbon_g_per_kwh[t]
        state = HallState(lane.mass_c, lane.air_c, lane.supply_c)
        state, flows = cooling_model.step(
            hall, chiller, state, it_kw[t], wet_bulb_c, actions[i, 0], actions[i, 1], PERIOD_H
        )
        metered_kwh = flows.cooling_kw * PERIOD_H
        terms[i, 0], terms[i, 1] = energy_gbp(
            position_kw * PERIOD_H,
            metered_kwh,
            market.day_ahead_price_gbp_per_mwh[t],
            market.imbalance_price_gbp_per_mwh[t],
        )
        terms[i, 2], terms[i, 3] = adders_gbp(adders, metered_kwh, carbon_g_per_kwh)
        terms[i, 4] = -cooling_model.inlet_penalty_gbp(inlet_penalty, flows)
        over[i] = t + 1 >= lane.stop
        terms[i, 5] = 0.0
        if over[i]:
            shed_kwh = lane.start_heat_kwh - heat_content_kwh(hall, state)
            spared_kwh = shed_kwh * electricity_per_heat(chiller, it_kw[t], hall.safe_setpoint_c, wet_bulb_c)
            carbon_gbp_per_mwh = adders.carbon_gbp_per_tonne * carbon_g_per_kwh / 1000.0
            price_gbp_per_mwh = market.end_price_gbp_per_mwh[t + 1] + adders.network_gbp_per_mwh + carbon_gbp_per_mwh
            terms[i, 5] = spared_kwh * price_gbp_per_mwh / 1000.0
        lane.mass_c, lane.air_c, lane.supply_c = state
        last = lane.flows
        last.cooling_kw, last.chiller_kw, last.fan_kw, last.other_kw = flows[:4]
        last.heat_removed_kw, last.inlet_c = flows.heat_removed_kw, flows.inlet_c
        last.recommended_excess_c_h = flows.recommended_excess_c_h
        last.allowable_excess_c_h = flows.allowable_excess_c_h
        last.setpoint_c, last.fan_fraction = flows.setpoint_c, flows.fan_fraction
        lane.period = t + 1
        _observe(it_kw, full_it_kw, shown, lane, observations[i])


@njit(**LOOP)
def _observe_lanes(
    it_kw: np.ndarray,
    full_it_kw: float,
    shown: tuple[np.ndarray, np.ndarray, np.ndarray],
    lanes: np.ndarray,
    observations: np.ndarray,
) -> None:
    for i in range(lanes.size):
        _observe(it_kw, full_it_kw, shown, lanes[i], observations[i])


@njit(**KERNEL)
def _observe(
    it_kw: np.ndarray,
    full_it_kw: float,
    shown: tuple[np.ndarray, np.ndarray, np.ndarray],
    lane: np.void,
    observation: np.ndarray,
) -> None:
    t = lane["period"]
    observation[0] = min(max(lane["mass_c"], 0.0), HIGHEST_C)
    observation[1] = min(max(lane["air_c"], 0.0), HIGHEST_C)
    observation[2] = min(max(lane["supply_c"], 0.0), HIGHEST_C)
    observation[3] = it_kw[t] / full_it_kw
    observation[4] = it_kw[max(t - 1, 0)] / full_it_kw
    observation[5] = min((lane["stop"] - t) * PERIOD_H, HORIZON_H)
    at = len(OWN_FIELDS)
    for rows in shown:
        at = copy_row(rows, t, observation, at)
