"""T and K of one request, by the letter of the design: no arrays, no search, one request at a
time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from headwater.aggregations.reference import EPOCH, as_micros
from headwater.definitions.freshness import Batch, Freshness, Measured, Never, OnRequest, Streaming

_DAY = 86_400_000_000


def as_of(freshness: Freshness, t: int) -> tuple[int, int] | None:
    """T, where the window ends, and K, by when a thing must have been known; None where nothing
    counts.

    Args:
        freshness: how stale the value may be.
        t: when the request asks, microseconds UTC.

    >>> from headwater.definitions.freshness import batch, streaming
    >>> as_of(streaming("2s"), 10_000_000)
    (10000000, 8000000)
    >>> as_of(batch("1h", delay="15m", wait="5m"), 36_000_000_000)
    (32400000000, 32700000000)
    """
    match freshness:
        case Never():
            return None
        case OnRequest():
            return t, t
        case Streaming(lag=lag):
            return t, t - lag
        case Measured(ages=ages, cuts=cuts):
            drawn = _drawn(freshness, t)
            age = ages[drawn]
            return None if age is None else (t if cuts is None else t - cuts[drawn], t - age)
        case Batch():
            cut = last_cut(freshness, t - freshness.delay)
            return cut, cut + freshness.wait


def last_cut(freshness: Batch, t: int) -> int:
    """The last cut at or before `t`: every cut of the local days around it, one by one."""
    days = max(freshness.every // _DAY, 1)
    local = (EPOCH + timedelta(microseconds=t)).astimezone(ZoneInfo(freshness.timezone)).date()
    cuts = []
    for back in range(-2, days + 3):
        day = local - timedelta(days=back)
        if (day - date(1970, 1, 1)).days % days == 0:
            clock = freshness.at
            while clock < _DAY:
                cuts.append(
                    _instant(
                        datetime(day.year, day.month, day.day) + timedelta(microseconds=clock),  # noqa: DTZ001
                        freshness.timezone,
                    )
                )
                clock += freshness.every
    return max(cut for cut in cuts if cut <= t)


def end_of_day(day: date, timezone: str) -> int:
    """The last microsecond of a day in a zone, in microseconds since 1970 UTC.

    >>> EPOCH + timedelta(microseconds=end_of_day(date(2024, 3, 10), "America/New_York") + 1)
    datetime.datetime(2024, 3, 11, 4, 0, tzinfo=datetime.timezone.utc)
    """
    return _instant(datetime(day.year, day.month, day.day) + timedelta(days=1), timezone) - 1  # noqa: DTZ001 (a wall clock)


@lru_cache(maxsize=100_000)
def _instant(wall: datetime, timezone: str) -> int:
    """The instant at which a wall clock shows `wall`: in a fold the first of two, in a gap the
    first instant after it.
    """
    zone = ZoneInfo(timezone)
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == wall:
        return as_micros(first)
    # before the gap; `first` is after it
    second = wall.replace(tzinfo=zone, fold=1).astimezone(UTC).replace(microsecond=0)
    while second.astimezone(zone).replace(tzinfo=None) < wall:
        second += timedelta(seconds=1)
    return as_micros(second)


def _drawn(freshness: Measured, t: int) -> int:
    """SplitMix64 (Steele, Lea and Flood, 2014) of t, `seed` steps on, as the place of an age."""
    word = 2**64
    z = (t + (freshness.seed + 1) * 0x9E3779B97F4A7C15) % word
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % word
    z = (z ^ z >> 27) * 0x94D049BB133111EB % word
    return int((z ^ z >> 31) % len(freshness.ages))
