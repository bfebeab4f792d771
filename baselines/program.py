"""A convex program compiled once, solved again and again with new numbers, that reports failure instead of raising."""

import logging
import warnings
from collections.abc import Sequence
from typing import Final

import cvxpy as cp

logger = logging.getLogger(__name__)

# PIQP solves these problems fastest and Clarabel is the robust second; CVXPY's own default hits its iteration limit.
SOLVERS: Final = ("PIQP", "CLARABEL")
SOLVED: Final = (cp.OPTIMAL, cp.OPTIMAL_INACCURATE)


class Program:
    """A problem in parameters, and the solvers that are tried in turn.

    Attributes:
        cost_gbp: Of the last optimum found.
    """

    def __init__(self, cost_gbp: cp.Expression, constraints: list[cp.Constraint], solvers: Sequence[str]) -> None:
        """Compile on the first solve.

        Args:
            cost_gbp: To be minimised.
            constraints: Of the plan.
            solvers: Names of CVXPY solvers in the order in which they are tried.

        Raises:
            ValueError: There is no solver to try.
        """
        if not solvers:
            raise ValueError(f"solvers is empty; name at least one of {cp.installed_solvers()}")
        self.cost_gbp = 0.0
        self._problem, self._solvers = cp.Problem(cp.Minimize(cost_gbp), constraints), tuple(solvers)
        assert self._problem.is_dcp(dpp=True), "not affine in its parameters: it would compile at every solve"

    def solve(self) -> bool:
        """Write the optimum into the variables; False, and a logged reason for each solver, if none finds it."""
        for solver in self._solvers:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # an inaccurate solution is judged by its status
                    self._problem.solve(solver=solver)
            except cp.SolverError as error:
                logger.warning("%s failed: %s", solver, error)
                continue
            if self._problem.status in SOLVED:
                self.cost_gbp = float(self._problem.value)
                return True
            logger.warning("%s ended %s", solver, self._problem.status)
        return False
