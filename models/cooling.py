"""A GPU hall and its cooling plant: where the heat goes, how warm the racks get, what the electricity is.

Three lumped heat capacities in a chain (Bacher & Madsen 2011, Energy and Buildings 43(7), the RC networks):

    mass --mass_conductance-- air <== IT and fan heat
                               |  fan_fraction * air_conductance
                             supply ==> heat removed by the plant

Between two control samples (`substep_h`) every heat flow from outside is constant, so the network is solved exactly.
The plant may take 0 to `cooling_capacity_kw`; at each sample it takes what brings the supply air to where a first-order
lag towards the set-point would have it. A load above the capacity is not hidden: the hall warms and the flows say so.
Humidity, dew point and the hall's walls are left out.
"""

from math import ceil, exp, expm1, inf, sqrt
from typing import NamedTuple

from numba import njit

ZERO_C_IN_K = 273.15


class Hall(NamedTuple):
    """Parameters of hall and plant. The defaults carry up to 600 kW of IT on the default site of 1000 kW.

    Their inertia is worth half an hour of full load: 6 K on the set-point store some 350 kWh, over a few hours.

    Attributes:
        air_capacity_kwh_per_k: Hall air and the thin metal that follows it within minutes.
        mass_capacity_kwh_per_k: Racks, floor and water that follow the hall air slowly.
        loop_capacity_kwh_per_k: Coils and chilled water, at supply air temperature.
        mass_conductance_kw_per_k: Hall air to mass.
        air_conductance_kw_per_k: Heat carried per kelvin by the air flow at full fan speed (mass flow times c_p).
        supply_lag_h: Time constant of the supply air's approach to the set-point.
        cooling_capacity_kw: Most heat the plant can remove.
        rated_fan_kw: Electricity of the hall fans at full speed; all of it warms the hall air.
        min_fan_fraction: Lowest fan speed that keeps racks and coils ventilated.
        min_setpoint_c: Lowest supply air set-point.
        max_setpoint_c: Highest supply air set-point.
        safe_setpoint_c: Set-point held when none is given.
        leak_fraction: Share of hall air in the rack inlets when the fans deliver all the air that the servers draw.
        server_rise_k: Air temperature rise across a server; sets the air flow that the servers draw.
        carnot_fraction: Chiller COP over the ideal one.
        evaporator_approach_k: Supply air above evaporating refrigerant, at full cooling capacity.
        condenser_approach_k: Condensing refrigerant above outdoor wet bulb, at full cooling capacity.
        economiser_approach_k: Supply air above outdoor wet bulb at which free cooling carries the full capacity.
        min_lift_k: Lowest lift the compressor accepts.
        parasitic_fraction: Pumps and tower fans, electricity per unit of heat removed. The default adds up
            ANSI/ASHRAE/IES 90.1 figures: pumps of 22 and 19 W/gpm (appendix G) and a tower of 40.2 gpm/hp.
        standby_kw: Controls and minimum flow, always on.
        recommended_inlet_c: Upper rack inlet limit, recommended (ASHRAE TC 9.9 class A1, 18 to 27 C).
        allowable_inlet_c: Upper rack inlet limit, allowable (ASHRAE TC 9.9 class A1, 15 to 32 C).
        substep_h: Interval of the plant's control samples.
    """

    air_capacity_kwh_per_k: float = 2.0
    mass_capacity_kwh_per_k: float = 50.0
    loop_capacity_kwh_per_k: float = 6.0
    mass_conductance_kw_per_k: float = 50.0
    air_conductance_kw_per_k: float = 50.0
    supply_lag_h: float = 0.15
    cooling_capacity_kw: float = 750.0
    rated_fan_kw: float = 40.0
    min_fan_fraction: float = 0.3
    min_setpoint_c: float = 16.0
    max_setpoint_c: float = 30.0
    safe_setpoint_c: float = 20.0
    leak_fraction: float = 0.05
    server_rise_k: float = 15.0
    carnot_fraction: float = 0.55
    evaporator_approach_k: float = 9.0
    condenser_approach_k: float = 13.0
    economiser_approach_k: float = 13.0
    min_lift_k: float = 10.0
    parasitic_fraction: float = 0.045
    standby_kw: float = 5.0
    recommended_inlet_c: float = 27.0
    allowable_inlet_c: float = 32.0
    substep_h: float = 1.0 / 12.0


