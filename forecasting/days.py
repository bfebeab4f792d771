"""Where a value stands within its day."""

import numpy as np
from numba import njit


@njit(cache=True)
def by_day(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Rank within the day, and the distances to the day's mean, lowest and highest value.

    Args:
        values: Shape (n,); gaps are NaN, stay NaN and count for nothing.
        starts: Position at which each day begins, ascending, the first 0.

    Returns:
        Shape (4, n). Ranks are shares of the day's values, above 0 to 1; equal values share their mean rank.
    """
    found = np.full((4, values.size), np.nan)
    for day in range(starts.size):
        stop = starts[day + 1] if day + 1 < starts.size else values.size
        whole = values[starts[day] : stop]
        whole = whole[np.isfinite(whole)]
        for i in range(starts[day], stop):
            if np.isfinite(values[i]):
                below, equal = np.sum(whole < values[i]), np.sum(whole == values[i])
                found[0, i] = (below + 0.5 * (equal + 1)) / whole.size
                found[1, i] = values[i] - whole.mean()
                found[2, i] = values[i] - whole.min()
                found[3, i] = values[i] - whole.max()
    return found
