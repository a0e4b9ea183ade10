"""Records go when the last window has passed, and not a microsecond sooner; writes meanwhile are
left alone.
"""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import LostError
from headwater.events.read_events import TIME
from headwater.state.compaction import Size, compact, size_of
from headwater.state.record import KeyRecords, sections
from headwater.state.view_state import ViewTiles
from headwater.stores import keyspace
from tests.stores.conftest import make_store, split_places  # noqa: F401 (fixtures)

SECOND, MINUTE, HOUR, DAY = 10**6, 60 * 10**6, 3600 * 10**6, 86400 * 10**6
NOON = int(datetime(2024, 3, 10, 12, tzinfo=UTC).timestamp()) * SECOND


def tiles_of(*windows):
    frame = pl.DataFrame(
        {"user": ["a"], "at": [datetime(2024, 1, 1, tzinfo=UTC)], "amount": [1.0], "page": ["p"]}
    )
    view = hw.FeatureView(
        "user",
        source=hw.Source("clicks", history=frame, timestamp_field="at"),
        keys=["user"],
        features=[hw.count(), hw.sum("amount"), hw.last("page")],
        windows=list(windows),
        freshness=hw.streaming("2s"),
    )
    return ViewTiles(view, {"user": pl.String(), "amount": pl.Float64(), "page": pl.String()})


def events(*rows):
    """(user, time) each."""
    return pl.DataFrame(
        {
            "user": [u for u, _ in rows],
            TIME: [t for _, t in rows],
            "amount": [0.1] * len(rows),
            "page": [f"page of {u}" for u, _ in rows],
        },
        schema_overrides={TIME: pl.Int64},
    )


class Kept:
    """A view's tiles in a store, by key and partition."""

    def __init__(self, store, *windows):
        self.store, self.tiles = store, tiles_of(*windows)
        self.name = self.tiles.view.tiles_fingerprint

    def place(self, key):
        return keyspace.record(self.tiles.view.record_group, key, None)

    def fetch(self, keys):
        return sections(
            [value or b"" for value in self.store.get([self.place(key) for key in keys])], self.name
        )

    def add(self, T, *rows, through=1):
        records = KeyRecords(self.store.get, self.tiles.view.record_group, None)
        records.put(
            self.name, self.tiles.update(events(*rows), T, through, records.fetcher(self.name))
        )
        self.store.commit(records.changes(through), {})

    def compact(self, T):
        return compact(self.store, self.tiles.view, self.tiles.records, T)

    def keys(self):
        return sorted(user for user in "abcdefgh" if self.fetch([user.encode()]) != [b""])

    def values(self, T, users="abcd"):
        features, _ = self.tiles.values(
            [[record] if record else [] for record in self.fetch([u.encode() for u in users])],
            *[np.full(len(users), T)] * 2,
        )
        return [series.to_list() for series in features]


@pytest.fixture
def store(make_store):
    store = make_store()
    yield store
    store.close()


def hop_of(kept):
    return max(f.window.hop for f in kept.tiles.view.outputs)


@pytest.mark.slow
@pytest.mark.parametrize("windows", [("1h",), ("10m", "1h", "1d"), ("1d", "30d")])
@pytest.mark.parametrize(
    "into", [0, 1, -1], ids=["at the start of a hop", "just after", "at the end"]
)
def test_a_record_goes_when_its_last_window_has_passed(store, windows, into):
    kept = Kept(store, *windows)
    hop = hop_of(kept)
    at = NOON + into % hop
    longest = {"1h": HOUR, "1d": DAY, "30d": 30 * DAY}[windows[-1]]
    end = NOON + hop + longest  # the first T whose window begins behind the hop of the event
    kept.add(at + SECOND, ("a", at))
    kept.add(at + SECOND, ("b", at + hop))
    assert kept.values(end - 1)[len(windows) - 1][:2] == [1, 1]
    assert kept.values(end)[len(windows) - 1][:2] == [0, 1]
    assert kept.compact(end - 1).after.records == 2
    assert kept.keys() == ["a", "b"]
    assert kept.values(end - 1)[len(windows) - 1][:2] == [1, 1]
    found = kept.compact(end)
    assert (found.before.records, found.after.records, found.busy) == (2, 1, 0)
    assert kept.keys() == ["b"]
    kept.compact(end + hop)
    assert kept.keys() == []
    assert size_of(store, kept.tiles.view) == Size()


