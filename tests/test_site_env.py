"""What couples the devices: power, heat, obligations and money of the whole site."""

import numpy as np
import pandas as pd
import pytest
from numba import njit
from pettingzoo.test import parallel_api_test, parallel_seed_test

from agents.lanes_vec_env import LanesVecEnv
from baselines.site_rules import SiteRulePolicy
from data.publication import hide_unpublished
from data.tenants import TenantSource
from envs.fields import position
from envs.parameters import as_record, as_tuple
from envs.scenario import Episode, History, Scenario
from envs.single import SystemEnv
from envs.site import SiteSystem
from envs.site_parallel import AGENTS, SiteParallelEnv
from evaluation.rollout import play
from models import baseline, market, queue
from models import site as model
from models.auction import vcg_allocate
from models.cluster import Cluster
from models.site import Site, Terms

NOTHING = np.full(7, np.nan, dtype=np.float32)


@pytest.fixture(scope="module")
def system(history):
    return SiteSystem(Scenario(history, "validation", "week"))


def steps(env: SystemEnv, action, seed=0):
    """Every step of an episode: lane before, info after."""
    env.reset(seed=seed)
    over = False
    while not over:
        before = env.lanes[0].copy()
        chosen = action(env) if callable(action) else action
        _, reward, over, _, info = env.step(chosen)
        yield before, env.lanes[0], reward, info


def drawn(env: SystemEnv) -> np.ndarray:
    return env.action_space.sample()


@njit
def _read(records):
    return as_tuple(records[0], Site)


def test_parameters_come_out_of_their_record_as_they_went_in(system):
    records = as_record(system.site)
    assert as_tuple(records[0], Site) == _read(records) == system.site


def test_import_is_the_sum_of_its_parts_and_stays_within_the_connection(system):
    env = SystemEnv(system)
    env.action_space.seed(0)
    for _, lane, _, info in steps(env, drawn):
        parts = system.site.terms.base_load_kw + lane["it_kw"] + lane["cooling_kw"] + lane["power_kw"]
        assert info["grid_kw"] == pytest.approx(parts)
        assert info["reward_gbp"]["over_limit"] <= 0.0
        if lane["grid_kw"] - lane["power_kw"] <= system.site.terms.site_power_kw:
            assert info["grid_kw"] <= system.site.terms.site_power_kw + 1e-6


def test_energy_is_settled_at_position_and_deviation(system):
    env = SystemEnv(system)
    env.action_space.seed(1)
    for before, lane, _, info in steps(env, drawn):
        row = system.outside.series[before["period"]]
        bought_mwh = system.expected_kw * 0.5 / 1000.0
        metered_mwh = lane["grid_kw"] * 0.5 / 1000.0
        money = info["reward_gbp"]
        assert money["day_ahead"] == pytest.approx(-bought_mwh * row[model.DAY_AHEAD_PRICE])
        assert money["imbalance"] == pytest.approx(-(metered_mwh - bought_mwh) * row[model.IMBALANCE_PRICE])
        assert money["carbon"] == pytest.approx(-metered_mwh * row[model.CARBON_INTENSITY] / 1000.0 * 60.0)


def test_a_planned_position_is_what_was_metered_before_its_auction(history):
    system = SiteSystem(Scenario(history, "validation", "week"), day_ahead_position="planned")
    env = SystemEnv(system)
    env.action_space.seed(1)
    metered, first = {}, None
    for before, lane, _, info in steps(env, drawn):
        t = int(before["period"])
        first = t if first is None else first
        metered[t] = lane["grid_kw"]
        local = history.timestamps[t].tz_convert("Europe/London")
        back = t - (96 if local.hour >= 11 else 48)
        expected = metered.get(back, system.expected_kw) if back >= first else system.expected_kw
        price = system.outside.series[t, model.DAY_AHEAD_PRICE]
        assert info["reward_gbp"]["day_ahead"] == pytest.approx(-expected * 0.5 * price / 1000.0, rel=1e-5)


