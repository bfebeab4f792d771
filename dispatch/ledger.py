"""The operator's view: offers, what is ordered of them, what was delivered, and the money."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from dispatch import books, flex_offers, flex_orders, flexibility, metering
from dispatch.audit import plain
from dispatch.flex_offers import Offer
from dispatch.flex_orders import FlexOrder
from dispatch.metering import meter_of
from dispatch.settlement import Row

AROUND: Final = timedelta(hours=3)  # of the meter, shown before and after an order


class Line(NamedTuple):
    """One order in a list; amounts are decimals in text, None where nothing is settled yet.

    Attributes:
        order_id: Our name for it.
        buyer_id: Who bought.
        offer_id: Of which offer.
        cluster_id: Whose load.
        state: `quoted`, `confirmed`, `completed` or `cancelled`.
        start: Of delivery, UTC, ISO 8601.
        end: Its end.
        power_kw: Committed.
        price_gbp_per_mwh: At which.
        value_gbp: What full delivery is worth.
        settlement: `settled`, `estimated`, `withheld` or `cancelled`.
        delivered_mwh: Turned down.
        shortfall_mwh: Sold and not turned down.
        payable_gbp: What it earns.
        received_gbp: What the buyer paid.
        version: Of the statement.
    """

    order_id: str
    buyer_id: str
    offer_id: str
    cluster_id: str
    state: str
    start: str
    end: str
    power_kw: float
    price_gbp_per_mwh: float
    value_gbp: str
    settlement: str | None
    delivered_mwh: str | None
    shortfall_mwh: str | None
    payable_gbp: str | None
    received_gbp: str
    version: int | None


class Ledger(NamedTuple):
    """Everything at a glance."""

    offers: list[Offer]
    orders: list[Line]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, with totals."""
        return {
            "offers": [plain(offer._asdict()) for offer in self.offers],
            "orders": [line._asdict() for line in self.orders],
            "totals": totals(self.orders),
        }


def ledger(connection: sa.Connection, at: datetime) -> Ledger:
    """What is on sale now, and every order that there ever was."""
    return Ledger(
        flex_offers.on_sale(connection, at), [_line(connection, one) for one in flex_orders.orders(connection)]
    )


def totals(lines: Sequence[Line]) -> dict[str, str]:
    """Sums over orders."""
    sums = {
        name: sum((Decimal(value) for line in lines if (value := getattr(line, name)) is not None), Decimal(0))
        for name in ("delivered_mwh", "shortfall_mwh", "payable_gbp", "received_gbp")
    }
    return {name: str(total) for name, total in sums.items()}


def detail(connection: sa.Connection, order_id: str) -> dict[str, Any]:
    """Everything about an order, plain JSON: its line, every version of its statement, and its meter around it.

    Raises:
        NotAvailable: There is none of that name.
    """
    order = flexibility.get(connection, order_id)
    made = books.statements(connection, order_id)
    meter = metering.newest(connection, meter_of(order.cluster_id), order.start - AROUND, order.end + AROUND)
    return {
        "order": _line(connection, order)._asdict(),
        "baseline": order.baseline,
        "payment": order.payment,
        "statements": [
            {"version": one.version, "at": one.at.isoformat(), "difference_gbp": one.difference_gbp, **one.statement}
            for one in made
        ],
        "meter": [
            {"start": one.start.isoformat(), "kwh": one.value, "quality": one.quality, "version": one.version}
            for one in meter.values()
        ],
    }


def orders_csv(lines: Iterable[Line]) -> str:
    """Orders as a spreadsheet reads them."""
    return _csv(Line._fields, lines)


def statement_csv(statement: dict[str, Any]) -> str:
    """The half-hours of a statement as a spreadsheet reads them."""
    return _csv(
        ("order_id", *Row._fields),
        ([statement["order_id"], *(row[name] for name in Row._fields)] for row in statement["rows"]),
    )


def _line(connection: sa.Connection, order: FlexOrder) -> Line:
    made = books.statements(connection, order.order_id)[-1:]
    said = made[0].statement if made else {}
    return Line(
        order.order_id,
        order.buyer_id,
        order.offer_id,
        order.cluster_id,
        order.state.value,
        order.start.isoformat(),
        order.end.isoformat(),
        order.power_kw,
        order.price_gbp_per_mwh,
        f"{order.value_gbp:.2f}",
        said.get("status"),
        said.get("delivered_mwh"),
        said.get("shortfall_mwh"),
        said.get("payable_gbp"),
        str(books.received_gbp(connection, order.order_id)),
        made[0].version if made else None,
    )


def _csv(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_safe(value) for value in row] for row in rows)
    return text.getvalue()


def _safe(value: Any) -> Any:
    """A buyer's name must not become a spreadsheet's formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "@", "\t", "\r") else value
