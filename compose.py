"""From a composed configuration to the objects that the entry points share."""

from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from data import splits
from envs.scenario import EpisodeLength, History, Scenario
from envs.single import SystemEnv
from envs.system import System
from forecasting.forecast import Forecaster


def history_and_forecaster(cfg: DictConfig) -> tuple[History, Forecaster]:
    """Load the table, fit the forecaster on its training split, and lay out what policies are shown."""
    table = instantiate(cfg.data.table)
    train = table.iloc[splits.rows(pd.DatetimeIndex(table.index), "train")]
    forecaster = instantiate(cfg.forecaster)(train)
    return History(table, forecaster), forecaster


def system_for(
    cfg: DictConfig,
    history: History,
    split: str,
    episode: EpisodeLength,
    **changes: Any,
) -> System:
    """The configured system on one split."""
    return instantiate(cfg.env.system)(scenario=Scenario(history, split, episode), **changes)


def fitted(cfg: DictConfig, policy: str, env: SystemEnv) -> dict[str, Any]:
    """What a policy that is not learnt by trial takes from the training split, JSON-ready; most take nothing."""
    built = instantiate(cfg.env.policies[policy])(env)
    return built.fitted() if hasattr(built, "fitted") else {}


def manifest(
    cfg: DictConfig,
    name: str,
    policy: str,
    system: System,
    forecaster: Forecaster,
    scores: dict[str, Any],
    origin: dict[str, Any],
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe a policy for `agents.bundle.write_bundle`; `settings` come on top of those in the configuration."""
    return {
        "name": name,
        "policy": policy,
        "env": cfg.env.id,
        "observation_fields": [f.name for f in system.observation_fields],
        "action_fields": [f.name for f in system.action_fields],
        "settings": {**_settings(cfg, policy), **(settings or {})},
        "system": system.parameters(),
        "forecaster": forecaster._asdict(),
        "scores": scores,
        "provenance": origin,
    }


def _settings(cfg: DictConfig, policy: str) -> dict[str, Any]:
    """What the configuration sets of a policy that is not learnt."""
    settings = OmegaConf.to_container(cfg.env.policies, resolve=True).get(policy, {})
    return {key: value for key, value in settings.items() if not key.startswith("_")}
