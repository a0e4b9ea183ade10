"""The metrics of several processes as one: counters of a process that was replaced go on, and none of them ever goes back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Metric, generate_latest

_COUNTED: Final = frozenset(("counter", "histogram", "summary"))


class Value(msgspec.Struct, array_like=True):
    """One line of a metric: its name, labels and number."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, array_like=True):
    """A metric with all its lines."""

    name: str
    documentation: str
    type: str
    values: list[Value]


def families(metrics: Iterable[Metric]) -> list[Family]:
    """Metrics of prometheus_client as they are sent to another process; when a counter was created is left out."""
    return [
        Family(
            one.name,
            one.documentation,
            one.type,
            [Value(s.name, s.labels, s.value) for s in one.samples if not s.name.endswith("_created")],
        )
        for one in metrics
    ]


class _Place:
    """What the processes of one name have told: those that have ended, added up, and those that run, by their process ids."""

    def __init__(self) -> None:
        self.ended: dict[str, Family] = {}
        self.running: dict[int, list[Family]] = {}


class ProcessMetrics:
    """The metrics of all children.

    >>> one = [Family("done", "things done", "counter", [Value("done_total", {}, 3.0)])]
    >>> metrics = ProcessMetrics()
    >>> metrics.update("worker-1", 1, one, labels={"worker": "worker-1"})
    >>> metrics.end("worker-1", 1)
    >>> metrics.update("worker-1", 2, one, labels={"worker": "worker-1"})
    >>> print(metrics.text().decode())
    # HELP done_total things done
    # TYPE done_total counter
    done_total{worker="worker-1"} 6.0
    """

    def __init__(self) -> None:
        self._places: defaultdict[str, _Place] = defaultdict(_Place)
        self._labels: dict[str, dict[str, str]] = {}

    def update(self, name: str, process: int, told: list[Family], *, labels: dict[str, str]) -> None:
        """Take what a process has told; labels: what its lines get besides their own."""
        self._places[name].running[process] = told
        self._labels[name] = labels

    def end(self, name: str, process: int) -> None:
        """Keep the counters of a process that is gone; its other numbers are gone with it."""
        place = self._places[name]
        counted = [one for one in place.running.pop(process, []) if one.type in _COUNTED]
        place.ended = _sum([list(place.ended.values()), counted])

    def text(self, more: Iterable[Metric] = ()) -> bytes:
        """All of them, and some more, in the text format of Prometheus."""
        found: dict[str, Metric] = {one.name: one for one in more}
        for name, place in self._places.items():
            for family in _sum([list(place.ended.values()), *place.running.values()]).values():
                metric = found.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for one in family.values:
                    metric.add_sample(one.name, {**one.labels, **self._labels[name]}, one.value)
        registry = CollectorRegistry()
        registry.register(_Collected(list(found.values())))
        return generate_latest(registry)


class _Collected:
    """As prometheus_client asks for metrics."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _sum(told: Iterable[list[Family]]) -> dict[str, Family]:
    """Families by name: counters of equal labels added up, and the last of other numbers."""
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], Value]] = {}
    heads: dict[str, Family] = {}
    for families_ in told:
        for family in families_:
            heads[family.name] = family
            lines = values.setdefault(family.name, {})
            for one in family.values:
                key = one.name, tuple(sorted(one.labels.items()))
                before = lines[key].value if key in lines and family.type in _COUNTED else 0.0
                lines[key] = Value(one.name, one.labels, before + one.value)
    return {name: Family(name, heads[name].documentation, heads[name].type, list(lines.values())) for name, lines in values.items()}