def test_capacity_is_sold_by_vcg_at_the_start_of_a_block_and_served_through_it(system):
    env = SystemEnv(system)
    all_in = NOTHING.copy()
    all_in[model.CAPACITY] = 1.0
    sold_kw, blocks = 0.0, 0
    for before, lane, _, info in steps(env, all_in):
        t = int(before["period"])
        paid = info["reward_gbp"]["auction"]
        if t % model.BLOCK_PERIODS:
            assert paid == 0.0
            assert lane["tenant_kw"] == sold_kw
            continue
        block = t // model.BLOCK_PERIODS
        offered = float(model.sellable_kw(system.site, before))
        wanted = system.outside.tenant_kw[block]
        bids = {
            "bidder_id": [str(i) for i in range(wanted.size) if wanted[i] > 0.0],
            "value_gbp_per_kw": system.outside.tenant_gbp_per_kw[block][wanted > 0.0],
            "quantity_kw": wanted[wanted > 0.0],
            "divisible": system.outside.tenant_divisible[block][wanted > 0.0],
        }
        allocated, payments = vcg_allocate(
            pd.DataFrame(bids), offered, reserve_gbp_per_kw=system.site.terms.reserve_gbp_per_kw
        )
        sold_kw = lane["tenant_kw"]
        blocks += 1
        assert sold_kw == pytest.approx(sum(allocated.values()), abs=1e-6)
        assert paid == pytest.approx(sum(payments.values()), abs=1e-6)
    assert blocks >= 42


def test_jobs_and_tenants_together_never_exceed_the_cluster(system):
    env = SystemEnv(system)
    env.action_space.seed(2)
    for before, lane, _, _ in steps(env, drawn):
        running = queue.running_kw(lane["queue"], before["period"] + 1)
        assert running + lane["tenant_kw"] <= system.site.queue.capacity_kw + 1e-6
        assert lane["it_kw"] <= 596.4


def test_flexibility_is_cleared_with_rivals_and_paid_for_what_is_delivered(history):
    system = SiteSystem(Scenario(history, "train", "split"))  # long enough to meet events in summer
    env = SystemEnv(system)

    def offer(env):
        action = NOTHING.copy()
        action[[model.POWER, model.FLEX_QUANTITY, model.FLEX_PRICE]] = -1.0, 0.5, 30.0
        return action

    sold, called = {}, 0
    for before, lane, _, info in steps(env, offer):
        t = int(before["period"])
        gate = t + model.GATE_PERIODS
        wanted, cap = system.outside.series[gate, model.WANTED], system.outside.series[gate, model.CAP]
        if wanted > 0.0:
            offers = np.append(system.outside.rival_gbp_per_mwh[gate], np.float32(30.0))
            quantities = np.append(system.outside.rival_kw[gate], 150.0)
            accepted = np.empty(offers.size)
            price, _ = market.clear(offers, quantities, np.array([cap]), np.array([wanted]), accepted, np.empty(1))
            sold[gate] = (accepted[-1], price)
        kw, price = sold.get(t, (0.0, 0.0))
        assert lane["called_kw"] == pytest.approx(kw)
        if kw > 0.0:
            called += 1
            delivered = baseline.baseline_kw(system.site.baseline, before["baseline"], t) - lane["grid_kw"]
            paid, charged = baseline.delivery_gbp(kw, price, delivered, 1.5, 0.5)
            assert info["reward_gbp"]["flexibility"] == pytest.approx(paid)
            assert info["reward_gbp"]["under_delivery"] == pytest.approx(charged)
        else:
            assert info["reward_gbp"]["flexibility"] == info["reward_gbp"]["under_delivery"] == 0.0
    assert called > 0, "no flexibility was called: the test saw nothing"


def test_all_work_left_at_the_end_is_paid_for(system):
    """Doing nothing all week leaves more work behind than starting at once, and pays more at the end for it."""
    env = SystemEnv(system)
    at_once = NOTHING.copy()
    at_once[model.RELEASE] = 1.0
    *_, (_, idle, _, idle_info) = steps(env, NOTHING)
    *_, (_, busy, _, busy_info) = steps(env, at_once)
    queues = [lane["queue"] for lane in (idle.copy(), busy.copy())]
    left = [lane["waiting_kwh"] + lane["running_kw"].sum() * 0.5 for lane in queues]
    assert left[0] >= left[1]
    assert idle_info["reward_gbp"]["end_value"] <= busy_info["reward_gbp"]["end_value"] + 1.0


