"""The one recommendation of a backtest as plain frozen values; the first line of every rendering is
its `first_line`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from headwater.results.result import Result

Answer = Literal["run", "cannot decide", "withheld"]


class Recommendation(Result, frozen=True):
    """Which level to run, or why that cannot be said.

    answer: "run" names a level; "cannot decide" where the intervals are too wide; "withheld" where
    the numbers cannot be trusted.
    baseline: the level that serves today, else the stalest one. break_even: by level, the least
    gain over the baseline that is worth having, in the unit of the metric; break_even_from: where
    it comes from, in words. undecided: the levels between which the data do not decide. days,
    days_most: about how many more days of test would decide, in half of the cases and in four of
    five; infinite beyond ten years, NaN where that is not known. limits: what the sentence does not
    cover, in sentences. sentence: what to do. in_practice: what that changes for those who act on
    the predictions.
    """

    answer: Answer
    level: str
    baseline: str
    sentence: str
    in_practice: str = ""
    break_even: Mapping[str, float] = {}
    break_even_from: str = ""
    undecided: Sequence[str] = ()
    days: float = float("nan")
    days_most: float = float("nan")
    limits: Sequence[str] = ()

    @property
    def first_line(self) -> str:
        """The first line of every page."""
        return f"{self.sentence} {self.in_practice}".strip()

    @property
    def withheld(self) -> bool:
        """Whether nothing on the page may be trusted."""
        return self.answer == "withheld"
