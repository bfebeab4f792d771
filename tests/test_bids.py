"""Bids from the worth of energy, against the linear program's duals; portfolios and asked prices by two ways."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog
from scipy.stats import norm

from baselines.bids import build_bid_vector, dynamic_pricing_strategy, portfolio_optimization
from baselines.dp import CERTAIN, ChargeGrid
from baselines.mpc import MPCController
from baselines.risk_models import conditional_value_at_risk
from data.publication import hide_unpublished
from forecasting.deviation import DeviationForecaster
from forecasting.prices import Forecaster
from models.battery import Battery
from models.settlement import Adders

PRICE = "price_gbp_per_mwh"
LAMBDA_DEG = 0.0002
DAY = st.lists(st.floats(-100.0, 400.0), min_size=4, max_size=48).map(np.array)


def frame(prices):
    index = pd.date_range("2024-01-01", periods=len(prices), freq="30min", tz="UTC")
    return pd.DataFrame({PRICE: prices}, index=index)


def percentiles(prices, spread, levels=(10, 30, 50, 70, 90)):
    steps = norm.ppf(np.array(levels) / 100.0) * spread
    return pd.DataFrame({f"{PRICE}_p{level:02d}": prices + step for level, step in zip(levels, steps, strict=True)})


def net_kw(bids, period, price):
    """Power bought less power sold at a market price."""
    rows = bids[bids["period"] == period]
    bought = rows[(rows["side"] == "buy") & (rows[PRICE] >= price)]["quantity_kw"].sum()
    return bought - rows[(rows["side"] == "sell") & (rows[PRICE] <= price)]["quantity_kw"].sum()


@settings(deadline=None, max_examples=40)
@given(DAY, st.floats(0.0, 60.0), st.floats(0.0, 1.0), st.floats(0.0, 0.02))
def test_the_curve_is_monotone_and_within_the_battery(prices, spread, soc, wear):
    bids = build_bid_vector(50.0, frame(prices), percentiles(prices, spread), soc, wear)
    assert (bids["quantity_kw"] > 0.0).all()
    for _, rows in bids.groupby("period"):
        buy, sell = (rows[rows["side"] == side] for side in ("buy", "sell"))
        assert (np.diff(buy[PRICE]) < 0.0).all()
        assert (np.diff(sell[PRICE]) > 0.0).all()
        assert max(buy["quantity_kw"].sum(), sell["quantity_kw"].sum()) <= 250.0 + 1e-6
        if len(buy) and len(sell):
            assert buy[PRICE].iloc[0] <= sell[PRICE].iloc[0] + 1e-9
    period = bids["period"].iloc[0]
    powers = [net_kw(bids, period, price) for price in np.linspace(-200.0, 600.0, 33)]
    assert (np.diff(powers) <= 1e-9).all()


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0.0, 300.0), min_size=12, max_size=12).map(np.array), st.floats(0.16, 0.89))
def test_the_slope_of_the_worth_encloses_the_dual_of_the_linear_program(prices, soc):
    """Worth of one more stored kWh after each half-hour, by dynamic program and by HiGHS."""
    b, n, end = Battery(wear_gbp_per_kwh=LAMBDA_DEG), prices.size, 60.0
    eye = sparse.eye_array(n, format="csr")
    balance = sparse.hstack(
        [-0.5 * b.charge_efficiency * eye, 0.5 / b.discharge_efficiency * eye, eye - sparse.eye_array(n, k=-1)]
    )
    cost = np.concatenate([0.5 * (prices / 1000.0 + LAMBDA_DEG), 0.5 * (LAMBDA_DEG - prices / 1000.0), np.zeros(n)])
    cost[-1] = -end / 1000.0
    right = np.zeros(n)
    right[0] = soc * b.capacity_kwh
    bounds = np.repeat([[0.0, 250.0], [0.0, 250.0], [150.0, 900.0]], n, axis=0)
    program = linprog(cost, A_eq=balance.tocsr(), b_eq=right, bounds=bounds, method="highs")
    grid = ChargeGrid(b, Adders(), points=3001)
    worth = grid.worth_gbp(prices[:, None], CERTAIN, end)[:, 0]
    # The dual of a balance prices energy at the start of its period: what is left after the one before is worth that.
    for k in range(1, n):
        dual, energy_kwh = -program.eqlin.marginals[k], program.x[2 * n + k - 1]
        near = np.interp(energy_kwh + np.array([-8.0, -4.0, 4.0, 8.0]), grid.energy_kwh, worth[k - 1]) / 4.0
        # Lines between grid points blur a kink by a grid step a period, so slopes are taken a little away from it.
        if energy_kwh > 158.0:
            assert dual <= near[1] - near[0] + 1e-4
        if energy_kwh < 892.0:
            assert dual >= near[3] - near[2] - 1e-4


def test_at_the_forecast_price_the_bids_do_what_the_plan_does():
    prices = 80.0 + 60.0 * np.sin(np.arange(48) * 2.0 * np.pi / 48.0)
    bids = build_bid_vector(80.0, frame(prices), pd.DataFrame(), 0.5, LAMBDA_DEG)
    grid, energy_kwh = ChargeGrid(Battery(wear_gbp_per_kwh=LAMBDA_DEG), Adders(), points=151), 500.0
    path = np.append(80.0, prices)
    plan_kw = grid.plan_kw(energy_kwh, path, path.mean() * Battery().discharge_efficiency)
    for period, price, planned_kw in zip(frame(prices).index, prices, plan_kw[1:], strict=True):
        powers = [net_kw(bids, period, price + shift) for shift in (1e-4, -1e-4)]  # a price may lie on a step
        assert powers[0] - 1e-3 <= planned_kw <= powers[1] + 1e-3


def test_where_prices_scatter_energy_in_store_is_worth_more():
    """An empty battery's first bid: room and energy are options, and an option gains by uncertainty."""
    prices = np.full(24, 80.0)
    certain = build_bid_vector(80.0, frame(prices), pd.DataFrame(), 0.15, LAMBDA_DEG)
    scattered = build_bid_vector(80.0, frame(prices), percentiles(prices, 40.0), 0.15, LAMBDA_DEG)
    assert scattered[PRICE].iloc[0] > certain[PRICE].iloc[0] + 1.0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.floats(0.0, 20.0), st.sampled_from([0.0, 0.5, 0.8, 0.9]))
