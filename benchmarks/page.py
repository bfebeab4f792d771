"""The committed benchmark page: `python -m benchmarks.page reports/battery-gb [reports/battery-gb-boosted ...]`.

The first evaluation is the benchmark; others, with other forecasts, stand below it.
"""

import argparse
import html
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from data.splits import SPLITS
from evaluation import diagnostics, figures
from evaluation.drawing import png
from evaluation.results import Results, read_results
from evaluation.summary import Table, bound, data_name, device, headline, score_table, span, splits_of

PAGE: Final = "benchmark.md"
PICTURES: Final = "benchmark"
SOURCES: Final[dict[str, str]] = {
    "gb": (
        "the real half-hourly GB table, {first} to {end}: day-ahead, market index and imbalance prices, imbalance "
        "volume, demand, generation, their day-ahead forecasts, carbon intensity and weather, published by Elexon, "
        "NESO, the GB day-ahead auction, National Gas and Open-Meteo. It is not part of this repository, since not "
        "every one of their licences allows redistribution; `data.path=<folder>` names the folder that holds it."
    ),
    "synthetic": "seeded synthetic GB data, {first} to {end}, which needs no file: `python -m data.synthetic --help`.",
}

# A path that starts at the root, a drive or a home, or leaves the working folder, wherever it stands in a word.
# Hydra's `~env.policies.mpc`, which leaves something out, is none.
ELSEWHERE: Final = re.compile(r"(^|[^\w.-])([/\\]|~[^/\\.]*([/\\]|$))|[A-Za-z]:[/\\]|\.\.[/\\]")
README: Final = Path("README.md")
RESULTS: Final = ("<!-- results: written by python -m benchmarks.page -->", "<!-- end of results -->")
# Options that training and evaluation must agree on.
SHARED: Final = ("env", "site", "data", "forecaster", "carbon_forecaster", "wet_bulb_forecaster", "refit_months")
PLAYS: Final = ("policies", "reference")  # of the environment: who plays is the evaluation's own business


def write_page(folder: Path, output: Path, others: Sequence[Path] = ()) -> Path:
    """Write `benchmark.md` and its pictures.

    Args:
        folder: A folder of results, see `evaluation.results.write_results`.
        output: Where the page goes; the pictures go to a folder `benchmark` beside it, which is emptied of PNGs first.
        others: Folders of results of the same environment with other forecasts.

    Returns:
        The page.

    Raises:
        FileNotFoundError: A folder holds no results.
    """
    results = read_results(folder)
    named = {other.resolve().name: read_results(other) for other in others}
    pictures = output / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.png"):
        old.unlink()
    shown = []
    for draw, words in (
        (figures.overview, "value with 95 % interval, and money gained over doing nothing"),
        (figures.week, "state of charge in the week of the oracle's median"),
        (diagnostics.waterfall, "money by term"),
        (figures.latency, "time per decision"),
    ):
        figure = draw(results)
        if figure is not None:
            file = pictures / f"{draw.__name__}.png"
            png(figure, file)
            shown.append(f"![{words}]({PICTURES}/{file.name})")
    page = output / PAGE
    page.write_text("\n".join(_lines(results, folder.resolve().name, shown, named)), encoding="utf-8")
    return page


