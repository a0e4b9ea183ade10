"""Metrics of promise against delivery, read from the model registry, where `headwater watch` keeps its latest comparison."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from headwater import clock
from headwater.errors import HeadwaterError
from headwater.models.promises import deliveries
from headwater.models.registry import ModelRegistry
from headwater.results.promise_result import DeliveryResult

_EVERY: Final = 30.0  # seconds between two reads


class DeliveryMetrics:
    """The collector of one process.

    Args:
        folder: of fitted models; None where models are in memory, which have no promise.
        models: the names of those that are served.
    """

    def __init__(self, folder: Path | None, models: Collection[str]) -> None:
        self._folder, self._models = folder, models
        self._read_at = -math.inf
        self._known: Sequence[DeliveryResult] = ()

    def collect(self) -> Iterator[Metric]:
        """The collector interface of prometheus_client."""
        labels = ["model", "level", "metric"]
        withdrawn = GaugeMetricFamily(
            "headwater_promise_withdrawn", "1 if production missed the backtest's promise, 0 if no miss is shown", labels=labels
        )
        promised = GaugeMetricFamily("headwater_promised_metric", "the metric that the backtest promised", labels=labels)
        delivered = GaugeMetricFamily("headwater_delivered_metric", "the metric of the last judged weeks", labels=labels)
        for delivery in self._deliveries():
            if not delivery.judged:
                continue
            names = [delivery.promise.model, delivery.served_level, delivery.promise.metric]
            withdrawn.add_metric(names, float(delivery.withdrawn))
            promised.add_metric(names, delivery.promise.promised.value)
            delivered.add_metric(names, delivery.judged[-1].delivered.value)
        yield from (withdrawn, promised, delivered)

    def _deliveries(self) -> Sequence[DeliveryResult]:
        if self._folder is None or clock.stopwatch() - self._read_at < _EVERY:
            return self._known
        self._read_at = clock.stopwatch()
        try:
            self._known = [delivery for delivery in deliveries(ModelRegistry(self._folder)) if delivery.promise.model in self._models]
        except (HeadwaterError, OSError):  # metrics go on without it; `headwater watch` and `status` raise the error
            self._known = ()
        return self._known
