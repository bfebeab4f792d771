"""The grid agent: forecasts carbon intensity and prices."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import ClassVar

from data.schema import HALF_HOUR
from forecasting.grid_forecast import GridForecaster
from server.caco.agent import Agent, Refused, Skill
from server.caco.answers import GridForecast, GridHalfHours
from server.caco.commands import GetGridForecast
from server.caco.half_hours import begun, touched


class GridAgent(Agent):
    """Forecasts with what was published when a window begins, or by now if that comes first."""

    name: ClassVar = "grid"
    description: ClassVar = "Forecasts carbon intensity and system buy and sell prices of the GB grid by half-hour."

    def __init__(self, forecaster: GridForecaster, clock: Callable[[], datetime]) -> None:
        """Put the parts together.

        Args:
            forecaster: Of the grid.
            clock: Tells the time, UTC.
        """
        self._forecaster, self._clock = forecaster, clock

    @property
    def skills(self) -> tuple[Skill, ...]:
        """Every command it knows."""
        return (Skill(GetGridForecast, self.forecast),)

    async def forecast(self, command: GetGridForecast) -> GridForecast:
        """Forecast the half-hours that a window touches.

        Raises:
            Refused: The grid table does not reach there.
        """
        start, periods = touched(command.start, command.end)
        issued_at = min(begun(self._clock()), start)
        try:
            prices, carbon = await asyncio.to_thread(self._forecaster.forecast, issued_at, start, periods)
        except ValueError as error:
            raise Refused(str(error)) from error
        window = GridHalfHours(**{"from": start, "to": start + periods * HALF_HOUR, "region": command.region})
        return GridForecast(window=window, issued_at=issued_at, carbon=carbon, prices=prices)
