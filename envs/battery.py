"""A battery that trades the imbalance price: `gridpilot/Battery-v0`."""

from typing import Final

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from data.schema import PERIOD_H
from envs import information
from envs.fields import Field, FloatArray, position, positions
from envs.scenario import Market, Scenario, default_scenario
from envs.system import Lanes
from models import battery as battery_model
from models.battery import Battery
from models.settlement import Adders, adders_gbp, energy_gbp

LANE: Final = np.dtype(
    [
        ("energy_kwh", np.float64),
        ("period", np.int64),  # row of the history that is decided next
        ("stop", np.int64),  # row at which the episode ends
        ("start_energy_kwh", np.float64),
        ("power_kw", np.float64),  # grid power of the last period
    ]
)
TERMS: Final = ("imbalance", "network", "carbon", "wear", "end_value")
HORIZON_H: Final = 24.0

OWN_FIELDS: Final = (
    Field("charge_fraction", 0.0, 1.0, "stored energy over capacity"),
    Field("hours_left_h", 0.0, HORIZON_H, "time until the episode ends, at most 24 h"),
)
ACTION_FIELDS: Final = (
    Field("power_fraction", -1.0, 1.0, "share of the highest charging (above 0) or discharging (below 0) power"),
)


class BatterySystem:
    """A battery alone behind a meter, settled at the imbalance price (no day-ahead position).

    Each period it asks for a power, is given what is feasible, pays or earns the imbalance price and wears. At the
    end of an episode the energy gained or lost since its start is valued at the mean day-ahead price of the last
    24 hours, so that emptying the battery at the end is not a profit.
    """

    observation_fields = (*OWN_FIELDS, *information.FIELDS)
    action_fields = ACTION_FIELDS
    terms = TERMS
    lane = LANE

    def __init__(
        self,
        scenario: Scenario | None = None,
        battery: Battery | None = None,
        adders: Adders | None = None,
        start_fraction: float | None = 0.5,
    ) -> None:
        """Put a battery into a market.

        Args:
            scenario: Where episodes come from; the synthetic training split by weeks if not given.
            battery: The battery; the default site's if not given.
            adders: Costs beside the market price; none if not given.
            start_fraction: State of charge at the start of an episode; None draws it from the allowed band.

        Raises:
            ValueError: If a parameter is out of range.
        """
        self.scenario = scenario or default_scenario()
        self.battery = battery_model.checked(battery or Battery())
        self.adders = adders or Adders()
        if start_fraction is not None and not self.battery.min_fraction <= start_fraction <= self.battery.max_fraction:
            raise ValueError(
                f"start_fraction is {start_fraction}; the battery allows "
                f"{self.battery.min_fraction} to {self.battery.max_fraction}"
            )
        self.start_fraction = start_fraction

    def draw(self, rng: np.random.Generator, lane: np.void) -> None:
        """Set a lane to the start of a drawn episode."""
        episode = self.scenario.episodes[int(rng.integers(len(self.scenario.episodes)))]
        fraction = (
            rng.uniform(self.battery.min_fraction, self.battery.max_fraction)
            if self.start_fraction is None
            else self.start_fraction
        )
        energy_kwh = fraction * self.battery.capacity_kwh
        lane["energy_kwh"] = lane["start_energy_kwh"] = energy_kwh
        lane["period"], lane["stop"] = episode
        lane["power_kw"] = 0.0

    def observe(self, lanes: Lanes, observations: FloatArray) -> None:
        """Write each lane's observation; see `envs.system.System`."""
        _observe_lanes(self.battery, self.scenario.history.price_information, lanes, observations)

    def step(self, lanes: Lanes, actions: FloatArray, terms: NDArray[np.float64], over: NDArray[np.bool_]) -> None:
        """Advance each lane by half an hour; see `envs.system.System`."""
        _step_lanes(self.battery, self.adders, self.scenario.market, lanes, actions, terms, over)

    def parameters(self) -> dict[str, dict[str, float]]:
        """Battery and adders; see `envs.system.System`."""
        return {"battery": self.battery._asdict(), "adders": self.adders._asdict()}

    def feasible(self, lanes: Lanes) -> tuple[FloatArray, FloatArray]:
        """Feasible share of the highest power; see `envs.system.System`."""
        low, high = np.empty((2, lanes.size, 1), dtype=np.float32)
        _feasible_lanes(self.battery, lanes, low, high)
        return low, high

    def telemetry(self, lane: np.void) -> dict[str, float]:
        """Stored energy, grid power of the last period and the price it was settled at."""
        energy_kwh = float(lane["energy_kwh"])
        return {
            "energy_kwh": energy_kwh,
            "charge_fraction": energy_kwh / self.battery.capacity_kwh,
            "power_kw": float(lane["power_kw"]),
            "imbalance_price_gbp_per_mwh": float(self.scenario.market.imbalance_price_gbp_per_mwh[lane["period"] - 1]),
        }

    def held_gbp(self, observations: FloatArray) -> NDArray[np.float64]:
        """Worth of the stored energy beyond half the band at the mean forecast price, (lanes, fields) to (lanes,)."""
        b = self.battery
        charge = observations[:, position(OWN_FIELDS, "charge_fraction")].astype(np.float64)
        energy_mwh = (charge - 0.5 * (b.min_fraction + b.max_fraction)) * b.capacity_kwh / 1000.0
        forecast = observations[:, positions(self.observation_fields, information.FORECAST_PREFIX)]
        return energy_mwh * b.discharge_efficiency * forecast.mean(axis=1, dtype=np.float64)

    def when(self, lane: np.void) -> pd.Timestamp:
        """Start of the period that a lane decides next, UTC."""
        return self.scenario.timestamps[lane["period"]]

    def picture(self, log: pd.DataFrame) -> NDArray[np.uint8]:
        """State of charge and power over the price they met, for the last two days."""
        from envs.picture import figure_to_rgb, two_panels  # plotting loads only when somebody looks

        return figure_to_rgb(two_panels(log))


