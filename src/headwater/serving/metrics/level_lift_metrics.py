"""Metrics of lift by freshness, read from the model registry, where `headwater watch --lift` keeps
its latest result.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric

from headwater.definitions.checks import parse_timestamp
from headwater.models.latest_results import LATEST_LEVEL_LIFT
from headwater.serving.metrics.registry_results import RegistryResults


class LevelLiftMetrics:
    """The collector of one process.

    Args:
        folder: of fitted models; None where models are in memory.
        models: the names of those that are served.
    """

    def __init__(self, folder: Path | None, models: Collection[str]) -> None:
        self._results = RegistryResults(
            folder, LATEST_LEVEL_LIFT.all, lambda result: result.model in models
        )

    def collect(self) -> Iterator[Metric]:
        """The collector interface of prometheus_client."""
        labels = ["model", "level", "compared", "metric"]
        nothing = GaugeMetricFamily(
            "headwater_freshness_earned_nothing",
            "1 if a confidence sequence of what this freshness earns lies wholly below "
            "break-even, else 0",
            labels=labels,
        )
        lift = GaugeMetricFamily(
            "headwater_freshness_lift",
            "the mean lift of the fresher of the two, of the window that decides",
            labels=labels,
        )
        low, high = (
            GaugeMetricFamily(
                f"headwater_freshness_lift_{end}",
                f"the {end} end of its confidence sequence",
                labels=labels,
            )
            for end in ("low", "high")
        )
        checked = GaugeMetricFamily(
            "headwater_freshness_lift_checked_timestamp_seconds",
            "the time of the latest comparison",
            labels=["model", "level"],
        )
        for result in self._results.latest():
            checked.add_metric(
                [result.model, result.served],
                parse_timestamp(result.checked_at, "checked_at") / 1e6,
            )
            for alternative in result.alternatives:
                names = [result.model, result.served, alternative.name, result.metric]
                nothing.add_metric(names, float(alternative.state == "earned nothing"))
                for family, value in (
                    (lift, alternative.lift.value),
                    (low, alternative.lift.low),
                    (high, alternative.lift.high),
                ):
                    if math.isfinite(value):
                        family.add_metric(names, value)
        yield from (nothing, lift, low, high, checked)
