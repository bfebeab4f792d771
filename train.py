"""Train a policy: `python train.py --help`."""

import json
import logging
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # must be set before NumPy and torch load

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from agents.bundle import best_network, kind_of, learnt_policy
from compose import history_and_forecaster, manifest, system_for, write_policy
from envs.single import SystemEnv
from evaluation.backtest import IDLE, ORACLE
from evaluation.metrics import capture
from evaluation.policy import Policy
from evaluation.provenance import provenance
from evaluation.rollout import play

logger = logging.getLogger("train")
RECORD = "run.json"


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    """Train, score against the rivals on validation, and leave a bundle."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    resumed = not OmegaConf.is_missing(cfg, "resume")
    if resumed:
        cfg = OmegaConf.create(json.loads((run_dir / RECORD).read_text())["config"])
    history, forecaster = history_and_forecaster(cfg)
    origin = provenance(OmegaConf.to_container(cfg, resolve=True), history.data_hash)
    (run_dir / RECORD).write_text(json.dumps(origin, indent=2))

    training = system_for(cfg, history, "train", cfg.env.episode, **cfg.env.training)
    trainer = instantiate(cfg.agent)(
        system=training, run_dir=run_dir, seed=cfg.seed, potential_gbp=getattr(training, "held_gbp", None)
    )
    if resumed:
        logger.info("resumed %s after %s env-steps", run_dir, f"{trainer.load_checkpoint():,}")
    validation = SystemEnv(system_for(cfg, history, "validation", "split"))
    began = time.perf_counter()
    finished = trainer.learn(
        cfg.total_steps,
        lambda policy: _value_gbp(policy, validation, cfg.seed),
        cfg.score_every,
        cfg.checkpoint_every,
        cfg.progress_bar,
    )
    logger.info("%s after %.0f s", "trained" if finished else "interrupted", time.perf_counter() - began)

    network = best_network(run_dir)
    values = {trainer.name: _value_gbp(learnt_policy(network), validation, cfg.seed)}
    scores = {"validation": {"value_gbp": values[trainer.name]}}
    described = manifest(cfg, trainer.name, kind_of(network), training, scores, origin)
    bundle = write_policy(run_dir / "bundle", described, forecaster, network)
    logger.info(
        "policy: %s   %.0f GBP on validation   logs: tensorboard --logdir %s",
        bundle,
        values[trainer.name],
        run_dir.parent.parent,
    )
    if not finished:
        logger.info("go on: python train.py resume=%s", run_dir)
        return

    names = [name for name in cfg.env.policies if name not in cfg.env.get("slow", [])]
    logger.info("scoring %s on validation", ", ".join(names))
    rivals = {name: instantiate(cfg.env.policies[name])(validation) for name in names}
    values |= {name: _value_gbp(policy, validation, cfg.seed) for name, policy in rivals.items()}
    bound_gbp = rivals[ORACLE].bound_gbp if ORACLE in rivals else float("nan")
    for name, value in sorted(values.items(), key=lambda item: item[1]):
        share = capture(value, values[IDLE], bound_gbp)
        logger.info(
            "  %-15s %9.0f GBP%s", name, value, "" if share != share else f"   {share:6.1%} of perfect foresight"
        )
    logger.info("backtest: python evaluate.py")


def _value_gbp(policy: Policy, env: SystemEnv, seed: int) -> float:
    return float(play(env, policy, seed)["reward_gbp"].sum())


if __name__ == "__main__":
    main()