def test_the_portfolio_keeps_its_risk_and_no_scan_finds_a_better_one(seed, limit, confidence):
    """Risk measured by sorting; the optimum against many random portfolios that keep the limit too."""
    rng = np.random.default_rng(seed)
    n = 4
    settled = percentiles(rng.uniform(20.0, 120.0, n), rng.uniform(1.0, 40.0))
    bids = settled.assign(
        period=[0, 0, 1, 1], side=rng.choice(["buy", "sell"], n), quantity_kw=rng.uniform(0.0, 250.0, n),
        **{PRICE: rng.uniform(20.0, 120.0, n)},
    )  # fmt: skip
    constraints = {"max_cvar_gbp": limit, "confidence": confidence}
    held = portfolio_optimization(bids, constraints)
    sign = np.where(bids["side"] == "sell", 1.0, -1.0)
    gain = sign[:, None] * (bids[[PRICE]].to_numpy() - settled.to_numpy()) * 0.0005  # five paths, equally likely
    best = held["held_kw"].to_numpy() @ gain
    assert conditional_value_at_risk(best, confidence) <= limit + 1e-4
    assert held["expected_gain_gbp"].sum() == pytest.approx(best.mean(), abs=1e-9)
    for _ in range(300):
        other = (rng.random(n) * bids["quantity_kw"].to_numpy()) @ gain
        risk = conditional_value_at_risk(other, confidence)
        scale = min(limit / risk, 1.0) if risk > 0.0 else 1.0
        assert scale * other.mean() <= best.mean() + 1e-4


def test_a_portfolio_keeps_the_power_of_each_period_and_side():
    bids = percentiles(np.full(3, 50.0), 1.0).assign(
        period=[0, 0, 1], side="sell", quantity_kw=200.0, **{PRICE: [80.0, 90.0, 80.0]}
    )
    held = portfolio_optimization(bids, {"max_cvar_gbp": 100.0, "max_power_kw": 250.0})["held_kw"]
    np.testing.assert_allclose(held, [50.0, 200.0, 200.0], atol=0.1)


def test_bids_of_a_plan_can_be_held_as_they_are():
    prices = 80.0 + 60.0 * np.sin(np.arange(48) * 2.0 * np.pi / 48.0)
    bids = build_bid_vector(80.0, frame(prices), percentiles(prices, 20.0), 0.5, LAMBDA_DEG)
    held = portfolio_optimization(bids, {"max_cvar_gbp": 1.0})
    assert len(held) == len(bids)
    assert (held["held_kw"] <= held["quantity_kw"]).all()


