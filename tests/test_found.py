"""Laws of found policies: an evaluation plays what was trained on its own task, told its own forecasts."""

import json
import os

import pytest

from agents.bundle import FOREST, ONNX, write_bundle
from agents.found import learnt_policies
from envs.battery import observation_fields

FIELDS = observation_fields(30)
SHOWN = {"forecaster": {"_target_": "boosted", "rounds": 300}, "refit_months": 6}


def left_by_training(folder, network=b"graph", age_s=0, seed=0, **config):
    manifest = {
        "name": "ppo",
        "policy": FOREST if network.startswith(b"PK") else ONNX,
        "env": "gridpilot/Battery-v0",
        "observation_fields": [f.name for f in FIELDS],
        "action_fields": ["power_fraction"],
        "settings": {},
        "system": {},
        "scores": {},
        "forecaster": {"column": "imbalance_price_gbp_per_mwh", "sha256": ""},
        "provenance": {"data_sha256": "table", "config": {"seed": seed, **config}},
    }
    file = write_bundle(folder / "bundle", manifest, network) / "bundle.json"
    os.utime(file, (1e9 - age_s, 1e9 - age_s))


def found(runs, **forecasts):
    learnt = learnt_policies(runs, "table", "gridpilot/Battery-v0", FIELDS, {**SHOWN, **forecasts})
    return {one.seed: one.folder.name for one in learnt}


def test_a_policy_that_learnt_on_other_forecasts_is_left_out_though_it_is_newer(tmp_path):
    left_by_training(tmp_path / "same", age_s=60, **SHOWN)
    left_by_training(tmp_path / "other_forecaster", **{**SHOWN, "forecaster": {"_target_": "deviation"}})
    left_by_training(tmp_path / "other_rounds", **{**SHOWN, "forecaster": {"_target_": "boosted", "rounds": 1}})
    left_by_training(tmp_path / "never_refitted", **{**SHOWN, "refit_months": 0})
    assert found(tmp_path) == {0: "same"}
    assert found(tmp_path, refit_months=0) == {0: "never_refitted"}
    assert found(tmp_path, refit_months=1) == {}


def test_the_newest_of_each_seed_is_found_and_what_it_does_not_record_does_not_speak_against_it(tmp_path):
    left_by_training(tmp_path / "old", age_s=60, **SHOWN)
    left_by_training(tmp_path / "new", network=b"PK", forecaster=SHOWN["forecaster"])
    left_by_training(tmp_path / "second", seed=1, **SHOWN)
    assert found(tmp_path) == {0: "new", 1: "second"}


@pytest.mark.parametrize("part", ["env", "observation_fields", "data"])
def test_a_policy_of_another_task_is_left_out(tmp_path, part):
    left_by_training(tmp_path / "one", **SHOWN)
    file = tmp_path / "one/bundle/bundle.json"
    manifest = json.loads(file.read_text())
    if part == "data":
        manifest["provenance"]["data_sha256"] = "another table"
    else:
        manifest[part] = manifest[part][:-1]
    file.write_text(json.dumps(manifest))
    assert found(tmp_path) == {}
