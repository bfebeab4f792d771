"""A battery that trades the imbalance price: `gridpilot/Battery-v0`."""

from collections.abc import Sequence
from functools import cached_property
from typing import Final, Literal

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from data.schema import PERIOD_H, PERIOD_MINUTES
from envs import charge, information
from envs.fields import Field, FloatArray
from envs.scenario import Market, Scenario, default_scenario
from envs.system import Lanes
from models import battery as battery_model
from models.battery import Battery
from models.compiling import KERNEL, LOOP
from models.settlement import Adders, adders_gbp, checked_adders, energy_gbp

LANE: Final = np.dtype(
    [
        ("energy_kwh", np.float64),
        ("period", np.int64),  # row of the history that is decided next
        ("quarter_past", np.int64),  # 1 where that is the second decision in the period
        ("stop", np.int64),  # row at which the episode ends
        ("start_energy_kwh", np.float64),
        ("power_kw", np.float64),  # grid power of the last step
    ]
)
TERMS: Final = ("imbalance", "network", "carbon", "wear", "end_value")
HORIZON_H: Final = 24.0
QUARTER: Final = pd.Timedelta(minutes=15)

OWN_FIELDS: Final = (
    Field("charge_fraction", 0.0, 1.0, "stored energy over capacity"),
    Field("hours_left_h", 0.0, HORIZON_H, "time until the episode ends, at most 24 h"),
)
QUARTER_PAST: Final = Field("quarter_past", 0.0, 1.0, "1 when the period is decided a second time, 15 minutes into it")
ACTION_FIELDS: Final = (
    Field("power_fraction", -1.0, 1.0, "share of the highest charging (above 0) or discharging (below 0) power"),
)


class BatterySystem(charge.ChargedSystem):
    """A battery alone behind a meter, settled at the imbalance price (no day-ahead position).

    Each period it asks for a power, is given what is feasible, pays or earns the imbalance price and wears. At the
    end of an episode the energy gained or lost since its start is valued at the mean day-ahead price of the last
    24 hours, so that emptying the battery at the end is not a profit.

    With `decision_minutes=15` each period is decided twice: at its start, and a quarter of an hour later, when the
    imbalance price and volume of the period before are out. A step then lasts a quarter of an hour, and one field is
    added at the end of the observation: `quarter_past`, 1 at the second decision. Both quarters are settled together at
    the period's price; each is booked in its own step, which adds up to the same. The first booking hints at a price
    that is not published yet: rewards are for learners and scores, never for a policy that acts.
    """

    action_fields = ACTION_FIELDS
    terms = TERMS
    lane = LANE

    def __init__(
        self,
        scenario: Scenario | None = None,
        battery: Battery | None = None,
        adders: Adders | None = None,
        start_fraction: float | None = 0.5,
        decision_minutes: Literal[15, 30] = 30,
    ) -> None:
        """Put a battery into a market.

        Args:
            scenario: Where episodes come from; the synthetic training split by weeks if not given.
            battery: The battery; the default site's if not given.
            adders: Costs beside the market price; none if not given.
            start_fraction: State of charge at the start of an episode; None draws it from the allowed band.
            decision_minutes: 30 to decide each period once, 15 to decide it again when it is half over.

        Raises:
            ValueError: If a parameter is out of range.
        """
        self.scenario = scenario or default_scenario()
        self.battery = battery_model.checked(battery or Battery())
        self.adders = checked_adders(adders or Adders())
        self.start_fraction = charge.checked_start(self.battery, start_fraction)
        if decision_minutes not in (15, 30):
            raise ValueError(f"decision_minutes is {decision_minutes}; allowed are 30 and 15")
        self.decision_minutes = decision_minutes
        self.observation_fields = observation_fields(decision_minutes)

    @cached_property
    def _shown(self) -> FloatArray:
        """What the market tells at each decision of a period, shape (decisions, n + 1, fields)."""
        history = self.scenario.history
        return history.price_information[None] if self.decision_minutes == 30 else history.price_information_twice

    def begin(self, lane: np.void) -> None:
        """Nothing is left to set; see `envs.episodes.EpisodeSystem`."""

    def observe(self, lanes: Lanes, observations: FloatArray) -> None:
        """Write each lane's observation; see `envs.system.System`."""
        _observe_lanes(self.battery, self._shown, lanes, observations)

    def step(
        self,
        lanes: Lanes,
        actions: FloatArray,
        terms: NDArray[np.float64],
        over: NDArray[np.bool_],
        observations: FloatArray,
    ) -> None:
        """Advance each lane by one decision; see `envs.system.System`."""
        _step_lanes(
            self.battery, self.adders, self.scenario.market, self.decision_minutes, self._shown,
            lanes, actions, terms, over, observations,
        )  # fmt: skip

    def parameters(self) -> dict[str, dict[str, float]]:
        """Battery and adders; see `envs.system.System`."""
        return {"battery": self.battery._asdict(), "adders": self.adders._asdict()}

    def feasible(self, lanes: Lanes) -> tuple[FloatArray, FloatArray]:
        """Feasible share of the highest power; see `envs.system.System`."""
        low, high = np.empty((2, lanes.size, 1), dtype=np.float32)
        charge.feasible_fractions(self.battery, self.decision_minutes / 60.0, lanes, low[:, 0], high[:, 0])
        return low, high

    def telemetry(self, lane: np.void) -> dict[str, float]:
        """Stored energy, grid power of the last step and the price it was settled at."""
        energy_kwh = float(lane["energy_kwh"])
        settled = lane["period"] - 1  # the period of the last step
        if self.decision_minutes != PERIOD_MINUTES:
            settled += lane["quarter_past"]
        return {
            "energy_kwh": energy_kwh,
            "charge_fraction": energy_kwh / self.battery.capacity_kwh,
            "power_kw": float(lane["power_kw"]),
            "imbalance_price_gbp_per_mwh": float(self.scenario.market.imbalance_price_gbp_per_mwh[settled]),
        }

    def when(self, lane: np.void) -> pd.Timestamp:
        """When a lane decides next, UTC."""
        return super().when(lane) + int(lane["quarter_past"]) * QUARTER

    def picture(self, log: pd.DataFrame) -> NDArray[np.uint8]:
        """State of charge and power over the price they met, for the last two days."""
        from envs.picture import figure_to_rgb, two_panels  # plotting loads only when somebody looks

        return figure_to_rgb(two_panels(log, self.decision_minutes / (24 * 60)))


