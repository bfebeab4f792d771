"""A market gateway on this machine, in the shape of the MARA 2025 API; it may lose requests and answers."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from data.clients.transport import Patience

HASTY = Patience(attempts=3, first_wait_s=0.01, jitter_s=0.01)  # with what is answered it is patient: machines are busy
LATE_S = 0.8
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
    """What the gateway does: prices newest first, naive times, watts."""

    def __init__(self):
        self.machines, self.applied, self.seen = None, [], []
        self.before, self.after = [], []  # a status, "cut" or "late" to answer with before or after doing the PUT
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
        if status == "late":  # and then there is none: who waits for less has left by then
            time.sleep(LATE_S)
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
