"""What a battery does when no solver finds a plan."""

import numpy as np
from numpy.typing import NDArray

from envs.information import FORECAST_PERIODS

Floats = NDArray[np.float64]


class StandIn:
    """The last plan found, gone on with: period after period, and at rest where it ends or if there is none.

    What the battery cannot do of it by then, the model that carries it out leaves undone.
    """

    def __init__(self, horizon: int = FORECAST_PERIODS) -> None:
        """There is no plan yet; plans have `horizon` periods."""
        self._power_kw = np.zeros(horizon)

    def forget(self) -> None:
        """Begin a new episode."""
        self._power_kw = np.zeros_like(self._power_kw)

    def keep(self, power_kw: Floats) -> None:
        """A plan was found: what is left of this period, and the next ones, shape (horizon,)."""
        self._power_kw = power_kw

    def plan_kw(self, next_period: bool = True) -> Floats:
        """What is left of the last plan.

        Args:
            next_period: Whether a period has begun since the last call of this or of `keep`.
        """
        if next_period:
            self._power_kw = np.append(self._power_kw[1:], 0.0)
        return self._power_kw
