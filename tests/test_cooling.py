"""Laws of the GPU hall, its plant and the wet bulb table."""

from math import exp, inf, isfinite, nan

import numba
import numpy as np
import psychrolib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from data import psychrometrics
from models import chiller as plant
from models import cooling
from models import hall as network
from models.chiller import Chiller
from models.hall import Hall, HallState

HALL, CHILLER = cooling.checked(Hall(), Chiller())
IT_KW = st.floats(0.0, 1200.0)
WET_BULB_C = st.floats(-15.0, 30.0)
SETPOINT_C = st.floats(16.0, 30.0)
FAN_FRACTION = st.floats(0.3, 1.0)
STATES = st.builds(HallState, *[st.floats(10.0, 60.0)] * 3)
ANY_NUMBER = st.floats(allow_nan=True, allow_infinity=True)
HALLS = st.builds(
    lambda **changed: network.checked(HALL._replace(**changed)),
    air_capacity_kwh_per_k=st.floats(0.2, 20.0),
    mass_capacity_kwh_per_k=st.floats(2.0, 500.0),
    loop_capacity_kwh_per_k=st.floats(0.2, 40.0),
    mass_conductance_kw_per_k=st.floats(5.0, 200.0),
    air_conductance_kw_per_k=st.floats(20.0, 150.0),
    supply_lag_h=st.floats(0.01, 2.0),
    substep_h=st.sampled_from([1 / 60, 1 / 12, 1 / 6]),
)
CHILLERS = st.builds(lambda kw: plant.checked(CHILLER._replace(capacity_kw=kw)), st.floats(300.0, 1500.0))
law = settings(deadline=None, max_examples=150)


def matrices(hall, fan_fraction):
    """Heat capacities (3,) and conductances (3, 3) of mass, air and supply, assembled apart from the model."""
    flow, link = fan_fraction * hall.air_conductance_kw_per_k, hall.mass_conductance_kw_per_k
    capacities = np.array([hall.mass_capacity_kwh_per_k, hall.air_capacity_kwh_per_k, hall.loop_capacity_kwh_per_k])
    conductances = np.array([[link, -link, 0.0], [-link, link + flow, -flow], [0.0, -flow, flow]])
    return capacities, conductances


@law
@given(HALLS, CHILLERS, STATES, IT_KW, WET_BULB_C, ANY_NUMBER, ANY_NUMBER, st.floats(0.01, 3.0))
def test_heat_in_is_heat_out_plus_heat_stored(hall, chiller, state, it_kw, wet_bulb_c, setpoint_c, fan_fraction, dt_h):
    after, flows = cooling.step(hall, chiller, state, it_kw, wet_bulb_c, setpoint_c, fan_fraction, dt_h)
    capacities, _ = matrices(hall, 1.0)
    stored_kwh = capacities @ (np.array(after) - np.array(state))
    in_kwh, out_kwh = (it_kw + flows.fan_kw) * dt_h, flows.heat_removed_kw * dt_h
    content_kwh = capacities @ np.array(state)
    assert abs(in_kwh - out_kwh - stored_kwh) <= 1e-9 * max(in_kwh, 1.0) + 1e-13 * content_kwh


@law
@given(HALLS, FAN_FRACTION, st.floats(0.001, 3.0), STATES, IT_KW, IT_KW)
def test_the_closed_form_is_the_matrix_exponential(hall, fan_fraction, span_h, state, air_kw, removed_kw):
    capacities, conductances = matrices(hall, fan_fraction)
    augmented = np.zeros((4, 4))
    augmented[:3, :3] = -conductances / capacities[:, None]
    augmented[:3, 3] = np.array([0.0, air_kw, -removed_kw]) / capacities
    expected = (expm(augmented * span_h) @ np.array([*state, 1.0]))[:3]
    p = network.propagator(hall, fan_fraction, span_h)
    free = np.array(network.advanced(p, state, air_kw))
    np.testing.assert_allclose(free - removed_kw * np.array(p.loop_response), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("it_kw", "setpoint_c", "fan_fraction"), [(600, 18, 1), (100, 27, 0.3), (1200, 20, 0.8)])
