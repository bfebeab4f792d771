"""Laws of the site's market gateway client, against a gateway that runs on this machine."""

import asyncio
import json
import logging
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pandas as pd
import pytest
from pydantic import SecretStr

from data.clients import gateway
from data.clients.gateway import Gateway, OrderConflict, Orders
from data.clients.transport import Patience, open_http
from data.clients.wire import AnswerError

HASTY = Patience(attempts=3, first_wait_s=0.01, jitter_s=0.01, timeout_s=0.4)
KEY = "s3cret-key"
INVENTORY = {
    "inference": {"asic": {"power": 10000, "tokens": 5000}, "gpu": {"power": 3333, "tokens": 1000}},
    "miners": {
        "air": {"hashrate": 1000, "power": 3333},
        "hydro": {"hashrate": 10000, "power": 5000},
        "immersion": {"hashrate": 5000, "power": 10000},
    },
}
COUNTS = ("air_miners", "hydro_miners", "immersion_miners", "gpu_compute", "asic_compute")


class Market:
    """A gateway in the shape of the MARA 2025 API: prices newest first, naive times, watts."""

    def __init__(self):
        self.machines, self.applied, self.seen = None, [], []
        self.before, self.after = [], []  # statuses, or "cut", to answer with instead: before or after doing the PUT
        self.power = 100_000
        self.prices = [
            {
                "timestamp": f"2025-06-21T13:{minute:02}:00",
                "energy_price": minute,
                "hash_price": 8.4,
                "token_price": -2.9,
            }
            for minute in (10, 5, 0)
        ]

    def answer(self, method, path, body, headers):
        self.seen.append((method, path, dict(headers)))
        if method == "POST" and path == "/sites":
            return 200, {"api_key": KEY, "name": body["name"], "power": self.power}
        if path == "/prices":
            return 200, self.prices
        if path == "/inventory":
            return 200, INVENTORY
        if headers.get("X-Api-Key") != KEY:
            return 401, {"error": "who are you"}
        if path == "/sites":
            return 200, {"name": "site", "power": self.power}
        if method == "PUT":
            if self.before:
                return self.before.pop(0), {}
            self.machines = body | {"id": len(self.applied) + 1, "updated_at": "2025-06-21T13:00:00"}
            self.applied.append(body)
            if self.after:
                return self.after.pop(0), {}
        return 200, self.machines or dict.fromkeys(COUNTS, 0)

    def puts(self):
        return [headers for method, _, headers in self.seen if method == "PUT"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_any(self):
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        status, answer = self.server.market.answer(self.command, self.path, body, self.headers)
        if status == "cut":
            self.close_connection = True
            return
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = handle_any


@contextmanager
def open_market(market):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads, http.market = True, market
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture
def market(monkeypatch, tmp_path):
    """A gateway, and the environment that leads to it."""
    found = Market()
    with open_market(found) as url:
        monkeypatch.setenv("MARKET_GATEWAY_URL", url + "/")
        monkeypatch.setenv("MARKET_GATEWAY_API_KEY", KEY)
        monkeypatch.setenv("MARKET_GATEWAY_ORDERS", str(tmp_path / "orders.sqlite"))
        found.url, found.orders = url, Orders(tmp_path / "orders.sqlite")
        yield found


def submit(market, *payloads, patience=HASTY):
    """Submit bids one after the other, or all at once if they are one list."""

    async def run():
        async with open_http(None, patience) as http:
            client = Gateway(http, market.url, SecretStr(KEY), market.orders, patience)
            if isinstance(payloads[0], list):
                return await asyncio.gather(*(client.submit_bid(p) for p in payloads[0]))
            return [await client.submit_bid(p) for p in payloads]

    return asyncio.run(run())


def bid(order, **counts):
    return {"client_order_id": order, **counts}


def test_a_site_is_registered_and_told_its_key_and_power(market):
    assert gateway.register_site("GridPilot") == {"api_key": KEY, "name": "GridPilot", "power": 100_000}
    with pytest.raises(ValueError, match="empty"):
        gateway.register_site("")


def test_prices_come_oldest_first_in_utc_and_only_those_asked_for(market):
    table = gateway.get_prices()
    assert list(table.columns) == ["energy_price", "hash_price", "token_price"]
    assert table["energy_price"].tolist() == [0, 5, 10]
    assert table.index[0] == pd.Timestamp("2025-06-21T13:00Z")
    some = gateway.get_prices("2025-06-21T13:05:00Z", "2025-06-21T14:10:00+01:00")
    assert some["energy_price"].tolist() == [5], "from the start on, before the end"
    with pytest.raises(ValueError, match="no time zone"):
        gateway.get_prices("2025-06-21T13:05:00")


def test_no_prices_make_an_empty_table(market):
    market.prices = []
    assert gateway.get_prices().shape == (0, 3)


def test_the_inventory_is_handed_on(market):
    assert gateway.get_inventory() == INVENTORY


def test_a_bid_is_put_in_force_under_its_id(market):
    answer = gateway.submit_bid(bid("order-1", gpu_compute=2, hydro_miners=1))
    assert answer["gpu_compute"] == 2
    assert market.applied == [dict.fromkeys(COUNTS, 0) | {"gpu_compute": 2, "hydro_miners": 1}]
    assert market.puts()[0]["Idempotency-Key"] == "order-1"


def test_the_same_bid_again_is_answered_from_the_record(market):
    first = gateway.submit_bid(bid("order-1", gpu_compute=2))
    gateway.submit_bid(bid("order-2", gpu_compute=3))
    assert gateway.submit_bid(bid("order-1", gpu_compute=2, air_miners=0)) == first
    assert [a["gpu_compute"] for a in market.applied] == [2, 3]


def test_an_id_names_one_bid_for_ever(market):
    gateway.submit_bid(bid("order-1", gpu_compute=2))
    with pytest.raises(OrderConflict, match="already names another bid"):
        gateway.submit_bid(bid("order-1", gpu_compute=3))
    assert len(market.applied) == 1


@pytest.mark.parametrize("fate", ["cut", 500, 503])
def test_a_bid_that_arrived_but_was_not_answered_is_not_sent_again(market, fate):
    market.after = [fate]
    (answer,) = submit(market, bid("order-1", gpu_compute=2))
    assert answer["gpu_compute"] == 2
    assert len(market.applied) == len(market.puts()) == 1


@pytest.mark.parametrize("fate", ["cut", 429, 503])
def test_a_bid_that_did_not_arrive_is_sent_again_under_the_same_id(market, fate):
    market.before = [fate]
    submit(market, bid("order-1", gpu_compute=2))
    assert len(market.applied) == 1
    assert {headers["Idempotency-Key"] for headers in market.puts()} == {"order-1"}
    assert len(market.puts()) == 2


@pytest.mark.parametrize("arrived", [True, False])
def test_a_bid_left_open_by_a_crash_is_finished_once(market, arrived):
    (market.after if arrived else market.before).extend(["cut"] * 3)
    with pytest.raises(httpx.HTTPError):
        submit(market, bid("order-1", gpu_compute=2), patience=HASTY._replace(attempts=1))
    market.before, market.after = [], []
    (answer,) = submit(market, bid("order-1", gpu_compute=2))
    assert answer["gpu_compute"] == 2
    assert len(market.applied) == 1


def test_a_bid_left_open_does_not_come_back_over_a_newer_one(market):
    market.before = ["cut"]
    with pytest.raises(httpx.HTTPError):
        submit(market, bid("order-1", gpu_compute=9), patience=HASTY._replace(attempts=1))
    submit(market, bid("order-2", gpu_compute=1))
    with pytest.raises(OrderConflict, match="newer"):
        submit(market, bid("order-1", gpu_compute=9))
    assert [a["gpu_compute"] for a in market.applied] == [1]


def test_the_same_bid_many_times_at_once_is_sent_once(market):
    answers = submit(market, [bid("order-1", gpu_compute=2)] * 8)
    assert len(market.applied) == len(market.puts()) == 1
    assert all(answer == answers[0] for answer in answers)


def test_more_power_than_the_site_has_is_refused_before_it_is_sent(market):
    gateway.submit_bid(bid("all", gpu_compute=30))  # 99.99 kW of 100
    with pytest.raises(ValueError, match=r"needs 103\.323 kW and the site has 100 kW"):
        gateway.submit_bid(bid("more", gpu_compute=31))
    assert len(market.applied) == 1


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"gpu_compute": 1}, "client_order_id"),
        (bid("", gpu_compute=1), "client_order_id"),
        (bid("a\nb", gpu_compute=1), "client_order_id"),
        (bid("x", asic_miners=1), "asic_miners"),  # a name the service would silently ignore
        (bid("x", gpu_compute=-1), "gpu_compute"),
        (bid("x", gpu_compute=1.5), "gpu_compute"),
        (bid("x", gpu_compute=True), "gpu_compute"),
    ],
)
def test_what_is_no_bid_is_refused_and_leaves_no_trace(market, payload, says):
    with pytest.raises(ValueError, match=says):
        gateway.submit_bid(payload)
    assert not market.seen
    assert not market.orders.path.exists()


def test_the_key_goes_only_where_it_is_needed_and_into_no_log_or_error(market, caplog):
    caplog.set_level(logging.DEBUG)
    gateway.get_prices()
    gateway.submit_bid(bid("order-1", gpu_compute=2))
    told = {path for _, path, headers in market.seen if headers.get("X-Api-Key") == KEY}
    assert told == {"/sites", "/machines"}
    assert KEY not in caplog.text
    market.power = None
    with pytest.raises(AnswerError, match="no power in watts for the site") as error:
        gateway.submit_bid(bid("order-2", gpu_compute=2))
    assert KEY not in str(error.value)


def test_without_a_key_or_an_address_the_error_says_which(market, monkeypatch):
    monkeypatch.delenv("MARKET_GATEWAY_API_KEY")
    with pytest.raises(AnswerError, match="401"):
        gateway.submit_bid(bid("order-1", gpu_compute=1))
    monkeypatch.delenv("MARKET_GATEWAY_URL")
    with pytest.raises(ValueError, match="MARKET_GATEWAY_URL"):
        gateway.get_prices()
