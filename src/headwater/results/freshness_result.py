"""How fresh the views and sources of a project are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from headwater.results.result import Result


class ViewFreshness(Result, frozen=True):
    """A stored view: its promise and its age now.

    state: as of `hw.status`: "current", "stale", "ahead", "incomplete", "filling", "absent",
    "approximate" or "not stored". promise: the oldest age in seconds that its freshness allows,
    None where there is none. age: seconds, None where there is nothing. cut: that is read, of a
    batch view. levels: that read it so.
    """

    view: str
    source: str
    freshness: str
    state: str
    promise: float | None
    age: float | None
    cut: datetime | None
    levels: Sequence[str]

    @property
    def kept(self) -> bool:
        """Whether the promise is kept now."""
        return self.state == "current"


class SourceFreshness(Result, frozen=True):
    """The stream of a source, or one partition of it.

    lag: seconds since all that had been received was read. newest: the time of the latest event.
    outcomes: records by outcome since the beginning (accepted, copies, filtered, refused, held,
    released). held: events that wait for their time now. delay_median, delay_p95: seconds from an
    event's time to when it was known, of the latest events; late: the share of them that became
    known later than the strictest promise of the source's streaming views. dead: refused records by
    reason.
    """

    source: str
    partition: str | None
    lag: float
    newest: datetime | None
    outcomes: Mapping[str, int]
    held: int
    delay_median: float | None
    delay_p95: float | None
    late: float | None
    dead: Mapping[str, int]


class FreshnessResult(Result, frozen=True):
    """Every stored view and every streamed source at a time."""

    at: datetime
    views: Sequence[ViewFreshness]
    sources: Sequence[SourceFreshness]