def test_a_step_solves_the_differential_equation(it_kw, setpoint_c, fan_fraction):
    state = HallState(24.0, 33.0, 23.0)
    for _ in range(6):
        after, flows = cooling.step(HALL, CHILLER, state, it_kw, 10.0, setpoint_c, fan_fraction, HALL.substep_h)
        capacities, conductances = matrices(HALL, fan_fraction)
        heat_kw = np.array([0.0, it_kw + flows.fan_kw, -flows.heat_removed_kw])
        solution = solve_ivp(
            lambda _, t_c, c=capacities, k=conductances, q=heat_kw: (q - k @ t_c) / c,
            (0.0, HALL.substep_h),
            state,
            method="DOP853",
            rtol=1e-11,
            atol=1e-11,
        )
        np.testing.assert_allclose(after, solution.y[:, -1], rtol=1e-8)
        state = after


@settings(deadline=None, max_examples=50)
@given(HALLS, st.floats(50.0, 200.0), SETPOINT_C, FAN_FRACTION, STATES)
def test_a_load_within_capacity_settles_where_the_linear_system_rests(hall, it_kw, setpoint_c, fan_fraction, state):
    for _ in range(2):  # the first brings the hall to rest
        state, flows = cooling.step(hall, CHILLER, state, it_kw, 10.0, setpoint_c, fan_fraction, 5000.0)
    heat_kw = it_kw + flows.fan_kw
    _, conductances = matrices(hall, fan_fraction)
    hotter_c = np.linalg.solve(conductances[:2, :2], np.array([0.0, heat_kw]))  # mass and air, above the supply
    np.testing.assert_allclose(state, [*(setpoint_c + hotter_c), setpoint_c], rtol=1e-6)
    np.testing.assert_allclose(network.steady_state(hall, it_kw, setpoint_c, fan_fraction), state, rtol=1e-6)
    assert flows.heat_removed_kw == pytest.approx(heat_kw, rel=1e-5)


@law
@given(STATES, IT_KW, WET_BULB_C, SETPOINT_C, FAN_FRACTION, st.integers(1, 11))
def test_one_step_is_its_parts_in_a_row(state, it_kw, wet_bulb_c, setpoint_c, fan_fraction, cut):
    whole, flows = cooling.step(HALL, CHILLER, state, it_kw, wet_bulb_c, setpoint_c, fan_fraction, 1.0)
    first, a = cooling.step(HALL, CHILLER, state, it_kw, wet_bulb_c, setpoint_c, fan_fraction, cut / 12)
    second, b = cooling.step(HALL, CHILLER, first, it_kw, wet_bulb_c, setpoint_c, fan_fraction, 1 - cut / 12)
    np.testing.assert_allclose(second, whole, rtol=1e-9)
    mean = np.array(a[:5]) * cut / 12 + np.array(b[:5]) * (1 - cut / 12)
    np.testing.assert_allclose(mean, flows[:5], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.array(a[6:8]) + np.array(b[6:8]), flows[6:8], rtol=1e-9, atol=1e-9)
    assert b.inlet_c == pytest.approx(flows.inlet_c, rel=1e-9)


@law
@given(STATES, FAN_FRACTION, st.floats(2500.0, 4000.0))
def test_a_plant_at_capacity_does_not_depend_on_the_substep(state, fan_fraction, it_kw):
    state = state._replace(air_c=state.air_c + 100.0, supply_c=state.supply_c + 100.0)  # far above any set-point
    coarse, flows = cooling.step(HALL, CHILLER, state, it_kw, 10.0, 20.0, fan_fraction, 0.5)
    fine, _ = cooling.step(HALL._replace(substep_h=1 / 600), CHILLER, state, it_kw, 10.0, 20.0, fan_fraction, 0.5)
    assert flows.heat_removed_kw == pytest.approx(CHILLER.capacity_kw, rel=1e-12)
    np.testing.assert_allclose(coarse, fine, rtol=1e-9)


@law
@given(SETPOINT_C, st.sampled_from([1 / 60, 1 / 12, 1 / 6]))
def test_within_capacity_the_supply_air_is_a_first_order_lag(setpoint_c, substep_h):
    hall, chiller = HALL._replace(substep_h=substep_h), CHILLER._replace(capacity_kw=1e5)
    start = network.steady_state(hall, 500.0, 23.0, 0.8)
    after, flows = cooling.step(hall, chiller, start, 500.0, 10.0, setpoint_c, 0.8, 0.5)
    if flows.heat_removed_kw > 400.0:  # otherwise the plant may have been off for a while
        assert after.supply_c == pytest.approx(setpoint_c + (23.0 - setpoint_c) * exp(-0.5 / 0.15), rel=1e-9)


