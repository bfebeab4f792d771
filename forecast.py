"""Backtest every forecaster on every target: `python forecast.py --help`."""

import hashlib
import json
import logging
import os
import shlex
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # must be set before NumPy and torch load

import hydra
import numpy as np
import pandas as pd
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from compose import system_for
from data import splits
from data.load import table_hash
from data.publication import at_known_rows, hide_unpublished
from data.schema import PERIODS_PER_DAY, TELEMETRY
from data.telemetry import job_signals, site_load_kw
from envs.scenario import History, Scenario
from envs.single import SystemEnv
from evaluation.backtest import IDLE, ORACLE, Run, score
from evaluation.forecast_report import write_report
from evaluation.forecast_results import Made, target_results, write_results
from evaluation.provenance import provenance
from evaluation.rollout import play
from forecasting.deviation import DeviationForecaster
from forecasting.ensemble import LEAD_EDGES, month_by_month
from forecasting.forecast import LEADS, QUANTILES, Forecast, ahead
from forecasting.recent import published
from forecasting.regimes import Regimes
from models.cluster import job_capacity_kw

logger = logging.getLogger("forecast")

PRICE = "imbalance_price_gbp_per_mwh"
ENSEMBLE = "ensemble"
HISTORY = 60 * PERIODS_PER_DAY  # rows before the first scored one that forecasters may look back at


class Replayed(NamedTuple):
    """Forecasts made before, row by row, as a forecaster: what the controller is fed with.

    Attributes:
        column: What was forecast.
        forecast: Of the rows from `first` on.
        first: Row of the table.
    """

    column: str
    forecast: Forecast
    first: int

    def predict(self, table: pd.DataFrame, minute: int = 0, rows: slice = slice(None)) -> Forecast:
        """The kept forecasts; NaN for rows before the first."""
        if minute:
            raise ValueError(f"forecasts were made for the start of each period, not minute {minute}")
        mean = np.full((len(table), LEADS), np.nan, np.float32)
        quantiles = np.full((len(table), LEADS, len(QUANTILES)), np.nan, np.float32)
        mean[self.first :], quantiles[self.first :] = self.forecast
        return Forecast(mean[rows], quantiles[rows])


@hydra.main(version_base="1.3", config_path="conf", config_name="forecast")
def main(cfg: DictConfig) -> None:
    """Fit, forecast, score, feed the controller, report."""
    grid = instantiate(cfg.data.table)
    own = grid.join(_own_signals(cfg, grid)) if set(cfg.targets) & set(TELEMETRY) else grid
    index = pd.DatetimeIndex(grid.index)
    spans = {split: splits.rows(index, split) for split in cfg.splits}
    first = min(span.start for span in spans.values())
    scored = {split: slice(span.start - first, span.stop - first) for split, span in spans.items()}
    labels = _labels(grid, splits.rows(index, "train"), first)
    targets, prices = [], []
    for target in cfg.targets:
        table = own if target in TELEMETRY else grid
        truth = _truth(table[target], spans)[first:]
        made = [_made(cfg, table, target, name, first) for name in cfg.rivals[target]]
        made.append(_ensemble(made, truth, index[first:], scored.get("validation", next(iter(scored.values())))))
        targets.append(target_results(target, made, truth, index[first:], scored, labels))
        prices = made if target == PRICE else prices
    capture = _capture(cfg, grid, prices, first) if cfg.capture and prices else []
    folder = Path(cfg.reports) / cfg.name
    command = shlex.join(["python", "forecast.py", *sys.argv[1:]])
    origin = provenance(OmegaConf.to_container(cfg, resolve=True), table_hash(grid))
    write_results(folder, targets, capture, command=command, provenance=origin)
    logger.info("report: %s", write_report(folder))


