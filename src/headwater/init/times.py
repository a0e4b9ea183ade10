"""When an event is known in full: a time that no other time of its row exceeds, and the period of
rounded times and summary tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater.definitions.checks import DAY, micros, text
from headwater.errors import DataError, UsageError
from headwater.init.tables import TableProfile, TimeColumn
from headwater.training.timestamp_resolution import COARSE, SIZES, grids

NOTABLE = 0.01  # the share of rows that may have a later time
COMPLETE = "complete_at"
WINDOWS = ("10m", "1h", "6h", "1d", "7d", "30d", "90d")


@dataclass(frozen=True)
class EventTime:
    """The event time: a column, or the latest of several; and by how much it was rounded down, in
    microseconds (0: not).
    """

    name: str
    evidence: str
    columns: Sequence[TimeColumn]
    period: int
    period_evidence: str

    @property
    def computed(self) -> bool:
        """Whether it is the latest of several columns."""
        return len(self.columns) > 1

    @property
    def micros(self) -> pl.Series:
        """Microseconds, in local time where the columns are naive."""
        if not self.computed:
            return self.columns[0].micros
        return pl.DataFrame([c.micros.alias(c.name) for c in self.columns]).max_horizontal()


def event_time(
    events: TableProfile, keys: Sequence[str], time_column: TimeColumn | None, zone: str | None
) -> EventTime:
    """The event time: the given column, or one that no other time of its row exceeds in a notable
    share of rows.

    Where no column is so, it is the latest time of each row.

    Raises:
        UsageError, DataError: no column of times, or all are null.
    """
    if time_column is not None:
        return _with_period(events, keys, time_column.name, time_column.evidence, [time_column])
    if not events.time_columns:
        raise UsageError(
            f"{events.path} has no column of times; a source needs one that says when each event "
            "happened"
        )
    full = [m for m in events.time_columns.values() if m.values.null_count() < events.rows]
    if not full:
        raise DataError(f"{events.path}: no row has a time in {', '.join(events.time_columns)}")
    if len(full) == 1:
        return _with_period(events, keys, full[0].name, full[0].evidence, full)
    shares = exceeded(full, zone)
    best = min(full, key=lambda m: (shares[m.name], -m.middle))
    names = ", ".join(m.name for m in full)
    if shares[best.name] <= NOTABLE:
        why = (
            f"; of {names}, another is later in {shares[best.name]:.1%} of rows: the whole row is "
            "known by then"
        )
        return _with_period(events, keys, best.name, best.evidence + why, [best])
    why = (
        f"the latest of {names} in each row: {best.name} alone is earlier than another of them in "
        f"{shares[best.name]:.1%} of rows"
    )
    return _with_period(events, keys, COMPLETE, why, full)


def exceeded(columns: Sequence[TimeColumn], zone: str | None) -> dict[str, float]:
    """By column, the share of rows in which it is null or another of these times is later."""
    frame = pl.DataFrame([_utc(m, zone).alias(m.name) for m in columns])
    latest = frame.max_horizontal()
    rows = latest.is_not_null()
    return {
        m.name: float(
            (frame[m.name].fill_null(np.iinfo(np.int64).min) < latest).filter(rows).mean() or 0.0  # type: ignore[arg-type]
        )
        for m in columns
    }


def _utc(timestamp: TimeColumn, zone: str | None) -> pl.Series:
    values = timestamp.values
    if timestamp.naive and zone is not None:
        values = values.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return values.dt.epoch("us")


def _with_period(
    events: TableProfile,
    keys: Sequence[str],
    name: str,
    evidence: str,
    columns: Sequence[TimeColumn],
) -> EventTime:
    found_time = EventTime(name, evidence, columns, 0, "")
    if any(column.is_date for column in columns):
        return EventTime(
            name,
            evidence,
            columns,
            DAY,
            _totals(events, keys, found_time, "day") or "a date is known at the end of its day",
        )
    times = found_time.micros.drop_nulls().to_numpy()
    coarse = {grid.resolution for grid in grids(times)}
    size = next((resolution for resolution in COARSE if resolution in coarse), None)
    if size is None:
        return found_time
    period_evidence = (
        _totals(events, keys, found_time, size)
        or f"the times are whole {size}s, so they may be rounded down"
    )
    return EventTime(name, evidence, columns, SIZES[size], period_evidence)


def _totals(events: TableProfile, keys: Sequence[str], time: EventTime, size: str) -> str:
    """That the table has one row per key and period; empty where it does not."""
    if events.rows < 2 or size == "minute":
        return ""
    at = time.micros.alias("__at")
    sets = [[key] for key in keys] + ([list(keys)] if len(keys) > 1 else [])
    for names in sets:
        if pl.DataFrame([at, *(events.frame[name] for name in names)]).n_unique() == events.rows:
            return (
                f"one row per {' and '.join(names)} and {size}, so a row is a total that is known "
                f"when its {size} ends"
            )
    return ""


def windows(span: int, period: int) -> list[str]:
    """Short windows and long ones: at least twice the period of rounded times, at most a quarter of
    the span of the events.

    >>> windows(60 * 86_400_000_000, 0), windows(60 * 86_400_000_000, 86_400_000_000)
    (['1h', '6h', '1d', '7d'], ['3d', '7d'])
    """
    fitting = [
        w
        for w in (*WINDOWS, *(["3d"] if period >= DAY else []))
        if 2 * period <= micros(w, "a window") <= span / 4
    ]
    fitting.sort(key=lambda w: micros(w, "a window"))
    if period == 0:
        fitting = [w for w in fitting if w != "10m"] or fitting
    return [*fitting[:2], *fitting[2:][-2:]] or [text(2 * period) if period else "10m"]
