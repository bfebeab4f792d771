"""Act at random: the floor that anything learnt must beat."""

from typing import Self

import numpy as np

from envs.fields import FloatArray
from envs.single import SystemEnv


class RandomPolicy:
    """Draws every action evenly from its bounds."""

    stochastic = True

    def __init__(self, low: FloatArray, high: FloatArray) -> None:
        self._low, self._high = low, high
        self._rng = np.random.default_rng(0)

    @classmethod
    def for_env(cls, env: SystemEnv) -> Self:
        """For an environment's action bounds."""
        fields = env.system.action_fields
        return cls(np.float32([f.low for f in fields]), np.float32([f.high for f in fields]))

    def reset(self, seed: int) -> None:
        """Restart the generator."""
        self._rng = np.random.default_rng(seed)

    def act(self, observation: FloatArray) -> FloatArray:
        """A fresh draw, shape (action fields,)."""
        return self._rng.uniform(self._low, self._high).astype(np.float32)
