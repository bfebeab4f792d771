"""The Beckn provider under load and under fire: `python -m benchmarks.beckn acks|kills|catalog`.

The real provider runs in a process of its own, with signatures, registry and SQLite; buyer and registry are those of
the tests, which share no code with it.
"""

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import random
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uvicorn
import uvloop

from benchmarks.buyer import buy, request
from dispatch import flex_orders
from dispatch.audit import Audit
from dispatch.flex_orders import OrderState
from dispatch.store import Store
from server.beckn.app import create_bpp
from server.beckn.settings import BppSettings
from tests.bap import Bap, RegistryServer, row_of

HOST = "127.0.0.1"
CLUSTER = "hpc-1"
OFFERED_KW = 12_000.0
BOUGHT_KW = 1.0
BATCH = 6  # confirmations under way when the provider is killed
READY_WITHIN_S = 60.0

spawn = multiprocessing.get_context("forkserver")
spawn.set_forkserver_preload(["server.beckn.app"])  # a new provider then starts in a fraction of a second


class Kills(NamedTuple):
    """What became of confirmations while the provider was killed.

    Attributes:
        killed: How often.
        acknowledged: Confirmations that were, sooner or later.
        answered: Of those, called back.
        confirmed_once: Of those, orders that were confirmed exactly once.
        lost: Acknowledged and not promised.
        doubled: Promised more than once, or called back with different words.
        faults: Found in the audit log.
    """

    killed: int
    acknowledged: int
    answered: int
    confirmed_once: int
    lost: int
    doubled: int
    faults: int


class Provider:
    """The provider in a process that may be killed."""

    def __init__(self, url: str, callbacks_port: int, registry: RegistryServer, jobs: Path) -> None:
        self._settings = {
            "registry_url": registry.url,
            "callbacks_allowed": f"{HOST}:{callbacks_port}",
            "COMPUTE_AGENT_JOBS_PATH": str(jobs),
        }
        self._url, self.port = url, _free_port()
        self.start()

    def start(self) -> None:
        """Begin, and wait until it answers."""
        self.process = spawn.Process(target=_serve, args=(self._url, self.port, self._settings), daemon=True)
        self.process.start()
        until = time.perf_counter() + READY_WITHIN_S
        while time.perf_counter() < until:
            connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
                connection.request("GET", "/health/live")
                if connection.getresponse().status == 200:
                    return
            time.sleep(0.01)
        raise SystemExit(f"the provider was not ready within {READY_WITHIN_S:g} s")

    def kill(self) -> None:
        """End it at whatever instruction it is."""
        os.kill(self.process.pid or 0, signal.SIGKILL)
        self.process.join()


def _serve(url: str, port: int, settings: dict[str, Any]) -> None:
    store = Store(url)
    app = create_bpp(BppSettings(**settings), store, Audit(store), f"http://{HOST}:{port}")
    uvicorn.run(app, host=HOST, port=port, log_level="error", access_log=False)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def town(
    folder: Path, jobs: list[dict[str, Any]], callbacks_port: int | None = None
) -> Iterator[tuple[Store, Bap, Provider]]:
    """Provider, buyer and registry, with the flexibility of some jobs on sale."""
    url, file = f"sqlite:///{folder / 'state.db'}", folder / "jobs.json"
    file.write_text(json.dumps(jobs))
    store, bap = Store(url), Bap()
    registry = RegistryServer(row_of(bap))
    provider = Provider(url, callbacks_port or bap.port, registry, file)
    try:
        yield store, bap, provider
    finally:
        provider.kill()
        store.close()
        bap.close()
        registry.close()


def _job(name: str, power_kw: float, hours: float, priority: int = 5) -> dict[str, Any]:
    """A job that may run at any time from three hours on."""
    arrival = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=3)
    return {
        "job_id": name,
        "arrival_time": arrival.isoformat(),
        "power_kw": power_kw,
        "duration_hours": hours,
        "deadline": (arrival + timedelta(hours=44)).isoformat(),
        "max_deferral_hours": 40.0,
        "priority": priority,
        "sla_penalty_per_hour": 25.0,
        "workload_type": "training",
        "cluster_id": CLUSTER,
    }


