import contextlib
import multiprocessing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dispatch.audit import Audit
from dispatch.flex_offers import Offer, on_sale, publish
from dispatch.flex_orders import OrderState, orders, reserved_kw
from dispatch.flexibility import QUOTE_LASTS, NotAvailable, Reason, cancel, complete, confirm, get, quote
from dispatch.store import Store

NOON = datetime(2024, 6, 16, 12, 0, tzinfo=UTC)
START = NOON + timedelta(hours=6)
OFFER = Offer("flex-job-1", "hpc-1", 500.0, START, START + timedelta(hours=4), 150.0, 90.0, START)


def quoted(store, order_id, power_kw=None, at=NOON, offer_id=OFFER.offer_id):
    with store.writing() as connection:
        return quote(connection, Audit(store), order_id, "operator.example", "txn", offer_id, power_kw, at)


def written(store, deed, order_id, at=NOON):
    with store.writing() as connection:
        return deed(connection, Audit(store), order_id, at)


@pytest.fixture
def shop(store):
    with store.writing() as connection:
        publish(connection, Audit(store), [OFFER], NOON)
    return store


def left(store, at=NOON):
    with store.reading() as connection:
        return {offer.offer_id: offer.power_kw for offer in on_sale(connection, at)}


def reason(shop, deed, *args, **kwargs):
    with pytest.raises(NotAvailable) as refusal:
        deed(shop, *args, **kwargs)
    return refusal.value.reason


def test_a_quote_reserves_nothing_a_confirmation_does_and_a_cancellation_returns_it(shop):
    order = quoted(shop, "a", 200.0)
    assert (order.energy_mwh, order.value_gbp) == (0.8, 120.0)
    assert left(shop) == {"flex-job-1": 500.0}
    assert written(shop, confirm, "a").state is OrderState.CONFIRMED
    assert left(shop) == {"flex-job-1": 300.0}
    assert written(shop, confirm, "a").state is OrderState.CONFIRMED  # again changes nothing
    assert written(shop, cancel, "a").state is OrderState.CANCELLED
    assert written(shop, cancel, "a").state is OrderState.CANCELLED
    assert left(shop) == {"flex-job-1": 500.0}
    kinds = [entry.kind for entry in Audit(shop).entries()]
    assert kinds == ["offers_published", "flexibility_quoted", "flexibility_confirmed", "flexibility_cancelled"]


def test_every_kind_of_no(shop):
    assert reason(shop, quoted, "a", offer_id="nothing") is Reason.UNKNOWN_OFFER
    assert reason(shop, written, confirm, "nothing") is Reason.UNKNOWN_ORDER
    assert reason(shop, quoted, "a", 500.1) is Reason.GONE
    assert reason(shop, quoted, "a", -1.0) is Reason.GONE
    assert reason(shop, quoted, "a", float("nan")) is Reason.GONE
    assert reason(shop, quoted, "a", at=START) is Reason.QUOTE_EXPIRED
    quoted(shop, "a")
    assert reason(shop, written, confirm, "a", NOON + QUOTE_LASTS + timedelta(seconds=1)) is Reason.QUOTE_EXPIRED
    quoted(shop, "b")
    written(shop, confirm, "a")
    assert reason(shop, written, confirm, "b") is Reason.GONE
    assert reason(shop, quoted, "a") is Reason.GONE
    assert reason(shop, written, complete, "a", START) is Reason.STATE
    assert reason(shop, written, cancel, "a", START - timedelta(minutes=59)) is Reason.TOO_LATE
    assert written(shop, complete, "a", OFFER.end).state is OrderState.COMPLETED
    assert reason(shop, written, cancel, "a", OFFER.end) is Reason.STATE
    written(shop, cancel, "b")
    assert reason(shop, written, confirm, "b") is Reason.STATE


