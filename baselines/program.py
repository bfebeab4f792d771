"""A convex program compiled once, solved again and again with new numbers, that reports failure instead of raising."""

import logging
import warnings
from collections.abc import Sequence
from math import isfinite
from typing import Any, Final

import cvxpy as cp

logger = logging.getLogger(__name__)

# PIQP solves these problems fastest and Clarabel is the robust second; CVXPY's own default hits its iteration limit.
SOLVERS: Final = ("PIQP", "CLARABEL")
# For programs over weeks an interior point is enough: a vertex beside it would take several times as long.
LARGE: Final[dict[str, Any]] = {"solver": "ipm", "run_crossover": "off"}
LARGE_TOLERANCE: Final = 1e-6  # of all the money that could move: the optimum's own tolerance is a tenth of it
# Plans count in GBP, those on several paths as often as there are paths: a hundred-thousandth is close enough. At a
# tenth of that PIQP takes a step more, and once in a thousand plans of the site never ends; at its own tolerance it is
# done after 25 to 60 steps or never. Where the steps do not do, the next solver is sooner there. Steps and not seconds
# are limited, or a plan would hang on how busy the machine is. Each step's linear system need not be solved much more
# closely than a plan: refining it to PIQP's own 1e-12 takes a third of the time and saves no step.
OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "PIQP": {
        "max_iter": 60, "eps_abs": 1e-5, "eps_rel": 1e-6, "eps_duality_gap_abs": 1e-5, "eps_duality_gap_rel": 1e-6,
        "iterative_refinement_eps_abs": 1e-8, "iterative_refinement_eps_rel": 1e-8,
    },
    "CLARABEL": {"max_iter": 100},
}  # fmt: skip
RELAXED: Final = 0.5  # kW or K: a plan that leaves a limit by more is counted as relaxed
SOLVED: Final = (cp.OPTIMAL, cp.OPTIMAL_INACCURATE)
FROM_OUTSIDE: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)


class Program:
    """A problem in parameters, and the solvers that are tried in turn.

    Attributes:
        cost_gbp: Of the last optimum found.
    """

    def __init__(self, cost_gbp: cp.Expression, constraints: list[cp.Constraint], solvers: Sequence[str]) -> None:
        """Compile for a solver when it is first asked.

        Args:
            cost_gbp: To be minimised.
            constraints: Of the plan.
            solvers: Names of CVXPY solvers in the order in which they are tried.

        Raises:
            ValueError: There is no solver to try.
        """
        if not solvers:
            raise ValueError(f"solvers is empty; name at least one of {cp.installed_solvers()}")
        self.cost_gbp, self._solvers = 0.0, tuple(solvers)
        self._objective, self._constraints = cp.Minimize(cost_gbp), constraints
        # One for each solver: a single problem compiles anew whenever another solver than the last one is asked.
        self._problems: dict[str, cp.Problem] = {}
        dpp = cp.Problem(self._objective, constraints).is_dcp(dpp=True)
        assert dpp, "not affine in its parameters: it would compile at every solve"

    def solve(self) -> bool:
        """Write the optimum into the variables; False, and a logged reason for each solver, if none finds it."""
        for solver in self._solvers:
            if solver not in self._problems:
                self._problems[solver] = cp.Problem(self._objective, self._constraints)
            problem = self._problems[solver]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # an inaccurate solution is judged by its status
                    # Anew, or a plan would hang on those before it, and PIQP 0.6 takes a third more steps where CVXPY
                    # tells it no more than what has changed.
                    problem.solve(solver=solver, warm_start=False, **OPTIONS.get(solver, {}))
            except FROM_OUTSIDE:
                raise
            except BaseException as error:  # a solver may fail in any way; one in Rust panics past Exception
                logger.warning("%s failed: %s", solver, str(error) or type(error).__name__)
                continue
            if problem.status in SOLVED and isfinite(problem.value):
                self.cost_gbp = float(problem.value)
                return True
            logger.warning("%s ended %s with %s GBP", solver, problem.status, problem.value)
        return False


def solve_large(earned_gbp: cp.Expression, constraints: list[Any], scale_gbp: float) -> float:
    """Solve a large linear program once, by HiGHS, and bound its optimum from above.

    Args:
        earned_gbp: To be maximised.
        constraints: Of the plan.
        scale_gbp: Money that could move at most, for the tolerance.

    Returns:
        The optimum, raised by the solver's tolerance.

    Raises:
        RuntimeError: There is no optimum.
    """
    problem = cp.Problem(cp.Maximize(earned_gbp), constraints)
    problem.solve(solver=cp.HIGHS, highs_options=dict(LARGE))
    if problem.status != cp.OPTIMAL:
        raise RuntimeError(f"HiGHS ended {problem.status} on a program that always has an optimum")
    return float(problem.value) + LARGE_TOLERANCE * scale_gbp
