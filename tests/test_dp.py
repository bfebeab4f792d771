"""The dynamic programs against linear programs, and the chain of beliefs behind the stochastic one."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from baselines.dp import CERTAIN, ChargeGrid, DpPolicy, StochasticDpPolicy
from baselines.mpc import BatteryPlanner
from baselines.oracle import perfect_foresight
from baselines.price_chain import PriceChain
from data import splits
from envs.battery import BatterySystem
from envs.fields import position
from envs.information import FIELDS
from envs.scenario import History, Scenario
from envs.single import SystemEnv
from evaluation.rollout import play
from models import battery as model
from models.battery import Battery
from models.settlement import Adders

ADDERS = Adders(network_gbp_per_mwh=12.0)
GRID = ChargeGrid(Battery(), ADDERS)
PRICES = st.lists(st.floats(0.0, 600.0), min_size=48, max_size=48).map(np.array)


@pytest.fixture(scope="module")
def env(history):
    return SystemEnv(BatterySystem(Scenario(history, "validation", "split")))


@pytest.fixture(scope="module")
def chain(history):
    return fitted(history)


def fitted(history, **settings):
    train = splits.rows(history.timestamps, "train")
    return PriceChain.fit(
        history.price_information[train], history.market.imbalance_price_gbp_per_mwh[train], **settings
    )


def replayed_gbp(plan_kw, energy_kwh, price, end_value):
    """What a plan earns in the battery model, the energy gained included."""
    b, now_kwh, value_gbp = Battery(), energy_kwh, 0.0
    for asked_kw, gbp_per_mwh in zip(plan_kw, price, strict=True):
        now_kwh, power_kw = model.step(b, now_kwh, asked_kw, 0.5)
        assert power_kw == pytest.approx(asked_kw, abs=0.1), "a plan must be feasible"
        value_gbp -= gbp_per_mwh * power_kw * 0.5 / 1000.0 + b.wear_gbp_per_kwh * abs(power_kw) * 0.5
        value_gbp -= ADDERS.network_gbp_per_mwh * max(power_kw, 0.0) * 0.5 / 1000.0
    return value_gbp + (now_kwh - energy_kwh) * end_value / 1000.0


@settings(deadline=None, max_examples=20)
@given(PRICES, st.floats(150.0, 900.0))
def test_the_plan_is_worth_what_the_linear_program_is_within_half_a_percent(price, energy_kwh):
    end_value = float(price.mean()) * Battery().discharge_efficiency
    value_gbp = replayed_gbp(GRID.plan_kw(energy_kwh, price, end_value), energy_kwh, price, end_value)
    best = perfect_foresight(Battery(), ADDERS, energy_kwh, price, np.zeros(48), float(price.mean())).value_gbp
    assert 0.995 * best - 0.01 <= value_gbp <= best + 1e-4


def test_the_two_planners_earn_the_same_on_forecasts(history):
    mpc, rng = BatteryPlanner(Battery(), ADDERS), np.random.default_rng(0)
    for t in range(1300, 2300, 60):
        price = np.maximum(history.price_information[t, -48:].astype(np.float64), 0.0)
        energy_kwh, end_value = rng.uniform(150.0, 900.0), float(price.mean())
        by_grid, by_program = (
            replayed_gbp(plan.plan_kw(energy_kwh, price, end_value), energy_kwh, price, end_value)
            for plan in (GRID, mpc)
        )
        assert by_grid == pytest.approx(by_program, rel=5e-3, abs=0.02)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-400.0, 600.0), min_size=48, max_size=48), st.floats(0.0, 1000.0))
def test_worth_never_falls_below_doing_nothing_and_a_plan_is_always_feasible(prices, energy_kwh):
    price = np.array(prices)
    plan_kw = GRID.plan_kw(energy_kwh, price, 60.0)
    assert np.isfinite(plan_kw).all()
    assert np.abs(plan_kw).max() <= 250.0 + 1e-9
    worth = GRID.worth_gbp(price[:, None], CERTAIN, 60.0)[:, 0]
    assert (worth >= worth[-1] - 1e-9).all()


def tree_value_gbp(price, chain, first_state, energy_kwh, end_value):
    """The multistage linear program over every path of the chain, one decision per history of states."""
    b, (periods, states) = Battery(), price.shape
    nodes = [
        (path, np.prod([chain[i, j] for i, j in zip((first_state, *path), path, strict=False)]))
        for length in range(periods)
        for path in product(range(states), repeat=length)
    ]
    index = {path: i for i, (path, _) in enumerate(nodes)}
    n = len(nodes)
    cost, upper, balance, right = np.zeros(3 * n), np.zeros(3 * n), np.zeros((n, 3 * n)), np.zeros(n)
    low = np.zeros(3 * n)
    for i, (path, probability) in enumerate(nodes):
        state = path[-1] if path else first_state
        unit = price[len(path), state] / 1000.0
        cost[i] = probability * 0.5 * (unit + b.wear_gbp_per_kwh + ADDERS.network_gbp_per_mwh / 1000.0)
        cost[n + i] = probability * 0.5 * (b.wear_gbp_per_kwh - unit)
        cost[2 * n + i] = -probability * end_value / 1000.0 if len(path) == periods - 1 else 0.0
        upper[i], upper[n + i] = b.max_charge_kw, b.max_discharge_kw
        low[2 * n + i], upper[2 * n + i] = 150.0, 900.0
        balance[i, i], balance[i, n + i] = -0.5 * b.charge_efficiency, 0.5 / b.discharge_efficiency
        balance[i, 2 * n + i] = 1.0
        if path:
            balance[i, 2 * n + index[path[:-1]]] = -1.0
        else:
            right[i] = energy_kwh
    solution = linprog(cost, A_eq=balance, b_eq=right, bounds=np.column_stack([low, upper]), method="highs")
    assert solution.success
    return -solution.fun


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.floats(150.0, 900.0))
def test_the_stochastic_program_is_worth_what_the_program_over_the_whole_tree_is(seed, energy_kwh):
    rng, states, periods = np.random.default_rng(seed), 3, 5
    price = rng.uniform(0.0, 300.0, (periods, states))
    chain = rng.dirichlet(np.ones(states), states)
    grid = ChargeGrid(Battery(), ADDERS, points=601)
    worth = grid.worth_gbp(price, chain, 60.0)
    for first_state in range(states):
        power_kw = grid.best_kw(energy_kwh, price[0, first_state], worth[0, first_state])
        after_kwh, power_kw = model.step(Battery(), energy_kwh, power_kw, 0.5)
        earned = -price[0, first_state] * power_kw * 0.5 / 1000.0 - 0.005 * abs(power_kw) * 0.5
        earned -= ADDERS.network_gbp_per_mwh * max(power_kw, 0.0) * 0.5 / 1000.0
        value_gbp = earned + np.interp(after_kwh, grid.energy_kwh, worth[0, first_state])
        best = tree_value_gbp(price, chain, first_state, energy_kwh, 60.0)
        assert value_gbp == pytest.approx(best, rel=1e-3, abs=0.02)


def test_knowing_that_more_will_be_known_earns_more_than_a_certain_plan():
    """A price that is dear today but seldom dearer: the plan on the mean sells, the plan on the chain may wait."""
    price, chain = np.tile([40.0, 90.0, 200.0], (12, 1)), np.tile([0.6, 0.2, 0.2], (3, 1))
    grid, rng = ChargeGrid(Battery(), Adders()), np.random.default_rng(0)
    earned = {"chain": 0.0, "mean": 0.0}
    for _ in range(200):
        states = rng.choice(3, p=chain[0], size=12)
        for name in earned:
            now_kwh = 500.0
            for k, state in enumerate(states):
                if name == "chain":
                    worth = grid.worth_gbp(price[k:], chain, 50.0)[0, state]
                else:
                    expected = np.r_[price[k, state], np.full(11 - k, chain[0] @ price[0])]
                    worth = grid.worth_gbp(expected[:, None], CERTAIN, 50.0)[0, 0]
                now_kwh, power_kw = model.step(Battery(), now_kwh, grid.best_kw(now_kwh, price[k, state], worth), 0.5)
                earned[name] -= price[k, state] * power_kw * 0.5 / 1000.0 + 0.005 * abs(power_kw) * 0.5
            earned[name] += (now_kwh - 500.0) * 50.0 / 1000.0
    assert earned["chain"] > 1.005 * earned["mean"] > 0.0


def test_with_one_state_the_stochastic_policy_is_the_plan_on_the_corrected_forecast(env, history):
    one = fitted(history, states=1)
    policy = StochasticDpPolicy(env.system.battery, env.system.adders, env.system.observation_fields, [one], 1.0)
    plain = DpPolicy.for_env(env)
    observation, _ = env.reset(seed=0)
    for _ in range(40):
        corrected = observation.copy()
        corrected[-48:] = one.belief(observation[2:]).path_gbp_per_mwh
        np.testing.assert_allclose(policy.act(observation), plain.act(corrected), atol=1e-3)
        observation, *_ = env.step(policy.act(observation))


def test_the_chain_is_a_chain_and_its_expectation_follows_it(chain, env):
    np.testing.assert_allclose(chain.transition_array.sum(axis=1), 1.0)
    assert (chain.transition_array >= 0.0).all()
    assert (np.diff(chain.centres) > 0.0).all()
    belief = chain.belief(env.system.scenario.history.price_information[1500])
    assert belief.weights.sum() == pytest.approx(1.0)
    assert (belief.weights > 0.0).sum() <= 2
    share = belief.weights
    for expected in belief.expected_gbp_per_mwh:
        assert expected == pytest.approx(share @ belief.states_gbp_per_mwh, abs=1e-6)
        share = share @ chain.transition_array


def test_the_correction_misses_the_training_split_by_less_than_the_forecast(chain, history):
    train = splits.rows(history.timestamps, "train")
    shown, price = history.price_information[train], history.market.imbalance_price_gbp_per_mwh[train]
    first = shown.shape[1] - 48
    corrected = np.array([chain.belief(row).path_gbp_per_mwh[0] for row in shown[96:]])
    assert ((price[96:] - corrected) ** 2).mean() < ((price[96:] - shown[96:, first]) ** 2).mean()


def test_the_chain_sees_the_training_split_alone(table, forecaster, chain):
    later = table.copy()
    # The day-ahead price of the first day after the split was published within it.
    for column in ("imbalance_price_gbp_per_mwh", "net_imbalance_volume_mwh"):
        later.loc[later.index >= splits.SPLITS["validation"].start, column] *= 1.5
    again = fitted(History(later, forecaster))
    for name, part in chain.as_json().items():
        assert again.as_json()[name] == part


def test_a_chain_survives_its_wire_form(chain, history):
    row = history.price_information[1700]
    for mine, other in zip(chain.belief(row), PriceChain.from_json(chain.as_json()).belief(row), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_where_prices_stand_still_it_rests(table, forecaster):
    still = table.copy()
    for column in ("day_ahead", "imbalance", "market_index"):
        still[f"{column}_price_gbp_per_mwh"] = 80.0
    env = SystemEnv(BatterySystem(Scenario(History(still, forecaster), "validation", "day")))
    trace = play(env, StochasticDpPolicy.for_env(env), 0)
    assert trace["power_kw"].abs().max() < 1e-6


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_a_share_of_the_spread_outside_0_to_1_is_refused(bad, env, chain):
    with pytest.raises(ValueError, match="spread_fraction"):
        StochasticDpPolicy(Battery(), Adders(), env.system.observation_fields, [chain], bad)


def test_bad_input_is_refused_with_its_reason(chain, history, env):
    with pytest.raises(ValueError, match="one for each"):
        StochasticDpPolicy(Battery(), Adders(), env.system.observation_fields, [chain, chain])
    with pytest.raises(ValueError, match="at least 2"):
        ChargeGrid(Battery(), Adders(), points=1)
    with pytest.raises(ValueError, match="not empty"):
        ChargeGrid(Battery(min_fraction=0.5, max_fraction=0.5), Adders())
    with pytest.raises(ValueError, match="finite"):
        GRID.plan_kw(500.0, np.full(48, np.nan), 60.0)
    with pytest.raises(ValueError, match="two days"):
        PriceChain.fit(history.price_information[:96], np.zeros(96))
    with pytest.raises(ValueError, match="without 'means'"):
        PriceChain.from_json({k: v for k, v in chain.as_json().items() if k != "means"})
    with pytest.raises(ValueError, match="shapes"):
        PriceChain.from_json({**chain.as_json(), "means": [0.0]})


def test_the_hours_to_the_end_bound_the_plan(env):
    """In the last period of an episode only this period's price and the worth of what is left count."""
    policy = DpPolicy.for_env(env)
    observation, _ = env.reset(seed=0)
    observation[position(env.system.observation_fields, "hours_left_h")] = 0.5
    observation[-48:] = np.r_[50.0, np.full(47, 500.0)]
    assert policy.act(observation) == [0.0]
    assert len(FIELDS) + 2 == observation.size
