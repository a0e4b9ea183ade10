"""How much memory work will take, and how it is cut to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from headwater.events.read_events import KNOWN

# bytes an event that sorting and folding need besides the columns: they work in chunks, except for
# a key with many events
_KERNEL = 16
# share of the free memory that is used: hashes do not split evenly, and allocators keep memory from
# one bucket to the next
_SPARE = 0.6
_FINER = 2  # times as many buckets as would do if keys were alike
_MOST = 512  # buckets; each is a file that is open during the split
_INTERPRETER = 300_000_000  # bytes, where the system does not tell


@dataclass(frozen=True)
class BucketPlan:
    """How many buckets events are split into, and how many events fit into memory."""

    buckets: int
    capacity: int


def resident() -> int:
    """The bytes of memory that this process holds now."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        return pages * resource.getpagesize()
    except (ImportError, OSError):
        return _INTERPRETER


def bytes_an_event(sample: pl.DataFrame, columns: Sequence[str]) -> int:
    """The bytes of an event while its bucket is computed: frame, sorted columns, codes and orders;
    strings as long as the sample's.
    """
    string_columns = [
        name for name, dtype in sample.schema.items() if dtype in (pl.String, pl.Binary)
    ]
    long = sum(sample[name].cast(pl.Binary).bin.size().mean() or 0 for name in string_columns)  # type: ignore[misc]
    read = 8 * sample.width + 8 * len(string_columns) + int(long)
    coded = (
        3 * 8 + (8 if KNOWN in sample.schema else 0) + 9 * len(columns) + 32 * len(string_columns)
    )
    # half of it for what was read and is not yet given back to the system
    return read + read // 2 + coded + _KERNEL


def planned(events: int, each: int, free: int) -> BucketPlan:
    """A plan for so many events of so many bytes each, in so much memory.

    >>> planned(1_000_000, 100, 50_000_000)
    BucketPlan(buckets=8, capacity=300000)
    """
    capacity = max(int(free * _SPARE) // each, 1)
    return BucketPlan(
        1 if events <= capacity else min(-(-events // capacity) * _FINER, _MOST), capacity
    )
