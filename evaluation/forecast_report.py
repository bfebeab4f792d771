"""The report of a backtest of forecasters: one page that needs nothing else."""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from evaluation import forecast_figures
from evaluation.backtest import IDLE, ORACLE
from evaluation.drawing import NARROW_IN, WIDE_IN, svg
from evaluation.forecast_results import overall, read_results
from evaluation.sharing import shared_config, without_folders
from evaluation.summary import NOTHING
from evaluation.template import rendered

PAGE: Final = "report.html"
TEMPLATE: Final = "forecast.html.jinja"
UNITS: Final = {
    "_gbp_per_mwh": "GBP/MWh",
    "_g_per_kwh": "g/kWh",
    "_kwh": "kWh",
    "_kw": "kW",
    "_c": "°C",
}
NAMES: Final = {
    "carbon_intensity_mix_derived_g_per_kwh": "carbon intensity",
    "arriving_kwh": "work that arrives",
    "arriving_jobs": "jobs that arrive",
}
TITLES: Final = (
    "pinball loss", "less than naive", "less than built-in", "MAE", "RMSE", "CRPS", "in 90 %", "in 80 %", "in 50 %",
)  # fmt: skip
# What a reader needs to know of each forecaster; one that is not here is shown by its name alone.
FORECASTERS: Final = {
    "seasonal_naive": "the same half-hour of the last known day",
    "deviation": "the published day-ahead price plus the last known deviation from it, decaying",
    "persistence": "yesterday again, moved by how today differs so far, fading",
    "prophet": "a curve of seasons and holidays, moved by what it last missed",
    "lstm": "a neural network that reads two days and what is published of the next",
    "boosted": "gradient-boosted trees on published signals",
    "ensemble": "the weighted mean of all others, calibrated; each month's weights and calibration come from the 120 "
    "days before it, those of either half of validation from the other half",
}
EARNED: Final = (
    "value, GBP", "share of foresight", "less loss than built-in", "lead over built-in, GBP", "95 % interval",
)  # fmt: skip
SIGNIFICANT: Final = 0.05


class Line(NamedTuple):
    """One forecaster's cells in a table; `mark` says why it stands out."""

    name: str
    mark: str
    cells: list[str]


class Section(NamedTuple):
    """What the page shows of one target."""

    title: str
    column: str
    unit: str
    sentences: list[str]
    titles: list[str]
    tables: list[tuple[str, list[Line]]]
    groups: list[tuple[str, list[str], list[Line]]]
    pictures: list[tuple[str, str, str, str]]


def write_report(folder: str | Path) -> Path:
    """Write `report.html` into a folder of results.

    Args:
        folder: What `evaluation.forecast_results.write_results` wrote.

    Returns:
        The page.

    Raises:
        FileNotFoundError: The folder holds no results.
    """
    folder = Path(folder)
    results = read_results(folder)
    names = list(dict.fromkeys(name for found in results["targets"] for name in found["seconds"]))
    page = rendered(
        TEMPLATE,
        results=results,
        data=results["provenance"]["config"]["data"]["name"],
        sections=[_section(found) for found in results["targets"]],
        capture=_capture(results),
        forecasters=[(name, FORECASTERS[name]) for name in names if name in FORECASTERS],
        command=without_folders(results["command"]),
        config=json.dumps(shared_config(results["provenance"]["config"]), indent=2),
    )
    file = folder / PAGE
    file.write_text(page, encoding="utf-8")
    return file


def unit_of(column: str) -> str:
    """The unit that a column's name ends in."""
    return next((unit for ending, unit in UNITS.items() if column.endswith(ending)), "")


def words(column: str) -> str:
    """A column as a person would write it, without its unit."""
    ending = next((ending for ending in UNITS if column.endswith(ending)), "")
    return NAMES.get(column, column.removesuffix(ending).replace("_", " "))


def _section(found: dict[str, Any]) -> Section:
    unit = unit_of(found["column"])
    names = forecast_figures.forecasters(found)
    splits = list(found["by_lead"])
    tables = [(split, [line(found, split, name) for name in names]) for split in splits]
    groups = [
        _grouped(found, splits[-1], by, title)
        for by, title in (("lead", "By lead"), ("month", "By month"), ("regime", "By market regime"))
        if any(row["by"] == by for row in found["rows"])
    ]
    title = words(found["column"])
    pictures = []
    for draw, name, caption in (
        (forecast_figures.leads, "Loss by lead", "Lower is better."),
        (forecast_figures.months, "Month by month", f"Pinball loss saved against {found['naive']}."),
        (forecast_figures.reliability, "Reliability", "On the dashed line probabilities mean what they say."),
        (
            forecast_figures.fan,
            "A hard week",
            f"The week of {splits[-1]} in which {found['naive']} lost most, in UTC. Forecasts of {found['best']}, "
            "issued at 06:00 local time each day.",
        ),
        (forecast_figures.importance, "What is read", "Inputs by how much they helped in training."),
    ):
        wide, narrow = draw(found, unit, WIDE_IN), draw(found, unit, NARROW_IN)
        if wide is not None and narrow is not None:
            id_ = f"{found['column'].replace('_', '-')}-{draw.__name__}"
            drawn = svg(wide, f"{id_}-w", f"{title}: {name}"), svg(narrow, f"{id_}-n", f"{title}: {name}")
            pictures.append((name, caption, *drawn))
    return Section(title, found["column"], unit, sentences(found), titles(unit), tables, groups, pictures)


