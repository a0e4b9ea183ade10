"""How fine the timestamps of the data are, and which levels they can tell from the staler one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from headwater.results.result import Result

Resolution = Literal["day", "hour", "minute", "second", "finer"]

RESOLUTION_SECONDS: dict[Resolution, float] = {
    "day": 86_400.0,
    "hour": 3_600.0,
    "minute": 60.0,
    "second": 1.0,
    "finer": 0.0,
}
"""Each resolution in seconds, from coarse to fine."""


class ResolutionPeriod(Result, frozen=True):
    """A period in which the timestamps of a source have one resolution."""

    resolution: Resolution
    start: str  # ISO 8601, UTC: the first timestamp
    end: str  # the last one
    share: float  # of the timestamps looked at in this period, those on its grid


class SourceResolution(Result, frozen=True):
    """The resolution of the column that says when the events of a source are known."""

    source: str
    column: str
    periods: Sequence[ResolutionPeriod]  # in order of time
    # as the source says; None where a column says when events are known
    known_after_seconds: float | None
    question: str = ""  # what to ask the user, with the remedy; empty where nothing is open

    @property
    def coarsest(self) -> Resolution:
        """The coarsest resolution of any period."""
        return min(
            (period.resolution for period in self.periods),
            key=list(RESOLUTION_SECONDS).index,
            default="finer",
        )


class ViewMeasurable(Result, frozen=True):
    """Whether one view can tell a level from the staler one."""

    view: str
    source: str
    # of the requests, those for which the timestamps of the source can tell the two levels apart
    share: float
    # whether the request times are too coarse, and not the timestamps of the source
    by_requests: bool = False

    @property
    def measurable(self) -> bool:
        """Whether that holds for at least half of the requests."""
        return self.share >= MEASURABLE_SHARE


MEASURABLE_SHARE = 0.5


class LevelMeasurable(Result, frozen=True):
    """Whether the data can tell a level from a staler one.

    Of the views that are fresher at `level` than at `staler`, `views` has those whose timestamps
    are fine enough to say so, and `other_views` those whose are not.
    """

    level: str
    staler: str
    state: Literal["measurable", "partly measurable", "not measurable"]
    views: Sequence[ViewMeasurable]
    other_views: Sequence[ViewMeasurable]
    reason: str = ""  # in a sentence; empty where it is measurable
