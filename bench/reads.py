"""Reads of 27 features of 3 views for one key and for many, compared with LMDB by hand.

`python -m bench.reads PARTITIONS EVENTS REPEATS` prints JSON.

By hand: three gets in one transaction, the windows summed up by a compiled loop that knows them,
values without statuses.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numba as nb
import numpy as np

import headwater as hw
from bench.measure import peak_mb
from bench.streams import KEYS, ByHand, batch, cover, payments, shard, views
from headwater.online.feature_reader import OnlineFeatures
from headwater.stores import OnlineStore, keyspace
from headwater.stores.lmdb import LmdbStore

if TYPE_CHECKING:
    import polars as pl

_MANY = 100
_Asked = TypeVar("_Asked")


def main(partitions: str, events: str, repeats: str) -> None:
    """Microseconds a key: of both sides in turns, for one key, for a hundred, and for a hundred
    rows with the same user.
    """
    parts, count = int(partitions), int(events)
    # each has events in nearly every partition
    users = 100_000 if parts == 1 else max(count // (16 * parts), 8)
    frame = payments(count, seed=2, hours=24, users=users)
    user_ids = (
        np.random.default_rng(0)
        .choice(frame["user_id"].unique().to_numpy(), 4000 if parts == 1 else 1000)
        .tolist()
    )
    now = int(frame["ts"].dt.epoch("us").max()) + 1  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        store = LmdbStore(Path(ours))
        features = filled(store, frame, parts, views(*KEYS))
        peer = _Reader(Path(theirs), frame, users) if parts == 1 else None
        requests = [dict.fromkeys(KEYS, key) for key in user_ids]
        batches = [
            dict.fromkeys(KEYS, user_ids[at : at + _MANY]) for at in range(0, len(user_ids), _MANY)
        ]
        shared = [
            {**request, "user_id": request["user_id"][:1] * len(request["user_id"])}
            for request in batches
        ]
        times_asked = itertools.count(now)  # no two requests come at the same time
        sides: dict[str, Callable[[], None]] = {
            "one": lambda: _each(
                lambda request: features.row(request, t=next(times_asked)), requests
            ),
            "many": lambda: _each(
                lambda request: features.rows(request, t=next(times_asked)), batches
            ),
            "shared": lambda: _each(
                lambda request: features.rows(request, t=next(times_asked)), shared
            ),
        }
        if peer is not None:
            sides |= {
                "peer one": lambda: _each(peer.one, user_ids),
                "peer many": lambda: _each(peer.many, [request["user_id"] for request in batches]),
            }
        times: dict[str, list[float]] = {
            side: [] for side in (*sides, *(f"{side} busy" for side in sides))
        }
        for turn in range(int(repeats) + 1):
            for side, work in sides.items():
                begin, busy = time.perf_counter(), time.thread_time()
                work()
                if turn:
                    times[side].append((time.perf_counter() - begin) / len(user_ids) * 1e6)
                    times[f"{side} busy"].append((time.thread_time() - busy) / len(user_ids) * 1e6)
        print(
            json.dumps(
                {**times, "events": count, "bytes_a_record": _size(store), "peak_mb": peak_mb()}
            )
        )


def _each(read: Callable[[_Asked], object], asked: Sequence[_Asked]) -> None:
    """Read, and drop each answer, as a server does once it is encoded."""
    for one in asked:
        read(one)


def filled(
    store: OnlineStore, frame: pl.DataFrame, partitions: int, of: Sequence[hw.FeatureView]
) -> OnlineFeatures:
    """The features of views whose stream is written into a store, by one writer a partition."""
    rows = frame.height // partitions
    for number in range(partitions):
        writer = shard(of, store, None if partitions == 1 else str(number))
        mine = frame if partitions == 1 else frame.gather_every(partitions, number)
        for at in range(0, rows, 100_000):
            records, now = batch(mine[at : at + 100_000], at, str(number))
            writer.apply([records], now)
        cover(writer, of)
    return OnlineFeatures(hw.FeatureService("service", of), store)


def _size(store: OnlineStore) -> float:
    sizes = [len(value) for _, value in store.scan(keyspace.RECORD)]
    return round(sum(sizes) / len(sizes), 1)


class _Reader:
    """Three times the store by hand, in one file."""

    def __init__(self, folder: Path, frame: pl.DataFrame, users: int) -> None:
        writer = ByHand(folder)
        for at in range(0, frame.height, 100_000):
            writer.apply(frame[at : at + 100_000], at)
        self.env = writer.env
        with self.env.begin(write=True) as transaction:
            records = [(key, transaction.get(key)) for key in writer.keys[:users]]
            transaction.cursor().putmulti(
                [(view + key, value) for key, value in records if value for view in _VIEWS]
            )
        self.minute = int(frame["ts"].dt.epoch("us").max()) // 60_000_000  # type: ignore[call-overload]

    def one(self, key: int) -> list[float]:
        """The 27 values of a key."""
        own = key.to_bytes(8, "big")
        with self.env.begin() as transaction:
            data = [transaction.get(view + own) for view in _VIEWS]
        out = np.zeros((3, 9))
        for view, value in enumerate(data):
            if value is not None:
                _windows(np.frombuffer(value, np.uint8), self.minute, out[view])
        return out.ravel().tolist()

    def many(self, keys: list[int]) -> list[list[float]]:
        """Those of several."""
        out = np.zeros((len(keys), 3, 9))
        with self.env.begin() as transaction:
            for row, key in enumerate(keys):
                own = key.to_bytes(8, "big")
                for view, name in enumerate(_VIEWS):
                    value = transaction.get(name + own)
                    if value is not None:
                        _windows(np.frombuffer(value, np.uint8), self.minute, out[row, view])
        return out.reshape(len(keys), 27).tolist()


_VIEWS = (b"u", b"m", b"d")


@nb.njit(cache=True)
def _windows(data, now, out):
    head = data[:8].view(np.uint32)
    for i in range((len(data) - 8) // 20):
        tile = data[8 + 20 * i : 28 + 20 * i]
        t, n = tile[:4].view(np.int32)[0], tile[4:8].view(np.uint32)[0]
        total, most = tile[8:16].view(np.float64)[0], tile[16:20].view(np.float32)[0]
        minutes = i < head[1]
        for w, inside in enumerate(
            (minutes and t > now - 10, minutes and t > now - 60, not minutes and t > now // 60 - 24)
        ):
            if inside:
                out[3 * w] += n
                out[3 * w + 1] += total
                out[3 * w + 2] = max(out[3 * w + 2], most)


if __name__ == "__main__":
    main(*sys.argv[1:])