@pytest.mark.slow
def test_a_lifetime_keeps_one_tile(store):
    kept = Kept(store, "1h", "lifetime")
    kept.add(NOON + 2 * HOUR, *(("a", NOON + i * MINUTE) for i in range(120)))
    assert size_of(store, kept.tiles.view).tiles > 1
    before = kept.values(NOON + 30 * DAY)
    found = kept.compact(NOON + 30 * DAY)
    assert (found.after.records, found.after.tiles) == (1, 1)
    assert found.after == size_of(store, kept.tiles.view)
    assert found.after.bytes < found.before.bytes
    after = kept.values(NOON + 30 * DAY)
    assert [column[0] for column in after][:2] == [0, 120]
    assert [column for column in after if not isinstance(column[0], float)] == [
        c for c in before if not isinstance(c[0], float)
    ]


def test_only_the_view_that_is_meant(store):
    kept, other = Kept(store, "1h"), Kept(store, "10m")
    assert kept.name != other.name
    kept.add(NOON + 1, ("a", NOON))
    other.add(NOON + 1, ("a", NOON))
    store.commit({keyspace.offset("clicks", "0"): b"8 bytes."}, {})
    kept.compact(NOON + DAY)
    assert (kept.keys(), other.keys()) == ([], ["a"])
    assert store.get([keyspace.offset("clicks", "0")]) == [b"8 bytes."]


def test_sizes_are_counted(store):
    kept = Kept(store, "1h")
    kept.add(NOON + HOUR, *((user, NOON + i * 10 * MINUTE) for user in "abc" for i in range(5)))
    found = size_of(store, kept.tiles.view)
    keys = [kept.place(user.encode()) for user in "abc"]
    assert (found.records, found.tiles) == (3, 15)
    assert found.bytes == sum(map(len, keys)) + sum(map(len, kept.fetch([b"a", b"b", b"c"])))
    assert found.mean_tiles == 5
    assert size_of(store, Kept(store, "30d").tiles.view) == Size()


def test_many_records_go_in_parts(store):
    kept = Kept(store, "1h")
    rows = [(f"user {i}", NOON + (i % 2) * 10 * HOUR) for i in range(2500)]
    kept.add(NOON + 10 * HOUR + 1, *rows)
    assert kept.compact(NOON + 10 * HOUR).after.records == 1250
    left = {key for key, _ in store.scan(keyspace.records(kept.tiles.view.record_group))}
    assert left == {kept.place(user.encode()) for user, at in rows if at > NOON}


def test_what_is_written_meanwhile_is_left_alone(store, monkeypatch):
    kept = Kept(store, "1h")
    end = NOON + DAY
    kept.add(NOON + SECOND, *((user, NOON) for user in "abcd"))
    commit, written = store.commit, []

    def beaten(changes, expect):
        if not written:
            written.append(1)
            kept.add(end, ("b", end - SECOND), through=2)  # an ingest that was quicker
            store.commit = commit
        commit(changes, expect)

    monkeypatch.setattr(
        store,
        "commit",
        lambda changes, expect: beaten(changes, expect) if expect else commit(changes, expect),
    )
    found = kept.compact(end)
    monkeypatch.undo()
    assert (found.before.records, found.after.records, found.busy) == (4, 1, 1)
    assert kept.keys() == ["b"]
    assert kept.values(end)[0] == [0, 1, 0, 0]


def test_a_store_that_is_fenced_is_not_tried_for_ever(store, monkeypatch):
    kept = Kept(store, "1h")
    kept.add(NOON + SECOND, ("a", NOON))

    def lost(changes, expect):
        raise LostError("lost")

    monkeypatch.setattr(store, "commit", lost)
    with pytest.raises(LostError):
        kept.compact(NOON + DAY)