class HallState(NamedTuple):
    """Temperatures of the thermal mass, the hall air and the supply air."""

    mass_c: float
    air_c: float
    supply_c: float


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


class Propagator(NamedTuple):
    """Exact solution of the network over `span_h` at one fan speed, see `propagator`."""

    span_h: float
    first: float
    second: float
    flow_kw_per_k: float
    response: HallState  # warming over the span per kW put into the loop, K/kW


_RANGES = (
    (0.0, 60.0, ("min_setpoint_c", "safe_setpoint_c", "max_setpoint_c", "recommended_inlet_c", "allowable_inlet_c")),
    (0.0, 40.0, ("evaporator_approach_k", "condenser_approach_k")),
    (0.5, 60.0, ("economiser_approach_k", "server_rise_k", "min_lift_k")),
    (0.05, 1.0, ("min_fan_fraction", "carnot_fraction")),
    (0.0, 1.0, ("leak_fraction", "parasitic_fraction")),
    (0.005, 4.0, ("supply_lag_h",)),
    (1.0 / 3600.0, 1.0, ("substep_h",)),
    (1.0, 1e6, ("cooling_capacity_kw",)),
)
_RATIOS = (  # extensive numbers have no range of their own, but a wrong unit shows in what they are divided by
    ("cooling_capacity_kw", "air_conductance_kw_per_k", 2.0, 100.0),
    ("air_capacity_kwh_per_k", "air_conductance_kw_per_k", 0.001, 5.0),
    ("loop_capacity_kwh_per_k", "air_conductance_kw_per_k", 0.001, 5.0),
    ("mass_capacity_kwh_per_k", "mass_conductance_kw_per_k", 0.01, 100.0),
    ("mass_conductance_kw_per_k", "air_conductance_kw_per_k", 0.01, 100.0),
    ("rated_fan_kw", "cooling_capacity_kw", 0.0, 0.5),
    ("standby_kw", "cooling_capacity_kw", 0.0, 0.5),
)


def checked(hall: Hall) -> Hall:
    """Return the hall, or say which parameter is wrong.

    Raises:
        ValueError: A parameter is NaN, infinite, negative or outside its range, two limits are out of order,
            or two parameters are in units that cannot both be right.
    """
    value = hall._asdict()
    for low, high, names in _RANGES:
        for name in names:
            if not low <= value[name] <= high:
                raise ValueError(f"hall {name} is {value[name]}; allowed is {low:g} to {high:g}, check its unit")
    for name, other, low, high in _RATIOS:
        if not (value[name] >= 0.0 and 0.0 < value[other] < inf and low <= value[name] / value[other] <= high):
            raise ValueError(
                f"hall {name} is {value[name]} and {other} is {value[other]}; the first divided by the second "
                f"must be {low:g} to {high:g}, check the units in their names"
            )
    if not hall.min_setpoint_c <= hall.safe_setpoint_c <= hall.max_setpoint_c:
        raise ValueError(
            f"hall set-points are min {hall.min_setpoint_c}, safe {hall.safe_setpoint_c}, max {hall.max_setpoint_c}; "
            "put them in this order, smallest first"
        )
    if not hall.recommended_inlet_c <= hall.allowable_inlet_c:
        raise ValueError(
            f"hall recommended_inlet_c {hall.recommended_inlet_c} is above allowable_inlet_c {hall.allowable_inlet_c}; "
            "the recommended limit is the stricter one"
        )
    return hall


