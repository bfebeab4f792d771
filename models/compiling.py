"""How the models are compiled, from the loop over lanes inwards."""

from typing import Any, Final

# The loop over lanes, and what it calls unless marked otherwise, does without reference counts: arrays are borrowed
# from the caller, and an allocation is an error of the compiler. Counting took a fifth of a step of the whole site,
# as each count is an atomic operation, which waits for all earlier stores.
LOOP: Final[dict[str, Any]] = {"cache": True, "error_model": "numpy", "_nrt": False}

# A part of a step, inlined into its caller; dividing by zero gives infinity.
KERNEL: Final[dict[str, Any]] = {"cache": True, "error_model": "numpy", "forceinline": True}

# Thermal physics: a division by a parameter may become a multiplication by its reciprocal, taken out of the loop, and
# a product and sum may be rounded once. Results move by less than 1e-12; NaN and infinity keep their meaning.
PHYSICS: Final[dict[str, Any]] = {**KERNEL, "fastmath": {"arcp", "contract"}}

# Called by the loop now and then, and free to allocate.
RARE: Final[dict[str, Any]] = {"cache": True, "_nrt": True}
