"""The model predictive scheduler: all jobs placed together, and each one's flexibility priced by a second plan.

The time-indexed program of Sousa and Wolsey ("A time indexed formulation of non-preemptive single machine scheduling
problems", Mathematical Programming 54, 1992) with power as the shared resource, solved by HiGHS anew for each plan.
"""

import time
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from baselines.greedy import ROUNDING_KW, cost_of_moving, first_come
from baselines.schedule import NOWHERE, Board, Floats, Place, Reserved, Schedule, Task, Weights, schedule_by, scores_gbp
from data.jobs import JobSpec
from data.schedule import CarbonPoint, PricePoint

Starts = NDArray[np.int64]

PLANNED_S: Final = 5.0  # after so long the best plan found is taken
PRICED_S: Final = 2.0  # for all plans without one job's power; jobs beyond are priced with the others where they are
PLANNED_GAP: Final = 1e-9  # of a sum in which the rewards of placing a job outweigh what it costs
PRICED_GAP: Final = 1e-5
EARLIER_GBP: Final = 1e-5  # of each half-hour: of equal plans the earlier


def schedule(
    jobs: Sequence[JobSpec],
    prices: Sequence[PricePoint],
    carbon: Sequence[CarbonPoint],
    weights: Weights = Weights(),  # noqa: B008 - immutable
    reserved: Sequence[Reserved] = (),
) -> Schedule:
    """Place all jobs together at the lowest sum of scores; for the arguments and errors see `schedule_by`.

    As many jobs as possible start within their maximum deferral, those of high priority first; the others then as the
    greedy scheduler would place them. An offer's price is what the plan loses if its job may not run in the window
    and nothing else may use its power there: exactly what happens once it is sold.
    """
    return schedule_by(jointly, jobs, prices, carbon, weights, reserved)


def jointly(tasks: Sequence[Task], board: Board) -> list[Place]:
    """Place all tasks together; no plan is worse than the greedy one. A `Planner`."""
    allowed = [_allowed(task, board.free_kw) for task in tasks]
    scores = [scores_gbp(task, board) for task in tasks]
    choices = [score[starts] for score, starts in zip(scores, allowed, strict=True) if starts.size]
    all_gbp = 1.0 + sum(
        float(np.ptp(choice)) for choice in choices
    )  # more than the others can gain from leaving one out
    reward = [all_gbp * (1.0 + task.spec.priority) + float(scores[i].max(initial=0.0)) for i, task in enumerate(tasks)]
    found = _solved(tasks, allowed, scores, board.free_kw, reward, PLANNED_S, PLANNED_GAP)
    greedy_kw = board.free_kw.copy()
    greedy = [first_come(greedy_kw, task, board) for task in tasks]

    def value_gbp(plan: Sequence[int]) -> float:
        return sum(
            reward[i] - float(scores[i][at]) for i, at in enumerate(plan) if at != NOWHERE and at <= tasks[i].latest
        )

    if found is None or value_gbp(found) <= value_gbp(greedy):
        plan, free_kw = greedy, greedy_kw
    else:
        plan, free_kw = found, _left(board.free_kw, tasks, found)
        plan = [first_come(free_kw, task, board) if at == NOWHERE else at for task, at in zip(tasks, plan, strict=True)]
    return _priced(tasks, allowed, scores, plan, free_kw, board)


