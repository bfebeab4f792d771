import numpy as np
import pandas as pd
import pytest

from data.load import FILE_NAME, checked, load, table_hash
from data.schema import COLUMNS

NAMES = [c.name for c in COLUMNS]


@pytest.fixture
def small(table):
    return table.iloc[:96].copy()


def test_a_written_table_is_read_back_unchanged(small, tmp_path):
    small.to_parquet(tmp_path / FILE_NAME)
    pd.testing.assert_frame_equal(load(tmp_path), small, check_freq=False)


def test_extra_columns_are_left_out_and_gaps_stay_gaps(small):
    small["note_mw"] = 1.0
    small.iloc[5, 0] = np.nan
    result = checked(small)
    assert list(result.columns) == NAMES
    assert np.isnan(result.iloc[5, 0])


def test_another_time_zone_is_turned_to_utc(small):
    moved = small.tz_convert("Europe/London")
    pd.testing.assert_frame_equal(checked(moved), checked(small))


def test_timestamps_may_come_as_a_column(small):
    pd.testing.assert_frame_equal(checked(small.reset_index()), checked(small), check_freq=False)


def _drop_column(t):
    return t.drop(columns="demand_mw")


def _text_column(t):
    return t.assign(demand_mw=t["demand_mw"].astype(str))


def _naive(t):
    return t.tz_localize(None)


def _twice(t):
    return pd.concat([t.iloc[:10], t.iloc[9:]])


def _hole(t):
    return t.drop(index=t.index[10])


def _backwards(t):
    return t.iloc[::-1]


def _empty_column(t):
    return t.assign(wind_mw=np.nan)


def _pence(t):
    return t.assign(day_ahead_price_gbp_per_mwh=t["day_ahead_price_gbp_per_mwh"] * 1000.0)


def _infinite(t):
    return t.assign(demand_mw=np.inf)


def _row_numbers(t):
    return t.reset_index(drop=True)


def _missing_time(t):
    index = t.index.to_series().astype(object)
    index.iloc[3] = pd.NaT
    return t.set_index(pd.DatetimeIndex(index.to_numpy()))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_drop_column, "lacks .*demand_mw"),
        (_text_column, "demand_mw has dtype"),
        (_naive, "no time zone"),
        (_twice, "occurs twice"),
        (_hole, "30 minutes apart"),
        (_backwards, "30 minutes apart"),
        (_empty_column, "wind_mw holds no value"),
        (_pence, "check its unit"),
        (_infinite, "demand_mw is inf"),
        (_row_numbers, "must be timestamps"),
        (_missing_time, "missing timestamps"),
        (lambda t: t.iloc[:1], "at least 2"),
    ],
)
def test_each_way_to_be_wrong_has_its_own_error(small, spoil, says):
    with pytest.raises(ValueError, match=says):
        checked(spoil(small))


@pytest.mark.parametrize("name", ["day_ahead_price_gbp_per_mwh", "carbon_intensity_mix_derived_g_per_kwh"])
def test_a_unit_a_thousand_times_too_large_shows_in_a_long_table(table, name):
    week = table.iloc[: 7 * 48]
    with pytest.raises(ValueError, match=f"nine tenths of column {name}.*check its unit"):
        checked(week.assign(**{name: week[name] / 1000.0}))
    checked(week.assign(**{name: 0.0}))  # what is free, or clean, is no mistake
    checked(week.iloc[:48].assign(**{name: week[name] / 1000.0}))  # nor is a day of prices about 0


def test_a_missing_file_names_the_command_that_writes_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m data\.synthetic"):
        load(tmp_path)


def test_the_hash_moves_with_any_value_or_time(small):
    other_value, other_time = small.copy(), small.copy()
    other_value.iloc[50, 3] += 1e-9
    other_time.index = other_time.index + pd.Timedelta("30min")
    assert len({table_hash(small), table_hash(other_value), table_hash(other_time)}) == 3
    assert table_hash(small) == table_hash(small.copy())


def test_the_real_table_passes(real_table):
    assert list(real_table.columns) == NAMES
    assert len(real_table) == 78862
