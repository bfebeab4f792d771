"""Declared layouts: observation and action vectors are tables of named, bounded fields."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from gymnasium import spaces
from numba import njit
from numpy.typing import NDArray

from models.compiling import KERNEL

FloatArray = NDArray[np.float32]


class Field(NamedTuple):
    """One number of an observation or action vector.

    Attributes:
        name: Name with its unit.
        low: Lowest value it takes.
        high: Highest value it takes.
        meaning: One line for a reader of the docs.
    """

    name: str
    low: float
    high: float
    meaning: str


def box(fields: Sequence[Field]) -> spaces.Box:
    """The Gymnasium space of a layout, shape (len(fields),), float32."""
    low = np.array([f.low for f in fields], dtype=np.float32)
    high = np.array([f.high for f in fields], dtype=np.float32)
    return spaces.Box(low, high, dtype=np.float32)


def position(fields: Sequence[Field], name: str) -> int:
    """Where a named field stands in its vector.

    Raises:
        ValueError: If there is no such field.
    """
    for i, field in enumerate(fields):
        if field.name == name:
            return i
    raise ValueError(f"no field {name!r}; there are {[f.name for f in fields]}")


def positions(fields: Sequence[Field], prefix: str) -> slice:
    """The contiguous run of fields whose names start with `prefix`.

    Raises:
        ValueError: If there is none, or the run is broken.
    """
    found = [i for i, field in enumerate(fields) if field.name.startswith(prefix)]
    if not found or found[-1] - found[0] + 1 != len(found):
        raise ValueError(f"no contiguous fields start with {prefix!r}; there are {[f.name for f in fields]}")
    return slice(found[0], found[-1] + 1)


@njit(**KERNEL)
def copy_row(rows: np.ndarray, row: int, observation: np.ndarray, at: int) -> int:
    """Copy a row into an observation from place `at` on; returns the place behind it.

    Slices would take longer; so would a signed place, which may count from the end and so is copied number by number.
    """
    for k in range(rows.shape[1]):
        observation[np.uint64(at + k)] = rows[row, k]
    return at + rows.shape[1]
