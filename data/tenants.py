"""Who wants the site's compute capacity: seeded sealed bids of tenants, one each for every four-hour block."""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import lfilter

from data.calendar import LOCAL_TIME_ZONE, local_hour
from data.schema import PERIOD_H

BLOCK_PERIODS: Final = 8  # row r of a table lies in block r // BLOCK_PERIODS, counted from the table's first row
BLOCK_H: Final = BLOCK_PERIODS * PERIOD_H
RESOLUTION_KW: Final = 10.0  # every wanted quantity is a multiple of it, so that an auction on this grid is exact
CAPACITY_KW: Final = 596.304  # the default cluster with every GPU busy
# All that follows is assumption: no public data set states what tenants pay for interruptible blocks of compute.
# The level is that of the energy itself, 80 to 120 GBP/MWh over four hours, so that selling is a decision.
VALUE_GBP_PER_KW: Final = 0.55  # median of a weekday's mean bid, for the whole block
DAILY_AMPLITUDE: Final = 0.35
PEAK_HOUR: Final = 15.0  # local
WEEKEND_FRACTION: Final = 0.75  # values and quantities of a weekend day over a weekday's
TENANT_LOG_SD: Final = 0.2  # between tenants, for good
MARKET_LOG_SD: Final = 0.3  # of all tenants together, autocorrelated: what past results tell of the next auction
MARKET_H: Final = 24.0
BID_LOG_SD: Final = 0.3  # of each bid
DEMAND_FRACTION: Final = 1.5  # mean summed demand of the tenants over the capacity
QUANTITY_LOG_SD: Final = 0.5
ABSENT_SHARE: Final = 0.15  # bids for nothing
DIVISIBLE_SHARE: Final = 0.6


class Tenants(NamedTuple):
    """Sealed bids by block and tenant, every field of shape (n_blocks, n_tenants).

    A tenant hands in its bid during the block before, sealed until the auction at the start of the block. The seller
    sees results only: what earlier auctions allocated and charged. A bid is a promise: the tenant pays its price and
    uses what it bought for the whole block.

    Attributes:
        value_gbp_per_kw: Worth of a kW of capacity for the whole block, its energy included; float64, above 0.
        quantity_kw: Wanted, a multiple of `RESOLUTION_KW`; float64, 0 if the tenant stays away.
        divisible: Whether a part is worth having; bool.
    """

    value_gbp_per_kw: NDArray[np.float64]
    quantity_kw: NDArray[np.float64]
    divisible: NDArray[np.bool_]


class TenantSource(NamedTuple):
    """Where the bids for a site's capacity come from.

    Attributes:
        seed: Seed of every draw.
        n_tenants: How many bid.
    """

    seed: int = 0
    n_tenants: int = 6

    def tenants(self, index: pd.DatetimeIndex, capacity_kw: float) -> Tenants:
        """The bids for a site of `capacity_kw` over the half-hours of `index`."""
        return generate_tenants(index, self.seed, self.n_tenants, capacity_kw)


def generate_tenants(
    index: pd.DatetimeIndex, seed: int, n_tenants: int = 6, capacity_kw: float = CAPACITY_KW
) -> Tenants:
    """Draw bids with a daily and weekly cycle, a common level that drifts, and a lognormal spread of each bid.

    A longer index with the same start and seed begins with the bids of the shorter one.

    Args:
        index: Half-hours of the history in UTC, shape (n,); there are ceil(n / BLOCK_PERIODS) blocks.
        seed: Seed of every draw.
        n_tenants: How many bid.
        capacity_kw: Of the site; a larger one gets larger tenants.

    Raises:
        ValueError: An empty or zoneless index, a negative seed, no tenants, or a capacity below one cell of the grid.
    """
    if index.tz is None or len(index) == 0:
        raise ValueError(f"index holds {len(index)} times in zone {index.tz}; give the half-hours of a history in UTC")
    if seed < 0 or n_tenants < 1:
        raise ValueError(f"seed is {seed} and n_tenants {n_tenants}; give a seed of 0 or more and at least 1 tenant")
    if not RESOLUTION_KW <= capacity_kw < 1e6:
        raise ValueError(f"capacity_kw is {capacity_kw}; {RESOLUTION_KW:g} to 1000000 is allowed: is it in MW or W?")
    blocks = index[::BLOCK_PERIODS]
    shape = (len(blocks), n_tenants)
    tenant_rng, market_rng, bid_rng, quantity_rng, absent_rng, kind_rng = np.random.default_rng(seed).spawn(6)
    middle_hour = local_hour(blocks) + 0.5 * BLOCK_H
    weekend = blocks.tz_convert(LOCAL_TIME_ZONE).day_of_week.to_numpy() >= 5
    week = np.where(weekend, WEEKEND_FRACTION, 1.0)
    day = 1.0 + DAILY_AMPLITUDE * np.cos(2.0 * np.pi * (middle_hour - PEAK_HOUR) / 24.0)

    keep = np.exp(-BLOCK_H / MARKET_H)
    news = market_rng.standard_normal(shape[0]) * np.sqrt(1.0 - keep**2)
    news[0] /= np.sqrt(1.0 - keep**2)  # the drift begins in its steady state
    log_spread = (
        TENANT_LOG_SD * tenant_rng.standard_normal(n_tenants)
        + MARKET_LOG_SD * lfilter([1.0], [1.0, -keep], news)[:, None]
        + BID_LOG_SD * bid_rng.standard_normal(shape)
    )
    cycle = (week * day)[:, None]
    mean_kw = DEMAND_FRACTION * capacity_kw / (n_tenants * (1.0 - ABSENT_SHARE))
    spread = np.exp(QUANTITY_LOG_SD * quantity_rng.standard_normal(shape) - 0.5 * QUANTITY_LOG_SD**2)
    wanted_kw = np.minimum(mean_kw * cycle * spread, capacity_kw)
    wanted_kw *= absent_rng.random(shape) >= ABSENT_SHARE
    return Tenants(
        value_gbp_per_kw=VALUE_GBP_PER_KW * cycle * np.exp(log_spread),
        quantity_kw=np.floor(wanted_kw / RESOLUTION_KW) * RESOLUTION_KW,
        divisible=kind_rng.random(shape) < DIVISIBLE_SHARE,
    )
