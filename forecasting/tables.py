"""Forecasts of a whole table made once and kept: refitted as time goes on, never made by a model that saw the answer.

Rows of the training split are forecast by models fitted on the rest of it, block by block, so that a learner never
trains on forecasts that remember. Later rows are forecast by the model that was newest then: fitted on everything
published by the first of its months. Each finished block stays on disk, so an interrupted run goes on from there.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.lib.format import open_memmap

from data import splits
from data.load import table_hash
from data.publication import hide_unpublished
from forecasting.forecast import LEADS, QUANTILES, Forecast, Forecaster
from forecasting.saved import load, save

logger = logging.getLogger(__name__)

FORMAT: Final = 2  # part of the key: raise it when a fitted forecaster would forecast or be written differently
FOLD_MONTHS: Final = 6  # of a block of the training split
SHAPES: Final = {"mean": (LEADS,), "quantiles": (LEADS, len(QUANTILES))}
NEWEST: Final = "newest"

Fit = Callable[[pd.DataFrame], Forecaster]


class TabledForecaster(NamedTuple):
    """Forecasts of one table, read from memory-mapped files.

    Attributes:
        column: What was forecast.
        data_hash: `data.load.table_hash` of the table.
        folder: Holds `mean_<minute>.npy` and `quantiles_<minute>.npy`.
    """

    column: str
    data_hash: str
    folder: Path

    def predict(self, table: pd.DataFrame, minute: int = 0, rows: slice = slice(None)) -> Forecast:
        """The kept forecasts; see `forecasting.forecast.Forecaster`.

        Raises:
            ValueError: They were made for another table or another minute.
        """
        found = table_hash(table)
        if found != self.data_hash:
            raise ValueError(
                f"forecasts were made for the table {self.data_hash[:12]}, not {found[:12]}; make them anew"
            )
        files = {name: self.folder / f"{name}_{minute}.npy" for name in SHAPES}
        if not files["mean"].is_file():
            raise ValueError(f"no forecasts were made for decisions at minute {minute}; make them anew with it")
        return Forecast(**{name: np.load(file, mmap_mode="r")[rows] for name, file in files.items()})


class Block(NamedTuple):
    """Rows first .. stop - 1 of a table, forecast by one model.

    Attributes:
        first: First row.
        stop: Row after the last.
        within: Rows of the training split the model is fitted on, less the block; None: everything before the block.
    """

    first: int
    stop: int
    within: int | None


def walk_forward(
    fit: Fit,
    table: pd.DataFrame,
    settings: Any,
    folder: Path,
    refit_months: int = 1,
    minutes: Sequence[int] = (0,),
) -> tuple[TabledForecaster, Forecaster]:
    """Forecast every row of a table, or find that this has been done.

    Args:
        fit: Makes a forecaster from a table.
        table: A checked grid table.
        settings: What `fit` was configured with, JSON-ready; forecasts are kept under it, the data and the blocks.
        folder: Forecasts of each key have a folder in here.
        refit_months: Months that one model serves after the training split.
        minutes: When in a period decisions fall.

    Returns:
        The kept forecasts, and the newest model for whatever comes after.
    """
    data_hash, walk = table_hash(table), blocks(pd.DatetimeIndex(table.index), refit_months)
    key = json.dumps([FORMAT, data_hash, settings, walk, list(minutes)], sort_keys=True)
    home = folder / hashlib.sha256(key.encode()).hexdigest()[:16]
    home.mkdir(parents=True, exist_ok=True)
    files = {
        (name, minute): _opened(home / f"{name}_{minute}.npy", (len(table), *shape))
        for name, shape in SHAPES.items()
        for minute in minutes
    }
    forecaster: Forecaster | None = None
    for number, block in enumerate(walk, 1):
        done = home / f"{block.first}.done"
        if done.exists():
            continue
        first, last = table.index[block.first], table.index[block.stop - 1]
        logger.info(
            "fitting what forecasts %s to %s (%d of %d)", f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}", number, len(walk)
        )
        forecaster = fit(fitting_table(table, block))
        rows = slice(block.first, block.stop)
        for minute in minutes:
            for name, values in forecaster.predict(table, minute, rows)._asdict().items():
                files[name, minute][rows] = values
                files[name, minute].flush()
        if block == walk[-1]:
            save(forecaster, home / NEWEST)
        done.touch()
    newest = load(home / NEWEST)
    return TabledForecaster(newest.column, data_hash, home), newest


def blocks(index: pd.DatetimeIndex, refit_months: int) -> list[Block]:
    """Cut a table into blocks of half-years within the training split and of `refit_months` after it.

    Raises:
        ValueError: A model serves less than a month.
    """
    if refit_months < 1:
        raise ValueError(f"a model serves {refit_months} months; at least 1 is needed")
    end = int(index.searchsorted(pd.Timestamp(splits.SPLITS["train"].end, tz="UTC")))
    month = index.year.to_numpy() * 12 + index.month.to_numpy() - 1
    train, later = (
        (month[:end] - month[0]) // FOLD_MONTHS,
        (month[end:] - month[min(end, len(index) - 1)]) // refit_months,
    )
    starts = [*np.flatnonzero(np.diff(train, prepend=-1)), *(end + np.flatnonzero(np.diff(later, prepend=-1)))]
    stops = [*starts[1:], len(index)]
    return [
        Block(int(first), int(stop), end if first < end else None) for first, stop in zip(starts, stops, strict=True)
    ]


def fitting_table(table: pd.DataFrame, block: Block) -> pd.DataFrame:
    """What the model of a block may learn from; within the training split the block itself is a gap."""
    if block.within is None:
        return hide_unpublished(table, block.first).iloc[: block.first]
    train = table.iloc[: block.within].copy()
    train.iloc[block.first : block.stop] = np.nan
    return train


def _opened(file: Path, shape: tuple[int, ...]) -> "np.memmap[Any, np.dtype[np.float32]]":
    if file.exists():
        return open_memmap(file, mode="r+")
    part = open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
    part[:] = np.nan
    return part
