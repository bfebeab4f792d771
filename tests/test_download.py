"""Laws of the download, against a local server that answers as the real services do."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from data import assemble, download, issued
from data.calendar import period_start, settlement_date, settlement_period
from data.clients.transport import Patience
from data.load import FILE_NAME, load
from data.parts import Parts, atomic
from data.schema import COLUMNS
from data.sources import SOURCES, ZONE, forecast_cutoff, midnight
from data.synthetic import generate
from tests.conftest import ROOT
from tests.replay import Replay, Trouble, as_published, serving

NAMES = [c.name for c in COLUMNS]
HASTY = Patience(attempts=3, first_wait_s=0.01, longest_wait_s=1.0, jitter_s=0.01, failures_to_open=10_000)
SPRING = date(2023, 3, 25), date(2023, 3, 27)  # the day between has 46 periods
AUTUMN = date(2023, 10, 28), date(2023, 10, 30)  # the day between has 50
NEW_YEAR = date(2022, 12, 31), date(2023, 1, 1)


@pytest.fixture(scope="module")
def truth():
    """What the services would have published around two clock changes and a new year."""
    return as_published(
        pd.concat(generate(a, b, seed=6) for a, b in (("2022-12-30", "2023-01-03"), ("2023-03-23", "2023-03-29")))
    )


@pytest.fixture(scope="module")
def autumn():
    return as_published(generate("2023-10-27", "2023-10-31", seed=7))


@pytest.fixture
def replay(truth):
    found = Replay(truth)
    with serving(found) as urls:
        found.urls = urls
        yield found


def fetch(replay, folder, days=SPRING, now=None):
    return asyncio.run(download.update(folder, *days, replay.urls, now, HASTY))


def same(got, expected, **tolerance):
    expected = expected.loc[got.index, NAMES]
    pd.testing.assert_frame_equal(got[NAMES], expected, check_freq=False, check_index_type=False, **tolerance)


@pytest.mark.parametrize(("days", "periods"), [(SPRING, 48 + 46 + 48), (NEW_YEAR, 96)])
def test_the_table_rebuilt_from_answers_is_the_table_they_were_made_from(replay, truth, tmp_path, days, periods):
    outcome = fetch(replay, tmp_path, days)
    assert outcome.failed == ()
    table = load(tmp_path)
    assert len(table) == periods
    same(table, truth, rtol=1e-9)


def test_a_day_of_fifty_periods_is_rebuilt(autumn, tmp_path):
    found = Replay(autumn)
    with serving(found) as found.urls:
        fetch(found, tmp_path, AUTUMN)
    table = pd.read_parquet(tmp_path / FILE_NAME)
    assert table.groupby("settlement_date")["settlement_period"].agg(["min", "max", "count"]).to_numpy().tolist() == [
        [1, 48, 48],
        [1, 50, 50],
        [1, 48, 48],
    ]
    same(table, autumn, rtol=1e-9)


def test_the_configuration_for_real_data_reads_what_was_downloaded(replay, truth, tmp_path):
    fetch(replay, tmp_path)
    conf = OmegaConf.create({"data": OmegaConf.load(ROOT / "conf" / "data" / "gb.yaml")})
    assert conf.data.path == "data/gb", "the download's own folder"
    conf.data.path = str(tmp_path)
    same(instantiate(conf.data.table), truth, rtol=1e-9)


def test_what_was_had_is_not_asked_for_again(replay, tmp_path):
    first = fetch(replay, tmp_path)
    asked = len(replay.asked)
    again = fetch(replay, tmp_path)
    assert len(replay.asked) == asked
    assert (again.fetched, again.kept) == (0, first.fetched)
    pd.testing.assert_frame_equal(again.table, first.table)


def test_a_longer_time_asks_only_for_what_is_new(replay, truth, tmp_path):
    fetch(replay, tmp_path)
    before = len(replay.asked)
    fetch(replay, tmp_path, (SPRING[0] - timedelta(days=1), SPRING[1] + timedelta(days=1)))
    new = replay.asked[before:]
    dates = [url.split("/")[-1][:10] for url in new if "system-prices" in url]
    assert sorted(dates) == ["2023-03-24", "2023-03-28"]
    assert not any("Historic Demand" in url or "imrp" in url for url in new), "the year was there"
    same(load(tmp_path), truth, rtol=1e-9)


def test_a_download_that_is_killed_goes_on_where_it_was(replay, truth, tmp_path):
    whole = fetch(replay, tmp_path / "whole")
    replay.asked.clear()
    replay.delay_s = 0.1
    urls = {f"GRIDPILOT_{name.upper()}_URL": url for name, url in replay.urls._asdict().items()}
    command = [sys.executable, "-m", "data.download", "--from", str(SPRING[0]), "--to", str(SPRING[1])]
    cut = tmp_path / "cut"
    process = subprocess.Popen(
        [*command, "--output", str(cut)], cwd=ROOT, env=os.environ | urls, stdout=subprocess.DEVNULL
    )
    limit = time.monotonic() + 60.0
    while len(list(cut.glob("parts/*/*.parquet"))) < 4:
        assert process.poll() is None, "it must still be running"
        assert time.monotonic() < limit
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / FILE_NAME).exists()
    there = {path.relative_to(cut / "parts") for path in cut.glob("parts/*/[!.]*.parquet")}
    replay.delay_s = 0.0
    outcome = fetch(replay, cut)
    assert outcome.kept == len(there)
    assert outcome.fetched == whole.fetched - len(there)
    pd.testing.assert_frame_equal(pd.read_parquet(cut / FILE_NAME), pd.read_parquet(tmp_path / "whole" / FILE_NAME))


def test_restated_days_are_fetched_again_until_they_are_settled(replay, truth, tmp_path):
    days = SPRING[0], SPRING[0]
    now = midnight(SPRING[0], 2)
    fetch(replay, tmp_path, days, now)
    at = truth.index.get_loc(pd.Timestamp("2023-03-25 12:00Z"))
    restated = truth.copy()
    restated.iloc[at, truth.columns.get_loc("imbalance_price_gbp_per_mwh")] = -14.14
    replay.table["imbalance_price_gbp_per_mwh"] = restated["imbalance_price_gbp_per_mwh"]
    assert fetch(replay, tmp_path, days, now + timedelta(hours=1)).restated == {}, "asked for at most once a day"
    outcome = fetch(replay, tmp_path, days, now + timedelta(days=2))
    assert outcome.restated == {"system_prices": 2}, "a buy and a sell price"
    same(load(tmp_path), restated, rtol=1e-9)
    fetch(replay, tmp_path, days, now + timedelta(days=40))
    asked = replay.count("system-prices")
    fetch(replay, tmp_path, days, now + timedelta(days=80))
    assert replay.count("system-prices") == asked


def test_following_shows_tomorrow_as_far_as_it_is_known(replay, truth, tmp_path):
    today, tomorrow = SPRING[0], SPRING[0] + timedelta(days=1)
    known = replay.table["date"] <= str(today)
    replay.table.loc[~known, ["imbalance_price_gbp_per_mwh", "demand_mw", "temperature_c"]] = np.nan
    morning = forecast_cutoff(tomorrow) - timedelta(hours=1)
    outcome = fetch(replay, tmp_path, (today, tomorrow), morning)
    assert outcome.failed == ()
    table = load(tmp_path)
    ahead = table.loc[midnight(tomorrow) :]
    assert len(ahead) == 46
    for name in ("day_ahead_price_gbp_per_mwh", "demand_forecast_da_mw", "wind_forecast_da_mw"):
        same(ahead[[name]].reindex(columns=NAMES), truth.loc[ahead.index, [name]].reindex(columns=NAMES), rtol=1e-9)
    assert ahead["imbalance_price_gbp_per_mwh"].isna().all()
    assert ahead["temperature_c"].isna().all()
    asked = replay.count("WINDFOR")
    fetch(replay, tmp_path, (today, tomorrow), morning + timedelta(minutes=5))
    assert replay.count("WINDFOR") == asked, "a forecast that was just fetched is not asked for again"
    assert replay.count(f"system-prices/{tomorrow}") == 0


def test_following_writes_the_table_of_today_and_ends_when_interrupted(tmp_path):
    today = datetime.now(UTC).date()
    found = Replay(as_published(generate(str(today - timedelta(days=3)), str(today + timedelta(days=3)), seed=8)))
    with serving(found) as urls:
        environment = {f"GRIDPILOT_{name.upper()}_URL": url for name, url in urls._asdict().items()}
        process = subprocess.Popen(
            [sys.executable, "-m", "data.download", "--follow", "--from", str(today), "--output", str(tmp_path)],
            cwd=ROOT,
            env=os.environ | environment | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert re.fullmatch(r"\d\d:\d\d:\d\d UTC: \d+ parts fetched, 0 failed\n", process.stdout.readline())
            table = load(tmp_path)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()
    assert process.returncode == 0
    assert table.index[-1] == midnight(datetime.now(ZONE).date(), 2) - timedelta(minutes=30), (
        "up to the end of tomorrow"
    )


def test_a_forecast_that_its_service_forgets_is_kept(replay, truth, tmp_path):
    today, tomorrow = SPRING[0], SPRING[0] + timedelta(days=1)
    replay.lists["/neso/datastore_search_sql"] = {"success": True, "result": {"records": []}}  # no archive yet
    stamp = f"{today}T08:00:03.000001"
    shown = {"id": "now", "name": "Embedded Solar and Wind Forecast", "datastore_active": True, "last_modified": stamp}
    archive = {"id": "old", "name": "Embedded Solar and Wind Forecast Archive 2023", "datastore_active": True}
    replay.packages = {"embedded-wind-and-solar-forecasts": [shown, archive]}
    fetch(replay, tmp_path, (today, tomorrow), datetime(2023, 3, 25, 8, 30, tzinfo=UTC))
    shown["last_modified"] = f"{today}T11:00:03.000001"  # after the cut-off, and the earlier issue is gone
    replay.table["embedded_wind_forecast_da_mw"] += 500.0
    fetch(replay, tmp_path, (today, tomorrow), datetime(2023, 3, 25, 11, 30, tzinfo=UTC))
    ahead = load(tmp_path).loc[midnight(tomorrow) :, "embedded_wind_forecast_da_mw"]
    np.testing.assert_allclose(ahead, truth.loc[ahead.index, "embedded_wind_forecast_da_mw"])


# What the sources may not do to the table


def test_forecasts_issued_after_the_cut_off_change_nothing(replay, tmp_path, truth):
    fetch(replay, tmp_path)
    parts = Parts(tmp_path / "parts")

    def read(corrupt):
        def rows(source):
            found = parts.read(source, [c.key for c in download.chunks_of(source, *SPRING)])
            if corrupt and "published_at" in found:
                late = found.assign(published_at=found["published_at"] + timedelta(hours=12))
                values = [c for c in late if c.endswith("_mw")]
                found = pd.concat([found, late.assign(**{c: late[c] + 1000.0 for c in values})], ignore_index=True)
            return found

        return rows

    honest, _ = assemble.table(read(False), *SPRING)
    corrupted, _ = assemble.table(read(True), *SPRING)
    pd.testing.assert_frame_equal(honest, corrupted)


def test_a_forecast_with_no_issue_in_time_is_a_gap(replay, tmp_path):
    fetch(replay, tmp_path)
    parts = Parts(tmp_path / "parts")

    def read(source):
        rows = parts.read(source, [c.key for c in download.chunks_of(source, *SPRING)])
        return rows.assign(published_at=rows["published_at"] + timedelta(hours=5)) if "published_at" in rows else rows

    table, quirks = assemble.table(read, *SPRING)
    assert table["wind_forecast_da_mw"].isna().all()
    assert table["demand_forecast_da_mw"].isna().all()
    assert quirks["demand_forecast: half-hour with no issue in time"] == 142


def test_cardinal_points_stand_in_for_a_day_without_a_half_hourly_forecast(replay, truth, tmp_path):
    replay.lists["/elexon/datasets/NDF"] = {"data": []}
    outcome = fetch(replay, tmp_path, (SPRING[0], SPRING[0]))
    assert outcome.quirks["demand_forecast: day drawn through NESO's cardinal points"] == 1
    same(load(tmp_path), truth, rtol=1e-9)


def test_lines_through_cardinal_points_meet_them_half_an_hour_before_their_label():
    points = pd.DataFrame(
        {"from_hhmm": [30, 430, 1700, 2400], "to_hhmm": [30, 730, 1930, 2400], "demand_mw": [20, 10, 40, 30]}
    )
    drawn = issued.through_points(points, date(2024, 1, 15))
    at = lambda text: drawn.loc[f"2024-01-15 {text}Z"]  # noqa: E731
    assert (at("00:00"), at("05:30"), at("17:30"), at("23:30")) == (20.0, 10.0, pytest.approx(39.38775510204081), 30.0)
    assert drawn.loc["2024-01-15 06:00Z":"2024-01-15 17:00Z"].is_monotonic_increasing
    assert len(issued.through_points(points, date(2024, 3, 31))) == 46
    assert len(issued.through_points(points, date(2023, 10, 29))) == 50


def test_oddities_of_the_sources_are_left_out_and_counted(replay, truth, tmp_path):
    day = SPRING[0]
    prices = replay.answer(f"/elexon/balancing/settlement/system-prices/{day}", {})["data"]
    prices[10] |= {"systemBuyPrice": prices[10]["systemSellPrice"] + 1.0}  # there is one price
    prices[11] |= {"settlementPeriod": 49}  # this day has 48
    prices[12] |= {"startTime": "2023-03-25T05:30:00Z"}  # label and time disagree
    prices.append(prices[13] | {"createdDateTime": "2023-03-26T11:00:00Z", "systemSellPrice": 5, "systemBuyPrice": 5})
    prices[14] |= {"systemSellPrice": None, "systemBuyPrice": None}
    replay.lists[f"/elexon/balancing/settlement/system-prices/{day}"] = {"data": prices}
    outcome = fetch(replay, tmp_path, (day, day))
    price = load(tmp_path)["imbalance_price_gbp_per_mwh"]
    assert price.index[price.isna()].hour.tolist() == [5, 5, 6, 7]
    assert price.iloc[13] == 5.0, "the version made last counts"
    assert outcome.quirks["system_prices: buy and sell price differ, left out"] == 1
    assert outcome.quirks["system_prices: label names no such half-hour"] == 2
    assert outcome.quirks["system_prices: half-hour sent twice"] == 1
    assert outcome.quirks["market_index: provider without volume, left out"] == 48


def test_a_dead_reading_of_the_fuels_is_a_gap_and_not_clean_power(replay, truth, tmp_path):
    real = replay.answer(
        "/elexon/datasets/FUELHH", {"settlementDateFrom": "2023-03-20", "settlementDateTo": "2023-03-26"}
    )
    noon, evening = {"2023-03-25T12:00:00Z", "2023-03-25T12:30:00Z"}, "2023-03-25T20:00:00Z"
    rows = [r | {"generation": 0.0} if r["startTime"] in noon and r["fuelType"] == "CCGT" else r for r in real["data"]]
    rows = [r for r in rows if r["startTime"] != "2023-03-25T18:00:00Z" or r["fuelType"] != "WIND"]
    rows = [r | {"generation": None} if r["startTime"] == evening and r["fuelType"] == "COAL" else r for r in rows]
    replay.lists["/elexon/datasets/FUELHH"] = {"data": rows}
    outcome = fetch(replay, tmp_path, (SPRING[0], SPRING[0]))
    table = load(tmp_path)
    for name in ("carbon_intensity_mix_derived_g_per_kwh", "wind_mw"):
        gaps = table.index[table[name].isna()]
        assert gaps.strftime("%H:%M").tolist() == ["12:00", "12:30", "18:00", "20:00"]
    assert outcome.quirks["fuel_mix: dead reading, left out"] == 2
    assert table["demand_mw"].notna().all()


def test_a_service_that_fails_leaves_a_gap_that_is_filled_the_next_time(replay, truth, tmp_path, capsys):
    replay.misbehave("system-prices/2023-03-26", *[Trouble(status=500)] * HASTY.attempts)
    outcome = fetch(replay, tmp_path)
    assert len(outcome.failed) == 1
    assert "system_prices 2023-03-26" in outcome.failed[0]
    assert load(tmp_path)["imbalance_price_gbp_per_mwh"].isna().sum() == 46
    asked = len(replay.asked)
    assert fetch(replay, tmp_path).failed == ()
    assert len(replay.asked) == asked + 1
    same(load(tmp_path), truth, rtol=1e-9)


def test_a_column_that_no_service_gave_writes_no_table_and_says_so(replay, tmp_path):
    replay.misbehave("/lccc/", *[Trouble(status=404)] * 9)
    outcome = fetch(replay, tmp_path)
    assert not (tmp_path / FILE_NAME).exists()
    assert any("day_ahead_price_gbp_per_mwh holds no value" in line for line in outcome.failed)


def test_slow_cut_and_limited_answers_do_not_change_the_table(replay, truth, tmp_path):
    replay.misbehave("/elexon/", *[Trouble(status=429, headers={"Retry-After": "0"}), Trouble(cut=True)] * 2)
    replay.misbehave("/neso/", Trouble(status=503), Trouble(delay_s=0.3))
    assert fetch(replay, tmp_path, SPRING).failed == ()
    same(load(tmp_path), truth, rtol=1e-9)


def test_the_command_line_tells_rows_gaps_quirks_and_failures(replay, tmp_path, monkeypatch, capsys):
    for name, url in replay.urls._asdict().items():
        monkeypatch.setenv(f"GRIDPILOT_{name.upper()}_URL", url)
    arguments = ["--from", "2023-03-25", "--to", "2023-03-25", "--output", str(tmp_path)]
    assert download.main(arguments) == 0
    said = capsys.readouterr().out
    assert "48 half-hours" in said
    assert "wet_bulb_c" in said
    assert "provider without volume" in said
    shutil.rmtree(tmp_path / "parts" / "system_prices")
    replay.misbehave("system-prices", Trouble(status=404))
    assert download.main(arguments) == 1
    assert "failed: system_prices 2023-03-25" in capsys.readouterr().out
    with pytest.raises(ValueError, match="before --from"):
        download.main(["--from", "2023-03-25", "--to", "2023-03-24", "--output", str(tmp_path)])


# The parts


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def crash():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        crash()
    assert path.read_text() == "old"
    with atomic(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_pieces_cover_every_day_once(source):
    first, last = date(2022, 12, 20), date(2023, 4, 10)
    pieces = download.chunks_of(source, first, last)
    days = [piece.first + timedelta(days=n) for piece in pieces for n in range((piece.last - piece.first).days + 1)]
    assert len(days) == len(set(days))
    assert set(days) >= {first + timedelta(days=n) for n in range((last - first).days + 1)}
    assert len({piece.key for piece in pieces}) == len(pieces)
    assert all(SOURCES[source].chunk(piece.last) == piece for piece in pieces)


def test_period_starts_undo_settlement_labels():
    index = pd.date_range("2023-01-01", "2024-01-01", freq="30min", tz="UTC")
    assert (period_start(settlement_date(index).tolist(), settlement_period(index).tolist()) == index).all()
    wrong = period_start([date(2023, 3, 26), date(2023, 3, 25), date(2023, 10, 29), date(2023, 3, 25)], [47, 49, 51, 0])
    assert wrong.isna().all()


# The real table


def links(row):
    """Flows that fit a real row's net import and carbon intensity; the table keeps only their sum."""
    inland = {"CCGT": row.gas_mw, "COAL": row.coal_mw, "NUCLEAR": row.nuclear_mw, "WIND": row.wind_mw}
    inland |= {"NPSHYD": row.hydro_mw, "BIOMASS": row.biomass_mw, "PS": row.pumped_storage_mw, "OTHER": row.other_mw}
    fuels = {fuel: float(output) for fuel, output in inland.items()}
    c, embedded = float(row.carbon_intensity_mix_derived_g_per_kwh), float(row.embedded_wind_mw + row.embedded_solar_mw)
    factors = {"CCGT": 394.0, "COAL": 937.0, "BIOMASS": 120.0, "OTHER": 300.0}
    emitted = sum(fuels[fuel] * factor for fuel, factor in factors.items())
    supply = sum(max(output, 0.0) for fuel, output in fuels.items()) + embedded
    for imports in max(float(row.net_import_mw), 0.0) + np.arange(0.0, 8000.0, 50.0):
        dutch = (c * (supply + imports) - emitted - 16.0 * imports) / (474.0 - 16.0)
        if -1e-9 <= dutch <= imports + 1e-9:
            flows = {"INTNED": dutch, "INTNSL": imports - dutch, "INTFR": float(row.net_import_mw) - imports}
            return fuels | flows
    return None