def _priced(
    tasks: Sequence[Task],
    allowed: Sequence[Starts],
    scores: Sequence[Floats],
    plan: Sequence[int],
    free_kw: Floats,
    board: Board,
) -> list[Place]:
    """What each task's moving costs: bounded from both sides, and planned again only where the bounds differ.

    It cannot cost less than with nobody else there, nor more than with all others where they are.
    """
    together = [i for i, at in enumerate(plan) if at != NOWHERE and at <= tasks[i].latest]
    room_kw = _left(board.free_kw, tasks, [NOWHERE if i in set(together) else at for i, at in enumerate(plan)])
    places, until = [], time.monotonic() + PRICED_S
    for i, (task, at) in enumerate(zip(tasks, plan, strict=True)):
        if at == NOWHERE:
            places.append(Place(at, None))
            continue
        least = cost_of_moving(room_kw, task, at, board)
        most = cost_of_moving(free_kw, task, at, board)
        if least is not None and least != most and i in together and (left_s := until - time.monotonic()) > 0.0:
            apart = np.abs(allowed[i] - at) >= task.duration
            without_kw = room_kw.copy()
            without_kw[at : at + task.duration] -= task.spec.power_kw
            others = [allowed[j][apart] if j == i else allowed[j] for j in together]
            found = _solved(
                [tasks[j] for j in together],
                others,
                [scores[j] for j in together],
                without_kw,
                None,
                left_s,
                PRICED_GAP,
            )
            if found is not None:
                lost = sum(float(scores[j][to] - scores[j][plan[j]]) for j, to in zip(together, found, strict=True))
                most = max(lost, least) if most is None else min(max(lost, least), most)
        places.append(Place(at, most))
    return places


def _solved(
    tasks: Sequence[Task],
    allowed: Sequence[Starts],
    scores: Sequence[Floats],
    free_kw: Floats,
    reward: Sequence[float] | None,
    limit_s: float,
    gap: float,
) -> list[int] | None:
    """The best starts of all tasks together, or None if HiGHS found none in time.

    Args:
        tasks: What to place.
        allowed: Starts of each that may be chosen.
        scores: GBP of each by start.
        free_kw: Power left in each half-hour, shape (n,).
        reward: GBP of each task that is placed; None if all must be.
        limit_s: Time for it.
        gap: Share of the sum by which it may be worse than the best.
    """
    if not any(starts.size for starts in allowed):
        return None
    counts = [starts.size for starts in allowed]
    owner, start = np.repeat(np.arange(len(tasks)), counts), np.concatenate(allowed)
    duration = np.array([task.duration for task in tasks])[owner]
    power_kw = np.array([task.spec.power_kw for task in tasks])[owner]
    cost = np.concatenate([score[starts] for score, starts in zip(scores, allowed, strict=True)]) + EARLIER_GBP * start
    if reward is not None:
        cost -= np.array(reward)[owner]
    column = np.repeat(np.arange(start.size), duration)
    slot = np.repeat(start, duration) + np.arange(column.size) - np.repeat(np.cumsum(duration) - duration, duration)
    draws = sparse.csr_array((power_kw[column], (slot, column)), shape=(free_kw.size, start.size))
    once = sparse.csr_array((np.ones(start.size), (owner, np.arange(start.size))), shape=(len(tasks), start.size))
    solution = milp(
        cost,
        integrality=np.ones(start.size, dtype=np.uint8),
        bounds=Bounds(0.0, 1.0),
        constraints=[
            LinearConstraint(draws, -np.inf, np.maximum(free_kw, 0.0)),
            LinearConstraint(once, 1.0 if reward is None else 0.0, 1.0),
        ],
        options={"mip_rel_gap": gap, "time_limit": limit_s},
    )
    if solution.x is None:
        return None
    plan = np.full(len(tasks), NOWHERE)
    chosen = solution.x > 0.5
    plan[owner[chosen]] = start[chosen]
    return [int(at) for at in plan]


def _allowed(task: Task, free_kw: Floats) -> Starts:
    """Starts within the maximum deferral that fit beside what is reserved."""
    left_kw = np.minimum(free_kw, task.free_kw)
    starts = range(task.earliest, min(task.latest, free_kw.size - task.duration) + 1)
    fits = [at for at in starts if left_kw[at : at + task.duration].min() >= task.spec.power_kw - ROUNDING_KW]
    return np.array(fits, dtype=np.int64)


def _left(free_kw: Floats, tasks: Sequence[Task], plan: Sequence[int]) -> Floats:
    """What a plan leaves free, shape (n,)."""
    left_kw = free_kw.copy()
    for task, at in zip(tasks, plan, strict=True):
        if at != NOWHERE:
            left_kw[at : at + task.duration] -= task.spec.power_kw
    return left_kw
