"""A bucket with too many events for memory: its requests in slices of time, each with the events
that it reaches.

A value depends on the events that count and on nothing else, so a slice that holds all of those
gives the same bits. Not so where a column says when events were known: late events are added up in
an order that all events of the key decide, so those stay together; and where a window has no
beginning, every slice would reach all that came before.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from headwater.engine.query import Query, RequestSet, reach_of
from headwater.errors import HeadwaterWarning
from headwater.events.read_events import TIME, Reach, collect
from headwater.kernel.arrays import I64

_CUTS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64)  # how many slices are tried
_SPANS = 4096  # in which events are counted


@dataclass(frozen=True)
class TimeSlice:
    """Which requests of each set, and the events that they reach."""

    rows: tuple[I64, ...]
    reach: Reach | None


def sliced(
    query: Query, requests: Sequence[RequestSet], files: list[Path], capacity: int
) -> list[TimeSlice]:
    """The requests of a bucket in the fewest slices of equal time whose events fit, or that come
    near; none where one piece does.

    Args:
        files: the bucket's events. capacity: how many events fit into memory.
    """
    subject = f"source {query.source.name!r}"
    events = (
        int(collect(pl.scan_parquet(files).select(pl.len()), subject, streaming=True).item())
        if files
        else 0
    )
    if events <= capacity:
        return []
    whole = reach_of(requests, query.windows)
    apart = query.source.known_at_field is None or query.source.window_on == "known_at"
    best: list[TimeSlice] = []
    least = events
    if apart and whole is not None and whole.first is not None:
        starts, before = _counted(files, whole.first, whole.last, subject)
        for cuts in _CUTS:
            slices = _cut(query, requests, cuts)
            most = max(int(_between(starts, before, s.reach)) for s in slices)
            if most < least * 0.9:
                best, least = slices, most
            if least <= capacity:
                break
    if least > capacity:
        remedy = (
            "Shorter windows need fewer" if apart else "Events with a known_at_field stay together"
        )
        warnings.warn(
            f"{subject}: memory= will be exceeded: one key or a few of one bucket have {least:,} "
            "events that are needed in memory at the same time, and the budget allows "
            f"{capacity:,}. {remedy}; give more memory",
            HeadwaterWarning,
            stacklevel=2,
        )
    return best


def _cut(query: Query, requests: Sequence[RequestSet], cuts: int) -> list[TimeSlice]:
    """Slices of equal length of the request times."""
    low = min(int(r.t.min()) for r in requests if len(r.t))
    high = max(int(r.t.max()) for r in requests if len(r.t)) + 1
    edges = low + (high - low) * np.arange(1, cuts) // cuts
    slice_of = [np.searchsorted(edges, r.t, side="right") for r in requests]
    slices = []
    for number in range(cuts):
        chosen = tuple(np.flatnonzero(slice_numbers == number) for slice_numbers in slice_of)
        if any(map(len, chosen)):
            within = [r.take(rows) for r, rows in zip(requests, chosen, strict=True)]
            slices.append(TimeSlice(chosen, reach_of(within, query.windows)))
    return slices


def _counted(files: list[Path], low: int, high: int, subject: str) -> tuple[I64, I64]:
    """The starts of spans of time, and the number of events before each: int64 both."""
    width = max(-(-(high - low) // _SPANS), 1)
    span = ((pl.col(TIME) - low) // width).alias("span")
    span_counts = collect(
        pl.scan_parquet(files).select(span).group_by("span").len(), subject, streaming=True
    )
    counts = np.zeros(_SPANS + 1, np.int64)
    counts[np.clip(span_counts["span"].to_numpy(), 0, _SPANS)] += span_counts["len"].to_numpy()
    return low + width * np.arange(_SPANS + 2), np.concatenate([[0], np.cumsum(counts)])


def _between(starts: I64, before: I64, reach: Reach | None) -> int:
    """How many events lie in a reach, at most."""
    if reach is None:
        return 0
    assert reach.first is not None
    first = int(np.searchsorted(starts, reach.first, side="right")) - 1
    last = int(np.searchsorted(starts, reach.last, side="left"))
    return int(before[min(last, len(before) - 1)] - before[max(first, 0)])
