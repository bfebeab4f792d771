"""Prophet: a curve of trend, yearly, weekly and daily seasons and GB holidays, moved by what it last missed.

Taylor and Letham, Forecasting at Scale, The American Statistician 72 (2018) 37-45, through the package `prophet`.
The fitted curve says nothing of yesterday, so every forecast adds what is left of three known residuals (value less
curve): the newest, that of the same half-hour a day before, and the mean of the last week. Each has one weight per
age of the newest residual, found by least squares on the table that the curve is fitted on. The curve is a function
of local time alone (`forecasting.curve`) and is evaluated once per half-hour, so forecasting from thousands of rows
costs one evaluation. A curve ages; refit it by fitting again on a longer table.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.calendar import LOCAL_TIME_ZONE, PERIOD
from data.publication import carried_forward, known_rows
from data.schema import PERIODS_PER_DAY
from forecasting.curve import COUNTRY, Curve
from forecasting.forecast import LEADS, QUANTILES, Forecast, around, error_quantiles
from forecasting.recent import ANCHORS, OUTLIERS, WEEK, at_rows, published, week_mean
from forecasting.seasonal_naive import again, season_again

Growth = Literal["flat", "linear"]
ANCHOR: Final = "anchor"  # regressor of the curve: the value of the column that this one scatters around
OLDEST_AGE: Final = LEADS + 2  # the newest value published by every lagged rule is at most this much older
FIT_EVERY: Final = 2  # rows; no season of the curve is finer than hours, and half the rows fit twice as fast


class ProphetForecaster(NamedTuple):
    """A fitted curve and the weights of its known residuals.

    Attributes:
        column: Column of the table.
        curve: What Prophet learnt, with an anchor of 0.
        anchor_weight: What a unit of the anchor's value adds to the curve; 0 without an anchor.
        low: Values below are outliers; fitted on the same table.
        high: Values above are outliers.
        weights: Of the newest, day-before and week-mean residual by age in periods, shape (OLDEST_AGE + 1, 3).
        offsets: Distance of each quantile from the mean by lead, in week-mean absolute residuals, shape (48, 7).
    """

    column: str
    curve: Curve
    anchor_weight: float
    low: float
    high: float
    weights: tuple[tuple[float, ...], ...] = ((0.0, 0.0, 0.0),) * (OLDEST_AGE + 1)
    offsets: tuple[tuple[float, ...], ...] = ((0.0,) * len(QUANTILES),) * LEADS

    @classmethod
    def fit(cls, table: pd.DataFrame, column: str, growth: Growth = "flat", days: int | None = None) -> Self:
        """Fit the curve, then the weights of its residuals, then the quantiles of what is left.

        Args:
            table: A table holding nothing but what the forecaster may learn from; gaps are left out.
            column: What to forecast.
            growth: Trend of the curve: none, or linear between 25 change points (20 times slower to fit).
            days: Fit on the last so many days only.

        Raises:
            ValueError: The table holds less than two weeks of values.
        """
        table = table if days is None else table.iloc[-days * PERIODS_PER_DAY :]
        values = table[column].to_numpy(dtype=np.float64)
        if np.isfinite(values).sum() < 2 * WEEK:
            raise ValueError(
                f"{column} has {int(np.isfinite(values).sum())} values in {len(table)} rows; Prophet needs {2 * WEEK}, "
                "two weeks of half-hours, or more"
            )
        low, high = (float(bound) for bound in np.nanquantile(values, (OUTLIERS, 1.0 - OUTLIERS)))
        curve, anchor_weight = _fitted_curve(table, column, np.clip(values, low, high), growth)
        fitted = cls(column, curve, anchor_weight, low, high)
        residuals = fitted._residuals(table, fitted._curve(table))
        fitted = fitted._replace(weights=tuple(tuple(row) for row in _residual_weights(residuals).tolist()))
        mean = fitted.predict(table).mean
        mean[published(column, pd.DatetimeIndex(table.index))] = np.nan  # certain: no error to learn from
        scale = _scale(residuals, known_rows(column, pd.DatetimeIndex(table.index)))
        offsets = error_quantiles(values, mean, np.maximum(scale, 1e-9))
        return fitted._replace(offsets=tuple(tuple(row) for row in offsets.tolist()))

    def predict(self, table: pd.DataFrame, minute: int = 0, rows: slice = slice(None)) -> Forecast:
        """Forecast the column; see `forecasting.forecast.Forecaster`."""
        index = pd.DatetimeIndex(table.index)
        known = known_rows(self.column, index, minute)
        curve = self._curve(table)
        residuals = self._residuals(table, curve)
        newest = known[rows] - 1
        left = np.stack(
            [
                np.repeat(at_rows(carried_forward(residuals), newest)[:, None], LEADS, axis=1),
                again(residuals, known, PERIODS_PER_DAY)[rows],
                np.repeat(at_rows(week_mean(residuals), newest)[:, None], LEADS, axis=1),
            ],
            axis=2,
        )
        ahead_rows = np.arange(len(index))[rows, None] + np.arange(LEADS)
        age = np.clip(ahead_rows - newest[:, None], 0, OLDEST_AGE)
        mean = curve[ahead_rows] + self._anchored(table, minute)[rows]
        mean += (np.nan_to_num(left) * np.array(self.weights)[age]).sum(axis=2)
        certain = ahead_rows <= newest[:, None]
        mean = np.where(certain, season_again(table, self.column, minute)[rows], mean)
        mean[newest < 0] = np.nan
        spread = np.nan_to_num(_scale(residuals, known)[rows])[:, None, None] * np.array(self.offsets)
        return around(mean.astype(np.float32), ~certain[:, :, None] * spread)

    def _curve(self, table: pd.DataFrame) -> NDArray[np.float64]:
        """The curve with an anchor of 0, over a table and the 47 half-hours after it, shape (n + 47,)."""
        longer = pd.date_range(table.index[0], periods=len(table) + LEADS - 1, freq=PERIOD)
        return self.curve.values(_local(longer))

    def _anchored(self, table: pd.DataFrame, minute: int) -> NDArray[np.float64]:
        """What the anchor adds to the curve, shape (n, 48)."""
        if self.column not in ANCHORS:
            return np.zeros((len(table), LEADS))
        return self.anchor_weight * season_again(table, ANCHORS[self.column], minute).astype(np.float64)

    def _residuals(self, table: pd.DataFrame, curve: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each row's value, outliers moved to the bounds, less the curve there, shape (n,)."""
        values = np.clip(table[self.column].to_numpy(dtype=np.float64), self.low, self.high)
        residuals = np.asarray(values - curve[: len(table)])
        if self.column in ANCHORS:
            residuals -= self.anchor_weight * table[ANCHORS[self.column]].to_numpy(dtype=np.float64)
        return residuals


