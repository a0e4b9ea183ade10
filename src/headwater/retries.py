"""One way to try again: pauses that double up to a limit, and a retry of reads and of connections.

A commit is never sent again blindly: the first one may have been made although no answer came.
Whether it was made is looked up, or the server makes it once however often it arrives. A loop that
compares and sets, and reads and decides again when refused, is not a retry, and stands where the
decision is.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from headwater import clock

T = TypeVar("T")
E = TypeVar("E", bound=Exception)


@dataclass(frozen=True)
class Backoff:
    """Pauses in seconds: `first`, then each twice as long as the one before, and none longer than
    `longest`.

    What runs on and on, such as a job or a process that is started again, takes the next pause
    after each failure, and starts over with `iter` once it has worked.

    >>> list(islice(Backoff(first=1, longest=5), 5))
    [1, 2, 4, 5, 5]
    """

    first: float
    longest: float

    def __iter__(self) -> Iterator[float]:
        pause = self.first
        while True:
            yield min(pause, self.longest)
            pause *= 2

    def within(self, seconds: float = math.inf, *, times: int | None = None) -> Iterator[float]:
        """The pauses between the calls of one retry, which begins now: each from half as long up to
        its length, by chance.

        So the clients of a server that comes back do not all call it at the same time.

        Args:
            seconds: a pause that would end later is not made, and the retry ends.
            times: how many pauses there are at most; None for any number.
        """
        until = clock.stopwatch() + seconds

        def pauses() -> Iterator[float]:
            for longest in islice(self, times):
                pause = random.uniform(longest / 2, longest)  # noqa: S311 (no secret)
                if clock.stopwatch() + pause > until:
                    return
                yield pause

        return pauses()


def retry(
    read: Callable[[], T],
    *,
    on: type[E] | tuple[type[E], ...],
    pauses: Iterator[float],
    passes: Callable[[E], bool] = lambda _: True,
    wait: Callable[[float], object] = clock.wait,
) -> T:
    """Call `read`, again after an error that may pass, and return its result; the last error is
    raised unchanged.

    Args:
        read: reads, or connects. It never commits: see above.
        on: the errors that may pass.
        pauses: seconds before each further call, as of `Backoff.within`; at their end it is not
            called again.
        passes: whether one of these errors may pass; each is shown to it once.
        wait: waits so many seconds.

    >>> left = iter([ConnectionRefusedError("starting"), ConnectionRefusedError("starting"), None])
    >>> def connected():
    ...     if error := next(left):
    ...         raise error
    ...     return "connected"
    >>> retry(connected, on=ConnectionError, pauses=Backoff(0.001, 0.01).within(seconds=5))
    'connected'
    """
    while True:
        try:
            return read()
        except on as error:
            pause = next(pauses, None) if passes(error) else None
            if pause is None:
                raise
        wait(pause)
