"""Wet bulb from dry bulb and relative humidity: psychrolib's answer, tabulated once and read by compiled code."""

from functools import cache
from typing import Final

import numpy as np
import psychrolib
from numba import njit
from numpy.typing import ArrayLike, NDArray

PRESSURE_PA: Final = 101_325.0
LOWEST_C: Final = -40.0
HIGHEST_C: Final = 55.0
STEP_C: Final = 0.5
STEP_PCT: Final = 2.0


@cache
def wet_bulb_table() -> NDArray[np.float64]:
    """Thermodynamic wet bulb in Celsius at sea level, from -40 to 55 C by 0.5 C and 0 to 100 % by 2 %.

    Source: psychrolib, after ASHRAE Handbook Fundamentals (2017), ch. 1, eq. 33 and 35. Those two, for wicks wet
    and frozen, do not meet at 0 C: the wet bulb jumps there, and within 1 C of it the table is up to 0.75 C off.
    Elsewhere it is within 0.02 C of psychrolib.

    Returns:
        Table of shape (191, 51); it is shared, so it is read-only.
    """
    psychrolib.SetUnitSystem(psychrolib.SI)  # a global of the library: set here and nowhere else
    temperature_c = np.linspace(LOWEST_C, HIGHEST_C, round((HIGHEST_C - LOWEST_C) / STEP_C) + 1)
    humidity_fraction = np.linspace(0.0, 1.0, round(100.0 / STEP_PCT) + 1)
    table: NDArray[np.float64] = psychrolib.GetTWetBulbFromRelHum(
        temperature_c[:, None], humidity_fraction[None, :], PRESSURE_PA
    )
    table.flags.writeable = False
    return table


@njit(cache=True)
def interpolated_c(table: NDArray[np.float64], temperature_c: float, relative_humidity_pct: float) -> float:
    """Bilinear reading of `wet_bulb_table`; beyond its edges it answers as at the edge, and NaN gives NaN."""
    if not (temperature_c == temperature_c and relative_humidity_pct == relative_humidity_pct):
        return np.nan
    row = min(max((temperature_c - LOWEST_C) / STEP_C, 0.0), table.shape[0] - 1.0)
    column = min(max(relative_humidity_pct / STEP_PCT, 0.0), table.shape[1] - 1.0)
    i, j = min(int(row), table.shape[0] - 2), min(int(column), table.shape[1] - 2)
    down, right = row - i, column - j
    upper = table[i, j] + right * (table[i, j + 1] - table[i, j])
    lower = table[i + 1, j] + right * (table[i + 1, j + 1] - table[i + 1, j])
    return float(upper + down * (lower - upper))


@njit(cache=True)
def _interpolated_all_c(
    table: NDArray[np.float64], temperature_c: NDArray[np.float64], relative_humidity_pct: NDArray[np.float64]
) -> NDArray[np.float64]:
    out = np.empty(temperature_c.size)
    for i in range(temperature_c.size):
        out[i] = interpolated_c(table, temperature_c[i], relative_humidity_pct[i])
    return out


def wet_bulb_c(temperature_c: ArrayLike, relative_humidity_pct: ArrayLike) -> NDArray[np.float64]:
    """Wet bulb temperature of outdoor air, see `wet_bulb_table` for source and error.

    Args:
        temperature_c: Dry bulb, -40 to 55 C, any shape; NaN (a gap) stays NaN.
        relative_humidity_pct: 0 to 100, broadcast against `temperature_c`.

    Returns:
        Wet bulb in Celsius, of the broadcast shape.

    Raises:
        ValueError: A value outside the ranges above.
    """
    temperature, humidity = np.broadcast_arrays(
        np.asarray(temperature_c, dtype=np.float64), np.asarray(relative_humidity_pct, dtype=np.float64)
    )
    for name, values, low, high in (
        ("temperature_c", temperature, LOWEST_C, HIGHEST_C),
        ("relative_humidity_pct", humidity, 0.0, 100.0),
    ):
        wrong = values[(values < low) | (values > high)]
        if wrong.size:
            raise ValueError(
                f"{name} holds {wrong[0]:g}, allowed is {low:g} to {high:g}; "
                "check the unit (Celsius, per cent) or clean the reading first"
            )
    flat = _interpolated_all_c(wet_bulb_table(), temperature.ravel(), humidity.ravel())
    return flat.reshape(temperature.shape)
