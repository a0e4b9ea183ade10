"""Every function, by a key of every type, with ids of every kind: read by compiled loops alone, to
the value that an int64 key gives.
"""

import uuid
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import msgspec
import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.ingestion.commit import PartitionWriter
from headwater.ingestion.sources.stream_reader import RecordBatch, between
from headwater.ingestion.validate import Acceptance
from headwater.online.feature_reader import OnlineFeatures
from headwater.state.view_state import State, ViewTiles, encoded, schema_bytes
from headwater.stores import keyspace
from headwater.stores.lmdb import LmdbStore
from headwater.testing.cases import SCHEMA, aggregations

# windows shorter than delays are meant
pytestmark = pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning")

BEGIN = datetime(2024, 3, 10, 6, tzinfo=UTC)
ENTITIES = 2
DAY = 86_400_000_000
BERLIN = timezone(timedelta(hours=2))
KEYS = {
    "int8": (pl.Int8(), lambda n: -n),
    "int16": (pl.Int16(), lambda n: -300 - n),
    "int32": (pl.Int32(), lambda n: -n),
    "int64": (pl.Int64(), lambda n: n),
    "int128": (pl.Int128(), lambda n: 2**100 + n),
    "uint8": (pl.UInt8(), lambda n: 254 + n),
    "uint16": (pl.UInt16(), lambda n: n),
    "uint32": (pl.UInt32(), lambda n: 2**32 - 2 + n),
    "uint64": (pl.UInt64(), lambda n: 2**64 - 2 + n),
    "boolean": (pl.Boolean(), lambda n: n == 1),
    "date": (pl.Date(), lambda n: date(1969, 12, 31) + timedelta(n)),
    "time": (pl.Time(), lambda n: time(23, 59, n)),
    "duration": (pl.Duration("ms"), lambda n: timedelta(milliseconds=n)),
    "timestamp": (pl.Datetime("us", "UTC"), lambda n: datetime(2024, 1, 1, n, tzinfo=BERLIN)),
    "timestamp in a zone": (
        pl.Datetime("ms", "Europe/Berlin"),
        lambda n: datetime(2024, 1, 1, n, tzinfo=UTC),
    ),
    "decimal": (pl.Decimal(12, 2), lambda n: Decimal(n) / 4),
    "string": (pl.String(), lambda n: f"u{n}"),
    "uuid": (pl.String(), lambda n: str(uuid.UUID(int=n + (1 << 120)))),
    "500 letters": (pl.String(), lambda n: "é" * 499 + str(n)),
    "category": (pl.Categorical(), lambda n: f"c{n}"),
    "enum": (pl.Enum(["a", "b"]), lambda n: "ab"[n]),
    "binary": (pl.Binary(), lambda n: bytes([255, 0, n])),
}
COMPOSITE = {
    "int64 and uuid": ("int64", "uuid"),
    "date, decimal and 500 letters": ("date", "decimal", "500 letters"),
    "of all": (),
}
FEATURES = [aggregation for aggregation in aggregations() if aggregation.where is None]
IDS = {"none": None, "integers": "id", "strings": "word_id", "uuids": "uuid_id"}


def history(count=80):
    r = np.random.default_rng(7)
    at = np.sort(r.integers(0, 3_000, count)) * 1_000_000
    of = r.integers(0, ENTITIES, count)
    keys = [
        pl.Series(name, [value(int(n)) for n in of], dtype) for name, (dtype, value) in KEYS.items()
    ]
    times = [BEGIN + timedelta(microseconds=int(t)) for t in at]
    values = {
        "at": times,
        "id": list(range(count)),
        "real": (r.integers(-9, 9, count) / 7).tolist(),
        "whole": r.integers(0, 9, count).tolist(),
        "flag": (r.random(count) < 0.5).tolist(),
        "word": [f"{'é' * int(n)}{n}" for n in r.integers(0, 9, count)],
        "moment": [
            t + timedelta(seconds=int(n))
            for t, n in zip(times, r.integers(0, 900, count), strict=True)
        ],
        "word_id": [f"{'éa'[n % 2]}{n:04}" for n in r.permutation(count)],
        "uuid_id": [str(uuid.UUID(int=int(n) << 64)) for n in r.permutation(count)],
    }
    return pl.DataFrame(
        [
            *keys,
            *(
                pl.Series(name, column, SCHEMA.get(name, pl.String()))
                for name, column in values.items()
            ),
        ]
    )


EVENTS = history()


def filled(store, views):
    """Ingest all events in two batches; the time after the last."""
    writer = PartitionWriter(
        Acceptance(views[0].source, tuple(views), DAY), store, None, archive=False, filtered=False
    )
    now, half = 0, EVENTS.height // 2
    for at in (0, half):
        rows = EVENTS[at : at + half]
        now = int(rows["at"].dt.epoch("us").max()) + 1
        n = rows.height
        place = {"0": between(at, at + n)}
        writer.apply(
            [
                RecordBatch(
                    ["0"],
                    np.zeros(n, np.int64),
                    np.arange(at, at + n),
                    np.full(n, now),
                    place,
                    [],
                    rows,
                )
            ],
            now,
        )
    states = {
        keyspace.stream_state(view.tiles_fingerprint): encoded(
            State(view.name, schema_bytes(tiles.schema), seeded=0, coverage="whole")
        )
        for view, tiles in zip(views, writer.acceptance.tiles, strict=True)
    }
    writer.note(
        msgspec.structs.replace(
            writer.progress, views={view.tiles_fingerprint: "whole" for view in views}
        ),
        states,
        {},
    )
    return now


