"""Planning the whole site: plans that the models can follow, always, and on nothing but what is published."""

from functools import partial
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.price_chain import PriceChain
from baselines.site_fan import SiteFan
from baselines.site_memory import Arrivals, Metered
from baselines.site_mpc import SiteMpcPolicy
from baselines.site_mpc_scenario import SiteScenarioMpcPolicy
from baselines.site_outlook import SiteReader
from baselines.site_plan import Outlook, Prices
from baselines.site_planner import SitePlanner
from baselines.site_rules import SiteRulePolicy
from baselines.tail_risk import Risk
from data import splits
from data.arrivals import expected_jobs, weekly_rhythm
from data.calendar import LOCAL_TIME_ZONE
from data.jobs import arrival_periods
from data.publication import hide_unpublished
from envs.fields import position
from envs.scenario import Episode, History, Scenario
from envs.single import SystemEnv
from envs.site import SiteSystem
from evaluation.beliefs import BELIEFS, calibration_of
from evaluation.rollout import play
from models import battery as battery_model
from models import cooling
from models.hall import HallState
from models.settlement import Adders

N, LEADS = 48, 12


@pytest.fixture(scope="module")
def scenario(history):
    return Scenario(history, "validation", "split")


@pytest.fixture(scope="module")
def system(scenario):
    return SiteSystem(scenario)


@pytest.fixture(scope="module")
def planner(system):
    return _planner(system.site)


def _planner(site, solvers=("PIQP", "CLARABEL")):
    return SitePlanner(site, expected_jobs(site.queue.capacity_kw, 0.55), Prices(), N, LEADS, solvers)


def _outlook(**changes) -> Outlook:
    """A summer day with a dear evening."""
    hours = 0.5 * np.arange(N)
    price = 80.0 + 40.0 * np.exp(-(((hours - 18.0) / 2.0) ** 2)) - 20.0 * np.exp(-(((hours - 4.0) / 3.0) ** 2))
    usual = Outlook(
        energy_kwh=500.0, hall=HallState(30.0, 32.0, 22.0), committed_kw=np.linspace(300.0, 0.0, N), waiting_kw=60.0,
        due_kw=0.0, arriving_kw=np.full(N, 40.0), level_sd=np.full(N, 0.3), tenant_kw=100.0, to_auction=3,
        sellable_kw=200.0, paid_gbp_per_kw=np.full(N, 0.6), sold_share=np.full(N, 0.8), sold_kw=(0.0, 0.0),
        wanted_kw=np.where(np.arange(LEADS) >= 9, 1500.0, 0.0), deliverable_kw=np.full(LEADS, 480.0),
        flexibility_gbp_per_mwh=np.full(LEADS, 170.0), wet_bulb_c=12.0 + 5.0 * np.sin(hours / 4.0),
        import_gbp_per_mwh=price, end_gbp_per_mwh=90.0, stored_gbp_per_mwh=85.0,
    )  # fmt: skip
    return usual._replace(**changes)


def test_the_battery_and_the_hall_can_follow_the_plan(system, planner):
    """Its powers, set-points and fans, replayed through the models, give the trajectories that it promised."""
    planner.forget()
    now = _outlook()
    for _ in range(4):  # each plan is linearised about the one before
        plan = planner.plan(now)
        planner._last = type(plan)(*(np.concatenate([v[:1], v[:-1]]) for v in plan))  # the same period is planned again
    site, energy_kwh, state = system.site, now.energy_kwh, now.hall
    for t in range(N):
        energy_kwh, power_kw = battery_model.step(site.battery, energy_kwh, plan.power_kw[t], 0.5)
        assert power_kw == pytest.approx(plan.power_kw[t], abs=0.5)
        assert energy_kwh == pytest.approx(plan.energy_kwh[t], abs=1.0)
        state, flows = cooling.step(
            site.hall, site.chiller, state, plan.it_kw[t], now.wet_bulb_c[t], plan.setpoint_c[t],
            plan.fan_fraction[t], 0.5,
        )  # fmt: skip
        assert state.mass_c == pytest.approx(plan.mass_c[t], abs=0.5)
        assert flows.cooling_kw == pytest.approx(plan.cooling_kw[t], abs=4.0)
        load_kw = site.terms.base_load_kw + plan.it_kw[t] + plan.cooling_kw[t]
        assert plan.grid_kw[t] == pytest.approx(load_kw + plan.power_kw[t], abs=0.1)
    assert (plan.running_kw + plan.tenant_kw <= planner.capacity_kw + 0.5).all()


