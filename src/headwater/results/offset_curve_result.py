"""The headline metric as a function of how much later the events of one source are placed, as plain
frozen values.
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.results.estimate import Estimate
from headwater.results.result import Result


class OffsetPoint(Result, frozen=True):
    """The model, trained again, with the events `offset_seconds` later: the metric, and its change
    from the point that is not moved, paired and so signed that a rise is a gain. what: the offset
    in words.
    """

    offset_seconds: float
    what: str
    value: Estimate
    change: Estimate


class OffsetCurve(Result, frozen=True):
    """The curve of one source. It illustrates and never convicts: fresh signals of honest events
    fade too.

    Attributes:
        source: whose events were moved. views: those that read it.
        why: "named", or the check of the audit that flagged it.
        metric: the headline. level: all other views are as fresh as at this one; those of the
            source are read at the request.
        points: by rising offset, the first not moved.
        without: the model without the views of the source. fits: models that were trained.
    """

    source: str
    views: Sequence[str]
    why: str
    metric: str
    level: str
    points: Sequence[OffsetPoint]
    without: Estimate
    fits: int
