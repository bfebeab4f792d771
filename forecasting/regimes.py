"""Market regimes: clusters of (price level, volatility), found on the training split and only looked up after."""

from typing import Any, Final, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.schema import PERIODS_PER_DAY
from forecasting.indicators import Array, volatility

REGIMES: Final = 4
FLOOR_GBP_PER_MWH: Final = 1.0  # prices of 0 and below have a logarithm too


class Regimes(NamedTuple):
    """Centres in the space of (log of the day's mean price, log of the day's volatility), calm ones first.

    Attributes:
        centres: Shape (regimes, 2), standardised.
        mean: Shape (2,), of the two coordinates on the training split.
        spread: Shape (2,), their standard deviations there.
    """

    centres: tuple[tuple[float, float], ...]
    mean: tuple[float, float]
    spread: tuple[float, float]

    @classmethod
    def fit(cls, table: pd.DataFrame) -> Self:
        """Cluster the days of a table by k-means.

        Args:
            table: A checked grid table holding nothing but the training split.
        """
        from sklearn.cluster import KMeans  # loads only where something is fitted

        points = _coordinates(table["imbalance_price_gbp_per_mwh"].to_numpy(dtype=np.float64))[::PERIODS_PER_DAY]
        points = points[np.isfinite(points).all(axis=1)]
        mean, spread = points.mean(axis=0), np.maximum(points.std(axis=0), 1e-9)
        scaled = (points - mean) / spread
        count = min(REGIMES, len(np.unique(scaled, axis=0)))
        centres = KMeans(count, n_init=10, random_state=0).fit(scaled).cluster_centers_
        centres = centres[np.argsort(centres[:, 1])]
        return cls(tuple(map(tuple, centres.tolist())), tuple(mean.tolist()), tuple(spread.tolist()))

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Self:
        """From what `_asdict` gave, through JSON."""
        return cls(tuple(map(tuple, saved["centres"])), tuple(saved["mean"]), tuple(saved["spread"]))

    def labels(self, price: Array) -> NDArray[np.float64]:
        """Number of the nearest centre at each price, shape (n,); NaN until two prices are known."""
        scaled = (_coordinates(price) - np.array(self.mean)) / np.array(self.spread)
        distances = ((scaled[:, None, :] - np.array(self.centres)) ** 2).sum(axis=2)
        return np.where(np.isfinite(distances[:, 0]), np.argmin(np.nan_to_num(distances), axis=1), np.nan)


def _coordinates(price: Array) -> Array:
    level = pd.Series(price).rolling(PERIODS_PER_DAY, min_periods=1).mean().to_numpy(dtype=np.float64)
    return np.log(np.maximum(np.column_stack([level, volatility(price)]), FLOOR_GBP_PER_MWH))
