"""Laws of what is offered to the market: never above the limit, never more than asked, the same signal counts once."""

import subprocess
import sys
import time
from math import nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.clients.gateway import Offer
from dispatch.payloads import MACHINES, build_payload, emergency_response, real_time_adjustment
from models.battery import Battery, power_limits_kw

ROOT = Path(__file__).parent.parent
INVENTORY = {
    "inference": {"gpu": {"power": 5000, "tokens": 1000}, "asic": {"power": 15000, "tokens": 50000}},
    "miners": {"air": {"power": 3500}, "hydro": {"power": 5000}, "immersion": {"power": 10000}},
}
KW = {"air_miners": 3.5, "hydro_miners": 5.0, "immersion_miners": 10.0, "gpu_compute": 5.0, "asic_compute": 15.0}

allocations = st.fixed_dictionaries(
    {}, optional={**dict.fromkeys(MACHINES, st.integers(0, 500)), "battery_kw": st.floats(-1e4, 1e4)}
)
payloads = st.builds(
    build_payload, allocations, st.just(INVENTORY), st.floats(0.0, 1.0), st.floats(0.0, 1500.0), st.floats(0.0, 2000.0)
)
signals = st.fixed_dictionaries(
    {},
    optional={
        "price_gbp_per_mwh": st.floats(),
        "expected_price_gbp_per_mwh": st.floats(),
        "power_limit_kw": st.floats(),
        "frequency_hz": st.floats(49.0, 51.0),
    },
)


def check(payload):
    power_kw, asked = payload["power_kw"], payload["asked"]
    assert power_kw["total"] <= payload["power_limit_kw"]
    assert power_kw["total"] == pytest.approx(power_kw["compute"] + power_kw["cooling"] + power_kw["battery"], abs=1e-6)
    assert power_kw["compute"] + power_kw["cooling"] <= payload["power_limit_kw"] + 1e-9, "without the battery's help"
    assert power_kw["compute"] == pytest.approx(
        sum(KW[name] * count for name, count in payload["bid"].items()), abs=1e-6
    )
    assert all(0 <= count <= asked[name] for name, count in payload["bid"].items())
    low_kw, high_kw = power_limits_kw(Battery(), payload["soc"] * 1000.0, 0.5)
    assert low_kw <= power_kw["battery"] <= high_kw
    Offer(**payload["bid"])


@settings(deadline=None)
@given(payload=payloads, signal=signals, other=signals)
def test_no_payload_exceeds_a_limit_and_the_same_signal_counts_once(payload, signal, other):
    check(payload)
    adjusted = real_time_adjustment(payload, signal)
    check(adjusted)
    assert adjusted["power_limit_kw"] <= payload["power_limit_kw"]
    assert real_time_adjustment(adjusted, signal) == adjusted
    both = real_time_adjustment(adjusted, other)
    check(both)
    assert both["power_limit_kw"] <= adjusted["power_limit_kw"]


@settings(deadline=None)
@given(payload=payloads)
def test_a_signal_that_says_nothing_changes_nothing(payload):
    assert real_time_adjustment(payload, {}) == payload
    assert real_time_adjustment(payload, {"price_gbp_per_mwh": nan, "frequency_hz": 50.0}) == payload


def test_what_fits_runs_whole_and_what_does_not_is_shared():
    asked = {"gpu_compute": 40, "asic_compute": 10, "battery_kw": 100.0}
    whole = build_payload(asked, INVENTORY, 0.5, 100.0, 1000.0)
    assert whole["bid"] == {**dict.fromkeys(MACHINES, 0), "gpu_compute": 40, "asic_compute": 10}
    assert whole["power_kw"] == {"compute": 350.0, "cooling": 100.0, "battery": 100.0, "total": 550.0}
    assert whole["share"] == 1.0
    half = build_payload(asked, INVENTORY, 0.5, 100.0, 275.0)
    assert (half["bid"]["gpu_compute"], half["bid"]["asic_compute"]) == (20, 5)
    assert half["power_kw"]["battery"] == 0.0
    hot = build_payload(asked, INVENTORY, 0.5, 100.0, 80.0)
    assert (hot["power_kw"]["compute"], hot["short_kw"]) == (0.0, 20.0)


