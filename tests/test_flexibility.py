import numpy as np
import pandas as pd
import pytest

from data.calendar import local_hour
from data.flexibility import GRID_KW, FlexibilitySource, generate_flexibility

YEARS = pd.date_range("2021-01-01", "2022-12-31 23:30", freq="30min", tz="UTC")


def lengths_of_runs(on: np.ndarray) -> np.ndarray:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(int), [0]])))
    return edges[1::2] - edges[::2]


def test_every_field_has_a_row_a_half_hour_and_is_finite():
    market = generate_flexibility(YEARS, 0, n_rivals=4)
    assert [field.shape for field in market] == [(len(YEARS),)] * 2 + [(len(YEARS), 4)] * 2
    assert all(np.isfinite(field).all() and field.dtype == np.float64 for field in market)


def test_the_same_seed_gives_the_same_market_and_another_does_not():
    first, again, other = (generate_flexibility(YEARS[:4800], seed) for seed in (0, 0, 1))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_a_longer_table_begins_with_the_shorter_one():
    short, long = generate_flexibility(YEARS[:500], 5), generate_flexibility(YEARS, 5)
    for a, b in zip(short, long, strict=True):
        np.testing.assert_array_equal(a, b[:500])


def test_events_last_two_to_four_periods_and_are_a_few_per_cent():
    called = generate_flexibility(YEARS, 0).wanted_kw > 0.0
    assert set(lengths_of_runs(called)) == {2, 3, 4}
    assert 0.015 < called.mean() < 0.05


def test_events_come_in_peaks_more_in_winter_and_on_weekdays():
    called = generate_flexibility(YEARS, 0).wanted_kw > 0.0
    hour = local_hour(YEARS)
    assert set(hour[called]) <= set(np.arange(7.5, 10.5, 0.5)) | set(np.arange(16.5, 20.0, 0.5))
    winter = YEARS.month.isin([11, 12, 1, 2])
    assert called[winter].mean() > 1.5 * called[~winter].mean()
    weekday = YEARS.day_of_week < 5
    assert called[weekday].mean() > 1.5 * called[~weekday].mean()


@pytest.mark.parametrize("wanted_kw", [1500.0, 18_000.0])
def test_powers_lie_on_the_grid_and_grow_with_the_wanted_level(wanted_kw):
    market = generate_flexibility(YEARS, 0, wanted_kw=wanted_kw)
    np.testing.assert_array_equal(market.wanted_kw % GRID_KW, 0.0)
    np.testing.assert_array_equal(market.rival_kw % GRID_KW, 0.0)
    assert market.rival_kw.min() > 0.0
    called = market.wanted_kw > 0.0
    assert np.median(market.wanted_kw[called]) == pytest.approx(wanted_kw, rel=0.2)
    enough = market.rival_kw.sum(axis=1)[called] >= market.wanted_kw[called]
    assert 0.3 < enough.mean() < 0.9, "rivals were meant to be short now and then, and to compete"


def test_caps_and_rivals_prices_keep_to_their_order_of_magnitude():
    market = generate_flexibility(YEARS, 0)
    assert market.cap_gbp_per_mwh.min() >= 150.0
    assert market.cap_gbp_per_mwh.max() <= 600.0
    low, high = np.quantile(market.rival_gbp_per_mwh, [0.1, 0.9])
    assert 70.0 < low < 150.0
    assert 200.0 < high < 350.0


@pytest.mark.parametrize(
    ("change", "match"),
    [({"seed": -1}, "seed"), ({"n_rivals": 0}, "rival"), ({"wanted_kw": 1.5}, "MW"), ({"index": YEARS[:0]}, "index")],
)
def test_a_wrong_argument_is_refused_by_name(change, match):
    with pytest.raises(ValueError, match=match):
        generate_flexibility(**{"index": YEARS, "seed": 0, "n_rivals": 6, "wanted_kw": 1500.0} | change)


def test_a_source_draws_what_the_generator_draws():
    drawn = FlexibilitySource(3, 4, 900.0).market(YEARS[:96])
    for a, b in zip(drawn, generate_flexibility(YEARS[:96], 3, 4, 900.0), strict=True):
        np.testing.assert_array_equal(a, b)
