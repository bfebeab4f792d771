"""Fitted LightGBM models as plain arrays: read without code, summed up by one compiled loop.

LightGBM spends about a millisecond per call before it looks at a tree; one decision asks 56 models, so that alone
would take longer than everything else. Walking a tree from its root mispredicts a branch or waits for memory at every
node. Instead all splits of all trees are kept by feature and threshold, and a row strikes out, split by split in that
order, the leaves that it cannot reach: QuickScorer (Lucchese et al., SIGIR 2015, 73-82).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

if TYPE_CHECKING:
    import lightgbm as lgb

# LightGBM's decision_type: bit 1 sends missing values left, bits 2 and 3 say what counts as missing (2: NaN).
LEFT_IF_MISSING: Final = 2
MISSING_SHIFT: Final = 2
NAN_IS_MISSING: Final = 2
MOST_LEAVES: Final = 64  # of a tree: each is a bit
ALL: Final = np.uint64(2**MOST_LEAVES - 1)
# Each power of two times this number has other top six bits, which so tell which power it is.
DE_BRUIJN: Final = 0x03F79D71B4CB0A89
TOP: Final = np.uint64(58)
ONE: Final = np.uint64(1)  # unsigned throughout: a signed index would be checked for counting from the end
BIT: Final = np.argsort([(DE_BRUIJN << bit) % 2**MOST_LEAVES >> int(TOP) for bit in range(MOST_LEAVES)])


class Forest(NamedTuple):
    """Several models that read the same features.

    Attributes:
        threshold: Values above it go right, ascending for each feature, shape (splits,).
        kept: Leaves of its tree that a row may still reach if it goes right there, one bit each, shape (splits,).
        tree: The tree that it stands in, shape (splits,).
        gap_goes_right: Whether a missing value goes right, shape (splits,).
        feature_end: Splits 0 .. feature_end[0] - 1 are on the first feature, and so on, shape (features,).
        leaf: Value of each leaf, those of a tree from left to right, shape (leaves,).
        first_leaf: Shape (trees,).
        outputs: Trees 0 .. outputs[0] - 1 sum up to the first model, and so on, shape (models,).
    """

    threshold: NDArray[np.float32]
    kept: NDArray[np.uint64]
    tree: NDArray[np.uint32]
    gap_goes_right: NDArray[np.bool_]
    feature_end: NDArray[np.uint64]
    leaf: NDArray[np.float64]
    first_leaf: NDArray[np.int32]
    outputs: NDArray[np.int32]

    @classmethod
    def of(cls, boosters: "Sequence[lgb.Booster]") -> Self:
        """Read the trees off fitted models of numerical features.

        Raises:
            ValueError: A tree has more than 64 leaves.
        """
        parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in ("feature", "threshold", "decision")}
        kept, leaves, outputs = [], [], []
        for booster in boosters:
            for text in booster.model_to_string().split("\nTree=")[1:]:
                lines = dict(line.split("=", 1) for line in text.split("\n\n")[0].splitlines() if "=" in line)
                value = _numbers(lines["leaf_value"])
                if value.size > MOST_LEAVES:
                    raise ValueError(f"a tree has {value.size} leaves; at most {MOST_LEAVES} are allowed (num_leaves)")
                sides = (_numbers(lines.get(side, "")).astype(np.int64) for side in ("left_child", "right_child"))
                mask, place = _left_to_right(*sides)
                for name, key in (
                    ("feature", "split_feature"),
                    ("threshold", "threshold"),
                    ("decision", "decision_type"),
                ):
                    parts[name].append(_numbers(lines.get(key, "")))
                kept.append(mask)
                leaves.append(value[np.argsort(place)])
            outputs.append(len(leaves))
        feature, threshold, decision = (np.concatenate(each) for each in parts.values())
        order = np.lexsort((threshold, feature))
        missing = decision.astype(np.int64)
        # Where training saw no gap, LightGBM reads one as 0.
        known = missing >> MISSING_SHIFT == NAN_IS_MISSING
        right = np.where(known, missing & LEFT_IF_MISSING == 0, threshold < 0.0)
        sizes = np.array([value.size for value in leaves])
        return cls(
            _next_below(threshold[order]),
            np.concatenate(kept)[order],
            np.repeat(np.arange(len(leaves)), [mask.size for mask in kept])[order].astype(np.uint32),
            right[order],
            np.cumsum(np.bincount(feature.astype(np.int64))).astype(np.uint64),
            np.concatenate(leaves),
            (np.cumsum(sizes) - sizes).astype(np.int32),
            np.array(outputs, dtype=np.int32),
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], prefix: str) -> Self:
        """Read what `arrays` gave."""
        return cls(*(arrays[prefix + name] for name in cls._fields))

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Every array under its name, for `numpy.savez`."""
        return {prefix + name: values for name, values in self._asdict().items()}

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Every model's value: inputs (n, features) to (n, models)."""
        return _predict(self, np.ascontiguousarray(inputs), BIT)


