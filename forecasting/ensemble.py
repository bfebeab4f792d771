"""A weighted mean of forecasters, with weights per group of leads learnt where none of them had been fitted.

Quantiles are averaged level by level (Vincent averaging; Lichtendahl, Grushka-Cockayne and Winkler, Management
Science 59, 2013, 1594-1611), so they rise as those of every member do. The weights are not negative, sum to 1 and
minimise the pinball loss on the tail of the fitting table; what they give is then calibrated there, lead by lead.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize

from data.schema import PERIODS_PER_DAY
from forecasting import saved
from forecasting.conformal import corrections
from forecasting.forecast import LEADS, QUANTILES, Forecast, Forecaster, ahead
from forecasting.recent import published

logger = logging.getLogger(__name__)

LEAD_EDGES: Final = (0, 2, 6, 12, 24, LEADS)  # weights are shared between two edges
LEARNT: Final = "ensemble.json"
MEMBER: Final = "member_"
SMALLEST_SHARE: Final = 0.02  # smaller ones go to the others: they move no forecast and cost as much as large ones
TAIL_DAYS: Final = 120
MOST_SAMPLES: Final = 40_000  # forecasts a group's weights are learnt from: more change the third digit


class EnsembleForecaster(NamedTuple):
    """Fitted members and their weights.

    Attributes:
        column: Column of the table.
        members: What is averaged.
        weights: Share of each member by group of leads, shape (len(LEAD_EDGES) - 1, members).
        offsets: What calibration adds to each quantile by lead, shape (48, 7); none: not calibrated.
    """

    column: str
    members: tuple[Forecaster, ...]
    weights: tuple[tuple[float, ...], ...]
    offsets: tuple[tuple[float, ...], ...] = ((0.0,) * len(QUANTILES),) * LEADS

    @classmethod
    def fit(
        cls,
        table: pd.DataFrame,
        members: Mapping[str, Callable[[pd.DataFrame], Forecaster]],
        tail_days: int = TAIL_DAYS,
        refit: bool = True,
    ) -> Self:
        """Fit the members without the tail, learn the weights on it, then fit the members on everything.

        Args:
            table: A table holding nothing but what the forecaster may learn from.
            members: Makes each member from a table, by name; all of one column.
            tail_days: Days at the end that the weights are learnt on.
            refit: Fit the members a second time, tail included; else they stay as old as the tail is long.

        Raises:
            ValueError: There is no member, their columns differ, or the table is not longer than the tail.
        """
        tail = tail_days * PERIODS_PER_DAY
        if not members or len(table) <= tail:
            raise ValueError(
                f"{len(members)} members and {len(table)} rows; an ensemble needs one member or more and a table "
                f"longer than its tail of {tail} rows (tail_days={tail_days})"
            )
        fitted = _fitted(members, table.iloc[:-tail])
        columns = {one.column for one in fitted}
        if len(columns) > 1:
            raise ValueError(f"members forecast different columns, {sorted(columns)}; give all the same")
        column = columns.pop()
        # Rows before the tail are known history to a forecast made in it.
        last = slice(len(table) - tail, None)
        forecasts = [one.predict(table, rows=last) for one in fitted]
        truth = ahead(table[column].to_numpy(dtype=np.float64)).copy()
        truth[published(column, pd.DatetimeIndex(table.index))] = np.nan  # certain: nothing to learn from
        weights = learnt_weights(forecasts, truth[last])
        offsets = learnt_offsets(averaged(forecasts, weights), truth[last])
        for (low, high), row in zip(pairwise(LEAD_EDGES), weights, strict=True):
            shares = ", ".join(f"{name} {share:.2f}" for name, share in zip(members, row, strict=True))
            logger.info("ensemble of %s, leads %d to %d: %s", column, low, high - 1, shares)
        used = np.flatnonzero(weights.any(axis=0)).tolist()  # who has no share is neither fitted again nor asked
        weights, fitted = weights[:, used], [fitted[i] for i in used]
        if refit:
            fitted = _fitted(dict(list(members.items())[i] for i in used), table)
        return cls(column, tuple(fitted), *(tuple(tuple(row) for row in each.tolist()) for each in (weights, offsets)))

    def predict(self, table: pd.DataFrame, minute: int = 0, rows: slice = slice(None)) -> Forecast:
        """Forecast the column; see `forecasting.forecast.Forecaster`."""
        forecast = averaged([one.predict(table, minute, rows) for one in self.members], np.array(self.weights))
        unsure = ~published(self.column, pd.DatetimeIndex(table.index), minute)[rows]
        return calibrated(forecast, unsure[:, :, None] * np.array(self.offsets))

    def save(self, folder: Path) -> None:
        """Write what was learnt, and each member into a folder of its own; see `forecasting.saved`."""
        for i, one in enumerate(self.members):
            saved.save(one, folder / f"{MEMBER}{i}")
        told = {"column": self.column, "weights": self.weights, "offsets": self.offsets}
        (folder / LEARNT).write_text(json.dumps(told, allow_nan=False))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        told = json.loads((folder / LEARNT).read_text())
        weights, offsets = (tuple(map(tuple, told[key])) for key in ("weights", "offsets"))
        return cls(
            told["column"], tuple(saved.load(folder / f"{MEMBER}{i}") for i in range(len(weights[0]))), weights, offsets
        )


def month_by_month(
    forecasts: Sequence[Forecast], truth: NDArray[np.float64], index: pd.DatetimeIndex, validation: slice
) -> tuple[Forecast, NDArray[np.float64]]:
    """The ensemble of forecasts made before, learnt anew for each month that follows validation.

    A month has weights and calibration of the `TAIL_DAYS` before it, as far as their outcomes were published by then;
    each half of validation has those of the other half.

    Args:
        forecasts: Each of n rows, by models that were fitted on none of them.
        truth: What came, NaN where unknown or of no interest, shape (n, 48).
        index: Start of each row's period, UTC, shape (n,).
        validation: Rows to choose on; what lies before it is not forecast.

    Returns:
        The forecasts, NaN before validation, and the weights of the last month.
    """
    middle = (validation.start + validation.stop) // 2
    halves = slice(validation.start, middle), slice(middle, validation.stop)
    month = (index.year * 12 + index.month).to_numpy()
    later = (i for i in np.flatnonzero(np.diff(month)) + 1 if i > validation.stop)
    months = [
        (slice(max(first - TAIL_DAYS * PERIODS_PER_DAY, 0), first - 2 * LEADS), slice(first, stop))
        for first, stop in pairwise([validation.stop, *later, len(index)])
        if first < stop
    ]
    mean, quantiles = (np.full_like(values, np.nan) for values in forecasts[0])
    for learnt_on, used_on in (halves, halves[::-1], *months):
        before = [each.rows(learnt_on) for each in forecasts]
        weights = learnt_weights(before, truth[learnt_on])
        offsets = learnt_offsets(averaged(before, weights), truth[learnt_on])
        used = calibrated(averaged([each.rows(used_on) for each in forecasts], weights), offsets)
        mean[used_on], quantiles[used_on] = used
    return Forecast(mean, quantiles), weights


def averaged(forecasts: Sequence[Forecast], weights: NDArray[np.float64]) -> Forecast:
    """The weighted mean of forecasts; a member without a number leaves its share to the others.

    Args:
        forecasts: Each of n rows.
        weights: Shape (groups, members).
    """
    by_lead = np.repeat(weights, np.diff(LEAD_EDGES), axis=0)  # (48, members)
    n = len(forecasts[0].mean)
    mean, quantiles = np.zeros((n, LEADS)), np.zeros((n, LEADS, len(QUANTILES)))
    total = np.zeros((n, LEADS))
    for forecast, share in zip(forecasts, by_lead.T, strict=True):
        there = np.isfinite(forecast.mean) * share
        total += there
        mean += there * np.nan_to_num(forecast.mean)
        quantiles += there[:, :, None] * np.nan_to_num(forecast.quantiles)
    total = np.where(total > 0.0, total, np.nan)
    return Forecast((mean / total).astype(np.float32), (quantiles / total[:, :, None]).astype(np.float32))


def learnt_weights(forecasts: Sequence[Forecast], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights on the simplex that minimise the pinball loss by group of leads.

    Args:
        forecasts: One per member, of n rows none of them was fitted on.
        truth: What came, NaN where unknown or of no interest, shape (n, 48).

    Returns:
        Shape (groups, members), no share below `SMALLEST_SHARE` but 0; equal shares where a group has nothing to
        learn from.
    """
    weights = np.full((len(LEAD_EDGES) - 1, len(forecasts)), 1.0 / len(forecasts))
    for group, (low, high) in enumerate(pairwise(LEAD_EDGES)):
        came = truth[:, low:high].ravel()
        said = np.stack([f.quantiles[:, low:high].reshape(-1, len(QUANTILES)) for f in forecasts], axis=2)
        whole = np.flatnonzero(np.isfinite(came) & np.isfinite(said).all(axis=(1, 2)))
        if whole.size:
            chosen = whole[:: -(-whole.size // MOST_SAMPLES)]
            weights[group] = _on_simplex(came[chosen], said[chosen].astype(np.float64))
    return weights


def learnt_offsets(forecast: Forecast, truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """What to add to each quantile by lead so that it holds, shape (48, 7).

    Args:
        forecast: Of n rows.
        truth: What came, NaN where unknown or of no interest, shape (n, 48).
    """
    quantiles = forecast.quantiles.astype(np.float64)
    there = np.where(np.isfinite(quantiles).all(axis=2), truth, np.nan)
    return np.stack([corrections(there[:, lead], quantiles[:, lead], QUANTILES) for lead in range(LEADS)])


def calibrated(forecast: Forecast, offsets: NDArray[np.float64]) -> Forecast:
    """The forecast with its quantiles moved, shape (48, 7) or (n, 48, 7), and in order."""
    return Forecast(forecast.mean, np.sort(forecast.quantiles + offsets, axis=2).astype(np.float32))


def _on_simplex(came: NDArray[np.float64], said: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of members, given outcomes (m,) and their quantiles (m, 7, members)."""
    levels = np.array(QUANTILES)
    unit = float(np.mean(np.abs(came - np.median(came)))) or 1.0  # so that the solver's tolerances fit any column

    def loss_and_slope(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        error = came[:, None] - said @ weights
        side = np.where(error > 0.0, levels, levels - 1.0)
        slope = -np.einsum("iq,iqm->m", side, said) / error.size
        return float((side * error).mean()) / unit, slope / unit

    members = said.shape[2]
    found = minimize(
        loss_and_slope,
        np.full(members, 1.0 / members),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like},
        options={"maxiter": 200, "ftol": 1e-9},
    )
    weights = np.where(found.x < SMALLEST_SHARE, 0.0, found.x)
    return np.asarray(weights / weights.sum())


def _fitted(members: Mapping[str, Callable[[pd.DataFrame], Forecaster]], table: pd.DataFrame) -> list[Forecaster]:
    fitted = []
    for name, make in members.items():
        logger.info("ensemble: fitting %s on %d rows", name, len(table))
        fitted.append(make(table))
    return fitted
