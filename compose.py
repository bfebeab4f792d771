"""From a composed configuration to the objects that the entry points share."""

from functools import partial
from pathlib import Path
from typing import Any, Final

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from agents.bundle import FORECASTER, write_bundle
from data import splits
from data.load import checked
from data.schema import PERIOD_MINUTES
from envs.scenario import EpisodeLength, History, Scenario
from envs.single import SystemEnv
from envs.system import System
from forecasting.forecast import Forecaster
from forecasting.saved import save
from forecasting.tables import walk_forward

FORECAST_COLUMNS: Final = {
    "forecaster": "imbalance_price_gbp_per_mwh",
    "carbon_forecaster": "carbon_intensity_mix_derived_g_per_kwh",
    "wet_bulb_forecaster": "wet_bulb_c",
}


def history_and_forecaster(cfg: DictConfig) -> tuple[History, Forecaster]:
    """Load the table, fit the forecasters, and lay out what policies are shown.

    Returns:
        The history, and the forecaster of the price for the time after it.
    """
    table = checked(instantiate(cfg.data.table))
    shown, newest = _forecasters(cfg, "forecaster", table)
    carbon, wet_bulb = (partial(_shown, cfg, name, table) for name in ("carbon_forecaster", "wet_bulb_forecaster"))
    return History(table, shown, carbon, wet_bulb), newest


def fit_forecaster(cfg: DictConfig, name: str, table: pd.DataFrame) -> Forecaster:
    """Fit one of the configured forecasters on a table that holds nothing but what it may learn from."""
    return instantiate(_settings_of(cfg, name))(table)


def forecasts_of(cfg: DictConfig) -> dict[str, Any]:
    """All that decides which forecasts of a table policies are shown, JSON-ready."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    return {name: config[name] for name in (*FORECAST_COLUMNS, "refit_months")}


def _shown(cfg: DictConfig, name: str, table: pd.DataFrame) -> Forecaster:
    return _forecasters(cfg, name, table)[0]


def _forecasters(cfg: DictConfig, name: str, table: pd.DataFrame) -> tuple[Forecaster, Forecaster]:
    """What forecasts the rows of the table, and what forecasts after them."""
    if cfg.refit_months:
        settings = _settings_of(cfg, name)
        plain = OmegaConf.to_container(settings, resolve=True)
        return walk_forward(instantiate(settings), table, plain, Path(cfg.forecasts), cfg.refit_months, _minutes(cfg))
    forecaster = fit_forecaster(cfg, name, table.iloc[splits.rows(pd.DatetimeIndex(table.index), "train")])
    return forecaster, forecaster


def _settings_of(cfg: DictConfig, name: str) -> DictConfig:
    """The configuration of a forecaster, told what it is to forecast and when where it asks."""
    asked = {"column": FORECAST_COLUMNS[name], "minutes": _minutes(cfg)}
    return OmegaConf.merge(cfg[name], {key: value for key, value in asked.items() if key in cfg[name]})


def _minutes(cfg: DictConfig) -> list[int]:
    """Minutes of a period at which it is decided."""
    return list(range(0, PERIOD_MINUTES, cfg.env.system.get("decision_minutes", PERIOD_MINUTES)))


def system_for(
    cfg: DictConfig,
    history: History,
    split: str | splits.Split,
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
    scores: dict[str, Any],
    origin: dict[str, Any],
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe a policy for `write_policy`; `settings` come on top of those in the configuration."""
    return {
        "name": name,
        "policy": policy,
        "env": cfg.env.id,
        "observation_fields": [f.name for f in system.observation_fields],
        "action_fields": [f.name for f in system.action_fields],
        "settings": {**_settings(cfg, policy), **(settings or {})},
        "system": system.parameters(),
        "scores": scores,
        "provenance": origin,
    }


def write_policy(folder: Path, described: dict[str, Any], forecaster: Forecaster, network: bytes | None = None) -> Path:
    """Write a bundle: the forecaster first, then what `agents.bundle.write_bundle` writes."""
    sha256 = save(forecaster, folder / FORECASTER)
    return write_bundle(folder, {**described, "forecaster": {"column": forecaster.column, "sha256": sha256}}, network)


def _settings(cfg: DictConfig, policy: str) -> dict[str, Any]:
    """What the configuration sets of a policy that is not learnt."""
    settings = OmegaConf.to_container(cfg.env.policies, resolve=True).get(policy, {})
    return {key: value for key, value in settings.items() if not key.startswith("_")}
