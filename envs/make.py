"""Build an environment from the name of a system: what `gymnasium.make` and `gymnasium.make_vec` call."""

from typing import Any, cast

from gymnasium.envs.registration import load_env_creator

from envs.single import SystemEnv
from envs.system import System
from envs.vector import SystemVectorEnv


def single(system: str, render_mode: str | None = None, **parameters: Any) -> SystemEnv:
    """One lane; `parameters` go to the system named "module:Class"."""
    return SystemEnv(cast(System, load_env_creator(system)(**parameters)), render_mode)


def vector(system: str, num_envs: int = 1, **parameters: Any) -> SystemVectorEnv:
    """`num_envs` lanes; `parameters` go to the system named "module:Class"."""
    return SystemVectorEnv(cast(System, load_env_creator(system)(**parameters)), num_envs)
