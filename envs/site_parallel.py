"""The whole site as four cooperating agents: a PettingZoo parallel environment."""

from typing import Any, ClassVar, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from envs.fields import FloatArray, box
from envs.single import SystemEnv
from envs.site import SiteSystem

# Which fields of the site's action each agent decides.
AGENTS: Final[dict[str, tuple[str, ...]]] = {
    "battery": ("power_fraction",),
    "cooling": ("supply_setpoint_c", "fan_fraction"),
    "compute": ("release_fraction", "capacity_fraction"),
    "trader": ("flexibility_fraction", "flexibility_price_gbp_per_mwh"),
}


class SiteParallelEnv(ParallelEnv[str, FloatArray, FloatArray]):
    """`gridpilot/Site-v0` cut along its devices: every agent sees the whole site and gets the same reward.

    The reward is the site's, in GBP; `infos` hold its terms. An agent that gives no action, or NaN, asks for nothing.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "gridpilot_site_v0", "render_modes": ["rgb_array"]}

    def __init__(self, system: SiteSystem | None = None, render_mode: str | None = None) -> None:
        """Wrap a site.

        Args:
            system: The site; the default one on synthetic data if not given.
            render_mode: None or "rgb_array".

        Raises:
            ValueError: If the render mode is unknown.
        """
        self._env = SystemEnv(system or SiteSystem(), render_mode)
        self.render_mode = render_mode
        fields = self._env.system.action_fields
        place = {f.name: i for i, f in enumerate(fields)}
        self._places = {agent: [place[name] for name in names] for agent, names in AGENTS.items()}
        self._action_spaces = {agent: box([fields[i] for i in at]) for agent, at in self._places.items()}
        self._observation_space = box(self._env.system.observation_fields)
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The site's observation space, the same for all."""
        return self._observation_space

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's own fields."""
        return self._action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, FloatArray], dict[str, dict[str, Any]]]:
        """Start an episode."""
        observation, info = self._env.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        return {agent: observation.copy() for agent in self.agents}, {agent: dict(info) for agent in self.agents}

    def step(
        self, actions: dict[str, FloatArray]
    ) -> tuple[dict[str, FloatArray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Advance half an hour with everybody's part of the action."""
        joint = np.full(len(self._env.system.action_fields), np.nan, dtype=np.float32)
        for agent, action in actions.items():
            joint[self._places[agent]] = action
        observation, reward, over, truncated, info = self._env.step(joint)
        agents = self.agents
        if over:
            self.agents = []
        return (
            {agent: observation.copy() for agent in agents},
            dict.fromkeys(agents, reward),
            dict.fromkeys(agents, over),
            dict.fromkeys(agents, truncated),
            {agent: dict(info) for agent in agents},
        )

    def render(self) -> NDArray[np.uint8] | None:
        """The site's picture."""
        return self._env.render()

    def state(self) -> FloatArray:
        """What every agent sees, as the joint state."""
        observation: FloatArray = self._env.observe()
        return observation
