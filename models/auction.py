"""Vickrey-Clarke-Groves auction: tenants bid for capacity, the best set wins, each pays what it costs the others.

A bid is (value per kW, kW wanted, divisible or all-or-nothing): a divisible bidder values any part of what it wants,
an all-or-nothing bidder the whole or nothing. The reserve price is the seller's own bid for every kW it keeps: the
auction maximises the summed (value - reserve) of what is sold, so a bid must beat the reserve to win and pays at
least that. The seller's bid depends on no tenant's report, so truth-telling stays a dominant strategy (Clarke pivot
rule of an affine maximiser; Nisan et al., Algorithmic Game Theory, ch. 9; Vickrey 1961, Clarke 1971, Groves 1973).

Tie rule: among allocations equal in value (to `TIE_GBP`) all-or-nothing bids go in one by one, the earlier first,
wherever the optimum allows; divisible bids then share the rest by value, the earlier first. "Earlier" is array order
in `models.vcg` and order of bidder id (as text) in `vcg_allocate`, so there the order of rows never matters.
"""

from collections.abc import Hashable
from typing import Final

import numpy as np
import pandas as pd
from scipy.optimize import Bounds, LinearConstraint, milp

from models.market import check_numbers
from models.vcg import ROUNDING, TIE_GBP, Bools, Floats, allocate, fill, room

MAX_CAPACITY_KW: Final = 1e6
MAX_VALUE_GBP_PER_KW: Final = 1e5
MAX_DP_CELLS: Final = 20_000_000  # 160 MB of table; beyond it the integer program is used
COLUMNS: Final = ("bidder_id", "value_gbp_per_kw", "quantity_kw", "divisible")


def _best_allocation(
    surplus: Floats, quantity_kw: Floats, divisible: Bools, capacity_kw: float, low: Floats, high: Floats
) -> Floats | None:
    """The kW of greatest summed surplus, accepted fractions between `low` and `high`; None if `low` does not fit."""
    rows, limits = [quantity_kw / capacity_kw], [1.0]
    whole = ~divisible
    while True:
        solution = milp(
            -surplus * quantity_kw,
            integrality=whole.astype(np.uint8),
            bounds=Bounds(low, high),
            constraints=LinearConstraint(np.array(rows), ub=np.array(limits)),
            options={"mip_rel_gap": 0.0},
        )
        if solution.x is None:
            return None
        chosen = whole & (solution.x > 0.5)
        room_kw = capacity_kw - float(quantity_kw[chosen].sum())
        if room_kw >= -ROUNDING * capacity_kw:
            break
        rows.append(chosen.astype(np.float64))  # the solver's tolerance let an overfull set through: forbid that set
        limits.append(float(chosen.sum()) - 1.0)
    allocation_kw = np.where(chosen, quantity_kw, 0.0)
    order = np.argsort(-surplus, kind="stable")
    fill(quantity_kw * high, order[divisible[order]], max(room_kw, 0.0), allocation_kw)
    return allocation_kw


def _allocate_off_grid(
    value: Floats, quantity_kw: Floats, divisible: Bools, capacity_kw: float, reserve: float
) -> tuple[Floats, Floats]:
    """The same allocation and payments as `allocate`, by integer programs, for quantities on no common grid."""
    surplus = value - reserve
    low, high = np.zeros(value.size), ((surplus > 0.0) & (divisible | (quantity_kw <= capacity_kw))).astype(np.float64)
    best = _best_allocation(surplus, quantity_kw, divisible, capacity_kw, low, high)
    assert best is not None, "selling nothing is always feasible"
    total = float(surplus @ best)
    fixed_low, fixed_high = low.copy(), high.copy()
    for i in np.flatnonzero(~divisible & (high > 0.0)):
        if best[i] == 0.0:
            fixed_low[i] = 1.0
            other = _best_allocation(surplus, quantity_kw, divisible, capacity_kw, fixed_low, fixed_high)
            if other is not None and surplus @ other >= total - TIE_GBP:
                best = other
        fixed_low[i] = fixed_high[i] = float(best[i] > 0.0)
    total = float(surplus @ best)

    payment_gbp = np.zeros(value.size)
    for i in np.flatnonzero(best > 0.0):
        without = high.copy()
        without[i] = 0.0
        rest = _best_allocation(surplus, quantity_kw, divisible, capacity_kw, low, without)
        assert rest is not None, "selling nothing is always feasible"
        gain = surplus[i] * best[i]
        payment_gbp[i] = reserve * best[i] + min(max(float(surplus @ rest) - (total - gain), 0.0), gain)
    return best, payment_gbp


