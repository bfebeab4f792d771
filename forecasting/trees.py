"""Fitted LightGBM models as plain arrays: read without code, walked by one compiled loop.

LightGBM spends about a millisecond per call before it looks at a tree; one decision asks 56 models, so that alone
would take longer than everything else.
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
ROWS_AT_ONCE: Final = 256


class Forest(NamedTuple):
    """Several models that read the same features.

    Attributes:
        feature: Feature that a node splits on, shape (nodes,).
        threshold: Values up to it go left, shape (nodes,).
        decision: LightGBM's decision type, shape (nodes,).
        children: Left and right child, shape (nodes, 2): a node of the forest, or -1 - a leaf of the forest.
        leaf: Value of each leaf, shape (leaves,).
        roots: First node of each tree, or -1 - its only leaf, shape (trees,).
        outputs: Trees 0 .. outputs[0] - 1 sum up to the first model, and so on, shape (models,).
    """

    feature: NDArray[np.int16]
    threshold: NDArray[np.float64]
    decision: NDArray[np.int8]
    children: NDArray[np.int32]
    leaf: NDArray[np.float64]
    roots: NDArray[np.int32]
    outputs: NDArray[np.int32]

    @classmethod
    def of(cls, boosters: "Sequence[lgb.Booster]") -> Self:
        """Read the trees off fitted models of numerical features."""
        parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in ("split", "threshold", "decision", "leaf")}
        children, roots, outputs = [], [], []
        nodes = leaves = 0
        for booster in boosters:
            for tree in booster.model_to_string().split("\nTree=")[1:]:
                lines = dict(line.split("=", 1) for line in tree.split("\n\n")[0].splitlines() if "=" in line)
                value = _numbers(lines["leaf_value"])
                split = _numbers(lines.get("split_feature", ""))
                roots.append(nodes if split.size else -1 - leaves)
                pair = np.column_stack([_numbers(lines.get(side, "")) for side in ("left_child", "right_child")])
                children.append(np.where(pair >= 0, pair + nodes, pair - leaves))
                for name, found in (
                    ("split", split),
                    ("threshold", _numbers(lines.get("threshold", ""))),
                    ("decision", _numbers(lines.get("decision_type", ""))),
                    ("leaf", value),
                ):
                    parts[name].append(found)
                nodes, leaves = nodes + split.size, leaves + value.size
            outputs.append(len(roots))
        return cls(
            np.concatenate(parts["split"]).astype(np.int16),
            np.concatenate(parts["threshold"]),
            np.concatenate(parts["decision"]).astype(np.int8),
            np.concatenate(children).astype(np.int32),
            np.concatenate(parts["leaf"]),
            np.array(roots, dtype=np.int32),
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
        return _predict(self, np.ascontiguousarray(inputs))


def _numbers(text: str) -> NDArray[np.float64]:
    return np.array(text.split(), dtype=np.float64)


@njit(cache=True)
def _predict(forest: Forest, inputs: np.ndarray) -> np.ndarray:
    found = np.zeros((inputs.shape[0], forest.outputs.size))
    # Blocks of rows and one tree fit the processor's cache together.
    for first in range(0, inputs.shape[0], ROWS_AT_ONCE):
        stop = min(first + ROWS_AT_ONCE, inputs.shape[0])
        tree = 0
        for output in range(forest.outputs.size):
            while tree < forest.outputs[output]:
                for i in range(first, stop):
                    node = forest.roots[tree]
                    while node >= 0:
                        value = inputs[i, forest.feature[node]]
                        decision = forest.decision[node]
                        if value != value and decision >> MISSING_SHIFT == NAN_IS_MISSING:
                            right = decision & LEFT_IF_MISSING == 0
                        else:
                            # Where training saw no gap, LightGBM reads one as 0.
                            right = (0.0 if value != value else value) > forest.threshold[node]
                        node = forest.children[node, 1 if right else 0]
                    found[i, output] += forest.leaf[-1 - node]
                tree += 1
    return found
