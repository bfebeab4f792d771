"""The append-only log of everything decided, ordered and exchanged: altered, missing or moved entries show.

Every entry carries the hash of the one before it (over canonical JSON, RFC 8785), and from time to time the root of a
Merkle tree over all entries (RFC 6962) is signed with Ed25519. Whoever can write the database but not sign cannot
rewrite what a checkpoint covers; whoever keeps a checkpoint elsewhere can prove that the log only grew.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Self

import rfc8785
import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dispatch.merkle import consistency_proof, includes, inclusion_proof, leaf_hash, root_hash
from dispatch.store import TABLES, Store

NOTHING_BEFORE: Final = "0" * 64
PAGE: Final = 1000

audit_table: Final = sa.Table(
    "audit",
    TABLES,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(64), nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("previous_hash", sa.String(64), nullable=False),
    sa.Column("entry_hash", sa.String(64), nullable=False),
)
checkpoint_table: Final = sa.Table(
    "checkpoint",
    TABLES,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("root_hash", sa.String(64), nullable=False),
    sa.Column("public_key", sa.String(64), nullable=False),
    sa.Column("signature", sa.String(128), nullable=False),
)
# Made once: putting a statement together costs as much as carrying it out.
NEWEST: Final = sa.select(audit_table.c.sequence, audit_table.c.entry_hash).order_by(audit_table.c.sequence.desc())
LAST: Final = NEWEST.limit(1)
INSERT: Final = sa.insert(audit_table)


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
        """Why it does not hold, None if it does; see `Audit.faults` for `trusted`."""
        if _entry_hash(*self.entry[:5]) != self.entry.entry_hash:
            return "the entry was altered: its hash does not match what it says"
        problem = _unsigned(self.checkpoint, trusted)
        if problem:
            return f"the checkpoint: {problem}"
        leaf, root = leaf_hash(self.entry.entry_hash.encode()), bytes.fromhex(self.checkpoint.root_hash)
        nodes = [bytes.fromhex(node) for node in self.path]
        if not includes(leaf, self.entry.sequence, self.checkpoint.size, nodes, root):
            return "the path does not lead from the entry to what the checkpoint signed"
        return None


class Fault(NamedTuple):
    """Something wrong in the log: where and what."""

    sequence: int
    problem: str


class Audit:
    """The log in a store."""

    def __init__(self, store: Store, key: Ed25519PrivateKey | None = None) -> None:
        """Open the log.

        Args:
            store: Where it lives.
            key: Signs checkpoints; without it there are none.
        """
        self._store, self._key = store, key

    def append(self, connection: sa.Connection, kind: str, body: Mapping[str, Any], at: datetime) -> Entry:
        """Add an entry within a writing transaction of the store, so that deed and record stand or fall together.

        Raises:
            ValueError: The body is not JSON, for example holds NaN or bytes.
        """
        return self.append_all(connection, [(kind, body)], at)[0]

    def append_all(
        self, connection: sa.Connection, records: Sequence[tuple[str, Mapping[str, Any]]], at: datetime
    ) -> list[Entry]:
        """Add entries of some kinds and bodies one after the other, in two statements; see `append`."""
        last = connection.execute(LAST).first()
        first, previous = (0, NOTHING_BEFORE) if last is None else (last.sequence + 1, last.entry_hash)
        when = _iso(at)
        entries: list[Entry] = []
        for sequence, (kind, body) in enumerate(records, first):
            try:
                text = rfc8785.dumps(dict(body)).decode()
            except (rfc8785.CanonicalizationError, TypeError) as error:
                raise ValueError(f"an audit entry of kind {kind!r} must be plain JSON: {error}") from error
            hashed = _entry_hash(sequence, when, kind, text, previous)
            entries.append(Entry(sequence, when, kind, text, previous, hashed))
            previous = hashed
        if entries:
            connection.execute(INSERT, [entry._asdict() for entry in entries])
        return entries

    def entries(self, kind: str | None = None, first: int = 0) -> Iterator[Entry]:
        """Entries in order, from `first` on, of one kind if given."""
        query = sa.select(audit_table).order_by(audit_table.c.sequence).limit(PAGE)
        if kind is not None:
            query = query.where(audit_table.c.kind == kind)
        while True:
            with self._store.reading() as connection:
                page = [Entry(*row) for row in connection.execute(query.where(audit_table.c.sequence >= first))]
            yield from page
            if len(page) < PAGE:
                return
            first = page[-1].sequence + 1

    def newest(self, kinds: Sequence[str], count: int = 1) -> list[Entry]:
        """The last entries of these kinds, newest first."""
        query = sa.select(audit_table).where(audit_table.c.kind.in_(kinds)).order_by(audit_table.c.sequence.desc())
        with self._store.reading() as connection:
            return [Entry(*row) for row in connection.execute(query.limit(count))]

    def checkpoints(self) -> list[Checkpoint]:
        """Every checkpoint, oldest first."""
        with self._store.reading() as connection:
            return [Checkpoint(*row) for row in connection.execute(sa.select(checkpoint_table).order_by("size"))]

    def checkpoint(self, at: datetime) -> Checkpoint | None:
        """Sign the log as it stands; None where nothing was added since the last time.

        Raises:
            ValueError: There is no key to sign with.
        """
        if self._key is None:
            raise ValueError("a checkpoint needs a key; set GRIDPILOT_AUDIT_KEY")
        with self._store.writing() as connection:
            hashes = connection.execute(sa.select(audit_table.c.entry_hash).order_by(audit_table.c.sequence)).scalars()
            leaves = [leaf_hash(text.encode()) for text in hashes]
            covered = connection.execute(sa.select(sa.func.max(checkpoint_table.c.size))).scalar() or 0
            if len(leaves) <= covered:
                return None
            root = root_hash(leaves).hex()
            public = self._key.public_key().public_bytes_raw().hex()
            when = _iso(at)
            signature = self._key.sign(_statement(len(leaves), when, root)).hex()
            signed = Checkpoint(len(leaves), when, root, public, signature)
            connection.execute(sa.insert(checkpoint_table).values(signed._asdict()))
        return signed

    def size(self) -> int:
        """How many entries there are."""
        with self._store.reading() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(audit_table)).scalar_one()

    def prove(self, sequence: int) -> Proof:
        """Prove that an entry is in the log.

        Raises:
            ValueError: There is no such entry, or no checkpoint covers it yet.
        """
        entry = next(self.entries(first=sequence), None) if sequence >= 0 else None
        if entry is None or entry.sequence != sequence:
            raise ValueError(f"the log has no entry {sequence}; it holds {self.size()}, from 0")
        covering = [signed for signed in self.checkpoints() if signed.size > sequence]
        if not covering:
            raise ValueError(f"no checkpoint covers entry {sequence} yet; sign one first")
        signed = covering[-1]
        return Proof(entry, signed, [node.hex() for node in inclusion_proof(self._leaves(signed.size), sequence)])

    def consistency(self, old_size: int, size: int) -> list[str]:
        """Proof that the log of `size` entries begins with that of `old_size`; see `dispatch.merkle.extends`."""
        return [node.hex() for node in consistency_proof(self._leaves(size), old_size)]

    def faults(self, trusted: Ed25519PublicKey | None = None, kept: Sequence[Checkpoint] = ()) -> list[Fault]:
        """Everything wrong with the log, empty if nothing is.

        Args:
            trusted: The key that checkpoints must be signed with; without it their signatures count with the key they
                name, which shows accidents but not a forger who also replaced the key.
            kept: Checkpoints kept elsewhere; they show a forger who also removed those that stand in the store.
        """
        faults: list[Fault] = []
        leaves: list[bytes] = []
        previous, expected = NOTHING_BEFORE, 0
        try:
            for entry in self.entries():
                faults += _faults_of(entry, expected, previous)
                leaves.append(leaf_hash(entry.entry_hash.encode()))
                previous, expected = entry.entry_hash, entry.sequence + 1
            for signed in [*self.checkpoints(), *kept]:
                problem = _problem(signed, leaves, trusted)
                if problem:
                    faults.append(Fault(signed.size - 1, f"checkpoint over {signed.size} entries: {problem}"))
        except (TypeError, AttributeError, ValueError, sa.exc.DatabaseError) as error:  # bytes where text should be
            faults.append(Fault(expected, f"what comes here cannot be read: {error}"))
        return faults

    def _leaves(self, size: int) -> list[bytes]:
        query = sa.select(audit_table.c.entry_hash).order_by(audit_table.c.sequence).limit(size)
        with self._store.reading() as connection:
            leaves = [leaf_hash(text.encode()) for text in connection.execute(query).scalars()]
        if len(leaves) < size:
            raise ValueError(f"the log holds {len(leaves)} entries, not {size}; ask for at most that many")
        return leaves


def _faults_of(entry: Entry, expected: int, previous: str) -> list[Fault]:
    faults = []
    if entry.sequence != expected:
        faults.append(Fault(expected, f"entries {expected} to {entry.sequence - 1} are missing"))
    elif entry.previous_hash != previous:
        faults.append(Fault(entry.sequence, "does not follow the entry before it: moved, replaced or inserted"))
    if entry.entry_hash != _entry_hash(*entry[:5]):
        faults.append(Fault(entry.sequence, "was altered: its hash does not match what it says"))
    return faults


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


def _entry_hash(sequence: int, at: str, kind: str, body: str, previous_hash: str) -> str:
    said: dict[str, Any] = {"sequence": sequence, "at": at, "kind": kind, "body": body, "previous_hash": previous_hash}
    # Of texts and one small integer in sorted order, this is RFC 8785 to the byte, and written in C.
    text = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _statement(size: int, at: str, root: str) -> bytes:
    return rfc8785.dumps({"size": size, "at": at, "root_hash": root})


def _unsigned(signed: Checkpoint, trusted: Ed25519PublicKey | None) -> str | None:
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed.public_key)) if trusted is None else trusted
        key.verify(bytes.fromhex(signed.signature), _statement(signed.size, signed.at, signed.root_hash))
    except (InvalidSignature, ValueError):
        return "its signature is not that of the key"
    if signed.public_key != key.public_bytes_raw().hex() or signed.signature != signed.signature.lower():
        return "the key that it names or its signature was altered"
    return None


def _problem(signed: Checkpoint, leaves: list[bytes], trusted: Ed25519PublicKey | None) -> str | None:
    problem = _unsigned(signed, trusted)
    if problem:
        return problem
    if signed.size > len(leaves):
        return f"only {len(leaves)} entries are left, the newest are missing"
    if root_hash(leaves[: signed.size]).hex() != signed.root_hash:
        return "what it signed is not what stands there now"
    return None


def _iso(at: datetime) -> str:
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone; give instants one, such as datetime.now(UTC)")
    return at.astimezone(UTC).isoformat(timespec="microseconds")
