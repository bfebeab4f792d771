"""The battery controller behind the contract's names."""

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from cvxpy.reductions.solvers.qp_solvers.piqp_qpif import PIQP
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.mpc import BatteryPlanner, MPCController
from models import battery as model
from models.battery import Battery
from models.settlement import Adders

TIMES = pd.date_range("2024-01-01", periods=48, freq="30min", tz="UTC")
PRICE = 80.0 + 60.0 * np.sin(np.arange(48) / 48.0 * 4.0 * np.pi)
STATE = {"charge_fraction": 0.5}


def _frame(price=PRICE, **percentiles):
    columns = {f"price_gbp_per_mwh_{name}": values for name, values in percentiles.items()}
    return pd.DataFrame({"price_gbp_per_mwh": price, **columns}, index=TIMES[: len(price)])


@pytest.fixture(scope="module")
def controller():
    return MPCController(adders=Adders(network_gbp_per_mwh=5.0))


def test_one_path_gives_the_plan_of_the_battery_planner(controller):
    answer = controller.optimize_horizon(_frame(), STATE)
    worth = PRICE.mean() * Battery().discharge_efficiency
    planned = BatteryPlanner(Battery(), Adders(network_gbp_per_mwh=5.0)).plan_kw(500.0, PRICE, worth)
    np.testing.assert_allclose(answer["power_kw"], planned, atol=1.0)
    assert answer["paths"] == 1
    assert answer["solved"]
    assert answer["wear_gbp"] == pytest.approx(0.005 * 0.5 * np.abs(planned).sum(), rel=0.01)


def test_equal_paths_are_one_path(controller):
    one = controller.optimize_horizon(_frame(), STATE)
    many = controller.optimize_horizon(_frame(p10=PRICE, p50=PRICE, p90=PRICE), STATE)
    assert many["paths"] == 3
    assert many["expected_cost_gbp"] == pytest.approx(one["expected_cost_gbp"], abs=0.02)


@settings(deadline=None, max_examples=15)
@given(st.floats(0.0, 80.0), st.floats(0.15, 0.9))
def test_knowing_the_path_beforehand_is_worth_something_or_nothing(spread, charge_fraction):
    """The mean over paths planned one by one costs at most what one common first step costs."""
    low, high = PRICE - spread, PRICE + spread * np.cos(np.arange(48))
    state = {"charge_fraction": charge_fraction}
    together = _CONTROLLER.optimize_horizon(_frame(p25=low, p75=high), state)
    alone = [_CONTROLLER.optimize_horizon(_frame(price), state)["expected_cost_gbp"] for price in (low, high)]
    assert np.mean(alone) <= together["expected_cost_gbp"] + 0.02


_CONTROLLER = MPCController()


@settings(deadline=None, max_examples=15)
@given(st.lists(st.floats(0.0, 500.0), min_size=48, max_size=48), st.floats(0.0, 1.0))
def test_the_battery_can_do_the_first_step_and_stay_within_its_band(prices, charge_fraction):
    answer = _CONTROLLER.optimize_horizon(_frame(np.array(prices)), {"charge_fraction": charge_fraction})
    b = Battery()
    energy_kwh = float(np.clip(charge_fraction, b.min_fraction, b.max_fraction)) * b.capacity_kwh
    _, power_kw = model.step(b, energy_kwh, answer["power_kw"][0], 0.5)
    assert power_kw == pytest.approx(answer["power_kw"][0], abs=1.0)
    assert all(b.min_fraction - 1e-3 <= share <= b.max_fraction + 1e-3 for share in answer["charge_fraction"])


@pytest.mark.parametrize(("charge_fraction", "outside"), [(0.0, True), (0.15, False), (0.9, False), (1.0, True)])
def test_a_charge_outside_the_band_is_planned_from_its_edge_and_counted(charge_fraction, outside):
    controller = MPCController()
    answer = controller.optimize_horizon(_frame(), {"charge_fraction": charge_fraction})
    assert answer["solved"]
    assert answer["relaxed"] == outside == bool(controller.relaxed_plans)
    edge = controller.optimize_horizon(_frame(), {"charge_fraction": min(max(charge_fraction, 0.15), 0.9)})
    assert {**edge, "relaxed": outside} == answer


