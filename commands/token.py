"""`python main.py token`: API tokens."""

from typing import Annotated

import typer

from server.tokens import Right, new_token

app = typer.Typer(help="API tokens of the dispatcher.", no_args_is_help=True)


@app.command()
def new(
    name: Annotated[str, typer.Option(help="Who will use it; the log shows this name.")],
    scope: Annotated[list[Right], typer.Option(help="What it allows; give the option again for more.")],
) -> None:
    """Make a token: the first line is secret and for the caller, the second goes into the list GRIDPILOT_TOKENS."""
    secret, token = new_token(name, tuple(scope))
    typer.echo(secret)
    typer.echo(token.model_dump_json())
