"""What came of an expectation, as a plain frozen value."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.results.result import Result


class ExpectationCheck(Result, frozen=True):
    """An expectation, and the days that break it.

    Attributes:
        subject: the source or view, such as "source visits".
        expectation: in words.
        rows: that were checked. broken: those that break it by themselves.
        days: how many days had rows. broken_days: those that break it, ISO 8601, from early to
            late. last_day: the last that had rows.
    """

    subject: str
    expectation: str
    rows: int
    broken: int
    days: int
    broken_days: Sequence[str]
    last_day: str = ""

    @property
    def holds(self) -> bool:
        """Whether no day breaks it."""
        return not self.broken_days

    def __str__(self) -> str:
        if self.holds:
            return f"{self.subject}, {self.expectation}: holds for {self.rows:,} rows"
        rows = f"{self.broken:,} of {self.rows:,} rows, on " if self.broken else ""
        return (
            f"{self.subject}, {self.expectation}: broken by {rows}{len(self.broken_days)} of "
            f"{self.days} days, the last {self.broken_days[-1]}"
        )
