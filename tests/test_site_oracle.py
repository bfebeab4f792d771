"""No policy beats perfect foresight of the whole site: the bound against every policy, and its parts one by one."""

from itertools import pairwise
from typing import ClassVar

import cvxpy as cp
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.heat_block import HeatBlock, content_kwh, heat_worth, lowest_c
from baselines.program import LARGE
from baselines.sale_bounds import STEP_KW, capacity_curve, flexibility_most_gbp
from baselines.site_oracle import SiteOraclePolicy, site_foresight
from baselines.work_block import WHOLE, Work, WorkBlock, known_work, parts_of, promised_kw
from data.jobs import make_arrivals
from envs.battery import BatterySystem
from envs.scenario import Episode, History, Scenario
from envs.single import SystemEnv
from envs.site import SiteSystem
from evaluation.rollout import play
from models import cooling, market, queue, vcg
from models.chiller import Chiller, electricity_per_heat
from models.hall import Hall, HallState, heat_content_kwh
from models.queue import QueueRules
from models.settlement import Adders
from models.site import RESOLUTION_KW, Terms
from tests.conftest import ROOT

N = 48


class Wild:
    """Anything at all, NaN and far out of range included."""

    stochastic: ClassVar[bool] = True

    def __init__(self, low, high):
        self._low, self._high = low, high

    def reset(self, seed):
        self._rng = np.random.default_rng(seed)

    def act(self, observation):
        action = self._rng.uniform(self._low, self._high) * self._rng.choice([0.0, 1.0, 3.0], self._low.size)
        return np.where(self._rng.random(self._low.size) < 0.1, np.nan, action).astype(np.float32)


def _env(scenario, first, periods, **changes):
    env = SystemEnv(SiteSystem(scenario, **changes))
    env.system.scenario.episodes = [Episode(first, first + periods)]
    return env


def _bound(env, **options):
    env.reset(seed=0)
    return site_foresight(env.system, env.lanes[0], **options).value_gbp


def _policies(env):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        chosen = compose("evaluate", overrides=["env=site"]).env.policies
    low, high = np.array([(f.low, f.high) for f in env.system.action_fields]).T
    yield "wild", Wild(low, high)
    for name, partial in chosen.items():
        few = {"paths": 2} if "paths" in partial else {}  # twenty take a sixth of a second a decision
        yield name, instantiate(partial, **few)(env)


@pytest.mark.parametrize(("offset", "mode"), [(0, "expected_load"), (5, "none"), (331, "planned")])
def test_no_policy_earns_more_than_the_bound(history, offset, mode):
    scenario = Scenario(history, "validation", "split")
    env = _env(scenario, scenario.episodes[0].first + offset, 3 * N - 3, day_ahead_position=mode)
    bound_gbp = _bound(env)
    earned = {name: play(env, policy, 1)["reward_gbp"].sum() for name, policy in _policies(env)}
    assert max(earned.values()) <= bound_gbp, (bound_gbp, earned)


@pytest.mark.parametrize("price", [-200.0, 0.0, 2000.0])
def test_no_policy_beats_it_where_prices_are_wild(table, forecaster, price):
    """Negative prices pay for waste: full fans, needless compressors, work at once."""
    changed = table.copy()
    columns = ["imbalance_price_gbp_per_mwh", "day_ahead_price_gbp_per_mwh"]
    changed[columns] = changed[columns] * 0.2 + price
    scenario = Scenario(History(changed, forecaster), "validation", "split")
    env = _env(scenario, scenario.episodes[0].first + 90, 2 * N, adders=Adders(5.0, 60.0), trade=Terms(600.0))
    bound_gbp = _bound(env)
    earned = {name: play(env, policy, 2)["reward_gbp"].sum() for name, policy in _policies(env)}
    assert max(earned.values()) <= bound_gbp, (bound_gbp, earned)


def test_cutting_an_episode_into_windows_only_raises_the_bound(history):
    scenario = Scenario(history, "validation", "split")
    env = _env(scenario, scenario.episodes[0].first, 6 * N)
    whole, cut = _bound(env, window=2 * 6 * N), _bound(env, window=2 * N)
    assert whole - 1.0 <= cut <= whole + 200.0


def test_the_played_plan_is_better_than_any_other_policy_and_under_the_bound(history):
    scenario = Scenario(history, "validation", "split")
    env = _env(scenario, scenario.episodes[0].first, 4 * N)
    oracle = SiteOraclePolicy.for_env(env)
    value = play(env, oracle, 0)["reward_gbp"].sum()
    assert value <= oracle.bound_gbp
    assert value > max(play(env, policy, 0)["reward_gbp"].sum() for name, policy in _policies(env) if name != "oracle")


def test_it_foresees_a_site_and_nothing_else(days):
    with pytest.raises(ValueError, match="SiteSystem"):
        SiteOraclePolicy.for_env(SystemEnv(BatterySystem(days)))


