"""Work that a service repeats for as long as it runs: an error is logged and counted, and the next time is tried later."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, Metric

_LOG: Final = logging.getLogger("headwater.serving")
_LONGEST: Final = 60.0  # seconds between two tries of what keeps failing


class Repeated:
    """Loops that no error ends. failures: how often each has failed."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()

    async def every(self, seconds: float, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` for ever, so many seconds after the last time; after failures in a row, later each time."""
        wait = seconds
        while True:
            await asyncio.sleep(wait)
            try:
                await work()
                wait = seconds
            except Exception as error:  # noqa: BLE001 (a loop that ends would be noticed by nobody)
                wait = min(2 * wait, _LONGEST)
                if not self.failures[name]:
                    self.failures[name] = 0
                self.failures[name] += 1
                _LOG.warning("%s failed, and is tried again in %.1f s: %s: %s", name, wait, type(error).__name__, error)

    def collect(self) -> Iterator[Metric]:
        """The failures, for Prometheus."""
        failures = CounterMetricFamily("headwater_background_failures", "failures of work that the service repeats", labels=["work"])
        for name, count in self.failures.items():
            failures.add_metric([name], count)
        yield failures
