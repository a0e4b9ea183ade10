"""Partitions that are closed are folded into one that comes from them: no answer changes at any step, and crashes lose nothing."""

import contextlib
import json
from contextlib import closing
from datetime import datetime
from random import Random

import msgspec
import numpy as np
import polars as pl
import pytest

import headwater as hw
import headwater_aws
from headwater import clock as clock_module
from headwater.errors import FencedError, StoreError
from headwater.ingestion import closed_partitions
from headwater.ingestion.archive_files import partition_of
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.ingestion.sources.stream_reader import RecordBatch, between, offset_at
from headwater.online import read_versions
from headwater.online.view_reader import OnlineView
from headwater.online_stores import keyspace
from headwater.online_stores.dynamodb import dynamodb_table
from headwater.online_stores.ownership import scoped
from headwater.state.view_state import Progress, decoded, encoded, progresses, read_parts
from tests.flow import Flow, at, clock, home, micros, project_of, streaming_view  # noqa: F401 (fixtures)
from tests.online_stores.conftest import (  # noqa: F401 (fixtures)
    DYNAMODB,
    STORES,
    dynamodb_url,
    make_store,
    ministack_address,
    moto_address,
    split_places,
)
from tests.online_stores.steps import Dead, Steps

HOUR = 3600
SCHEMA = {"id": int, "key": int, "user": str, "amount": float, "word": str, "at": datetime}
FEATURES = [hw.count(), hw.mean("amount"), hw.last_n("word", k=3), hw.count_distinct("word"), hw.sum("amount").by("word", max_keys=3)]
NUMBERS = [hw.count(), hw.sum("amount"), hw.min("amount")]
KEYS = range(20)


KINDS = [name for name in (*STORES, *DYNAMODB) if name != "lmdb"]


def on(*short):
    """Runs a test on these kinds of stores; in the long form on all."""
    every = [
        pytest.param(kind, marks=() if kind in short else pytest.mark.long if kind in DYNAMODB else pytest.mark.slow) for kind in KINDS
    ]
    return pytest.mark.parametrize("make_store", every, indirect=True)


on_redis = pytest.mark.parametrize("make_store", ["redis"], indirect=True)


@pytest.fixture
def store(make_store):
    with closing(make_store()) as made:
        yield made


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr(closed_partitions, "_LOOK", 0.0)
    monkeypatch.setattr(closed_partitions, "_PIECE", 15)


def views(*more):
    rules = {"stream": headwater_aws.kinesis("events", schema=SCHEMA), "timezone": "UTC", "id_field": "id", "id_horizon": "1h"}
    given = {"source": rules, "windows": ["1h", "1d"]}
    return [
        streaming_view(FEATURES, name="rich", **given),
        streaming_view(NUMBERS, name="numbers", **given),
        streaming_view([hw.count(), hw.last("word")], name="users", keys=["user"], **given),
        *(streaming_view(features, name=name, **given) for name, features in more),
    ]


