"""How a command ends that could not do what it was told."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

CANNOT = 2  # 1 says that something was examined and found wrong


@contextmanager
def told(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds into one line and exit status 2."""
    try:
        yield
    except kinds as error:
        typer.echo(f"error: {str(error).splitlines()[0]}", err=True)
        raise typer.Exit(CANNOT) from None
