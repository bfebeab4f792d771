"""Uniform-price double auction: stepwise bids and offers, one price for all, the marginal step accepted in part.

Merit order: offers by rising price, bids by falling price, traded while the bid is worth at least the offer. Orders
tied at the margin share pro rata. Between equal welfares the larger volume trades.

Price rule: the lowest price at which nobody wants to trade otherwise, that is the highest of the last accepted offer
and the first bid not fully served. It is a dual price of the balance constraint in the welfare-maximising LP, hence
uniform, supporting and budget-balanced. So ample supply is priced at the last accepted offer, scarce supply at the
marginal bid (the buyer's cap): a bid served in part leaves no other dual price. Paying the last accepted offer there,
as some simulators do (ASSUME's pay-as-clear), would leave the buyer wanting more at that price. Without bids it is the
lowest offer; an empty book has no price (NaN).

A flexibility auction is the same book: the network operator is the buy side, one order with the kW of turn-down it
needs at the price above which it would rather go without; sites sell turn-down at what it costs them. Prices are GBP
per MWh, negative ones included; quantities are kW held over a period; money is price * kW / 1000 per hour.
"""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from models.compiling import RARE

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ROUNDING: Final = 1e-12  # of an order: a remainder this small is rounding, not an open quantity
INSERTION_SORT_UP_TO: Final = 64
MAX_PRICE_GBP_PER_MWH: Final = 20_000.0
MAX_QUANTITY_KW: Final = 1e8  # more than the demand of Great Britain
COLUMNS: Final = ("order_id", "side", "price_gbp_per_mwh", "quantity_kw")


class Clearing(NamedTuple):
    """The outcome of one auction.

    Attributes:
        price_gbp_per_mwh: Paid by every accepted bid to every accepted offer; NaN for an empty book.
        volume_kw: Traded.
        welfare_gbp_per_h: Worth to accepted bids less cost of accepted offers.
        accepted_kw: By order id, in the order of the book.
    """

    price_gbp_per_mwh: float
    volume_kw: float
    welfare_gbp_per_h: float
    accepted_kw: pd.Series


@njit(cache=True)
def _merit_order(price: Floats, quantity: Floats, direction: float, order: Integers) -> int:
    """Write the usable orders' indices, best first (direction 1 rising, -1 falling); return how many there are."""
    n, few = 0, price.size <= INSERTION_SORT_UP_TO
    for i in range(price.size):
        key = direction * price[i]
        if not (0.0 < quantity[i] < np.inf and key == key):  # NaN asks for nothing
            continue
        k = n
        while few and k > 0 and direction * price[order[k - 1]] > key:
            order[k] = order[k - 1]
            k -= 1
        order[k] = i
        n += 1
    if not few:
        order[:n] = order[:n][np.argsort(direction * price[order[:n]], kind="mergesort")]
    return n


@njit(cache=True)
def _share_margin(order: Integers, n: int, last: int, price: Floats, quantity: Floats, accepted: Floats) -> None:
    """Spread what the orders priced like the last accepted one got over all of them, pro rata."""
    if last < 0:
        return
    first, end = last, last + 1
    while first > 0 and price[order[first - 1]] == price[order[last]]:
        first -= 1
    while end < n and price[order[end]] == price[order[last]]:
        end += 1
    wanted = taken = 0.0
    for k in range(first, end):
        wanted += quantity[order[k]]
        taken += accepted[order[k]]
    if end - first > 1 and taken < wanted:
        for k in range(first, end):
            accepted[order[k]] = quantity[order[k]] * (taken / wanted)


