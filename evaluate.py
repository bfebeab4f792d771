"""Backtest every policy and choose the winner: `python evaluate.py --help`."""

import logging
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # must be set before NumPy and torch load

import hydra
from omegaconf import DictConfig, OmegaConf

from agents.bundle import kind_of
from agents.found import Learnt, learnt_policies
from arena import Arena, stochastic
from compose import fitted, forecasts_of, history_and_forecaster, manifest, write_policy
from data.splits import rows as split_rows
from data.splits import span
from envs.single import SystemEnv
from evaluation.backtest import IDLE, ORACLE, check_plan, score, winner
from evaluation.calibration import calibration
from evaluation.pdf import write_pdf
from evaluation.provenance import provenance
from evaluation.results import read_results, read_runs, write_results
from evaluation.rl_eval import FILE as RL_EVAL
from evaluation.rl_eval import write_rl_eval
from evaluation.statistics import aggregate
from forecasting.forecast import Forecaster
from retrain import FOLDER as WALK_FORWARD
from retrain import month_cases, walk_forward
from world import Case, hard_cases

logger = logging.getLogger("evaluate")


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Play, score, report, and leave the winner where `serve.py` finds it."""
    from evaluation.report import write_report  # workers import this file, and need neither plotting nor torch
    from evaluation.tensorboard import log_runs

    folder = Path(cfg.reports) / cfg.name
    history, forecaster = history_and_forecaster(cfg)
    origin = provenance(OmegaConf.to_container(cfg, resolve=True), history.data_hash)
    spans = {split: span(split) for split in cfg.splits}
    arena = Arena(cfg, history, forecaster, folder)
    cases = [Case(split, dates, {}) for split, dates in spans.items()]
    system = arena.env(cases[0]).system
    learnt = learnt_policies(cfg.runs, history.data_hash, cfg.env.id, system.observation_fields, forecasts_of(cfg))
    if not learnt:
        logger.warning("no policy trained on these data and forecasts under %s: the baselines alone", cfg.runs)
    tasks = arena.tasks(cases, learnt)
    check_plan({task.policy for task in tasks}, cfg.splits, cfg.seeds, cfg.env.reference)
    hard, skipped = hard_cases(cfg, history, forecaster)
    hard_tasks = arena.tasks(hard, learnt, _tested(cfg, learnt))
    for name, reason in skipped.items():
        logger.warning("%s is not played: %s", name, reason)

    arena.play_all([*tasks, *hard_tasks], cfg.jobs)
    runs, hard_runs = (read_runs([arena.file(task) for task in each]) for each in (tasks, hard_tasks))
    if cfg.walk_forward:
        months = month_cases(span(cfg.retraining.split), history.timestamps[-1])
        followed, left_out = walk_forward(arena, cfg, history, forecaster, learnt, folder, months)
        runs, skipped = {WALK_FORWARD: followed, **runs}, {**skipped, **left_out}
    rows, hard_rows = (
        [row for split, played in found.items() for row in score(played, cfg.env.id, split, cfg.env.reference)]
        for found in (runs, hard_runs)
    )
    best = winner(rows)
    command = shlex.join(["python", "evaluate.py", *sys.argv[1:]])
    write_results(
        folder,
        rows,
        best["policy"],
        command,
        origin,
        [row for split, played in runs.items() for row in aggregate(played, cfg.env.id, split, cfg.env.reference)],
        hard_rows,
        calibration(
            history.table, history.forecaster, {split: split_rows(history.timestamps, split) for split in spans}
        ),
        skipped,
    )
    log_runs(Path(cfg.runs) / f"evaluation-{cfg.data.name}", runs)
    served = _leave_winner(cfg, folder, arena.env(cases[0]), forecaster, learnt, rows, origin)
    page = write_report(folder)
    write_rl_eval(read_results(folder), folder / RL_EVAL, Path(cfg.reports) / RL_EVAL)
    if cfg.pdf:
        logger.info("pdf: %s", write_pdf(page))
    for row in rows:
        _log(row)
    logger.info("winner on validation: %s   report: %s   bundle: %s", best["policy"], page, served)


def _leave_winner(
    cfg: DictConfig,
    folder: Path,
    env: SystemEnv,
    forecaster: Forecaster,
    learnt: list[Learnt],
    rows: list[dict[str, Any]],
    origin: dict[str, Any],
) -> Path:
    """Write the bundle of the best policy into the folder and where `serve.py` looks for it; the second is returned."""
    best = winner(rows)
    chosen = {
        row["split"]: {key: _json(row[key]) for key in ("value_gbp", "capture")} for row in rows if _same(row, best)
    }
    network = next((one.network for one in learnt if (one.name, one.seed) == (best["policy"], best["seed"])), None)
    kind = best["policy"] if network is None else kind_of(network)
    taken = {} if network else fitted(cfg, best["policy"], env)
    described = manifest(cfg, best["policy"], kind, env.system, chosen, origin, taken)
    write_policy(folder / "winner", described, forecaster, network)
    served = Path(cfg.reports) / "winners" / cfg.env.name
    shutil.copytree(folder / "winner", served, dirs_exist_ok=True)
    return served


def _log(row: dict[str, Any]) -> None:
    shares = [row[key] for key in ("capture", "capture_low", "capture_high")]
    logger.info(
        "%-10s %-15s seed %d %9.0f GBP%s",
        row["split"],
        row["policy"],
        row["seed"],
        row["value_gbp"],
        "" if shares[0] != shares[0] else "  {:.1%} of perfect foresight ({:.1%} to {:.1%})".format(*shares),
    )


def _tested(cfg: DictConfig, learnt: list[Learnt]) -> set[str]:
    """Policies to be played in hard cases: those asked for, and those that scores are measured by."""
    names = [name for name, partial in cfg.env.policies.items() if not stochastic(partial)]
    return {*(cfg.robustness.policies or [*names, *(one.name for one in learnt)]), IDLE, ORACLE, cfg.env.reference}


def _json(number: float) -> float | None:
    """JSON has no NaN; a capture without an oracle is null."""
    return None if number != number else number


def _same(row: dict, other: dict) -> bool:
    return (row["policy"], row["seed"]) == (other["policy"], other["seed"])


if __name__ == "__main__":
    sys.argv = ["walk_forward=true" if word == "--walk-forward" else word for word in sys.argv]
    try:
        main()
    except KeyboardInterrupt:
        logger.warning("stopped; what was played is kept: the same command goes on from there")
        sys.exit(130)
