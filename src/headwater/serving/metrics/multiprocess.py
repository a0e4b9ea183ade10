"""Metrics of all processes, from any worker: each process sends its own to the supervisor, which
adds them up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from headwater import clock
from headwater.serving.http.asgi import Refused
from headwater.serving.metrics.process_metrics import families
from headwater.serving.process.supervisor_link import ChildMessage, SupervisorLink

if TYPE_CHECKING:
    from prometheus_client import Metric

_EVERY: Final = 2.0  # seconds
_PATIENCE: Final = 5.0  # seconds to wait for the supervisor


class MultiprocessMetrics:
    """Metrics of a worker process and, through the supervisor, of all processes.

    Args:
        link: the connection to the supervisor.
        collect: returns the metrics of this process; called on its event loop.
    """

    def __init__(self, link: SupervisorLink, collect: Callable[[], Iterable[Metric]]) -> None:
        self._link, self._collect = link, collect
        self._sent = 0.0

    def beat(self) -> None:
        """Send the metrics, every two seconds."""
        if clock.stopwatch() - self._sent > _EVERY:
            self.send()

    def send(self) -> None:
        """Send the current metrics to the supervisor."""
        self._link.tell(ChildMessage(metrics=families(self._collect())))
        self._sent = clock.stopwatch()

    async def text(self) -> bytes:
        """The metrics of all processes, in Prometheus text format; workers have the label `worker`.
        Those of others are a few seconds old.

        Raises:
            Refused: 503, the supervisor does not respond.
        """
        self.send()
        try:
            return (
                await asyncio.wait_for(asyncio.wrap_future(self._link.scrape()), _PATIENCE)
            ).encode()
        except TimeoutError:
            raise Refused(
                503, f"the supervisor did not return metrics within {_PATIENCE:.0f} s", again=5
            ) from None
