"""Backtest every policy and choose the winner: `python evaluate.py --help`."""

import logging
import os
import shlex
import shutil
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # must be set before NumPy and torch load

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agents.bundle import OnnxPolicy
from agents.found import Learnt, learnt_policies
from compose import fitted, history_and_forecaster, manifest, system_for, write_policy
from data.schema import PERIOD_MINUTES
from envs.single import SystemEnv
from evaluation.backtest import ORACLE, Run, score, winner
from evaluation.policy import Policy
from evaluation.provenance import provenance
from evaluation.report import write_report
from evaluation.results import write_results
from evaluation.rollout import play
from evaluation.tensorboard import log_runs

logger = logging.getLogger("evaluate")


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Play, score, report, and leave the winner where `serve.py` finds it."""
    folder = Path(cfg.reports) / cfg.name
    history, forecaster = history_and_forecaster(cfg)
    origin = provenance(OmegaConf.to_container(cfg, resolve=True), history.data_hash)
    envs = {split: SystemEnv(system_for(cfg, history, split, "split")) for split in cfg.splits}
    system = envs[cfg.splits[0]].system
    learnt = learnt_policies(cfg.runs, history.data_hash, cfg.env.id, system.observation_fields)
    if not learnt:
        logger.warning("no policy trained on this data under %s: comparing the baselines alone", cfg.runs)
    runs = {split: _play_all(cfg, env, learnt, split) for split, env in envs.items()}
    rows = [row for split, played in runs.items() for row in score(played, cfg.env.id, split, cfg.env.reference)]
    best = winner(rows)

    command = shlex.join(["python", "evaluate.py", *sys.argv[1:]])
    write_results(folder, rows, runs, best["policy"], command, origin)
    log_runs(Path(cfg.runs) / f"evaluation-{cfg.data.name}", runs)
    chosen = {
        row["split"]: {key: _json(row[key]) for key in ("value_gbp", "capture")} for row in rows if _same(row, best)
    }
    network = next((one.network for one in learnt if (one.name, one.seed) == (best["policy"], best["seed"])), None)
    kind = best["policy"] if network is None else "onnx"
    taken = {} if network else fitted(cfg, best["policy"], envs[cfg.splits[0]])
    described = manifest(cfg, best["policy"], kind, system, chosen, origin, taken)
    write_policy(folder / "winner", described, forecaster, network)
    served = Path(cfg.reports) / "winners" / cfg.env.name
    shutil.copytree(folder / "winner", served, dirs_exist_ok=True)
    page = write_report(folder)
    for row in rows:
        shares = [row[key] for key in ("capture", "capture_low", "capture_high")]
        logger.info(
            "%-10s %-15s seed %d %9.0f GBP%s",
            row["split"],
            row["policy"],
            row["seed"],
            row["value_gbp"],
            "" if shares[0] != shares[0] else "  {:.1%} of perfect foresight ({:.1%} to {:.1%})".format(*shares),
        )
    logger.info("winner on validation: %s   report: %s   bundle: %s", best["policy"], page, served)


def _play_all(cfg: DictConfig, env: SystemEnv, learnt: list[Learnt], split: str) -> list[Run]:
    policies: list[tuple[str, int, Policy]] = [
        (name, cfg.seed, instantiate(partial)(env)) for name, partial in cfg.env.policies.items()
    ]
    policies += [(one.name, one.seed, OnnxPolicy(one.network)) for one in learnt]
    episode = env.system.scenario.episodes[0]
    steps = (episode.stop - episode.first) * PERIOD_MINUTES // env.system.decision_minutes
    played = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        for name, seed, policy in policies:
            task = progress.add_task(f"{split} {name}", total=steps)
            trace = play(env, policy, seed, lambda n, task=task: progress.advance(task, n))
            bound_gbp = policy.bound_gbp if name == ORACLE else float("nan")
            played.append(Run(name, seed, trace, bound_gbp))
    return played


def _json(number: float) -> float | None:
    """JSON has no NaN; a capture without an oracle is null."""
    return None if number != number else number


def _same(row: dict, other: dict) -> bool:
    return (row["policy"], row["seed"]) == (other["policy"], other["seed"])


if __name__ == "__main__":
    main()
