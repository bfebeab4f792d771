import hashlib
from datetime import UTC, datetime, timedelta

import pytest
import rfc8785
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatch.audit import NOTHING_BEFORE, Audit, audit_table, checkpoint_table
from dispatch.merkle import includes, leaf_hash
from dispatch.proof import Proof, proof_from_json
from dispatch.store import Store

NOON = datetime(2024, 3, 31, 12, 0, tzinfo=UTC)
COUNT = 7


def fill(store: Store, audit: Audit, count: int = COUNT) -> None:
    with store.writing() as connection:
        for i in range(count):
            audit.append(connection, "order" if i % 2 else "decision", {"i": i, "power_kw": 12.5}, NOON)


@pytest.fixture
def key():
    return Ed25519PrivateKey.generate()


@pytest.fixture
def audit(store, key):
    audit = Audit(store, key)
    fill(store, audit)
    audit.checkpoint(NOON)
    return audit


def test_an_untouched_log_has_no_faults(audit, key):
    assert audit.faults(key.public_key()) == []
    entries = list(audit.entries())
    assert [e.sequence for e in entries] == list(range(COUNT))
    assert entries[0].previous_hash == NOTHING_BEFORE
    assert [e.sequence for e in audit.entries(kind="order")] == [1, 3, 5]
    assert [e.sequence for e in audit.entries(first=5)] == [5, 6]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(st.dictionaries(st.text(max_size=8), st.text(max_size=20) | st.integers(-9, 9)), max_size=4))
def test_an_entry_is_hashed_over_canonical_json_and_many_at_once_are_as_one_by_one(bodies, audit, store):
    with store.writing() as connection:
        together = audit.append_all(connection, [("order", body) for body in bodies], NOON)
        connection.rollback()
    with store.writing() as connection:
        assert [audit.append(connection, "order", body, NOON) for body in bodies] == together
        connection.rollback()
    for entry in together:
        said = entry._asdict()
        assert said.pop("entry_hash") == hashlib.sha256(rfc8785.dumps(said)).hexdigest()


@pytest.mark.parametrize("column", ["at", "kind", "body", "previous_hash", "entry_hash"])
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_altered_byte_is_found_where_it_is(column, data, audit, store):
    row = data.draw(st.integers(0, COUNT - 1))
    field = audit_table.c[column]
    with store.reading() as connection:
        before = connection.execute(sa.select(field).where(audit_table.c.sequence == row)).scalar_one()
    place = data.draw(st.integers(0, len(before) - 1))
    other = data.draw(st.characters(codec="ascii", exclude_characters="\0" + before[place]))
    _set(store, field, row, before[:place] + other + before[place + 1 :])
    assert row in {fault.sequence for fault in audit.faults()}
    _set(store, field, row, before)
    assert audit.faults() == []


def _set(store, field, row, value):
    with store.writing() as connection:
        connection.execute(sa.update(audit_table).where(audit_table.c.sequence == row).values({field: value}))


def test_a_missing_entry_is_found(audit, store):
    with store.writing() as connection:
        connection.execute(sa.delete(audit_table).where(audit_table.c.sequence == 3))
    assert audit.faults()[0] == (3, "entries 3 to 3 are missing")


def test_missing_newest_entries_are_found_by_the_checkpoint(audit, store):
    with store.writing() as connection:
        connection.execute(sa.delete(audit_table).where(audit_table.c.sequence >= 5))
    assert [fault.problem for fault in audit.faults()] == [
        "checkpoint over 7 entries: only 5 entries are left, the newest are missing"
    ]


def test_two_entries_that_changed_places_are_found(audit, store):
    with store.writing() as connection:
        for old, new in ((2, 100), (4, 2), (100, 4)):
            connection.execute(sa.update(audit_table).where(audit_table.c.sequence == old).values(sequence=new))
    assert {2, 4} <= {fault.sequence for fault in audit.faults()}


def test_a_log_written_anew_without_the_key_is_found(audit, store, key):
    with store.writing() as connection:
        connection.execute(sa.delete(audit_table))
    forger = Ed25519PrivateKey.generate()
    fill(store, Audit(store), COUNT - 1)
    with store.writing() as connection:
        audit.append(connection, "decision", {"i": 6, "power_kw": 99.0}, NOON)
    assert "what it signed is not what stands there now" in audit.faults(key.public_key())[0].problem
    with store.writing() as connection:
        connection.execute(sa.delete(checkpoint_table))
    Audit(store, forger).checkpoint(NOON)
    assert "not that of the key" in audit.faults(key.public_key())[0].problem


def test_an_entry_and_the_growth_of_the_log_can_be_proved_to_an_outsider(audit, store):
    first = audit.checkpoints()[0]
    assert audit.checkpoint(NOON) is None
    fill(store, audit, 4)
    second = audit.checkpoint(NOON + timedelta(hours=1))
    entry = next(audit.entries(kind="order"))
    proof = audit.prove(entry.sequence)
    assert proof.checkpoint == second
    nodes = [bytes.fromhex(node) for node in proof.path]
    leaf = leaf_hash(entry.entry_hash.encode())
    assert includes(leaf, entry.sequence, second.size, nodes, bytes.fromhex(second.root_hash))
    assert Proof.from_json(proof.as_json()) == proof
    assert proof.problem() is None
    growth = audit.grown(first)
    assert (growth.older, growth.newer) == (first, second)
    assert proof_from_json(growth.as_json()) == growth
    assert proof_from_json(proof.as_json()) == proof
    assert growth.problem() is None


def test_a_log_that_did_not_grow_from_what_was_signed_is_found(audit, store, key):
    """The forger holds the key, writes the log anew and signs it: only who kept the first checkpoint can tell."""
    first = audit.checkpoints()[0]
    fill(store, audit, 2)
    with store.writing() as connection:
        connection.execute(sa.delete(checkpoint_table))
        connection.execute(sa.update(audit_table).where(audit_table.c.sequence == 1).values(entry_hash="0" * 64))
    assert Audit(store, key).checkpoint(NOON) is not None
    assert audit.grown(first).problem() == "the newer log does not begin with the older one"


def test_a_growth_that_was_altered_or_cannot_be_proved_is_refused(audit, store):
    first = audit.checkpoints()[0]
    with pytest.raises(ValueError, match="cover 7 entries, the one given 8"):
        audit.grown(first._replace(size=8))
    fill(store, audit, 2)
    audit.checkpoint(NOON)
    growth = audit.grown(first)
    assert "older checkpoint" in growth._replace(older=first._replace(size=6)).problem()
    assert "hashes" in growth._replace(path=["no hash"]).problem()
    assert growth._replace(path=growth.path[1:]).problem() == "the newer log does not begin with the older one"


@pytest.mark.parametrize("body", [{"price": float("nan")}, {"raw": b"x"}, {"at": NOON}, {1: "key"}])
def test_what_is_not_json_is_refused(body, store):
    with pytest.raises(ValueError, match="must be plain JSON"), store.writing() as connection:
        Audit(store).append(connection, "order", body, NOON)


def test_a_naive_instant_and_a_missing_key_are_refused(store):
    with pytest.raises(ValueError, match="has no time zone"), store.writing() as connection:
        Audit(store).append(connection, "order", {}, datetime(2024, 1, 1))
    with pytest.raises(ValueError, match="GRIDPILOT_AUDIT_KEY"):
        Audit(store).checkpoint(NOON)
