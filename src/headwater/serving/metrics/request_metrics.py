"""Request metrics for Prometheus: plain additions in the request path, formatted when they are
scraped.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Final, cast

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from headwater.events.columns import STATUSES
from headwater.kernel.arrays import I64
from headwater.online.feature_vectors import FeatureVector
from headwater.serving.serving_result import ServingResult

_BOUNDS: Final = (
    0.00005,
    0.0001,
    0.0002,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
)
_FOLD: Final = 1024  # requests between two folds


class _Latency:
    """A histogram of seconds, assigned to buckets in batches."""

    __slots__ = ("_counts", "_total", "_waiting", "add")

    def __init__(self) -> None:
        self._counts = np.zeros(len(_BOUNDS) + 1, np.int64)
        self._total = 0.0
        self._waiting: list[float] = []
        self.add = self._waiting.append

    def fold(self) -> None:
        """Assign the queued seconds to buckets."""
        seconds = np.array(self._waiting)
        self._waiting.clear()
        self._counts += np.bincount(np.searchsorted(_BOUNDS, seconds), minlength=len(_BOUNDS) + 1)
        self._total += float(seconds.sum())

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative counts by bound, and the sum, as in Prometheus."""
        self.fold()
        bounds = (*map(str, _BOUNDS), "+Inf")
        return list(
            zip(bounds, np.cumsum(self._counts).astype(float).tolist(), strict=True)
        ), self._total


class RouteMetrics:
    """The counters of one route."""

    __slots__ = ("_patterns", "_statuses", "latency", "origins", "requests", "rows", "stages")

    def __init__(self, statuses: I64) -> None:
        self.requests: Counter[int] = Counter()
        self.rows = 0
        self.origins: Counter[str] = Counter()
        self.latency = _Latency()
        self.stages: defaultdict[str, _Latency] = defaultdict(_Latency)
        self._patterns: Counter[bytes] = Counter()
        self._statuses = statuses

    def request(self, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests[status] += 1
        self.latency.add(seconds)
        if self.requests[status] % _FOLD == 0:
            self.fold()

    def answer(self, result: ServingResult) -> None:
        """Count a result."""
        features = result.features
        if type(features) is FeatureVector:
            self._patterns[features.statuses] += 1
        elif features is not None:
            for codes in cast("list[bytes]", features.statuses):
                self._patterns[codes] += 1
        for prediction in result.predicted:
            self.origins[prediction.how] += 1
        for stage, seconds in result.stages.items():
            self.stages[stage].add(seconds)

    def fold(self) -> None:
        """Add the queued values to the counters."""
        for latency in (self.latency, *self.stages.values()):
            latency.fold()
        for codes, times in self._patterns.items():
            self._statuses += times * np.bincount(
                np.frombuffer(codes, np.uint8), minlength=len(STATUSES)
            )
        self._patterns.clear()


class RequestMetrics:
    """The counters of one process, added to by its event loop alone."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._routes: dict[str, RouteMetrics] = {}
        self._statuses = np.zeros(len(STATUSES), np.int64)
        self._more: list[Callable[[], Iterable[Metric]]] = []
        self._before: Callable[[], None] = lambda: None
        self._registry.register(self)

    def route(self, path: str) -> RouteMetrics:
        """The counters of a route."""
        if path not in self._routes:
            self._routes[path] = RouteMetrics(self._statuses)
        return self._routes[path]

    def before(self, settle: Callable[[], None]) -> None:
        """Call `settle` before the metrics are collected, so that queued requests count."""
        self._before = settle

    def also(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Include the metrics of another collector."""
        self._more.append(collect)

    def text(self) -> bytes:
        """All metrics, in Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The collector interface of prometheus_client."""
        self._before()
        requests = CounterMetricFamily(
            "headwater_requests", "requests answered", labels=["route", "status"]
        )
        rows = CounterMetricFamily("headwater_request_rows", "rows answered", labels=["route"])
        statuses = CounterMetricFamily(
            "headwater_feature_status", "features served, by status", labels=["status"]
        )
        predictions = CounterMetricFamily(
            "headwater_predictions",
            "predictions served, by how they were computed",
            labels=["route", "how"],
        )
        latency = HistogramMetricFamily(
            "headwater_request_seconds", "seconds from a request to its response", labels=["route"]
        )
        stages = HistogramMetricFamily(
            "headwater_stage_seconds", "seconds of a stage of a request", labels=["route", "stage"]
        )
        for path, route in self._routes.items():
            route.fold()
            if not route.requests:
                continue
            for status, count in route.requests.items():
                requests.add_metric([path, str(status)], count)
            rows.add_metric([path], route.rows)
            for origin, count in route.origins.items():
                predictions.add_metric([path, origin], count)
            latency.add_metric([path], *route.latency.cumulative())
            for stage, stage_latency in route.stages.items():
                stages.add_metric([path, stage], *stage_latency.cumulative())
        for word, count in zip(STATUSES, self._statuses.tolist(), strict=True):
            statuses.add_metric([word], count)
        processor = CounterMetricFamily(
            "headwater_processor_seconds", "processor seconds of this process, all threads"
        )
        processor.add_metric([], time.process_time())
        yield from (requests, rows, statuses, predictions, latency, stages, processor)
        for collect in self._more:
            yield from collect()
