"""Several price paths: where they come from, how they are thinned out, and what planning against them is worth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from baselines.mpc import MpcPolicy
from baselines.mpc_scenario import ScenarioMpcPolicy
from baselines.price_chain import PriceChain
from baselines.price_fan import MISS_BOUND, STRIDE, PriceFan
from baselines.risk_models import conditional_value_at_risk
from baselines.scenario_planner import ScenarioPlanner
from baselines.scenario_reduction import fast_forward_selection
from baselines.tail_risk import Risk
from data import splits
from data.publication import hide_unpublished
from data.splits import SPLITS
from envs.battery import BatterySystem
from envs.fields import position, positions
from envs.information import FORECAST_PREFIX
from envs.scenario import History, Scenario
from envs.single import SystemEnv
from models.battery import Battery
from models.settlement import Adders


@pytest.fixture(scope="module")
def env(history):
    return SystemEnv(BatterySystem(Scenario(history, "validation", "day")))


@pytest.fixture(scope="module")
def fit(history):
    rows = splits.rows(history.timestamps, "train")
    shown, price = history.price_information[rows], history.market.imbalance_price_gbp_per_mwh[rows]
    chain = PriceChain.fit(shown, price)
    return chain, shown, price


@pytest.fixture(scope="module")
def fan(fit):
    return PriceFan.fit(*fit, paths=8)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_what_is_kept_stands_for_all(kept, seed):
    points = np.random.default_rng(seed).normal(size=(12, 3))
    chosen, weight = fast_forward_selection(points, kept)
    assert len(set(chosen)) == kept
    assert weight.sum() == pytest.approx(1.0)
    assert (weight >= 1.0 / 12 - 1e-12).all()
    distance = np.linalg.norm(points[:, None] - points[chosen], axis=2).min(axis=1).mean()
    fewer = np.linalg.norm(points[:, None] - points[chosen[:-1]], axis=2) if kept > 1 else np.full((12, 1), np.inf)
    assert distance <= fewer.min(axis=1).mean()


def test_the_first_choice_is_the_best_single_one_and_twins_share_theirs():
    points = np.array([[0.0], [0.1], [0.2], [5.0], [5.1]])
    chosen, weight = fast_forward_selection(points, 2)
    assert chosen[0] == np.argmin(np.abs(points - points.T).sum(axis=0))
    assert sorted(weight) == [0.4, 0.6]


@pytest.mark.parametrize("kept", [0, 6])
def test_more_than_there_are_or_none_is_refused(kept):
    with pytest.raises(ValueError, match="1 to 5"):
        fast_forward_selection(np.zeros((5, 2)), kept)


def test_the_fan_has_the_mean_of_the_forecast_and_the_spread_and_correlation_of_the_past(fit):
    chain, shown, price = fit
    whole = PriceFan.fit(*fit, paths=500)  # all that are drawn
    rows = np.arange(0, len(price) - 48, STRIDE)
    missed = price[rows[:, None] + np.arange(48)] - chain.path_gbp_per_mwh(shown[rows])
    missed = np.clip(missed / chain.scale_gbp_per_mwh(shown[rows])[:, None], -MISS_BOUND, MISS_BOUND)
    np.testing.assert_allclose(whole.weight @ whole.missed, 0.0, atol=1e-9)
    for lead in (0, 3, 20):
        np.testing.assert_allclose(whole.missed[:, lead].std(), missed[:, lead].std(), rtol=0.2)
    for lead in (1, 4):
        ours, theirs = (spearmanr(each[:, 0], each[:, lead]).statistic for each in (whole.missed, missed))
        assert ours == pytest.approx(theirs, abs=0.12)


def test_the_fan_sees_the_training_split_alone(table, forecaster, history, fit, fan):
    later = table.copy()
    later.loc[later.index >= SPLITS["validation"].start, "imbalance_price_gbp_per_mwh"] *= 1.5
    again = History(later, forecaster)
    rows = splits.rows(again.timestamps, "train")
    shown, price = again.price_information[rows], again.market.imbalance_price_gbp_per_mwh[rows]
    other = PriceFan.fit(PriceChain.fit(shown, price), shown, price, paths=8)
    np.testing.assert_array_equal(other.missed, fan.missed)


def test_a_fan_survives_its_wire_form_and_a_broken_one_is_refused(fan):
    np.testing.assert_array_equal(PriceFan.from_json(fan.as_json()).missed, fan.missed)
    with pytest.raises(ValueError, match="fit it again"):
        PriceFan.from_json({"missed": [[1.0]]})
    with pytest.raises(ValueError, match="shapes"):
        PriceFan.from_json({"missed": [[1.0]], "weight": [1.0]})


def test_without_spread_it_is_the_plan_on_the_corrected_forecast(env, fit, fan):
    chain, fields = fit[0], env.system.observation_fields
    certain = ScenarioMpcPolicy(env.system.battery, env.system.adders, fields, [chain], [fan], 0.0)
    plain = MpcPolicy.for_env(env)
    observation, _ = env.reset(seed=0)
    for _ in range(12):
        corrected = observation.copy()
        corrected[-48:] = chain.path_gbp_per_mwh(observation[None, 2:])[0]
        np.testing.assert_allclose(certain.act(observation), plain.act(corrected), atol=2e-3)
        observation, *_ = env.step(certain.act(observation))


def _costs(planner, price, weight):
    power_kw, stored_kwh, wear_gbp = planner.plan(500.0, price, weight, np.full(weight.size, 60.0))
    energy_gbp = 0.5 * (price * power_kw).sum(axis=1) / 1000.0
    return energy_gbp + wear_gbp - 60.0 * stored_kwh[:, -1] / 1000.0, power_kw


def test_weight_on_the_worst_lowers_their_cost_at_the_price_of_the_mean():
    """Each plan is the best by its own measure, measured here by another implementation of the CVaR."""
    rng = np.random.default_rng(1)
    price = 80.0 + 60.0 * rng.normal(size=(10, 48))
    weight = np.full(10, 0.1)
    mean, averse = (
        _costs(ScenarioPlanner(Battery(), Adders(), 10, shared=48, risk=risk), price, weight)[0]
        for risk in (Risk(), Risk(1.0, 0.2))
    )
    assert mean.mean() <= averse.mean() + 1e-3
    assert conditional_value_at_risk(-averse, 0.8) < conditional_value_at_risk(-mean, 0.8) - 0.1


def test_what_is_decided_before_prices_are_known_is_the_same_on_all_paths():
    price = 80.0 + 60.0 * np.random.default_rng(2).normal(size=(5, 48))
    _, power_kw = _costs(ScenarioPlanner(Battery(), Adders(), 5, shared=3), price, np.full(5, 0.2))
    assert np.ptp(power_kw[:, :3], axis=0) == pytest.approx(0.0, abs=0.01)
    assert np.ptp(power_kw[:, 3:], axis=0).max() > 1.0


def test_no_decision_rests_on_what_is_not_published(table, forecaster):
    taken = []
    for known in (table, None):
        scenario = Scenario(History(table, forecaster), "validation", "day")
        first = scenario.episodes[0].first
        if known is None:
            scenario = Scenario(History(hide_unpublished(table, first + 12), forecaster), "validation", "day")
        env = SystemEnv(BatterySystem(scenario))
        scenario.episodes = scenario.episodes[:1]
        policy = ScenarioMpcPolicy.for_env(env, paths=5, risk_weight=0.3)
        observation, _ = env.reset(seed=0)
        actions = []
        for _ in range(13):
            actions.append(policy.act(observation))
            observation, *_ = env.step(actions[-1])
        taken.append(actions)
    np.testing.assert_array_equal(*taken)


def test_without_a_solver_it_rests_and_counts(env, fit, fan, caplog):
    fields = env.system.observation_fields
    policy = ScenarioMpcPolicy(Battery(), Adders(), fields, [fit[0]], [fan], solvers=["NO_SUCH_SOLVER"])
    observation, _ = env.reset(seed=0)
    assert policy.act(observation) == 0.0
    assert policy.counts() == {"relaxed_plans": 0, "failed_plans": 1}
    assert "NO_SUCH_SOLVER" in caplog.text


def test_a_charge_outside_the_band_is_counted(env, fit, fan):
    fields = env.system.observation_fields
    policy = ScenarioMpcPolicy(Battery(), Adders(), fields, [fit[0]], [fan])
    observation, _ = env.reset(seed=0)
    for charge_fraction in (0.5, 0.05, 1.0):
        observation[position(fields, "charge_fraction")] = charge_fraction
        assert np.isfinite(policy.act(observation)).all()
    assert policy.counts() == {"relaxed_plans": 2, "failed_plans": 0}
    policy.reset(0)
    assert policy.counts()["relaxed_plans"] == 0


def test_a_forecast_that_is_no_number_is_refused(env, fit, fan):
    policy = ScenarioMpcPolicy(Battery(), Adders(), env.system.observation_fields, [fit[0]], [fan])
    observation, _ = env.reset(seed=0)
    observation[positions(env.system.observation_fields, FORECAST_PREFIX)] = np.nan
    with pytest.raises(ValueError, match="finite"):
        policy.act(observation)


def test_what_is_out_of_range_is_refused(env, fit, fan):
    fields = env.system.observation_fields
    with pytest.raises(ValueError, match="spread_fraction"):
        ScenarioMpcPolicy(Battery(), Adders(), fields, [fit[0]], [fan], 1.5)
    with pytest.raises(ValueError, match="1 decisions"):
        ScenarioMpcPolicy(Battery(), Adders(), fields, [fit[0]], [fan, fan])
    with pytest.raises(ValueError, match="tail_fraction"):
        ScenarioPlanner(Battery(), Adders(), 2, risk=Risk(0.5, 0.0))
