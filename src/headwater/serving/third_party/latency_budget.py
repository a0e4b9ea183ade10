"""The latency budget of a model: a deadline for each request, and the time reserved for the work
after third-party calls.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from headwater import clock
from headwater.definitions.checks import SECOND, Duration, micros

_GUESS: Final = 0.1  # share of the budget, before there are measurements
# share of the budget, at most: one pause of the machine must not prevent third-party calls
_MOST: Final = 0.5
_FEW: Final = 64  # measurements
_CALLS: Final = "third party"


@dataclass
class Deadline:
    """The deadline of a response, and the seconds of its stages; created by `LatencyLimit.start`
    when a request arrives.

    budget: seconds; None is unlimited. stages: seconds by name, in order, recorded by `lap`.
    granted: seconds for third parties.
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

    def remaining(self) -> float:
        """Seconds until the deadline: negative after it, infinite without a budget."""
        return math.inf if self.budget is None else self.budget - self.spent()

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to a stage."""
        now = self.now()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._cut
        self._cut = now


class DurationQuantile:
    """A rolling quantile of durations: the 99.5th percentile of the last 512."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=512)
        self._worst: float | None = None
        self._count = 0

    def add(self, seconds: float) -> None:
        """Add a measurement."""
        self._last.append(seconds)
        self._count += 1
        if self._count % 16 == 0 or self._count < 64 or seconds > (self._worst or 0.0):
            ordered = sorted(self._last)
            self._worst = ordered[math.ceil(0.995 * len(ordered)) - 1]

    def worst(self, guess: float) -> float:
        """Seconds; at least `guess` while there are few measurements."""
        if self._worst is None:
            return guess
        return self._worst if self._count >= _FEW else max(self._worst, guess)


class LatencyLimit:
    """A model's latency budget; one in each process, for all requests.

    Third-party calls are cut off when the time left is what the rest of a request needs: reading,
    request features, the model, and the delay of waking up, as measured in the last requests.
    `late` counts responses after their deadline, `cut_off` those with third-party features cut off.

    >>> limit = LatencyLimit("80ms")
    >>> due = limit.start()
    >>> 0.05 < limit.for_calls(due) < 0.08
    True
    """

    def __init__(
        self, budget: Duration | None, *, now: Callable[[], float] = clock.stopwatch
    ) -> None:
        self.budget = None if budget is None else micros(budget, "latency_budget") / SECOND
        self.late = self.cut_off = 0
        self._now = now
        self._rest = DurationQuantile()

    def start(self, since: float | None = None) -> Deadline:
        """The deadline of a request that arrives now, or that arrived at `since` on the clock."""
        return Deadline(self.budget, self._now, math.nan if since is None else since)

    def for_calls(self, deadline: Deadline) -> float | None:
        """Seconds left for third-party calls; None without a budget."""
        if self.budget is None:
            return None
        deadline.granted = deadline.remaining() - min(
            self._rest.worst(_GUESS * self.budget), _MOST * self.budget
        )
        return deadline.granted

    def done(self, deadline: Deadline, *, cut_off: bool = False) -> None:
        """Record a request: the seconds of its stages after `deadline.lap("third party")`."""
        if self.budget is None:
            return
        stages = list(deadline.stages)
        after = stages[stages.index(_CALLS) + 1 :] if _CALLS in stages else stages
        too_late = max(0.0, deadline.stages.get(_CALLS, 0.0) - max(deadline.granted, 0.0))
        self._rest.add(too_late + sum(deadline.stages[stage] for stage in after))
        self.late += deadline.remaining() < 0
        self.cut_off += cut_off
