import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import splits
from data.publication import hide_unpublished
from envs.information import FIELDS, information
from forecasting.deviation import FRESHEST_AGE, DeviationForecaster
from forecasting.forecast import QUANTILES
from forecasting.persistence import PersistenceForecaster

DAY_AHEAD, IMBALANCE = "day_ahead_price_gbp_per_mwh", "imbalance_price_gbp_per_mwh"
FORECASTERS = [
    DeviationForecaster(tuple(0.8**k for k in range(2, 50))),
    PersistenceForecaster("carbon_intensity_mix_derived_g_per_kwh"),
    PersistenceForecaster("wet_bulb_c"),
]
EVERY = pytest.mark.parametrize("forecaster", FORECASTERS, ids=["deviation", "carbon", "wet_bulb"])


@EVERY
@pytest.mark.parametrize("minute", [0, 15])
@settings(deadline=None, max_examples=30)
@given(t=st.integers(100, 1900))
def test_a_forecast_needs_nothing_that_is_not_published(forecaster, minute, t, table):
    for hidden, whole in zip(
        forecaster.predict(hide_unpublished(table, t, minute), minute), forecaster.predict(table, minute), strict=True
    ):
        np.testing.assert_array_equal(hidden[t], whole[t])


@EVERY
def test_gaps_are_forecast_over(forecaster, table):
    gappy = table.copy()
    gappy.iloc[600:640] = np.nan
    assert np.isfinite(forecaster.predict(gappy).mean[300:]).all()


@pytest.mark.parametrize("column", ["imbalance_price_gbp_per_mwh", "carbon_intensity_mix_derived_g_per_kwh"])
def test_quantiles_cover_the_table_they_were_fitted_on_and_rise(column, table):
    fitted = DeviationForecaster.fit(table) if column == IMBALANCE else PersistenceForecaster.fit(table, column)
    quantiles = fitted.predict(table).quantiles
    assert (np.diff(quantiles[100:], axis=2) >= 0.0).all()
    truth = table[column].to_numpy()
    for lead in (0, 3, 24, 47):
        rows = slice(100, len(table) - lead)
        below = (truth[100 + lead :, None] <= quantiles[rows, lead]).mean(axis=0)
        np.testing.assert_allclose(below, QUANTILES, atol=0.02)


def test_at_a_quarter_past_the_newest_deviation_is_one_period_younger(table):
    t, forecaster = 1000, DeviationForecaster((0.5, 0.25, 0.1))
    deviation = table[IMBALANCE].iloc[t - 1] - table[DAY_AHEAD].iloc[t - 1]
    forecast = forecaster.predict(table, minute=15).mean[t]
    assert forecast[0] == pytest.approx(table[DAY_AHEAD].iloc[t] + 0.5 * deviation, rel=1e-5)


def test_the_deviation_forecast_by_hand(table):
    t, forecaster = 1000, DeviationForecaster((0.9, 0.5, 0.25, 0.1))
    deviation = table[IMBALANCE].iloc[t - 2] - table[DAY_AHEAD].iloc[t - 2]
    assert abs(deviation) < 150.0
    forecast = forecaster.predict(table).mean[t]
    for lead, factor in enumerate((0.5, 0.25, 0.1, 0.0)):
        assert forecast[lead] == pytest.approx(table[DAY_AHEAD].iloc[t + lead] + factor * deviation, rel=1e-5)


def test_an_older_deviation_counts_less(table):
    t, forecaster = 1000, DeviationForecaster((0.9, 0.5, 0.25, 0.1))
    gappy = table.copy()
    gappy.iloc[t - 2, gappy.columns.get_loc(IMBALANCE)] = np.nan
    deviation = table[IMBALANCE].iloc[t - 3] - table[DAY_AHEAD].iloc[t - 3]
    assert forecaster.predict(gappy).mean[t, 0] == pytest.approx(table[DAY_AHEAD].iloc[t] + 0.25 * deviation, rel=1e-5)


def test_beyond_the_published_day_the_last_published_day_repeats(table):
    index = pd.DatetimeIndex(table.index)
    t = int(index.searchsorted(pd.Timestamp("2023-06-20 08:00", tz="UTC")))  # before the auction of the 21st is out
    forecast = DeviationForecaster(()).predict(table).mean[t]
    midnight = int(index.searchsorted(pd.Timestamp("2023-06-20 23:00", tz="UTC"))) - t
    np.testing.assert_allclose(forecast[midnight:], table[DAY_AHEAD].iloc[t + midnight - 48 : t].to_numpy(), rtol=1e-6)


def test_fitted_factors_are_those_of_the_process_and_know_nothing_but_train():
    rng = np.random.default_rng(0)
    n, rho = 20000, 0.8
    deviation = np.zeros(n)
    for t in range(1, n):
        deviation[t] = rho * deviation[t - 1] + rng.normal(0.0, 10.0)
    index = pd.date_range("2020-01-01", periods=n, freq="30min", tz="UTC")
    frame = pd.DataFrame({DAY_AHEAD: np.full(n, 80.0), IMBALANCE: 80.0 + deviation}, index=index)
    factors = DeviationForecaster.fit(frame).factors
    expected = rho ** np.arange(FRESHEST_AGE, FRESHEST_AGE + 6)
    np.testing.assert_allclose(factors[:6], expected, atol=0.05)


def test_a_table_without_deviation_gives_factors_of_zero(table):
    flat = table.assign(**{IMBALANCE: table[DAY_AHEAD]})
    assert set(DeviationForecaster.fit(flat).factors) == {0.0}


def test_persistence_of_a_daily_cycle_is_exact():
    index = pd.date_range("2024-01-01", periods=480, freq="30min", tz="UTC")
    cycle = 10.0 + 5.0 * np.sin(np.arange(480) * 2.0 * np.pi / 48.0)
    forecast = PersistenceForecaster("wet_bulb_c").predict(pd.DataFrame({"wet_bulb_c": cycle}, index=index)).mean
    for t in (100, 200, 301):
        np.testing.assert_allclose(forecast[t], cycle[np.arange(t, t + 48) % 48], rtol=1e-5)


def test_information_is_finite_in_bounds_and_named(table, forecaster):
    rows = information(table, forecaster)
    assert rows.shape == (len(table), len(FIELDS))
    assert rows.flags.c_contiguous
    assert np.isfinite(rows).all()
    for i, field in enumerate(FIELDS):
        assert rows[:, i].min() >= field.low, field.name
        assert rows[:, i].max() <= field.high, field.name


@settings(deadline=None, max_examples=20)
@given(t=st.integers(400, 1900))
def test_information_needs_nothing_that_is_not_published(t, table, forecaster):
    np.testing.assert_array_equal(
        information(hide_unpublished(table, t), forecaster)[t], information(table, forecaster)[t]
    )


def test_the_fit_on_train_beats_the_day_ahead_price_on_real_validation(real_table):
    index = pd.DatetimeIndex(real_table.index)
    fitted = DeviationForecaster.fit(real_table.iloc[splits.rows(index, "train")])
    span = splits.rows(index, "validation")
    truth = real_table[IMBALANCE].to_numpy()[span]
    errors = [
        np.mean((forecaster.predict(real_table).mean[span, 0] - truth) ** 2)
        for forecaster in (fitted, DeviationForecaster(()))
    ]
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.parametrize("minute", [0, 15])
def test_some_rows_are_laid_out_as_among_all(minute, table, forecaster):
    whole = information(table, forecaster, minute)
    for rows in (slice(0, 3), slice(200, 201), slice(len(table) - 2, None)):
        np.testing.assert_array_equal(information(table, forecaster, minute, rows), whole[rows])
