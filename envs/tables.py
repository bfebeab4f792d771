"""The environments' page, made from their declared fields: `python -m envs.tables` writes docs/environments.md."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from gymnasium.envs.registration import load_env_creator

from envs import SYSTEMS
from envs.fields import Field
from envs.system import System

PAGE: Final = Path(__file__).parent.parent / "docs" / "environments.md"
UNITS: Final = (
    ("_gbp_per_mwh", "GBP/MWh"), ("_gbp_per_kw", "GBP/kW"), ("_gbp_per_h", "GBP/h"), ("_g_per_kwh", "g/kWh"),
    ("_kwh", "kWh"), ("_mwh", "MWh"), ("_kw", "kW"), ("_gbp", "GBP"), ("_c", "C"), ("_h", "h"),
    ("_fraction", "0..1"),
)  # fmt: skip


def unit(name: str) -> str:
    """The unit that a field's name ends in, trailing lead or slot numbers aside; empty for a pure number."""
    stem = re.sub(r"(_\d+)+$", "", name)
    return next((shown for suffix, shown in UNITS if stem.endswith(suffix)), "")


def table(fields: Sequence[Field]) -> str:
    """Markdown table of a layout; runs of numbered fields that differ in nothing else share a row."""
    rows: list[tuple[str, str, str, str, str]] = []
    runs: list[list[Field]] = []
    for field in fields:
        alike = runs and re.sub(r"\d+", "#", field.name) == re.sub(r"\d+", "#", runs[-1][0].name)
        if alike and (field.low, field.high) == (runs[-1][0].low, runs[-1][0].high):
            runs[-1].append(field)
        else:
            runs.append([field])
    for run in runs:
        first, last = run[0], run[-1]
        name = f"`{first.name}`" if len(run) == 1 else f"`{first.name}` to `{last.name}`"
        meaning = first.meaning if len(run) == 1 else f"{first.meaning}, and so on ({len(run)} fields)"
        rows.append((name, unit(first.name), f"{first.low:g}", f"{first.high:g}", meaning))
    lines = ["| field | unit | low | high | meaning |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def page() -> str:
    """The whole page, Markdown."""
    parts = [
        "# Environments",
        "Made by `python -m envs.tables` from the declared fields; do not edit by hand.",
        "Every environment steps one half-hour. Rewards are GBP, the sum of the named terms. An action of NaN asks for "
        "nothing and gets the system's safe default. Nothing in an observation was unpublished at the time.",
    ]
    for name, path in SYSTEMS.items():
        creator = load_env_creator(path)
        system = cast(System, creator())
        summary = (creator.__doc__ or "").strip().split("\n\n")
        parts += [
            f"## `{name}`",
            "\n\n".join(" ".join(paragraph.split()) for paragraph in summary),
            f"Reward terms: {', '.join(f'`{term}`' for term in system.terms)}.",
            "**Action**",
            table(system.action_fields),
            f"**Observation** ({len(system.observation_fields)} numbers)",
            table(system.observation_fields),
        ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
