"""A read that copies records from LMDB's pages gives what one does that gets each record: to the
bit, for keys of every type.
"""

import random
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import HeadwaterError
from headwater.ingestion.commit import PartitionWriter
from headwater.ingestion.sources.stream_reader import RecordBatch, between
from headwater.ingestion.validate import Acceptance
from headwater.online.feature_reader import OnlineFeatures
from headwater.state.view_state import State, encoded, schema_bytes
from headwater.stores import keyspace, lmdb
from headwater.stores.lmdb import LmdbStore

pytestmark = pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning")

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
DAY = 86_400_000_000
KEYS = {
    "integers": ("user", "shop_id"),
    "one integer twice": ("user", "user"),
    "strings": ("name", "city"),
    "an integer and a string": ("user", "city"),
    "unsigned": ("large", "user"),
}


def events(count, seed):
    r = random.Random(seed)
    rows = [
        {
            "user": r.randrange(30),
            "shop_id": -r.randrange(5),
            "large": 2**63 + r.randrange(9),
            "name": "é" * r.randrange(4) + "x" * r.choice([0, 1, 7, 8, 600]),
            "city": r.choice(["Rome", "Paris", "Οslo", ""]),
            "amount": r.choice([0.1, 2.5, 1e9, -3.0]),
            "ts": BEGIN + timedelta(minutes=n),
        }
        for n in range(count)
    ]
    return pl.DataFrame(rows, schema_overrides={"large": pl.UInt64, "ts": pl.Datetime("us", "UTC")})


def filled(store, frame, keys, parts):
    stream = hw.push(schema=dict(frame.schema))
    source = hw.Source("payments", stream=stream, timestamp_field="ts")
    several = [
        hw.count(),
        hw.sum("amount"),
        hw.last("city"),
        hw.top_k("city", k=2),
        hw.sum("amount").by("city", max_keys=3),
    ]
    views = [
        hw.FeatureView(
            f"v{n}",
            source=source,
            keys=[key],
            features=several,
            windows=["1h", "1d"],
            freshness=hw.streaming("2s"),
        )
        for n, key in enumerate(keys)
    ]
    for number in range(parts):
        partition = None if parts == 1 else str(number)
        writer = PartitionWriter(
            Acceptance(source, tuple(views), DAY), store, partition, archive=False, filtered=False
        )
        mine = frame.gather_every(parts, number)
        at = mine["ts"].dt.epoch("us").to_numpy()
        offsets = {str(number): between(0, mine.height)}
        writer.apply(
            [
                RecordBatch(
                    [str(number)],
                    at * 0,
                    pl.arange(0, mine.height, eager=True).to_numpy(),
                    at,
                    offsets,
                    frame=mine,
                )
            ],
            int(at.max()) + 1,
        )
        values = {}
        for view, tiles in zip(views, writer.acceptance.tiles, strict=True):
            state = State(view.name, schema_bytes(tiles.schema), seeded=0, coverage="whole")
            values[keyspace.stream_state(view.tiles_fingerprint, partition)] = encoded(state)
        writer.note(
            msgspec.structs.replace(
                writer.progress, views={view.tiles_fingerprint: "whole" for view in views}
            ),
            values,
            {},
        )
    return hw.FeatureService("s", views)


def sides(store, service):
    """Reads that copy records, and reads that get them."""
    copying, getting = OnlineFeatures(service, store), OnlineFeatures(service, store)
    assert copying._readers[0]._copies is not None
    getting._readers[0]._copies = None
    return copying, getting


def plain(vector):
    return repr(
        (vector.values, vector.statuses, [tuple(version) for version in vector.read_versions])
    )


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("keys", KEYS)
def test_copied_reads_are_gotten_reads(tmp_path, keys, parts):
    store = LmdbStore(tmp_path / "s")
    frame = events(400, seed=len(keys))
    service = filled(store, frame, KEYS[keys], parts)
    now = int(frame["ts"].dt.epoch("us").max()) + 1
    copying, getting = sides(store, service)
    names = list(dict.fromkeys(KEYS[keys]))
    unknown = {
        "user": [10**6, None, 2**63, -1],
        "shop_id": [7, None, 2**64 - 1, 0],
        "large": [2**63 + 50, None, 3, 2**64 - 1],
    }
    unknown |= {key: ["nobody", None, "", "y" * 700] for key in ("name", "city")}
    rows = frame.select(names).rows(named=True)[:60] + [
        {name: unknown[name][n] for name in names} for n in range(4)
    ]
    read = 0
    copies = copying._readers[0]._copies
    copies._copy = counted(copies._copy, done := [])
    for n, row in enumerate(rows * 2):
        assert plain(copying.row(row, t=now + n)) == plain(getting.row(row, t=now + n))
        read += 1
    assert len(done) > read // 2  # a first read makes the plan, once a second
    for several in (rows[:1], rows[:5], rows, rows[:7] * 9):
        for one, other in zip(copying.each(several, now), getting.each(several, now), strict=True):
            assert plain(one) == plain(other)
        columns = {name: [row[name] for row in several] for name in names}
        assert repr(copying.rows(columns, t=now)) == repr(getting.rows(columns, t=now))
    store.close()


