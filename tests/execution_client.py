"""The loop of `dispatch.execution`, to be killed: telemetry, decision, risk, journal, market over HTTP."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from dispatch import decisions
from dispatch.execution import Commitment, Execution
from dispatch.exposure import Limits
from dispatch.store import Store
from models.battery import Battery
from models.settlement import Adders
from server.bundle import PolicyName, Site
from server.desk import Desk
from server.dispatcher import Dispatcher
from server.minds import by_rule, continued
from server.schemas import DispatchOrder, example

BEGIN = datetime(2024, 1, 3, 12, 0, tzinfo=UTC)
HALF = timedelta(minutes=30)
VIEWS = example()["market"]


class Http:
    """A market over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url

    def submit(self, client_order_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        body = json.dumps(dict(payload)).encode()
        request = urllib.request.Request(f"{self._url}/{client_order_id}", body, method="PUT")
        return json.load(urllib.request.urlopen(request, timeout=5))

    def find(self, client_order_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        try:
            return json.load(urllib.request.urlopen(f"{self._url}/{client_order_id}", timeout=5))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise


def fails(question: object) -> Any:
    raise ArithmeticError("no plan")


def run(market_url: str, database_url: str, said: Connection) -> None:
    """Decide and send step after step until killed; says `ready`, then each step that is committed."""
    store = Store(database_url)
    steps = len(list(decisions.since(store, BEGIN)))
    now = BEGIN + (steps - 1) * HALF  # time stood still while nobody was alive: the step last decided is not over
    site = Site(Battery(), Adders())
    rule: Callable[..., Any] = partial(by_rule, site)
    dispatcher = Dispatcher(site, PolicyName("rule", "rule", "0"), rule, fails, partial(continued, site))
    desk = Desk(dispatcher, store, Limits(drawdown_gbp=1e9, exposure_gbp=1e9), lambda: now)

    def propose(start: datetime) -> Commitment:
        market = {**VIEWS, "start": (start - timedelta(days=2)).isoformat()}
        return desk.propose(DispatchOrder.model_validate({"market": market}).to_domain()[1])

    def start_of(instant: datetime) -> datetime:
        start: datetime = dispatcher.step_of(instant).to_pydatetime()
        return start

    execution = Execution(store, desk.audit, Http(market_url), start_of, propose, lambda: desk.risk.killed, desk.now)
    execution.reconcile()
    last = now
    for minutes in (1, 2, 3):  # what was cut off while it was sent is due again by then, and its step not over
        now = last + timedelta(minutes=minutes)
        execution.send()
    now = last
    said.send("ready")
    while True:
        now += HALF
        desk.measured(now, 0.2 + 0.6 * (now.hour % 2), None)
        execution.commit()
        said.send(now.isoformat())
        execution.send()
