"""Ids of accepted events: their memory, and how long a writer that takes over needs to load them
from LMDB.

`python -m bench.ids COUNT` prints JSON. In one process, commits of 10,000 ids fill an index for a
horizon, and go on for another one at the same rate. In another process, a partition writer starts
on a store that holds as many ids. Memory is that of the whole process (resident, without pages of
files), less what it had before; `peak` is the most that it had at any moment.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from bench.measure import child
from bench.streams import BEGIN, DAY, shard, views
from headwater.ingestion.ids import DedupIndex
from headwater.state.view_state import Progress
from headwater.stores import keyspace, open_store

_BATCH = 10_000


def main(case: str, *more: str) -> None:
    """Both figures of a number of ids, each measured in a process of its own."""
    if case == "commits":
        found = _commits(int(more[0]))
    elif case == "takeover":
        found = _takeover(more[0], int(more[1]))
    else:
        count = int(case)
        command = [sys.executable, "-m", "bench.ids"]
        with tempfile.TemporaryDirectory(dir=".") as folder:
            _write(folder, count)
            taken = child([*command, "takeover", folder, str(count)], 2)
        found = {
            "ids": count,
            "commits": child([*command, "commits", str(count)], 2),
            "takeover": taken,
        }
    print(json.dumps(found))


def _commits(count: int) -> dict[str, float]:
    index, step = DedupIndex(DAY), DAY * _BATCH // count
    content = np.arange(_BATCH)
    DedupIndex(DAY).accept(pl.Series(content), content, BEGIN)  # loops are compiled
    memory = _Memory()
    filled = longest = 0.0
    begin = time.process_time()
    for number in range(2 * count // _BATCH):
        since = time.process_time()
        ids = pl.Series(content + number * _BATCH)
        index = index.accept(ids, content, BEGIN + number * step).index
        longest = max(longest, time.process_time() - since)
        if number == count // _BATCH - 1:
            filled = memory.now
    seconds = (time.process_time() - begin) / 2
    figures = {"filled_bytes": filled, "steady_bytes": memory.now, "peak_bytes": memory.peak()}
    return {name: round(value / count, 2) for name, value in figures.items()} | {
        "seconds_per_million": round(seconds * 1e6 / count, 4),
        "longest_ms": round(longest * 1e3, 2),
    }


def _takeover(folder: str, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=".") as small:
        _write(small, 3 * _BATCH)
        _writer(small)  # loops are compiled
    memory = _Memory()
    since, busy = time.perf_counter(), time.process_time()
    writer = _writer(folder)
    seconds, busy = time.perf_counter() - since, time.process_time() - busy
    now = memory.now
    ids = writer.state.ids
    assert ids is not None
    return {
        "seconds": round(seconds, 3),
        "busy_seconds": round(busy, 3),
        "bytes": round(now / count, 2),
        "peak_bytes": round(memory.peak() / count, 2),
        "loaded": len(ids),
    }


def _writer(folder: str):
    return shard(views("user_id", ids=True), open_store(f"lmdb:{folder}"))


def _write(folder: str, count: int) -> None:
    """A store with the ids of a day of commits."""
    random, source = np.random.default_rng(1), views("user_id", ids=True)[0].source.name
    step = DAY * _BATCH // count
    commits = count // _BATCH
    store = open_store(f"lmdb:{folder}")
    changes: dict[bytes, bytes | None] = {}
    for number in range(commits):
        at = BEGIN + number * step
        rows = random.integers(-(2**63), 2**63 - 1, (_BATCH, 4))
        rows[:, 2] = at
        changes[keyspace.block(keyspace.IDS, source, number + 1)] = rows.tobytes()
        if len(changes) >= 100 or number == commits - 1:
            done = Progress(sequence=number + 1, at=at, known=at)
            progress = {keyspace.PROGRESS + keyspace.name(source): msgspec.msgpack.encode(done)}
            store.commit({**changes, **progress}, {})
            changes = {}
    store.close()


class _Memory:
    """Bytes that this process has allocated and touched since the beginning, looked at every few
    milliseconds (Linux).
    """

    def __init__(self) -> None:
        self.begin = self.most = _allocated()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._done.wait(0.005):
            self.most = max(self.most, _allocated())

    @property
    def now(self) -> int:
        return _allocated() - self.begin

    def peak(self) -> int:
        """The most that it was; ends the looking."""
        self._done.set()
        self._thread.join()
        return self.most - self.begin


def _allocated() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return (
        int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")))
        * 1024
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
