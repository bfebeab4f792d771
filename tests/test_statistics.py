"""Laws of the statistics of few runs, each against another way to the same number."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from evaluation.backtest import Run
from evaluation.statistics import (
    aggregate,
    improvement_interval,
    iqm,
    iqm_interval,
    normaliser,
    profile,
    resampled,
    scores,
    whole_weeks,
)

SCORES = st.tuples(st.integers(1, 5), st.integers(1, 30)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-100.0, 100.0))
)


@given(arrays(np.float64, st.integers(1, 200), elements=st.floats(-1e6, 1e6)))
def test_the_interquartile_mean_is_scipys_trimmed_mean(values):
    assert iqm(values) == pytest.approx(stats.trim_mean(values, 0.25), rel=1e-9, abs=1e-6)


def test_the_interquartile_mean_of_known_numbers():
    assert iqm(np.array([-1000.0, 1.0, 3.0, 1e9])) == 2.0
    assert iqm(np.array([5.0])) == 5.0


@given(SCORES)
@settings(deadline=None)
def test_an_interval_holds_within_the_scores_and_is_seeded(found):
    interval = iqm_interval(found)
    assert interval == iqm_interval(found)
    assert found.min() - 1e-9 <= interval.low <= interval.high <= found.max() + 1e-9


def test_with_one_seed_the_bootstrap_is_scipys():
    weeks = np.random.default_rng(5).normal(0.3, 0.2, (1, 26))
    theirs = stats.bootstrap(
        (weeks[0],), lambda x, axis: stats.trim_mean(x, 0.25, axis=axis), n_resamples=8000, method="percentile", rng=1
    ).confidence_interval
    ours = iqm_interval(weeks)
    assert ours.low == pytest.approx(theirs.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.high, abs=0.01)


def test_the_bootstrap_draws_what_brute_force_enumerates():
    """Two seeds, two weeks: four ways to draw the weeks, sixteen to draw the seeds."""
    found = np.array([[0.0, 1.0], [10.0, 100.0]])
    means = [
        np.mean([found[s[i], w[i % 2]] for i in range(4)])
        for w in product(range(2), repeat=2)
        for s in product(range(2), repeat=4)
    ]
    drawn = resampled(found, resamples=40_000).mean(axis=(1, 2))
    assert set(np.round(drawn, 9)) == set(np.round(means, 9))
    for level in (5, 25, 50, 75, 95):
        assert (drawn <= np.percentile(means, level)).mean() == pytest.approx(
            (means <= np.percentile(means, level)).mean(), abs=0.01
        )


def test_two_policies_meet_the_same_weeks():
    weeks = np.arange(20.0)
    np.testing.assert_array_equal(
        resampled(np.tile(weeks, (3, 1)), 7)[:, 0], resampled(np.tile(weeks, (1, 1)), 7)[:, 0]
    )


@given(SCORES, st.data())
@settings(deadline=None, max_examples=40)
def test_the_probability_of_improvement_is_the_mean_mann_whitney(found, data):
    rival = data.draw(arrays(np.float64, (data.draw(st.integers(1, 4)), found.shape[1]), elements=st.floats(-2.0, 2.0)))
    ours = improvement_interval(found, rival)
    pairs = found.shape[0] * rival.shape[0]
    theirs = [stats.mannwhitneyu(found[:, w], rival[:, w]).statistic / pairs for w in range(found.shape[1])]
    assert ours.value == pytest.approx(np.mean(theirs))
    assert 0.0 <= ours.low <= ours.high <= 1.0
    assert ours.value + improvement_interval(rival, found).value == pytest.approx(1.0)


@given(SCORES)
@settings(deadline=None, max_examples=20)
def test_a_profile_falls_from_one_to_nothing_and_its_area_is_the_mean(found):
    threshold = np.linspace(-101.0, 101.0, 102)
    drawn = profile(found, threshold)
    assert drawn.share[0] == 1.0
    assert drawn.share[-1] == 0.0
    assert (np.diff(drawn.share) <= 0.0).all()
    assert (drawn.low <= drawn.high).all()
    area = 2.0 * drawn.share.sum() - 102.0
    assert area == pytest.approx(found.mean(), abs=1.01)


def run(policy: str, weeks_gbp, seed: int = 0, rest: int = 0) -> Run:
    index = pd.date_range("2024-01-01", periods=336 * len(weeks_gbp) + rest, freq="30min", tz="UTC")
    reward = np.concatenate([np.repeat(np.asarray(weeks_gbp) / 336.0, 336), np.full(rest, 1e6)])
    return Run(policy, seed, pd.DataFrame({"reward_gbp": reward}, index=index))


def test_scores_are_shares_of_what_the_oracle_gained_in_the_same_week():
    runs = {
        "idle": [run("idle", [10.0, 0.0, 5.0])],
        "oracle": [run("oracle", [110.0, 50.0, 5.0])],  # nothing to gain in the third week
        "ppo": [run("ppo", [60.0, 0.0, 9.0]), run("ppo", [10.0, 25.0, 9.0], 1)],
    }
    found = scores(runs)
    np.testing.assert_allclose(found["ppo"], [[0.5, 0.0], [0.0, 0.5]])
    np.testing.assert_allclose(found["oracle"], 1.0)


def test_where_the_plan_earns_less_than_its_bound_the_weeks_are_scaled_to_the_bound():
    oracle = run("oracle", [110.0, 60.0])._replace(bound_gbp=210.0)  # played it gained 160 of 200
    runs = {"idle": [run("idle", [10.0, 0.0])], "oracle": [oracle], "ppo": [run("ppo", [60.0, 40.0])]}
    found = scores(runs)
    np.testing.assert_allclose(found["oracle"], 0.8)
    np.testing.assert_allclose(found["ppo"], [[0.4, 40.0 / 75.0]])


def test_without_an_oracle_the_mean_week_of_the_rule_is_one():
    runs = {"idle": [run("idle", [0.0, 0.0])], "rule": [run("rule", [-10.0, 30.0])], "ppo": [run("ppo", [20.0, 5.0])]}
    assert normaliser(runs)[0] == "rule"
    found = scores(runs)
    assert found["rule"].mean() == pytest.approx(1.0)
    np.testing.assert_allclose(found["ppo"], [[2.0, 0.5]])


def test_a_week_that_is_not_whole_is_left_out():
    assert whole_weeks([run("ppo", [1.0, 2.0], rest=335)])[0] == pytest.approx([1.0, 2.0])


def test_rows_compare_with_the_reference_and_leave_idle_out():
    runs = [run("idle", [0.0] * 4), run("rule", [4.0] * 4), run("ppo", [8.0] * 4), run("ppo", [2.0] * 4, 1)]
    rows = {row["policy"]: row for row in aggregate(runs, "e", "test", "rule")}
    assert set(rows) == {"rule", "ppo"}
    assert rows["ppo"]["iqm"] == pytest.approx(1.25)
    assert rows["ppo"]["improvement"] == pytest.approx(0.5)
    assert rows["rule"]["improvement"] == pytest.approx(0.5)
    assert rows["ppo"]["seeds"] == 2
    assert aggregate([run("idle", [0.0]), run("rule", [0.0])], "e", "test", "rule") == []
    assert aggregate([run("idle", [], rest=5), run("rule", [], rest=5)], "e", "test", "rule") == []
    behind = [run("idle", [0.0]), run("rule", [1.0]), run("ppo", [2.0])]
    assert {row["policy"]: row["improvement"] for row in aggregate(behind, "e", "test", "idle")}["ppo"] == 1.0
