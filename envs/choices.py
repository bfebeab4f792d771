"""Actions as choices: each action field becomes a few allowed values, some of them masked."""

from collections.abc import Sequence

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.fields import Field, FloatArray
from envs.system import Lanes, System


class Choices:
    """The values a discrete learner may choose for each action field.

    Attributes:
        values: One ascending array of values per field, in the field's unit.
        space: Discrete for one field, MultiDiscrete for several.
    """

    def __init__(self, fields: Sequence[Field], levels: int | Sequence[int]) -> None:
        """Space the values evenly between each field's bounds.

        Args:
            fields: Action layout.
            levels: How many values, for all fields or one number per field.

        Raises:
            ValueError: If a field has fewer than 2 values, or the count of numbers is wrong.
        """
        counts = [levels] * len(fields) if isinstance(levels, int) else list(levels)
        if len(counts) != len(fields) or min(counts) < 2:
            raise ValueError(
                f"levels is {levels}; give one number, or {len(fields)} of them "
                f"({[f.name for f in fields]}), each at least 2"
            )
        self.values = [np.linspace(f.low, f.high, n, dtype=np.float32) for f, n in zip(fields, counts, strict=True)]
        # The first holds a single NumPy integer where the second holds an array; both are decoded alike.
        self.space: spaces.Space[NDArray[np.int64]] = (
            spaces.Discrete(counts[0]) if len(counts) == 1 else spaces.MultiDiscrete(counts)  # type: ignore[assignment]
        )

    def decode(self, chosen: NDArray[np.int64]) -> FloatArray:
        """Indices of values, shape (n,) or (n, fields), to actions of shape (n, fields)."""
        columns = chosen.reshape(chosen.shape[0], -1)
        return np.column_stack([values[columns[:, i]] for i, values in enumerate(self.values)])

    def masks(self, system: System, lanes: Lanes) -> NDArray[np.bool_]:
        """Which values are feasible now, the fields' values side by side, shape (n, sum of counts).

        A field never loses all its values: where nothing asked for is feasible, the value nearest to what is stays.
        """
        low, high = system.feasible(lanes)
        allowed = []
        for i, values in enumerate(self.values):
            below = np.searchsorted(values, low[:, i] - 1e-6, side="left")
            above = np.searchsorted(values, high[:, i] + 1e-6, side="right")
            index = np.arange(values.size)
            mask = (index >= below[:, None]) & (index < above[:, None])
            empty = ~mask.any(axis=1)
            middle = 0.5 * (low[empty, i] + high[empty, i])
            mask[empty, np.abs(values - middle[:, None]).argmin(axis=1)] = True
            allowed.append(mask)
        return np.hstack(allowed)
