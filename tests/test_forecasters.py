"""What holds for every forecaster that conf/forecaster/ names, on any column; and what each learns."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from data import splits
from data.publication import RULES, at_known_rows, hide_unpublished
from data.synthetic import generate
from forecasting.forecast import LEADS, QUANTILES, ahead
from forecasting.lstm import MEAN_WEIGHTS, LstmForecaster
from forecasting.prophet import ProphetForecaster
from forecasting.recent import published
from forecasting.regimes import Regimes
from forecasting.seasonal_naive import SeasonalNaiveForecaster

CONF = Path(__file__).parent.parent / "conf"
NAMES = sorted(file.stem for file in CONF.glob("forecaster/*.yaml"))
PRICE, DAY_AHEAD = "imbalance_price_gbp_per_mwh", "day_ahead_price_gbp_per_mwh"
CARBON, WET_BULB = "carbon_intensity_mix_derived_g_per_kwh", "wet_bulb_c"
# Small enough for a test; what is learnt well is measured on real data, not here.
QUICK = {
    "lstm": [f"forecaster.{setting}" for setting in ("hidden=8", "epochs=1", "stride=4")],
    "boosted": [f"+forecaster.{setting}" for setting in ("mean_rounds=3", "quantile_rounds=3")],
    "ensemble": [
        *(f"forecaster.members.lstm.{setting}" for setting in ("hidden=8", "epochs=1", "stride=4")),
        *(f"+forecaster.members.boosted.{setting}" for setting in ("mean_rounds=3", "quantile_rounds=3")),
        "forecaster.tail_days=14",
    ],
}
CASES = [(name, None) for name in NAMES] + [
    (name, column)
    for name in ("seasonal_naive", "persistence", "prophet", "lstm")
    for column in (DAY_AHEAD, CARBON, WET_BULB)
]
EVERY = pytest.mark.parametrize(("name", "column"), CASES)


@cache
def history() -> pd.DataFrame:
    return generate("2023-05-08", "2023-07-17", seed=3)


@cache
def fitted(name: str, column: str | None):
    table = history()
    return fit(name, column, table.iloc[splits.rows(pd.DatetimeIndex(table.index), "train")])


def fit(name: str, column: str | None, train: pd.DataFrame):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[f"forecaster={name}", *QUICK.get(name, ())]).forecaster
    return instantiate(cfg)(train, **({"column": column} if column else {}))


@EVERY
@pytest.mark.parametrize("minute", [0, 15])
def test_a_forecast_needs_nothing_that_is_not_published(name, column, minute):
    forecaster, table = fitted(name, column), history().iloc[-900:]
    whole = forecaster.predict(table, minute)
    for t in (500, 543, 570, 899):  # night, evening and around the auction
        hidden = forecaster.predict(hide_unpublished(table, t, minute), minute)
        np.testing.assert_array_equal(hidden.mean[t], whole.mean[t])
        np.testing.assert_array_equal(hidden.quantiles[t], whole.quantiles[t])


@EVERY
def test_forecasts_are_finite_rising_and_centred(name, column):
    forecaster, table = fitted(name, column), history().iloc[-900:]
    forecast = forecaster.predict(table)
    assert forecast.mean.shape == (900, LEADS)
    assert forecast.quantiles.shape == (900, LEADS, len(QUANTILES))
    assert np.isfinite(forecast.mean[400:]).all()
    assert (np.diff(forecast.quantiles[400:], axis=2) >= 0.0).all()
    inside = (forecast.mean >= forecast.quantiles[:, :, 0] - 1e-3) & (
        forecast.mean <= forecast.quantiles[:, :, -1] + 1e-3
    )
    assert inside[400:].mean() > 0.95


@EVERY
def test_gaps_are_forecast_over(name, column):
    table = history().iloc[-900:].copy()
    table.iloc[600:640] = np.nan
    assert np.isfinite(fitted(name, column).predict(table).mean[400:]).all()


@pytest.mark.parametrize("name", ["seasonal_naive", "persistence", "prophet", "lstm"])
def test_what_is_published_is_not_forecast(name):
    table = history().iloc[-900:]
    forecast = fitted(name, DAY_AHEAD).predict(table)
    out = published(DAY_AHEAD, pd.DatetimeIndex(table.index))
    truth = np.lib.stride_tricks.sliding_window_view(
        np.concatenate([table[DAY_AHEAD].to_numpy(), np.full(LEADS - 1, np.nan)]), LEADS
    )
    assert 0.4 < out.mean() < 0.9
    out &= np.isfinite(truth)
    np.testing.assert_allclose(forecast.mean[out], truth[out], rtol=1e-5)
    np.testing.assert_allclose(np.ptp(forecast.quantiles[out], axis=1), 0.0, atol=1e-3)


@pytest.mark.parametrize("column", [CARBON, DAY_AHEAD])
@pytest.mark.parametrize("name", ["seasonal_naive", "persistence", "prophet"])
def test_quantiles_cover_the_table_they_were_fitted_on(name, column):
    table = history()
    train = table.iloc[splits.rows(pd.DatetimeIndex(table.index), "train")]
    quantiles = fitted(name, column).predict(train).quantiles
    unsure = ~published(column, pd.DatetimeIndex(train.index))[400:]
    unsure &= np.isfinite(ahead(train[column].to_numpy(dtype=np.float64))[400:])
    below = ahead(train[column].to_numpy(dtype=np.float64))[400:, :, None] <= quantiles[400:]
    np.testing.assert_allclose(below[unsure].mean(axis=0), QUANTILES, atol=0.05)


def test_the_naive_forecast_by_hand():
    table, t = history(), 1500
    for days in (1, 7):
        forecast = SeasonalNaiveForecaster(WET_BULB, days).predict(table).mean[t]
        truth = table[WET_BULB].to_numpy()
        np.testing.assert_allclose(forecast, truth[t - 48 * days : t - 48 * days + 48], rtol=1e-6)


def test_a_season_shorter_than_a_day_is_refused():
    with pytest.raises(ValueError, match="season_days is 0"):
        SeasonalNaiveForecaster.fit(history(), WET_BULB, 0)


def cyclic(weeks: int, noise: float = 0.0) -> pd.DataFrame:
    """Wet bulb with a local daily and weekly cycle."""
    index = pd.date_range("2023-01-02", periods=weeks * 336, freq="30min", tz="UTC")
    hours = np.arange(len(index)) / 2.0
    values = 10.0 + 3.0 * np.sin(2.0 * np.pi * hours / 24.0) + np.cos(2.0 * np.pi * hours / 168.0)
    return pd.DataFrame({WET_BULB: values + np.random.default_rng(0).normal(0.0, noise, len(index))}, index=index)


def test_prophet_finds_daily_and_weekly_cycles():
    table = cyclic(12, noise=0.2)
    forecaster = ProphetForecaster.fit(table.iloc[: 10 * 336], WET_BULB)
    clean, t = cyclic(12)[WET_BULB].to_numpy(), 11 * 336
    assert np.abs(forecaster.predict(table).mean[t] - clean[t : t + LEADS]).max() < 0.5


def test_prophet_is_not_moved_by_a_spike():
    table = cyclic(8, noise=0.2)
    spiky = table.copy()
    spiky.iloc[900] = 39.0
    plain, hit = (ProphetForecaster.fit(frame, WET_BULB) for frame in (table, spiky))
    assert hit.high < 20.0
    np.testing.assert_allclose(hit.predict(table).mean[1000:], plain.predict(table).mean[1000:], atol=0.2)


def test_prophet_refuses_a_table_that_is_too_short():
    with pytest.raises(ValueError, match="two weeks"):
        ProphetForecaster.fit(cyclic(1), WET_BULB)


def test_the_network_reads_what_is_published_of_the_coming_day():
    """Carbon follows a wind forecast that no yesterday tells: where it is out, the network must be far better."""
    index = pd.date_range("2023-01-02", periods=4000, freq="30min", tz="UTC")
    wind = np.repeat(np.random.default_rng(0).uniform(2e3, 12e3, 500), 8)
    table = pd.DataFrame({CARBON: 300.0 - 0.02 * wind, "wind_forecast_da_mw": wind}, index=index)
    lstm = LstmForecaster.fit(table.iloc[:3500], CARBON, hidden=8, epochs=15, stride=1)
    naive = SeasonalNaiveForecaster(CARBON)
    truth = np.lib.stride_tricks.sliding_window_view(table[CARBON].to_numpy(), LEADS)[3500:3900]
    out = published("wind_forecast_da_mw", index)[3500:3900]
    errors = [np.abs(one.predict(table).mean[3500:3900] - truth)[out].mean() for one in (lstm, naive)]
    assert errors[0] < 0.7 * errors[1]


def test_an_interrupted_training_goes_on_to_the_same_network(tmp_path):
    train = history().iloc[:2000]
    whole = LstmForecaster.fit(train, CARBON, hidden=4, epochs=3, stride=8)
    LstmForecaster.fit(train, CARBON, hidden=4, epochs=2, stride=8, checkpoint=tmp_path / "state.npz")
    resumed = LstmForecaster.fit(train, CARBON, hidden=4, epochs=3, stride=8, checkpoint=tmp_path / "state.npz")
    np.testing.assert_array_equal(resumed.predict(train).quantiles, whole.predict(train).quantiles)


def test_the_mean_of_equally_spaced_quantiles_is_their_centre():
    assert sum(MEAN_WEIGHTS) == pytest.approx(1.0)
    assert np.dot(MEAN_WEIGHTS, QUANTILES) == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["seasonal_naive", "persistence", "prophet", "lstm"])
def test_what_comes_after_the_fitting_table_changes_no_bound_scaler_or_weight(name):
    """Fitting reads the rows it is given: a table whose later rows are corrupted gives the same forecaster."""
    table = history()
    span = splits.rows(pd.DatetimeIndex(table.index), "train")
    corrupted = table.copy()
    corrupted.iloc[span.stop :] = 1e3
    assert fit(name, WET_BULB, corrupted.iloc[span]) == fitted(name, WET_BULB)


def test_every_column_that_a_forecaster_may_be_asked_for_has_a_publication_rule():
    assert set(history().columns) <= set(RULES)


def test_a_regime_label_needs_nothing_that_is_not_published():
    table = history()
    regimes = Regimes.fit(table.iloc[splits.rows(pd.DatetimeIndex(table.index), "train")])

    def known(rows: pd.DataFrame) -> np.ndarray:
        labels = regimes.labels(rows[PRICE].to_numpy(dtype=np.float64))
        return at_known_rows(PRICE, labels, pd.DatetimeIndex(rows.index))

    for t in (600, 1777, 3000):
        assert known(hide_unpublished(table, t))[t] == known(table)[t]
