"""What every simulated system offers, so that one set of shells turns it into environments."""

from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from envs.fields import Field, FloatArray

State = NDArray[np.float64]


class System(Protocol):
    """A system advances many independent lanes at once; a single environment is one lane of it.

    State is one float64 row per lane, changed in place by compiled code. Nothing random happens after `draw`.

    Attributes:
        observation_fields: Layout of an observation.
        action_fields: Layout of an action.
        terms: Names of the money terms, GBP, whose sum is the reward.
        state_size: Numbers in a lane's state row.
    """

    observation_fields: tuple[Field, ...]
    action_fields: tuple[Field, ...]
    terms: tuple[str, ...]
    state_size: int

    def draw(self, rng: np.random.Generator) -> State:
        """A fresh lane at the start of a drawn episode, shape (state_size,)."""
        ...

    def observe(self, state: State, observations: FloatArray) -> None:
        """Write what each lane sees: state (lanes, state_size) to observations (lanes, fields)."""
        ...

    def step(self, state: State, actions: FloatArray, terms: State, over: NDArray[np.bool_]) -> None:
        """Advance every lane by one period in place.

        Args:
            state: Shape (lanes, state_size), changed in place.
            actions: Shape (lanes, action fields); anything is allowed, NaN asks for nothing.
            terms: Written: GBP by term, shape (lanes, len(terms)).
            over: Written: whether the lane's episode has ended, shape (lanes,).
        """
        ...

    def telemetry(self, state: State) -> dict[str, float]:
        """What an operator would read off one lane after a step, units in names; state has shape (state_size,)."""
        ...

    def when(self, state: State) -> pd.Timestamp:
        """Start of the period that one lane is about to decide, UTC."""
        ...

    def picture(self, log: pd.DataFrame) -> NDArray[np.uint8]:
        """Draw the last two days of one lane's telemetry, shape (height, width, 3)."""
        ...
