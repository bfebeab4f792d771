"""Pictures of a backtest of forecasters; each takes what `evaluation.forecast_results` found for one target."""

from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from data.schema import PERIOD_H
from evaluation.drawing import COLOURS, INK, NARROW_IN, STYLE, WIDE_IN, legend, panels, utc
from evaluation.forecast_scores import INTERVALS
from forecasting.forecast import LEADS, QUANTILES

IMPORTANT: Final = 12  # inputs shown
FAN_SHADES: Final = (0.18, 0.28, 0.4)  # the widest interval first


def forecasters(found: dict[str, Any]) -> list[str]:
    """Every forecaster of a target, the naive one first."""
    return list(found["seconds"])


@mpl.rc_context(STYLE)
def leads(found: dict[str, Any], unit: str, width_in: float = WIDE_IN) -> Figure:
    """Pinball loss by lead, one panel a split."""
    figure, drawn = panels(len(found["by_lead"]), width_in, 3.0)
    hours = np.arange(LEADS) * PERIOD_H
    for axes, (split, lines) in zip(drawn, found["by_lead"].items(), strict=True):
        for name, loss in lines.items():
            axes.plot(hours, np.array(loss, dtype=float), color=_colour(found, name), linewidth=1.4)
        axes.set_xlim(0.0, 24.0)
        axes.set_xticks(range(0, 25, 6))
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel("hours ahead")
        axes.set_ylabel(f"pinball loss, {unit}")
        axes.set_title(split)
        axes.grid()
    legend(figure, _handles(found), width_in)
    return figure


@mpl.rc_context(STYLE)
def months(found: dict[str, Any], unit: str, width_in: float = WIDE_IN) -> Figure:
    """Skill over the naive forecaster month by month."""
    figure, (axes,) = panels(1, width_in, 2.8)
    rows = [row for row in found["rows"] if row["by"] == "month" and row["count"]]
    names = sorted({row["group"] for row in rows})
    for name in forecasters(found)[1:]:
        mine = {row["group"]: row["skill_over_naive"] for row in rows if row["forecaster"] == name}
        percent = [100.0 * value if (value := mine.get(month)) is not None else np.nan for month in names]
        axes.plot(range(len(names)), percent, "o-", color=_colour(found, name), linewidth=1.2, markersize=4)
    axes.axhline(0.0, color=INK, linewidth=0.6)
    step = 1 if width_in > NARROW_IN else 2
    axes.set_xticks(range(0, len(names), step), [f"{pd.Timestamp(m):%b %y}" for m in names[::step]], fontsize=8)
    axes.set_ylabel(f"less loss than {found['naive']}, %")
    axes.grid(axis="y")
    legend(figure, _handles(found, forecasters(found)[1:]), width_in)
    return figure


@mpl.rc_context(STYLE)
def reliability(found: dict[str, Any], unit: str, width_in: float = WIDE_IN) -> Figure:
    """How often outcomes stayed at or below each quantile, less how often they should."""
    figure, drawn = panels(len(found["reliability"]), width_in, 3.0)
    levels = 100.0 * np.array(QUANTILES)
    for axes, (split, lines) in zip(drawn, found["reliability"].items(), strict=True):
        axes.plot([0.0, 100.0], [0.0, 100.0], color=INK, linewidth=0.8, linestyle="--")
        for name, shares in lines.items():
            observed = 100.0 * np.array(shares, dtype=float)
            axes.plot(levels, observed, "o-", color=_colour(found, name), linewidth=1.2, markersize=4)
        axes.set_xlim(0.0, 100.0)
        axes.set_ylim(0.0, 100.0)
        axes.set_xlabel("forecast probability, %")
        axes.set_ylabel("observed share, %")
        axes.set_title(split)
        axes.grid()
    legend(figure, _handles(found), width_in)
    return figure


