"""The books of settlement: statements and payments as they were made, and whether all of it follows from the log."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import rfc8785
import sqlalchemy as sa

from dispatch import flex_orders, flexibility, metering
from dispatch.audit import Audit, Fault
from dispatch.baseline import METHODS
from dispatch.flex_orders import RESERVING, FlexOrder, OrderState, order_of
from dispatch.metering import SYSTEM_PRICE, Reading, meter_of, reading_of
from dispatch.payment import RULES
from dispatch.settlement import Statement, statement_of
from dispatch.store import TABLES, Instant, Store

LOOK_BACK: Final = timedelta(days=62)  # beyond the longest of any method
CONCERNS_OTHERS: Final = LOOK_BACK  # an order makes events of days that later orders look back on

statement_table: Final = sa.Table(
    "statement",
    TABLES,
    sa.Column("order_id", sa.String(64), sa.ForeignKey("flex_order.order_id"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
VERSIONS: Final = (
    sa.select(statement_table)
    .where(statement_table.c.order_id == sa.bindparam("named"))
    .order_by(statement_table.c.version)
)
payment_table: Final = sa.Table(
    "payment",
    TABLES,
    sa.Column("order_id", sa.String(64), sa.ForeignKey("flex_order.order_id"), primary_key=True),
    sa.Column("reference", sa.String(128), primary_key=True),
    sa.Column("amount_gbp", sa.String(32), nullable=False),
    sa.Column("at", Instant, nullable=False),
)


class Made(NamedTuple):
    """A version of a statement.

    Attributes:
        version: From 1; the newest counts.
        at: When it was made.
        statement: As `dispatch.settlement.Statement.as_json` gives it.
        difference_gbp: How much more is payable than by the version before; the whole of it in the first.
    """

    version: int
    at: datetime
    statement: dict[str, Any]
    difference_gbp: str


def settle(connection: sa.Connection, audit: Audit, at: datetime, again: bool = True) -> list[str]:
    """Note which orders are carried out, and make the statement of every ended or cancelled order where it changed.

    Args:
        connection: A writing transaction of the store.
        audit: Records it.
        at: Now.
        again: Also of orders that have one, as is needed when readings came.

    Returns:
        Orders with a new version of their statement.
    """
    for order in flex_orders.orders(connection, (OrderState.CONFIRMED,)):
        if order.end <= at:
            flexibility.complete(connection, audit, order.order_id, at)
    ended = flex_orders.orders(connection, (OrderState.COMPLETED, OrderState.CANCELLED))
    if not again:
        settled = set(connection.execute(sa.select(statement_table.c.order_id)).scalars())
        ended = [one for one in ended if one.order_id not in settled]
    reserving = flex_orders.orders(connection, RESERVING)
    changed = []
    for order in ended:
        readings = _readings(connection, order)
        said = statement_of(order, _concerned(order, reserving), readings).as_json()
        known = statements(connection, order.order_id)
        if known and known[-1].statement == said:
            continue
        version = known[-1].version + 1 if known else 1
        row = {"order_id": order.order_id, "version": version, "at": at, "body": rfc8785.dumps(said).decode()}
        connection.execute(sa.insert(statement_table).values(row))
        audit.append(connection, "statement_made", {"version": version, "statement": said}, at)
        changed.append(order.order_id)
    return changed


def statements(connection: sa.Connection, order_id: str) -> list[Made]:
    """Every version of an order's statement, oldest first."""
    made: list[Made] = []
    for row in connection.execute(VERSIONS, {"named": order_id}):
        said = json.loads(row.body)
        before = Decimal(made[-1].statement["payable_gbp"]) if made else Decimal(0)
        made.append(Made(row.version, row.at, said, str(Decimal(said["payable_gbp"]) - before)))
    return made


def receive(
    connection: sa.Connection, audit: Audit, order_id: str, amount_gbp: Decimal, reference: str, at: datetime
) -> None:
    """Note that a buyer paid; the same reference again changes nothing.

    Args:
        connection: A writing transaction of the store.
        audit: Records it.
        order_id: For what.
        amount_gbp: How much, in whole pennies; negative for what was paid back.
        reference: The bank's name for the payment.
        at: Now.

    Raises:
        NotAvailable: There is no such order.
        ValueError: The amount is none, or the reference stands for another amount.
    """
    flexibility.get(connection, order_id)
    if not amount_gbp.is_finite() or amount_gbp != amount_gbp.quantize(Decimal("0.01")) or not amount_gbp:
        raise ValueError(f"{amount_gbp} is no amount of money in whole pennies")
    mine = (payment_table.c.order_id == order_id) & (payment_table.c.reference == reference)
    known = connection.execute(sa.select(payment_table.c.amount_gbp).where(mine)).scalar()
    if known is not None and Decimal(known) != amount_gbp:
        raise ValueError(f"payment {reference!r} of order {order_id} is of {known} GBP already; give another reference")
    if known is None:
        said = {"order_id": order_id, "reference": reference, "amount_gbp": str(amount_gbp)}
        connection.execute(sa.insert(payment_table).values(**said, at=at))
        audit.append(connection, "payment_received", said, at)


