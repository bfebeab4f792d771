"""Training leaves something exact, resumable and deployable."""

import json
import os
import pickletools
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from stable_baselines3.common.vec_env import VecNormalize

from agents.bundle import MANIFEST, OnnxPolicy, best_network, check_layout, read_manifest, write_bundle
from agents.lanes_vec_env import LanesVecEnv
from agents.ppo import CHECKPOINTS, PpoTrainer
from agents.relative_prices import RelativePrices
from agents.shaping import ShapedVecEnv
from envs.battery import BatterySystem
from envs.choices import Choices
from envs.scenario import Scenario

SMALL = {"n_lanes": 32, "n_steps": 8, "batch_size": 128, "hidden": (16, 16)}


@pytest.fixture(scope="module")
def system(history):
    return BatterySystem(Scenario(history, "train", "day"), start_fraction=None)


def train(system, run_dir, steps=1024, seed=0, **settings):
    trainer = PpoTrainer(system, run_dir, seed=seed, potential_gbp=system.held_gbp, **SMALL, **settings)
    scores = iter(range(100))
    trainer.learn(steps, lambda policy: float(next(scores)), 512, 512, progress_bar=False)
    return trainer


def test_a_seed_fixes_a_run_exactly(system, tmp_path):
    networks = [train(system, tmp_path / str(i), seed=seed).export() for i, seed in enumerate((3, 3, 4))]
    assert networks[0] == networks[1]
    assert networks[0] != networks[2]


@pytest.mark.parametrize("levels", [0, 3, 5])
@pytest.mark.parametrize("relative_prices", [True, False])
def test_the_exported_network_acts_as_sb3_does(system, tmp_path, levels, relative_prices):
    trainer = train(system, tmp_path, levels=levels, relative_prices=relative_prices)
    policy = OnnxPolicy(trainer.export())
    lanes = LanesVecEnv(system, 64)
    lanes.seed(9)
    raw = lanes.reset()
    seen = RelativePrices(system.observation_fields).of(raw) if relative_prices else raw
    chosen, _ = trainer.model.predict(trainer.normaliser.normalize_obs(seen), deterministic=True)
    expected = Choices(system.action_fields, levels).decode(chosen) if levels else np.clip(chosen, -1.0, 1.0)
    np.testing.assert_allclose([policy.act(row) for row in raw], expected, atol=1e-5)


def test_nothing_in_a_bundle_is_a_pickle(system, tmp_path):
    trainer = train(system, tmp_path / "run")
    write_bundle(tmp_path / "bundle", {"name": "ppo"}, best_network(trainer.run_dir))
    files = sorted(file.name for file in (tmp_path / "bundle").iterdir())
    assert files == ["bundle.json", "policy.onnx"]
    onnx.checker.check_model(onnx.load(tmp_path / "bundle" / "policy.onnx"))
    for file in (tmp_path / "bundle").iterdir():
        with pytest.raises(ValueError):
            list(pickletools.genops(file.read_bytes()))


def test_the_best_network_is_kept_not_the_last(system, tmp_path):
    trainer = PpoTrainer(system, tmp_path, **SMALL)
    scores = iter([5.0, 9.0, 1.0, 0.0, 0.0])
    kept = []
    trainer.learn(1024, lambda policy: kept.append(trainer.export()) or next(scores), 256, 10_000, progress_bar=False)
    assert trainer.best_value_gbp == 9.0
    assert best_network(tmp_path) == kept[1]


def test_interrupting_leaves_a_checkpoint_that_goes_on(system, tmp_path):
    trainer = PpoTrainer(system, tmp_path, **SMALL)

    def interrupt_once(policy):
        if trainer.model.num_timesteps < 300:
            return 0.5
        if trainer.model.num_timesteps < 900 and not list((tmp_path / CHECKPOINTS).glob("*.zip")):
            trainer.save_checkpoint()
            raise KeyboardInterrupt
        return np.float64(1.0)  # what a pandas sum gives; it must survive the checkpoint

    assert trainer.learn(2048, interrupt_once, 256, 512, progress_bar=False) is False
    again = PpoTrainer(system, tmp_path, **SMALL)
    done = again.load_checkpoint()
    assert 0 < done < 2048
    assert again.best_value_gbp == trainer.best_value_gbp
    for theirs, ours in zip(again.model.policy.parameters(), trainer.model.policy.parameters(), strict=True):
        torch.testing.assert_close(theirs, ours)
    np.testing.assert_array_equal(again.normaliser.obs_rms.mean, trainer.normaliser.obs_rms.mean)
    assert again.learn(2048, lambda policy: 0.0, 512, 512, progress_bar=False) is True
    assert again.model.num_timesteps == 2048
    finished = PpoTrainer(system, tmp_path, **SMALL)
    assert finished.load_checkpoint() == 2048
    scores = []
    assert finished.learn(2048, lambda policy: scores.append(0.0) or 0.0, 512, 512, progress_bar=False) is True
    assert len(scores) == 1, "a run that had got there is scored again and ends"


