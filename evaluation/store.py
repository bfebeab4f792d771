"""Played runs on disk: one Parquet file each, which appears whole or not at all and knows what it was played from."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.backtest import Run

KEY: Final = b"gridpilot.key"
FACTS: Final = b"gridpilot.run"


def fingerprint(parts: dict[str, Any]) -> str:
    """SHA-256 of a JSON-ready description of everything a run depends on; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def run_file(folder: Path, policy: str, split: str, seed: int) -> Path:
    """Where a run stands."""
    return folder / f"{policy}--{split}--{seed}.parquet"


def write_run(folder: Path, split: str, run: Run, key: str = "") -> Path:
    """Write a run in one move: whoever looks sees the old file or the new one.

    Args:
        folder: Where; made if missing.
        split: What it was played on.
        run: The run.
        key: `fingerprint` of what it was played from.

    Returns:
        The file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = run_file(folder, run.policy, split, run.seed)
    bound = None if run.bound_gbp != run.bound_gbp else run.bound_gbp
    facts = {"policy": run.policy, "split": split, "seed": run.seed, "bound_gbp": bound, "counts": dict(run.counts)}
    table = pa.Table.from_pandas(run.trace)
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), KEY: key.encode(), FACTS: json.dumps(facts).encode()}
    )
    part = file.with_name(file.name + ".part")
    pq.write_table(table, part)
    part.replace(file)
    return file


def has_run(file: Path, key: str) -> bool:
    """Whether a run stands there that was played from just this; an unreadable file counts as none."""
    try:
        metadata = pq.read_schema(file).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return False
    return bool(metadata.get(KEY) == key.encode())


def read_run(file: Path) -> tuple[str, Run]:
    """A run and what it was played on.

    Raises:
        ValueError: The file was not written by `write_run`.
    """
    table = pq.read_table(file)
    metadata = table.schema.metadata or {}
    if FACTS not in metadata:
        raise ValueError(f"{file} does not say which run it holds; delete it and evaluate again")
    facts = json.loads(metadata[FACTS])
    bound_gbp = float("nan") if facts["bound_gbp"] is None else float(facts["bound_gbp"])
    trace: pd.DataFrame = table.to_pandas()
    return facts["split"], Run(facts["policy"], int(facts["seed"]), trace, bound_gbp, facts["counts"])
