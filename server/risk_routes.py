"""Where risk stands, the operator's pause and the kill switch."""

from typing import Annotated

from fastapi import APIRouter, Query

from dispatch import risk
from server.desk import Desk
from server.live_routes import WRONG
from server.live_schemas import HeartRate, RiskEvent, RiskState, Switch
from server.section import Section


def risk_section(desk: Desk) -> Section:
    """The limits, seen and switched."""
    router = APIRouter(prefix="/v1/risk", tags=["risk"])

    def standing(recorded: bool = True) -> RiskState:
        return RiskState(**desk.risk.state(desk.now()), recorded=recorded)

    @router.get("/state")
    def state() -> RiskState:
        """Limits, the session's gain and drawdown, and whether anything is halted."""
        return standing()

    @router.get("/events", responses=WRONG)
    def events(count: Annotated[int, Query(ge=1, le=1000, description="How many.")] = 100) -> list[RiskEvent]:
        """What happened to the limits, newest first."""
        return [RiskEvent(**event) for event in risk.events(desk.audit, count)]

    @router.post("/pause", responses=WRONG)
    def pause(switch: Switch) -> RiskState:
        """Rest until let go again; orders already with the market are still looked after."""
        return standing(desk.note([desk.risk.switch(risk.PAUSE, switch.on, switch.reason, desk.now())]))

    @router.post("/kill", responses=WRONG)
    def kill(switch: Switch) -> RiskState:
        """Rest, and send nothing to any market, until let go again."""
        return standing(desk.note([desk.risk.switch(risk.KILL, switch.on, switch.reason, desk.now())]))

    @router.post("/hrv", responses=WRONG)
    def heart_rate(measured: HeartRate) -> RiskState:
        """Pause if the operator's heart-rate variability says that they are exhausted; it never lets go by itself."""
        return standing(desk.note(desk.risk.heart_rate(measured.variability_ms, measured.usual_ms, desk.now())))

    return Section(router)
