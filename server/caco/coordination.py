"""The coordination agent: asks the other two, plans, keeps the newest plan and its offers."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import ClassVar, Final, NamedTuple, TypeVar

from pydantic import ValidationError

from baselines.greedy import schedule
from baselines.schedule import Weights
from server.caco.agent import Agent, Ask, Refused, Skill, Unreachable
from server.caco.answers import Answer, ErrorAnswer, FlexibilityProfile, GridForecast, GridHalfHours, LatestPlan, Plan
from server.caco.commands import Command, GetFlexibilityProfile, GetGridForecast, GetLatestPlan, RunCacoPlanning
from server.caco.half_hours import begun, coming

logger = logging.getLogger(__name__)

PATIENCE_S: Final = 30.0

A = TypeVar("A", bound=Answer)


class Peer(NamedTuple):
    """Another agent.

    Attributes:
        name: What it is called in messages.
        ask: Sends it a command and gives its answer; raises `Unreachable`.
    """

    name: str
    ask: Ask


class CoordinationAgent(Agent):
    """Plans with the greedy scheduler over what the other two know."""

    name: ClassVar = "coordination"
    description: ClassVar = (
        "Plans batch jobs by cost, carbon and lateness, and offers the power of those that could move."
    )

    def __init__(
        self, compute: Peer, grid: Peer, clock: Callable[[], datetime], patience_s: float = PATIENCE_S
    ) -> None:
        """Put the parts together.

        Args:
            compute: Knows the jobs.
            grid: Forecasts carbon intensity and prices.
            clock: Tells the time, UTC.
            patience_s: How long to wait for each of them.
        """
        self._compute, self._grid, self._clock, self._patience_s = compute, grid, clock, patience_s
        self._latest: LatestPlan | None = None

    @property
    def skills(self) -> tuple[Skill, ...]:
        """Every command it knows."""
        return Skill(RunCacoPlanning, self.plan), Skill(GetLatestPlan, self.latest)

    async def plan(self, command: RunCacoPlanning) -> Plan:
        """Plan anew: every job that the compute agent knows of the window and that fits into it whole.

        Raises:
            Refused: Another agent does not answer or refuses; the newest plan stays as it was.
        """
        start = coming(self._clock()) if command.start is None else begun(command.start)
        span = {"from": start, "to": start + timedelta(hours=command.horizon_hours)}
        profile = await self._asked(
            self._compute, GetFlexibilityProfile(**span, cluster_id=command.cluster_id), FlexibilityProfile
        )
        forecast = await self._asked(self._grid, GetGridForecast(**span, region=command.region), GridForecast)
        weights = Weights(**command.optimization.model_dump())
        try:
            found = await asyncio.to_thread(schedule, profile.jobs, forecast.prices, forecast.carbon, weights)
        except ValueError as error:
            raise Refused(f"no plan could be made: {error}") from error
        window = GridHalfHours(**span, region=command.region)
        plan = Plan(window=window, scheduled_jobs=found.scheduled_jobs, flex_offers=found.flex_offers)
        if found.unplaced:
            logger.warning("%d jobs do not fit into the plan: %s", len(found.unplaced), ", ".join(found.unplaced))
        self._latest = LatestPlan(**dict(plan), planned_at=self._clock(), unplaced_jobs=found.unplaced)
        return plan

    async def latest(self, command: GetLatestPlan) -> LatestPlan:
        """The newest plan.

        Raises:
            Refused: Nothing has been planned yet.
        """
        if self._latest is None:
            raise Refused("nothing has been planned yet; send run_caco_planning first")
        return self._latest

    async def _asked(self, peer: Peer, command: Command, expected: type[A]) -> A:
        try:
            async with asyncio.timeout(self._patience_s):
                text = await peer.ask(command.model_dump_json(by_alias=True))
        except TimeoutError:
            raise Refused(f"the {peer.name} agent did not answer within {self._patience_s:g} s; try again") from None
        except Unreachable as error:
            raise Refused(f"the {peer.name} agent cannot be reached: {error}") from error
        try:
            return expected.model_validate_json(text)
        except ValidationError as error:
            try:
                refusal = ErrorAnswer.model_validate_json(text)
            except ValidationError:
                raise Refused(f"the {peer.name} agent did not answer as agreed: {text[:100]!a}") from error
            raise Refused(f"the {peer.name} agent refused: {refusal.message}", refusal.problems) from error