@mpl.rc_context(STYLE)
def fan(found: dict[str, Any], unit: str, width_in: float = WIDE_IN) -> Figure | None:
    """Quantiles of the best forecaster over the hard week, and what came."""
    told = found["fan"]
    if not told["times"]:
        return None
    figure, (axes,) = panels(1, width_in, 3.2)
    times, quantiles = utc(pd.to_datetime(told["times"])), np.array(told["quantiles"], dtype=float)
    colour = _colour(found, told["forecaster"])
    for (low, high), shade in zip(INTERVALS.values(), FAN_SHADES, strict=True):
        axes.fill_between(times, quantiles[:, low], quantiles[:, high], color=colour, alpha=shade, linewidth=0.0)
    axes.plot(times, quantiles[:, QUANTILES.index(0.5)], color=colour, linewidth=1.2)
    axes.plot(times, np.array(told["truth"], dtype=float), color=INK, linewidth=1.0)
    axes.set_xlim(times[0], times[-1])
    days = pd.DatetimeIndex(times).normalize().unique()
    axes.set_xticks(days.to_numpy(), days.strftime("%a %d %b" if width_in > NARROW_IN else "%d"), fontsize=8)
    axes.set_ylabel(unit)
    axes.grid()
    lines = [Line2D([], [], color=INK, label="what came"), Line2D([], [], color=colour, label="median")]
    bands = [
        Line2D([], [], color=colour, alpha=shade, linewidth=6, label=f"{100 * share:.0f} %")
        for share, shade in zip(INTERVALS, FAN_SHADES, strict=True)
    ]
    legend(figure, [*lines, *bands], width_in)
    return figure


@mpl.rc_context(STYLE)
def importance(found: dict[str, Any], unit: str, width_in: float = WIDE_IN) -> Figure | None:
    """Most important inputs of the forecasters that tell."""
    if not found["importance"]:
        return None
    figure, drawn = panels(len(found["importance"]), width_in, 3.6)
    for axes, (name, shares) in zip(drawn, found["importance"].items(), strict=True):
        top = sorted(shares.items(), key=lambda item: item[1])[-IMPORTANT:]
        axes.barh(range(len(top)), [100.0 * share for _, share in top], height=0.6, color=_colour(found, name))
        axes.set_yticks(range(len(top)), [label.replace("_", " ") for label, _ in top], fontsize=8)
        axes.set_xlabel("share of the loss taken off, %")
        axes.set_title(name)
        axes.grid(axis="x")
    return figure


@mpl.rc_context(STYLE)
def capture(results: dict[str, Any], width_in: float = WIDE_IN) -> Figure | None:
    """What the battery earned with each price forecast over how good the forecast was."""
    if not results["capture"]:
        return None
    price = next(found for found in results["targets"] if found["column"] == "imbalance_price_gbp_per_mwh")
    splits = list(price["by_lead"])
    figure, drawn = panels(len(splits), width_in, 3.0)
    for axes, split in zip(drawn, splits, strict=True):
        _draw_capture(axes, price, [row for row in results["capture"] if row["split"] == split], split)
    legend(figure, _handles(price), width_in)
    return figure


def _draw_capture(axes: Axes, price: dict[str, Any], rows: list[dict[str, Any]], split: str) -> None:
    loss = {row["forecaster"]: row["pinball"] for row in price["rows"] if (row["split"], row["by"]) == (split, "all")}
    for row in rows:
        if row["policy"] in loss:
            percent = [100.0 * row[key] for key in ("capture", "capture_low", "capture_high")]
            colour = _colour(price, row["policy"])
            axes.vlines(loss[row["policy"]], percent[1], percent[2], color=colour, linewidth=1.6)
            axes.plot(loss[row["policy"]], percent[0], "o", color=colour, markersize=6)
    axes.set_xlabel("pinball loss, GBP/MWh")
    axes.set_ylabel("share of perfect foresight, %")
    axes.set_title(split)
    axes.margins(x=0.1)
    axes.grid()


def _colour(found: dict[str, Any], name: str) -> str:
    return COLOURS[forecasters(found).index(name) % len(COLOURS)]


def _handles(found: dict[str, Any], names: list[str] | None = None) -> list[Any]:
    return [Line2D([], [], color=_colour(found, name), label=name) for name in names or forecasters(found)]
