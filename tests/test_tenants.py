import numpy as np
import pandas as pd
import pytest

from data.tenants import BLOCK_PERIODS, RESOLUTION_KW, TenantSource, generate_tenants

YEAR = pd.date_range("2022-01-03", periods=48 * 364, freq="30min", tz="UTC")


def test_there_is_one_row_a_block_the_last_one_begun_included():
    for periods, blocks in ((1, 1), (8, 1), (9, 2), (48, 6)):
        bids = generate_tenants(YEAR[:periods], 0, n_tenants=3)
        assert {field.shape for field in bids} == {(blocks, 3)}
    assert [field.dtype for field in bids] == [np.float64, np.float64, np.bool_]


def test_the_same_seed_gives_the_same_bids_and_another_does_not():
    first, again, other = (generate_tenants(YEAR[:480], seed) for seed in (0, 0, 1))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.value_gbp_per_kw, other.value_gbp_per_kw)


def test_a_longer_table_begins_with_the_shorter_one():
    short, long = generate_tenants(YEAR[:160], 5), generate_tenants(YEAR[:480], 5)
    for a, b in zip(short, long, strict=True):
        np.testing.assert_array_equal(a, b[: len(a)])


@pytest.mark.parametrize("capacity_kw", [100.0, 596.304, 12_000.0])
def test_quantities_lie_on_the_grid_within_the_capacity_and_compete_for_it(capacity_kw):
    bids = generate_tenants(YEAR, 0, capacity_kw=capacity_kw)
    np.testing.assert_array_equal(bids.quantity_kw % RESOLUTION_KW, 0.0)
    assert bids.quantity_kw.min() == 0.0
    assert bids.quantity_kw.max() <= capacity_kw
    summed = bids.quantity_kw.sum(axis=1) / capacity_kw
    assert 0.7 < summed.mean() < 1.6
    assert (summed > 1.0).mean() > 0.3


def test_values_straddle_the_cost_of_their_energy():
    """80 to 120 GBP/MWh over four hours are 0.32 to 0.48 GBP per kW."""
    value = generate_tenants(YEAR, 0).value_gbp_per_kw
    low, middle, high = np.quantile(value, [0.05, 0.5, 0.95])
    assert 0.15 < low < 0.32
    assert 0.4 < middle < 0.7
    assert 0.96 < high < 1.6
    assert value.min() > 0.0


def test_working_hours_and_weekdays_are_worth_more():
    value = generate_tenants(YEAR, 0).value_gbp_per_kw.mean(axis=1)
    start = YEAR[::BLOCK_PERIODS]
    assert value[start.hour == 12].mean() > 1.4 * value[start.hour == 0].mean()
    assert value[start.day_of_week < 5].mean() > 1.2 * value[start.day_of_week >= 5].mean()


def test_past_auctions_tell_of_the_next_one():
    level = np.log(generate_tenants(YEAR, 0).value_gbp_per_kw).mean(axis=1).reshape(-1, 6)
    level = (level - level.mean(axis=0)).ravel()  # the daily cycle taken off
    assert np.corrcoef(level[1:], level[:-1])[0, 1] > 0.4


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"seed": -1}, "seed"),
        ({"n_tenants": 0}, "tenant"),
        ({"capacity_kw": 0.6}, "MW"),
        ({"index": YEAR[:0]}, "index"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(change, match):
    with pytest.raises(ValueError, match=match):
        generate_tenants(**{"index": YEAR, "seed": 0, "n_tenants": 6, "capacity_kw": 600.0} | change)


def test_a_source_draws_what_the_generator_draws():
    for a, b in zip(
        TenantSource(3, 4).tenants(YEAR[:96], 500.0), generate_tenants(YEAR[:96], 3, 4, 500.0), strict=True
    ):
        np.testing.assert_array_equal(a, b)
