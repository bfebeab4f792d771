"""Readings: what meters and the market report half-hour by half-hour, every version of it.

A reading is never overwritten. The same one again changes nothing; another value for the same half-hour is a
restatement and becomes a new version beside the old. A half-hour without a reading is missing, which is not zero.
"""

import csv
import math
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

import pandas as pd
import sqlalchemy as sa

from data.calendar import period_start
from data.schema import HALF_HOUR
from dispatch.audit import Audit
from dispatch.store import TABLES, Instant

SYSTEM_PRICE: Final = "system_price"
ACTUAL: Final = "actual"
ESTIMATED: Final = "estimated"
MOST_AT_ONCE: Final = 20_000
LARGEST: Final = 1e9
ENTRY_ROWS: Final = 2_000  # of one audit entry

reading_table: Final = sa.Table(
    "meter_reading",
    TABLES,
    sa.Column("series", sa.String(160), primary_key=True),
    sa.Column("start", Instant, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("quality", sa.String(16), nullable=False),
    sa.Column("received_at", Instant, nullable=False),
)


class Reading(NamedTuple):
    """One half-hour of one series.

    Attributes:
        series: `meter_of(cluster)` in kWh drawn, or `SYSTEM_PRICE` in GBP/MWh.
        start: Of the half-hour, UTC.
        value: In the unit of the series; a meter that exports reads negative.
        quality: `ACTUAL` or `ESTIMATED`.
        version: From 1; what came later counts.
    """

    series: str
    start: datetime
    value: float
    quality: str = ACTUAL
    version: int = 1


class Recorded(NamedTuple):
    """What became of readings that came: how many were new, restated something, or were known already."""

    new: int
    restated: int
    known: int


def meter_of(cluster_id: str) -> str:
    """Name of a cluster's series."""
    return f"meter/{cluster_id}"


def record(connection: sa.Connection, audit: Audit, readings: Iterable[Reading], at: datetime) -> Recorded:
    """Keep readings.

    Args:
        connection: A writing transaction of the store.
        audit: Records them.
        readings: In any order; their versions are given here.
        at: Now.

    Raises:
        ValueError: One is no number, not at a half-hour, of an unknown quality, in the future, or told twice
            differently.
    """
    came: dict[tuple[str, datetime], Reading] = {}
    for one in readings:
        _check(one, at)
        if came.setdefault((one.series, one.start), one) != one:
            raise ValueError(f"{one.series} at {one.start.isoformat()} comes twice with different values; send one")
    if not came:
        return Recorded(0, 0, 0)
    if len(came) > MOST_AT_ONCE:
        raise ValueError(f"{len(came)} readings at once; send at most {MOST_AT_ONCE}")
    known: dict[tuple[str, datetime], Reading] = {}
    for series in sorted({one.series for one in came.values()}):
        starts = [one.start for one in came.values() if one.series == series]
        known |= {(series, one.start): one for one in newest(connection, series, min(starts), max(starts)).values()}
    kept = []
    for name, one in sorted(came.items()):
        old = known.get(name)
        if old is None or (old.value, old.quality) != (one.value, one.quality):
            kept.append(one._replace(version=1 if old is None else old.version + 1))
    if kept:
        rows = [one._asdict() | {"received_at": at} for one in kept]
        connection.execute(sa.insert(reading_table), rows)
    for first in range(0, len(kept), ENTRY_ROWS):
        audit.append(
            connection, "readings_recorded", {"readings": list(map(_said, kept[first : first + ENTRY_ROWS]))}, at
        )
    restated = sum(one.version > 1 for one in kept)
    return Recorded(len(kept) - restated, restated, len(came) - len(kept))


def newest(connection: sa.Connection, series: str, first: datetime, last: datetime) -> dict[datetime, Reading]:
    """The version that counts of every half-hour from `first` to `last` that there is a reading of."""
    query = sa.select(*(reading_table.c[name] for name in Reading._fields)).where(
        reading_table.c.series == series, reading_table.c.start >= first, reading_table.c.start <= last
    )
    rows = connection.execute(query.order_by(reading_table.c.start, reading_table.c.version))
    return {row.start: Reading(*row) for row in rows}


def versions(connection: sa.Connection, series: str, start: datetime) -> list[Reading]:
    """Everything that was ever reported of a half-hour, oldest first."""
    query = sa.select(*(reading_table.c[name] for name in Reading._fields)).where(
        reading_table.c.series == series, reading_table.c.start == start
    )
    return [Reading(*row) for row in connection.execute(query.order_by(reading_table.c.version))]


def read_csv(text: str) -> list[Reading]:
    """Readings from a file with a header.

    Columns: `start` (an instant with its time zone) or `settlement_date` and `period`; then `cluster_id` and `kwh`, or
    `system_price_gbp_per_mwh`; `quality` if not actual. A row without a value is a missing reading and left out.

    Raises:
        ValueError: A column is missing, or a row is none; the message names its line.
    """
    rows = csv.DictReader(text.splitlines())
    columns = set(rows.fieldnames or ())
    price = "system_price_gbp_per_mwh"
    if not ({"cluster_id", "kwh"} <= columns or price in columns) or not (
        "start" in columns or {"settlement_date", "period"} <= columns
    ):
        raise ValueError(
            f"the columns are {', '.join(sorted(columns)) or 'none'}; needed are start (or settlement_date and period) "
            f"with cluster_id and kwh, or with {price}"
        )
    found = []
    for line, row in enumerate(rows, start=2):
        series, value = (SYSTEM_PRICE, row[price]) if price in columns else (meter_of(row["cluster_id"]), row["kwh"])
        if not (value or "").strip():
            continue
        try:
            found.append(Reading(series, _start(row), float(value), (row.get("quality") or ACTUAL).strip()))
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from error
    return found


def reading_of(said: dict[str, Any]) -> Reading:
    """A reading from what the audit log says of it."""
    return Reading(**{**said, "start": datetime.fromisoformat(said["start"])})


def _start(row: dict[str, str]) -> datetime:
    if row.get("start"):
        at = datetime.fromisoformat(row["start"])
        if at.tzinfo is None:
            raise ValueError(f"{row['start']} has no time zone; write UTC as {row['start']}Z")
        return at.astimezone(UTC)
    found = period_start([date.fromisoformat(row["settlement_date"])], [int(row["period"])])[0]
    if pd.isna(found):
        raise ValueError(f"{row['settlement_date']} has no settlement period {row['period']}")
    return found.to_pydatetime()


def _check(one: Reading, at: datetime) -> None:
    where = f"{one.series} at {one.start.isoformat()}"
    if not (math.isfinite(one.value) and abs(one.value) <= LARGEST):
        raise ValueError(f"{where} is {one.value}; a reading is a number, and what is missing is left out")
    if one.start.timestamp() % HALF_HOUR.total_seconds():
        raise ValueError(f"{where} does not start a half-hour")
    if one.start + HALF_HOUR > at:
        raise ValueError(f"{where} is of a half-hour that is not over; here it is {at.isoformat()}")
    if one.quality not in (ACTUAL, ESTIMATED):
        raise ValueError(f"{where} has the quality {one.quality!r}; allowed are {ACTUAL} and {ESTIMATED}")


def _said(one: Reading) -> dict[str, Any]:
    return one._asdict() | {"start": one.start.isoformat()}
