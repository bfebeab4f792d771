"""The report of a backtest: one page that needs nothing else, for a reader who has seen nothing."""

import json
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from evaluation import diagnostics, figures
from evaluation.backtest import ORACLE
from evaluation.drawing import NARROW_IN, WIDE_IN, svg
from evaluation.results import Results, read_results
from evaluation.sharing import shared_config, without_folders
from evaluation.summary import (
    Table,
    bound,
    data_name,
    device,
    headline,
    played,
    reported_split,
    score_table,
    span,
    splits_of,
    step_minutes,
    term_columns,
    term_table,
    trace_of,
    words,
)
from evaluation.tables import belief_table, forecast_table, robustness_table, statistics_table, violation_table
from evaluation.template import rendered

PAGE: Final = "report.html"
TEMPLATE: Final = "report.html.jinja"

# What a reader needs to know of each policy; one that is not here is shown by its name alone.
POLICIES: Final[dict[str, str]] = {
    "idle": "does nothing; the zero of the share of perfect foresight",
    "random": "acts at random; a check from below",
    "rule": "buys when the price looks cheap against the coming day and sells when it looks dear",
    "mpc_rules": "every device by a rule of its own, the battery by plan",
    "sell_spare": "as mpc_rules, and sells the capacity that running and waiting jobs leave",
    "greedy": "sorts jobs by priority and takes the best slots that fit",
    "mpc": "optimises the next 24 hours on the price forecast, does the first step, then plans again",
    "dp": "makes the same plan as mpc by dynamic programming",
    "stochastic_dp": "plans with how its own view of the price will change; fitted on the training split",
    "mpc_scenario": "optimises over several price paths at once",
    "improved_dp": "stochastic_dp, corrected by what boosted trees learnt of where it errs",
    "ppo": "a neural network trained by reinforcement learning (proximal policy optimisation)",
    "ema": "trades the crossing of two moving averages",
    "consensus": "a weighted vote of other policies",
    "oracle": "knows the whole future, as no real policy can; its plan as far as it can be played, the bound beside it",
}


class Picture(NamedTuple):
    """A picture in two widths with its words, and where its numbers stand."""

    title: str
    caption: str
    source: str
    wide: str
    narrow: str


class Block(NamedTuple):
    """A titled table of one split or of all, and what its numbers mean and where they stand."""

    title: str
    note: str
    source: str
    tables: list[tuple[str, Table]]


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
    page = rendered(
        TEMPLATE,
        results=results,
        env=results.rows["env"].iloc[0],
        data=data_name(results),
        headline=headline(results),
        minutes=step_minutes(results),
        spans={split: span(results, split) for split in splits_of(results)},
        tables=[(split, score_table(results, split), term_table(results, split)) for split in splits_of(results)],
        bounds={split: bound(results, split) for split in splits_of(results)},
        blocks=_blocks(results),
        pictures=_pictures(results),
        policies=[(name, POLICIES[name]) for name in POLICIES if played(results, name)],
        reference=results.rows["reference"].iloc[0],
        device=device(results),
        command=without_folders(results.command),
        config=json.dumps(shared_config(results.provenance["config"]), indent=2),
    )
    file = folder / PAGE
    file.write_text(page, encoding="utf-8")
    return file


def _blocks(results: Results) -> list[Block]:
    """Tables beside the scores, as far as there are any."""
    splits = splits_of(results)
    anchor = results.policies["normaliser"].iloc[0] if len(results.policies) else ""
    unit = (
        "its share of what foresight gained over idle in that week"
        if anchor == ORACLE
        else f"its gain over idle as a share of what {anchor} gains in a mean week, or loses"
    )
    skipped = "".join(f" Not played: {name.replace('_', ' ')}, because {why}." for name, why in results.skipped.items())
    with_oracle = "capture" in results.robustness and results.robustness["capture"].notna().any()
    plans = [
        (
            "Sure of it?",
            f"The score of a policy in a whole week, with one seed, is {unit}. The interquartile mean leaves out the "
            "best and the worst quarter. A better week is one in which it earned more than the reference; a half is a "
            "coin toss. Intervals are stratified bootstraps over weeks and seeds (Agarwal et al. 2021).",
            "policies.csv",
            [(split, statistics_table(results, split)) for split in splits],
        ),
        (
            "Violations",
            "Service levels, temperatures and limits that were broken: for how many half-hours, how far, and what "
            "was paid for it.",
            "results.csv, columns *_periods, *_excess_c_h and the terms",
            [(split, violation_table(results, split)) for split in splits],
        ),
        (
            "Where no policy was trained",
            f"Every number is {'the share of foresight' if with_oracle else 'the lead over the reference, GBP'}; of "
            "several seeds the mean, and small the lowest and highest; of one, small, its 95 % interval. Policies and "
            f"forecaster are those of the rest of this page.{skipped}",
            "robustness.csv, split is the case",
            [("", robustness_table(results))],
        ),
        (
            "What policies were told",
            "Every policy but the oracle saw the same price forecast. If it is calibrated, half of the prices fall in "
            "its 50 % band. The error is forecast less price, GBP/MWh.",
            "forecasts.csv",
            [("", forecast_table(results))],
        ),
        (
            "What policies believed",
            "Before each decision a policy that plans expects something of the coming 24 hours; after them it is known "
            "what they brought. Both count the change of what is in store at the worth that the policy gave it. A "
            "policy that gets less than it believed trusts its forecast too much.",
            "results.csv: believed_day_mean, got_day_mean, believed_correlation",
            [(split, belief_table(results, split)) for split in splits],
        ),
    ]
    found = [
        Block(title, note, source, [(split, table) for split, table in tables if table is not None])
        for title, note, source, tables in plans
    ]
    return [block for block in found if block.tables or (skipped and skipped in block.note)]


