"""What the next step of a lane of the whole site reads, asked for while the lane before it is stepped."""

from typing import Final

import numpy as np
from numba import njit

from models import baseline, queue
from models.compiling import KERNEL
from models.fetch import fetch, fetch_row
from models.site import BLOCK_PERIODS, GATE_PERIODS, LANE, SERIES, Outside

NUMBER: Final = 8  # bytes
LOOKED_AHEAD: Final = 48  # periods of promised power that an observation adds up
JOBS: Final = 16  # waiting ones at hand: the last of the order, where most arrivals join; all of them in most lanes
ARRIVALS: Final = 4  # in an average half-hour


def _byte(record: np.dtype[np.void], field: str) -> int:
    """Where a field of a record begins."""
    return int(record.fields[field][1])  # type: ignore[index]  # it has fields


QUEUE_BYTE: Final = _byte(LANE, "queue")
RUNNING_BYTE: Final = QUEUE_BYTE + _byte(queue.LANE, "running_kw")
WAITING_BYTE: Final = QUEUE_BYTE + _byte(queue.LANE, "waiting")
WAITING_END: Final = WAITING_BYTE + JOBS * queue.WAITING.itemsize
BASELINE_BYTE: Final = _byte(LANE, "baseline")
DAYS_BYTES: Final = baseline.DAYS.itemsize
WISHES_BYTES: Final = (GATE_PERIODS + 1) * len(SERIES) * NUMBER  # this period's prices, and what is wanted at the gate


@njit(**KERNEL)
def fetch_step(outside: Outside, lanes: np.ndarray, i: int) -> None:
    """Ask for what the next step of lane i reads, and for the front of the lane behind it."""
    fetch(lanes, i + 1, 0, RUNNING_BYTE)
    t = lanes[i]["period"]
    running_byte = RUNNING_BYTE + queue.place(t) * NUMBER
    fetch(lanes, i, running_byte, running_byte + LOOKED_AHEAD * NUMBER)
    fetch(lanes, i, WAITING_BYTE, WAITING_END)
    days_byte = BASELINE_BYTE + t % baseline.SLOTS * DAYS_BYTES
    fetch(lanes, i, days_byte, days_byte + 2 * DAYS_BYTES)
    fetch(outside.series, t, 0, WISHES_BYTES)
    arriving = outside.jobs.rows
    fetch(arriving, lanes[i]["queue"]["next_job"], 0, ARRIVALS * arriving.itemsize)
    if t % BLOCK_PERIODS == 0:
        block = t // BLOCK_PERIODS
        fetch_row(outside.tenant_gbp_per_kw, block)
        fetch_row(outside.tenant_kw, block)
        fetch_row(outside.tenant_divisible, block)
