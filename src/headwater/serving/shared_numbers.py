"""The numbers of all workers, whichever is asked: each keeps a file of its own, and reads those of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from headwater import clock

_EVERY: Final = 2.0  # seconds


class SharedNumbers:
    """The numbers of one worker among others.

    Args:
        place: the worker's own file, named after it; those of the others lie beside.
        own: what it has counted, in the text format of Prometheus.
    """

    def __init__(self, place: Path, own: Callable[[], bytes]) -> None:
        self._place, self._own = place, own
        self._written = 0.0

    def beat(self) -> None:
        """Write the file, if it is time."""
        if clock.stopwatch() - self._written > _EVERY:
            self._write()

    def text(self) -> bytes:
        """All of them, each with the label `worker`: its own as they are now, those of the others some seconds old at most."""
        self._write()
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client asks for it."""
        families: dict[str, Metric] = {}
        for path in sorted(self._place.parent.glob(f"*{self._place.suffix}")):
            for found in text_string_to_metric_families(path.read_text(encoding="utf-8")):
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                for sample in found.samples:
                    family.add_sample(sample.name, {**sample.labels, "worker": path.stem}, sample.value)
        yield from families.values()

    def _write(self) -> None:
        part = self._place.with_suffix(".part")
        part.write_bytes(self._own())
        part.replace(self._place)
        self._written = clock.stopwatch()
