"""Plain rules for a queue of jobs: start at once, or wait for a clean or a cheap hour."""

from typing import Final, Literal, Self

import numpy as np

from envs.fields import FloatArray, positions
from envs.information import FORECAST_PREFIX
from envs.job_queue import JobQueueSystem
from envs.outlook import CARBON_FIELDS
from envs.single import SystemEnv

Signal = Literal["carbon", "price"]
FORECASTS: Final[dict[Signal, str]] = {
    "carbon": CARBON_FIELDS[1].name.removesuffix("00"),
    "price": FORECAST_PREFIX,
}
ROUNDING_GBP: Final = 1e-4  # equal windows differ by this at most


class AsapPolicy:
    """Starts every job that fits, the earliest due first, a smaller one past a larger that does not fit.

    Earliest due date first (Jackson, 1955) with backfilling (Lifka, "The ANL/IBM SP Scheduling System", JSSPP 1995).
    """

    def __init__(self, n_slots: int) -> None:
        self._action = np.ones(n_slots, dtype=np.float32)

    @classmethod
    def for_env(cls, env: SystemEnv) -> Self:
        """For a job queue's slots."""
        return cls(len(_queue_of(env).action_fields))

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Start all, shape (slots,)."""
        return self._action


class WaitPolicy:
    """Starts everything while the grid is clean or cheap, else only lets due jobs start.

    Clean means that the forecast for now is at or below a percentile of the next 24 hours: the threshold rule of
    Souza et al., "Ecovisor", ASPLOS 2023, here without suspending jobs and with each job's due time as the bound on
    waiting, as in Hanafy et al., "Going Green for Less Green" (GAIA), ASPLOS 2024.
    """

    def __init__(self, forecast: slice, n_slots: int, percentile: float = 30.0) -> None:
        """Set the threshold.

        Args:
            forecast: Where the forecast of the signal stands in an observation, the current period first.
            n_slots: Length of an action.
            percentile: Start at or below this percentile of the forecast.

        Raises:
            ValueError: If the percentile is not 0 to 100.
        """
        if not 0.0 <= percentile <= 100.0:
            raise ValueError(f"percentile is {percentile}; 0 to 100 is allowed")
        self._forecast, self._n_slots, self._percentile = forecast, n_slots, percentile

    @classmethod
    def for_env(cls, env: SystemEnv, signal: Signal = "carbon", percentile: float = 30.0) -> Self:
        """For a job queue's observation layout.

        Raises:
            ValueError: If the signal is unknown, or the environment is not a job queue.
        """
        if signal not in FORECASTS:
            raise ValueError(f"unknown signal {signal!r}; allowed are {sorted(FORECASTS)}")
        system = _queue_of(env)
        return cls(positions(system.observation_fields, FORECASTS[signal]), len(system.action_fields), percentile)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Start all or none, shape (slots,)."""
        forecast = observation[self._forecast]
        starts = forecast[0] <= np.percentile(forecast, self._percentile)
        return np.full(self._n_slots, starts, dtype=np.float32)


class LowestWindowPolicy:
    """Starts each job when no later window before it is due is forecast to be cheaper, price and carbon together.

    The lowest-window rule of Hanafy et al., "Going Green for Less Green" (GAIA), ASPLOS 2024, with the run time known.
    """

    def __init__(self, savings: list[int]) -> None:
        """Take where each slot's saving from waiting stands in an observation."""
        self._savings = savings

    @classmethod
    def for_env(cls, env: SystemEnv) -> Self:
        """For a job queue's observation layout."""
        fields = _queue_of(env).observation_fields
        return cls([i for i, f in enumerate(fields) if f.name.endswith("_saving_gbp")])

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Start the jobs that waiting would not make cheaper, shape (slots,)."""
        return (observation[self._savings] <= ROUNDING_GBP).astype(np.float32)


def _queue_of(env: SystemEnv) -> JobQueueSystem:
    if not isinstance(env.system, JobQueueSystem):
        raise ValueError(f"this rule starts jobs of a JobQueueSystem, not of a {type(env.system).__name__}")
    return env.system
