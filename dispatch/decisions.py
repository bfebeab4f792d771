"""What was decided for each step, and what it earned once its price is known."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

import sqlalchemy as sa

from dispatch.store import TABLES, Instant, Store, keeping_first, replacing

decision_table: Final = sa.Table(
    "decision",
    TABLES,
    sa.Column("start", Instant, primary_key=True),
    sa.Column("end", Instant, nullable=False),
    sa.Column("decided_at", Instant, nullable=False, index=True),
    sa.Column("power_kw", sa.Float, nullable=False),
    sa.Column("rung", sa.String(16), nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("gain_gbp", sa.Float, nullable=True),
)
view_table: Final = sa.Table(
    "market_view",
    TABLES,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)

PUT_IN_FORCE: Final = replacing(decision_table)
KEEP_VIEW: Final = keeping_first(view_table)


class Decided(NamedTuple):
    """The decision in force for a step; deciding the step again replaces it, and the audit log keeps both.

    Attributes:
        start: Of the step.
        end: Of the step.
        decided_at: When.
        power_kw: Set-point, charging positive.
        rung: What decided.
        answer: The whole answer, JSON.
        gain_gbp: Earned (above 0) or paid; None until the price is published.
    """

    start: datetime
    end: datetime
    decided_at: datetime
    power_kw: float
    rung: str
    answer: str
    gain_gbp: float | None = None


def write(connection: sa.Connection, decided: Decided) -> None:
    """Put a decision in force."""
    connection.execute(PUT_IN_FORCE[connection.dialect.name], decided._asdict())


def write_gain(connection: sa.Connection, start: datetime, gain_gbp: float) -> None:
    """Note what a step earned."""
    connection.execute(sa.update(decision_table).where(decision_table.c.start == start).values(gain_gbp=gain_gbp))


def write_view(connection: sa.Connection, sha256: str, body: str) -> None:
    """Keep what a decision was made on, once, under its digest, which the audit log names."""
    connection.execute(KEEP_VIEW[connection.dialect.name], {"sha256": sha256, "body": body})


def view(store: Store, sha256: str) -> str | None:
    """The market view of that digest."""
    with store.reading() as connection:
        return connection.execute(sa.select(view_table.c.body).where(view_table.c.sha256 == sha256)).scalar()


def digests(store: Store) -> Iterator[tuple[str, str]]:
    """The digest under which each market view is kept, and that of what stands there."""
    with store.reading() as connection:
        for sha256, body in connection.execution_options(yield_per=100).execute(sa.select(view_table)):
            yield sha256, hashlib.sha256(body.encode()).hexdigest()


def newest(store: Store) -> Decided | None:
    """The decision last made."""
    query = sa.select(decision_table).order_by(decision_table.c.decided_at.desc()).limit(1)
    with store.reading() as connection:
        row = connection.execute(query).first()
    return None if row is None else Decided(*row)


def since(store: Store, first: datetime) -> Iterator[Decided]:
    """Decisions for steps from an instant on, in the order of time."""
    query = sa.select(decision_table).where(decision_table.c.start >= first).order_by(decision_table.c.start)
    with store.reading() as connection:
        yield from (Decided(*row) for row in connection.execute(query).all())
