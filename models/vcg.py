"""The exact auction inside compiled code: allocation by dynamic program, payments by Clarke's rule.

What is auctioned, and the rule between equals, is told in `models.auction`.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.compiling import KERNEL

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

TIE_GBP: Final = 1e-6
ROUNDING: Final = 1e-9  # in grid cells: a quantity this close to the grid is on it


class Room(NamedTuple):
    """Where an auction of up to n bids in up to m cells writes: its result, and what it needs on the way.

    Attributes:
        allocation_kw: Sold to each bidder, shape (n,).
        payment_gbp: Paid by each bidder, shape (n,).
        surplus: Value less reserve, shape (n,).
        whole: Indices of all-or-nothing bids, shape (n,).
        cells: How many cells each of those fills, shape (n,).
        fluid: Indices of divisible bids, shape (n,).
        after: [k, a]: best of all-or-nothing bids k.. when a cells are gone, shape (n + 1, m + 1).
        before: [a]: best of the earlier all-or-nothing bids in at most a cells, shape (m + 1,).
        without: Best of all divisible bids but one by cells gone, shape (m + 1,).
    """

    allocation_kw: Floats
    payment_gbp: Floats
    surplus: Floats
    whole: NDArray[np.int64]
    cells: NDArray[np.int64]
    fluid: NDArray[np.int64]
    after: Floats
    before: Floats
    without: Floats


def room(n_bids: int, capacity_kw: float, resolution_kw: float) -> Room:
    """Room for auctions of `n_bids` bids and at most `capacity_kw` on a grid of `resolution_kw`."""
    width = math.floor(capacity_kw / resolution_kw + ROUNDING) + 1
    allocation_kw, payment_gbp, surplus = np.zeros((3, n_bids))
    whole, cells, fluid = np.zeros((3, n_bids), np.int64)
    after, before, without = np.zeros((n_bids + 1, width)), np.zeros(width), np.zeros(width)
    return Room(allocation_kw, payment_gbp, surplus, whole, cells, fluid, after, before, without)


@njit(**KERNEL)
def fill(quantity_kw: Floats, order: NDArray[np.int64], room_kw: float, allocation_kw: Floats) -> None:
    """Give `room_kw` to the divisible bids in `order`, each up to what it wants."""
    for i in order:
        allocation_kw[i] = min(quantity_kw[i], room_kw)
        room_kw -= allocation_kw[i]


@njit(**KERNEL)
def _divisible_values(
    surplus: Floats,
    quantity_kw: Floats,
    order: NDArray[np.int64],
    skipped: int,
    capacity_kw: float,
    resolution_kw: float,
    values: Floats,
) -> None:
    """For every a in one sweep: best surplus of the divisible bids but `skipped` in the capacity that a cells leave."""
    k, filled_kw, value = 0, 0.0, 0.0
    for a in range(values.size - 1, -1, -1):
        room_kw = max(capacity_kw - a * resolution_kw, 0.0)
        while k < order.size and (order[k] == skipped or filled_kw + quantity_kw[order[k]] <= room_kw):
            if order[k] != skipped:
                filled_kw += quantity_kw[order[k]]
                value += quantity_kw[order[k]] * surplus[order[k]]
            k += 1
        values[a] = value + (room_kw - filled_kw) * surplus[order[k]] if k < order.size else value


@njit(**KERNEL)
def _best_sum(first: Floats, second: Floats, size: int) -> float:
    """Highest sum of two of the first `size` entries at the same place."""
    best = first[0] + second[0]
    for a in range(1, size):
        best = max(best, first[a] + second[a])
    return best


@njit(**KERNEL)
def _sort(
    value_gbp_per_kw: Floats,
    quantity_kw: Floats,
    divisible: Bools,
    reserve_gbp_per_kw: float,
    resolution_kw: float,
    room_cells: float,
    room: Room,
) -> tuple[int, int, int]:
    """Part the bids above the reserve by kind: counts of all-or-nothing and divisible ones, cells the first want."""
    surplus, fluid = room.surplus, room.fluid
    n_whole = n_fluid = wanted_cells = 0
    for i in range(surplus.size):
        surplus[i] = value_gbp_per_kw[i] - reserve_gbp_per_kw
        if not (0.0 < surplus[i] < np.inf and quantity_kw[i] > 0.0):
            continue
        if divisible[i]:  # by falling value, the earlier first
            place = n_fluid
            while place > 0 and surplus[fluid[place - 1]] < surplus[i]:
                fluid[place] = fluid[place - 1]
                place -= 1
            fluid[place] = i
            n_fluid += 1
        elif quantity_kw[i] / resolution_kw <= room_cells:
            room.whole[n_whole] = i
            room.cells[n_whole] = math.ceil(quantity_kw[i] / resolution_kw - ROUNDING)
            wanted_cells += room.cells[n_whole]
            n_whole += 1
    return n_whole, n_fluid, wanted_cells


@njit(**KERNEL)
def _choose(quantity_kw: Floats, n_whole: int, width: int, room: Room) -> int:
    """Allocate the all-or-nothing bids by dynamic program, backwards over bids; cells they use."""
    surplus, whole, cells, after = room.surplus, room.whole, room.cells, room.after
    for k in range(n_whole - 1, -1, -1):
        gain = surplus[whole[k]] * quantity_kw[whole[k]]
        for a in range(width):
            after[k, a] = after[k + 1, a]
            if a + cells[k] < width:
                after[k, a] = max(after[k, a], gain + after[k + 1, a + cells[k]])
    used, gained = 0, 0.0
    for k in range(n_whole):
        i = whole[k]
        gain = surplus[i] * quantity_kw[i]
        if used + cells[k] < width and gained + gain + after[k + 1, used + cells[k]] >= after[0, 0] - TIE_GBP:
            room.allocation_kw[i] = quantity_kw[i]
            used, gained = used + cells[k], gained + gain
    return used


@njit(**KERNEL)
def _charge(
    quantity_kw: Floats,
    order: NDArray[np.int64],
    n_whole: int,
    width: int,
    capacity_kw: float,
    resolution_kw: float,
    room: Room,
) -> None:
    """Charge each winner, above the reserve, what the others would have gained without it; GBP into the room."""
    surplus, whole, cells, before, after = room.surplus, room.whole, room.cells, room.before, room.after
    allocation_kw, payment_gbp = room.allocation_kw, room.payment_gbp
    total = 0.0
    for i in range(surplus.size):
        if allocation_kw[i] > 0.0:
            total += surplus[i] * allocation_kw[i]
    before[:width] = 0.0
    for k in range(n_whole):
        i = whole[k]
        gain = surplus[i] * quantity_kw[i]
        if allocation_kw[i] > 0.0:
            payment_gbp[i] = _best_sum(before, after[k + 1], width) - (total - gain)
        for a in range(width - 1, cells[k] - 1, -1):
            before[a] = max(before[a], gain + before[a - cells[k]])
    for i in order:
        if allocation_kw[i] > 0.0:
            _divisible_values(surplus, quantity_kw, order, i, capacity_kw, resolution_kw, room.without[:width])
            payment_gbp[i] = _best_sum(before, room.without, width) - (total - surplus[i] * allocation_kw[i])


@njit(**KERNEL)
def allocate(
    value_gbp_per_kw: Floats,
    quantity_kw: Floats,
    divisible: Bools,
    capacity_kw: float,
    reserve_gbp_per_kw: float,
    resolution_kw: float,
    room: Room,
) -> float:
    """Allocate and charge by VCG; write kW and GBP of each bidder into the room, return the welfare, GBP.

    A knapsack dynamic program over `resolution_kw` cells for the all-or-nothing bids, the sorted divisible bids filling
    what is left; one backward table and one forward row give the welfare without each bidder. Exact when all-or-nothing
    quantities are multiples of the resolution; others are held in whole cells, rounded up, so capacity is never
    exceeded. Capacity and divisible quantities need no grid. A NaN or infinite value asks for nothing.

    Args:
        value_gbp_per_kw: Bid per kW, shape (n,).
        quantity_kw: Wanted, shape (n,).
        divisible: Whether a part is worth having, shape (n,).
        capacity_kw: For sale.
        reserve_gbp_per_kw: The seller's own bid.
        resolution_kw: Width of a cell.
        room: See `room`, for as many bids, at least this capacity and this resolution.
    """
    allocation_kw, payment_gbp = room.allocation_kw, room.payment_gbp
    allocation_kw[:] = 0.0
    payment_gbp[:] = 0.0
    if not capacity_kw > 0.0:
        return 0.0
    room_cells = capacity_kw / resolution_kw + ROUNDING
    n_whole, n_fluid, wanted_cells = _sort(
        value_gbp_per_kw, quantity_kw, divisible, reserve_gbp_per_kw, resolution_kw, room_cells, room
    )
    order = room.fluid[:n_fluid]
    width = int(min(float(wanted_cells), np.floor(room_cells))) + 1

    left = room.after[n_whole, :width]
    _divisible_values(room.surplus, quantity_kw, order, -1, capacity_kw, resolution_kw, left)
    used = _choose(quantity_kw, n_whole, width, room)
    fill(quantity_kw, order, max(capacity_kw - used * resolution_kw, 0.0), allocation_kw)
    _charge(quantity_kw, order, n_whole, width, capacity_kw, resolution_kw, room)

    welfare_gbp = 0.0
    for i in range(allocation_kw.size):
        if allocation_kw[i] > 0.0:  # rounding must not break 0 <= payment <= bid
            over_reserve_gbp = min(max(payment_gbp[i], 0.0), room.surplus[i] * allocation_kw[i])
            payment_gbp[i] = reserve_gbp_per_kw * allocation_kw[i] + over_reserve_gbp
            welfare_gbp += value_gbp_per_kw[i] * allocation_kw[i]
    return welfare_gbp
