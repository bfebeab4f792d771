"""Orders to the market over HTTP: what was sent, how far it came, and what the market said."""

import json
from datetime import datetime
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, HTTPException, Query
from pydantic import Field

from dispatch.orders import Order, State, find, newest
from dispatch.store import Store
from server.live_routes import WRONG
from server.schemas import Problem, Refusal, Wire
from server.section import Section

MOST: Final = 1000
UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {404: {"model": Refusal, "description": "There is no such order."}}


class Trade(Wire):
    """An order to the market, as the journal holds it."""

    client_order_id: str = Field(description="Names the order here and at the market.")
    payload: dict[str, Any] = Field(description="What the market is sent.")
    state: State = Field(
        description="`written`: not sent yet; `sending`: may have been sent, and is looked up before it is sent again; "
        "`accepted` or `rejected` by the market; `expired`: it was too late to send it."
    )
    attempts: int = Field(description="How often it was sent or looked up.")
    written_at: datetime = Field(description="UTC; with the decision behind it, before anything was sent.")
    closes_at: datetime = Field(description="UTC; it is not sent after that.")
    answer: dict[str, Any] | None = Field(description="What the market said, or why it expired; null while it is open.")

    @classmethod
    def from_domain(cls, order: Order) -> Self:
        """For the wire."""
        return cls(
            client_order_id=order.client_order_id,
            payload=json.loads(order.payload),
            state=order.state,
            attempts=order.attempts,
            written_at=order.written_at,
            closes_at=order.closes_at,
            answer=None if order.answer is None else json.loads(order.answer),
        )


def trades_section(store: Store) -> Section:
    """What was sent to the market, seen."""
    router = APIRouter(tags=["orders"])

    @router.get("/v1/trades", responses={**UNKNOWN, **WRONG})
    def trades(
        count: Annotated[int, Query(ge=1, le=MOST, description="How many.")] = 100,
        before: Annotated[
            str | None,
            Query(max_length=64, description="Only those written before this order, the last one of a page."),
        ] = None,
    ) -> list[Trade]:
        """Orders to the market, newest first; with `before` the next page."""
        with store.reading() as connection:
            last = None if before is None else find(connection, before)
            if before is not None and last is None:
                message = f"there is no order {before!a}; send the client_order_id of the last one of a page"
                raise HTTPException(404, [Problem(field="before", message=message).model_dump()])
            return [Trade.from_domain(order) for order in newest(connection, count, last)]

    return Section(router)
