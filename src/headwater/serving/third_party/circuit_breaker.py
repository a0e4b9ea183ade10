"""A circuit breaker: whoever fails half of the time is left alone for a while, and then asked once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Literal

from headwater import clock

_LAST: Final = 20  # calls that count
_LEAST: Final = 10  # before there are so many, nothing is concluded


class Breaker:
    """Whether to ask a third party; closed at first.

    It opens when at least half of the last 20 calls (of 10, while there are no more) failed. After `pause` seconds one call is let through:
    if it succeeds the breaker closes, else it opens again.

    Args:
        pause: seconds; None for a breaker that never opens.
        now: seconds on a clock that never goes back.
    """

    def __init__(self, pause: float | None, *, now: Callable[[], float] = clock.stopwatch) -> None:
        self._pause, self._now = pause, now
        self._last: deque[bool] = deque(maxlen=_LAST)
        self._until: float | None = None
        self._trying = False

    @property
    def state(self) -> Literal["closed", "open", "half-open"]:
        """Half-open while one call may try, or tries."""
        if self._until is None:
            return "closed"
        return "open" if self._now() < self._until else "half-open"

    def allows(self) -> bool:
        """Whether to make a call now; who is allowed to tells how it went by `told`, or by `untold`."""
        if self._until is None:
            return True
        if self._trying or self._now() < self._until:
            return False
        self._trying = True
        return True

    def told(self, *, succeeded: bool) -> None:
        """Note how a call went."""
        if self._until is not None:
            if self._trying:  # else a call from before it opened, which says nothing new
                self._trying = False
                self._until = None if succeeded else self._opened()
                self._last.clear()
            return
        self._last.append(succeeded)
        if self._pause is not None and len(self._last) >= _LEAST and self._last.count(False) * 2 >= len(self._last):
            self._until = self._opened()

    def untold(self) -> None:
        """Note that a call ended without a verdict on the third party."""
        self._trying = False

    def _opened(self) -> float:
        return self._now() + (self._pause or 0.0)