@njit(cache=True)
def setpoint_limits_c(hall: Hall) -> tuple[float, float]:
    """Lowest and highest supply set-point that the plant accepts; what it cannot reach, its capacity decides."""
    return hall.min_setpoint_c, hall.max_setpoint_c


@njit(cache=True)
def fan_limits(hall: Hall) -> tuple[float, float]:
    """Lowest and highest fan speed, as fractions of full speed."""
    return hall.min_fan_fraction, 1.0


@njit(cache=True)
def feasible_action(hall: Hall, setpoint_c: float, fan_fraction: float) -> tuple[float, float]:
    """Nearest set-point and fan speed within the limits; NaN asks for the safe set-point or for full fans."""
    low_c, high_c = setpoint_limits_c(hall)
    low, high = fan_limits(hall)
    setpoint_c = min(max(setpoint_c, low_c), high_c) if setpoint_c == setpoint_c else hall.safe_setpoint_c
    fan_fraction = min(max(fan_fraction, low), high) if fan_fraction == fan_fraction else high
    return setpoint_c, fan_fraction


@njit(cache=True)
def fan_power_kw(hall: Hall, fan_fraction: float) -> float:
    """Electricity of the hall fans: flow as speed, power as its cube (ASHRAE Handbook HVAC Systems, fan laws)."""
    return hall.rated_fan_kw * fan_fraction**3


@njit(cache=True)
def free_cooling_kw(hall: Hall, supply_c: float, wet_bulb_c: float) -> float:
    """Heat that a water-side economiser carries without the chiller.

    Tower, heat exchanger and coil in series pass heat in proportion to the temperature between supply air and wet
    bulb. The chiller takes over the rest in series (the integrated economiser of ANSI/ASHRAE/IES 90.1, 6.5.1.3).
    """
    return hall.cooling_capacity_kw * min(max((supply_c - wet_bulb_c) / hall.economiser_approach_k, 0.0), 1.0)


@njit(cache=True)
def chiller_cop(hall: Hall, supply_c: float, wet_bulb_c: float, load_fraction: float) -> float:
    """Heat over electricity of the chiller: a fixed fraction of the Carnot COP between the refrigerant temperatures.

    Source: the Carnot chillers of the Modelica Buildings library (Wetter et al. 2014, Journal of Building
    Performance Simulation 7(4)). Both approaches shrink in proportion to the plant's load, as heat exchangers' do.
    """
    evaporating_c = supply_c - hall.evaporator_approach_k * load_fraction
    condensing_c = wet_bulb_c + hall.condenser_approach_k * load_fraction
    lift_k = max(condensing_c - evaporating_c, hall.min_lift_k)
    return hall.carnot_fraction * (evaporating_c + ZERO_C_IN_K) / lift_k


@njit(cache=True)
def chiller_power_kw(hall: Hall, heat_kw: float, supply_c: float, wet_bulb_c: float) -> float:
    """Compressor electricity to remove `heat_kw`, of which free cooling carries what it can."""
    chilled_kw = max(heat_kw - free_cooling_kw(hall, supply_c, wet_bulb_c), 0.0)
    return chilled_kw / chiller_cop(hall, supply_c, wet_bulb_c, heat_kw / hall.cooling_capacity_kw)


@njit(cache=True)
def recirculation_fraction(hall: Hall, it_kw: float, fan_fraction: float) -> float:
    """Share of hall air in the rack inlets: 0 is pure supply air (the supply heat index).

    The index is that of Sharma, Bash & Patel 2002 (AIAA 2002-3091). Servers draw air in proportion to their power;
    what the fans do not deliver is drawn from the hall.
    """
    drawn_kw_per_k = it_kw / hall.server_rise_k
    missing_kw_per_k = drawn_kw_per_k - fan_fraction * hall.air_conductance_kw_per_k
    if missing_kw_per_k <= 0.0:
        return hall.leak_fraction
    return hall.leak_fraction + (1.0 - hall.leak_fraction) * missing_kw_per_k / drawn_kw_per_k


