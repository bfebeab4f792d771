import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import battery as model
from models.battery import Battery

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
FRACTION = st.floats(0.0, 1.0)


@st.composite
def batteries(draw):
    low, high = sorted((draw(FRACTION), draw(FRACTION)))
    return Battery(
        capacity_kwh=draw(st.floats(1.0, 1e5)),
        max_charge_kw=draw(st.floats(0.0, 1e5)),
        max_discharge_kw=draw(st.floats(0.0, 1e5)),
        min_fraction=low,
        max_fraction=high,
        charge_efficiency=draw(st.floats(0.5, 1.0)),
        discharge_efficiency=draw(st.floats(0.5, 1.0)),
    )


@settings(deadline=None)
@given(batteries(), FRACTION, st.lists(ANY_FLOAT, max_size=96))
def test_no_request_pushes_a_battery_outside_its_limits_or_creates_energy(b, position, requests_kw):
    low_kwh, high_kwh = b.min_fraction * b.capacity_kwh, b.max_fraction * b.capacity_kwh
    energy_kwh = start_kwh = low_kwh + position * (high_kwh - low_kwh)
    bought_kwh = 0.0  # falls when energy is sold
    slack = 1e-9 * b.capacity_kwh
    for request_kw in requests_kw:
        energy_kwh, power_kw = model.step(b, energy_kwh, request_kw, 0.5)
        bought_kwh += power_kw * 0.5
        assert -b.max_discharge_kw <= power_kw <= b.max_charge_kw
        assert low_kwh - slack <= energy_kwh <= high_kwh + slack
    assert energy_kwh - start_kwh <= bought_kwh + 1e-6 * b.capacity_kwh


@settings(deadline=None)
@given(batteries(), FRACTION, st.lists(st.tuples(ANY_FLOAT, st.floats(0.01, 1.0)), max_size=48))
def test_following_powers_is_stepping_one_after_the_other(b, position, steps):
    energy_kwh = position * b.capacity_kwh
    powers_kw, hours = (np.array([step[i] for step in steps]) for i in (0, 1))
    followed = np.array(model.follow(b, energy_kwh, powers_kw, hours))
    expected = np.empty((2, len(steps)))
    for k, (power_kw, step_h) in enumerate(steps):
        energy_kwh, expected[1, k] = model.step(b, energy_kwh, power_kw, step_h)
        expected[0, k] = energy_kwh
    np.testing.assert_allclose(followed, expected, rtol=1e-12)


@settings(deadline=None)
@given(batteries(), FRACTION)
def test_a_round_trip_returns_the_product_of_the_efficiencies(b, position):
    energy_kwh = position * b.capacity_kwh
    up_kwh, bought_kw = model.step(b, energy_kwh, b.max_charge_kw, 0.5)
    gained_kwh = up_kwh - energy_kwh
    assert gained_kwh == pytest.approx(bought_kw * 0.5 * b.charge_efficiency, abs=1e-6 * b.capacity_kwh)
    sold_kwh = gained_kwh * b.discharge_efficiency
    assert sold_kwh <= bought_kw * 0.5 + 1e-6 * b.capacity_kwh


@settings(deadline=None)
@given(batteries(), FRACTION, ANY_FLOAT)
def test_two_half_steps_equal_one_step_while_no_limit_binds(b, position, request_kw):
    energy_kwh = position * b.capacity_kwh
    low_kw, high_kw = model.power_limits_kw(b, energy_kwh, 0.5)
    asked_kw = min(max(request_kw, low_kw), high_kw) if request_kw == request_kw else 0.0
    whole_kwh, _ = model.step(b, energy_kwh, asked_kw, 0.5)
    half_kwh, _ = model.step(b, energy_kwh, asked_kw, 0.25)
    twice_kwh, _ = model.step(b, half_kwh, asked_kw, 0.25)
    assert twice_kwh == pytest.approx(whole_kwh, abs=1e-6 * b.capacity_kwh)


@settings(deadline=None)
@given(batteries(), st.floats(0.0, 1.2))
def test_what_the_limits_allow_is_done_exactly(b, fraction):
    energy_kwh = fraction * b.capacity_kwh
    for limit_kw in model.power_limits_kw(b, energy_kwh, 0.5):
        assert model.step(b, energy_kwh, limit_kw, 0.5)[1] == limit_kw


def test_a_battery_outside_its_band_moves_towards_it_only():
    b = Battery()
    assert model.power_limits_kw(b, 100.0, 0.5)[0] == 0.0
    assert model.power_limits_kw(b, 950.0, 0.5)[1] == 0.0
    assert model.power_limits_kw(b, 100.0, 0.5)[1] == 250.0


def test_nan_asks_for_nothing():
    assert model.step(Battery(), 500.0, math.nan, 0.5) == (500.0, 0.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"capacity_kwh": math.nan}, "capacity_kwh is nan"),
        ({"max_charge_kw": -1.0}, "max_charge_kw is -1"),
        ({"charge_efficiency": 0.0}, "charge_efficiency is 0"),
        ({"discharge_efficiency": 1.2}, "discharge_efficiency is 1.2"),
        ({"min_fraction": 0.95}, "0.95 to 0.9"),
        ({"max_fraction": 1.5}, "0.15 to 1.5"),
        ({"wear_gbp_per_kwh": math.inf}, "wear_gbp_per_kwh is inf"),
        ({"capacity_kwh": 0.0}, "two powers to 0"),
        ({"capacity_kwh": 1e6}, "in W or MW"),
        ({"capacity_kwh": 1.0}, "in W or MW"),
        ({"max_charge_kw": 0.25, "max_discharge_kw": 0.25}, "in W or MW"),
        ({"max_charge_kw": 250_000.0}, "in W or MW"),
    ],
)
def test_bad_parameters_are_named(change, says):
    with pytest.raises(ValueError, match=says):
        model.checked(Battery()._replace(**change))
