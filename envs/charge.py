"""The charge of a battery, as every system with one draws, values and bounds it."""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from envs.episodes import EpisodeSystem
from envs.fields import Field, FloatArray, position, positions
from envs.information import FORECAST_PREFIX
from envs.system import Lanes
from models.battery import Battery, as_fraction, power_limits_kw
from models.compiling import LOOP


def checked_start(battery: Battery, start_fraction: float | None) -> float | None:
    """Return the state of charge at the start of an episode, None if it is drawn.

    Raises:
        ValueError: The battery does not allow it.
    """
    if start_fraction is not None and not battery.min_fraction <= start_fraction <= battery.max_fraction:
        raise ValueError(
            f"start_fraction is {start_fraction}; the battery allows {battery.min_fraction} to {battery.max_fraction}"
        )
    return start_fraction


class ChargedSystem(EpisodeSystem):
    """What systems with a battery have in common.

    A lane's record also has the fields `energy_kwh` and `start_energy_kwh`; an observation shows `charge_fraction` and
    the forecast of prices.

    Attributes:
        battery: The battery.
        start_fraction: State of charge at the start of an episode; None draws it from the allowed band.
        observation_fields: Layout of an observation.
    """

    battery: Battery
    start_fraction: float | None
    observation_fields: tuple[Field, ...]

    def draw(self, rngs: Sequence[np.random.Generator], lanes: Lanes) -> None:
        """Set each lane to the start of a drawn episode; see `envs.system.System`."""
        super().draw(rngs, lanes)
        fractions: list[float] | float | None = self.start_fraction
        if fractions is None:
            fractions = [rng.uniform(self.battery.min_fraction, self.battery.max_fraction) for rng in rngs]
        lanes["energy_kwh"] = lanes["start_energy_kwh"] = np.multiply(fractions, self.battery.capacity_kwh)

    def held_gbp(self, observations: FloatArray) -> NDArray[np.float64]:
        """Worth of the stored energy beyond half the band at the mean forecast price, (lanes, fields) to (lanes,)."""
        charge_fraction = observations[:, position(self.observation_fields, "charge_fraction")].astype(np.float64)
        forecast = observations[:, positions(self.observation_fields, FORECAST_PREFIX)]
        beyond = charge_fraction - 0.5 * (self.battery.min_fraction + self.battery.max_fraction)
        sold_mwh = beyond * self.battery.capacity_kwh / 1000.0 * self.battery.discharge_efficiency
        return sold_mwh * forecast.mean(axis=1, dtype=np.float64)


@njit(**LOOP)
def feasible_fractions(battery: Battery, step_h: float, lanes: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Write what each lane's battery can do in the next `step_h` hours, into columns of shape (lanes,)."""
    for i in range(lanes.size):
        low_kw, high_kw = power_limits_kw(battery, lanes[i]["energy_kwh"], step_h)
        low[i], high[i] = as_fraction(battery, low_kw), as_fraction(battery, high_kw)
