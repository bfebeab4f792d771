"""Laws of the price forecasts in data frames: they follow the last known price and say how sure they are."""

import numpy as np
import pandas as pd
import pytest

from data.publication import hide_unpublished
from forecasting.boosted import BoostedForecaster
from forecasting.deviation import DeviationForecaster
from forecasting.prices import QUANTILE_COLUMNS, Forecaster
from forecasting.saved import save

IMBALANCE = "imbalance_price_gbp_per_mwh"
ROW = 1200


@pytest.fixture(scope="module")
def fitted(table):
    return DeviationForecaster.fit(table)


@pytest.fixture(scope="module")
def prices(table):
    """What is known a quarter past the start of a row."""
    return hide_unpublished(table, ROW, 15).iloc[: ROW + 60]


def test_the_next_period_follows_the_last_known_price(fitted, prices, table):
    found = Forecaster(fitted).predict_next(prices)
    assert list(found.columns) == ["mean_gbp_per_mwh", *QUANTILE_COLUMNS]
    assert found.index.equals(pd.date_range(table.index[ROW], periods=48, freq="30min", name="timestamp_utc"))
    expected = fitted.predict(table, 15, slice(ROW, ROW + 1))
    np.testing.assert_allclose(found["mean_gbp_per_mwh"], expected.mean[0], rtol=1e-6)
    np.testing.assert_allclose(found[list(QUANTILE_COLUMNS)], expected.quantiles[0], rtol=1e-6)


def test_prices_alone_with_a_timestamp_column_will_do(fitted, prices):
    alone = prices[[IMBALANCE, "day_ahead_price_gbp_per_mwh"]].reset_index()
    pd.testing.assert_frame_equal(Forecaster(fitted).predict_next(alone), Forecaster(fitted).predict_next(prices))
    cut = alone.iloc[:ROW]  # nothing ahead at all
    assert Forecaster(fitted).predict_next(cut).notna().all().all()


def test_volatility_is_that_of_the_quantiles_and_0_without_spread(fitted, prices):
    found = Forecaster(fitted).predict_volatility(prices)
    quantiles = Forecaster(fitted).predict_next(prices)[list(QUANTILE_COLUMNS)].to_numpy()
    np.testing.assert_allclose(found["interval_90_gbp_per_mwh"], quantiles[:, -1] - quantiles[:, 0], rtol=1e-4)
    assert (found["volatility_gbp_per_mwh"] > 0.0).all()
    assert (found["volatility_gbp_per_mwh"] < found["interval_90_gbp_per_mwh"]).all()
    certain = Forecaster(DeviationForecaster((0.5,))).predict_volatility(prices)
    np.testing.assert_allclose(certain, 0.0, atol=1e-4)


def test_importance_is_told_where_it_was_learnt(fitted, prices, table, tmp_path):
    assert Forecaster(fitted).feature_importance() == {}
    save(BoostedForecaster.fit(table, IMBALANCE, mean_rounds=3, quantile_rounds=1), tmp_path)
    boosted = Forecaster.from_folder(tmp_path)
    assert sum(boosted.feature_importance().values()) == pytest.approx(1.0)
    assert boosted.predict_next(prices).notna().all().all()


def test_tables_that_cannot_be_gone_on_from_are_refused(fitted, prices):
    with pytest.raises(ValueError, match="no imbalance_price_gbp_per_mwh to go on"):
        Forecaster(fitted).predict_next(prices.drop(columns=IMBALANCE))
    with pytest.raises(ValueError, match="30 minutes apart"):
        Forecaster(fitted).predict_next(prices.iloc[[0, 2, 3]])
