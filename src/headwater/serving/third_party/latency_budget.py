"""The latency limit of a model: a deadline that travels with a request, and what has to be left of it for the work after third parties."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from headwater import clock
from headwater.definitions.durations import SECOND, Duration, micros

_GUESS: Final = 0.1  # of the budget, before anything was measured
_MOST: Final = 0.5  # of the budget: one pause of the machine must not keep third parties from being asked
_FEW: Final = 64  # measurements
_CALLS: Final = "third party"


@dataclass
class Deadline:
    """When an answer is due, and where its time went; made by `LatencyLimit.start` as a request arrives.

    budget: seconds; None is without end. `stages` are seconds by name, in order, as `lap` has cut them. granted: what third parties got.
    """

    budget: float | None = None
    now: Callable[[], float] = clock.stopwatch
    started: float = field(default=math.nan)
    stages: dict[str, float] = field(default_factory=dict)
    granted: float = math.inf
    _cut: float = math.nan

    def __post_init__(self) -> None:
        if math.isnan(self.started):
            self.started = self.now()
        self._cut = self.started

    def spent(self) -> float:
        """Seconds since the request arrived."""
        return self.now() - self.started

    def left(self) -> float:
        """Seconds until the answer is due: less than nothing where it is late, infinite without a budget."""
        return math.inf if self.budget is None else self.budget - self.spent()

    def lap(self, stage: str) -> None:
        """Say that what went on since the last lap was this stage."""
        now = self.now()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._cut
        self._cut = now


class Pace:
    """How long something takes lately at worst: what 995 of 1,000 measurements do not exceed, by the last 512."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=512)
        self._worst: float | None = None
        self._count = 0

    def add(self, seconds: float) -> None:
        """Take in one more measurement."""
        self._last.append(seconds)
        self._count += 1
        if self._count % 16 == 0 or self._count < 64 or seconds > (self._worst or 0.0):
            found = sorted(self._last)
            self._worst = found[math.ceil(0.995 * len(found)) - 1]

    def worst(self, guess: float) -> float:
        """Seconds; at least `guess` while there are few measurements."""
        if self._worst is None:
            return guess
        return self._worst if self._count >= _FEW else max(self._worst, guess)


class LatencyLimit:
    """A model's latency budget; one in each process, for all requests.

    Third-party calls that still run when no more is left than the rest takes at worst are cut off: reading, request features, the
    model, and how much too late one wakes up, as measured of the last answers. `late` counts answers that came after their time all the
    same, `cut_off` those that went out with third-party features cut off.

    >>> limit = LatencyLimit("80ms")
    >>> due = limit.start()
    >>> 0.05 < limit.for_calls(due) < 0.08
    True
    """

    def __init__(self, budget: Duration | None, *, now: Callable[[], float] = clock.stopwatch) -> None:
        self.budget = None if budget is None else micros(budget, "latency_budget") / SECOND
        self.late = self.cut_off = 0
        self._now = now
        self._rest = Pace()

    def start(self, since: float | None = None) -> Deadline:
        """The deadline of a request that has just arrived, or that arrived when the clock showed `since`."""
        return Deadline(self.budget, self._now, math.nan if since is None else since)

    def for_calls(self, deadline: Deadline) -> float | None:
        """Seconds that third parties may still take; None without a budget."""
        if self.budget is None:
            return None
        deadline.granted = deadline.left() - min(self._rest.worst(_GUESS * self.budget), _MOST * self.budget)
        return deadline.granted

    def done(self, deadline: Deadline, *, cut_off: bool = False) -> None:
        """Learn from a request that was answered: what it took after `deadline.lap("third party")`."""
        if self.budget is None:
            return
        stages = list(deadline.stages)
        after = stages[stages.index(_CALLS) + 1 :] if _CALLS in stages else stages
        too_late = max(0.0, deadline.stages.get(_CALLS, 0.0) - max(deadline.granted, 0.0))
        self._rest.add(too_late + sum(deadline.stages[stage] for stage in after))
        self.late += deadline.left() < 0
        self.cut_off += cut_off
