"""Map a request time t to T (the end of the window) and K (the knowledge cutoff).

A cut is the T that a batch run computes values for. Jobs and readers ask which cut to read, which
can be computed, and when the next one can.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from headwater import clock
from headwater.definitions.checks import DAY
from headwater.definitions.freshness import Batch, Freshness, Measured, Never, OnRequest, Streaming
from headwater.kernel.arrays import I64

# a T before every event; far enough from the ends of int64 for windows to be subtracted
NEVER = -(2**61)


def as_of(freshness: Freshness, t: I64) -> tuple[I64, I64]:
    """T and K of requests at `t`.

    Args:
        freshness: how stale a value may be.
        t: int64 microseconds UTC, any shape and order.

    Returns:
        T and K, int64 microseconds UTC, of the shape of `t`. Neither falls where t rises, except
        for measured ages.

    >>> from headwater.definitions.freshness import batch
    >>> hour = 3_600_000_000
    >>> as_of(batch("1h", delay="15m", wait="5m"), np.array([10 * hour, 10 * hour + hour // 4]))
    (array([32400000000, 36000000000]), array([32700000000, 36300000000]))
    """
    t = np.asarray(t, np.int64)
    match freshness:
        case Never():
            return np.full(t.shape, NEVER), np.full(t.shape, NEVER)
        case OnRequest():
            return t, t
        case Streaming(lag=lag):
            return t, t - lag
        case Measured():
            return _measured(freshness, t)
        case Batch():
            cut = _last_cut(freshness, t - freshness.delay)
            return cut, cut + freshness.wait if freshness.wait else cut


def earliest(freshness: Freshness, t: int) -> int:
    """The first T that a request at `t` or later can have, in microseconds; where nothing counts,
    NEVER.

    >>> from headwater.definitions.freshness import measured
    >>> earliest(measured(["5s", None], cuts=["3s", "0s"]), 10_000_000)
    7000000
    """
    if isinstance(freshness, Measured):
        return t - max(freshness.cuts or (0,))
    return int(as_of(freshness, np.array([t]))[0][0])


def _last_cut(batch: Batch, t: I64) -> I64:
    """The last cut at or before each `t`."""
    if batch.timezone == "UTC":
        return (t - batch.at) // batch.every * batch.every + batch.at
    if t.size == 0:
        return t
    cuts = _local_cuts(batch, int(t.min()) // DAY, int(t.max()) // DAY)
    return cuts[np.searchsorted(cuts, t, side="right") - 1]


@lru_cache(maxsize=256)  # those of one day are asked for by every request that is served
def _local_cuts(batch: Batch, first: int, last: int) -> I64:
    """Every cut by the local clock from before the UTC day `first` to after `last`, both since
    1970; sorted UTC microseconds.
    """
    zone = ZoneInfo(batch.timezone)
    days = np.arange(first - 2 - max(batch.every // DAY, 1), last + 3)
    if batch.every > DAY:
        days = days[days % (batch.every // DAY) == 0]
    local = (
        days[:, None] * DAY + batch.at + np.arange(0, DAY, min(batch.every, DAY))[None, :]
    ).ravel()
    wall = pl.Series(local).cast(pl.Datetime("us"))
    utc = wall.dt.replace_time_zone(
        batch.timezone, ambiguous="earliest", non_existent="null"
    ).dt.epoch("us")
    gaps = utc.is_null().arg_true().to_list()
    instants = utc.fill_null(0).to_numpy().copy()
    for index in gaps:
        instants[index] = _after_gap(int(local[index]), zone)
    cuts = np.unique(instants)
    cuts.flags.writeable = False
    return cuts


def _after_gap(local: int, zone: ZoneInfo) -> int:
    """The first instant after the gap that a local time falls into, by bisection between the
    offsets before and after.
    """
    wall = datetime(1970, 1, 1) + timedelta(microseconds=local)  # noqa: DTZ001 (a wall-clock time has no zone yet)
    ends = (clock.micros(wall.replace(tzinfo=zone, fold=f)) for f in (0, 1))
    low, high = sorted(ends)
    before = _offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
    return high


def _offset(utc: int, zone: ZoneInfo) -> timedelta | None:
    return clock.timestamp(utc).astimezone(zone).utcoffset()


def _measured(freshness: Measured, t: I64) -> tuple[I64, I64]:
    """T and K as of values that were served, one drawn for each `t`; NEVER where it was not
    there.
    """
    drawn = _draw(t, freshness.seed, len(freshness.ages))
    ages = np.array([-1 if age is None else age for age in freshness.ages])[drawn]
    T = t if freshness.cuts is None else t - np.array(freshness.cuts)[drawn]
    return np.where(ages < 0, NEVER, T), np.where(ages < 0, NEVER, t - ages)


def _draw(t: I64, seed: int, n: int) -> I64:
    """An index below n for each time, spread evenly by the SplitMix64 finaliser (Steele, Lea and
    Flood, 2014).
    """
    x = t.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) % np.uint64(n)).astype(np.int64)


def computable(batch: Batch, t: int) -> list[tuple[int, int]]:
    """T and K of the cut to read at `t`, microseconds, and of the next cut where it can be
    computed: its K has passed.
    """
    early = batch.with_fields(delay=batch.wait)
    due, after = _last(batch, t), _last(early, t)
    while (before := _last(early, after[1] - 1)) > due:
        after = before
    return [due, after] if after > due else [due]


def due_after(batch: Batch, t: int) -> int:
    """When the next cut can be computed, after `t`; microseconds."""
    now = computable(batch, t)
    low, high = t, t + _longest(batch)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if computable(batch, middle) == now else (low, middle)
    return high


@dataclass
class CutLookup:
    """The cut to read at a time, T in microseconds; fast for many times that seldom cross a cut.
    Threads may share it: see `lookup`.
    """

    batch: Batch
    # T, and the times in [since, until) at which it is the one
    _cached: tuple[int, int, int] = (0, 0, 0)

    def at(self, t: int) -> int:
        """T of the cut that is to be read at t."""
        T, since, until = self._cached
        if not since <= t < until:
            T = _last(self.batch, t)[0]
            low, high = t, t + _longest(self.batch)
            while high - low > 1:
                samples = np.unique(np.linspace(low, high, 1000).astype(np.int64))
                later = int(np.argmax(as_of(self.batch, samples)[0] > T))
                low, high = int(samples[later - 1]), int(samples[later])
            self._cached = T, T + self.batch.delay, high
        return T


@lru_cache(maxsize=256)
def lookup(batch: Batch) -> CutLookup:
    """The one lookup of a schedule: views of one freshness share it, so that a cut is searched for
    once.
    """
    return CutLookup(batch)


def _longest(batch: Batch) -> int:
    """A time span that surely contains a cut: cuts by a local clock are up to a day and an hour
    apart from even ones.
    """
    return 2 * batch.every + 2 * DAY


def _last(batch: Batch, t: int) -> tuple[int, int]:
    (T,), (K,) = as_of(batch, np.array([t]))
    return int(T), int(K)
