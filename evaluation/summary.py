"""What a backtest found, in words and tables that every report shares."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from evaluation.backtest import IDLE, ORACLE
from evaluation.beliefs import BELIEFS
from evaluation.metrics import capture_interval, difference_interval, step_h, total_interval, weekly
from evaluation.results import Results

NOTHING: Final = "\N{EM DASH}"  # stands where there is no number
MINUS: Final = "\N{MINUS SIGN}"
# Longest first, so that a price is not read as money.
UNITS: Final[dict[str, str]] = {
    "_gbp_per_mwh": "GBP/MWh",
    "_gbp_per_kwh": "GBP/kWh",
    "_gbp": "GBP",
    "_kwh": "kWh",
    "_kw": "kW",
    "_kg": "kg",
    "_c_h": "°C h",
    "_ms": "ms",
    "_h": "h",
}
# Columns of a row that have a place of their own in the table.
PLACED: Final = (
    "policy", "env", "split", "seed", "periods", "reference", "value_gbp", "value_low_gbp", "value_high_gbp",
    "capture", "capture_low", "capture_high", "lead_gbp", "lead_low_gbp", "lead_high_gbp", "bound_gbp",
    "decision_ms_median", "decision_ms_p99", *BELIEFS,
)  # fmt: skip
# Endings of columns that have a table of their own.
ELSEWHERE: Final = ("carbon_kg", "excess_c_h", "_periods")


class Cell(NamedTuple):
    """A number as text, and its 95 % interval if it has one."""

    text: str
    interval: str = ""


class Line(NamedTuple):
    """One line of a table; `mark` says why it stands out, if it does."""

    policy: str
    seed: str
    mark: str
    cells: list[Cell]


class Table(NamedTuple):
    """Titles of the cells, the lines, and the titles of what stands before the cells; None for no second column."""

    titles: list[str]
    lines: list[Line]
    second: str | None = "seed"
    first: str = "policy"


def splits_of(results: Results) -> list[str]:
    """Validation, where winners are chosen, then the others in the order they were played; the last is reported."""
    return sorted(dict.fromkeys(results.rows["split"]), key=lambda split: split != "validation")


def reported_split(results: Results) -> str:
    """The last split that every policy played; a walk-forward leaves out what cannot go on learning."""
    played_in = results.rows.groupby("split")["policy"].agg(set)
    complete = [split for split in splits_of(results) if played_in[split] == set(results.rows["policy"])]
    return (complete or splits_of(results))[-1]


def term_columns(results: Results) -> list[str]:
    """The money terms that add up to the value, in the environment's order."""
    found = dict.fromkeys(column for trace in results.traces.values() for column in trace.columns)
    return [c for c in found if c.endswith("_gbp") and c != "reward_gbp" and c in results.rows]


def ranked_runs(results: Results) -> list[tuple[str, int]]:
    """Every (policy, seed) once, the best on the first split last, which is on top of a picture."""
    ranked = results.rows.sort_values("value_gbp", kind="stable")
    first = ranked["split"] == splits_of(results)[0]
    ranked = pd.concat([ranked[first], ranked[~first]])
    return list(dict.fromkeys(zip(ranked["policy"], ranked["seed"].astype(int), strict=True)))


def run_name(rows: pd.DataFrame, policy: str, seed: int) -> str:
    """A policy's name, with its seed where it was played with several."""
    seeds = set(rows.loc[rows["policy"] == policy, "seed"])
    return f"{policy}, seed {seed}" if len(seeds) > 1 else policy


def trace_of(results: Results, policy: str, split: str) -> pd.DataFrame:
    """The policy's trace, of the seed that did best on validation.

    Raises:
        KeyError: It was not played on the split.
    """
    seeds = [seed for name, seed in ranked_runs(results) if name == policy]
    if not seeds:
        raise KeyError(f"no run of {policy!r}; there are {sorted(set(results.rows['policy']))}")
    return results.traces[policy, split, seeds[-1]]


def played(results: Results, policy: str) -> bool:
    """Whether a policy is among the runs."""
    return bool((results.rows["policy"] == policy).any())


