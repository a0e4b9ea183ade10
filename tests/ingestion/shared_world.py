"""A stream with changes whose shards are split and merged, or whose topic grows, in a store of several writers."""

import json
from random import Random
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

import headwater as hw
import headwater_aws
from headwater.ingestion import partition_writer
from headwater.ingestion.source_ingestor import IngestLimits, SourceIngestor
from headwater.ingestion.sources.stream_reader import RecordBatch, between, offset_at
from headwater.online.view_reader import OnlineView
from headwater.online_stores.ownership import scoped
from headwater.testing.naive import agree, evaluate
from tests.ingestion.test_corrections_law import KEYS, SCHEMA, SECOND, START, TIMES, iso, moment

RULES = {"timestamp_field": "at", "known_at_field": "known", "id_field": "id", "changes": "before"}


@pytest.fixture(autouse=True)
def worlds(monkeypatch):
    """Without a wait for readers; stores are closed at the end."""
    monkeypatch.setattr(partition_writer, "KNOWN", 0.0)
    yield
    while World.opened:
        World.opened.pop().close()


def view_of(features, freshness, **more):
    return hw.FeatureView(
        "v", source=hw.Source("s", **RULES, **more), keys=["key"], windows=["10s", "1m", "lifetime"][: 3 if features[0].windows is None else 2],
        features=features, freshness=freshness,
    )  # fmt: skip


def with_prefix(url, prefix):
    """The URL of another store there."""
    table, _, state = url.partition("&state=")
    return f"{table}{'&' if '?' in table else '?'}prefix={prefix}" + (f"&state={state}%3Fprefix={prefix}" if state else "")


class World:
    """Shards that are split and merged; a change of an event comes by an open shard that comes from the event's, or by any (a topic)."""

    opened: ClassVar[list] = []

    def __init__(self, url, folder, features, seed, *, topic=False):
        self.chance, self.folder, self.now, self.topic = Random(seed), folder, START, topic
        stream = hw.kafka("s", schema=SCHEMA) if topic else headwater_aws.kinesis("s", schema=SCHEMA)
        self.view, self.model = view_of(features, hw.streaming("2s"), stream=stream), view_of(features, hw.on_request())
        self.url, self.sent, self.made, self.version = url, [], 2, {}
        self.open_shards, self.events = ["0", "1"], 0
        self.restart()
        self.reader = OnlineView(self.view, self.store)

    def restart(self):
        if hasattr(self, "store"):
            self.opened.remove(self.store)
            self.store.close()
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


NUMBERS = [hw.count(), hw.sum("whole")]


def world_of(url, folder, prefix, features=NUMBERS):
    return World(with_prefix(url, prefix), folder, features, 1, topic=True)


def stated(world, ident, version, **more):
    """An image of a whole number, an hour ago."""
    values = {"whole": version, "key": 1, "at": START - 5 * SECOND, "moment": None} | more
    return world.image(ident, START + version, **values)


def sums(world, keys=(1, 2)):
    view = OnlineView(world.view, world.store)
    served = view.read(pl.DataFrame({"key": keys}), world.now + SECOND)
    return dict(zip([f.name for f in world.view.outputs], (s.to_list() for s in served.features), strict=True))["sum_whole_1m"]
