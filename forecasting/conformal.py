"""Split-conformal calibration of quantile forecasts.

Each quantile is moved by the amount that would have made it right on errors it was not fitted to: conformalised
quantile regression with one correction per tail (Romano, Patterson and Candès 2019, "Conformalized Quantile
Regression", section 6). The amount is the quantile's level in the conformal predictive system of its errors, by
`crepes`, which takes errors; other libraries wrap an estimator of one interval.
"""

import warnings
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
    errors = (truth[:, None] - quantiles)[np.isfinite(truth)]
    if not len(errors):
        return np.zeros(len(levels))
    from crepes import ConformalPredictiveSystem  # slow to load, and a fitted forecaster does without

    moved = np.empty(len(levels))
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "the no. of calibration examples is too small"
        )  # then it is the largest error
        for i, level in enumerate(levels):
            system = ConformalPredictiveSystem().fit(errors[:, i])
            found = system.predict_percentiles(np.zeros(1), higher_percentiles=100.0 * level, y_max=errors[:, i].max())
            moved[i] = np.ravel(found)[0]
    return moved
