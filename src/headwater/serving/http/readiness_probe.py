"""The readiness of this process, checked once a second at most."""

from __future__ import annotations

import threading
from typing import Final

from headwater import clock
from headwater.serving.service import Service

_FRESH: Final = 1.0  # seconds for which a result is cached


class ReadinessProbe:
    """The readiness of a service. Threads may share one.

    Args:
        service: checked through its own thread copy.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lane: Service | None = None
        self._lock = threading.Lock()
        self._at, self._reasons = 0.0, list[str]()

    def fresh(self) -> list[str] | None:
        """The cached reasons; None where they are too old."""
        return list(self._reasons) if self._at and clock.stopwatch() - self._at < _FRESH else None

    def reasons(self) -> list[str]:
        """The reasons why the service is not ready, in sentences; checks the store and models if
        the cache is too old.
        """
        with self._lock:
            reasons = self.fresh()
            if reasons is None:
                self._lane = self._lane or self._service.lane()
                reasons = self._reasons = self._lane.unready()
                self._at = clock.stopwatch()
            return list(reasons)
