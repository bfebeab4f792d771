"""Plain rules for a cooling plant: one set-point for the year, or a colder one while electricity is cheap."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from envs.cooling import CoolingSystem
from envs.fields import Field, FloatArray, position, positions
from envs.information import FORECAST_PREFIX
from envs.single import SystemEnv
from models.hall import matched_fan_fraction


class FixedSetpointPolicy:
    """Holds one set-point; the fans deliver the air that the servers draw, times a margin.

    The way a hall is run by hand: fans in proportion to the IT load, supply air cold enough for any day.
    """

    def __init__(
        self, fields: Sequence[Field], full_load_fan_fraction: float, setpoint_c: float = 24.0, fan_margin: float = 1.0
    ) -> None:
        """Set the rule.

        Args:
            fields: Observation layout.
            full_load_fan_fraction: Fan speed that delivers just the air that the servers draw at full IT load.
            setpoint_c: Supply air set-point.
            fan_margin: Air delivered over air drawn.

        Raises:
            ValueError: If the margin is not finite and above 0, or the set-point is not finite.
        """
        if not 0.0 < fan_margin < float("inf"):
            raise ValueError(f"fan_margin is {fan_margin}; give a finite number above 0, 1 is what the servers draw")
        if not abs(setpoint_c) < float("inf"):
            raise ValueError(f"setpoint_c is {setpoint_c}; give a temperature in Celsius")
        self._it_fraction = position(fields, "it_fraction")
        self._fan_fraction_per_load = fan_margin * full_load_fan_fraction
        self._setpoint_c = setpoint_c

    @classmethod
    def for_env(cls, env: SystemEnv, **settings: float) -> Self:
        """For a cooling environment's layout, hall and cluster; `settings` as in `__init__`.

        Raises:
            ValueError: If the environment is not a cooling plant.
        """
        if not isinstance(env.system, CoolingSystem):
            raise ValueError(f"this rule runs a CoolingSystem, not a {type(env.system).__name__}")
        matched = matched_fan_fraction(env.system.hall, env.system.full_it_kw)
        return cls(env.system.observation_fields, matched, **settings)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Set-point in Celsius and fan speed, shape (2,)."""
        fan_fraction = self._fan_fraction_per_load * observation[self._it_fraction]
        return np.array([self._wanted_c(observation), fan_fraction], dtype=np.float32)

    def _wanted_c(self, observation: FloatArray) -> float:
        return self._setpoint_c


class PrecoolPolicy(FixedSetpointPolicy):
    """Stores cold in the hall while the next hours look dearer than now, and spends it while they look cheaper."""

    def __init__(
        self,
        fields: Sequence[Field],
        full_load_fan_fraction: float,
        setpoint_c: float = 24.0,
        fan_margin: float = 1.0,
        swing_k: float = 2.0,
        spread_gbp_per_mwh: float = 10.0,
        hours_ahead_h: float = 6.0,
    ) -> None:
        """Set the rule.

        Args:
            fields: Observation layout.
            full_load_fan_fraction: See `FixedSetpointPolicy`.
            setpoint_c: Set-point while prices are level.
            fan_margin: See `FixedSetpointPolicy`.
            swing_k: How far the set-point moves, either way.
            spread_gbp_per_mwh: It moves when the mean price ahead differs from this period's by more than this.
            hours_ahead_h: How far ahead the mean reaches, 0.5 to 23.5.

        Raises:
            ValueError: See `FixedSetpointPolicy`; or the hours or the swing are outside their range.
        """
        super().__init__(fields, full_load_fan_fraction, setpoint_c, fan_margin)
        if not 0.5 <= hours_ahead_h <= 23.5:
            raise ValueError(f"hours_ahead_h is {hours_ahead_h}; 0.5 to 23.5 is allowed, forecasts reach a day")
        if not 0.0 <= swing_k <= 20.0:
            raise ValueError(f"swing_k is {swing_k}; 0 to 20 is allowed, a difference in kelvin")
        forecast = positions(fields, FORECAST_PREFIX)
        self._now = forecast.start
        self._ahead = slice(forecast.start + 1, forecast.start + 1 + round(2.0 * hours_ahead_h))
        self._swing_k, self._spread_gbp_per_mwh = swing_k, spread_gbp_per_mwh

    def _wanted_c(self, observation: FloatArray) -> float:
        rise_gbp_per_mwh = float(observation[self._ahead].mean() - observation[self._now])
        if rise_gbp_per_mwh > self._spread_gbp_per_mwh:
            return self._setpoint_c - self._swing_k
        if rise_gbp_per_mwh < -self._spread_gbp_per_mwh:
            return self._setpoint_c + self._swing_k
        return self._setpoint_c