class Shards:
    """A stream of shards: "a" is closed, and "b" and "c" come from it."""

    def __init__(self, store, folder, clock, *more, limits=None):
        self.store, self.folder, self.clock, self.more, self.limits = store, folder, clock, more, limits
        self.second, self.id, self.sent, self.chance = 0, 0, [], Random(7)
        self.start()
        self.name = self.flow.ingestor.acceptance.source.name

    def start(self):
        """As a process that has just started does."""
        self.views = views(*self.more)
        self.flow = Flow(self.views, self.store, self.folder, limits=self.limits)
        self.flow.ingestor.forget(["0"])
        self.online = [OnlineView(view, self.store) for view in self.views]

    def group(self):
        return self.flow.ingestor._group

    def event(self):
        self.id += 1
        chance = self.chance
        key = chance.choice(KEYS)
        amount = chance.choice([0.25, -1.5, 3.0, 1e6, 2.75])
        when = self.second - chance.choice([0, 1, 30, 600])
        return {
            "id": self.id,
            "key": key,
            "user": f"u{chance.randrange(7)}",
            "amount": amount,
            "word": chance.choice(["x", "y", "é", "zz"]),
            "at": when,
        }

    def send(self, shard, events=(), *, closed=False, seconds=1):
        """Commit events of a shard; how many are new."""
        self.second += seconds
        self.clock(self.second)
        ingestor = self.flow.ingestor
        stored = ingestor.writer(shard).positions.get(shard)
        first = 0 if stored is None else offset_at(stored)
        n = len(events)
        payloads = [json.dumps({**event, "at": at(event["at"]).isoformat()}).encode() for event in events]
        records = RecordBatch(
            [shard],
            np.zeros(n, np.int64),
            np.arange(first, first + n),
            np.full(n, micros(self.second)),
            {shard: between(first, first + n + closed)},
            payloads,
            closed=frozenset([shard] if closed else []),
        )
        (committed,) = ingestor.commit([(records, dict(ingestor.turns))], micros(self.second))
        new = committed.counts.get("accepted", 0)
        if new == n:
            self.sent += events
        return new

    def some(self, count=40):
        return [self.event() for _ in range(count)]

    def split(self):
        """Events in "a", which is closed then, and in its children."""
        self.send("a", self.some())
        self.send("a", self.some(), closed=True)
        assert not self.group().needs_writer("a")
        self.flow.ingestor.forget(["a"])
        for child in "bc":
            self.group().descend(child, ["a"])
            assert self.send(child, self.some()) == 40

    def idle(self, seconds=1):
        """A commit without records, which takes a step of a fold."""
        self.second += seconds
        self.clock(self.second)
        self.flow.ingestor.commit([], micros(self.second))

    def progress(self, shard):
        return progresses(self.store, self.name)[shard.encode()]

    def records(self, shard):
        end = b"\0" + shard.encode()
        return [key for key, _ in self.store.scan(keyspace.RECORD) if key.endswith(end)]

    def answers(self, second=None):
        """All values of all keys, by the bit, as of a second; by readers that have run since the process began."""
        asked = micros(self.second if second is None else second)
        found = {}
        for view, online in zip(self.views, self.online, strict=True):
            keys = [f"u{n}" for n in range(7)] if view.keys == ("user",) else list(KEYS)
            read = online.read(pl.DataFrame({view.keys[0]: keys}), asked)
            assert not read.read_version.incomplete, view.name
            found[view.name] = [repr(feature.to_list()) for feature in [*read.features, *read.statuses]]
        return found

    def until_folded(self, shard="a", steps=200):
        for _ in range(steps):
            if self.progress(shard).folded:
                return
            self.idle()
        raise AssertionError(f"{shard} is not folded after {steps} steps")


@pytest.fixture
def shards(store, tmp_path, clock):
    made = Shards(store, tmp_path, clock)
    made.split()
    return made


@on_redis
def test_a_partition_that_begins_between_two_scans_of_a_new_reader(shards, monkeypatch):
    """It has progress then, and no part that the first scan saw; the view is whole all the same."""
    looks = []

    def parts(store, tiles):
        looks.append(tiles)
        found = read_parts(store, tiles)
        return {name: state for name, state in found.items() if name != b"c"} if len(looks) == 1 else found

    expected = shards.answers()
    monkeypatch.setattr(read_versions, "read_parts", parts)
    shards.online = [OnlineView(view, shards.store) for view in shards.views]
    assert shards.answers() == expected
    assert looks[0] == looks[1]


@on_redis
def test_a_new_reader_waits_while_the_part_of_a_new_shard_is_filled(shards, monkeypatch):
    """Not where the shard has made commits, or there is no other: then a view is filled."""
    expected, pauses = shards.answers(), []
    filled = {key: value for key, value in shards.store.scan(keyspace.STREAM_STATE) if key.endswith(b"\0c")}
    new = {key[:-1] + b"d": value for key, value in filled.items()}
    filling = {key: encoded(msgspec.structs.replace(decoded(value), seeded=None)) for key, value in new.items()}

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            shards.store.commit(new, {})

    monkeypatch.setattr(read_versions.time, "sleep", pause)
    shards.store.commit(filling, {})
    shards.online = [OnlineView(view, shards.store) for view in shards.views]
    assert shards.answers() == expected
    assert len(pauses) == 3
    shards.store.commit(filling, {})
    monkeypatch.setattr(read_versions, "_PATIENCE", 0.0)
    with pytest.raises(StoreError, match="is not filled yet"):
        OnlineView(shards.views[0], shards.store).read(pl.DataFrame({"key": [1]}), micros(shards.second))
    monkeypatch.setattr(read_versions, "_PATIENCE", 60.0)
    shards.store.commit({keyspace.PROGRESS + keyspace.name(f"{shards.name}\0d"): msgspec.msgpack.encode(Progress(sequence=1))}, {})
    with pytest.raises(StoreError, match="is not filled yet"):
        OnlineView(shards.views[0], shards.store).read(pl.DataFrame({"key": [1]}), micros(shards.second))
    assert len(pauses) == 3


