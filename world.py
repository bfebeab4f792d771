"""What policies are played in: the history of the configuration, or what becomes of it in a case of its own."""

from functools import cached_property
from typing import Any, Final, NamedTuple

import pandas as pd
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from compose import fit_forecaster, system_for
from data import splits
from data.load import checked, table_hash
from data.splits import Split
from envs.scenario import History
from envs.single import SystemEnv
from envs.system import System
from evaluation.results import TRACES
from evaluation.shocks import PRICES
from forecasting.forecast import Forecaster

ROBUSTNESS: Final = "robustness"


class Case(NamedTuple):
    """A stretch of history in which every policy is played.

    Attributes:
        name: What its results are filed under.
        span: Its dates.
        changes: What differs from the history of the configuration, as in `conf/robustness/full.yaml`: another
            `source` of the table, a change of the `table`, a `forecaster` around the fitted one, numbers of the
            configuration to `scale`; `refit` fits anew on all that was published before the span.
        folder: Where its runs are filed, below the folder of the evaluation.
    """

    name: str
    span: Split
    changes: dict[str, Any]
    folder: str = TRACES


class World:
    """The configuration, table and forecaster of a case.

    Attributes:
        cfg: The configuration, after what the case scales.
        table: Its grid table.
        data_hash: Names the table.
        rows: Rows of the table that are played.
    """

    def __init__(self, case: Case, cfg: DictConfig, history: History, forecaster: Forecaster) -> None:
        """Make the changes of a case.

        Args:
            case: The case.
            cfg: The composed configuration.
            history: Its market history.
            forecaster: Its fitted forecaster.

        Raises:
            FileNotFoundError: The data of another source are not there.
            ValueError: A table does not hold the span, or is not plausible.
        """
        changes = case.changes
        self._span, self._history = case.span, history
        self.cfg = _scaled(cfg, changes.get("scale", {}))
        self.table = checked(instantiate(changes["source"])) if "source" in changes else history.table
        self.rows = splits.rows(pd.DatetimeIndex(self.table.index), case.span)
        if "table" in changes:
            self.table = instantiate(changes["table"])(self.table, self.rows)
        self._changes, self._fitted = changes, forecaster
        self._train = _before(case.span, history) if changes.get("refit") else splits.SPLITS["train"]
        self.data_hash = history.data_hash if self.table is history.table else table_hash(self.table)

    def env(self) -> SystemEnv:
        """Its environment, with the whole span as one episode."""
        return SystemEnv(system_for(self.cfg, self._told(), self._span, "split"))

    def training_system(self) -> System:
        """What a learner may train on."""
        return system_for(self.cfg, self._told(), self._train, self.cfg.env.episode, **self.cfg.env.training)

    @cached_property
    def forecaster(self) -> Forecaster:
        """What policies are told; fitting one may take minutes, so it waits until it is asked for."""
        forecaster = self._fitted
        if self._changes.get("refit") and self.cfg.refit_months:
            forecaster = self._history.forecaster  # refitted already; a learner goes on seeing errors out of fold
        elif self._changes.get("refit"):
            rows = splits.rows(pd.DatetimeIndex(self.table.index), self._train)
            forecaster = fit_forecaster(self.cfg, "forecaster", self.table.iloc[rows])
        return instantiate(self._changes["forecaster"])(forecaster) if "forecaster" in self._changes else forecaster

    def _told(self) -> History:
        same = not {"source", "table", "forecaster", "refit"} & set(self._changes)
        if same:
            return self._history
        told = self._history  # carbon and weather are forecast as everywhere in the evaluation
        carbon, wet_bulb = (lambda: told.carbon_forecaster), (lambda: told.wet_bulb_forecaster)
        return History(self.table, self.forecaster, carbon, wet_bulb, self._train)


def hard_cases(cfg: DictConfig, history: History, forecaster: Forecaster) -> tuple[list[Case], dict[str, str]]:
    """The cases of `robustness` that can be played here, and why each of the others cannot."""
    cases, skipped = [], {}
    described: Any = OmegaConf.to_container(cfg.robustness, resolve=True)
    for name, changes in described["cases"].items():
        dates = changes.pop("span", None)
        case = Case(name, Split(*dates) if dates else splits.span(described["split"]), changes, ROBUSTNESS)
        reason = why_not(case, cfg, history, forecaster)
        if reason is None:
            cases.append(case)
        else:
            skipped[name] = reason
    return cases, skipped


def why_not(case: Case, cfg: DictConfig, history: History, forecaster: Forecaster) -> str | None:
    """Why a case cannot be played, or would be nothing new to this environment; None if it should be played."""
    if cfg.refit_months and {"source", "table", "forecaster"} & set(case.changes):
        return "forecasters that are refitted as time goes by have seen all of it at the end; set refit_months=0"
    try:
        world = World(case, cfg, history, forecaster)
    except (InstantiationException, FileNotFoundError, ValueError) as error:
        reason = error.__cause__ if isinstance(error, InstantiationException) else error  # Hydra wraps what it calls
        if not isinstance(reason, FileNotFoundError | ValueError):
            raise
        return str(reason)
    played = world.table.iloc[world.rows]
    flat = [column for column in cfg.env.columns if played[column].min() == played[column].max()]
    if flat:
        return f"{cfg.env.name} needs {', '.join(flat)}, which the data do not hold"
    felt = [*PRICES, *cfg.env.columns]
    if "table" in case.changes and world.table[felt].equals(history.table[felt]):
        return f"it changes nothing that {cfg.env.name} depends on"
    if "scale" in case.changes and _system(world.cfg) == _system(cfg):
        return f"{cfg.env.name} has nothing of {', '.join(case.changes['scale'])}"
    return None


def _system(cfg: DictConfig) -> Any:
    return OmegaConf.to_container(cfg.env.system, resolve=True)


def _before(span: Split, history: History) -> Split:
    """From the first row to a day before a span: by its beginning all of that has been published."""
    end = pd.Timestamp(span.start) - pd.Timedelta(days=1)
    return Split(f"{history.timestamps[0]:%Y-%m-%d}", f"{end:%Y-%m-%d}")


def _scaled(cfg: DictConfig, factors: dict[str, float]) -> DictConfig:
    """A copy of a configuration with some of its numbers multiplied."""
    changed = cfg.copy()
    for path, factor in factors.items():
        OmegaConf.update(changed, path, OmegaConf.select(changed, path) * factor)
    return changed
