"""Laws of the regression guard: it is quiet about what is as it was and names everything else."""

import json

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.guard import LEAST_GBP, NETWORK, STORED, complaints, intervals

EARNED = st.dictionaries(
    st.sampled_from(["rule", "mpc", "ppo"]), st.floats(-1e6, 1e6).map(lambda v: {"value_gbp": v, "capture": None})
).map(lambda found: {"battery": {**found, "idle": {"value_gbp": 0.0, "capture": 0.0}}})


@given(EARNED)
def test_what_was_stored_is_not_complained_about(found):
    assert complaints(found, intervals(found)) == []


@given(EARNED, st.sampled_from([-1.0, 1.0]), st.floats(1.01, 5.0))
def test_what_leaves_its_interval_is_named(found, side, widths):
    stored = intervals(found)
    for name, each in found["battery"].items():
        low, high = stored["battery"][name]["low_gbp"], stored["battery"][name]["high_gbp"]
        assert high - low >= 2.0 * LEAST_GBP * 0.999
        moved = {**each, "value_gbp": each["value_gbp"] + side * widths * 0.5 * (high - low)}
        (line,) = complaints({"battery": {**found["battery"], name: moved}}, stored)
        assert line.startswith(f"battery {name}: earned")
        assert ("less than" if side < 0.0 else "more than") in line


def test_a_policy_that_is_gone_or_new_is_named():
    found = {"battery": {name: {"value_gbp": 1.0, "capture": None} for name in ("idle", "mpc")}}
    less = {"battery": {"idle": found["battery"]["idle"]}}
    assert complaints(less, intervals(found)) == ["battery mpc: is stored, but was not played"]
    assert complaints(found, intervals(less)) == ["battery mpc: was played, but is not stored"]
    assert complaints({}, intervals(less)) == ["battery idle: is stored, but was not played"]


def test_every_stored_interval_holds_its_value_and_the_network_is_small():
    stored = json.loads(STORED.read_text())
    assert stored["layout"]
    for policies in stored["intervals"].values():
        assert {"idle", "random"} <= set(policies)
        assert all(each["low_gbp"] < each["value_gbp"] < each["high_gbp"] for each in policies.values())
    assert NETWORK.stat().st_size < 30_000
