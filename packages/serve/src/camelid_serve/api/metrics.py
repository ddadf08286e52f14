"""The server's metrics in Prometheus' text format.

Knows counters, gauges and histograms. Knows nothing of the code that updates them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable

from camelid_core.prometheus_text import MetricFamily, metrics_text

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
Labels = tuple[tuple[str, str], ...]


class Counter:
    def __init__(self, name: str, help: str) -> None:
        self.name, self.help = name, help
        self.values: dict[Labels, float] = defaultdict(float)

    def add(self, amount: float = 1, **labels: str) -> None:
        self.values[tuple(labels.items())] += amount

    def family(self) -> MetricFamily:
        family = MetricFamily(self.name, self.help, "counter")
        for labels, value in (self.values or {(): 0.0}).items():
            family.add(value, **dict(labels))
        return family


class Gauge:
    def __init__(self, name: str, help: str, read: Callable[[], float]) -> None:
        self.name, self.help, self._read = name, help, read

    def family(self) -> MetricFamily:
        family = MetricFamily(self.name, self.help)
        family.add(self._read())
        return family


class Histogram:
    def __init__(self, name: str, help: str) -> None:
        self.name, self.help = name, help
        self._counts = [0] * (len(_BUCKETS) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(_BUCKETS, value)] += 1
        self._sum += value

    def family(self) -> MetricFamily:
        family = MetricFamily(self.name, self.help, "histogram")
        family.add_counts(self._counts, self._sum, _BUCKETS)
        return family


class Metrics:
    """All metrics of the server; `text` is the body of `/metrics`."""

    def __init__(self) -> None:
        self.requests = Counter("camelid_requests_total", "Requests by route and status.")
        self.prompt_tokens = Counter("camelid_prompt_tokens_total", "Tokens of prompts that were answered.")
        self.tokens = Counter("camelid_generated_tokens_total", "Tokens of answers, given out or not.")
        self.left = Counter("camelid_clients_left_total", "Clients that left before their answer was complete.")
        self.restarts = Counter("camelid_engine_restarts_total", "Engine processes started in place of another.")
        self.seconds = Histogram("camelid_request_seconds", "From the request to the end of its answer.")
        self.first = Histogram("camelid_first_token_seconds", "From the start of an answer to its first token.")
        self._all: list[Counter | Gauge | Histogram] = [
            self.requests, self.prompt_tokens, self.tokens, self.left, self.restarts, self.seconds, self.first
        ]  # fmt: skip

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        self._all.append(Gauge(name, help, read))

    def text(self) -> str:
        return metrics_text(each.family() for each in self._all)
