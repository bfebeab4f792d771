"""The most that a site can earn by selling capacity and flexibility, whatever it offers."""

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data.schema import PERIOD_H
from models import vcg
from models.site import RESOLUTION_KW

Floats = NDArray[np.float64]

STEP_KW: Final = 0.5  # between the offers looked at
SLIVER_KW: Final = 1e-6  # short of a whole cell of the auction's grid, where the next all-or-nothing bid may fit


class Curve(NamedTuple):
    """A concave, piecewise linear bound on what selling earns.

    Attributes:
        start_gbp: At nothing sold.
        width_kw: Of each piece, shape (pieces,).
        slope_gbp_per_kw: Of each, falling, shape (pieces,).
    """

    start_gbp: float
    width_kw: Floats
    slope_gbp_per_kw: Floats

    def at(self, sold_kw: float) -> float:
        """The bound for so much sold, at most what the pieces reach to."""
        before_kw = np.concatenate([[0.0], np.cumsum(self.width_kw)[:-1]]) if self.width_kw.size else np.zeros(0)
        return self.start_gbp + float(np.clip(sold_kw - before_kw, 0.0, self.width_kw) @ self.slope_gbp_per_kw)


def capacity_curve(
    value_gbp_per_kw: Floats,
    quantity_kw: Floats,
    divisible: NDArray[np.bool_],
    most_kw: float,
    reserve_gbp_per_kw: float,
    room: vcg.Room,
) -> Curve:
    """A bound on the payments of one auction by what is sold in it, whatever is offered.

    Let W(q) be the best surplus over the reserve that all n bids find in q kW, and W_i(q) that of all but bid i; both
    grow with q. By Clarke's rule winner i pays, over the reserve, W_i(q) less the others' surplus in the allocation.
    Added up that is the sum of W_i(q) over all bids less (n - 1) W(q): losers change nothing, W_i being W for them. So
    for an offer between q and r payments over the reserve are at most the sum of W_i(r) less (n - 1) W(q), which is
    what is paid at r plus (n - 1) (W(r) - W(q)); and at most W(r), as nobody pays more than was bid. All-or-nothing
    bids fit from whole cells of the auction's grid on, and between two of these W and W_i grow by no more than the
    dearest bid for each kW: q and r lie close to one another in one cell, so the difference is small, and the sliver
    left before the next cell earns no more than is added for it.

    What is sold of an offer between q and r is at most r and what is wanted, and at least the first offer that finds
    W(q), or less would have been a better allocation of that one; the last offer looked at that finds less is below
    it. The curve is the concave hull of the corners of these boxes.

    Args:
        value_gbp_per_kw: Bids, shape (n,).
        quantity_kw: Wanted, shape (n,); those of all-or-nothing bids are multiples of the auction's grid.
        divisible: Whether a part will do, shape (n,).
        most_kw: The most that can be offered.
        reserve_gbp_per_kw: The seller's own bid.
        room: Where auctions write.
    """
    offers_kw, opens = _offers(most_kw)
    points = np.zeros((2 * offers_kw.size + 1, 2))
    count = _corners(value_gbp_per_kw, quantity_kw, divisible, offers_kw, opens, reserve_gbp_per_kw, room, points)
    return _hull(points[:count])


def flexibility_most_gbp(
    wanted_kw: float, cap_gbp_per_mwh: float, rival_kw: Floats, rival_gbp_per_mwh: Floats, most_kw: float
) -> float:
    """The most that turn-down for one period earns, delivered in full.

    An offer that sells x kW leaves rivals of lower prices room for the rest of what is wanted at most, so the price is
    at most that of the rival whose quantity would take more, and never above the cap.
    """
    order = np.argsort(rival_gbp_per_mwh, kind="stable")
    best = 0.0
    left_kw = wanted_kw  # for the site below this rival's price
    for price, kw in zip([*rival_gbp_per_mwh[order], np.inf], [*rival_kw[order], 0.0], strict=True):
        if left_kw <= 0.0:
            break
        best = max(best, min(price, cap_gbp_per_mwh) * min(left_kw, most_kw))
        if price >= cap_gbp_per_mwh:
            break
        left_kw -= kw
    return PERIOD_H / 1000.0 * best


