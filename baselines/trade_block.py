"""What a site sells beside energy, as parts of a linear program: cluster capacity and flexibility."""

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from data.schema import PERIOD_H
from models.site import BLOCK_PERIODS, GATE_PERIODS, Terms

Floats = NDArray[np.float64]


class CapacityBlock:
    """Cluster capacity sold to tenants: one quantity for each auction block of the horizon.

    Attributes:
        tenant_kw: Sold, shape (horizon,).
        share: Of what can be sold where a block starts, shape (horizon,).
        cost_gbp: Payments of tenants, as a cost (0 or less).
        constraints: Constant within a block, at most what is expected to sell.
    """

    def __init__(self, sellable_kw: float, horizon: int) -> None:
        """Lay out the block; `sellable_kw` is the most that is sold at once."""
        self._sellable_kw, self.horizon = sellable_kw, horizon
        self._sold_kw = cp.Parameter(horizon)  # for the running block, in the first place
        self._kept = cp.Parameter(horizon, nonneg=True)  # 1 within a block, 0 where one starts
        self._limit_kw = cp.Parameter(horizon, nonneg=True)  # of what sells where a block starts, else 0
        self._value = cp.Parameter(horizon)  # GBP per kW, where a block starts
        # A share of what sells and not power within bounds that often meet: a solver needs an interior.
        self.share, self.tenant_kw = cp.Variable(horizon, bounds=[0.0, 1.0]), cp.Variable(horizon)
        kept_kw = cp.multiply(self._kept, cp.hstack([0.0, self.tenant_kw[:-1]]))
        self.cost_gbp = -self._value @ self.tenant_kw
        self.constraints = [self.tenant_kw == self._sold_kw + kept_kw + cp.multiply(self._limit_kw, self.share)]

    def feed(
        self, sold_kw: float, to_auction: int, sellable_now_kw: float, paid_gbp_per_kw: Floats, sold_share: Floats
    ) -> None:
        """Set what is sold and what the auctions are expected to bring.

        Args:
            sold_kw: For the running block.
            to_auction: Periods until the next auction; 0 if it is held now.
            sellable_now_kw: Most that can be sold in this period's auction.
            paid_gbp_per_kw: Expected payment for a kW sold in a period's auction, shape (horizon,).
            sold_share: Share of the offered capacity that is expected to sell there, shape (horizon,).
        """
        lead = np.arange(self.horizon)
        starts = (lead >= to_auction) & ((lead - to_auction) % BLOCK_PERIODS == 0)
        # A block that the horizon cuts costs energy inside only, so it earns in the same proportion.
        inside = np.minimum(self.horizon - lead, BLOCK_PERIODS) / BLOCK_PERIODS
        self._value.value = np.where(starts, paid_gbp_per_kw * inside, 0.0)
        self._kept.value = np.where(starts, 0.0, 1.0)
        most_kw = np.minimum(sold_share, 1.0) * self._sellable_kw
        if to_auction == 0:
            most_kw[0] = min(sold_share[0] * sellable_now_kw, self._sellable_kw)
        self._limit_kw.value = np.where(starts, np.maximum(most_kw, 0.0), 0.0)
        self._sold_kw.value = np.where((lead == 0) & (to_auction > 0), sold_kw, 0.0)


class FlexibilityBlock:
    """Turn-down sold to the DSO, and the part of it that the plan does not deliver.

    Delivered is the baseline less the import. A kW short loses its price and is charged a multiple of it. Where
    nothing is wanted or sold nothing is counted.

    Attributes:
        turn_down_kw: Sold by now, or to be offered, shape (leads,).
        share: Of what can be offered, shape (leads,).
        cost_gbp: Revenue and charges, as a cost.
        constraints: Limits of the offer, delivery.
    """

    def __init__(self, terms: Terms, grid_kw: cp.Expression, leads: int) -> None:
        """Lay out the block.

        Args:
            terms: The site's own.
            grid_kw: Import of the plan, shape (horizon,).
            leads: Periods ahead that the DSO's wants are shown.
        """
        self._terms, self.leads = terms, leads
        self._sold_kw, self._open_kw = cp.Parameter(leads, nonneg=True), cp.Parameter(leads, nonneg=True)
        self._deliverable_kw = cp.Parameter(leads)  # baseline less a margin
        self._price = cp.Parameter(leads, nonneg=True)  # GBP per kWh
        self._sold_gbp_per_h, self._open_gbp_per_h = cp.Parameter(), cp.Parameter(leads)
        # Offered is a share of what may still be: where nothing is, power would have no interior.
        self.share, short_kw = cp.Variable(leads, bounds=[0.0, 1.0]), cp.Variable(leads, nonneg=True)
        self.turn_down_kw = self._sold_kw + cp.multiply(self._open_kw, self.share)
        lost_gbp_per_h = (1.0 + terms.shortfall_factor) * self._price @ short_kw
        self.cost_gbp = PERIOD_H * (lost_gbp_per_h - self._sold_gbp_per_h - self._open_gbp_per_h @ self.share)
        self.constraints = [short_kw >= self.turn_down_kw - self._deliverable_kw + grid_kw[:leads]]

    def feed(
        self, sold_kw: tuple[float, ...], wanted_kw: Floats, baseline_kw: Floats, price_gbp_per_mwh: Floats
    ) -> None:
        """Set what is sold, what is wanted and against what delivery is measured.

        Args:
            sold_kw: For this and the next periods, as far as the gate has closed.
            wanted_kw: By the DSO, shape (leads,).
            baseline_kw: Less a margin for what cannot be foreseen, shape (leads,).
            price_gbp_per_mwh: Expected price of turn-down, shape (leads,).
        """
        assert len(sold_kw) == GATE_PERIODS
        open_kw = np.clip(wanted_kw, 0.0, self._terms.max_offer_kw)
        open_kw[:GATE_PERIODS] = 0.0
        closed_kw = np.zeros(self.leads)
        closed_kw[:GATE_PERIODS] = sold_kw
        most_kw = closed_kw + open_kw
        price = np.where(most_kw > 0.0, np.maximum(price_gbp_per_mwh, 0.0), 0.0) / 1000.0
        self._sold_kw.value, self._open_kw.value, self._price.value = closed_kw, open_kw, price
        self._sold_gbp_per_h.value, self._open_gbp_per_h.value = float(price @ closed_kw), price * open_kw
        self._deliverable_kw.value = baseline_kw
