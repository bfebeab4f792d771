"""What no plan can be made of: inputs that are not finite numbers."""

import numpy as np
from numpy.typing import ArrayLike


def check_finite(**inputs: ArrayLike) -> None:
    """Refuse them by name.

    Args:
        **inputs: Numbers or arrays of any shape.

    Raises:
        ValueError: One is NaN or infinite, or holds such a number.
    """
    for name, value in inputs.items():
        bad = ~np.isfinite(value)
        if bad.any():
            told = f"has {int(bad.sum())} of {bad.size} that are not" if bad.ndim else f"is {value}"
            raise ValueError(f"a plan needs finite numbers; {name} {told}")
