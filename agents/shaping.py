"""Potential-based shaping: tell the learner at once what a stored kWh is worth.

Storing energy costs now and pays hours later. Adding gamma x potential(next) - potential(now) to the reward moves
that pay-off to the moment of the decision without changing which policy is best (Ng, Harada and Russell, "Policy
invariance under reward transformations", ICML 1999). Scores are never shaped.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from envs.fields import FloatArray

Potential = Callable[[FloatArray], NDArray[np.float64]]


class ShapedVecEnv(VecEnvWrapper):
    """Lanes whose rewards are shaped by the worth of what they hold."""

    def __init__(self, venv: VecEnv, potential_gbp: Potential, gamma: float) -> None:
        """Wrap lanes.

        Args:
            venv: The lanes.
            potential_gbp: Worth of what each lane holds, from its observation: (lanes, fields) to (lanes,).
            gamma: The learner's discount.
        """
        super().__init__(venv)
        self._potential_gbp, self._gamma = potential_gbp, gamma
        self._held_gbp = np.zeros(venv.num_envs)

    def reset(self) -> VecEnvObs:
        """Restart every lane."""
        observations = self.venv.reset()
        self._held_gbp = self._potential_gbp(observations)
        return observations

    def step_wait(self) -> VecEnvStepReturn:
        """Advance every lane; an ended episode holds nothing any more."""
        observations, rewards, dones, infos = self.venv.step_wait()
        holds_gbp = self._potential_gbp(observations)
        shaped = rewards + self._gamma * np.where(dones, 0.0, holds_gbp) - self._held_gbp
        self._held_gbp = holds_gbp
        return observations, shaped.astype(np.float32), dones, infos
