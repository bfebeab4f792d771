"""One number for a waiting job: what decides its place in the queue, and what starting it needs to know.

From the highest bit down: due period, urgency, row of the table, run time. Urgency is what is missing to the highest
priority. Of two jobs the one with the lower number goes first: the earlier due, then the higher priority, then the
earlier row; no two are equal.
"""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.compiling import KERNEL

RUN_BITS: Final = 7
ROW_BITS: Final = 26
URGENCY_BITS: Final = 7
DUE_BITS: Final = 24  # with its sign
MAX_RUN_PERIODS: Final = 2**RUN_BITS - 1
MAX_ROW: Final = 2**ROW_BITS - 1
MAX_PRIORITY: Final = 2**URGENCY_BITS - 1
MAX_DUE_PERIOD: Final = 2 ** (DUE_BITS - 1) - 1


def check(rows: NDArray[np.void]) -> None:
    """Refuse a table of jobs that do not fit into the number.

    Raises:
        ValueError: There are too many jobs, or a priority or due period is out of range.
    """
    if len(rows) > MAX_ROW + 1:
        raise ValueError(f"{len(rows)} jobs; at most {MAX_ROW + 1} are allowed: split the table")
    for name, low, high in (("priority", 0, MAX_PRIORITY), ("due_period", -MAX_DUE_PERIOD, MAX_DUE_PERIOD)):
        for j in np.flatnonzero((rows[name] < low) | (rows[name] > high))[:1]:
            raise ValueError(f"{name} of the job in row {j} is {rows[name][j]}; {low} to {high} is allowed")


@njit(**KERNEL)
def order(due_period: int, priority: int, row: int, run_periods: int) -> int:
    """The number of a job."""
    number = (due_period << URGENCY_BITS) + MAX_PRIORITY - priority
    return (((number << ROW_BITS) + row) << RUN_BITS) + run_periods


@njit(**KERNEL)
def due_period(order: int) -> int:
    """Last period in which the job can start and keep its terms."""
    return order >> (RUN_BITS + ROW_BITS + URGENCY_BITS)


@njit(**KERNEL)
def priority(order: int) -> int:
    """Priority of the job."""
    return MAX_PRIORITY - ((order >> (RUN_BITS + ROW_BITS)) & MAX_PRIORITY)


@njit(**KERNEL)
def row(order: int) -> int:
    """Row of the job in the table."""
    return (order >> RUN_BITS) & MAX_ROW


@njit(**KERNEL)
def run_periods(order: int) -> int:
    """Run time of the job."""
    return order & MAX_RUN_PERIODS
