"""Laws of the capacity auction's environment; what holds for every environment is in test_env_contract.py."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.auction_rules import ReservePolicy
from baselines.idle import IdlePolicy
from data.flexibility import FlexibilitySource
from data.schema import PERIOD_H
from data.tenants import BLOCK_PERIODS, TenantSource
from envs.auction import MAX_RESERVE_GBP_PER_KW, OWN_FIELDS, AuctionSystem
from envs.fields import position
from envs.scenario import Scenario
from envs.single import SystemEnv
from evaluation.rollout import play
from models.auction import vcg_allocate
from models.market import clear_book
from models.settlement import Adders

NOTHING = np.full(2, np.nan, dtype=np.float32)


@pytest.fixture(scope="module")
def winter_days() -> Scenario:
    """Winter, when a UTC block begins with the local day, and events are many."""
    from data.synthetic import generate
    from envs.scenario import History
    from forecasting.deviation import DeviationForecaster

    return Scenario(
        History(generate("2022-11-07", "2022-12-19", seed=2), DeviationForecaster((0.7, 0.5, 0.3))), "train", "day"
    )


@pytest.fixture(scope="module")
def env(winter_days) -> SystemEnv:
    return SystemEnv(AuctionSystem(winter_days))


def bids_of(system: AuctionSystem, block: int) -> pd.DataFrame:
    bids = system.tenants
    return pd.DataFrame(
        {
            "bidder_id": [f"{k:02d}" for k in range(bids.quantity_kw.shape[1])],
            "value_gbp_per_kw": bids.value_gbp_per_kw[block],
            "quantity_kw": bids.quantity_kw[block],
            "divisible": bids.divisible[block],
        }
    )


@settings(deadline=None, max_examples=50)
@given(
    offered=st.just(0.0) | st.floats(1.0, 596.0, width=32),
    reserve=st.floats(0.0, MAX_RESERVE_GBP_PER_KW, width=32),
    seed=st.integers(0, 99),
)
def test_every_auction_allocates_and_charges_as_vcg_does(env, offered, reserve, seed):
    env.reset(seed=seed)
    block = int(env.lanes[0]["period"]) // BLOCK_PERIODS
    _, _, _, _, info = env.step(np.float32([offered, reserve]))
    allocation, payments = vcg_allocate(
        bids_of(env.system, block), float(np.float32(offered)), reserve_gbp_per_kw=float(np.float32(reserve))
    )
    assert info["grid_kw"] == pytest.approx(sum(allocation.values()), abs=1e-6)
    assert info["reward_gbp"]["auction"] == pytest.approx(sum(payments.values()), abs=1e-6)
    assert info["grid_kw"] <= np.float32(offered) + 1e-6


def test_what_is_sold_runs_for_the_block_whatever_is_asked_between(env):
    env.reset(seed=1)
    first = [env.step(np.float32([400.0, 0.0]))[4]]
    for action in (NOTHING, [0.0, 1.5], [596.0, 0.0], NOTHING, [1.0, 1.0], NOTHING, NOTHING):
        first.append(env.step(np.float32(action))[4])
    assert len(first) == BLOCK_PERIODS
    assert {info["grid_kw"] for info in first} == {first[0]["grid_kw"]}
    assert first[0]["grid_kw"] > 0.0
    assert all(info["reward_gbp"]["auction"] == 0.0 for info in first[1:])
    assert env.step(NOTHING)[4]["grid_kw"] == 0.0


def test_energy_of_what_was_sold_is_bought_at_the_imbalance_price_with_its_adders(winter_days):
    adders = Adders(network_gbp_per_mwh=20.0, carbon_gbp_per_tonne=80.0)
    env = SystemEnv(AuctionSystem(winter_days, adders=adders))
    env.reset(seed=3)
    over = False
    while not over:
        t = int(env.lanes[0]["period"])
        _, _, over, _, info = env.step(np.float32([500.0, 0.2]))
        mwh, market = info["grid_kw"] * PERIOD_H / 1000.0, winter_days.market
        terms = info["reward_gbp"]
        assert terms["imbalance"] == pytest.approx(-mwh * market.imbalance_price_gbp_per_mwh[t])
        assert terms["network"] == pytest.approx(-20.0 * mwh)
        assert terms["carbon"] == pytest.approx(-80.0 * mwh * market.carbon_g_per_kwh[t] / 1000.0)


def test_turn_down_of_what_is_not_sold_earns_the_clearing_price_of_the_book(env):
    events = 0
    for policy in (IdlePolicy.for_env(env), ReservePolicy.for_env(env)):
        for seed in range(6):
            observation, _ = env.reset(seed=seed)
            over = False
            while not over:
                t = int(env.lanes[0]["period"])
                observation, _, over, _, info = env.step(policy.act(observation))
                f, free_kw = env.system.flexibility, env.system.capacity_kw - info["grid_kw"]
                earned_gbp = info["reward_gbp"]["flexibility"]
                if f.wanted_kw[t] == 0.0:
                    assert info["turned_down_kw"] == earned_gbp == 0.0
                    continue
                events += 1
                rivals = range(f.rival_kw.shape[1])
                book = pd.DataFrame(
                    {
                        "order_id": ["dso", "site", *(f"rival {k}" for k in rivals)],
                        "side": ["buy"] + ["sell"] * (len(rivals) + 1),
                        "price_gbp_per_mwh": [f.cap_gbp_per_mwh[t], 0.0, *f.rival_gbp_per_mwh[t]],
                        "quantity_kw": [f.wanted_kw[t], free_kw, *f.rival_kw[t]],
                    }
                )
                cleared = clear_book(book)
                assert info["turned_down_kw"] == pytest.approx(cleared.accepted_kw["site"])
                paid_gbp = cleared.accepted_kw["site"] * PERIOD_H * cleared.price_gbp_per_mwh / 1000.0
                assert earned_gbp == pytest.approx(paid_gbp)
                assert info["grid_kw"] + info["turned_down_kw"] <= env.system.capacity_kw + 1e-6
    assert events > 10


def test_selling_now_costs_flexibility_later(env):
    sold, idle = (play(env, policy, 4) for policy in (ReservePolicy(596.0, mark_up=0.0), IdlePolicy.for_env(env)))
    assert idle["flexibility_gbp"].sum() > sold["flexibility_gbp"].sum() >= 0.0
    assert sold["auction_gbp"].sum() > 0.0


def test_asking_for_nothing_in_either_field_sells_nothing(env):
    for action in ([np.nan, np.nan], [500.0, np.nan], [np.nan, 0.0]):
        env.reset(seed=0)
        _, _, _, _, info = env.step(np.float32(action))
        assert info["grid_kw"] == info["reward_gbp"]["auction"] == 0.0


def test_energy_still_owed_at_the_end_is_paid_for(history):
    """A summer day in Britain ends at 23:00 UTC, two periods before its last block does."""
    scenario = Scenario(history, "validation", "day")
    env = SystemEnv(AuctionSystem(scenario))
    env.reset(seed=0)
    over = False
    while not over:
        _, _, over, _, info = env.step(np.float32([596.0, 0.0]))
    stop = int(env.lanes[0]["stop"])
    owed_periods = -stop % BLOCK_PERIODS
    assert owed_periods == 2
    market = scenario.market
    price = market.end_price_gbp_per_mwh[stop] + 60.0 * market.carbon_g_per_kwh[stop - 1] / 1000.0
    assert info["grid_kw"] > 0.0
    assert info["reward_gbp"]["end_value"] == pytest.approx(-info["grid_kw"] * owed_periods * PERIOD_H * price / 1000.0)


def test_an_episode_within_a_block_begins_with_nothing_sold(days):
    env = SystemEnv(AuctionSystem(days))
    observation, _ = env.reset(seed=0)
    assert observation[position(OWN_FIELDS, "hours_to_auction_h")] == 1.0
    for _ in range(2):
        observation, _, _, _, info = env.step(np.float32([596.0, 0.0]))
        assert info["grid_kw"] == 0.0
    assert observation[position(OWN_FIELDS, "hours_to_auction_h")] == 0.0


def test_results_shown_are_those_of_past_auctions_the_newest_first(env):
    observation, _ = env.reset(seed=2)
    at = position(OWN_FIELDS, "paid_gbp_per_kw_00")
    before = observation[at : at + 6].copy()
    block = int(env.lanes[0]["period"]) // BLOCK_PERIODS
    for k in range(6):
        allocation, payments = vcg_allocate(bids_of(env.system, block - 1 - k), env.system.capacity_kw)
        assert before[k] == pytest.approx(sum(payments.values()) / sum(allocation.values()), rel=1e-5)
    observation, _, _, _, info = env.step(np.float32([300.0, 0.1]))
    paid = info["reward_gbp"]["auction"] / info["grid_kw"]
    np.testing.assert_allclose(observation[at : at + 6], [paid, *before[:5]], rtol=1e-5)


def test_sealed_bids_reach_no_observation_before_their_auction(winter_days):
    """Bids of blocks not yet auctioned are exchanged: nothing that is seen moves until they are."""
    systems = [AuctionSystem(winter_days) for _ in range(2)]
    envs = [SystemEnv(system) for system in systems]
    for each in envs:
        each.reset(seed=5)
    block = int(envs[0].lanes[0]["period"]) // BLOCK_PERIODS
    for field in systems[1].tenants:
        field[block + 1 :] = field[block + 1 :][::-1].copy()
    seen = [[each.step(np.float32([400.0, 0.1]))[0] for _ in range(9)] for each in envs]
    np.testing.assert_array_equal(seen[0][:8], seen[1][:8])
    assert not np.array_equal(seen[0][8], seen[1][8])


def test_the_forecast_cost_is_that_of_the_block_auctioned_next(env):
    system = env.system
    observation, _ = env.reset(seed=0)
    for step in range(20):
        t = int(env.lanes[0]["period"])
        lead = -t % BLOCK_PERIODS
        history = system.scenario.history
        price = observation[-48:][lead : lead + BLOCK_PERIODS]
        carbon = history.carbon_outlook[t, 1:][lead : lead + BLOCK_PERIODS]
        expected = (price + 60.0 * carbon / 1000.0).sum() * PERIOD_H / 1000.0
        assert observation[position(OWN_FIELDS, "energy_cost_gbp_per_kw")] == pytest.approx(expected, rel=1e-4), step
        f, rows = system.flexibility, slice(t + lead, t + lead + BLOCK_PERIODS)
        most = (f.cap_gbp_per_mwh[rows] * (f.wanted_kw[rows] > 0.0)).sum() * PERIOD_H / 1000.0
        assert observation[position(OWN_FIELDS, "flexibility_gbp_per_kw")] == pytest.approx(most, abs=1e-6)
        observation = env.step(NOTHING)[0]


def test_the_rule_offers_everything_at_the_forecast_cost(env):
    observation, _ = env.reset(seed=0)
    cost = observation[position(OWN_FIELDS, "energy_cost_gbp_per_kw")]
    np.testing.assert_allclose(ReservePolicy.for_env(env).act(observation), [env.system.capacity_kw, cost], rtol=1e-6)
    np.testing.assert_allclose(ReservePolicy.for_env(env, mark_up=1.5).act(observation)[1], 1.5 * cost, rtol=1e-6)


def test_rules_are_worth_more_than_selling_nothing(env):
    idle, rule, mark_up = (
        np.mean([play(env, policy, seed)["reward_gbp"].sum() for seed in range(10)])
        for policy in (IdlePolicy.for_env(env), ReservePolicy.for_env(env), ReservePolicy.for_env(env, 1.5, 0.5))
    )
    assert idle < rule < mark_up


@pytest.mark.parametrize(("change", "match"), [({"mark_up": -1.0}, "mark_up"), ({"flexibility_share": 2.0}, "share")])
def test_a_wrong_rule_is_refused_by_name(change, match):
    with pytest.raises(ValueError, match=match):
        ReservePolicy(500.0, **change)


def test_sources_are_the_sites(winter_days):
    system = AuctionSystem(winter_days, tenants=TenantSource(9, 3), flexibility=FlexibilitySource(8, 2))
    assert system.tenants.quantity_kw.shape[1] == 3
    assert system.flexibility.rival_kw.shape[1] == 2
