"""GridPilot's command line: `python main.py --help`."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # must be set before NumPy loads

import typer

from commands import agents, audit, orders, token
from commands.beckn import beckn

app = typer.Typer(help="Run and examine a GridPilot site.", no_args_is_help=True, pretty_exceptions_enable=False)
for command in (agents.launch, agents.plan, agents.coordination, agents.compute, agents.grid):
    app.command()(command)
app.add_typer(audit.app, name="audit")
app.add_typer(token.app, name="token")
app.add_typer(orders.app, name="orders")
app.command()(beckn)

if __name__ == "__main__":
    app()
