"""Laws of telemetry: in the order of time, once, and no clock is believed blindly."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatch import readings
from dispatch.readings import Disorder, Reading, Readings

NOON = datetime(2024, 3, 31, 12, 0, tzinfo=UTC)


def reading(minute=0.0, charge_fraction=0.5, received=None):
    at = NOON + timedelta(minutes=minute)
    return Reading(at, charge_fraction, None, at if received is None else NOON + timedelta(minutes=received))


def put(store, kept, new):
    taken, notes = kept.take(new)
    with store.writing() as connection:
        readings.write(connection, new)
    return taken, notes


def test_the_same_reading_again_is_one_reading_and_another_of_that_instant_is_refused(store):
    kept = Readings(store)
    assert put(store, kept, reading()) == (True, [])
    assert put(store, kept, reading(received=3.0)) == (False, [])
    with pytest.raises(Disorder, match="never rewritten"):
        kept.take(reading(charge_fraction=0.6))
    assert [each.charge_fraction for each in readings.since(store, NOON)] == [0.5]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(minutes=st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_what_is_kept_is_in_the_order_of_time_whatever_comes(minutes, store):
    first = Readings(store).newest
    base = 0 if first is None else int((first.measured_at - NOON) / timedelta(minutes=1))
    kept, stored = Readings(store), []
    for minute in minutes:
        new = reading(base + minute, received=base + 21.0)
        last = kept.newest
        if last is not None and new.measured_at < last.measured_at:
            with pytest.raises(Disorder, match="order of time"):
                kept.take(new)
        else:
            put(store, kept, new)
            stored.append(new.measured_at)
    assert kept.newest.measured_at == max(stored, default=first and first.measured_at)
    assert Readings(store).newest[:3] == kept.newest[:3], "a restart finds the same"


def test_a_reading_from_the_future_is_refused_or_it_would_block_every_later_one(store):
    kept = Readings(store)
    with pytest.raises(Disorder, match="set the clocks right"):
        kept.take(reading(61.0, received=0.0))
    assert kept.take(reading(0.5, received=0.0))[0], "less than a minute is tolerated"


def test_silences_and_clocks_that_jump_are_told(store):
    kept = Readings(store)
    kept.take(reading(0.0))
    assert "nothing was measured for 1:00:00" in kept.take(reading(60.0))[1][0]
    assert "the site's clock moved" in kept.take(reading(70.0, received=75.0))[1][0]
    assert "this server's clock went back by 0:03:00" in kept.take(reading(72.0, received=72.0))[1][0]
    assert kept.take(reading(73.0))[1] == []


@pytest.mark.parametrize(
    ("minutes", "hint"), [(0.0, ""), (4.9, ""), (5.1, "0:05:06 old"), (-0.5, ""), (-2.0, "clock went back")]
)
def test_only_fresh_telemetry_is_decided_on(minutes, hint, store):
    kept = Readings(store)
    assert "ever received" in kept.usable(NOON)[1]
    kept.take(reading())
    charge_fraction, unknown = kept.usable(NOON + timedelta(minutes=minutes))
    assert hint in unknown
    assert (charge_fraction == 0.5) == (hint == "")
