"""Corrections and deletions that come by another partition than their event, after splits, merges and growths.

The law: what is online is what the naive reference says of all that was sent, after random changes, splits, restarts and crashes.
"""

import contextlib
import json
import tempfile
import threading
from pathlib import Path
from random import Random
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import FencedError
from headwater.ingestion import closed_partitions, source_ingestor
from headwater.ingestion.bootstrap import _unmoved
from headwater.ingestion.partition_writer import PartitionWriter
from headwater.ingestion.source_ingestor import IngestLimits, SourceIngestor
from headwater.ingestion.sources.stream_reader import RecordBatch, between, offset_at
from headwater.monitoring.parity import check_view
from headwater.online.view_reader import OnlineView
from headwater.online_stores.ownership import scoped
from headwater.state.view_state import progresses, read_progress
from headwater.testing.cases import aggregations
from headwater.testing.naive import agree, evaluate
from tests.effort import LONG
from tests.ingestion.test_corrections_law import KEYS, SCHEMA, SECOND, START, TIMES, iso, moment
from tests.online_stores.durable_stores import durable_store

RULES = {"timestamp_field": "at", "known_at_field": "known", "id_field": "id", "changes": "before"}
EVERY = aggregations()


class Crash(Exception):  # noqa: N818
    """A process ends here."""


@pytest.fixture(autouse=True)
def worlds(monkeypatch):
    """Without a wait for readers; stores are closed at the end."""
    monkeypatch.setattr(source_ingestor, "_KNOWN", 0.0)
    yield
    while World.opened:
        World.opened.pop().close()