def test_raising_the_setpoint_stores_its_rise_in_every_capacity():
    state, saved_kwh = network.steady_state(HALL, 500.0, 20.0, 0.8), 0.0
    heat_kw = 500.0 + network.fan_power_kw(HALL, 0.8)
    for _ in range(400):
        state, flows = cooling.step(HALL, CHILLER, state, 500.0, 10.0, 26.0, 0.8, 0.5)
        saved_kwh += (heat_kw - flows.heat_removed_kw) * 0.5
    assert saved_kwh == pytest.approx(6.0 * (50.0 + 2.0 + 6.0), rel=1e-9)


@law
@given(HALLS, CHILLERS, STATES, IT_KW, WET_BULB_C, st.floats(0.0, 20.0), SETPOINT_C, FAN_FRACTION)
def test_a_colder_wet_bulb_never_costs_more(hall, chiller, state, it_kw, wet_bulb_c, drop_k, setpoint_c, fan_fraction):
    warm = cooling.step(hall, chiller, state, it_kw, wet_bulb_c, setpoint_c, fan_fraction, 0.5)
    cold = cooling.step(hall, chiller, state, it_kw, wet_bulb_c - drop_k, setpoint_c, fan_fraction, 0.5)
    assert cold[1].cooling_kw <= warm[1].cooling_kw + 1e-9
    assert cold[0] == warm[0]


@law
@given(st.floats(0.0, 750.0), WET_BULB_C, SETPOINT_C, st.floats(0.0, 10.0), st.floats(0.0, 50.0))
def test_the_chiller_pays_for_cold_supply_and_for_more_heat(heat_kw, wet_bulb_c, supply_c, colder_k, more_kw):
    power_kw = plant.compressor_kw(CHILLER, heat_kw, supply_c, wet_bulb_c)
    assert plant.compressor_kw(CHILLER, heat_kw, supply_c - colder_k, wet_bulb_c) >= power_kw - 1e-9
    assert plant.compressor_kw(CHILLER, heat_kw + more_kw, supply_c, wet_bulb_c) >= power_kw - 1e-9


@pytest.mark.parametrize(("wet_bulb_c", "off"), [(-5.0, True), (7.0, True), (7.01, False), (25.0, False)])
def test_the_chiller_is_off_just_where_the_economiser_reaches_the_setpoint(wet_bulb_c, off):
    power_kw = plant.compressor_kw(CHILLER, CHILLER.capacity_kw, 20.0, wet_bulb_c)
    assert (power_kw == 0.0) == off


@law
@given(st.floats(0.0, 750.0), WET_BULB_C, SETPOINT_C)
def test_the_economiser_hands_over_without_a_jump(heat_kw, wet_bulb_c, supply_c):
    power_kw = plant.compressor_kw(CHILLER, heat_kw, supply_c, wet_bulb_c)
    assert plant.compressor_kw(CHILLER, heat_kw, supply_c, wet_bulb_c + 1e-6) - power_kw < 1e-4


def test_the_chillers_cop_is_its_share_of_carnot_between_the_refrigerants():
    assert 1.0 / plant.work_per_heat(CHILLER, 20.0, 20.0, 1.0) == pytest.approx(0.55 * (11.0 + 273.15) / (33.0 - 11.0))
    assert 1.0 / plant.work_per_heat(CHILLER, 20.0, 24.0, 0.5) == pytest.approx(0.55 * (15.5 + 273.15) / (30.5 - 15.5))
    assert 1.0 / plant.work_per_heat(CHILLER, 25.0, -10.0, 0.1) == pytest.approx(
        0.55 * (24.1 + 273.15) / 10.0
    )  # least lift


