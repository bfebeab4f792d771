"""A GPU hall: where the heat goes and how warm the racks get.

Three lumped heat capacities in a chain (Bacher & Madsen 2011, Energy and Buildings 43(7), the RC networks):

    mass --mass_conductance-- air <== IT and fan heat
                               |  fan_fraction * air_conductance
                             supply ==> heat removed by the plant

While every heat flow from outside is constant, the network is solved exactly. Humidity and the hall's walls are
left out.
"""

from math import exp, inf, sqrt
from typing import Final, NamedTuple

from numba import njit

from models.compiling import PHYSICS

SERIES_UP_TO: Final = 0.5
SERIES_TERMS: Final = 16  # what follows is below the rounding error up to there


class Hall(NamedTuple):
    """Parameters of a hall. The defaults carry up to 600 kW of IT on the default site of 1000 kW.

    Their inertia is worth half an hour of full load: 6 K on the set-point store some 350 kWh, over a few hours.

    Attributes:
        air_capacity_kwh_per_k: Hall air and the thin metal that follows it within minutes.
        mass_capacity_kwh_per_k: Racks, floor and water that follow the hall air slowly.
        loop_capacity_kwh_per_k: Coils and chilled water, at supply air temperature.
        mass_conductance_kw_per_k: Hall air to mass.
        air_conductance_kw_per_k: Heat carried per kelvin by the air flow at full fan speed (mass flow times c_p).
        supply_lag_h: Time constant of the supply air's approach to the set-point.
        rated_fan_kw: Electricity of the hall fans at full speed; all of it warms the hall air.
        min_fan_fraction: Lowest fan speed that keeps racks and coils ventilated.
        min_setpoint_c: Lowest supply air set-point.
        max_setpoint_c: Highest supply air set-point.
        safe_setpoint_c: Set-point held when none is given.
        leak_fraction: Share of hall air in the rack inlets when the fans deliver all the air that the servers draw.
        server_rise_k: Air temperature rise across a server; sets the air flow that the servers draw.
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
    rated_fan_kw: float = 40.0
    min_fan_fraction: float = 0.3
    min_setpoint_c: float = 16.0
    max_setpoint_c: float = 30.0
    safe_setpoint_c: float = 20.0
    leak_fraction: float = 0.05
    server_rise_k: float = 15.0
    recommended_inlet_c: float = 27.0
    allowable_inlet_c: float = 32.0
    substep_h: float = 1.0 / 12.0


class HallState(NamedTuple):
    """Temperatures of the thermal mass, the hall air and the supply air."""

    mass_c: float
    air_c: float
    supply_c: float


class Propagator(NamedTuple):
    """Exact solution of the network over a span at one fan speed, see `propagator`.

    Attributes:
        to_mass: Weights of the three temperatures before the span in the mass temperature after it; they add up to 1.
        to_air: The same for the air.
        to_supply: The same for the supply air.
        air_response: Warming over the span per kW put into the air, K/kW.
        loop_response: Warming over the span per kW put into the loop, K/kW.
    """

    to_mass: HallState
    to_air: HallState
    to_supply: HallState
    air_response: HallState
    loop_response: HallState


_RANGES = (
    (0.0, 60.0, ("min_setpoint_c", "safe_setpoint_c", "max_setpoint_c", "recommended_inlet_c", "allowable_inlet_c")),
    (0.5, 60.0, ("server_rise_k",)),
    (0.05, 1.0, ("min_fan_fraction",)),
    (0.0, 1.0, ("leak_fraction",)),
    (0.005, 4.0, ("supply_lag_h",)),
    (1.0 / 3600.0, 1.0, ("substep_h",)),
)
_RATIOS = (  # extensive numbers have no range of their own, but a wrong unit shows in what they are divided by
    ("air_capacity_kwh_per_k", "air_conductance_kw_per_k", 0.001, 5.0),
    ("loop_capacity_kwh_per_k", "air_conductance_kw_per_k", 0.001, 5.0),
    ("mass_capacity_kwh_per_k", "mass_conductance_kw_per_k", 0.01, 100.0),
    ("mass_conductance_kw_per_k", "air_conductance_kw_per_k", 0.01, 100.0),
    ("rated_fan_kw", "air_conductance_kw_per_k", 0.0, 20.0),
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


@njit(**PHYSICS)
def setpoint_limits_c(hall: Hall) -> tuple[float, float]:
    """Lowest and highest supply set-point that the plant accepts; what it cannot reach, its capacity decides."""
    return hall.min_setpoint_c, hall.max_setpoint_c


@njit(**PHYSICS)
def fan_limits(hall: Hall) -> tuple[float, float]:
    """Lowest and highest fan speed, as fractions of full speed."""
    return hall.min_fan_fraction, 1.0


@njit(**PHYSICS)
def feasible_action(hall: Hall, setpoint_c: float, fan_fraction: float) -> tuple[float, float]:
    """Nearest set-point and fan speed within the limits; NaN asks for the safe set-point or for full fans."""
    low_c, high_c = setpoint_limits_c(hall)
    low, high = fan_limits(hall)
    setpoint_c = min(max(setpoint_c, low_c), high_c) if setpoint_c == setpoint_c else hall.safe_setpoint_c
    fan_fraction = min(max(fan_fraction, low), high) if fan_fraction == fan_fraction else high
    return setpoint_c, fan_fraction


@njit(**PHYSICS)
def fan_power_kw(hall: Hall, fan_fraction: float) -> float:
    """Electricity of the hall fans: flow as speed, power as its cube (ASHRAE Handbook HVAC Systems, fan laws)."""
    return hall.rated_fan_kw * fan_fraction**3


@njit(**PHYSICS)
def matched_fan_fraction(hall: Hall, it_kw: float) -> float:
    """Fan speed that delivers just the air that the servers draw; they draw it in proportion to their power."""
    return it_kw / (hall.server_rise_k * hall.air_conductance_kw_per_k)


@njit(**PHYSICS)
def recirculation_fraction(hall: Hall, it_kw: float, fan_fraction: float) -> float:
    """Share of hall air in the rack inlets: 0 is pure supply air (the supply heat index).

    The index is that of Sharma, Bash & Patel 2002 (AIAA 2002-3091). What the fans do not deliver, the servers draw
    from the hall.
    """
    matched = matched_fan_fraction(hall, it_kw)
    if fan_fraction >= matched:
        return hall.leak_fraction
    return hall.leak_fraction + (1.0 - hall.leak_fraction) * (1.0 - fan_fraction / matched)


@njit(**PHYSICS)
def inlet_c(state: HallState, recirculation: float) -> float:
    """Rack inlet air temperature, given the share of hall air in it (`recirculation_fraction`)."""
    return state.supply_c + recirculation * (state.air_c - state.supply_c)


@njit(**PHYSICS)
def heat_content_kwh(hall: Hall, state: HallState) -> float:
    """Heat stored in mass, air and loop, counted from 0 C."""
    return (
        hall.mass_capacity_kwh_per_k * state.mass_c
        + hall.air_capacity_kwh_per_k * state.air_c
        + hall.loop_capacity_kwh_per_k * state.supply_c
    )


@njit(**PHYSICS)
def steady_state(hall: Hall, it_kw: float, setpoint_c: float, fan_fraction: float) -> HallState:
    """Temperatures at rest under constant inputs, provided IT and fan heat are within the cooling capacity."""
    setpoint_c, fan_fraction = feasible_action(hall, setpoint_c, fan_fraction)
    heat_kw = it_kw + fan_power_kw(hall, fan_fraction)
    air_c = setpoint_c + heat_kw / (fan_fraction * hall.air_conductance_kw_per_k)
    return HallState(air_c, air_c, setpoint_c)


@njit(**PHYSICS)
def weighted(weights: HallState, state: HallState) -> float:
    """Sum of the three temperatures, each times its weight."""
    return weights.mass_c * state.mass_c + weights.air_c * state.air_c + weights.supply_c * state.supply_c


@njit(**PHYSICS)
def advanced(p: Propagator, state: HallState, air_kw: float) -> HallState:
    """State after a span in which `air_kw` goes into the air."""
    return HallState(
        p.air_response.mass_c * air_kw + weighted(p.to_mass, state),
        p.air_response.air_c * air_kw + weighted(p.to_air, state),
        p.air_response.supply_c * air_kw + weighted(p.to_supply, state),
    )


@njit(**PHYSICS)
def _phi2(x: float) -> float:
    """(exp(-x) - 1 + x) / x**2 to full precision, 0.5 at 0: by its power series where the difference would lose digits.

    The second of the phi functions of exponential integrators (Hochbruck & Ostermann 2010, Acta Numerica 19).
    """
    if x < SERIES_UP_TO:
        ratio = 1.0
        for k in range(SERIES_TERMS, 2, -1):
            ratio = 1.0 - x / k * ratio
        return 0.5 * ratio
    return (exp(-x) - 1.0 + x) / (x * x)


@njit(**PHYSICS)
def _exchange(hall: Hall, flow: float, x: float, y: float) -> tuple[float, float, float]:
    """Entries mass-air, air-loop and mass-loop of C (x A + y A^2), which is symmetric; C are the capacities."""
    link, mass, air = hall.mass_conductance_kw_per_k, hall.mass_capacity_kwh_per_k, hall.air_capacity_kwh_per_k
    air_rate = (link + flow) / air
    return (
        link * (x - y * (link / mass + air_rate)),
        flow * (x - y * (flow / hall.loop_capacity_kwh_per_k + air_rate)),
        y * link * flow / air,
    )


@njit(**PHYSICS)
def propagator(hall: Hall, fan_fraction: float, span_h: float) -> Propagator:
    """Solve the network dT/dt = A T + b over `span_h`: T + phi(A) (A T + b), phi(A) the integral of exp(A s).

    A conserves heat, so one eigenvalue is 0 and the other two, -slow and -fast, solve a quadratic; they are real and
    distinct, as A is similar to a symmetric tridiagonal matrix. Hence phi(A) = span_h + first A + second A^2, the
    polynomial through the three eigenvalues (Moler & Van Loan 2003, SIAM Review 45(1), Newton interpolation), and
    A^3 = -(slow + fast) A^2 - slow fast A gives phi(A) A in the same form. Conservation gives the diagonals.
    """
    flow = fan_fraction * hall.air_conductance_kw_per_k
    mass, air, loop = hall.mass_capacity_kwh_per_k, hall.air_capacity_kwh_per_k, hall.loop_capacity_kwh_per_k
    link = hall.mass_conductance_kw_per_k
    total = link / mass + (link + flow) / air + flow / loop
    product = link * flow * (mass + air + loop) / (mass * air * loop)
    fast = 0.5 * (total + sqrt(total * total - 4.0 * product))
    slow = product / fast
    at_fast = span_h * span_h * _phi2(fast * span_h)
    at_slow = span_h * span_h * _phi2(slow * span_h)
    second = (at_slow - at_fast) / (fast - slow)
    first = at_slow + second * slow
    mass_air, air_loop, mass_loop = _exchange(hall, flow, span_h - second * product, first - second * total)
    in_mass_air, in_air_loop, in_mass_loop = _exchange(hall, flow, first, second)
    air_response = HallState(
        in_mass_air / (mass * air), (span_h - (in_mass_air + in_air_loop) / air) / air, in_air_loop / (loop * air)
    )
    loop_response = HallState(
        in_mass_loop / (mass * loop), in_air_loop / (air * loop), (span_h - (in_mass_loop + in_air_loop) / loop) / loop
    )
    return Propagator(
        HallState(1.0 - (mass_air + mass_loop) / mass, mass_air / mass, mass_loop / mass),
        HallState(mass_air / air, 1.0 - (mass_air + air_loop) / air, air_loop / air),
        HallState(mass_loop / loop, air_loop / loop, 1.0 - (mass_loop + air_loop) / loop),
        air_response,
        loop_response,
    )
