"""Bids to a market gateway: written down, sent until answered, in force once; `dispatch.orders` over the client."""

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from data.clients.gateway import Offer, TooMuchPower, at_gateway
from data.clients.transport import PATIENT, Patience
from data.clients.wire import AnswerError
from dispatch.audit import Audit
from dispatch.orders import OPEN, Orders, Refused, State
from dispatch.store import Store

ORDERS_VARIABLE: Final = "MARKET_GATEWAY_ORDERS"
ORDERS_FILE: Final = "data/gateway/orders.sqlite"
BID_LASTS: Final = timedelta(minutes=2)  # a bid that could not be placed by then is given up
LONGEST_ID: Final = 64
REFUSALS: Final = frozenset({400, 409, 422})  # the bid itself is wrong; anything else may pass


class GatewayMarket:
    """The gateway that the environment names, as a `dispatch.orders.Market`: a payload is an `Offer`'s counts.

    It knows no orders, only the machines in force, so an order is found there by what it said; give its `Orders`
    `replacing=True`, because each offer takes the place of the one before.
    """

    def __init__(self, patience: Patience = PATIENT) -> None:
        """Say how patient requests are."""
        self._patience = patience

    def submit(self, client_order_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put an offer in force; see `dispatch.orders.Market`."""
        offer = Offer.model_validate(payload)
        try:
            return at_gateway(lambda gateway: gateway.offer(client_order_id, offer), self._patience)
        except TooMuchPower as error:
            raise Refused(str(error)) from error
        except AnswerError as error:
            if error.status in REFUSALS:
                raise Refused(str(error)) from error
            raise

    def find(self, client_order_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The machines in force, if they are those of the order."""
        offer = Offer.model_validate(payload)
        return at_gateway(lambda gateway: gateway.in_force(offer), self._patience)


def submit_bid(payload: dict[str, Any]) -> dict[str, Any]:
    """Put a bid in force at the gateway named by `MARKET_GATEWAY_URL` once, however often this is called with it.

    The journal lies in the file that `MARKET_GATEWAY_ORDERS` names. After a crash or a timeout the same call goes on
    where the last one was: it looks at what is in force before it sends anything again.

    Args:
        payload: `client_order_id`, which names this one bid for ever, and the counts of `data.clients.gateway.Offer`.

    Returns:
        The gateway's answer, from the first time on.

    Raises:
        ValueError: The payload is no bid, its id stands for another one, or the bid was refused or given up.
        TimeoutError: Nobody knows whether the bid arrived; call again with the same payload.
    """
    counts = dict(payload)
    name = counts.pop("client_order_id", None)
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_ID or not name.isascii() or not name.isprintable():
        raise ValueError(f"no bid: client_order_id is {name!r}; give each bid a name of 1 to {LONGEST_ID} characters")
    try:
        offer = Offer.model_validate(counts)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"no bid: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    file = Path(os.environ.get(ORDERS_VARIABLE, ORDERS_FILE))
    file.parent.mkdir(parents=True, exist_ok=True)
    store = Store(f"sqlite:///{file}")
    try:
        orders = Orders(store, Audit(store), GatewayMarket(), replacing=True)
        with store.writing() as connection:
            orders.place(connection, name, offer.model_dump(), _now() + BID_LASTS, _now())
        return _settled(orders, name)
    finally:
        store.close()


def _settled(orders: Orders, name: str) -> dict[str, Any]:
    """Send until the order is settled, or nothing is left to try."""
    while True:
        orders.send_due(_now)
        order = orders.get(name)
        assert order is not None
        if order.state not in OPEN:
            break
        if _now() > order.closes_at:
            raise TimeoutError(f"nobody knows whether bid {name!r} arrived; submit it again, unchanged")
        time.sleep(max((order.due_at - _now()).total_seconds(), 0.01))
    answer: dict[str, Any] = json.loads(order.answer or "{}")
    if order.state is not State.ACCEPTED:
        raise ValueError(f"bid {name!r} was {order.state}: {answer['reason']}")
    return answer


def _now() -> datetime:
    return datetime.now(UTC)
