"""Metrics of promise against delivery, read from the model registry, where `headwater watch` keeps
its latest comparison.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric

from headwater.models.promises import deliveries
from headwater.serving.metrics.registry_results import RegistryResults


class DeliveryMetrics:
    """The collector of one process.

    Args:
        folder: of fitted models; None where models are in memory, which have no promise.
        models: the names of those that are served.
    """

    def __init__(self, folder: Path | None, models: Collection[str]) -> None:
        self._results = RegistryResults(
            folder, deliveries, lambda delivery: delivery.promise.model in models
        )

    def collect(self) -> Iterator[Metric]:
        """The collector interface of prometheus_client."""
        labels = ["model", "level", "metric"]
        withdrawn = GaugeMetricFamily(
            "headwater_promise_withdrawn",
            "1 if production missed the backtest's promise, 0 if no miss is shown",
            labels=labels,
        )
        promised = GaugeMetricFamily(
            "headwater_promised_metric", "the metric that the backtest promised", labels=labels
        )
        delivered = GaugeMetricFamily(
            "headwater_delivered_metric", "the metric of the last judged weeks", labels=labels
        )
        for delivery in self._results.latest():
            if not delivery.judged:
                continue
            names = [delivery.promise.model, delivery.served_level, delivery.promise.metric]
            withdrawn.add_metric(names, float(delivery.withdrawn))
            promised.add_metric(names, delivery.promise.promised.value)
            delivered.add_metric(names, delivery.judged[-1].delivered.value)
        yield from (withdrawn, promised, delivered)
