"""Several periods cleared together with block orders, and no block accepted at a loss.

A block trades one profile over several periods: rejected, or accepted at a ratio between its minimum and 1. A child
needs its parent and never a higher ratio; the accepted ratios of an exclusive group sum to at most 1. Rules as in the
public description of the European day-ahead algorithm (EUPHEMIA, NEMO Committee):

* Hourly orders are never worse off at the prices than with any other volume (`models.market`).
* An accepted block, together with its accepted descendants, never loses (so a child's surplus may save its parent).
* A block may be rejected although the prices would suit it: with indivisible orders no prices support every
  rejection.

Among the sets of accepted blocks that allow such prices the one of greatest welfare is chosen, with the ratios that
maximise welfare for that set. Search: the welfare-maximising integer program; is there a price support for the blocks
it accepts? If not, that set is forbidden and the program solved again. Exact, and in the worst case exponential in
the number of blocks, like the problem.

Tie rule: welfares closer than a millionth of the largest order's value are equal, then fewest blocks, then the lower
ids. Price rule: of all supporting prices those nearest to the cheapest order of each period from above, that is the
lowest ones; without blocks exactly those of `models.market`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from models.market import MAX_PRICE_GBP_PER_MWH, MAX_QUANTITY_KW, check_numbers, check_orders, clear

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

AT_BOUND: Final = 1e-7  # a fraction this close to its bound is at it
LOSS_GBP_PER_H: Final = 1e-6  # a smaller loss is rounding
TIE_FRACTION: Final = 1e-6


class Block(NamedTuple):
    """One order over all periods.

    Attributes:
        block_id: Unique.
        side: "buy" or "sell".
        price_gbp_per_mwh: Limit for the average price of the block.
        quantity_kw: One per period, 0 where the block is not active.
        min_acceptance_fraction: Above 0; 1 is all-or-nothing.
        parent_id: The block without which this one cannot be accepted.
        exclusive_group: Blocks of one name share one full acceptance.
    """

    block_id: str
    side: str
    price_gbp_per_mwh: float
    quantity_kw: tuple[float, ...]
    min_acceptance_fraction: float = 1.0
    parent_id: str | None = None
    exclusive_group: str | None = None


class BlockClearing(NamedTuple):
    """The outcome.

    Attributes:
        price_gbp_per_mwh: Shape (n_periods,); NaN where a period has no order.
        volume_kw: Sold, shape (n_periods,).
        welfare_gbp_per_h: Summed over the periods.
        accepted_kw: By order id.
        accepted_fraction: By block id.
    """

    price_gbp_per_mwh: Floats
    volume_kw: Floats
    welfare_gbp_per_h: float
    accepted_kw: pd.Series
    accepted_fraction: pd.Series


class _Book(NamedTuple):
    """Orders, then blocks, as columns of one linear program in accepted fractions."""

    worth: Floats  # (n,) welfare of full acceptance, GBP per hour
    supply_mw: Floats  # (n_periods, n), buying negative
    low: Floats  # (n,) smallest fraction of an accepted column; 0 for orders
    links: Floats  # (n_links, n): links @ fractions <= link_limits
    link_limits: Floats
    families: Bools  # (n_blocks, n): the block and its descendants
    floor: Floats  # (n_periods,) cheapest price of any order of the period, NaN where there is none


def _book(orders: pd.DataFrame, blocks: Sequence[Block], n_periods: int) -> _Book:
    n_orders, n = len(orders), len(orders) + len(blocks)
    price = np.concatenate([orders["price_gbp_per_mwh"].to_numpy(float), [b.price_gbp_per_mwh for b in blocks]])
    sign = np.where(np.concatenate([orders["side"], [b.side for b in blocks]]) == "sell", 1.0, -1.0)
    supply_mw = np.zeros((n_periods, n))
    supply_mw[orders["period"].to_numpy(np.int64), np.arange(n_orders)] = orders["quantity_kw"].to_numpy(float) / 1000.0
    if blocks:
        supply_mw[:, n_orders:] = np.array([b.quantity_kw for b in blocks]).T / 1000.0
    prices = np.where(supply_mw > 0.0, price, np.inf).min(axis=1, initial=np.inf)
    supply_mw *= sign

    column = {b.block_id: n_orders + k for k, b in enumerate(blocks)}
    links, limits = [], []
    families = np.zeros((len(blocks), n), dtype=bool)
    for k, b in enumerate(blocks):
        families[k, n_orders + k] = True
        if b.parent_id is not None:
            row = np.zeros(n)
            row[column[b.block_id]], row[column[b.parent_id]] = 1.0, -1.0
            links.append(row)
            limits.append(0.0)
    for _ in blocks:  # as often as a chain of parents can be long
        for b in blocks:
            if b.parent_id is not None:
                families[column[b.parent_id] - n_orders] |= families[column[b.block_id] - n_orders]
    for group in sorted({b.exclusive_group for b in blocks if b.exclusive_group is not None}):
        links.append(np.concatenate([np.zeros(n_orders), [float(b.exclusive_group == group) for b in blocks]]))
        limits.append(1.0)
    return _Book(
        worth=-price * supply_mw.sum(axis=0),
        supply_mw=supply_mw,
        low=np.concatenate([np.zeros(n_orders), [b.min_acceptance_fraction for b in blocks]]),
        links=np.array(links).reshape(len(links), n),
        link_limits=np.array(limits),
        families=families,
        floor=np.where(np.isfinite(prices), prices, np.nan),
    )


def _best_set(book: _Book, forbidden: list[Bools]) -> Bools:
    """The blocks accepted where welfare is greatest, among the sets not forbidden."""
    n_blocks, n = book.families.shape
    n_orders, n_periods = n - n_blocks, book.floor.size
    scale = 1000.0 / max(float(np.abs(book.worth).max(initial=0.0)), 1e-9)  # the solver's tolerances are absolute
    fee = 1000.0 * TIE_FRACTION * (1.0 + np.arange(n_blocks) / max(n_blocks, 1) ** 2)
    picks = np.hstack([np.zeros((n_blocks, n_orders)), np.eye(n_blocks)])
    constraints = [
        LinearConstraint(np.hstack([book.supply_mw, np.zeros((n_periods, n_blocks))]), 0.0, 0.0),
        LinearConstraint(np.hstack([picks, -np.eye(n_blocks)]), -np.inf, 0.0),
        LinearConstraint(np.hstack([picks, -np.diag(book.low[n_orders:])]), 0.0, np.inf),
    ]
    if book.link_limits.size:
        padding = np.zeros((book.link_limits.size, n_blocks))
        constraints.append(LinearConstraint(np.hstack([book.links, padding]), -np.inf, book.link_limits))
    if forbidden:
        cuts = np.where(np.array(forbidden), 1.0, -1.0)
        most = np.array(forbidden).sum(axis=1) - 1.0
        constraints.append(LinearConstraint(np.hstack([np.zeros((len(cuts), n)), cuts]), -np.inf, most))
    solution = milp(
        np.concatenate([-scale * book.worth, fee]),
        integrality=np.repeat([0, 1], [n, n_blocks]),
        bounds=Bounds(0.0, 1.0),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    assert solution.x is not None, f"accepting no block is always feasible: {solution.message}"
    return solution.x[n:] > 0.5


def _best_fractions(book: _Book, accepted: Bools) -> Floats:
    """Welfare-maximising fractions when exactly `accepted` blocks are in."""
    inside = np.concatenate([np.ones(book.worth.size - accepted.size), accepted.astype(float)])
    solution = linprog(
        -book.worth,
        A_ub=book.links if book.link_limits.size else None,
        b_ub=book.link_limits if book.link_limits.size else None,
        A_eq=book.supply_mw,
        b_eq=np.zeros(book.floor.size),
        bounds=np.column_stack([book.low * inside, inside]),
        method="highs",
    )
    assert solution.x is not None, f"the integer program found this set feasible: {solution.message}"
    return np.asarray(solution.x)


def _supporting_prices(book: _Book, accepted: Bools, fraction: Floats) -> Floats | None:
    """The lowest dual prices of `fraction` at which no accepted block's family loses; None if there are none.

    A dual solution is complementary to the primal one: a column gains nothing at the margin unless at a bound, and a
    link has a price only where it binds. Variables: prices, link prices, distance of each price from its floor.
    """
    n_periods, n_links = book.floor.size, book.link_limits.size
    n_orders = book.worth.size - accepted.size
    inside = np.concatenate([np.ones(n_orders), accepted.astype(float)])
    low = book.low * inside
    free = inside > low  # a rejected or an all-or-nothing block has no margin
    at_low, at_high = fraction <= low + AT_BOUND, fraction >= inside - AT_BOUND
    size_mw = np.abs(book.supply_mw).max(axis=0)
    used = free & (size_mw > 0.0)
    gain = np.hstack([book.supply_mw.T, -book.links.T, np.zeros((book.worth.size, n_periods))])  # plus worth
    gain[used] /= size_mw[used, None]
    worth = np.divide(book.worth, size_mw, out=np.zeros_like(book.worth), where=used)

    family_weight = book.families[accepted] * fraction
    family_gain = np.hstack([family_weight @ book.supply_mw.T, np.zeros((int(accepted.sum()), n_links + n_periods))])
    floor = np.nan_to_num(book.floor)
    distance = np.eye(n_periods)
    between = np.zeros((n_periods, n_links))
    at_most = [
        (gain[used & at_low], -worth[used & at_low]),
        (-gain[used & at_high], worth[used & at_high]),
        (-family_gain, family_weight @ book.worth + LOSS_GBP_PER_H),
        (np.hstack([distance, between, -distance]), floor),
        (np.hstack([-distance, between, -distance]), -floor),
    ]
    inner = used & ~at_low & ~at_high
    binding = book.links @ fraction >= book.link_limits - AT_BOUND
    solution = linprog(
        np.repeat([0.0, 1.0], [n_periods + n_links, n_periods]),
        A_ub=np.vstack([rows for rows, _ in at_most]),
        b_ub=np.concatenate([limits for _, limits in at_most]),
        A_eq=gain[inner] if inner.any() else None,
        b_eq=-worth[inner] if inner.any() else None,
        bounds=[(None, None)] * n_periods + [(0, None if b else 0) for b in binding] + [(0, None)] * n_periods,
        method="highs",
    )
    return None if solution.x is None else np.where(np.isnan(book.floor), np.nan, solution.x[:n_periods])


def _clear_hours(orders: pd.DataFrame, block_supply_kw: Floats) -> Floats:
    """Accepted kW of every hourly order once the blocks' net supply is a price-taker in each period."""
    accepted_kw = np.zeros(len(orders))
    period, sell = orders["period"].to_numpy(), (orders["side"] == "sell").to_numpy()
    price, quantity_kw = orders["price_gbp_per_mwh"].to_numpy(float), orders["quantity_kw"].to_numpy(float)
    for t, net_kw in enumerate(block_supply_kw):
        offers, bids = np.flatnonzero((period == t) & sell), np.flatnonzero((period == t) & ~sell)
        sold_kw, bought_kw = np.zeros(offers.size + 1), np.zeros(bids.size + 1)
        clear(
            np.append(price[offers], -np.inf),
            np.append(quantity_kw[offers], max(net_kw, 0.0)),
            np.append(price[bids], np.inf),
            np.append(quantity_kw[bids], max(-net_kw, 0.0)),
            sold_kw,
            bought_kw,
        )
        accepted_kw[offers], accepted_kw[bids] = sold_kw[:-1], bought_kw[:-1]
    return accepted_kw


