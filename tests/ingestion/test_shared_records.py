"""Views that share records: one is added, changed, dropped or filled while the others are live, and
no update is lost.
"""

from contextlib import closing
from random import Random

import pytest

import headwater as hw
from headwater.errors import FencedError, StoreError
from headwater.jobs.compact_views import compact_store
from headwater.state.record import fingerprints
from headwater.stores import keyspace
from headwater.stores.keyspace import placed
from tests.flow import Flow, clock, home, micros, project_of, streaming_view  # noqa: F401 (fixtures)
from tests.stores.conftest import STORES, make_store, split_places  # noqa: F401 (fixtures)

FEATURES = {
    "a": [hw.count(), hw.sum("amount")],
    "b": [hw.max("amount"), hw.last_n("amount", k=3)],
    "b2": [hw.min("amount")],
    "c": [hw.collect_set("amount", max_size=100), hw.count()],
}
REFERENCE = {
    "a": lambda given: [len(given), sum(given)],
    "b": lambda given: [max(given, default=None), given[-3:]],
    "b2": lambda given: [min(given, default=None)],
    "c": lambda given: [sorted(set(given)), len(given)],
}
KEYS = [1, 2, 3]


def view(name):
    """By name; b2 is another definition of b."""
    return streaming_view(FEATURES[name], name=name[0], source={"select": ["key", "amount"]})


@pytest.fixture
def store(make_store):
    with closing(make_store()) as made:
        yield made


class History:
    """All that was sent to a store, by key, and the process that ingests."""

    def __init__(self, store, folder, clock):
        self.store, self.folder, self.clock, self.second, self.offset, self.names = (
            store,
            folder,
            clock,
            100,
            0,
            (),
        )
        self.sent = {key: [] for key in KEYS}

    def ingest(self, *names):
        """As a process that has just started does, which has these views."""
        self.second += 1
        self.clock(self.second)
        flow = Flow([view(name) for name in names], self.store, self.folder)
        for partition in ("0", "1"):
            flow.ingestor.writer(partition)
        flow.offset = self.offset
        self.flow, self.names = flow, names

    def send(self, *keys, partition="0", flow=None):
        self.second += 1
        self.clock(self.second)
        rows = [
            {"key": key, "at": self.second - 1 + n / 100, "amount": float(self.second + n)}
            for n, key in enumerate(keys)
        ]
        flow = flow or self.flow
        flow.offset = self.offset
        flow.send(rows, self.second, partition)
        self.offset = flow.offset
        for row in rows:
            self.sent[row["key"]].append(row["amount"])

    def read(self, *names):
        """The values of views for each key, in one read; whether each is incomplete."""
        served = hw.operations.OnlineFeatures(
            hw.FeatureService("s", [view(name) for name in names]), self.store
        )
        columns, _, versions = served.rows({"key": KEYS}, t=micros(self.second))
        return [list(row) for row in zip(*columns, strict=True)], [
            version.incomplete for version in versions
        ]

    def check(self):
        expected = [
            [value for name in self.names for value in REFERENCE[name](self.sent[key])]
            for key in KEYS
        ]
        assert self.read(*self.names) == (expected, [False] * len(self.names))

    def sections(self):
        """The views that have a section in some record."""
        names = {placed(self.store, view(name)).tiles_fingerprint: name for name in FEATURES}
        group = placed(self.store, view("a")).record_group
        return {
            names[tiles]
            for _, record in self.store.scan(keyspace.records(group))
            for tiles in fingerprints(record)
        }


@pytest.fixture
def history(store, tmp_path, clock):
    return History(store, tmp_path / "data", clock)


def test_one_record_has_all_views_of_a_key(history):
    history.ingest("a", "b", "c")
    history.send(1, 2, 1, 3)
    history.check()
    group = placed(history.store, view("a")).record_group
    records = dict(history.store.scan(keyspace.RECORD))
    assert len(records) == 3
    assert {key[:9] for key in records} == {keyspace.records(group)}
    assert {len(fingerprints(record)) for record in records.values()} == {3}


def test_a_view_is_added_changed_and_dropped_while_the_others_are_live(history):
    history.ingest("a")
    history.send(1, 2)
    history.send(1, 3, partition="1")
    history.ingest("a", "b")
    history.check()
    server = hw.operations.OnlineFeatures(hw.FeatureService("s", [view("b")]), history.store)
    assert not server.row({"key": 1}, t=micros(history.second)).read_versions[0].incomplete
    history.send(2, 3, partition="1")
    history.ingest("a", "b2", "c")  # another definition of b
    history.send(2, 3, 3)
    history.check()
    assert history.sections() == {"a", "b", "b2", "c"}
    old = server.row({"key": 1}, t=micros(history.second))
    assert (old.values, old.read_versions[0].incomplete) == ([None, None], True)
    history.ingest("a", "b")  # back to the first
    history.send(1)
    history.check()
    assert server.row({"key": 1}, t=micros(history.second)).values == REFERENCE["b"](
        history.sent[1]
    )
    history.ingest("b")  # a and c are dropped
    history.send(2)
    history.check()
    assert history.read("a")[1] == [True]


