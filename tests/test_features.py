"""Laws of the boosted forecaster's features: published values only, declared columns only, sane at the edges."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.publication import known_rows
from data.synthetic import generate
from forecasting import indicators
from forecasting.days import by_day
from forecasting.features import DAY_AHEAD, FEATURES, IMBALANCE, SMALLEST_SCALE, WIND, WIND_FORECAST, matrix, scale
from forecasting.known import Known
from forecasting.regimes import Regimes

BY_NAME = {feature.name: feature for feature in FEATURES}
LEADS = np.array([0, 3, 47])
PRICES = st.lists(st.floats(-200.0, 3000.0), min_size=3, max_size=200).map(np.array)


@pytest.fixture(scope="module")
def regimes(table):
    return Regimes.fit(table)


def known(table, regimes, row, minute=0, leads=LEADS):
    return Known(table, minute, np.atleast_1d(row), regimes).asking(leads)


def value(name, table, regimes, row, lead=0):
    return float(BY_NAME[name].values(known(table, regimes, row, leads=np.array([lead])))[0, 0])


def spoilt(table, first_rows):
    """Every column wrong from its given row on."""
    worse = table.copy()
    for column, first in first_rows.items():
        worse.iloc[first:, worse.columns.get_loc(column)] = -3.0 * worse[column].iloc[first:] + 777.0
    return worse


@pytest.mark.parametrize("minute", [0, 15])
@settings(deadline=None, max_examples=15)
@given(t=st.integers(100, 1900))
def test_no_feature_reads_what_is_not_published(minute, t, table, regimes):
    index = pd.DatetimeIndex(table.index)
    later = spoilt(table, {column: int(known_rows(column, index, minute)[t]) for column in table.columns})
    honest, peeking = (matrix(FEATURES, known(each, regimes, t, minute)) for each in (table, later))
    wrong = ~np.isclose(honest, peeking, rtol=1e-6, equal_nan=True).all(axis=(0, 1))
    assert not wrong.any(), [f.name for f, bad in zip(FEATURES, wrong, strict=True) if bad]


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_a_feature_reads_the_columns_it_declares_and_no_other(feature, table, regimes):
    others = spoilt(table, {column: 0 for column in table.columns if column not in feature.columns})
    rows = np.array([700, 1500])
    honest, other = (feature.values(known(each, regimes, rows)) for each in (table, others))
    np.testing.assert_array_equal(honest, other)
    assert honest.shape in ((2, 1), (2, 3))
    for column in feature.columns:
        changed = spoilt(table, {column: 0})
        changed.iloc[::3, changed.columns.get_loc(column)] = np.nan
        every = np.arange(400, 1900, 7)
        before, after = (feature.values(known(each, regimes, every)) for each in (table, changed))
        assert not np.array_equal(before, after, equal_nan=True), f"{feature.name} does not read {column}"


def test_one_decision_sees_what_it_sees_among_many(table, regimes):
    many = matrix(FEATURES, known(table, regimes, np.arange(600, 620)))
    for i in (0, 7, 19):
        np.testing.assert_array_equal(many[i], matrix(FEATURES, known(table, regimes, 600 + i))[0])


def test_names_are_unique_and_every_feature_varies(table, regimes):
    assert len(BY_NAME) == len(FEATURES)
    year = generate("2021-01-01", "2022-01-01", seed=1)
    found = matrix(FEATURES, known(year, regimes, np.arange(700, len(year) - 50, 11)))
    spread = np.nanmax(found, axis=(0, 1)) - np.nanmin(found, axis=(0, 1))
    assert (spread > 0.0).all(), [f.name for f, s in zip(FEATURES, spread, strict=True) if not s > 0.0]


def test_missing_values_and_short_history_leave_gaps_but_no_infinity_and_no_warning(table, regimes):
    gappy = table.copy()
    gappy.iloc[300:420] = np.nan
    for frame, rows in ((gappy, np.array([310, 400, 430])), (table.iloc[:60], np.array([0, 1, 5, 59]))):
        found = matrix(FEATURES, known(frame, regimes, rows))
        assert not np.isinf(found).any()
    everything_missing = table.assign(**dict.fromkeys(table.columns, np.nan))
    found = matrix(FEATURES, known(everything_missing, regimes, np.array([500])))
    assert np.isnan(found[0, 0, [i for i, f in enumerate(FEATURES) if f.name.startswith("deviation")]]).all()


def test_a_constant_market_has_no_deviation_and_the_smallest_scale(table, regimes):
    flat = table.assign(**dict.fromkeys(table.columns, 50.0))
    assert scale(known(flat, regimes, 900))[0, 0] == SMALLEST_SCALE
    for name in ("deviation_0", "deviation_week", "average_true_range", "rsi_divergence", "day_ahead_above_min"):
        assert value(name, flat, regimes, 900) == 0.0
    assert value("rsi", flat, regimes, 900) == 50.0
    unknown = np.isnan(matrix(FEATURES, known(flat, regimes, 900, leads=np.array([0])))).any(axis=(0, 1))
    # With a volume that is always above 0 nobody knows what happens when the system is long.
    gaps = {f.name for f, gap in zip(FEATURES, unknown, strict=True) if gap}
    assert gaps == {"deviation_when_long_48", "deviation_when_long_336"}


def test_some_features_by_hand(table, regimes):
    t = 1000
    deviation = (table[IMBALANCE] - table[DAY_AHEAD]).to_numpy()
    usual = float(np.abs(deviation[t - 1 - 672 : t - 1]).clip(max=300.0).mean())
    assert value("deviation_0", table, regimes, t) == pytest.approx(deviation[t - 2] / usual)
    assert value("deviation_3", table, regimes, t) == pytest.approx(deviation[t - 5] / usual)
    assert value(f"newest_{WIND}", table, regimes, t) == table[WIND].iloc[t - 2]
    error = table[WIND].iloc[t - 2] - table[WIND_FORECAST].iloc[t - 2]
    assert value(f"error_{WIND}", table, regimes, t) == pytest.approx(error)
    assert value("day_ahead_spread_+2", table, regimes, t) == pytest.approx(
        (table[DAY_AHEAD].iloc[t + 2] - table[DAY_AHEAD].iloc[t]) / usual
    )
    assert value("deviation_yesterday", table, regimes, t, lead=3) == pytest.approx(deviation[t + 3 - 48] / usual)
    assert value("deviation_yesterday", table, regimes, t, lead=47) == pytest.approx(deviation[t + 47 - 96] / usual)


def test_the_calendar_knows_bank_holidays_and_clock_changes(regimes):
    table = generate("2022-03-20", "2022-04-20")
    index = pd.DatetimeIndex(table.index)
    for name, day, expected in (
        ("bank_holiday", "2022-04-15 12:00", 1.0),  # Good Friday
        ("bank_holiday", "2022-04-14 12:00", 0.0),
        ("clock_change_h", "2022-03-27 12:00", 1.0),
        ("clock_change_h", "2022-03-28 12:00", 0.0),
        ("settlement_period", "2022-03-27 12:00", 25.0),
        ("weekday", "2022-03-27 12:00", 6.0),
        ("session_evening", "2022-04-15 16:30", 1.0),  # half past five in London
        ("session_evening", "2022-04-15 14:30", 0.0),
    ):
        row = int(index.searchsorted(pd.Timestamp(day, tz="UTC")))
        assert value(name, table, regimes, row) == expected, (name, day)


@given(price=PRICES)
def test_rsi_is_bounded_mirrors_and_looks_back_only(price):
    strength = indicators.rsi(price)
    assert ((strength[1:] >= -1e-9) & (strength[1:] <= 100.0 + 1e-9)).all()
    np.testing.assert_allclose(indicators.rsi(-price)[1:], 100.0 - strength[1:], atol=1e-6)
    for of in (indicators.rsi, indicators.average_true_range, indicators.volatility_rank, indicators.rsi_divergence):
        np.testing.assert_allclose(of(price[:-1]), of(price)[:-1], rtol=1e-9, atol=1e-9)


def test_indicators_of_known_series():
    rising, flat = np.arange(60.0), np.full(60, 7.0)
    assert indicators.rsi(rising)[-1] == pytest.approx(100.0)
    assert indicators.rsi(flat)[-1] == 50.0
    np.testing.assert_allclose(indicators.average_true_range(rising)[1:], 1.0)
    assert indicators.above_slow_average(rising)[-1] > 0.0 == indicators.above_slow_average(flat)[-1]
    assert indicators.rsi_divergence(rising)[-1] == 0.0
    calm_then_wild = np.concatenate([np.tile([0.0, 1.0], 200), np.tile([0.0, 100.0], 40)])
    assert indicators.volatility_rank(calm_then_wild)[-1] == 1.0


def test_regimes_are_found_on_train_survive_json_and_rise_with_volatility(table, regimes):
    assert Regimes.from_json(json.loads(json.dumps(regimes._asdict()))) == regimes
    price = table[IMBALANCE].to_numpy()
    labels = regimes.labels(price)
    assert set(labels[np.isfinite(labels)]) <= set(range(len(regimes.centres)))
    usual = indicators.volatility(price)
    means = [usual[labels == label].mean() for label in sorted(set(labels[np.isfinite(labels)]))]
    assert means[0] < means[-1]
    np.testing.assert_array_equal(regimes.labels(price[:500]), labels[:500])


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.sampled_from([np.nan, -1.0, 0.0, 2.0, 2.5, 70.0]), min_size=1, max_size=120),
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=6),
)
def test_where_a_price_stands_in_its_day_is_what_grouping_gives(values, lengths):
    day = np.repeat(np.arange(len(lengths)), lengths)[: len(values)]
    price = pd.Series(values[: day.size])
    days = price.groupby(day)
    expected = [days.rank(pct=True), *(price - days.transform(name) for name in ("mean", "min", "max"))]
    starts = np.flatnonzero(np.diff(day, prepend=-1))
    np.testing.assert_allclose(by_day(price.to_numpy(), starts), np.stack(expected), atol=1e-12)