@law
@given(FAN_FRACTION, FAN_FRACTION)
def test_fan_power_follows_the_cube_of_its_speed(a, b):
    flows = [cooling.step(HALL, CHILLER, HallState(25.0, 25.0, 20.0), 100.0, 5.0, 20.0, f, 0.5)[1] for f in (a, b)]
    assert flows[0].fan_kw * b**3 == pytest.approx(flows[1].fan_kw * a**3, rel=1e-12)
    assert network.fan_power_kw(HALL, 1.0) == HALL.rated_fan_kw


@law
@given(HALLS, CHILLERS, STATES, IT_KW, st.floats(0.0, 500.0), SETPOINT_C, FAN_FRACTION, st.floats(0.01, 6.0))
def test_more_it_heat_never_cools_the_hall(hall, chiller, state, it_kw, more_kw, setpoint_c, fan_fraction, dt_h):
    state = state._replace(
        air_c=max(state.air_c, state.supply_c)
    )  # colder hall air would chill the inlets it leaks into
    low, low_flows = cooling.step(hall, chiller, state, it_kw, 10.0, setpoint_c, fan_fraction, dt_h)
    high, high_flows = cooling.step(hall, chiller, state, it_kw + more_kw, 10.0, setpoint_c, fan_fraction, dt_h)
    assert (np.array(high) >= np.array(low) - 1e-9).all()
    assert high_flows.heat_removed_kw >= low_flows.heat_removed_kw - 1e-9
    if low.air_c >= low.supply_c:
        assert high_flows.inlet_c >= low_flows.inlet_c - 1e-9


@law
@given(HALLS, CHILLERS, STATES, IT_KW, WET_BULB_C, st.lists(st.tuples(ANY_NUMBER, ANY_NUMBER), min_size=1, max_size=20))
def test_no_action_leaves_the_limits(hall, chiller, state, it_kw, wet_bulb_c, actions):
    low_c, high_c = network.setpoint_limits_c(hall)
    low, high = network.fan_limits(hall)
    floor_c = min(*state, low_c)  # the plant adds no cold below its lowest set-point
    for setpoint_c, fan_fraction in actions:
        state, flows = cooling.step(hall, chiller, state, it_kw, wet_bulb_c, setpoint_c, fan_fraction, 0.5)
        assert low_c <= flows.setpoint_c <= high_c
        assert low <= flows.fan_fraction <= high
        assert 0.0 <= flows.heat_removed_kw <= chiller.capacity_kw * (1 + 1e-12)
        assert min(state) >= floor_c - 1e-9
        assert all(isfinite(x) for x in (*state, *flows))
        assert flows.cooling_kw == pytest.approx(flows.chiller_kw + flows.fan_kw + flows.other_kw)
        assert min(flows[:5]) >= 0.0


def test_no_answer_is_the_safe_answer():
    assert network.feasible_action(HALL, nan, nan) == (HALL.safe_setpoint_c, 1.0)
    assert network.feasible_action(HALL, inf, -inf) == (HALL.max_setpoint_c, HALL.min_fan_fraction)
    assert network.feasible_action(HALL, -inf, inf) == (HALL.min_setpoint_c, 1.0)
    assert network.feasible_action(HALL, nan, 0.5) == (HALL.safe_setpoint_c, 0.5)


def test_an_overload_is_reported_as_heat_and_degree_hours():
    state = network.steady_state(HALL, 600.0, 20.0, 1.0)
    for _ in range(8):
        state, flows = cooling.step(HALL, CHILLER, state, 1000.0, 15.0, 20.0, 1.0, 0.5)
    assert flows.heat_removed_kw == pytest.approx(CHILLER.capacity_kw)
    assert flows.inlet_c > HALL.allowable_inlet_c
    assert flows.recommended_excess_c_h > flows.allowable_excess_c_h > 0.0


def test_degree_hours_at_rest_are_the_excess_times_the_time():
    state = network.steady_state(HALL, 400.0, 29.0, 0.7)
    _, flows = cooling.step(HALL, CHILLER, state, 400.0, 10.0, 29.0, 0.7, 2.0)
    inlet_c = 29.0 + 0.05 * (400.0 + 40.0 * 0.7**3) / (0.7 * 50.0)
    assert flows.inlet_c == pytest.approx(inlet_c, rel=1e-9)
    assert flows.recommended_excess_c_h == pytest.approx((inlet_c - 27.0) * 2.0, rel=1e-9)
    assert flows.allowable_excess_c_h == 0.0