def write_readme(folder: Path, readme: Path) -> None:
    """Put the headline and a short table between the readme's two result marks.

    Raises:
        FileNotFoundError: The folder holds no results.
        ValueError: The readme lacks the marks.
    """
    results = read_results(folder)
    text = readme.read_text(encoding="utf-8")
    before, start, rest = text.partition(RESULTS[0])
    _, end, after = rest.partition(RESULTS[1])
    if not (start and end):
        raise ValueError(f"{readme} lacks {RESULTS[0]!r} and {RESULTS[1]!r}; put both lines where the table belongs")
    rows = results.rows.set_index(["policy", "seed", "split"])
    lines = ["| policy | share of foresight, validation | share of foresight, test | GBP on test | ms per decision |"]
    lines.append("|---|--:|--:|--:|--:|")
    for policy, seed in dict.fromkeys((p, s) for p, s, _ in rows.index):
        chosen, shown = rows.loc[(policy, seed, "validation")], rows.loc[(policy, seed, "test")]
        several = rows.loc[policy].index.get_level_values("seed").nunique() > 1
        shares = [
            f"{100 * r['capture']:.1f} % ({100 * r['capture_low']:.1f} to {100 * r['capture_high']:.1f})"
            for r in (chosen, shown)
        ]
        name = f"{plain(policy)}, seed {seed}" if several else plain(policy)
        cells = [name, *shares, f"{shown['value_gbp']:,.0f}", f"{shown['decision_ms_median']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    sentences = "\n".join(f"- {plain(sentence)}" for sentence in headline(results))
    block = "\n".join([RESULTS[0], "", sentences, "", *lines, "", RESULTS[1]])
    readme.write_text(before + block + after, encoding="utf-8")


def shareable(command: str) -> list[str]:
    """Words of a command without the folders of the machine it ran on."""
    return [_placeholder(word) for word in shlex.split(command)]


def _placeholder(word: str) -> str:
    key, equals, value = word.rpartition("=")
    return f"{key}{equals}<folder>" if key == "data.path" or ELSEWHERE.search(value) else shlex.quote(word)


def _lines(results: Results, name: str, pictures: list[str], others: Mapping[str, Results]) -> list[str]:
    origin, splits = results.provenance, splits_of(results)
    source = SOURCES.get(data_name(results), "the data set " + plain(data_name(results)) + ", {first} to {end}.")
    ends = [SPLITS[split].end for split in splits if split in SPLITS]
    versions = ", ".join(f"{package} {version}" for package, version in origin["versions"].items() if version)
    lines = [
        "# Benchmark",
        "",
        f"`{results.rows['env'].iloc[0]}`: every policy in one unbroken run over each split, deciding each half-hour "
        "with what had been published by then. Made by `python -m benchmarks.page`; do not edit.",
        "",
        pictures[0],
        "",
        *(f"- {plain(sentence)}" for sentence in headline(results)),
        "",
    ]
    for split in splits:
        lines += [f"## {plain(split)}", "", f"{span(results, split)}. {bound(results, split)}", ""]
        lines += [*markdown(score_table(results, split)), ""]
    for other in others.values():
        lines += [f"## {_told(other)}", "", *(f"- {plain(sentence)}" for sentence in headline(other)), ""]
        for split in splits_of(other):
            lines += [f"### {plain(split)}", "", *markdown(score_table(other, split)), ""]
    lines += [
        "In brackets: 95 % intervals from drawing whole weeks with replacement; they tell how much hangs on the weeks "
        "that came, not what another year would bring. Share of foresight = (value - idle) / (bound - idle). Leads are "
        "paired, week by week. Times are wall-clock, on the machine that ran it.",
        "",
        "## Pictures",
        "",
        *(line for picture in pictures[1:] for line in (picture, "")),
        "## What was run",
        "",
        *(
            f"- Command: `{' '.join(shareable(run.command))}`, commit {_commit(run)}"
            for run in (results, *others.values())
        ),
        f"- Data: {source.format(first=SPLITS['train'].start, end=max(ends, default='its end'))} "
        f"SHA-256 of the table: `{origin['data_sha256']}`",
        *([f"- Battery: {'; '.join(device(results))}"] if device(results) else []),
        f"- Versions: Python {origin['python']}, {versions}",
        "",
        "## Make it again",
        "",
        "```sh",
        *(line for run in (results, *others.values()) for line in _commands(run)),
        " ".join(["python -m benchmarks.page", *(f"reports/{each}" for each in (name, *others))]),
        "```",
        "",
    ]
    return lines


def _told(results: Results) -> str:
    """Title: the forecasts that policies were shown."""
    config = results.provenance["config"]
    kind, months = config["forecaster"]["_target_"].split(".")[1], config["refit_months"]
    return plain(f"The same with the forecaster {kind}" + (f", refitted every {months} months" if months else ""))


def _commit(results: Results) -> str:
    origin = results.provenance
    commit = f"`{origin['commit']}`" if origin["commit"] else "unknown"
    return commit + (" with changes that were not committed" if origin["uncommitted_changes"] else "")


def _commands(results: Results) -> list[str]:
    """Training of every learnt seed, the evaluation."""
    fixed = results.provenance["config"]["env"].get("policies", {})
    learnt = results.rows[~results.rows["policy"].isin(list(fixed))]
    evaluation = shareable(results.command)
    shared = [word for word in evaluation[2:] if _shared(word)]
    runs = sorted(set(zip(learnt["policy"], learnt["seed"], strict=True)))
    trainings = [" ".join([f"python train.py agent={plain(name)}", *shared, f"seed={seed}"]) for name, seed in runs]
    return [*trainings, " ".join(evaluation)]


def _shared(word: str) -> bool:
    """Whether an override of the evaluation is needed for its trainings too."""
    group, *inner = word.strip("'").lstrip("+~").split("=")[0].split(".")
    return group in SHARED and not (group == "env" and inner[:1] and inner[0] in PLAYS)


def markdown(table: Table) -> list[str]:
    """Lines of a Markdown table; the winner is bold."""
    titles = ["policy", "seed", *table.titles]
    lines = ["| " + " | ".join(map(plain, titles)) + " |", "|---" + "|--:" * (len(titles) - 1) + "|"]
    for line in table.lines:
        name = plain(line.policy) + (f" ({line.mark})" if line.mark else "")
        cells = [f"{cell.text} ({cell.interval})" if cell.interval else cell.text for cell in line.cells]
        cells = [f"**{name}**" if line.mark == "winner" else name, line.seed, *map(plain, cells)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*|\[\]])", r"\\\1", html.escape(text, quote=False))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder of results, such as reports/battery-gb")
    parser.add_argument("others", type=Path, nargs="*", help="the same environment with other forecasts")
    parsed = parser.parse_args(arguments)
    print(write_page(parsed.folder, Path("reports"), parsed.others))
    write_readme(parsed.folder, README)


if __name__ == "__main__":
    main()
