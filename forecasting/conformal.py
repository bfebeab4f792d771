"""Split-conformal calibration of quantile forecasts.

Each quantile is moved by the amount that would have made it right on errors it was not fitted to: conformalised
quantile regression with one correction per tail (Romano, Patterson and Candès 2019, "Conformalized Quantile
Regression", section 6). Libraries wrap an estimator per interval; here one fitted quantile of one lead is one number.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def corrections(
    truth: NDArray[np.float64], quantiles: NDArray[np.float64], levels: Sequence[float]
) -> NDArray[np.float64]:
    """What to add to each quantile so that it holds on the calibration set.

    Args:
        truth: Outcomes, shape (n,); NaN is left out.
        quantiles: Forecasts of them that were not fitted to them, shape (n, levels).
        levels: Probability of not being exceeded of each.

    Returns:
        Shape (levels,); 0 without any outcome. With n outcomes the share below a corrected quantile of a new outcome
        from the same distribution lies within 1/(n + 1) of its level.
    """
    errors = np.sort((truth[:, None] - quantiles)[np.isfinite(truth)], axis=0)
    n = len(errors)
    if n == 0:
        return np.zeros(len(levels))
    # The finite-sample rank: the smallest error that at least (n + 1) x level of n + 1 exchangeable ones do not exceed.
    ranks = np.clip(np.ceil((n + 1) * np.array(levels)).astype(np.int64) - 1, 0, n - 1)
    return errors[ranks, np.arange(len(levels))]
