"""The metrics of all processes, whichever worker is asked: each tells its own to the supervisor, which adds them up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from headwater import clock
from headwater.serving.http.asgi import Refused
from headwater.serving.metrics.process_metrics import families
from headwater.serving.process.supervisor_link import Leash, Told

if TYPE_CHECKING:
    from prometheus_client import Metric

_EVERY: Final = 2.0  # seconds
_PATIENCE: Final = 5.0  # seconds, in which the supervisor has to answer


class SharedNumbers:
    """The metrics of one worker among others.

    Args:
        leash: what ties it to the supervisor.
        own: what it has counted; called on its event loop.
    """

    def __init__(self, leash: Leash, own: Callable[[], Iterable[Metric]]) -> None:
        self._leash, self._own = leash, own
        self._sent = 0.0

    def beat(self) -> None:
        """Tell the supervisor, if it is time."""
        if clock.stopwatch() - self._sent > _EVERY:
            self.send()

    def send(self) -> None:
        """Tell the supervisor how things stand now."""
        self._leash.tell(Told(metrics=families(self._own())))
        self._sent = clock.stopwatch()

    async def text(self) -> bytes:
        """All of them, in the text format of Prometheus: those of workers with the label `worker`; others are some seconds old at most.

        Raises:
            Refused: the supervisor does not answer.
        """
        self.send()
        try:
            return (await asyncio.wait_for(asyncio.wrap_future(self._leash.scrape()), _PATIENCE)).encode()
        except TimeoutError:
            raise Refused(503, f"the supervisor, which adds up metrics, has not answered within {_PATIENCE:.0f} s", again=5) from None
