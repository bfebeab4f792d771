"""train.py and evaluate.py as a user runs them, on a few synthetic months."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.bundle import read_manifest

ROOT = Path(__file__).parent.parent
DATA = ["data.table.start=2023-05-01", "data.table.end=2024-02-01"]
MONTH = ["data.table.start=2023-05-01", "data.table.end=2023-08-01", "splits=[validation]"]
# Their months take minutes; tests of their own have them. What every policy is measured by is then dp, the same plan.
QUICK = ["~env.policies.mpc_scenario", "~env.policies.mpc", "env.reference=dp"]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def trained(work):
    done = python(
        "train.py", *DATA, *QUICK, f"hydra.run.dir={work}/runs/battery/one", "total_steps=8192",
        "score_every=4096", "agent.n_lanes=64", "agent.batch_size=512", "env.episode=day", "progress_bar=false",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def evaluated(work, trained):
    done = python("evaluate.py", *DATA, *QUICK, f"runs={work}/runs/battery", f"reports={work}/reports", "name=small")
    assert done.returncode == 0, done.stderr
    return done


def test_training_says_how_the_policy_stands_and_where_it_is(work, trained):
    words = ("ppo", "idle", "rule", "stochastic_dp", "perfect foresight", "tensorboard --logdir", "python evaluate.py")
    for word in words:
        assert word in trained.stdout
    assert read_manifest(work / "runs/battery/one/bundle")["name"] == "ppo"


def test_training_logs_money_by_name(work, trained):
    events = EventAccumulator(str(work / "runs/battery/one"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {"money/imbalance_gbp_per_day", "money/wear_gbp_per_day", "validation/value_gbp"} <= set(tags)


def test_evaluation_writes_rows_tables_page_and_winner(work, evaluated):
    folder = work / "reports/small"
    rows = pd.read_csv(folder / "results.csv")
    assert set(rows["policy"]) == {
        "idle",
        "random",
        "rule",
        "dp",
        "stochastic_dp",
        "ema",
        "oracle",
        "ppo",
    }
    assert set(rows["split"]) == {"validation", "test"}
    tables = json.loads((folder / "results.json").read_text())
    assert len(tables["provenance"]["data_sha256"]) == 64
    assert tables["provenance"]["config"]["seeds"] == [0, 1, 2, 3, 4]
    assert "report.html" in {file.name for file in folder.iterdir()}
    best = rows[(rows["split"] == "validation") & (rows["policy"] != "oracle")].sort_values("value_gbp").iloc[-1]
    assert tables["winner"] == best["policy"]
    assert read_manifest(work / "reports/winners/battery")["name"] == best["policy"]


def test_tensorboard_shows_all_policies_under_the_same_tags(work, evaluated):
    tags = {}
    for folder in sorted((work / "runs/battery/evaluation-synthetic").iterdir()):
        events = EventAccumulator(str(folder))
        events.Reload()
        tags[folder.name] = frozenset(events.Tags()["scalars"])
    assert len(tags) == 12  # random with five seeds
    assert len(set(tags.values())) == 1
    assert "test/cumulative_reward_gbp" in tags["dp-0"]


def test_an_environment_without_oracle_is_evaluated_too(work):
    done = python("evaluate.py", "env=market", *MONTH, f"runs={work}/none", f"reports={work}/reports", "name=market")
    assert done.returncode == 0, done.stderr
    assert "no policy trained on these data" in done.stdout
    assert read_manifest(work / "reports/winners/market")["scores"]["validation"]["capture"] is None
    assert (work / "reports/market/report.html").stat().st_size > 10_000


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_help_names_groups_and_examples(script):
    shown = python(script, "--help").stdout
    assert "Configuration groups" in shown
    assert "data: gb, synthetic" in shown
    assert f"python {script}" in shown


def test_a_wrong_folder_ends_with_one_clear_line():
    done = python("train.py", "data=gb", "data.path=/nowhere", "hydra.run.dir=/tmp/gridpilot-nowhere")
    assert done.returncode != 0
    assert "no gb_halfhourly.parquet in '/nowhere'" in done.stderr
