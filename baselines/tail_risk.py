"""How much the worst of several cases counts in a linear program."""

from typing import Any, NamedTuple

import cvxpy as cp


class Risk(NamedTuple):
    """How much the worst paths count.

    Attributes:
        weight: Of the mean cost of the worst paths, 0 to 1; the rest is that of the mean of all.
        tail_fraction: Probability of the paths that are the worst, above 0 and at most 1.
    """

    weight: float = 0.0
    tail_fraction: float = 0.1

    def objective(self, costs: list[Any], share: Any) -> tuple[Any, list[cp.Constraint]]:
        """(1 - weight) x mean + weight x conditional value at risk.

        Linear after Rockafellar & Uryasev, "Optimization of Conditional Value-at-Risk", Journal of Risk 2(3), 2000.

        Args:
            costs: Of each path, affine, times its share.
            share: Probability of each path times the number of paths: with probabilities alone the coefficients would
                get small for the solvers.

        Returns:
            The objective, times the number of paths, and constraints that belong to it.

        Raises:
            ValueError: A weight or a tail is out of range.
        """
        if not (0.0 <= self.weight <= 1.0 and 0.0 < self.tail_fraction <= 1.0):
            raise ValueError(f"{self}: weight must be 0 to 1 and tail_fraction above 0 and at most 1")
        mean = sum(costs)
        if self.weight == 0.0:
            return mean, []
        usual, worse = cp.Variable(), [cp.Variable(nonneg=True) for _ in costs]
        constraints = [more >= cost - share[i] * usual for i, (more, cost) in enumerate(zip(worse, costs, strict=True))]
        tail = len(costs) * usual + sum(worse) / self.tail_fraction
        return (1.0 - self.weight) * mean + self.weight * tail, constraints
