"""What is saved of a forecaster forecasts as it did, and a damaged one is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from data import splits
from forecasting.boosted import BoostedForecaster
from forecasting.deviation import DeviationForecaster
from forecasting.ensemble import EnsembleForecaster
from forecasting.lstm import LstmForecaster
from forecasting.persistence import PersistenceForecaster
from forecasting.prophet import ProphetForecaster
from forecasting.saved import KIND, KINDS, load, save
from forecasting.seasonal_naive import SeasonalNaiveForecaster

IMBALANCE = "imbalance_price_gbp_per_mwh"
FITS = {
    "deviation": DeviationForecaster.fit,
    "persistence": lambda train: PersistenceForecaster.fit(train, IMBALANCE),
    "seasonal_naive": lambda train: SeasonalNaiveForecaster.fit(train, IMBALANCE),
    "prophet": lambda train: ProphetForecaster.fit(train, IMBALANCE),
    "lstm": lambda train: LstmForecaster.fit(train, IMBALANCE, hidden=4, epochs=1),
    "boosted": lambda train: BoostedForecaster.fit(train, IMBALANCE, mean_rounds=3, quantile_rounds=2),
    "ensemble": lambda train: EnsembleForecaster.fit(
        train, {name: FITS[name] for name in ("deviation", "seasonal_naive")}, tail_days=5
    ),
}


@pytest.fixture(scope="module")
def train(table):
    return table.iloc[splits.rows(pd.DatetimeIndex(table.index), "train")]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_saved_forecaster_forecasts_as_it_did(kind, train, table, tmp_path):
    fitted = FITS[kind](train if kind != "boosted" else table)
    sha256 = save(fitted, tmp_path / "it")
    loaded = load(tmp_path / "it")
    assert type(loaded) is type(fitted)
    rows = slice(1500, 1510)
    for a, b in zip(loaded.predict(table, rows=rows), fitted.predict(table, rows=rows), strict=True):
        np.testing.assert_array_equal(a, b)
    assert save(loaded, tmp_path / "again") == sha256
    assert not list(tmp_path.rglob("*.pkl"))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_some_rows_are_forecast_as_among_all(kind, train, table):
    fitted = FITS[kind](train if kind != "boosted" else table)
    rows = slice(1700, 1705)
    for some, every in zip(fitted.predict(table, rows=rows), fitted.predict(table), strict=True):
        np.testing.assert_allclose(some, every[rows], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "cannot be read"),
        ('{"kind": "os.system"}', "cannot be read"),
        ('{"kind": "deviation", "fields": {"factors": ["x"]}}', "cannot be read"),
        ('{"fields": {}}', "cannot be read"),
    ],
)
def test_a_damaged_forecaster_is_refused(text, message, tmp_path):
    (tmp_path / KIND).write_text(text)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_a_missing_one_and_an_unknown_class_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=KIND):
        load(tmp_path)

    class Other:
        column = IMBALANCE

    with pytest.raises(ValueError, match="a Other cannot be saved"):
        save(Other(), tmp_path)


def test_the_file_of_a_plain_forecaster_is_json_that_names_its_fields(train, tmp_path):
    fitted = DeviationForecaster.fit(train)
    save(fitted, tmp_path)
    told = json.loads((tmp_path / KIND).read_text())
    assert told["kind"] == "deviation"
    assert told["fields"]["factors"] == list(fitted.factors)
