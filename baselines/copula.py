"""Draws with the quantiles and the rank correlation of a sample: a Gaussian copula."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

Floats = NDArray[np.float64]


def copula_draws(sample: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Draw rows like those of a sample.

    Every column has the sample's empirical quantiles; its ranks there, as normal scores, give the correlation between
    columns (Nelsen, An Introduction to Copulas, ch. 2; Pinson et al., "From probabilistic forecasts to statistical
    scenarios of short-term wind power production", Wind Energy 12, 2009).

    Args:
        sample: Rows seen, shape (n, columns).
        count: Rows to draw.
        rng: Draws them.

    Returns:
        Shape (count, columns).
    """
    columns = sample.shape[1]
    scores = norm.ppf(rankdata(sample, axis=0) / (len(sample) + 1.0))
    correlation = np.corrcoef(scores.T) + 1e-9 * np.eye(columns)
    level = norm.cdf(rng.standard_normal((count, columns)) @ np.linalg.cholesky(correlation).T)
    return np.column_stack([np.quantile(sample[:, k], level[:, k]) for k in range(columns)])
