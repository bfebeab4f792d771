"""Merkle trees over a log, and the proofs that an entry is in it and that it only ever grew.

RFC 6962 (Certificate Transparency), section 2.1, defines the tree and both proofs; the verifying side follows the
algorithms written out in its successor, RFC 9162, sections 2.1.3.2 and 2.1.4.2.
"""

import hashlib
from collections.abc import Sequence


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one entry; the prefix keeps it from being mistaken for a node."""
    return hashlib.sha256(b"\x00" + entry).digest()


def root_hash(leaves: Sequence[bytes]) -> bytes:
    """Hash of the tree over leaf hashes; of an empty tree, the hash of nothing."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    # One hash per complete subtree, largest first, as a binary counter keeps them: linear in the leaves.
    complete: list[tuple[int, bytes]] = []
    for leaf in leaves:
        size, node = 1, leaf
        while complete and complete[-1][0] == size:
            node = _node_hash(complete.pop()[1], node)
            size *= 2
        complete.append((size, node))
    _, node = complete.pop()
    while complete:
        node = _node_hash(complete.pop()[1], node)
    return node


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes that lead from a leaf to the root.

    Args:
        leaves: Leaf hashes of the tree.
        index: Which leaf, from 0.

    Raises:
        ValueError: The tree has no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise ValueError(f"entry {index} of a log of {len(leaves)}; allowed are 0 to {len(leaves) - 1}")
    if len(leaves) == 1:
        return []
    split = _largest_power_of_two_below(len(leaves))
    if index < split:
        return [*inclusion_proof(leaves[:split], index), root_hash(leaves[split:])]
    return [*inclusion_proof(leaves[split:], index - split), root_hash(leaves[:split])]


def includes(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof shows that a leaf stands at `index` in the tree of `size` leaves with this root."""
    if not 0 <= index < size:
        return False
    node, place, last = leaf, index, size - 1
    for sibling in proof:
        if last == 0:
            return False
        if place % 2 or place == last:
            node = _node_hash(sibling, node)
            while place % 2 == 0 and place != 0:
                place, last = place // 2, last // 2
        else:
            node = _node_hash(node, sibling)
        place, last = place // 2, last // 2
    return last == 0 and node == root


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """The hashes that show the tree to be the old tree with leaves added.

    Args:
        leaves: Leaf hashes of the tree now.
        old_size: How many leaves it had.

    Raises:
        ValueError: It never had that many.
    """
    if not 0 < old_size <= len(leaves):
        raise ValueError(f"a log of {len(leaves)} entries cannot have grown from {old_size}; allowed are 1 to all")
    return _subproof(leaves, old_size, whole=True)


def extends(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a proof shows that the tree of `size` leaves begins with the tree of `old_size` leaves."""
    if not 0 < old_size <= size:
        return False
    if old_size == size:
        return not proof and old_root == root
    path = list(proof)
    if old_size & (old_size - 1) == 0:  # a complete tree is itself the first node
        path.insert(0, old_root)
    if not path:
        return False
    place, last = old_size - 1, size - 1
    while place % 2:
        place, last = place // 2, last // 2
    old_node = node = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place % 2 or place == last:
            old_node, node = _node_hash(sibling, old_node), _node_hash(sibling, node)
            while place % 2 == 0 and place != 0:
                place, last = place // 2, last // 2
        else:
            node = _node_hash(node, sibling)
        place, last = place // 2, last // 2
    return last == 0 and old_node == old_root and node == root


def _subproof(leaves: Sequence[bytes], old_size: int, whole: bool) -> list[bytes]:
    if old_size == len(leaves):
        return [] if whole else [root_hash(leaves)]
    split = _largest_power_of_two_below(len(leaves))
    if old_size <= split:
        return [*_subproof(leaves[:split], old_size, whole), root_hash(leaves[split:])]
    return [*_subproof(leaves[split:], old_size - split, whole=False), root_hash(leaves[:split])]


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _largest_power_of_two_below(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1
