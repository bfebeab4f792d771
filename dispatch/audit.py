"""The append-only log of everything decided, ordered and exchanged: altered, missing or moved entries show.

Every entry carries the hash of the one before it (over canonical JSON, RFC 8785), and from time to time the root of a
Merkle tree over all entries (RFC 6962) is signed with Ed25519. Whoever can write the database but not sign cannot
rewrite what a checkpoint covers; whoever keeps a checkpoint elsewhere can prove that the log only grew.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import rfc8785
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dispatch.decisions import digests
from dispatch.merkle import consistency_proof, inclusion_proof, leaf_hash, root_hash
from dispatch.proof import Checkpoint, Entry, Growth, Proof, entry_hash, statement, unsigned
from dispatch.store import TABLES, Store

NOTHING_BEFORE: Final = "0" * 64
PAGE: Final = 1000
VIEW: Final = re.compile('"market_sha256":"([0-9a-f]{64})"')  # as canonical JSON writes it

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


class Fault(NamedTuple):
    """Something wrong in the log: where and what."""

    sequence: int
    problem: str


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a record as an entry says them: instants as text."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()}


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
            hashed = entry_hash(sequence, when, kind, text, previous)
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
            signature = self._key.sign(statement(len(leaves), when, root)).hex()
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

    def grown(self, older: Checkpoint) -> Growth:
        """Prove that the log of the newest checkpoint begins with that of one kept elsewhere.

        Raises:
            ValueError: There is no checkpoint over as many entries.
        """
        newer = max(self.checkpoints(), key=lambda signed: signed.size, default=None)
        if newer is None or newer.size < older.size:
            covered = 0 if newer is None else newer.size
            raise ValueError(f"checkpoints cover {covered} entries, the one given {older.size}; sign one first")
        path = consistency_proof(self._leaves(newer.size), older.size)
        return Growth(older, newer, [node.hex() for node in path])

    def faults(self, trusted: Ed25519PublicKey | None = None, kept: Sequence[Checkpoint] = ()) -> list[Fault]:
        """Everything wrong with the log and with the market views that it names, empty if nothing is.

        Args:
            trusted: The key that checkpoints must be signed with; without it their signatures count with the key they
                name, which shows accidents but not a forger who also replaced the key.
            kept: Checkpoints kept elsewhere; they show a forger who also removed those that stand in the store.
        """
        faults: list[Fault] = []
        leaves: list[bytes] = []
        views: dict[str, int] = {}  # the first entry that names each
        previous, expected = NOTHING_BEFORE, 0
        try:
            for entry in self.entries():
                faults += _faults_of(entry, expected, previous)
                leaves.append(leaf_hash(entry.entry_hash.encode()))
                if named := VIEW.search(entry.body):
                    views.setdefault(named[1], entry.sequence)
                previous, expected = entry.entry_hash, entry.sequence + 1
            for signed in [*self.checkpoints(), *kept]:
                problem = _problem(signed, leaves, trusted)
                if problem:
                    faults.append(Fault(signed.size - 1, f"checkpoint over {signed.size} entries: {problem}"))
            kept_views = dict(digests(self._store)) if views else {}
            for named_sha256, sequence in views.items():
                if kept_views.get(named_sha256) != named_sha256:
                    said = "was altered" if named_sha256 in kept_views else "is missing"
                    faults.append(Fault(sequence, f"the market view {named_sha256[:16]} that it was made on {said}"))
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
    if entry.entry_hash != entry_hash(*entry[:5]):
        faults.append(Fault(entry.sequence, "was altered: its hash does not match what it says"))
    return faults


def _problem(signed: Checkpoint, leaves: list[bytes], trusted: Ed25519PublicKey | None) -> str | None:
    problem = unsigned(signed, trusted)
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
