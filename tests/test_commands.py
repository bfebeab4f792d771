"""`python main.py`, as a person runs it."""

import json
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispatch.audit import Audit
from dispatch.store import Store

ROOT = Path(__file__).parent.parent
NOON = datetime(2024, 3, 31, 12, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw().hex()
COUNT = 40


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GRIDPILOT_")}
    return subprocess.run(
        [sys.executable, "main.py", *arguments],
        cwd=ROOT, env={**outside, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def log(tmp_path):
    """A file with a log of 40 entries, a checkpoint over 30 of them, nothing left in the write-ahead file."""
    path = tmp_path / "state.db"
    store = Store(f"sqlite:///{path}")
    audit = Audit(store, KEY)
    for i in range(COUNT):
        with store.writing() as connection:
            audit.append(connection, "decision", {"i": i, "reason": f"because {i}", "power_kw": 12.5}, NOON)
        if i == 29:
            audit.checkpoint(NOON)
    store.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=DELETE")
    return path


def verify(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python("audit", "verify", "--database", f"sqlite:///{path}", *arguments)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


def test_an_untouched_log_is_verified_and_left_untouched(log):
    before = log.read_bytes()
    done = verify(log, "--public-key", PUBLIC)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "40 entries, 1 checkpoints, 0 faults; 10 entries are newer than the last checkpoint\n"
    assert log.read_bytes() == before


def test_one_altered_byte_of_the_file_is_named(log):
    raw = log.read_bytes()
    assert raw.count(b"because 17") == 1
    log.write_bytes(raw.replace(b"because 17", b"because 71"))
    done = verify(log)
    assert done.returncode == 1
    assert done.stdout.startswith("entry 17: was altered: its hash does not match what it says\n40 entries")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM audit WHERE sequence = 5", "entry 5: entries 5 to 5 are missing"),
        ("DELETE FROM audit WHERE sequence >= 20", "only 20 entries are left, the newest are missing"),
        ("UPDATE audit SET sequence = CASE sequence WHEN 3 THEN 104 ELSE sequence END", "entry 3: "),
        ("UPDATE checkpoint SET at = replace(at, '12:00', '13:00')", "its signature is not that of the key"),
        ("UPDATE audit SET body = CAST(body AS BLOB) WHERE sequence = 7", "entry 7: "),
        ("DROP TABLE checkpoint", "no such table"),
    ],
)
def test_what_was_done_to_the_rows_is_said(log, statement, said):
    change(log, statement)
    done = verify(log, "--public-key", PUBLIC)
    assert done.returncode in (1, 2)
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_whatever_byte_of_the_file_is_changed_the_log_reads_the_same_or_verifying_fails(log, tmp_path):
    """In the pages that hold the log: free space and indices may change; no entry may, unnoticed."""
    raw, rng = log.read_bytes(), random.Random(0)
    pages = [start for start in range(0, len(raw), 4096) if b"because" in raw[start : start + 4096]]
    honest = list(Audit(Store(f"sqlite:///{log}", read_only=True)).entries())
    noticed = 0
    for _ in range(300):
        place = rng.choice(pages) + rng.randrange(4096)
        changed = bytearray(raw)
        changed[place] ^= rng.randrange(1, 256)
        path = tmp_path / "changed.db"
        path.write_bytes(changed)
        store = Store(f"sqlite:///{path}", read_only=True)
        faults = Audit(store).faults()
        noticed += bool(faults)
        if not faults:
            assert list(Audit(store).entries()) == honest, f"byte {place} was changed and nobody noticed"
        store.close()
    assert noticed > 200, "most bytes of these pages are the log's"


def test_growth_is_proved_and_a_log_cut_back_with_its_checkpoint_is_found_by_one_kept_elsewhere(log, tmp_path):
    url = f"sqlite:///{log}"
    signed = python("audit", "checkpoint", GRIDPILOT_DATABASE_URL=url, GRIDPILOT_AUDIT_KEY=bytes(range(32)).hex())
    assert json.loads(signed.stdout)["size"] == COUNT
    kept = tmp_path / "kept.json"
    kept.write_text(signed.stdout)
    (tmp_path / "earlier.json").write_text(json.dumps(Audit(Store(url, read_only=True)).checkpoints()[0]._asdict()))
    growth = tmp_path / "growth.json"
    growth.write_text(python("audit", "grown", str(tmp_path / "earlier.json"), "--database", url).stdout)
    shown = python("audit", "check", str(growth), "--public-key", PUBLIC)
    assert shown.returncode == 0
    assert "begins with the 30 entries" in shown.stdout
    change(log, "DELETE FROM audit WHERE sequence >= 30")
    change(log, "DELETE FROM checkpoint WHERE size > 30")
    assert verify(log, "--public-key", PUBLIC).returncode == 0
    done = verify(log, "--public-key", PUBLIC, "--kept", str(kept))
    assert done.returncode == 1
    assert "only 30 entries are left" in done.stdout


def test_a_proof_convinces_an_outsider_until_a_letter_of_it_changes(log, tmp_path):
    proof = tmp_path / "proof.json"
    proof.write_text(python("audit", "prove", "12", "--database", f"sqlite:///{log}").stdout)
    assert python("audit", "check", str(proof), "--public-key", PUBLIC).returncode == 0
    honest = proof.read_text()
    for old, new in (("because 12", "because 13"), ('"sequence": 12', '"sequence": 11'), ('"size": 30', '"size": 31')):
        assert old in honest
        proof.write_text(honest.replace(old, new))
        assert python("audit", "check", str(proof)).returncode == 1
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    proof.write_text(honest)
    assert python("audit", "check", str(proof), "--public-key", other).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["verify", "--database", "sqlite:////nowhere/x.db"], {}, "no database '/nowhere/x.db'"),
        (["verify"], {"GRIDPILOT_DATABASE_URL": "mysql://secret@host/x"}, "GRIDPILOT_DATABASE_URL: it names 'mysql'"),
        (["checkpoint"], {"GRIDPILOT_AUDIT_KEY": "0011secret"}, "GRIDPILOT_AUDIT_KEY: it must be 64 hexadecimal"),
        (["verify", "--public-key", "abc"], {}, "no Ed25519 public key"),
    ],
)
def test_what_cannot_be_done_ends_with_one_line_that_tells_no_secret(arguments, environment, said):
    done = python("audit", *arguments, **environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert "secret" not in done.stderr


def test_keys_made_sign_and_verify(log):
    secret, public = python("audit", "key").stdout.split()
    url = f"sqlite:///{log}"
    assert python("audit", "checkpoint", GRIDPILOT_DATABASE_URL=url, GRIDPILOT_AUDIT_KEY=secret).returncode == 0
    change(log, "DELETE FROM checkpoint WHERE size = 30")  # signed with another key
    assert verify(log, "--public-key", public).returncode == 0
