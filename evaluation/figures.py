"""Pictures of a backtest."""

from typing import Any, Final, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import StrMethodFormatter

from evaluation.backtest import IDLE, ORACLE
from evaluation.drawing import COLOURS, INK, NARROW_IN, STYLE, WIDE_IN, legend, money, panels, short, utc
from evaluation.metrics import WEEK, step_h
from evaluation.results import Results
from evaluation.summary import played, ranked_runs, run_name, splits_of, term_columns, trace_of, whole

LEARNT: Final = "ppo"  # shown in the week beside the winner, the reference and the oracle
FASTEST_MS: Final = 1e-4  # a logarithmic axis needs an end
ORACLE_COLOUR: Final = "#7d8894"


class TypicalWeek(NamedTuple):
    """A week of the last split.

    Attributes:
        split: Name of the split.
        judge: The policy whose median week it is.
        rows: Rows of the traces.
    """

    split: str
    judge: str
    rows: slice


def typical_week(results: Results) -> TypicalWeek | None:
    """The whole week, counted from the start of the last split, in which the oracle earned its median.

    Without an oracle the winner's week is taken. None if its trace tells of no charge or price, or no week is whole.
    """
    split = splits_of(results)[-1]
    judge = ORACLE if played(results, ORACLE) else results.winner
    trace = trace_of(results, judge, split)
    if "charge_fraction" not in trace or _price(trace) is None:
        return None
    steps = round(pd.Timedelta(WEEK) / pd.Timedelta(hours=step_h(trace)))
    weeks = len(trace) // steps
    if not weeks:
        return None
    earned = trace["reward_gbp"].to_numpy()[: weeks * steps].reshape(weeks, steps).sum(axis=1)
    chosen = int(np.argsort(earned, kind="stable")[(weeks - 1) // 2])
    return TypicalWeek(split, judge, slice(chosen * steps, (chosen + 1) * steps))


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
    legend(figure, _policy_handles(results), width_in)
    return figure


@mpl.rc_context(STYLE)
def overview(results: Results, width_in: float = WIDE_IN) -> Figure:
    """One picture that tells the result of the last split: value, and how it came."""
    split = splits_of(results)[-1]
    figure, (left, right) = panels(2, width_in, 1.2 + 0.32 * len(ranked_runs(results)))
    _draw_values(left, results, split)
    _draw_cumulative(right, results, split)
    left.set_title(f"{split}: value with 95 % interval")
    right.set_title(f"{split}: gained over idle")
    legend(figure, _policy_handles(results), width_in)
    return figure


@mpl.rc_context(STYLE)
def terms(results: Results, width_in: float = WIDE_IN) -> Figure:
    """What each money term adds to doing nothing, averaged over seeds; the diamond is their sum."""
    splits, columns = splits_of(results), moving_terms(results)
    policies = list(dict.fromkeys(policy for policy, _ in ranked_runs(results) if policy != IDLE))
    figure, drawn = panels(len(splits), width_in, 0.9 + 0.32 * len(policies))
    heights = range(len(policies))
    colours = {column: COLOURS[i % len(COLOURS)] for i, column in enumerate(columns)}
    for axes, split in zip(drawn, splits, strict=True):
        gained = _gained(results, split)[columns].reindex(policies)
        for side in (gained.clip(lower=0.0), gained.clip(upper=0.0)):
            starts = side.cumsum(axis=1) - side
            for column in columns:
                axes.barh(heights, side[column], left=starts[column], height=0.55, color=colours[column])
        axes.plot(gained.sum(axis=1, min_count=1), heights, "D", color=INK, markersize=4)
        axes.axvline(0.0, color=INK, linewidth=0.6)
        axes.set_yticks(heights, [short(policy) for policy in policies])
        axes.set_ylim(-0.5, len(policies) - 0.5)
        axes.use_sticky_edges = False
        axes.margins(x=0.05)
        axes.grid(axis="x")
        money(axes.xaxis)
        axes.set_xlabel("gained over idle, GBP")
        axes.set_title(split)
    handles: list[Any] = [Patch(color=colours[c], label=c.removesuffix("_gbp").replace("_", " ")) for c in columns]
    legend(figure, [*handles, Line2D([], [], color=INK, marker="D", markersize=4, ls="", label="sum")], width_in)
    return figure


@mpl.rc_context(STYLE)
def latency(results: Results, width_in: float = WIDE_IN) -> Figure:
    """Median to 99th percentile of the time a decision takes on the last split; the oracle decides nothing live."""
    split, colours = splits_of(results)[-1], _colours(results)
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
def week(results: Results, width_in: float = WIDE_IN) -> Figure | None:
    """State of charge under the price it met, for the chosen policies; None without a typical week."""
    typical = typical_week(results)
    if typical is None:
        return None
    chosen = (results.winner, results.rows["reference"].iloc[0], LEARNT, ORACLE)
    shown = {p: trace_of(results, p, typical.split).iloc[typical.rows] for p in chosen if played(results, p)}
    figure, drawn = panels(1 + len(shown), width_in, 1.15, stacked=True)
    days = pd.DatetimeIndex(shown[typical.judge].index).normalize().unique()
    price = shown[typical.judge][_price(shown[typical.judge])]
    step = pd.Timedelta(hours=step_h(shown[typical.judge]))
    drawn[0].step(utc(price.index), price, where="post", color=INK, linewidth=1.0)
    drawn[0].set_title(f"{str(price.name).removesuffix('_gbp_per_mwh').replace('_', ' ')}, GBP/MWh")
    for axes, (policy, trace) in zip(drawn[1:], shown.items(), strict=True):
        # Telemetry is read after a step, so its charge belongs to the step's end.
        ends, charge_percent = utc(trace.index + step), 100.0 * trace["charge_fraction"]
        colour = _colours(results)[policy]
        axes.fill_between(ends, charge_percent, color=colour, alpha=0.3, linewidth=0.0)
        axes.plot(ends, charge_percent, color=colour, linewidth=1.2)
        axes.set_ylim(0.0, 100.0)
        axes.set_yticks([0, 50, 100])
        axes.set_title(f"{short(policy)}: state of charge, % ({whole(trace['reward_gbp'].sum())} GBP)")
    for axes in drawn:
        axes.grid()
        axes.set_xlim(utc(price.index)[0], utc(price.index + step)[-1])
        axes.set_xticks(utc(days), days.strftime("%a %d %b" if width_in > NARROW_IN else "%d %b"))
        axes.tick_params(axis="x", labelbottom=axes is drawn[-1], labelsize=8)
    return figure


def _draw_values(axes: Axes, results: Results, split: str) -> None:
    runs, colours = ranked_runs(results), _colours(results)
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
    money(axes.xaxis)
    axes.set_xlabel("value, GBP (dashed: proved bound)")
    axes.set_title(split)


def _draw_cumulative(axes: Axes, results: Results, split: str) -> None:
    colours, idle = _colours(results), trace_of(results, IDLE, split)
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


def _policy_handles(results: Results) -> list[Any]:
    return [
        Line2D([], [], color=colour, linestyle="--" if policy == ORACLE else "-", label=short(policy))
        for policy, colour in _colours(results).items()
        if policy != IDLE
    ]


def _name_rows(axes: Axes, results: Results, runs: list[tuple[str, int]]) -> None:
    axes.set_yticks(range(len(runs)), [short(run_name(results.rows, *run)) for run in runs])
    axes.set_ylim(-0.5, len(runs) - 0.4)


def _colours(results: Results) -> dict[str, str]:
    others = [policy for policy in dict.fromkeys(results.rows["policy"]) if policy != ORACLE]
    colours = {policy: COLOURS[i % len(COLOURS)] for i, policy in enumerate(others)}
    return colours | ({ORACLE: ORACLE_COLOUR} if played(results, ORACLE) else {})


def _by_run(results: Results, split: str) -> dict[tuple[str, int], Any]:
    rows = results.rows[results.rows["split"] == split]
    runs = zip(rows["policy"], rows["seed"].astype(int), strict=True)
    return dict(zip(runs, rows.itertuples(), strict=True))


def _gained(results: Results, split: str) -> pd.DataFrame:
    """Each term of each policy beyond that of doing nothing."""
    rows = results.rows[results.rows["split"] == split]
    means = rows.groupby("policy")[term_columns(results)].mean()
    return means - means.loc[IDLE]


def _price(trace: pd.DataFrame) -> str | None:
    """The first price that a trace tells."""
    return next((str(c) for c in trace.columns if str(c).endswith("_price_gbp_per_mwh")), None)