@on("redis", "postgres")
def test_every_answer_stays_to_the_bit_while_a_shard_is_folded(shards):
    again = shards.sent[5]
    assert shards.send("b", [again]) == 0  # a copy of an event of "a"
    shards.idle(HOUR - 100)
    assert shards.progress("a").heir is None  # its ids may still be asked for
    shards.idle(200)
    heir = shards.progress("a").heir
    assert heir in {"b", "c"}
    before = len(shards.records("a"))
    shards.idle(5)
    assert before == len(shards.records("a")) > 20  # readers learn of it first
    shards.idle(20)
    steps = 0
    while not shards.progress("a").folded:
        moment = shards.second + 1
        expected = shards.answers(moment)
        shards.idle()
        assert shards.answers(moment) == expected
        assert shards.answers() == expected
        steps += 1
    assert steps > 3
    assert shards.records("a") == []
    assert [key for key, _ in shards.store.scan(keyspace.IDS + keyspace.name(f"{shards.name}\0a"))] == []
    ends = [OnlineView(view, shards.store).version_reader.look()[1] for view in shards.views]
    assert {end for some in ends for end in some} == {b"\0b", b"\0c"}
    assert not shards.group().needs_writer("a")
    shards.send("b", shards.some())
    assert sum(json.loads(shards.answers()["numbers"][1])) == len(shards.sent)  # of a day


def armed(store, die_at):
    """Have a store die before a step of a commit, or an atomic one right after a commit."""
    if hasattr(store, "state"):
        Steps(store, die_at)
        return
    commit, left = store.commit, [die_at]

    def committing(changes, expect):
        left[0] -= 2
        if left[0] < -1:
            raise Dead
        commit(changes, expect)
        if left[0] == -1:
            raise Dead

    store.commit = committing


@on("cluster")
def test_a_crash_at_any_step_changes_no_answer(make_store, tmp_path, clock, monkeypatch):
    monkeypatch.setattr(dynamodb_table, "ACTIONS", 10)
    monkeypatch.setattr(dynamodb_table, "LANES", 3)
    chance, crashes = Random(3), 0
    with contextlib.ExitStack() as stack:

        def opened():
            return stack.enter_context(closing(make_store()))

        shards = Shards(opened(), tmp_path, clock)
        steps = 20 if isinstance(getattr(shards.store, "table", None), dynamodb_table.DynamoTable) else 32  # a take-over is one step there
        shards.split()
        shards.idle(HOUR + 100)
        moment = shards.second + 2000
        expected = shards.answers(moment)
        for _ in range(60):
            if progresses(shards.store, shards.name)[b"a"].folded:
                break
            shards.store = opened()
            armed(shards.store, chance.randrange(steps))
            try:
                shards.start()
                for shard in "bc":
                    shards.flow.ingestor.writer(shard)
                for seconds in (11, 1, 1, 1, 1, 1, 1):  # a process that starts looks at all records again
                    shards.idle(seconds)
            except Dead:
                crashes += 1
            shards.store = opened()
            shards.online = [OnlineView(view, shards.store) for view in shards.views]
            assert shards.answers(moment) == expected, crashes
            assert shards.second < moment
        shards.store = opened()
        shards.start()
        assert shards.send("b", shards.some()) == 40
        assert shards.records("a") == []
        assert crashes > 3, crashes


@on_redis
def test_two_processes_fold_a_shard_once(store, tmp_path, clock):
    """Each writes one of the children, and either may fold; a third one writes the same child as the first."""
    shards = [Shards(store, tmp_path / str(n), clock) for n in range(3)]
    first = shards[0]
    first.split()
    for other, shard in zip(shards[1:], "cb", strict=True):
        other.second = first.second
        other.flow.ingestor.writer(shard)
    first.flow.ingestor.forget(["c"])
    moment = first.second + HOUR + 500
    expected, fenced = first.answers(moment), 0
    for n in range(200):
        for own in shards:
            own.second = first.second + 1 + (HOUR if n == 0 else 0)
            first.second = own.second
            try:
                own.idle()
            except FencedError:  # as `commit_source` does
                fenced += 1
                own.flow.ingestor.forget(["b", "c"])
                own.flow.ingestor.writer("c" if own is shards[1] else "b")
        assert first.answers(moment) == expected
        if first.progress("a").folded:
            break
    assert first.progress("a").folded
    assert fenced
    assert first.records("a") == []


