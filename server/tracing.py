"""Traces of requests, for those who collect them; the `tracing` extra brings OpenTelemetry."""

from typing import Final

from fastapi import FastAPI

UNTRACED: Final = "health/live,health/ready,metrics"


def trace(app: FastAPI, endpoint: str) -> None:
    """Send a span of every request to a collector, in the background; the last ones when the process ends.

    Args:
        app: The application.
        endpoint: OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces.

    Raises:
        ValueError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        text = f"GRIDPILOT_OTLP_ENDPOINT is set but {error.name} is missing; install gridpilot[tracing]"
        raise ValueError(text) from None
    provider = TracerProvider(resource=Resource.create({"service.name": "gridpilot"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, excluded_urls=UNTRACED)
