"""Measures of risk, each by two ways, and the laws of the limits."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from baselines.risk_models import (
    conditional_value_at_risk,
    drawdown_gbp,
    exposure_gbp,
    joint_exposure_gbp,
    limited,
    max_drawdown_gbp,
    value_at_risk,
    within_joint_limit,
)

GBP = st.floats(-1e4, 1e4).map(lambda x: round(x, 3))
GAINS = st.lists(GBP, min_size=1, max_size=40).map(np.array)
CONFIDENCE = st.floats(0.01, 0.99)
LAW = settings(deadline=None, max_examples=100)


def by_program(gains, confidence):
    """Rockafellar and Uryasev's linear program: minimise v + mean of max(loss - v, 0) / (1 - confidence)."""
    n = gains.size
    cost = np.r_[1.0, np.full(n, 1.0 / (n * (1.0 - confidence)))]
    above = np.column_stack([-np.ones(n), -np.eye(n)])  # loss - v - excess <= 0
    solution = linprog(cost, A_ub=above, b_ub=gains, bounds=[(None, None)] + [(0.0, None)] * n, method="highs")
    assert solution.success
    return solution.fun


@LAW
@given(GAINS, CONFIDENCE)
def test_the_mean_of_the_tail_is_the_optimum_of_the_program(gains, confidence):
    expected = by_program(gains, confidence)
    assert conditional_value_at_risk(gains, confidence) == pytest.approx(expected, rel=1e-6, abs=1e-3)


@LAW
@given(GAINS, CONFIDENCE)
def test_the_value_at_risk_is_the_quantile_of_the_losses(gains, confidence):
    share_within = np.mean(-gains <= value_at_risk(gains, confidence) + 1e-9)
    assert share_within >= confidence - 1e-6
    below = -gains[-gains < value_at_risk(gains, confidence) - 1e-9]
    assert below.size / gains.size < confidence + 1e-6


@LAW
@given(GAINS, CONFIDENCE, GBP, st.floats(0.0, 10.0))
def test_the_tail_mean_is_coherent(gains, confidence, shift, factor):
    """Translation, scaling, monotonicity, and never below the value at risk (Artzner et al., 1999)."""
    risk = conditional_value_at_risk(gains, confidence)
    assert conditional_value_at_risk(gains + shift, confidence) == pytest.approx(risk - shift, abs=1e-6)
    assert conditional_value_at_risk(factor * gains, confidence) == pytest.approx(factor * risk, rel=1e-9, abs=1e-6)
    assert conditional_value_at_risk(gains - 1.0, confidence) > risk
    assert value_at_risk(gains, confidence) <= risk + 1e-6
    assert -gains.mean() - 1e-6 <= risk <= -gains.min() + 1e-6


@LAW
@given(st.lists(st.tuples(GBP, GBP), min_size=1, max_size=40), CONFIDENCE)
def test_two_books_together_risk_at_most_what_they_risk_apart(pairs, confidence):
    first, second = np.array(pairs).T
    together = conditional_value_at_risk(first + second, confidence)
    apart = conditional_value_at_risk(first, confidence) + conditional_value_at_risk(second, confidence)
    assert together <= apart + 1e-6


def test_without_confidence_the_tail_is_everything():
    assert conditional_value_at_risk([1.0, -3.0], 0.0) == 1.0


@LAW
@given(GAINS)
def test_the_deepest_drawdown_is_that_of_the_worst_pair(value):
    worst = max([first - second for first, second in combinations(value, 2)], default=0.0)
    assert max_drawdown_gbp(value) == pytest.approx(max(worst, 0.0))
    assert (drawdown_gbp(value) >= 0.0).all()


@LAW
@given(GAINS, st.floats(0.0, 5e3), st.floats(0.0, 2e4))
def test_limits_hold_and_never_turn_or_enlarge_an_exposure(exposures, each, total):
    kept = limited(exposures, each, total)
    assert np.abs(kept).max() <= each * (1.0 + 1e-9)
    assert np.abs(kept).sum() <= total * (1.0 + 1e-9)
    assert (kept * exposures >= 0.0).all()
    assert (np.abs(kept) <= np.abs(exposures) + 1e-9).all()
    if np.abs(exposures).max() <= each and np.abs(exposures).sum() <= total:
        np.testing.assert_allclose(kept, exposures)


@LAW
@given(st.integers(1, 6), st.integers(0, 2**32))
def test_joint_exposure_is_the_deviation_of_the_sum_of_prices_that_move_like_this(n, seed):
    rng = np.random.default_rng(seed)
    prices = rng.normal(size=(n + 3, n)) @ rng.normal(size=(n, n))
    prices = (prices - prices.mean(axis=0)) / prices.std(axis=0)
    exposures = rng.normal(0.0, 100.0, n)
    correlation = (prices.T @ prices) / len(prices)
    assert joint_exposure_gbp(exposures, correlation) == pytest.approx((prices @ exposures).std())
    limit = rng.uniform(1.0, 300.0)
    kept = within_joint_limit(exposures, correlation, limit)
    assert joint_exposure_gbp(kept, correlation) <= limit * (1.0 + 1e-9)
    assert joint_exposure_gbp(exposures, correlation) <= np.abs(exposures).sum() * (1.0 + 1e-9)


def test_like_exposures_add_up_opposed_ones_cancel_and_unrelated_ones_square():
    one, none, all_together = np.ones((2, 2)), np.eye(2), [3.0, 4.0]
    assert joint_exposure_gbp(all_together, one) == pytest.approx(7.0)
    assert joint_exposure_gbp([3.0, -3.0], one) == pytest.approx(0.0)
    assert joint_exposure_gbp(all_together, none) == pytest.approx(5.0)
    np.testing.assert_allclose(exposure_gbp([2.0, -1.0], [50.0, 80.0]), [100.0, -80.0])


def test_bad_input_is_refused_with_its_reason():
    for call, hint in (
        (lambda: value_at_risk([1.0], 1.0), "confidence"),
        (lambda: conditional_value_at_risk([], 0.9), "at least one"),
        (lambda: drawdown_gbp([np.nan]), "finite"),
        (lambda: exposure_gbp([1.0], [1.0, 2.0]), "one price"),
        (lambda: limited([1.0], -1.0, 1.0), "0 or more"),
        (lambda: within_joint_limit([1.0], [[1.0]], np.nan), "0 or more"),
        (lambda: joint_exposure_gbp([1.0, 2.0], [[1.0]]), "shape"),
        (lambda: joint_exposure_gbp([1.0, 2.0], [[1.0, 0.5], [0.2, 1.0]]), "symmetric"),
        (lambda: joint_exposure_gbp(np.ones(3), np.where(np.eye(3) > 0, 1.0, -0.9)), "eigenvalue"),
    ):
        with pytest.raises(ValueError, match=hint):
            call()