@pytest.mark.parametrize("day", [date(2023, 5, 7), date(2024, 3, 31), date(2023, 10, 29)])
def test_a_real_day_is_rebuilt_to_the_table_that_the_loader_reads(real_table, real_raw, tmp_path, monkeypatch, day):
    around = slice(midnight(day, -2), midnight(day, 3))
    known = real_raw.loc[around]
    expected = as_published(real_table.loc[around])
    found = Replay(expected)
    flows = {start: links(row) for start, row in zip(known.index, known.itertuples(), strict=True)}
    monkeypatch.setattr("tests.replay.fuels", lambda row: flows[row.Index] or {})
    with serving(found) as found.urls:
        outcome = fetch(found, tmp_path, (day, day))
    assert outcome.failed == ()
    table = load(tmp_path)
    fitted = [bool(flows[start]) for start in table.index]
    assert np.mean(fitted) > 0.9, "nearly every real mix has flows that explain its carbon intensity"
    same(table[fitted], expected, rtol=1e-6, atol=0.006)


def test_the_real_table_has_no_dead_reading_left(real_raw):
    names = ["gas_mw", "coal_mw", "nuclear_mw", "wind_mw", "hydro_mw", "biomass_mw", "pumped_storage_mw", "other_mw"]
    mix = real_raw[[*names, "net_import_mw"]].astype(np.float64)
    gaps = mix["wind_mw"].isna()
    assemble._drop_faults(mix, real_raw["demand_mw"].astype(np.float64), download.Counter())
    assert (mix["wind_mw"].isna() == gaps).all()
