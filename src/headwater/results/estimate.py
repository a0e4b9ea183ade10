"""Estimates with intervals, paired differences with verdicts, and findings of the leak audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headwater.definitions.readable import Readable

Kind = Literal["batch", "real-time"]


Verdict = Literal["LIFT", "harm", "no lift worth having", "not shown"]


@dataclass(frozen=True)
class Estimate(Readable):
    """A value with its 95 % block-bootstrap interval; `low` and `high` are NaN where there are too few blocks."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired(Readable):
    """The difference `to` minus `from_` in one metric, on the same resamples, so signed that a rise is a gain.

    `low` and `high` are the 95 % interval of this step by itself. `p` is its p-value among the `family` of steps in that metric
    (Holm), NaN on slices, whose intervals are widened instead. `detectable` is the lift that this test would detect in 80 % of
    cases (2.8 standard errors, more in a larger family).
    """

    from_: str
    to: str
    metric: str
    delta: float
    low: float
    high: float
    detectable: float
    verdict: Verdict
    sentence: str  # the verdict in words: "LIFT of +0.104 [0.084, 0.121]", "not shown: at most +0.021; ..."
    p: float = float("nan")
    family: int = 1


@dataclass(frozen=True)
class LeakFinding(Readable):
    """One finding of the leak audit."""

    kind: Literal["label rows", "implausible feature", "clean"]
    severity: Literal["leak", "warning", "ok"]
    subject: str  # the source or feature
    columns: Sequence[str]
    share: float  # of rows
    message: str
