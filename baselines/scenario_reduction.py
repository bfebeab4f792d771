"""Fewer scenarios that stand for many: fast forward selection."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def fast_forward_selection(points: Floats, kept: int) -> tuple[NDArray[np.int64], Floats]:
    """Choose scenarios one by one, each the one that leaves the least distance from all to the nearest chosen.

    The distance is the Kantorovich distance between the equally likely scenarios and the chosen ones, each with the
    probability of all that are nearest to it. Source: Heitsch and Roemisch, "Scenario Reduction Algorithms in
    Stochastic Programming", Computational Optimization and Applications 24, 2003, algorithm 2.4 and theorem 2.1.

    Args:
        points: Scenarios, shape (n, dimensions); distances between them are Euclidean.
        kept: How many are chosen.

    Returns:
        Rows chosen, in the order of choice, and their probabilities, each of shape (kept,).

    Raises:
        ValueError: Not 1 <= kept <= n, or a scenario that is not finite.
    """
    n = len(points)
    if not 1 <= kept <= n or not np.isfinite(points).all():
        raise ValueError(f"{kept} of {n} scenarios were asked for; it must be 1 to {n}, and all finite numbers")
    squares = (points**2).sum(axis=1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares - 2.0 * points @ points.T, 0.0))
    np.fill_diagonal(distance, 0.0)
    nearest = np.full(n, np.inf)  # of every scenario to the chosen
    chosen: list[int] = []
    for _ in range(kept):
        left = np.minimum(distance, nearest[:, None]).sum(axis=0)  # if the column's scenario were chosen too
        left[chosen] = np.inf
        chosen.append(int(np.argmin(left)))
        nearest = np.minimum(nearest, distance[:, chosen[-1]])
    stands_for = np.argmin(distance[:, chosen], axis=1)
    return np.array(chosen, dtype=np.int64), np.bincount(stands_for, minlength=kept) / n