def received_gbp(connection: sa.Connection, order_id: str) -> Decimal:
    """What a buyer has paid for an order."""
    query = sa.select(payment_table.c.amount_gbp).where(payment_table.c.order_id == order_id)
    return sum((Decimal(text) for text in connection.execute(query).scalars()), Decimal("0.00"))


def disagreements(store: Store, audit: Audit) -> list[Fault]:
    """Where the tables say anything else than what follows from the log, in order of the log.

    Orders, readings and statements are made again from the log's entries alone; `Audit.faults` says whether those are
    as they were written.
    """
    orders: dict[str, tuple[int, FlexOrder]] = {}
    readings: dict[tuple[str, datetime, int], tuple[int, Reading]] = {}
    made: dict[tuple[str, int], tuple[int, dict[str, Any]]] = {}
    faults: list[Fault] = []
    for entry in audit.entries():
        body = json.loads(entry.body)
        if entry.kind in ("flexibility_quoted", *(f"flexibility_{state.value}" for state in OrderState)):
            orders[body["order_id"]] = entry.sequence, order_of(body)
        elif entry.kind == "readings_recorded":
            for one in map(reading_of, body["readings"]):
                readings[one.series, one.start, one.version] = entry.sequence, one
        elif entry.kind == "statement_made":
            said = body["statement"]
            made[said["order_id"], body["version"]] = entry.sequence, said
            again = _again(said["order_id"], [one for _, one in orders.values()], [one for _, one in readings.values()])
            if again.as_json() != said:
                faults.append(
                    Fault(entry.sequence, f"the statement of {said['order_id']} does not follow from the log")
                )
    with store.reading() as connection:
        for name, (sequence, order) in orders.items():
            if flex_orders.find(connection, name) != order:
                faults.append(Fault(sequence, f"order {name} was altered in its table"))
        held = sa.select(*(metering.reading_table.c[name] for name in Reading._fields))
        rows = {(row.series, row.start, row.version): Reading(*row) for row in connection.execute(held)}
        for key, (sequence, one) in readings.items():
            if rows.pop(key, None) != one:
                text = f"the reading of {one.series} at {one.start.isoformat()}, version {one.version}, was altered"
                faults.append(Fault(sequence, text))
        for series, start, version in rows:
            faults.append(
                Fault(-1, f"a reading of {series} at {start.isoformat()}, version {version}, is not in the log")
            )
        for (name, version), (sequence, said) in made.items():
            found = [one.statement for one in statements(connection, name) if one.version == version]
            if found != [said]:
                faults.append(Fault(sequence, f"the statement of {name}, version {version}, was altered in its table"))
    return sorted(faults)


def checked_terms(baseline: str, payment: str) -> None:
    """Say what is wrong with names of terms.

    Raises:
        ValueError: There is no such method or rule.
    """
    if baseline not in METHODS:
        raise ValueError(f"there is no baseline method {baseline!r}; allowed are {', '.join(METHODS)}")
    if payment not in RULES:
        raise ValueError(f"there is no payment rule {payment!r}; allowed are {', '.join(RULES)}")


def _concerned(order: FlexOrder, orders: Sequence[FlexOrder]) -> list[FlexOrder]:
    return [
        one
        for one in orders
        if one.cluster_id == order.cluster_id and order.start - CONCERNS_OTHERS <= one.end and one.start <= order.end
    ]


def _readings(connection: sa.Connection, order: FlexOrder) -> dict[str, dict[datetime, Reading]]:
    span = order.start - LOOK_BACK, order.end
    series = meter_of(order.cluster_id)
    prices = metering.newest(connection, SYSTEM_PRICE, order.start - timedelta(minutes=30), order.end)
    return {series: metering.newest(connection, series, *span), SYSTEM_PRICE: prices}


def _again(order_id: str, orders: Sequence[FlexOrder], readings: Sequence[Reading]) -> Statement:
    """The statement as the log stood, by the same narrowing as `settle`."""
    order = next(one for one in orders if one.order_id == order_id)
    reserving = [one for one in orders if one.state in RESERVING]
    by_series: dict[str, dict[datetime, Reading]] = {}
    for one in sorted(readings, key=lambda one: one.version):
        if order.start - LOOK_BACK <= one.start <= order.end:
            by_series.setdefault(one.series, {})[one.start] = one
    return statement_of(order, _concerned(order, reserving), by_series)
