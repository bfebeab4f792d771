"""Where policies are played: one process's share of an evaluation, from a composed configuration."""

import hashlib
import logging
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from agents.bundle import learnt_policy
from agents.found import Learnt
from compose import forecasts_of
from data.schema import PERIOD_MINUTES
from envs.scenario import History
from envs.single import SystemEnv
from evaluation.backtest import Run
from evaluation.policy import Policy
from evaluation.pool import Advance, run_all
from evaluation.provenance import code_hash, package_versions
from evaluation.rollout import play
from evaluation.store import fingerprint, has_run, run_file, write_run
from forecasting.forecast import Forecaster
from world import Case, World

logger = logging.getLogger(__name__)


class Task(NamedTuple):
    """One run to be played.

    Attributes:
        case: Where.
        policy: Name of the policy.
        seed: Of the rollout, or of the training for a learnt policy.
        network: A learnt policy.
    """

    case: Case
    policy: str
    seed: int
    network: bytes | None = None


class Arena:
    """Builds environments and policies, plays tasks and files the runs. It can be sent to another process."""

    def __init__(self, cfg: DictConfig, history: History, forecaster: Forecaster, folder: Path) -> None:
        """Set up.

        Args:
            cfg: The composed configuration.
            history: The market history of `cfg`.
            forecaster: The fitted forecaster of `cfg`.
            folder: Of the evaluation; each case has a folder for its runs in it.
        """
        self._cfg, self._history, self._forecaster, self.folder = cfg, history, forecaster, folder
        self._newest: tuple[Case, World] | None = None
        self._built: tuple[Case, SystemEnv] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What was built stays behind; another process builds its own."""
        return {**self.__dict__, "_newest": None, "_built": None}

    def tasks(self, cases: list[Case], learnt: list[Learnt], names: Collection[str] | None = None) -> list[Task]:
        """Every policy in every case; policies whose seed changes nothing once, the others with every seed.

        Those that the environment calls slow are played if the configuration says `slow`.

        Args:
            cases: Where.
            learnt: Learnt policies.
            names: Policies to play; all if not given.
        """
        played = [
            (name, seed, None)
            for name, partial in self._cfg.env.policies.items()
            if self._cfg.slow or name not in self._cfg.env.get("slow", [])
            for seed in (self._cfg.seeds if stochastic(partial) else self._cfg.seeds[:1])
        ] + [(one.name, one.seed, one.network) for one in learnt]
        return [Task(case, *one) for case in cases for one in played if names is None or one[0] in names]

    def play_all(self, tasks: list[Task], jobs: int) -> None:
        """Play and file every run that is not on disk already, over `jobs` processes."""
        missing = [task for task in tasks if not has_run(self.file(task), self.key(task))]
        if len(missing) < len(tasks):
            logger.info("%d of %d runs are on disk already", len(tasks) - len(missing), len(tasks))
        missing.reverse()  # configurations list policies from plain to clever: the expensive ones go first
        run_all(self, missing, [self.steps(task) for task in missing], jobs)

    def steps(self, task: Task) -> int:
        """Decisions that a task takes."""
        rows = self._world(task.case).rows
        minutes = self._cfg.env.system.get("decision_minutes", PERIOD_MINUTES)
        return (rows.stop - rows.start) * PERIOD_MINUTES // int(minutes)

    def env(self, case: Case) -> SystemEnv:
        """The environment of a case; the newest is kept."""
        if self._built is None or self._built[0] != case:
            self._built = case, self._world(case).env()
        return self._built[1]

    def file(self, task: Task) -> Path:
        """Where a task's run is filed."""
        return run_file(self.folder / task.case.folder, task.policy, task.case.name, task.seed)

    def key(self, task: Task) -> str:
        """Names everything that a task's run depends on."""
        network = task.network
        policy = (
            OmegaConf.to_container(self._cfg.env.policies[task.policy], resolve=True)
            if network is None
            else hashlib.sha256(network).hexdigest()
        )
        case, data = task.case._asdict(), self._world(task.case).data_hash
        return fingerprint({**self._common, "case": case, "data": data, "policy": policy, "seed": task.seed})

    def __call__(self, task: Task, advance: Advance) -> None:
        """Play a task and file its run."""
        env = self.env(task.case)
        policy: Policy = (
            instantiate(self._cfg.env.policies[task.policy])(env)
            if task.network is None
            else learnt_policy(task.network)
        )
        trace = play(env, policy, task.seed, advance)
        counts = policy.counts() if hasattr(policy, "counts") else {}
        run = Run(task.policy, task.seed, trace, float(getattr(policy, "bound_gbp", "nan")), counts)
        write_run(self.folder / task.case.folder, task.case.name, run, self.key(task))

    @cached_property
    def _common(self) -> dict[str, Any]:
        config: Any = OmegaConf.to_container(self._cfg, resolve=True)
        return {
            "env": config["env"]["id"],
            "system": config["env"]["system"],
            "forecasts": forecasts_of(self._cfg),
            "code": code_hash(),
            "versions": package_versions(),
        }

    def _world(self, case: Case) -> World:
        """The world of a case; the newest is kept."""
        if self._newest is None or self._newest[0] != case:
            self._newest = case, World(case, self._cfg, self._history, self._forecaster)
        return self._newest[1]


def stochastic(partial: DictConfig) -> bool:
    """Whether the class behind a policy's configuration says that its seed matters."""
    return bool(getattr(getattr(get_method(partial._target_), "__self__", None), "stochastic", False))
