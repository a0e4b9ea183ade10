"""Batches of events into durable tiles, compared with LMDB by hand: `python -m bench.tiles CASE
EVENTS REPEATS` prints JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import peak_mb
from bench.streams import ByHand, batch, payments, shard, views
from headwater.stores import open_store

if TYPE_CHECKING:
    import polars as pl

CASES = {"100k": 100_000, "10k": 10_000}
_FIRST = 3  # batches that are not measured: loops are compiled, and files grow


def main(case: str, events: str, repeats: str) -> None:
    """Thousands of events a second of each side, in turns, each time into a new store."""
    size, *also = case.split()
    rows = min(CASES[size], max(int(events) // 10, 100))
    frame = payments(int(events), seed=2)
    parts = [frame[at : at + rows] for at in range(0, frame.height, rows)]
    rates: dict[str, list[float]] = {"ours": [], "busy": [], "peer": []}
    _ours(parts[: _FIRST + 1], also)  # what loops are compiled with
    for _ in range(int(repeats)):
        wall, busy = _ours(parts, also)
        rates["ours"].append(wall)
        rates["busy"].append(busy)
        rates["peer"].append(_by_hand(parts))
    print(json.dumps({**rates, "events": int(events), "batch": rows, "peak_mb": peak_mb()}))


def _ours(parts: list[pl.DataFrame], also: list[str]) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"lmdb:{folder}")
        definitions = views("user_id", ids="ids" in also, halved="filter" in also)
        writer = shard(definitions, store, archive="archive" in also, filtered="kept" in also)

        def apply(index: int) -> None:
            records, now = batch(parts[index], index * parts[0].height)
            writer.apply([records], now)

        rate = _rate(parts, apply)
        store.close()
        return rate


def _by_hand(parts: list[pl.DataFrame]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        writer = ByHand(Path(folder))
        rate, _ = _rate(parts, lambda index: writer.apply(parts[index], index))
        writer.env.close()
        return rate


def _rate(parts: list[pl.DataFrame], apply: Callable[[int], None]) -> tuple[float, float]:
    """Thousands of events a second, by the clock and by how long processors were busy."""
    for index in range(_FIRST):
        apply(index)
    begin, busy = time.perf_counter(), time.process_time()
    for index in range(_FIRST, len(parts)):
        apply(index)
    count = sum(frame.height for frame in parts[_FIRST:]) / 1000
    return count / (time.perf_counter() - begin), count / (time.process_time() - busy)


if __name__ == "__main__":
    main(*sys.argv[1:])
