"""Periodic tasks of a service: an error is logged and counted, and the task is retried with
backoff.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, Metric

from headwater.retries import Backoff

_LOG: Final = logging.getLogger("headwater.serving")
_LONGEST: Final = 60.0  # seconds, the longest backoff


class PeriodicTasks:
    """Periodic tasks that survive errors. failures: count by task."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()

    async def every(self, seconds: float, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Await `work` every `seconds`; consecutive failures double the wait."""
        backoff = Backoff(2 * seconds, _LONGEST)
        wait, pauses = seconds, iter(backoff)
        while True:
            await asyncio.sleep(wait)
            try:
                await work()
                wait, pauses = seconds, iter(backoff)
            except Exception as error:  # noqa: BLE001 (a task that ended would go unnoticed)
                wait = next(pauses)
                if not self.failures[name]:
                    self.failures[name] = 0
                self.failures[name] += 1
                _LOG.warning(
                    "%s failed; retry in %.1f s: %s: %s", name, wait, type(error).__name__, error
                )

    def collect(self) -> Iterator[Metric]:
        """The failures, for Prometheus."""
        failures = CounterMetricFamily(
            "headwater_background_failures", "failures of periodic tasks", labels=["work"]
        )
        for name, count in self.failures.items():
            failures.add_metric([name], count)
        yield failures
