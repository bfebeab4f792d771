"""A hall and its cooling plant as part of a linear program, linearised about a reference run of the model itself."""

from typing import Final, NamedTuple

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


class ThermalBlock:
    """Temperatures and electricity as deviations from a reference run.

    The thermal mass is storage: colder now is warmer racks or less electricity later. The plant's electricity is
    linear in heat, set-point and fan speed near the reference only, so each plan is a step of sequential linear
    programming, with a trust region and a small price of moving, and the next decision starts from it.

    Attributes:
        cooling_kw: Electricity of plant and fans, shape (horizon,).
        inlet_c: Rack inlets at the end of each period, shape (horizon,).
        mass_c: Thermal mass at the end of each period, shape (horizon,).
        setpoint_c: Supply set-point, shape (horizon,).
        fan_fraction: Fan speed, shape (horizon,).
        hot_k: Inlets above the allowable limit, shape (horizon,).
        warm_gbp: Penalty of warm inlets.
        cost_gbp: That, and what the removal of the heat left at the end will cost.
        moves_gbp: Price of moves, quadratic.
        constraints: Dynamics, trust region and limits.
    """

    def __init__(
        self,
        hall: Hall,
        chiller: Chiller,
        penalty: InletPenalty,
        it_kw: cp.Expression,
        horizon: int,
        inlet_margin_k: float,
    ) -> None:
        """Lay out the block.

        Args:
            hall: The simulated hall's own parameters.
            chiller: Of its plant.
            penalty: What warm inlets cost.
            it_kw: IT power of the plan, shape (horizon,): another block's, or a parameter.
            horizon: Number of half-hours planned.
            inlet_margin_k: Kept from the recommended inlet.
        """
        self._hall, self._chiller, self.horizon = hall, chiller, horizon
        self._outputs = cp.Parameter((OUTPUTS, horizon))
        self._slopes = cp.Parameter((OUTPUTS * INPUTS, horizon))  # few large parameters cost less than many small ones
        self._reference = Reference(cp.Parameter(horizon), cp.Parameter(horizon), cp.Parameter(horizon))
        self._end_heat_value = cp.Parameter(STATES)  # GBP per K of each state
        self._lowest, self._highest = cp.Parameter((2, horizon)), cp.Parameter((2, horizon))  # moves

        moves = [cp.Variable(horizon) for _ in range(STATES + 2)]  # of states at the end, set-point and fan speed
        states, (setpoint, fan) = moves[:STATES], moves[STATES:]
        it_move = cp.Variable(horizon)
        inputs = [*(cp.hstack([0.0, s[:-1]]) for s in states), it_move, setpoint, fan]
        changed = [
            sum(cp.multiply(self._slopes[INPUTS * o + i], x) for i, x in enumerate(inputs)) for o in range(OUTPUTS)
        ]
        self.cooling_kw = cp.Variable(horizon)
        warm, self.hot_k = cp.Variable(horizon, nonneg=True), cp.Variable(horizon, nonneg=True)
        self.setpoint_c = self._reference.setpoint_c + setpoint
        self.fan_fraction = self._reference.fan_fraction + fan
        self.mass_c = self._outputs[0] + states[0]
        self.inlet_c = self._outputs[4] + changed[4]
        moved = cp.sum_squares(setpoint / MAX_SETPOINT_MOVE_K) + cp.sum_squares(fan / MAX_FAN_MOVE)
        warm_gbp_per_h = penalty.recommended_gbp_per_c_h * cp.sum(warm)
        self.warm_gbp = PERIOD_H * (warm_gbp_per_h + penalty.allowable_gbp_per_c_h * cp.sum(self.hot_k))
        self.cost_gbp = self.warm_gbp + self._end_heat_value @ cp.hstack([s[-1] for s in states])
        self.moves_gbp = MOVE_GBP_PER_KW * chiller.capacity_kw * moved
        self.constraints = [
            it_move == it_kw - self._reference.it_kw,
            *(state == change for state, change in zip(states, changed, strict=False)),
            self.cooling_kw == self._outputs[3] + changed[3],
            warm >= self.inlet_c - (hall.recommended_inlet_c - inlet_margin_k),
            self.hot_k >= self.inlet_c - hall.allowable_inlet_c,
            setpoint >= self._lowest[0],
            setpoint <= self._highest[0],
            fan >= self._lowest[1],
            fan <= self._highest[1],
        ]

    def at_rest(self, it_kw: float) -> Reference:
        """A reference to begin with: the safe set-point, fans after the load."""
        load_kw = np.full(self.horizon, it_kw)
        setpoint_c, fan = hall_model.feasible_action(
            self._hall, np.nan, hall_model.matched_fan_fraction(self._hall, it_kw)
        )
        return Reference(load_kw, np.full(self.horizon, setpoint_c), np.full(self.horizon, fan))

    def feed(self, state: HallState, reference: Reference, wet_bulb_c: Floats, end_price_gbp_per_mwh: float) -> bool:
        """Set the start, what to linearise about, the weather and the price of what is left to remove.

        Returns:
            Whether the temperatures were such as a hall has; one outside is taken as the nearest edge.
        """
        held = HallState(*(float(np.clip(c, *HEAT_C)) for c in state))
        low_c, high_c = hall_model.setpoint_limits_c(self._hall)
        low, high = hall_model.fan_limits(self._hall)
        reference = Reference(
            np.maximum(reference.it_kw, 0.0),
            np.clip(reference.setpoint_c, low_c, high_c),
            np.clip(reference.fan_fraction, low, high),
        )
        for bound, trusted, ends in ((self._lowest, -1.0, (low_c, low)), (self._highest, 1.0, (high_c, high))):
            moves = np.array([[ends[0]], [ends[1]]]) - np.array([reference.setpoint_c, reference.fan_fraction])
            most = trusted * np.array([[MAX_SETPOINT_MOVE_K], [MAX_FAN_MOVE]])
            bound.value = np.maximum(moves, most) if trusted < 0.0 else np.minimum(moves, most)
        outputs, slopes = linearised(self._hall, self._chiller, held, reference, wet_bulb_c)
        for parameter, values in zip(self._reference, reference, strict=True):
            parameter.value = values
        self._outputs.value = outputs.T
        self._slopes.value = slopes.reshape(self.horizon, OUTPUTS * INPUTS).T
        removal = electricity_per_heat(self._chiller, reference.it_kw[-1], outputs[-1, 2], wet_bulb_c[-1])
        h = self._hall
        stores = np.array([h.mass_capacity_kwh_per_k, h.air_capacity_kwh_per_k, h.loop_capacity_kwh_per_k])
        self._end_heat_value.value = stores * removal * max(end_price_gbp_per_mwh, 0.0) / 1000.0
        return held == state
