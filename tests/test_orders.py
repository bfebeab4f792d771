"""Orders against a market in a process of its own, reached over HTTP, while ours is killed."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatch.audit import Audit
from dispatch.orders import Orders, Refused, State
from dispatch.store import Store
from server.trades import trades_section

ROOT = Path(__file__).parent.parent
NOON = datetime(2024, 3, 31, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


class Clock:
    """Time that passes when told to."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Book:
    """A market that keeps what it is sent and may, at each call, do or lose it, answer or fail."""

    def __init__(self, behaviour=()):
        self.orders: dict[str, dict] = {}
        self.deliveries: list[str] = []
        self._behaviour = list(behaviour)

    def submit(self, client_order_id, payload):
        deed = self._behaviour.pop(0) if self._behaviour else "answer"
        if deed == "refuse":
            raise Refused("not wanted")
        if deed != "lose" and client_order_id not in self.orders:
            self.orders[client_order_id] = dict(payload)
            self.deliveries.append(client_order_id)
        if deed != "answer":
            raise ConnectionError(deed)
        return {"status": "accepted"}

    def find(self, client_order_id, payload):
        deed = self._behaviour.pop(0) if self._behaviour else "answer"
        if deed in ("fail after", "lose"):
            raise TimeoutError(deed)
        return {"status": "accepted"} if client_order_id in self.orders else None


def place(store, orders, client_order_id="bid-1", payload=None, at=NOON, closes_at=LATER):
    with store.writing() as connection:
        return orders.place(connection, client_order_id, payload or {"power_kw": 100.0}, closes_at, at)


def test_an_order_is_written_before_it_is_sent_and_answered_once(store):
    book, audit = Book(), Audit(store)
    orders = Orders(store, audit, book)
    assert place(store, orders).state is State.WRITTEN
    assert book.deliveries == []
    assert [order.state for order in orders.send_due(Clock())] == [State.ACCEPTED]
    assert orders.send_due(Clock(LATER)) == []
    assert book.deliveries == ["bid-1"]
    assert [entry.kind for entry in audit.entries()] == ["order_written", "order_accepted"]


def test_the_same_id_for_the_same_order_is_one_order_and_for_another_is_an_error(store):
    orders = Orders(store, Audit(store), Book())
    assert place(store, orders) == place(store, orders)
    with pytest.raises(ValueError, match="give another order another id"):
        place(store, orders, payload={"power_kw": 101.0})
    with pytest.raises(ValueError, match="must be plain JSON"):
        place(store, orders, "bid-2", payload={"power_kw": float("nan")})


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(behaviour=st.lists(st.sampled_from(["answer", "fail after", "lose", "refuse"]), max_size=6), data=st.data())
def test_however_the_market_behaves_no_order_is_lost_or_doubled(behaviour, data, tmp_path):
    store = Store(f"sqlite:///{tmp_path / f'{time.monotonic_ns()}.db'}")
    book, audit, clock = Book(behaviour), Audit(store), Clock()
    orders = Orders(store, audit, book)
    names = [f"bid-{i}" for i in range(data.draw(st.integers(1, 3)))]
    for name in names:
        place(store, orders, name)
    for _ in range(12):
        orders.send_due(clock)
        clock.now += timedelta(minutes=2)
    for name in names:
        state = orders.get(name).state
        assert state in (State.ACCEPTED, State.REJECTED)
        assert (state is State.ACCEPTED) == (name in book.orders) or state is State.REJECTED
        assert book.deliveries.count(name) <= 1
    assert audit.faults() == []
    store.close()


def test_a_refused_order_is_not_sent_again(store):
    book = Book(["refuse"])
    orders = Orders(store, Audit(store), book)
    place(store, orders)
    assert orders.send_due(Clock())[0].state is State.REJECTED
    assert json.loads(orders.get("bid-1").answer) == {"reason": "not wanted"}
    assert orders.send_due(Clock(LATER)) == []


def test_an_order_whose_market_has_closed_is_not_sent(store):
    book = Book()
    orders = Orders(store, Audit(store), book)
    place(store, orders)
    assert orders.send_due(Clock(LATER))[0].state is State.EXPIRED
    assert book.deliveries == []


@pytest.mark.parametrize(("behaviour", "state"), [("fail after", State.ACCEPTED), ("lose", State.EXPIRED)])
def test_an_order_that_may_have_arrived_is_looked_up_even_after_closing(behaviour, state, store):
    orders = Orders(store, Audit(store), Book([behaviour]))
    place(store, orders)
    assert orders.send_due(Clock())[0].state is State.SENDING
    assert orders.send_due(Clock(LATER))[0].state is state


def test_attempts_are_spaced_and_a_clock_that_goes_back_does_not_stop_them(store):
    book, clock = Book(["lose"] * 20), Clock()
    orders = Orders(store, Audit(store), book)
    place(store, orders, closes_at=NOON + timedelta(days=1))
    for _ in range(600):
        orders.send_due(clock)
        clock.now += timedelta(seconds=1)
    assert 10 <= orders.get("bid-1").attempts <= 25
    clock.now -= timedelta(days=30)
    assert len(orders.send_due(clock)) == 1