def _check(orders: pd.DataFrame, blocks: Sequence[Block]) -> int:
    """Number of periods; ValueError says what is wrong."""
    check_orders(orders)
    if "period" not in orders.columns:
        raise ValueError("orders lack the column 'period': give the index of the period, from 0")
    lengths = {len(b.quantity_kw) for b in blocks}
    if len(lengths) > 1:
        raise ValueError(f"block profiles have lengths {sorted(lengths)}: give one quantity per period in every block")
    n_periods = max(lengths, default=int(orders["period"].max()) + 1 if len(orders) else 0)
    period = pd.to_numeric(orders["period"]).to_numpy(float)
    if not (np.isin(period, np.arange(n_periods))).all():
        raise ValueError(f"period holds {sorted(set(period))}: give integers from 0 to {n_periods - 1}")
    parents = {b.block_id: b.parent_id for b in blocks}
    if len(parents) < len(blocks):
        raise ValueError(f"block_id repeated among {[b.block_id for b in blocks]}: give every block its own id")
    for b in blocks:
        name, limit = f"of block {b.block_id!r}", MAX_PRICE_GBP_PER_MWH
        if b.side not in ("buy", "sell"):
            raise ValueError(f"side {name} is {b.side!r}: give 'buy' or 'sell'")
        check_numbers(f"price_gbp_per_mwh {name}", b.price_gbp_per_mwh, -limit, limit, "is it pence per MWh?")
        check_numbers(f"quantity_kw {name}", np.array(b.quantity_kw), 0.0, MAX_QUANTITY_KW, "is it W?")
        if not 0.0 < b.min_acceptance_fraction <= 1.0:
            raise ValueError(
                f"min_acceptance_fraction {name} is {b.min_acceptance_fraction!r}: give more than 0, up to 1"
            )
        ancestor, steps = b.parent_id, 0
        while ancestor is not None:
            if ancestor not in parents or steps == len(blocks):
                raise ValueError(f"parent_id {name} leads to {ancestor!r}: parents must be blocks and form no circle")
            ancestor, steps = parents[ancestor], steps + 1
    return n_periods


