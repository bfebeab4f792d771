"""Laws of forecast tables: no row was forecast by a model that saw it, and a broken-off run goes on."""

import numpy as np
import pandas as pd
import pytest

from data import splits
from data.publication import hide_unpublished
from data.synthetic import generate
from forecasting.deviation import DeviationForecaster
from forecasting.tables import blocks, fitting_table, walk_forward

IMBALANCE = "imbalance_price_gbp_per_mwh"


@pytest.fixture(scope="module")
def year():
    return generate("2022-10-01", "2023-10-10", seed=5)


@pytest.fixture(scope="module")
def walked(year, tmp_path_factory):
    return walk_forward(DeviationForecaster.fit, year, {"a": 1}, tmp_path_factory.mktemp("walk"), 1, (0, 15))


def test_blocks_cover_the_table_once_and_never_cross_out_of_train(year):
    index = pd.DatetimeIndex(year.index)
    cut = blocks(index, 1)
    assert [b.stop for b in cut[:-1]] == [b.first for b in cut[1:]]
    assert (cut[0].first, cut[-1].stop) == (0, len(year))
    end = splits.rows(index, "train").stop
    assert all((b.within == end) == (b.stop <= end) for b in cut)
    assert [str(index[b.first])[:7] for b in cut] == ["2022-10", "2023-04", "2023-07", "2023-08", "2023-09", "2023-10"]
    assert len(blocks(index, 3)) == 4
    for part in (index[:100], index[-100:]):  # all train, none of it
        assert [b.stop - b.first for b in blocks(part, 1)] in ([100], [100])


def test_what_a_model_learns_from_holds_neither_its_block_nor_anything_unpublished(year):
    for block in blocks(pd.DatetimeIndex(year.index), 1):
        learnt = fitting_table(year, block)
        if block.within is None:
            assert len(learnt) == block.first
            pd.testing.assert_frame_equal(learnt, hide_unpublished(year, block.first).iloc[: block.first])
            assert np.isnan(learnt[IMBALANCE].iloc[-1])
        else:
            assert len(learnt) == block.within
            assert learnt.iloc[block.first : block.stop].isna().all().all()
            assert learnt.drop(learnt.index[block.first : block.stop])[IMBALANCE].notna().any()


@pytest.mark.parametrize("minute", [0, 15])
def test_a_row_after_train_does_not_change_with_what_is_unpublished_then(year, walked, minute, tmp_path):
    t = splits.rows(pd.DatetimeIndex(year.index), "validation").start + 1000
    spoilt = year.copy()
    known = hide_unpublished(year, t, minute).notna()
    spoilt = spoilt.where(known, -2.0 * spoilt + 400.0)
    other, _ = walk_forward(DeviationForecaster.fit, spoilt, {"a": 1}, tmp_path, 1, (minute,))
    rows = slice(t - 5, t + 1)
    for a, b in zip(other.predict(spoilt, minute, rows), walked[0].predict(year, minute, rows), strict=True):
        np.testing.assert_array_equal(a[-1], b[-1])


def test_rows_are_those_of_the_model_of_their_block_and_the_newest_is_kept(year, walked):
    tabled, newest = walked
    cut = blocks(pd.DatetimeIndex(year.index), 1)
    for block in (cut[0], cut[-1]):
        fitted = DeviationForecaster.fit(fitting_table(year, block))
        rows = slice(block.first + 60, block.first + 70)
        for a, b in zip(tabled.predict(year, 15, rows), fitted.predict(year, 15, rows), strict=True):
            np.testing.assert_array_equal(a, b)
    assert newest == fitted


def test_a_finished_walk_is_read_and_a_broken_one_goes_on(year, walked, tmp_path):
    fits = []

    def fit(table, stop_after=99):
        if len(fits) == stop_after:
            raise KeyboardInterrupt
        fits.append(len(table))
        return DeviationForecaster.fit(table)

    with pytest.raises(KeyboardInterrupt):
        walk_forward(lambda table: fit(table, 3), year, {"a": 1}, tmp_path, 1)
    assert len(fits) == 3
    tabled, _ = walk_forward(fit, year, {"a": 1}, tmp_path, 1)
    assert len(fits) == 6
    walk_forward(fit, year, {"a": 1}, tmp_path, 1)
    assert len(fits) == 6
    np.testing.assert_array_equal(tabled.predict(year).mean, walked[0].predict(year).mean)
    walk_forward(fit, year, {"a": 2}, tmp_path, 1)
    assert len(fits) == 12, "other settings are another key"


def test_forecasts_of_another_table_or_minute_are_refused(year, walked, tmp_path):
    with pytest.raises(ValueError, match="made for the table"):
        walked[0].predict(year.iloc[:-1])
    with pytest.raises(ValueError, match="no forecasts were made for decisions at minute 7"):
        walked[0].predict(year, 7)
    with pytest.raises(ValueError, match="at least 1"):
        walk_forward(DeviationForecaster.fit, year, {}, tmp_path, 0)