def observation_fields(decision_minutes: int) -> tuple[Field, ...]:
    """Layout of an observation when a decision falls every 30 or every 15 minutes."""
    fields = (*OWN_FIELDS, *information.FIELDS)
    return fields if decision_minutes == 30 else (*fields, QUARTER_PAST)


def decision_minutes(names: Sequence[str]) -> int:
    """How often a policy decides whose observation has these fields."""
    return 15 if QUARTER_PAST.name in names else 30


@njit(**KERNEL)
def write_observation(
    battery: Battery,
    energy_kwh: float,
    hours_left_h: float,
    quarter_past: int,
    shown: np.ndarray,
    observation: np.ndarray,
) -> None:
    """Fill one observation, in simulation and live alike.

    Args:
        battery: The battery.
        energy_kwh: Stored energy now.
        hours_left_h: Time until the episode ends; live operation never ends.
        quarter_past: 1 at the second decision in a period; written where the layout has it.
        shown: What the market tells, a row of `envs.information.FIELDS`.
        observation: Written, shape (len(observation_fields(decision_minutes)),).
    """
    observation[0] = energy_kwh / battery.capacity_kwh
    observation[1] = min(hours_left_h, HORIZON_H)
    for field in range(shown.size):
        observation[field + 2] = shown[field]
    if observation.size > shown.size + 2:
        observation[shown.size + 2] = quarter_past


@njit(**LOOP)
def _step_lanes(
    battery: Battery,
    adders: Adders,
    market: Market,
    decision_minutes: int,
    shown: np.ndarray,
    lanes: np.ndarray,
    actions: np.ndarray,
    terms: np.ndarray,
    over: np.ndarray,
    observations: np.ndarray,
) -> None:
    whole = decision_minutes == PERIOD_MINUTES
    step_h = PERIOD_H if whole else 0.5 * PERIOD_H
    for i in range(lanes.size):
        lane = lanes[i]
        t = lane.period
        asked_kw = battery_model.asked_kw(battery, actions[i, 0])
        if whole:  # a length that the compiler knows saves two divisions
            energy_kwh, power_kw = battery_model.step(battery, lane.energy_kwh, asked_kw, PERIOD_H)
        else:
            energy_kwh, power_kw = battery_model.step(battery, lane.energy_kwh, asked_kw, 0.5 * PERIOD_H)
        metered_kwh = power_kw * step_h
        # Without a day-ahead position all of it is deviation.
        _, terms[i, 0] = energy_gbp(0.0, metered_kwh, 0.0, market.imbalance_price_gbp_per_mwh[t])
        terms[i, 1], terms[i, 2] = adders_gbp(adders, metered_kwh, market.carbon_g_per_kwh[t])
        terms[i, 3] = -battery.wear_gbp_per_kwh * abs(metered_kwh)
        ends = whole or lane.quarter_past == 1  # the period, with this step
        over[i] = ends and t + 1 >= lane.stop
        terms[i, 4] = 0.0
        if over[i]:
            gained_kwh = energy_kwh - lane.start_energy_kwh
            terms[i, 4] = gained_kwh * battery.discharge_efficiency * market.end_price_gbp_per_mwh[t + 1] / 1000.0
        lane.energy_kwh = energy_kwh
        lane.power_kw = power_kw
        lane.period = t + 1 if ends else t
        lane.quarter_past = 0 if ends else 1
        _observe(battery, shown, lane, observations[i])


@njit(**LOOP)
def _observe_lanes(battery: Battery, shown: np.ndarray, lanes: np.ndarray, observations: np.ndarray) -> None:
    for i in range(lanes.size):
        _observe(battery, shown, lanes[i], observations[i])


@njit(**KERNEL)
def _observe(battery: Battery, shown: np.ndarray, lane: np.void, observation: np.ndarray) -> None:
    t, quarter_past = lane["period"], lane["quarter_past"]
    hours_left_h = (lane["stop"] - t - 0.5 * quarter_past) * PERIOD_H
    write_observation(battery, lane["energy_kwh"], hours_left_h, quarter_past, shown[quarter_past, t], observation)
