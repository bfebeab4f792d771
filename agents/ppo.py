"""Proximal policy optimisation by Stable-Baselines3 over native lanes, resumable, scored on validation as it goes."""

import logging
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from agents.bundle import NETWORKS, ONNX, OnnxPolicy
from agents.export import DeployedPolicy, to_onnx
from agents.lanes_vec_env import LanesVecEnv
from agents.relative_prices import RelativePrices, RelativePricesVecEnv
from agents.shaping import Potential, ShapedVecEnv
from envs.choices import Choices
from envs.system import System

logger = logging.getLogger(__name__)

CHECKPOINTS: Final = "checkpoints"
KEPT_CHECKPOINTS: Final = 2

Score = Callable[[OnnxPolicy], float]


class PpoTrainer:
    """Trains one policy and keeps the best of it.

    The learner's own business lives here and nowhere else: relative prices, normalisation, reward shaping and
    discrete action levels. Environments and scores stay in raw units.

    Attributes:
        name: What the policy is called in scores and bundles.
        best_value_gbp: Highest validation value so far, minus infinity before the first score.
        model: The Stable-Baselines3 model.
    """

    def __init__(
        self,
        system: System,
        run_dir: str | Path,
        seed: int = 0,
        n_lanes: int = 1024,
        n_steps: int = 16,
        batch_size: int = 4096,
        n_epochs: int = 4,
        learning_rate: float = 1e-3,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        entropy_coefficient: float = 0.003,
        hidden: tuple[int, ...] = (64, 64),
        levels: int | Sequence[int] = 3,
        relative_prices: bool = True,
        masked: bool = False,
        potential_gbp: Potential | None = None,
    ) -> None:
        """Build lanes, wrappers and model.

        Args:
            system: What is controlled, on the training split.
            run_dir: Where logs, checkpoints and the best network go.
            seed: Of lanes, network and sampling; on one thread it fixes the run exactly.
            n_lanes: Lanes stepped together.
            n_steps: Periods per lane between updates.
            batch_size: Samples per gradient step.
            n_epochs: Passes over each rollout.
            learning_rate: Initial rate; it falls linearly to nothing over the run.
            gamma: Discount per step.
            gae_lambda: Of generalised advantage estimation.
            entropy_coefficient: Weight of the entropy bonus.
            hidden: Widths of the hidden layers, for policy and value alike.
            levels: Even steps per action field, one number for all or one each; 0 for a continuous policy.
            relative_prices: Show prices relative to the forecast day; see `agents.relative_prices`.
            masked: Sample only feasible choices while training (MaskablePPO; Huang and Ontanon, "A Closer Look at
                Invalid Action Masking in Policy Gradient Algorithms", FLAIRS 2022). A deployed policy needs no mask:
                systems clip what is asked to what is feasible.
            potential_gbp: Worth of what is held, for shaping; see `agents.shaping`.

        Raises:
            ValueError: Masks are asked for a continuous policy.
        """
        if masked and not levels:
            raise ValueError("masked is true, but a continuous policy has nothing to mask; give `levels` above 0")
        torch.set_num_threads(1)  # two threads on a busy machine are many times slower than one
        self.run_dir = Path(run_dir)
        self._system = system
        self._relative = RelativePrices(system.observation_fields) if relative_prices else None
        self._choices = Choices(system.action_fields, levels) if levels else None
        self.lanes = LanesVecEnv(system, n_lanes, self._choices, getattr(system, "fixed_terms", ()))
        venv: VecEnv = self.lanes
        if potential_gbp is not None:
            venv = ShapedVecEnv(venv, potential_gbp, gamma)
        if self._relative is not None:
            venv = RelativePricesVecEnv(venv, self._relative)
        self.normaliser = VecNormalize(venv, gamma=gamma)
        self.name, algorithm = ("maskable_ppo", MaskablePPO) if masked else ("ppo", PPO)
        self.model = algorithm(
            "MlpPolicy",
            self.normaliser,
            n_steps=n_steps,
            batch_size=batch_size,
            n_epochs=n_epochs,
            learning_rate=lambda left: learning_rate * left,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=entropy_coefficient,
            policy_kwargs={"net_arch": list(hidden)},
            seed=seed,
            device="cpu",
        )
        self.best_value_gbp = -np.inf

    def learn(
        self, total_steps: int, score: Score, score_every: int, checkpoint_every: int, progress_bar: bool = True
    ) -> bool:
        """Train up to `total_steps` env-steps in all, counting those before a resume.

        Args:
            total_steps: When to stop.
            score: Value of a policy on validation, GBP; the best network is kept by it.
            score_every: Env-steps between scores.
            checkpoint_every: Env-steps between checkpoints.
            progress_bar: Show one.

        Returns:
            True if it got there, False if Ctrl-C ended it early; either way a checkpoint and the best network
            are on disk.
        """
        self.model.set_logger(configure(str(self.run_dir), ["tensorboard"]))
        callback = _Watch(self, score, score_every, checkpoint_every)
        callback.init_callback(self.model)  # a run that was killed while it ended has nothing left that would do it
        left = total_steps - self.model.num_timesteps
        finished = True
        try:
            if left > 0:
                # SB3 adds what was done before to `total_timesteps` when the count is not reset.
                self.model.learn(left, callback, reset_num_timesteps=False, progress_bar=progress_bar)
        except KeyboardInterrupt:
            finished = False
        callback.finish()
        return finished

    def export(self) -> bytes:
        """The current policy as an ONNX graph on raw observations."""
        deployed = DeployedPolicy(
            self.model.policy, self.normaliser, self._relative, self._system.action_fields, self._choices
        )
        return to_onnx(deployed, len(self._system.observation_fields))

    def save_checkpoint(self) -> Path:
        """Write model and normaliser as one file that appears whole or not at all; keep the newest few."""
        folder = self.run_dir / CHECKPOINTS
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.model.num_timesteps:012d}.zip"
        model_part, normaliser_part, whole = (folder / name for name in ("model.part", "normaliser.part", "whole.part"))
        with model_part.open("wb") as stream:
            self.model.save(stream)
        self.normaliser.save(str(normaliser_part))
        with zipfile.ZipFile(whole, "w") as archive:
            archive.write(model_part, "model.zip")
            archive.write(normaliser_part, "normaliser.pkl")
            archive.writestr("best_value_gbp", repr(self.best_value_gbp))
        whole.replace(file)
        model_part.unlink()
        normaliser_part.unlink()
        for old in sorted(folder.glob("*.zip"))[:-KEPT_CHECKPOINTS]:
            old.unlink()
        return file

    def load_checkpoint(self) -> int:
        """Continue from the newest checkpoint of the run directory.

        Checkpoints hold pickles, as Stable-Baselines3 writes them: resume only runs you made yourself.

        Returns:
            Env-steps already done.

        Raises:
            FileNotFoundError: There is no checkpoint.
            ValueError: The newest is not one that this version reads.
        """
        folder = self.run_dir / CHECKPOINTS
        files = sorted(folder.glob("*.zip"))
        if not files:
            raise FileNotFoundError(f"no checkpoint in {folder}; start the run anew without resume=")
        with zipfile.ZipFile(files[-1]) as archive:
            self.best_value_gbp = _best_value_gbp(archive.read("best_value_gbp").decode(), files[-1])
            extracted = {name: folder / f"{name}.part" for name in ("model.zip", "normaliser.pkl")}
            for name, part in extracted.items():
                part.write_bytes(archive.read(name))
        learning_rate = self.model.lr_schedule
        self.normaliser = VecNormalize.load(str(extracted["normaliser.pkl"]), self.normaliser.venv)
        with extracted["model.zip"].open("rb") as stream:
            self.model = type(self.model).load(stream, env=self.normaliser, device="cpu")
        self.model.learning_rate = self.model.lr_schedule = learning_rate
        for part in extracted.values():
            part.unlink()
        return self.model.num_timesteps


