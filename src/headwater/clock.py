"""The only place that reads the wall clock, and the clocks that it is compared with."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Protocol

_STEADY = tuple(
    getattr(time, name) for name in ("CLOCK_MONOTONIC", "CLOCK_BOOTTIME") if hasattr(time, name)
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What takes the place of the machine's clocks in tests; only `headwater.testing.clock` sets
    one, and no service imports that.
    """

    def wall(self) -> int:
        """The current time in microseconds since 1970 UTC."""
        ...

    def steady(self) -> int:
        """Microseconds of the monotonic clocks."""
        ...

    def moved(self) -> float:
        """Seconds that it was moved on, beside those that really passed."""
        ...

    def waits(self, seconds: float) -> None:
        """Told of each wait as it begins; it may move on at once."""
        ...


_instead: Clock | None = None


def read_instead(replacement: Clock | None) -> Clock | None:
    """Read this clock from now on in this process, None for the machine's; returns the one
    before.
    """
    global _instead
    before, _instead = _instead, replacement
    return before


def now() -> datetime:
    """The current time, tz-aware in UTC."""
    return datetime.now(UTC) if _instead is None else timestamp(_instead.wall())


def stopwatch() -> float:
    """Seconds of a monotonic clock; only differences are meaningful."""
    real = time.perf_counter()
    return real if _instead is None else real + _instead.moved()


_NEVER = Event()


def wait(seconds: float, event: Event = _NEVER) -> bool:
    """Wait so many seconds by the stopwatch, or until an event is set; whether it is."""
    if _instead is None:
        return event.wait(max(seconds, 0.0))
    until = stopwatch() + seconds
    _instead.waits(seconds)
    while (rest := until - stopwatch()) > 0 and not event.wait(min(rest, 0.01)):
        pass
    return event.is_set()


def processor_seconds() -> float:
    """Seconds that this process and its children that have ended have computed, on all processors;
    only differences are meaningful.
    """
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def steady_micros() -> tuple[int, ...]:
    """Microseconds of the monotonic clocks; one counts while the machine sleeps; only differences
    are meaningful.
    """
    if _instead is not None:
        return (_instead.steady(),) * len(_STEADY)
    return tuple(time.clock_gettime_ns(clock_id) // 1000 for clock_id in _STEADY)


def micros(timestamp: datetime) -> int:
    """A tz-aware timestamp as microseconds since 1970 UTC.

    >>> micros(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (timestamp - EPOCH) // timedelta(microseconds=1)


def timestamp(micros_since: int) -> datetime:
    """Microseconds since 1970 UTC as a tz-aware timestamp.

    >>> timestamp(1_000_000).isoformat()
    '1970-01-01T00:00:01+00:00'
    """
    return EPOCH + timedelta(microseconds=micros_since)


def now_micros() -> int:
    """The current time in microseconds since 1970 UTC."""
    return time.time_ns() // 1000 if _instead is None else _instead.wall()
