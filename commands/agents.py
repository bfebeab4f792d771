"""`python main.py launch|plan|coordination|compute|grid`: the agents that plan a cluster's jobs."""

import asyncio
import json
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from commands.failure import told

JOBS_VARIABLE: Final = "COMPUTE_AGENT_JOBS_PATH"
INTERRUPTED: Final = 130

Port = Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")]
Data = Annotated[
    Path | None, typer.Option(help="Folder with the grid table gb_halfhourly.parquet; a synthetic one if not given.")
]
Horizon = Annotated[float, typer.Option(help="How far to plan: half-hours up to 168 h.")]
Jobs = Annotated[Path | None, typer.Option(envvar=JOBS_VARIABLE, help="JSON file of jobs to begin with.")]


def launch(
    horizon_hours: Horizon = 24.0,
    port: Annotated[
        int, typer.Option(min=0, max=65533, help="Of the coordination agent; compute and grid take the next two.")
    ] = 9001,
    data: Data = None,
    jobs: Annotated[
        Path | None, typer.Option(envvar=JOBS_VARIABLE, help="JSON file of jobs; the sample day if not given.")
    ] = None,
    stay: Annotated[bool, typer.Option("--stay", help="Go on serving after the plan is printed.")] = False,
) -> None:
    """Start all three agents, hand them the jobs, plan once and print the plan as JSON; the log goes to stderr."""
    from data.jobs import load_jobs
    from data.workloads import SAMPLE
    from server.a2a import launch as agents
    from server.caco.agent import Unreachable

    with told(ValueError, OSError, Unreachable):
        specs = load_jobs(jobs or SAMPLE, agents.POWER_LIMIT_KW)
        answer = _finished(
            agents.launch(port, data, specs, horizon_hours, stay), interrupted=0 if stay else INTERRUPTED
        )
    _print(answer)


def plan(
    horizon_hours: Horizon = 24.0,
    begin: Annotated[
        str | None, typer.Option("--from", help="ISO 8601 with a time zone; the next half-hour if not given.")
    ] = None,
    coordination_url: Annotated[
        str, typer.Option(envvar="COORDINATION_AGENT_URL", help="Where the coordination agent answers.")
    ] = "http://127.0.0.1:9001",
) -> None:
    """Ask a running coordination agent to plan, and print the plan as JSON."""
    from server.a2a.client import ask
    from server.caco.agent import Unreachable

    command = {"command": "run_caco_planning", "horizon_hours": horizon_hours} | ({"from": begin} if begin else {})
    with told(Unreachable):
        _print(_finished(ask(coordination_url, json.dumps(command)), interrupted=INTERRUPTED))


def coordination(
    port: Port = 9001,
    compute_url: Annotated[
        str, typer.Option(envvar="COMPUTE_AGENT_URL", help="Where the compute agent answers.")
    ] = "http://127.0.0.1:9002",
    grid_url: Annotated[
        str, typer.Option(envvar="GRID_AGENT_URL", help="Where the grid agent answers.")
    ] = "http://127.0.0.1:9003",
) -> None:
    """Run the coordination agent until Ctrl-C."""
    from server.a2a import launch as agents

    with told(ValueError, OSError):
        _finished(agents.run(agents.coordination_agent(compute_url, grid_url), port), interrupted=0)


def compute(port: Port = 9002, jobs: Jobs = None) -> None:
    """Run the compute agent until Ctrl-C."""
    from server.a2a import launch as agents

    with told(ValueError, OSError):
        _finished(agents.run(agents.compute_agent(jobs), port), interrupted=0)


def grid(port: Port = 9003, data: Data = None) -> None:
    """Run the grid agent until Ctrl-C."""
    from server.a2a import launch as agents

    with told(ValueError, OSError):
        _finished(agents.run(agents.grid_agent(data), port), interrupted=0)


def _print(answer: str) -> NoReturn:
    """Print an agent's answer; exit status 1 if it is an error."""
    typer.echo(answer)
    raise typer.Exit(0 if json.loads(answer)["status"] == "success" else 1)


def _finished(work: Coroutine[Any, Any, Any], interrupted: int) -> Any:
    """The result of work that Ctrl-C and a termination signal end cleanly, with exit status `interrupted`."""
    from server.a2a.serving import end_on_terminate

    async def until_terminated() -> Any:
        end_on_terminate()
        return await work

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for library in ("httpx", "uvicorn", "a2a"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        return asyncio.run(until_terminated())
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(interrupted) from None
