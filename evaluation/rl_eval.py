"""The outcome of an evaluation for machines: one JSON file, described by `rl_eval.schema.json`."""

import json
from pathlib import Path
from typing import Any, Final

import pandas as pd

from evaluation.beliefs import BELIEFS
from evaluation.results import Results
from evaluation.sharing import without_folders
from evaluation.summary import ELSEWHERE, PLACED, splits_of, term_columns, with_means

FILE: Final = "rl_eval.json"
SCHEMA: Final = Path(__file__).with_name("rl_eval.schema.json")
FORMAT: Final = 1
RISKS: Final = ("drawdown_gbp", "worst_weeks_gbp")


def rl_eval(results: Results) -> dict[str, Any]:
    """The winner, one entry per policy and split (over its seeds), and one per hard case, policy and seed.

    Returns:
        What the schema describes, JSON-ready: unknown numbers are None, money is GBP.
    """
    config, rows = results.provenance["config"], results.rows
    return {
        "format": FORMAT,
        "env": rows["env"].iloc[0],
        "data": {"name": config.get("data", {}).get("name"), "sha256": results.provenance["data_sha256"]},
        "command": without_folders(results.command),
        "commit": results.provenance["commit"],
        "uncommitted_changes": results.provenance["uncommitted_changes"],
        "reference": rows["reference"].iloc[0],
        "winner": results.winner,
        "splits": splits_of(results),
        "policies": [_policy(results, split, row) for split in splits_of(results) for row in _leading(results, split)],
        "robustness": [_case(row) for row in results.robustness.to_dict("records")],
        "skipped": dict(results.skipped),
    }


def write_rl_eval(results: Results, *files: Path) -> None:
    """Write `rl_eval` to every file."""
    text = json.dumps(rl_eval(results), indent=2, allow_nan=False)
    for file in files:
        file.write_text(text, encoding="utf-8")


def _leading(results: Results, split: str) -> list[dict[str, Any]]:
    """One row per policy: of several seeds their mean, which stands first."""
    rows: dict[str, dict[str, Any]] = {}
    for row in with_means(results, split):
        rows.setdefault(row["policy"], row)
    return list(rows.values())


def _policy(results: Results, split: str, row: dict[str, Any]) -> dict[str, Any]:
    of_policy = results.rows[(results.rows["policy"] == row["policy"]) & (results.rows["split"] == split)]
    stated: dict[str, Any] = {}
    if len(results.policies):
        found = results.policies[(results.policies["policy"] == row["policy"]) & (results.policies["split"] == split)]
        stated = found.iloc[0].to_dict() if len(found) else {}
    terms = term_columns(results)
    physics = [c for c in row if str(c).endswith((*ELSEWHERE, "_kwh", "pue")) and c not in terms]
    counts = [c for c in row if c not in (*PLACED, *terms, *physics, *RISKS)]
    return {
        "policy": row["policy"],
        "split": split,
        "seeds": sorted(int(seed) for seed in of_policy["seed"]),
        "value_gbp": _interval(row, "value", "_gbp"),
        "capture": _interval(row, "capture"),
        "lead_gbp": _interval(row, "lead", "_gbp"),
        "interquartile_mean": _interval(stated, "iqm"),
        "improvement_probability": _interval(stated, "improvement"),
        "normaliser": stated.get("normaliser"),
        "terms_gbp": {term.removesuffix("_gbp"): _known(row[term]) for term in terms},
        **{risk: _known(row[risk]) for risk in RISKS},
        "believed": {name: _known(row[name]) for name in BELIEFS if name in row},
        "physics": {str(c): _known(row[c]) for c in physics},
        "counts": {str(c): _known(row[c]) for c in counts},
        "decision_ms": {"median": _known(row["decision_ms_median"]), "p99": _known(row["decision_ms_p99"])},
    }


def _case(row: dict[Any, Any]) -> dict[str, Any]:
    return {
        "case": row["split"],
        "policy": row["policy"],
        "seed": int(row["seed"]),
        "value_gbp": _interval(row, "value", "_gbp"),
        "capture": _interval(row, "capture"),
        "lead_gbp": _interval(row, "lead", "_gbp"),
    }


def _interval(row: dict[Any, Any], name: str, unit: str = "") -> dict[str, float | None] | None:
    """Estimate with the ends of its 95 % interval; None where there is no estimate."""
    value = _known(row.get(f"{name}{unit}"))
    if value is None:
        return None
    return {
        "estimate": value, "low": _known(row[f"{name}_low{unit}"]), "high": _known(row[f"{name}_high{unit}"])
    }  # fmt: skip


def _known(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
