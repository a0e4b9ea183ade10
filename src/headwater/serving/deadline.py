"""The latency limit of a model: a deadline that travels with a request, and what has to be left of it for the work after third parties."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from headwater import clock
from headwater.definitions.durations import SECOND, Duration, micros

_GUESS: Final = 0.1  # of the budget, before anything was measured
_MOST: Final = 0.5  # of the budget: one pause of the machine must not keep third parties from being asked
_CALLS: Final = "third party"


@dataclass
class Deadline:
    """When an answer is due, and where its time went; made by `LatencyLimit.start` as a request arrives.

    budget: seconds; None is without end. `stages` are seconds by name, in order, as `lap` has cut them.
    """

    budget: float | None = None
    now: Callable[[], float] = clock.stopwatch
    started: float = field(default=math.nan)
    stages: dict[str, float] = field(default_factory=dict)
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


@dataclass
class Pace:
    """How long something takes lately at worst: the moving mean and four mean deviations (Jacobson, 1988, of round trips)."""

    mean: float | None = None
    deviation: float = 0.0

    def add(self, seconds: float) -> None:
        """Take in one more measurement."""
        if self.mean is None:
            self.mean, self.deviation = seconds, seconds / 2
            return
        self.deviation += (abs(seconds - self.mean) - self.deviation) / 4
        self.mean += (seconds - self.mean) / 8

    def worst(self, guess: float) -> float:
        """Seconds; `guess` before anything was measured."""
        return guess if self.mean is None else self.mean + 4 * self.deviation


class LatencyLimit:
    """A model's latency budget; one in each process, for all requests.

    Third-party calls that still run when no more is left than the rest usually takes (reading, request features, the model: measured,
    moving) are cut off. `late` counts answers that came after their time all the same, `cut_off` those that went out with third-party
    features cut off.

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
        return deadline.left() - min(self._rest.worst(_GUESS * self.budget), _MOST * self.budget)

    def done(self, deadline: Deadline, *, cut_off: bool = False) -> None:
        """Learn from a request that was answered: what it took after `deadline.lap("third party")`."""
        if self.budget is None:
            return
        stages = list(deadline.stages)
        after = stages[stages.index(_CALLS) + 1 :] if _CALLS in stages else stages
        self._rest.add(sum(deadline.stages[stage] for stage in after))
        self.late += deadline.left() < 0
        self.cut_off += cut_off
