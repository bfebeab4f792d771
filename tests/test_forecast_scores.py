import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from evaluation.forecast_scores import (
    LEAD_GROUPS,
    by_lead,
    diebold_mariano,
    hard_week,
    losses,
    reliability,
    score_rows,
)
from forecasting.forecast import LEADS, QUANTILES, Forecast

NORMAL = stats.norm.ppf(QUANTILES)


def normal_forecast(mean: np.ndarray, sd: float = 1.0) -> Forecast:
    return Forecast(mean.astype(np.float32), (mean[:, :, None] + sd * NORMAL).astype(np.float32))


def test_losses_of_one_forecast_by_hand():
    truth = np.full((1, LEADS), 3.0)
    lost = losses(Forecast(np.full((1, LEADS), 1.0, np.float32), np.zeros((1, LEADS, 7), np.float32)), truth)
    np.testing.assert_allclose(lost.absolute, 2.0)
    np.testing.assert_allclose(lost.square, 4.0)
    np.testing.assert_allclose(lost.pinball, 3.0 * np.mean(QUANTILES))
    np.testing.assert_array_equal(lost.below, 0.0)


def test_a_sure_forecast_has_its_absolute_error_as_crps():
    """For a point forecast CRPS is the absolute error; the seven levels integrate a linear function exactly."""
    truth = np.random.default_rng(0).normal(size=(50, LEADS))
    point = Forecast(np.zeros((50, LEADS), np.float32), np.zeros((50, LEADS, 7), np.float32))
    np.testing.assert_allclose(losses(point, truth).crps, np.abs(truth), rtol=1e-6)


def test_crps_of_a_normal_forecast_is_near_the_closed_form():
    """Gneiting and Raftery 2007, eq. 21; and near the integral of the squared distance of distributions."""
    truth = np.random.default_rng(1).normal(size=(400, LEADS))
    closed = truth * (2.0 * stats.norm.cdf(truth) - 1.0) + 2.0 * stats.norm.pdf(truth) - 1.0 / np.sqrt(np.pi)
    assert losses(normal_forecast(np.zeros((400, LEADS))), truth).crps.mean() == pytest.approx(closed.mean(), rel=0.03)
    x = np.linspace(-8.0, 8.0, 4001)
    square = (stats.norm.cdf(x) - (x >= truth[0, 0])) ** 2
    assert integrate.trapezoid(square, x) == pytest.approx(closed[0, 0], rel=1e-2)


def test_the_true_distribution_is_reliable_covers_and_beats_a_biased_and_a_wide_one():
    rng = np.random.default_rng(2)
    level = rng.normal(size=(3000, LEADS))
    truth = level + rng.normal(size=level.shape)
    lost = losses(normal_forecast(level), truth)
    np.testing.assert_allclose(reliability(lost), QUANTILES, atol=0.01)
    (row, *_) = score_rows(lost, {})
    assert row["coverage_90"] == pytest.approx(0.9, abs=0.01)
    assert row["coverage_50"] == pytest.approx(0.5, abs=0.01)
    assert row["rmse"] == pytest.approx(1.0, rel=0.02)
    for worse in (normal_forecast(level + 0.5), normal_forecast(level, 2.0), normal_forecast(level, 0.5)):
        assert losses(worse, truth).pinball.mean() > lost.pinball.mean()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 100))
def test_groups_make_up_the_whole_and_gaps_count_nowhere(seed):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(60, LEADS))
    truth[rng.random(truth.shape) < 0.2] = np.nan
    lost = losses(normal_forecast(np.zeros_like(truth)), truth)
    labels = {"month": np.array(["a"] * 20 + ["b"] * 40)}
    rows = score_rows(lost, labels)
    whole = rows[0]
    assert whole["count"] == np.isfinite(truth).sum()
    for by, groups in (("lead", len(LEAD_GROUPS)), ("month", 2)):
        parts = [row for row in rows if row["by"] == by]
        assert len(parts) == groups
        assert sum(part["count"] for part in parts) == whole["count"]
        mean = sum(part["count"] * part["pinball"] for part in parts) / whole["count"]
        assert mean == pytest.approx(whole["pinball"])
    assert np.isfinite(by_lead(lost.pinball)).all()


def test_a_group_without_outcomes_has_a_row_and_no_scores():
    truth = np.full((4, LEADS), np.nan)
    assert score_rows(losses(normal_forecast(np.zeros((4, LEADS))), truth), {})[0] == {
        "by": "all",
        "group": "all",
        "count": 0,
    }


def test_equal_losses_do_not_differ_and_the_sign_says_who_is_better():
    rng = np.random.default_rng(3)
    loss = rng.exponential(size=(2000, LEADS))
    assert diebold_mariano(loss, loss)[:3] == (0.0, 0.0, 1.0)
    worse = diebold_mariano(loss + 0.1 * rng.random(loss.shape), loss)
    assert worse.difference > 0.0
    assert worse.p_value < 1e-6
    better = diebold_mariano(loss, loss + 0.1 * rng.random(loss.shape))
    assert better.statistic < 0.0


def test_the_comparison_refuses_the_truth_as_often_as_it_says_though_losses_overlap():
    """A moving average over a day, as overlapping forecasts have: a variance without lags would refuse most."""
    rng, refused, naive = np.random.default_rng(4), 0, 0
    for _ in range(200):
        noise = np.convolve(rng.normal(size=3000 + LEADS), np.ones(LEADS) / LEADS, mode="valid")[:3000]
        found = diebold_mariano(np.repeat(noise[:, None], LEADS, axis=1), np.zeros((3000, LEADS)))
        refused += found.p_value < 0.05
        naive += abs(noise.mean()) / (noise.std() / np.sqrt(3000)) > 1.96
    assert refused / 200 < 0.2
    assert naive / 200 > 0.6


def test_too_few_rows_to_compare_are_refused():
    with pytest.raises(ValueError, match="96 or more"):
        diebold_mariano(np.ones((50, LEADS)), np.ones((50, LEADS)))


def test_the_hard_week_is_the_one_with_the_loss_in_it():
    days = np.repeat(np.arange("2024-01-01", "2024-02-10", dtype="datetime64[D]"), 48)
    pinball = np.ones((days.size, LEADS))
    pinball[20 * 48 : 21 * 48] = 50.0
    week = hard_week(pinball, days)
    assert week.stop - week.start == 336
    assert week.start <= 20 * 48 < week.stop
    assert week.start % 48 == 0
