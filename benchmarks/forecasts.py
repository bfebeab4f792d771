"""Forecasters and what they earn on one page: `python -m benchmarks.forecasts reports/forecast-gb reports/battery-gb`.

Writes reports/forecasts.md from what `python forecast.py` has written, and from evaluations of the battery with
different forecasters, as many folders as there are.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.page import plain, shareable
from data.schema import PERIOD_MINUTES
from evaluation import forecast_figures
from evaluation.backtest import IDLE
from evaluation.drawing import png
from evaluation.forecast_report import EARNED, earned, line, sentences, titles, unit_of, words
from evaluation.forecast_results import read_results as read_forecasts
from evaluation.results import Results, read_results
from evaluation.summary import NOTHING

PAGE: Final = Path("reports") / "forecasts.md"
PICTURES: Final = "forecasts"
PRICE: Final = "imbalance_price_gbp_per_mwh"
NEAR: Final = 4  # leads


def page(forecasts: Path, evaluations: Sequence[Path], pictures: Path) -> str:
    """Scores and pictures of every target, then shares of foresight by forecaster, Markdown.

    Args:
        forecasts: What `python forecast.py` wrote.
        evaluations: What `python evaluate.py env=battery forecaster=...` wrote.
        pictures: Folder beside the page; its PNGs are made anew.

    Raises:
        FileNotFoundError: A folder holds no results.
    """
    results = read_forecasts(forecasts)
    lines = [
        "# Forecasts",
        "",
        "Every half-hour each forecaster says what it expects of the next 24 hours, from what had been published by "
        "then; what is published already is not scored. Fitted on the training split; each month's weights and "
        "calibration of the ensemble come from the 120 days before it. Made by `python -m benchmarks.forecasts`; do "
        "not edit. What each forecaster is: [docs/forecasting.md](../docs/forecasting.md).",
        "",
    ]
    for found in results["targets"]:
        lines += _target(found)
    price = next((found for found in results["targets"] if found["column"] == PRICE), None)
    lines += [] if price is None else _pictures(price, results, pictures)
    if results["capture"]:
        tables, said = earned(results)
        lines += ["## What accuracy earns", "", *(f"- {plain(each)}" for each in said), ""]
        for split, rows in tables:
            lines += [f"`{results['provenance']['config']['capture']}` on {split}", ""]
            lines += [*_table(["price forecast", *EARNED], ([_named(row), *row.cells] for row in rows)), ""]
    lines += [
        f"Command: `{' '.join(shareable(results['command']))}` at commit `{results['provenance']['commit']}`.",
        "",
    ]
    if evaluations:
        lines += _shares([read_results(folder) for folder in evaluations])
    return "\n".join(lines)


def _target(found: dict[str, Any]) -> list[str]:
    unit, names = unit_of(found["column"]), forecast_figures.forecasters(found)
    lines = [f"## {words(found['column']).capitalize()}", "", *(f"- {plain(each)}" for each in sentences(found))]
    if found["column"] == PRICE:
        lines += [f"- {plain(each)}" for each in _near(found)]
    for split in found["by_lead"]:
        rows = (line(found, split, name) for name in names)
        lines += ["", split, "", *_table(["forecaster", *titles(unit)], ([_named(row), *row.cells] for row in rows))]
    fits = [found["seconds"][name] for name in names]
    cells = [
        [name, f"{each['fit_s']:.0f}", f"{each['predict_ms']:.2f}"] for name, each in zip(names, fits, strict=True)
    ]
    asked = ["forecaster", "fitting, s of CPU", "a row of a long table, ms of CPU"]
    return [*lines, "", *_table(asked, cells), ""]


def _near(found: dict[str, Any]) -> Iterable[str]:
    """How much less the best lost than the built-in over the nearest leads."""
    for split, losses in found["by_lead"].items():
        best, builtin = (np.mean(losses[found[key]][:NEAR]) for key in ("best", "builtin"))
        yield (
            f"At leads 0 to {NEAR - 1} on {split} {found['best']} lost {best:.3g} GBP/MWh, "
            f"{100.0 * (1.0 - best / builtin):.1f} % less than the built-in {found['builtin']} ({builtin:.3g})."
        )


def _pictures(price: dict[str, Any], results: dict[str, Any], folder: Path) -> list[str]:
    """Draw those of the price, and what it earned; the Markdown of all."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    drawn = {
        draw.__name__: (draw(price, unit_of(PRICE)), said)
        for draw, said in (
            (forecast_figures.leads, "loss by lead"),
            (forecast_figures.months, "skill by month"),
            (forecast_figures.reliability, "reliability"),
            (forecast_figures.fan, "forecasts of the week in which the naive forecaster lost most"),
            (forecast_figures.importance, "inputs by how much they helped in training"),
        )
    }
    drawn["capture"] = forecast_figures.capture(results), "share of perfect foresight over loss"
    lines = ["## Pictures of the imbalance price", ""]
    for name, (figure, said) in drawn.items():
        if figure is not None:
            png(figure, folder / f"{name}.png")
            lines += [f"![{said}]({PICTURES}/{name}.png)", ""]
    return lines


def _shares(evaluations: Sequence[Results]) -> list[str]:
    """Share of foresight of every policy by forecaster and by how often it decides."""
    lines = [
        "## Share of foresight by forecaster, all policies",
        "",
        "Each column is one evaluation of the battery; the bound is that of perfect foresight with as many decisions.",
    ]
    heads = [_head(results) for results in evaluations]
    policies = list(dict.fromkeys(name for results in evaluations for name in results.rows["policy"]))
    for split in dict.fromkeys(evaluations[0].rows["split"]):
        rows = [[name, *(_share(results, name, split) for results in evaluations)] for name in policies if name != IDLE]
        lines += ["", split, "", *_table(["policy", *heads], rows)]
    commands = [f"- `{' '.join(shareable(each.command))}` at `{each.provenance['commit']}`" for each in evaluations]
    return [*lines, "", "In brackets: 95 % intervals from drawing whole weeks.", "", *commands, ""]


def _head(results: Results) -> str:
    config = results.provenance["config"]
    name = config["forecaster"]["_target_"].split(".")[1]
    return f"{name}, every {config['env']['system'].get('decision_minutes', PERIOD_MINUTES)} min"


def _share(results: Results, policy: str, split: str) -> str:
    rows = results.rows[(results.rows["policy"] == policy) & (results.rows["split"] == split)]
    if rows.empty:
        return NOTHING
    share, low, high = (100.0 * rows[key].mean() for key in ("capture", "capture_low", "capture_high"))
    return f"{share:.1f} % ({low:.1f} to {high:.1f})"


def _named(row: Any) -> str:
    return f"**{row.name}** ({row.mark})" if row.mark == "best on validation" else row.name


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(map(plain, heads)) + " |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecasts", description=__doc__)
    parser.add_argument("forecasts", type=Path, help="results of forecast.py, such as reports/forecast-gb")
    parser.add_argument("evaluations", type=Path, nargs="*", help="results of evaluate.py, such as reports/battery-gb")
    given = parser.parse_args(arguments)
    PAGE.write_text(page(given.forecasts, given.evaluations, PAGE.parent / PICTURES), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
