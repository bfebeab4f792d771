"""One lane of a system as a Gymnasium environment."""

from collections import deque
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pandas as pd
from gymnasium import spaces
from numpy.typing import NDArray

from envs.fields import FloatArray, box
from envs.system import System


class SystemEnv(gym.Env[FloatArray, FloatArray]):
    """A simulated system, one decision a step: a half-hour, or a quarter of an hour where a period is decided twice.

    Rewards are GBP. An episode terminates (it is never truncated): what is left in store is valued by the system's
    `end_value` term in the last step. `info` holds `reward_gbp` by term and the system's telemetry.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self, system: System, render_mode: str | None = None) -> None:
        """Wrap a system.

        Args:
            system: The simulated system.
            render_mode: None, or "rgb_array" for pictures of the last two days.

        Raises:
            ValueError: If the render mode is unknown.
        """
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"unknown render mode {render_mode!r}; allowed are None and 'rgb_array'")
        self.system = system
        self.render_mode = render_mode
        self.observation_space = cast("spaces.Space[FloatArray]", box(system.observation_fields))
        self.action_space = cast("spaces.Space[FloatArray]", box(system.action_fields))
        self.lanes = np.zeros(1, dtype=system.lane)
        self._terms = np.zeros((1, len(system.terms)))
        self._over = np.zeros(1, dtype=np.bool_)
        self._observations = np.zeros((1, len(system.observation_fields)), dtype=np.float32)
        self._log: deque[dict[str, Any]] = deque(maxlen=2 * 24 * 60 // system.decision_minutes)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode drawn by the env's own generator; `options` are not used."""
        super().reset(seed=seed)
        self.system.draw([self.np_random], self.lanes)
        self._log.clear()
        return self.observe(), {}

    def step(self, action: FloatArray) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Advance to the next decision; an action outside the space is clipped to what is feasible."""
        asked = np.asarray(action, dtype=np.float32).reshape(1, -1)
        began = self.system.when(self.lanes[0]) if self.render_mode else None
        self.system.step(self.lanes, asked, self._terms, self._over, self._observations)
        terms = self._terms[0].tolist()
        info: dict[str, Any] = self.system.telemetry(self.lanes[0])
        if began is not None:
            self._log.append({"timestamp_utc": began, **info})
        info["reward_gbp"] = dict(zip(self.system.terms, terms, strict=True))
        return self._observations[0].copy(), sum(terms), bool(self._over[0]), False, info

    def render(self) -> NDArray[np.uint8] | None:
        """The last two days as an image, shape (height, width, 3), or None without a render mode."""
        return self.system.picture(pd.DataFrame(list(self._log))) if self.render_mode else None

    def observe(self) -> FloatArray:
        """What the env shows now, shape (observation fields,)."""
        self.system.observe(self.lanes, self._observations)
        return self._observations[0].copy()
