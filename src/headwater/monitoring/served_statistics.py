"""What was served, day by day: requests and where their time went, ages of views, distributions of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from headwater import clock
from headwater.logs.daily_statistics import daily_statistics, quantiles
from headwater.results.result import Result

DAYS: Final = 30
_SHARES: Final = (0.5, 0.95, 0.99)
_SPREAD: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOST: Final = 12  # texts of a feature


class Timing(Result, frozen=True):
    """Seconds of a stage of the requests, or of all of it (""): quantiles, each within 6.25 %."""

    stage: str
    median: float
    p95: float
    p99: float


class ServedDay(Result, frozen=True):
    """The rows that were answered for a model or a feature service on a day, UTC.

    hours: rows in each hour. how: predictions by how they were computed (precomputed, on_request, default). versions: rows by version of
    the model. timings: of all of a request first, then of its stages.
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
    """What was served of a model (`kind` "model") or a feature service ("service"), the earliest day first."""

    kind: str
    name: str
    days: Sequence[ServedDay]


class AgeDay(Result, frozen=True):
    """How old a view was when it was read on a day: seconds at the quantiles; the shares of reads that were stale, and incomplete."""

    day: date
    reads: int
    median: float
    p95: float
    p99: float
    stale: float
    incomplete: float


class ValueDay(Result, frozen=True):
    """A feature's values on a day.

    rows: that were answered. nulls: the share of them. statuses: shares. quantiles: at 5, 25, 50, 75 and 95 %, empty where it is no number.
    texts: shares of the most frequent values of a text; those below 1 % are left out.
    """

    day: date
    rows: int
    nulls: float
    statuses: Mapping[str, float]
    quantiles: Sequence[float] = ()
    texts: Mapping[str, float] = {}


def served_days(folder: Path, *, days: int = DAYS, now: int | None = None) -> list[Served]:
    """The requests of each model and feature service on the last days.

    Args:
        folder: the data directory.
        days: how many, today included.
        now: microseconds; None is the clock's.

    >>> import tempfile
    >>> served_days(Path(tempfile.mkdtemp()))
    []
    """
    rows = daily_statistics(folder, since=_since(days, now), measures=("rows", "how", "version", "latency"))
    every: dict[str, list[ServedDay]] = {}
    for (name, day), mine in rows.sort("folder", "day").group_by("folder", "day", maintain_order=True):
        every.setdefault(str(name), []).append(_served_day(day, mine))
    return [Served(kind, name, found) for (kind, _, name), found in ((folder.partition("="), found) for folder, found in every.items())]


def view_ages(folder: Path, views: Sequence[str] = (), *, days: int = DAYS, now: int | None = None) -> dict[str, list[AgeDay]]:
    """The ages of views when they were read, by view and day; of all views where none is named. Other arguments as for `served_days`."""
    rows = daily_statistics(folder, since=_since(days, now), measures=("age", "read", "stale", "incomplete"), subjects=views)
    by_view: dict[str, list[AgeDay]] = {}
    for (view, day), mine in rows.sort("subject", "day").group_by("subject", "day", maintain_order=True):
        total = dict(mine.group_by("measure").agg(pl.col("count").sum()).iter_rows())
        reads = total.get("read", 0)
        if reads:
            stale, incomplete = (total.get(flag, 0) / reads for flag in ("stale", "incomplete"))
            median, p95, p99 = _quantiles(mine, "age", _SHARES)
            by_view.setdefault(str(view), []).append(AgeDay(day, reads, median, p95, p99, stale, incomplete))
    return by_view


def feature_days(folder: Path, feature: str, *, days: int = DAYS, now: int | None = None) -> list[ValueDay]:
    """The values of a feature, day by day. Arguments as for `served_days`."""
    measures = ("status", "null", "value", "text")
    rows = daily_statistics(folder, since=_since(days, now), measures=measures, subjects=[feature]).sort("day")
    return [_value_day(day, mine) for (day,), mine in rows.group_by("day", maintain_order=True)]


def feature_statuses(folder: Path, *, days: int = DAYS, now: int | None = None) -> dict[str, dict[str, int]]:
    """How many values of each feature had which status on the last days. Arguments as for `served_days`."""
    rows = daily_statistics(folder, since=_since(days, now), measures=("status",))
    counted = rows.group_by("subject", "label").agg(pl.col("count").sum()).sort("subject", "label")
    found: dict[str, dict[str, int]] = {}
    for feature, status, n in counted.iter_rows():
        found.setdefault(feature, {})[status] = n
    return found


def _since(days: int, now: int | None) -> date:
    return clock.timestamp(clock.now_micros() if now is None else now).date() - timedelta(days=days - 1)


def _served_day(day: date, rows: pl.DataFrame) -> ServedDay:
    hours = dict(_sums(rows, "rows", "bucket"))
    stages = rows.filter(pl.col("measure") == "latency")["subject"].unique().sort().to_list()
    timings = [
        Timing(stage, *(micros / 1e6 for micros in _quantiles(rows.filter(pl.col("subject") == stage), "latency", _SHARES)))
        for stage in stages
    ]
    how, versions = dict(_sums(rows, "how", "label")), dict(_sums(rows, "version", "label"))
    return ServedDay(day, sum(hours.values()), [hours.get(hour, 0) for hour in range(24)], how, versions, timings)


def _value_day(day: date, rows: pl.DataFrame) -> ValueDay:
    statuses = dict(_sums(rows, "status", "label"))
    total = sum(statuses.values())
    nulls = sum(n for _, n in _sums(rows, "null", "label"))
    texts = _sums(rows, "text", "label")
    sampled = sum(n for _, n in texts)
    frequent = sorted(texts, key=lambda pair: (-pair[1], pair[0]))[:_MOST]
    has_values = rows.filter(pl.col("measure") == "value").height > 0
    return ValueDay(
        day,
        total,
        nulls / total if total else 0.0,
        {status: n / total for status, n in statuses.items()},
        _quantiles(rows, "value", _SPREAD) if has_values else (),
        {text: n / sampled for text, n in frequent},
    )


def _sums(rows: pl.DataFrame, measure: str, by: str) -> list[tuple[Any, int]]:
    return list(rows.filter(pl.col("measure") == measure).group_by(by).agg(pl.col("count").sum()).sort(by).iter_rows())


def _quantiles(rows: pl.DataFrame, measure: str, shares: Sequence[float]) -> list[float]:
    mine = rows.filter(pl.col("measure") == measure)
    return quantiles(mine["bucket"].to_list(), mine["count"].to_list(), shares)