def learnt(results: Results) -> list[str]:
    """Learnt policies among the runs, by the configuration: what it does not name was found on disk."""
    named = results.provenance.get("config", {}).get("env", {}).get("policies")
    return [p for p in dict.fromkeys(results.rows["policy"]) if named and p not in named]


def headline(results: Results) -> list[str]:
    """What was found, in sentences: who won, what it earned, how it and what was learnt stand to the reference."""
    chosen, reported = splits_of(results)[0], reported_split(results)
    best, row = _best(results, chosen), _best(results, reported)
    sentences = [
        f"{results.winner} won on {chosen}: of all that cannot see the future it earned most, {gbp(best.value_gbp)}."
    ]
    if reported != chosen:
        sentences.append(
            f"On {reported}, which took no part in the choice, it earned {gbp(row.value_gbp)} "
            f"({_interval(row.value_low_gbp, row.value_high_gbp)} GBP with 95 % confidence)."
        )
    if pd.isna(row.capture):
        sentences.append("No share of perfect foresight can be given: no oracle was played, or it had nothing to gain.")
    else:
        sentences.append(
            f"That is {percent(row.capture)} of what perfect foresight could have added to doing nothing "
            f"(95 % interval {percent(row.capture_low)} to {percent(row.capture_high)})."
        )
    seeds = results.rows[(results.rows["policy"] == results.winner) & (results.rows["split"] == reported)]
    if len(seeds) > 1:
        sentences.append(
            f"Its {len(seeds)} seeds earned {gbp(seeds['value_gbp'].mean())} on average on {reported}, "
            f"{whole(seeds['value_gbp'].min())} to {gbp(seeds['value_gbp'].max())}."
        )
    judged = [split for split in splits_of(results) if _row(results, split, best.policy, best.seed) is not None]
    sentences += [verdict(results, split) for split in reversed(judged)]
    others = [p for p in learnt(results) if p != results.winner and _best(results, reported, p) is not None]
    return list(dict.fromkeys([*sentences, *(_standing(results, reported, policy) for policy in others)]))


def verdict(results: Results, split: str) -> str:
    """Whether the winner can be told apart from the reference on a split, by the interval of the paired difference.

    Where the reference itself won, the best of the others on validation is compared with it.
    """
    reference = results.rows["reference"].iloc[0]
    rivals = results.rows[~results.rows["policy"].isin([reference, ORACLE, IDLE])]
    rivals = rivals[rivals["split"] == splits_of(results)[0]].sort_values("value_gbp", ascending=False)
    if results.winner != reference:
        policy = results.winner
    elif len(rivals):
        policy = str(rivals["policy"].iloc[0])
    else:
        return f"On {split}, {reference} had no rival but idle."
    return _standing(results, split, policy)


def _standing(results: Results, split: str, policy: str) -> str:
    """Whether a policy can be told apart from the reference on a split."""
    row = _best(results, split, policy)
    reference = row.reference
    lead, between = gbp(abs(row.lead_gbp)), f"{_interval(row.lead_low_gbp, row.lead_high_gbp)} GBP"
    if row.lead_low_gbp > 0.0:
        return f"On {split}, {policy} is ahead of {reference} by {lead} (95 % interval of the lead: {between})."
    if row.lead_high_gbp < 0.0:
        return f"On {split}, {policy} is behind {reference} by {lead} (95 % interval of the lead: {between})."
    return (
        f"On {split}, {policy} and {reference} cannot be told apart: the lead of {gbp(row.lead_gbp)} has a "
        f"95 % interval of {between}, with zero inside."
    )


def bound(results: Results, split: str) -> str:
    """What perfect foresight is worth on a split."""
    bound_gbp = results.rows.loc[results.rows["split"] == split, "bound_gbp"].iloc[0]
    if pd.isna(bound_gbp):
        return f"On {split} no oracle was played: there is no upper bound and no share of it."
    return f"On {split} no policy whatever can earn more than {gbp(bound_gbp)}: the proved upper bound."