def test_a_substep_runs_at_its_mean_supply_temperature_and_counts_the_mean_excess_of_its_ends():
    state = HallState(33.0, 38.0, 28.0)  # the inlet is above 27 C at first and below it at the end
    after, flows = cooling.step(HALL, CHILLER, state, 300.0, 22.0, 16.0, 0.8, HALL.substep_h)
    mean_c = (28.0 + after.supply_c) / 2
    assert flows.chiller_kw == plant.compressor_kw(CHILLER, flows.heat_removed_kw, mean_c, 22.0) > 0.0
    before_c, after_c = (s.supply_c + 0.05 * (s.air_c - s.supply_c) for s in (state, after))
    assert before_c > 27.0 > after_c == pytest.approx(flows.inlet_c)
    assert flows.recommended_excess_c_h == pytest.approx((before_c - 27.0) / 2 * HALL.substep_h)


@law
@given(st.floats(1.0, 2000.0), FAN_FRACTION)
def test_the_rack_inlets_mix_supply_and_hall_air_by_flow(it_kw, fan_fraction):
    share = network.recirculation_fraction(HALL, it_kw, fan_fraction)
    supplied, drawn = fan_fraction * HALL.air_conductance_kw_per_k, it_kw / HALL.server_rise_k
    assert 1.0 - share == pytest.approx((1.0 - HALL.leak_fraction) * min(supplied / drawn, 1.0))
    assert network.inlet_c(HallState(30.0, 40.0, 20.0), share) == pytest.approx(20.0 + 20.0 * share)


@law
@given(STATES, st.floats(1.0, 900.0), WET_BULB_C, SETPOINT_C, FAN_FRACTION, st.floats(0.0, 100.0))
def test_pue_is_never_below_one(state, it_kw, wet_bulb_c, setpoint_c, fan_fraction, loss_kw):
    _, flows = cooling.step(HALL, CHILLER, state, it_kw, wet_bulb_c, setpoint_c, fan_fraction, 0.5)
    assert cooling.pue(it_kw, flows.cooling_kw, loss_kw) >= 1.0
    assert cooling.pue(0.0, flows.cooling_kw, loss_kw) == inf


def spoilt(name, spoil):
    """Hall and chiller with one parameter of either changed."""
    return [d._replace(**{name: spoil(getattr(d, name))}) if name in d._fields else d for d in (HALL, CHILLER)]


@pytest.mark.parametrize("name", [*Hall._fields, *Chiller._fields])
@pytest.mark.parametrize("spoil", [lambda x: nan, lambda x: inf, lambda x: -x, lambda x: 1000 * x])
def test_a_bad_parameter_is_refused_by_name(name, spoil):
    with pytest.raises(ValueError, match=name):
        cooling.checked(*spoilt(name, spoil))


@pytest.mark.parametrize(
    "name", [n for n in (*Hall._fields, *Chiller._fields) if n.endswith(("_per_k", "_h", "capacity_kw"))]
)
def test_a_parameter_a_thousand_times_too_small_is_refused(name):
    with pytest.raises(ValueError, match=name):
        cooling.checked(*spoilt(name, lambda x: x / 1000))


@pytest.mark.parametrize("change", [{"safe_setpoint_c": 31.0}, {"min_setpoint_c": 31.0}, {"allowable_inlet_c": 26.0}])
def test_limits_out_of_order_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change)).split("_")[0]):
        network.checked(HALL._replace(**change))


def test_a_site_twenty_times_larger_is_accepted_and_does_twenty_times_as_much():
    hall, chiller = (
        d._replace(**{n: 20 * getattr(d, n) for n in d._fields if n.endswith(("per_k", "_kw"))})
        for d in (HALL, CHILLER)
    )
    cooling.checked(hall, chiller)
    start = HallState(30.0, 34.0, 24.0)
    small, flows = cooling.step(HALL, CHILLER, start, 400.0, 14.0, 20.0, 0.6, 0.5)
    large, many = cooling.step(hall, chiller, start, 8000.0, 14.0, 20.0, 0.6, 0.5)
    np.testing.assert_allclose(large, small, rtol=1e-12)
    np.testing.assert_allclose(many[:5], 20.0 * np.array(flows[:5]), rtol=1e-12)


