"""Metrics of lift by freshness, read from the model registry, where `headwater watch --lift` keeps its latest result."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from headwater import clock
from headwater.definitions.timestamps import parse_timestamp
from headwater.errors import HeadwaterError
from headwater.models.level_lifts import level_lifts
from headwater.models.registry import ModelRegistry
from headwater.results.level_lift_result import LevelLiftResult

_EVERY: Final = 30.0  # seconds between two reads


class LevelLiftMetrics:
    """The collector of one process.

    Args:
        folder: of fitted models; None where models are in memory.
        models: the names of those that are served.
    """

    def __init__(self, folder: Path | None, models: Collection[str]) -> None:
        self._folder, self._models = folder, models
        self._read_at = -math.inf
        self._known: Sequence[LevelLiftResult] = ()

    def collect(self) -> Iterator[Metric]:
        """The collector interface of prometheus_client."""
        labels = ["model", "level", "compared", "metric"]
        nothing = GaugeMetricFamily(
            "headwater_freshness_earned_nothing",
            "1 if a confidence sequence of what this freshness earns lies wholly below break-even, else 0",
            labels=labels,
        )
        lift = GaugeMetricFamily(
            "headwater_freshness_lift", "the mean lift of the fresher of the two, of the window that decides", labels=labels
        )
        low, high = (
            GaugeMetricFamily(f"headwater_freshness_lift_{end}", f"the {end} end of its confidence sequence", labels=labels)
            for end in ("low", "high")
        )
        checked = GaugeMetricFamily(
            "headwater_freshness_lift_checked_timestamp_seconds", "the time of the latest comparison", labels=["model", "level"]
        )
        for result in self._results():
            checked.add_metric([result.model, result.served], parse_timestamp(result.checked_at, "checked_at") / 1e6)
            for one in result.alternatives:
                names = [result.model, result.served, one.name, result.metric]
                nothing.add_metric(names, float(one.state == "earned nothing"))
                for family, value in ((lift, one.lift.value), (low, one.lift.low), (high, one.lift.high)):
                    if math.isfinite(value):
                        family.add_metric(names, value)
        yield from (nothing, lift, low, high, checked)

    def _results(self) -> Sequence[LevelLiftResult]:
        if self._folder is None or clock.stopwatch() - self._read_at < _EVERY:
            return self._known
        self._read_at = clock.stopwatch()
        try:
            self._known = [result for result in level_lifts(ModelRegistry(self._folder)) if result.model in self._models]
        except (HeadwaterError, OSError):  # metrics go on without it; `headwater watch` raises the error
            self._known = ()
        return self._known
