"""Laws of risk: no limit is passed, losses stop a session and no other, and a restart forgets nothing."""

from datetime import UTC, datetime, timedelta
from math import inf

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from baselines.risk_models import joint_exposure_gbp
from dispatch import decisions, risk
from dispatch.audit import Audit
from dispatch.decisions import Decided
from dispatch.exposure import Limits, autocorrelation, checked, room_gbp, within_power
from dispatch.risk import KILL, PAUSE, Risk, gain_gbp
from dispatch.stops import PROFIT_RANGES, STOP_RANGES, regime_of, stops
from forecasting.indicators import average_true_range
from models.battery import Battery
from models.settlement import Adders

NOON = datetime(2024, 3, 31, 12, 0, tzinfo=UTC)
HALF = timedelta(minutes=30)
BATTERY, ADDERS = Battery(), Adders(network_gbp_per_mwh=3.0)
PRICES = np.array([50.0, 60.0, 55.0, 70.0])


def steady():
    return PRICES


def opened(store, **limits):
    return Risk(Limits(**limits), BATTERY, ADDERS, store)


def lose(it, loss_gbp, start=NOON):
    """Decide a step and let its price make it lose that much, at no wear or network cost to speak of."""
    it.decided(start, start + HALF, 100.0)
    price = (loss_gbp - BATTERY.wear_gbp_per_kwh * 50.0 - 0.003 * 50.0) / 0.05
    return it.settle({start: price}, start + 2 * HALF)


@settings(deadline=None)
@given(
    asked=st.dictionaries(st.text(max_size=3), st.floats(-1e4, 1e4), max_size=5),
    device=st.floats(0.0, 1e4) | st.just(inf),
    total=st.floats(0.0, 1e4) | st.just(inf),
)
def test_no_device_and_no_sum_of_devices_passes_its_limit(asked, device, total):
    allowed = within_power(asked, Limits(device, total))
    assert allowed.keys() == asked.keys()
    assert all(abs(allowed[name]) <= min(abs(asked[name]), device) + 1e-6 for name in asked)
    assert all(allowed[name] * asked[name] >= 0.0 for name in asked)
    assert sum(map(abs, allowed.values())) <= total * (1.0 + 1e-9) + 1e-9


@settings(deadline=None)
@given(
    held=st.lists(st.floats(-100.0, 100.0), max_size=4),
    prices=st.lists(st.floats(-500.0, 500.0), min_size=12, max_size=40),
    limit=st.floats(0.0, 200.0),
    share=st.floats(0.0, 1.0),
)
def test_what_may_be_added_keeps_the_joint_exposure_and_nothing_more_could(held, prices, limit, share):
    held = np.array(held)
    correlation = autocorrelation(np.array(prices), held.size)
    low, high = room_gbp(held, correlation, limit)
    assert low <= 0.0 <= high
    before = joint_exposure_gbp(held, correlation[:-1, :-1]) if held.size else 0.0
    for added in (low * share, high * share):
        joint = joint_exposure_gbp(np.append(held, added), correlation)
        assert joint <= max(limit, before) + 1e-4
    if before <= limit:
        for beyond in (low - 0.1, high + 0.1):
            joint = joint_exposure_gbp(np.append(held, beyond), correlation)
            assert joint >= limit - 1e-6, "the range is as wide as it can be"


def test_prices_that_move_together_leave_less_room_than_unrelated_ones():
    held = np.array([30.0])
    together, apart, opposed = (np.array([[1.0, r], [r, 1.0]]) for r in (1.0, 0.0, -1.0))
    highest = [room_gbp(held, matrix, 50.0)[1] for matrix in (together, apart, opposed)]
    assert highest == pytest.approx([20.0, 40.0, 80.0])


@given(prices=st.lists(st.floats(-1e4, 1e4), max_size=60), lags=st.integers(0, 10))
def test_an_autocorrelation_is_a_possible_correlation(prices, lags):
    matrix = autocorrelation(np.array(prices), lags)
    assert np.linalg.eigvalsh(matrix).min() > -1e-6
    np.testing.assert_allclose(np.diag(matrix), 1.0)


def test_exposure_that_is_not_settled_narrows_the_next_step_and_settling_widens_it(store):
    it = opened(store, exposure_gbp=10.0)
    free = it.permit(NOON, NOON + HALF, steady)
    assert free.high_kw == pytest.approx(10.0 / 70.0 * 2000.0)
    it.decided(NOON - HALF, NOON, free.high_kw)
    narrow = it.permit(NOON, NOON + HALF, steady)
    assert narrow.high_kw < 0.75 * free.high_kw
    assert narrow.low_kw == pytest.approx(0.0, abs=1e-9), "the last moves were opposed: selling adds up"
    it.settle({NOON - HALF: 70.0}, NOON)
    assert it.permit(NOON, NOON + HALF, steady) == free
    blind = it.permit(NOON, NOON + HALF, lambda: np.empty(0))
    assert (blind.low_kw, blind.high_kw) == (0.0, 0.0), "without a price nobody knows what is at stake"


def test_limits_of_power_hold_and_a_wrong_limit_is_refused(store):
    permit = opened(store, device_kw=80.0, total_kw=60.0).permit(NOON, NOON + HALF, steady)
    assert (permit.low_kw, permit.high_kw) == (-60.0, 60.0)
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="0 or more"):
            checked(Limits(total_kw=wrong))


