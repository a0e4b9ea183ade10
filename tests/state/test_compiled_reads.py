"""Compiled loops answer, to the bit, what the evaluation by frames does: every function, ids of
every kind, several records of a key.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.events.columns import STATUSES
from headwater.events.read_events import IDENT, TIME
from headwater.online.compiled_reader import CompiledReader
from headwater.online.key_encoder import KeyColumn, KeyEncoder
from headwater.online.read_layout import ViewPart
from headwater.online.read_versions import ReadVersion
from headwater.state.record import KeyRecords, section
from headwater.state.view_state import ViewTiles
from headwater.stores import keyspace
from headwater.testing.cases import SCHEMA
from headwater.testing.online import KeptState

# windows shorter than delays are meant
pytestmark = pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning")

BEGIN = datetime(2024, 3, 10, 6, tzinfo=UTC)
IDS = {
    "none": None,
    "integers": lambda ids: ids,
    "strings": lambda ids: pl.Series([f"{'éa'[i % 2]}{i:05}" for i in ids]),
}


@dataclass
class At:
    """Reads one version: T and K, with the endings of a key's records."""

    T: int
    K: int
    ends: list[bytes]
    like = "the same"
    moving = False

    def look(self):
        return [b"version"], self.ends

    def read_version(self, values, t):
        return ReadVersion(self.T, self.K, {}, stale=False)

    def lacks(self, values):
        return False

    def chosen(self, records, read_version):
        return list(records)


def stored(view, events, batches, partitions, random):
    """The view's tiles and a store with the records of some partitions, which have taken in the
    events in batches; and T.
    """
    tiles, store, T = ViewTiles(view, events.schema), KeptState(), 0
    ends = [f"\0{n}".encode() for n in range(partitions)]
    cell = [random.randrange(batches) for _ in range(events.height)]
    of = [random.randrange(partitions) for _ in range(events.height)]
    for number in range(batches):
        for partition, end in enumerate(ends):
            part = events.filter(
                pl.Series(
                    [c == number and p == partition for c, p in zip(cell, of, strict=True)],
                    dtype=pl.Boolean,
                )
            )
            if not part.height:
                continue
            T = max(T, part[TIME].max() + 1)
            records = KeyRecords(store.get, view.record_group, end[1:].decode())
            records.put(
                view.tiles_fingerprint,
                tiles.update(part, T, number, records.fetcher(view.tiles_fingerprint)),
            )
            store.values |= records.changes(number)
    store.values = {key: record for key, record in store.values.items() if record}
    return tiles, store, T, ends


def agrees(view, tiles, store, T, K, ends, keys):
    """Assert that one key and many are read as frames evaluate them; how many features loops
    compute.
    """
    reader_of = CompiledReader(
        store,
        [
            ViewPart(
                view,
                At(T, K, ends),
                tiles,
                KeyEncoder([KeyColumn("key", "key", pl.Int64())], "view"),
                tuple(range(len(view.outputs))),
            )
        ],
        view.feature_names,
    )
    begin, name = keyspace.records(view.record_group), view.tiles_fingerprint
    places = [
        [begin + key.to_bytes(8, "big") + end for end in ends] if key is not None else [b""]
        for key in keys
    ]
    records = [[section(store.values.get(place), name) for place in own] for own in places]
    known = view.freshness.known_by(T, K)
    features, statuses = tiles.values(records, np.full(len(keys), T), np.full(len(keys), known))
    expected = [series.to_list() for series in features]
    codes = [bytes(STATUSES.index(status) for status in series.to_list()) for series in statuses]
    found = reader_of.read({"key": keys}, len(keys), T)
    for name, values, mine, status, code in zip(
        view.feature_names, expected, found.values, codes, found.statuses, strict=True
    ):
        assert repr(mine) == repr(values), f"{name}: loops {mine}, frames {values}"
        assert code == status, f"{name}: loops {code}, frames {status}"
    one = reader_of.one({"key": keys[0]}, T)
    assert repr(one.values) == repr([values[0] for values in expected])
    assert one.statuses == bytes(status[0] for status in codes)
    return len(reader_of.parts[0].compiled)


def events_of(rows, ids):
    """Rows of a case as a source's events."""
    frame = (
        pl.DataFrame(rows, schema=SCHEMA).drop("before", "known").filter(pl.col("at").is_not_null())
    )
    frame = frame.with_columns(
        pl.col("at").dt.epoch("us").alias(TIME), pl.col("real").fill_nan(None)
    )
    return (
        frame.drop("id")
        if ids is None
        else frame.with_columns(ids(frame["id"]).alias(IDENT)).drop("id")
    )


@pytest.mark.parametrize("ids", IDS)
@settings(deadline=None)
@given(random=st.randoms(use_true_random=False))
def test_ties_and_edges(ids, random):
    """Times, values, ends and counts that collide, in several records; with every family of a view
    in one read.
    """

    def near(choices):
        return BEGIN + timedelta(microseconds=random.choice(choices))

    rows = [
        {"key": 1, "at": near([0, 1, 60_000_000]), "id": n, "real": random.choice([-0.0, 0.0, -1.5, -2.5, 1.0]), "whole": random.choice([0, -1, 2]),
         "flag": True, "word": random.choice(["", "a", "é", "aé"]), "moment": near([60_000_000 + d for d in (-1, 0, 1, 2, 3)])}
        for n in range(random.choice([2, 5, 9]))
    ]  # fmt: skip
    features = [
        hw.open_count(until="moment"), hw.open_age(until="moment"), hw.mode("real", "word"), hw.top_k("whole", "word", "real", k=2),
        hw.top_k("real", k=9, name="many"), hw.collect_set("real", "word", max_size=2), hw.last_n("real", "word", k=2), hw.first_n("real", "word", k=2),
        hw.last_n("real", k=2, distinct=True, name="last_different"), hw.first_n("word", k=2, distinct=True, name="first_different"),
        hw.sum("real").by("word", max_keys=2), hw.last("word").by("whole", max_keys=2), hw.count_distinct("whole"),
        hw.approx_percentile("real", q=0.5), hw.mean("real").by("word", max_keys=3), hw.max("word"), hw.last("real"), hw.first("word"),
    ]  # fmt: skip
    source = hw.Source(
        "events",
        timestamp_field="at",
        id_field=None if ids == "none" else "id",
        known_after=random.choice(["0s", "1us"]),
    )
    fresh = random.choice([hw.streaming("2s"), hw.batch("1h")])
    view = hw.FeatureView(
        "view", source=source, keys=["key"], features=features, windows=["1m"], freshness=fresh
    )
    partitions = 1 if fresh.scheduled else random.choice([1, 2, 3])
    tiles, store, T, places = stored(
        view, events_of(rows, IDS[ids]), random.choice([1, 2]), partitions, random
    )
    assert agrees(view, tiles, store, T, T + random.choice([0, 1, 2]), places, [1, None]) == len(
        view.outputs
    )
