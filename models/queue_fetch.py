"""What the next step of a queue reads, asked for while the lane before it is stepped."""

from typing import Final

import numpy as np
from numba import njit

from models.compiling import KERNEL
from models.fetch import fetch
from models.queue import LANE, WAITING, JobTable, place

NUMBER: Final = 8  # bytes
LOOKED_AHEAD: Final = 48  # periods of promised power that an observation adds up
JOBS: Final = 16  # waiting ones at hand: the last of the order, where most arrivals join; all of them in most lanes
ARRIVALS: Final = 4  # in an average half-hour


def byte_of(record: np.dtype[np.void], field: str) -> int:
    """Where a field of a record begins."""
    return int(record.fields[field][1])  # type: ignore[index]  # it has fields


RUNNING_BYTE: Final = byte_of(LANE, "running_kw")
WAITING_BYTE: Final = byte_of(LANE, "waiting")
WAITING_END: Final = WAITING_BYTE + JOBS * WAITING.itemsize


@njit(**KERNEL)
def fetch_queue(lanes: np.ndarray, i: int, queue_byte: int, jobs: JobTable) -> None:
    """Ask for what lane i reads of its queue in the period that comes next, and for the jobs that arrive.

    Args:
        lanes: Records with the fields `period` and `queue`.
        i: The lane.
        queue_byte: Where the queue stands in the record.
        jobs: The table of jobs.
    """
    running_byte = queue_byte + RUNNING_BYTE + place(lanes[i]["period"]) * NUMBER
    fetch(lanes, i, running_byte, running_byte + LOOKED_AHEAD * NUMBER)
    fetch(lanes, i, queue_byte + WAITING_BYTE, queue_byte + WAITING_END)
    fetch(jobs.rows, lanes[i]["queue"]["next_job"], 0, ARRIVALS * jobs.rows.itemsize)
