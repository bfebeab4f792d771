"""Price thresholds: buy when it looks cheap against the day ahead, sell when it looks dear."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from envs.fields import Field, FloatArray, positions
from envs.information import FORECAST_PREFIX
from envs.single import SystemEnv


class RulePolicy:
    """Charges at full power below one percentile of the forecast day, discharges above another."""

    def __init__(self, fields: Sequence[Field], cheap_percentile: float = 25.0, dear_percentile: float = 75.0) -> None:
        """Set the thresholds.

        Args:
            fields: Observation layout.
            cheap_percentile: Charge when the price now is at or below this percentile of the next 24 h.
            dear_percentile: Discharge when it is at or above this one.

        Raises:
            ValueError: If the percentiles are not 0 <= cheap < dear <= 100.
        """
        if not 0.0 <= cheap_percentile < dear_percentile <= 100.0:
            raise ValueError(
                f"cheap_percentile {cheap_percentile} and dear_percentile {dear_percentile} must be in order, 0 to 100"
            )
        self._forecast = positions(fields, FORECAST_PREFIX)
        self._percentiles = (cheap_percentile, dear_percentile)

    @classmethod
    def for_env(cls, env: SystemEnv, cheap_percentile: float = 25.0, dear_percentile: float = 75.0) -> Self:
        """For an environment's observation layout."""
        return cls(env.system.observation_fields, cheap_percentile, dear_percentile)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Full charge, full discharge or rest, shape (1,)."""
        forecast = observation[self._forecast]
        cheap, dear = np.percentile(forecast, self._percentiles)
        if cheap < dear and forecast[0] <= cheap:
            return np.ones(1, dtype=np.float32)
        if cheap < dear and forecast[0] >= dear:
            return -np.ones(1, dtype=np.float32)
        return np.zeros(1, dtype=np.float32)