IMPOSSIBLE = {
    "battery below its limit": {"energy_kwh": 20.0},
    "battery above it": {"energy_kwh": 2000.0},
    "hall too hot": {"hall": HallState(60.0, 65.0, 45.0)},
    "hall off the scale": {"hall": HallState(500.0, 500.0, 500.0)},
    "more promised than there is": {"committed_kw": np.full(N, 700.0), "tenant_kw": 238.0},
    "jobs that cannot start in time": {"committed_kw": np.full(N, 590.0), "due_kw": 400.0, "tenant_kw": 0.0},
}


@pytest.mark.parametrize("state", sorted(IMPOSSIBLE))
def test_an_impossible_state_gets_a_plan_and_is_counted(state, planner):
    planner.forget()
    relaxed, failed = planner.relaxed_plans, planner.failed_plans
    plan = planner.plan(_outlook(**IMPOSSIBLE[state]))
    assert all(np.isfinite(values).all() for values in plan)
    assert planner.failed_plans == failed
    assert planner.relaxed_plans == relaxed + 1


def test_an_ordinary_state_is_not_counted(planner):
    planner.forget()
    relaxed = planner.relaxed_plans
    planner.plan(_outlook())
    assert planner.relaxed_plans == relaxed


def test_what_a_plan_is_believed_to_earn_is_what_its_own_flows_cost(system, planner, monkeypatch):
    nothing_sold = {"tenant_kw": 0.0, "paid_gbp_per_kw": np.zeros(N), "wanted_kw": np.zeros(LEADS)}
    now = _outlook(**nothing_sold)
    plan, b, adders = planner.plan(now), system.site.battery, system.site.adders
    energy_gbp = 0.5 * (now.import_gbp_per_mwh + adders.network_gbp_per_mwh) @ plan.grid_kw / 1000.0
    wear_gbp = 0.5 * b.wear_gbp_per_kwh * np.abs(plan.power_kw).sum()
    assert np.abs(plan.power_kw).max() > 100.0
    assert plan.grid_kw.min() > 0.0
    penalties_gbp = -planner.earned_gbp - energy_gbp - wear_gbp  # of warm inlets and jobs that wait too long
    assert -0.05 < penalties_gbp < 0.02 * energy_gbp
    monkeypatch.setattr(planner._program, "_solvers", ("MOSEK",))  # a solver that is not installed
    planner.plan(now)
    assert np.isnan(planner.earned_gbp)


def test_sold_turn_down_that_cannot_be_delivered_still_gets_a_plan(planner):
    planner.forget()
    plan = planner.plan(_outlook(sold_kw=(300.0, 300.0), deliverable_kw=np.full(LEADS, -500.0)))
    assert plan.turn_down_kw[:2] == pytest.approx(300.0, abs=0.1)
    assert plan.power_kw[0] < -100.0  # what can be delivered is


@settings(max_examples=12, deadline=None)
@given(st.integers(0, N - 1), st.floats(1.0, 300.0))
def test_a_higher_price_in_a_period_never_raises_its_import(period, rise):
    planner = _shared_planner()
    planner.forget()
    before = planner.plan(_outlook())
    dearer = _outlook().import_gbp_per_mwh.copy()
    dearer[period] += rise
    planner.forget()  # both are linearised about the same reference
    after = planner.plan(_outlook(import_gbp_per_mwh=dearer))
    assert after.grid_kw[period] <= before.grid_kw[period] + 0.5


_PLANNERS: list[SitePlanner] = []


def _shared_planner() -> SitePlanner:
    if not _PLANNERS:
        _PLANNERS.append(_planner(SiteSystem().site))
    return _PLANNERS[0]


def test_a_higher_payment_never_sells_less_and_a_worthless_one_nothing(planner):
    sold = []
    for paid in (0.0, 0.2, 0.4, 0.8):
        planner.forget()
        sold.append(planner.plan(_outlook(to_auction=0, paid_gbp_per_kw=np.full(N, paid))).tenant_kw[0])
    assert sold[0] == pytest.approx(0.0, abs=0.1)
    assert (np.diff(sold) >= -0.5).all()
    assert sold[-1] > 100.0


def test_a_longer_queue_never_sells_more(planner):
    sold = []
    for waiting_kw in (0.0, 200.0, 1000.0, 3000.0):
        planner.forget()
        sold.append(planner.plan(_outlook(to_auction=0, waiting_kw=waiting_kw)).tenant_kw[0])
    assert (np.diff(sold) <= 0.5).all()
    assert sold[-1] == pytest.approx(0.0, abs=0.5)


