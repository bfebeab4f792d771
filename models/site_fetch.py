"""What the next step of a lane of the whole site reads, asked for while the lane before it is stepped."""

from typing import Final

import numpy as np
from numba import njit

from models import baseline
from models.compiling import KERNEL
from models.fetch import fetch, fetch_row
from models.queue_fetch import NUMBER, RUNNING_BYTE, byte_of, fetch_queue
from models.site import BLOCK_PERIODS, GATE_PERIODS, LANE, SERIES, Outside

QUEUE_BYTE: Final = byte_of(LANE, "queue")
FRONT_BYTES: Final = QUEUE_BYTE + RUNNING_BYTE
BASELINE_BYTE: Final = byte_of(LANE, "baseline")
DAYS_BYTES: Final = baseline.DAYS.itemsize
WISHES_BYTES: Final = (GATE_PERIODS + 1) * len(SERIES) * NUMBER  # this period's prices, and what is wanted at the gate


@njit(**KERNEL)
def fetch_step(outside: Outside, lanes: np.ndarray, i: int) -> None:
    """Ask for what the next step of lane i reads, and for the front of the lane behind it."""
    fetch(lanes, i + 1, 0, FRONT_BYTES)
    fetch_queue(lanes, i, QUEUE_BYTE, outside.jobs)
    t = lanes[i]["period"]
    days_byte = BASELINE_BYTE + t % baseline.SLOTS * DAYS_BYTES
    fetch(lanes, i, days_byte, days_byte + 2 * DAYS_BYTES)
    fetch(outside.series, t, 0, WISHES_BYTES)
    if t % BLOCK_PERIODS == 0:
        block = t // BLOCK_PERIODS
        fetch_row(outside.tenant_gbp_per_kw, block)
        fetch_row(outside.tenant_kw, block)
        fetch_row(outside.tenant_divisible, block)
