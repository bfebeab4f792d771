"""What whoever is not us needs to examine the audit log: entries, signed checkpoints and the proofs between them.

Nothing here needs the database.
"""

import hashlib
import json
from typing import Any, NamedTuple, Self

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dispatch.merkle import extends, includes, leaf_hash


class Entry(NamedTuple):
    """One entry.

    Attributes:
        sequence: Place in the log, from 0 without gaps.
        at: When it was written, UTC, ISO 8601; text, because the hash is over what stands there.
        kind: What it records, such as `decision` or `order`.
        body: What was recorded, canonical JSON.
        previous_hash: `entry_hash` of the entry before it, zeros for the first.
        entry_hash: SHA-256 over all of the above.
    """

    sequence: int
    at: str
    kind: str
    body: str
    previous_hash: str
    entry_hash: str


class Checkpoint(NamedTuple):
    """A signed statement that the first `size` entries have this root."""

    size: int
    at: str
    root_hash: str
    public_key: str
    signature: str


class Proof(NamedTuple):
    """That an entry is in the log; an outsider needs nothing else to examine it, but should know the public key.

    Attributes:
        entry: The entry.
        checkpoint: Signed over a log that holds it.
        path: The Merkle tree's hashes between the two, hexadecimal.
    """

    entry: Entry
    checkpoint: Checkpoint
    path: list[str]

    def as_json(self) -> str:
        """For `from_json`."""
        named = {"entry": self.entry._asdict(), "checkpoint": self.checkpoint._asdict(), "path": self.path}
        return json.dumps(named, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read one.

        Raises:
            ValueError: It is none.
        """
        try:
            named = json.loads(text)
            return cls(Entry(**named["entry"]), Checkpoint(**named["checkpoint"]), list(named["path"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this is no proof as `main.py audit prove` writes it ({error})") from None

    def problem(self, trusted: Ed25519PublicKey | None = None) -> str | None:
        """Why it does not hold, None if it does; see `dispatch.audit.Audit.faults` for `trusted`."""
        if entry_hash(*self.entry[:5]) != self.entry.entry_hash:
            return "the entry was altered: its hash does not match what it says"
        problem = unsigned(self.checkpoint, trusted)
        if problem:
            return f"the checkpoint: {problem}"
        leaf, root = leaf_hash(self.entry.entry_hash.encode()), bytes.fromhex(self.checkpoint.root_hash)
        nodes = _nodes(self.path)
        if nodes is None:
            return "the path holds something else than hashes"
        if not includes(leaf, self.entry.sequence, self.checkpoint.size, nodes, root):
            return "the path does not lead from the entry to what the checkpoint signed"
        return None


class Growth(NamedTuple):
    """That nothing of the log of an older checkpoint was altered or taken away in that of a newer one.

    Attributes:
        older: Signed first.
        newer: Signed over the same entries and those after them.
        path: The Merkle tree's hashes between the two, hexadecimal; RFC 6962, section 2.1.2.
    """

    older: Checkpoint
    newer: Checkpoint
    path: list[str]

    def as_json(self) -> str:
        """For `from_json`."""
        return json.dumps({"older": self.older._asdict(), "newer": self.newer._asdict(), "path": self.path}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read one.

        Raises:
            ValueError: It is none.
        """
        try:
            named = json.loads(text)
            return cls(Checkpoint(**named["older"]), Checkpoint(**named["newer"]), list(named["path"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this is no growth as `main.py audit grown` writes it ({error})") from None

    def problem(self, trusted: Ed25519PublicKey | None = None) -> str | None:
        """Why it does not hold, None if it does; see `dispatch.audit.Audit.faults` for `trusted`."""
        for name, signed in (("older", self.older), ("newer", self.newer)):
            problem = unsigned(signed, trusted)
            if problem:
                return f"the {name} checkpoint: {problem}"
        old_root, root = bytes.fromhex(self.older.root_hash), bytes.fromhex(self.newer.root_hash)
        nodes = _nodes(self.path)
        if nodes is None:
            return "the path holds something else than hashes"
        if not extends(self.older.size, old_root, self.newer.size, root, nodes):
            return "the newer log does not begin with the older one"
        return None


def proof_from_json(text: str) -> Proof | Growth:
    """Read either kind of proof.

    Raises:
        ValueError: It is neither.
    """
    try:
        grown = "newer" in json.loads(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"this is no proof as `main.py audit` writes them ({error})") from None
    return Growth.from_json(text) if grown else Proof.from_json(text)


def checkpoint_from_json(text: str) -> Checkpoint:
    """Read a checkpoint that was kept elsewhere.

    Raises:
        ValueError: It is none.
    """
    try:
        return Checkpoint(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise ValueError(f"this is no checkpoint as `main.py audit checkpoint` writes it ({error})") from None


def key_from_hex(text: str) -> Ed25519PublicKey:
    """Read a public key.

    Raises:
        ValueError: It is none.
    """
    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    except ValueError:
        raise ValueError(f"{text!r} is no Ed25519 public key; it has 64 hexadecimal digits") from None


def entry_hash(sequence: int, at: str, kind: str, body: str, previous_hash: str) -> str:
    """SHA-256 over what an entry says and the hash of the one before it."""
    said: dict[str, Any] = {"sequence": sequence, "at": at, "kind": kind, "body": body, "previous_hash": previous_hash}
    # Of texts and one small integer in sorted order, this is RFC 8785 to the byte, and written in C.
    text = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def statement(size: int, at: str, root: str) -> bytes:
    """The bytes that a checkpoint signs."""
    return rfc8785.dumps({"size": size, "at": at, "root_hash": root})


def unsigned(signed: Checkpoint, trusted: Ed25519PublicKey | None) -> str | None:
    """Why a checkpoint's signature does not hold, None if it does; see `dispatch.audit.Audit.faults` for `trusted`."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed.public_key)) if trusted is None else trusted
        key.verify(bytes.fromhex(signed.signature), statement(signed.size, signed.at, signed.root_hash))
    except (InvalidSignature, ValueError):
        return "its signature is not that of the key"
    if signed.public_key != key.public_bytes_raw().hex() or signed.signature != signed.signature.lower():
        return "the key that it names or its signature was altered"
    return None


def _nodes(path: list[str]) -> list[bytes] | None:
    try:
        return [bytes.fromhex(node) for node in path]
    except (TypeError, ValueError):
        return None
