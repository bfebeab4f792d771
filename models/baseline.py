"""What a site would have drawn: the baseline that delivered flexibility is measured against.

Mean of the X highest of the last Y eligible days, per half-hour of the day; X = Y is the plain mean. Days on which
flexibility was sold in that half-hour are not eligible and leave the history alone. The in-day adjustment is zero.
This is the family that GB settlement's BL01 belongs to (Elexon, Baselining Methodology Document, effective
7 November 2024) and that DEG names 10_of_10, 5_of_10 and 3_of_5; it is not the text of BL01 itself: day types
(working or not) are left out.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit

from models.compiling import KERNEL

MAX_DAYS: Final = 10
SLOTS: Final = 48
DAYS: Final = np.dtype(
    [
        ("total_kw", np.float64),  # of all days that count as looked back on
        ("kw", np.float32, MAX_DAYS),
        ("next", np.int32),  # the next eligible day's place
    ],
    align=True,
)
LANE: Final = np.dtype([("slots", DAYS, SLOTS)])  # one for each half-hour of the day


class BaselineRules(NamedTuple):
    """Parameters of the method.

    Attributes:
        days: Y, the eligible days looked back on, 1 to `MAX_DAYS`.
        highest: X, how many of them count, the highest ones.
    """

    days: int = 10
    highest: int = 10


def checked(rules: BaselineRules) -> BaselineRules:
    """Return the rules, or say what is wrong.

    Raises:
        ValueError: The numbers are not 1 <= highest <= days <= MAX_DAYS.
    """
    if not 1 <= rules.highest <= rules.days <= MAX_DAYS:
        raise ValueError(
            f"baseline of the {rules.highest} highest of {rules.days} days; it must be "
            f"1 <= highest <= days <= {MAX_DAYS}"
        )
    return rules


@njit(**KERNEL)
def reset(rules: BaselineRules, lane: np.void, kw: float) -> None:
    """Start with a history of the same power everywhere."""
    for slot in range(SLOTS):
        days = lane["slots"][slot]
        days["kw"][:] = kw
        days["total_kw"] = rules.days * np.float64(days["kw"][0])
        days["next"] = 0


@njit(**KERNEL)
def record(rules: BaselineRules, lane: np.void, t: int, metered_kw: float) -> None:
    """Let an eligible day's half-hour replace the oldest one."""
    days = lane["slots"][t % SLOTS]
    place = days["next"]
    oldest_kw = np.float64(days["kw"][place])
    days["kw"][place] = metered_kw
    days["total_kw"] += np.float64(days["kw"][place]) - oldest_kw
    days["next"] = place + 1 if place + 1 < rules.days else 0


@njit(**KERNEL)
def baseline_kw(rules: BaselineRules, lane: np.void, t: int) -> float:
    """Baseline of period t."""
    if rules.highest == rules.days:
        return lane["slots"][t % SLOTS]["total_kw"] / rules.days
    days, total = lane["slots"][t % SLOTS]["kw"], 0.0
    for i in range(rules.days):
        higher = 0
        for j in range(rules.days):
            higher += days[j] > days[i] or (days[j] == days[i] and j < i)
        if higher < rules.highest:
            total += days[i]
    return total / rules.highest


@njit(**KERNEL)
def delivered_kw(baseline: float, metered_kw: float) -> float:
    """Turn-down delivered by a load, baseline less metered; below 0 if it drew more."""
    return baseline - metered_kw


@njit(**KERNEL)
def delivery_gbp(
    sold_kw: float, price_gbp_per_mwh: float, delivered: float, shortfall_factor: float, period_h: float
) -> tuple[float, float]:
    """Money for what was delivered of what was sold, and the charge for the rest (0 or less).

    Over-delivery earns nothing, as in contracted services; `shortfall_factor` times the price is charged for each
    MWh missing.
    """
    kept_kw = min(max(delivered, 0.0), sold_kw)
    mwh_per_kw = period_h / 1000.0
    paid_gbp = kept_kw * price_gbp_per_mwh * mwh_per_kw
    return paid_gbp, -(sold_kw - kept_kw) * shortfall_factor * price_gbp_per_mwh * mwh_per_kw
