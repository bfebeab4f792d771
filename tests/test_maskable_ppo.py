"""PPO with masks: only feasible choices are sampled, and the policy that is deployed needs none."""

import numpy as np
import pytest
from sb3_contrib import MaskablePPO

from agents.bundle import OnnxPolicy
from agents.ppo import PpoTrainer
from envs.job_queue import JobQueueSystem
from envs.scenario import Scenario
from envs.vector import LaneRunner

SMALL = {"n_lanes": 16, "n_steps": 8, "batch_size": 64, "hidden": (16, 16), "levels": 2, "masked": True}
N_LANES = 12


@pytest.fixture(scope="module")
def system(history):
    return JobQueueSystem(Scenario(history, "train", "day"))


@pytest.fixture(scope="module")
def trainer(system, tmp_path_factory):
    trained = PpoTrainer(system, tmp_path_factory.mktemp("run"), **SMALL)
    trained.learn(512, lambda policy: 0.0, 256, 256, progress_bar=False)
    return trained


def test_only_feasible_choices_are_sampled(trainer):
    rollout = trainer.model.rollout_buffer
    chosen = rollout.actions.reshape(-1, 16).astype(np.int64)
    masks = rollout.action_masks.reshape(-1, 16, 2).astype(bool)
    assert np.take_along_axis(masks, chosen[:, :, None], axis=2).all()
    assert not masks.all()
    assert chosen.any()


def test_the_deployed_policy_without_masks_does_what_the_learner_does_with_them(trainer, system):
    """One side plays the exported network as it is, the other asks the learner with masks; states stay equal."""
    policy, choices = OnnxPolicy(trainer.export()), trainer.lanes._choices
    deployed, learner = LaneRunner(system, N_LANES), LaneRunner(system, N_LANES)
    seeds = list(range(N_LANES))
    seen, same = deployed.reset(seeds), learner.reset(seeds)
    differed = 0
    for _ in range(60):
        np.testing.assert_array_equal(seen, same)
        asked = np.array([policy.act(row) for row in seen])
        view = trainer.normaliser.normalize_obs(trainer._relative.of(same))
        chosen, _ = trainer.model.predict(view, deterministic=True, action_masks=choices.masks(system, learner.lanes))
        masked = choices.decode(chosen)
        differed += int((asked != masked).sum())
        seen, same = deployed.step(asked), learner.step(masked)
        np.testing.assert_array_equal(deployed.terms, learner.terms)
    assert differed > 0, "nothing infeasible was ever asked: the test shows nothing"


def test_a_checkpoint_goes_on_as_a_masked_learner(trainer, system):
    resumed = PpoTrainer(system, trainer.run_dir, **SMALL)
    assert resumed.load_checkpoint() == trainer.model.num_timesteps
    assert isinstance(resumed.model, MaskablePPO)
    assert resumed.export() == trainer.export()
    resumed.learn(trainer.model.num_timesteps + 128, lambda policy: 0.0, 256, 256, progress_bar=False)
    assert resumed.model.num_timesteps == trainer.model.num_timesteps + 128


def test_a_continuous_policy_has_no_masks(system, tmp_path):
    with pytest.raises(ValueError, match="nothing to mask"):
        PpoTrainer(system, tmp_path, **(SMALL | {"levels": 0}))