def test_new_constraints_hold_from_the_next_plan_on():
    controller = MPCController()
    controller.optimize_horizon(_frame(), STATE)
    controller.update_constraints({"max_charge_kw": 40.0, "max_discharge_kw": 30.0, "min_fraction": 0.4})
    answer = controller.optimize_horizon(_frame(), STATE)
    assert -30.01 <= min(answer["power_kw"]) <= -29.0
    assert 39.0 <= max(answer["power_kw"]) <= 40.01
    assert min(answer["charge_fraction"]) >= 0.399


def test_dearer_wear_moves_the_battery_less():
    moved = []
    for wear in (0.0, 0.02, 0.5):
        controller = MPCController()
        controller.update_constraints({"wear_gbp_per_kwh": wear})
        moved.append(np.abs(controller.optimize_horizon(_frame(), STATE)["power_kw"]).sum())
    assert moved[0] >= moved[1] >= moved[2]
    assert moved[2] == pytest.approx(0.0, abs=1.0)


@pytest.mark.parametrize(
    ("frame", "state", "says"),
    [
        (_frame().rename(columns={"price_gbp_per_mwh": "price"}), STATE, "lacks 'price_gbp_per_mwh'"),
        (_frame(PRICE[:20]), STATE, "20 rows"),
        (_frame(np.where(np.arange(48) == 3, np.nan, PRICE)), STATE, "1 prices"),
        (_frame(pX=PRICE), STATE, "percentile"),
        (_frame(p100=PRICE), STATE, "percentile"),
        (_frame(), {}, "charge_fraction"),
        (_frame(), {"charge_fraction": 0.5, "soc": 0.5}, "soc"),
        (_frame(), {"charge_fraction": 50.0}, "percentage"),
        (_frame(), {"charge_fraction": float("nan")}, "finite"),
    ],
)
def test_what_cannot_be_planned_on_is_refused(controller, frame, state, says):
    with pytest.raises(ValueError, match=says):
        controller.optimize_horizon(frame, state)


@pytest.mark.parametrize("wrong", [{"max_power_kw": 10.0}, {"max_charge_kw": -1.0}, {"min_fraction": 0.95}])
def test_constraints_that_no_battery_has_are_refused_and_change_nothing(controller, wrong):
    before = controller.battery
    with pytest.raises(ValueError, match=r"max_power_kw|max_charge_kw|min_fraction"):
        controller.update_constraints(wrong)
    assert controller.battery == before


def test_without_a_solver_the_battery_rests_and_the_answer_says_so(caplog):
    controller = MPCController(solvers=["MOSEK"])  # a solver that is not installed
    answer = controller.optimize_horizon(_frame(), STATE)
    assert not answer["solved"]
    assert set(answer["power_kw"]) == {0.0}
    assert controller.failed_plans == 1
    assert "MOSEK" in caplog.text


class _Panic(BaseException):
    """As a solver written in Rust ends."""


@pytest.mark.parametrize(
    "failure", [ValueError("x"), ArithmeticError(), MemoryError(), np.linalg.LinAlgError(), _Panic()]
)
def test_however_a_solver_fails_the_next_one_plans(failure, monkeypatch, caplog):
    def fail(*_, **__):
        raise failure

    expected = MPCController().optimize_horizon(_frame(), STATE)
    monkeypatch.setattr(PIQP, "solve_via_data", fail)
    answer = MPCController().optimize_horizon(_frame(), STATE)
    assert answer["solved"]
    assert answer["expected_cost_gbp"] == pytest.approx(expected["expected_cost_gbp"], abs=1e-3)
    assert "PIQP failed" in caplog.text


def test_an_optimum_that_is_no_number_is_none(monkeypatch):
    monkeypatch.setattr(cp.Problem, "value", property(lambda _: float("nan")))
    assert not MPCController().optimize_horizon(_frame(), STATE)["solved"]


def test_a_failed_solver_is_stood_in_for_by_the_last_plan_as_far_as_the_battery_can_do_it(monkeypatch):
    controller = MPCController()
    good = controller.optimize_horizon(_frame(), STATE)
    monkeypatch.setattr(controller._planners[1]._program, "_solvers", ("MOSEK",))
    answer = controller.optimize_horizon(_frame(), {"charge_fraction": good["charge_fraction"][0]})
    assert not answer["solved"]
    assert answer["power_kw"][:-1] == pytest.approx(good["power_kw"][1:], abs=1.0)
    assert answer["charge_fraction"][:-1] == pytest.approx(good["charge_fraction"][1:], abs=0.005)
    empty = controller.optimize_horizon(_frame(), {"charge_fraction": controller.battery.min_fraction})
    assert min(empty["charge_fraction"]) >= controller.battery.min_fraction - 1e-9
