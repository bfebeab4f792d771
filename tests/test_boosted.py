"""Laws of the boosted forecaster, its calibration and its files."""

import json

import lightgbm
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.publication import hide_unpublished, known_rows
from forecasting.boosted import DESCRIPTION, TARGETS, BoostedForecaster
from forecasting.conformal import corrections
from forecasting.features import CARBON, DAY_AHEAD, IMBALANCE, WET_BULB
from forecasting.forecast import QUANTILES
from forecasting.trees import Forest

COLUMNS = (IMBALANCE, DAY_AHEAD, CARBON, WET_BULB)


@pytest.fixture(scope="module")
def fitted(table):
    return {
        column: BoostedForecaster.fit(table.iloc[:1700], column, (0, 15), mean_rounds=15, quantile_rounds=5)
        for column in COLUMNS
    }


@pytest.fixture(scope="module")
def whole(fitted, table):
    return {column: fitted[column].predict(table) for column in COLUMNS}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("minute", [0, 15])
def test_a_forecast_needs_nothing_that_is_not_published(column, minute, fitted, table):
    for t in (300, 1001, 1850):
        row = slice(t, t + 1)
        hidden = fitted[column].predict(hide_unpublished(table, t, minute), minute, row)
        for a, b in zip(hidden, fitted[column].predict(table, minute, row), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("column", COLUMNS)
def test_one_decision_is_forecast_as_among_many(column, fitted, whole, table):
    for t in (400, 1500):
        for one, many in zip(fitted[column].predict(table, rows=slice(t, t + 1)), whole[column], strict=True):
            np.testing.assert_allclose(one[0], many[t], rtol=1e-6)


@pytest.mark.parametrize("column", COLUMNS)
def test_quantiles_rise_and_gaps_are_forecast_over(column, fitted, whole, table):
    assert (np.diff(whole[column].quantiles[100:], axis=2) >= 0.0).all()
    gappy = table.copy()
    gappy.iloc[600:640] = np.nan
    forecast = fitted[column].predict(gappy, rows=slice(590, 700))
    assert np.isfinite(forecast.mean).all()
    assert np.isfinite(forecast.quantiles).all()


def test_a_published_price_is_certain_and_an_unpublished_one_is_not(whole, table):
    known = known_rows(DAY_AHEAD, pd.DatetimeIndex(table.index))
    price = table[DAY_AHEAD].to_numpy()
    forecast = whole[DAY_AHEAD]
    for t in (500, 820):
        for lead in (0, 20, 47):
            if t + lead < known[t]:
                assert forecast.mean[t, lead] == np.float32(price[t + lead])
                assert np.ptp(forecast.quantiles[t, lead]) == 0.0
            else:
                assert np.ptp(forecast.quantiles[t, lead]) > 0.0


def test_it_learns_what_persistence_cannot(table):
    """A deviation that follows the wind error two periods later is foreseen; the same table shuffled is not."""
    rng = np.random.default_rng(0)
    cause = np.repeat(rng.normal(0.0, 1500.0, len(table) // 4 + 1), 4)[: len(table)]
    made = table.assign(wind_mw=table["wind_forecast_da_mw"].abs() + 2000.0 + cause)
    made["wind_forecast_da_mw"] = made["wind_mw"] - cause
    made[IMBALANCE] = made[DAY_AHEAD] + 0.02 * np.roll(cause, 2) + rng.normal(0.0, 2.0, len(table))
    fitted = BoostedForecaster.fit(made.iloc[:1700], IMBALANCE, mean_rounds=60, quantile_rounds=2)
    error = (fitted.predict(made).mean[:, 0] - made[IMBALANCE].to_numpy())[1700:2200]
    deviation = (made[IMBALANCE] - made[DAY_AHEAD]).to_numpy()[1700:2200]
    assert np.mean(error**2) < 0.5 * np.mean(deviation**2)


def test_far_share_moves_far_leads_towards_the_level_and_leaves_near_ones(fitted, table, monkeypatch):
    def mean(share):
        monkeypatch.setitem(TARGETS, IMBALANCE, TARGETS[IMBALANCE]._replace(far_share=share))
        return fitted[IMBALANCE].predict(table, rows=slice(900, 950)).mean

    level, half, full = (mean(share) for share in (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(half[:, :4], full[:, :4])
    np.testing.assert_allclose(half[:, 4:], 0.5 * (level + full)[:, 4:], rtol=1e-4, atol=1e-3)


def test_what_is_saved_forecasts_the_same_and_runs_no_code_to_load(fitted, whole, table, tmp_path):
    fitted[CARBON].save(tmp_path)
    loaded = BoostedForecaster.load(tmp_path)
    assert loaded.column == CARBON
    for a, b in zip(loaded.predict(table, 15), fitted[CARBON].predict(table, 15), strict=True):
        np.testing.assert_array_equal(a, b)
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".npz"}
    description = json.loads((tmp_path / DESCRIPTION).read_text())
    description["features"] = description["features"][1:]
    (tmp_path / DESCRIPTION).write_text(json.dumps(description))
    with pytest.raises(ValueError, match="other features; fit it again"):
        BoostedForecaster.load(tmp_path)


def test_the_arrays_walk_as_lightgbm_does_over_gaps_too():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 5)).astype(np.float32)
    y = x[:, 0] * x[:, 1] + np.abs(x[:, 2])
    x[rng.random(x.shape) < 0.1] = np.nan
    x[:, 4] = rng.integers(0, 3, 3000)  # no gaps while training
    boosters = [
        lightgbm.train({"objective": "quantile", "alpha": a, "verbosity": -1}, lightgbm.Dataset(x, y), rounds)
        for a, rounds in ((0.1, 30), (0.9, 7))
    ]
    flat = lightgbm.train({"verbosity": -1, "min_data_in_leaf": 4000}, lightgbm.Dataset(x, y), 3)  # only leaves
    fresh = rng.normal(size=(500, 5)).astype(np.float32)
    fresh[rng.random(fresh.shape) < 0.2] = np.nan
    expected = np.column_stack([booster.predict(fresh) for booster in (*boosters, flat)])
    np.testing.assert_allclose(Forest.of([*boosters, flat]).predict(fresh), expected, rtol=1e-12, atol=1e-12)


def test_importance_is_a_share_per_feature(fitted):
    shares = fitted[IMBALANCE].importance()
    assert set(shares) == {feature.name for feature in TARGETS[IMBALANCE].features}
    assert sum(shares.values()) == pytest.approx(1.0)


def test_wrong_requests_are_refused(table, fitted):
    with pytest.raises(ValueError, match="cannot forecast 'demand_mw'"):
        BoostedForecaster.fit(table, "demand_mw")
    with pytest.raises(ValueError, match="4 weeks"):
        BoostedForecaster.fit(table.iloc[:500], IMBALANCE)
    late = BoostedForecaster(IMBALANCE, fitted[IMBALANCE].regimes, {15: fitted[IMBALANCE].models[15]})
    with pytest.raises(ValueError, match="no model for a decision at minute 0"):
        late.predict(table)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(200, 2000), bias=st.floats(-5.0, 5.0))
def test_corrected_quantiles_hold_on_fresh_draws_of_the_same_law(seed, n, bias):
    rng = np.random.default_rng(seed)
    forecasts = np.tile(np.linspace(-1.0, 1.0, len(QUANTILES)) + bias, (n, 1))
    moved = corrections(rng.gamma(2.0, 3.0, n), forecasts, QUANTILES)
    fresh = rng.gamma(2.0, 3.0, 20_000)
    below = (fresh[:, None] <= forecasts[0] + moved).mean(axis=0)
    np.testing.assert_allclose(below, QUANTILES, atol=6.0 * np.sqrt(0.25 / n))


def test_calibration_without_outcomes_changes_nothing():
    np.testing.assert_array_equal(corrections(np.full(3, np.nan), np.zeros((3, 7)), QUANTILES), np.zeros(7))


@pytest.mark.parametrize("n", [1, 12, 19, 500])
def test_a_correction_is_the_error_of_the_finite_sample_rank_or_the_largest(n):
    errors = np.random.default_rng(n).normal(size=(n, len(QUANTILES)))
    ranks = np.minimum(np.ceil((n + 1) * np.array(QUANTILES) - 1e-9).astype(int), n)
    by_rank = [np.sort(errors[:, i])[rank - 1] for i, rank in enumerate(ranks)]
    np.testing.assert_array_equal(corrections(np.zeros(n), -errors, QUANTILES), by_rank)
