"""Hall and plant together: what a step takes in electricity and leaves in degree-hours.

The plant may take 0 to the chiller's capacity; at each control sample (`substep_h`) it takes what brings the supply air
to where a first-order lag towards the set-point would have it. A load above the capacity is not hidden: the hall warms
and the flows say so.
"""

from math import ceil, exp, inf
from typing import NamedTuple

from numba import njit

from models import chiller as chiller_model
from models import hall as hall_model
from models.chiller import Chiller, auxiliary_kw, compressor_kw
from models.compiling import PHYSICS
from models.hall import (
    Hall,
    HallState,
    Propagator,
    advanced,
    fan_power_kw,
    feasible_action,
    inlet_c,
    propagator,
    recirculation_fraction,
    weighted,
)


class CoolingFlows(NamedTuple):
    """What happened during a step.

    Attributes:
        cooling_kw: Mean electricity of the whole plant, the sum of the next three.
        chiller_kw: Mean electricity of the compressors.
        fan_kw: Electricity of the hall fans.
        other_kw: Mean electricity of pumps, tower fans and standby.
        heat_removed_kw: Mean heat taken out of the hall, IT and fan heat alike.
        inlet_c: Rack inlet air at the end of the step.
        recommended_excess_c_h: Degree-hours of the inlet above the recommended limit.
        allowable_excess_c_h: Degree-hours of the inlet above the allowable limit.
        setpoint_c: Set-point in force, after the limits.
        fan_fraction: Fan speed in force, after the limits.
    """

    cooling_kw: float
    chiller_kw: float
    fan_kw: float
    other_kw: float
    heat_removed_kw: float
    inlet_c: float
    recommended_excess_c_h: float
    allowable_excess_c_h: float
    setpoint_c: float
    fan_fraction: float


class Setting(NamedTuple):
    """What set-point, fan speed and length of a step decide, whatever the temperatures.

    Attributes:
        setpoint_c: Set-point in force, after the limits.
        fan_fraction: Fan speed in force, after the limits.
        fan_kw: Electricity of the hall fans.
        substeps: Control samples of the plant in a step.
        span_h: Time between two of them.
        propagator: The network over that time.
        kept_fraction: Of the supply air's distance to the set-point, over that time.
        wanted_kw_per_k: Weights of the temperatures in the heat that the plant has to take.
        ahead_kw_per_k: The same for the next sample, by the temperatures of this one, before what it takes now.
        warmed_fraction: What each kW put into the air adds to the heat to take at the next sample.
        eased_fraction: What each kW taken now spares then.
    """

    setpoint_c: float
    fan_fraction: float
    fan_kw: float
    substeps: int
    span_h: float
    propagator: Propagator
    kept_fraction: float
    wanted_kw_per_k: HallState
    ahead_kw_per_k: HallState
    warmed_fraction: float
    eased_fraction: float


class InletPenalty(NamedTuple):
    """What rack inlets above their limits cost; assumptions, for the default site's hall.

    A chiller spares the hall's 600 kW of IT about 2 kW per kelvin of warmer supply: at 2 GBP the recommended limit
    binds but for the dearest hours.

    Attributes:
        recommended_gbp_per_c_h: Price of a degree-hour above the recommended limit.
        allowable_gbp_per_c_h: Price of a degree-hour above the allowable limit, on top of the other.
    """

    recommended_gbp_per_c_h: float = 2.0
    allowable_gbp_per_c_h: float = 50.0


def checked(hall: Hall, chiller: Chiller) -> tuple[Hall, Chiller]:
    """Return hall and chiller, or say which parameter of either is wrong, or that they do not belong together.

    Raises:
        ValueError: See `models.hall.checked` and `models.chiller.checked`; or the capacity of one and the air flow of
            the other cannot both be right.
    """
    hall_model.checked(hall)
    chiller_model.checked(chiller)
    rise_k = chiller.capacity_kw / hall.air_conductance_kw_per_k
    if not 2.0 <= rise_k <= 100.0:
        raise ValueError(
            f"chiller capacity_kw {chiller.capacity_kw} divided by hall air_conductance_kw_per_k "
            f"{hall.air_conductance_kw_per_k} must be 2 to 100 K; check the units in their names"
        )
    return hall, chiller


def checked_penalty(penalty: InletPenalty) -> InletPenalty:
    """Return the penalty, or say which part is wrong.

    Raises:
        ValueError: A part is NaN, infinite or negative.
    """
    for name, value in penalty._asdict().items():
        if not 0.0 <= value < inf:
            raise ValueError(f"inlet penalty {name} is {value}; it must be a finite number, 0 or above")
    return penalty


@njit(**PHYSICS)
def inlet_penalty_gbp(penalty: InletPenalty, flows: CoolingFlows) -> float:
    """What a step's degree-hours cost."""
    recommended_gbp = penalty.recommended_gbp_per_c_h * flows.recommended_excess_c_h
    return recommended_gbp + penalty.allowable_gbp_per_c_h * flows.allowable_excess_c_h


@njit(**PHYSICS)
def _mean_excess_k(limit_c: float, before_c: float, after_c: float) -> float:
    return 0.5 * (max(before_c - limit_c, 0.0) + max(after_c - limit_c, 0.0))


@njit(**PHYSICS)
def pue(it_kw: float, cooling_kw: float, loss_kw: float) -> float:
    """Power usage effectiveness, (IT + cooling + electrical loss) / IT (ISO/IEC 30134-2); infinite without IT load."""
    return (it_kw + cooling_kw + loss_kw) / it_kw if it_kw > 0.0 else inf


