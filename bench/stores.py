"""What an entity costs in each store: bytes, and the processor time of a commit and of a read, on
both sides of the connection.

`python -m bench.stores KIND EVENTS` prints JSON; KIND is lmdb, redis or postgres. Three views of
nine features each, as in `bench.reads`.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

import headwater as hw
from bench.measure import peak_mb
from bench.servers import StoreServer, server
from bench.streams import KEYS, batch, cover, payments, shard, views
from headwater.cli.ingest import seldom_collected
from headwater.ingestion.commit import PartitionWriter
from headwater.online.feature_reader import OnlineFeatures
from headwater.stores import OnlineStore, keyspace, open_store

USERS = 20_000
SIZES = (1_000, 10_000, 50_000)  # events of a commit
_TURNS = {1_000: 12, 10_000: 6, 50_000: 4}
_READS, _MANY = 1_500, 100


def main(kind: str, events: str) -> None:
    """Fill a store, commit batches of several sizes, and read."""
    count = int(events)
    sizes = [max(size * count // 300_000, 10) for size in SIZES]
    after = sum(size * (_TURNS[full] + 1) for size, full in zip(sizes, SIZES, strict=True))
    frame = payments(count + after, seed=2, hours=24, users=USERS)
    with server(kind) as at, seldom_collected():
        empty = _used(at, None)
        store = open_store(at.url)
        partition = "0" if store.capabilities.multi_process else None
        of = [view.at(hw.streaming("1d")) for view in views(*KEYS)]
        writer = shard(of, store, partition)
        for first in range(0, count, 100_000):
            _apply(writer, frame, first, min(first + 100_000, count))
        cover(writer, of)
        records = [len(value) for _, value in store.scan(keyspace.RECORD)]
        result = {
            "entities": len(records) // len(KEYS),
            "records": len(records),
            "record_bytes": statistics.mean(records),
            "stored_bytes": (_used(at, store) - empty) / len(records),
        }
        now = int(frame["ts"][:count].dt.epoch("us").max()) + 1  # type: ignore[arg-type]
        result["reads"] = _reads(at, OnlineFeatures(hw.FeatureService("service", of), store), now)
        commits, first = [], count
        for size, full in zip(sizes, SIZES, strict=True):
            turns = []
            for turn in range(_TURNS[full] + 1):
                ends = first, first + size
                taken = _taken(at, lambda ends=ends: _apply(writer, frame, *ends))
                first += size
                turns += [taken] if turn else []
            touched = sum(frame[first - size : first][key].n_unique() for key in KEYS)
            commits.append({"events": size, "records": touched, **_typical(turns)})
        result["commits"] = commits
        store.close()
    print(json.dumps({"kind": kind, "events": count, **result, "peak_mb": peak_mb()}))


def _apply(writer: PartitionWriter, frame: object, first: int, last: int) -> None:
    records, now = batch(frame[first:last], first, "0")  # type: ignore[index]
    writer.apply([records], now)


def _reads(at: StoreServer, features: OnlineFeatures, now: int) -> dict:
    """Microseconds a key, of one key in a call and of a hundred."""
    users = np.random.default_rng(0).integers(0, USERS, (_READS, 3)).tolist()
    one = [dict(zip(KEYS, row, strict=True)) for row in users]
    many = [
        {key: [row[n] for row in users[first : first + _MANY]] for n, key in enumerate(KEYS)}
        for first in range(0, len(users), _MANY)
    ]
    times = itertools.count(now)

    def each(read: Callable[..., object], requests: list) -> Callable[[], None]:
        def work() -> None:
            for request in requests:
                read(request, t=next(times))

        return work

    sides = {"one": each(features.row, one), "many": each(features.rows, many)}
    found = {}
    for side, work in sides.items():
        work()
        turns = [_taken(at, work) for _ in range(3)]
        found[side] = {name: value / _READS for name, value in _typical(turns).items()}
    return found


def _typical(turns: list[dict[str, float]]) -> dict[str, float]:
    """The median of the turns; their mean where processor time is counted in hundredths of a
    second.
    """
    return {
        key: (statistics.mean if key == "server" else statistics.median)(
            turn[key] for turn in turns
        )
        for key in turns[0]
    }


def _taken(at: StoreServer, work: Callable[[], object]) -> dict[str, float]:
    """Seconds by the clock, of our processor and of the server's; and bytes to Redis and back."""
    there, net = at.busy(), _network(at)
    wall, busy = time.perf_counter(), time.process_time()
    work()
    taken = {"wall": time.perf_counter() - wall, "busy": time.process_time() - busy}
    after = _network(at)
    return {**taken, "server": at.busy() - there, **{name: after[name] - net[name] for name in net}}


def _network(at: StoreServer) -> dict[str, float]:
    if not at.url.startswith("redis"):
        return {}
    found = at.info()
    return {
        "bytes_in": float(found["total_net_input_bytes"]),
        "bytes_out": float(found["total_net_output_bytes"]),
    }


def _used(at: StoreServer, store: OnlineStore | None) -> float:
    """Bytes of memory (Redis), or of files."""
    if at.url.startswith("redis"):
        return float(at.info()["used_memory"])
    return 0.0 if store is None else float(store.size())


if __name__ == "__main__":
    main(*sys.argv[1:])