def outcome(read):
    """What a read gives, or its error."""
    try:
        return repr(read())
    except (HeadwaterError, ValueError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("keys", ["integers", "one integer twice"])
def test_columns_of_integers_are_packed_at_once(tmp_path, keys):
    """Of any number, in turn; keys that are not integers of 64 bits, or mostly repeated, are read
    in another way, or refused as before.
    """
    store = LmdbStore(tmp_path / "s")
    frame = events(400, seed=3)
    service = filled(store, frame, KEYS[keys], 1)
    now = int(frame["ts"].dt.epoch("us").max()) + 1
    copying, getting = sides(store, service)
    reader = copying._readers[0]
    packed, pack = [], reader._copies.packed
    reader._copies.packed = lambda layout, *more: (
        packed.append(more[1] is layout._many[1]) or pack(layout, *more)
    )
    users = [3, 4, -1, 29, 0, 2**63 - 1, -(2**63)]
    for column in (users, users[:1], users[2:], [*users, *range(5, 25)], users[:1], []):
        request = {"user": column, "shop_id": [-n for n in range(len(column))]}
        for _ in range(2):
            assert outcome(lambda request=request: copying.rows(request, t=now)) == outcome(
                lambda request=request: getting.rows(request, t=now)
            )
    assert sum(packed) >= 8
    packed.clear()
    others = [
        [True, 3], [None, 3], [2**63, 3], [-(2**63) - 1, 3], [2**64, 3], [3.0, 4], ["3", 4], [np.int64(3), 4], (3, 4), [3, 3], [4] * 9,
        pl.Series([3, 4]), np.array([3, 4]),
    ]  # fmt: skip
    for column in others:
        request = {"user": column, "shop_id": [0] * len(column)}
        assert outcome(lambda request=request: copying.rows(request, t=now)) == outcome(
            lambda request=request: getting.rows(request, t=now)
        )
    assert not any(packed)
    store.close()


def counted(copy, done):
    def counting(*arguments):
        answer = copy(*arguments)
        if answer[2] is not None:
            done.append(answer[2])
        return answer

    return counting


def test_records_in_runs_are_gotten(tmp_path, monkeypatch):
    for name, value in {
        "LARGE": 0,
        "_RUN": 40,
        "_SLICE": 5,
        "_MOST": 12,
        "_PAGES_A_RUN": 1,
        "_FEWEST": 6,
        "_SLOTS": 64,
        "_LONGEST": 10**9,
    }.items():
        monkeypatch.setattr(lmdb, name, value)
    store = LmdbStore(tmp_path / "s")
    frame = events(400, seed=1)
    service = filled(store, frame, KEYS["integers"], 1)
    store.commit({keyspace.RECORD + bytes([n]) * 9: bytes(8) for n in range(200)}, {})
    with store._env.begin() as transaction:
        has_runs = transaction.get(lmdb._STATE) is not None
    now = int(frame["ts"].dt.epoch("us").max()) + 1
    copying, getting = sides(store, service)
    done = []
    copies = copying._readers[0]._copies
    copies._copy = counted(copies._copy, done)
    for row in frame.select("user", "shop_id").rows(named=True)[:60]:
        assert plain(copying.row(row, t=now)) == plain(getting.row(row, t=now))
    assert has_runs
    assert not done
    store.close()


def test_records_that_do_not_fit_make_the_array_larger(tmp_path, monkeypatch):
    from headwater.online import record_copies

    monkeypatch.setattr(record_copies, "_FIRST_ROOM", 200)
    store = LmdbStore(tmp_path / "s")
    frame = events(3000, seed=1)
    service = filled(store, frame, KEYS["one integer twice"], 1)
    now = int(frame["ts"].dt.epoch("us").max()) + 1
    copying, getting = sides(store, service)
    copies = copying._readers[0]._copies
    first = len(copies.words)
    users = {"user": list(range(40)) * 3}
    for _ in range(2):
        assert repr(copying.rows(users, t=now)) == repr(getting.rows(users, t=now))
    assert len(copies.words) > first == 200
    store.close()


def test_a_commit_between_two_reads_is_seen(tmp_path):
    store = LmdbStore(tmp_path / "s")
    frame = events(400, seed=1)
    service = filled(store, frame[:200], KEYS["integers"], 1)
    copying, getting = sides(store, service)
    now = int(frame["ts"].dt.epoch("us").max()) + 1
    row = {"user": frame["user"][0], "shop_id": frame["shop_id"][0]}
    before = [plain(copying.row(row, t=now)) for _ in range(2)]
    filled(store, frame[200:], KEYS["integers"], 1)
    after = plain(copying.row(row, t=now))
    assert after == plain(getting.row(row, t=now)) != before[1] == before[0]
    store.close()
