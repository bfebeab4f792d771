"""A hall and its cooling plant as part of a linear program, linearised about a reference run of the model itself."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import cvxpy as cp
import numpy as np
from numba import njit
from numpy.typing import NDArray

from data.schema import PERIOD_H
from models import cooling
from models import hall as hall_model
from models.chiller import Chiller, electricity_per_heat
from models.cooling import InletPenalty
from models.hall import Hall, HallState

Floats = NDArray[np.float64]

STATES: Final = 3  # mass, air and supply temperature
INPUTS: Final = 6  # the states, IT power, set-point and fan speed
OUTPUTS: Final = 5  # the states a period later, electricity and inlet
NUDGES: Final = (0.1, 0.1, 0.1, 1.0, 0.1, 0.005)  # of the inputs, for differences
MAX_SETPOINT_MOVE_K: Final = 2.0  # from the reference: how far the linearisation is trusted
MAX_FAN_MOVE: Final = 0.1
# What a move of the whole trusted size costs, per kW of the plant: it steadies the plan where electricity is flat or
# kinked. Chosen on four weeks of the GB data among 0.00003 to 0.0013; the result hardly depends on it around here.
MOVE_GBP_PER_KW: Final = 0.00033
HEAT_C: Final = (-20.0, 90.0)  # states beyond are not linearised about, but about the nearest edge


class Reference(NamedTuple):
    """A run that the plan deviates from, one value a period.

    Attributes:
        it_kw: IT power.
        setpoint_c: Supply set-point.
        fan_fraction: Fan speed.
    """

    it_kw: Floats
    setpoint_c: Floats
    fan_fraction: Floats

    def later(self) -> "Reference":
        """The run one period on, its last period repeated."""
        return Reference(*(np.append(values[1:], values[-1]) for values in self))


@njit(cache=True)
def _period(hall: Hall, chiller: Chiller, inputs: np.ndarray, wet_bulb_c: float, out: np.ndarray) -> None:
    state = HallState(inputs[0], inputs[1], inputs[2])
    after, flows = cooling.step(hall, chiller, state, inputs[3], wet_bulb_c, inputs[4], inputs[5], PERIOD_H)
    out[0], out[1], out[2], out[3], out[4] = after.mass_c, after.air_c, after.supply_c, flows.cooling_kw, flows.inlet_c


@njit(cache=True)
def linearised(
    hall: Hall, chiller: Chiller, state: HallState, reference: Reference, wet_bulb_c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Run the model along a reference and difference it there.

    Args:
        hall: Parameters.
        chiller: Parameters.
        state: Temperatures at the start.
        reference: The run's inputs, each of shape (n,).
        wet_bulb_c: Expected, shape (n,).

    Returns:
        Outputs of each period, shape (n, OUTPUTS), and their central differences by the inputs, shape
        (n, OUTPUTS, INPUTS).
    """
    n = wet_bulb_c.size
    outputs, slopes = np.empty((n, OUTPUTS)), np.empty((n, OUTPUTS, INPUTS))
    inputs, above, below = np.empty(INPUTS), np.empty(OUTPUTS), np.empty(OUTPUTS)
    inputs[:STATES] = np.array([state.mass_c, state.air_c, state.supply_c])
    for t in range(n):
        inputs[3], inputs[4], inputs[5] = reference.it_kw[t], reference.setpoint_c[t], reference.fan_fraction[t]
        for i in range(INPUTS):
            kept = inputs[i]
            inputs[i] = kept + NUDGES[i]
            _period(hall, chiller, inputs, wet_bulb_c[t], above)
            inputs[i] = kept - NUDGES[i]
            _period(hall, chiller, inputs, wet_bulb_c[t], below)
            inputs[i] = kept
            slopes[t, :, i] = (above - below) / (2.0 * NUDGES[i])
        _period(hall, chiller, inputs, wet_bulb_c[t], outputs[t])
        inputs[:STATES] = outputs[t, :STATES]
    return outputs, slopes


