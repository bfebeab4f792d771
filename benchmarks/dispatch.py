"""Latency of the live dispatcher under load: `python -m benchmarks.dispatch --rate 50 --seconds 20`.

The real server runs in a process of its own. Orders leave at fixed times whether or not earlier ones have been
answered, and latency counts from the time an order was due, so that a stall of the server is paid for by every order
behind it.
"""

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd

from data.calendar import PERIOD
from data.publication import hide_unpublished
from data.synthetic import generate
from envs.information import READ
from server.market_view import HISTORY_PERIODS

HOST = "127.0.0.1"
ORDERS = 96
CONNECTIONS = 16
READY_WITHIN_S = 60.0
SETTLE_S = 8.0  # the second rung's process gets ready after the service is


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dispatch", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=float, default=50.0, help="orders a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="default: %(default)s")
    parser.add_argument("--bundle", default="reports/winners/battery", help="default: %(default)s")
    parser.add_argument("--history-days", type=int, default=3, help="history in each order (default: %(default)s)")
    arguments = parser.parse_args()
    bodies = orders(arguments.history_days)
    port = free_port()
    command = [sys.executable, "serve.py", f"bundle={arguments.bundle}", f"port={port}"]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "GRIDPILOT_DATABASE_URL": f"sqlite:///{folder}/state.db"}
        began = time.perf_counter()
        with open(Path(folder) / "log", "wb") as log:
            server = subprocess.Popen(command, cwd=Path(__file__).parents[1], env=environment, stdout=log, stderr=log)
        try:
            wait_until_ready(server, port, Path(folder) / "log")
            print(f"ready after {time.perf_counter() - began:.1f} s, load average {os.getloadavg()[0]:.1f}")
            time.sleep(SETTLE_S)
            latencies_ms, rungs = load(port, bodies, arguments.rate, int(arguments.rate * arguments.seconds))
        finally:
            server.terminate()
            server.wait(timeout=30)
    p50, p95, p99, worst = np.percentile(latencies_ms, [50, 95, 99, 100])
    print(
        f"{latencies_ms.size} orders at {arguments.rate:g}/s of {len(bodies[0]) / 1024:.0f} KiB, by {dict(rungs)}: "
        f"p50 {p50:.1f}  p95 {p95:.1f}  p99 {p99:.1f}  max {worst:.1f} ms, load average {os.getloadavg()[0]:.1f}"
    )


def orders(history_days: int) -> list[bytes]:
    """Orders for now, as an operator sends them: each with other prices and another charge."""
    history, now = max(history_days * 48, HISTORY_PERIODS), pd.Timestamp.now("UTC")
    first, last = (str((now + pd.Timedelta(days=days)).date()) for days in (-history // 48 - 1, 3))
    table = generate(first, last)
    row = table.index.get_loc(now.floor(PERIOD))
    view = hide_unpublished(table[list(READ)], row).iloc[row - history :]
    bodies = []
    for i in range(ORDERS):
        columns = {name: [round(value * (1.0 + i / 1000.0), 2) for value in view[name].dropna()] for name in READ}
        order = {
            "telemetry": {"timestamp": now.isoformat(), "charge_fraction": 0.15 + 0.75 * (i % 13) / 12},
            "market": {"start": view.index[0].isoformat(), **columns},
        }
        bodies.append(json.dumps(order).encode())
    return bodies


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def wait_until_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    began = time.perf_counter()
    while time.perf_counter() - began < READY_WITHIN_S:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with code {server.returncode}: {log.read_text()}")
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise SystemExit(f"the server was not ready within {READY_WITHIN_S:g} s")


def load(port: int, bodies: list[bytes], rate: float, total: int) -> tuple[np.ndarray, Counter[str]]:
    """Latency of each order in ms, shape (total,), counted from when it was due; and how many each rung decided."""
    latencies_ms = np.full(total, np.nan)
    rungs: Counter[str] = Counter()
    numbers = count()  # next() on it is atomic
    began = time.perf_counter() + 0.2

    def send() -> None:
        connection = http.client.HTTPConnection(HOST, port, timeout=30)

        def answered(body: bytes) -> http.client.HTTPResponse:
            connection.request("POST", "/v1/dispatch", body, {"Content-Type": "application/json"})
            return connection.getresponse()

        while (i := next(numbers)) < total:
            due = began + i / rate
            time.sleep(max(due - time.perf_counter(), 0.0))
            body = bodies[i % len(bodies)]
            try:
                answer = answered(body)
            except ConnectionError:  # nobody asked for so long that the server closed it
                connection.close()
                answer = answered(body)
            text = answer.read()
            if answer.status != 200:
                raise SystemExit(f"{answer.status}: {text.decode()}")
            latencies_ms[i] = (time.perf_counter() - due) * 1e3
            rungs[json.loads(text)["rung"]] += 1
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if np.isnan(latencies_ms).any():
        raise SystemExit("some orders were not answered; the first message is above")
    return latencies_ms, rungs


if __name__ == "__main__":
    main()