@pytest.mark.parametrize("mode", ["none", "expected_load", "planned"])
def test_no_action_moves_a_fixed_term_and_a_learner_is_not_shown_it(history, mode):
    system = SiteSystem(Scenario(history, "validation", "week"), day_ahead_position=mode)
    lanes = LanesVecEnv(system, 2, left_out=system.fixed_terms)
    lanes.seed(0)
    lanes.reset()
    lanes.runner.lanes[1] = lanes.runner.lanes[0]
    rng, over = np.random.default_rng(0), np.zeros(2)
    apart = np.zeros(len(system.terms), dtype=np.bool_)
    while not over.any():
        _, rewards, over, _ = lanes.step(rng.uniform(-1.0, 1.0, (2, 7)))
        money = dict(zip(system.terms, lanes.runner.terms.T.copy(), strict=True))
        apart |= lanes.runner.terms[0] != lanes.runner.terms[1]
        fixed = sum((money.pop(name) for name in system.fixed_terms), np.zeros(2))
        np.testing.assert_allclose(rewards, sum(money.values()), rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(fixed + rewards, lanes.runner.terms.sum(axis=1), rtol=1e-5, atol=1e-3)
    moved = {name for name, is_apart in zip(system.terms, apart, strict=True) if is_apart}
    assert moved.isdisjoint(system.fixed_terms)
    assert ("day_ahead" in moved) == (mode == "planned")


def test_a_rule_for_every_device_beats_asking_for_nothing(system):
    env = SystemEnv(system)
    idle = sum(reward for *_, reward, _ in steps(env, NOTHING))
    rule = play(env, SiteRulePolicy.for_env(env, "mpc"), 0)["reward_gbp"].sum()
    assert rule > idle


def test_the_parallel_view_conforms_and_is_seeded(system):
    parallel_api_test(SiteParallelEnv(system), num_cycles=400)
    parallel_seed_test(lambda: SiteParallelEnv(system), num_cycles=50)


def test_agents_together_decide_every_field_once_and_do_what_the_single_env_does(system):
    decided = [name for names in AGENTS.values() for name in names]
    assert sorted(decided) == sorted(f.name for f in system.action_fields)
    team, single = SiteParallelEnv(system), SystemEnv(system)
    observations, _ = team.reset(seed=3)
    expected, _ = single.reset(seed=3)
    single.action_space.seed(3)
    places = {agent: [position(system.action_fields, name) for name in names] for agent, names in AGENTS.items()}
    while team.agents:
        for agent in team.agents:
            np.testing.assert_array_equal(observations[agent], expected)
        action = single.action_space.sample()
        observations, rewards, over, _, _ = team.step({agent: action[at] for agent, at in places.items()})
        expected, reward, ended, _, _ = single.step(action)
        assert set(rewards.values()) == {reward}
        assert set(over.values()) == {ended}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"trade": Terms(site_power_kw=1.0)}, "both in kW"),
        ({"trade": Terms(site_power_kw=1e6)}, "is it in W"),
        ({"trade": Terms(site_power_kw=float("nan"))}, "site_power_kw is nan"),
        ({"trade": Terms(sellable_fraction=2.0)}, "sellable_fraction"),
        ({"cluster": Cluster(gpus=984_000.0)}, "expected load"),
        ({"day_ahead_position": "guess"}, "day_ahead_position"),
        ({"start_fraction": 3.0}, "start_fraction"),
        ({"tenants": TenantSource(n_tenants=0)}, "tenant"),
    ],
)
def test_parts_that_cannot_be_right_are_refused(change, says, days):
    with pytest.raises(ValueError, match=says):
        SiteSystem(days, **change)


def test_the_rule_that_sells_what_is_free_leaves_room_for_the_jobs_that_wait(table, forecaster):
    """Its offer is the capacity less running and waiting jobs, and rests on nothing that is not published."""
    taken = []
    first = Scenario(History(table, forecaster), "validation", "split").episodes[0].first
    for known in (table, hide_unpublished(table, first + 20)):
        env = SystemEnv(SiteSystem(Scenario(History(known, forecaster), "validation", "split")))
        env.system.scenario.episodes = [Episode(first, first + 60)]
        policy = SiteRulePolicy.for_env(env, "mpc", after_waiting=True, capacity_fraction=1.0)
        at = {name: position(env.system.observation_fields, name) for name in ("sellable_kw", "waiting_kw")}
        observation, _ = env.reset(seed=0)
        actions = []
        for _ in range(21):
            action = policy.act(observation)
            lane, seen_kw = env.lanes[0]["queue"], observation[at["sellable_kw"]]
            t = int(env.lanes[0]["period"])
            running_kw = 0.5 * (queue.running_kw(lane, t) + queue.running_kw(lane, t + 1))
            spare_kw = env.system.site.queue.capacity_kw - running_kw - observation[at["waiting_kw"]]
            assert action[4] * seen_kw == pytest.approx(np.clip(spare_kw, 0.0, seen_kw), abs=0.01)
            actions.append(action)
            observation, *_ = env.step(action)
        taken.append(actions)
    np.testing.assert_array_equal(*taken)
    assert min(action[4] for action in taken[0]) < 0.95  # jobs did wait
