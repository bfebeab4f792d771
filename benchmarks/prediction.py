"""Milliseconds per prediction of 48 leads, from a live table of 18 days: `python -m benchmarks.prediction FOLDER`.

Every forecaster of the imbalance price in its full size, fitted on 13 months of synthetic data. Fitting takes two
minutes, so what is fitted is kept in FOLDER: run it once to fit and once more, on a quiet machine, to measure. The
ensemble is measured with every member in use; one that learns its weights drops those that it does not need.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from data.schema import PERIODS_PER_DAY
from data.synthetic import generate
from forecasting.boosted import BoostedForecaster
from forecasting.deviation import DeviationForecaster
from forecasting.ensemble import LEAD_EDGES, EnsembleForecaster
from forecasting.forecast import Forecaster
from forecasting.lstm import LstmForecaster
from forecasting.persistence import PersistenceForecaster
from forecasting.prophet import ProphetForecaster
from forecasting.saved import load, save
from forecasting.seasonal_naive import SeasonalNaiveForecaster

COLUMN: Final = "imbalance_price_gbp_per_mwh"
LIVE: Final = 18 * PERIODS_PER_DAY  # rows
ROUNDS: Final = 200
ENSEMBLE: Final = ("deviation", "prophet", "lstm", "boosted")
FITS: Final = {
    "seasonal_naive": partial(SeasonalNaiveForecaster.fit, column=COLUMN),
    "deviation": DeviationForecaster.fit,
    "persistence": partial(PersistenceForecaster.fit, column=COLUMN),
    "prophet": partial(ProphetForecaster.fit, column=COLUMN),
    "lstm": partial(LstmForecaster.fit, column=COLUMN, epochs=1),  # of the size that more passes would have
    "boosted": partial(BoostedForecaster.fit, column=COLUMN),
}


def fitted(folder: Path, table: pd.DataFrame) -> dict[str, Forecaster]:
    """Every forecaster by name, from disk where it has been fitted before."""
    for name, fit in FITS.items():
        if not (folder / name).exists():
            save(fit(table), folder / name)
    found = {name: load(folder / name) for name in FITS}
    shares = (tuple(1.0 / len(ENSEMBLE) for _ in ENSEMBLE),) * (len(LEAD_EDGES) - 1)
    return {**found, "ensemble": EnsembleForecaster(COLUMN, tuple(found[name] for name in ENSEMBLE), shares)}


def prediction_ms(forecaster: Forecaster, table: pd.DataFrame) -> np.ndarray:
    """Time of one prediction at the end of a table that moves on by a half-hour each time, shape (ROUNDS,)."""
    times = []
    for end in range(LIVE, LIVE + ROUNDS + 1):
        live = table.iloc[end - LIVE : end]
        began = time.perf_counter()
        forecaster.predict(live, 0, slice(LIVE - 1, LIVE))
        times.append(1e3 * (time.perf_counter() - began))
    return np.array(times[1:])  # the first compiles and loads


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prediction", description=__doc__)
    parser.add_argument("folder", type=Path, help="keeps what is fitted")
    folder = parser.parse_args().folder
    table = generate("2022-01-01", "2023-03-01")
    rows = LIVE + ROUNDS + 1
    for name, forecaster in fitted(folder, table.iloc[:-rows]).items():
        median, p95 = np.percentile(prediction_ms(forecaster, table.iloc[-rows:]), [50.0, 95.0])
        print(f"{name}: median {median:.2f} ms, p95 {p95:.2f} ms")


if __name__ == "__main__":
    main()