def test_new_offers_take_the_place_of_old_ones_but_not_of_what_is_ordered(shop):
    quoted(shop, "a", 200.0)
    written(shop, confirm, "a")
    dearer = OFFER._replace(price_gbp_per_mwh=999.0, power_kw=100.0)
    other = OFFER._replace(offer_id="flex-job-2")
    with shop.writing() as connection:
        publish(connection, Audit(shop), [dearer, other], NOON)
    assert left(shop) == {"flex-job-1": 300.0, "flex-job-2": 500.0}
    assert quoted(shop, "b").price_gbp_per_mwh == 150.0
    quoted(shop, "c", offer_id="flex-job-2")
    moved = other._replace(start=START + timedelta(hours=1))
    with shop.writing() as connection:
        publish(connection, Audit(shop), [moved], NOON)
    assert left(shop) == {"flex-job-2": 500.0}
    assert reason(shop, written, confirm, "c") is Reason.QUOTE_EXPIRED
    with shop.reading() as connection:
        assert get(connection, "a").state is OrderState.CONFIRMED


@pytest.mark.parametrize(
    "wrong",
    [{"power_kw": 0.0}, {"power_kw": float("nan")}, {"end": START}, {"price_gbp_per_mwh": float("inf")}],
)
def test_an_offer_that_cannot_be_is_refused_and_the_old_ones_stay(wrong, shop):
    with pytest.raises(ValueError, match="'flex-job-1'"), shop.writing() as connection:
        publish(connection, Audit(shop), [OFFER._replace(**wrong)], NOON)
    assert left(shop) == {"flex-job-1": 500.0}


class Buyers(RuleBasedStateMachine):
    """Whatever buyers do in whatever order, no more is promised than is on offer."""

    @initialize()
    def open_shop(self):
        self.store, self.now, self.count = Store("sqlite://"), NOON, 0
        with self.store.writing() as connection:
            publish(connection, Audit(self.store), [OFFER], NOON)

    @rule(power_kw=st.none() | st.floats(0.1, 600.0))
    def ask(self, power_kw):
        self.count += 1
        self._try(quoted, self.store, f"order-{self.count}", power_kw, self.now)

    @rule(which=st.integers(1, 8), deed=st.sampled_from([confirm, confirm, cancel, complete]))
    def act(self, which, deed):
        self._try(written, self.store, deed, f"order-{which}", self.now)

    @rule(minutes=st.integers(0, 200))
    def wait(self, minutes):
        self.now += timedelta(minutes=minutes)

    def _try(self, deed, *args):
        with contextlib.suppress(NotAvailable):
            deed(*args)

    @invariant()
    def never_promised_twice(self):
        with self.store.reading() as connection:
            promised = [o.power_kw for o in orders(connection, (OrderState.CONFIRMED, OrderState.COMPLETED))]
            assert sum(promised) <= OFFER.power_kw + 1e-6
            assert reserved_kw(connection, OFFER.offer_id) == pytest.approx(sum(promised))

    def teardown(self):
        self.store.close()


TestBuyers = Buyers.TestCase
TestBuyers.settings = settings(deadline=None, max_examples=15, stateful_step_count=25)


def confirm_one(url, order_id, barrier, answers):
    store = Store(url)
    barrier.wait()
    try:
        written(store, confirm, order_id)
        answers.put(None)
    except NotAvailable as refusal:
        answers.put(refusal.reason)
    store.close()


def test_of_many_buyers_in_many_processes_exactly_as_many_get_it_as_there_is_power(shop, store_url):
    spawn = multiprocessing.get_context("spawn")
    for i in range(4):
        quoted(shop, f"order-{i}", 250.0)
    barrier, answers = spawn.Barrier(4), spawn.Queue()
    buyers = [spawn.Process(target=confirm_one, args=(store_url, f"order-{i}", barrier, answers)) for i in range(4)]
    for buyer in buyers:
        buyer.start()
    got = [answers.get(timeout=120) for _ in buyers]
    assert sorted(got, key=str) == [None, None, Reason.GONE, Reason.GONE]
    for buyer in buyers:
        buyer.join()
    assert left(shop) == {}
