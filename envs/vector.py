"""Many lanes of a system as one Gymnasium vector environment."""

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.fields import FloatArray, box
from envs.system import System


class LaneRunner:
    """Lanes of a system with a random generator each, restarted as soon as their episode ends.

    The one stepping loop behind the Gymnasium vector environment and the learner's.

    Attributes:
        system: The simulated system.
        lanes: State records, shape (n_lanes,).
        terms: GBP by term of the last step, shape (n_lanes, len(system.terms)).
        over: Lanes whose episode ended in the last step, shape (n_lanes,).
        final_observations: Last observation of those lanes' episodes; other rows are undefined.
    """

    def __init__(self, system: System, n_lanes: int) -> None:
        if n_lanes < 1:
            raise ValueError(f"n_lanes is {n_lanes}; it must be at least 1")
        self.system = system
        self.lanes = np.zeros(n_lanes, dtype=system.lane)
        self.terms = np.zeros((n_lanes, len(system.terms)))
        self.over = np.zeros(n_lanes, dtype=np.bool_)
        self.final_observations = np.zeros((n_lanes, len(system.observation_fields)), dtype=np.float32)
        self._whole = np.dtype((np.void, system.lane.itemsize))
        self._rngs = [np.random.default_rng() for _ in range(n_lanes)]

    def reset(self, seeds: list[int | None]) -> FloatArray:
        """Restart every lane; a lane with a seed restarts its generator from it. Observations (n_lanes, fields)."""
        for lane, seed in enumerate(seeds):
            if seed is not None:
                self._rngs[lane] = np.random.default_rng(seed)
        observations = np.empty_like(self.final_observations)
        self._restart(np.arange(self.lanes.size), observations)
        return observations

    def step(self, actions: FloatArray) -> FloatArray:
        """Advance every lane, restart those that ended, and return observations (n_lanes, fields)."""
        observations = np.empty_like(self.final_observations)
        self.system.step(self.lanes, actions, self.terms, self.over, observations)
        if self.over.any():
            ended = np.flatnonzero(self.over)
            self.final_observations[ended] = observations[ended]
            self._restart(ended, observations)
        return observations

    def _restart(self, chosen: NDArray[np.int64], observations: FloatArray) -> None:
        """Draw new episodes for the chosen lanes and write what they see first."""
        if chosen.size == self.lanes.size:
            self.system.draw(self._rngs, self.lanes)
            self.system.observe(self.lanes, observations)
            return
        lanes = np.empty(chosen.size, self.lanes.dtype)
        seen = np.empty((chosen.size, observations.shape[1]), np.float32)
        self.system.draw([self._rngs[lane] for lane in chosen], lanes)
        self.system.observe(lanes, seen)
        # As bytes, because indexing copies a record field by field.
        self.lanes.view(self._whole)[chosen], observations[chosen] = lanes.view(self._whole), seen


class SystemVectorEnv(VectorEnv[FloatArray, FloatArray, NDArray[Any]]):
    """Lanes as a Gymnasium vector environment with same-step autoreset."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self, system: System, num_envs: int = 1) -> None:
        """Wrap `num_envs` lanes of a system; see `envs.single.SystemEnv` for what a step means."""
        self.num_envs = num_envs
        self.runner = LaneRunner(system, num_envs)
        self.single_observation_space = box(system.observation_fields)
        self.single_action_space = box(system.action_fields)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._never_truncated = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Restart all lanes; an integer seeds lane i with seed + i."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        seeds: list[int | None] = (
            list(seed)
            if isinstance(seed, list)
            else [None if seed is None else seed + lane for lane in range(self.num_envs)]
        )
        return self.runner.reset(seeds), {}

    def step(
        self, actions: FloatArray
    ) -> tuple[FloatArray, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Advance all lanes by one decision; `info` holds `reward_gbp` by term, and `final_obs` of lanes that ended."""
        observations = self.runner.step(np.asarray(actions, dtype=np.float32))
        terms = self.runner.terms
        info: dict[str, Any] = {"reward_gbp": {n: terms[:, i] for i, n in enumerate(self.runner.system.terms)}}
        if self.runner.over.any():
            info["final_obs"] = self.runner.final_observations.copy()
            info["_final_obs"] = self.runner.over.copy()
        return observations, terms.sum(axis=1), self.runner.over.copy(), self._never_truncated.copy(), info
