"""Every file in conf/ composes and instantiates."""

from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf.errors import InterpolationKeyError

import envs
from data import splits
from data.load import FILE_NAME
from envs.scenario import Scenario
from envs.single import SystemEnv
from evaluation.rollout import play

CONF = Path(__file__).parent.parent / "conf"
ENTRY_POINTS = sorted(file.stem for file in CONF.glob("*.yaml"))
ENVS = sorted(file.stem for file in CONF.glob("env/*.yaml"))
SITES = sorted(file.stem for file in CONF.glob("site/*.yaml"))
LANE_AGENTS = sorted({file.stem for file in CONF.glob("agent/*.yaml")} - {"improved_dp"})  # learn on any env


def composed(name: str, *overrides: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=list(overrides))


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_entry_points_compose(name):
    assert composed(name)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("env", ENVS)
def test_every_env_on_every_site_builds_and_its_policies_act(env, site, days):
    cfg = composed("train", f"env={env}", f"site={site}")
    assert cfg.env.name == env
    assert cfg.env.id in envs.SYSTEMS
    assert instantiate(cfg.env.system)(scenario=days, **cfg.env.training)
    shell = SystemEnv(instantiate(cfg.env.system)(scenario=days))
    assert {"idle", "random", cfg.env.reference} <= set(cfg.env.policies)
    for name, partial in cfg.env.policies.items():
        few = {"paths": 2} if "paths" in partial else {}  # twenty take a sixth of a second a decision
        trace = play(shell, instantiate(partial, **few)(shell), 0)
        assert trace["reward_gbp"].notna().all(), name


@pytest.mark.parametrize("env", ENVS)
def test_env_defaults_in_code_and_the_default_site_are_one(env, days):
    """What `gymnasium.make` builds without arguments is what the default configuration builds."""
    cfg = composed("train", f"env={env}")
    configured = instantiate(cfg.env.system)(scenario=days)
    assert configured.parameters() == type(configured)(scenario=days).parameters()


@pytest.mark.parametrize("agent", LANE_AGENTS)
@pytest.mark.parametrize("env", ENVS)
def test_every_agent_of_lanes_builds_on_every_env(env, agent, days, tmp_path):
    cfg = composed("train", f"env={env}", f"agent={agent}", "agent.n_lanes=8", "agent.batch_size=64")
    system = instantiate(cfg.env.system)(scenario=days, **cfg.env.training)
    trainer = instantiate(cfg.agent)(system=system, run_dir=tmp_path)
    trainer.learn(128, lambda policy: 0.0, 1000, 1000, progress_bar=False)
    assert trainer.model.num_timesteps >= 128


@pytest.mark.parametrize("env", ENVS)
def test_improved_dp_builds_where_there_is_a_planner_to_improve(env, days, tmp_path):
    cfg = composed("train", f"env={env}", "agent=improved_dp")
    system = instantiate(cfg.env.system)(scenario=days, **cfg.env.training)
    if env == "battery":
        assert instantiate(cfg.agent)(system=system, run_dir=tmp_path).name == "improved_dp"
    else:
        with pytest.raises((InterpolationKeyError, ValueError), match=r"stochastic_dp|once"):
            instantiate(cfg.agent)(system=system, run_dir=tmp_path)


def test_the_synthetic_data_config_covers_all_splits():
    table = instantiate(composed("train").data.table)
    index = pd.DatetimeIndex(table.index)
    for split in splits.SPLITS:
        span = splits.rows(index, split)
        assert span.stop - span.start > 8000


def test_the_gb_data_config_reads_the_folder_it_is_given(table, tmp_path):
    table.to_parquet(tmp_path / FILE_NAME)
    read = instantiate(composed("train", "data=gb", f"data.path={tmp_path}").data.table)
    pd.testing.assert_frame_equal(read, table, check_freq=False)


def test_a_wrong_key_is_refused_with_its_name():
    with pytest.raises(Exception, match="total_step"):
        composed("train", "total_step=5")


def test_the_whole_split_is_one_episode(history):
    assert len(Scenario(history, "validation", "split").episodes) == 1
