"""Metrics of several processes added up: counters keep the values of ended processes, so that they
never decrease.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Metric, generate_latest

_COUNTED: Final = frozenset(("counter", "histogram", "summary"))


class SampleValue(msgspec.Struct, array_like=True):
    """A sample of a metric: its name, labels and number."""

    name: str
    labels: dict[str, str]
    value: float


class MetricValues(msgspec.Struct, array_like=True):
    """A metric with all its samples."""

    name: str
    documentation: str
    type: str
    values: list[SampleValue]


def families(metrics: Iterable[Metric]) -> list[MetricValues]:
    """Metrics of prometheus_client in the form sent to another process, without `_created`
    samples.
    """
    return [
        MetricValues(
            metric.name,
            metric.documentation,
            metric.type,
            [
                SampleValue(s.name, s.labels, s.value)
                for s in metric.samples
                if not s.name.endswith("_created")
            ],
        )
        for metric in metrics
    ]


class _ProcessGroup:
    """Metrics of the processes of one name: the sum of ended ones, and those running, by process
    id.
    """

    def __init__(self) -> None:
        self.ended: dict[str, MetricValues] = {}
        self.running: dict[int, list[MetricValues]] = {}


class ProcessMetrics:
    """The metrics of all children.

    >>> sample = [
    ...     MetricValues("done", "requests done", "counter", [SampleValue("done_total", {}, 3.0)])
    ... ]
    >>> metrics = ProcessMetrics()
    >>> metrics.update("worker-1", 1, sample, labels={"worker": "worker-1"})
    >>> metrics.end("worker-1", 1)
    >>> metrics.update("worker-1", 2, sample, labels={"worker": "worker-1"})
    >>> print(metrics.text().decode())
    # HELP done_total requests done
    # TYPE done_total counter
    done_total{worker="worker-1"} 6.0
    """

    def __init__(self) -> None:
        self._groups: defaultdict[str, _ProcessGroup] = defaultdict(_ProcessGroup)
        self._labels: dict[str, dict[str, str]] = {}

    def update(
        self, name: str, process: int, families: list[MetricValues], *, labels: dict[str, str]
    ) -> None:
        """Set the metrics of a running process. labels: added to its samples."""
        self._groups[name].running[process] = families
        self._labels[name] = labels

    def end(self, name: str, process: int) -> None:
        """Keep the counters of an ended process, and drop its gauges."""
        group = self._groups[name]
        counted = [family for family in group.running.pop(process, []) if family.type in _COUNTED]
        group.ended = _sum([list(group.ended.values()), counted])

    def text(self, more: Iterable[Metric] = ()) -> bytes:
        """All metrics, and those of `more`, in Prometheus text format."""
        metrics: dict[str, Metric] = {sample.name: sample for sample in more}
        for name, group in self._groups.items():
            for family in _sum([list(group.ended.values()), *group.running.values()]).values():
                metric = metrics.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.values:
                    metric.add_sample(
                        sample.name, {**sample.labels, **self._labels[name]}, sample.value
                    )
        registry = CollectorRegistry()
        registry.register(_Collected(list(metrics.values())))
        return generate_latest(registry)


class _Collected:
    """A collector of prometheus_client."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _sum(sources: Iterable[list[MetricValues]]) -> dict[str, MetricValues]:
    """Metrics by name: counters of equal labels are added up; of gauges, the last one counts."""
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], SampleValue]] = {}
    heads: dict[str, MetricValues] = {}
    for families in sources:
        for family in families:
            heads[family.name] = family
            lines = values.setdefault(family.name, {})
            for sample in family.values:
                key = sample.name, tuple(sorted(sample.labels.items()))
                before = lines[key].value if key in lines and family.type in _COUNTED else 0.0
                lines[key] = SampleValue(sample.name, sample.labels, before + sample.value)
    return {
        name: MetricValues(name, heads[name].documentation, heads[name].type, list(lines.values()))
        for name, lines in values.items()
    }