@contextmanager
def frames():
    """Counts how often records are evaluated as frames, and how many frames and series of polars
    are made.
    """
    counts = Counter()

    def counted(owner, name):
        known = owner.__dict__[name]
        plain = known.__func__ if isinstance(known, classmethod) else known

        def call(self, *args, **kwargs):
            counts[f"{owner.__name__}.{name}"] += 1
            return plain(self, *args, **kwargs)

        patch.setattr(owner, name, classmethod(call) if isinstance(known, classmethod) else call)

    with pytest.MonkeyPatch.context() as patch:
        counted(ViewTiles, "values")
        for owner, name in (
            (pl.Series, "_from_pyseries"),
            (pl.DataFrame, "_from_pydf"),
            (pl.LazyFrame, "_from_pyldf"),
        ):
            counted(owner, name)
            counted(owner, "__init__")
        yield counts


@pytest.fixture(
    scope="module",
    params=[pytest.param(ids, marks=() if ids == "uuids" else pytest.mark.slow) for ids in IDS],
    ids=str,
)
def world(request, tmp_path_factory):
    """A store with a view of every function for each key; the readers by key, and the time after
    the last event.
    """
    stream = hw.push(schema=dict(EVENTS.schema), at_least_once=True)
    source = hw.Source("events", stream=stream, timestamp_field="at", id_field=IDS[request.param])
    every = {name: [name] for name in KEYS} | {
        name: list(keys or KEYS) for name, keys in COMPOSITE.items()
    }
    views = {
        name: hw.FeatureView(
            f"v{n}",
            source=source,
            keys=keys,
            features=FEATURES,
            windows=["1h"],
            freshness=hw.streaming("2s"),
            ttl="40m",
        )
        for n, (name, keys) in enumerate(every.items())
    }
    store = LmdbStore(tmp_path_factory.mktemp("store"))
    now = filled(store, list(views.values()))
    yield (
        {
            name: OnlineFeatures(hw.FeatureService(f"s{n}", [view]), store)
            for n, (name, view) in enumerate(views.items())
        },
        now,
    )
    store.close()


def request(name, n):
    columns = (COMPOSITE[name] or KEYS) if name in COMPOSITE else [name]
    return {column: KEYS[column][1](n) for column in columns}


@pytest.mark.parametrize("key", [*KEYS, *COMPOSITE])
def test_no_read_makes_a_frame_and_all_keys_read_alike(world, key):
    readers, now = world
    expected = [readers["int64"].row({"int64": n}, t=now) for n in range(ENTITIES)]
    reader = readers[key]
    rows = [request(key, n) for n in range(ENTITIES)]
    reader.row(rows[0], t=now)  # the views are opened
    with frames() as made:
        one = [reader.row(row, t=now) for row in rows]
        together = reader.each(rows, now)
        many = reader.rows({name: [row[name] for row in rows] * 5 for name in rows[0]}, t=now)
    assert not made
    assert expected[0].statuses.count(0) > len(FEATURES) / 2, "most features have a value"
    for n in range(ENTITIES):
        assert repr(one[n][:2]) == repr(together[n][:2]) == repr(expected[n][:2])
        assert repr([column[n] for column in many.values]) == repr(expected[n].values)


def test_frames_are_counted(world):
    readers, now = world
    frame = pl.DataFrame({"int64": [0]})
    with frames() as made:
        readers["int64"].read(
            frame, at=BEGIN + timedelta(microseconds=now - int(BEGIN.timestamp() * 1e6))
        )
    assert made["Series.__init__"] > 100
    assert "ViewTiles.values" not in made


@pytest.mark.parametrize(
    "feature", ["last_word", "last_whole", "last_flag", "last_moment", "max_word", "first_whole"]
)
def test_a_key_that_is_a_feature_makes_no_frame(feature, tmp_path):
    column = feature.split("_")[1]
    stream = hw.push(schema=dict(EVENTS.schema), at_least_once=True)
    source = hw.Source("events", stream=stream, timestamp_field="at", id_field="uuid_id")
    fresh = hw.streaming("2s")
    first = hw.FeatureView(
        "first",
        source=source,
        keys=["uuid"],
        features=[hw.last(column), hw.max("word"), hw.first("whole")],
        windows=["1h"],
        freshness=fresh,
    )
    second = hw.FeatureView(
        "second",
        source=source,
        keys=[column],
        features=[hw.count(), hw.last("word_id")],
        windows=["1h"],
        freshness=fresh,
    )
    aliased = second.alias("aliased", keys={column: first[f"{feature}_1h"]})
    store = LmdbStore(tmp_path)
    now = filled(store, [first, second])
    service = hw.FeatureService("s", [first, aliased])
    reader, plain = (
        OnlineFeatures(service, store),
        OnlineFeatures(hw.FeatureService("p", [second]), store),
    )
    rows = [request("uuid", n) for n in range(ENTITIES)]
    reader.row(rows[0], t=now)
    with frames() as made:
        one = [reader.row(row, t=now) for row in rows]
        many = reader.rows({"uuid": [row["uuid"] for row in rows] * 3}, t=now)
        together = reader.each(rows, now)
    assert not made
    at = list(reader.names).index(f"first__{feature}_1h")
    for n, read in enumerate(one):
        through = plain.row({column: read.values[at]}, t=now)
        assert read.values[-2:] == through.values
        assert read.values[-2] > 0
        assert [values[n] for values in many.values] == read.values
        assert together[n][:2] == read[:2]
    store.close()
