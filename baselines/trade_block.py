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
        cost_gbp: Payments of tenants, as a cost (0 or less).
        constraints: Constant within a block, at most what is expected to sell.
    """

    def __init__(self, sellable_kw: float, horizon: int) -> None:
        """Lay out the block; `sellable_kw` is the most that is sold at once."""
        self._sellable_kw, self.horizon = sellable_kw, horizon
        self._sold_kw = cp.Parameter(horizon)  # for the running block, in the first place
        self._change_kw = cp.Parameter(horizon, nonneg=True)
        self._limit_kw = cp.Parameter(horizon, nonneg=True)
        self._value = cp.Parameter(horizon)  # GBP per kW, where a block starts
        self.tenant_kw = cp.Variable(horizon, nonneg=True)
        change_kw = self.tenant_kw - cp.hstack([0.0, self.tenant_kw[:-1]]) - self._sold_kw
        self.cost_gbp = -self._value @ self.tenant_kw
        self.constraints = [
            change_kw <= self._change_kw,
            change_kw >= -self._change_kw,
            self.tenant_kw <= self._limit_kw,
        ]

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
        self._change_kw.value = np.where(starts, self._sellable_kw, 0.0)
        limit_kw = np.full(self.horizon, self._sellable_kw)
        at_start = np.where(starts, sold_share * self._sellable_kw, self._sellable_kw)
        limit_kw = np.minimum(limit_kw, at_start)
        if to_auction == 0:
            limit_kw[0] = min(sold_share[0] * sellable_now_kw, self._sellable_kw)
        else:
            limit_kw[:to_auction] = max(self._sellable_kw, sold_kw)
        self._limit_kw.value = np.maximum(limit_kw, 0.0)
        self._sold_kw.value = np.where((lead == 0) & (to_auction > 0), sold_kw, 0.0)


class FlexibilityBlock:
    """Turn-down sold to the DSO, and the part of it that the plan does not deliver.

    Delivered is the baseline less the import. A kW short loses its price and is charged a multiple of it. Where
    nothing is wanted or sold nothing is counted.

    Attributes:
        turn_down_kw: Sold by now, or to be offered, shape (leads,).
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
        self._least_kw, self._most_kw = cp.Parameter(leads, nonneg=True), cp.Parameter(leads, nonneg=True)
        self._deliverable_kw = cp.Parameter(leads)  # baseline less a margin
        self._price = cp.Parameter(leads, nonneg=True)  # GBP per kWh
        self.turn_down_kw, short_kw = cp.Variable(leads), cp.Variable(leads, nonneg=True)
        lost = (1.0 + terms.shortfall_factor) * short_kw
        self.cost_gbp = PERIOD_H * self._price @ (lost - self.turn_down_kw)
        self.constraints = [
            self.turn_down_kw >= self._least_kw,
            self.turn_down_kw <= self._most_kw,
            short_kw >= self.turn_down_kw - self._deliverable_kw + grid_kw[:leads],
        ]

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
        most_kw = np.minimum(wanted_kw, self._terms.max_offer_kw)
        most_kw[:GATE_PERIODS] = sold_kw
        least_kw = np.zeros(self.leads)
        least_kw[:GATE_PERIODS] = sold_kw
        self._most_kw.value, self._least_kw.value = most_kw, least_kw
        self._deliverable_kw.value = baseline_kw
        self._price.value = np.where(most_kw > 0.0, np.maximum(price_gbp_per_mwh, 0.0), 0.0) / 1000.0
