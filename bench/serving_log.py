"""The serving log by itself: what an entry costs the worker, and what it costs the process that
converts it to parquet.

python -m bench.serving_log ENTRIES TURNS
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path

import numpy as np

import headwater as hw
from headwater.journal.conversion import convert
from headwater.journal.serving_log_rows import AsOf, BatchEntry, Entry, EntryContext, RowEntry
from headwater.state.read_plan import WordLayout, words_of

FEATURES, BATCH, ROWS = 27, 64, 100
NAMES = [f"v{n // 9}__f{n}" for n in range(FEATURES)]
REAL = [n % 3 != 0 for n in range(FEATURES)]
KEYS = ("user_id", "merchant_id", "device_id")
NOW = 1_764_000_000_000_000


def contexts() -> Mapping[str, EntryContext]:
    """An entry context for features and one for predictions of the same 27 features of 3 views."""
    views = dict.fromkeys(("v0", "v1", "v2"), "fingerprint")
    more = {"service": "plain_v1", "features": tuple(NAMES), "views": views, "request": KEYS}
    return {
        "features": EntryContext(
            "features", "bench", stages=("third party", "read", "write"), **more
        ),
        "predict": EntryContext(
            "predict",
            "bench",
            model="plain",
            version="1",
            stages=("third party", "look up", "read", "score"),
            **more,
        ),
    }


def single(kind: str, about: EntryContext, layout: WordLayout, count: int) -> list[Entry]:
    """Requests of one row."""
    drawn = np.random.default_rng(0).integers(0, 1000, (2000, FEATURES)).tolist()
    values = [[float(v) if real else v for v, real in zip(row, REAL, strict=True)] for row in drawn]
    rows = [
        dict(zip(KEYS, row, strict=True))
        for row in np.random.default_rng(1).integers(0, 20_000, (2000, 3)).tolist()
    ]
    words = [_words([[v] for v in row], 1) for row in values]
    stages = {"read": 3e-5, "score": 1e-5} if kind == "predict" else {"read": 3e-5, "write": 6e-6}
    scored = (0.25, "on_request", 1.5) if kind == "predict" else (None, None, None)
    return [
        RowEntry(
            about, f"abc-{n:x}", NOW + n, rows[n % 2000], values[n % 2000], bytes(FEATURES), _versions(n), *scored, 1e-4, stages, (layout, words[n % 2000])
        )
        for n in range(count)
    ]  # fmt: skip


def many(about: EntryContext, layout: WordLayout, count: int) -> list[Entry]:
    """Requests of 100 rows."""
    columns = np.random.default_rng(0).integers(0, 1000, (FEATURES, ROWS)).tolist()
    values = [
        [float(v) for v in column] if real else column
        for column, real in zip(columns, REAL, strict=True)
    ]
    rows = dict(
        zip(KEYS, np.random.default_rng(1).integers(0, 20_000, (3, ROWS)).tolist(), strict=True)
    )
    words, statuses = _words(values, ROWS), [bytes(ROWS)] * FEATURES
    return [
        BatchEntry(about, f"abc-{n:x}", NOW + n, rows, values, statuses, _versions(n), ROWS, None, None, None, 1e-4, {"read": 1e-3}, (layout, words))
        for n in range(count)
    ]  # fmt: skip


def measure(entries: Sequence[Entry]) -> dict[str, float]:
    """Microseconds an entry of the worker's thread, and of the process that converts; the longest
    write of a batch.
    """
    with tempfile.TemporaryDirectory() as folder:
        log, spent = hw.operations.ServedLog(folder, memory="1GB"), []
        for at in range(0, len(entries), BATCH):
            batch = entries[at : at + BATCH]
            begin = time.thread_time()
            log.write(batch)
            spent.append(time.thread_time() - begin)
            time.sleep(0.0005)
        assert log.flush()
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.open"))
        begin = time.process_time()
        convert(Path(folder), close=True, wait=10)
        converted = time.process_time() - begin
        log.close()
        counts = log.counts()
        assert counts.written == len(entries), counts
    each = 1e6 / len(entries)
    return {
        "worker": sum(spent) * each,
        "converter": converted * each,
        "longest_ms": max(spent) * 1e3,
        "bytes": size / len(entries),
    }


def main(count: str, turns: str) -> None:
    """Requests for features, predictions, and features of 100 rows, in turns; the first one is not
    counted.
    """
    gc.disable()  # as `headwater serve` seldom collects
    layout = WordLayout(NAMES, ["float" if real else "int" for real in REAL])
    about, size = contexts(), int(count)
    cases = {kind: single(kind, about[kind], layout, size) for kind in about}
    cases["features of 100 rows"] = many(about["features"], layout, max(size // ROWS, 64))
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    for name in chain.from_iterable(repeat(list(cases), int(turns) + 1)):
        taken[name].append(measure(cases[name]))
    print(
        json.dumps(
            {
                name: {what: statistics.median(turn[what] for turn in own[1:]) for what in own[0]}
                for name, own in taken.items()
            }
        )
    )


def _versions(n: int) -> list[AsOf]:
    return [(NOW + n, NOW + n - 5, {None: 7}, False, False)] * 3


def _words(values: Sequence[Sequence[float]], count: int) -> np.ndarray:
    words = np.zeros(words_of(FEATURES, count), np.int64)
    for place, column in enumerate(values):
        words[place * count : (place + 1) * count] = np.array(
            column, np.float64 if REAL[place] else np.int64
        ).view(np.int64)
    return words


if __name__ == "__main__":
    main(*sys.argv[1:])