class Linearisation:
    """A hall and its plant near a reference run, as parameters of a program; paths that begin alike share one.

    Attributes:
        mass_c: Thermal mass of the reference at the end of each period, shape (horizon,).
        setpoint_c: Set-point of the reference, shape (horizon,).
        fan_fraction: Its fan speed, shape (horizon,).
        lowest: Moves from the reference that are allowed and trusted, of set-point and fan speed, shape (2, horizon).
        highest: The same, upwards.
        end_heat_gbp_per_k: What the removal of the heat that a state holds at the end costs, shape (STATES,).
    """

    def __init__(self, hall: Hall, chiller: Chiller, horizon: int) -> None:
        """Lay out the parameters for the simulated hall and plant."""
        self.hall, self.chiller, self.horizon = hall, chiller, horizon
        self._unmoved = cp.Parameter((OUTPUTS, horizon))  # outputs without any IT power and without moves
        self._slopes = cp.Parameter((OUTPUTS * INPUTS, horizon))  # few large parameters cost less than many small ones
        self.mass_c, self.setpoint_c, self.fan_fraction = (cp.Parameter(horizon) for _ in range(3))
        self.lowest, self.highest = cp.Parameter((2, horizon)), cp.Parameter((2, horizon))
        self.end_heat_gbp_per_k = cp.Parameter(STATES)

    def outputs(self, inputs: Sequence[Any]) -> list[Any]:
        """Each of the `OUTPUTS` in every period, shape (horizon,); states come as moves from the reference.

        Args:
            inputs: In their order moves of the states at the start, IT power itself, moves of set-point and fan speed.
        """
        return [
            self._unmoved[o] + sum(cp.multiply(self._slopes[INPUTS * o + i], x) for i, x in enumerate(inputs))
            for o in range(OUTPUTS)
        ]

    def at_rest(self, it_kw: float) -> Reference:
        """A reference to begin with: the safe set-point, fans after the load."""
        load_kw = np.full(self.horizon, it_kw)
        setpoint_c, fan = hall_model.feasible_action(
            self.hall, np.nan, hall_model.matched_fan_fraction(self.hall, it_kw)
        )
        return Reference(load_kw, np.full(self.horizon, setpoint_c), np.full(self.horizon, fan))

    def feed(self, state: HallState, reference: Reference, wet_bulb_c: Floats, end_price_gbp_per_mwh: float) -> bool:
        """Set the start, what to linearise about, the weather and the price of what is left to remove.

        Returns:
            Whether the temperatures were such as a hall has; one outside is taken as the nearest edge.
        """
        h = self.hall
        held = HallState(*(float(np.clip(c, *HEAT_C)) for c in state))
        low_c, high_c = hall_model.setpoint_limits_c(h)
        low, high = hall_model.fan_limits(h)
        reference = Reference(
            np.maximum(reference.it_kw, 0.0),
            np.clip(reference.setpoint_c, low_c, high_c),
            np.clip(reference.fan_fraction, low, high),
        )
        for bound, trusted, ends in ((self.lowest, -1.0, (low_c, low)), (self.highest, 1.0, (high_c, high))):
            moves = np.array([[ends[0]], [ends[1]]]) - np.array([reference.setpoint_c, reference.fan_fraction])
            most = trusted * np.array([[MAX_SETPOINT_MOVE_K], [MAX_FAN_MOVE]])
            bound.value = np.maximum(moves, most) if trusted < 0.0 else np.minimum(moves, most)
        outputs, slopes = linearised(h, self.chiller, held, reference, wet_bulb_c)
        unmoved = outputs - slopes[:, :, STATES] * reference.it_kw[:, None]
        unmoved[:, :STATES] -= outputs[:, :STATES]
        self._unmoved.value = unmoved.T
        self._slopes.value = slopes.reshape(self.horizon, OUTPUTS * INPUTS).T
        self.mass_c.value, self.setpoint_c.value = outputs[:, 0], reference.setpoint_c
        self.fan_fraction.value = reference.fan_fraction
        removal = electricity_per_heat(self.chiller, reference.it_kw[-1], outputs[-1, 2], wet_bulb_c[-1])
        stores = np.array([h.mass_capacity_kwh_per_k, h.air_capacity_kwh_per_k, h.loop_capacity_kwh_per_k])
        self.end_heat_gbp_per_k.value = stores * removal * max(end_price_gbp_per_mwh, 0.0) / 1000.0
        return held == state


