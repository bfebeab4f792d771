"""The synthetic grid: its shape and determinism, and its statistics against published ones."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import psychrometrics, synthetic
from data.load import checked, load
from data.schema import COLUMNS, INDEX_NAME

DAY_AHEAD = "day_ahead_price_gbp_per_mwh"
IMBALANCE = "imbalance_price_gbp_per_mwh"
INDEX_PRICE = "market_index_price_gbp_per_mwh"
VOLUME = "net_imbalance_volume_mwh"
CARBON = "carbon_intensity_mix_derived_g_per_kwh"
ROOT = Path(__file__).parents[1]

Measure = Callable[[pd.DataFrame], float]


class Statistic(NamedTuple):
    """A published figure, how far the synthetic one may be from it, and how to take it."""

    name: str
    target: float
    tolerance: float
    measure: Measure


def local_hour(table):
    return table.index.tz_convert("Europe/London").hour


def deviation(table):
    return table[IMBALANCE] - table[DAY_AHEAD]


def daily_spread(table, column):
    days = table[column].groupby(table.index.floor("D"))
    return days.max() - days.min()


def autocorrelation(values, lag):
    return values.corr(values.shift(lag))


def within_day(values):
    return values - values.groupby(values.index.floor("D")).transform("mean")


def sized(name, target, relative, measure):
    return Statistic(name, target, abs(target) * relative, measure)


def by_year(column, targets, relative):
    return [
        sized(f"{column} mean {year}", target, relative, lambda t, y=year: t.loc[t.index.year == y, column].mean())
        for year, target in zip(range(2020, 2025), targets, strict=True)
    ]


def error_size(column, target, relative):
    actual = column.replace("_forecast_da", "")
    return sized(f"{column} mean abs. error", target, relative, lambda t: (t[column] - t[actual]).abs().mean())


def moments(column, targets, tolerances):
    measures = (
        lambda t: t[column].mean(),
        lambda t: t[column].std(),
        lambda t: t[column].quantile(0.01),
        lambda t: t[column].quantile(0.99),
    )
    names = ("mean", "std", "1 %", "99 %")
    return [Statistic(f"{column} {n}", *rest) for n, *rest in zip(names, targets, tolerances, measures, strict=False)]


# Source of every target: published GB statistics 2020-2024 (Elexon, NESO, day-ahead auctions, Open-Meteo), to 2024-06.
# Carbon by year is NESO's figure plus the 4.7 g/kWh by which the derived column exceeds it.
STATISTICS = [
    *by_year(DAY_AHEAD, (35.3, 117.8, 205.7, 94.2, 65.1), 0.12),
    *by_year(IMBALANCE, (34.9, 112.5, 200.1, 94.7, 64.4), 0.12),
    *by_year(CARBON, (172.7, 187.7, 185.7, 153.7, 127.7), 0.08),
    sized("day-ahead std", 95.1, 0.15, lambda t: t[DAY_AHEAD].std()),
    sized("day-ahead daily spread, mean", 95.0, 0.15, lambda t: daily_spread(t, DAY_AHEAD).mean()),
    sized("day-ahead daily spread, median", 58.0, 0.15, lambda t: daily_spread(t, DAY_AHEAD).median()),
    sized("imbalance daily spread, mean", 187.0, 0.15, lambda t: daily_spread(t, IMBALANCE).mean()),
    sized("imbalance daily spread, median", 128.0, 0.22, lambda t: daily_spread(t, IMBALANCE).median()),
    Statistic("day-ahead negative, %", 0.8, 0.4, lambda t: 100 * (t[DAY_AHEAD] < 0).mean()),
    Statistic("imbalance negative, %", 2.8, 0.7, lambda t: 100 * (t[IMBALANCE] < 0).mean()),
    Statistic("market index negative, %", 1.6, 1.0, lambda t: 100 * (t[INDEX_PRICE] < 0).mean()),
    Statistic("deviation mean", -2.5, 4.0, lambda t: deviation(t).mean()),
    sized("deviation std", 91.0, 0.2, lambda t: deviation(t).std()),
    sized("deviation mean abs.", 42.9, 0.1, lambda t: deviation(t).abs().mean()),
    sized("deviation median abs.", 27.8, 0.1, lambda t: deviation(t).abs().median()),
    sized("deviation 5 %", -98.0, 0.12, lambda t: deviation(t).quantile(0.05)),
    sized("deviation 95 %", 80.0, 0.12, lambda t: deviation(t).quantile(0.95)),
    Statistic("deviation above 0, %", 51.0, 3.0, lambda t: 100 * (deviation(t) > 0).mean()),
    sized("market index less day-ahead, mean abs.", 18.7, 0.15, lambda t: (t[INDEX_PRICE] - t[DAY_AHEAD]).abs().mean()),
    Statistic("day-ahead and imbalance, correlation", 0.65, 0.1, lambda t: t[DAY_AHEAD].corr(t[IMBALANCE])),
    Statistic("day-ahead autocorrelation 1 h", 0.95, 0.03, lambda t: autocorrelation(t[DAY_AHEAD], 2)),
    Statistic("day-ahead autocorrelation 24 h", 0.87, 0.1, lambda t: autocorrelation(t[DAY_AHEAD], 48)),
    Statistic("day-ahead autocorrelation 168 h", 0.75, 0.08, lambda t: autocorrelation(t[DAY_AHEAD], 336)),
    Statistic("imbalance autocorrelation 0.5 h", 0.78, 0.06, lambda t: autocorrelation(t[IMBALANCE], 1)),
    Statistic("volume autocorrelation 0.5 h", 0.79, 0.02, lambda t: autocorrelation(t[VOLUME], 1)),
    # The four below: measured on 2020-01 to 2023-06.
    Statistic("volume autocorrelation 2 h", 0.38, 0.05, lambda t: autocorrelation(t[VOLUME], 4)),
    Statistic("deviation autocorrelation 0.5 h", 0.61, 0.06, lambda t: autocorrelation(deviation(t), 1)),
    Statistic("deviation autocorrelation 1 h", 0.46, 0.06, lambda t: autocorrelation(deviation(t), 2)),
    Statistic("deviation autocorrelation 6 h", 0.07, 0.05, lambda t: autocorrelation(deviation(t), 12)),
    Statistic("volume mean", 12.5, 20.0, lambda t: t[VOLUME].mean()),
    sized("volume std", 320.5, 0.05, lambda t: t[VOLUME].std()),
    sized("volume 99 %", 853.6, 0.15, lambda t: t[VOLUME].quantile(0.99)),
    Statistic("price and carbon, correlation", 0.36, 0.06, lambda t: t[DAY_AHEAD].corr(t[CARBON])),
    Statistic("the same within the day", 0.30, 0.15, lambda t: within_day(t[DAY_AHEAD]).corr(within_day(t[CARBON]))),
    Statistic("carbon and wind, correlation", -0.70, 0.06, lambda t: t[CARBON].corr(t["wind_mw"])),
    *moments(CARBON, (169.7, 62.8, 52.1, 295.5), (8.0, 6.0, 20.0, 20.0)),
    *moments("temperature_c", (11.3, 6.2, -2.2, 26.4), (0.6, 0.5, 1.5, 1.5)),
    *moments("wet_bulb_c", (8.9, 5.1, -3.0, 19.2), (0.6, 0.4, 1.5, 1.5)),
    *moments("relative_humidity_pct", (78.5, 15.1), (3.0, 2.0)),
    *moments("demand_mw", (26_996.0, 6_243.0, 16_696.0, 42_341.0), (600.0, 500.0, 800.0, 1_500.0)),
    *moments("wind_mw", (6_659.0, 4_083.0, 433.0, 15_588.0), (350.0, 250.0, 150.0, 700.0)),
    *moments("embedded_solar_mw", (1_469.0, 2_261.0, 0.0, 8_646.0), (100.0, 200.0, 0.0, 600.0)),
    *moments("embedded_wind_mw", (1_871.0, 1_187.0), (120.0, 120.0)),
    error_size("wind_forecast_da_mw", 1_158.0, 0.1),
    error_size("demand_forecast_da_mw", 811.0, 0.05),
    error_size("embedded_solar_forecast_da_mw", 229.0, 0.1),
    error_size("embedded_wind_forecast_da_mw", 225.0, 0.1),
    Statistic("wind forecast bias", -468.0, 80.0, lambda t: (t["wind_forecast_da_mw"] - t["wind_mw"]).mean()),
    sized("imbalance above 500, half-hours", 556, 0.4, lambda t: (t[IMBALANCE] > 500).sum()),
    sized("imbalance below -50, half-hours", 485, 0.3, lambda t: (t[IMBALANCE] < -50).sum()),
    sized("imbalance highest", 4_038.0, 0.15, lambda t: t[IMBALANCE].max()),
    sized("imbalance lowest", -185.0, 0.25, lambda t: t[IMBALANCE].min()),
    sized("day-ahead highest", 2_586.0, 0.3, lambda t: t[DAY_AHEAD].max()),
]
# By local hour, GBP/MWh and units of 100 MW.
DAY_AHEAD_BY_HOUR = np.array(
    [91, 87, 82, 79, 80, 88, 104, 115, 120, 118, 111, 107, 105, 100, 98, 101, 123, 151, 153, 142, 124, 113, 99, 99]
)
DEMAND_BY_HOUR = np.array(
    [
        223,
        217,
        210,
        204,
        202,
        209,
        238,
        271,
        289,
        295,
        292,
        289,
        289,
        285,
        283,
        289,
        308,
        327,
        332,
        325,
        311,
        291,
        264,
        236,
    ]
)


@pytest.fixture(scope="module")
def table():
    return synthetic.generate()


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda s: s.name)
def test_statistic_is_near_the_published_one(table, statistic):
    assert statistic.measure(table) == pytest.approx(statistic.target, abs=statistic.tolerance)


@pytest.mark.parametrize(("column", "published"), [(DAY_AHEAD, DAY_AHEAD_BY_HOUR), ("demand_mw", DEMAND_BY_HOUR)])
def test_day_has_the_published_shape(table, column, published):
    by_hour = table[column].groupby(local_hour(table)).mean()
    assert np.corrcoef(by_hour, published)[0, 1] > 0.97
    assert by_hour.idxmax() == np.argmax(published)


def test_side_of_the_deviation_is_told_by_the_volume(table):
    short = table[VOLUME] > 0
    above = deviation(table) > 0
    assert above[short].mean() == pytest.approx(0.95, abs=0.03)  # measured 2020-01 to 2023-06
    assert above[~short].mean() == pytest.approx(0.03, abs=0.03)


def test_deviation_of_two_periods_ago_foretells_part_of_this_one(table):
    spread = deviation(table)
    slope = spread.cov(spread.shift(2)) / spread.var()
    unexplained = (spread - slope * spread.shift(2)).var() / spread.var()
    assert 0.7 < unexplained < 0.9  # some information, far from all of it


def test_peaks_and_tail_prices_deviate_most_when_the_system_is_long(table):
    ratio = table[DAY_AHEAD] / table[DAY_AHEAD].rolling(48 * 60, center=True, min_periods=500).median()
    distance = deviation(table).abs()[table[VOLUME] < 0]
    assert distance[ratio > 1.6].median() > 2.0 * distance[ratio.between(0.7, 1.0)].median()


def test_table_is_what_the_loader_accepts(table):
    pd.testing.assert_frame_equal(checked(table), table)
    assert list(table.columns) == [c.name for c in COLUMNS]
    assert table.index.name == INDEX_NAME
    assert str(table.index[0]) == "2020-01-01 00:00:00+00:00"
    assert str(table.index[-1]) == "2024-06-30 23:30:00+00:00"
    assert (table.dtypes == np.float64).all()
    assert not table.isna().to_numpy().any()


def test_same_seed_gives_the_same_table_and_another_seed_another():
    first, again, other = (synthetic.generate("2022-03-01", "2022-04-01", seed) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    night = [c for c in first.columns if "solar" not in c]  # zero at night whatever the seed
    assert (first[night] != other[night]).to_numpy().mean() > 0.99


@given(
    start=st.one_of(
        st.datetimes(pd.Timestamp("2018-01-01"), pd.Timestamp("2027-01-01")),
        st.sampled_from([pd.Timestamp(d) for d in ("2022-03-26", "2022-10-29", "2024-02-28", "2023-12-31")]),
    ),
    periods=st.integers(1, 200),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_any_range_is_well_formed(start, periods, seed):
    start = pd.Timestamp(start).floor("30min").tz_localize("UTC")
    table = synthetic.generate(str(start), str(start + periods * pd.Timedelta("30min")), seed)
    assert table.index.equals(pd.date_range(start, periods=periods, freq="30min", name=INDEX_NAME))
    assert np.isfinite(table.to_numpy()).all()
    for column in COLUMNS:
        assert table[column.name].between(column.low, column.high).all(), column.name
    assert (table[DAY_AHEAD].groupby(table.index.floor("h")).transform("first") == table[DAY_AHEAD]).all()
    assert (table["wet_bulb_c"] <= table["temperature_c"]).all()


def test_demand_follows_the_local_clock_across_a_clock_change():
    years = [synthetic.generate("2022-01-01", "2023-01-01", seed) for seed in range(2)]
    for table in years:
        demand = table["demand_mw"] + table["embedded_solar_mw"] + table["embedded_wind_mw"]
        local = table.index.tz_convert("Europe/London")
        steepest = []
        for month, days in ((3, range(20, 26)), (3, range(28, 32))):  # GMT, then summer time
            rows = (local.month == month) & local.day.isin(days) & (local.day_of_week < 5)
            steepest.append(demand[rows].groupby(table.index[rows].hour).mean().loc[3:10].diff().idxmax())
        assert steepest[0] - steepest[1] == 1


def test_wet_bulb_agrees_with_psychrolib(table):
    sample = table.iloc[::97]
    exact = psychrometrics.wet_bulb_c(sample["temperature_c"], sample["relative_humidity_pct"])
    error = (sample["wet_bulb_c"] - exact)[sample["relative_humidity_pct"].between(5, 99)]
    assert error.abs().max() < 1.3  # Stull's own bound of about 1 C, and psychrolib's jump at freezing


def test_sun_is_down_at_midnight_and_highest_in_june(table):
    solar = table["embedded_solar_mw"]
    assert (solar[table.index.hour.isin([23, 0, 1])] == 0).all()
    assert solar.groupby(table.index.month).max().idxmax() in (5, 6, 7)


@pytest.mark.parametrize(
    ("start", "end", "seed", "message"),
    [
        ("2024-01-02", "2024-01-01", 0, "not after start"),
        ("2024-01-01", "2024-01-01", 0, "not after start"),
        ("2024-01-01T00:10", "2024-01-02", 0, "half-hour"),
        ("2024-01-01", "soon", 0, "end is 'soon'"),
        ("NaT", "2024-01-01", 0, "start is 'NaT'"),
        ("2024-01-01", "2024-01-02", -1, "seed is -1"),
    ],
)
def test_bad_arguments_are_refused_by_name(start, end, seed, message):
    with pytest.raises(ValueError, match=message):
        synthetic.generate(start, end, seed)


def test_command_writes_what_the_loader_reads(tmp_path):
    command = [sys.executable, "-m", "data.synthetic", "--days", "2", "--seed", "7", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert "96 half-hours from 2024-01-01 00:00:00+00:00" in done.stdout
    expected = synthetic.generate("2024-01-01", "2024-01-03", 7)
    pd.testing.assert_frame_equal(load(tmp_path), expected, check_freq=False)


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--days", "0"], "--days is 0"), (["--start", "soon"], "--start is 'soon'")]
)
def test_command_explains_a_bad_argument(arguments, message, capsys):
    with pytest.raises(SystemExit):
        synthetic.main(arguments)
    assert message in capsys.readouterr().err
