"""What the site measures, in the order of time: stored once, never rewritten, and questioned where clocks disagree."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from dispatch.store import TABLES, Instant, Store

MOST_AHEAD: Final = timedelta(seconds=60)  # of our clock; further on, one of the two clocks is wrong
FRESH: Final = timedelta(minutes=5)
LONG_SILENCE: Final = timedelta(minutes=30)

reading_table: Final = sa.Table(
    "reading",
    TABLES,
    sa.Column("measured_at", Instant, primary_key=True),
    sa.Column("charge_fraction", sa.Float, nullable=False),
    sa.Column("power_kw", sa.Float, nullable=True),
    sa.Column("received_at", Instant, nullable=False),
)


class Reading(NamedTuple):
    """One measurement.

    Attributes:
        measured_at: By the site's clock.
        charge_fraction: Stored energy over capacity, 0 to 1.
        power_kw: Metered grid power of the battery, charging positive; None where there is no meter.
        received_at: By ours.
    """

    measured_at: datetime
    charge_fraction: float
    power_kw: float | None
    received_at: datetime


class Disorder(ValueError):
    """A reading that contradicts what is stored or our clock; the text says how."""


class Readings:
    """The newest reading, and the rules for the next one."""

    def __init__(self, store: Store) -> None:
        """Read where it stands."""
        with store.reading() as connection:
            query = sa.select(reading_table).order_by(reading_table.c.measured_at.desc()).limit(1)
            row = connection.execute(query).first()
        self.newest: Reading | None = None if row is None else Reading(*row)

    def take(self, reading: Reading) -> tuple[bool, list[str]]:
        """Make a reading the newest.

        Returns:
            Whether it is new, and so to be written (the same one again is not); and what is odd about it.

        Raises:
            Disorder: It lies in the future, is older than the newest, or says something else of the same instant.
        """
        last = self.newest
        ahead = reading.measured_at - reading.received_at
        if ahead > MOST_AHEAD:
            raise Disorder(
                f"measured at {_iso(reading.measured_at)}, {_length(ahead)} after now by this server's clock "
                f"({_iso(reading.received_at)}); at most {_length(MOST_AHEAD)} are allowed: set the clocks right"
            )
        if last is None:
            self.newest = reading
            return True, []
        if reading.measured_at == last.measured_at:
            if reading[:3] != last[:3]:
                raise Disorder(
                    f"of {_iso(last.measured_at)} another reading is stored ({last.charge_fraction:g} full); a "
                    "reading is never rewritten: send a new one with its own time"
                )
            return False, []
        if reading.measured_at < last.measured_at:
            raise Disorder(
                f"measured at {_iso(reading.measured_at)}, before the newest reading ({_iso(last.measured_at)}); "
                "readings are taken in the order of time: send the newest one, or set the site's clock right"
            )
        self.newest = reading
        return True, _oddities(last, reading)

    def usable(self, now: datetime) -> tuple[float, str]:
        """The state of charge to decide on, and why there is none (it is NaN then)."""
        if self.newest is None:
            return math.nan, "no telemetry was ever received"
        age = now - self.newest.measured_at
        if age > FRESH:
            return math.nan, f"the newest telemetry is {_length(age)} old; at most {_length(FRESH)} are trusted"
        if -age > MOST_AHEAD:
            return math.nan, f"the newest telemetry lies {_length(-age)} in the future; this server's clock went back"
        return self.newest.charge_fraction, ""


def write(connection: sa.Connection, reading: Reading) -> None:
    """Store a reading; one of that instant stays as it is."""
    if connection.execute(sa.select(sa.exists().where(reading_table.c.measured_at == reading.measured_at))).scalar():
        return
    connection.execute(sa.insert(reading_table).values(reading._asdict()))


def since(store: Store, first: datetime) -> Iterator[Reading]:
    """Stored readings from an instant on, oldest first."""
    query = sa.select(reading_table).where(reading_table.c.measured_at >= first).order_by(reading_table.c.measured_at)
    with store.reading() as connection:
        yield from (Reading(*row) for row in connection.execute(query).all())


def _oddities(last: Reading, reading: Reading) -> list[str]:
    notes = []
    measured, received = reading.measured_at - last.measured_at, reading.received_at - last.received_at
    if measured > LONG_SILENCE:
        notes.append(f"nothing was measured for {_length(measured)} before this")
    if received < timedelta(0):
        notes.append(f"this server's clock went back by {_length(-received)} since the last reading")
    elif abs(measured - received) > MOST_AHEAD and received <= LONG_SILENCE:
        notes.append(f"the site's clock moved {_length(measured)} while this server's moved {_length(received)}")
    return notes


def _length(span: timedelta) -> str:
    return str(timedelta(seconds=round(span.total_seconds())))


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds")
