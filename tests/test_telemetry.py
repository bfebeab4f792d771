import numpy as np
import pandas as pd
import pytest

from data.arrivals import generate_arrivals
from data.publication import known_rows
from data.schema import PERIOD_H, TELEMETRY
from data.telemetry import job_signals, site_load_kw

START = pd.Timestamp("2024-01-01", tz="UTC")


def test_every_job_is_counted_once_with_all_its_energy():
    index = pd.date_range(START, periods=480, freq="30min")
    arrivals = generate_arrivals(START.to_pydatetime(), 480, seed=1)
    signals = job_signals(arrivals, index)
    assert signals["arriving_jobs"].sum() == len(arrivals.rows)
    energy_kwh = (arrivals.rows["power_kw"] * arrivals.rows["duration_periods"]).sum() * PERIOD_H
    assert signals["arriving_kwh"].sum() == pytest.approx(energy_kwh)
    assert (signals["arriving_kwh"] > 0.0).eq(signals["arriving_jobs"] > 0.0).all()


def test_timestamps_must_match_the_jobs():
    with pytest.raises(ValueError, match="one each"):
        job_signals(
            generate_arrivals(START.to_pydatetime(), 48, seed=1), pd.date_range(START, periods=47, freq="30min")
        )


def test_site_load_is_what_the_meter_shows_less_the_battery():
    index = pd.date_range(START, periods=4, freq="30min")
    trace = pd.DataFrame({"grid_kw": [500.0, 700.0, 250.0], "power_kw": [0.0, 200.0, -250.0]}, index=index[:3])
    load_kw = site_load_kw(trace, index)
    assert load_kw.iloc[:3].tolist() == [500.0, 500.0, 500.0]
    assert np.isnan(load_kw.iloc[3])


def test_own_meters_are_known_when_the_period_has_ended():
    index = pd.date_range(START, periods=10, freq="30min")
    for column in TELEMETRY:
        np.testing.assert_array_equal(known_rows(column, index), np.arange(10))
