"""The operator's view over HTTP: offers, commitments, deliveries and money."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import HTMLResponse, Response

from dispatch.flexibility import NotAvailable
from dispatch.ledger import detail, ledger, orders_csv
from dispatch.store import Store
from server.schemas import Problem, Refusal
from server.section import Section

UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": Refusal, "description": "There is no such order."}}
CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
PAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}


def orders_section(store: Store) -> Section:
    """Paths over a store; all of them only look."""
    router = APIRouter(tags=["orders"])

    def _detail(order_id: str) -> dict[str, Any]:
        try:
            with store.reading() as connection:
                return detail(connection, order_id)
        except NotAvailable as unknown:
            raise HTTPException(404, [Problem(field="order_id", message=str(unknown)).model_dump()]) from unknown

    @router.get("/v1/orders")
    def orders() -> dict[str, Any]:
        """What is on sale now, and every order with what it delivered and earned."""
        with store.reading() as connection:
            return ledger(connection, datetime.now(UTC)).as_json()

    # A plain `Response` leaves refusals described as the JSON that they are.
    @router.get("/v1/orders.csv", response_class=Response, responses=CSV)
    def as_csv() -> Response:
        """Every order as a spreadsheet reads it."""
        with store.reading() as connection:
            return Response(orders_csv(ledger(connection, datetime.now(UTC)).orders), media_type="text/csv")

    @router.get("/v1/orders/{order_id}", responses=UNKNOWN)
    def order(order_id: str) -> dict[str, Any]:
        """One order: its terms, every version of its statement, and its meter."""
        return _detail(order_id)

    @router.get("/v1/orders/{order_id}/page", response_class=Response, responses=PAGE | UNKNOWN)
    def page(order_id: str) -> HTMLResponse:
        """One order as a page: baseline, meter and commitment as a picture, and its statement."""
        from dispatch.order_page import order_page  # brings the templates' engine

        return HTMLResponse(order_page(_detail(order_id)))

    return Section(router)
