import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evaluation.backtest import Run, check_plan, score, winner
from evaluation.metrics import capture, capture_interval, difference_interval, total_interval, weekly

WEEKS = st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=60).map(np.array)


def trace(values, column="reward_gbp") -> pd.DataFrame:
    index = pd.date_range("2024-01-01 00:00", periods=len(values), freq="30min", tz="UTC")
    return pd.DataFrame({column: values, "decision_ms": 0.1, "wear_gbp": 0.0, "power_kw": 10.0}, index=index)


@given(st.lists(st.floats(-100.0, 100.0), min_size=1, max_size=2000))
def test_weeks_add_up_to_the_whole(values):
    weeks = weekly(trace(values))
    assert weeks.sum() == pytest.approx(sum(values), abs=1e-6)
    assert len(weeks) == -(-len(values) // 336)


@given(WEEKS)
def test_an_interval_holds_between_the_extremes_and_is_seeded(weeks):
    found = total_interval(weeks)
    assert found == total_interval(weeks)
    assert found.value == weeks.sum()
    assert len(weeks) * weeks.min() - 1e-6 <= found.low <= found.high <= len(weeks) * weeks.max() + 1e-6


def test_the_bootstrap_agrees_with_scipys():
    weeks = np.random.default_rng(1).gamma(2.0, 100.0, 40)
    theirs = stats.bootstrap((weeks,), np.sum, n_resamples=4000, method="percentile", rng=0).confidence_interval
    ours = total_interval(weeks)
    assert ours.low == pytest.approx(theirs.low, rel=0.02)
    assert ours.high == pytest.approx(theirs.high, rel=0.02)


@given(WEEKS, st.floats(-100.0, 100.0))
def test_a_paired_lead_does_not_see_what_moves_both(weeks, lead):
    found = difference_interval(weeks + lead, weeks)
    assert found.low == pytest.approx(lead * len(weeks), abs=1e-5)
    assert found.high == pytest.approx(lead * len(weeks), abs=1e-5)


def test_capture_is_zero_for_idle_and_one_for_the_bound():
    assert capture(10.0, 10.0, 110.0) == 0.0
    assert capture(110.0, 10.0, 110.0) == 1.0
    assert np.isnan(capture(1.0, 10.0, 10.0))


def test_capture_without_an_oracle_is_not_a_number():
    nothing = np.full(5, np.nan)
    assert np.isnan(capture_interval(np.ones(5), np.zeros(5), nothing, float("nan"))).all()


def test_an_interval_of_captures_stands_about_the_share_of_the_bound_and_not_of_what_the_oracle_could_play():
    rng = np.random.default_rng(3)
    idle, possible = np.zeros(30), rng.gamma(20.0, 5.0, 30)
    played, bound = 0.8 * possible, float(possible.sum())
    found = capture_interval(0.5 * possible + rng.normal(size=30), idle, played, bound)
    assert found.low < found.value == pytest.approx(0.5, abs=0.02)
    assert found.value < found.high < 0.52


def runs(values: dict[str, float], bound: float) -> list[Run]:
    return [
        Run(name, 0, trace(np.full(700, value / 700)), bound if name == "oracle" else float("nan"))
        for name, value in values.items()
    ]


def test_rows_hold_value_capture_and_lead():
    rows = {
        row["policy"]: row
        for row in score(runs({"idle": 0.0, "mpc": 30.0, "ppo": 40.0, "oracle": 99.0}, 100.0), "e", "test", "mpc")
    }
    assert rows["ppo"]["capture"] == pytest.approx(0.4)
    assert rows["ppo"]["lead_gbp"] == pytest.approx(10.0)
    assert rows["mpc"]["lead_gbp"] == 0.0
    assert rows["ppo"]["bound_gbp"] == 100.0
    assert rows["ppo"]["battery_throughput_kwh"] == pytest.approx(3500.0)


def test_the_worst_tenth_of_weeks_is_what_its_worst_weeks_bring_over_idle_on_average():
    week = 7 * 48
    gain = np.repeat(np.arange(20.0), week) / week  # weeks that bring 0, 1, 2, ... GBP
    idle, other = Run("idle", 0, trace(np.full(gain.size, 0.5))), Run("mpc", 0, trace(gain + 0.5))
    rows = {row["policy"]: row for row in score([idle, other], "e", "test", "mpc")}
    assert rows["mpc"]["worst_weeks_gbp"] == pytest.approx(0.5)
    assert rows["idle"]["worst_weeks_gbp"] == 0.0


def test_a_row_holds_the_pue_over_all_energy_and_not_the_mean_of_half_hours():
    played = trace(np.zeros(700)).assign(it_kw=[100.0, 300.0] * 350, pue=[2.0, 1.2] * 350)
    (row,) = score([Run("idle", 0, played)], "e", "test", "idle")
    assert row["pue"] == pytest.approx((200.0 + 360.0) / 400.0)


def test_a_policy_above_the_bound_is_a_bug():
    with pytest.raises(ValueError, match="more than the proved bound"):
        score(runs({"idle": 0.0, "mpc": 101.0, "oracle": 99.0}, 100.0), "e", "test", "mpc")


def test_a_score_without_its_reference_is_refused():
    with pytest.raises(ValueError, match="mpc"):
        score(runs({"idle": 0.0, "oracle": 99.0}, 100.0), "e", "test", "mpc")


def test_the_winner_is_chosen_on_validation_alone_and_is_not_the_oracle():
    rows = [
        {"policy": "ppo", "split": "validation", "value_gbp": 5.0},
        {"policy": "mpc", "split": "validation", "value_gbp": 6.0},
        {"policy": "oracle", "split": "validation", "value_gbp": 9.0},
        {"policy": "ppo", "split": "test", "value_gbp": 8.0},
    ]
    assert winner(rows)["policy"] == "mpc"
    with pytest.raises(ValueError, match="validation"):
        winner(rows[3:])


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"policies": {"rule", "mpc"}}, "needs \\['idle'\\]"),
        ({"reference": "nobody"}, "nobody"),
        ({"splits": ["test"]}, "validation"),
        ({"seeds": []}, "at least one"),
        ({"seeds": ["a"]}, "whole numbers"),
        ({"seeds": [-1]}, "whole numbers"),
    ],
)
def test_what_could_not_be_scored_is_refused_before_it_is_played(change, hint):
    right = {"policies": {"idle", "rule"}, "splits": ["validation"], "seeds": [0, 1], "reference": "rule"}
    check_plan(**right)
    with pytest.raises(ValueError, match=hint):
        check_plan(**{**right, **change})
