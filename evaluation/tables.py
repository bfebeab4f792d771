"""Tables of a report beside the scores: statistics over weeks and seeds, violations, hard cases, forecasts."""

from typing import Any

import pandas as pd

from evaluation.backtest import IDLE, ORACLE, PENALTIES
from evaluation.beliefs import BELIEFS
from evaluation.calibration import below
from evaluation.results import Results
from evaluation.summary import NOTHING, Cell, Line, Table, cell, number, percent, whole, with_means, words


def statistics_table(results: Results, split: str) -> Table | None:
    """Interquartile mean of the weekly scores and probability of a better week than the reference's, best first."""
    rows = _of(results.policies, split)
    if rows.empty:
        return None
    reference = str(rows["reference"].iloc[0])
    lines = [
        Line(
            row["policy"],
            f"{row['seeds']:.0f}",
            _mark(results, row["policy"], reference),
            [
                Cell(f"{row['weeks']:.0f}"),
                cell(row["iqm"], row["iqm_low"], row["iqm_high"], percent),
                Cell(NOTHING)
                if row["policy"] == reference
                else cell(row["improvement"], row["improvement_low"], row["improvement_high"], percent),
            ],
        )
        for row in rows.sort_values("iqm", ascending=False).to_dict("records")
    ]
    return Table(["weeks", "interquartile mean", f"better week than {reference}"], lines, "seeds")


def violation_columns(results: Results) -> list[str]:
    """Columns that tell of violations: degree-hours, periods and money of each kind."""
    known = [*(f"{p}_periods" for p in PENALTIES), *(f"{p}_gbp" for p in PENALTIES)]
    return [c for c in results.rows.columns if c in known or c.endswith("excess_c_h")]


def violation_table(results: Results, split: str) -> Table | None:
    """How often and how badly each policy broke a service level, a temperature or a limit."""
    columns = violation_columns(results)
    if not columns:
        return None
    lines = [
        Line(row["policy"], row["seed"], "", [Cell((whole if c.endswith("_gbp") else number)(row[c])) for c in columns])
        for row in with_means(results, split)
    ]
    return Table([words(column) for column in columns], lines)


def robustness_table(results: Results) -> Table | None:
    """A line per hard case, a column per policy: its share of foresight or, without an oracle, its lead.

    Of several seeds the mean stands there with the range of the seeds, of one its 95 % interval.
    """
    rows = results.robustness
    if rows.empty:
        return None
    reference = str(rows["reference"].iloc[0])
    shares = rows["capture"].notna().any()
    names = [name for name in dict.fromkeys(rows["policy"]) if name != IDLE and (shares or name != reference)]
    lines = []
    for case in dict.fromkeys(rows["split"]):
        of_case = rows[rows["split"] == case]
        cells = [_seeds_cell(of_case[of_case["policy"] == name], bool(shares)) for name in names]
        lines.append(Line(case.replace("_", " "), "", "", cells))
    return Table(names, lines, None, "case")


def forecast_table(results: Results) -> Table | None:
    """How the forecasts that policies were shown came true, by split and lead."""
    rows = results.forecasts
    if rows.empty:
        return None
    lines = [
        Line(
            row["split"],
            f"{row['lead_h']:g}",
            "",
            [
                Cell(number(row["mean_absolute_error"])),
                Cell(number(row["mean_error"])),
                *(Cell(percent(row[below(0.5 + half)] - row[below(0.5 - half)])) for half in (0.25, 0.4, 0.45)),
                Cell(whole(row["periods"])),
            ],
        )
        for row in rows.to_dict("records")
    ]
    titles = ["mean abs. error", "mean error", "in the 50 % band", "in the 80 % band", "in the 90 % band", "periods"]
    return Table(titles, lines, "lead, h", "split")


def belief_table(results: Results, split: str) -> Table | None:
    """What policies that plan expected of the coming day against what it brought, best first."""
    if not set(BELIEFS) <= set(results.rows.columns):
        return None
    rows = _of(results.rows, split).dropna(subset=list(BELIEFS)).sort_values("value_gbp", ascending=False)
    if rows.empty:
        return None
    lines = [
        Line(
            row["policy"],
            row["seed"],
            _mark(results, row["policy"], str(row["reference"])),
            [
                Cell(number(row["believed_day_mean"])),
                Cell(number(row["got_day_mean"])),
                Cell(percent(row["got_day_mean"] / row["believed_day_mean"]) if row["believed_day_mean"] else NOTHING),
                Cell(number(row["believed_correlation"])),
            ],
        )
        for row in rows.to_dict("records")
    ]
    return Table(["believed, GBP a day", "got, GBP a day", "got of it", "correlation"], lines)


def _seeds_cell(rows: pd.DataFrame, shares: bool) -> Cell:
    name, form = ("capture", percent) if shares else ("lead", whole)
    unit = "" if shares else "_gbp"
    values = pd.to_numeric(rows[f"{name}{unit}"])
    if len(rows) != 1:
        return cell(values.mean(), values.min(), values.max(), form)
    row: Any = rows.iloc[0]
    return cell(row[f"{name}{unit}"], row[f"{name}_low{unit}"], row[f"{name}_high{unit}"], form)


def _mark(results: Results, policy: str, reference: str) -> str:
    if policy == ORACLE:
        return "foresight, played"
    return "winner" if policy == results.winner else "reference" if policy == reference else ""


def _of(frame: pd.DataFrame, split: str) -> pd.DataFrame:
    return frame[frame["split"] == split] if len(frame) else frame
