"""Laws of played runs: they lie on disk whole, know what they were played from, and do not care who played them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st

from arena import Arena, Task
from compose import history_and_forecaster
from data.splits import SPLITS
from evaluation.backtest import Run
from evaluation.pool import run_all
from evaluation.store import fingerprint, has_run, read_run, write_run
from world import Case

ROOT = Path(__file__).parent.parent
# A month of validation with rules and the bound: enough runs to be interrupted between two of them.
ARGUMENTS = [
    "data.table.start=2023-05-01", "data.table.end=2023-08-01", "splits=[validation]", "~env.policies.mpc",
    "~env.policies.mpc_scenario", "env.reference=rule", "seeds=[0,1]",
]  # fmt: skip


def trace(rows: int = 50, seed: int = 0) -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=rows, freq="30min", tz="UTC", name="timestamp_utc")
    values = np.random.default_rng(seed).normal(size=(rows, 2))
    return pd.DataFrame(values, index=index, columns=["reward_gbp", "decision_ms"])


@pytest.mark.parametrize("name", ["ppo", "a b", "<img src=x onerror=alert(1)>$x$&\"'|`", "x--y"])
def test_a_run_comes_back_as_it_was(tmp_path, name):
    run = Run(name, 3, trace(), 12.5, {"relaxed_plans": 2})
    file = write_run(tmp_path, "test", run, "key")
    split, found = read_run(file)
    assert (split, found.policy, found.seed, found.bound_gbp, found.counts) == ("test", name, 3, 12.5, run.counts)
    pd.testing.assert_frame_equal(found.trace, run.trace, check_freq=False)
    assert np.isnan(read_run(write_run(tmp_path, "test", run._replace(bound_gbp=float("nan"))))[1].bound_gbp)


def test_only_a_whole_run_of_the_same_key_counts(tmp_path):
    file = write_run(tmp_path, "test", Run("ppo", 0, trace()), "one")
    assert has_run(file, "one")
    assert not has_run(file, "two")
    assert not has_run(tmp_path / "absent.parquet", "one")
    file.write_bytes(file.read_bytes()[:-50])
    assert not has_run(file, "one")


def test_a_foreign_file_is_named(tmp_path):
    trace().to_parquet(tmp_path / "ppo--test--0.parquet")
    with pytest.raises(ValueError, match=r"ppo--test--0\.parquet"):
        read_run(tmp_path / "ppo--test--0.parquet")


JSON = st.dictionaries(
    st.text(max_size=3), st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=4
)


@given(JSON, JSON)
def test_a_fingerprint_tells_contents_apart_and_ignores_their_order(one, other):
    assert fingerprint(one) == fingerprint(dict(reversed(one.items())))
    if one != other:
        assert fingerprint(one) != fingerprint(other)


LONG = 99  # a task that nobody waits for


class Recorder:
    """Leaves a file per task with the process that did it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, task, advance):
        if task < 0:
            raise ValueError(f"task {task} is below zero")
        if task == LONG:
            time.sleep(200.0)
        advance(2)
        (self.folder / str(task)).write_text(str(os.getpid()))


def test_every_task_is_done_once_here_or_in_other_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for jobs in (1, 2):
        folder = tmp_path / str(jobs)
        folder.mkdir()
        run_all(Recorder(folder), range(7), [2] * 7, jobs)
        assert {file.name for file in folder.iterdir()} == {str(task) for task in range(7)}
        here = {file.read_text() for file in folder.iterdir()} == {str(os.getpid())}
        assert here == (jobs == 1)
    with pytest.raises(ValueError, match="below zero"):
        run_all(Recorder(tmp_path), [-1], [1], 1)
    with pytest.raises(ValueError, match="jobs is 0"):
        run_all(Recorder(tmp_path), [], [], 0)


def test_what_ends_all_waits_for_no_task(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    began = time.monotonic()
    with pytest.raises(ValueError, match="below zero"):
        run_all(Recorder(tmp_path), [LONG, LONG - 1, -1, LONG, LONG], [1] * 5, 2)
    assert time.monotonic() - began < 100.0


def arena(folder: Path, *more: str) -> tuple[Arena, list[Task]]:
    """What `evaluate.py` would play, here."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("evaluate", overrides=[*ARGUMENTS, *more])
    found = Arena(cfg, *history_and_forecaster(cfg), folder)
    return found, found.tasks([Case("validation", SPLITS["validation"], {})], [])


def test_policies_whose_seed_changes_nothing_are_played_once(tmp_path):
    _, tasks = arena(tmp_path)
    played = [(task.policy, task.seed) for task in tasks]
    assert [seed for name, seed in played if name == "random"] == [0, 1]
    assert all(seed == 0 for name, seed in played if name != "random")
    assert len(played) == len(set(played)) == len({name for name, _ in played}) + 1


def test_a_key_names_what_a_run_depends_on_and_nothing_else(tmp_path):
    keys = {}
    for change in ("env.system.start_fraction=0.6", "data.table.seed=1", "env.policies.rule.cheap_percentile=30",
                   "jobs=1", "reports=elsewhere", "seeds=[0]"):  # fmt: skip
        found, tasks = arena(tmp_path, change)
        keys[change.split("=")[0]] = {task.policy: found.key(task) for task in tasks if task.seed == 0}
    same = keys["jobs"]
    assert keys["reports"] == keys["seeds"] == same
    assert len(set(same.values())) == len(same)
    for every in ("env.system.start_fraction", "data.table.seed"):
        assert not set(keys[every].values()) & set(same.values())
    of_rule = keys["env.policies.rule.cheap_percentile"]
    assert {name for name in same if same[name] != of_rule[name]} == {"rule"}
    network = Task(tasks[0].case, "ppo", 0, b"graph")
    assert found.key(network) != found.key(network._replace(network=b"other graph"))


def traces(folder: Path) -> dict[str, Path]:
    return {file.name: file for file in folder.glob("*.parquet")}


@pytest.mark.timeout(600)
def test_a_killed_evaluation_goes_on_where_it_was_and_parallel_equals_serial(tmp_path):
    places = [f"reports={tmp_path}", f"runs={tmp_path}/none", "name=killed", "jobs=2"]
    command, killed = [sys.executable, "evaluate.py", *ARGUMENTS, *places], tmp_path / "killed" / "traces"
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 250.0
    while not traces(killed) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.0)  # the workers end with it
    before = {name: file.stat().st_mtime_ns for name, file in traces(killed).items()}
    serial, tasks = arena(tmp_path / "serial", "jobs=1")
    assert 0 < len(before) < len(tasks), "it was to be killed between two runs"

    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=280)
    assert f"{len(before)} of {len(tasks)} runs are on disk already" in done.stdout
    after = traces(killed)
    assert {name: after[name].stat().st_mtime_ns for name in before} == before

    serial.play_all(tasks, 1)
    assert set(after) == set(traces(serial.folder / "traces"))
    for name, file in traces(serial.folder / "traces").items():
        ours, theirs = (read_run(each)[1] for each in (file, after[name]))
        assert ours.bound_gbp == theirs.bound_gbp or np.isnan([ours.bound_gbp, theirs.bound_gbp]).all()
        pd.testing.assert_frame_equal(
            ours.trace.drop(columns="decision_ms"), theirs.trace.drop(columns="decision_ms"), check_exact=True
        )
