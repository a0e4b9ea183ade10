"""Reads of views with a service level objective of freshness, and how many of them were stale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from headwater.definitions.project import Project
from headwater.journal.serving_log_rows import Kind
from headwater.serving.serving_result import ServingResult


class ViewReads:
    """The counters of one process.

    Args:
        project: whose views have objectives.

    >>> from headwater.testing.examples import visiting
    >>> import headwater as hw
    >>> bool(ViewReads(visiting(hw.batch("1h"))))
    False
    """

    def __init__(self, project: Project) -> None:
        self._targets: Mapping[str, float] = {
            view.name: view.slo for view in project.all_views if view.slo is not None
        }
        self._project = project
        self._places: dict[tuple[bool, str, str | None], Sequence[tuple[int, str]]] = {}
        self._fresh: Counter[str] = Counter()
        self._stale: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._targets)

    def count(self, kind: Kind, result: ServingResult) -> None:
        """Count what a request read: each view once."""
        if result.features is None:
            return
        key = kind == "features", result.name, result.level
        places = self._places.get(key)
        if places is None:
            places = self._places[key] = self._views(*key)
        versions = result.features.read_versions
        for place, view in places:
            if place < len(versions):
                (self._stale if versions[place].stale else self._fresh)[view] += 1

    def collect(self) -> Iterator[Metric]:
        """The collector interface of prometheus_client."""
        reads = CounterMetricFamily(
            "headwater_view_reads",
            "reads of a view with an objective of freshness",
            labels=["view"],
        )
        stale = CounterMetricFamily(
            "headwater_view_stale_reads",
            "of these, reads of values older than promised",
            labels=["view"],
        )
        targets = GaugeMetricFamily(
            "headwater_view_slo",
            "the share of reads that should be within the promised age",
            labels=["view"],
        )
        for view, target in self._targets.items():
            reads.add_metric([view], self._fresh[view] + self._stale[view])
            stale.add_metric([view], self._stale[view])
            targets.add_metric([view], target)
        yield from (reads, stale, targets)

    def _views(self, features: bool, name: str, level: str | None) -> Sequence[tuple[int, str]]:  # noqa: FBT001 (a part of a key)
        """The views with an objective that a service reads, each with its place among the read
        versions.
        """
        models = self._project.models
        model = next(
            model for model in models if name == (model.features.name if features else model.name)
        )
        views = self._project.variant(model.name, level).service.views
        return [
            (place, view.root.name)
            for place, view in enumerate(views)
            if view.root.name in self._targets
        ]