# --- jobs ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=12)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 30), st.sampled_from([20.0, 60.0, 150.0]), st.integers(1, 30), st.integers(0, 12),
            st.floats(0.0, 0.5),
        ),
        min_size=1, max_size=25,
    ),
    st.randoms(use_true_random=False),
    st.integers(0, 30),
)  # fmt: skip
def test_whatever_a_queue_does_is_in_the_program_at_no_more_money(jobs, random, begin):
    """The running power of a real queue is forced on two windows: both are feasible, lateness adds up to no more."""
    jobs.sort(key=lambda job: job[0])
    arrival, power_kw, duration, slack, rate = (np.array(column) for column in zip(*jobs, strict=True))
    table = make_arrivals(
        60, arrival, power_kw=power_kw, duration_periods=duration, deadline_period=arrival + duration + slack,
        latest_start_period=arrival + slack, priority=np.ones(len(jobs), int),
        sla_penalty_gbp_per_h=rate * power_kw, workload_type=np.zeros(len(jobs), int),
    )  # fmt: skip
    rules = QueueRules(300.0, force_due=False)
    lane = queue.new_queues(rules, table, 1)[0]
    queue.reset(table, lane, 0)
    queue.begin_period(rules, table, lane, 0, 300.0)
    work = known_work(lane, table, 0, 60)
    committed_kw, _ = promised_kw(lane, 0, 60)
    assert committed_kw.sum() == 0.0
    drawn_kw, late_gbp = np.zeros(60), np.zeros(60)
    for t in range(60):
        queue.release(rules, lane, t, 300.0, random.uniform(0.0, 400.0))
        drawn_kw[t], late_gbp[t] = queue.end_period(rules, table, lane, t)
        if t < 59:
            queue.begin_period(rules, table, lane, t + 1, 300.0)
    parts, least_gbp = parts_of(work, 60), 0.0
    for first, stop in pairwise(sorted({0, begin, 60})):
        block = WorkBlock(parts, committed_kw[first:stop], first)
        forced = cp.Problem(cp.Minimize(block.late_gbp), [*block.constraints, block.running_kw == drawn_kw[first:stop]])
        forced.solve(solver=cp.HIGHS)
        assert forced.status == cp.OPTIMAL
        least_gbp += forced.value
    assert least_gbp <= late_gbp.sum() + 1e-6


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 96), st.integers(0, 40)), min_size=1, max_size=20))
def test_the_parts_of_jobs_hold_their_work_and_no_part_comes_before_its_job(jobs):
    duration, arrival = (np.array(column) for column in zip(*jobs, strict=True))
    power_kw = np.full(len(jobs), 30.0)
    parts = parts_of(Work(power_kw, duration, arrival, arrival + 3, 0.1 * power_kw), 200)
    assert sum(part.periods * part.arrived_kw[-1] for part in parts) == pytest.approx(30.0 * duration.sum())
    assert all(part.periods in WHOLE and (part.due_kw <= part.arrived_kw + 1e-9).all() for part in parts)
    assert all(part.arrived_kw[: arrival.min()].sum() == 0.0 for part in parts)


# --- sales --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(0.2, 1.5), st.integers(0, 30), st.booleans()), min_size=1, max_size=6
    ),
    st.floats(5.0, 240.0),
    st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8),
)  # fmt: skip
def test_no_offer_of_capacity_earns_more_than_the_curve(bids, most_kw, shares):
    value, cells, divisible = (np.array(column) for column in zip(*bids, strict=True))
    quantity_kw, room = 10.0 * cells, vcg.room(len(bids), 600.0, RESOLUTION_KW)
    curve = capacity_curve(value, quantity_kw, divisible, most_kw, 0.4, room)
    assert (np.diff(curve.slope_gbp_per_kw) <= 1e-9).all()
    for share in shares:
        if share * most_kw >= RESOLUTION_KW:
            vcg.allocate(value, quantity_kw, divisible, share * most_kw, 0.4, RESOLUTION_KW, room)
            assert room.payment_gbp.sum() <= curve.at(room.allocation_kw.sum()) + 1e-6


