"""The whole site as one convex program, on one path of the future or on several that begin alike."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from baselines.finite import check_finite
from baselines.program import RELAXED, SOLVERS, Program
from baselines.site_path import SitePath
from baselines.site_plan import Outlook, Plan, Prices
from baselines.tail_risk import Risk
from baselines.thermal_block import Linearisation, Reference
from data.arrivals import ExpectedJobs
from models.site import Site

Floats = NDArray[np.float64]


class SitePlanner:
    """Plans battery, hall, compute and offers together; compiled once, then only fed numbers.

    Everything that could make a plan impossible is soft, at a stated price: import beyond the connection at the
    site's own `over_limit_gbp_per_kwh`, warm inlets at the inlet penalty, late jobs at `Prices`, sold turn-down at its
    shortfall charge, promised power beyond the cluster at `compute_block.BEYOND_GBP_PER_KWH`.

    On several paths it is a two-stage program (Birge & Louveaux, Introduction to Stochastic Programming, ch. 2): what
    is decided in the first periods is the same on all, after that each has a plan of its own.

    Attributes:
        horizon: Number of half-hours planned.
        relaxed_plans: Plans so far that began outside a limit or left one on a path: import beyond the connection,
            inlets above the allowable limit, promises beyond the cluster, due jobs that cannot start at once.
        cost_gbp: Of the last plan found, as the planner counts it, mean of its paths.
        failed_plans: Plans so far that no solver found; the last one, a period later, stood in.
        solved: Whether a solver found the last plan.
    """

    def __init__(
        self,
        site: Site,
        jobs: ExpectedJobs,
        prices: Prices,
        horizon: int,
        leads: int,
        solvers: Sequence[str] = SOLVERS,
        weight: Sequence[float] = (1.0,),
        shared: int = 1,
        risk: Risk | None = None,
    ) -> None:
        """Compile the program.

        Args:
            site: The simulated site's own parameters.
            jobs: What jobs are like.
            prices: Of what the mean of the future does not show.
            horizon: Number of half-hours planned.
            leads: Periods ahead that the DSO's wants are shown.
            solvers: Tried in turn.
            weight: Probability of each path, summing to 1.
            shared: Half-hours that are decided before it is known which path comes true.
            risk: How much the worst paths count; not more than others if not given.

        Raises:
            ValueError: The horizon is shorter than the leads, or the risk is out of range.
        """
        if not horizon >= max(leads, 2):
            raise ValueError(f"horizon is {horizon} half-hours; it must be at least {max(leads, 2)}")
        self.site, self.horizon = site, horizon
        self.relaxed_plans = self.failed_plans = 0
        self.cost_gbp, self.solved = 0.0, False
        self._weight = np.array(weight)
        self._near = Linearisation(site.hall, site.chiller, horizon)
        self._paths = [SitePath(site, self._near, jobs, prices, leads) for _ in weight]
        self.capacity_kw, self.compute = self._paths[0].capacity_kw, self._paths[0].compute
        share = self._weight.size * self._weight
        costs = [part * path.cost_gbp for part, path in zip(share, self._paths, strict=True)]
        cost_gbp, constraints = (risk or Risk()).objective(costs, share)
        # A tail of what is not linear would not be a quadratic program: its mean counts.
        cost_gbp += sum(part * path.bent_gbp for part, path in zip(share, self._paths, strict=True))
        first = self._paths[0].decided(shared)
        for path in self._paths:
            constraints += path.constraints
            if path is not self._paths[0]:
                constraints += [own == one for own, one in zip(path.decided(shared), first, strict=True)]
        self._program = Program(cost_gbp, constraints, solvers)
        self._last: Plan | None = None

    @property
    def earned_gbp(self) -> float:
        """Money that the last plan brings within its horizon, mean of its paths; NaN if no solver found it."""
        if not self.solved:
            return float("nan")
        return -float(self._weight @ [float(path.paid_gbp.value) for path in self._paths])

    def forget(self) -> None:
        """Begin a new episode: there is no last plan."""
        self._last, self.solved = None, False

    def plan(self, *paths: Outlook) -> Plan:
        """The cheapest plan, mean of those of all paths; if no solver finds one, the last a period later, or rest.

        Args:
            *paths: What is expected on each; state, commitments and weather are the same.

        Raises:
            ValueError: An input is not finite, or there is not one outlook for each path.
        """
        if len(paths) != len(self._paths):
            raise ValueError(f"{len(paths)} outlooks for a program of {len(self._paths)} paths; give one for each")
        for now in paths:
            check_finite(**now._asdict())
        last = self._last.later() if self._last else self._paths[0].rest(paths[0])
        reference = Reference(last.it_kw, last.setpoint_c, last.fan_fraction)
        hall_within = self._near.feed(paths[0].hall, reference, paths[0].wet_bulb_c, paths[0].end_gbp_per_mwh)
        within = [hall_within, *(path.feed(now) for path, now in zip(self._paths, paths, strict=True))]
        self.solved = self._program.solve()
        if not self.solved:
            self.failed_plans += 1
            self._last = last
            return last
        self.relaxed_plans += int(not all(within) or any(path.left_limit > RELAXED for path in self._paths))
        self.cost_gbp = self._program.cost_gbp / len(paths)
        plans = [path.plan(now.sold_share) for path, now in zip(self._paths, paths, strict=True)]
        self._last = Plan(*(self._weight @ np.array(values) for values in zip(*plans, strict=True)))
        return self._last