def test_two_solvers_agree_on_the_plan_s_cost(system):
    costs = []
    for solver in ("PIQP", "CLARABEL"):
        one = _planner(system.site, (solver,))
        one.plan(_outlook())
        costs.append(one.cost_gbp)
    assert costs[0] == pytest.approx(costs[1], rel=1e-4)


def test_a_plan_hangs_on_no_plan_found_before(system, planner):
    now = _outlook(energy_kwh=300.0, hall=HallState(28.0, 30.0, 20.0))
    for before in (_outlook(), _outlook(to_auction=0, tenant_kw=0.0, import_gbp_per_mwh=np.full(N, -20.0))):
        planner.plan(before)
    planner.forget()
    again, first = planner.plan(now), _planner(system.site).plan(now)
    for name in first._fields:
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name), err_msg=name)


def test_a_network_price_is_paid_for_import_and_not_for_export(system):
    site = system.site._replace(battery=system.site.battery._replace(max_discharge_kw=600.0), adders=Adders(0.0, 0.0))
    dear = np.where(np.arange(N) == 2, 3000.0, 100.0)
    nothing_sold = {"tenant_kw": 0.0, "paid_gbp_per_kw": np.zeros(N), "wanted_kw": np.zeros(LEADS)}
    plans, earned_gbp = [], []
    for network in (0.0, 10.0):
        one = _planner(site._replace(adders=Adders(network, 0.0)))
        plans.append(one.plan(_outlook(**nothing_sold, import_gbp_per_mwh=dear)))
        energy_gbp = 0.5 * dear @ plans[-1].grid_kw / 1000.0
        wear_gbp = 0.5 * site.battery.wear_gbp_per_kwh * np.abs(plans[-1].power_kw).sum()
        network_gbp = 0.5 * network * np.maximum(plans[-1].grid_kw, 0.0).sum() / 1000.0
        assert plans[-1].grid_kw[2] < -100.0
        assert one.earned_gbp == pytest.approx(-energy_gbp - wear_gbp - network_gbp, abs=5.0)
        earned_gbp.append(one.earned_gbp)
    assert earned_gbp[1] < earned_gbp[0] - 50.0


def test_without_a_solver_the_site_rests_and_the_reason_is_logged(scenario, caplog):
    env = SystemEnv(SiteSystem(scenario))
    policy = SiteMpcPolicy.for_env(env, solvers=["MOSEK"])  # a solver that is not installed
    observation, _ = env.reset(seed=0)
    action = policy.act(observation)
    assert env.action_space.contains(action)
    assert action[[0, 1, 4, 5]] == pytest.approx(0.0)
    assert policy.planner.failed_plans == 1
    assert "MOSEK" in caplog.text


def test_a_plan_that_starts_all_that_waits_but_for_a_rounding_starts_all(scenario, monkeypatch):
    env = SystemEnv(SiteSystem(scenario))
    policy = SiteMpcPolicy.for_env(env)
    observation, _ = env.reset(seed=0)
    for name, kw in (("free_kw", 300.0), ("waiting_kw", 200.0)):
        observation[position(env.system.observation_fields, name)] = kw
    plan = policy.plan(observation)
    for planned_kw, share, tolerance in ((200.0 - 1e-3, 1.0, 0.0), (100.0, 0.5, 1e-4), (1e-3, 0.0, 1e-5)):
        monkeypatch.setattr(policy, "plan", lambda _, kw=planned_kw: plan._replace(start_kw=np.full(N, kw)))
        assert policy.act(observation)[1] == pytest.approx(share, abs=tolerance)


def test_a_failed_solver_is_stood_in_for_by_the_last_plan_a_period_later(system, monkeypatch):
    planner = _planner(system.site)
    good = planner.plan(_outlook())
    monkeypatch.setattr(planner._program, "_solvers", ("MOSEK",))
    stand_in = planner.plan(_outlook())
    np.testing.assert_array_equal(stand_in.power_kw[:-1], good.power_kw[1:])
    np.testing.assert_array_equal(planner.plan(_outlook()).setpoint_c[:-2], good.setpoint_c[2:])


def test_a_number_that_is_not_one_is_refused(planner):
    with pytest.raises(ValueError, match="energy_kwh"):
        planner.plan(_outlook(energy_kwh=float("nan")))


@pytest.mark.parametrize("wrong", [{"horizon_h": 2.0}, {"solvers": []}, {"prices": {"latte": 1.0}}])
def test_wrong_settings_are_refused(wrong, system):
    with pytest.raises(ValueError, match=r"horizon|solvers|latte"):
        SiteMpcPolicy.for_env(SystemEnv(system), **wrong)


