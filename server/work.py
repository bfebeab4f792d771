"""The jobs themselves: each does with its parts what a person would otherwise do by hand."""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import pandas as pd
import sqlalchemy as sa

from data.clients.endpoints import Endpoints
from dispatch.audit import Audit
from dispatch.execution import Execution
from dispatch.orders import OPEN, order_table
from dispatch.readings import FRESH
from dispatch.store import Store
from server.desk import Desk
from server.health import Part, Status
from server.jobs import Job
from server.live_market import LiveMarket

LEAST_FREE_BYTES: Final = 500_000_000
OLD_MARKET_H: Final = 3.0  # prices come half an hour to an hour after their half-hour
UNANSWERED_FOR: Final = timedelta(minutes=2)
NO_MARKET: Final = "nothing is sent to a market; operation.sends_orders=true sends each step"
NOBODY_SIGNS: Final = "set GRIDPILOT_AUDIT_KEY; python main.py audit key makes one"


def follow_data(folder: Path | None, first: date | None, every: timedelta, urls: Endpoints) -> Job:
    """Fetch what the sources have published since."""
    about = "Fetch the newest published grid data, and what was restated."
    if folder is None or first is None:
        return Job("data", about, every, None, "set operation.data_folder and operation.data_first")

    def work() -> str:
        from data.download import update  # brings every client, which a service that follows nothing need not load
        from data.sources import ZONE

        done = asyncio.run(update(folder, first, datetime.now(ZONE).date() + timedelta(days=1), urls))
        if done.failed:
            raise RuntimeError(f"{len(done.failed)} of {done.fetched} parts failed, the first: {done.failed[0]}")
        return f"{done.fetched} parts fetched, {sum(done.restated.values())} values restated"

    return Job("data", about, every, work)


def sign_audit(audit: Audit, every: timedelta, signs: bool) -> Job:
    """Sign the audit log as it stands."""
    about = "Sign a checkpoint of the audit log."
    if not signs:
        return Job("checkpoint", about, every, None, NOBODY_SIGNS)

    def work() -> str:
        signed = audit.checkpoint(datetime.now(UTC))
        return "nothing new" if signed is None else f"{signed.size} entries signed, root {signed.root_hash[:16]}"

    return Job("checkpoint", about, every, work)


def plan_step(desk: Desk, live: LiveMarket | None, every: timedelta, sends: bool) -> Job:
    """Forecast and plan where nobody asks, so that the plan in force is never old."""
    about = "Forecast, decide and plan the current step on the newest reading and the followed table."
    if sends:
        return Job("plan", about, every, None, "the dispatch job plans every step as it decides it")
    if live is None:
        return Job("plan", about, every, None, "set operation.data_folder")

    def work() -> str:
        decision = desk.answer(None, live.view(pd.Timestamp(desk.now()))).decision
        return (
            f"{decision.power_kw:.1f} kW until {decision.end:%H:%M} UTC by {decision.rung}, {len(decision.plan)} steps"
        )

    return Job("plan", about, every, work)


def commit_step(execution: Execution | None, every: timedelta) -> Job:
    """Decide the current step and write its order down."""
    about = "Decide the current step on the newest reading and write its order down."
    if execution is None:
        return Job("dispatch", about, every, None, NO_MARKET)

    def work() -> str:
        order = execution.commit()
        return "decided already" if order is None else f"{order.client_order_id} written"

    return Job("dispatch", about, every, work)


def send_orders(execution: Execution | None, every: timedelta) -> Job:
    """Send, look up or give up orders to the market; first of all look up what it holds."""
    about = "Send due orders to the market."
    if execution is None:
        return Job("orders", about, every, None, NO_MARKET)
    reconciled = False

    def work() -> str:
        nonlocal reconciled
        if not reconciled:
            denied = execution.reconcile()
            reconciled = True
            return f"reconciled, {len(denied)} confirmed orders are not known at the market"
        return f"{len(execution.send())} orders dealt with"

    return Job("orders", about, every, work)


def store_part(store: Store, backlog: Callable[[], int]) -> Part:
    """Whether the database answers, takes what is written and has room."""
    store.check_there()
    with store.reading() as connection:
        connection.execute(sa.select(1))
        kind = connection.dialect.name
    if backlog():
        return Part(Status.DEGRADED, f"{backlog()} records wait for {kind}, which does not take them; the log says why")
    path = store.engine.url.database
    if kind != "sqlite" or not path:
        return Part(Status.OK, f"{kind} answers")
    free = shutil.disk_usage(Path(path).absolute().parent).free
    if free < LEAST_FREE_BYTES:
        return Part(Status.DEGRADED, f"only {free // 1_000_000} MB are free where the database is; make room")
    return Part(Status.OK, f"sqlite answers, {free // 1_000_000_000} GB free")


def telemetry_part(desk: Desk) -> Part:
    """Whether the site tells what it measures."""
    age_s = desk.ages_s().get("telemetry")
    if age_s is None:
        return Part(Status.OFF, "no reading was ever sent; orders may bring their own")
    if age_s > FRESH.total_seconds():
        return Part(Status.DEGRADED, f"the newest reading is {age_s / 60.0:.0f} min old; POST /v1/telemetry")
    return Part(Status.OK, f"the newest reading is {max(age_s, 0.0):.0f} s old")


def forecaster_part(live: LiveMarket | None, now: Callable[[], datetime]) -> Part:
    """Whether what forecasts are made from is recent."""
    if live is None:
        return Part(Status.OFF, "no table is followed; orders bring what the market published")
    hours = live.age_s(now()) / 3600.0
    if hours > OLD_MARKET_H:
        return Part(Status.DEGRADED, f"the newest price is {hours:.1f} h old; /v1/system/jobs says how fetching went")
    return Part(Status.OK, f"the newest price is {hours:.1f} h old")


def market_part(store: Store, execution: Execution | None) -> Part:
    """Whether the market answers what is sent to it."""
    if execution is None:
        return Part(Status.OFF, NO_MARKET)
    query = sa.select(sa.func.count(), sa.func.min(order_table.c.written_at)).where(order_table.c.state.in_(OPEN))
    with store.reading() as connection:
        count, oldest = connection.execute(query).one()
    if count and datetime.now(UTC) - oldest > UNANSWERED_FOR:
        return Part(Status.DEGRADED, f"{count} orders wait for an answer, the oldest since {oldest:%Y-%m-%d %H:%M} UTC")
    return Part(Status.OK, f"{count} orders under way")


def orders_by_state(store: Store) -> Callable[[], Mapping[str, float]]:
    """A reading for the metrics."""

    def read() -> dict[str, float]:
        query = sa.select(order_table.c.state, sa.func.count()).group_by(order_table.c.state)
        with store.reading() as connection:
            return {state: float(count) for state, count in connection.execute(query)}

    return read
