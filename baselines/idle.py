"""Ask for nothing: the zero of every score."""

from typing import Self

import numpy as np

from envs.fields import FloatArray
from envs.single import SystemEnv


class IdlePolicy:
    """Leaves every device alone."""

    def __init__(self, n_actions: int) -> None:
        self._action = np.full(n_actions, np.nan, dtype=np.float32)

    @classmethod
    def for_env(cls, env: SystemEnv) -> Self:
        """For an environment's action layout."""
        return cls(len(env.system.action_fields))

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Not-a-numbers, shape (action fields,): every system then does its safe default."""
        return self._action
