"""Fetch the real grid table from open sources: `python -m data.download --from 2023-01-01 --to 2024-06-30`.

Every answer is kept under `<output>/parts`, so a stopped download goes on where it was and a second one fetches only
what is missing or may have been restated. `docs/data.md` describes the sources, their licences and their quirks.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from data import assemble
from data.clients.endpoints import Endpoints
from data.clients.transport import PATIENT, Patience, open_http
from data.clients.wire import AnswerError
from data.load import FILE_NAME, checked
from data.parts import Parts, atomic
from data.schema import COLUMNS
from data.sources import SOURCES, ZONE, Chunk, Services, services

AT_ONCE: Final = 4  # requests under way for one source; a slow source must not hold up the others
FOLLOW_EVERY: Final = timedelta(minutes=5)


class Outcome(NamedTuple):
    """What one pass did.

    Attributes:
        table: The grid table, gaps as NaN; see `data.assemble.table`.
        fetched: Parts asked for.
        kept: Parts that were there.
        failed: What could not be had, and why.
        restated: Values by source that a new answer changed.
        quirks: How often each oddity of the sources was met.
    """

    table: pd.DataFrame
    fetched: int
    kept: int
    failed: tuple[str, ...]
    restated: Counter[str]
    quirks: Counter[str]


def chunks_of(source: str, first: date, last: date) -> list[Chunk]:
    """The pieces of a source that cover the settlement dates `first` to `last`, in order."""
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return list(dict.fromkeys(SOURCES[source].chunk(day) for day in days))


async def update(
    folder: Path,
    first: date,
    last: date,
    urls: Endpoints,
    now: datetime | None = None,
    patience: Patience = PATIENT,
    console: Console | None = None,
) -> Outcome:
    """Fetch what is missing for the settlement dates `first` to `last`, then write the table.

    Args:
        folder: Gets `gb_halfhourly.parquet`, and `parts/` and `cache/` for the next time.
        first: First settlement date.
        last: Last settlement date; may lie ahead, where only day-ahead values are known.
        urls: Where the services are.
        now: The time it is; the clock's by default.
        patience: With the hosts.
        console: Shows progress if given.

    Returns:
        What was done. The table is on disk only if it passes `data.load.checked`.

    Raises:
        ValueError: `last` is before `first`.
    """
    if last < first:
        raise ValueError(f"--to {last} is before --from {first}; ask for at least one day")
    parts = Parts(folder / "parts")
    pieces = [(source, chunk) for source in SOURCES for chunk in chunks_of(source, first, last)]
    at = now or datetime.now(UTC)
    due = [(s, c) for s, c in pieces if SOURCES[s].due(c, parts.fetched_at(s, c.key), at)]
    kept = sum(parts.fetched_at(s, c.key) is not None for s, c in set(pieces) - set(due))
    failed: list[str] = []
    restated: Counter[str] = Counter()
    gates = {source: asyncio.Semaphore(AT_ONCE) for source in SOURCES}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with open_http(folder / "cache" / "http.sqlite", patience) as http:
        hosts = services(http, urls)
        with Progress(*columns, console=console, disable=console is None) as progress:
            bar = progress.add_task("fetching", total=len(due))

            async def fetch(source: str, chunk: Chunk) -> None:
                async with gates[source]:
                    try:
                        restated[source] += await _fetch(parts, hosts, source, chunk, now or datetime.now(UTC))
                    except (AnswerError, httpx.HTTPError) as error:
                        failed.append(f"{source} {chunk.key}: {error or type(error).__name__}")
                    progress.update(bar, advance=1, description=f"{source} {chunk.key}")

            await asyncio.gather(*(fetch(source, chunk) for source, chunk in due))

    def read(source: str) -> pd.DataFrame:
        return parts.read(source, [chunk.key for chunk in chunks_of(source, first, last)])

    table, quirks = assemble.table(read, first, last)
    try:
        checked(table)
    except ValueError as error:
        failed.append(f"no table was written, because {error}")
    else:
        with atomic(folder / FILE_NAME) as temporary:
            table.to_parquet(temporary)
    return Outcome(table, len(due), kept, tuple(sorted(failed)), +restated, +quirks)


async def _fetch(parts: Parts, hosts: Services, source: str, chunk: Chunk, now: datetime) -> int:
    """Fetch and keep one part; gives the number of values that differ from those of the part it replaces."""
    old = parts.read(source, [chunk.key])
    rows = await SOURCES[source].fetch(hosts, chunk, now)
    if SOURCES[source].grows and len(old):
        rows = pd.concat([old, rows], ignore_index=True).drop_duplicates(ignore_index=True)
    parts.write(source, chunk.key, rows, now)
    return 0 if SOURCES[source].grows else _changed(old, rows)


def _changed(old: pd.DataFrame, new: pd.DataFrame) -> int:
    if old.empty or new.empty:
        return 0
    keys = [c for c in new if c in ("start", "settlement_date", "settlement_period", "hour", "fuel", "provider")]
    keys += [c for c in ("published_at", "from_hhmm", "to_hhmm") if c in new]
    both = old.merge(new, on=keys, suffixes=("", "_new")).drop(
        columns=["created_at", "created_at_new"], errors="ignore"
    )
    pairs = [(both[c], both[f"{c}_new"]) for c in both if f"{c}_new" in both]
    return sum(int(((a != b) & ~(a.isna() & b.isna())).sum()) for a, b in pairs)


def summary(outcome: Outcome, console: Console) -> None:
    """Print rows, gaps by column, restatements, quirks and failures."""
    table = outcome.table
    span = f"{table.index[0]:%Y-%m-%d %H:%M} to {table.index[-1]:%Y-%m-%d %H:%M} UTC"
    console.print(
        f"{len(table)} half-hours, {span}; {outcome.fetched} parts asked for, {outcome.kept} kept from before"
    )
    shown = Table("column", "gaps", "share")
    for column in COLUMNS:
        gaps = int(np.count_nonzero(table[column.name].isna()))
        shown.add_row(column.name, str(gaps), f"{100.0 * gaps / len(table):.2f} %")
    console.print(shown)
    for title, counts in (("restated values", outcome.restated), ("quirks", outcome.quirks)):
        for name, count in sorted(counts.items()):
            console.print(f"{title}: {name}: {count}", highlight=False)
    for line in outcome.failed:
        console.print(f"[red]failed:[/red] {line}", highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry point; 0 if everything was had or `--follow` was interrupted, else 1."""
    parser = argparse.ArgumentParser(prog="python -m data.download", description=__doc__)
    parser.add_argument("--from", dest="first", type=date.fromisoformat, required=True, help="first settlement date")
    parser.add_argument("--to", dest="last", type=date.fromisoformat, help="last settlement date; today by default")
    parser.add_argument("--output", type=Path, default=Path("data/gb"), help="folder of the table")
    parser.add_argument("--follow", action="store_true", help="go on for ever: append the newest, fetch restated days")
    given = parser.parse_args(arguments)
    console, urls = Console(), Endpoints.from_environment()
    if given.follow:
        with suppress(KeyboardInterrupt):
            asyncio.run(_follow(given.output, given.first, urls, console))
        return 0
    outcome = asyncio.run(
        update(given.output, given.first, given.last or datetime.now(ZONE).date(), urls, console=console)
    )
    summary(outcome, console)
    return 1 if outcome.failed else 0


async def _follow(folder: Path, first: date, urls: Endpoints, console: Console) -> None:
    while True:
        tomorrow = datetime.now(ZONE).date() + timedelta(days=1)
        outcome = await update(folder, first, tomorrow, urls)
        console.print(
            f"{datetime.now(UTC):%H:%M:%S} UTC: {outcome.fetched} parts fetched, {len(outcome.failed)} failed"
        )
        for line in outcome.failed:
            console.print(f"failed: {line}", highlight=False)
        await asyncio.sleep(FOLLOW_EVERY.total_seconds())


if __name__ == "__main__":
    raise SystemExit(main())
