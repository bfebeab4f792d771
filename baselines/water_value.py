"""The cheapest plan of a battery for a known price path, exact without a solver, from what stored energy is worth.

Worth is a concave, piecewise linear function of the charge, so its falling slopes say everything. To go back by one
period, the slope of what can be bought and that of what can be sold are sorted in among them and what lies outside the
band is cut off (the sup-convolution of two concave functions, Rockafellar, "Convex Analysis", 1970, section 5). Where
the price is so far below zero that burning energy in the losses would pay, worth is not concave; selling is then taken
to cost what buying earns, and the plan is feasible but may miss a little.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from baselines.finite import check_finite
from data.schema import PERIOD_H
from models.battery import Battery
from models.settlement import Adders

Floats = NDArray[np.float64]


def cheapest_kw(
    battery: Battery,
    adders: Adders,
    energy_kwh: float,
    price_gbp_per_mwh: Floats,
    end_value_gbp_per_mwh: float,
    first_h: float = PERIOD_H,
) -> Floats:
    """The cheapest grid power for every half-hour; the same optimum as `baselines.mpc.BatteryPlanner.plan_kw`.

    Args:
        battery: The simulated battery's own parameters.
        adders: Costs beside the market price.
        energy_kwh: Stored energy now; a reading outside the allowed band is read as the nearest edge.
        price_gbp_per_mwh: Expected price, shape (n,).
        end_value_gbp_per_mwh: Worth of each stored MWh at the end; below 0 counts as 0.
        first_h: What is left of the first half-hour.

    Returns:
        Grid power in kW, charging positive, shape (n,).

    Raises:
        ValueError: An input is not finite.
    """
    check_finite(
        energy_kwh=energy_kwh, price_gbp_per_mwh=price_gbp_per_mwh, end_value_gbp_per_mwh=end_value_gbp_per_mwh
    )
    b, hours = battery, np.full(price_gbp_per_mwh.size, PERIOD_H)
    hours[0] = first_h
    price = price_gbp_per_mwh / 1000.0
    buy = (price + adders.network_gbp_per_mwh / 1000.0 + b.wear_gbp_per_kwh) / b.charge_efficiency  # GBP per stored kWh
    sell = np.minimum((price - b.wear_gbp_per_kwh) * b.discharge_efficiency, buy)
    stored_kwh = _stored_kwh(
        energy_kwh,
        b.min_fraction * b.capacity_kwh,
        b.max_fraction * b.capacity_kwh,
        buy,
        sell,
        b.max_charge_kw * hours * b.charge_efficiency,
        b.max_discharge_kw * hours / b.discharge_efficiency,
        max(end_value_gbp_per_mwh, 0.0) / 1000.0,
    )
    grid_kwh = np.where(stored_kwh > 0.0, stored_kwh / b.charge_efficiency, stored_kwh * b.discharge_efficiency)
    return np.asarray(grid_kwh / hours)


@njit(cache=True)
def _stored_kwh(
    energy: float,
    low: float,
    high: float,
    buy: np.ndarray,
    sell: np.ndarray,
    up: np.ndarray,
    down: np.ndarray,
    end_value: float,
) -> np.ndarray:
    """What goes into store in each period, (n,): prices per stored kWh, most energy up and down in each period."""
    n = buy.size
    slopes, lengths = np.zeros((n, 2 * n)), np.zeros((n, 2 * n))  # of the worth of what is left after each period
    slopes[n - 1, 0], lengths[n - 1, 0] = end_value, high - low
    for k in range(n - 1, 0, -1):
        _go_back(slopes[k], lengths[k], buy[k], up[k], sell[k], down[k], slopes[k - 1], lengths[k - 1])
    stored = np.zeros(n)
    now = min(max(energy, low), high)
    for k in range(n):
        fill_to = drain_to = low
        for i in range(2 * n):
            fill_to += lengths[k, i] if slopes[k, i] > buy[k] else 0.0
            drain_to += lengths[k, i] if slopes[k, i] >= sell[k] else 0.0
        if now < fill_to:
            stored[k] = min(up[k], fill_to - now)
        elif now > drain_to:
            stored[k] = -min(down[k], now - drain_to)
        now = min(max(now + stored[k], low), high)
    return stored


@njit(cache=True)
def _go_back(
    slopes: np.ndarray,
    lengths: np.ndarray,
    buy: float,
    up: float,
    sell: float,
    down: float,
    slopes_before: np.ndarray,
    lengths_before: np.ndarray,
) -> None:
    """Slopes before a period: those after it with two more sorted in, less `up` at the bottom and `down` at the top."""
    whole = 0.0
    for i in range(lengths.size):
        whole += lengths[i]
    cut, room, bought, sold, out = up, whole, False, False, 0
    i = 0
    while room > 0.0:
        ended = i == lengths.size or lengths[i] == 0.0
        if not bought and (ended or buy >= slopes[i]):
            slope, length, bought = buy, up, True
        elif not sold and (ended or sell >= slopes[i]):
            slope, length, sold = sell, down, True
        elif ended:
            return
        else:
            slope, length, i = slopes[i], lengths[i], i + 1
        skipped = min(cut, length)
        cut -= skipped
        length = min(length - skipped, room)
        if length > 0.0:
            slopes_before[out], lengths_before[out], out = slope, length, out + 1
            room -= length
