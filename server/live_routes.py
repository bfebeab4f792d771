"""Telemetry in; the plan in force and signals out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter, HTTPException

from dispatch.readings import Disorder
from server.desk import Desk
from server.live_schemas import Measured, Plan, Receipt, Signal
from server.schemas import DispatchOrder, Problem, Refusal
from server.section import Section

CONFLICT: Final[dict[int | str, dict[str, Any]]] = {
    409: {"model": Refusal, "description": "The reading contradicts what is stored, or the clock."}
}
NONE_YET: Final[dict[int | str, dict[str, Any]]] = {404: {"model": Refusal, "description": "Nothing was decided yet."}}
WRONG: Final[dict[int | str, dict[str, Any]]] = {
    422: {"model": Refusal, "description": "Every problem says what to do."}
}


def live_section(desk: Desk) -> Section:
    """What the service keeps; writes what waits when the server stops."""
    router = APIRouter(prefix="/v1", tags=["dispatch"])

    @router.post("/telemetry", responses={**CONFLICT, **WRONG})
    def measure(reading: Measured) -> Receipt:
        """Keep what the site measures. The same reading again changes nothing; an older one is refused."""
        try:
            taken = desk.measured(reading.timestamp, reading.charge_fraction, reading.power_kw)
        except Disorder as error:
            raise HTTPException(409, [Problem(field="timestamp", message=str(error)).model_dump()]) from error
        except ValueError as error:
            raise HTTPException(422, [Problem(field="power_kw", message=str(error)).model_dump()]) from error
        return Receipt.from_domain(taken)

    @router.get("/plan", responses=NONE_YET)
    def plan() -> Plan:
        """The decision last made, on which rung, and how old it is."""
        latest = desk.latest()
        if latest is None:
            message = "nothing was decided yet; ask for a decision: POST /v1/dispatch"
            raise HTTPException(404, [Problem(field="plan", message=message).model_dump()])
        return Plan.from_domain(*latest, desk.now())

    @router.post("/signals", responses=WRONG)
    def signal(order: DispatchOrder) -> Signal:
        """What would be decided, how sure that is and why; audited, but not put in force."""
        try:
            return Signal.from_domain(desk.signal(*order.to_domain()), desk.policy_name)
        except ValueError as error:
            raise HTTPException(422, [Problem(field="market", message=str(error)).model_dump()]) from error

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        yield
        desk.close()

    return Section(router, running)