def _made(cfg: DictConfig, table: pd.DataFrame, target: str, name: str, first: int) -> Made:
    """Forecasts of one forecaster: from disk if they were made with the same data and settings."""
    settings, refit_days = cfg.forecasters[name], cfg.refit_days.get(name)
    described = [table_hash(table), OmegaConf.to_container(settings, resolve=True), first, *filter(None, [refit_days])]
    digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:12]
    file = Path(cfg.runs) / f"{target}--{name}--{digest}.npz"
    if file.exists():
        return Made.read(name, file)
    make = partial(instantiate(settings), **({"column": target} if "column" in settings else {}))
    train = table.iloc[splits.rows(pd.DatetimeIndex(table.index), "train")]
    starts = range(first, len(table), refit_days * PERIODS_PER_DAY) if refit_days else range(first, first + 1)
    parts, fit_s, predict_s = [], 0.0, 0.0
    for start, stop in pairwise([*starts, len(table)]):
        began = time.process_time()
        # What was published when the first row of the part is decided, and nothing after.
        forecaster = make(hide_unpublished(table, start).iloc[:start] if refit_days else train)
        fitted = time.process_time()
        shown = table.iloc[max(start - HISTORY, 0) : stop]
        parts.append(forecaster.predict(shown).rows(slice(len(shown) - (stop - start), None)))
        fit_s, predict_s = fit_s + fitted - began, predict_s + time.process_time() - fitted
    predict_ms = predict_s / (len(table) - first) * 1e3
    importance = forecaster.importance() if hasattr(forecaster, "importance") else {}
    forecast = Forecast(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    made = Made(name, forecast, fit_s, predict_ms, importance)
    made.write(file)
    logger.info("%s %s: fitted in %.0f s, %.2f ms a forecast (CPU time)", target, name, fit_s, predict_ms)
    return made


def _ensemble(made: list[Made], truth: NDArray[np.float64], index: pd.DatetimeIndex, rows: slice) -> Made:
    """The ensemble of all, learnt on validation and then month by month."""
    began = time.process_time()
    forecast, weights = month_by_month([one.forecast for one in made], truth, index, rows)
    lines = zip(LEAD_EDGES, weights.round(2).tolist(), strict=False)
    logger.info("ensemble of %s: from lead, last shares %s", ", ".join(one.name for one in made), dict(lines))
    asked = [one.predict_ms for one, share in zip(made, weights.any(axis=0), strict=True) if share]
    return Made(ENSEMBLE, forecast, time.process_time() - began, sum(asked), {})


def _truth(values: pd.Series, spans: dict[str, slice]) -> NDArray[np.float64]:
    """What is left to forecast: neither published when a row is decided nor beyond its split, shape (n, 48)."""
    came = ahead(values.to_numpy(dtype=np.float64)).copy()
    came[published(str(values.name), pd.DatetimeIndex(values.index))] = np.nan
    for span in spans.values():
        beyond = np.arange(span.start, span.stop)[:, None] + np.arange(LEADS) >= span.stop
        came[span][beyond] = np.nan
    return came


def _labels(table: pd.DataFrame, train: slice, first: int) -> dict[str, NDArray[Any]]:
    """Month, and the market regime known when each row is decided; the regimes are those of the training split."""
    index = pd.DatetimeIndex(table.index)
    regimes = Regimes.fit(table.iloc[train])
    centres = np.exp(np.array(regimes.centres) * regimes.spread + regimes.mean)
    names = np.array([f"{level:.0f} ± {move:.0f} GBP/MWh" for level, move in centres] + ["unknown"])
    labels = at_known_rows(PRICE, regimes.labels(table[PRICE].to_numpy(dtype=np.float64)), index)
    regime = names[np.where(np.isnan(labels), len(centres), labels).astype(np.int64)]
    return {"month": index.strftime("%Y-%m").to_numpy()[first:], "regime": regime[first:]}


def _own_signals(cfg: DictConfig, grid: pd.DataFrame) -> pd.DataFrame:
    """Jobs that arrive, and what the site draws under its rule policy, over the whole table."""
    index = pd.DatetimeIndex(grid.index)
    file = Path(cfg.runs) / f"site-load--{table_hash(grid)[:12]}.parquet"
    if not file.exists():
        history = History(grid, DeviationForecaster.fit(grid.iloc[splits.rows(index, "train")]))
        traces = []
        for split in splits.SPLITS:
            env = SystemEnv(instantiate(cfg.load.system)(scenario=Scenario(history, split, "split")))
            traces.append(_played(env, instantiate(cfg.load.policies.rule)(env), cfg.seed, f"site load, {split}"))
        file.parent.mkdir(parents=True, exist_ok=True)
        site_load_kw(pd.concat(traces), index).to_frame().to_parquet(file)
    cluster, jobs = instantiate(cfg.site.cluster), instantiate(cfg.site.jobs)
    arrivals = jobs.arrivals(index[0].to_pydatetime(), len(index), job_capacity_kw(cluster))
    return job_signals(arrivals, index).join(pd.read_parquet(file).set_index(index))


def _capture(cfg: DictConfig, grid: pd.DataFrame, prices: list[Made], first: int) -> list[dict[str, Any]]:
    """What the battery's controller earns with each price forecast, beside doing nothing and perfect foresight."""
    rows = []
    for split in cfg.splits:
        runs = []
        for one in prices:
            history = History(grid, Replayed(PRICE, one.forecast, first))
            env = SystemEnv(system_for(cfg, history, split, "split"))
            if not runs:
                runs = [_reference(cfg, env, split, name) for name in (IDLE, ORACLE)]
            digest = hashlib.sha256(one.forecast.mean.tobytes() + history.data_hash.encode()).hexdigest()[:12]
            file = Path(cfg.runs) / f"{cfg.capture}--{one.name}--{split}--{digest}.parquet"
            if not file.exists():
                policy = instantiate(cfg.env.policies[cfg.capture])(env)
                _played(env, policy, cfg.seed, f"{cfg.capture} fed by {one.name}, {split}").to_parquet(file)
            runs.append(Run(one.name, cfg.seed, pd.read_parquet(file)))
        rows += score(runs, cfg.env.id, split, prices[1].name)
    return rows


def _reference(cfg: DictConfig, env: SystemEnv, split: str, name: str) -> Run:
    policy = instantiate(cfg.env.policies[name])(env)
    trace = _played(env, policy, cfg.seed, f"{name}, {split}")
    return Run(name, cfg.seed, trace, policy.bound_gbp if name == ORACLE else float("nan"))


def _played(env: SystemEnv, policy: Any, seed: int, what: str) -> pd.DataFrame:
    episode = env.system.scenario.episodes[0]
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as progress:
        task = progress.add_task(what, total=episode.stop - episode.first)
        return play(env, policy, seed, lambda n: progress.advance(task, n))


if __name__ == "__main__":
    main()
