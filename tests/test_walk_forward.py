"""Laws of the walk-forward: months follow each other, nothing is fitted on what comes later, and it can be repeated."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from agents.bundle import OnnxPolicy, write_bundle
from agents.found import Learnt, has_checkpoint
from agents.ppo import PpoTrainer
from arena import Arena
from compose import history_and_forecaster, system_for
from data.calendar import PERIOD
from data.splits import Split
from envs.scenario import History
from evaluation.backtest import Run
from evaluation.results import TRACES
from evaluation.rollout import play
from evaluation.store import read_run
from retrain import FOLDER, Retraining, joined, month_cases, walk_forward
from world import Case, World

ROOT = Path(__file__).parent.parent
MONTH = Case("2023-08", Split("2023-08-01", "2023-08-08"), {"refit": True}, FOLDER)
ARGUMENTS = [
    "data.table.start=2023-05-01", "data.table.end=2023-08-09", "~env.policies.mpc", "~env.policies.mpc_scenario",
    "env.reference=rule", "seeds=[0]", "env.episode=day", "retraining.steps=128", "jobs=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def cfg():
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("evaluate", overrides=ARGUMENTS)


@pytest.fixture(scope="module")
def base(cfg):
    return history_and_forecaster(cfg)


@pytest.fixture(scope="module")
def learnt(cfg, base, tmp_path_factory) -> Learnt:
    """A policy that has hardly learnt anything."""
    folder = tmp_path_factory.mktemp("run")
    settings = {"_target_": "agents.ppo.PpoTrainer", "_partial_": True, "n_lanes": 8, "batch_size": 64, "hidden": [4]}
    system = system_for(cfg, base[0], "train", "day")
    trainer = PpoTrainer(system, folder, n_lanes=8, batch_size=64, hidden=[4])
    trainer.learn(128, lambda policy: 0.0, 1000, 1000, progress_bar=False)
    write_bundle(folder / "bundle", {"name": "ppo"}, trainer.export())
    return Learnt("ppo", 0, trainer.export(), folder, {"agent": settings})


@given(st.dates(pd.Timestamp("2020-01-01").date(), pd.Timestamp("2024-01-01").date()), st.integers(1, 500))
def test_months_cover_a_span_once(first, days):
    start = pd.Timestamp(first)
    end = start + pd.Timedelta(days=days)
    months = month_cases(
        Split(f"{start:%Y-%m-%d}", f"{end + pd.Timedelta(days=40):%Y-%m-%d}"), (end - PERIOD).tz_localize("UTC")
    )
    spans = [case.span for case in months]
    assert pd.Timestamp(spans[0].start) == start
    assert pd.Timestamp(spans[-1].end) == end
    assert all(a.end == b.start for a, b in pairwise(spans))
    assert [case.name for case in months] == [
        f"{month}" for month in pd.period_range(start, end - pd.Timedelta(days=1), freq="M")
    ]


def test_joined_months_add_up():
    def month(value, start):
        index = pd.date_range(start, periods=3, freq="30min", tz="UTC")
        return Run("mpc", 0, pd.DataFrame({"reward_gbp": value}, index=index), 10.0 * value, {"relaxed_plans": 2})

    (whole,) = joined([[month(1.0, "2024-01-01")], [month(2.0, "2024-02-01")]])
    assert whole.trace["reward_gbp"].tolist() == [1.0] * 3 + [2.0] * 3
    assert whole.bound_gbp == 30.0
    assert whole.counts == {"relaxed_plans": 4}


def test_what_a_month_is_fitted_on_ends_a_day_before_it(cfg, base):
    history, forecaster = base
    world = World(MONTH, cfg, history, forecaster)
    assert world.forecaster != forecaster
    episodes = world.training_system().scenario.episodes
    assert history.timestamps[episodes[-1].stop - 1] < pd.Timestamp("2023-07-31", tz="UTC")
    spoilt = history.table.copy()
    later = spoilt.index >= pd.Timestamp("2023-07-31", tz="UTC")
    spoilt[later] = spoilt[later].sample(frac=1.0, random_state=0).to_numpy()
    assert World(MONTH, cfg, History(spoilt, forecaster), forecaster).forecaster == world.forecaster
    assert world.env().system.scenario.history.train == Split("2023-05-01", "2023-07-31")


def test_a_month_is_shown_the_forecasts_of_the_table_where_they_are_refitted_already(cfg, tmp_path):
    cfg = OmegaConf.merge(cfg, {"refit_months": 1, "forecasts": str(tmp_path)})
    history, newest = history_and_forecaster(cfg)
    world = World(MONTH, cfg, history, newest)
    training = world.training_system().scenario
    assert world.forecaster == history.forecaster != newest
    assert np.array_equal(training.history.price_information, history.price_information, equal_nan=True)
    assert training.split == world.env().system.scenario.history.train == Split("2023-05-01", "2023-07-31")


def test_a_month_is_told_of_carbon_and_weather_by_the_forecasters_of_the_evaluation(base):
    other = [f"forecaster@{signal}_forecaster=seasonal_naive" for signal in ("carbon", "wet_bulb")]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("evaluate", overrides=[*ARGUMENTS, *other])
    history, newest = history_and_forecaster(cfg)
    told = World(MONTH, cfg, history, newest).env().system.scenario.history
    assert told is not history
    assert np.array_equal(told.carbon_outlook, history.carbon_outlook)
    assert np.array_equal(told.wet_bulb_outlook, history.wet_bulb_outlook)
    assert not np.array_equal(told.carbon_outlook, base[0].carbon_outlook)


def test_a_policy_goes_on_learning_the_same_way_twice_and_is_not_trained_twice(cfg, base, learnt, tmp_path):
    months = month_cases(Split("2023-07-10", "2023-08-08"), base[0].timestamps[-1])
    networks, seen = [], []
    for name in ("one", "other"):
        work = Retraining(cfg, *base, months, tmp_path / name)
        work(learnt, seen.append)
        networks.append(work.networks(learnt))
    one, other = networks
    assert one == other
    assert len({learnt.network, *one}) == 3
    assert seen == [1] * 4
    stamps = [file.stat().st_mtime_ns for file in (tmp_path / "one").rglob("policy.onnx")]
    Retraining(cfg, *base, months, tmp_path / "one")(learnt, seen.append)
    assert stamps == [file.stat().st_mtime_ns for file in (tmp_path / "one").rglob("policy.onnx")]


def test_the_walk_forward_plays_every_policy_through_every_month(cfg, base, learnt, tmp_path):
    cfg = OmegaConf.merge(cfg, {"retraining": {"split": "validation"}})
    bare = learnt._replace(name="bare", folder=tmp_path)
    assert not has_checkpoint(bare.folder)
    arena = Arena(cfg, *base, tmp_path)
    months = month_cases(Split("2023-07-01", "2024-01-01"), base[0].timestamps[-1])
    runs, skipped = walk_forward(arena, cfg, *base, [learnt, bare], tmp_path, months)
    assert {run.policy for run in runs} == {*cfg.env.policies, "ppo"}
    assert list(skipped.values()) == ["its training left no checkpoint"]
    lengths = {len(run.trace) for run in runs}
    assert lengths == {39 * 48}
    for run in runs:
        split, filed = read_run(tmp_path / TRACES / f"{run.policy}--walk_forward--{run.seed}.parquet")
        assert split == "walk_forward"
        pd.testing.assert_frame_equal(filed.trace, run.trace, check_freq=False)
    oracle = next(run for run in runs if run.policy == "oracle")
    assert oracle.trace["reward_gbp"].sum() <= oracle.bound_gbp + 0.01
    unfitted = World(months[1], cfg, *base)
    again = play(unfitted.env(), OnnxPolicy((tmp_path / FOLDER / "ppo--0" / "2023-08" / "policy.onnx").read_bytes()), 0)
    ppo = next(run for run in runs if run.policy == "ppo").trace
    np.testing.assert_allclose(again["reward_gbp"], ppo["reward_gbp"].iloc[-len(again) :])
