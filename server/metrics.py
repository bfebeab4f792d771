"""What is counted and measured, for Prometheus."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Reading = Callable[[], Mapping[str, float]]


class Metrics:
    """The figures of one application; two of them in a process do not mix.

    Attributes:
        last_rung: How the last decision was made, None before the first.
    """

    def __init__(self) -> None:
        """Begin at nothing."""
        self._registry = CollectorRegistry()
        self.last_rung: str | None = None
        self._requests = Counter(
            "gridpilot_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "gridpilot_request_seconds",
            "Time to answer.",
            ("method", "route"),
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._decisions = Counter(
            "gridpilot_decisions", "Decisions, by the way they were made.", ("rung",), registry=self._registry
        )

    def answered(self, method: str, route: str, status: int, took_s: float) -> None:
        """Count a request; `route` is the path's template, so that callers cannot make series."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(took_s)

    def decided(self, rung: str) -> None:
        """Count a decision."""
        self.last_rung = rung
        self._decisions.labels(rung).inc()

    def read(self, name: str, meaning: str, label: str, reading: Reading) -> None:
        """Show values that are read when somebody looks.

        Args:
            name: Of the metric, such as `gridpilot_orders`.
            meaning: For people.
            label: What the keys of a reading are, such as `state`.
            reading: Gives a value for each key; what it raises leaves the metric out.
        """
        self._registry.register(_Read(name, meaning, label, reading))

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)


class _Read(Collector):
    def __init__(self, name: str, meaning: str, label: str, reading: Reading) -> None:
        self._name, self._meaning, self._label, self._reading = name, meaning, label, reading

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(self._name, self._meaning, labels=[self._label])
        try:
            for key, value in self._reading().items():
                family.add_metric([key], value)
        except Exception:  # a database that is away must not hide every other figure
            return
        yield family
