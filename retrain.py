"""Walk-forward: what is fitted or learnt starts each month from all that was known before it, and plays that month."""

import hashlib
import logging
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Final

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from agents.bundle import NETWORKS, ONNX
from agents.found import Learnt, has_checkpoint
from arena import Arena
from compose import forecasts_of
from data.splits import Split
from envs.scenario import History
from evaluation.backtest import Run
from evaluation.pool import Advance, run_all
from evaluation.provenance import code_hash, package_versions
from evaluation.results import TRACES, read_runs
from evaluation.store import fingerprint, write_run
from forecasting.forecast import Forecaster
from world import Case, World

logger = logging.getLogger(__name__)
FOLDER: Final = "walk_forward"
KEY: Final = "key"


def month_cases(dates: Split, last: pd.Timestamp) -> list[Case]:
    """The calendar months of a span up to the month of the last period there is; the first and last possibly cut."""
    start, end = pd.Timestamp(dates.start), min(pd.Timestamp(dates.end), last.tz_localize(None).ceil("D"))
    inner = pd.date_range(start, end, freq="MS")
    edges = sorted({start, end, *inner})
    return [
        Case(f"{first:%Y-%m}", Split(f"{first:%Y-%m-%d}", f"{stop:%Y-%m-%d}"), {"refit": True}, FOLDER)
        for first, stop in pairwise(edges)
    ]


def joined(months: list[list[Run]]) -> list[Run]:
    """Runs of consecutive months as one run per policy and seed; bounds and counts add up."""
    found = []
    for parts in zip(*months, strict=True):
        counts: dict[str, int] = {}
        for part in parts:
            for name, count in part.counts.items():
                counts[name] = counts.get(name, 0) + count
        trace = pd.concat([part.trace for part in parts])
        found.append(Run(parts[0].policy, parts[0].seed, trace, sum(part.bound_gbp for part in parts), counts))
    return found


def walk_forward(
    arena: Arena,
    cfg: DictConfig,
    history: History,
    forecaster: Forecaster,
    learnt: list[Learnt],
    folder: Path,
    months: list[Case],
) -> tuple[list[Run], dict[str, str]]:
    """Every policy through consecutive months, refitted or trained on before each.

    Args:
        arena: Plays the months.
        cfg: The composed configuration.
        history: Its market history.
        forecaster: Its fitted forecaster.
        learnt: Learnt policies.
        folder: Of the evaluation.
        months: Consecutive months, see `month_cases`.

    Returns:
        One run per policy and seed over all of them, filed with the other traces; and why a policy is not among
        them, by its name and seed.
    """
    skipped = {
        f"{one.name} (seed {one.seed}) in the walk-forward": "its training left no checkpoint"
        for one in learnt
        if not has_checkpoint(one.folder)
    }
    kept = [one for one in learnt if has_checkpoint(one.folder)]
    retraining = Retraining(cfg, history, forecaster, months, folder / FOLDER)
    if kept:
        logger.info("training %d policies on, month by month", len(kept))
        run_all(retraining, kept, [len(months)] * len(kept), cfg.jobs)
    networks = [retraining.networks(one) for one in kept]
    tasks = [
        arena.tasks([month], [one._replace(network=own[i]) for one, own in zip(kept, networks, strict=True)])
        for i, month in enumerate(months)
    ]
    arena.play_all([task for month in tasks for task in month], cfg.jobs)
    found = joined(list(read_runs([arena.file(task) for month in tasks for task in month]).values()))
    for run in found:
        write_run(folder / TRACES, FOLDER, run)
    return found, skipped


class Retraining:
    """Trains a learnt policy on, month after month; it can be sent to another process.

    Before each month the policy of the month before (at first that of its training) goes on learning for a number of
    env-steps on everything up to the day before, its rate starting anew: nothing is trained from scratch.
    """

    def __init__(
        self, cfg: DictConfig, history: History, forecaster: Forecaster, months: list[Case], folder: Path
    ) -> None:
        """Set up.

        Args:
            cfg: The composed configuration; `retraining` sets steps and learning rate.
            history: Its market history.
            forecaster: Its fitted forecaster.
            months: Consecutive months.
            folder: Where networks and checkpoints of every month are kept.
        """
        self._cfg, self._history, self._forecaster = cfg, history, forecaster
        self._months, self._folder = months, folder
        self._common = fingerprint(
            {
                "cfg": OmegaConf.to_container(cfg, resolve=True)["env"],
                "forecasts": forecasts_of(cfg),
                "retraining": OmegaConf.to_container(cfg.retraining),
                "data": history.data_hash,
                "code": code_hash(),
                "versions": package_versions(),
            }
        )

    def place(self, policy: Learnt, month: Case) -> Path:
        """Folder of a policy before a month."""
        return self._folder / f"{policy.name}--{policy.seed}" / month.name

    def networks(self, policy: Learnt) -> list[bytes]:
        """The policy's network for every month."""
        return [(self.place(policy, month) / NETWORKS[ONNX]).read_bytes() for month in self._months]

    def __call__(self, policy: Learnt, advance: Advance) -> None:
        """Train for every month that is not on disk already."""
        before, key = policy.folder, hashlib.sha256(policy.network).hexdigest()
        for month in self._months:
            place = self.place(policy, month)
            key = fingerprint({"before": key, "month": month._asdict(), "common": self._common})
            if not (place / KEY).is_file() or (place / KEY).read_text() != key:
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir(parents=True)
                (place / NETWORKS[ONNX]).write_bytes(self._train(policy, month, before, place))
                (place / KEY).write_text(key)
            before = place
            advance(1)

    def _train(self, policy: Learnt, month: Case, before: Path, place: Path) -> bytes:
        world = World(month, self._cfg, self._history, self._forecaster)
        system = world.training_system()
        trainer = instantiate(
            OmegaConf.create(policy.config["agent"]), learning_rate=self._cfg.retraining.learning_rate
        )(system=system, run_dir=before, seed=policy.seed, potential_gbp=getattr(system, "held_gbp", None))
        trainer.load_checkpoint()
        trainer.run_dir, trainer.model.num_timesteps = place, 0
        steps = int(self._cfg.retraining.steps)
        trainer.learn(steps, lambda _: 0.0, steps + 1, steps + 1, progress_bar=False)
        network: bytes = trainer.export()
        return network