def _post(port: int, bap: Bap, body: dict[str, Any]) -> bool:
    """Whether a message was acknowledged; a provider that is not there acknowledges nothing."""
    raw = json.dumps(body).encode()
    headers = {"authorization": bap.signed(raw), "content-type": "application/json"}
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("POST", f"/{body['context']['action']}", raw, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status not in (200, 500):
            raise SystemExit(f"a message was answered {answer.status}")
        return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _confirmation(bap: Bap) -> dict[str, Any]:
    item = {"id": "flex-job", "quantity": {"count": 1, "measure": {"value": BOUGHT_KW, "unit": "kW"}}}
    return bap.message("confirm", {"order": {"items": [item]}}, ttl="PT10M")


def kills(folder: Path, count: int, seed: int) -> Kills:
    """Kill the provider again and again while orders are confirmed; every message is sent until it is acknowledged."""
    draw = random.Random(seed)
    acknowledged: list[str] = []
    with town(folder, [_job("job", OFFERED_KW, 2.0)]) as (store, bap, provider):
        for _ in range(count):
            bodies = [_confirmation(bap) for _ in range(BATCH)]
            taken: list[bool] = [False] * BATCH

            def send(i: int, bodies: list[dict[str, Any]] = bodies, taken: list[bool] = taken) -> None:
                taken[i] = _post(provider.port, bap, bodies[i])

            threads = [threading.Thread(target=send, args=(i,)) for i in range(BATCH)]
            for thread in threads:
                thread.start()
            time.sleep(draw.uniform(0.0, 0.15))
            provider.kill()
            for thread in threads:
                thread.join()
            provider.start()
            for i, body in enumerate(bodies):
                while not taken[i]:
                    taken[i] = _post(provider.port, bap, body)
            acknowledged += [body["context"]["transaction_id"] for body in bodies]
        said = _callbacks(bap, acknowledged)
        with store.reading() as connection:
            orders = {order.reference: order for order in flex_orders.orders(connection)}
        entries = Counter(
            json.loads(entry.body)["reference"] for entry in Audit(store).entries("flexibility_confirmed")
        )
        return Kills(
            count,
            len(acknowledged),
            sum(len(said[name]) > 0 for name in acknowledged),
            sum(entries[name] == 1 for name in acknowledged),
            sum(name not in orders or orders[name].state is not OrderState.CONFIRMED for name in acknowledged),
            sum(entries[name] > 1 or len(said[name]) > 1 for name in acknowledged),
            len(Audit(store).faults()),
        )


def _callbacks(bap: Bap, acknowledged: list[str]) -> dict[str, set[bytes]]:
    """The different callbacks of every dealing, once there is one of each or nothing comes any more."""
    until = time.perf_counter() + 60.0
    while True:
        said: dict[str, set[bytes]] = {name: set() for name in acknowledged}
        for _, _, raw in list(bap.callbacks):
            said[json.loads(raw)["context"]["transaction_id"]].add(raw)
        if all(said.values()) or time.perf_counter() > until:
            return said
        time.sleep(0.1)


def acks(folder: Path, rate: float, seconds: float) -> None:
    """Time from when a message was due until it was acknowledged, while callbacks go out beside."""
    total = int(rate * seconds)
    callbacks_port = _free_port()
    with town(folder, [_job("job", OFFERED_KW, 2.0)], callbacks_port) as (_, bap, provider):
        kinds = ("select", "init", "confirm", "status")
        item = {"id": "flex-job", "quantity": {"count": 1, "measure": {"value": BOUGHT_KW, "unit": "kW"}}}
        requests = []
        for i in range(total):
            kind, deal = kinds[i % 4], f"deal-{i - i % 4}"
            message = {"order_id": "none"} if kind == "status" else {"order": {"items": [item]}}
            uri = f"http://{HOST}:{callbacks_port}/beckn"
            body = json.dumps(bap.message(kind, message, transaction_id=deal, ttl="PT10M", bap_uri=uri)).encode()
            created = int(time.time())
            requests.append(request(provider.port, kind, body, bap.signed(body, created, created + 600)))
        spent_s, own_s = _cpu_s(provider.process.pid), time.process_time()
        latencies_ms, called_back, late_s = uvloop.run(buy(provider.port, callbacks_port, requests, rate))
        cpu_ms = (_cpu_s(provider.process.pid) - spent_s) / total * 1e3
        own_ms = (time.process_time() - own_s) / total * 1e3
        p50, p95, p99, worst = np.percentile(latencies_ms, [50, 95, 99, 100])
        print(
            f"{total} messages at {rate:g}/s: acknowledged after p50 {p50:.1f}  p95 {p95:.1f}  p99 {p99:.1f}  "
            f"max {worst:.1f} ms; {called_back} callbacks, the last {late_s:.1f} s after the last acknowledgement; "
            f"{cpu_ms:.1f} ms of processor time a message with its callback, {own_ms:.1f} ms of the buyer; "
            f"load average {os.getloadavg()[0]:.1f}"
        )


def _cpu_s(pid: int | None) -> float:
    """Processor time that a process has had (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def catalog(folder: Path, offers: int, searches: int) -> None:
    """Time from sending a search to having its callback, with so many jobs planned and offers to list."""
    jobs = [_job(f"job-{i:04d}", 10.0, 1.0 + i % 4, i % 10) for i in range(offers)]
    with town(folder, jobs) as (_, bap, provider):
        took, found = [], 0
        for i in range(searches):
            began = time.perf_counter()
            _post(provider.port, bap, bap.message("search", {"intent": {}}))
            callback = bap.wait(i + 1)[i]
            took.append(time.perf_counter() - began)
            found = len(callback["message"]["catalog"]["bpp/providers"][0]["items"])
        print(f"{found} offers: first search {took[0]:.2f} s, median {np.median(took):.2f} s, max {max(took):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beckn", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("acks", "kills", "catalog"))
    parser.add_argument("--rate", type=float, default=200.0, help="messages a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="default: %(default)s")
    parser.add_argument("--kills", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--offers", type=int, default=1000, help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.part == "acks":
            acks(folder, arguments.rate, arguments.seconds)
        elif arguments.part == "kills":
            print(kills(folder, arguments.kills, seed=0))
        else:
            catalog(folder, arguments.offers, 10)


if __name__ == "__main__":
    main()
