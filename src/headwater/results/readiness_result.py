"""The result of a readiness assessment as plain frozen values; every rendering reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from headwater.results.measurement import Missing, Number, Reading
from headwater.results.measurement import duration as _duration
from headwater.results.result import Result

State = Literal["green", "amber", "red", "unknown"]
Gate = Literal["O1", "O3", "C1", "C3"]
Reach = Literal["none", "daily", "hourly", "streaming", "at request time"]

REACHES: Sequence[Reach] = ("none", "daily", "hourly", "streaming", "at request time")
ONLINE = (
    "O0 batch predictions in a lookup table",
    "O1 online prediction, batch features",
    "O2 + request-time features",
    "O3 + streaming features",
)
LEARNING = (
    "C0 manual retrain",
    "C1 scheduled retrain",
    "C2 stateful/incremental",
    "C3 triggered + tested in production",
)


class Finding(Result, frozen=True):
    """One check of one subject.

    check: its id in the scorecard, such as "E3". gate: the rung that it gates. about: such as "view
    card" or "model fraud". state: unknown if nothing was measured and nothing answered. reading:
    the number that was judged, or why there is none; further: other numbers by name. green, red:
    the thresholds in words, with their values. remedy: what to do if it is not green.
    """

    check: str
    gate: Gate
    about: str
    title: str
    state: State
    reading: Reading
    green: str
    red: str
    remedy: str
    further: Mapping[str, Reading]

    @property
    def said(self) -> str:
        """The reading in words."""
        match self.reading:
            case Missing():
                return str(self.reading)
            case Number(unit=""):
                return self.reading.source
            case Number(value=value, unit="share"):
                return (
                    f"{value:.4g} of {self.reading.source}"
                    if self.reading.source[:1].isdigit()
                    else f"{value:.4g}: {self.reading.source}"
                )
            case Number(value=value, unit="s"):
                return f"{_duration(value)}, {self.reading.source}"
            case Number():
                return f"{self.reading.value:.3g} {self.reading.unit}, {self.reading.source}"


class Blocker(Result, frozen=True):
    """What blocks a view from a level: "red" if a check failed, "unknown" if it was neither
    measured nor answered.
    """

    level: Reach
    state: State
    check: str
    what: str
    remedy: str


class ViewReadiness(Result, frozen=True):
    """How fresh a view can be.

    defined: the freshness of its definition, in words. reachable: the highest level now, with all
    gates known and none red.
    possible: the highest level without a red gate, if all unknown gates turn out green. blocker:
    what blocks the level after `reachable`, None at the highest; blockers: of all higher levels,
    the nearest first.
    """

    view: str
    defined: str
    reachable: Reach
    possible: Reach
    blocker: Blocker | None
    blockers: Sequence[Blocker]


class Ladder(Result, frozen=True):
    """A ladder of the scorecard: its rungs, the rung reached with all gates known and none red, and
    the blockers of the next.
    """

    name: Literal["online", "learning"]
    rungs: Sequence[str]
    reached: int
    possible: int
    bars: Sequence[str]


class Readiness(Result, frozen=True, tag="readiness"):
    """How ready a project is. assumed: the limits of the checks, by name (F, W, B, T), each with
    its origin.
    """

    project: str
    at: str
    views: Sequence[ViewReadiness]
    findings: Sequence[Finding]
    online: Ladder
    learning: Ladder
    assumed: Mapping[str, Reading]

    def counts(self) -> dict[State, int]:
        """The number of findings in each state."""
        states = [finding.state for finding in self.findings]
        return {state: states.count(state) for state in ("green", "amber", "red", "unknown")}
