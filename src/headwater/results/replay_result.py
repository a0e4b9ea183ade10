"""A day replayed at another level, and a shadow's challengers: what would have been answered next
to what was served.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from headwater.results.level_gap_result import LevelGap
from headwater.results.result import Result


class Answered(Result, frozen=True):
    """The answers of one side to the same requests.

    level, version: of the model that answered, several joined by commas. how: requests by how they
    were answered ("on_request", "precomputed", "default", "none"). age_p50, age_p95: seconds since
    the oldest input was known. faults: values by what was the matter with them. latency_p50,
    latency_p95: milliseconds, NaN where not measured. errors: requests without any answer.
    """

    level: str
    version: str
    how: Mapping[str, int]
    age_p50: float
    age_p95: float
    faults: Mapping[str, int]
    latency_p50: float = math.nan
    latency_p95: float = math.nan
    errors: int = 0


class ReplayResult(Result, frozen=True, tag="replay"):
    """What would have been served and decided on a day at another level.

    failed: views, sources and third parties that failed in the replay. served, replayed: the two
    sides. gap: their difference. left_out: rows that are not compared, by reason. notes: what
    limits the replay, in sentences. first_line: the result in a sentence.
    """

    project: str
    model: str
    day: str
    timezone: str
    failed: Sequence[str]
    requests: int
    with_outcome: int
    served: Answered
    replayed: Answered
    gap: LevelGap
    left_out: Mapping[str, int]
    notes: Sequence[str]
    first_line: str


class ShadowArm(Result, frozen=True):
    """A challenger: its answers, and how they differ from the served ones. error: why it has none;
    empty if it has.
    """

    arm: str
    answered: Answered
    gap: LevelGap | None
    error: str = ""
    notes: Sequence[str] = ()


class ShadowResult(Result, frozen=True, tag="shadow"):
    """Challengers scored on the champion's requests, never served.

    champion: its arm. since, until: ISO 8601, UTC. requests: that the champion answered and the
    serving log holds.
    """

    project: str
    experiment: str
    version: int
    since: str
    until: str
    champion: str
    requests: int
    with_outcome: int
    served: Answered
    arms: Sequence[ShadowArm]
    left_out: Mapping[str, int]
    first_line: str
