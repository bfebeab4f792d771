"""Set-points as a market gateway takes them: it trades in machines, so a step is sent as those it leaves room for.

What is journalled is the set-point; the counts follow from it, the gateway's inventory and what the operator wants to
run, each time it is sent or looked up.
"""

import os
from collections.abc import Mapping
from typing import Any, Final, Self

from data.clients.gateway import URL_VARIABLE, at_gateway
from data.clients.transport import Patience
from dispatch.gateway_market import GatewayMarket
from dispatch.offering import Offering
from dispatch.payloads import MACHINES, build_payload

ONE_TRY: Final = Patience(attempts=1, timeout_s=10.0)  # the journal of orders tries again, and knows what it does


class SetPointMarket:
    """The gateway that the environment names, as the `dispatch.orders.Market` of `dispatch.execution`'s set-points."""

    def __init__(self, offering: Offering, patience: Patience = ONE_TRY) -> None:
        """Say what is offered and how patient requests are."""
        self._offering, self._patience, self._gateway = offering, patience, GatewayMarket(patience)

    @classmethod
    def from_environment(cls, offering: Offering) -> Self:
        """Connect.

        Raises:
            ValueError: The environment names no gateway, or the offering is none.
        """
        if not os.environ.get(URL_VARIABLE):
            raise ValueError(f"operation.sends_orders is true but {URL_VARIABLE} is not set; give the gateway's URL")
        build_payload({}, {}, 0.0, offering.cooling_kw, offering.site_power_kw)  # says which number is wrong
        if not any(getattr(offering, name) for name in MACHINES):
            raise ValueError(
                f"operation.sends_orders is true but nothing is offered; set one of operation.offering.{list(MACHINES)}"
            )
        return cls(offering)

    def submit(self, client_order_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put what a set-point leaves room for in force; see `dispatch.orders.Market`."""
        return self._gateway.submit(client_order_id, self._counts(payload))

    def find(self, client_order_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The machines in force, if they are those that the set-point leaves room for."""
        return self._gateway.find(client_order_id, self._counts(payload))

    def _counts(self, payload: Mapping[str, Any]) -> dict[str, int]:
        inventory = at_gateway(lambda gateway: gateway.get_inventory(), self._patience)
        return self._offering.beside(float(payload["power_kw"]), inventory)