def score_table(results: Results, split: str) -> Table:
    """Every run of a split, the best policy first; several seeds of one policy stand under their mean."""
    rows = results.rows[results.rows["split"] == split]
    reference = str(rows["reference"].iloc[0])
    terms = term_columns(results)
    wear = [c for c in terms if c == "wear_gbp"]
    others = wear + [c for c in rows.columns if c not in (*PLACED, *terms) and not c.endswith(ELSEWHERE)]
    cycles, bounded = _cycles_per_kwh_day(results, split), rows["bound_gbp"].notna().any()
    lines = []
    for row in with_means(results, split):
        lead = cell(row["lead_gbp"], row["lead_low_gbp"], row["lead_high_gbp"])
        cells = [
            cell(row["value_gbp"], row["value_low_gbp"], row["value_high_gbp"]),
            cell(row["capture"], row["capture_low"], row["capture_high"], percent),
            *([Cell(whole(row["bound_gbp"]))] if bounded else []),
            Cell(NOTHING) if row["policy"] == reference else lead,
            *(Cell((whole if column.endswith("_gbp") else number)(row[column])) for column in others),
        ]
        if cycles is not None:
            cells.append(Cell(f"{row['battery_throughput_kwh'] * cycles:.2f}"))
        cells += [Cell(milliseconds(row["decision_ms_median"])), Cell(milliseconds(row["decision_ms_p99"]))]
        lines.append(Line(row["policy"], row["seed"], _mark(results, row, reference), cells))
    titles = ["value, GBP", "share of foresight", *(["foresight, GBP"] if bounded else [])]
    titles += [f"lead over {reference}, GBP", *map(words, others)]
    titles += ["cycles a day"] if cycles is not None else []
    return Table([*titles, "ms median", "ms p99"], lines)


def term_table(results: Results, split: str) -> Table:
    """Money term by term; they add up to the value."""
    terms = term_columns(results)
    lines = [
        Line(row["policy"], row["seed"], "", [Cell(whole(row[column])) for column in (*terms, "value_gbp")])
        for row in with_means(results, split)
    ]
    return Table([*map(words, terms), "sum = value, GBP"], lines)


def span(results: Results, split: str) -> str:
    """First and last decision of a split and how many."""
    index = trace_of(results, IDLE, split).index
    steps = {30: "half-hours", 15: "quarters of an hour"}[step_minutes(results)]
    return f"{index[0]:%Y-%m-%d %H:%M} to {index[-1]:%Y-%m-%d %H:%M} UTC, {len(index):,} {steps}"


def step_minutes(results: Results) -> int:
    """Minutes between two decisions."""
    return round(60.0 * step_h(next(iter(results.traces.values()))))


def data_name(results: Results) -> str:
    """Name of the data set."""
    return str(results.provenance["config"].get("data", {}).get("name", "unnamed data"))


def device(results: Results) -> list[str]:
    """The battery's parameters in words; empty for a system without one."""
    parameters = results.provenance["config"].get("env", {}).get("system", {}).get("battery") or {}
    return [f"{words(name)}: {number(value)}" for name, value in parameters.items() if isinstance(value, int | float)]


def whole(value: float) -> str:
    """A whole number with separated thousands and a true minus sign; a dash if there is none."""
    return NOTHING if pd.isna(value) else f"{round(value):,}".replace("-", MINUS)


def gbp(value: float) -> str:
    """Money with its unit."""
    return f"{whole(value)} GBP"


def percent(fraction: float) -> str:
    """A fraction as per cent."""
    return NOTHING if pd.isna(fraction) else f"{100.0 * fraction:.1f} %".replace("-", MINUS)


def number(value: float) -> str:
    """Whole where large, three digits where small."""
    if pd.isna(value) or abs(value) >= 100.0:
        return whole(value)
    return f"{value + 0.0:.3g}".replace("-", MINUS)


def milliseconds(value: float) -> str:
    """Two decimals; less is noise of the clock."""
    return NOTHING if pd.isna(value) else f"{value:,.2f}" if value >= 0.005 else "< 0.01"


def words(column: str) -> str:
    """A column's name for people: `battery_throughput_kwh` is "battery throughput, kWh"."""
    for suffix, unit in UNITS.items():
        if column.endswith(suffix):
            return f"{column.removesuffix(suffix).replace('_', ' ')}, {unit}"
    return "PUE" if column == "pue" else column.replace("_", " ")