@settings(deadline=None)
@given(st.floats(-100.0, 500.0), st.floats(0.5, 100.0), st.floats(-100.0, 500.0))
def test_the_asked_price_is_the_best_of_a_scan(expected, deviation, cost):
    answer = dynamic_pricing_strategy(
        {"expected_price_gbp_per_mwh": expected, "price_sd_gbp_per_mwh": deviation, "cost_gbp_per_mwh": cost}
    )
    asked = cost + np.linspace(0.0, max(expected - cost, 0.0) + 5.0 * deviation, 2001)
    margins = (asked - cost) * norm.sf(asked, expected, deviation)
    assert answer["expected_margin_gbp_per_mwh"] >= margins.max() - 1e-9 * deviation
    assert answer["mark_up_gbp_per_mwh"] >= 0.0
    assert answer["acceptance_probability"] == pytest.approx(
        norm.sf(answer["offer_price_gbp_per_mwh"], expected, deviation), abs=1e-12
    )


def test_in_a_certain_market_its_price_is_asked_if_that_covers_the_cost():
    ask = {"expected_price_gbp_per_mwh": 90.0, "price_sd_gbp_per_mwh": 0.0, "cost_gbp_per_mwh": 60.0}
    assert dynamic_pricing_strategy(ask)["offer_price_gbp_per_mwh"] == 90.0
    assert dynamic_pricing_strategy({**ask, "cost_gbp_per_mwh": 95.0})["acceptance_probability"] == 0.0


def test_what_a_forecaster_says_is_planned_on_as_it_comes(table):
    forecaster = Forecaster(DeviationForecaster.fit(table))
    known = hide_unpublished(table, 1200, 15).iloc[:1260]
    said, volatility = forecaster.predict_next(known), forecaster.predict_volatility(known)
    ours = said.rename(columns=lambda c: PRICE if c.startswith("mean") else f"{PRICE}_p{c[1:3]}")
    bids = build_bid_vector(50.0, said, said, 0.5, LAMBDA_DEG)
    pd.testing.assert_frame_equal(bids, build_bid_vector(50.0, ours, ours, 0.5, LAMBDA_DEG))
    state = {"charge_fraction": 0.5}
    assert MPCController().optimize_horizon(said, state) == MPCController().optimize_horizon(ours, state)
    rough = build_bid_vector(50.0, said, volatility, 0.5, LAMBDA_DEG)
    spread = rough.drop_duplicates("period").set_index("period")
    np.testing.assert_allclose(
        (spread[f"{PRICE}_p95"] - spread[f"{PRICE}_p05"]) / (2.0 * norm.ppf(0.95)),
        volatility["volatility_gbp_per_mwh"].loc[spread.index],
    )


def test_bad_input_is_refused_with_its_reason():
    good, none = frame([50.0, 60.0]), pd.DataFrame()
    bids = percentiles(np.full(1, 50.0), 1.0).assign(period=0, side="sell", quantity_kw=1.0, **{PRICE: 80.0})
    asked = {"expected_price_gbp_per_mwh": 90.0, "price_sd_gbp_per_mwh": 1.0, "cost_gbp_per_mwh": 60.0}
    for call, hint in (
        (lambda: build_bid_vector(50.0, good.rename(columns={PRICE: "p"}), none, 0.5, 0.0), "is needed"),
        (lambda: build_bid_vector(50.0, good, none, 50.0, 0.0), "within 0 to 1"),
        (lambda: build_bid_vector(np.nan, good, none, 0.5, 0.0), "finite"),
        (lambda: build_bid_vector(50.0, good, percentiles(np.ones(3), 1.0), 0.5, 0.0), "give as many"),
        (lambda: build_bid_vector(50.0, good, pd.DataFrame({f"{PRICE}_px": [1.0, 2.0]}), 0.5, 0.0), "percentile"),
        (lambda: build_bid_vector(50.0, good, none, 0.5, -1.0), "wear"),
        (lambda: build_bid_vector(50.0, good, good.rename(columns={PRICE: "sd"}), 0.5, 0.0), "no column at all"),
        (lambda: portfolio_optimization(bids, {}), "max_cvar_gbp is needed"),
        (lambda: portfolio_optimization(bids, {"max_cvar_gbp": -1.0}), "0 or above"),
        (lambda: portfolio_optimization(bids.assign(side="long"), {"max_cvar_gbp": 1.0}), "sides"),
        (lambda: portfolio_optimization(bids.drop(columns="period"), {"max_cvar_gbp": 1.0}), "lack"),
        (lambda: dynamic_pricing_strategy({}), "exactly"),
        (lambda: dynamic_pricing_strategy({**asked, "price_sd_gbp_per_mwh": -1.0}), "deviation"),
    ):
        with pytest.raises(ValueError, match=hint):
            call()
