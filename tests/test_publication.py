from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import splits
from data.calendar import LOCAL_TIME_ZONE, local_midnight_utc, settlement_period, wall_time
from data.publication import RULES, hide_unpublished, known_rows, latest_known
from data.schema import COLUMNS, TELEMETRY

DAY_AHEAD = "day_ahead_price_gbp_per_mwh"
IMBALANCE = "imbalance_price_gbp_per_mwh"


def half_hours(start: str, end: str) -> pd.DatetimeIndex:
    return pd.date_range(start, end, freq="30min", tz="UTC", inclusive="left")


def test_every_column_has_a_rule_and_every_rule_a_column():
    assert set(RULES) == {*(c.name for c in COLUMNS), *TELEMETRY}


def test_an_unknown_column_is_refused():
    with pytest.raises(ValueError, match="no publication rule"):
        known_rows("spot_price", half_hours("2024-01-01", "2024-01-02"))


@pytest.mark.parametrize("column", sorted(RULES))
@given(start=st.datetimes(pd.Timestamp("2020-01-01"), pd.Timestamp("2024-06-01")), days=st.integers(1, 12))
def test_knowledge_only_grows_and_never_exceeds_the_table(column, start, days):
    first = pd.Timestamp(start).floor("30min")
    index = half_hours(str(first), str(first + pd.Timedelta(days=days)))
    known = known_rows(column, index)
    assert (np.diff(known) >= 0).all()
    assert known.min() >= 0
    assert known.max() <= len(index)


@pytest.mark.parametrize(
    ("at", "last_known"),
    [
        # winter: local time is UTC; the auction of the 17th is out at 11:00 on the 16th
        ("2024-01-16 10:30", "2024-01-16 23:30"),
        ("2024-01-16 11:00", "2024-01-17 23:30"),
        # summer: 11:00 local is 10:00 UTC, and the local day ends at 22:30 UTC
        ("2024-06-16 09:30", "2024-06-16 22:30"),
        ("2024-06-16 10:00", "2024-06-17 22:30"),
        # the eve of the spring change: tomorrow has 46 periods
        ("2024-03-30 11:00", "2024-03-31 22:30"),
        # the eve of the autumn change: tomorrow has 50
        ("2023-10-28 10:00", "2023-10-29 23:30"),
    ],
)
def test_day_ahead_prices_come_out_at_eleven_local_for_the_whole_next_local_day(at, last_known):
    index = half_hours("2023-10-01", "2024-06-30")
    t = index.get_loc(pd.Timestamp(at, tz="UTC"))
    assert index[known_rows(DAY_AHEAD, index)[t] - 1] == pd.Timestamp(last_known, tz="UTC")


def test_the_newest_imbalance_price_is_that_of_two_periods_ago():
    index = half_hours("2024-01-01", "2024-01-03")
    known = known_rows(IMBALANCE, index)
    assert known[0] == known[1] == 0
    assert (known[2:] - 1 == np.arange(2, len(index)) - 2).all()


def test_in_the_middle_of_a_period_the_last_imbalance_price_is_out_and_slower_data_is_not():
    index = half_hours("2024-01-01", "2024-01-03")
    assert (known_rows(IMBALANCE, index, minute=15) == np.arange(96)).all()
    assert (known_rows("demand_mw", index, minute=15) == known_rows("demand_mw", index)).all()
    with pytest.raises(ValueError, match="allowed are 0 to 29"):
        known_rows(IMBALANCE, index, minute=30)


def test_temperature_is_known_up_to_the_last_period():
    known = known_rows("temperature_c", half_hours("2024-01-01", "2024-01-03"))
    assert (known == np.arange(96)).all()


def test_latest_known_skips_gaps_and_never_looks_ahead(table):
    gappy = table.copy()
    gappy.iloc[100:110, gappy.columns.get_loc(IMBALANCE)] = np.nan
    latest = latest_known(IMBALANCE, gappy)
    assert np.isnan(latest[:2]).all()
    assert latest[111] == gappy[IMBALANCE].iloc[99]
    assert latest[112] == gappy[IMBALANCE].iloc[110]


def test_hiding_leaves_exactly_what_is_published(table):
    hidden = hide_unpublished(table, 500)
    for column in table.columns:
        known = known_rows(column, pd.DatetimeIndex(table.index))[500]
        assert hidden[column].iloc[:known].equals(table[column].iloc[:known])
        assert hidden[column].iloc[known:].isna().all()


@pytest.mark.parametrize(("day", "periods"), [("2024-03-31", 46), ("2024-04-01", 48), ("2023-10-29", 50)])
def test_settlement_days_have_46_48_or_50_periods(day, periods):
    local = pd.date_range(day, pd.Timestamp(day) + pd.Timedelta(days=1), freq="D", tz="Europe/London")
    index = half_hours(*(str(t.tz_convert("UTC").tz_localize(None)) for t in local))
    assert settlement_period(index).tolist() == list(range(1, periods + 1))


@given(
    seconds=st.lists(st.integers(0, 7_258_032_000), min_size=1, max_size=50), unit=st.sampled_from(["s", "us", "ns"])
)
def test_the_wall_clock_is_that_of_the_time_zone_database(unit, seconds):
    index = pd.DatetimeIndex(np.array(seconds, dtype="datetime64[s]"), tz="UTC").as_unit(unit)
    wall = index.tz_convert(LOCAL_TIME_ZONE).tz_localize(None)
    np.testing.assert_array_equal(wall_time(index), wall.to_numpy())


@pytest.mark.parametrize("changed", ["1971-10-31T02:00", "2024-03-31T01:00", "2024-10-27T01:00", "2099-03-29T01:00"])
def test_the_wall_clock_changes_at_the_very_second(changed):
    index = pd.DatetimeIndex([pd.Timestamp(changed, tz="UTC") + pd.Timedelta(seconds=s) for s in (-1, 0, 1)])
    wall = index.tz_convert(LOCAL_TIME_ZONE).tz_localize(None)
    assert set(np.diff(wall)) != {np.timedelta64(1, "s")}
    np.testing.assert_array_equal(wall_time(index), wall.to_numpy())


def test_settlement_periods_match_published_starts():
    # Elexon Insights: period 1 of 2026-05-06 starts 23:00Z the day before; 2026-06-07 period 32 is 14:30Z.
    index = pd.DatetimeIndex(["2026-05-05T23:00Z", "2026-06-07T14:30Z", "2026-07-01T08:30Z"])
    assert settlement_period(index).tolist() == [1, 32, 20]
    assert local_midnight_utc(index)[0] == index[0]


def test_splits_follow_each_other_without_gap_or_overlap():
    ordered = list(splits.SPLITS.values())
    assert all(a.end == b.start for a, b in pairwise(ordered))


def test_a_split_outside_the_table_is_refused(table):
    index = pd.DatetimeIndex(table.index)
    with pytest.raises(ValueError, match="no row of split 'test'"):
        splits.rows(index, "test")
    with pytest.raises(ValueError, match="allowed are"):
        splits.rows(index, "holdout")
    span = splits.rows(index, "validation")
    assert index[span.start] == pd.Timestamp("2023-07-01", tz="UTC")
    assert span.stop == len(index)
