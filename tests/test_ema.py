"""Laws of the moving-average strategy."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.ema import EmaPolicy, EmaState
from baselines.strategy import Signal, Strategy
from envs.battery import BatterySystem
from envs.fields import position
from envs.scenario import Scenario
from envs.single import SystemEnv
from evaluation.rollout import play

FIELDS = BatterySystem().observation_fields
PRICES = st.lists(st.floats(-500.0, 2000.0, width=32), min_size=2, max_size=60)


def seen(price):
    observation = np.zeros(len(FIELDS), np.float32)
    observation[position(FIELDS, "known_imbalance_price_gbp_per_mwh")] = price
    return observation


def states(policy, prices):
    policy.reset(0)
    for price in prices:
        state = policy.prepare_state(seen(price))
        yield state
        policy.post_trade_update(state, policy.generate_signal(state))


@settings(deadline=None)
@given(PRICES)
def test_the_averages_are_those_of_pandas(prices):
    found = pd.DataFrame(list(states(EmaPolicy(FIELDS), prices)))
    series = pd.Series(np.float32(prices).astype(float))
    np.testing.assert_allclose(found["average"], series.ewm(span=18, adjust=False).mean(), rtol=1e-9, atol=1e-6)
    changes = series.diff().abs().fillna(0.0)
    wilder = changes.ewm(alpha=1.0 / 14.0, adjust=False).mean()
    np.testing.assert_allclose(found["true_range"], wilder, rtol=1e-9, atol=1e-6)


@settings(deadline=None)
@given(PRICES)
def test_stop_and_profit_enclose_the_price_on_the_right_sides(prices):
    policy = EmaPolicy(FIELDS)
    for state in states(policy, prices):
        signal = policy.generate_signal(state)
        if signal.action == "skip":
            assert (signal.stop_loss_gbp_per_mwh, signal.take_profit_gbp_per_mwh) == (None, None)
        elif signal.action == "buy":
            assert state.price < state.average
            assert signal.stop_loss_gbp_per_mwh < state.price < signal.take_profit_gbp_per_mwh
        else:
            assert state.price > state.average
            assert signal.take_profit_gbp_per_mwh < state.price < signal.stop_loss_gbp_per_mwh


def test_preparing_a_state_and_a_signal_changes_nothing():
    policy: Strategy[EmaState] = EmaPolicy(FIELDS)
    assert policy.prepare_state(seen(50.0)) == policy.prepare_state(seen(50.0))
    policy.post_trade_update(policy.prepare_state(seen(50.0)), Signal("skip"))
    first, again = policy.prepare_state(seen(90.0)), policy.prepare_state(seen(90.0))
    assert first == again
    assert policy.generate_signal(first) == policy.generate_signal(again)
    policy.post_trade_update(first, policy.generate_signal(first))
    assert policy.prepare_state(seen(90.0)) != again


def test_acting_is_the_three_steps_in_order():
    acting, stepping = EmaPolicy(FIELDS), EmaPolicy(FIELDS)
    for price, state in zip(prices := [50.0, 80.0, 20.0, 55.0, 140.0], states(stepping, prices), strict=True):
        expected = {"buy": 1.0, "sell": -1.0, "skip": 0.0}[stepping.generate_signal(state).action]
        assert acting.act(seen(price)) == [expected]


def test_a_new_episode_knows_nothing_of_the_last(history):
    env = SystemEnv(BatterySystem(Scenario(history, "validation", "day")))
    policy = EmaPolicy.for_env(env)
    first = play(env, policy, 3)["reward_gbp"]
    play(env, policy, 4)
    pd.testing.assert_series_equal(play(env, policy, 3)["reward_gbp"], first)


def test_a_price_that_stands_still_is_not_traded():
    assert not any(EmaPolicy(FIELDS).act(seen(70.0))[0] for _ in range(5))


@pytest.mark.parametrize("bad", [{"span": 0}, {"range_periods": 0}, {"entry_ranges": -1.0}, {"stop_ranges": np.inf}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="must be 1 or more"):
        EmaPolicy(FIELDS, **bad)
