"""Pictures of a backtest."""

from typing import Any, Final, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import NDArray

from evaluation.backtest import IDLE, ORACLE
from evaluation.drawing import COLOURS, INK, NARROW_IN, STYLE, WIDE_IN, legend, money, panels, short, utc
from evaluation.metrics import step_h, week_steps
from evaluation.results import Results
from evaluation.summary import (
    learnt,
    played,
    ranked_runs,
    reported_split,
    run_name,
    splits_of,
    term_columns,
    trace_of,
    whole,
)

FASTEST_MS: Final = 1e-4  # a logarithmic axis needs an end
ORACLE_COLOUR: Final = "#7d8894"


class Week(NamedTuple):
    """A week of the last split.

    Attributes:
        split: Name of the split.
        judge: The policy whose median week it is, or "price" for the week in which the price moved most.
        rows: Rows of the traces.
    """

    split: str
    judge: str
    rows: slice


def typical_week(results: Results) -> Week | None:
    """The whole week, counted from the start of the last split, in which the oracle earned its median.

    Without an oracle the winner's week is taken. None if its trace tells of no decision or price, or no week is whole.
    """
    judge = ORACLE if played(results, ORACLE) else results.winner
    earned = _whole_weeks(results, judge, "reward_gbp").sum(axis=1)
    return _week(results, judge, np.argsort(earned, kind="stable")[(len(earned) - 1) // 2]) if earned.size else None


def hard_week(results: Results) -> Week | None:
    """The whole week of the last split in which the price was most spread out; None as for the typical week."""
    price = _price(trace_of(results, results.winner, reported_split(results)))
    spread = _whole_weeks(results, results.winner, price).std(axis=1) if price else np.zeros(0)
    return _week(results, "price", spread.argmax()) if spread.size else None


def moving_terms(results: Results) -> list[str]:
    """Terms that are worth a penny to anybody."""
    return [c for c in term_columns(results) if results.rows[c].abs().max() >= 0.01]


@mpl.rc_context(STYLE)
def values(results: Results, width_in: float = WIDE_IN) -> Figure:
    """Value of every run with its 95 % interval beside the proved bound, one panel a split."""
    splits, runs = splits_of(results), ranked_runs(results)
    figure, drawn = panels(len(splits), width_in, 0.9 + 0.32 * len(runs))
    for axes, split in zip(drawn, splits, strict=True):
        _draw_values(axes, results, split)
    return figure


@mpl.rc_context(STYLE)
def cumulative(results: Results, width_in: float = WIDE_IN) -> Figure:
    """Money gained over doing nothing as each split goes by."""
    splits = splits_of(results)
    figure, drawn = panels(len(splits), width_in, 3.0)
    for axes, split in zip(drawn, splits, strict=True):
        _draw_cumulative(axes, results, split)
    legend(figure, policy_handles(results), width_in)
    return figure


@mpl.rc_context(STYLE)
def overview(results: Results, width_in: float = WIDE_IN) -> Figure:
    """One picture that tells the result of the last split: value, and how it came."""
    split = reported_split(results)
    figure, (left, right) = panels(2, width_in, 1.2 + 0.32 * len(ranked_runs(results)))
    _draw_values(left, results, split)
    _draw_cumulative(right, results, split)
    left.set_title(f"{split}: value with 95 % interval")
    right.set_title(f"{split}: gained over idle")
    legend(figure, policy_handles(results), width_in)
    return figure


@mpl.rc_context(STYLE)
def latency(results: Results, width_in: float = WIDE_IN) -> Figure:
    """Median to 99th percentile of the time a decision takes on the last split; the oracle decides nothing live."""
    split, colours = reported_split(results), palette(results)
    rows = _by_run(results, split)
    runs = [run for run in ranked_runs(results) if run[0] != ORACLE and run in rows]
    figure, (axes,) = panels(1, width_in, 0.9 + 0.26 * len(runs))
    for height, run in enumerate(runs):
        median, p99 = (max(ms, FASTEST_MS) for ms in (rows[run].decision_ms_median, rows[run].decision_ms_p99))
        axes.hlines(height, median, p99, color=colours[run[0]], linewidth=2.2)
        axes.plot(median, height, "o", color=colours[run[0]], markersize=6)
        axes.plot(p99, height, "|", color=colours[run[0]], markersize=10, markeredgewidth=2.2)
    _name_rows(axes, results, runs)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.minorticks_off()
    axes.grid(axis="x")
    axes.set_xlabel("ms per decision: dot median, end p99")
    axes.set_title(split)
    return figure


@mpl.rc_context(STYLE)
def week(results: Results, width_in: float = WIDE_IN, chosen: Week | None = None) -> Figure | None:
    """What the policies did in a week (the typical one if none is given) under the price it met; None without a week.

    The fill is the state of charge, the line the import; a system that has one of them only shows that.
    """
    chosen = chosen or typical_week(results)
    if chosen is None:
        return None
    names = dict.fromkeys((results.winner, results.rows["reference"].iloc[0], *learnt(results), ORACLE))
    shown = {p: trace_of(results, p, chosen.split).iloc[chosen.rows] for p in names if played(results, p)}
    first = next(iter(shown.values()))
    figure, drawn = panels(1 + len(shown), width_in, 1.15, stacked=True)
    days = pd.DatetimeIndex(first.index).normalize().unique()
    price, step = first[_price(first)], pd.Timedelta(hours=step_h(first))
    drawn[0].step(utc(price.index), price, where="post", color=INK, linewidth=1.0)
    drawn[0].set_title(f"{str(price.name).removesuffix('_gbp_per_mwh').replace('_', ' ')}, GBP/MWh")
    for axes, (policy, trace) in zip(drawn[1:], shown.items(), strict=True):
        _draw_decisions(axes, trace, palette(results)[policy])
        axes.set_title(f"{short(policy)}: {_decided(trace)} ({whole(trace['reward_gbp'].sum())} GBP)")
    for axes in drawn:
        axes.grid()
        axes.set_xlim(utc(price.index)[0], utc(price.index + step)[-1])
        axes.set_xticks(utc(days), days.strftime("%a %d %b" if width_in > NARROW_IN else "%d %b"))
        axes.tick_params(axis="x", labelbottom=axes is drawn[-1], labelsize=8)
    return figure


def _decided(trace: pd.DataFrame) -> str:
    shown = {"charge_fraction": "state of charge, %", "grid_kw": "import, kW"}
    return " and ".join(words for column, words in shown.items() if column in trace)


def _draw_decisions(axes: Axes, trace: pd.DataFrame, colour: str) -> None:
    if "charge_fraction" in trace:
        # Telemetry is read after a step, so its charge belongs to the step's end.
        step = pd.Timedelta(hours=step_h(trace))
        ends, charge_percent = utc(trace.index + step), 100.0 * trace["charge_fraction"]
        axes.fill_between(ends, charge_percent, color=colour, alpha=0.3, linewidth=0.0)
        axes.plot(ends, charge_percent, color=colour, linewidth=1.2)
        axes.set_ylim(0.0, 100.0)
        axes.set_yticks([0, 50, 100])
    if "grid_kw" in trace:
        line = axes.twinx() if "charge_fraction" in trace else axes
        line.step(utc(trace.index), trace["grid_kw"], where="post", color=INK if line is not axes else colour, lw=0.9)
        line.spines["right"].set_visible(line is not axes)
        money(line.yaxis)


def _draw_values(axes: Axes, results: Results, split: str) -> None:
    runs, colours = ranked_runs(results), palette(results)
    rows = _by_run(results, split)
    for height, run in enumerate(runs):
        if run in rows:
            row, colour = rows[run], colours[run[0]]
            axes.hlines(height, row.value_low_gbp, row.value_high_gbp, color=colour, linewidth=2.2)
            axes.plot(row.value_gbp, height, "o", color=colour, markersize=6)
            axes.annotate(
                whole(row.value_gbp),
                (row.value_gbp, height),
                (0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    bound_gbp = next(iter(rows.values())).bound_gbp
    if not pd.isna(bound_gbp):
        axes.vlines(bound_gbp, -0.5, len(runs) - 1, color=ORACLE_COLOUR, linestyle="--", linewidth=1.0)
    _name_rows(axes, results, runs)
    axes.grid(axis="x")
    axes.margins(x=0.1)
    money(axes.xaxis, 3)  # beside two other splits there is room for no more
    axes.set_xlabel("value, GBP (dashed: proved bound)")
    axes.set_title(split)


def _draw_cumulative(axes: Axes, results: Results, split: str) -> None:
    colours, idle = palette(results), trace_of(results, IDLE, split)
    for policy, seed in ranked_runs(results):
        trace = results.traces.get((policy, split, seed))
        if policy != IDLE and trace is not None:
            gained = np.cumsum(trace["reward_gbp"].to_numpy() - idle["reward_gbp"].to_numpy())
            a_day = round(24.0 / step_h(trace))
            shown = np.union1d(np.arange(0, len(gained), a_day), len(gained) - 1)  # a point a day is enough
            style = "--" if policy == ORACLE else "-"
            axes.plot(utc(trace.index)[shown], gained[shown], color=colours[policy], linestyle=style, linewidth=1.4)
    axes.grid(axis="y")
    money(axes.yaxis)
    axes.set_ylabel("gained over idle, GBP")
    axes.set_title(split)


def policy_handles(results: Results) -> list[Any]:
    """Legend of every policy but idle."""
    return [
        Line2D([], [], color=colour, linestyle="--" if policy == ORACLE else "-", label=short(policy))
        for policy, colour in palette(results).items()
        if policy != IDLE
    ]


def _name_rows(axes: Axes, results: Results, runs: list[tuple[str, int]]) -> None:
    axes.set_yticks(range(len(runs)), [short(run_name(results.rows, *run)) for run in runs])
    axes.set_ylim(-0.5, len(runs) - 0.4)


def palette(results: Results) -> dict[str, str]:
    """One colour per policy, the same in every picture."""
    others = [policy for policy in dict.fromkeys(results.rows["policy"]) if policy != ORACLE]
    colours = {policy: COLOURS[i % len(COLOURS)] for i, policy in enumerate(others)}
    return colours | ({ORACLE: ORACLE_COLOUR} if played(results, ORACLE) else {})


def _by_run(results: Results, split: str) -> dict[tuple[str, int], Any]:
    rows = results.rows[results.rows["split"] == split]
    runs = zip(rows["policy"], rows["seed"].astype(int), strict=True)
    return dict(zip(runs, rows.itertuples(), strict=True))


def _whole_weeks(results: Results, policy: str, column: str) -> NDArray[np.float64]:
    """A column of a policy's trace on the last split, shape (whole weeks, steps)."""
    trace = trace_of(results, policy, reported_split(results))
    steps = week_steps(trace)
    weeks = len(trace) // steps
    return trace[column].to_numpy(dtype=np.float64)[: weeks * steps].reshape(weeks, steps)


def _week(results: Results, judge: str, number: np.intp) -> Week | None:
    split = reported_split(results)
    trace = trace_of(results, results.winner, split)
    if _price(trace) is None or not _decided(trace):
        return None
    steps = week_steps(trace)
    return Week(split, judge, slice(int(number) * steps, (int(number) + 1) * steps))


def _price(trace: pd.DataFrame) -> str | None:
    """The first price that a trace tells."""
    return next((str(c) for c in trace.columns if str(c).endswith("_price_gbp_per_mwh")), None)
