"""A battery that trades the imbalance price: `gridpilot/Battery-v0`."""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from data.schema import PERIOD_H
from envs import information
from envs.fields import Field, FloatArray, position, positions
from envs.scenario import Market, Scenario, default_scenario
from envs.system import State
from models import battery as battery_model
from models.battery import Battery

# Columns of a lane's state row.
ENERGY_KWH: Final = 0
PERIOD: Final = 1  # row of the scenario that is decided next
STOP: Final = 2  # row at which the episode ends
START_ENERGY_KWH: Final = 3
POWER_KW: Final = 4  # grid power of the last period
STATE_SIZE: Final = 5

TERMS: Final = ("imbalance", "network", "carbon", "wear", "end_value")
HORIZON_H: Final = 24.0

OWN_FIELDS: Final = (
    Field("charge_fraction", 0.0, 1.0, "stored energy over capacity"),
    Field("hours_left_h", 0.0, HORIZON_H, "time until the episode ends, at most 24 h"),
)
ACTION_FIELDS: Final = (
    Field("power_fraction", -1.0, 1.0, "share of the highest charging (above 0) or discharging (below 0) power"),
)


class Adders(NamedTuple):
    """What a kWh costs beside its market price.

    Attributes:
        network_gbp_per_mwh: Network and policy costs of imported energy.
        carbon_gbp_per_tonne: Price put on the carbon of imported energy; exports earn it back.
    """

    network_gbp_per_mwh: float = 0.0
    carbon_gbp_per_tonne: float = 0.0


class BatterySystem:
    """A battery alone behind a meter, settled at the imbalance price (no day-ahead position).

    Each period it asks for a power, is given what is feasible, pays or earns the imbalance price and wears. At the
    end of an episode the energy gained or lost since its start is valued at the mean day-ahead price of the last
    24 hours, so that emptying the battery at the end is not a profit.
    """

    observation_fields = (*OWN_FIELDS, *information.FIELDS)
    action_fields = ACTION_FIELDS
    terms = TERMS
    state_size = STATE_SIZE

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

    def draw(self, rng: np.random.Generator) -> State:
        """A fresh lane at the start of a drawn episode, shape (STATE_SIZE,)."""
        episode = self.scenario.episodes[int(rng.integers(len(self.scenario.episodes)))]
        fraction = (
            rng.uniform(self.battery.min_fraction, self.battery.max_fraction)
            if self.start_fraction is None
            else self.start_fraction
        )
        energy_kwh = fraction * self.battery.capacity_kwh
        return np.array([energy_kwh, episode.first, episode.stop, energy_kwh, 0.0])

    def observe(self, state: State, observations: FloatArray) -> None:
        """Write each lane's observation; see `envs.system.System`."""
        _observe_lanes(self.battery, self.scenario.market.information, state, observations)

    def step(self, state: State, actions: FloatArray, terms: State, over: NDArray[np.bool_]) -> None:
        """Advance each lane by half an hour; see `envs.system.System`."""
        _step_lanes(self.battery, self.adders, self.scenario.market, state, actions, terms, over)

    def telemetry(self, state: State) -> dict[str, float]:
        """Stored energy, grid power of the last period and the price it was settled at."""
        row = int(state[PERIOD]) - 1
        return {
            "energy_kwh": float(state[ENERGY_KWH]),
            "charge_fraction": float(state[ENERGY_KWH]) / self.battery.capacity_kwh,
            "power_kw": float(state[POWER_KW]),
            "imbalance_price_gbp_per_mwh": float(self.scenario.market.imbalance_price_gbp_per_mwh[row]),
        }

    def held_gbp(self, observations: FloatArray) -> NDArray[np.float64]:
        """Worth of the stored energy beyond half the band at the mean forecast price, (lanes, fields) to (lanes,)."""
        b = self.battery
        charge = observations[:, position(OWN_FIELDS, "charge_fraction")].astype(np.float64)
        energy_mwh = (charge - 0.5 * (b.min_fraction + b.max_fraction)) * b.capacity_kwh / 1000.0
        forecast = observations[:, positions(self.observation_fields, information.FORECAST_PREFIX)]
        return energy_mwh * b.discharge_efficiency * forecast.mean(axis=1, dtype=np.float64)

    def when(self, state: State) -> pd.Timestamp:
        """Start of the period that a lane decides next, UTC."""
        return self.scenario.timestamps[int(state[PERIOD])]

    def picture(self, log: pd.DataFrame) -> NDArray[np.uint8]:
        """State of charge and power over the price they met, for the last two days."""
        from envs.picture import figure_to_rgb, two_panels  # plotting loads only when somebody looks

        return figure_to_rgb(two_panels(log))


@njit(cache=True)
def _step_lanes(
    battery: Battery,
    adders: Adders,
    market: Market,
    state: np.ndarray,
    actions: np.ndarray,
    terms: np.ndarray,
    over: np.ndarray,
) -> None:
    for lane in range(state.shape[0]):
        over[lane] = _step_lane(battery, adders, market, state[lane], actions[lane], terms[lane])


@njit(cache=True)
def _step_lane(
    battery: Battery, adders: Adders, market: Market, state: np.ndarray, action: np.ndarray, terms: np.ndarray
) -> bool:
    t = int(state[PERIOD])
    asked_kw = action[0] * (battery.max_charge_kw if action[0] > 0.0 else battery.max_discharge_kw)
    energy_kwh, power_kw = battery_model.step(battery, state[ENERGY_KWH], asked_kw, PERIOD_H)
    bought_mwh = power_kw * PERIOD_H / 1000.0
    terms[0] = -market.imbalance_price_gbp_per_mwh[t] * bought_mwh
    terms[1] = -adders.network_gbp_per_mwh * max(bought_mwh, 0.0)
    terms[2] = -adders.carbon_gbp_per_tonne * market.carbon_g_per_kwh[t] * bought_mwh / 1000.0
    terms[3] = -battery.wear_gbp_per_kwh * abs(power_kw) * PERIOD_H
    over = t + 1 >= state[STOP]
    terms[4] = 0.0
    if over:
        gained_kwh = energy_kwh - state[START_ENERGY_KWH]
        terms[4] = gained_kwh * battery.discharge_efficiency * market.end_price_gbp_per_mwh[t + 1] / 1000.0
    state[ENERGY_KWH] = energy_kwh
    state[POWER_KW] = power_kw
    state[PERIOD] = t + 1
    return over


@njit(cache=True)
def _observe_lanes(battery: Battery, shown: np.ndarray, state: np.ndarray, observations: np.ndarray) -> None:
    for lane in range(state.shape[0]):
        t = int(state[lane, PERIOD])
        observations[lane, 0] = state[lane, ENERGY_KWH] / battery.capacity_kwh
        observations[lane, 1] = min((state[lane, STOP] - t) * PERIOD_H, HORIZON_H)
        for i in range(shown.shape[1]):
            observations[lane, i + 2] = shown[t, i]
