"""Score every policy on one split: traces first, rows second."""

from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from data.schema import PERIOD_MINUTES
from evaluation.metrics import capture_interval, difference_interval, step_h, total_interval, weekly

ORACLE: Final = "oracle"
IDLE: Final = "idle"


class Run(NamedTuple):
    """One policy played over one whole split.

    Attributes:
        policy: Its name.
        seed: Seed of the rollout, or of the training for a learnt policy.
        trace: Rows of `evaluation.rollout.play`.
        bound_gbp: Proved upper bound on any policy's value; known for the oracle only, else NaN.
    """

    policy: str
    seed: int
    trace: pd.DataFrame
    bound_gbp: float = float("nan")


def score(runs: list[Run], env: str, split: str, reference: str) -> list[dict[str, Any]]:
    """One row per run.

    Args:
        runs: Every policy on the same split; idle and the reference must be among them. Without the oracle there is
            no capture.
        env: Environment id, for the row.
        split: Split name, for the row.
        reference: Name of the rival that leads are measured against.

    Returns:
        Rows with `policy, env, split, seed, periods, reference`, the value, capture and lead over the reference each
        with a 95 % interval, one `<term>_gbp` per money term, the throughput of the battery where there is one, and
        `decision_ms_median, decision_ms_p99`.

    Raises:
        ValueError: A needed run is missing, or a policy beats the bound, which can only be a bug.
    """
    by_name = {run.policy: run for run in runs}
    missing = [name for name in (IDLE, reference) if name not in by_name]
    if missing:
        raise ValueError(f"a score needs the runs {missing} too; got {sorted(by_name)}")
    idle, rival = weekly(by_name[IDLE].trace), weekly(by_name[reference].trace)
    oracle = weekly(by_name[ORACLE].trace) if ORACLE in by_name else np.full_like(idle, np.nan)
    bound_gbp = by_name[ORACLE].bound_gbp if ORACLE in by_name else float("nan")
    rows = []
    for run in runs:
        trace = run.trace
        value = total_interval(weekly(trace))
        if value.value > bound_gbp + 1e-6 * abs(bound_gbp) + 0.01:
            raise ValueError(
                f"{run.policy} earned {value.value:.2f} GBP on {split}, more than the proved bound {bound_gbp:.2f}: "
                "the oracle or the environment is wrong"
            )
        share = capture_interval(weekly(trace), idle, oracle, bound_gbp)
        lead = difference_interval(weekly(trace), rival)
        terms = [c for c in trace.columns if c.endswith("_gbp") and c != "reward_gbp"]
        rows.append(
            {
                "policy": run.policy,
                "env": env,
                "split": split,
                "seed": run.seed,
                "periods": pd.DatetimeIndex(trace.index).floor(f"{PERIOD_MINUTES}min").nunique(),
                "reference": reference,
                "value_gbp": value.value,
                "value_low_gbp": value.low,
                "value_high_gbp": value.high,
                "capture": share.value,
                "capture_low": share.low,
                "capture_high": share.high,
                "lead_gbp": lead.value,
                "lead_low_gbp": lead.low,
                "lead_high_gbp": lead.high,
                "bound_gbp": bound_gbp,
                **{term: float(trace[term].sum()) for term in terms},
                **_throughput(trace),
                "decision_ms_median": float(np.median(trace["decision_ms"])),
                "decision_ms_p99": float(np.percentile(trace["decision_ms"], 99.0)),
            }
        )
    return rows


def winner(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of the best deployable policy on validation: highest value, the oracle excluded.

    Raises:
        ValueError: No row of the validation split.
    """
    candidates = [r for r in rows if r["split"] == "validation" and r["policy"] != ORACLE]
    if not candidates:
        raise ValueError("no row of the validation split to choose a winner from")
    return max(candidates, key=lambda row: row["value_gbp"])


def _throughput(trace: pd.DataFrame) -> dict[str, float]:
    if "power_kw" not in trace:
        return {}
    return {"battery_throughput_kwh": float(trace["power_kw"].abs().sum() * step_h(trace))}
