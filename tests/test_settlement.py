"""Baselines, payments, readings and statements: worked examples, laws, and the list S01 to S11 of what must hold."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch import flex_offers, flexibility
from dispatch.audit import Audit
from dispatch.baseline import METHODS, Method, NoBaseline, baseline
from dispatch.books import disagreements, receive, received_gbp, settle, statements
from dispatch.flex_offers import Offer
from dispatch.flex_orders import FlexOrder, OrderState
from dispatch.flexibility import NotAvailable
from dispatch.metering import SYSTEM_PRICE, Reading, Recorded, meter_of, newest, read_csv, record, versions
from dispatch.payment import RULES, Period, money, shares, volume
from dispatch.settlement import half_hours, settlement_dates, statement_of
from dispatch.store import Store
from models import baseline as simulated

HALF = timedelta(minutes=30)
DAY = timedelta(days=1)
START = datetime(2024, 2, 14, 17, 0, tzinfo=UTC)  # a Wednesday
LONDON = ZoneInfo("Europe/London")


def order(power_kw=500.0, start=START, hours=2.0, **changes):
    known = FlexOrder(
        "o", "buyer", "deal", "flex-a", power_kw, 150.0, start, start + timedelta(hours=hours),
        OrderState.COMPLETED, start - DAY, start, "hpc-1", "10_of_10", "delivered",
    )  # fmt: skip
    return known._replace(**changes)


def metered(first, last, kwh=1000.0):
    """The same reading in every half-hour, or what a function of its start says."""
    count = (last - first) // HALF
    starts = [first + i * HALF for i in range(count)]
    return {at: kwh(at) if callable(kwh) else kwh for at in starts}


def readings_of(kwh, cluster="hpc-1", quality="actual"):
    series = meter_of(cluster)
    return {series: {at: Reading(series, at, value, quality) for at, value in kwh.items()}}


def flat_but(drawn_kwh, one, days=12):
    """A flat history of 1000 kWh a half-hour, and during the order what was drawn."""
    history = metered(one.start - days * DAY, one.end, 1000.0)
    return history | dict(zip(half_hours(one), drawn_kwh, strict=True))


# Baselines


def test_worked_baselines():
    """History 100, 110, 90, 120, 105: three highest of five 111.67, all five 105; 4 less before gate closure 107.67."""
    history = {START - (5 - day) * DAY: kwh for day, kwh in enumerate((100.0, 110.0, 90.0, 120.0, 105.0))}
    assert baseline(METHODS["3_of_5"], history, [START], []).kwh == pytest.approx((335 / 3,))
    assert baseline(Method(5, 5), history, [START], []).kwh == pytest.approx((105.0,))
    before = [START - timedelta(hours=4) + i * HALF for i in range(6)]
    for at in before:
        history |= {at - (5 - day) * DAY: 50.0 for day in range(5)} | {at: 46.0}
    adjusted = baseline(METHODS["3_of_5_adjusted"], history, [START], [])
    assert adjusted.kwh == pytest.approx((335 / 3 - 4.0,))
    assert adjusted.adjustment_kwh == pytest.approx(-4.0)


def test_the_parameters_of_a_name_stand_for_ever():
    assert {
        "10_of_10": (10, 10, None, 0.0, 0.2, 60),
        "5_of_10": (10, 5, None, 0.0, 0.2, 60),
        "3_of_5": (5, 3, None, 0.0, 0.2, 60),
        "10_of_10_adjusted": (10, 10, None, 3.0, 0.2, 60),
        "5_of_10_adjusted": (10, 5, None, 3.0, 0.2, 60),
        "3_of_5_adjusted": (5, 3, None, 3.0, 0.2, 60),
        "bl01_like": (10, 10, 4, 3.0, float("inf"), 60),
    } == METHODS
    assert list(RULES) == ["delivered", "penalised", "imbalance"]


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["10_of_10", "5_of_10", "3_of_5"]), st.data())
def test_settlement_and_simulation_have_the_same_baseline(name, data):
    method = METHODS[name]
    history = data.draw(st.lists(st.floats(0.0, 1e4, width=32), min_size=method.days, max_size=20))
    lane, rules = np.zeros(1, simulated.LANE)[0], simulated.BaselineRules(method.days, method.highest)
    for day, kw in enumerate(history):
        simulated.record(rules, lane, 48 * day + 34, kw)
    known = {START - (len(history) - day) * DAY: kw for day, kw in enumerate(history)}
    (found,) = baseline(method, known, [START], []).kwh
    assert found == pytest.approx(simulated.baseline_kw(rules, lane, 34), rel=1e-5, abs=1e-2)


def test_s03_nothing_after_the_start_and_no_event_day_moves_a_baseline():
    one = order()
    history = metered(START - 30 * DAY, START + 5 * DAY, lambda at: 900.0 + at.day)
    sold = [*half_hours(one), START - 3 * DAY]
    expected = baseline(METHODS["10_of_10"], history, half_hours(one), sold)
    assert date(2024, 2, 11) not in expected.days
    assert len(expected.days) == 10
    poisoned = {at: 1e6 if at >= START or at.date() == date(2024, 2, 11) else kwh for at, kwh in history.items()}
    assert baseline(METHODS["10_of_10"], poisoned, half_hours(one), sold) == expected
    adjusted = baseline(METHODS["10_of_10_adjusted"], history, half_hours(one), sold)
    late = {at: 1e6 if at >= START - timedelta(hours=1) else kwh for at, kwh in history.items()}
    assert baseline(METHODS["10_of_10_adjusted"], late, half_hours(one), sold) == adjusted


def test_a_day_with_a_gap_and_a_clock_change_day_do_not_count():
    start = datetime(2024, 4, 3, 11, 0, tzinfo=UTC)
    history = metered(start - 20 * DAY, start)
    gone = start - 2 * DAY
    del history[gone]
    found = baseline(METHODS["3_of_5"], history, [start], []).days
    assert date(2024, 4, 1) not in found
    assert date(2024, 3, 31) not in found  # 46 periods
    assert len(found) == 5


def test_the_same_time_on_the_wall_counts_across_a_clock_change():
    start = datetime(2024, 4, 2, 16, 0, tzinfo=UTC)  # 17:00 in summer
    history = metered(start - 20 * DAY, start, lambda at: float(at.astimezone(LONDON).hour))
    assert baseline(METHODS["10_of_10"], history, [start], []).kwh == (17.0,)


def test_working_days_look_at_working_days_where_the_method_says_so():
    saturday = datetime(2024, 2, 17, 12, 0, tzinfo=UTC)
    history = metered(saturday - 60 * DAY, saturday, lambda at: 100.0 if at.weekday() >= 5 else 500.0)
    found = baseline(METHODS["bl01_like"], history, [saturday], [])
    assert (found.kwh, len(found.days)) == ((100.0,), 4)
    christmas = datetime(2024, 12, 25, 12, 0, tzinfo=UTC)  # a Wednesday, and a bank holiday
    rests = lambda at: at.weekday() >= 5 or at.date() == christmas.date()  # noqa: E731
    history = metered(christmas - 60 * DAY, christmas, lambda at: 100.0 if rests(at) else 500.0)
    assert baseline(METHODS["bl01_like"], history, [christmas], []).kwh == (100.0,)


def test_raising_the_load_before_gate_closure_gains_no_more_than_the_cap():
    history = metered(START - 20 * DAY, START, 1000.0)
    raised = history | {START - timedelta(hours=1) - i * HALF: 5000.0 for i in range(1, 7)}
    found = baseline(METHODS["10_of_10_adjusted"], raised, [START], [])
    assert found.kwh == pytest.approx((1200.0,))
    assert baseline(METHODS["bl01_like"], raised, [START], []).kwh == pytest.approx((5000.0,))


def test_no_history_and_a_gap_before_gate_closure_are_said():
    with pytest.raises(NoBaseline, match="no eligible day"):
        baseline(METHODS["10_of_10"], {}, [START], [])
    history = metered(START - 20 * DAY, START)
    del history[START - timedelta(hours=2)]
    with pytest.raises(NoBaseline, match="2024-02-14 15:00Z"):
        baseline(METHODS["10_of_10_adjusted"], history, [START], [])


# Payments


def period(contracted, delivered, price, system=None):
    return Period(*(Decimal(str(x)) for x in (contracted, delivered, price)), system and Decimal(str(system)))


def test_worked_payments():
    """Sold 1 MWh at 150, delivered 0.8, system price 96.79."""
    one = period("1.0", "0.8", "150", "96.79")
    assert RULES["imbalance"].gbp(one) == Decimal("130.642")
    assert RULES["delivered"].gbp(one) == Decimal("120.0")
    assert RULES["penalised"].gbp(one) == Decimal("75.00")
    assert RULES["imbalance"].gbp(period("1.0", "0.8", "150", "-40")) == Decimal("158.0")  # a shortfall earns


@pytest.mark.parametrize(
    ("delivered", "counted", "shortfall"), [("0.3", "0.25", "0"), ("0.1", "0.1", "0.15"), ("-0.2", "0", "0.25")]
)
def test_s09_over_under_and_negative_delivery(delivered, counted, shortfall):
    one = period("0.25", delivered, "100", "60")
    assert (one.counted_mwh, one.shortfall_mwh) == (Decimal(counted), Decimal(shortfall))
    assert RULES["delivered"].gbp(one) == Decimal(counted) * 100
    assert RULES["imbalance"].gbp(one) == 25 + (Decimal(delivered) - Decimal("0.25")) * 60


@settings(deadline=None, max_examples=50)
@given(st.floats(1.0, 900.0), st.floats(-900.0, 1800.0), st.floats(0.0, 500.0))
def test_the_penalised_rule_is_that_of_the_simulation(sold_kw, delivered_kw, price):
    paid, charged = simulated.delivery_gbp(sold_kw, price, delivered_kw, 1.5, 0.5)
    one = period(sold_kw / 2000.0, delivered_kw / 2000.0, price)
    assert float(RULES["penalised"].gbp(one)) == pytest.approx(paid + charged, abs=1e-6)


@given(st.decimals(-100, 100, places=4), st.lists(st.decimals("0.0001", 10, places=4), min_size=1, max_size=6))
def test_parts_of_a_volume_add_up_to_it(total, weights):
    parts = shares(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - total * weight / sum(weights)) <= Decimal("0.0001")


def test_s06_money_is_rounded_half_to_even_and_volumes_have_four_decimals():
    assert [str(money(Decimal(x))) for x in ("0.125", "0.135", "-0.005", "2.675")] == ["0.12", "0.14", "0.00", "2.68"]
    assert str(volume(Decimal("0.00005"))) == "0.0000"


# Statements


def test_a_statement_by_hand():
    """500 kW for two hours at 150: 0.25 MWh a half-hour; delivered 0.25, 0.3, 0.1 and -0.05."""
    one = order()
    made = statement_of(one, [], readings_of(flat_but((750.0, 700.0, 900.0, 1050.0), one)))
    assert [row.delivered_mwh for row in made.rows] == ["0.2500", "0.3000", "0.1000", "-0.0500"]
    assert [row.shortfall_mwh for row in made.rows] == ["0.0000", "0.0000", "0.1500", "0.2500"]
    assert (made.status, made.payable_gbp, made.contracted_mwh) == ("settled", "90.00", "1.0000")
    assert (made.delivered_mwh, made.shortfall_mwh, made.performance_fraction) == ("0.6000", "0.4000", "0.6000")
    assert [row.period for row in made.rows] == [35, 36, 37, 38]


@pytest.mark.parametrize(("day", "count"), [(date(2024, 3, 31), 46), (date(2024, 10, 27), 50), (date(2024, 7, 1), 48)])
def test_s01_a_day_settles_in_as_many_rows_as_it_has_periods(day, count):
    start = datetime(day.year, day.month, day.day, tzinfo=LONDON).astimezone(UTC)
    following = day + DAY
    end = datetime(following.year, following.month, following.day, tzinfo=LONDON).astimezone(UTC)
    one = order(start=start, hours=(end - start) / timedelta(hours=1))
    kwh = metered(start - 15 * DAY, end, lambda at: 800.0 if at >= start else 1000.0)
    made = statement_of(one, [], readings_of(kwh))
    assert len(made.rows) == count
    assert [row.period for row in made.rows] == list(range(1, count + 1))
    assert {row.settlement_date for row in made.rows} == {day.isoformat()}
    assert made.status == "settled"
    assert made.delivered_mwh == str(Decimal("0.2000") * count)


def test_s02_a_missing_reading_is_withheld_and_never_zero():
    one = order()
    kwh = flat_but((750.0, 750.0, 750.0, 750.0), one)
    del kwh[START + HALF]
    made = statement_of(one, [], readings_of(kwh))
    assert [row.status for row in made.rows] == ["settled", "withheld", "settled", "settled"]
    assert made.rows[1].delivered_mwh is None
    assert (made.status, made.payable_gbp) == ("withheld", "112.50")
    assert "1 of 4 half-hours" in made.reason
    estimated = statement_of(one, [], readings_of(flat_but((750.0,) * 4, one), quality="estimated"))
    assert (estimated.status, estimated.payable_gbp) == ("estimated", "150.00")
    nothing = statement_of(one, [], {})
    assert (nothing.status, nothing.payable_gbp, nothing.rows[0].delivered_mwh) == ("withheld", "0.00", None)
    assert nothing.reason.startswith("no baseline")


def test_a_wholesale_order_waits_for_its_system_price():
    one = order(payment="imbalance")
    known = readings_of(flat_but((800.0,) * 4, one))
    assert statement_of(one, [], known).status == "withheld"
    prices = {at: Reading(SYSTEM_PRICE, at, 96.79) for at in half_hours(one)}
    made = statement_of(one, [], {**known, SYSTEM_PRICE: prices})
    assert made.payable_gbp == "130.64"  # the worked example, in four half-hours


def test_s05_a_load_an_exporter_and_one_that_turns_from_one_to_the_other():
    one = order(hours=0.5)
    for expected_kwh, drawn_kwh, delivered in (
        (1000.0, 800.0, "0.2000"),
        (-300.0, -500.0, "0.2000"),
        (100.0, -100.0, "0.2000"),
    ):
        history = metered(one.start - 12 * DAY, one.end, expected_kwh)
        (row,) = statement_of(one, [], readings_of(history | {START: drawn_kwh})).rows
        assert row.delivered_mwh == delivered
        assert Decimal(row.baseline_mwh) - Decimal(row.metered_mwh) == Decimal(delivered)


def test_orders_that_share_a_cluster_share_what_it_delivered_and_no_more():
    first, second = order(order_id="a", power_kw=200.0), order(order_id="b", power_kw=600.0, start=START + HALF)
    elsewhere = order(order_id="c", cluster_id="hpc-2")
    kwh = metered(START - 12 * DAY, second.end, lambda at: 877.7 if at >= START else 1000.0)
    one, other = (statement_of(x, [first, second, elsewhere], readings_of(kwh)) for x in (first, second))
    assert one.rows[0].delivered_mwh == "0.1223"
    both = Decimal(one.rows[1].delivered_mwh) + Decimal(other.rows[0].delivered_mwh)
    assert both == Decimal("0.1223")
    assert Decimal(other.rows[0].delivered_mwh) > Decimal(one.rows[1].delivered_mwh)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.0, 2000.0), min_size=4, max_size=4), st.floats(0.1, 900.0), st.floats(0.01, 500.0))
def test_s06_lines_add_up_to_the_total(drawn, power_kw, price):
    one = order(power_kw=power_kw, price_gbp_per_mwh=price)
    made = statement_of(one, [], readings_of(flat_but(drawn, one)))
    assert Decimal(made.delivered_mwh) == sum(Decimal(row.delivered_mwh) for row in made.rows)
    assert Decimal(made.payable_gbp) == money(sum(Decimal(row.gbp) for row in made.rows))
    assert all(-Decimal(row.delivered_mwh).as_tuple().exponent == 4 for row in made.rows)


def test_s11_a_cancelled_order_comes_to_nothing_and_says_why():
    made = statement_of(order(state=OrderState.CANCELLED), [], {})
    assert (made.status, made.payable_gbp, made.rows) == ("cancelled", "0.00", ())
    assert made.reason.startswith("cancelled 2024-02-14")


def test_a_window_that_is_not_of_whole_half_hours_is_sold_by_the_minute():
    one = order(hours=1.25)
    made = statement_of(one, [], readings_of(flat_but((750.0,) * 3, one)))
    assert [row.contracted_mwh for row in made.rows] == ["0.2500", "0.2500", "0.1250"]
    assert settlement_dates([START]) == [("2024-02-14", 35)]


# Books


@pytest.fixture
def shop(tmp_path):
    """A store in which an order of 500 kW for two hours was confirmed and is over."""
    store = Store(f"sqlite:///{tmp_path / 'state.db'}")
    audit = Audit(store)
    offer = Offer("flex-a", "hpc-1", 500.0, START, START + 4 * HALF, 150.0, None, START)
    with store.writing() as connection:
        flex_offers.publish(connection, audit, [offer], START - DAY)
        for name in ("o", "gone"):
            flexibility.quote(connection, audit, name, "buyer", "deal", "flex-a", 250.0, START - DAY)
            flexibility.confirm(connection, audit, name, START - DAY)
        flexibility.cancel(connection, audit, "gone", START - DAY)
    yield store
    store.close()


AFTER = START + DAY


def upload(store, kwh, at=AFTER, quality="actual"):
    rows = [Reading(meter_of("hpc-1"), start, value, quality) for start, value in kwh.items()]
    with store.writing() as connection:
        return record(connection, Audit(store), rows, at)


def books(store, at=AFTER):
    with store.writing() as connection:
        return settle(connection, Audit(store), at)


def of(store, name="o"):
    with store.reading() as connection:
        return statements(connection, name)


def test_s07_a_restatement_makes_a_new_version_and_says_the_difference(shop):
    one = order()
    upload(shop, flat_but((875.0,) * 4, one))
    assert books(shop) == ["gone", "o"]
    assert books(shop) == []
    assert of(shop)[-1].statement["payable_gbp"] == "75.00"
    assert upload(shop, {START: 900.0}) == Recorded(0, 1, 0)
    assert books(shop, AFTER + DAY) == ["o"]
    first, second = of(shop)
    assert (first.version, first.statement["payable_gbp"]) == (1, "75.00")
    assert (second.version, second.statement["payable_gbp"], second.difference_gbp) == (2, "71.25", "-3.75")
    with shop.reading() as connection:
        assert [(one.version, one.value) for one in versions(connection, meter_of("hpc-1"), START)] == [
            (1, 875.0),
            (2, 900.0),
        ]
    assert disagreements(shop, Audit(shop)) == []
    assert Audit(shop).faults() == []


def test_s10_the_same_readings_again_change_nothing(shop):
    kwh = flat_but((875.0,) * 4, order())
    assert upload(shop, kwh) == Recorded(len(kwh), 0, 0)
    count = len(list(Audit(shop).entries()))
    assert upload(shop, kwh) == Recorded(0, 0, len(kwh))
    assert len(list(Audit(shop).entries())) == count


def test_s04_the_log_alone_gives_the_same_pounds(shop):
    kwh = flat_but((875.0, 750.0, 1001.0, 912.3), order())
    late = kwh.pop(START + HALF)
    upload(shop, kwh)
    books(shop)
    assert of(shop)[-1].statement["status"] == "withheld"
    upload(shop, {START + HALF: late})
    books(shop)
    assert of(shop)[-1].statement["status"] == "settled"
    with shop.writing() as connection:
        for table in ("statement", "meter_reading", "payment", "flex_order"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    faults = disagreements(shop, Audit(shop))
    assert not [fault for fault in faults if "does not follow" in fault.problem]  # every statement was made again
    assert len([fault for fault in faults if "statement" in fault.problem]) == 3


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (
            "UPDATE meter_reading SET value = 1.0 WHERE version = 1 AND start LIKE '2024-02-14T17:00%'",
            "reading of meter/hpc-1",
        ),
        (
            "DELETE FROM meter_reading WHERE start LIKE '2024-02-14T17:30%'",
            "reading of meter/hpc-1 at 2024-02-14T17:30",
        ),
        (
            "INSERT INTO meter_reading SELECT series, start, 9, 1.0, quality, received_at FROM meter_reading LIMIT 1",
            "not in the log",
        ),
        ("UPDATE flex_order SET power_kw = 999 WHERE order_id = 'o'", "order o was altered"),
        ("UPDATE flex_order SET price_gbp_per_mwh = 1 WHERE order_id = 'o'", "order o was altered"),
        ("UPDATE statement SET body = replace(body, '75.00', '95.00')", "statement of o, version 1, was altered"),
    ],
)
def test_s08_an_altered_reading_order_price_or_statement_is_found_at_its_row(tamper, words, shop):
    upload(shop, flat_but((875.0,) * 4, order()))
    books(shop)
    assert disagreements(shop, Audit(shop)) == []
    with shop.writing() as connection:
        connection.exec_driver_sql(tamper)
    (fault,) = disagreements(shop, Audit(shop))
    assert words in fault.problem


@pytest.mark.parametrize("kind", ["readings_recorded", "statement_made", "flexibility_confirmed"])
def test_s08_an_altered_entry_of_the_log_is_found_at_its_row(kind, shop):
    upload(shop, flat_but((875.0,) * 4, order()))
    books(shop)
    entry = next(iter(Audit(shop).entries(kind)))
    forged = json.dumps(json.loads(entry.body) | {"order_id": "x"})
    with shop.writing() as connection:
        connection.exec_driver_sql("UPDATE audit SET body = ? WHERE sequence = ?", (forged, entry.sequence))
    assert [fault.sequence for fault in Audit(shop).faults()] == [entry.sequence]


def test_s11_in_the_books_a_cancelled_order_is_settled_with_nothing(shop):
    books(shop)
    (made,) = of(shop, "gone")
    assert (made.statement["status"], made.statement["payable_gbp"]) == ("cancelled", "0.00")


def test_a_payment_counts_once(shop):
    def pay(amount, reference="bank-1", name="o"):
        with shop.writing() as connection:
            receive(connection, Audit(shop), name, Decimal(amount), reference, AFTER)
            return received_gbp(connection, name)

    assert pay("75.00") == pay("75.00") == Decimal("75.00")
    assert pay("-3.75", "bank-2") == Decimal("71.25")
    for wrong in (("1.00",), ("0.00", "x"), ("1.001", "y"), ("NaN", "z")):
        with pytest.raises(ValueError, match=r"pennies|already"):
            pay(*wrong)
    with pytest.raises(NotAvailable):
        pay("1.00", "bank-3", "nothing")


def test_readings_from_a_file():
    lines = ["settlement_date,period,cluster_id,kwh,quality", "2024-10-27,50,hpc-1,12.5,", "2024-10-27,49,hpc-1,,"]
    assert read_csv("\n".join([*lines, "2024-10-27,1,hpc-1,0,estimated"])) == [
        Reading("meter/hpc-1", datetime(2024, 10, 27, 23, 30, tzinfo=UTC), 12.5),
        Reading("meter/hpc-1", datetime(2024, 10, 26, 23, 0, tzinfo=UTC), 0.0, "estimated"),
    ]
    prices = read_csv("start,system_price_gbp_per_mwh\n2024-02-14T18:00:00+01:00,96.79\n")
    assert prices == [Reading(SYSTEM_PRICE, START, 96.79)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the columns are none"),
        ("start,kwh\n", "needed are start"),
        ("start,cluster_id,kwh\n2024-02-14T17:00:00,hpc-1,1\n", "line 2: .* has no time zone"),
        ("start,cluster_id,kwh\n2024-02-14T17:00:00Z,hpc-1,lots\n", "line 2"),
        ("settlement_date,period,cluster_id,kwh\n2024-03-31,47,hpc-1,1\n", "no settlement period 47"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_at_its_line(text, words):
    with pytest.raises(ValueError, match=words):
        read_csv(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"value": float("nan")},
        {"value": 1e12},
        {"start": START + timedelta(minutes=10)},
        {"start": AFTER},
        {"quality": "guessed"},
    ],
    ids=str,
)
def test_a_reading_that_cannot_be_is_refused_and_the_rest_of_its_file_with_it(changes, shop):
    good = Reading(meter_of("hpc-1"), START, 1.0)
    with pytest.raises(ValueError, match="meter/hpc-1 at"), shop.writing() as connection:
        record(connection, Audit(shop), [good._replace(start=START + HALF), good._replace(**changes)], AFTER)
    with shop.reading() as connection:
        assert newest(connection, good.series, START - DAY, AFTER) == {}
