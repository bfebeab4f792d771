"""What an operator sees: the list, the page, the files and the paths."""

import asyncio
import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from xml.etree import ElementTree

import httpx
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from dispatch import books, flex_offers, flexibility
from dispatch.audit import Audit
from dispatch.flex_offers import Offer
from dispatch.ledger import Ledger, detail, ledger, orders_csv, statement_csv
from dispatch.metering import Reading, meter_of, record
from dispatch.order_page import order_page
from dispatch.store import Store
from main import app as command_line
from server.orders import orders_section
from server.refusal import add_handlers

START = datetime(2024, 7, 10, 15, 0, tzinfo=UTC)  # 16:00 in London
HALF = timedelta(minutes=30)
DAY = timedelta(days=1)
BUYER = "<b>=buyer</b>.example"


@pytest.fixture
def url(tmp_path):
    """A store in which 500 kW were sold for two hours, metered but for one half-hour, and half paid."""
    url = f"sqlite:///{tmp_path / 'state.db'}"
    store = Store(url)
    audit = Audit(store)
    offer = Offer("flex-a", "hpc-1", 500.0, START, START + 4 * HALF, 150.0, None, START)
    first = START - 12 * DAY
    drawn = {START: 4075.0, START + HALF: 3700.0, START + 3 * HALF: 3985.0}
    starts = [first + i * HALF for i in range((START + 4 * HALF + timedelta(hours=2) - first) // HALF)]
    kwh = {at: drawn.get(at, 4000.0 + 10.0 * at.hour) for at in starts if at != START + 2 * HALF}
    after = START + DAY
    with store.writing() as connection:
        flex_offers.publish(connection, audit, [offer, offer._replace(offer_id="flex-b")], START - DAY)
        flexibility.quote(connection, audit, "order-1", BUYER, "deal", "flex-a", None, START - DAY)
        flexibility.confirm(connection, audit, "order-1", START - DAY)
        flexibility.quote(connection, audit, "order-2", "other", "deal", "flex-b", None, START - DAY)
        record(connection, audit, [Reading(meter_of("hpc-1"), at, value) for at, value in kwh.items()], after)
        books.settle(connection, audit, after)
        books.receive(connection, audit, "order-1", Decimal("50.00"), "bank-1", after)
    store.close()
    return url


@pytest.fixture
def said(url):
    store = Store(url)
    with store.reading() as connection:
        yield detail(connection, "order-1")
    store.close()


def test_the_ledger_holds_every_order_with_its_money(url):
    store = Store(url)
    with store.reading() as connection:
        found = ledger(connection, START - DAY)
    one, other = found.orders
    assert (one.state, one.settlement, one.received_gbp, other.state) == ("completed", "withheld", "50.00", "quoted")
    assert one.payable_gbp == "75.00"  # 0.075, 0.25 (of 0.45) and 0.175 MWh at 150; one half-hour is withheld
    assert found.as_json()["totals"]["payable_gbp"] == "75.00"
    assert [offer.offer_id for offer in found.offers] == ["flex-b"]
    assert isinstance(found, Ledger)
    store.close()


def test_the_files_hold_what_the_statement_holds(said, url):
    newest = said["statements"][-1]
    rows = list(csv.DictReader(io.StringIO(statement_csv(newest))))
    assert [row["delivered_mwh"] for row in rows] == [row["delivered_mwh"] or "" for row in newest["rows"]]
    assert sum(Decimal(row["gbp"]) for row in rows if row["gbp"]).quantize(Decimal("0.01")) == Decimal("75.00")
    store = Store(url)
    with store.reading() as connection:
        (row, _) = csv.DictReader(io.StringIO(orders_csv(ledger(connection, START).orders)))
    assert (row["order_id"], row["buyer_id"]) == ("order-1", BUYER)
    store.close()


def test_the_page_shows_the_picture_and_no_code_of_a_buyers(said):
    page = order_page(said)
    assert "<b>" not in page
    assert "&lt;b&gt;=buyer" in page
    picture = ElementTree.fromstring(re.findall(r"<svg viewBox=\"0 0 960 380\".*?</svg>", page, re.DOTALL)[0])
    drawn = {one.get("class"): one for one in picture if one.get("class") not in (None, "grid")}
    assert set(drawn) == {"window", "delivered", "missing", "baseline", "commitment", "meter"}
    numbers = [float(x) for one in picture for x in re.findall(r"-?\d+\.?\d*", one.get("d") or "")]
    assert all(0.0 <= x <= 960.0 for x in numbers)
    assert drawn["meter"].get("d").count("M") == 2  # the missing half-hour breaks the line
    assert "16:00" in page  # local time
    assert "http" not in re.sub(r"xmlns=\S+", "", page)  # nothing is fetched from elsewhere
    assert "Outstanding: £25.00" in page


def test_an_order_without_readings_has_a_page_too(url):
    store = Store(url)
    with store.reading() as connection:
        page = order_page(detail(connection, "order-2") | {"meter": []})
    assert "not settled" in page
    assert "nothing can be drawn" in page
    store.close()


def test_the_paths_say_the_same_as_the_ledger(url):
    store = Store(url)
    app = FastAPI()
    add_handlers(app)
    app.include_router(orders_section(store).router)

    async def asked(*paths):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://us") as client:
            return [await client.get(path) for path in paths]

    every, one, page, text, unknown = asyncio.run(
        asked("/v1/orders", "/v1/orders/order-1", "/v1/orders/order-1/page", "/v1/orders.csv", "/v1/orders/none")
    )
    assert every.json()["orders"][0]["payable_gbp"] == one.json()["order"]["payable_gbp"] == "75.00"
    assert page.headers["content-type"].startswith("text/html")
    assert text.text.startswith("order_id,buyer_id")
    assert unknown.status_code == 404
    assert "there is no order" in unknown.json()["detail"][0]["message"]
    store.close()


def test_the_command_line_lists_shows_settles_and_verifies(url, tmp_path):
    def run(*arguments, code=0):
        done = CliRunner().invoke(command_line, ["orders", *arguments, "--database", url])
        assert done.exit_code == code, done.output
        return done.output

    assert json.loads(run("--as", "json"))["orders"][0]["order_id"] == "order-1"
    assert "order-1" in run("--as", "csv")
    assert "Orders: 2" in run()
    file = tmp_path / "meter.csv"
    file.write_text(f"cluster_id,start,kwh\nhpc-1,{(START + 2 * HALF).isoformat()},4160\n")
    assert "1 new, 0 restated, 0 known; 1 statements made" in run("meter", str(file))
    assert json.loads(run("show", "order-1", "--page", str(tmp_path / "page.html")))["statements"][-1]["version"] == 2
    assert "Versions" in (tmp_path / "page.html").read_text()
    assert "75.00 GBP received" in run("paid", "order-1", "25.00", "bank-2")
    assert run("verify") == "0 faults\n"
    for wrong in (
        ["show", "none"],
        ["paid", "order-1", "lots", "x"],
        ["meter", str(tmp_path / "none.csv")],
        ["show", "order-2", "--export", str(tmp_path / "x.csv")],
        ["show", "order-1", "--export", str(tmp_path / "x.pdf")],
    ):
        assert "error:" in run(*wrong, code=2)
    store = Store(url)
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE flex_order SET power_kw = 1 WHERE order_id = 'order-1'")
    store.close()
    assert "order order-1 was altered" in run("verify", code=1)
