"""Traces of requests, for those who collect them; the `tracing` extra brings OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING, Final, TypeVar

from fastapi import FastAPI

from dispatch.exposure import Limits
from dispatch.recorder import Write
from dispatch.store import Store
from server.desk import Desk
from server.dispatcher import Dispatcher
from server.refusal import REQUEST_ID

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

UNTRACED: Final = "health/live,health/ready,metrics"

Case = TypeVar("Case")
Result = TypeVar("Result")


def collected_at(endpoint: str) -> TracerProvider:
    """What sends spans to a collector, in the background; the last ones when the process ends.

    Args:
        endpoint: OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces.

    Raises:
        ValueError: OpenTelemetry is not installed.
    """
    try:
        import opentelemetry.instrumentation.fastapi  # noqa: F401 - so that all of it is missed here
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        text = f"GRIDPILOT_OTLP_ENDPOINT is set but {error.name} is missing; install gridpilot[tracing]"
        raise ValueError(text) from None
    provider = TracerProvider(resource=Resource.create({"service.name": "gridpilot"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


def trace(app: FastAPI, provider: TracerProvider) -> None:
    """Make a span of every request, with the id under which the log tells of it."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        excluded_urls=UNTRACED,
        exclude_spans=["receive", "send"],  # three of each request, which say nothing
        http_capture_headers_server_response=[REQUEST_ID],
    )


class TracedDesk(Desk):
    """A desk that shows where an order's time goes: a span for each rung that is asked, and one for the commit."""

    def __init__(self, provider: TracerProvider, dispatcher: Dispatcher, store: Store, limits: Limits) -> None:
        """See `server.desk.Desk`."""
        self._tracer = provider.get_tracer("gridpilot")
        shown = copy(dispatcher)  # whose own rungs stay as they are
        shown.rungs = [
            rung._replace(decide=_in_span(self._tracer, f"rung {rung.name}", rung.decide)) for rung in dispatcher.rungs
        ]
        super().__init__(shown, store, limits)

    def record(self, write: Write) -> bool:
        """Write to the store; whether it is committed by now."""
        with self._tracer.start_as_current_span("record") as span:
            committed = super().record(write)
            span.set_attribute("gridpilot.committed", committed)
            return committed


def _in_span(tracer: Tracer, name: str, call: Callable[[Case], Result]) -> Callable[[Case], Result]:
    """The same within a span; an error that it raises is noted there."""

    def called(case: Case) -> Result:
        with tracer.start_as_current_span(name):
            return call(case)

    return called