@on_redis
def test_a_view_that_is_new_after_a_fold_has_all_of_the_past(shards, store, tmp_path, clock):
    shards.idle(HOUR + 100)
    shards.until_folded()
    assert shards.send("b", shards.some()) == 40
    shards.more = [("late", [hw.count()])]
    shards.start()
    for shard in "bc":
        shards.flow.ingestor.writer(shard)
    counts = json.loads(shards.answers()["late"][1])
    assert sum(counts) == len(shards.sent)


@on_redis
def test_a_view_that_is_new_before_a_fold_is_filled_in_the_closed_shard_too(shards, clock):
    shards.more = [("late", [hw.count()])]
    shards.start()
    shards.idle(HOUR + 100)
    for shard in "bc":
        shards.flow.ingestor.writer(shard)
    shards.idle()
    assert shards.progress("a").heir is None
    assert shards.group().needs_writer("a")
    shards.flow.ingestor.writer("a")
    assert not shards.group().needs_writer("a")
    shards.flow.ingestor.forget(["a"])
    assert sum(json.loads(shards.answers()["late"][1])) == len(shards.sent)
    shards.until_folded()
    assert sum(json.loads(shards.answers()["late"][1])) == len(shards.sent)


@on_redis
def test_shards_of_several_generations_are_folded(shards):
    shards.send("b", shards.some(), closed=True)
    shards.flow.ingestor.forget(["b"])
    for child in "de":
        shards.group().descend(child, ["b"])
        shards.send(child, shards.some())
    shards.idle(HOUR + 100)
    moment = shards.second + 1000
    expected = shards.answers(moment)
    for shard in "ab":
        shards.until_folded(shard)
    assert shards.answers(moment) == expected
    assert shards.records("a") == shards.records("b") == []


@on_redis
def test_parity_status_and_erasure_know_of_a_fold(store, tmp_path, clock):
    project = project_of(*views())
    shards = Shards(scoped(store, project.name, write=True), tmp_path, clock)
    shards.split()
    shards.idle(HOUR + 100)
    shards.idle(11)
    shards.idle(1)
    assert shards.progress("a").heir
    with pytest.raises(
        StoreError, match=r"the closed partition a is being folded into [bc]\. Nothing was erased from them; run `headwater"
    ):
        hw.operations.erase(project, {"user": "u3"}, store=store, data_dir=tmp_path, wait=0)
    shards.until_folded()
    now = clock_module.timestamp(micros(shards.second))
    (of_a,) = [s for s in hw.status(project, store=store, data_dir=tmp_path, at=now).streams if s.partition == "a"]
    assert of_a.folded_into == shards.progress("a").heir
    for compared in hw.parity(project, store=store, data_dir=tmp_path, at=now):
        assert compared.rows
        assert not compared.mismatches, compared
    hw.operations.erase(project, {"user": "u3"}, store=store, data_dir=tmp_path, wait=0)
    left = [event for event in shards.sent if event["user"] != "u3"]
    assert sum(json.loads(shards.answers()["numbers"][1])) == len(left)


@on_redis
def test_what_is_too_old_of_a_closed_shard_is_removed_from_the_archive(store, tmp_path, clock):
    shards = Shards(store, tmp_path, clock, limits=IngestLimits(archive="2d"))
    shards.split()
    shards.flow.ingestor.roll(least=1)

    def files(shard):
        return [path for path in (tmp_path / "archive").rglob("*.parquet") if partition_of(path) == shard and pl.read_parquet(path).height]

    assert files("a")
    assert files("b")
    shards.idle(24 * HOUR)
    shards.flow.ingestor.roll(least=1)
    assert files("a")
    shards.idle(3 * 24 * HOUR)
    shards.flow.ingestor.roll(least=1)
    assert files("a") == files("b") == []
    assert shards.progress("a").closed
