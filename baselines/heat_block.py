"""A hall and its plant as part of a linear program that no way of running them can beat."""

from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from data.schema import PERIOD_H
from models import hall as hall_model
from models.chiller import Chiller, work_per_heat
from models.hall import Hall, HallState

Floats = NDArray[np.float64]


def lowest_c(hall: Hall, chiller: Chiller, start: HallState) -> float:
    """A temperature that nothing in the hall falls below.

    The plant takes no heat out of supply air that is at the lowest set-point or would be by itself, and without it
    everything drifts towards temperatures that are there, or up. Within one control sample it may overshoot, by what
    its whole capacity takes out of the loop in that time.
    """
    overshoot_k = chiller.capacity_kw * hall.substep_h / hall.loop_capacity_kwh_per_k
    return min(hall_model.setpoint_limits_c(hall)[0], *start) - overshoot_k


class HeatBlock:
    """Heat removed, heat in store and electricity of the plant, for a program that bounds every policy.

    Why it contains whatever hall and plant can do: what is stored changes by IT and fan heat less what is removed,
    exactly, for no heat gets lost between mass, air and loop. Pumps and standby are linear in what is removed, up to
    the plant's capacity. The rest is left to the program within bounds: fans between their lowest and full speed, the
    compressor between nothing, as if free cooling carried all, and the worst COP that the lowest temperature and the
    wet bulb allow; where power is dear it takes the one, where it is paid for the other. Warm inlets cost nothing. In a
    climate like that of Great Britain free cooling does carry nearly all at a supply of 24 C, so what is given away is
    the fans' speed and when the pumps run.

    Attributes:
        cooling_kw: Electricity of the plant, shape (periods,).
        held_kwh: Heat in store at the start and at the end of every period, shape (periods + 1,).
        constraints: Balance of heat.
    """

    def __init__(
        self, hall: Hall, chiller: Chiller, limits_kwh: tuple[float, float], floor_c: float, it_kw: cp.Expression,
        wet_bulb_c: Floats,
    ) -> None:  # fmt: skip
        """Lay out the block.

        Args:
            hall: The simulated hall's own parameters.
            chiller: Of its plant.
            limits_kwh: Of the heat in store.
            floor_c: See `lowest_c`.
            it_kw: IT power, shape (periods,).
            wet_bulb_c: As it will be, shape (periods,).
        """
        n = wet_bulb_c.size
        fans_kw = [hall_model.fan_power_kw(hall, fraction) for fraction in hall_model.fan_limits(hall)]
        fan_kw = cp.Variable(n, bounds=fans_kw)
        removed_kw = cp.Variable(n, bounds=[0.0, chiller.capacity_kw])
        compressor_kw = cp.Variable(n, nonneg=True)
        worst = np.array([work_per_heat(chiller, floor_c, wet_bulb, 1.0) for wet_bulb in wet_bulb_c])
        self.held_kwh = cp.Variable(n + 1, bounds=list(limits_kwh))
        self.cooling_kw: Any = fan_kw + compressor_kw + chiller.standby_kw + chiller.parasitic_fraction * removed_kw
        self.constraints = [
            self.held_kwh[1:] == self.held_kwh[:-1] + PERIOD_H * (it_kw + fan_kw - removed_kw),
            compressor_kw <= cp.multiply(worst, removed_kw),
        ]


class HeatWorth(NamedTuple):
    """A line above what the end of an episode pays for the heat in the hall.

    Attributes:
        slope_gbp_per_kwh: By the heat gained since the start.
        offset_gbp: At none gained.
    """

    slope_gbp_per_kwh: float
    offset_gbp: float


def heat_worth(
    hall: Hall, start_kwh: float, floor_c: float, removal: tuple[float, float], price_gbp_per_mwh: float
) -> HeatWorth:
    """What is gained costs its removal, what is shed earns it; the dearest removal for what earns, the least for costs.

    That is convex in what is gained, and above the floor it lies below this line.

    Args:
        hall: Parameters.
        start_kwh: Heat at the start.
        floor_c: See `lowest_c`.
        removal: Least and most electricity per heat.
        price_gbp_per_mwh: Of that electricity.
    """
    (least, most), price = removal, price_gbp_per_mwh / 1000.0
    slope = -least * price if price >= 0.0 else -most * price
    return HeatWorth(slope, (most - least) * abs(price) * max(start_kwh - content_kwh(hall, floor_c), 0.0))


def content_kwh(hall: Hall, temperature_c: float) -> float:
    """Heat in a hall of one temperature, counted as in `models.hall.heat_content_kwh`."""
    return float(hall_model.heat_content_kwh(hall, HallState(temperature_c, temperature_c, temperature_c)))