def cell(value: float, low: float, high: float, form: Callable[[float], str] = whole) -> Cell:
    """An interval that has no width, or that is not known, is not worth a line."""
    known = not (pd.isna(low) or pd.isna(high)) and form(low) != form(high)
    return Cell(form(value), _interval(low, high, form) if known else "")


def _interval(low: float, high: float, form: Callable[[float], str] = whole) -> str:
    return f"{form(low)} to {form(high)}"


def _best(results: Results, split: str, policy: str | None = None) -> Any:
    """The row of a policy (the winner) on a split, of the seed that did best on validation."""
    rows = results.rows[results.rows["policy"] == (policy or results.winner)]
    chosen = rows[rows["split"] == splits_of(results)[0]].sort_values("value_gbp", kind="stable")
    return _row(results, split, chosen["policy"].iloc[-1], chosen["seed"].iloc[-1])


def _row(results: Results, split: str, policy: str, seed: int) -> Any:
    """The row of a run; None if it was not played."""
    rows = results.rows
    rows = rows[(rows["policy"] == policy) & (rows["split"] == split) & (rows["seed"] == seed)]
    return next(rows.itertuples(), None)


def _mark(results: Results, row: dict[str, Any], reference: str) -> str:
    if row["policy"] == ORACLE:
        return "foresight, played"
    if row["policy"] == results.winner and row["seed"] == str(_best(results, splits_of(results)[0]).seed):
        return "winner"
    return "reference" if row["policy"] == reference else ""


def with_means(results: Results, split: str) -> list[dict[str, Any]]:
    """Rows of a split by falling value with the seed as text; where there are several, their mean comes first."""
    rows = results.rows[results.rows["split"] == split]
    blocks: list[list[dict[str, Any]]] = []
    for _, runs in rows.groupby("policy", sort=False):
        block = [{str(k): v for k, v in row.items()} for row in runs.sort_values("seed").to_dict("records")]
        block = [row | {"seed": str(row["seed"])} for row in block]
        blocks.append([_mean(results, runs), *block] if len(block) > 1 else block)
    blocks.sort(key=lambda block: block[0]["value_gbp"], reverse=True)
    return [row for block in blocks for row in block]


def _mean(results: Results, runs: pd.DataFrame) -> dict[str, Any]:
    """Mean over seeds; its intervals are those of the mean weeks, so they tell of weeks, not of seeds."""
    first = runs.iloc[0]
    policy, split, reference = first["policy"], first["split"], first["reference"]
    weeks = np.mean([weekly(results.traces[policy, split, int(seed)]) for seed in runs["seed"]], axis=0)
    idle, rival = (weekly(trace_of(results, name, split)) for name in (IDLE, reference))
    best = weekly(trace_of(results, ORACLE, split)) if played(results, ORACLE) else np.full_like(weeks, np.nan)
    found = {
        "value": total_interval(weeks),
        "capture": capture_interval(weeks, idle, best, float(pd.to_numeric(runs["bound_gbp"]).iloc[0])),
        "lead": difference_interval(weeks, rival),
    }
    mean: dict[str, Any] = {**first, **runs.drop(columns="seed").mean(numeric_only=True)}
    for name, unit in (("value", "_gbp"), ("capture", ""), ("lead", "_gbp")):
        mean |= {f"{name}{unit}": found[name].value}
        mean |= {f"{name}_low{unit}": found[name].low, f"{name}_high{unit}": found[name].high}
    return mean | {"seed": f"mean of {len(runs)}"}


def _cycles_per_kwh_day(results: Results, split: str) -> float | None:
    """Full cycles a day per kWh of throughput over the split: a cycle moves the capacity in and out."""
    trace = trace_of(results, IDLE, split)
    if "battery_throughput_kwh" not in results.rows or not {"energy_kwh", "charge_fraction"} <= set(trace.columns):
        return None
    capacity_kwh = float((trace["energy_kwh"] / trace["charge_fraction"]).median())
    return 24.0 / step_h(trace) / (2.0 * capacity_kwh * len(trace))
