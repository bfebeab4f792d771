"""`python main.py orders`: what is offered, committed, delivered and earned."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.failure import told

if TYPE_CHECKING:
    from dispatch.ledger import Ledger
    from dispatch.store import Store

app = typer.Typer(help="Offers, commitments, deliveries and money.", invoke_without_command=True)

Database = Annotated[
    str | None, typer.Option(help="SQLAlchemy URL of the database; GRIDPILOT_DATABASE_URL if not given.")
]
SHOWN = 40  # offers in the table


class Form(StrEnum):
    """How a list is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@app.callback()
def orders(
    context: typer.Context,
    form: Annotated[Form, typer.Option("--as", help="How to write it.")] = Form.TABLE,
    database: Database = None,
) -> None:
    """Show offers and orders; without a command, all of them."""
    if context.invoked_subcommand is not None:
        return
    from dispatch.ledger import ledger, orders_csv

    with told(*_errors()):
        store = _store(database)
        with store.reading() as connection:
            found = ledger(connection, datetime.now(UTC))
    if form is Form.JSON:
        typer.echo(json.dumps(found.as_json(), indent=1))
    elif form is Form.CSV:
        typer.echo(orders_csv(found.orders), nl=False)
    else:
        _print(found)


@app.command()
def show(
    order_id: Annotated[str, typer.Argument(help="Which order.")],
    page: Annotated[Path | None, typer.Option(help="Write its page, with picture and statement, to this file.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write its half-hours to this .csv or .json file.")] = None,
    database: Database = None,
) -> None:
    """Print everything about one order as JSON."""
    from dispatch.ledger import detail, statement_csv
    from dispatch.order_page import order_page

    with told(*_errors()):
        store = _store(database)
        with store.reading() as connection:
            said = detail(connection, order_id)
        if page is not None:
            page.write_text(order_page(said), encoding="utf-8")
        if export is not None:
            if export.suffix not in (".csv", ".json"):
                raise ValueError(f"{export} ends in {export.suffix!r}; allowed are .csv and .json")
            if not said["statements"]:
                raise ValueError(f"order {order_id} has no statement yet; it is {said['order']['state']}")
            newest = said["statements"][-1]
            text = statement_csv(newest) if export.suffix == ".csv" else json.dumps(newest, indent=1)
            export.write_text(text, encoding="utf-8")
    typer.echo(json.dumps(said, indent=1))


@app.command()
def meter(
    file: Annotated[Path, typer.Argument(help="CSV of readings, or of system prices; see docs/beckn.md.")],
    database: Database = None,
) -> None:
    """Record readings and settle again whatever they change."""
    from dispatch import books
    from dispatch.audit import Audit
    from dispatch.metering import read_csv, record

    with told(*_errors()):
        readings = read_csv(file.read_text(encoding="utf-8"))
        store, at = _store(database), datetime.now(UTC)
        with store.writing() as connection:
            done = record(connection, Audit(store), readings, at)
            changed = books.settle(connection, Audit(store), at)
    typer.echo(f"{done.new} new, {done.restated} restated, {done.known} known; {len(changed)} statements made")
    for order_id in changed:
        typer.echo(order_id)


@app.command()
def paid(
    order_id: Annotated[str, typer.Argument(help="For which order.")],
    amount_gbp: Annotated[str, typer.Argument(help="How much; negative for what was paid back.")],
    reference: Annotated[str, typer.Argument(help="The bank's name for the payment.")],
    database: Database = None,
) -> None:
    """Note that a buyer paid."""
    from dispatch import books
    from dispatch.audit import Audit

    with told(*_errors()):
        try:
            amount = Decimal(amount_gbp)
        except InvalidOperation:
            raise ValueError(f"{amount_gbp!r} is no amount; write 71.25") from None
        store = _store(database)
        with store.writing() as connection:
            books.receive(connection, Audit(store), order_id, amount, reference, datetime.now(UTC))
            received = books.received_gbp(connection, order_id)
    typer.echo(f"{received} GBP received for order {order_id}")


@app.command()
def verify(database: Database = None) -> None:
    """Make every statement again from the audit log and compare what is kept. Exit status 1 if anything differs."""
    from dispatch.audit import Audit
    from dispatch.books import disagreements
    from server.beckn.inbox import altered

    with told(*_errors()):
        store = _store(database)
        audit = Audit(store)
        faults = sorted([*audit.faults(), *disagreements(store, audit), *altered(store, audit)])
    for fault in faults:
        typer.echo(f"entry {fault.sequence}: {fault.problem}")
    typer.echo(f"{len(faults)} faults")
    raise typer.Exit(1 if faults else 0)


def _errors() -> tuple[type[Exception], ...]:
    from sqlalchemy.exc import DatabaseError

    from dispatch.flexibility import NotAvailable

    return ValueError, OSError, DatabaseError, NotAvailable


def _store(database: str | None) -> "Store":
    from dispatch.store import Store
    from server.settings import Settings

    return Store(Settings.from_environment(database_url=database).database_url.get_secret_value())


def _print(found: "Ledger") -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from dispatch.ledger import totals

    console = Console()
    count = len(found.offers)
    part = f", the first {SHOWN} of them here; --as json has all" if count > SHOWN else ""
    offers = Table(title=f"On sale: {count} offers{part}", box=SIMPLE, pad_edge=False)
    for title in ("offer", "cluster", "start", "hours", "kW", "GBP/MWh"):
        offers.add_column(title, justify="right" if title in ("hours", "kW", "GBP/MWh") else "left", overflow="fold")
    for offer in found.offers[:SHOWN]:
        offers.add_row(
            offer.offer_id,
            offer.cluster_id,
            f"{offer.start:%Y-%m-%d %H:%M}Z",
            f"{(offer.end - offer.start) / timedelta(hours=1):g}",
            f"{offer.power_kw:g}",
            f"{offer.price_gbp_per_mwh:.2f}",
        )
    console.print(offers)
    if not found.orders:
        console.print("Nothing is ordered yet.")
        return
    table = Table(title=f"Orders: {len(found.orders)}", show_footer=True, box=SIMPLE, pad_edge=False)
    sums = totals(found.orders)
    columns = {
        "order": "", "buyer": "", "state": "", "start": "", "kW": "", "worth GBP": "", "settlement": "",
        "delivered MWh": sums["delivered_mwh"], "missing MWh": sums["shortfall_mwh"],
        "payable GBP": sums["payable_gbp"], "received GBP": sums["received_gbp"],
    }  # fmt: skip
    for title, footer in columns.items():
        numeric = title.endswith(("kW", "GBP", "MWh"))
        table.add_column(title, footer=footer, justify="right" if numeric else "left", overflow="fold")
    for line in found.orders:
        table.add_row(
            line.order_id, line.buyer_id, line.state, f"{line.start[:16]}Z", f"{line.power_kw:g}", line.value_gbp,
            *(value if value is not None else "-" for value in (
                line.settlement, line.delivered_mwh, line.shortfall_mwh, line.payable_gbp,
            )),
            line.received_gbp,
        )  # fmt: skip
    console.print(table)
