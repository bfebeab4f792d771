"""`python main.py audit`: examine the audit log, sign it, prove what is in it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from commands.failure import told

app = typer.Typer(help="The audit log: verify it, sign checkpoints, prove entries.", no_args_is_help=True)

Database = Annotated[
    str | None, typer.Option(help="SQLAlchemy URL of the database; GRIDPILOT_DATABASE_URL if not given.")
]
PublicKey = Annotated[
    str | None, typer.Option(help="Ed25519 key that checkpoints must be signed with, 64 hexadecimal digits.")
]


@app.command()
def verify(
    database: Database = None,
    public_key: PublicKey = None,
    kept: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint kept elsewhere, as `audit checkpoint` printed it.")
    ] = None,
) -> None:
    """Find every altered, missing or moved entry. Exit status 1 if there is one, 2 if the log cannot be read."""
    from sqlalchemy.exc import DatabaseError

    from dispatch.audit import Audit
    from dispatch.proof import checkpoint_from_json, key_from_hex
    from dispatch.store import Store
    from server.settings import Settings

    with told(ValueError, OSError, DatabaseError):
        url = Settings.from_environment(database_url=database).database_url.get_secret_value()
        trusted = None if public_key is None else key_from_hex(public_key)
        held = [checkpoint_from_json(path.read_text()) for path in kept or []]
        audit = Audit(Store(url, read_only=True))
        size, faults, signed = audit.size(), audit.faults(trusted, held), audit.checkpoints()
    for fault in faults:
        typer.echo(f"entry {fault.sequence}: {fault.problem}")
    covered = max((each.size for each in [*signed, *held]), default=0)
    typer.echo(
        f"{size} entries, {len(signed)} checkpoints, {len(faults)} faults; "
        f"{max(size - covered, 0)} entries are newer than the last checkpoint"
    )
    if trusted is None and signed:
        typer.echo(
            "signatures were checked with the keys that stand beside them; give --public-key to trust only yours"
        )
    raise typer.Exit(1 if faults else 0)


@app.command()
def checkpoint(database: Database = None) -> None:
    """Sign the log as it stands (with GRIDPILOT_AUDIT_KEY) and print the newest checkpoint; keep it elsewhere."""
    from sqlalchemy.exc import DatabaseError

    from dispatch.audit import Audit
    from dispatch.store import Store
    from server.settings import Settings

    with told(ValueError, OSError, DatabaseError):
        settings = Settings.from_environment(database_url=database)
        audit = Audit(Store(settings.database_url.get_secret_value()), settings.signing_key)
        audit.checkpoint(datetime.now(UTC))
        newest = audit.checkpoints()[-1:]
        if not newest:
            raise ValueError("the log holds no entry yet; there is nothing to sign")
    typer.echo(json.dumps(newest[0]._asdict()))


@app.command()
def prove(sequence: Annotated[int, typer.Argument(help="Which entry, from 0.")], database: Database = None) -> None:
    """Print an entry with the proof that it is in the log; an outsider examines it with `audit check`."""
    from sqlalchemy.exc import DatabaseError

    from dispatch.audit import Audit
    from dispatch.store import Store
    from server.settings import Settings

    with told(ValueError, OSError, DatabaseError):
        url = Settings.from_environment(database_url=database).database_url.get_secret_value()
        proof = Audit(Store(url, read_only=True)).prove(sequence)
    typer.echo(proof.as_json())


@app.command()
def grown(
    kept: Annotated[Path, typer.Argument(help="An earlier checkpoint, as `audit checkpoint` printed it.")],
    database: Database = None,
) -> None:
    """Print the proof that the log now signed begins with the one signed earlier; examine it with `audit check`."""
    from sqlalchemy.exc import DatabaseError

    from dispatch.audit import Audit
    from dispatch.proof import checkpoint_from_json
    from dispatch.store import Store
    from server.settings import Settings

    with told(ValueError, OSError, DatabaseError):
        url = Settings.from_environment(database_url=database).database_url.get_secret_value()
        growth = Audit(Store(url, read_only=True)).grown(checkpoint_from_json(kept.read_text()))
    typer.echo(growth.as_json())


@app.command()
def check(
    proof: Annotated[Path, typer.Argument(help="What `audit prove` or `audit grown` printed.")],
    public_key: PublicKey = None,
) -> None:
    """Examine a proof without the database. Exit status 1 if it does not hold."""
    from dispatch.proof import Growth, key_from_hex, proof_from_json

    with told(ValueError, OSError):
        given = proof_from_json(proof.read_text())
        problem = given.problem(None if public_key is None else key_from_hex(public_key))
    if isinstance(given, Growth):
        held = f"the log signed {given.newer.at} begins with the {given.older.size} entries signed {given.older.at}"
    else:
        held = f"entry {given.entry.sequence} stands in the log signed {given.checkpoint.at}"
    typer.echo(problem or held)
    raise typer.Exit(1 if problem else 0)


@app.command()
def key() -> None:
    """Make a key pair: the first line is GRIDPILOT_AUDIT_KEY and secret, the second is for --public-key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    made = Ed25519PrivateKey.generate()
    typer.echo(made.private_bytes_raw().hex())
    typer.echo(made.public_key().public_bytes_raw().hex())