@njit(cache=True)
def inlet_c(state: HallState, recirculation: float) -> float:
    """Rack inlet air temperature, given the share of hall air in it (`recirculation_fraction`)."""
    return state.supply_c + recirculation * (state.air_c - state.supply_c)


@njit(cache=True)
def _mean_excess_k(limit_c: float, before_c: float, after_c: float) -> float:
    return 0.5 * (max(before_c - limit_c, 0.0) + max(after_c - limit_c, 0.0))


@njit(cache=True)
def pue(it_kw: float, cooling_kw: float, loss_kw: float) -> float:
    """Power usage effectiveness, (IT + cooling + electrical loss) / IT (ISO/IEC 30134-2); infinite without IT load."""
    return (it_kw + cooling_kw + loss_kw) / it_kw if it_kw > 0.0 else inf


@njit(cache=True)
def steady_state(hall: Hall, it_kw: float, setpoint_c: float, fan_fraction: float) -> HallState:
    """Temperatures at rest under constant inputs, provided IT and fan heat are within the cooling capacity."""
    setpoint_c, fan_fraction = feasible_action(hall, setpoint_c, fan_fraction)
    heat_kw = it_kw + fan_power_kw(hall, fan_fraction)
    air_c = setpoint_c + heat_kw / (fan_fraction * hall.air_conductance_kw_per_k)
    return HallState(air_c, air_c, setpoint_c)


@njit(cache=True)
def _warming(hall: Hall, flow_kw_per_k: float, state: HallState, air_kw: float, loop_kw: float) -> HallState:
    """Rates of change in K/h, with `air_kw` and `loop_kw` put into hall air and loop."""
    into_mass_kw = hall.mass_conductance_kw_per_k * (state.air_c - state.mass_c)
    into_loop_kw = flow_kw_per_k * (state.air_c - state.supply_c)
    return HallState(
        into_mass_kw / hall.mass_capacity_kwh_per_k,
        (air_kw - into_mass_kw - into_loop_kw) / hall.air_capacity_kwh_per_k,
        (into_loop_kw + loop_kw) / hall.loop_capacity_kwh_per_k,
    )


@njit(cache=True)
def _advanced(hall: Hall, p: Propagator, state: HallState, air_kw: float, loop_kw: float) -> HallState:
    """State after `p.span_h` of constant heat."""
    rate = _warming(hall, p.flow_kw_per_k, state, air_kw, loop_kw)
    bend = _warming(hall, p.flow_kw_per_k, rate, 0.0, 0.0)
    twist = _warming(hall, p.flow_kw_per_k, bend, 0.0, 0.0)
    return HallState(
        state.mass_c + p.span_h * rate.mass_c + p.first * bend.mass_c + p.second * twist.mass_c,
        state.air_c + p.span_h * rate.air_c + p.first * bend.air_c + p.second * twist.air_c,
        state.supply_c + p.span_h * rate.supply_c + p.first * bend.supply_c + p.second * twist.supply_c,
    )


