"""Our lanes seen as a Stable-Baselines3 VecEnv, with the learner's own view of actions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices, VecEnvObs, VecEnvStepReturn

from envs.fields import FloatArray, box
from envs.system import System
from envs.vector import LaneRunner


def action_levels(system: System, levels: int) -> FloatArray:
    """The evenly spaced values a discrete learner may choose for each action field, shape (fields, levels)."""
    if levels < 2:
        raise ValueError(f"levels is {levels}; a discrete action needs at least 2, or 0 for continuous actions")
    return np.stack([np.linspace(f.low, f.high, levels, dtype=np.float32) for f in system.action_fields])


class LanesVecEnv(VecEnv):
    """`n_lanes` lanes of a system for a Stable-Baselines3 learner.

    Infos of lanes that go on share one empty dict, so that a step costs no Python object per lane.

    Attributes:
        money_gbp: Sum of each money term since `take_money`, for logging.
    """

    def __init__(self, system: System, n_lanes: int, levels: int = 0) -> None:
        """Wrap lanes.

        Args:
            system: The simulated system.
            n_lanes: How many lanes.
            levels: 0 for continuous actions; else each action field becomes a choice of that many even steps.

        Raises:
            ValueError: If `n_lanes` or `levels` is out of range.
        """
        self.runner = LaneRunner(system, n_lanes)
        self._levels = action_levels(system, levels) if levels else None
        self._discrete = np.arange(len(system.action_fields))
        action_space: spaces.Space = box(system.action_fields)
        if levels:
            n_fields = len(system.action_fields)
            action_space = spaces.Discrete(levels) if n_fields == 1 else spaces.MultiDiscrete([levels] * n_fields)
        self._nothing: dict[str, Any] = {}
        self._actions: FloatArray = np.zeros((n_lanes, len(system.action_fields)), dtype=np.float32)
        self._returns_gbp = np.zeros(n_lanes)
        self._lengths = np.zeros(n_lanes, dtype=np.int64)
        self.money_gbp = np.zeros(len(system.terms))
        self.render_mode = None
        super().__init__(n_lanes, box(system.observation_fields), action_space)

    def reset(self) -> VecEnvObs:
        """Restart every lane."""
        observations = self.runner.reset(list(self._seeds))
        self._returns_gbp[:] = 0.0
        self._lengths[:] = 0
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the learner's actions, shape (n_lanes,) or (n_lanes, fields)."""
        self._actions = (
            actions.reshape(self.num_envs, -1).astype(np.float32, copy=False)
            if self._levels is None
            else self._levels[self._discrete, actions.reshape(self.num_envs, -1)]
        )

    def step_wait(self) -> VecEnvStepReturn:
        """Advance every lane; a lane that ended restarts and reports its last observation and episode return."""
        observations = self.runner.step(self._actions)
        rewards_gbp = self.runner.terms.sum(axis=1)
        self.money_gbp += self.runner.terms.sum(axis=0)
        self._returns_gbp += rewards_gbp
        self._lengths += 1
        infos = [self._nothing] * self.num_envs
        if self.runner.over.any():
            for lane in np.flatnonzero(self.runner.over):
                infos[lane] = {
                    "terminal_observation": self.runner.final_observations[lane].copy(),
                    "episode": {"r": float(self._returns_gbp[lane]), "l": int(self._lengths[lane]), "t": 0.0},
                }
            self._returns_gbp[self.runner.over] = 0.0
            self._lengths[self.runner.over] = 0
        return observations, rewards_gbp.astype(np.float32), self.runner.over.copy(), infos

    def take_money(self) -> dict[str, float]:
        """GBP by term since the last call, over all lanes."""
        money = dict(zip(self.runner.system.terms, self.money_gbp.tolist(), strict=True))
        self.money_gbp[:] = 0.0
        return money

    def close(self) -> None:
        """Nothing is held."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The same attribute for every lane."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:  # noqa: ANN401 - SB3's signature
        """Set an attribute of the whole."""
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any  # noqa: ANN401
    ) -> list[Any]:
        """Call a method of the whole, once for every lane asked for."""
        return [getattr(self, method_name)(*method_args, **method_kwargs) for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """No lane is wrapped."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Lanes are not drawn; use `envs.single.SystemEnv`."""
        return [None] * self.num_envs
