"""How a day of the whole site may come other than expected: price, carbon and how busy the days are, together."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from baselines.copula import copula_draws
from baselines.price_chain import PriceChain
from baselines.price_fan import DRAWN, fitted_rows, price_misses
from baselines.scenario_reduction import fast_forward_selection
from envs.fields import FloatArray
from envs.information import FORECAST_PERIODS

Floats = NDArray[np.float64]


class SiteFan(NamedTuple):
    """Paths of what is missed; expectations over the paths are 0 for price and carbon.

    Attributes:
        price: In units of the recent mean size of deviations, shape (paths, 48).
        carbon_g_per_kwh: Shape (paths, 48).
        busy: Normal score of the arrivals' level today and on later days, shape (paths, 2).
        weight: Probability of each path, shape (paths,).
    """

    price: Floats
    carbon_g_per_kwh: Floats
    busy: Floats
    weight: Floats

    @classmethod
    def fit(
        cls,
        chain: PriceChain,
        shown: FloatArray,
        price_gbp_per_mwh: Floats,
        carbon_shown: FloatArray,
        carbon_g_per_kwh: Floats,
        carbon_gbp_per_tonne: float,
        paths: int,
        seed: int = 0,
    ) -> Self:
        """Draw paths of price and carbon from one Gaussian copula, busy days beside them, and keep a few.

        Jobs arrive independently of the market, so their level is drawn on its own. Distance between paths counts what
        a MWh of import costs and how busy the days are alike: each in standard deviations, as a mean over its values.

        Args:
            chain: Whose corrected forecast is missed.
            shown: Rows of `envs.information.FIELDS` of the training split, shape (n, fields).
            price_gbp_per_mwh: The price that was settled, shape (n,).
            carbon_shown: Forecasts of the carbon intensity that were shown, shape (n, 48).
            carbon_g_per_kwh: The one that came, shape (n,).
            carbon_gbp_per_tonne: What carbon costs.
            paths: How many are kept.
            seed: Of the draws.
        """
        rng, rows = np.random.default_rng(seed), fitted_rows(len(price_gbp_per_mwh))
        carbon = carbon_g_per_kwh[rows[:, None] + np.arange(FORECAST_PERIODS)] - carbon_shown[rows]
        drawn = copula_draws(np.hstack([price_misses(chain, shown, price_gbp_per_mwh), carbon]), DRAWN, rng)
        price, carbon = np.split(drawn, 2, axis=1)
        busy = rng.standard_normal((DRAWN, 2))
        cost = chain.scale_gbp_per_mwh(shown[rows]).mean() * price + carbon_gbp_per_tonne * carbon / 1000.0
        chosen, weight = fast_forward_selection(
            np.hstack([cost / cost.std() / np.sqrt(FORECAST_PERIODS), busy / np.sqrt(busy.shape[1])]), paths
        )
        price, carbon = price[chosen], carbon[chosen]
        return cls(price - weight @ price, carbon - weight @ carbon, busy[chosen], weight)

    def levels(self, today: NDArray[np.bool_], level_sd: Floats, spread_fraction: float) -> Floats:
        """Arrivals over their expectation, lognormal, with a mean of 1 over the paths, shape (paths, horizon).

        Args:
            today: Which periods belong to the day of the decision, shape (horizon,).
            level_sd: Standard deviation of the level over its mean, shape (horizon,).
            spread_fraction: Share of the spread that is planned with.
        """
        level: Floats = np.exp(spread_fraction * level_sd * self.busy[:, np.where(today, 0, 1)])
        return level / (self.weight @ level)