def clear_with_blocks(orders: pd.DataFrame, blocks: Sequence[Block]) -> BlockClearing:
    """Clear hourly orders and blocks of several periods together.

    Args:
        orders: As for `models.market.clear_book`, with `period`, from 0. All periods are equally long.
        blocks: Profiles all as long as there are periods.

    Raises:
        ValueError: A bad book, profile, ratio, side or parent.
    """
    n_periods = _check(orders, blocks)
    if not len(orders) and not blocks:
        return BlockClearing(np.zeros(0), np.zeros(0), 0.0, pd.Series(dtype=float), pd.Series(dtype=float))
    by_id = orders.sort_values("order_id", key=lambda ids: ids.astype(str), kind="stable")
    blocks_by_id = sorted(blocks, key=lambda b: b.block_id)
    book = _book(by_id, blocks_by_id, n_periods)
    forbidden: list[Bools] = []
    while True:
        accepted = _best_set(book, forbidden) if blocks else np.zeros(0, dtype=bool)
        fraction = _best_fractions(book, accepted)
        prices = _supporting_prices(book, accepted, fraction)
        if prices is not None:
            break
        forbidden.append(accepted)

    fraction[len(orders) :] = np.where(fraction[len(orders) :] >= 1.0 - AT_BOUND, 1.0, fraction[len(orders) :])
    block_mw = book.supply_mw[:, len(orders) :] * fraction[len(orders) :]
    order_kw = pd.Series(
        _clear_hours(by_id, 1000.0 * block_mw.sum(axis=1)), index=by_id["order_id"], name="accepted_kw"
    )
    size_kw = by_id["quantity_kw"].to_numpy(float)
    fraction[: len(orders)] = np.divide(order_kw, size_kw, out=np.zeros(len(orders)), where=size_kw > 0.0)
    return BlockClearing(
        price_gbp_per_mwh=prices,
        volume_kw=1000.0 * np.maximum(book.supply_mw * fraction, 0.0).sum(axis=1),
        welfare_gbp_per_h=float(book.worth @ fraction),
        accepted_kw=order_kw.reindex(orders["order_id"]),
        accepted_fraction=pd.Series(
            fraction[len(orders) :], index=[b.block_id for b in blocks_by_id], name="accepted_fraction", dtype=float
        ).reindex([b.block_id for b in blocks]),
    )