def test_resuming_without_a_checkpoint_says_so(system, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        PpoTrainer(system, tmp_path, **SMALL).load_checkpoint()


def test_a_checkpoint_of_an_early_version_is_refused_with_the_way_out(system, tmp_path):
    folder = tmp_path / CHECKPOINTS
    folder.mkdir()
    with zipfile.ZipFile(folder / f"{7:012d}.zip", "w") as archive:
        archive.writestr("best_value_gbp", "np.float64(3.5)")
    with pytest.raises(ValueError, match=r"np\.float64\(3\.5\).*[Tt]rain the policy anew, or delete"):
        PpoTrainer(system, tmp_path, **SMALL).load_checkpoint()
    assert [file.suffix for file in folder.iterdir()] == [".zip"], "nothing half read is left"


def test_shaping_adds_up_to_nothing_but_its_ends(system):
    """Discounted, the shaping of a whole episode is minus the potential at its start: no policy gains by it."""
    gamma = 0.97
    lanes = LanesVecEnv(system, 8)
    shaped = ShapedVecEnv(LanesVecEnv(system, 8), system.held_gbp, gamma)
    for each in (lanes, shaped):
        each.seed(1)
    start_gbp = system.held_gbp(lanes.reset())
    shaped.reset()
    rng, discount, difference = np.random.default_rng(0), np.ones(8), np.zeros(8)
    running = np.ones(8, dtype=bool)
    while running.any():
        actions = rng.uniform(-1.0, 1.0, (8, 1)).astype(np.float32)
        (_, plain, over, _), (_, with_potential, _, _) = lanes.step(actions), shaped.step(actions)
        difference += np.where(running, discount * (with_potential - plain), 0.0)
        discount *= gamma
        running &= ~over
    np.testing.assert_allclose(difference, -start_gbp, atol=1e-3)


def test_relative_prices_do_not_care_about_the_price_level_and_agree_with_torch(system):
    lanes = LanesVecEnv(system, 16)
    lanes.seed(0)
    raw = lanes.reset().astype(np.float64)
    relative = RelativePrices(system.observation_fields)
    dearer = raw.copy()
    for i, field in enumerate(system.observation_fields):
        if "_gbp_per_mwh" in field.name and "deviation" not in field.name and "spread" not in field.name:
            dearer[:, i] += 500.0
    np.testing.assert_allclose(relative.of(dearer), relative.of(raw), atol=1e-3)
    tensors = [torch.as_tensor(x, dtype=torch.float64) for x in
               (raw, relative.centre, relative.spread_weights, relative.priced)]  # fmt: skip
    np.testing.assert_allclose(relative(*tensors).numpy(), relative.of(raw), rtol=1e-5, atol=1e-5)


def test_the_normaliser_is_trained_with_the_policy(system, tmp_path):
    trainer = train(system, tmp_path)
    assert isinstance(trainer.normaliser, VecNormalize)
    assert trainer.normaliser.obs_rms.count > 1000


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "not JSON"), ("[]", "not a bundle"), ('{"format": 99}', "format 1"), ('{"format": 1}', "lacks")],
)
def test_a_broken_manifest_is_named(tmp_path, text, says):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=says):
        read_manifest(tmp_path)


def test_a_bundle_for_another_layout_is_refused(system):
    names = [f.name for f in system.observation_fields]
    manifest = {"observation_fields": names[1:], "action_fields": ["power_fraction"]}
    with pytest.raises(ValueError, match="charge_fraction"):
        check_layout(manifest, system.observation_fields, system.action_fields)


def test_a_killed_training_resumes(tmp_path):
    """kill -9 in the middle of `python train.py`, then `resume=`: it goes on from the last checkpoint."""
    root = Path(__file__).parent.parent
    run = tmp_path / "run"
    command = [
        sys.executable, "train.py", f"hydra.run.dir={run}", "data.table.start=2023-05-01", "data.table.end=2023-09-01",
        "env.episode=day", "agent.n_lanes=64", "agent.batch_size=512", "score_every=4096", "checkpoint_every=1024",
        "progress_bar=false", *(f"~env.policies.{name}" for name in ("mpc", "mpc_scenario", "stochastic_dp")),
    ]  # fmt: skip
    with subprocess.Popen([*command, "total_steps=100_000_000"], cwd=root, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120.0
        while not list(run.glob(f"{CHECKPOINTS}/*.zip")) and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
    reached = max(int(file.stem) for file in run.glob(f"{CHECKPOINTS}/*.zip"))
    record = json.loads((run / "run.json").read_text())
    record["config"]["total_steps"] = reached + 4096
    (run / "run.json").write_text(json.dumps(record))
    resumed = subprocess.run(
        [sys.executable, "train.py", f"resume={run}"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert f"after {reached:,} env-steps" in resumed.stdout
    assert max(int(file.stem) for file in run.glob(f"{CHECKPOINTS}/*.zip")) >= reached + 4096
    assert read_manifest(run / "bundle")["policy"] == "onnx"
    assert "perfect foresight" in resumed.stdout
