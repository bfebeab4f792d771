"""Systems that run through the episodes of a scenario: how an episode is drawn and what its lane begins with."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from data.schema import PERIOD_MINUTES
from envs.fields import Field, FloatArray
from envs.scenario import Scenario
from envs.system import Lanes


class EpisodeSystem(ABC):
    """What systems over a scenario have in common.

    A lane's record has the fields `period` (row of the history that is decided next) and `stop` (row at which its
    episode ends). An episode begins the same way each time, so the lane that begins it is made once and copied.

    Attributes:
        scenario: Where episodes come from.
        action_fields: Layout of an action.
        lane: Layout of a lane's state record.
        decision_minutes: Minutes between two decisions.
    """

    scenario: Scenario
    action_fields: tuple[Field, ...]
    lane: np.dtype[np.void]
    decision_minutes: int = PERIOD_MINUTES

    @abstractmethod
    def begin(self, lane: np.void) -> None:
        """Complete a lane of which `period` and `stop` are set and all else is 0."""

    @cached_property
    def _beginnings(self) -> Lanes:
        """A lane for the start of each episode of the scenario, shape (episodes,)."""
        lanes = np.zeros(len(self.scenario.episodes), self.lane)
        lanes["period"], lanes["stop"] = np.array(self.scenario.episodes).T
        for lane in lanes:
            self.begin(lane)
        return lanes

    def draw(self, rngs: Sequence[np.random.Generator], lanes: Lanes) -> None:
        """Set each lane to the start of a drawn episode; see `envs.system.System`."""
        episodes = [rng.integers(self._beginnings.size) for rng in rngs]
        np.take(self._beginnings, episodes, out=lanes, mode="clip")  # straight into place, where indexing copies twice

    def feasible(self, lanes: Lanes) -> tuple[FloatArray, FloatArray]:
        """The bounds of the action, always the same; see `envs.system.System`."""
        low, high = np.array([(field.low, field.high) for field in self.action_fields], dtype=np.float32).T
        return np.tile(low, (lanes.size, 1)), np.tile(high, (lanes.size, 1))

    def when(self, lane: np.void) -> pd.Timestamp:
        """Start of the period that a lane decides next, UTC."""
        return self.scenario.timestamps[lane["period"]]
