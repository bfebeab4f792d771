"""A stationary battery: what it can do now, and what it does when asked."""

from math import isfinite, sqrt
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.compiling import KERNEL, RARE

SHORTEST_H: Final = 0.02  # of a charge at full power; a unit that is wrong by 1000 leaves this range
LONGEST_H: Final = 1000.0


class Battery(NamedTuple):
    """Parameters of a battery; the defaults are those of the default site.

    Attributes:
        capacity_kwh: Nameplate energy.
        max_charge_kw: Highest grid power while charging.
        max_discharge_kw: Highest grid power while discharging.
        min_fraction: Lowest allowed state of charge.
        max_fraction: Highest allowed state of charge.
        charge_efficiency: Stored over bought energy; the default splits a round trip of 0.94 evenly.
        discharge_efficiency: Sold over released energy.
        wear_gbp_per_kwh: Ageing cost of each kWh exchanged with the grid, in either direction.
    """

    capacity_kwh: float = 1000.0
    max_charge_kw: float = 250.0
    max_discharge_kw: float = 250.0
    min_fraction: float = 0.15
    max_fraction: float = 0.90
    charge_efficiency: float = sqrt(0.94)
    discharge_efficiency: float = sqrt(0.94)
    wear_gbp_per_kwh: float = 0.005


def checked(battery: Battery) -> Battery:
    """Return the battery, or say which parameter is wrong.

    Raises:
        ValueError: A parameter is not finite, negative, or outside its range, or capacity and power do not fit.
    """
    for name, value in battery._asdict().items():
        if not isfinite(value) or value < 0.0:
            raise ValueError(f"battery {name} is {value}; it must be a finite number, 0 or above")
    if not battery.capacity_kwh > 0.0:
        raise ValueError("battery capacity_kwh is 0; where there is no battery set its two powers to 0")
    for name in ("charge_efficiency", "discharge_efficiency"):
        if not 0.0 < getattr(battery, name) <= 1.0:
            raise ValueError(f"battery {name} is {getattr(battery, name)}; it must be above 0 and at most 1")
    if not battery.min_fraction <= battery.max_fraction <= 1.0:
        raise ValueError(
            f"battery allows {battery.min_fraction} to {battery.max_fraction} of its charge; "
            "it must be 0 <= min_fraction <= max_fraction <= 1"
        )
    power_kw = max(battery.max_charge_kw, battery.max_discharge_kw)
    if power_kw > 0.0 and not SHORTEST_H <= battery.capacity_kwh / power_kw <= LONGEST_H:
        raise ValueError(
            f"battery capacity_kwh is {battery.capacity_kwh:g} and its highest power {power_kw:g} kW; the first "
            f"divided by the second must be {SHORTEST_H:g} to {LONGEST_H:g} hours: is one of them in W or MW?"
        )
    return battery


@njit(**KERNEL)
def power_limits_kw(b: Battery, energy_kwh: float, dt_h: float) -> tuple[float, float]:
    """Lowest and highest feasible grid power over the next `dt_h` hours; charging is positive.

    A battery found outside its band (a bad reading, a changed limit) may move towards it only.
    """
    stock_kwh = max(energy_kwh - b.min_fraction * b.capacity_kwh, 0.0)
    room_kwh = max(b.max_fraction * b.capacity_kwh - energy_kwh, 0.0)
    low_kw = -min(b.max_discharge_kw, stock_kwh * b.discharge_efficiency / dt_h)
    high_kw = min(b.max_charge_kw, room_kwh / (b.charge_efficiency * dt_h))
    return low_kw, high_kw


@njit(**KERNEL)
def asked_kw(b: Battery, power_fraction: float) -> float:
    """Grid power that a share asks for: of the highest charging (above 0) or discharging (below 0) power."""
    return power_fraction * (b.max_charge_kw if power_fraction > 0.0 else b.max_discharge_kw)


@njit(**KERNEL)
def as_fraction(b: Battery, power_kw: float) -> float:
    """The share that asks for a grid power; 0 where the battery has none in that direction."""
    highest_kw = b.max_charge_kw if power_kw > 0.0 else b.max_discharge_kw
    return power_kw / highest_kw if highest_kw > 0.0 else 0.0


@njit(**KERNEL)
def step(b: Battery, energy_kwh: float, power_kw: float, dt_h: float) -> tuple[float, float]:
    """Stored energy after `dt_h` hours, and the grid power that was really exchanged.

    Args:
        b: The battery.
        energy_kwh: Stored energy now.
        power_kw: Requested grid power, charging positive; anything is allowed, NaN asks for nothing.
        dt_h: Length of the step.

    Returns:
        Stored energy afterwards and the clipped grid power.
    """
    low_kw, high_kw = power_limits_kw(b, energy_kwh, dt_h)
    power_kw = min(max(power_kw, low_kw), high_kw) if power_kw == power_kw else 0.0
    stored_kw = power_kw * b.charge_efficiency if power_kw > 0.0 else power_kw / b.discharge_efficiency
    return energy_kwh + stored_kw * dt_h, power_kw


@njit(**RARE)
def follow(
    b: Battery, energy_kwh: float, power_kw: NDArray[np.float64], hours: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Step after step of some length each: stored energy after each and the grid power exchanged in it, both (n,)."""
    stored_kwh, done_kw = np.empty(power_kw.size), np.empty(power_kw.size)
    for k in range(power_kw.size):
        energy_kwh, done_kw[k] = step(b, energy_kwh, power_kw[k], hours[k])
        stored_kwh[k] = energy_kwh
    return stored_kwh, done_kw
