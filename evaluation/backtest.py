"""Score every policy on one split: traces first, rows second."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from baselines.risk_models import conditional_value_at_risk, drawdown_gbp
from data.schema import PERIOD_MINUTES
from evaluation.beliefs import calibration_of
from evaluation.metrics import capture_interval, difference_interval, step_h, total_interval, weekly

ORACLE: Final = "oracle"
IDLE: Final = "idle"
CHOSEN_ON: Final = "validation"
WORST_WEEKS: Final = 0.9  # confidence: what the worst tenth of weeks brings
PENALTIES: Final = ("sla", "thermal", "over_limit", "under_delivery")  # money terms that are paid for a violation


class Run(NamedTuple):
    """One policy played over one whole split.

    Attributes:
        policy: Its name.
        seed: Seed of the rollout, or of the training for a learnt policy.
        trace: Rows of `evaluation.rollout.play`.
        bound_gbp: Proved upper bound on any policy's value; known for the oracle only, else NaN.
        counts: How often something happened that the policy counts, such as plans that had to be relaxed.
    """

    policy: str
    seed: int
    trace: pd.DataFrame
    bound_gbp: float = float("nan")
    counts: Mapping[str, int] = MappingProxyType({})


def check_plan(policies: Collection[str], splits: Collection[str], seeds: Sequence[object], reference: str) -> None:
    """Refuse before anything is played what could not be scored in the end.

    Args:
        policies: Names of those that would be played.
        splits: Where.
        seeds: Of those that draw.
        reference: Leads are measured against it.

    Raises:
        ValueError: A policy, a split or a seed is missing, or a seed is none.
    """
    if not seeds or not all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds):
        raise ValueError(f"seeds is {list(seeds)}; whole numbers of 0 or more are needed, at least one")
    missing = [name for name in (IDLE, reference) if name not in policies]
    if missing:
        raise ValueError(f"a score needs {missing} too; the policies are {sorted(set(policies))}")
    if CHOSEN_ON not in splits:
        raise ValueError(
            f"splits is {list(splits)}; {CHOSEN_ON!r} must be among them, since the winner is chosen there"
        )


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
        with a 95 % interval, one `<term>_gbp` per money term, `drawdown_gbp` (the deepest fall of the gain over idle),
        `worst_weeks_gbp` (mean gain over idle in the worst tenth of weeks), where the trace tells of it
        `battery_throughput_kwh`, `carbon_kg`, `pue` (over the split's energy), degree-hours over a limit and
        `<penalty>_periods` with a violation, what it believed of the coming day and what that
        brought, what the policy counted, and `decision_ms_median, decision_ms_p99`.

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
                "drawdown_gbp": float(drawdown(gained(trace, by_name[IDLE].trace)).max()),
                "worst_weeks_gbp": -conditional_value_at_risk(weekly(trace) - idle, WORST_WEEKS),
                **_physics(trace),
                **calibration_of(trace),
                **run.counts,
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
    candidates = [r for r in rows if r["split"] == CHOSEN_ON and r["policy"] != ORACLE]
    if not candidates:
        raise ValueError("no row of the validation split to choose a winner from")
    return max(candidates, key=lambda row: row["value_gbp"])


def gained(trace: pd.DataFrame, idle: pd.DataFrame) -> NDArray[np.float64]:
    """Money gained over idle so far, at the end of every row, shape (rows,)."""
    total: NDArray[np.float64] = np.cumsum(trace["reward_gbp"].to_numpy() - idle["reward_gbp"].to_numpy())
    return total


def drawdown(gained_gbp: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far a running total lies below its highest so far, the start at 0 included; 0 or more, shape (rows,)."""
    return drawdown_gbp(np.concatenate([[0.0], gained_gbp]))[1:]


def _physics(trace: pd.DataFrame) -> dict[str, float]:
    """What was moved, emitted and violated, as far as the trace tells."""
    found = {}
    if "power_kw" in trace:
        found["battery_throughput_kwh"] = float(trace["power_kw"].abs().sum() * step_h(trace))
    if {"grid_kw", "carbon_g_per_kwh"} <= set(trace.columns):
        found["carbon_kg"] = float((trace["grid_kw"] * trace["carbon_g_per_kwh"]).sum() * step_h(trace) / 1000.0)
    if {"pue", "it_kw"} <= set(trace.columns):
        found["pue"] = float((trace["pue"] * trace["it_kw"]).sum() / trace["it_kw"].sum())
    for column in trace.columns:
        if column.endswith("excess_c_h"):
            found[column] = float(trace[column].sum())
    for penalty in PENALTIES:
        if f"{penalty}_gbp" in trace:
            found[f"{penalty}_periods"] = int((trace[f"{penalty}_gbp"] < 0.0).sum())
    return found
