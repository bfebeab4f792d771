import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import baseline
from models.baseline import BaselineRules


def lane(rules, kw=0.0):
    made = np.zeros(1, baseline.LANE)[0]
    baseline.reset(rules, made, kw)
    return made


@pytest.mark.parametrize(("rules", "expected"), [(BaselineRules(5, 3), 335 / 3), (BaselineRules(5, 5), 105.0)])
def test_worked_examples(rules, expected):
    """History 100, 110, 90, 120, 105: the three highest of five average 111.67, all five 105."""
    days = lane(rules)
    for day, kw in enumerate((100.0, 110.0, 90.0, 120.0, 105.0)):
        baseline.record(rules, days, 48 * day + 7, kw)
    assert baseline.baseline_kw(rules, days, 48 * 5 + 7) == pytest.approx(expected)
    assert baseline.baseline_kw(rules, days, 48 * 5 + 8) == 0.0


@settings(deadline=None)
@given(st.integers(1, 10), st.data())
def test_it_is_the_mean_of_the_highest_of_the_last_days(days, data):
    rules = BaselineRules(days, data.draw(st.integers(1, days)))
    history = data.draw(st.lists(st.floats(0.0, 1e4, width=32), min_size=days, max_size=30))
    made = lane(rules)
    for day, kw in enumerate(history):
        baseline.record(rules, made, 48 * day, kw)
    expected = np.sort(history[-days:])[-rules.highest :].mean()
    assert baseline.baseline_kw(rules, made, 0) == pytest.approx(expected, rel=1e-5, abs=1e-3)


def test_raising_the_load_before_an_event_raises_the_baseline_and_an_event_day_does_not_lower_it():
    rules = BaselineRules(10, 10)
    made = lane(rules, 400.0)
    baseline.record(rules, made, 34, 500.0)
    assert baseline.baseline_kw(rules, made, 34) == pytest.approx(410.0)


@pytest.mark.parametrize(
    ("sold", "delivered", "paid", "charged"),
    [(200.0, 200.0, 15.0, 0.0), (200.0, 350.0, 15.0, 0.0), (200.0, 150.0, 11.25, -5.625), (200.0, -50.0, 0.0, -22.5)],
)
def test_delivery_by_hand(sold, delivered, paid, charged):
    """150 GBP/MWh, half an hour, one and a half times the price for what is missing."""
    assert baseline.delivery_gbp(sold, 150.0, delivered, 1.5, 0.5) == pytest.approx((paid, charged))


@pytest.mark.parametrize("rules", [BaselineRules(0, 0), BaselineRules(5, 6), BaselineRules(11, 5), BaselineRules(5, 0)])
def test_rules_out_of_range_are_refused(rules):
    with pytest.raises(ValueError, match="highest"):
        baseline.checked(rules)
