import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.merkle import consistency_proof, extends, includes, inclusion_proof, leaf_hash, root_hash

# Entries and root of the eight-leaf tree that Certificate Transparency implementations test with.
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOT_OF_EIGHT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"

LEAVES = st.lists(st.binary(max_size=4), min_size=1, max_size=70).map(lambda entries: [leaf_hash(e) for e in entries])


def definition(leaves: list[bytes]) -> bytes:
    """The recursive definition of RFC 6962 section 2.1."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + definition(leaves[:split]) + definition(leaves[split:])).digest()


def test_the_published_root_of_eight_entries():
    assert root_hash([leaf_hash(entry) for entry in ENTRIES]).hex() == ROOT_OF_EIGHT
    assert root_hash([]) == hashlib.sha256(b"").digest()


@given(LEAVES)
def test_the_root_is_the_one_defined(leaves):
    assert root_hash(leaves) == definition(leaves)


@given(LEAVES, st.data())
def test_every_entry_can_be_proved_and_nothing_else_can(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof, root = inclusion_proof(leaves, index), root_hash(leaves)
    assert includes(leaves[index], index, len(leaves), proof, root)
    assert not includes(leaf_hash(b"another entry"), index, len(leaves), proof, root)
    assert not includes(leaves[index], index, len(leaves), [*proof, root], root)
    assert not includes(leaves[index], len(leaves), len(leaves), proof, root)
    if proof:
        assert not includes(leaves[index], index, len(leaves), proof[:-1], root)


@given(LEAVES, st.data())
def test_growth_can_be_proved_and_a_rewritten_past_cannot(leaves, data):
    old_size = data.draw(st.integers(1, len(leaves)))
    proof = consistency_proof(leaves, old_size)
    old_root, root = root_hash(leaves[:old_size]), root_hash(leaves)
    assert extends(old_size, old_root, len(leaves), root, proof)
    changed = data.draw(st.integers(0, old_size - 1))
    rewritten = [*leaves[:changed], leaf_hash(b"another entry"), *leaves[changed + 1 :]]
    assert not extends(old_size, old_root, len(leaves), root_hash(rewritten), consistency_proof(rewritten, old_size))


def test_a_proof_of_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match="allowed are 0 to 1"):
        inclusion_proof([leaf_hash(b"a"), leaf_hash(b"b")], 2)
    with pytest.raises(ValueError, match="cannot have grown from 3"):
        consistency_proof([leaf_hash(b"a"), leaf_hash(b"b")], 3)