def _checked(bids: pd.DataFrame) -> pd.DataFrame:
    """The bids in order of id, with proper types; ValueError says what is wrong."""
    missing = [name for name in COLUMNS if name not in bids.columns]
    if missing:
        raise ValueError(f"bids lack the columns {missing}: give {list(COLUMNS)}")
    ids = bids["bidder_id"].astype(str)
    if bids["bidder_id"].isna().any() or ids.duplicated().any():
        raise ValueError(f"bidder_id {sorted(set(ids[ids.duplicated()]))} repeated or missing: give one bid per bidder")
    if not bids["divisible"].isin([True, False]).all():
        raise ValueError(f"divisible holds {list(bids['divisible'].unique())}: give True or False in every row")
    check_numbers("value_gbp_per_kw", bids["value_gbp_per_kw"], 0.0, MAX_VALUE_GBP_PER_KW, "is it GBP per MW?")
    check_numbers("quantity_kw", bids["quantity_kw"], 0.0, MAX_CAPACITY_KW, "is it W?")
    kinds = {"value_gbp_per_kw": float, "quantity_kw": float, "divisible": bool}
    return bids.iloc[np.argsort(ids.to_numpy(dtype=str), kind="stable")].astype(kinds)


def vcg_allocate(
    bids: pd.DataFrame, total_capacity: float, *, reserve_gbp_per_kw: float = 0.0, resolution_kw: float = 1.0
) -> tuple[dict[Hashable, float], dict[Hashable, float]]:
    """Sell `total_capacity` kW to the bids that value it most; each winner pays its Clarke payment.

    Exact for any quantities: by dynamic program where the all-or-nothing ones are multiples of `resolution_kw`, else by
    HiGHS integer programs. No bids, or zero capacity, sells nothing to everyone.

    Args:
        bids: One row per bidder: `bidder_id`, `value_gbp_per_kw`, `quantity_kw`, `divisible`.
        total_capacity: For sale, kW.
        reserve_gbp_per_kw: The seller's own bid per kW; a bid at or below it wins nothing.
        resolution_kw: Grid of the dynamic program.

    Returns:
        Allocation in kW and payment in GBP, both by bidder id in the order of the rows.

    Raises:
        ValueError: Missing columns, repeated ids, NaN, infinite, negative or implausible numbers, or every bid asking
            for a thousand times the capacity (W against kW, or capacity in MW).
    """
    check_numbers("total_capacity", total_capacity, 0.0, MAX_CAPACITY_KW, "in kW, is it W?")
    check_numbers("reserve_gbp_per_kw", reserve_gbp_per_kw, 0.0, MAX_VALUE_GBP_PER_KW, "is it GBP per MW?")
    if not 0.0 < resolution_kw < np.inf:
        raise ValueError(f"resolution_kw is {resolution_kw!r}: give a finite number above 0")
    table = _checked(bids)
    value, quantity_kw = table["value_gbp_per_kw"].to_numpy(), table["quantity_kw"].to_numpy()
    divisible = table["divisible"].to_numpy()
    if total_capacity > 0.0 and value.size and (quantity_kw >= 1000.0 * total_capacity).all():
        raise ValueError(
            f"every bid wants 1000 times the capacity of {total_capacity:g} kW or more (least {quantity_kw.min():g}): "
            "give both in kW"
        )
    cells = quantity_kw[~divisible & (quantity_kw <= total_capacity)] / resolution_kw
    on_grid = bool((np.abs(cells - np.round(cells)) <= ROUNDING).all())
    fits = (cells.size + 1) * (min(total_capacity / resolution_kw, cells.sum()) + 1) <= MAX_DP_CELLS
    allocation_kw, payment_gbp = np.zeros(value.size), np.zeros(value.size)
    if on_grid and fits:
        cells_kw = min(total_capacity, float(np.round(cells).sum()) * resolution_kw)
        result = room(value.size, cells_kw, resolution_kw)
        allocate(value, quantity_kw, divisible, total_capacity, reserve_gbp_per_kw, resolution_kw, result)
        allocation_kw, payment_gbp = result.allocation_kw, result.payment_gbp
    elif total_capacity > 0.0:
        allocation_kw, payment_gbp = _allocate_off_grid(
            value, quantity_kw, divisible, total_capacity, reserve_gbp_per_kw
        )
    by_id = {b: (float(x), float(p)) for b, x, p in zip(table["bidder_id"], allocation_kw, payment_gbp, strict=True)}
    return {b: by_id[b][0] for b in bids["bidder_id"]}, {b: by_id[b][1] for b in bids["bidder_id"]}