def _scale(residuals: NDArray[np.float64], known: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean distance of the last known week's residuals from their mean at every row, shape (n,)."""
    return at_rows(week_mean(np.abs(residuals - week_mean(residuals))), known - 1)


def _fitted_curve(table: pd.DataFrame, column: str, values: NDArray[np.float64], growth: Growth) -> tuple[Curve, float]:
    """The fitted curve, and the weight of the anchor."""
    logging.getLogger("prophet.plot").setLevel(logging.CRITICAL)  # it misses a plotting package that nobody uses here
    from prophet import Prophet
    from prophet.utilities import regressor_coefficients

    model = Prophet(growth=growth, daily_seasonality=True, weekly_seasonality=True, uncertainty_samples=0)
    logging.getLogger("cmdstanpy").setLevel(logging.WARNING)  # it tells of every chain
    model.add_country_holidays(COUNTRY)
    frame = pd.DataFrame({"ds": _local(pd.DatetimeIndex(table.index)), "y": values})
    if column in ANCHORS:
        model.add_regressor(ANCHOR)
        frame[ANCHOR] = table[ANCHORS[column]].to_numpy(dtype=np.float64)
    with _quiet():
        model.fit(frame.dropna().iloc[::FIT_EVERY])
        weight = float(regressor_coefficients(model)["coef"].iloc[0]) if column in ANCHORS else 0.0
        return Curve.of(model), weight


@contextmanager
def _quiet() -> Iterator[None]:
    """Prophet calls what the next pandas will drop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _local(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Wall-clock time: people and prices follow it, and Prophet takes no time zone."""
    return index.tz_convert(LOCAL_TIME_ZONE).tz_localize(None)


def _residual_weights(residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares weights of the three known residuals by age of the newest, shape (OLDEST_AGE + 1, 3)."""
    newest, week = carried_forward(residuals), week_mean(residuals)
    weights = np.zeros((OLDEST_AGE + 1, 3))
    for age in range(1, OLDEST_AGE + 1):
        day = -(-age // PERIODS_PER_DAY) * PERIODS_PER_DAY
        known = np.column_stack([newest[day - age : -age], residuals[:-day], week[day - age : -age]])
        now = residuals[day:]
        whole = np.isfinite(known).all(axis=1) & np.isfinite(now)
        weights[age] = np.linalg.lstsq(known[whole], now[whole], rcond=None)[0]
    return weights
