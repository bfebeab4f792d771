"""Plain rules for a whole site, each device by a rule of its own; the battery by thresholds or by plan."""

from typing import Final, Literal, Self

import numpy as np

from baselines.mpc import MpcPolicy
from baselines.rule import RulePolicy
from envs.fields import FloatArray, position
from envs.single import SystemEnv
from envs.site import SiteSystem
from models.battery import as_fraction
from models.hall import matched_fan_fraction

FAN_MARGIN: Final = 1.1  # air delivered over the air that the servers drew in the last period
NEEDED: Final = ("committed_kw_00", "waiting_kw")


class SiteRulePolicy:
    """Starts jobs at once, holds one set-point with fans after the load, trades the battery alone.

    Sells a fixed share of the free capacity, or of what is left of it once the jobs that wait have started. Offers
    flexibility from the battery at a fixed price whenever the DSO wants some, and discharges for what it sold.
    """

    def __init__(
        self,
        system: SiteSystem,
        battery: RulePolicy | MpcPolicy,
        setpoint_c: float = 24.0,
        capacity_fraction: float = 0.0,
        flexibility_fraction: float = 0.0,
        flexibility_price_gbp_per_mwh: float = 150.0,
        after_waiting: bool = False,
    ) -> None:
        """Set the rules.

        Args:
            system: The site, for its layout and limits.
            battery: Decides the battery's power when no flexibility is due.
            setpoint_c: Supply air set-point.
            capacity_fraction: Share of the sellable capacity offered in every auction.
            flexibility_fraction: Share of the highest turn-down offered.
            flexibility_price_gbp_per_mwh: Price of the offer.
            after_waiting: Sell the share of what neither running nor waiting jobs need now.

        Raises:
            ValueError: A number is not finite.
        """
        settings = (setpoint_c, capacity_fraction, flexibility_fraction, flexibility_price_gbp_per_mwh)
        if not np.isfinite(settings).all():
            raise ValueError(f"the rule's settings must be finite numbers; got {settings}")
        self._battery = battery
        self._settings = settings
        self._full_speed_kw = 1.0 / (FAN_MARGIN * matched_fan_fraction(system.site.hall, 1.0))
        self._storage = system.battery
        fields = system.observation_fields
        self._it, self._sold = position(fields, "it_kw"), position(fields, "sold_now_kw")
        self._capacity_kw = system.site.queue.capacity_kw if after_waiting else None
        self._sellable, self._needed = position(fields, "sellable_kw"), [position(fields, name) for name in NEEDED]

    @classmethod
    def for_env(
        cls, env: SystemEnv, battery: Literal["rule", "mpc"] = "rule", after_waiting: bool = False, **settings: float
    ) -> Self:
        """For a site environment; `settings` as in `__init__`.

        Raises:
            ValueError: If the environment is not a site, or the battery's policy is unknown.
        """
        if not isinstance(env.system, SiteSystem):
            raise ValueError(f"this rule runs a SiteSystem, not a {type(env.system).__name__}")
        if battery not in ("rule", "mpc"):
            raise ValueError(f"unknown battery policy {battery!r}; allowed are 'rule' and 'mpc'")
        return cls(
            env.system,
            (MpcPolicy if battery == "mpc" else RulePolicy).for_env(env),
            **settings,
            after_waiting=after_waiting,
        )

    def reset(self, seed: int) -> None:
        """Forget the last episode."""
        self._battery.reset(seed)

    def act(self, observation: FloatArray) -> FloatArray:
        """The seven fields of a site's action, shape (7,)."""
        setpoint_c, capacity, flexibility, price = self._settings
        sold_kw = float(observation[self._sold])
        power = as_fraction(self._storage, -sold_kw) if sold_kw > 0.0 else float(self._battery.act(observation)[0])
        fan_fraction = float(observation[self._it]) / self._full_speed_kw
        capacity *= self._spare_fraction(observation)
        return np.array([power, 1.0, setpoint_c, fan_fraction, capacity, flexibility, price], dtype=np.float32)

    def _spare_fraction(self, observation: FloatArray) -> float:
        """Share of the sellable capacity that neither running nor waiting jobs need now; 1 if that is not asked."""
        sellable_kw = float(observation[self._sellable])
        if self._capacity_kw is None or sellable_kw <= 0.0:
            return 1.0
        spare_kw = self._capacity_kw - float(observation[self._needed].sum())
        return min(max(spare_kw / sellable_kw, 0.0), 1.0)