class MarketServer:
    """A market over HTTP that counts what it does; it takes its time, so that kills fall everywhere."""

    def __init__(self):
        book = self.book = Book()
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self):
                payload = json.loads(self.rfile.read(int(self.headers["content-length"])))
                time.sleep(0.002)
                with lock:
                    answer = book.submit(self.path.rsplit("/", 1)[1], payload)
                self._answer(200, answer)

            def do_GET(self):
                with lock:
                    answer = book.find(self.path.rsplit("/", 1)[1], None)
                self._answer(404 if answer is None else 200, answer)

            def _answer(self, status, answer):
                body = json.dumps(answer).encode()
                try:
                    self.send_response(status)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except ConnectionError:
                    pass  # who asked was killed

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


CLIENT = """
import sys, json, urllib.request, urllib.error, itertools
from datetime import UTC, datetime, timedelta
from dispatch.audit import Audit
from dispatch.orders import Orders
from dispatch.store import Store

class Http:
    def submit(self, client_order_id, payload):
        request = urllib.request.Request(f"{url}/{client_order_id}", json.dumps(dict(payload)).encode(), method="PUT")
        return json.load(urllib.request.urlopen(request, timeout=5))
    def find(self, client_order_id, payload):
        try:
            return json.load(urllib.request.urlopen(f"{url}/{client_order_id}", timeout=5))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

url, path = sys.argv[1:]
store = Store(path)
orders = Orders(store, Audit(store), Http())
now = lambda: datetime.now(UTC)
orders.send_due(now)
print("ready", flush=True)
count = len(orders.newest(100_000))
for i in itertools.count(count):
    with store.writing() as connection:
        orders.place(connection, f"bid-{i}", {"i": i}, now() + timedelta(hours=1), now())
    print(i, flush=True)
    orders.send_due(now)
"""


def test_killed_at_any_instruction_it_loses_no_order_and_sends_none_twice(tmp_path):
    market, url = MarketServer(), f"sqlite:///{tmp_path / 'state.db'}"
    written = -1
    for kill in range(6):
        command = [sys.executable, "-c", CLIENT, market.url, url]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            threading.Timer(0.02 + 0.013 * kill, os.kill, (process.pid, signal.SIGKILL)).start()
            lines = process.stdout.read().split()
        written = max([written, *map(int, lines)])
    store = Store(url)
    audit = Audit(store)
    orders = Orders(store, audit, _Asking(market.book))
    orders.send_due(lambda: datetime.now(UTC) + timedelta(minutes=5))
    journal = orders.newest(100_000)
    assert len(journal) >= written + 1 > 0
    assert {order.state for order in journal} == {State.ACCEPTED}
    assert sorted(market.book.deliveries) == sorted(order.client_order_id for order in journal)
    assert audit.faults() == []
    store.close()
    market.server.shutdown()
    market.server.server_close()


class _Asking:
    """The same book without the wire."""

    def __init__(self, book):
        self.submit, self.find = book.submit, book.find


def test_the_journal_survives_on_disk(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'state.db'}")
    place(store, Orders(store, Audit(store), Book()))
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        rows = connection.execute("SELECT client_order_id, state FROM market_order").fetchall()
    assert rows == [("bid-1", "written")]


def trades_at(store, **query):
    app = FastAPI()
    app.include_router(trades_section(store).router)
    transport = httpx.ASGITransport(app=app)

    async def ask():
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/v1/trades", params=query)

    return asyncio.run(ask())


@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_the_pages_of_trades_hold_every_order_once_and_the_newest_first(store, count):
    orders = Orders(store, Audit(store), Book())
    names = [f"bid-{i}" for i in range(5)]
    for i, name in enumerate(names):
        place(store, orders, name, at=NOON + timedelta(seconds=i // 2))  # some within one instant
    found, page = [], trades_at(store, count=count).json()
    while page:
        assert len(page) <= count
        found += [trade["client_order_id"] for trade in page]
        page = trades_at(store, count=count, before=found[-1]).json()
    assert found == names[::-1]


def test_a_trade_says_what_was_sent_how_far_it_came_and_what_the_market_said(store):
    orders = Orders(store, Audit(store), Book(["answer", "refuse"]))
    place(store, orders, "good", {"power_kw": 1.5})
    place(store, orders, "unwanted", at=NOON + timedelta(seconds=1))
    orders.send_due(Clock(NOON + timedelta(seconds=2)))
    place(store, orders, "fresh", at=NOON + timedelta(seconds=3))
    fresh, unwanted, good = trades_at(store).json()
    assert (fresh["state"], fresh["attempts"], fresh["answer"]) == ("written", 0, None)
    assert (unwanted["state"], unwanted["answer"]) == ("rejected", {"reason": "not wanted"})
    assert (good["state"], good["payload"], good["answer"]) == ("accepted", {"power_kw": 1.5}, {"status": "accepted"})
    assert (good["written_at"], good["closes_at"]) == ("2024-03-31T12:00:00Z", "2024-03-31T13:00:00Z")


def test_a_page_after_an_order_that_there_is_not_is_refused(store):
    answer = trades_at(store, before="bid-x")
    assert answer.status_code == 404
    assert "there is no order 'bid-x'" in answer.text
