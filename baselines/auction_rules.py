"""Plain rules for selling capacity: offer everything, at what it costs or at a mark-up on it."""

from typing import Self

import numpy as np

from envs.auction import MAX_RESERVE_GBP_PER_KW, OWN_FIELDS, AuctionSystem
from envs.fields import FloatArray, position
from envs.single import SystemEnv


class ReservePolicy:
    """Offers the whole capacity at the forecast cost of its energy, and of the flexibility it could have earned.

    A seller who can use what is left asks for more than its worth (Myerson, "Optimal Auction Design", Mathematics of
    Operations Research 6(1), 1981): bids above the mark-up pay it, bids between worth and mark-up are lost.
    """

    def __init__(self, capacity_kw: float, mark_up: float = 1.0, flexibility_share: float = 0.0) -> None:
        """Set the rule.

        Args:
            capacity_kw: Offered at every auction.
            mark_up: Reserve over that cost.
            flexibility_share: Share of the published cap expected as the price of flexibility; 0 does not reckon with
                it.

        Raises:
            ValueError: If the mark-up is not a finite number of 0 or more, or the share not 0 to 1.
        """
        if not 0.0 <= mark_up < float("inf"):
            raise ValueError(f"mark_up is {mark_up}; give a finite number, 0 or above")
        if not 0.0 <= flexibility_share <= 1.0:
            raise ValueError(f"flexibility_share is {flexibility_share}; 0 to 1 is allowed")
        self._capacity_kw, self._mark_up, self._share = capacity_kw, mark_up, flexibility_share
        self._cost = position(OWN_FIELDS, "energy_cost_gbp_per_kw")
        self._flexibility = position(OWN_FIELDS, "flexibility_gbp_per_kw")

    @classmethod
    def for_env(cls, env: SystemEnv, mark_up: float = 1.0, flexibility_share: float = 0.0) -> Self:
        """For an auction's capacity.

        Raises:
            ValueError: If the environment is not an auction.
        """
        if not isinstance(env.system, AuctionSystem):
            raise ValueError(f"this rule sells capacity of an AuctionSystem, not of a {type(env.system).__name__}")
        return cls(env.system.capacity_kw, mark_up, flexibility_share)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: FloatArray) -> FloatArray:
        """Capacity and reserve, shape (2,)."""
        cost = float(observation[self._cost]) + self._share * float(observation[self._flexibility])
        reserve = min(max(self._mark_up * cost, 0.0), MAX_RESERVE_GBP_PER_KW)
        return np.array([self._capacity_kw, reserve], dtype=np.float32)