@pytest.fixture(params=["redis", "postgres"], scope="module")
def url(request, tmp_path_factory):
    with durable_store(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


def view_of(features, freshness, **more):
    return hw.FeatureView(
        "v", source=hw.Source("s", **RULES, **more), keys=["key"], windows=["10s", "1m", "lifetime"][: 3 if features[0].windows is None else 2],
        features=features, freshness=freshness,
    )  # fmt: skip


class World:
    """Shards that are split and merged; a change of an event comes by an open shard that comes from the event's, or by any (a topic)."""

    opened: ClassVar[list] = []

    def __init__(self, url, folder, features, seed, *, topic=False):
        self.chance, self.folder, self.now, self.topic = Random(seed), folder, START, topic
        stream = hw.kafka("s", schema=SCHEMA) if topic else hw.kinesis("s", schema=SCHEMA)
        self.view, self.model = view_of(features, hw.streaming("2s"), stream=stream), view_of(features, hw.on_request())
        self.url, self.sent, self.made, self.version = url, [], 2, {}
        self.open_shards, self.events = ["0", "1"], 0
        self.restart()
        self.reader = OnlineView(self.view, self.store)

    def restart(self):
        if hasattr(self, "store"):
            self.opened.pop().close()
        self.store = scoped(hw.operations.open_store(self.url), "p", write=True)
        self.opened.append(self.store)
        self.ingestor = SourceIngestor(
            self.view.source, [self.view], self.store, self.folder, IngestLimits(max_future_skew="10s"), replayed_from=self.now
        )
        self.group = self.ingestor._group
        if self.topic:
            self.group.counted(len(self.open_shards))
        for shard in self.open_shards:
            self.group.descend(shard, [])
            self.ingestor.writer(shard)
        if hasattr(self, "reader"):
            self.reader = OnlineView(self.view, self.store)

    def image(self, ident, known, **more):
        chance = self.chance
        past = {name: self.now - round(chance.choice([0.001, 1, 5, 10, 40, 59.9, 90, -1.5]) * SECOND) for name in ("at", "moment")}
        values = {"whole": chance.choice([None, 0, -7, 2**40]), "real": chance.choice([None, 0.5, -1.25, 1e9, 0.01])}
        words = {"word": chance.choice([None, "a", "b", "é", ""]), "flag": chance.choice([None, True, False])}
        return {"id": ident, "key": chance.choice([*KEYS, *KEYS, None]), **values, **words, **past, "known": known, "before": False} | more

    def step(self):
        """Some images to one shard."""
        rows = []
        shard = self.chance.choice(self.open_shards)
        for _ in range(self.chance.randrange(1, 5)):
            ident = self.ident(shard)
            self.version[ident] = known = self.version.get(ident, START - 1000) + self.chance.choice([1, 1, 1, 0, -1])
            kind = self.chance.random()
            was = [row for row in self.sent if row["id"] == ident]
            if was and kind < 0.2:
                rows.append({**was[-1], "known": known, "before": True})
            elif was and kind < 0.3:
                rows.append(self.chance.choice(was))
            else:
                rows.append(self.image(ident, known))
        self.commit(shard, rows)

    def ident(self, shard):
        """An event that may come by a shard: before the first growth it has a shard of its own."""
        ident = self.chance.randrange(8)
        return ident if self.made > 2 else ident // 2 * 2 + int(shard)

    def records(self, shard, rows, *, closed=False):
        payloads = [json.dumps({k: iso(v) if k in TIMES and v is not None else v for k, v in row.items()}).encode() for row in rows]
        stored, n = self.ingestor.writer(shard).positions.get(shard), len(rows)
        first = 0 if stored is None else offset_at(stored)
        return RecordBatch(
            [shard], np.zeros(n, np.int64), np.arange(first, first + n), np.full(n, self.now), {shard: between(first, first + n + closed)}, payloads,
            closed=frozenset([shard] if closed else []),
        )  # fmt: skip

    def commit(self, shard, rows, **more):
        self.ingestor.commit([(self.records(shard, rows, **more), dict(self.ingestor.turns))], self.now)
        self.sent += rows

    def grow(self):
        """One more partition of the topic; or a split or a merge of shards."""
        if self.topic:
            self.open_shards.append(str(self.made))
            self.made += 1
            self.group.counted(self.made)
            return
        parents = self.chance.sample(self.open_shards, 1 if len(self.open_shards) < 3 else self.chance.choice([1, 2]))
        for parent in parents:
            self.commit(parent, [], closed=True)
            self.open_shards.remove(parent)
        for _ in range(3 - len(parents)):
            child = str(self.made)
            self.made += 1
            self.group.descend(child, parents)
            self.ingestor.writer(child)
            self.open_shards.append(child)

    def ask(self):
        self.now += SECOND
        self.ingestor.commit([], self.now)  # what was held and is due
        self.reader = OnlineView(self.view, self.store)
        keys = [*KEYS, 9]
        served = self.reader.read(pl.DataFrame({"key": keys}), self.now)
        known = [row for row in self.sent if row["before"] or row["at"] is None or row["at"] < self.now]
        model = [{**row, **{n: None if row[n] is None else moment(row[n]) for n in TIMES}} for row in known]
        answers = evaluate(self.model, model, [{"key": key, "timestamp": moment(served.read_version.T)} for key in keys])
        for feature, values, statuses in zip(self.view.outputs, served.features, served.statuses, strict=True):
            squared = feature.aggregation.function == "std"
            for answer, value, status in zip(answers, values.to_list(), statuses.to_list(), strict=True):
                expected = answer[f"v__{feature.name}"]
                assert agree(expected, value, squared=squared), (feature.name, value, expected)
                assert status == expected.status
        assert not served.read_version.incomplete


def crash(world):
    """Have the next commits of images be made or not, and the process end then."""
    commit, chance = world.store.store.commit, world.chance

    def committing(changes, expect):
        if chance.random() < 0.5:
            commit(changes, expect)
        raise Crash

    world.store.store.commit = committing


@pytest.mark.slow
@pytest.mark.parametrize("topic", [False, True], ids=["shards", "a topic"])
@pytest.mark.parametrize("seed", range(60 if LONG else 4))
def test_online_equals_offline(url, seed, topic):
    features = Random(seed).sample(EVERY, 3)
    with tempfile.TemporaryDirectory() as folder:
        world = World(f"{url}?prefix=l{seed}{'t' if topic else 's'}", Path(folder), features, seed, topic=topic)
        for _ in range(12):
            world.now += round(world.chance.choice([0.001, 0.5, 1, 5, 20]) * SECOND)
            what = world.chance.random()
            if what < 0.2 and world.made < 8:
                world.grow()
            elif what < 0.3:
                world.ingestor.roll(least=1)
                world.restart()
            elif what < 0.4:
                shard = world.chance.choice(world.open_shards)
                rows = [world.image(world.ident(shard), START)]
                records, before = world.records(shard, rows), world.ingestor.writer(shard).progress.sequence
                crash(world)
                with contextlib.suppress(Crash):
                    world.ingestor.commit([(records, dict(world.ingestor.turns))], world.now)
                world.restart()
                if world.ingestor.writer(shard).progress.sequence != before:
                    world.sent += rows
            else:
                world.step()
            world.ask()
        world.ingestor.roll(least=1)
        assert check_view(world.view, world.store, world.folder, at=world.now).mismatches == []


NUMBERS = [hw.count(), hw.sum("whole")]


def world_of(url, folder, prefix, features=NUMBERS):
    return World(f"{url}?prefix={prefix}", folder, features, 1, topic=True)


def stated(world, ident, version, **more):
    """An image of a whole number, an hour ago."""
    values = {"whole": version, "key": 1, "at": START - 5 * SECOND, "moment": None} | more
    return world.image(ident, START + version, **values)


def sums(world, keys=(1, 2)):
    view = OnlineView(world.view, world.store)
    served = view.read(pl.DataFrame({"key": keys}), world.now + SECOND)
    return dict(zip([f.name for f in world.view.outputs], (s.to_list() for s in served.features), strict=True))["sum_whole_1m"]


def test_a_correction_and_a_deletion_come_by_another_partition(url, tmp_path):
    world = world_of(url, tmp_path, "planted")
    world.commit("0", [stated(world, 0, 3), stated(world, 1, 4)])
    world.grow()
    world.now += 1
    world.commit("2", [stated(world, 0, 5, key=2)])
    assert sums(world) == [4, 5]
    world.restart()
    world.commit("0", [stated(world, 0, 4)])  # older than what came by the other one
    assert sums(world) == [4, 5]
    world.commit("1", [stated(world, 1, 9, before=True)])
    assert sums(world) == [0, 5]
    world.commit("0", [stated(world, 0, 11)])  # it comes back
    assert sums(world) == [11, 0]
    assert check_view(world.view, world.store, tmp_path, at=world.now + SECOND).mismatches == []


def test_writers_that_commit_at_once_lose_no_change(url, tmp_path):
    world = world_of(url, tmp_path, "threads")
    world.commit("0", [stated(world, ident, 1) for ident in range(8)])
    world.grow()
    ingestors = [
        SourceIngestor(world.view.source, [world.view], world.store, tmp_path, IngestLimits(), replayed_from=START) for _ in range(3)
    ]
    versions, lock, failures = dict.fromkeys(range(8), 1), threading.Lock(), []

    def write(number):
        chance, ingestor, shard = Random(number), ingestors[number], str(number)
        try:
            offset = 0 if (stored := ingestor.writer(shard).positions.get(shard)) is None else offset_at(stored)
            for _ in range(12):
                rows = []
                for ident in chance.sample(range(8), 3):
                    with lock:
                        versions[ident] += 1
                        rows.append(stated(world, ident, versions[ident]))
                payloads = [json.dumps({k: iso(v) if k in TIMES and v is not None else v for k, v in row.items()}).encode() for row in rows]
                n, offset = len(rows), offset + len(rows)
                position = {shard: between(offset - n, offset)}
                records = RecordBatch(
                    [shard], np.zeros(n, np.int64), np.arange(offset - n, offset), np.full(n, world.now), position, payloads
                )
                ingestor.commit([(records, dict(ingestor.turns))], world.now)
        except Exception as error:  # noqa: BLE001 (asserted below)
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sums(world, [1]) == [sum(versions.values())]
    assert check_view(world.view, world.store, tmp_path, at=world.now + SECOND).mismatches == []


def test_a_view_that_is_new_after_a_growth_is_incomplete_until_its_windows_have_passed(url, tmp_path):
    world = world_of(url, tmp_path, "late")
    world.commit("0", [stated(world, 0, 3), stated(world, 1, 4)])
    world.grow()
    world.commit("2", [stated(world, 0, 5)])
    features = [hw.count(windows=["1m"]), hw.sum("whole", windows=["1m"])]
    world.view = view_of(features, hw.streaming("2s"), stream=world.view.source.stream)
    world.restart()
    world.now += 1
    world.commit("1", [stated(world, 1, 9)])
    assert OnlineView(world.view, world.store).read(pl.DataFrame({"key": [1]}), world.now + 1).read_version.incomplete
    world.now += 70 * SECOND
    world.commit("2", [stated(world, 2, 20, at=world.now - SECOND), stated(world, 0, 6, at=world.now - SECOND)])
    world.commit("0", [stated(world, 0, 7, at=world.now - SECOND)])
    served = OnlineView(world.view, world.store).read(pl.DataFrame({"key": [1]}), world.now + SECOND)
    assert not served.read_version.incomplete
    assert sums(world, [1]) == [27]


def test_an_erased_key_stays_erased_after_a_growth(url, tmp_path):
    world = world_of(url, tmp_path, "erased")
    world.commit("0", [stated(world, 0, 3), stated(world, 1, 4), stated(world, 2, 6, key=2)])
    world.grow()
    world.commit("2", [stated(world, 0, 5)])
    world.ingestor.roll(least=1)
    labels = hw.Labels(
        "l", table=pl.DataFrame({"key": [1], "at": [moment(START)], "y": [1]}), timestamp_field="at", label="y", known_after="1h"
    )
    project = hw.Project("p", [hw.Model("m", task="binary", features=hw.FeatureService("s", [world.view]), labels=labels)])
    hw.operations.erase(project, {"key": 1}, store=world.store, data_dir=tmp_path, wait=0)
    assert sums(world) == [0, 6]
    assert check_view(world.view, world.store, tmp_path, at=world.now + SECOND).mismatches == []
    world.restart()
    world.commit("1", [stated(world, 2, 8, key=2)])
    assert sums(world) == [0, 8]


def test_a_process_that_lacks_a_view_leaves_it_incomplete_in_the_part_that_it_takes_an_event_from(url, tmp_path):
    """A view that it does not know still counts the event: no reader takes it for whole."""
    world = world_of(url, tmp_path, "lacks")
    mine = world.view
    stream = mine.source.stream
    theirs = view_of([hw.max("whole", windows=["1m"])], hw.streaming("2s"), stream=stream)
    both = SourceIngestor(mine.source, [mine, theirs], world.store, tmp_path, IngestLimits(), replayed_from=START)
    for shard in "01":
        both.writer(shard)
    world.ingestor = both
    world.commit("0", [stated(world, 0, 3), stated(world, 1, 4)])
    world.grow()
    assert not OnlineView(theirs, world.store).read(pl.DataFrame({"key": [1]}), world.now + SECOND).read_version.incomplete
    world.ingestor = SourceIngestor(mine.source, [mine], world.store, tmp_path, IngestLimits(), replayed_from=START)
    before = read_progress(world.store.get([world.ingestor.writer("1").place.replace(b"1", b"0")])[0]).views
    world.commit("1", [stated(world, 0, 5)])
    assert sums(world, [1]) == [9]
    after = read_progress(world.store.get([world.ingestor.writer("1").place.replace(b"1", b"0")])[0]).views
    assert before.keys() - after.keys() == {theirs.tiles_fingerprint}


def test_a_closed_shard_with_images_is_not_folded(url, tmp_path, monkeypatch):
    monkeypatch.setattr(closed_partitions, "_LOOK", 0.0)
    world = World(f"{url}?prefix=unfolded", tmp_path, NUMBERS, 1)
    world.commit("0", [stated(world, 0, 3)])
    world.open_shards = ["0"]
    world.grow()
    world.ingestor.forget(["0"])
    world.now += 3 * 86_400 * SECOND
    for _ in range(3):
        world.now += SECOND
        world.ingestor.commit([], world.now)
    assert progresses(world.store, "s")[b"0"].heir is None
    world.commit(world.open_shards[0], [stated(world, 0, 7, at=world.now - SECOND)])
    assert sums(world, [1]) == [7]


def test_partitions_that_begin_to_share_while_a_view_is_filled_fence_the_fill(url, tmp_path):
    world = world_of(url, tmp_path, "filling")
    world.commit("0", [stated(world, 0, 3)])
    world.view = view_of([hw.count(windows=["1m"]), hw.max("whole", windows=["1m"])], hw.streaming("2s"), stream=world.view.source.stream)
    writer = PartitionWriter(world.ingestor.acceptance, world.store, "0")
    before = _unmoved(writer)
    world.group.counted(3)
    with pytest.raises(FencedError):
        world.store.commit({b"zz": b""}, before)


def test_a_deletion_outlasts_an_event_of_the_future_that_another_partition_holds(url, tmp_path):
    """The windows are shorter than the time that the event is held, and the deletion gives its id alone."""
    world = world_of(url, tmp_path, "held", [hw.count(windows=["1s"]), hw.sum("whole", windows=["1s"])])
    world.commit("0", [stated(world, 0, 3, at=START + 9 * SECOND)])
    world.grow()
    world.commit("2", [stated(world, 0, 4, before=True, at=None, key=None)])
    for _ in range(3):
        world.now += 2 * SECOND
        world.commit("2", [stated(world, 1, world.now - START, at=world.now - 1)])  # what no window reaches any more is dropped
    world.now = START + 9 * SECOND + 1000
    world.ingestor.commit([], world.now)
    served = OnlineView(world.view, world.store).read(pl.DataFrame({"key": [1]}), world.now + 1000)
    assert served.features[0].to_list() == [0]