class ThermalBlock:
    """Temperatures and electricity as deviations from a reference run.

    The thermal mass is storage: colder now is warmer racks or less electricity later. The plant's electricity is
    linear in heat, set-point and fan speed near the reference only, so each plan is a step of sequential linear
    programming, with a trust region and a small price of moving, and the next decision starts from it.

    Attributes:
        cooling_kw: Electricity of plant and fans, shape (horizon,).
        mass_c: Thermal mass at the end of each period, shape (horizon,).
        setpoint_c: Supply set-point, shape (horizon,).
        fan_fraction: Fan speed, shape (horizon,).
        hot_k: Inlets above the allowable limit, shape (horizon,).
        warm_gbp: Penalty of warm inlets.
        cost_gbp: That, and what the removal of the heat left at the end will cost.
        moves_gbp: Price of moves, quadratic.
        constraints: Dynamics, trust region and limits.
    """

    def __init__(self, near: Linearisation, penalty: InletPenalty, it_kw: cp.Expression, inlet_margin_k: float) -> None:
        """Lay out the block.

        Args:
            near: The simulated hall and plant near a reference.
            penalty: What warm inlets cost.
            it_kw: IT power of the plan, free of parameters, shape (horizon,).
            inlet_margin_k: Kept from the recommended inlet.
        """
        hall, horizon = near.hall, near.horizon
        states = [cp.Variable(horizon) for _ in range(STATES)]  # moves at the end of each period
        setpoint, fan = cp.Variable(horizon), cp.Variable(horizon)
        *after, self.cooling_kw, inlet_c = near.outputs(
            [*(cp.hstack([0.0, s[:-1]]) for s in states), it_kw, setpoint, fan]
        )
        # Above the first limit, up to the second, and above that: a segment each, and one row for both.
        warm_c = hall.recommended_inlet_c - inlet_margin_k
        warm_k = cp.Variable(horizon, bounds=[0.0, hall.allowable_inlet_c - warm_c])
        self.hot_k = cp.Variable(horizon, nonneg=True)
        self.setpoint_c, self.fan_fraction = near.setpoint_c + setpoint, near.fan_fraction + fan
        self.mass_c = near.mass_c + states[0]
        warm_gbp_per_h = penalty.recommended_gbp_per_c_h * cp.sum(warm_k + self.hot_k)
        self.warm_gbp = PERIOD_H * (warm_gbp_per_h + penalty.allowable_gbp_per_c_h * cp.sum(self.hot_k))
        self.cost_gbp = self.warm_gbp + near.end_heat_gbp_per_k @ cp.hstack([s[-1] for s in states])
        # Squares of variables alone: of anything else each would be a variable and a row more.
        moved = cp.sum_squares(setpoint) / MAX_SETPOINT_MOVE_K**2 + cp.sum_squares(fan) / MAX_FAN_MOVE**2
        self.moves_gbp = MOVE_GBP_PER_KW * near.chiller.capacity_kw * moved
        self.constraints = [
            *(state == end for state, end in zip(states, after, strict=True)),
            warm_k + self.hot_k >= inlet_c - warm_c,
            setpoint >= near.lowest[0],
            setpoint <= near.highest[0],
            fan >= near.lowest[1],
            fan <= near.highest[1],
        ]
