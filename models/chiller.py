"""The cooling plant's electricity: compressors after free cooling, pumps, tower fans and controls.

Heat goes from supply air over coils, chiller and tower to the outdoor wet bulb. Humidity and dew point are left out.
"""

from math import inf
from typing import NamedTuple

from numba import njit

from models.compiling import PHYSICS

ZERO_C_IN_K = 273.15


class Chiller(NamedTuple):
    """Parameters of the plant; the defaults go with the default `models.hall.Hall`.

    Attributes:
        capacity_kw: Most heat the plant can remove.
        carnot_fraction: Compressor COP over the ideal one.
        evaporator_approach_k: Supply air above evaporating refrigerant, at full capacity.
        condenser_approach_k: Condensing refrigerant above outdoor wet bulb, at full capacity.
        economiser_approach_k: Supply air above outdoor wet bulb at which free cooling carries the full capacity.
        min_lift_k: Lowest lift the compressor accepts.
        parasitic_fraction: Pumps and tower fans, electricity per unit of heat removed. The default adds up
            ANSI/ASHRAE/IES 90.1 figures: pumps of 22 and 19 W/gpm (appendix G) and a tower of 40.2 gpm/hp.
        standby_kw: Controls and minimum flow, always on.
    """

    capacity_kw: float = 750.0
    carnot_fraction: float = 0.55
    evaporator_approach_k: float = 9.0
    condenser_approach_k: float = 13.0
    economiser_approach_k: float = 13.0
    min_lift_k: float = 10.0
    parasitic_fraction: float = 0.045
    standby_kw: float = 5.0


_RANGES = (
    ("capacity_kw", 1.0, 1e6),
    ("carnot_fraction", 0.05, 1.0),
    ("evaporator_approach_k", 0.0, 40.0),
    ("condenser_approach_k", 0.0, 40.0),
    ("economiser_approach_k", 0.5, 60.0),
    ("min_lift_k", 0.5, 60.0),
    ("parasitic_fraction", 0.0, 1.0),
    ("standby_kw", 0.0, inf),
)


def checked(chiller: Chiller) -> Chiller:
    """Return the chiller, or say which parameter is wrong.

    Raises:
        ValueError: A parameter is NaN, infinite, negative or outside its range.
    """
    for name, low, high in _RANGES:
        value = getattr(chiller, name)
        if not low <= value <= high:
            raise ValueError(f"chiller {name} is {value}; allowed is {low:g} to {high:g}, check its unit")
    if chiller.standby_kw > 0.5 * chiller.capacity_kw:
        raise ValueError(
            f"chiller standby_kw is {chiller.standby_kw} and capacity_kw is {chiller.capacity_kw}; standby must be "
            "at most half the capacity, check that both are in kW"
        )
    return chiller


@njit(**PHYSICS)
def free_cooling_kw(chiller: Chiller, supply_c: float, wet_bulb_c: float) -> float:
    """Heat that a water-side economiser carries without the chiller.

    Tower, heat exchanger and coil in series pass heat in proportion to the temperature between supply air and wet
    bulb. The chiller takes over the rest in series (the integrated economiser of ANSI/ASHRAE/IES 90.1, 6.5.1.3).
    """
    return chiller.capacity_kw * min(max((supply_c - wet_bulb_c) / chiller.economiser_approach_k, 0.0), 1.0)


@njit(**PHYSICS)
def work_per_heat(chiller: Chiller, supply_c: float, wet_bulb_c: float, load_fraction: float) -> float:
    """Electricity over heat of the compressors, 1 / COP: the COP is a fixed share of Carnot's between the refrigerants.

    Source: the Carnot chillers of the Modelica Buildings library (Wetter et al. 2014, Journal of Building
    Performance Simulation 7(4)). Both approaches shrink in proportion to the plant's load, as heat exchangers' do.
    """
    evaporating_c = supply_c - chiller.evaporator_approach_k * load_fraction
    condensing_c = wet_bulb_c + chiller.condenser_approach_k * load_fraction
    lift_k = max(condensing_c - evaporating_c, chiller.min_lift_k)
    return lift_k / (chiller.carnot_fraction * (evaporating_c + ZERO_C_IN_K))


@njit(**PHYSICS)
def compressor_kw(chiller: Chiller, heat_kw: float, supply_c: float, wet_bulb_c: float) -> float:
    """Compressor electricity to remove `heat_kw`, of which free cooling carries what it can."""
    chilled_kw = max(heat_kw - free_cooling_kw(chiller, supply_c, wet_bulb_c), 0.0)
    return chilled_kw * work_per_heat(chiller, supply_c, wet_bulb_c, heat_kw / chiller.capacity_kw)


@njit(**PHYSICS)
def auxiliary_kw(chiller: Chiller, heat_kw: float) -> float:
    """Electricity of pumps, tower fans and standby while `heat_kw` is removed."""
    return chiller.standby_kw + chiller.parasitic_fraction * heat_kw


@njit(**PHYSICS)
def electricity_per_heat(chiller: Chiller, heat_kw: float, supply_c: float, wet_bulb_c: float) -> float:
    """Electricity over heat, standby aside, while the plant removes `heat_kw`; without heat only the pumps'."""
    chilled = compressor_kw(chiller, heat_kw, supply_c, wet_bulb_c) / heat_kw if heat_kw > 0.0 else 0.0
    return chilled + chiller.parasitic_fraction
