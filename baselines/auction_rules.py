"""Plain rules for selling capacity: offer everything, at no less than what it costs."""

from typing import Self

import numpy as np

from envs.auction import MAX_RESERVE_GBP_PER_KW, OWN_FIELDS, AuctionSystem
from envs.fields import FloatArray, position
from envs.single import SystemEnv


class ReservePolicy:
    """Offers the whole capacity at the forecast cost of its energy, and of the flexibility it could have earned.

    A seller who would use what is left at a known worth sets the reserve at that worth or above (Myerson, "Optimal
    Auction Design", Mathematics of Operations Research 6(1), 1981); this rule stays at it.
    """

    def __init__(self, capacity_kw: float, flexibility_share: float = 0.0) -> None:
        """Set the rule.

        Args:
            capacity_kw: Offered at every auction.
            flexibility_share: Share of the published cap expected as the price of flexibility; 0 does not reckon with
                it.

        Raises:
            ValueError: If the share is not 0 to 1.
        """
        if not 0.0 <= flexibility_share <= 1.0:
            raise ValueError(f"flexibility_share is {flexibility_share}; 0 to 1 is allowed")
        self._capacity_kw, self._share = capacity_kw, flexibility_share
        self._cost = position(OWN_FIELDS, "energy_cost_gbp_per_kw")
        self._flexibility = position(OWN_FIELDS, "flexibility_gbp_per_kw")

    @classmethod
    def for_env(cls, env: SystemEnv, flexibility_share: float = 0.0) -> Self:
        """For an auction's capacity.

        Raises:
            ValueError: If the environment is not an auction.
        """
        if not isinstance(env.system, AuctionSystem):
            raise ValueError(f"this rule sells capacity of an AuctionSystem, not of a {type(env.system).__name__}")
        return cls(env.system.capacity_kw, flexibility_share)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Capacity and reserve, shape (2,)."""
        reserve = observation[self._cost] + self._share * observation[self._flexibility]
        reserve = min(max(float(reserve), 0.0), MAX_RESERVE_GBP_PER_KW)
        return np.array([self._capacity_kw, reserve], dtype=np.float32)
