"""What every simulated system offers, so that one set of shells turns it into environments."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from envs.fields import Field, FloatArray

Lanes = NDArray[np.void]  # one structured record per lane


class System(Protocol):
    """A system advances many independent lanes at once; a single environment is one lane of it.

    State is one record per lane, changed in place by compiled code. Nothing random happens after `draw`.

    Attributes:
        observation_fields: Layout of an observation.
        action_fields: Layout of an action.
        terms: Names of the money terms, GBP, whose sum is the reward.
        lane: Layout of a lane's state record.
        decision_minutes: Minutes between two decisions, and how long a step lasts.
    """

    observation_fields: tuple[Field, ...]
    action_fields: tuple[Field, ...]
    terms: tuple[str, ...]
    lane: np.dtype[np.void]
    decision_minutes: int

    def draw(self, rngs: Sequence[np.random.Generator], lanes: Lanes) -> None:
        """Set each lane, shape (n,), to the start of an episode drawn by its own generator."""
        ...

    def observe(self, lanes: Lanes, observations: FloatArray) -> None:
        """Write what each lane sees: lanes (n,) to observations (n, fields)."""
        ...

    def step(
        self,
        lanes: Lanes,
        actions: FloatArray,
        terms: NDArray[np.float64],
        over: NDArray[np.bool_],
        observations: FloatArray,
    ) -> None:
        """Advance every lane to its next decision in place, and write what it sees then.

        Args:
            lanes: Shape (n,), changed in place.
            actions: Shape (n, action fields); anything is allowed, NaN asks for nothing.
            terms: Written: GBP by term, shape (n, len(terms)).
            over: Written: whether the lane's episode has ended, shape (n,).
            observations: Written: what each lane sees after the step, shape (n, observation fields).
        """
        ...

    def parameters(self) -> dict[str, dict[str, float]]:
        """The device parameters a deployed policy needs to know, JSON-ready, by device."""
        ...

    def feasible(self, lanes: Lanes) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest value of each action field that changes anything now, each of shape (n, action fields).

        Comes from the device model's own limit function; asking for more is allowed and clipped.
        """
        ...

    def telemetry(self, lane: np.void) -> dict[str, float]:
        """What an operator would read off a lane after a step, units in names."""
        ...

    def when(self, lane: np.void) -> pd.Timestamp:
        """When a lane decides next, UTC: the start of a period, or a quarter past it."""
        ...

    def picture(self, log: pd.DataFrame) -> NDArray[np.uint8]:
        """Draw the last two days of a lane's telemetry, shape (height, width, 3)."""
        ...