def test_losses_stop_a_session_and_the_next_one_begins_afresh(store):
    it = opened(store, drawdown_gbp=50.0)
    assert lose(it, 49.0)[1] == []
    assert it.permit(NOON + HALF, NOON + 2 * HALF, steady).halted == ""
    (event,) = lose(it, 1.5, NOON + HALF)[1]
    assert (event.kind, event.body["session"]) == ("risk_breaker", "2024-03-31")
    last, first = datetime(2024, 3, 31, 22, 30, tzinfo=UTC), datetime(2024, 3, 31, 23, 0, tzinfo=UTC)
    assert "lost 50.50 GBP" in it.permit(last, last + HALF, steady).halted
    assert it.permit(first, first + HALF, steady).halted == "", "London's midnight is at 23:00 UTC that day"
    assert it.state(NOON)["drawdown_gbp"] == pytest.approx(50.5)
    assert lose(it, 10.0, NOON + 2 * HALF)[1] == [], "it trips once"


def test_a_gain_does_not_reset_a_breaker_and_a_fall_counts_from_the_high(store):
    it = opened(store, drawdown_gbp=50.0)
    assert lose(it, -100.0)[1] == []
    assert lose(it, 49.0, NOON + HALF)[1] == []
    assert len(lose(it, 2.0, NOON + 2 * HALF)[1]) == 1, "a day in profit may lose its gains"
    lose(it, -500.0, NOON + 3 * HALF)
    assert it.permit(NOON + 4 * HALF, NOON + 5 * HALF, steady).halted


@settings(deadline=None, max_examples=40)
@given(power_kw=st.floats(-250.0, 250.0), price=st.floats(-500.0, 4000.0), hours=st.sampled_from([0.25, 0.5]))
def test_a_gain_is_energy_at_the_price_less_network_and_wear(power_kw, price, hours):
    energy_mwh = power_kw * hours / 1000.0
    expected = -energy_mwh * price - 3.0 * max(energy_mwh, 0.0) - 5.0 * abs(energy_mwh)
    assert gain_gbp(BATTERY, ADDERS, power_kw, hours, price) == pytest.approx(expected, abs=1e-9)


def test_pause_kill_breaker_and_losses_survive_a_restart(store):
    audit, it = Audit(store), opened(store, drawdown_gbp=50.0)
    happened = [it.switch(KILL, True, "fire", NOON), it.switch(PAUSE, True, "lunch", NOON), *lose(it, 60.0)[1]]
    with store.writing() as connection:
        for event in happened:
            risk.write(connection, audit, event)
        decisions.write(connection, Decided(NOON, NOON + HALF, NOON, 100.0, "policy", "{}", -60.0))
    again = opened(store, drawdown_gbp=50.0)
    assert again.state(NOON) == it.state(NOON)
    assert again.killed == "fire"
    for kind, halted in ((KILL, "paused: lunch"), (PAUSE, "lost 60.00 GBP")):
        with store.writing() as connection:
            risk.write(connection, audit, again.switch(kind, False, "over", NOON))
        assert halted in again.permit(NOON, NOON + HALF, steady).halted
        assert again.permit(NOON, NOON + HALF, steady) == opened(store, drawdown_gbp=50.0).permit(
            NOON, NOON + HALF, steady
        )
    assert [event["kind"] for event in risk.events(audit, 10)] == ["pause", "kill", "breaker", "pause", "kill"]


def test_a_tired_operator_pauses_and_a_rested_one_does_not_resume(store):
    it = opened(store)
    assert [event.kind for event in it.heart_rate(40.0, 50.0, NOON)] == ["risk_hrv"]
    assert [event.kind for event in it.heart_rate(20.0, 50.0, NOON)] == ["risk_hrv", "risk_pause"]
    it.heart_rate(50.0, 50.0, NOON)
    assert "operator fatigue" in it.permit(NOON, NOON + HALF, steady).halted


@settings(deadline=None, max_examples=60)
@given(
    prices=st.lists(st.floats(-500.0, 4000.0), min_size=2, max_size=200), side=st.sampled_from(["buy", "sell", "skip"])
)
def test_a_stop_lies_where_the_trade_loses_and_a_profit_where_it_gains(prices, side):
    prices = np.array(prices)
    away = stops(prices, side)
    assert away.true_range_gbp_per_mwh == average_true_range(prices)[-1] >= 0.0
    if side == "skip":
        assert away[:2] == (None, None)
        return
    rise = 1.0 if side == "buy" else -1.0
    lost = rise * (prices[-1] - away.stop_loss_gbp_per_mwh)
    gained = rise * (away.take_profit_gbp_per_mwh - prices[-1])
    assume(away.true_range_gbp_per_mwh > 1e-6)
    assert lost == pytest.approx(STOP_RANGES[away.regime] * away.true_range_gbp_per_mwh, abs=1e-6)
    assert gained == pytest.approx(PROFIT_RANGES[away.regime] * away.true_range_gbp_per_mwh, abs=1e-6)


def test_the_regime_is_told_by_the_last_day_against_those_before():
    rng = np.random.default_rng(0)
    rough, smooth = rng.normal(60.0, 40.0, 480), rng.normal(60.0, 1.0, 480)
    assert regime_of(np.concatenate([smooth, rough])) == "turbulent"
    assert regime_of(np.concatenate([rough, smooth])) == "calm"
    assert regime_of(rough[:48]) == "normal"
    with pytest.raises(ValueError, match="two known ones"):
        stops(np.array([1.0]), "buy")


@pytest.mark.parametrize("day", ["2024-03-31", "2024-10-27", "2024-06-01"])
def test_a_session_is_a_london_day(day):
    instants = pd.date_range(f"{day} 00:00", f"{day} 23:30", freq="30min", tz="Europe/London").tz_convert("UTC")
    assert {risk.session_of(instant.to_pydatetime()).isoformat() for instant in instants} == {day}
    assert risk.session_of((instants[-1] + HALF).to_pydatetime()).isoformat() > day
