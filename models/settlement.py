"""Two settlements: the day-ahead position at its price, the deviation from it at the imbalance price."""

from math import isfinite
from typing import Final, NamedTuple

from numba import njit

from models.compiling import KERNEL


class Adders(NamedTuple):
    """What a kWh costs beside its market price.

    Attributes:
        network_gbp_per_mwh: Network and policy costs of imported energy.
        carbon_gbp_per_tonne: Price put on the carbon of imported energy; exports earn it back.
    """

    network_gbp_per_mwh: float = 0.0
    carbon_gbp_per_tonne: float = 0.0


CARBON_PRICED: Final = Adders(carbon_gbp_per_tonne=60.0)


def checked_position_kw(position_kw: float | None, expected_kw: float) -> float:
    """Return the power bought day-ahead, the expected load if none is given.

    Raises:
        ValueError: It is not a finite number.
    """
    if position_kw is None:
        return expected_kw
    if not isfinite(position_kw):
        raise ValueError(f"position_kw is {position_kw}; give a finite number of kW, or null for the expected load")
    return float(position_kw)


@njit(**KERNEL)
def energy_gbp(
    position_kwh: float, metered_kwh: float, day_ahead_gbp_per_mwh: float, imbalance_gbp_per_mwh: float
) -> tuple[float, float]:
    """Money earned (above 0) by the day-ahead position and by the deviation from it; import is positive.

    Source: GB settlement has one imbalance price for both directions since BSC modification P305 (2015).
    """
    day_ahead_gbp = -position_kwh * day_ahead_gbp_per_mwh / 1000.0
    return day_ahead_gbp, -(metered_kwh - position_kwh) * imbalance_gbp_per_mwh / 1000.0


@njit(**KERNEL)
def adders_gbp(adders: Adders, metered_kwh: float, carbon_g_per_kwh: float) -> tuple[float, float]:
    """Money earned by network adders (on import only) and by the carbon price (on net import)."""
    network_gbp = -adders.network_gbp_per_mwh * max(metered_kwh, 0.0) / 1000.0
    return network_gbp, -adders.carbon_gbp_per_tonne * carbon_g_per_kwh * metered_kwh / 1e6
