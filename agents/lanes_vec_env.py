"""Our lanes seen as a Stable-Baselines3 VecEnv, with the learner's own view of actions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices, VecEnvObs, VecEnvStepReturn

from envs.choices import Choices
from envs.fields import FloatArray, box
from envs.system import System
from envs.vector import LaneRunner


class LanesVecEnv(VecEnv):
    """`n_lanes` lanes of a system for a Stable-Baselines3 learner.

    Infos of lanes that go on share one empty dict, so that a step costs no Python object per lane.

    Attributes:
        money_gbp: Sum of each money term since `take_money`, for logging.
    """

    def __init__(
        self, system: System, n_lanes: int, choices: Choices | None = None, left_out: Sequence[str] = ()
    ) -> None:
        """Wrap lanes.

        Args:
            system: The simulated system.
            n_lanes: How many lanes.
            choices: What a discrete learner may choose; None for continuous actions, which are then -1 to 1 across
                each field's bounds.
            left_out: Money terms that no action moves: they stay out of the rewards, where they would be noise.

        Raises:
            ValueError: If `n_lanes` is out of range.
        """
        self.runner = LaneRunner(system, n_lanes)
        self._choices = choices
        self._counted = np.array([name not in left_out for name in system.terms], dtype=np.float64)
        bounds = box(system.action_fields)
        self._middle, self._half = 0.5 * (bounds.high + bounds.low), 0.5 * (bounds.high - bounds.low)
        action_space = choices.space if choices else spaces.Box(-1.0, 1.0, bounds.shape, np.float32)
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
            self._choices.decode(actions)
            if self._choices
            else self._middle + self._half * actions.astype(np.float32, copy=False)
        )

    def step_wait(self) -> VecEnvStepReturn:
        """Advance every lane; a lane that ended restarts and reports its last observation and episode return."""
        observations = self.runner.step(self._actions)
        rewards_gbp = self.runner.terms @ self._counted
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

    def action_masks(self) -> NDArray[np.bool_]:
        """Feasible choices of every lane, as sb3-contrib's MaskablePPO wants them, shape (n_lanes, all values).

        Raises:
            ValueError: If the actions are continuous.
        """
        if self._choices is None:
            raise ValueError("continuous actions have no masks; give the agent `levels` above 0")
        return self._choices.masks(self.runner.system, self.runner.lanes)

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

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the whole."""
        setattr(self, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call a method of the whole, once for every lane asked for."""
        if method_name == "action_masks":  # sb3-contrib asks every lane; one call answers for all
            return list(self.action_masks()[list(self._get_indices(indices))])
        return [getattr(self, method_name)(*method_args, **method_kwargs) for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """No lane is wrapped."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Lanes are not drawn; use `envs.single.SystemEnv`."""
        return [None] * self.num_envs
