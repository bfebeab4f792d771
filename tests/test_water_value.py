"""Laws of the plan by water values: what the linear program finds, without a solver."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.mpc import BatteryPlanner
from baselines.water_value import cheapest_kw
from models import battery as battery_model
from models.battery import Battery
from models.settlement import Adders

BATTERIES = (Battery(), Battery(capacity_kwh=800.0, max_charge_kw=200.0, max_discharge_kw=300.0, min_fraction=0.1))
ADDERS = Adders()
NEVER_BURNT = -150.0  # GBP/MWh; dearer losses than at this price never pay


@cache
def program(battery):
    return BatteryPlanner(battery, ADDERS, horizon=16)


def cost_gbp(battery, energy_kwh, prices, end_value, powers_kw, first_h):
    """What a plan costs when it is carried out, less the worth of what is left; and the powers that were possible."""
    total_gbp, done_kw = 0.0, []
    for price, asked_kw, hours in zip(prices, powers_kw, [first_h] + [0.5] * 15, strict=True):
        energy_kwh, power_kw = battery_model.step(battery, energy_kwh, asked_kw, hours)
        unit_gbp = price * power_kw + ADDERS.network_gbp_per_mwh * max(power_kw, 0.0)
        total_gbp += hours * (unit_gbp / 1000.0 + battery.wear_gbp_per_kwh * abs(power_kw))
        done_kw.append(power_kw)
    return total_gbp - max(end_value, 0.0) * energy_kwh / 1000.0, np.array(done_kw)


@pytest.mark.parametrize("lowest", [NEVER_BURNT, -2000.0])
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_the_plan_costs_what_the_linear_program_s_costs_and_can_be_carried_out(lowest, data):
    battery = data.draw(st.sampled_from(BATTERIES))
    prices = np.array(data.draw(st.lists(st.floats(lowest, 2000.0), min_size=16, max_size=16)))
    share, end_value = data.draw(st.floats(0.0, 1.0)), data.draw(st.floats(-100.0, 300.0))
    first_h = data.draw(st.sampled_from([0.25, 0.5]))
    low, high = battery.min_fraction, battery.max_fraction
    energy_kwh = (low + share * (high - low)) * battery.capacity_kwh
    planned_kw = cheapest_kw(battery, ADDERS, energy_kwh, prices, end_value, first_h)
    cost, done_kw = cost_gbp(battery, energy_kwh, prices, end_value, planned_kw, first_h)
    np.testing.assert_allclose(done_kw, planned_kw, atol=1e-6)
    bound, _ = cost_gbp(
        battery,
        energy_kwh,
        prices,
        end_value,
        program(battery).plan_kw(energy_kwh, prices, end_value, first_h),
        first_h,
    )
    if lowest == NEVER_BURNT:
        assert cost == pytest.approx(bound, abs=1e-3)
    rest, _ = cost_gbp(battery, energy_kwh, prices, end_value, np.zeros(16), first_h)
    assert cost <= rest + 1e-9, "resting is always possible"


def test_a_charge_outside_its_band_is_read_as_the_nearest_edge():
    b, prices = BATTERIES[0], np.linspace(20.0, 90.0, 16)
    for outside, edge in ((0.0, b.min_fraction), (1.0, b.max_fraction)):
        plans = [cheapest_kw(b, ADDERS, share * b.capacity_kwh, prices, 50.0) for share in (outside, edge)]
        np.testing.assert_array_equal(*plans)


@pytest.mark.parametrize(("prices", "end_value"), [([np.nan] * 16, 1.0), ([1.0] * 16, np.inf)])
def test_what_is_not_finite_is_refused(prices, end_value):
    with pytest.raises(ValueError, match="needs finite numbers"):
        cheapest_kw(BATTERIES[0], ADDERS, 500.0, np.array(prices), end_value)
