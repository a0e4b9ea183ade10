"""Metrics of drift, read from the model registry, where `headwater watch` keeps its latest
comparison.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric

from headwater.definitions.checks import parse_timestamp
from headwater.models.latest_results import LATEST_DRIFT
from headwater.serving.metrics.registry_results import RegistryResults


class DriftMetrics:
    """The collector of one process.

    Args:
        folder: of fitted models; None where models are in memory.
        models: the names of those that are served.
    """

    def __init__(self, folder: Path | None, models: Collection[str]) -> None:
        self._results = RegistryResults(
            folder, LATEST_DRIFT.all, lambda drift: drift.model in models
        )

    def collect(self) -> Iterator[Metric]:
        """The collector interface of prometheus_client."""
        of_feature, of_model = ["model", "level", "feature"], ["model", "level"]
        psi = GaugeMetricFamily(
            "headwater_feature_psi",
            "population stability index against training, of the latest day",
            labels=of_feature,
        )
        limit = GaugeMetricFamily(
            "headwater_feature_psi_limit",
            "what the index rarely exceeds by chance",
            labels=of_feature,
        )
        alerts = GaugeMetricFamily(
            "headwater_drift_alerts",
            "features that shifted together with a loss or a share of statuses",
            labels=of_model,
        )
        shifted = GaugeMetricFamily(
            "headwater_drift_shifted",
            "features further from training than chance explains",
            labels=of_model,
        )
        broken = GaugeMetricFamily(
            "headwater_expectation_broken",
            "1 if the latest day breaks this expectation, else 0",
            labels=[*of_model, "subject", "expectation"],
        )
        checked = GaugeMetricFamily(
            "headwater_drift_checked_timestamp_seconds",
            "when drift was last computed",
            labels=of_model,
        )
        for drift in self._results.latest():
            labels = [drift.model, drift.level]
            alerts.add_metric(labels, float(len(drift.alerts)))
            shifted.add_metric(labels, float(len(drift.shifted)))
            checked.add_metric(labels, parse_timestamp(drift.checked_at, "checked_at") / 1e6)
            for check in drift.expectations:
                broken.add_metric(
                    [*labels, check.subject, check.expectation], float(check in drift.broken)
                )
            for feature in drift.compared:
                psi.add_metric([*labels, feature.feature], feature.days[-1].psi)
                limit.add_metric([*labels, feature.feature], feature.days[-1].limit)
        yield from (psi, limit, alerts, shifted, broken, checked)
