"""Laws of what is played beside the splits: other markets say what they lack, shocks change what they name alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from compose import history_and_forecaster
from data import ood
from data.calendar import local_hour
from data.psychrometrics import wet_bulb_c
from data.schema import COLUMNS
from data.splits import Split
from envs.information import information
from evaluation.shocks import PRICES, Biased, heat_wave, scaled_prices
from world import Case, World, hard_cases, why_not

ROOT = Path(__file__).parent.parent
ROWS = slice(600, 1500)


def configuration(env: str, *more: str):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        data = ["data.table.start=2023-05-01", "data.table.end=2024-02-01"]
        return compose("evaluate", overrides=[f"env={env}", "robustness=full", *data, *more])


def hourly(price: str, start: str, hours: int, **columns) -> pd.DataFrame:
    index = pd.date_range(start, periods=hours, freq="h", tz="UTC", name="timestamp_utc")
    return pd.DataFrame({price: np.arange(float(hours)), **columns}, index=index)


def test_a_price_lasts_its_hour_is_converted_and_keeps_its_local_day():
    """A price that is the local hour of Los Angeles is the local hour of London in the grid table."""
    index = pd.date_range("2023-01-02 08:00", periods=72, freq="h", tz="UTC")
    hour = index.tz_convert("America/Los_Angeles").hour.to_numpy(dtype=np.float64)
    market = ood.MARKETS["us_cal"]
    table = ood.grid_table(pd.DataFrame({market.price: hour}, index=index), market, "2023-01-01")
    price = table["day_ahead_price_gbp_per_mwh"].to_numpy()
    np.testing.assert_allclose(price, np.floor(local_hour(pd.DatetimeIndex(table.index))) * ood.GBP_PER_USD)
    assert len(table) == 144


@pytest.mark.parametrize(("market", "zone"), [("de_lu", "Europe/Berlin"), ("us_tex", "America/Chicago")])
def test_midnight_is_londons(market, zone):
    midnight = pd.Timestamp("2023-01-10", tz=zone).tz_convert("UTC") + pd.Timedelta(
        hours=ood.MARKETS[market].hours_to_london
    )
    assert midnight == pd.Timestamp("2023-01-10", tz="UTC")


def test_what_a_market_lacks_is_constant_and_there_is_no_deviation_from_the_day_ahead_price():
    weather = {"temperature_c": 20.0 + np.arange(48.0) / 10, "relative_humidity_pct": 50.0}
    carbon = {"carbon_intensity_direct_g_per_kwh": np.arange(48.0)}
    market = ood.MARKETS["de_lu"]
    table = ood.grid_table(hourly(market.price, "2023-01-01", 48, **weather, **carbon), market, "2022-01-01")
    bare = ood.grid_table(hourly(market.price, "2023-01-01", 48), market, "2022-01-01")
    for found in (table, bare):
        for column in PRICES:
            pd.testing.assert_series_equal(found[column], found["day_ahead_price_gbp_per_mwh"], check_names=False)
    assert {c for c in bare if bare[c].min() == bare[c].max()} == set(ood.CONSTANTS)
    np.testing.assert_allclose(table["wet_bulb_c"], wet_bulb_c(table["temperature_c"], table["relative_humidity_pct"]))
    assert table["carbon_intensity_mix_derived_g_per_kwh"].iloc[[0, 1, 2]].tolist() == [0.0, 0.0, 1.0]


def test_a_gap_stays_a_gap():
    market = ood.MARKETS["nl"]
    table = hourly(market.price, "2023-01-01", 48)
    table.iloc[7] = np.nan
    found = ood.grid_table(table, market, "2022-01-01")["day_ahead_price_gbp_per_mwh"]
    assert found.isna().to_numpy().nonzero()[0].tolist() == [14, 15]


def test_an_unknown_market_or_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="us_cal"):
        ood.load(tmp_path, "mars")
    with pytest.raises(FileNotFoundError, match="de_lu_hourly"):
        ood.load(tmp_path, "de_lu")


def test_the_real_markets_load_whole(real_table):
    folder = ROOT.parent / "shared" / "data" / "ood"
    if not folder.is_dir():
        pytest.skip(f"no other markets in {folder}")
    for market in ood.MARKETS:
        table = ood.load(folder, market)
        assert table["day_ahead_price_gbp_per_mwh"].notna().mean() > 0.99
        assert list(table.columns) == list(real_table.columns)


def changed_cells(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    return (before != after) & ~(before.isna() & after.isna())


def test_a_price_shock_scales_every_price_of_the_span_and_nothing_else(table):
    shocked = scaled_prices(table, ROWS, 3.0)
    np.testing.assert_allclose(shocked[list(PRICES)].iloc[ROWS], 3.0 * table[list(PRICES)].iloc[ROWS])
    changed = changed_cells(table, shocked)
    assert set(changed.columns[changed.any()]) == set(PRICES)
    assert not changed.iloc[: ROWS.start].to_numpy().any()
    assert not changed.iloc[ROWS.stop :].to_numpy().any()


def test_a_shock_stays_plausible(table):
    shocked = scaled_prices(table, ROWS, 1e6)
    assert all(
        (shocked[c.name].dropna() <= c.high).all() and (shocked[c.name].dropna() >= c.low).all() for c in COLUMNS
    )


def test_a_heat_wave_warms_the_first_week_of_a_month(table):
    rows = slice(0, len(table))
    warmed = heat_wave(table, rows, 8.0, 7)
    changed = changed_cells(table, warmed)
    assert set(changed.columns[changed.any()]) == {"temperature_c", "wet_bulb_c"}
    first_week = pd.DatetimeIndex(table.index).day <= 7
    assert (changed["wet_bulb_c"].to_numpy() == first_week).all()
    rise_c = (warmed["wet_bulb_c"] - table["wet_bulb_c"])[first_week]
    np.testing.assert_allclose(rise_c, 8.0)


def test_a_biased_forecast_moves_what_is_expected_and_not_what_is_known(table, forecaster):
    honest, biased = information(table, forecaster), information(table, Biased(forecaster, 0.2))
    told = [i for i in range(honest.shape[1]) if not np.array_equal(honest[:, i], biased[:, i])]
    assert told == list(range(honest.shape[1] - 48, honest.shape[1]))  # the forecasts stand last
    np.testing.assert_allclose(biased[:, told], honest[:, told] + 0.2 * np.abs(honest[:, told]), rtol=1e-5, atol=1e-4)
    quantiles = Biased(forecaster, 0.2).predict(table).quantiles
    assert (np.diff(quantiles[np.isfinite(quantiles).all(axis=2)], axis=1) >= -1e-3).all()


def test_a_case_that_lacks_data_or_says_nothing_new_is_skipped_with_a_reason(tmp_path):
    cfg = configuration("battery", f"robustness.ood={tmp_path}")
    cases, skipped = hard_cases(cfg, *history_and_forecaster(cfg))
    assert [case.name for case in cases] == ["price_x3", "forecast_bias"]
    assert "de_lu_hourly.parquet" in skipped["de_lu"]
    assert "no row" in skipped["crisis_2021_22"]
    assert "nothing that battery depends on" in skipped["heat_wave"]
    assert "site.cluster.gpus" in skipped["half_cluster"]
    assert set(skipped) | {case.name for case in cases} == set(cfg.robustness.cases)


def test_half_a_cluster_has_half_the_gpus_and_a_hotter_site_feels_the_heat():
    cfg = configuration("cooling")
    history, forecaster = history_and_forecaster(cfg)
    cases = {case.name: case for case in hard_cases(cfg, history, forecaster)[0]}
    assert {"heat_wave", "half_cluster"} <= set(cases)
    half = World(cases["half_cluster"], cfg, history, forecaster)
    assert OmegaConf.to_container(half.cfg.env.system, resolve=True)["cluster"]["gpus"] == 0.5 * cfg.site.cluster.gpus
    assert cfg.site.cluster.gpus == instantiate(cfg.site.cluster).gpus
    assert half.data_hash == history.data_hash
    hot = World(cases["heat_wave"], cfg, history, forecaster)
    assert hot.data_hash != history.data_hash
    market = hot.env().system.scenario.market
    assert (market.wet_bulb_c - history.market.wet_bulb_c).max() == pytest.approx(8.0)


def test_a_column_that_never_changes_does_not_serve_an_environment_that_needs_it():
    cfg = configuration("cooling")
    history, forecaster = history_and_forecaster(cfg)
    source = {"_target_": "data.synthetic.generate", "start": "2023-05-01", "end": "2023-07-01"}
    case = Case("flat", Split("2023-05-10", "2023-05-20"), {"source": source})
    assert why_not(case, cfg, history, forecaster) is None
    held = history.table.assign(wet_bulb_c=9.0)
    world = type(history)(held, forecaster)
    assert "wet_bulb_c" in why_not(Case("flat", Split("2023-08-01", "2023-08-08"), {}), cfg, world, forecaster)