def _numbers(text: str) -> NDArray[np.float64]:
    return np.array(text.split(), dtype=np.float64)


def _next_below(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above each: a float32 lies above one just when it lies above the other."""
    nearest = values.astype(np.float32)
    return np.where(nearest > values, np.nextafter(nearest, np.float32(-np.inf)), nearest)


@njit(cache=True)
def _left_to_right(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the leaves of a tree from left to right.

    Args:
        left: Left child of each split, shape (splits,): a later split, or -1 - a leaf.
        right: Right child.

    Returns:
        The leaves kept by a row that goes right at each split, one bit each, shape (splits,), and the place of each
        leaf, shape (splits + 1,).
    """
    below = np.ones(left.size + 1, dtype=np.int64)  # leaves of each split
    for i in range(left.size - 1, -1, -1):
        below[i] = (below[left[i]] if left[i] >= 0 else 1) + (below[right[i]] if right[i] >= 0 else 1)
    first, place = np.zeros(left.size + 1, dtype=np.int64), np.zeros(left.size + 1, dtype=np.int64)
    kept = np.zeros(left.size, dtype=np.uint64)
    for i in range(left.size):
        struck = below[left[i]] if left[i] >= 0 else 1
        for child, at in ((left[i], first[i]), (right[i], first[i] + struck)):
            if child >= 0:
                first[child] = at
            else:
                place[-1 - child] = at
        kept[i] = ALL ^ (((np.uint64(1) << np.uint64(struck)) - np.uint64(1)) << np.uint64(first[i]))
    return kept, place


@njit(cache=True)
def _predict(forest: Forest, inputs: np.ndarray, bit: np.ndarray) -> np.ndarray:
    threshold, kept, trees, gap_goes_right, feature_end, leaf, first_leaf, outputs = forest
    found = np.zeros((inputs.shape[0], outputs.size))
    reachable = np.empty(first_leaf.size, dtype=np.uint64)
    for i in range(inputs.shape[0]):
        reachable[:] = ALL
        first = np.uint64(0)
        for feature in range(feature_end.size):
            value, end = inputs[i, feature], feature_end[feature]
            if value != value:
                for j in range(first, end):
                    if gap_goes_right[j]:
                        reachable[trees[j]] &= kept[j]
            else:
                for j in range(first, _first_not_below(threshold, value, first, end)):
                    reachable[trees[j]] &= kept[j]
            first = end
        tree = 0
        for output in range(outputs.size):
            while tree < outputs[output]:
                leftmost = reachable[tree] & (~reachable[tree] + ONE)
                found[i, output] += leaf[first_leaf[tree] + bit[leftmost * np.uint64(DE_BRUIJN) >> TOP]]
                tree += 1
    return found


@njit(cache=True)
def _first_not_below(threshold: np.ndarray, value: float, low: np.uint64, high: np.uint64) -> np.uint64:
    """The first split from `low` on whose threshold is not below a value; `high` if there is none."""
    while low < high:
        middle = (low + high) >> ONE
        if value > threshold[middle]:
            low = middle + ONE
        else:
            high = middle
    return low
