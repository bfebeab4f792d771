"""Ways to decide a step of a battery: by the bundle's policy, by a plan on its forecast, by thresholds, not at all.

The first two load libraries that may fail or hang, so a live dispatcher asks them in processes of their own; the
others are arithmetic on published prices.
"""

from math import isfinite
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from baselines.water_value import cheapest_kw
from data.calendar import PERIOD
from data.schema import PERIOD_H, PERIOD_MINUTES
from dispatch.ladder import Proposal, Skipped
from envs.battery import HORIZON_H, write_observation
from envs.fields import positions
from envs.information import FIELDS, FORECAST_PERIODS, FORECAST_PREFIX, information
from evaluation.policy import Policy
from forecasting.forecast import Forecaster
from models.battery import asked_kw
from server.bundle import Bundle, Site
from server.market_view import Published

DAY_AHEAD: Final = "day_ahead_price_gbp_per_mwh"
HOUR: Final = pd.Timedelta(hours=1)


class Case(NamedTuple):
    """What is to be decided and what is known of it.

    Attributes:
        start: Start of the step, UTC: of a settlement period, or a quarter of an hour into it.
        energy_kwh: Stored energy now; NaN where it is not known.
        known: What is published; None where there is no market view.
        doubts: Why the market cannot be forecast, empty if it can.
        unknown: Why the stored energy is not known, empty if it is.
    """

    start: pd.Timestamp
    energy_kwh: float
    known: Published | None
    doubts: str = ""
    unknown: str = ""


class Remainder(NamedTuple):
    """What is left to plan once a set-point stands: prices from the next step on and the energy it starts with.

    Attributes:
        energy_kwh: Stored when the set-point has been held.
        prices: Expected, GBP/MWh, shape (FORECAST_PERIODS,).
        end_value: Of a stored MWh at the end, GBP.
        first_h: Length of the first step.
    """

    energy_kwh: float
    prices: NDArray[np.float64]
    end_value: float
    first_h: float


class Mind:
    """A policy that is shown what simulation would show it."""

    def __init__(self, site: Site, forecaster: Forecaster, policy: Policy) -> None:
        """Put the parts together."""
        self._site, self._forecaster, self._policy = site, forecaster, policy
        self._forecast = positions(site.observation_fields, FORECAST_PREFIX)

    def propose(self, case: Case) -> Proposal:
        """Ask the policy.

        The observation is the simulation's: `envs.information` on what is published, then the battery's own fields,
        with a day left as always in an endless operation.

        Raises:
            Exception: Whatever the policy or the forecaster raises.
        """
        known = case.known
        assert known is not None
        battery, minute = self._site.battery, case.start.minute % PERIOD_MINUTES
        shown = information(known.table(), self._forecaster, minute, slice(known.row, known.row + 1))[0]
        observation = np.empty(len(self._site.observation_fields), dtype=np.float32)
        write_observation(battery, case.energy_kwh, HORIZON_H, int(minute > 0), shown, observation)
        power_kw = asked_kw(battery, float(self._policy.act(observation)[0]))
        return Proposal(power_kw, tuple(observation[self._forecast].astype(np.float64).tolist()))


class Planner:
    """The battery's linear program on the bundle's forecast."""

    def __init__(self, site: Site, forecaster: Forecaster) -> None:
        """Compile the program."""
        from baselines.mpc import MpcPolicy  # brings the solvers, which only this process needs

        self._policy = MpcPolicy(site.battery, site.adders, site.observation_fields)
        self._mind = Mind(site, forecaster, self._policy)

    def __call__(self, case: Case) -> Proposal:
        """Propose a set-point.

        Raises:
            ArithmeticError: No solver found a plan.
            ValueError: A number is not finite.
        """
        answer = self._mind.propose(case)
        if not self._policy.planner.solved:
            raise ArithmeticError("no solver found a plan")
        return answer


def bundled_mind(folder: Path) -> Mind:
    """The policy of a bundle; see `server.bundle.Bundle` for what is raised."""
    bundle = Bundle.read(folder)
    policy = bundle.policy()
    return Mind(bundle.site, bundle.forecaster(), policy)


def bundled_planner(folder: Path) -> Planner:
    """The planner for the battery of a bundle; see `server.bundle.Bundle` for what is raised."""
    bundle = Bundle.read(folder)
    return Planner(bundle.site, bundle.forecaster())


def by_rule(site: Site, case: Case) -> Proposal:
    """Charge where the published day-ahead prices are low against the day ahead, discharge where they are high.

    Raises:
        Skipped: The charge is not known, or the period has no published price.
    """
    from baselines.rule import RulePolicy

    if case.unknown:
        raise Skipped(case.unknown)
    if case.known is None:
        raise Skipped(case.doubts)
    prices, row = case.known.columns[DAY_AHEAD], case.known.row
    ahead = prices[row : row + FORECAST_PERIODS]
    before = prices[row - FORECAST_PERIODS : row]
    ahead = np.where(np.isnan(ahead), before, ahead)  # not published yet: the same half-hour of the day before
    if not isfinite(prices[row]) or np.isnan(ahead).any():
        raise Skipped("the day-ahead price of this period, or of one that its thresholds need, is missing")
    fields = [field for field in FIELDS if field.name.startswith(FORECAST_PREFIX)]
    share = float(RulePolicy(fields).act(ahead.astype(np.float32))[0])
    return Proposal(asked_kw(site.battery, share), tuple(ahead.tolist()))


def at_rest(case: Case) -> Proposal:
    """Ask for nothing: always possible."""
    return Proposal(0.0)


def continued(site: Site, rest: Remainder) -> NDArray[np.float64]:
    """The cheapest powers for a remainder, kW, shape (FORECAST_PERIODS,): arithmetic that cannot hang.

    Raises:
        ValueError: A number is not finite.
    """
    return cheapest_kw(site.battery, site.adders, *rest)


def rest_of(start: pd.Timestamp, energy_kwh: float, forecast: NDArray[np.float64], end_value: float) -> Remainder:
    """What is left to plan from an instant on.

    Args:
        start: End of the set-point.
        energy_kwh: Stored then.
        forecast: Of the period that holds the set-point and those after it, shape (FORECAST_PERIODS,).
        end_value: Of a stored MWh at the end, GBP.

    Returns:
        The remainder; where no part of the first period is left, its last price stands for after the forecast.
    """
    left_h = (-start.value % PERIOD.value) / HOUR.value
    # As long as the forecast: at the price of what stays in store the last period has nothing to gain.
    prices = forecast if left_h else np.append(forecast[1:], end_value)
    return Remainder(energy_kwh, prices, end_value, left_h or PERIOD_H)
