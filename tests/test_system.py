"""What the service does by itself, what it says of itself, and how it stops."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from data.load import FILE_NAME
from data.synthetic import generate
from dispatch.audit import Audit
from dispatch.orders import Orders
from dispatch.store import Store
from server.address import check_port
from server.clock import JUMP_S, Clock
from server.dispatcher import Dispatcher
from server.health import Part, Parts, Status
from server.jobs import Busy, Job, Jobs
from server.schemas import example
from server.service import Operation, create_service
from server.settings import Settings
from tests.small_bundle import write_small_bundle

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer Starlettes ask for httpx2 and work with httpx
    from fastapi.testclient import TestClient

ROOT = Path(__file__).parents[1]
HERE = {"base_url": "http://127.0.0.1"}
KEY = "11" * 32


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_small_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def dispatcher(bundle):
    return Dispatcher.from_bundle(bundle)


@pytest.fixture
def kept(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'state.db'}")
    yield store
    store.close()


def until(condition, within_s=10.0):
    """The first truth that a condition gives."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)
    return found


def job_named(client, name):
    (found,) = [job for job in client.get("/v1/system/jobs").json() if job["name"] == name]
    return found


# --- jobs ---------------------------------------------------------------------------------------------------------


def started(jobs):
    """Jobs that run as long as a `with` lasts, outside any server."""
    from contextlib import contextmanager

    @contextmanager
    def run():
        jobs._scheduler.start()
        try:
            yield jobs
        finally:
            jobs._scheduler.shutdown()

    return run()


def test_a_job_that_fails_is_told_and_tried_again_and_others_go_on():
    answers = iter(["no", "no", "done"])

    def work():
        answer = next(answers, "done")
        if answer == "no":
            raise OSError("the wire is cut\nand a second line")
        return answer

    every = timedelta(seconds=0.1)
    jobs = Jobs([Job("odd", "", every, work), Job("even", "", every, lambda: "fine")], Clock())
    with started(jobs):
        until(lambda: jobs.records["odd"].error == "OSError: the wire is cut")
        until(lambda: jobs.records["odd"].result == "done")
        assert jobs.records["odd"].error is None
        assert jobs.records["odd"].failures == 2
        until(lambda: jobs.records["even"].runs >= 3)


def test_a_job_that_outlasts_its_turn_is_never_run_twice_at_once_and_what_it_missed_becomes_one_run():
    at_work, most, gate = [0], [0], threading.Event()

    def work():
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        gate.wait(10.0)
        at_work[0] -= 1
        return "done"

    jobs = Jobs([Job("slow", "", timedelta(seconds=0.05), work)], Clock())
    with started(jobs):
        until(lambda: jobs.records["slow"].skipped >= 3)
        with pytest.raises(Busy):
            jobs.run_now("slow")
        assert jobs.records["slow"].runs == 0
        gate.set()
        until(lambda: jobs.records["slow"].runs >= 2)
    assert most[0] == 1


def test_jobs_that_were_stopped_can_be_started_and_told_again():
    jobs = Jobs([Job("steady", "", timedelta(seconds=60), lambda: "done")], Clock())

    async def work(runs):
        async with jobs.running():
            await asyncio.to_thread(until, lambda: jobs.records["steady"].runs == runs)
            jobs.run_now("steady")
            await asyncio.to_thread(until, lambda: jobs.records["steady"].runs == runs + 1)

    asyncio.run(work(1))
    asyncio.run(work(3))


def test_a_clock_set_back_an_hour_holds_up_no_job():
    """To the scheduler it looks as if everything were due an hour later than it is."""
    jobs = Jobs([Job("steady", "", timedelta(seconds=60), lambda: "done")], Clock())
    with started(jobs):
        until(lambda: jobs.records["steady"].runs == 1)
        jobs._scheduler.modify_job("steady", next_run_time=datetime.now(UTC) + timedelta(hours=1))
        jobs.replan()
        until(lambda: jobs.records["steady"].runs == 2)


@given(st.lists(st.floats(-1e5, 1e5), min_size=1, max_size=20))
def test_every_jump_of_the_clock_is_noticed_once_and_slewing_is_none(jumps_s):
    steady, offset_s = [0.0], [1.7e9]
    clock = Clock(lambda: steady[0] + offset_s[0], lambda: steady[0])
    for jump_s in jumps_s:
        steady[0] += 1.0
        offset_s[0] += jump_s
        seen_s = clock.jump()
        if abs(abs(jump_s) - JUMP_S) > 1e-3:  # nearer to the limit rounding decides
            assert seen_s == pytest.approx(jump_s if abs(jump_s) > JUMP_S else 0.0, abs=1e-3)
        steady[0] += 1.0
        assert clock.jump() == 0.0


# --- the service --------------------------------------------------------------------------------------------------


