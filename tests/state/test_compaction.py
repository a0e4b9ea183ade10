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
from headwater.state.compaction import compact
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
