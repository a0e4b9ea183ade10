"""Whether this process can answer everything: looked at once a second at most, however often it is asked."""

from __future__ import annotations

import threading
from typing import Final

from headwater import clock
from headwater.serving.service import Service

_FRESH: Final = 1.0  # seconds for which an answer holds


class Readiness:
    """The readiness of a service. Threads may share one.

    Args:
        service: looked at in a lane of its own.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lane: Service | None = None
        self._lock = threading.Lock()
        self._at, self._reasons = 0.0, list[str]()

    def fresh(self) -> list[str] | None:
        """What was found a moment ago; None where it has to be looked at again."""
        return list(self._reasons) if self._at and clock.stopwatch() - self._at < _FRESH else None

    def reasons(self) -> list[str]:
        """What keeps the service from answering everything, in sentences; the store and models are looked at where that is due."""
        with self._lock:
            found = self.fresh()
            if found is None:
                self._lane = self._lane or self._service.lane()
                found = self._reasons = self._lane.unready()
                self._at = clock.stopwatch()
            return list(found)