def test_jobs_are_listed_run_when_told_and_refused_where_they_cannot_run(dispatcher, kept):
    operation = Operation(health_every_s=3600.0, checkpoint_every_s=3600.0)
    with kept.writing() as connection:
        Audit(kept).append(connection, "decision", {"power_kw": 1.0}, datetime.now(UTC))
    app = create_service(dispatcher, kept, Settings(audit_key=KEY), operation)
    with TestClient(app, **HERE) as client:
        until(lambda: job_named(client, "checkpoint")["runs"] == 1)
        assert job_named(client, "checkpoint")["result"].startswith("1 entries signed")
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(KEY)).public_key()
        assert Audit(kept).faults(key) == []
        assert client.post("/v1/system/jobs/checkpoint/run").status_code == 202
        until(lambda: job_named(client, "checkpoint")["runs"] == 2)
        assert job_named(client, "checkpoint")["result"] == "nothing new"
        data = job_named(client, "data")
        assert (data["configured"], data["missing"]) == (False, "set operation.data_folder and operation.data_first")
        refused = client.post("/v1/system/jobs/data/run")
        assert refused.status_code == 409
        assert "operation.data_folder" in refused.json()["detail"][0]["message"]
        assert client.post("/v1/system/jobs/nothing/run").status_code == 404


class HonestMarket:
    def __init__(self):
        self.taken = {}

    def submit(self, client_order_id, payload):
        self.taken[client_order_id] = payload
        return {"accepted": True}

    def find(self, client_order_id, payload):
        return {"accepted": True} if client_order_id in self.taken else None


def test_orders_left_in_the_outbox_are_sent_once_and_counted(dispatcher, kept):
    market, audit = HonestMarket(), Audit(kept)
    orders = Orders(kept, audit, market)
    now = datetime.now(UTC)
    with kept.writing() as connection:
        orders.place(connection, "order-1", {"power_kw": 5.0}, now + timedelta(hours=1), now)
    operation = Operation(orders_every_s=0.1, health_every_s=0.1)
    with TestClient(create_service(dispatcher, kept, Settings(), operation, market), **HERE) as client:
        until(lambda: orders.get("order-1").state == "accepted")
        until(lambda: f'gridpilot_orders{{state="accepted"}} {len(market.taken)}.0' in client.get("/metrics").text)
        until(lambda: client.get("/v1/system/health").json()["parts"]["market"]["message"] == "0 orders under way")
        until(lambda: len(market.taken) >= 2)
    now_kw = [payload["power_kw"] for name, payload in market.taken.items() if name.startswith("dispatch-")]
    assert market.taken["order-1"] == {"power_kw": 5.0}
    assert set(now_kw) == {0.0}, "the current step is decided too: at rest, because nothing is known"


def test_the_followed_table_is_forecast_and_planned_without_being_asked(dispatcher, kept, tmp_path):
    now = pd.Timestamp.now("UTC")
    table = generate(f"{now - pd.Timedelta(days=5):%Y-%m-%d}", f"{now + pd.Timedelta(days=2):%Y-%m-%d}")
    for name in table:
        if name != "day_ahead_price_gbp_per_mwh":
            table.loc[table.index >= now.floor("30min") - pd.Timedelta(hours=1), name] = np.nan
    table.to_parquet(tmp_path / FILE_NAME)
    operation = Operation(data_folder=str(tmp_path), health_every_s=0.1, plan_every_s=3600.0)
    with TestClient(create_service(dispatcher, kept, Settings(), operation), **HERE) as client:
        reading = {"timestamp": datetime.now(UTC).isoformat(), "charge_fraction": 0.5}
        assert client.post("/v1/telemetry", json=reading).status_code == 200
        client.post("/v1/system/jobs/plan/run")
        until(lambda: "by policy" in (job_named(client, "plan")["result"] or ""))
        assert client.get("/v1/plan").status_code == 200
        for part in ("forecaster", "telemetry"):  # the newest look may be older than the reading
            until(lambda part=part: client.get("/v1/system/health").json()["parts"][part]["status"] == "ok")
        figures = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines())
    assert 0.0 <= float(figures['gridpilot_age_seconds{of="telemetry"}']) < 60.0
    assert 1800.0 <= float(figures['gridpilot_age_seconds{of="market"}']) < 5400.0


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("requests_per_second", 0), ("health_every_s", -5.0), ("plan_every_s", "abc"), ("orders_every_s", float("nan")),
        ("checkpoint_every_s", float("inf")), ("data_first", "yesterday"),
    ],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_stops_the_start_and_is_named(setting, value, dispatcher, kept):
    with pytest.raises(ValueError, match=f"operation.{setting} is"):
        create_service(dispatcher, kept, Settings(), Operation(**{setting: value}))


@pytest.mark.parametrize("port", [0, 65536, 99999, -1, "abc", 80.5, True, None])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(ValueError, match="1 to 65535"):
        check_port(port)