def _hull(points: Floats) -> Curve:
    """Upper concave hull of points (kW, GBP), shape (points, 2)."""
    kept: list[tuple[float, float]] = []
    for kw, gbp in points[np.argsort(points[:, 0], kind="stable")].tolist():
        if kept and kw <= kept[-1][0] + 1e-6:  # above one another: the higher one, at the lesser kW
            least_kw, highest_gbp = kept.pop()
            kw, gbp = least_kw, max(highest_gbp, gbp)
        while len(kept) > 1 and _slope(kept[-2], (kw, gbp)) >= _slope(kept[-2], kept[-1]):
            kept.pop()
        kept.append((kw, gbp))
    corners = np.array(kept)
    width_kw, rise_gbp = np.diff(corners, axis=0).T
    return Curve(float(corners[0, 1]), width_kw, rise_gbp / width_kw)


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])


def _offers(most_kw: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Offers to look at, rising, and which of them begin a cell of the grid; less than a cell is not auctioned."""
    cells_kw = RESOLUTION_KW * np.arange(1, int(most_kw / RESOLUTION_KW) + 1)
    inside_kw = np.append(np.arange(0.0, RESOLUTION_KW, STEP_KW), RESOLUTION_KW - SLIVER_KW)
    offers_kw = np.unique(np.minimum(cells_kw[:, None] + inside_kw, most_kw))
    return offers_kw, np.isin(offers_kw, cells_kw)


@njit(cache=True)
def _corners(
    value: np.ndarray,
    quantity_kw: np.ndarray,
    divisible: np.ndarray,
    offers_kw: np.ndarray,
    opens: np.ndarray,
    reserve: float,
    room: vcg.Room,
    points: np.ndarray,
) -> int:
    """Write the corners of all boxes, (0, 0) first; returns how many there are."""
    surplus = np.where(quantity_kw > 0.0, np.maximum(value - reserve, 0.0), 0.0)
    bids, wanted_kw = np.sum(surplus > 0.0), np.sum(np.where(surplus > 0.0, quantity_kw, 0.0))
    tie_gbp = 2.0 * bids * vcg.TIE_GBP  # allocations as close to the best are as good to the auction
    slack_gbp = bids * (SLIVER_KW * surplus.max() + tie_gbp)
    before = before_kw = least_kw = 0.0
    count = 1
    for k in range(offers_kw.size):
        best, paid = _cleared(value, quantity_kw, divisible, offers_kw[k], reserve, room)
        over_gbp, from_kw = paid + (bids - 1) * (best - before), least_kw
        if best > before + tie_gbp:
            least_kw = before_kw
        if opens[k]:
            over_gbp, from_kw = paid, least_kw
        if best > 0.0:
            over_gbp, to_kw = min(over_gbp, best) + slack_gbp, min(offers_kw[k], wanted_kw)
            points[count, 0], points[count, 1] = from_kw, over_gbp + reserve * from_kw
            points[count + 1, 0], points[count + 1, 1] = to_kw, over_gbp + reserve * to_kw
            count += 2
        before, before_kw = best, offers_kw[k]
    return count


@njit(cache=True)
def _cleared(
    value: np.ndarray, quantity_kw: np.ndarray, divisible: np.ndarray, kw: float, reserve: float, room: vcg.Room
) -> tuple[float, float]:
    """Best surplus over the reserve, and what of it is paid."""
    vcg.allocate(value, quantity_kw, divisible, kw, reserve, RESOLUTION_KW, room)
    best = paid = 0.0
    for i in range(value.size):
        if room.allocation_kw[i] > 0.0:
            best += (value[i] - reserve) * room.allocation_kw[i]
            paid += room.payment_gbp[i] - reserve * room.allocation_kw[i]
    return best, paid