@njit(cache=True)
def asked_kw(battery: Battery, power_fraction: float) -> float:
    """Grid power that an action asks for."""
    return power_fraction * (battery.max_charge_kw if power_fraction > 0.0 else battery.max_discharge_kw)


@njit(cache=True)
def write_observation(
    battery: Battery, energy_kwh: float, hours_left_h: float, shown: np.ndarray, observation: np.ndarray
) -> None:
    """Fill one observation, in simulation and live alike.

    Args:
        battery: The battery.
        energy_kwh: Stored energy now.
        hours_left_h: Time until the episode ends; live operation never ends.
        shown: What the market tells, a row of `envs.information.FIELDS`.
        observation: Written, shape (len(BatterySystem.observation_fields),).
    """
    observation[0] = energy_kwh / battery.capacity_kwh
    observation[1] = min(hours_left_h, HORIZON_H)
    for field in range(shown.size):
        observation[field + 2] = shown[field]


@njit(cache=True)
def _step_lanes(
    battery: Battery,
    adders: Adders,
    market: Market,
    lanes: np.ndarray,
    actions: np.ndarray,
    terms: np.ndarray,
    over: np.ndarray,
) -> None:
    for i in range(lanes.size):
        lane = lanes[i]
        t = lane.period
        energy_kwh, power_kw = battery_model.step(battery, lane.energy_kwh, asked_kw(battery, actions[i, 0]), PERIOD_H)
        metered_kwh = power_kw * PERIOD_H
        # Without a day-ahead position all of it is deviation.
        _, terms[i, 0] = energy_gbp(0.0, metered_kwh, 0.0, market.imbalance_price_gbp_per_mwh[t])
        terms[i, 1], terms[i, 2] = adders_gbp(adders, metered_kwh, market.carbon_g_per_kwh[t])
        terms[i, 3] = -battery.wear_gbp_per_kwh * abs(metered_kwh)
        over[i] = t + 1 >= lane.stop
        terms[i, 4] = 0.0
        if over[i]:
            gained_kwh = energy_kwh - lane.start_energy_kwh
            terms[i, 4] = gained_kwh * battery.discharge_efficiency * market.end_price_gbp_per_mwh[t + 1] / 1000.0
        lane.energy_kwh = energy_kwh
        lane.power_kw = power_kw
        lane.period = t + 1


@njit(cache=True)
def _observe_lanes(battery: Battery, shown: np.ndarray, lanes: np.ndarray, observations: np.ndarray) -> None:
    for i in range(lanes.size):
        lane = lanes[i]
        hours_left_h = (lane.stop - lane.period) * PERIOD_H
        write_observation(battery, lane.energy_kwh, hours_left_h, shown[lane.period], observations[i])


@njit(cache=True)
def _feasible_lanes(battery: Battery, lanes: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    for i in range(lanes.size):
        low_kw, high_kw = battery_model.power_limits_kw(battery, lanes[i].energy_kwh, PERIOD_H)
        low[i, 0] = low_kw / battery.max_discharge_kw if battery.max_discharge_kw > 0.0 else 0.0
        high[i, 0] = high_kw / battery.max_charge_kw if battery.max_charge_kw > 0.0 else 0.0
