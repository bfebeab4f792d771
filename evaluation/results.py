"""A backtest on disk: rows, tables and traces in one folder, so that a report can always be made again."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pandas as pd

from evaluation.backtest import Run
from evaluation.store import read_run

ROWS: Final = "results.csv"
TABLES: Final = "results.json"
OTHERS: Final = ("policies.csv", "robustness.csv", "forecasts.csv")
TRACES: Final = "traces"
EMPTY: Final = pd.DataFrame()


class Results(NamedTuple):
    """What one evaluation found.

    Attributes:
        rows: One per (policy, split, seed); see `evaluation.backtest.score`.
        traces: Trace of each (policy, split, seed).
        winner: Name of the policy chosen on validation.
        command: How to make it again.
        provenance: See `evaluation.provenance.provenance`.
        policies: One per (policy, split) over all seeds; see `evaluation.statistics.aggregate`.
        robustness: Like `rows`, one per (policy, case, seed); the case stands in `split`.
        forecasts: One per (split, lead); see `evaluation.calibration.calibration`.
        skipped: Why a case was not played, by its name.
    """

    rows: pd.DataFrame
    traces: dict[tuple[str, str, int], pd.DataFrame]
    winner: str
    command: str
    provenance: dict[str, Any]
    policies: pd.DataFrame = EMPTY
    robustness: pd.DataFrame = EMPTY
    forecasts: pd.DataFrame = EMPTY
    skipped: Mapping[str, str] = MappingProxyType({})


def read_runs(files: Sequence[Path]) -> dict[str, list[Run]]:
    """Runs by split, in the order of the files; other Parquet files beside them are left over and deleted."""
    for stray in {found for file in files for found in file.parent.glob("*.parquet")} - set(files):
        stray.unlink()
    runs: dict[str, list[Run]] = {}
    for file in files:
        split, run = read_run(file)
        runs.setdefault(split, []).append(run)
    return runs


def write_results(
    folder: Path,
    rows: list[dict[str, Any]],
    winner: str,
    command: str,
    provenance: dict[str, Any],
    policies: Sequence[dict[str, Any]] = (),
    robustness: Sequence[dict[str, Any]] = (),
    forecasts: Sequence[dict[str, Any]] = (),
    skipped: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write every table as CSV, and the rows with where they come from as `results.json`, beside the runs.

    Args:
        folder: Where; made if missing, same-named files are replaced. Its `traces` hold the runs, see
            `evaluation.store.write_run`.
        rows: This and what follows as in `Results`.
        winner: Name of the policy chosen on validation.
        command: How to make it again.
        provenance: See `evaluation.provenance.provenance`.
        policies: Over all seeds.
        robustness: Cases beside the splits.
        forecasts: What policies were shown.
        skipped: Cases that were not played.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in zip((ROWS, *OTHERS), (rows, policies, robustness, forecasts), strict=True):
        if found:
            pd.DataFrame(found).to_csv(folder / name, index=False)
        else:
            (folder / name).unlink(missing_ok=True)
    tables = {
        "winner": winner,
        "command": command,
        "rows": json.loads(pd.DataFrame(rows).to_json(orient="records", double_precision=10)),
        "skipped": dict(skipped),
        "provenance": provenance,
    }
    (folder / TABLES).write_text(json.dumps(tables, indent=2, allow_nan=False))


def read_results(folder: str | Path) -> Results:
    """Read what `write_results` wrote.

    Raises:
        FileNotFoundError: The folder holds no results.
    """
    folder = Path(folder)
    if not (folder / TABLES).is_file():
        raise FileNotFoundError(f"no {TABLES} in {str(folder)!r}; make one with: python evaluate.py")
    tables = json.loads((folder / TABLES).read_text())
    traces = {}
    for file in sorted((folder / TRACES).glob("*.parquet")):
        split, run = read_run(file)
        traces[run.policy, split, run.seed] = run.trace
    policies, robustness, forecasts = (
        pd.read_csv(folder / name) if (folder / name).is_file() else EMPTY for name in OTHERS
    )
    return Results(
        pd.DataFrame(tables["rows"]),
        traces,
        tables["winner"],
        tables["command"],
        tables["provenance"],
        policies,
        robustness,
        forecasts,
        tables["skipped"],
    )
