"""Payments as they come in, the views over them, and stores that hold them: what the rows of tiles
and of reads measure.

LMDB by hand is the same work by a program that knows its three functions and three windows, keeps
all tiles in memory, and writes the live ones of each key that a batch touches: minutes for the last
hour, hours for the last day.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lmdb
import msgspec
import numpy as np
import polars as pl

import headwater as hw
from headwater.ingestion.commit import PartitionWriter
from headwater.ingestion.sources.stream_reader import RecordBatch, between
from headwater.ingestion.validate import Acceptance
from headwater.state.view_state import State, encoded, schema_bytes
from headwater.stores import OnlineStore, keyspace

USERS = 100_000
HOURS = 48
BEGIN = 1_760_000_000_000_000
KEYS = ("user_id", "merchant_id", "device_id")
WINDOWS = ["10m", "1h", "1d"]
DAY = 86_400_000_000


def payments(count: int, seed: int, hours: int = HOURS, users: int = USERS) -> pl.DataFrame:
    """Some users pay far more often than others; one payment in twenty comes up to 5 seconds
    late.
    """
    r = np.random.default_rng(seed)
    share = np.cumsum(1 / np.arange(1, users + 1) ** 1.1)
    user = r.permutation(users)[np.searchsorted(share / share[-1], r.random(count) * (1 - 1e-9))]
    ts = np.sort(r.integers(0, hours * 3_600_000_000, count)) + BEGIN
    ts -= np.where(r.random(count) < 0.05, r.integers(0, 5_000_000, count), 0)
    columns = {
        "user_id": user,
        "merchant_id": r.permutation(user),
        "device_id": r.permutation(user),
    }
    frame = pl.DataFrame({**columns, "amount": np.round(r.lognormal(3, 1, count), 2), "ts": ts})
    return frame.with_columns(
        pl.col("ts").cast(pl.Datetime("us", "UTC")), pl.int_range(count).alias("id")
    )


def views(*keys: str, ids: bool = False, halved: bool = False) -> list[hw.FeatureView]:
    """For each key, count, sum and maximum over three windows: 9 features. halved: a filter leaves
    out half of the payments.
    """
    schema = {
        **dict.fromkeys(KEYS, int),
        "amount": float,
        "ts": pl.Datetime("us", "UTC"),
        "id": int,
    }
    keep = pl.col("amount") > 20 if halved else None
    source = hw.Source(
        "payments",
        stream=hw.push(schema=schema),
        timestamp_field="ts",
        id_field="id" if ids else None,
        filter=keep,
    )
    return views_of(source, [hw.count(), hw.sum("amount"), hw.max("amount")], WINDOWS, keys)


def views_of(
    source: hw.Source,
    features: Sequence[hw.operations.Aggregation],
    windows: Sequence[str],
    keys: Sequence[str],
) -> list[hw.FeatureView]:
    """For each key, a streaming view of these features."""
    fresh = hw.streaming("2s")
    return [
        hw.FeatureView(
            key[:-3], source=source, keys=[key], features=features, windows=windows, freshness=fresh
        )
        for key in keys
    ]


def shard(
    of: Sequence[hw.FeatureView],
    store: OnlineStore,
    partition: str | None = None,
    *,
    archive: bool = False,
    filtered: bool = False,
) -> PartitionWriter:
    """What writes the stream of some views into a store."""
    return PartitionWriter(
        Acceptance(of[0].source, tuple(of), DAY),
        store,
        partition,
        archive=archive,
        filtered=filtered,
    )


def cover(writer: PartitionWriter, of: Sequence[hw.FeatureView]) -> None:
    """Have the store say that these views are complete."""
    values = {}
    for view, tiles in zip(of, writer.acceptance.tiles, strict=True):
        state = State(view.name, schema_bytes(tiles.schema), seeded=0, coverage="whole")
        values[keyspace.stream_state(view.tiles_fingerprint, writer.partition)] = encoded(state)
    views_of = {view.tiles_fingerprint: "whole" for view in of}
    writer.note(msgspec.structs.replace(writer.progress, views=views_of), values, {})


def batch(frame: pl.DataFrame, first: int, partition: str = "0") -> tuple[RecordBatch, int]:
    """Some payments as a feed gives them, and the moment at which the last came."""
    at = frame["ts"].dt.epoch("us").to_numpy()
    count = frame.height
    records = RecordBatch(
        [partition],
        np.zeros(count, np.int64),
        np.arange(first, first + count),
        at,
        {partition: between(first, first + count)},
        frame=frame,
    )
    return records, int(at.max()) + 1


class ByHand:
    """LMDB by hand: 61 minutes and 25 hours of each user in memory; the live ones are written."""

    MINUTES, RINGS = 61, 86
    TILE = np.dtype([("t", "<i4"), ("n", "<u4"), ("total", "<f8"), ("most", "<f4")])

    def __init__(self, folder: Path) -> None:
        self.env = lmdb.open(str(folder), map_size=8 << 30)
        self.t = np.zeros((USERS, self.RINGS), np.int32)
        self.n = np.zeros((USERS, self.RINGS), np.uint32)
        self.total = np.zeros((USERS, self.RINGS))
        self.most = np.zeros((USERS, self.RINGS), np.float32)
        self.keys = [user.to_bytes(8, "big") for user in range(USERS)]

    def apply(self, frame: pl.DataFrame, offset: int) -> None:
        """Add a batch, and make it durable."""
        user = frame["user_id"].to_numpy()
        minute = frame["ts"].dt.epoch("us").to_numpy() // 60_000_000
        amount = frame["amount"].to_numpy()
        now = int(minute.max())
        self._add(user, minute, amount, 0, self.MINUTES)
        self._add(user, minute // 60, amount, self.MINUTES, self.RINGS - self.MINUTES)
        touched = np.unique(user)
        t = self.t[touched]
        live = np.where(np.arange(self.RINGS) < self.MINUTES, t > now - 60, t > now // 60 - 24)
        tiles = np.empty(int(live.sum()), self.TILE)
        for name in self.TILE.names:
            tiles[name] = getattr(self, name)[touched][live]
        data, ends = tiles.tobytes(), (np.cumsum(live.sum(axis=1)) * self.TILE.itemsize).tolist()
        begins = [0, *ends[:-1]]
        minutes = live[:, : self.MINUTES].sum(axis=1).astype("<u4")
        heads = [
            head.tobytes()
            for head in np.stack([np.full(len(touched), now, "<u4"), minutes], axis=1)
        ]
        items = [
            (self.keys[u], head + data[a:b])
            for u, head, a, b in zip(touched.tolist(), heads, begins, ends, strict=True)
        ]
        with self.env.begin(write=True) as transaction:
            transaction.cursor().putmulti(items)
            transaction.put(b"offset", offset.to_bytes(8, "big"))

    def _add(
        self, user: np.ndarray, tile: np.ndarray, amount: np.ndarray, first: int, ring: int
    ) -> None:
        order = np.argsort((user << 32) | tile, kind="stable")
        user, tile, amount = user[order], tile[order], amount[order]
        begin = np.flatnonzero(
            np.concatenate([[True], (user[1:] != user[:-1]) | (tile[1:] != tile[:-1])])
        )
        n, total, most = (
            np.diff([*begin, len(user)]),
            np.add.reduceat(amount, begin),
            np.maximum.reduceat(amount, begin),
        )
        at = user[begin], first + tile[begin] % ring
        self._merge(at, tile[begin], n, total, most)

    def _merge(
        self, at: tuple, tile: np.ndarray, n: np.ndarray, total: np.ndarray, most: np.ndarray
    ) -> None:
        same = self.t[at] == tile
        self.n[at] = np.where(same, self.n[at], 0) + n
        self.total[at] = np.where(same, self.total[at], 0) + total
        self.most[at] = np.where(same, np.maximum(self.most[at], most), most)
        self.t[at] = tile