def auction_efficiency_metrics(
    allocation: dict[Hashable, float],
    bids: pd.DataFrame,
    *,
    total_capacity: float | None = None,
    payments: dict[Hashable, float] | None = None,
) -> dict[str, float]:
    """How good and how fair an allocation is, by the bids as stated.

    Args:
        allocation: kW by bidder id; a bidder left out has none.
        bids: As for `vcg_allocate`.
        total_capacity: kW that could have been sold; default what was allocated, so that efficiency then says how well
            those kW were placed and not whether too few were sold.
        payments: GBP by bidder id; adds `revenue_gbp`.

    Returns:
        `welfare_gbp` (a part of an all-or-nothing bid is worth nothing, kW beyond the wanted neither),
        `optimal_welfare_gbp` (no reserve), `efficiency_fraction` (1 where the optimum is 0), `allocated_kw`, and
        `jain_index` of the served fractions, allocated / wanted (1 = all alike, 1/n = one has all; 1 where nobody has
        anything; Jain et al. 1984).

    Raises:
        ValueError: Bad bids, ids without a bid, negative or NaN kW, or more allocated than the capacity.
    """
    table = _checked(bids)
    strangers = set(allocation) - set(table["bidder_id"])
    if strangers:
        raise ValueError(f"allocation names {sorted(map(str, strangers))}, which did not bid: use ids of the bids")
    allocation_kw = np.array([allocation.get(bidder, 0.0) for bidder in table["bidder_id"]], dtype=np.float64)
    check_numbers("allocation", allocation_kw, 0.0, MAX_CAPACITY_KW, "in kW by bidder id")
    allocated_kw = float(allocation_kw.sum())
    capacity_kw = allocated_kw if total_capacity is None else total_capacity
    if allocated_kw > capacity_kw * (1.0 + 1e-9):
        raise ValueError(f"{allocated_kw:g} kW allocated of total_capacity {capacity_kw!r} kW: give the capacity in kW")
    value, quantity_kw = table["value_gbp_per_kw"].to_numpy(), table["quantity_kw"].to_numpy()
    useful_kw = np.minimum(allocation_kw, quantity_kw)
    useful_kw[~table["divisible"].to_numpy() & (allocation_kw < quantity_kw * (1.0 - 1e-9))] = 0.0
    welfare_gbp = float(value @ useful_kw)
    best, _ = vcg_allocate(table, capacity_kw)
    optimal_gbp = float(value @ np.array([best[b] for b in table["bidder_id"]]))
    served = np.divide(allocation_kw, quantity_kw, out=np.zeros_like(value), where=quantity_kw > 0.0)
    squares = float(served @ served) * served.size
    metrics = {
        "welfare_gbp": welfare_gbp,
        "optimal_welfare_gbp": optimal_gbp,
        "efficiency_fraction": welfare_gbp / optimal_gbp if optimal_gbp > 0.0 else 1.0,
        "allocated_kw": allocated_kw,
        "jain_index": float(served.sum()) ** 2 / squares if squares > 0.0 else 1.0,
    }
    return metrics if payments is None else {**metrics, "revenue_gbp": float(sum(payments.values()))}
