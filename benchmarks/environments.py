"""All environments' scores on one page: `python -m benchmarks.environments reports/site-gb reports/cooling-gb ...`.

Writes reports/environments.md from folders that `python evaluate.py env=...` has written.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.page import markdown, shareable
from evaluation.results import read_results
from evaluation.summary import headline, score_table, span, splits_of

PAGE: Final = Path("reports") / "environments.md"


def page(folders: Sequence[Path]) -> str:
    """Headline and score tables of every evaluation, Markdown.

    Raises:
        FileNotFoundError: A folder holds no results.
    """
    lines = [
        "# Every environment",
        "",
        "Made by `python -m benchmarks.environments`; do not edit. Values are GBP over the whole split, with 95 % "
        "intervals from drawing whole weeks; leads are paired, week by week. Where there is no oracle there is no "
        "share of foresight. Milliseconds are those of the run, which may have shared its machine; "
        "`python -m benchmarks.planning` measures them alone.",
    ]
    for folder in folders:
        results = read_results(folder)
        lines += ["", f"## `{results.rows['env'].iloc[0]}`", "", *(f"- {line}" for line in headline(results))]
        for split in splits_of(results):
            lines += ["", f"{split}: {span(results, split)}", "", *markdown(score_table(results, split))]
        commit = results.provenance["commit"]
        lines += ["", f"Command: `{' '.join(shareable(results.command))}` at commit `{commit}`."]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.environments", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of results, such as reports/site-gb")
    PAGE.write_text(page(parser.parse_args(arguments).folders), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