@njit(**RARE)
def clear(
    offer_gbp_per_mwh: Floats,
    offer_kw: Floats,
    bid_gbp_per_mwh: Floats,
    bid_kw: Floats,
    sold_kw: Floats,
    bought_kw: Floats,
) -> tuple[float, float]:
    """Clear one book by merit order; write what each order trades, return price and volume.

    An order with a NaN price or a quantity that is not a finite number above 0 asks for nothing; an infinite price is a
    price-taker, and the price when it is the marginal order.

    Args:
        offer_gbp_per_mwh: Shape (n_offers,).
        offer_kw: Shape (n_offers,).
        bid_gbp_per_mwh: Shape (n_bids,).
        bid_kw: Shape (n_bids,).
        sold_kw: Out, shape (n_offers,).
        bought_kw: Out, shape (n_bids,).
    """
    sold_kw[:] = 0.0
    bought_kw[:] = 0.0
    offers, bids = np.empty(offer_kw.size, np.int64), np.empty(bid_kw.size, np.int64)
    n_offers = _merit_order(offer_gbp_per_mwh, offer_kw, 1.0, offers)
    n_bids = _merit_order(bid_gbp_per_mwh, bid_kw, -1.0, bids)

    i = j = 0
    volume_kw = 0.0
    while i < n_offers and j < n_bids and bid_gbp_per_mwh[bids[j]] >= offer_gbp_per_mwh[offers[i]]:
        o, b = offers[i], bids[j]
        traded_kw = min(offer_kw[o] - sold_kw[o], bid_kw[b] - bought_kw[b])
        sold_kw[o] += traded_kw
        bought_kw[b] += traded_kw
        volume_kw += traded_kw
        if offer_kw[o] - sold_kw[o] <= ROUNDING * offer_kw[o]:
            sold_kw[o] = offer_kw[o]
            i += 1
        if bid_kw[b] - bought_kw[b] <= ROUNDING * bid_kw[b]:
            bought_kw[b] = bid_kw[b]
            j += 1

    last_offer = i if i < n_offers and sold_kw[offers[i]] > 0.0 else i - 1
    last_bid = j if j < n_bids and bought_kw[bids[j]] > 0.0 else j - 1
    price = -np.inf
    if last_offer >= 0:
        price = offer_gbp_per_mwh[offers[last_offer]]
    if j < n_bids:
        price = max(price, bid_gbp_per_mwh[bids[j]])
    if n_bids == 0:
        price = offer_gbp_per_mwh[offers[0]] if n_offers > 0 else np.nan
    _share_margin(offers, n_offers, last_offer, offer_gbp_per_mwh, offer_kw, sold_kw)
    _share_margin(bids, n_bids, last_bid, bid_gbp_per_mwh, bid_kw, bought_kw)
    return price, volume_kw


def check_numbers(name: str, numbers: pd.Series | Floats | float, low: float, high: float, hint: str) -> None:
    """Raise ValueError unless every number is from `low` to `high`; NaN is not."""
    array = np.atleast_1d(np.asarray(pd.to_numeric(numbers), dtype=np.float64))
    bad = array[~((array >= low) & (array <= high))]
    if bad.size:
        raise ValueError(f"{name} is {bad[0]:g}: give finite numbers from {low:g} to {high:g}; {hint}")


def check_orders(orders: pd.DataFrame) -> None:
    """Raise ValueError unless `orders` is a proper book: columns, unique ids, sides, prices and quantities."""
    missing = [name for name in COLUMNS if name not in orders.columns]
    if missing:
        raise ValueError(f"orders lack the columns {missing}: give {list(COLUMNS)}")
    ids = orders["order_id"]
    if ids.isna().any() or ids.duplicated().any():
        raise ValueError(f"order_id {list(ids[ids.duplicated()])} repeated or missing: give every order its own id")
    if not orders["side"].isin(["buy", "sell"]).all():
        raise ValueError(f"side holds {list(orders['side'].unique())}: give 'buy' or 'sell' in every row")
    limit = MAX_PRICE_GBP_PER_MWH
    check_numbers("price_gbp_per_mwh", orders["price_gbp_per_mwh"], -limit, limit, "is it pence per MWh?")
    check_numbers(
        "quantity_kw", orders["quantity_kw"], 0.0, MAX_QUANTITY_KW, "is it W? To trade the other way change side"
    )


def clear_book(orders: pd.DataFrame) -> Clearing:
    """Clear one auction at one price.

    Args:
        orders: One row per step: `order_id`, `side` ("buy" or "sell"), `price_gbp_per_mwh`, `quantity_kw`.

    Raises:
        ValueError: Missing columns, repeated ids, an unknown side, NaN, infinite or implausible prices or quantities.
    """
    check_orders(orders)
    price, quantity_kw = orders["price_gbp_per_mwh"].to_numpy(float), orders["quantity_kw"].to_numpy(float)
    sell = (orders["side"] == "sell").to_numpy(dtype=bool)
    accepted_kw, sold_kw, bought_kw = np.zeros(sell.size), np.zeros(int(sell.sum())), np.zeros(int((~sell).sum()))
    clearing_price, volume_kw = clear(
        price[sell], quantity_kw[sell], price[~sell], quantity_kw[~sell], sold_kw, bought_kw
    )
    accepted_kw[sell], accepted_kw[~sell] = sold_kw, bought_kw
    welfare = float(np.where(sell, -price, price) @ accepted_kw) / 1000.0
    by_id = pd.Series(accepted_kw, index=pd.Index(orders["order_id"], name="order_id"), name="accepted_kw")
    return Clearing(float(clearing_price), float(volume_kw), welfare, by_id)
