"""What Prometheus may know of a gateway: counts, times and depths; never what was said, nor by whom.

Counts and times are kept as things happen, states are read when they are asked for. Every gateway has a registry of its
own, so that several in one process (in tests) don't add up.
"""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

FIRST_TOKEN_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ANSWER_SECONDS = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

State = tuple[str, str, str, list[tuple[dict[str, str], float]]]
"""kind ("gauge" or "counter"), name, help, and the values by label."""


class Metrics:
    """`states` reads what is true just now, at each scrape."""

    def __init__(self, states: Callable[[], Iterable[State]]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "ruminate_requests", "Requests answered, by route and HTTP status.", ("route", "method", "status"),
            registry=self._registry,
        )  # fmt: skip
        weights = ("checkpoint", "engine")
        self._first = Histogram(
            "ruminate_first_token_seconds", "From a streamed request's arrival to the first piece of its answer.",
            weights, buckets=FIRST_TOKEN_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._answer = Histogram(
            "ruminate_answer_seconds", "From a request's arrival to the end of its answer.",
            weights, buckets=ANSWER_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._tokens = Counter(
            "ruminate_tokens", "Tokens as engines count them.", ("kind", *weights), registry=self._registry
        )
        self._registry.register(_States(states))

    def request(self, route: str, method: str, status: int) -> None:
        self._requests.labels(route, method, str(status)).inc()

    def first_token(self, checkpoint: str, engine: str, seconds: float) -> None:
        self._first.labels(checkpoint, engine).observe(seconds)

    def answer(self, checkpoint: str, engine: str, seconds: float, tokens: dict[str, int | None]) -> None:
        """An answer that ended; `tokens` by kind: prompt, completion, reasoning (which completion includes)."""
        self._answer.labels(checkpoint, engine).observe(seconds)
        for kind, count in tokens.items():
            if count:
                self._tokens.labels(kind, checkpoint, engine).inc(count)

    def text(self) -> bytes:
        """Everything, in Prometheus' text form."""
        return generate_latest(self._registry)


class _States(Collector):
    def __init__(self, states: Callable[[], Iterable[State]]) -> None:
        self._read = states

    def describe(self) -> Iterable[Metric]:
        return ()  # else the registry would read the states at once, before there are any

    def collect(self) -> Iterable[Metric]:
        for kind, name, words, values in self._read():
            labels = tuple(values[0][0]) if values else ()
            family = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(name, words, labels=labels)
            for label, value in values:
                family.add_metric(tuple(label.values()), value)
            yield family