class _Corrupted:
    """The same site and history in which all that becomes known from a period on is another."""

    PERIODS: ClassVar[int] = 20

    def __init__(self, table, forecaster):
        system = SiteSystem(Scenario(History(table, forecaster), "validation", "split"))
        self.first = system.scenario.episodes[0].first + 1
        known = hide_unpublished(table, self.first + self.PERIODS)
        self.system = SiteSystem(Scenario(History(known, forecaster), "validation", "split"))
        self.truth, out, now = system, self.system.outside, self.first + self.PERIODS
        later = arrival_periods(out.jobs) > now
        out.jobs.rows["power_kw"][later] *= 0.5
        out.tenant_gbp_per_kw[now // 8 + 1 :] *= 3.0
        out.rival_gbp_per_mwh[now:] *= 0.1
        out.series[now + 48 :, 5] = 0.0  # wanted: published a day ahead


MAKERS = {
    "mpc": SiteMpcPolicy.for_env,
    "mpc_scenario": partial(SiteScenarioMpcPolicy.for_env, paths=2, risk_weight=0.3),
}


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_no_decision_rests_on_what_is_not_known(name, table, forecaster):
    """A whole history of decisions, all on published values, the last at the edge of what is known."""
    pair = _Corrupted(table, forecaster)
    taken = []
    for system in (pair.truth, pair.system):
        env = SystemEnv(system)
        system.scenario.episodes = [Episode(pair.first, pair.first + 400)]
        policy = MAKERS[name](env)
        observation, _ = env.reset(seed=0)
        actions = []
        for _ in range(pair.PERIODS + 1):
            actions.append(policy.act(observation))
            observation, *_ = env.step(actions[-1])
        taken.append(actions)
    np.testing.assert_array_equal(*taken)


def test_the_remembered_baseline_is_the_one_that_settles(scenario):
    env = SystemEnv(SiteSystem(scenario))
    fields = env.system.observation_fields
    at = {name: position(fields, name) for name in ("grid_kw", "sold_now_kw", "baseline_kw")}
    metered = Metered(env.system.site.baseline, env.system.expected_kw)
    rule = SiteRulePolicy.for_env(env, flexibility_fraction=0.5, flexibility_price_gbp_per_mwh=0.0)
    observation, _ = env.reset(seed=0)
    sold = 0
    for _ in range(300):
        metered.see(float(observation[at["grid_kw"]]), float(observation[at["sold_now_kw"]]))
        assert metered.ahead(1)[0] == pytest.approx(float(observation[at["baseline_kw"]]), abs=0.01)
        sold += observation[at["sold_now_kw"]] > 0.0
        observation, *_ = env.step(rule.act(observation))
    assert sold > 3


def test_what_arrived_today_is_read_off_the_queue(scenario):
    """Against the jobs themselves, day by day, while the site is busy with tenants too."""
    env = SystemEnv(SiteSystem(scenario))
    rule = SiteRulePolicy.for_env(env, capacity_fraction=0.7)
    policy = SiteMpcPolicy.for_env(env)
    reader = SiteReader(env.system, policy.planner, policy._jobs, policy._expectations)
    jobs, times = env.system.outside.jobs, env.system.scenario.timestamps
    arrived_kw = np.bincount(arrival_periods(jobs), weights=jobs.rows["power_kw"], minlength=len(times))
    local = times.tz_convert(LOCAL_TIME_ZONE)
    usual_kw = expected_jobs(env.system.site.queue.capacity_kw, 0.55).arriving_kw * weekly_rhythm(
        local.hour.to_numpy() + local.minute.to_numpy() / 60.0, local.day_of_week >= 5
    )
    observation, _ = env.reset(seed=0)
    levels, true = [], []
    for _ in range(48 * 14):
        t = int(env.lanes[0]["period"])
        reader.read(observation)
        if local[t].hour == 21 and local[t].minute == 0:
            day = slice(t - 42 + 1, t + 1)
            levels.append(reader._arrivals.ahead(np.array([True]))[0][0])
            true.append(arrived_kw[day].sum() / usual_kw[day].sum())
        observation, *_ = env.step(rule.act(observation))
    assert len(levels) == 14
    assert np.corrcoef(levels, true)[0, 1] > 0.9
    assert np.mean(levels) == pytest.approx(np.mean(true), abs=0.1)


def test_a_quiet_day_and_a_busy_day_move_the_level_apart():
    jobs = expected_jobs(600.0, 0.55)
    level = {}
    for name, factor in (("quiet", 0.3), ("busy", 2.0)):
        arrivals, running_kw = Arrivals(jobs), 100.0
        for t in range(20):  # nothing starts, nothing ends
            arrivals.see(t * factor * 40.0, running_kw, running_kw, running_kw, 40.0, new_day=False)
        level[name] = arrivals.ahead(np.array([True, False]))
    assert level["quiet"][0][0] < 0.9 < 1.1 < level["busy"][0][0]
    assert level["busy"][0][1] == 1.0  # tomorrow is another day
    assert level["busy"][1][0] < level["busy"][1][1]


@pytest.fixture(scope="module")
def two_paths(system):
    jobs = expected_jobs(system.site.queue.capacity_kw, 0.55)
    return [
        SitePlanner(system.site, jobs, Prices(), N, LEADS, weight=(0.25, 0.75), shared=shared, risk=risk)
        for shared, risk in ((2, Risk()), (N, Risk()), (N, Risk(1.0, 0.25)))
    ]


def test_paths_that_are_the_same_cost_what_one_does(planner, two_paths):
    planner.forget()
    planner.plan(_outlook())
    for several in two_paths:
        several.forget()
        several.plan(_outlook(), _outlook())
        assert several.cost_gbp == pytest.approx(planner.cost_gbp, rel=1e-3)


def test_what_is_decided_first_is_the_same_on_all_paths_and_the_rest_is_not(two_paths):
    several = two_paths[0]
    several.forget()
    dear = _outlook().import_gbp_per_mwh[::-1] * 2.0
    several.plan(_outlook(), _outlook(import_gbp_per_mwh=dear, arriving_kw=np.full(N, 80.0)))
    one, other = (path.plan(np.full(N, 0.8)) for path in several._paths)
    for name in ("power_kw", "start_kw", "setpoint_c", "fan_fraction", "tenant_kw"):
        np.testing.assert_allclose(getattr(one, name)[:2], getattr(other, name)[:2], atol=0.05, err_msg=name)
    np.testing.assert_allclose(one.turn_down_kw[:4], other.turn_down_kw[:4], atol=0.05)
    assert np.abs(one.power_kw - other.power_kw).max() > 50.0


def test_knowing_later_what_comes_is_worth_something_and_weight_on_the_worst_makes_it_better(two_paths):
    paths = _outlook(), _outlook(import_gbp_per_mwh=_outlook().import_gbp_per_mwh * 2.0, arriving_kw=np.full(N, 70.0))
    costs, worst = [], []
    for several in two_paths:
        several.forget()
        several.plan(*paths)
        costs.append(several.cost_gbp)
        worst.append(max(float(path.cost_gbp.value) for path in several._paths))
    assert costs[0] <= costs[1] + 0.5
    assert worst[2] <= worst[1] + 0.5


def test_an_outlook_too_few_is_refused(two_paths):
    with pytest.raises(ValueError, match="1 outlooks for a program of 2 paths"):
        two_paths[0].plan(_outlook())


def test_the_fan_of_the_site_keeps_the_means_and_widens_beyond_today(history):
    fan = _fan(history)
    assert fan.weight.sum() == pytest.approx(1.0)
    for missed in (fan.price, fan.carbon_g_per_kwh):
        np.testing.assert_allclose(fan.weight @ missed, 0.0, atol=1e-9)
        assert missed.std() > 0.1
    today = np.arange(N) < 10
    level = fan.levels(today, np.where(today, 0.1, 0.3), 1.0)
    np.testing.assert_allclose(fan.weight @ level, 1.0)
    assert (level > 0.0).all()
    assert level[:, 0].std() < level[:, -1].std()
    np.testing.assert_allclose(fan.levels(today, np.full(N, 0.3), 0.0), 1.0)


def _fan(history) -> SiteFan:
    rows = splits.rows(history.timestamps, "train")
    shown, price = history.price_information[rows], history.market.imbalance_price_gbp_per_mwh[rows]
    carbon = history.carbon_outlook[rows, 1:], history.market.carbon_g_per_kwh[rows]
    return SiteFan.fit(PriceChain.fit(shown, price), shown, price, *carbon, 60.0, 8)


def test_the_plan_beats_the_rules_over_three_days(scenario):
    first = scenario.episodes[0].first
    values = {}
    for name in ("mpc", "rules"):
        env = SystemEnv(SiteSystem(scenario, adders=Adders(carbon_gbp_per_tonne=60.0)))
        env.system.scenario.episodes = [Episode(first, first + 144)]
        policy = (
            SiteMpcPolicy.for_env(env) if name == "mpc" else SiteRulePolicy.for_env(env, "mpc", capacity_fraction=0.5)
        )
        trace = play(env, policy, 0)
        values[name], told = trace["reward_gbp"].sum(), calibration_of(trace)
        assert set(told) == (set(BELIEFS) if name == "mpc" else set())
    assert values["mpc"] > values["rules"]
