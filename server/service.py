"""The dispatcher as an operator runs it: with a store, jobs, health and metrics around it."""

import logging
import math
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import pandas as pd
from fastapi import FastAPI

from data.clients.endpoints import Endpoints
from dispatch.audit import Audit
from dispatch.execution import Commitment, Execution
from dispatch.exposure import Limits
from dispatch.offering import Offering
from dispatch.orders import Market
from dispatch.risk import KILL, switched_on
from dispatch.store import Store
from server.app import Edge, create_app
from server.clock import Clock
from server.desk import Desk
from server.dispatcher import Dispatcher
from server.health import Part, Parts, Status, clock_part, jobs_part
from server.jobs import Job, Jobs
from server.live_market import LiveMarket
from server.live_routes import live_section
from server.metrics import Metrics
from server.orders import orders_section
from server.risk_routes import risk_section
from server.settings import Settings
from server.system import system_section
from server.tracing import TracedDesk, collected_at, trace
from server.trades import trades_section
from server.work import (
    commit_step,
    follow_data,
    forecaster_part,
    market_part,
    orders_by_state,
    plan_step,
    send_orders,
    sign_audit,
    store_part,
    telemetry_part,
)

logger = logging.getLogger(__name__)


class Operation(NamedTuple):
    """How the service is run.

    Attributes:
        requests_per_second: From one address.
        health_every_s: How often its parts are looked at.
        orders_every_s: How often due orders are sent.
        checkpoint_every_s: How often the audit log is signed.
        data_folder: Of the grid table that is kept up to date; nothing is fetched without it.
        data_first: First settlement date of that table, YYYY-MM-DD.
        data_every_s: How often something new is looked for.
        plan_every_s: How often the current step is planned anew where no orders are sent.
        sends_orders: Whether each step is decided here and sent to the market gateway that the environment names.
        offering: What is offered there beside the battery.
        risk: What is allowed.
    """

    requests_per_second: float = 200.0
    health_every_s: float = 15.0
    orders_every_s: float = 1.0
    checkpoint_every_s: float = 3600.0
    data_folder: str | None = None
    data_first: str | None = None
    data_every_s: float = 300.0
    plan_every_s: float = 60.0
    sends_orders: bool = False
    offering: Offering = Offering()
    risk: Limits = Limits()


EVERY: Final = (*(name for name in Operation._fields if name.endswith("_s")), "requests_per_second")


def positive(name: str, value: object) -> float:
    """A setting that counts seconds or requests.

    Raises:
        ValueError: It is no finite number above 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}; a finite number above 0 is needed")
    return float(value)


def create_service(
    dispatcher: Dispatcher, store: Store, settings: Settings, operation: Operation, market: Market | None = None
) -> FastAPI:
    """Put everything together.

    Args:
        dispatcher: What decides.
        store: What is kept.
        settings: Secrets and addresses.
        operation: How it is run.
        market: Where set-points are sent, if they are; each step is then decided here, on the newest reading and
            the table in `operation.data_folder`.

    Raises:
        ValueError: A setting does not fit.
    """
    for name in EVERY:
        positive(f"operation.{name}", getattr(operation, name))
    metrics, clock = Metrics(), Clock()
    audit = Audit(store, settings.signing_key)
    endpoint = settings.otlp_endpoint
    traces = None if endpoint is None else collected_at(str(endpoint))
    given = dispatcher, store, operation.risk
    desk = Desk(*given) if traces is None else TracedDesk(traces, *given)
    live = None if operation.data_folder is None else LiveMarket(Path(operation.data_folder))
    execution = None if market is None else _execution(desk, dispatcher, store, market, live)
    metrics.read("gridpilot_orders", "Orders to the market.", "state", orders_by_state(store))
    metrics.read("gridpilot_age_seconds", "Since the newest of it.", "of", partial(_ages_s, desk, live))
    parts = Parts(
        {
            "store": partial(store_part, store, lambda: desk.backlog),
            "policy": partial(_policy_part, dispatcher, metrics),
            "telemetry": partial(telemetry_part, desk),
            "forecaster": partial(forecaster_part, live, desk.now),
            "market": partial(market_part, store, execution),
            "jobs": lambda: jobs_part(jobs),
            "clock": partial(clock_part, clock),
        }
    )
    plan = plan_step(desk, live, timedelta(seconds=operation.plan_every_s), sends=execution is not None)
    jobs = Jobs([*_jobs(operation, audit, settings, execution), plan, _look(parts, operation)], clock)
    edge = Edge(settings.tokens, any_host=False, requests_per_second=operation.requests_per_second)
    sections = [
        live_section(desk),
        risk_section(desk),
        orders_section(store),
        trades_section(store),
        system_section(parts, jobs),
    ]
    app = create_app(desk, sections, edge, metrics)
    if traces is not None:
        trace(app, traces)
    return app


def _jobs(operation: Operation, audit: Audit, settings: Settings, execution: Execution | None) -> list[Job]:
    folder = None if operation.data_folder is None else Path(operation.data_folder)
    first = _first(operation.data_first)
    return [
        follow_data(folder, first, timedelta(seconds=operation.data_every_s), Endpoints.from_environment()),
        commit_step(execution, timedelta(seconds=operation.orders_every_s)),
        send_orders(execution, timedelta(seconds=operation.orders_every_s)),
        sign_audit(audit, timedelta(seconds=operation.checkpoint_every_s), settings.audit_key is not None),
    ]


def _first(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(str(text))
    except ValueError:
        raise ValueError(f"operation.data_first is {text!r}; give a settlement date, such as 2024-01-31") from None


def _execution(desk: Desk, dispatcher: Dispatcher, store: Store, market: Market, live: LiveMarket | None) -> Execution:

    def propose(start: datetime) -> Commitment:
        try:
            return desk.propose(None if live is None else live.view(pd.Timestamp(start)))
        except (OSError, ValueError) as error:  # the ladder knows what to do without a market
            logger.error("the market table cannot be decided on: %s", error)
            return desk.propose(None)

    def start_of(instant: datetime) -> datetime:
        start: datetime = dispatcher.step_of(instant).to_pydatetime()
        return start

    def killed() -> str:
        return desk.risk.killed or switched_on(desk.audit, KILL)  # another process on this database may have thrown it

    return Execution(store, desk.audit, market, start_of, propose, killed, desk.now)


def _ages_s(desk: Desk, live: LiveMarket | None) -> dict[str, float]:
    return desk.ages_s() if live is None else {**desk.ages_s(), "market": live.age_s(desk.now())}


def _look(parts: Parts, operation: Operation) -> Job:
    return Job("health", "Look at every part of the service.", timedelta(seconds=operation.health_every_s), parts.look)


def _policy_part(dispatcher: Dispatcher, metrics: Metrics) -> Part:
    name = f"{dispatcher.policy_name.name} ({dispatcher.policy_name.kind})"
    best = dispatcher.rungs[0].name
    if metrics.last_rung not in (None, best):
        return Part(Status.DEGRADED, f"the last decision came from {metrics.last_rung}, not from {name}; see its steps")
    return Part(Status.OK, name)
