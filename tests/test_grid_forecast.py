"""Laws of the forecasts that jobs are planned over."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from data.calendar import LOCAL_TIME_ZONE, settlement_period
from data.publication import hide_unpublished
from data.synthetic import generate
from forecasting.deviation import DeviationForecaster
from forecasting.forecast import LEADS
from forecasting.grid_forecast import CARBON_FIT, GridForecaster

HALF_HOUR = timedelta(minutes=30)
NOON = datetime(2024, 5, 15, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def table():
    return generate("2024-01-01", "2024-07-01", seed=3)


def values(series):
    return np.array([list(point.model_dump().values())[1] for point in series])


def test_what_is_not_published_when_a_forecast_is_made_changes_nothing(table):
    row = table.index.get_loc(pd.Timestamp(NOON))
    corrupt = table.copy()
    hidden = hide_unpublished(table, row).isna() & table.notna()
    assert hidden.to_numpy()[row:].any()
    corrupt = corrupt.mask(hidden, 7777.0)
    told = GridForecaster(table).forecast(NOON, NOON, 96)
    assert told == GridForecaster(corrupt).forecast(NOON, NOON, 96)
    known = table.copy()
    known.iloc[row - 20] += 50.0
    assert told != GridForecaster(known).forecast(NOON, NOON, 96)


def test_it_says_what_the_forecasters_say(table):
    row = table.index.get_loc(pd.Timestamp(NOON))
    prices, carbon = GridForecaster(table).forecast(NOON, NOON, LEADS)
    past = hide_unpublished(table, row).iloc[:row]
    for fit, series in ((DeviationForecaster.fit, prices), (CARBON_FIT, carbon)):
        expected = fit(past).predict(table, rows=slice(row, row + 1)).mean[0]
        np.testing.assert_allclose(values(series), expected, rtol=1e-4)


def test_buy_and_sell_price_are_one(table):
    prices, _ = GridForecaster(table).forecast(NOON, NOON, 4)
    assert all(p.system_buy_price_gbp_per_mwh == p.system_sell_price_gbp_per_mwh for p in prices)


def test_a_later_window_of_a_forecast_is_its_tail(table):
    grid = GridForecaster(table)
    whole, tail = grid.forecast(NOON, NOON, 100), grid.forecast(NOON, NOON + 30 * HALF_HOUR, 70)
    assert [series[30:] for series in whole] == list(tail)


def test_after_the_forecasters_last_day_it_comes_again(table):
    prices, carbon = (values(series) for series in GridForecaster(table).forecast(NOON, NOON, 3 * LEADS))
    for series in (prices, carbon):
        np.testing.assert_array_equal(series[LEADS:], np.tile(series[:LEADS], 2))


@pytest.mark.parametrize(("day", "periods"), [("2024-03-31", 46), ("2024-04-02", 48), ("2023-10-29", 50)])
def test_points_are_the_settlement_periods_of_short_and_long_days(day, periods):
    table = generate("2023-08-01", "2024-05-01", seed=3)
    midnight = pd.Timestamp(day, tz=LOCAL_TIME_ZONE).tz_convert("UTC").to_pydatetime()
    prices, carbon = GridForecaster(table).forecast(midnight, midnight, periods)
    for series in (prices, carbon):
        starts = pd.DatetimeIndex([point.timestamp for point in series])
        assert settlement_period(starts).tolist() == list(range(1, periods + 1))
        assert {str(at.date()) for at in starts.tz_convert(LOCAL_TIME_ZONE)} == {day}
    following = midnight + periods * HALF_HOUR
    assert pd.Timestamp(following).tz_convert(LOCAL_TIME_ZONE) == pd.Timestamp(day, tz=LOCAL_TIME_ZONE) + pd.DateOffset(
        1
    )


def test_gaps_in_the_table_are_forecast_over(table):
    row = table.index.get_loc(pd.Timestamp(NOON))
    holed = table.copy()
    holed.iloc[row - 30 : row] = np.nan
    prices, carbon = GridForecaster(holed).forecast(NOON, NOON, LEADS)
    assert np.isfinite(values(prices)).all()
    assert np.isfinite(values(carbon)).all()


def test_a_table_that_ended_yesterday_still_serves_and_an_older_one_does_not(table):
    row = table.index.get_loc(pd.Timestamp(NOON))
    prices, _ = GridForecaster(table.iloc[: row - 40]).forecast(NOON, NOON, LEADS)
    assert np.isfinite(values(prices)).all()
    with pytest.raises(ValueError, match="too old"):
        GridForecaster(table.iloc[: row - 100]).forecast(NOON, NOON, LEADS)


@pytest.mark.parametrize(
    ("issued", "start", "periods", "hint"),
    [
        (datetime(2024, 1, 3, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC), 4, "needs 7 days before"),
        (NOON, NOON - HALF_HOUR, 4, "ask for the next"),
        (NOON, NOON + timedelta(days=14), 1, "ask for the next"),
    ],
)
def test_what_cannot_be_forecast_is_refused_with_the_reason(table, issued, start, periods, hint):
    with pytest.raises(ValueError, match=hint):
        GridForecaster(table).forecast(issued, start, periods)


def test_a_series_without_a_value_is_refused(table):
    empty = table.assign(carbon_intensity_mix_derived_g_per_kwh=np.nan)
    with pytest.raises(ValueError, match="nothing to forecast from"):
        GridForecaster(empty).forecast(NOON, NOON, 4)
