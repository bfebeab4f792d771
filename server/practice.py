"""What a process that decides does before it calls itself ready: it decides once, for practice.

The first decision loads compiled functions, calendars and the like. On a busy machine it takes longer than a decision
may: its process would be ended for being late, and the next one be as late again.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from data.calendar import PERIOD
from dispatch.ladder import Proposal
from models.battery import Battery
from server.bundle import Bundle
from server.market_view import HISTORY_PERIODS, MOST_PUBLISHED_AHEAD, NAMES, Published
from server.minds import Case, bundled_mind, bundled_planner

logger = logging.getLogger(__name__)

NOON: Final = pd.Timestamp("2024-01-03T12:00Z")  # of an ordinary day
PLAIN: Final = 50.0  # plausible for every series


def case(battery: Battery) -> Case:
    """A half-full battery in a market where nothing ever changes."""
    plain = dict.fromkeys(NAMES, np.full(HISTORY_PERIODS + MOST_PUBLISHED_AHEAD, PLAIN))
    known = Published(NOON - HISTORY_PERIODS * PERIOD, plain, HISTORY_PERIODS, [], [])
    half_kwh = 0.5 * (battery.min_fraction + battery.max_fraction) * battery.capacity_kwh
    return Case(NOON, half_kwh, known)


def practised(propose: Callable[[Case], Proposal], battery: Battery) -> Callable[[Case], Proposal]:
    """The same, once it has been asked; a failure is for the ladder to deal with when it is asked in earnest."""
    try:
        propose(case(battery))
    except Exception:
        logger.exception("the decision for practice failed")
    return propose


def policy(folder: Path) -> Callable[[Case], Proposal]:
    """How a bundle's policy answers; see `server.bundle.Bundle` for what is raised."""
    return practised(bundled_mind(folder).propose, Bundle.read(folder).site.battery)


def planner(folder: Path) -> Callable[[Case], Proposal]:
    """How the planner for the battery of a bundle answers; see `server.bundle.Bundle` for what is raised."""
    return practised(bundled_planner(folder), Bundle.read(folder).site.battery)
