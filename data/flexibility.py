"""What the distribution system operator (DSO) wants turned down, and what rivals offer: seeded, row by half-hour."""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.calendar import LOCAL_TIME_ZONE, local_hour
from data.schema import PERIOD_H

GRID_KW: Final = 10.0  # every quantity is a multiple of it
NOTICE_PERIODS: Final = 48  # the DSO publishes wanted power and cap this long ahead
# All that follows is assumption. The order of magnitude of the prices is that of NESO's Demand Flexibility Service
# 2023/24, whose competitive test events were paid 150 to 2,500 GBP/MWh; a DSO's cap is put at its lower end.
WANTED_KW: Final = 1500.0  # median of an event
WANTED_LOG_SD: Final = 0.5
EVENING_SHARE: Final = (0.25, 0.7)  # of weekdays with an evening event, at midsummer and at midwinter
MORNING_SHARE: Final = (0.03, 0.2)  # the same for stress events in the morning
WEEKEND_FRACTION: Final = 0.4
MIDWINTER_DAY: Final = 15.0
EVENING_HOURS: Final = (16.5, 17.0, 17.5, 18.0)  # local starts
MORNING_HOURS: Final = (7.5, 8.0, 8.5)
EVENT_PERIODS: Final = (2, 3, 4)
CAP_GBP_PER_MWH: Final = 320.0  # median
CAP_LOG_SD: Final = 0.35
CAP_RANGE_GBP_PER_MWH: Final = (150.0, 600.0)
RIVAL_SUPPLY: Final = 1.2  # mean of what all rivals offer together, in median wanted power
RIVAL_LOG_SD: Final = 0.6  # of a rival's power, by day
RIVAL_GBP_PER_MWH: Final = 150.0  # median
RIVAL_LEVEL_LOG_SD: Final = 0.2  # between rivals, for good
RIVAL_DAY_LOG_SD: Final = 0.25  # of all rivals together, by day
RIVAL_OFFER_LOG_SD: Final = 0.2  # of each rival, by day


class FlexibilityMarket(NamedTuple):
    """The other sides of a flexibility auction, one row per half-hour, all float64.

    The DSO publishes `wanted_kw` and `cap_gbp_per_mwh` 24 hours ahead; rivals' offers are never seen. Within a local
    day all of it is constant but for the hours in which nothing is wanted, so a day's first result tells of the next.

    Attributes:
        wanted_kw: Turn-down the DSO buys, a multiple of `GRID_KW`, 0 in most periods, shape (n,).
        cap_gbp_per_mwh: Most that it pays, shape (n,).
        rival_kw: Offered by each rival, a multiple of `GRID_KW`, shape (n, n_rivals).
        rival_gbp_per_mwh: Price of each such offer, shape (n, n_rivals).
    """

    wanted_kw: NDArray[np.float64]
    cap_gbp_per_mwh: NDArray[np.float64]
    rival_kw: NDArray[np.float64]
    rival_gbp_per_mwh: NDArray[np.float64]


class FlexibilitySource(NamedTuple):
    """Where a site's flexibility market comes from.

    Attributes:
        seed: Seed of every draw.
        n_rivals: How many others offer.
        wanted_kw: Median of the power wanted in an event.
    """

    seed: int = 0
    n_rivals: int = 6
    wanted_kw: float = WANTED_KW

    def market(self, index: pd.DatetimeIndex) -> FlexibilityMarket:
        """The market over the half-hours of `index`."""
        return generate_flexibility(index, self.seed, self.n_rivals, self.wanted_kw)


def generate_flexibility(
    index: pd.DatetimeIndex, seed: int, n_rivals: int = 6, wanted_kw: float = WANTED_KW
) -> FlexibilityMarket:
    """Draw events of 2 to 4 half-hours in evening peaks and stressed mornings, more of them in winter, and rivals.

    A longer index with the same start and seed begins with the rows of the shorter one.

    Args:
        index: Half-hours of the history in UTC, shape (n,).
        seed: Seed of every draw.
        n_rivals: How many others offer.
        wanted_kw: Median of the power wanted in an event; rivals grow with it.

    Raises:
        ValueError: An empty or zoneless index, a negative seed, no rivals, or a power below one cell of the grid.
    """
    if index.tz is None or len(index) == 0:
        raise ValueError(f"index holds {len(index)} times in zone {index.tz}; give the half-hours of a history in UTC")
    if seed < 0 or n_rivals < 1:
        raise ValueError(f"seed is {seed} and n_rivals {n_rivals}; give a seed of 0 or more and at least 1 rival")
    if not GRID_KW <= wanted_kw < 1e6:
        raise ValueError(f"wanted_kw is {wanted_kw}; {GRID_KW:g} to 1000000 is allowed: is it in MW or W?")
    local_day = index.tz_convert(LOCAL_TIME_ZONE).tz_localize(None).normalize()
    day = (local_day - local_day[0]).days.to_numpy()
    dates = pd.date_range(local_day[0], periods=day[-1] + 1, freq="D")
    winter = 0.5 + 0.5 * np.cos(2.0 * np.pi * (dates.day_of_year.to_numpy() - MIDWINTER_DAY) / 365.25)
    week = np.where(dates.day_of_week.to_numpy() >= 5, WEEKEND_FRACTION, 1.0)
    evening_rng, morning_rng, wanted_rng, cap_rng, rival_rng, price_rng, level_rng = np.random.default_rng(seed).spawn(
        7
    )

    hour = local_hour(index)
    called = np.zeros(len(index), dtype=np.bool_)
    for rng, (summer_share, winter_share), hours in (
        (evening_rng, EVENING_SHARE, EVENING_HOURS),
        (morning_rng, MORNING_SHARE, MORNING_HOURS),
    ):
        draws = rng.random((len(dates), 3))
        happens = draws[:, 0] < week * (summer_share + (winter_share - summer_share) * winter)
        start = np.array(hours)[(draws[:, 1] * len(hours)).astype(np.int64)]
        length_h = PERIOD_H * np.array(EVENT_PERIODS)[(draws[:, 2] * len(EVENT_PERIODS)).astype(np.int64)]
        called |= happens[day] & (hour >= start[day]) & (hour < (start + length_h)[day])

    event_kw = _on_grid(wanted_kw * np.exp(WANTED_LOG_SD * wanted_rng.standard_normal(len(dates))))
    cap = CAP_GBP_PER_MWH * np.exp(CAP_LOG_SD * cap_rng.standard_normal(len(dates)))
    mean_kw = RIVAL_SUPPLY * wanted_kw / n_rivals
    rival_kw = mean_kw * np.exp(
        RIVAL_LOG_SD * rival_rng.standard_normal((len(dates), n_rivals)) - 0.5 * RIVAL_LOG_SD**2
    )
    news = price_rng.standard_normal((len(dates), n_rivals + 1))  # the first is common to all
    price = RIVAL_GBP_PER_MWH * np.exp(
        RIVAL_LEVEL_LOG_SD * level_rng.standard_normal(n_rivals)
        + RIVAL_DAY_LOG_SD * news[:, :1]
        + RIVAL_OFFER_LOG_SD * news[:, 1:]
    )
    return FlexibilityMarket(
        wanted_kw=np.where(called, event_kw[day], 0.0),
        cap_gbp_per_mwh=np.clip(cap, *CAP_RANGE_GBP_PER_MWH)[day],
        rival_kw=_on_grid(rival_kw)[day],
        rival_gbp_per_mwh=price[day],
    )


def _on_grid(power_kw: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ceil(power_kw / GRID_KW) * GRID_KW