class _Watch(BaseCallback):
    """Logs the money terms, scores on validation, keeps the best network and writes checkpoints."""

    def __init__(self, trainer: PpoTrainer, score: Score, score_every: int, checkpoint_every: int) -> None:
        super().__init__()
        self._trainer, self._score = trainer, score
        self._every = {"score": score_every, "checkpoint": checkpoint_every}
        self._due = dict.fromkeys(self._every, 0)

    def _init_callback(self) -> None:
        for what, every in self._every.items():
            self._due[what] = self.num_timesteps + every

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        # The learner is consistent here: never in the middle of an update.
        steps = self.model.n_steps * self.model.n_envs
        steps_a_day = 24 * 60 / self._trainer.lanes.runner.system.decision_minutes
        for term, gbp in self._trainer.lanes.take_money().items():
            self.logger.record(f"money/{term}_gbp_per_day", gbp / steps * steps_a_day)
        if self._take_due("score"):
            self._keep_best()
        if self._take_due("checkpoint"):
            self._trainer.save_checkpoint()

    def finish(self) -> None:
        """Score and save once more, when training has ended for whatever reason."""
        self._keep_best()
        self.logger.dump(self.num_timesteps)
        self._trainer.save_checkpoint()

    def _take_due(self, what: str) -> bool:
        if self.num_timesteps < self._due[what]:
            return False
        self._due[what] += self._every[what]
        return True

    def _keep_best(self) -> None:
        network = self._trainer.export()
        value_gbp = float(self._score(OnnxPolicy(network)))
        self.logger.record("validation/value_gbp", value_gbp)
        if value_gbp > self._trainer.best_value_gbp:
            self._trainer.best_value_gbp = value_gbp
            part = self._trainer.run_dir / (NETWORKS[ONNX] + ".part")
            part.write_bytes(network)
            part.replace(self._trainer.run_dir / NETWORKS[ONNX])
            logger.info("best so far: %.0f GBP on validation after %d steps", value_gbp, self.num_timesteps)


def _best_value_gbp(text: str, file: Path) -> float:
    """The number that a checkpoint holds as text."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"checkpoint {file} says that its best value is {text}, which is not a number: an early version wrote it. "
            f"Train the policy anew, or delete the folder {file.parent}, and the walk-forward leaves the policy out"
        ) from None
