"""Regression guard: what every policy earns in four synthetic weeks, against stored intervals: `make benchmark`.

Needs no data and no training: fixed seeds, synthetic prices, every environment of conf/env with the policies named
there, and for the battery a tiny network stored beside this file. On one machine values repeat to the penny; an
interval reaches 2 % of what the best policy gains over idle to either side, for other machines and solver versions.

`python -m benchmarks.guard --renew` stores what is earned now: after a change that is meant to change it, say why in
the commit. `--retrain` also trains the network anew, needed when the battery's observation has another layout.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")  # must be set before NumPy loads

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from agents.found import Learnt
from arena import Arena
from compose import history_and_forecaster, system_for
from data.splits import Split
from evaluation.backtest import IDLE, ORACLE, score
from evaluation.pool import Advance, run_all
from evaluation.results import read_runs
from world import Case

ROOT: Final = Path(__file__).parent.parent
STORED: Final = Path(__file__).with_name("guard.json")
NETWORK: Final = Path(__file__).with_name("guard.onnx")
LEARNT: Final = "tiny_ppo"
CASE: Final = Case("guard", Split("2023-07-01", "2023-07-29"), {})
DATA: Final = ("data=synthetic", "data.table.start=2023-04-01", "data.table.end=2023-07-29", "seeds=[0]")
TOLERANCE: Final = 0.02  # of the best policy's gain over idle
LEAST_GBP: Final = 1.0
TRAINING_STEPS: Final = 600_000


def configuration(env: str) -> DictConfig:
    """What `evaluate.py env=...` composes, on the guard's weeks."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("evaluate", overrides=[f"env={env}", *DATA])


class Guard:
    """Plays the policies of one environment and leaves a JSON file of what each earned."""

    def __init__(self, folder: Path, layout: Sequence[str]) -> None:
        """Remember where results go, and the layout that the stored network was trained on."""
        self._folder, self._layout = folder, list(layout)

    def __call__(self, env: str, advance: Advance) -> None:
        """Play one environment."""
        cfg = configuration(env)
        arena = Arena(cfg, *history_and_forecaster(cfg), self._folder / env)
        fields = [field.name for field in arena.env(CASE).system.observation_fields]
        tiny = Learnt(LEARNT, 0, NETWORK.read_bytes(), self._folder, {}) if fields == self._layout else None
        tasks = arena.tasks([CASE], [tiny] if tiny else [])
        for task in tasks:
            arena(task, lambda _: None)
        runs = read_runs([arena.file(task) for task in tasks])[CASE.name]
        rows = score(runs, cfg.env.id, CASE.name, cfg.env.reference)
        earned = {row["policy"]: {"value_gbp": row["value_gbp"], "capture": _known(row["capture"])} for row in rows}
        (self._folder / f"{env}.json").write_text(json.dumps(earned))
        advance(1)


def earned(layout: Sequence[str], jobs: int) -> dict[str, Any]:
    """Value and capture of every policy, by environment."""
    names = sorted(file.stem for file in (ROOT / "conf" / "env").glob("*.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        run_all(Guard(Path(folder), layout), names, [1] * len(names), jobs)
        return {name: json.loads((Path(folder) / f"{name}.json").read_text()) for name in names}


def intervals(found: dict[str, Any]) -> dict[str, Any]:
    """What is earned, with the interval that it has to stay within."""
    return {
        env: {
            name: {**each, "low_gbp": each["value_gbp"] - slack, "high_gbp": each["value_gbp"] + slack}
            for name, each in policies.items()
        }
        for env, policies in found.items()
        for slack in [_slack_gbp(policies)]
    }


def complaints(found: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    """One line for every policy that is missing, new, or outside its interval."""
    lines = []
    for env in sorted(set(found) | set(stored)):
        ours, theirs = found.get(env, {}), stored.get(env, {})
        for name in sorted(set(ours) | set(theirs)):
            if name not in ours:
                lines.append(f"{env} {name}: is stored, but was not played")
            elif name not in theirs:
                lines.append(f"{env} {name}: was played, but is not stored")
            elif not theirs[name]["low_gbp"] <= ours[name]["value_gbp"] <= theirs[name]["high_gbp"]:
                value, low, high = ours[name]["value_gbp"], theirs[name]["low_gbp"], theirs[name]["high_gbp"]
                way = "less" if value < low else "more"
                lines.append(
                    f"{env} {name}: earned {value:,.2f} GBP, {way} than the stored "
                    f"{theirs[name]['value_gbp']:,.2f} ({low:,.2f} to {high:,.2f})"
                )
    return lines


def train() -> list[str]:
    """Train the tiny network and store it; returns the observation layout it was trained on."""
    from agents.ppo import PpoTrainer  # torch loads only when something is trained

    cfg = configuration("battery")
    history, _ = history_and_forecaster(cfg)
    system = system_for(cfg, history, "train", "day", start_fraction=None)
    with tempfile.TemporaryDirectory() as folder:
        trainer = PpoTrainer(system, folder, hidden=(8,), potential_gbp=system.held_gbp)
        trainer.learn(TRAINING_STEPS, lambda _: 0.0, TRAINING_STEPS + 1, TRAINING_STEPS + 1, progress_bar=False)
        NETWORK.write_bytes(trainer.export())
    return [field.name for field in system.observation_fields]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__.partition("\n")[0])
    parser.add_argument("--renew", action="store_true", help="store what is earned now")
    parser.add_argument("--retrain", action="store_true", help="train the tiny network anew, then renew")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args(arguments)
    stored = json.loads(STORED.read_text()) if STORED.is_file() else {"layout": [], "intervals": {}}
    layout = train() if options.retrain else stored["layout"]
    found = earned(layout, options.jobs)
    for env, policies in found.items():
        for name, each in policies.items():
            share = "" if each["capture"] is None else f"{each['capture']:8.1%} of foresight"
            print(f"{env:14s} {name:18s} {each['value_gbp']:12,.2f} GBP{share}")
    if options.renew or options.retrain:
        STORED.write_text(json.dumps({"layout": layout, "intervals": intervals(found)}, indent=1) + "\n")
        print(f"stored in {STORED.name}; say in the commit why the numbers changed")
        return
    lines = complaints(found, stored["intervals"])
    if lines:
        sys.exit(
            "\n".join(["Scores have changed:", *lines])
            + "\nIf that is meant: python -m benchmarks.guard --renew (--retrain if the battery shows other fields)."
        )
    print("every policy earns what it did")


def _slack_gbp(policies: dict[str, Any]) -> float:
    best = max(each["value_gbp"] for name, each in policies.items() if name != ORACLE)
    return max(LEAST_GBP, TOLERANCE * (best - policies[IDLE]["value_gbp"]))


def _known(number: float) -> float | None:
    return None if number != number else number


if __name__ == "__main__":
    main()
