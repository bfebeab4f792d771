"""Pictures that question a backtest: where its money came from, what it risked and emitted, how sure one can be."""

from math import ceil
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from evaluation.backtest import IDLE, ORACLE, Run, drawdown, gained
from evaluation.calibration import below
from evaluation.drawing import COLOURS, INK, NARROW_IN, STYLE, WIDE_IN, legend, money, panels, short, utc
from evaluation.figures import ORACLE_COLOUR, moving_terms, palette, policy_handles
from evaluation.results import Results
from evaluation.statistics import profile, scores
from evaluation.summary import ranked_runs, reported_split, trace_of, whole
from forecasting.forecast import QUANTILES

GAIN, LOSS = COLOURS[2], COLOURS[6]
SHOWN_LEADS_H: Final = (0.0, 1.5, 7.5, 23.5)
PROFILE_POINTS: Final = 81


@mpl.rc_context(STYLE)
def waterfall(results: Results, width_in: float = WIDE_IN) -> Figure:
    """From doing nothing to each policy's value on the last split, money term by money term; means over seeds."""
    split, columns = reported_split(results), moving_terms(results)
    names = list(dict.fromkeys(policy for policy, _ in reversed(ranked_runs(results)) if policy != IDLE))
    across = 1 if width_in <= NARROW_IN else min(3, len(names))
    down = ceil(len(names) / across)
    figure = Figure(figsize=(width_in, down * (0.75 + 0.2 * (len(columns) + 1))), layout="constrained")
    drawn = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    gains = _gained_terms(results, split)[columns]
    labels = [c.removesuffix("_gbp").replace("_", " ") for c in columns]
    heights = np.arange(len(columns), -1.0, -1.0)
    for axes, name in zip(drawn, names, strict=False):
        steps = gains.loc[name].to_numpy()
        starts = np.cumsum(steps) - steps
        axes.barh(heights[:-1], steps, left=starts, height=0.6, color=np.where(steps >= 0.0, GAIN, LOSS))
        ends = np.cumsum(steps)
        axes.vlines(ends, heights[:-1] - 1.0, heights[:-1], color=INK, linewidth=0.5, alpha=0.6)
        axes.barh(heights[-1], steps.sum(), height=0.6, color=INK)
        axes.axvline(0.0, color=INK, linewidth=0.6)
        axes.set_yticks(heights, [*labels, "sum"])
        axes.use_sticky_edges = False
        axes.margins(x=0.05)
        axes.grid(axis="x")
        money(axes.xaxis)
        axes.tick_params(labelsize=8, labelbottom=True)
        axes.set_title(f"{short(name)}: {whole(steps.sum())}")
    for axes in drawn[len(names) :]:
        axes.remove()
    figure.supxlabel(f"{split}: gained over idle, GBP", fontsize=9.0)
    return figure


@mpl.rc_context(STYLE)
def drawdowns(results: Results, width_in: float = WIDE_IN) -> Figure:
    """How far each policy's gain over idle lay below its highest so far, on the last split."""
    split = reported_split(results)
    idle, (figure, (axes,)) = trace_of(results, IDLE, split), panels(1, width_in, 2.6)
    for policy, colour in palette(results).items():
        if policy not in (IDLE, ORACLE):
            trace = trace_of(results, policy, split)
            daily = pd.Series(drawdown(gained(trace, idle)), trace.index).resample("24h", origin="start").max()
            axes.plot(utc(daily.index), -daily.to_numpy(), color=colour, linewidth=1.2)
    axes.grid(axis="y")
    money(axes.yaxis)
    axes.set_ylim(top=0.0)
    axes.set_ylabel("below its highest, GBP")
    axes.set_title(split)
    legend(figure, [h for h in policy_handles(results) if h.get_label() != ORACLE], width_in)
    return figure


