"""The charge of a battery, as every system with one draws, values and bounds it."""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from envs.fields import FloatArray
from models.battery import Battery, as_fractions, power_limits_kw
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


def start_kwh(
    battery: Battery, start_fraction: float | None, rngs: Sequence[np.random.Generator]
) -> NDArray[np.float64]:
    """Stored energy at the start of an episode; without a fraction each generator draws it from the allowed band."""
    if start_fraction is not None:
        return np.full(len(rngs), start_fraction * battery.capacity_kwh)
    drawn = [rng.uniform(battery.min_fraction, battery.max_fraction) for rng in rngs]
    return np.array(drawn) * battery.capacity_kwh


def held_gbp(battery: Battery, charge_fraction: FloatArray, forecast_gbp_per_mwh: FloatArray) -> NDArray[np.float64]:
    """Worth of the stored energy beyond half the band at the mean forecast price.

    Args:
        battery: The battery.
        charge_fraction: Shape (lanes,).
        forecast_gbp_per_mwh: Shape (lanes, leads).
    """
    beyond = charge_fraction.astype(np.float64) - 0.5 * (battery.min_fraction + battery.max_fraction)
    energy_mwh = beyond * battery.capacity_kwh / 1000.0
    return energy_mwh * battery.discharge_efficiency * forecast_gbp_per_mwh.mean(axis=1, dtype=np.float64)


@njit(**LOOP)
def feasible_fractions(battery: Battery, step_h: float, lanes: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Write what each lane's battery can do in the next `step_h` hours, into columns of shape (lanes,)."""
    for i in range(lanes.size):
        low_kw, high_kw = power_limits_kw(battery, lanes[i]["energy_kwh"], step_h)
        low[i], high[i] = as_fractions(battery, low_kw, high_kw)