@njit(**PHYSICS)
def setting(hall: Hall, setpoint_c: float, fan_fraction: float, dt_h: float) -> Setting:
    """What is decided for the next `dt_h` hours; see `step`."""
    setpoint_c, fan_fraction = feasible_action(hall, setpoint_c, fan_fraction)
    substeps = max(ceil(dt_h / hall.substep_h - 1e-9), 1)
    span_h = dt_h / substeps
    p, kept = propagator(hall, fan_fraction, span_h), exp(-span_h / hall.supply_lag_h)
    per_k = 1.0 / p.loop_response.supply_c
    wanted = HallState(p.to_supply.mass_c * per_k, p.to_supply.air_c * per_k, (p.to_supply.supply_c - kept) * per_k)
    ahead = HallState(
        wanted.mass_c * p.to_mass.mass_c + wanted.air_c * p.to_air.mass_c + wanted.supply_c * p.to_supply.mass_c,
        wanted.mass_c * p.to_mass.air_c + wanted.air_c * p.to_air.air_c + wanted.supply_c * p.to_supply.air_c,
        wanted.mass_c * p.to_mass.supply_c + wanted.air_c * p.to_air.supply_c + wanted.supply_c * p.to_supply.supply_c,
    )
    return Setting(
        setpoint_c,
        fan_fraction,
        fan_power_kw(hall, fan_fraction),
        substeps,
        span_h,
        p,
        kept,
        wanted,
        ahead,
        weighted(wanted, p.air_response),
        weighted(wanted, p.loop_response),
    )


@njit(**PHYSICS)
def run(
    hall: Hall, chiller: Chiller, setting: Setting, state: HallState, it_kw: float, wet_bulb_c: float
) -> tuple[HallState, CoolingFlows]:
    """Run hall and plant under a setting; see `step`."""
    p, span_h, air_kw = setting.propagator, setting.span_h, it_kw + setting.fan_kw
    recirculation = recirculation_fraction(hall, it_kw, setting.fan_fraction)
    # What brings the supply air to where the lag has it is linear in the temperatures, also in those one sample before:
    # so it is known as soon as they are, and no sample waits for all that the one before it did.
    apart_c = p.air_response.supply_c * air_kw - (1.0 - setting.kept_fraction) * setting.setpoint_c
    apart_kw = apart_c / p.loop_response.supply_c
    wanted_kw = apart_kw + weighted(setting.wanted_kw_per_k, state)
    apart_kw += setting.warmed_fraction * air_kw

    chiller_kw = heat_removed_kw = recommended_c_h = allowable_c_h = 0.0
    before_c = inlet_c(state, recirculation)
    for _ in range(setting.substeps):
        free = advanced(p, state, air_kw)
        heat_kw = min(max(wanted_kw, 0.0), chiller.capacity_kw)
        wanted_kw = apart_kw + weighted(setting.ahead_kw_per_k, state) - setting.eased_fraction * heat_kw
        after = HallState(
            free.mass_c - heat_kw * p.loop_response.mass_c,
            free.air_c - heat_kw * p.loop_response.air_c,
            free.supply_c - heat_kw * p.loop_response.supply_c,
        )
        chiller_kw += compressor_kw(chiller, heat_kw, 0.5 * (state.supply_c + after.supply_c), wet_bulb_c)
        heat_removed_kw += heat_kw
        after_c = inlet_c(after, recirculation)
        recommended_c_h += _mean_excess_k(hall.recommended_inlet_c, before_c, after_c) * span_h
        allowable_c_h += _mean_excess_k(hall.allowable_inlet_c, before_c, after_c) * span_h
        state, before_c = after, after_c

    chiller_kw /= setting.substeps
    heat_removed_kw /= setting.substeps
    other_kw = auxiliary_kw(chiller, heat_removed_kw)
    return state, CoolingFlows(
        chiller_kw + setting.fan_kw + other_kw,
        chiller_kw,
        setting.fan_kw,
        other_kw,
        heat_removed_kw,
        before_c,
        recommended_c_h,
        allowable_c_h,
        setting.setpoint_c,
        setting.fan_fraction,
    )


@njit(**PHYSICS)
def step(
    hall: Hall,
    chiller: Chiller,
    state: HallState,
    it_kw: float,
    wet_bulb_c: float,
    setpoint_c: float,
    fan_fraction: float,
    dt_h: float,
) -> tuple[HallState, CoolingFlows]:
    """Run hall and plant for `dt_h` hours under constant inputs.

    The chiller's conditions are those at the mean of a substep's first and last supply temperature; degree-hours
    add up the mean excess of its two ends. The split into substeps does not depend on where a step begins, so steps
    of whole substeps can be cut or joined without a change.

    Args:
        hall: Parameters, see `checked`.
        chiller: Parameters, see `checked`.
        state: Temperatures at the start.
        it_kw: IT load, all of it heat in the hall; finite and not negative.
        wet_bulb_c: Outdoor wet bulb; finite.
        setpoint_c: Wanted supply temperature, any number: see `models.hall.feasible_action`.
        fan_fraction: Wanted fan speed, any number: see `models.hall.feasible_action`.
        dt_h: Length of the step, above 0.

    Returns:
        The temperatures at the end, and the flows.
    """
    return run(hall, chiller, setting(hall, setpoint_c, fan_fraction, dt_h), state, it_kw, wet_bulb_c)
