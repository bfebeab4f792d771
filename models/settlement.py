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


HIGHEST_ADDER: Final = 10_000.0  # a hundred times what GB users pay; per MWh and per tonne alike
CARBON_PRICED: Final = Adders(carbon_gbp_per_tonne=60.0)


def checked_adders(adders: Adders) -> Adders:
    """Return the adders, or say which is wrong.

    Raises:
        ValueError: One is NaN, negative, or so high that its unit must be another.
    """
    for name, value in adders._asdict().items():
        if not 0.0 <= value <= HIGHEST_ADDER:
            raise ValueError(f"{name} is {value}; it must be between 0 and {HIGHEST_ADDER:g}: is it in another unit?")
    return adders


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
