"""How prices may come other than expected: a few paths with the quantiles and the rank correlation of the past."""

from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from baselines.copula import copula_draws
from baselines.price_chain import PriceChain
from baselines.scenario_reduction import fast_forward_selection
from envs.fields import FloatArray
from envs.information import FORECAST_PERIODS

Floats = NDArray[np.float64]

MISS_BOUND: Final = 10.0  # in scales of the chain
DRAWN: Final = 500  # paths, of which a few are kept
STRIDE: Final = 5  # rows of the training split from one to the next that is fitted on


def fitted_rows(periods: int) -> NDArray[np.int64]:
    """Rows of a training split that a fan is fitted on: those with a whole day after them, one in `STRIDE`."""
    return np.arange(0, periods - FORECAST_PERIODS, STRIDE)


def price_misses(chain: PriceChain, shown: FloatArray, price_gbp_per_mwh: Floats) -> Floats:
    """What a corrected forecast missed at `fitted_rows`, in scales of the chain, shape (rows, 48).

    Args:
        chain: Corrects the forecast.
        shown: Rows of `envs.information.FIELDS`, shape (n, fields).
        price_gbp_per_mwh: The price that was settled, shape (n,).
    """
    rows = fitted_rows(len(price_gbp_per_mwh))
    known = shown[rows]
    came = price_gbp_per_mwh[rows[:, None] + np.arange(FORECAST_PERIODS)]
    missed = (came - chain.path_gbp_per_mwh(known)) / chain.scale_gbp_per_mwh(known)[:, None]
    return np.clip(missed, -MISS_BOUND, MISS_BOUND)


class PriceFan(NamedTuple):
    """Paths of what a corrected forecast misses, in units of the recent mean size of deviations.

    Attributes:
        missed: Of each path and lead; the expectation over the paths is 0, shape (paths, 48).
        weight: Probability of each path, shape (paths,).
    """

    missed: Floats
    weight: Floats

    @classmethod
    def fit(cls, chain: PriceChain, shown: FloatArray, price_gbp_per_mwh: Floats, paths: int, seed: int = 0) -> Self:
        """Draw paths from a Gaussian copula over what was missed at each lead, and keep those that stand for the rest.

        Args:
            chain: Whose corrected forecast is missed.
            shown: Rows of `envs.information.FIELDS`, shape (n, fields).
            price_gbp_per_mwh: The price that was settled, shape (n,).
            paths: How many are kept.
            seed: Of the draws.
        """
        missed = price_misses(chain, shown, price_gbp_per_mwh)
        drawn = copula_draws(missed, DRAWN, np.random.default_rng(seed))
        chosen, weight = fast_forward_selection(drawn, paths)
        return cls(drawn[chosen] - weight @ drawn[chosen], weight)

    def as_json(self) -> dict[str, list[Any]]:
        """Plain lists, for a bundle."""
        return {"missed": self.missed.tolist(), "weight": self.weight.tolist()}

    @classmethod
    def from_json(cls, lists: dict[str, list[Any]]) -> Self:
        """What `as_json` wrote.

        Raises:
            ValueError: A part is missing, or the shapes do not belong together.
        """
        if set(lists) != set(cls._fields):
            raise ValueError(f"a price fan holds {sorted(cls._fields)}, not {sorted(lists)}; fit it again")
        fan = cls(*(np.array(lists[name], dtype=np.float64) for name in cls._fields))
        if fan.missed.shape != (fan.weight.size, FORECAST_PERIODS):
            raise ValueError(f"a price fan of shapes {fan.missed.shape} and {fan.weight.shape}; fit it again")
        return fan
