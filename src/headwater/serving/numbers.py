"""What the service does, as numbers for Prometheus. Counted by plain additions in the request path, and written out when they are read."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from headwater.engines.asides import STATUSES

_BOUNDS: Final = (
    0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
_PATTERNS: Final = 1024  # of statuses, before they are added up


class _Latency:
    """A histogram of seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_BOUNDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        found, sofar = [], 0
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), self.counts, strict=True):
            sofar += count
            found.append((bound, float(sofar)))
        return found


class Numbers:
    """The counters of one process, added to by its event loop alone."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._requests: Counter[tuple[str, int]] = Counter()
        self._rows: Counter[str] = Counter()
        self._how: Counter[tuple[str, str]] = Counter()
        self._latency: dict[str, _Latency] = {}
        self._stages: dict[tuple[str, str], _Latency] = {}
        self._patterns: Counter[bytes] = Counter()
        self._statuses = [0] * len(STATUSES)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests[route, status] += 1
        latency = self._latency.get(route)
        if latency is None:
            latency = self._latency[route] = _Latency()
        latency.add(seconds)

    def answer(self, route: str, rows: int, statuses: Sequence[bytes], how: Sequence[str], stages: Mapping[str, float]) -> None:
        """Count what an answer said."""
        self._rows[route] += rows
        for codes in statuses:
            self._patterns[codes] += 1
        if len(self._patterns) > _PATTERNS:
            self._add_up()
        for one in how:
            self._how[route, one] += 1
        for stage, seconds in stages.items():
            latency = self._stages.get((route, stage))
            if latency is None:
                latency = self._stages[route, stage] = _Latency()
            latency.add(seconds)

    def text(self) -> bytes:
        """All of it, in the text format of Prometheus."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client asks for it."""
        self._add_up()
        requests = CounterMetricFamily("headwater_requests", "requests answered", labels=["route", "status"])
        for (route, status), count in self._requests.items():
            requests.add_metric([route, str(status)], count)
        yield requests
        rows = CounterMetricFamily("headwater_request_rows", "rows answered", labels=["route"])
        for route, count in self._rows.items():
            rows.add_metric([route], count)
        yield rows
        statuses = CounterMetricFamily("headwater_feature_status", "features served, by what they are", labels=["status"])
        for word, count in zip(STATUSES, self._statuses, strict=True):
            statuses.add_metric([word], count)
        yield statuses
        how = CounterMetricFamily("headwater_predictions", "predictions served, by how they were made", labels=["route", "how"])
        for (route, one), count in self._how.items():
            how.add_metric([route, one], count)
        yield how
        latency = HistogramMetricFamily("headwater_request_seconds", "seconds from a request to its answer", labels=["route"])
        for route, found in self._latency.items():
            latency.add_metric([route], found.buckets(), found.total)
        yield latency
        stages = HistogramMetricFamily("headwater_stage_seconds", "seconds that a stage of a request took", labels=["route", "stage"])
        for key, found in self._stages.items():
            stages.add_metric(list(key), found.buckets(), found.total)
        yield stages

    def _add_up(self) -> None:
        for codes, times in self._patterns.items():
            for code in set(codes):
                self._statuses[code] += times * codes.count(code)
        self._patterns.clear()
