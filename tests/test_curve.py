"""A curve read off a fitted Prophet model is what Prophet itself predicts."""

import numpy as np
import pandas as pd
import pytest

from forecasting.curve import COUNTRY, Curve


@pytest.mark.filterwarnings("ignore")  # Prophet calls what the next pandas will drop
@pytest.mark.parametrize("growth", ["flat", "linear"])
def test_the_curve_is_what_prophet_predicts_with_regressors_at_zero(growth):
    from prophet import Prophet

    rng = np.random.default_rng(0)
    index = pd.date_range("2021-12-01", "2022-02-01", freq="2h")
    anchor = rng.normal(50.0, 9.0, len(index))
    values = 3.0 * anchor + 9.0 * np.sin(index.hour / 24.0 * 2.0 * np.pi) + 20.0 * (index.day == 25)
    values += np.abs(np.arange(len(index)) - 300.0) / 10.0 + rng.normal(size=len(index))  # a trend with a bend
    model = Prophet(growth=growth, daily_seasonality=True, yearly_seasonality=True, uncertainty_samples=0)
    model.add_country_holidays(COUNTRY)
    model.add_regressor("anchor")
    model.fit(pd.DataFrame({"ds": index, "y": values, "anchor": anchor}))
    # Before, in and after what it was fitted on: holidays that it knows and that it does not, moved ones too.
    wall = pd.date_range("2021-11-20", "2023-05-30", freq="90min")
    predicted = model.predict(pd.DataFrame({"ds": wall, "anchor": 0.0}))["yhat"].to_numpy()
    curve = Curve.of(model)
    assert len(curve.holidays) > 2
    assert np.ptp(predicted) > 10.0
    np.testing.assert_allclose(curve.values(wall), predicted, rtol=1e-9, atol=1e-7)


def test_an_hour_that_comes_twice_has_one_value():
    curve = Curve(0.0, 1.0, 0.5, ((10.0, -0.25),), (), (("Christmas Day", 7.0),))
    wall = pd.DatetimeIndex(["2023-10-29 01:30", "2023-10-29 01:30", "2023-12-25 12:00", "2023-12-26 12:00"])
    first, again, christmas, after = curve.values(wall)
    assert first == again
    assert christmas - after == pytest.approx(7.0 - 0.25)
