"""The agents as processes: one of them by itself, or all three, jobs in, and one plan out."""

import asyncio
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from data.jobs import JobSpec, load_jobs
from data.load import load
from data.synthetic import generate
from forecasting.grid_forecast import GridForecaster
from server.a2a.app import create_app
from server.a2a.client import ask
from server.a2a.serving import serving
from server.address import listen, url_of
from server.caco.agent import Agent
from server.caco.answers import Ingested
from server.caco.commands import IngestJobs
from server.caco.compute import ComputeAgent
from server.caco.coordination import CoordinationAgent, Peer
from server.caco.grid import GridAgent
from server.caco.half_hours import coming

logger = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"
POWER_LIMIT_KW: Final = 12_000.0
SYNTHETIC: Final = ("2024-01-01", "2032-01-01")  # fixed: another span would be another market
BATCH: Final = 500  # jobs in a message


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


def compute_agent(jobs: Path | None) -> ComputeAgent:
    """Knows the jobs of a file, or none.

    Raises:
        OSError: There is no such file.
        ValueError: It holds no valid jobs.
    """
    known = [] if jobs is None else load_jobs(jobs, POWER_LIMIT_KW)
    return ComputeAgent(POWER_LIMIT_KW, known)


def grid_agent(data: Path | None) -> GridAgent:
    """Forecasts from the grid table in a folder, or from the synthetic one.

    Raises:
        FileNotFoundError: The folder holds no table.
        ValueError: The table breaks the schema.
    """
    table = generate(*SYNTHETIC) if data is None else load(data)
    return GridAgent(GridForecaster(table), now)


def coordination_agent(compute_url: str, grid_url: str) -> CoordinationAgent:
    """Asks the other two over A2A."""
    return CoordinationAgent(Peer("compute", partial(ask, compute_url)), Peer("grid", partial(ask, grid_url)), now)


async def run(agent: Agent, port: int) -> None:
    """Serve one agent until interrupted.

    Raises:
        OSError: The port cannot be had.
    """
    listening = listen(HOST, port)
    async with serving((create_app(agent, url_of(listening)), listening)):
        logger.info("%s agent: %s   stop: Ctrl-C", agent.name, url_of(listening))
        await asyncio.Event().wait()


async def launch(port: int, data: Path | None, jobs: Sequence[JobSpec], horizon_hours: float, stay: bool) -> str:
    """Serve all three agents, hand them the jobs and plan once, everything over A2A.

    Args:
        port: Of the coordination agent; compute and grid take the next two. 0 takes any three that are free.
        data: Folder of a grid table; None for the synthetic one.
        jobs: What to plan.
        horizon_hours: How far.
        stay: Print the plan and go on serving until interrupted.

    Returns:
        The planning answer.

    Raises:
        FileNotFoundError: The folder holds no table.
        OSError: A port cannot be had.
        ValueError: The table breaks the schema.
        server.caco.agent.Unreachable: An agent does not answer.
    """
    ports = (0, 0, 0) if port == 0 else range(port, port + 3)
    sockets = [listen(HOST, each) for each in ports]
    coordination_url, compute_url, grid_url = (url_of(listening) for listening in sockets)
    agents = coordination_agent(compute_url, grid_url), compute_agent(None), grid_agent(data)
    sites = list(zip(agents, sockets, strict=True))
    async with serving(*((create_app(agent, url_of(listening)), listening) for agent, listening in sites)):
        for agent, listening in sites:
            logger.info("%s agent: %s", agent.name, url_of(listening))
        await _ingest(compute_url, jobs)
        start = first_instant(jobs, now()).isoformat()
        command = {"command": "run_caco_planning", "from": start, "horizon_hours": horizon_hours}
        answer = await ask(coordination_url, json.dumps(command))
        if stay:
            print(answer, flush=True)
            logger.info("serving until Ctrl-C")
            await asyncio.Event().wait()
    return answer


def first_instant(jobs: Sequence[JobSpec], at: datetime) -> datetime:
    """Where a plan begins: with the next half-hour if a job is at hand, else with the first that arrives.

    So a file of a day that is over, such as the sample, is planned as that day was.
    """
    arrivals = [job.arrival_time for job in jobs]
    at_hand = any(job.arrival_time <= at < job.deadline for job in jobs)
    later = [arrival for arrival in arrivals if arrival > at]
    return coming(at) if at_hand or not jobs else min(later or arrivals)


async def _ingest(url: str, jobs: Sequence[JobSpec]) -> None:
    for first in range(0, len(jobs), BATCH):
        command = IngestJobs(jobs=list(jobs[first : first + BATCH]))
        answer = await ask(url, command.model_dump_json(by_alias=True))
        logger.info("%d jobs are known", Ingested.model_validate_json(answer).tracked_jobs)
