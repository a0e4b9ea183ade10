"""Commits of 10,000 random keys into an LMDB store, by the number of its keys; with sorted runs and
without, in turns.

`python -m bench.growth KEYS COMMITS` prints JSON. Before it is measured, the store with runs gets
as many commits as its sweep takes for a round.
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
import time
from pathlib import Path

import lmdb
import numpy as np

from bench.measure import peak_mb
from headwater.stores import keyspace, open_store
from headwater.stores import lmdb as sorted_runs

_BATCH = 10_000
_GETS = 1_000
_PREFIX = keyspace.RECORD + bytes(range(32))
_VALUE, _RECORDS_A_PAGE = 176, 17  # bytes


def main(keys: str, commits: str) -> None:
    """By side: milliseconds, processor time and pages of a commit, microseconds of a get, megabytes
    of the file.
    """
    count = int(keys)
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        stores = {}
        for side in ("on", "off"):
            _build(Path(folder) / side, count)
            stores[side] = open_store(f"lmdb:{folder}/{side}?runs={side}")
        for number in range(sorted_runs.commits_a_round(count // _RECORDS_A_PAGE) * 5 // 4):
            stores["on"].commit(_changes(random, count, number), {})
        times: dict[str, dict[str, list[float]]] = {
            side: {"ms": [], "busy": [], "pages": [], "get": []} for side in stores
        }
        for number in range(int(commits)):
            changes = _changes(random, count, number)
            asked = [
                _PREFIX + struct.pack(">q", key)
                for key in random.integers(0, count, _GETS).tolist()
            ]
            for side, store in stores.items():
                wall, busy, written = time.perf_counter(), time.thread_time(), _written()
                store.commit(changes, {})
                times[side]["ms"].append((time.perf_counter() - wall) * 1e3)
                times[side]["busy"].append((time.thread_time() - busy) * 1e3)
                times[side]["pages"].append((_written() - written) / 4096)
                store.get(asked[:1])
                busy = time.thread_time()
                for key in asked:
                    store.get([key])
                times[side]["get"].append((time.thread_time() - busy) * 1e6 / _GETS)
        sides = {
            side: _summary(taken) | {"mb": store.size() / 1e6}
            for (side, taken), store in zip(times.items(), stores.values(), strict=True)
        }
        for store in stores.values():
            store.close()
    print(json.dumps(sides | {"peak_mb": peak_mb()}))


def _build(folder: Path, count: int) -> None:
    """A store with `count` records, written in key order."""
    open_store(f"lmdb:{folder}").close()
    with lmdb.open(str(folder), map_size=1 << 36, sync=False) as env:
        for start in range(0, count, 1_000_000):
            pairs = (
                (_PREFIX + struct.pack(">q", key), bytes(_VALUE))
                for key in range(start, min(start + 1_000_000, count))
            )
            with env.begin(write=True) as transaction, transaction.cursor() as cursor:
                cursor.putmulti(pairs, append=True)
        env.sync(force=True)


def _changes(random: np.random.Generator, count: int, number: int) -> dict[bytes, bytes | None]:
    value = struct.pack("<q", number) + bytes(_VALUE - 8)
    return {
        _PREFIX + struct.pack(">q", key): value
        for key in random.integers(0, count, _BATCH).tolist()
    }


def _written() -> int:
    """Bytes that this process has written (Linux; else 0)."""
    path = Path("/proc/self/io")
    return int(path.read_text().partition("wchar: ")[2].split()[0]) if path.exists() else 0


def _summary(taken: dict[str, list[float]]) -> dict[str, float]:
    wall = taken["ms"]
    return {
        "ms": float(np.mean(wall)),
        "p50": float(np.median(wall)),
        "p99": float(np.percentile(wall, 99)),
        "most": max(wall),
        "busy": float(np.mean(taken["busy"])),
        "busy_most": max(taken["busy"]),
        "pages": float(np.mean(taken["pages"])),
        "get": float(np.median(taken["get"])),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