@pytest.mark.parametrize("price_gbp_per_kw", [0.0, 0.3, 0.6])
def test_at_any_price_of_a_kw_some_offer_nearly_earns_what_the_curve_says(price_gbp_per_kw):
    rng = np.random.default_rng(0)
    for _ in range(20):
        value, quantity_kw, divisible = rng.uniform(0.2, 1.5, 6), 10.0 * rng.integers(0, 30, 6), rng.random(6) < 0.6
        most_kw, room = rng.uniform(20.0, 240.0), vcg.room(6, 600.0, RESOLUTION_KW)
        curve = capacity_curve(value, quantity_kw, divisible, most_kw, 0.4, room)
        corners_kw = np.append(0.0, np.cumsum(curve.width_kw))
        earned = [0.0]
        for offered_kw in np.append(np.arange(RESOLUTION_KW, most_kw, 0.5), most_kw):
            vcg.allocate(value, quantity_kw, divisible, offered_kw, 0.4, RESOLUTION_KW, room)
            earned.append(room.payment_gbp.sum() - price_gbp_per_kw * room.allocation_kw.sum())
        least_room = 6 * STEP_KW * max(value.max() - 0.4, 0.0) + STEP_KW * price_gbp_per_kw + 0.01
        assert max(earned) <= max(curve.at(kw) - price_gbp_per_kw * kw for kw in corners_kw) + 1e-6
        assert max(curve.at(kw) - price_gbp_per_kw * kw for kw in corners_kw) <= max(earned) + least_room


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(20.0, 400.0), st.integers(1, 60)), min_size=1, max_size=6),
    st.floats(10.0, 3000.0), st.floats(50.0, 500.0), st.floats(1.0, 300.0), st.floats(-100.0, 700.0), st.booleans(),
)  # fmt: skip
def test_no_offer_of_flexibility_earns_more_than_the_most(rivals, wanted_kw, cap, offered_kw, price, tie):
    rival_gbp, cells = (np.array(column) for column in zip(*rivals, strict=True))
    rival_kw, price = 10.0 * cells, rival_gbp[0] if tie else price
    sold_kw = np.zeros(len(rivals) + 1)
    cleared, _ = market.clear(
        np.append(rival_gbp, price), np.append(rival_kw, offered_kw), np.array([cap]), np.array([wanted_kw]), sold_kw,
        np.zeros(1),
    )  # fmt: skip
    most = flexibility_most_gbp(wanted_kw, cap, rival_kw, rival_gbp, 300.0)
    assert sold_kw[-1] == 0.0 or sold_kw[-1] * cleared * 0.5 / 1000.0 <= most + 1e-9


# --- heat ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_whatever_a_hall_does_is_in_the_program(data):
    """Any inputs, period by period: heat is conserved, electricity lies within its bounds, nothing gets too cold."""
    hall, chiller, n = Hall(), Chiller(), 8
    state = start = HallState(*(data.draw(st.floats(16.0, 40.0)) for _ in range(3)))
    floor_c = lowest_c(hall, chiller, start)
    it_kw, wet_bulb_c, electricity_kw, held_kwh = (np.zeros(n) for _ in range(4))
    for k in range(n):
        it_kw[k], wet_bulb_c[k] = data.draw(st.floats(186.0, 596.0)), data.draw(st.floats(-10.0, 25.0))
        setpoint_c, fan = data.draw(st.floats(10.0, 40.0)), data.draw(st.floats(0.0, 1.2))
        state, flows = cooling.step(hall, chiller, state, it_kw[k], wet_bulb_c[k], setpoint_c, fan, 0.5)
        electricity_kw[k], held_kwh[k] = flows.cooling_kw, heat_content_kwh(hall, state)
        assert min(state) >= floor_c
    limits_kwh = content_kwh(hall, floor_c), float(heat_content_kwh(hall, start)) + 1e5
    block = HeatBlock(hall, chiller, limits_kwh, floor_c, cp.Constant(it_kw), wet_bulb_c)
    forced = [
        *block.constraints, block.held_kwh[0] == heat_content_kwh(hall, start),
        cp.abs(block.held_kwh[1:] - held_kwh) <= 1e-3, cp.abs(block.cooling_kw - electricity_kw) <= 1e-3,
    ]  # fmt: skip
    problem = cp.Problem(cp.Minimize(0.0), forced)
    problem.solve(solver=cp.HIGHS)
    assert problem.status == cp.OPTIMAL


@settings(deadline=None)
@given(
    st.floats(-300.0, 300.0), st.floats(186.0, 596.0), st.floats(5.7, 50.0), st.floats(-5.0, 25.0), st.floats(6.0, 60.0)
)
def test_no_heat_at_the_end_is_worth_more_than_its_line(price, it_kw, supply_c, wet_bulb_c, mean_c):
    hall, chiller = Hall(), Chiller()
    start = HallState(30.0, 30.0, 20.0)
    floor_c, start_kwh = lowest_c(hall, chiller, start), float(heat_content_kwh(hall, start))
    removal = electricity_per_heat(chiller, it_kw, supply_c, wet_bulb_c)
    least, most = electricity_per_heat(chiller, 0.0, 20.0, 0.0), 1.0
    line = heat_worth(hall, start_kwh, floor_c, (least, most), price)
    gained_kwh = content_kwh(hall, mean_c) - start_kwh
    assert least <= removal <= most
    worth = -gained_kwh * removal * price / 1000.0
    assert worth <= line.slope_gbp_per_kwh * gained_kwh + line.offset_gbp + 1e-9


def test_the_interior_optimum_agrees_with_the_vertex(history, monkeypatch):
    """Two algorithms of HiGHS; what they differ by lies within the tolerance that the bound is raised by."""
    scenario = Scenario(history, "validation", "split")
    env = _env(scenario, scenario.episodes[0].first, N)
    interior = _bound(env)
    monkeypatch.setitem(LARGE, "solver", "simplex")
    assert interior == pytest.approx(_bound(env), abs=0.05)
