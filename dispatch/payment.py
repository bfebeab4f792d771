"""What delivery earns, half-hour by half-hour, in exact decimals."""

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, NamedTuple

VOLUME: Final = Decimal("0.0001")  # MWh, as GB settlement states volumes
PENNY: Final = Decimal("0.01")
SHORTFALL_FACTOR: Final = Decimal("1.5")


class Period(NamedTuple):
    """One half-hour of an order.

    Attributes:
        contracted_mwh: Turn-down sold.
        delivered_mwh: Baseline less metered; negative where more was drawn.
        price_gbp_per_mwh: At which it was sold.
        system_gbp_per_mwh: Imbalance price, None where it is not known.
    """

    contracted_mwh: Decimal
    delivered_mwh: Decimal
    price_gbp_per_mwh: Decimal
    system_gbp_per_mwh: Decimal | None

    @property
    def counted_mwh(self) -> Decimal:
        """What was delivered of what was sold: nothing for drawing more, nothing for turning down more than sold."""
        return min(max(self.delivered_mwh, Decimal(0)), self.contracted_mwh)

    @property
    def shortfall_mwh(self) -> Decimal:
        """What was sold and not delivered."""
        return self.contracted_mwh - self.counted_mwh


class Rule(NamedTuple):
    """How a half-hour is paid; a name stands for the same rule for ever, since orders are settled by it.

    Attributes:
        gbp: Its money, unrounded.
        needs_system_price: Whether it can be told without the imbalance price.
    """

    gbp: Callable[[Period], Decimal]
    needs_system_price: bool


def _delivered(one: Period) -> Decimal:
    return one.counted_mwh * one.price_gbp_per_mwh


def _penalised(one: Period) -> Decimal:
    return (one.counted_mwh - SHORTFALL_FACTOR * one.shortfall_mwh) * one.price_gbp_per_mwh


def _imbalance(one: Period) -> Decimal:
    assert one.system_gbp_per_mwh is not None
    deviation_mwh = one.delivered_mwh - one.contracted_mwh
    return one.contracted_mwh * one.price_gbp_per_mwh + deviation_mwh * one.system_gbp_per_mwh


RULES: Final = {
    "delivered": Rule(_delivered, needs_system_price=False),  # a contracted service: more than sold earns nothing
    "penalised": Rule(_penalised, needs_system_price=False),  # the same, and what is missing costs one and a half times
    "imbalance": Rule(_imbalance, needs_system_price=True),  # a wholesale trade (P415): deviation at the system price
}


def volume(mwh: Decimal) -> Decimal:
    """To four decimals, half to even."""
    return mwh.quantize(VOLUME, ROUND_HALF_EVEN)


def money(gbp: Decimal) -> Decimal:
    """To the penny, half to even; only ever done to a total."""
    return gbp.quantize(PENNY, ROUND_HALF_EVEN) + Decimal(0)  # no minus before nothing


def exact(number: float) -> Decimal:
    """The decimal that a float is written as."""
    return Decimal(repr(float(number)))


def shares(total: Decimal, weights: list[Decimal]) -> list[Decimal]:
    """Split a volume by weight so that the rounded parts add up to it exactly.

    Args:
        total: To split, four decimals.
        weights: Positive, at least one.
    """
    whole, before, used = sum(weights, Decimal(0)), Decimal(0), Decimal(0)
    parts = []
    for weight in weights:
        before += weight
        upto = volume(total * before / whole)
        parts.append(upto - used)
        used = upto
    return parts