def test_sections_of_dropped_views_go_at_the_next_write_or_by_compaction(history):
    history.ingest("a", "b", "c")
    history.send(1, 2)
    history.ingest("a", "b2")
    history.send(1)
    assert history.sections() == {"a", "b", "b2", "c"}
    rows = compact_store(
        project_of(view("a"), view("b2")),
        store=history.store,
        now=micros(history.second),
        dry_run=True,
    )
    assert [row.view for row in rows] == [
        "a",
        "b",
        "b (earlier definition)",
        "c (earlier definition)",
    ]
    assert history.sections() == {"a", "b", "b2", "c"}
    compact_store(
        project_of(view("a"), view("b2")), store=history.store, now=micros(history.second)
    )
    assert history.sections() == {"a", "b2"}
    history.check()
    history.ingest("a", "b2", "c")
    state = keyspace.stream_state(placed(history.store, view("c")).tiles_fingerprint)
    # as a drop that was killed after its first step
    history.store.commit(dict.fromkeys(key for key, _ in history.store.scan(state)), {})
    history.ingest("a", "b2")
    history.send(1, 2, 3)
    assert history.sections() == {"a", "b2"}
    history.check()


def test_forget_leaves_the_other_sections(history):
    history.ingest("a", "b")
    history.send(1, 2, 2)
    assert hw.operations.forget(project_of(view("a"), view("b")), ["b"], store=history.store) == {
        "b": 2
    }
    history.names = ("a",)
    history.check()
    assert history.sections() == {"a"}
    history.ingest("a", "b")
    history.check()


@pytest.mark.parametrize("make_store", [name for name in STORES if name != "lmdb"], indirect=True)
def test_a_commit_and_a_fill_of_two_processes_lose_no_update(history, monkeypatch):
    """Whichever of the two commits first, the other is fenced, and begins again; on LMDB a lease
    lets one process ingest.
    """
    history.ingest("a")
    history.send(1, 2)
    live, commit, fills = history.flow, history.store.commit, []

    def beaten(changes, expect):
        """Before a page of the fill, a commit of the process that is live."""
        if not fills and any(key.startswith(keyspace.RECORD) for key in changes):
            fills.append(1)
            history.send(1, 3, flow=live)
        commit(changes, expect)

    monkeypatch.setattr(history.store, "commit", beaten)
    with pytest.raises(FencedError):
        history.ingest("a", "b")
    assert fills
    monkeypatch.setattr(history.store, "commit", commit)

    def late(changes, expect):
        """Before a commit of the process that is live, a whole fill."""
        monkeypatch.setattr(history.store, "commit", commit)
        history.ingest("a", "b")
        commit(changes, expect)

    monkeypatch.setattr(history.store, "commit", late)
    with pytest.raises(FencedError):
        history.send(1, flow=live)
    history.check()
    history.send(1, 2)
    history.check()


@pytest.mark.parametrize("seed", range(2))
def test_random_histories(history, monkeypatch, seed):
    """Views come, change and go, fills are cut short, records are compacted: complete values are
    exact.
    """
    random, commit = Random(seed), history.store.commit
    history.ingest("a")
    history.send(1)
    for _ in range(12):
        chance = random.random()
        if chance < 0.4:
            keys = random.choices(KEYS, k=random.randint(1, 4))
            history.send(*keys, partition=random.choice(["0", "1"]))
        elif chance < 0.8:
            left = [random.randint(0, 3)]

            def cut_short(changes, expect, left=left):
                left[0] -= 1
                if left[0] < 0:
                    raise StoreError("killed")
                commit(changes, expect)

            names = [
                n for n in ("a", random.choice(["b", "b2"]), "c") if random.random() < 0.7
            ] or ["a"]
            monkeypatch.setattr(history.store, "commit", cut_short)
            try:
                history.ingest(*names)
            except StoreError:
                monkeypatch.setattr(history.store, "commit", commit)
                history.ingest(*names)
            monkeypatch.setattr(history.store, "commit", commit)
        else:
            compact_store(
                project_of(*map(view, history.names)),
                store=history.store,
                now=micros(history.second),
            )
        history.check()
