"""Plain rules for a queue of jobs: start at once, in one order or another, or wait for a clean or a cheap hour."""

import re
from collections.abc import Sequence
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from envs.fields import Field, FloatArray, position, positions
from envs.information import FORECAST_PREFIX
from envs.job_queue import JobQueueSystem
from envs.outlook import CARBON_FIELDS
from envs.single import SystemEnv

Signal = Literal["carbon", "price"]
FORECASTS: Final[dict[Signal, str]] = {
    "carbon": CARBON_FIELDS[1].name.removesuffix("00"),
    "price": FORECAST_PREFIX,
}
SLOT_POWER: Final = re.compile(r"slot_\d+_power_kw")
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
        return cls(len(queue_of(env).action_fields))

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Start all, shape (slots,)."""
        return self._action


class UrgencyPolicy:
    """Starts every job that fits, the one first whose lateness costs most for the power-hours that it takes.

    Apparent tardiness cost (Vepsalainen and Morton, "Priority Rules for Job Shops with Weighted Tardiness Costs",
    Management Science 33(8), 1987): the price of lateness over the work, fading with the slack that is left.
    """

    def __init__(self, fields: Sequence[Field], look_ahead: float = 2.0) -> None:
        """Set the rule.

        Args:
            fields: Observation layout of a job queue.
            look_ahead: Slack, in mean run times of the waiting jobs, in which a job's urgency falls to 1/e.

        Raises:
            ValueError: If the look-ahead is not a finite number above 0.
        """
        if not 0.0 < look_ahead < float("inf"):
            raise ValueError(f"look_ahead is {look_ahead}; give a finite number above 0")
        self._look_ahead = look_ahead
        self._slots = slot_positions(fields, "power_kw", "duration_h", "due_h", "sla_gbp_per_h")
        self._free = position(fields, "free_kw")

    @classmethod
    def for_env(cls, env: SystemEnv, look_ahead: float = 2.0) -> Self:
        """For a job queue's observation layout."""
        return cls(queue_of(env).observation_fields, look_ahead)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Start what fits in the order of urgency, shape (slots,)."""
        power_kw, duration_h, due_h, sla = observation[self._slots]
        starts = np.zeros(power_kw.size, dtype=np.float32)
        jobs = np.flatnonzero(power_kw > 0.0)
        if not jobs.size:
            return starts
        fading_h = self._look_ahead * duration_h[jobs].mean()
        urgency = sla[jobs] / (power_kw[jobs] * duration_h[jobs]) * np.exp(-np.maximum(due_h[jobs], 0.0) / fading_h)
        free_kw = observation[self._free]
        for slot in jobs[np.argsort(-urgency, kind="stable")]:
            if power_kw[slot] <= free_kw:
                starts[slot] = 1.0
                free_kw -= power_kw[slot]
        return starts


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
        system = queue_of(env)
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

    def __init__(self, savings: NDArray[np.intp]) -> None:
        """Take where each slot's saving from waiting stands in an observation, shape (slots,)."""
        self._savings = savings

    @classmethod
    def for_env(cls, env: SystemEnv) -> Self:
        """For a job queue's observation layout."""
        return cls(slot_positions(queue_of(env).observation_fields, "saving_gbp")[0])

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Start the jobs that waiting would not make cheaper, shape (slots,)."""
        return (observation[self._savings] <= ROUNDING_GBP).astype(np.float32)


def queue_of(env: SystemEnv) -> JobQueueSystem:
    """The system of a job queue.

    Raises:
        ValueError: If the environment is not a job queue.
    """
    if not isinstance(env.system, JobQueueSystem):
        raise ValueError(f"this rule starts jobs of a JobQueueSystem, not of a {type(env.system).__name__}")
    return env.system


def slot_positions(fields: Sequence[Field], *quantities: str) -> NDArray[np.intp]:
    """Where the quantities of each slot stand in an observation, shape (quantities, slots)."""
    slots = [field.name.removesuffix("_power_kw") for field in fields if SLOT_POWER.fullmatch(field.name)]
    return np.array([[position(fields, f"{slot}_{name}") for slot in slots] for name in quantities], dtype=np.intp)
