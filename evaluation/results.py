"""A backtest on disk: rows, tables and traces in one folder, so that a report can always be made again."""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import pandas as pd

from evaluation.backtest import Run

ROWS: Final = "results.csv"
TABLES: Final = "results.json"
TRACES: Final = "traces"


class Results(NamedTuple):
    """What one evaluation found.

    Attributes:
        rows: One per (policy, split, seed); see `evaluation.backtest.score`.
        traces: Trace of each (policy, split, seed).
        winner: Name of the policy chosen on validation.
        command: How to make it again.
        provenance: See `evaluation.provenance.provenance`.
    """

    rows: pd.DataFrame
    traces: dict[tuple[str, str, int], pd.DataFrame]
    winner: str
    command: str
    provenance: dict[str, Any]


def write_results(
    folder: Path,
    rows: list[dict[str, Any]],
    runs: dict[str, list[Run]],
    winner: str,
    command: str,
    provenance: dict[str, Any],
) -> None:
    """Write rows (`results.csv`), tables with provenance (`results.json`) and one Parquet trace per run.

    Args:
        folder: Where; made if missing, same-named files are replaced.
        rows: See `evaluation.backtest.score`.
        runs: Runs by split.
        winner: Name of the policy chosen on validation.
        command: How to make it again.
        provenance: See `evaluation.provenance.provenance`.
    """
    traces = folder / TRACES
    traces.mkdir(parents=True, exist_ok=True)
    for old in traces.glob("*.parquet"):
        old.unlink()
    for split, played in runs.items():
        for run in played:
            run.trace.to_parquet(traces / f"{run.policy}--{split}--{run.seed}.parquet")
    frame = pd.DataFrame(rows)
    frame.to_csv(folder / ROWS, index=False)
    tables = {
        "winner": winner,
        "command": command,
        "rows": json.loads(frame.to_json(orient="records", double_precision=10)),
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
        policy, split, seed = file.stem.split("--")
        traces[policy, split, int(seed)] = pd.read_parquet(file)
    return Results(pd.DataFrame(tables["rows"]), traces, tables["winner"], tables["command"], tables["provenance"])
