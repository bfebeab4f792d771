"""What a backtest of forecasters finds, keeps and shows; and forecast.py as a user runs it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.forecasts import page
from evaluation.forecast_report import PAGE, unit_of, words, write_report
from evaluation.forecast_results import Made, overall, read_results, target_results, write_results
from forecasting.forecast import LEADS, Forecast, ahead
from forecasting.persistence import PersistenceForecaster
from forecasting.seasonal_naive import SeasonalNaiveForecaster

ROOT = Path(__file__).parent.parent
CARBON = "carbon_intensity_mix_derived_g_per_kwh"
SPLITS = {"validation": slice(480, 1400), "test": slice(1400, 2200)}


@pytest.fixture(scope="module")
def made(table):
    naive = SeasonalNaiveForecaster.fit(table, CARBON)
    built_in = PersistenceForecaster.fit(table, CARBON)
    certain = Forecast(*(np.copy(part) for part in built_in.predict(table)))
    certain.quantiles[:] = certain.mean[:, :, None]  # as good a mean, and far too sure
    return [
        Made("seasonal_naive", naive.predict(table), 0.1, 0.01, {}),
        Made("persistence", built_in.predict(table), 0.2, 0.02, {"hour": 0.7, "wind": 0.3}),
        Made("certain", certain, 0.3, 0.03, {}),
    ]


@pytest.fixture(scope="module")
def found(made, table):
    index = pd.DatetimeIndex(table.index)
    labels = {
        "month": index.strftime("%Y-%m").to_numpy(),
        "regime": np.where(np.arange(len(index)) % 2, "calm", "wild"),
    }
    return target_results(CARBON, made, ahead(table[CARBON].to_numpy()), index, SPLITS, labels)


@pytest.fixture(scope="module")
def folder(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    origin = {
        "commit": None, "uncommitted_changes": None, "config": {"data": {"name": "small"}}, "data_sha256": "0" * 64,
        "python": "3", "versions": {},
    }  # fmt: skip
    write_results(folder, [found], [], command="python forecast.py data.path=/a/b", provenance=origin)
    return folder


def test_skill_is_the_share_of_the_rivals_loss_that_was_saved(found):
    for split in SPLITS:
        rows = {name: overall(found, split, name) for name in ("seasonal_naive", "persistence", "certain")}
        assert rows["seasonal_naive"]["skill_over_naive"] == 0.0
        assert rows["persistence"]["skill_over_builtin"] == 0.0
        expected = 1.0 - rows["persistence"]["pinball"] / rows["seasonal_naive"]["pinball"]
        assert rows["persistence"]["skill_over_naive"] == pytest.approx(expected)
        assert rows["certain"]["mae"] == pytest.approx(rows["persistence"]["mae"])
        assert rows["certain"]["coverage_90"] < 0.05 < 0.7 < rows["persistence"]["coverage_90"]


def test_the_best_on_validation_is_compared_with_the_second(found):
    losses = {name: overall(found, "validation", name)["pinball"] for name in found["seconds"]}
    ranked = sorted(losses, key=losses.get)
    assert found["best"] == ranked[0] == "persistence"
    for test in found["comparison"].values():
        assert (test["first"], test["second"]) == (ranked[0], ranked[1])
        assert test["difference"] < 0.0


def test_the_fan_tells_what_was_forecast_each_morning_and_what_came(found, made, table):
    fan, index = found["fan"], pd.DatetimeIndex(table.index)
    assert fan["forecaster"] == "persistence"
    times = pd.to_datetime(fan["times"])
    assert 300 <= len(times) <= 336 + LEADS
    assert (np.diff(times) == pd.Timedelta("30min")).all()
    np.testing.assert_allclose(fan["truth"], table[CARBON].reindex(times), rtol=1e-9)
    issue = int(index.get_loc(times[0]))
    assert times[0].tz_convert("Europe/London").hour == 6
    np.testing.assert_allclose(fan["quantiles"][5], made[1].forecast.quantiles[issue, 5])


def test_the_page_stands_alone_and_tells_the_result(folder, found):
    page = write_report(folder).read_text()
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)", page)
    for word in ("carbon intensity", "persistence lost least on validation", "Reliability", "Diebold-Mariano", "calm"):
        assert word in page
    assert "python forecast.py data.path=&lt;folder&gt;/b" in page
    assert "prefers-color-scheme: dark" in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_committed_page_tells_the_same_numbers_and_no_folder(folder, found, tmp_path):
    told = page(folder, [], tmp_path)
    assert not list(tmp_path.iterdir()), "pictures are those of the price"
    row = overall(found, "test", "persistence")
    assert f"{row['pinball']:.3g}" in told
    assert f"{100.0 * row['coverage_90']:.1f}" in told
    assert "persistence lost least on validation" in told
    assert "Command: `python forecast.py data.path=<folder>`" in told


def test_results_are_rows_and_survive_the_disk(folder, found):
    rows = pd.read_csv(folder / "results.csv")
    assert {"target", "split", "forecaster", "by", "group", "pinball", "crps", "coverage_90"} <= set(rows.columns)
    assert set(rows["by"]) == {"all", "lead", "month", "regime"}
    assert len(rows) == len(found["rows"])
    assert read_results(folder)["targets"][0]["best"] == found["best"]
    assert write_report(folder).read_text() == (folder / PAGE).read_text()


def test_no_results_say_how_to_make_them(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"forecast\.py"):
        write_report(tmp_path)


def test_kept_forecasts_are_read_as_they_were_written(made, tmp_path):
    made[1].write(tmp_path / "kept" / "one.npz")
    read = Made.read("persistence", tmp_path / "kept" / "one.npz")
    np.testing.assert_array_equal(read.forecast.quantiles, made[1].forecast.quantiles)
    assert (read.name, read.importance, read.fit_s) == ("persistence", {"hour": 0.7, "wind": 0.3}, 0.2)


def test_columns_are_named_for_people():
    assert (words("wet_bulb_c"), unit_of("wet_bulb_c")) == ("wet bulb", "°C")
    assert (words("imbalance_price_gbp_per_mwh"), unit_of("imbalance_price_gbp_per_mwh")) == (
        "imbalance price",
        "GBP/MWh",
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


def forecast(work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "forecast.py",
        "data.table.start=2023-05-01", "data.table.end=2023-07-08", "splits=[validation]",
        "targets=[imbalance_price_gbp_per_mwh]", "rivals.imbalance_price_gbp_per_mwh=[seasonal_naive, deviation]",
        f"runs={work}/runs", f"reports={work}/reports", "name=small", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)


def test_the_entry_point_scores_feeds_the_controller_and_goes_on_where_it_stopped(work):
    done = forecast(work)
    assert done.returncode == 0, done.stderr
    results = json.loads((work / "reports/small/results.json").read_text())
    assert set(results["targets"][0]["seconds"]) == {"seasonal_naive", "deviation", "ensemble"}
    earned = {row["policy"]: row for row in results["capture"]}
    assert set(earned) == {"idle", "oracle", "seasonal_naive", "deviation", "ensemble"}
    assert earned["deviation"]["lead_gbp"] == 0.0
    assert all(row["value_gbp"] <= row["bound_gbp"] for row in results["capture"])
    kept = {file: file.stat().st_mtime_ns for file in (work / "runs").iterdir()}
    page = (work / "reports/small/report.html").read_text()
    assert "What accuracy earns" in page
    again = forecast(work)
    assert again.returncode == 0, again.stderr
    assert "fitted in" not in again.stdout
    assert {file: file.stat().st_mtime_ns for file in (work / "runs").iterdir()} == kept
    assert (
        json.loads((work / "reports/small/results.json").read_text())["targets"][0]["rows"]
        == results["targets"][0]["rows"]
    )


def test_refitting_goes_on_from_what_is_published_and_changes_the_forecast(work):
    daily = forecast(work, "capture=null", "refit_days={deviation: 2}", "name=refitted")
    assert daily.returncode == 0, daily.stderr
    once, again = (json.loads((work / f"reports/{name}/results.json").read_text()) for name in ("small", "refitted"))
    losses = [
        {name: overall(each["targets"][0], "validation", name)["pinball"] for name in ("seasonal_naive", "deviation")}
        for each in (once, again)
    ]
    assert losses[0]["seasonal_naive"] == losses[1]["seasonal_naive"]
    assert losses[0]["deviation"] != losses[1]["deviation"]
    assert again["capture"] == []