@mpl.rc_context(STYLE)
def frontier(results: Results, width_in: float = WIDE_IN) -> Figure | None:
    """Carbon against cost without the carbon price on the last split; the line joins what nothing beats in both."""
    if "carbon_kg" not in results.rows:
        return None
    rows = results.rows[results.rows["split"] == reported_split(results)]
    carbon_t = rows["carbon_kg"].to_numpy() / 1000.0
    cost_gbp = (rows.get("carbon_gbp", 0.0) - rows["value_gbp"]).to_numpy()
    figure, (axes,) = panels(1, width_in, 3.4)
    order = np.argsort(cost_gbp, kind="stable")
    best = order[carbon_t[order] <= np.minimum.accumulate(carbon_t[order])]
    axes.plot(cost_gbp[best], carbon_t[best], color=ORACLE_COLOUR, linewidth=1.0, linestyle="--", zorder=1)
    for policy, colour in palette(results).items():
        its = (rows["policy"] == policy).to_numpy()
        axes.plot(cost_gbp[its], carbon_t[its], "o", color=colour, markersize=6)
    axes.grid()
    money(axes.xaxis)
    money(axes.yaxis)
    axes.set_xlabel("cost without the carbon price, GBP")
    axes.set_ylabel("carbon, t")
    axes.set_title(reported_split(results))
    handles: list[Any] = [
        Line2D([], [], color=c, marker="o", ls="", label=short(p)) for p, c in palette(results).items()
    ]
    legend(figure, handles, width_in)
    return figure


@mpl.rc_context(STYLE)
def profiles(results: Results, width_in: float = WIDE_IN) -> Figure | None:
    """Share of weeks and seeds that score above a threshold, with 95 % bands, on the last split."""
    split = reported_split(results)
    runs: dict[str, list[Run]] = {}
    for (policy, played, seed), trace in results.traces.items():
        if played == split:
            runs.setdefault(policy, []).append(Run(policy, seed, trace))
    found = {name: each for name, each in scores(runs).items() if name != ORACLE and each.size}
    if not found:
        return None
    every = np.concatenate([each.ravel() for each in found.values()])
    low, high = np.percentile(every, [1.0, 99.0])
    threshold = np.linspace(min(low, 0.0), max(high, low + 0.1), PROFILE_POINTS)
    figure, (axes,) = panels(1, width_in, 3.0)
    for name, each in found.items():
        drawn, colour = profile(each, threshold), palette(results)[name]
        axes.fill_between(100.0 * threshold, 100.0 * drawn.low, 100.0 * drawn.high, color=colour, alpha=0.15, lw=0.0)
        axes.plot(100.0 * threshold, 100.0 * drawn.share, color=colour, linewidth=1.4)
    axes.grid()
    axes.set_ylim(-2.0, 102.0)
    axes.set_xlabel("weekly score, %")
    axes.set_ylabel("weeks and seeds above it, %")
    axes.set_title(split)
    legend(figure, [h for h in policy_handles(results) if h.get_label() != ORACLE], width_in)
    return figure


@mpl.rc_context(STYLE)
def reliability(results: Results, width_in: float = WIDE_IN) -> Figure | None:
    """How often the price came below each forecast quantile, and how the error grows with the lead."""
    rows = results.forecasts
    if rows.empty:
        return None
    split = reported_split(results)
    rows = rows[rows["split"] == split]
    figure, (left, right) = panels(2, width_in, 3.0)
    nominal = 100.0 * np.array(QUANTILES)
    left.plot([0.0, 100.0], [0.0, 100.0], color=ORACLE_COLOUR, linestyle="--", linewidth=1.0)
    handles: list[Any] = []
    for lead_h, colour in zip(SHOWN_LEADS_H, COLOURS, strict=False):
        for _, row in rows[rows["lead_h"] == lead_h].iterrows():
            left.plot(nominal, [100.0 * row[below(q)] for q in QUANTILES], "o-", color=colour, markersize=4, lw=1.2)
            handles.append(Patch(color=colour, label=f"{lead_h:g} h ahead"))
    left.set_xlabel("should come below, %")
    left.set_ylabel("came below, %")
    left.set_title(f"{split}: calibration")
    right.plot(rows["lead_h"], rows["mean_absolute_error"], "o-", color=INK, markersize=4, linewidth=1.2)
    right.plot(rows["lead_h"], rows["mean_error"], "s--", color=INK, markersize=3, linewidth=1.0)
    right.axhline(0.0, color=INK, linewidth=0.6)
    right.set_xlabel("lead, h")
    right.set_title("error, GBP/MWh")
    for axes in (left, right):
        axes.grid()
    legend(figure, handles, width_in)
    return figure


def _gained_terms(results: Results, split: str) -> pd.DataFrame:
    """Each money term of each policy beyond that of doing nothing, mean over seeds."""
    rows = results.rows[results.rows["split"] == split]
    means = rows.groupby("policy")[moving_terms(results)].mean()
    return means - means.loc[IDLE]
