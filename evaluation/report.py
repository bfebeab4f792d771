"""The report of a backtest: one page that needs nothing else, for a reader who has seen nothing."""

import json
from pathlib import Path
from typing import Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluation import figures
from evaluation.drawing import NARROW_IN, WIDE_IN, svg
from evaluation.results import Results, read_results
from evaluation.summary import (
    bound,
    data_name,
    device,
    headline,
    played,
    score_table,
    span,
    splits_of,
    step_minutes,
    term_columns,
    term_table,
    trace_of,
    words,
)

PAGE: Final = "report.html"
TEMPLATE: Final = "report.html.jinja"

# What a reader needs to know of each policy; one that is not here is shown by its name alone.
POLICIES: Final[dict[str, str]] = {
    "idle": "does nothing; the zero of the share of perfect foresight",
    "random": "acts at random; a check from below",
    "rule": "buys when the price looks cheap against the coming day and sells when it looks dear",
    "greedy": "sorts jobs by priority and takes the best slots that fit",
    "mpc": "optimises the next 24 hours on the price forecast, does the first step, then plans again",
    "dp": "makes the same plan as mpc by dynamic programming",
    "stochastic_dp": "plans with how its own view of the price will change; fitted on the training split",
    "mpc_scenario": "optimises over several price paths at once",
    "ppo": "a neural network trained by reinforcement learning (proximal policy optimisation)",
    "ema": "trades the crossing of two moving averages",
    "consensus": "a weighted vote of other policies",
    "oracle": "knows every future price, as no real policy can; here only as the upper bound",
}


class Picture(NamedTuple):
    """A picture in two widths with its words."""

    title: str
    caption: str
    wide: str
    narrow: str


def write_report(folder: str | Path) -> Path:
    """Write `report.html` into a folder of results.

    Args:
        folder: What `evaluation.results.write_results` wrote.

    Returns:
        The page.

    Raises:
        FileNotFoundError: The folder holds no results.
    """
    folder = Path(folder)
    results = read_results(folder)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names come from files
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    page = environment.get_template(TEMPLATE).render(
        results=results,
        env=results.rows["env"].iloc[0],
        minutes=step_minutes(results),
        data=data_name(results),
        headline=headline(results),
        spans={split: span(results, split) for split in splits_of(results)},
        tables=[(split, score_table(results, split), term_table(results, split)) for split in splits_of(results)],
        bounds={split: bound(results, split) for split in splits_of(results)},
        pictures=_pictures(results),
        policies=[(name, POLICIES[name]) for name in POLICIES if played(results, name)],
        reference=results.rows["reference"].iloc[0],
        device=device(results),
        config=json.dumps(results.provenance["config"], indent=2),
    )
    file = folder / PAGE
    file.write_text(page, encoding="utf-8")
    return file


def _unbroken(text: str) -> str:
    """Keep a number and its unit on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%").replace(" GBP", "\N{NO-BREAK SPACE}GBP")


def _pictures(results: Results) -> list[Picture]:
    reported = splits_of(results)[-1]
    still = [words(column).split(",")[0] for column in set(term_columns(results)) - set(figures.moving_terms(results))]
    idle_terms = f" Worth nothing to anybody here: {', '.join(sorted(still))}." if still else ""
    plans = [
        (figures.values, "Value", "Total over each split with its 95 % interval. The best on validation is on top."),
        (figures.cumulative, "How it came", "Money gained over doing nothing, added up day by day."),
        (figures.week, "A typical week", _week_caption(results)),
        (
            figures.terms,
            "Where the money comes from",
            f"Each money term beyond that of doing nothing; the diamond is their sum.{idle_terms}",
        ),
        (
            figures.latency,
            "How long a decision takes",
            f"Wall-clock time on {reported}, on the machine that played it. A decision may take "
            f"{step_minutes(results) * 60_000:,} ms.",
        ),
    ]
    pictures = []
    for draw, title, caption in plans:
        wide, narrow = draw(results, WIDE_IN), draw(results, NARROW_IN)
        if wide is not None and narrow is not None:
            name = draw.__name__
            pictures.append(Picture(title, caption, svg(wide, f"{name}-w", title), svg(narrow, f"{name}-n", title)))
    return pictures


def _week_caption(results: Results) -> str:
    typical = figures.typical_week(results)
    if typical is None:
        return ""
    first = trace_of(results, typical.judge, typical.split).index[typical.rows][0]
    return (
        f"The week of {typical.split} from {first:%d %B %Y} (UTC), in which {typical.judge} earned its median. "
        "What each policy earned in it stands in brackets. Prices were not known when the decision was made."
    )
