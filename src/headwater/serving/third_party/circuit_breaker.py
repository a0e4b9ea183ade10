"""A circuit breaker: stops calls after failures, and tests recovery with one call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Literal

from headwater import clock

_LAST: Final = 20  # calls in the window
_LEAST: Final = 10  # calls before the breaker may open


class CircuitBreaker:
    """A circuit breaker, closed at first.

    It opens when at least half of the last 20 calls failed (from 10 calls on). After `pause`
    seconds one call is allowed: if it succeeds the breaker closes, else it opens again.

    Args:
        pause: seconds; None for a breaker that never opens.
        now: a monotonic clock, seconds.
    """

    def __init__(self, pause: float | None, *, now: Callable[[], float] = clock.stopwatch) -> None:
        self._pause, self._now = pause, now
        self._last: deque[bool] = deque(maxlen=_LAST)
        self._until: float | None = None
        self._trying = False

    @property
    def state(self) -> Literal["closed", "open", "half-open"]:
        """The state; half-open while one test call is allowed or in progress."""
        if self._until is None:
            return "closed"
        return "open" if self._now() < self._until else "half-open"

    def allows(self) -> bool:
        """Whether to make a call now; an allowed call must end with `record` or `release`."""
        if self._until is None:
            return True
        if self._trying or self._now() < self._until:
            return False
        self._trying = True
        return True

    def record(self, *, succeeded: bool) -> None:
        """Record the outcome of a call."""
        if self._until is not None:
            if self._trying:  # a call from before the breaker opened does not count
                self._trying = False
                self._until = None if succeeded else self._opened()
                self._last.clear()
            return
        self._last.append(succeeded)
        if (
            self._pause is not None
            and len(self._last) >= _LEAST
            and self._last.count(False) * 2 >= len(self._last)
        ):
            self._until = self._opened()

    def release(self) -> None:
        """End a call that neither succeeded nor failed."""
        self._trying = False

    def _opened(self) -> float:
        return self._now() + (self._pause or 0.0)