def test_a_spike_or_a_falling_frequency_sells_and_a_rising_one_does_not():
    payload = build_payload({"gpu_compute": 40, "battery_kw": -50.0}, INVENTORY, 0.5, 100.0, 1000.0)
    for signal in ({"price_gbp_per_mwh": 300.0, "expected_price_gbp_per_mwh": 100.0}, {"frequency_hz": 49.7}):
        adjusted = real_time_adjustment(payload, signal)
        assert (adjusted["bid"]["gpu_compute"], adjusted["power_kw"]["battery"]) == (0, -250.0)
        assert real_time_adjustment(adjusted, {}) == payload, "it comes back"
    assert real_time_adjustment(payload, {"frequency_hz": 50.3})["power_kw"]["battery"] == 0.0
    calm = {"price_gbp_per_mwh": 150.0, "expected_price_gbp_per_mwh": 100.0}
    assert real_time_adjustment(payload, calm) == payload


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"allocation": {"cpu": 1}}, "allowed are"),
        ({"allocation": {"gpu_compute": -1}}, "0 or more"),
        ({"allocation": {"gpu_compute": 1.5}}, "whole number"),
        ({"inventory": {}}, "tells no power of gpu_compute"),
        ({"soc": 50.0}, "not a percentage"),
        ({"cooling_kw": nan}, "finite"),
        ({"power_limit": -1.0}, "0 or more"),
    ],
)
def test_a_wrong_part_of_a_payload_is_told(change, hint):
    right = {
        "allocation": {"gpu_compute": 1},
        "inventory": INVENTORY,
        "soc": 0.5,
        "cooling_kw": 1.0,
        "power_limit": 9.0,
    }
    with pytest.raises(ValueError, match=hint):
        build_payload(**{**right, **change})
    payload = build_payload(**right)
    with pytest.raises(ValueError, match="allowed are"):
        real_time_adjustment(payload, {"price": 5.0})
    for broken in ({}, {**payload, "asked": {}}, {**payload, "asked": None}, None):
        with pytest.raises(ValueError, match="build_payload"):
            real_time_adjustment(broken, {})
    with pytest.raises(ValueError, match="no number"):
        real_time_adjustment(payload, {"frequency_hz": "49.0"})
    with pytest.raises(ValueError, match="soc is nan"):
        real_time_adjustment({**payload, "soc": nan}, {})


anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.just(10**400)
    | st.just(np.ones(2))
)
STATE = ("inlet_c", "frequency_hz", "import_kw", "power_limit_kw", "fire", "link_lost", "cooling_failed")


@given(state=st.dictionaries(st.sampled_from(STATE) | st.text(max_size=3), anything))
def test_any_state_has_an_answer_and_a_sensor_gone_wrong_stops_the_site(state):
    answer = emergency_response(state)
    assert answer["severity"] in ("none", "reduce", "stop")
    assert (answer["severity"] == "none") == (answer["reasons"] == [])
    assert {"none": 1.0, "reduce": 0.5, "stop": 0.0}[answer["severity"]] == answer["compute_share"]
    assert emergency_response({**state, "inlet_c": nan})["severity"] == "stop"
    assert emergency_response({**state, "fire": True})["battery"] == "isolate"


@given(inlet_c=st.floats(-50.0, 100.0), rise_c=st.floats(0.0, 50.0), frequency_hz=st.floats(45.0, 55.0))
def test_a_hotter_hall_never_runs_more(inlet_c, rise_c, frequency_hz):
    shares = [
        emergency_response({"inlet_c": c, "frequency_hz": frequency_hz})["compute_share"]
        for c in (inlet_c, inlet_c + rise_c)
    ]
    assert shares[1] <= shares[0]


@pytest.mark.parametrize(
    ("state", "severity"),
    [
        ({}, "none"),
        ({"inlet_c": 27.0, "frequency_hz": 50.0, "import_kw": 1000.0, "power_limit_kw": 1000.0}, "none"),
        ({"inlet_c": 27.1}, "reduce"),
        ({"inlet_c": 32.1}, "stop"),
        ({"frequency_hz": 49.7}, "reduce"),
        ({"frequency_hz": 49.4}, "stop"),
        ({"import_kw": 1001.0, "power_limit_kw": 1000.0}, "reduce"),
        ({"import_kw": 1001.0}, "stop"),
        ({"link_lost": True}, "reduce"),
        ({"cooling_failed": True}, "stop"),
    ],
)
def test_how_bad_it_is(state, severity):
    assert emergency_response(state)["severity"] == severity


def test_what_cannot_be_read_is_the_worst_and_what_is_misspelt_is_told():
    assert emergency_response(None)["severity"] == "stop"
    assert emergency_response({"Fire": True})["ignored"] == ["Fire"]


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, int])
def test_a_number_is_a_number_whoever_made_it(kind):
    assert emergency_response({"inlet_c": kind(22), "frequency_hz": kind(50)})["severity"] == "none"
    payload = build_payload({"gpu_compute": np.int64(2)}, INVENTORY, kind(0), kind(1), kind(900))
    assert payload["bid"]["gpu_compute"] == 2
    assert real_time_adjustment(payload, {"frequency_hz": kind(49)})["bid"]["gpu_compute"] == 0
    assert real_time_adjustment(payload, {"frequency_hz": None}) == payload


def test_each_takes_far_less_than_a_tenth_of_a_second():
    """From the first call of a process on, with a payload that another one made."""
    made = build_payload({"gpu_compute": 40}, INVENTORY, 0.5, 100.0, 1000.0)
    text = f"""
import subprocess
import sys
import time
from dispatch.payloads import emergency_response, real_time_adjustment
began = time.perf_counter()
real_time_adjustment({made}, {{"frequency_hz": 49.0}})
emergency_response({{"inlet_c": 40.0}})
print(time.perf_counter() - began)
"""
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.1
    began = time.perf_counter()
    for _ in range(100):
        payload = build_payload({"gpu_compute": 40}, INVENTORY, 0.5, 100.0, 1000.0)
        real_time_adjustment(payload, {"frequency_hz": 49.0})
        emergency_response({"inlet_c": 40.0})
    assert (time.perf_counter() - began) / 100 < 0.1
