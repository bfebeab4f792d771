"""Laws of the flexibility market's environment; what holds for every environment is in test_env_contract.py."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.idle import IdlePolicy
from baselines.market_rules import MarkUpPolicy
from data.flexibility import FlexibilityMarket, FlexibilitySource
from data.schema import PERIOD_H
from data.synthetic import generate
from envs.fields import position
from envs.market import GATE_PERIODS, MAX_PRICE_GBP_PER_MWH, PUBLISHED_FIELDS, MarketSystem, sell_turn_down
from envs.scenario import History, Scenario
from envs.single import SystemEnv
from evaluation.rollout import play
from forecasting.deviation import DeviationForecaster
from models import battery as battery_model
from models.market import clear_book
from models.settlement import Adders

SELL_ALL = np.float32([250.0, 0.0, 0.0])
POWERS = st.floats(0.0, 3000.0)
PRICES = st.floats(0.0, MAX_PRICE_GBP_PER_MWH)


@pytest.fixture(scope="module")
def winter_days() -> Scenario:
    table = generate("2022-11-07", "2022-12-19", seed=2)
    return Scenario(History(table, DeviationForecaster((0.7, 0.5, 0.3))), "train", "day")


@pytest.fixture(scope="module")
def env(winter_days) -> SystemEnv:
    return SystemEnv(MarketSystem(winter_days))


def reset_before_an_event(env: SystemEnv, hours: float) -> np.ndarray:
    """Begin an episode and rest until the next event is `hours` away."""
    for seed in range(50):
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            event_in_h = observation[position(env.system.observation_fields, "event_in_h")]
            if event_in_h == hours:
                return observation
            observation, _, over, _, _ = env.step(np.zeros(3, dtype=np.float32))
    raise AssertionError("the scenario was meant to hold events")


@settings(deadline=None, max_examples=100)
@given(
    wanted_kw=POWERS,
    cap=PRICES,
    offered_kw=POWERS,
    price=PRICES,
    rivals=st.lists(st.tuples(POWERS, PRICES), min_size=1, max_size=5),
)
def test_an_offer_clears_as_the_book_does(wanted_kw, cap, offered_kw, price, rivals):
    rival_kw, rival_price = np.array(rivals).T.copy()
    flexibility = FlexibilityMarket(np.array([wanted_kw]), np.array([cap]), rival_kw[None], rival_price[None])
    sold_kw, clearing = sell_turn_down(flexibility, 0, offered_kw, price)
    if wanted_kw == 0.0:
        assert sold_kw == clearing == 0.0
        return
    book = pd.DataFrame(
        {
            "order_id": ["dso", "site", *(f"rival {k}" for k in range(len(rivals)))],
            "side": ["buy"] + ["sell"] * (len(rivals) + 1),
            "price_gbp_per_mwh": [cap, price, *rival_price],
            "quantity_kw": [wanted_kw, offered_kw, *rival_kw],
        }
    )
    cleared = clear_book(book)
    assert sold_kw == pytest.approx(cleared.accepted_kw["site"])
    assert clearing == pytest.approx(cleared.price_gbp_per_mwh)
    if sold_kw > 0.0:
        assert price - 1e-9 <= clearing <= cap + 1e-9


@pytest.mark.parametrize("offer", [[0.0, 0.0], [np.nan, np.nan], [np.nan, 100.0], [250.0, np.nan], [-5.0, 0.0]])
def test_there_is_no_delivery_without_a_sale(env, offer):
    """Discharging through every event earns no flexibility if nothing was offered."""
    for seed in range(4):
        env.reset(seed=seed)
        over = False
        while not over:
            t = int(env.lanes[0]["period"])
            wanted = env.system.flexibility.wanted_kw[t] > 0.0
            _, _, over, _, info = env.step(np.float32([*offer, -1.0 if wanted else 1.0]))
            assert info["called_kw"] == info["delivered_kw"] == 0.0
            assert info["reward_gbp"]["flexibility"] == info["reward_gbp"]["under_delivery"] == 0.0


def test_an_offer_sells_for_the_period_after_the_gate(env):
    observation = reset_before_an_event(env, GATE_PERIODS * PERIOD_H)
    fields = env.system.observation_fields
    assert observation[position(fields, "wanted_kw")] > 0.0
    auctioned = int(env.lanes[0]["period"]) + GATE_PERIODS
    sold_kw, clearing = sell_turn_down(env.system.flexibility, auctioned, 250.0, 0.0)
    assert sold_kw > 0.0
    observation = env.step(SELL_ALL)[0]
    assert observation[position(fields, "sold_next_kw")] == np.float32(sold_kw)
    assert observation[position(fields, "sold_next_gbp_per_mwh")] == np.float32(clearing)
    assert observation[position(fields, "clearing_gbp_per_mwh")] == np.float32(clearing)
    observation = env.step(np.zeros(3, dtype=np.float32))[0]
    assert observation[position(fields, "sold_now_kw")] == np.float32(sold_kw)
    info = env.step(np.float32([0.0, 0.0, -1.0]))[4]
    assert info["called_kw"] == info["delivered_kw"] == sold_kw
    assert info["clearing_price_gbp_per_mwh"] == clearing


@pytest.mark.parametrize("fraction", [-1.0, -0.4, 0.0, 0.5])
def test_delivery_earns_the_price_and_the_rest_is_charged(env, fraction):
    reset_before_an_event(env, GATE_PERIODS * PERIOD_H)
    env.step(SELL_ALL)
    env.step(np.zeros(3, dtype=np.float32))
    info = env.step(np.float32([0.0, 0.0, fraction]))[4]
    sold_kw, price = info["called_kw"], info["clearing_price_gbp_per_mwh"]
    assert sold_kw == 250.0
    kept_kw = min(max(-info["grid_kw"], 0.0), sold_kw)
    assert kept_kw == pytest.approx(max(-fraction, 0.0) * 250.0)
    assert info["delivered_kw"] == pytest.approx(kept_kw)
    terms = info["reward_gbp"]
    assert terms["flexibility"] == pytest.approx(kept_kw * PERIOD_H * price / 1000.0)
    assert terms["under_delivery"] == pytest.approx(-1.5 * (sold_kw - kept_kw) * PERIOD_H * price / 1000.0)


def test_delivering_more_than_was_sold_earns_no_more_flexibility(env):
    reset_before_an_event(env, GATE_PERIODS * PERIOD_H)
    env.step(np.float32([100.0, 0.0, 0.0]))
    env.step(np.zeros(3, dtype=np.float32))
    info = env.step(np.float32([0.0, 0.0, -1.0]))[4]
    assert info["grid_kw"] == -250.0
    assert info["delivered_kw"] == info["called_kw"] == 100.0


def test_an_empty_battery_cannot_deliver_what_it_sold(winter_days):
    env = SystemEnv(MarketSystem(winter_days, start_fraction=0.15))
    reset_before_an_event(env, GATE_PERIODS * PERIOD_H)
    for action in ([250.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 0.0, -1.0]):
        info = env.step(np.float32(action))[4]
    assert info["called_kw"] == 250.0
    assert info["delivered_kw"] == 0.0
    assert info["reward_gbp"]["under_delivery"] < 0.0


def test_metered_energy_is_settled_at_the_imbalance_price_and_stored_as_the_battery_does(winter_days):
    adders = Adders(network_gbp_per_mwh=20.0, carbon_gbp_per_tonne=80.0)
    system = MarketSystem(winter_days, adders=adders)
    env, rng = SystemEnv(system), np.random.default_rng(0)
    env.reset(seed=3)
    over, energy_kwh, b = False, 500.0, system.battery
    while not over:
        t, power = int(env.lanes[0]["period"]), float(np.float32(rng.uniform(-1.0, 1.0)))
        _, _, over, _, info = env.step(np.float32([250.0, 0.0, power]))
        energy_kwh, power_kw = battery_model.step(b, energy_kwh, power * 250.0, PERIOD_H)
        assert info["grid_kw"] == pytest.approx(power_kw)
        assert info["energy_kwh"] == pytest.approx(energy_kwh)
        mwh, market, terms = power_kw * PERIOD_H / 1000.0, winter_days.market, info["reward_gbp"]
        assert terms["imbalance"] == pytest.approx(-mwh * market.imbalance_price_gbp_per_mwh[t])
        assert terms["network"] == pytest.approx(-20.0 * max(mwh, 0.0))
        assert terms["carbon"] == pytest.approx(-80.0 * mwh * market.carbon_g_per_kwh[t] / 1000.0)
        assert terms["wear"] == pytest.approx(-5.0 * abs(mwh))
    gained_mwh = (energy_kwh - 500.0) / 1000.0 * b.discharge_efficiency
    end_price = winter_days.market.end_price_gbp_per_mwh[env.lanes[0]["stop"]]
    assert info["reward_gbp"]["end_value"] == pytest.approx(gained_mwh * end_price)


def test_what_is_published_is_what_the_dso_wants_in_the_next_day(env):
    f, n = env.system.flexibility, len(env.system.scenario.timestamps)
    fields = env.system.observation_fields
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        for _ in range(30):
            t = int(env.lanes[0]["period"])
            day = [k for k in range(t, min(t + 48, n)) if f.wanted_kw[k] > 0.0]
            shown = {field.name: observation[position(fields, field.name)] for field in PUBLISHED_FIELDS}
            wanted = f.wanted_kw[t + GATE_PERIODS]
            assert shown["wanted_kw"] == wanted
            assert shown["cap_gbp_per_mwh"] == np.float32(f.cap_gbp_per_mwh[t + GATE_PERIODS] * (wanted > 0.0))
            assert shown["wanted_h"] == len(day) * PERIOD_H
            assert shown["event_in_h"] == ((day[0] - t) * PERIOD_H if day else 24.0)
            assert shown["event_cap_gbp_per_mwh"] == (np.float32(f.cap_gbp_per_mwh[day[0]]) if day else 0.0)
            observation = env.step(np.zeros(3, dtype=np.float32))[0]


@pytest.mark.parametrize(("changed", "first_seen"), [("rivals", 19), ("wishes", 20)])
def test_rivals_are_not_seen_before_their_auction_nor_wishes_before_their_notice(winter_days, changed, first_seen):
    env = SystemEnv(MarketSystem(winter_days))
    reset_before_an_event(env, 10.0)
    t = int(env.lanes[0]["period"])

    class Spoilt(FlexibilitySource):
        def market(self, index: pd.DatetimeIndex) -> FlexibilityMarket:
            market = super().market(index)
            if changed == "rivals":
                market.rival_gbp_per_mwh[t + 21 :] *= 1.1  # step 19 makes the offer for period t + 21
            else:
                market.wanted_kw[t + 20 + 48 :] = 777.0  # step 20 leads to period t + 21, which sees up to t + 68
            return market

    other = SystemEnv(MarketSystem(winter_days, flexibility=Spoilt()))
    other.lanes[:] = env.lanes
    seen = [[each.step(SELL_ALL)[0] for _ in range(21)] for each in (env, other)]
    np.testing.assert_array_equal(seen[0][:first_seen], seen[1][:first_seen])
    assert not np.array_equal(seen[0][first_seen], seen[1][first_seen])


def test_periods_after_the_end_are_not_auctioned(winter_days):
    system = MarketSystem(winter_days)
    system.flexibility.wanted_kw[:] = 1000.0
    env = SystemEnv(system)
    env.reset(seed=0)
    over, called = False, []
    while not over:
        _, _, over, _, info = env.step(SELL_ALL)
        called.append(info["called_kw"])
    assert called[:2] == [0.0, 0.0]
    assert min(called[2:]) > 0.0
    assert env.lanes[0]["sold_kw"].tolist() == [0.0, 0.0]


def test_the_rule_keeps_what_it_sold_and_earns_with_it(env):
    rule, idle = MarkUpPolicy.for_env(env), IdlePolicy.for_env(env)
    for seed in range(10):
        trace = play(env, rule, seed)
        np.testing.assert_allclose(trace["delivered_kw"], trace["called_kw"], atol=1e-3)
        assert abs(trace["under_delivery_gbp"].sum()) < 0.01
    values = [np.mean([play(env, policy, seed)["reward_gbp"].sum() for seed in range(10)]) for policy in (rule, idle)]
    assert values[0] > values[1] == 0.0


@pytest.mark.parametrize("change", [{"mark_up": -1.0}, {"cheap_percentile": 101.0}])
def test_a_wrong_rule_is_refused_by_name(env, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        MarkUpPolicy.for_env(env, **change)


@pytest.mark.parametrize("change", [{"shortfall_factor": -1.0}, {"shortfall_factor": np.nan}, {"start_fraction": 0.99}])
def test_a_wrong_parameter_is_refused_by_name(winter_days, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        MarketSystem(winter_days, **change)