@law
@given(STATES, STATES)
def test_heat_content_adds_up_the_capacities(state, other):
    capacities, _ = matrices(HALL, 1.0)
    stored_kwh = network.heat_content_kwh(HALL, state) - network.heat_content_kwh(HALL, other)
    assert stored_kwh == pytest.approx(capacities @ (np.array(state) - np.array(other)), abs=1e-9)


def test_matched_fans_deliver_what_the_servers_draw_and_no_more():
    matched = network.matched_fan_fraction(HALL, 450.0)
    assert matched == pytest.approx(450.0 / 15.0 / 50.0)
    assert network.recirculation_fraction(HALL, 450.0, matched) == HALL.leak_fraction
    assert network.recirculation_fraction(HALL, 450.0, matched - 1e-6) > HALL.leak_fraction


@law
@given(st.floats(1.0, 750.0), WET_BULB_C, SETPOINT_C)
def test_electricity_over_heat_times_heat_is_the_plants_electricity_above_standby(heat_kw, wet_bulb_c, supply_c):
    per_heat = plant.electricity_per_heat(CHILLER, heat_kw, supply_c, wet_bulb_c)
    plant_kw = plant.compressor_kw(CHILLER, heat_kw, supply_c, wet_bulb_c) + plant.auxiliary_kw(CHILLER, heat_kw)
    assert per_heat * heat_kw + CHILLER.standby_kw == pytest.approx(plant_kw)
    assert plant.electricity_per_heat(CHILLER, 0.0, supply_c, wet_bulb_c) == CHILLER.parasitic_fraction


needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="psychrolib cannot select units without JIT")


@needs_compiler
def test_the_wet_bulb_table_is_close_to_psychrolib():
    rng = np.random.default_rng(0)
    temperature_c, humidity_pct = rng.uniform(-40.0, 55.0, 50_000), rng.uniform(0.0, 100.0, 50_000)
    tabulated_c = psychrometrics.wet_bulb_c(temperature_c, humidity_pct)
    exact_c = psychrolib.GetTWetBulbFromRelHum(temperature_c, humidity_pct / 100.0, psychrometrics.PRESSURE_PA)
    error_k, freezing = np.abs(tabulated_c - exact_c), np.abs(exact_c) < 1.0
    assert error_k[~freezing].max() < 0.02
    assert error_k[freezing].max() < 0.75


@needs_compiler
@law
@given(st.floats(-40.0, 55.0), st.floats(0.0, 100.0))
def test_the_wet_bulb_is_below_the_dry_bulb_and_equal_in_saturated_air(temperature_c, humidity_pct):
    assert psychrometrics.wet_bulb_c(temperature_c, humidity_pct) <= temperature_c + 1e-3
    assert psychrometrics.wet_bulb_c(temperature_c, 100.0) == pytest.approx(temperature_c, abs=2e-3)


@needs_compiler
def test_the_wet_bulb_of_a_textbook_day():
    assert psychrometrics.wet_bulb_c(20.0, 50.0) == pytest.approx(13.8, abs=0.1)  # Stull 2011 gives 13.7


@needs_compiler
def test_a_gap_in_the_weather_stays_a_gap_and_shapes_broadcast():
    out = psychrometrics.wet_bulb_c([[10.0], [nan]], [50.0, nan, 100.0])
    np.testing.assert_array_equal(np.isnan(out), [[False, True, False], [True, True, True]])


@needs_compiler
def test_the_kernel_reads_the_edge_beyond_the_table():
    table = psychrometrics.wet_bulb_table()
    assert psychrometrics.interpolated_c(table, 80.0, 120.0) == table[-1, -1]
    assert psychrometrics.interpolated_c(table, -80.0, -5.0) == table[0, 0]


@pytest.mark.parametrize(
    ("temperature_c", "humidity_pct", "name"),
    [(293.15, 50.0, "temperature_c"), (20.0, 101.0, "relative_humidity_pct"), (20.0, -1.0, "relative_humidity_pct")],
)
def test_weather_outside_the_table_is_refused_by_name(temperature_c, humidity_pct, name):
    with pytest.raises(ValueError, match=name):
        psychrometrics.wet_bulb_c(temperature_c, humidity_pct)
