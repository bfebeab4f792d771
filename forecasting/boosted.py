"""Gradient-boosted quantile forecasts of any column, for every lead directly.

A column is forecast as the difference to its level: what is known without a model (the day-ahead price, the same
half-hour of the day before). The difference, over its usual size, is regressed on `forecasting.features` by LightGBM
(Ke et al. 2017), once for the mean and once for each quantile; near leads have a model of their own, far ones share
theirs. The newest part of the training rows is kept from the quantile models to calibrate them
(`forecasting.conformal`). Sorting keeps the quantiles from crossing (Chernozhukov et al. 2010).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.publication import carried_forward
from data.schema import PERIOD_H, PERIODS_PER_DAY
from forecasting import features
from forecasting.conformal import corrections
from forecasting.features import Feature, matrix
from forecasting.forecast import LEADS, QUANTILES, Forecast
from forecasting.known import Array, Known
from forecasting.regimes import Regimes
from forecasting.trees import Forest

if TYPE_CHECKING:
    import lightgbm as lgb

GROUPS: Final = ((0,), (1,), (2,), (3,), tuple(range(4, 8)), tuple(range(8, 16)), tuple(range(16, LEADS)))
WARM_UP: Final = 14 * PERIODS_PER_DAY  # rows without the history that features need
CALIBRATION_SHARE: Final = 0.2  # newest part of the rows, kept from the quantile models
CLIP: Final = 3.0  # usual sizes: beyond it the mean learns that it was a spike, not how high
QUANTILE_CLIP: Final = 10.0
MEAN_ROUNDS: Final = 300
QUANTILE_ROUNDS: Final = 300
SETTINGS: Final[dict[str, Any]] = {
    "learning_rate": 0.03,
    "num_leaves": 31,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "max_bin": 63,
    "num_threads": 1,
    "deterministic": True,
    "seed": 0,
    "verbosity": -1,
}
FAR_LEAD: Final = 4
FADING_H: Final = 12.0
FEW_ROWS: Final = 100
DESCRIPTION: Final = "boosted.json"
TREES: Final = "trees.npz"


class Target(NamedTuple):
    """How a column is forecast.

    Attributes:
        features: What its models read.
        level: What is known of it without a model, shape (m, L).
        scale: Usual size of what is left, shape (m, 1).
        far_share: Share of the expected difference that the mean keeps from lead 4 on.
    """

    features: tuple[Feature, ...]
    level: Callable[[Known], Array]
    scale: Callable[[Known], Array]
    far_share: float = 1.0


def _persistent(column: str, scale: float, *tables: Sequence[Feature]) -> Target:
    """A slow column: the same half-hour of the last day known, moved by a fading part of how today differs from it."""

    def level(k: Known) -> Array:
        values = carried_forward(k.column(column))
        before = np.concatenate([np.full(PERIODS_PER_DAY, np.nan), values])[: values.size]
        age_h = (k.ahead_rows - k.known(column) + 1) * PERIOD_H
        difference = np.nan_to_num(k.newest(values - before, column))
        return k.earlier(values, column) + difference * np.exp(-age_h / FADING_H)

    chosen = {feature.name: feature for table in tables for feature in table}
    return Target(tuple(chosen.values()), level, lambda k: np.full(k.rows.shape, scale))


CARBON: Final = (*features.CALENDAR, *features.DAY_AHEAD_PRICE, *features.SYSTEM_FORECASTS, *features.SYSTEM_STATE)
WEATHER: Final = (*features.CALENDAR, *features.WEATHER_MEMORY)
TARGETS: Final[dict[str, Target]] = {
    # A plan on the whole expected deviation bets on its far end too often: 0.6 of it earned most on validation.
    features.IMBALANCE: Target(features.PRICE, features.price_level, features.scale, far_share=0.6),
    features.DAY_AHEAD: Target(features.PRICE, features.price_level, features.scale),
    features.CARBON: _persistent(features.CARBON, 30.0, CARBON, features.CARBON_MEMORY),
    features.TEMPERATURE: _persistent(features.TEMPERATURE, 2.0, WEATHER),
    features.WET_BULB: _persistent(features.WET_BULB, 2.0, WEATHER),
}


class LeadModel(NamedTuple):
    """The models of a group of leads.

    Attributes:
        leads: Half-hours ahead.
        forest: Eight models of the difference to the level, in usual sizes: its mean and each of `QUANTILES`.
        corrections: Calibration of each quantile by lead, shape (leads, 7), in usual sizes.
        gain: What splits on each feature took off the squared loss of the mean, shape (features,).
    """

    leads: tuple[int, ...]
    forest: Forest
    corrections: Array
    gain: Array


@dataclass(frozen=True)
class BoostedForecaster:
    """Boosted trees for one column; `fit` makes one.

    Attributes:
        column: What is forecast.
        regimes: Market regimes, a feature.
        models: One model per group of leads, by the minute at which the decision falls. A lead at which everything
            is published has none.
    """

    column: str
    regimes: Regimes
    models: dict[int, tuple[LeadModel, ...]]

    @classmethod
    def fit(
        cls,
        table: pd.DataFrame,
        column: str,
        minutes: Sequence[int] = (0,),
        mean_rounds: int = MEAN_ROUNDS,
        quantile_rounds: int = QUANTILE_ROUNDS,
    ) -> Self:
        """Fit every group of leads.

        Args:
            table: A checked grid table holding nothing but the training split.
            column: What to forecast, a key of `TARGETS`.
            minutes: When in a period decisions fall; at another minute the newest model before it answers.
            mean_rounds: Trees of each mean.
            quantile_rounds: Trees of each quantile.

        Raises:
            ValueError: The column cannot be forecast, or the table is too short.
        """
        if column not in TARGETS:
            raise ValueError(f"cannot forecast {column!r}; allowed are {sorted(TARGETS)}")
        if len(table) < 2 * WARM_UP:
            raise ValueError(f"{len(table)} rows to fit {column} on; at least {2 * WARM_UP} (4 weeks) are needed")
        regimes = Regimes.fit(table)
        models = {}
        for minute in minutes:
            known = Known(table, minute, np.arange(len(table)), regimes)
            rounds = (mean_rounds, quantile_rounds)
            found = (_fit(TARGETS[column], known, column, leads, rounds) for leads in GROUPS)
            models[minute] = tuple(model for model in found if model is not None)
        return cls(column, regimes, models)

    def predict(self, table: pd.DataFrame, minute: int = 0, rows: slice = slice(None)) -> Forecast:
        """Forecast the column; see `forecasting.forecast.Forecaster`.

        Raises:
            ValueError: No model was fitted for a decision at or before this minute.
        """
        fitted = [each for each in self.models if each <= minute]
        if not fitted:
            raise ValueError(f"no model for a decision at minute {minute}; fitted are {sorted(self.models)}")
        decided = np.arange(len(table))[rows]
        known = Known(table, minute, decided, self.regimes)
        level = TARGETS[self.column].level(known.asking(np.arange(LEADS)))
        mean = level.astype(np.float32)
        quantiles = np.repeat(mean[:, :, None], len(QUANTILES), axis=2)  # all that leads without a model need
        models = self.models[max(fitted)]
        for leads in _portions(np.array([lead for model in models for lead in model.leads]), decided.size):
            inputs = matrix(TARGETS[self.column].features, known.asking(leads))
            for model in models:
                here = np.isin(leads, model.leads)
                if here.any():
                    at = leads[here]
                    asked = known.asking(at)
                    mean[:, at], quantiles[:, at] = self._at_leads(asked, model, level[:, at], inputs[:, here])
        return Forecast(mean, quantiles)

    def _at_leads(self, k: Known, model: LeadModel, level: Array, inputs: NDArray[np.float32]) -> tuple[Array, Array]:
        """Mean (m, L) and quantiles (m, L, 7) in the column's unit; a value that is public already is certain.

        Args:
            k: What is known, asking about leads of the model.
            model: The model.
            level: What is known of them without a model, shape (m, L).
            inputs: Its features, shape (m, L, features).
        """
        target = TARGETS[self.column]
        scale = target.scale(k)
        share = np.where(k.leads >= FAR_LEAD, target.far_share, 1.0)
        expected = model.forest.predict(inputs.reshape(-1, inputs.shape[2])).reshape(*inputs.shape[:2], -1)
        mean = level + scale * share * expected[:, :, 0]
        spread = expected[:, :, 1:] + model.corrections[np.searchsorted(model.leads, k.leads)]
        quantiles = np.sort(level[:, :, None] + scale[:, :, None] * spread, axis=2)
        public = k.ahead(k.column(self.column), self.column)
        certain = np.isfinite(public)
        return np.where(certain, public, mean), np.where(certain[:, :, None], public[:, :, None], quantiles)

    def importance(self) -> dict[str, float]:
        """Share of the loss that splits on each feature took off in the models of the mean, by name; sums to 1."""
        gains = np.sum([model.gain / model.gain.sum() for models in self.models.values() for model in models], axis=0)
        names = [feature.name for feature in TARGETS[self.column].features]
        return dict(zip(names, (gains / gains.sum()).tolist(), strict=True))

    def save(self, folder: Path) -> None:
        """Write the trees as arrays and the rest as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, NDArray[Any]] = {}
        for minute, models in self.models.items():
            for model in models:
                prefix = _prefix(minute, model.leads[0])
                arrays |= model.forest.arrays(prefix)
                arrays |= {f"{prefix}corrections": model.corrections, f"{prefix}gain": model.gain}
        np.savez_compressed(folder / TREES, allow_pickle=False, **arrays)
        description = {
            "column": self.column,
            "features": [feature.name for feature in TARGETS[self.column].features],
            "regimes": self.regimes._asdict(),
            "leads": {str(minute): [list(model.leads) for model in models] for minute, models in self.models.items()},
        }
        (folder / DESCRIPTION).write_text(json.dumps(description, allow_nan=False))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ValueError: It was saved with other features.
        """
        description = json.loads((folder / DESCRIPTION).read_text())
        column = description["column"]
        names = [feature.name for feature in TARGETS[column].features] if column in TARGETS else []
        if description["features"] != names:
            raise ValueError(f"the forecaster of {column} in {folder} was fitted on other features; fit it again")
        models = {}
        with np.load(folder / TREES, allow_pickle=False) as arrays:
            for minute, groups in description["leads"].items():
                models[int(minute)] = tuple(_read(arrays, int(minute), tuple(leads)) for leads in groups)
        return cls(column, Regimes.from_json(description["regimes"]), models)


def _portions(leads: NDArray[np.int64], rows: int) -> list[NDArray[np.int64]]:
    """Two leads at a time over a long table, to save memory; all at once for few decisions, to save calls."""
    return np.array_split(leads, -(-leads.size // 2) if rows > FEW_ROWS else 1) if leads.size else []


def _prefix(minute: int, lead: int) -> str:
    return f"minute_{minute}_lead_{lead}_"


def _read(arrays: Mapping[str, NDArray[Any]], minute: int, leads: tuple[int, ...]) -> LeadModel:
    prefix = _prefix(minute, leads[0])
    return LeadModel(leads, Forest.from_arrays(arrays, prefix), arrays[f"{prefix}corrections"], arrays[f"{prefix}gain"])


def _fit(
    target: Target, known: Known, column: str, leads: tuple[int, ...], rounds: tuple[int, int]
) -> LeadModel | None:
    """Fit one group of leads: the mean on every row, the quantiles on the older ones, their corrections on the rest.

    None if nothing is left to forecast.
    """
    inputs, outcomes, rows = [], [], []
    values = known.column(column)
    drawn = np.random.default_rng(leads[0]).integers(0, len(leads), values.size)  # one lead a row is enough
    for i, lead in enumerate(leads):
        k = known.asking(np.array([lead]))
        truth = np.append(values[lead:], np.full(min(lead, values.size), np.nan))[:, None]
        truth[np.isfinite(k.ahead(values, column))] = np.nan  # what is public is not forecast
        outcome = ((truth - target.level(k)) / target.scale(k))[:, 0]
        mine = (drawn == i) & np.isfinite(outcome) & (np.arange(values.size) >= WARM_UP)
        inputs.append(matrix(target.features, k)[mine, 0])
        outcomes.append(outcome[mine])
        rows.append(np.flatnonzero(mine))
    order = np.argsort(np.concatenate(rows), kind="stable")
    x, y, row = np.concatenate(inputs)[order], np.concatenate(outcomes)[order], np.concatenate(rows)[order]
    # Outcomes of older rows must not reach into the rows that calibrate.
    split = round(values.size * (1.0 - CALIBRATION_SHARE))
    old, new = row < split - LEADS, row >= split
    if not old.any():
        return None
    mean = _train(x, np.clip(y, -CLIP, CLIP), rounds[0], objective="regression")
    clipped = np.clip(y, -QUANTILE_CLIP, QUANTILE_CLIP)
    quantiles = [_train(x[old], clipped[old], rounds[1], objective="quantile", alpha=level) for level in QUANTILES]
    forest = Forest.of([mean, *quantiles])
    predicted = forest.predict(x[new])[:, 1:]
    asked = np.concatenate([np.full(len(r), lead) for r, lead in zip(rows, leads, strict=True)])[order][new]
    moved = [corrections(y[new][asked == lead], predicted[asked == lead], QUANTILES) for lead in leads]
    gain = np.asarray(mean.feature_importance("gain"), dtype=np.float64)
    return LeadModel(leads, forest, np.array(moved), gain)


def _train(x: NDArray[np.float32], y: Array, rounds: int, **settings: Any) -> "lgb.Booster":
    import lightgbm as lgb  # a fitted forecaster does without

    return lgb.train({**SETTINGS, **settings}, lgb.Dataset(x, y), rounds)
