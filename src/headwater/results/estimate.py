"""Estimates with intervals, and differences of two levels with verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from headwater.results.result import Result

Kind = Literal["batch", "real-time"]


Verdict = Literal["LIFT", "harm", "negligible", "inconclusive", "not measurable", "not judged"]
VERDICT_WORDS: Mapping[Verdict, str] = {
    "LIFT": "LIFT",
    "harm": "harm",
    "negligible": "no lift worth having",
    "inconclusive": "not proven",
    "not measurable": "cannot be measured",
    "not judged": "",
}
"""Each verdict as reports write it. What timestamps are too coarse to show is not measurable, even
if the interval excludes 0; a difference that is not judged has an interval only.
"""


class Estimate(Result, frozen=True):
    """A value with its 95 % block-bootstrap interval; `low` and `high` are NaN where there are too
    few blocks.
    """

    value: float
    low: float
    high: float


class Comparison(Result, frozen=True, rename={"from_": "from"}):
    """The difference `to` minus `from_` in one metric, on the same resamples, so signed that a rise
    is a gain.

    `low` and `high` are the 95 % interval of this step by itself. Only a level against the baseline
    in the headline metric has a verdict; `p` is its p-value among the `family` of these (Holm), NaN
    on slices, whose intervals are widened instead, and NaN where nothing is judged. `mde` is the
    lift that this test would detect in 80 % of cases (2.8 standard errors, more in a larger
    family).
    """

    from_: str
    to: str
    metric: str
    delta: float
    low: float
    high: float
    mde: float
    verdict: Verdict
    # the verdict in words: "LIFT of +0.104 [0.084, 0.121]", "not proven: +0.004 [-0.013, +0.021],
    # at most +0.021; ..."
    sentence: str
    p: float = float("nan")
    family: int = 1

    @property
    def verdict_words(self) -> str:
        """The verdict as reports write it."""
        return VERDICT_WORDS[self.verdict]

    @property
    def lifts(self) -> bool:
        """Whether it is a LIFT: nothing else counts as a gain."""
        return self.verdict == "LIFT"
