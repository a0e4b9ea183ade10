"""The blocks that are resampled for intervals, and what the intervals therefore cover."""

from __future__ import annotations

from collections.abc import Mapping

from headwater.results.result import Result


class BlocksResult(Result, frozen=True):
    """The blocks of the test rows, why they are these, and how many periods of time they span.

    An interval speaks of other periods only if `covers_other_periods`: at least 8 days (or longer
    blocks) have test rows, and those of an automatic choice are not correlated. Otherwise it holds
    `on`, such as "on these 2 days", and no verdict is a LIFT or a harm.
    """

    describes: str  # "days", "hours", "blocks of 7d", "values of 'user'"
    count: int  # blocks with test rows
    periods: int  # days with test rows; where blocks of time are longer, those
    on: str  # "on these 2 days"; empty where other periods are covered
    why: str  # how the blocks were chosen, in a sentence
    effective: float | None = None  # as many equal blocks as these weigh like, by their rows
    # of paired differences of successive blocks, by length, of each that was tried
    autocorrelation: Mapping[str, float] = {}

    @property
    def covers_other_periods(self) -> bool:
        """Whether an interval says something of periods that are not in the data: a LIFT and a
        recommendation need it.
        """
        return not self.on