def titles(unit: str) -> list[str]:
    """What the cells of a `line` are."""
    return [f"{text}, {unit}" if text in ("pinball loss", "MAE", "RMSE", "CRPS") else text for text in TITLES]


def sentences(found: dict[str, Any]) -> list[str]:
    """Who was chosen on validation, how it did after, and whether that is more than luck."""
    chosen, reported = next(iter(found["by_lead"])), list(found["by_lead"])[-1]
    row, test = overall(found, reported, found["best"]), found["comparison"][reported]
    better = "less" if row["skill_over_builtin"] >= 0.0 else "more"
    said = [
        f"{found['best']} lost least on {chosen}.",
        f"On {reported} it lost {row['pinball']:.3g} {unit_of(found['column'])}: "
        f"{_percent(abs(row['skill_over_builtin']))} {better} than the built-in {found['builtin']}, "
        f"{_percent(row['skill_over_naive'])} less than {found['naive']}; its 90 % interval held "
        f"{_percent(row['coverage_90'])} of what came.",
    ]
    if test["p_value"] is not None:
        wins = "lost less" if test["difference"] < 0.0 else "lost more"
        luck = "is more than luck" if test["p_value"] < SIGNIFICANT else "may be luck"
        said.append(
            f"Against {test['second']}, second on {chosen}, it {wins} on {reported}; that {luck} "
            f"(Diebold-Mariano {test['statistic']:.2f}, p {_p(test['p_value'])})."
        )
    return said


def line(found: dict[str, Any], split: str, name: str) -> Line:
    """The scores of one forecaster on a split, in the order of `titles`."""
    row = overall(found, split, name)
    marks = {found["best"]: "best on validation", found["builtin"]: "built-in", found["naive"]: "naive"}
    numbers = [_number(row.get(key)) for key in ("mae", "rmse", "crps")]
    covers = [_percent(row.get(f"coverage_{level}")) for level in (90, 80, 50)]
    skills = [_percent(row.get(key)) for key in ("skill_over_naive", "skill_over_builtin")]
    return Line(name, marks.get(name, ""), [_number(row.get("pinball")), *skills, *numbers, *covers])


def _grouped(found: dict[str, Any], split: str, by: str, title: str) -> tuple[str, list[str], list[Line]]:
    """Pinball loss by group of one kind on a split."""
    rows = [row for row in found["rows"] if row["split"] == split and row["by"] == by and row["count"]]
    groups = list(dict.fromkeys(row["group"] for row in rows))
    groups = groups if by == "lead" else sorted(groups)
    lines = []
    for name in forecast_figures.forecasters(found):
        mine = {row["group"]: row for row in rows if row["forecaster"] == name}
        cells = [_number(mine[group]["pinball"]) if group in mine else NOTHING for group in groups]
        lines.append(Line(name, "", cells))
    return title, groups, lines


def _capture(results: dict[str, Any]) -> dict[str, Any] | None:
    """Table, picture and plain words on what accuracy earned."""
    if not results["capture"]:
        return None
    wide, narrow = (forecast_figures.capture(results, width) for width in (WIDE_IN, NARROW_IN))
    assert wide is not None
    assert narrow is not None
    tables, said = earned(results)
    return {
        "titles": EARNED,
        "tables": tables,
        "sentences": said,
        "wide": svg(wide, "capture-w", "Share of perfect foresight by pinball loss"),
        "narrow": svg(narrow, "capture-n", "Share of perfect foresight by pinball loss"),
    }


def earned(results: dict[str, Any]) -> tuple[list[tuple[str, list[Line]]], list[str]]:
    """What the controller earned with each price forecast, by split, cells in the order of `EARNED`; and in words."""
    price = next(found for found in results["targets"] if found["column"] == "imbalance_price_gbp_per_mwh")
    tables, said = [], []
    for split in price["by_lead"]:
        rows = [row for row in results["capture"] if row["split"] == split]
        lines = [
            Line(
                row["policy"],
                "built-in" if row["policy"] == price["builtin"] else "",
                [
                    _money(row["value_gbp"]),
                    _percent(row["capture"]),
                    NOTHING
                    if row["policy"] in (IDLE, ORACLE)
                    else _percent(overall(price, split, row["policy"])["skill_over_builtin"]),
                    _money(row["lead_gbp"]),
                    f"{_money(row['lead_low_gbp'])} to {_money(row['lead_high_gbp'])}",
                ],
            )
            for row in rows
        ]
        tables.append((split, lines))
        said += _worth(price, rows, split)
    return tables, said


def _worth(price: dict[str, Any], rows: list[dict[str, Any]], split: str) -> list[str]:
    """For each forecaster that is more accurate than the built-in one, whether it earned more."""
    said = []
    for row in rows:
        if row["policy"] in (IDLE, ORACLE, price["builtin"]):
            continue
        skill = overall(price, split, row["policy"])["skill_over_builtin"]
        sure = row["lead_low_gbp"] > 0.0 or row["lead_high_gbp"] < 0.0
        if skill > 0.0 and not (sure and row["lead_gbp"] > 0.0):
            outcome = "cost money" if sure else "earned nothing that can be told from luck"
            said.append(
                f"On {split} {row['policy']} was {_percent(skill)} more accurate than {price['builtin']}, and that "
                f"{outcome}: {_money(row['lead_gbp'])} GBP."
            )
    return said


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3g}" if abs(value) < 100.0 else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100.0 * value:.1f}\N{NO-BREAK SPACE}%"


def _money(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"
