"""Laws of the execution loop: each step is decided once, its order arrives once, and every book says the same."""

import contextlib
import json
import multiprocessing
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from dispatch import decisions
from dispatch.audit import Audit
from dispatch.execution import Commitment, Execution, order_id
from dispatch.orders import State
from dispatch.store import Store
from tests import execution_client
from tests.test_orders import NOON, Book, Clock, MarketServer, _Asking

HALF = timedelta(minutes=30)


def start_of(instant):
    return instant.replace(minute=instant.minute // 30 * 30, second=0, microsecond=0)


def loop(store, market, clock, killed=lambda: "", fault=None):
    """An execution whose proposals count up, so that deciding a step twice would show."""
    counts = iter(range(1000))

    def propose(start):
        power_kw = float(next(counts))
        decided = decisions.Decided(start, start + HALF, clock(), power_kw, "policy", "{}")

        def write(connection):
            decisions.write(connection, decided)
            if fault is not None:
                fault()

        return Commitment(start, start + HALF, {"power_kw": power_kw}, write)

    return Execution(store, Audit(store), market, start_of, propose, killed, clock)


def test_each_step_is_decided_once_and_its_order_says_the_same(store):
    book, clock = Book(), Clock()
    execution = loop(store, book, clock)
    for _ in range(3):
        execution.commit()
        execution.commit()
        execution.send()
        clock.now += HALF
    assert list(book.orders) == [order_id(NOON + n * HALF) for n in range(3)]
    rows = list(decisions.since(store, NOON))
    assert [row.power_kw for row in rows] == [order["power_kw"] for order in book.orders.values()] == [0.0, 1.0, 2.0]


def test_two_processes_at_once_decide_a_step_once(store):
    book, clock = Book(), Clock()
    one, other = loop(store, book, clock), loop(store, book, clock)
    threads = [threading.Thread(target=each.commit) for each in (one, other) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.send()
    other.send()
    assert book.deliveries == [order_id(NOON)]
    assert len(one.orders.newest(10)) == 1


def test_a_decision_that_cannot_be_written_is_not_sent_and_is_decided_again(store):
    book, clock, broken = Book(), Clock(), [True]

    def fault():
        if broken[0]:
            raise sa.exc.OperationalError("INSERT", {}, OSError("database or disk is full"))

    execution = loop(store, book, clock, fault=fault)
    with pytest.raises(sa.exc.OperationalError):
        execution.commit()
    assert (execution.send(), book.orders, list(decisions.since(store, NOON))) == ([], {}, [])
    broken[0] = False
    execution.commit()
    execution.send()
    assert list(book.orders) == [order_id(NOON)]
    assert [row.power_kw for row in decisions.since(store, NOON)] == [1.0]


def test_the_kill_switch_stops_deciding_and_sending(store):
    book, clock, killed = Book(), Clock(), [""]
    execution = loop(store, book, clock, killed=lambda: killed[0])
    execution.commit()
    killed[0] = "fire"
    assert execution.send() == []
    assert execution.commit() is None
    clock.now += HALF
    assert execution.commit() is None
    killed[0] = ""
    assert [order.state for order in execution.send()] == [State.EXPIRED], "its step is over"
    assert book.orders == {}


@pytest.mark.parametrize("deed", ["fail after", "lose"])
def test_a_market_that_is_down_or_slow_holds_up_no_decision(deed, store):
    book, clock = Book([deed] * 8), Clock()
    execution = loop(store, book, clock)
    for _ in range(4):
        execution.commit()
        execution.send()
        clock.now += HALF
    assert len(list(decisions.since(store, NOON))) == 4
    for _ in range(4):
        execution.send()
        clock.now += timedelta(minutes=2)
    states = {order.client_order_id: order.state for order in execution.orders.newest(10)}
    for name, state in states.items():
        assert state in (State.ACCEPTED, State.EXPIRED)
        assert book.deliveries.count(name) == (state is State.ACCEPTED)


class Liar(Book):
    """Confirms what it does not keep."""

    def submit(self, client_order_id, payload):
        return {"status": "accepted"}


def test_a_market_that_forgets_what_it_confirmed_is_found_out_and_nothing_is_sent_again(store):
    clock = Clock()
    execution = loop(store, Liar(), clock)
    execution.commit()
    execution.send()
    assert execution.reconcile() == [order_id(NOON)]
    assert json.loads(next(Audit(store).entries("orders_denied")).body) == {"client_order_ids": [order_id(NOON)]}
    assert execution.orders.get(order_id(NOON)).attempts == 1
    clock.now += HALF
    assert execution.reconcile() == [], "a step that is over is for the settlement"
    honest = loop(store, Book(), clock)
    honest.commit()
    honest.send()
    assert honest.reconcile() == []


def kill_again_and_again(folder, delays_s):
    """Run the whole loop, kill it so long after its first steps or the start, start it again; gives what is left."""
    market, url = MarketServer(), f"sqlite:///{folder / 'state.db'}"
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.execution_client"])  # else loading takes most of each life
    committed = []
    for n, delay_s in enumerate(delays_s):
        heard, said = processes.Pipe(duplex=False)
        process = processes.Process(target=execution_client.run, args=(market.url, url, said))
        process.start()
        said.close()
        assert heard.recv() == "ready"
        committed += [heard.recv() for _ in range(n % 3)]
        time.sleep(delay_s)
        process.kill()
        process.join()
        with contextlib.suppress(EOFError, OSError):  # what it had said when it died
            while True:
                committed.append(heard.recv())
        heard.close()
    market.server.shutdown()
    market.server.server_close()
    return market.book, Store(url), committed


def check_nothing_lost_or_doubled(book, store, committed):
    execution = loop(store, _Asking(book), Clock(datetime(2024, 1, 3, tzinfo=UTC)))
    execution.orders.send_due(lambda: datetime(2024, 1, 3, 12, 0, tzinfo=UTC))
    journal = execution.orders.newest(100_000)
    names = [order_id(datetime.fromisoformat(text)) for text in committed]
    assert set(names) <= {order.client_order_id for order in journal}, "what was committed is in the journal"
    assert {order.state for order in journal} == {State.ACCEPTED}, [
        (o.client_order_id, o.state, o.attempts, o.answer) for o in journal if o.state is not State.ACCEPTED
    ]
    assert sorted(book.deliveries) == sorted(order.client_order_id for order in journal)
    rows = list(decisions.since(store, datetime(2024, 1, 1, tzinfo=UTC)))
    assert {order_id(row.start): row.power_kw for row in rows} == {
        name: payload["power_kw"] for name, payload in book.orders.items()
    }, "decisions and orders say the same"
    audit = Audit(store)
    assert [json.loads(entry.body)["start"][:16] for entry in audit.entries("decision")] == [
        row.start.isoformat()[:16] for row in rows
    ], "each step was decided once, in order"
    assert audit.faults() == []
    store.close()
    return len(journal)


def test_killed_anywhere_in_the_loop_nothing_is_lost_or_doubled(tmp_path):
    book, store, committed = kill_again_and_again(tmp_path, [0.02 + 0.017 * n for n in range(4)])
    assert check_nothing_lost_or_doubled(book, store, committed) >= 2