@njit(cache=True)
def propagator(hall: Hall, fan_fraction: float, span_h: float) -> Propagator:
    """Solve the network dT/dt = A T + b over `span_h`: T + phi(A) (A T + b), phi(A) the integral of exp(A s).

    A conserves heat, so one eigenvalue is 0 and the other two, -slow and -fast, solve a quadratic; they are real and
    distinct, as A is similar to a symmetric tridiagonal matrix. Hence phi(A) = span_h + first A + second A^2, the
    polynomial through the three eigenvalues (Moler & Van Loan 2003, SIAM Review 45(1), Newton interpolation).
    """
    flow = fan_fraction * hall.air_conductance_kw_per_k
    mass, air, loop = hall.mass_capacity_kwh_per_k, hall.air_capacity_kwh_per_k, hall.loop_capacity_kwh_per_k
    link = hall.mass_conductance_kw_per_k
    total = link / mass + (link + flow) / air + flow / loop
    product = link * flow * (mass + air + loop) / (mass * air * loop)
    fast = 0.5 * (total + sqrt(total * total - 4.0 * product))
    slow = product / fast
    at_fast = (span_h + expm1(-fast * span_h) / fast) / fast
    at_slow = (span_h + expm1(-slow * span_h) / slow) / slow
    second = (at_slow - at_fast) / (fast - slow)
    first = at_slow + second * slow
    at_rest = HallState(0.0, 0.0, 0.0)
    response = _advanced(hall, Propagator(span_h, first, second, flow, at_rest), at_rest, 0.0, 1.0)
    return Propagator(span_h, first, second, flow, response)


@njit(cache=True)
def step(
    hall: Hall, state: HallState, it_kw: float, wet_bulb_c: float, setpoint_c: float, fan_fraction: float, dt_h: float
) -> tuple[HallState, CoolingFlows]:
    """Run hall and plant for `dt_h` hours under constant inputs.

    The chiller's conditions are those at the mean of a substep's first and last supply temperature; degree-hours
    add up the mean excess of its two ends. The split into substeps does not depend on where a step begins, so steps
    of whole substeps can be cut or joined without a change.

    Args:
        hall: Parameters, see `checked`.
        state: Temperatures at the start.
        it_kw: IT load, all of it heat in the hall; finite and not negative.
        wet_bulb_c: Outdoor wet bulb; finite.
        setpoint_c: Wanted supply temperature, any number: see `feasible_action`.
        fan_fraction: Wanted fan speed, any number: see `feasible_action`.
        dt_h: Length of the step, above 0.

    Returns:
        The temperatures at the end, and the flows.
    """
    setpoint_c, fan_fraction = feasible_action(hall, setpoint_c, fan_fraction)
    fan_kw = fan_power_kw(hall, fan_fraction)
    recirculation = recirculation_fraction(hall, it_kw, fan_fraction)
    substeps = max(ceil(dt_h / hall.substep_h - 1e-9), 1)
    p = propagator(hall, fan_fraction, dt_h / substeps)
    lag = exp(-p.span_h / hall.supply_lag_h)

    chiller_kw = heat_removed_kw = recommended_c_h = allowable_c_h = 0.0
    before_c = inlet_c(state, recirculation)
    for _ in range(substeps):
        wanted_c = setpoint_c + (state.supply_c - setpoint_c) * lag
        free = _advanced(hall, p, state, it_kw + fan_kw, 0.0)
        heat_kw = min(max((free.supply_c - wanted_c) / p.response.supply_c, 0.0), hall.cooling_capacity_kw)
        after = HallState(
            free.mass_c - heat_kw * p.response.mass_c,
            free.air_c - heat_kw * p.response.air_c,
            free.supply_c - heat_kw * p.response.supply_c,
        )
        chiller_kw += chiller_power_kw(hall, heat_kw, 0.5 * (state.supply_c + after.supply_c), wet_bulb_c)
        heat_removed_kw += heat_kw
        after_c = inlet_c(after, recirculation)
        recommended_c_h += _mean_excess_k(hall.recommended_inlet_c, before_c, after_c) * p.span_h
        allowable_c_h += _mean_excess_k(hall.allowable_inlet_c, before_c, after_c) * p.span_h
        state, before_c = after, after_c

    chiller_kw /= substeps
    heat_removed_kw /= substeps
    other_kw = hall.standby_kw + hall.parasitic_fraction * heat_removed_kw
    return state, CoolingFlows(
        chiller_kw + fan_kw + other_kw,
        chiller_kw,
        fan_kw,
        other_kw,
        heat_removed_kw,
        before_c,
        recommended_c_h,
        allowable_c_h,
        setpoint_c,
        fan_fraction,
    )