def test_health_tells_of_records_that_wait_for_the_database(dispatcher, kept):
    with TestClient(create_service(dispatcher, kept, Settings(), Operation(health_every_s=0.1)), **HERE) as client:
        until(lambda: client.get("/v1/system/health").json()["parts"]["store"]["status"] == "ok")
        file = Path(kept.engine.url.database)
        file.rename(file.with_suffix(".away"))
        assert "not recorded yet" in client.post("/v1/dispatch", json=example()).json()["warnings"][-1]
        assert client.post("/v1/risk/kill", json={"on": "false", "reason": "text is no truth"}).status_code == 422
        until(lambda: client.get("/v1/system/health").json()["parts"]["store"]["status"] == "failed")
        file.with_suffix(".away").rename(file)
        until(lambda: client.get("/v1/system/health").json()["parts"]["store"]["status"] == "ok")
    assert len(list(Audit(kept).entries("decision"))) == 1


def test_health_names_the_part_that_fails_and_the_dispatcher_goes_on(dispatcher, kept):
    app = create_service(dispatcher, kept, Settings(), Operation(health_every_s=0.1))
    with TestClient(app, **HERE) as client:
        until(lambda: client.get("/v1/system/health").json()["parts"]["store"]["status"] == "ok")
        client.post("/v1/dispatch", json=example())
        seen = client.get("/v1/system/health").json()
        assert set(seen["parts"]) == {"store", "policy", "telemetry", "forecaster", "market", "jobs", "clock"}
        assert seen["parts"]["market"]["status"] == "off"
        kept.engine.dispose()
        kept.engine.pool._creator = lambda *_: (_ for _ in ()).throw(OSError("the disk is gone"))
        until(lambda: client.get("/v1/system/health").json()["status"] == "failed")
        assert "the disk is gone" in client.get("/v1/system/health").json()["parts"]["store"]["message"]
        assert client.get("/metrics").status_code == 200
        assert client.post("/v1/dispatch", json=example()).status_code == 200


def test_what_was_looked_at_long_ago_does_not_count_as_healthy():
    parts = Parts({"store": lambda: Part(Status.OK, ""), "market": lambda: Part(Status.OFF, "")})
    assert parts.worst() is Status.DEGRADED
    parts.look()
    assert parts.worst() is Status.OK
    parts.seen_at -= timedelta(hours=1)
    assert parts.worst() is Status.DEGRADED
    parts.seen_at += timedelta(hours=5)  # the clock was set back
    assert parts.worst() is Status.DEGRADED


def test_an_order_s_trace_shows_every_rung_and_the_commit(dispatcher, kept):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            message = ExportTraceServiceRequest.FromString(body)
            spans.extend(s for r in message.resource_spans for sc in r.scope_spans for s in sc.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
    with TestClient(create_service(dispatcher, kept, Settings(otlp_endpoint=endpoint), Operation()), **HERE) as client:
        client.get("/health/live")
        client.post("/v1/dispatch", json={}, headers={"X-Request-ID": "order-1"})
        until(lambda: "POST /v1/dispatch" in [span.name for span in spans], within_s=15.0)
    order = next(span for span in spans if span.name == "POST /v1/dispatch")
    within = [span.name for span in spans if span.parent_span_id == order.span_id]
    assert within == ["rung policy", "rung mpc", "rung rule", "rung idle", "record"]
    assert "order-1" in str(next(a for a in order.attributes if a.key == "http.response.header.x_request_id").value)
    assert not any("health" in span.name for span in spans)
    server.shutdown()
    server.server_close()
    thread.join()


# --- a real process -----------------------------------------------------------------------------------------------


@pytest.fixture
def served(bundle, tmp_path):
    """serve.py as a process of its own; gives it and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRIDPILOT_")}
    environment |= {"GRIDPILOT_DATABASE_URL": f"sqlite:///{tmp_path / 'state.db'}", "GRIDPILOT_AUDIT_KEY": KEY}
    log = (tmp_path / "log").open("w")
    command = [sys.executable, "serve.py", f"bundle={bundle}", f"port={port}"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log, text=True)
    url = f"http://127.0.0.1:{port}"

    def ready():
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            return httpx.get(f"{url}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    until(ready, within_s=120.0)
    yield process, url, tmp_path / "log"
    if process.poll() is None:
        process.kill()
    process.wait()
    log.close()


def test_told_to_stop_it_ends_what_is_under_way_and_leaves_a_sound_log(served, tmp_path):
    process, url, log = served
    address = httpx.URL(url)
    body = json.dumps(example()).encode()
    head = "POST /v1/dispatch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((address.host, address.port)) as under_way:
        under_way.sendall(head.encode() + body[:100])
        time.sleep(0.3)  # the server has the request, but not all of it
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        under_way.sendall(body[100:])
        under_way.settimeout(20.0)
        assert under_way.recv(12) == b"HTTP/1.1 200"
    assert process.wait(30.0) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["status"] for line in lines if line["event"] == "request" and line["route"] == "/v1/dispatch"] == [200]
    assert lines[-1]["event"] != "Traceback"
    store = Store(f"sqlite:///{tmp_path / 'state.db'}", read_only=True)
    with store.reading() as connection:
        assert connection.execute(sa.text("PRAGMA integrity_check")).scalar() == "ok"
    assert Audit(store).faults() == []
