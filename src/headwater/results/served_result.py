"""What was served, day by day: requests and their timing, ages of views, values of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from headwater.results.result import Result


class Timing(Result, frozen=True):
    """Seconds of a stage of the requests, or of all of it (""): quantiles, each within 6.25 %."""

    stage: str
    median: float | None
    p95: float | None
    p99: float | None


class ServedDay(Result, frozen=True):
    """The rows that were answered for a model or a feature service on a day, UTC.

    hours: rows in each hour. how: predictions by how they were computed (precomputed, on_request,
    default). versions: rows by version of the model. timings: of all of a request first, then of
    its stages.
    """

    day: date
    rows: int
    hours: Sequence[int]
    how: Mapping[str, int]
    versions: Mapping[str, int]
    timings: Sequence[Timing]

    @property
    def defaults(self) -> float:
        """The share of predictions that are the model's default."""
        total = sum(self.how.values())
        return self.how.get("default", 0) / total if total else 0.0


class Served(Result, frozen=True):
    """What was served of a model (`kind` "model") or a feature service ("service"), the earliest
    day first.
    """

    kind: str
    name: str
    days: Sequence[ServedDay]


class AgeDay(Result, frozen=True):
    """How old a view was when it was read on a day: seconds at the quantiles; the shares of reads
    that were stale, and incomplete.
    """

    day: date
    reads: int
    median: float | None
    p95: float | None
    p99: float | None
    stale: float
    incomplete: float


class ValueDay(Result, frozen=True):
    """A feature's values on a day.

    rows: that were answered. nulls: the share of them. statuses: shares. quantiles: at 5, 25, 50,
    75 and 95 %, empty for other types.
    texts: shares of the most frequent values of a string feature; those below 1 % are left out.
    """

    day: date
    rows: int
    nulls: float
    statuses: Mapping[str, float]
    quantiles: Sequence[float] = ()
    texts: Mapping[str, float] = {}


class ServedResult(Result, frozen=True):
    """What was served of every model and feature service. uncovered: files of the serving log that
    are not counted yet.
    """

    served: Sequence[Served]
    uncovered: int = 0