def _pictures(results: Results) -> list[Picture]:
    reported = reported_split(results)
    still = [words(column).split(",")[0] for column in set(term_columns(results)) - set(figures.moving_terms(results))]
    idle_terms = f" Worth nothing to anybody here: {', '.join(sorted(still))}." if still else ""
    typical, hard = figures.typical_week(results), figures.hard_week(results)
    plans: list[tuple[Any, str, str, str]] = [
        (
            figures.values,
            "Value",
            "Total over each split with its 95 % interval. The best on validation is on top.",
            "results.csv: value_gbp, value_low_gbp, value_high_gbp, bound_gbp",
        ),
        (
            figures.cumulative,
            "How it came",
            "Money gained over doing nothing, added up day by day.",
            "traces/: reward_gbp",
        ),
        (
            diagnostics.waterfall,
            "Where the money comes from",
            f"From doing nothing to each policy's gain, money term by money term, mean over seeds.{idle_terms}",
            "results.csv: the terms' columns",
        ),
        (partial(figures.week, chosen=typical), "A typical week", _week_caption(results, typical), "traces/"),
        (partial(figures.week, chosen=hard), "A hard week", _week_caption(results, hard), "traces/"),
        (
            diagnostics.drawdowns,
            "Drawdown",
            "How far the gain over idle lay below its highest so far; of several seeds, the best on validation.",
            "traces/: reward_gbp; its deepest in results.csv: drawdown_gbp",
        ),
        (
            diagnostics.profiles,
            "Performance profiles",
            "How many of the weeks and seeds score above a threshold: the higher a line, the better. Where lines "
            "cross, one policy is better in good weeks and the other in bad ones. Bands are pointwise 95 % intervals.",
            "traces/: reward_gbp by week",
        ),
        (
            diagnostics.frontier,
            "Carbon against cost",
            "The dashed line joins the runs that none beats in both. Lower and further left is better.",
            "results.csv: carbon_kg, value_gbp, carbon_gbp",
        ),
        (
            diagnostics.reliability,
            "Were the forecasts right?",
            "On the dashed line prices fall below a forecast quantile as often as they should. Of the error there is "
            "the mean size (line) and the mean (dashed).",
            "forecasts.csv",
        ),
        (
            figures.latency,
            "How long a decision takes",
            f"Wall-clock time on {reported}, on the machine that played it. A decision may take "
            f"{step_minutes(results) * 60_000:,} ms.",
            "results.csv: decision_ms_median, decision_ms_p99",
        ),
    ]
    pictures = []
    for draw, title, caption, source in plans:
        if not caption:
            continue
        wide, narrow = draw(results, WIDE_IN), draw(results, NARROW_IN)
        if wide is not None and narrow is not None:
            name = title.lower().replace(" ", "-").replace("?", "")
            drawn = svg(wide, f"{name}-w", title), svg(narrow, f"{name}-n", title)
            pictures.append(Picture(title, caption, source, *drawn))
    return pictures


def _week_caption(results: Results, week: figures.Week | None) -> str:
    if week is None:
        return ""
    first = trace_of(results, results.winner, week.split).index[week.rows][0]
    why = "the price was most spread out" if week.judge == "price" else f"{week.judge} earned its median"
    return (
        f"The week of {week.split} from {first:%d %B %Y} (UTC), in which {why}. "
        "What each policy earned in it stands in brackets. Prices were not known when the decision was made."
    )
