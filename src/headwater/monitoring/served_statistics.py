"""What was served, day by day: requests and where their time went, ages of views, distributions of
features.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from headwater import clock
from headwater.monitoring.daily_statistics import daily_statistics, quantiles
from headwater.results.served_result import AgeDay, Served, ServedDay, Timing, ValueDay

DAYS: Final = 30
_SHARES: Final = (0.5, 0.95, 0.99)
_SPREAD: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOST: Final = 12  # strings of a feature


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
    rows = daily_statistics(
        folder, since=_since(days, now), measures=("rows", "how", "version", "latency")
    )
    every: dict[str, list[ServedDay]] = {}
    for (name, day), day_rows in rows.sort("folder", "day").group_by(
        "folder", "day", maintain_order=True
    ):
        every.setdefault(str(name), []).append(_served_day(day, day_rows))
    return [
        Served(kind, name, by_day)
        for (kind, _, name), by_day in (
            (log_folder.partition("="), by_day) for log_folder, by_day in every.items()
        )
    ]


def view_ages(
    folder: Path, views: Sequence[str] = (), *, days: int = DAYS, now: int | None = None
) -> dict[str, list[AgeDay]]:
    """The ages of views when they were read, by view and day; of all views where none is named.
    Other arguments as for `served_days`.
    """
    rows = daily_statistics(
        folder,
        since=_since(days, now),
        measures=("age", "read", "stale", "incomplete"),
        subjects=views,
    )
    by_view: dict[str, list[AgeDay]] = {}
    for (view, day), day_rows in rows.sort("subject", "day").group_by(
        "subject", "day", maintain_order=True
    ):
        total = dict(day_rows.group_by("measure").agg(pl.col("count").sum()).iter_rows())
        reads = total.get("read", 0)
        if reads:
            stale, incomplete = (total.get(flag, 0) / reads for flag in ("stale", "incomplete"))
            median, p95, p99 = _quantiles(day_rows, "age", _SHARES)
            by_view.setdefault(str(view), []).append(
                AgeDay(day, reads, median, p95, p99, stale, incomplete)
            )
    return by_view


def feature_days(
    folder: Path, feature: str, *, days: int = DAYS, now: int | None = None
) -> list[ValueDay]:
    """The values of a feature, day by day. Arguments as for `served_days`."""
    measures = ("status", "null", "value", "text")
    rows = daily_statistics(
        folder, since=_since(days, now), measures=measures, subjects=[feature]
    ).sort("day")
    return [
        _value_day(day, day_rows) for (day,), day_rows in rows.group_by("day", maintain_order=True)
    ]


def feature_statuses(
    folder: Path, *, days: int = DAYS, now: int | None = None
) -> dict[str, dict[str, int]]:
    """How many values of each feature had which status on the last days. Arguments as for
    `served_days`.
    """
    rows = daily_statistics(folder, since=_since(days, now), measures=("status",))
    counted = rows.group_by("subject", "label").agg(pl.col("count").sum()).sort("subject", "label")
    by_feature: dict[str, dict[str, int]] = {}
    for feature, status, n in counted.iter_rows():
        by_feature.setdefault(feature, {})[status] = n
    return by_feature


def _since(days: int, now: int | None) -> date:
    return clock.timestamp(clock.now_micros() if now is None else now).date() - timedelta(
        days=days - 1
    )


def _served_day(day: date, rows: pl.DataFrame) -> ServedDay:
    hours = dict(_sums(rows, "rows", "bucket"))
    stages = rows.filter(pl.col("measure") == "latency")["subject"].unique().sort().to_list()
    timings = [_timing(stage, rows.filter(pl.col("subject") == stage)) for stage in stages]
    origins, versions = dict(_sums(rows, "how", "label")), dict(_sums(rows, "version", "label"))
    return ServedDay(
        day,
        sum(hours.values()),
        [hours.get(hour, 0) for hour in range(24)],
        origins,
        versions,
        timings,
    )


def _timing(stage: str, rows: pl.DataFrame) -> Timing:
    median, p95, p99 = (
        None if micros is None else micros / 1e6 for micros in _quantiles(rows, "latency", _SHARES)
    )
    return Timing(stage, median, p95, p99)


def _value_day(day: date, rows: pl.DataFrame) -> ValueDay:
    statuses = dict(_sums(rows, "status", "label"))
    total = sum(statuses.values())
    nulls = sum(n for _, n in _sums(rows, "null", "label"))
    texts = _sums(rows, "text", "label")
    sampled = sum(n for _, n in texts)
    frequent = sorted(texts, key=lambda pair: (-pair[1], pair[0]))[:_MOST]
    return ValueDay(
        day,
        total,
        nulls / total if total else 0.0,
        {status: n / total for status, n in statuses.items()},
        [value for value in _quantiles(rows, "value", _SPREAD) if value is not None],
        {text: n / sampled for text, n in frequent},
    )


def _sums(rows: pl.DataFrame, measure: str, by: str) -> list[tuple[Any, int]]:
    return list(
        rows.filter(pl.col("measure") == measure)
        .group_by(by)
        .agg(pl.col("count").sum())
        .sort(by)
        .iter_rows()
    )


def _quantiles(
    rows: pl.DataFrame, measure: str, shares: Sequence[float]
) -> list[float] | list[None]:
    """Quantiles of a measure; None each where nothing is counted."""
    counted = rows.filter(pl.col("measure") == measure)
    return (
        quantiles(counted["bucket"].to_list(), counted["count"].to_list(), shares)
        if counted.height
        else [None] * len(shares)
    )
