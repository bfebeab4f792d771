import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.publication import hide_unpublished
from forecasting.ensemble import (
    LEAD_EDGES,
    EnsembleForecaster,
    averaged,
    calibrated,
    learnt_offsets,
    learnt_weights,
    month_by_month,
)
from forecasting.forecast import LEADS, QUANTILES, Forecast, ahead, around
from forecasting.persistence import PersistenceForecaster
from forecasting.recent import published
from forecasting.seasonal_naive import SeasonalNaiveForecaster

DAY_AHEAD = "day_ahead_price_gbp_per_mwh"
CARBON = "carbon_intensity_mix_derived_g_per_kwh"
GROUPS = len(LEAD_EDGES) - 1
MEMBERS = {
    "day": lambda table: SeasonalNaiveForecaster.fit(table, CARBON, 1),
    "week": lambda table: SeasonalNaiveForecaster.fit(table, CARBON, 7),
    "persistence": lambda table: PersistenceForecaster.fit(table, CARBON),
}


def pinball(truth, quantiles):
    error = truth[:, :, None] - quantiles
    return np.nanmean(np.maximum(np.array(QUANTILES) * error, (np.array(QUANTILES) - 1.0) * error))


def forecasts(seed: int, members: int, n: int = 60) -> tuple[list[Forecast], np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, LEADS))
    offsets = np.array([-1.6, -1.3, -0.7, 0.0, 0.7, 1.3, 1.6])
    made = [
        around(
            (truth * rng.uniform(0, 1) + rng.normal(0.0, 1.0, (n, LEADS))).astype(np.float32),
            np.tile(offsets, (LEADS, 1)),
        )
        for _ in range(members)
    ]
    return made, truth


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), members=st.integers(1, 4))
def test_weights_are_shares_and_no_member_alone_nor_equal_shares_do_better_where_they_were_learnt(seed, members):
    made, truth = forecasts(seed, members)
    weights = learnt_weights(made, truth)
    assert weights.shape == (GROUPS, members)
    assert (weights >= 0.0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    best = pinball(truth, averaged(made, weights).quantiles)
    for others in (*np.eye(members), np.full(members, 1.0 / members)):
        assert best <= pinball(truth, averaged(made, np.tile(others, (GROUPS, 1))).quantiles) * 1.001


def test_a_member_that_knows_gets_all_the_weight():
    made, truth = forecasts(1, 2)
    knows = Forecast(truth.astype(np.float32), np.repeat(truth[:, :, None], len(QUANTILES), axis=2).astype(np.float32))
    np.testing.assert_allclose(learnt_weights([*made, knows], truth)[:, 2], 1.0, atol=1e-6)


def test_two_unbiased_members_with_independent_errors_share_as_their_precision():
    """For Gaussian errors the best average weighs by inverse variance: 1 and 4 give 0.8 and 0.2."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(4000, LEADS))
    spread = np.sqrt(0.8**2 * 1.0 + 0.2**2 * 4.0)  # of the best average: its quantiles are then right too
    offsets = np.tile(spread * np.array([-1.645, -1.282, -0.674, 0.0, 0.674, 1.282, 1.645]), (LEADS, 1))
    made = [around((truth + rng.normal(0.0, sd, truth.shape)).astype(np.float32), offsets) for sd in (1.0, 2.0)]
    np.testing.assert_allclose(learnt_weights(made, truth), [[0.8, 0.2]] * GROUPS, atol=0.03)


def test_a_member_without_a_number_leaves_its_share_to_the_others():
    (one, other), _ = forecasts(2, 2)
    silent = Forecast(np.full_like(one.mean, np.nan), np.full_like(one.quantiles, np.nan))
    weights = np.tile([0.3, 0.7], (GROUPS, 1))
    np.testing.assert_allclose(averaged([one, silent], weights).quantiles, one.quantiles, rtol=1e-5)
    assert np.isnan(averaged([silent, silent], weights).mean).all()
    expected = 0.3 * one.mean + 0.7 * other.mean
    np.testing.assert_allclose(averaged([one, other], weights).mean, expected, rtol=1e-4, atol=1e-5)


def test_nothing_to_learn_from_gives_equal_shares():
    made, truth = forecasts(3, 4)
    np.testing.assert_array_equal(learnt_weights(made, np.full_like(truth, np.nan)), 0.25)


def test_an_ensemble_is_no_worse_than_its_members_and_needs_nothing_unpublished(table):
    fitted = EnsembleForecaster.fit(table, MEMBERS, tail_days=21, refit=False)
    truth = ahead(table[CARBON].to_numpy())[-21 * 48 :]
    losses = [pinball(truth, one.predict(table).quantiles[-21 * 48 :]) for one in (fitted, *fitted.members)]
    assert losses[0] <= min(losses[1:]) * 1.001
    whole = fitted.predict(table)
    assert (np.diff(whole.quantiles[400:], axis=2) >= -1e-3).all()
    for t in (900, 1533):
        np.testing.assert_array_equal(fitted.predict(hide_unpublished(table, t)).quantiles[t], whole.quantiles[t])


def test_a_month_learns_nothing_from_what_came_out_after_it_began():
    index = pd.date_range("2023-12-01", "2024-03-01", freq="30min", inclusive="left", tz="UTC")
    made, truth = forecasts(5, 2, n=len(index))
    outcomes = np.lib.stride_tricks.sliding_window_view(np.append(truth[:, 0], np.zeros(LEADS - 1)), LEADS).copy()
    validation, february = slice(0, 31 * 48), int(index.get_loc(pd.Timestamp("2024-02-01", tz="UTC")))
    before, _ = month_by_month(made, outcomes, index, validation)
    unpublished = np.add.outer(np.arange(len(index)), np.arange(LEADS)) >= february - 2  # of every rule the latest
    after, weights = month_by_month(made, np.where(unpublished, 1e6, outcomes), index, validation)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a[: february + 28 * 48], b[: february + 28 * 48])
    moved, _ = month_by_month(made, np.where(unpublished, outcomes, outcomes + 1e3), index, validation)
    assert (moved.quantiles[february] > before.quantiles[february] + 500.0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    assert np.isfinite(before.quantiles).all()


def test_calibration_makes_quantiles_hold_where_it_was_learnt_and_leaves_the_mean():
    (one, *_), truth = forecasts(4, 1, n=400)
    narrow = Forecast(
        one.mean, (one.mean[:, :, None] + 0.1 * (one.quantiles - one.mean[:, :, None])).astype(np.float32)
    )
    moved = calibrated(narrow, learnt_offsets(narrow, truth))
    below = (truth[:, :, None] <= moved.quantiles).mean(axis=(0, 1))
    np.testing.assert_allclose(below, QUANTILES, atol=0.01)
    np.testing.assert_array_equal(moved.mean, narrow.mean)
    assert pinball(truth, moved.quantiles) < pinball(truth, narrow.quantiles)


def test_what_is_published_stays_certain(table):
    members = {days: lambda rows, days=days: SeasonalNaiveForecaster.fit(rows, DAY_AHEAD, days) for days in (1, 7)}
    fitted = EnsembleForecaster.fit(table, members, tail_days=21, refit=False)
    forecast, out = fitted.predict(table), published(DAY_AHEAD, pd.DatetimeIndex(table.index))
    np.testing.assert_allclose(np.ptp(forecast.quantiles[out][48:], axis=1), 0.0, atol=1e-3)
    assert (np.ptp(forecast.quantiles[500:-48][~out[500:-48]], axis=1) > 0.0).mean() > 0.9


def test_refitted_members_have_seen_the_tail_and_who_has_no_share_is_left_out(table):
    useless = MEMBERS | {"useless": lambda rows: PersistenceForecaster(CARBON, offsets=((1e5,) * 7,) * LEADS)}
    plain, again = (EnsembleForecaster.fit(table, useless, tail_days=21, refit=refit) for refit in (False, True))
    assert plain.weights == again.weights
    assert 1 <= len(again.members) == len(again.weights[0]) <= len(MEMBERS)
    for fitted, rows in ((plain, table.iloc[: -21 * 48]), (again, table)):
        assert set(fitted.members) <= {make(rows) for make in MEMBERS.values()}


def test_members_of_different_columns_or_a_short_table_are_refused(table):
    mixed = MEMBERS | {"weather": lambda rows: PersistenceForecaster.fit(rows, "wet_bulb_c")}
    with pytest.raises(ValueError, match="different columns"):
        EnsembleForecaster.fit(table, mixed, tail_days=21)
    with pytest.raises(ValueError, match="longer than its tail"):
        EnsembleForecaster.fit(table.iloc[:100], MEMBERS, tail_days=21)


def test_ahead_is_the_row_itself_first_and_missing_after_the_end():
    values = ahead(np.arange(60.0))
    np.testing.assert_array_equal(values[5], np.arange(5.0, 53.0))
    assert np.isnan(values[20, 40:]).all()
    assert pd.Series(values[20, :40]).notna().all()
