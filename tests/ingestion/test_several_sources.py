"""Several sources of several partitions, ingested by one process into one store: readers, fillers and rollers beside one committer."""

import json
import random
import threading
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import headwater as hw
from headwater.ingestion import source_ingestor
from headwater.ingestion.ingest import ingest
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.ingestion.sources.stream_reader import RecordBatch
from headwater.online.feature_reader import OnlineFeatures
from headwater.online_stores import keyspace
from headwater.testing.naive import evaluate
from tests.flow import project_of
from tests.online_stores.servers import serving

SCHEMA = {"key": int, "n": int, "id": str, "at": datetime}
PARTITIONS = ["0", "1", "2"]
NOW = datetime.now(UTC)


@pytest.fixture(params=["lmdb", "redis"])
def store(request, tmp_path):
    if request.param == "lmdb":
        with closing(hw.open_store(f"lmdb:{tmp_path}/online?size=1GB")) as made:
            yield made
    else:
        with serving(tmp_path / "redis") as server, closing(hw.open_store(server.url)) as made:
            yield made


class Topics:
    """Streams in memory, in place of those that sources name; read in pieces of chance."""

    def __init__(self, monkeypatch):
        self.records = {}
        monkeypatch.setattr(source_ingestor, "open_feed", lambda source, assigned, *_: Topic(self.records[source.name], assigned))

    def write(self, source, rows, chance):
        parts = self.records.setdefault(source, {name: [] for name in PARTITIONS})
        for row in rows:
            name = PARTITIONS[row["key"] % 3] if "id" in row else chance.choice(PARTITIONS)  # copies share a partition
            parts[name].append(json.dumps({**row, "at": row["at"].isoformat()}).encode())


class Topic:
    """A feed over lists of payloads."""

    def __init__(self, parts, assigned):
        self.parts, self.chance = parts, random.Random(len(parts["0"]))
        self.ends = dict.fromkeys(parts, 0) | dict(assigned(list(parts)))

    def poll(self, most, timeout):
        names = [name for name in self.parts if self.lag()[name]]
        if not names:
            time.sleep(timeout)
            return None
        name = self.chance.choice(names)
        begin = self.ends[name]
        payloads = self.parts[name][begin : begin + self.chance.randint(1, 40)]
        n, now = len(payloads), round(time.time() * 1e6)
        self.ends[name] = begin + n
        return RecordBatch([name], np.zeros(n, np.int64), np.arange(begin, begin + n), np.full(n, now), {name: begin + n}, payloads)

    def lag(self):
        return {name: len(payloads) - self.ends[name] for name, payloads in self.parts.items()}

    def elsewhere(self):
        return 0

    def acknowledge(self, ends):
        pass

    def close(self):
        pass


def views_of(number, *more):
    rules = {"id_field": "id"} if number % 2 else {}
    source = hw.Source(f"s{number}", stream=hw.appended(f"nowhere{number}", schema=SCHEMA), timestamp_field="at", **rules)
    features = [hw.count(), hw.sum("n"), hw.max("n")]
    return [
        hw.FeatureView(f"v{number}{name}", source=source, keys=["key"], features=features, windows=["2d"], freshness=hw.streaming("2s"))
        for name in ("", *more)
    ]


def rows_of(number, count, chance):
    made = [
        {"key": chance.randrange(7), "n": n, "id": f"{n}", "at": NOW - timedelta(seconds=60 + chance.randrange(80_000))}
        for n in range(count)
    ]
    if number % 2:
        return made + [dict(chance.choice(made)) for _ in range(count // 5)]
    return [{name: value for name, value in row.items() if name != "id"} for row in made]


def check(store, views, sent):
    """Every value is what the reference says of all that was sent."""
    now = datetime.now(UTC)
    rows = [{"key": key, "timestamp": now} for key in range(8)]
    for view in views:
        answers = OnlineFeatures(hw.FeatureService("s", [view]), store).rows({"key": list(range(8))}, t=round(now.timestamp() * 1e6))
        assert [moment.incomplete for moment in answers.read_versions] == [False]
        found = evaluate(view, sent[view.source.name], rows, freshness=hw.on_request())
        for name, column in zip(view.feature_names, answers.values, strict=True):
            assert column == [row[name].value for row in found], name


def test_every_commit_of_every_source_counts_once(store, tmp_path, monkeypatch):
    chance, topics, commits, sent = random.Random(1), Topics(monkeypatch), Counter(), {}
    views = [view for number in range(4) for view in views_of(number)]
    limits = IngestLimits(batch=60, linger=0.001, roll=3_000)
    for run in range(3):  # views that are new are filled while other sources are committed
        views += [view for number in range(4) if run == 1 for view in views_of(number, "again")[1:]]
        for number in range(4):
            rows = rows_of(number, 500, chance) if run == 0 or number else rows_of(number, 3_000, chance)
            rows = [{**row, "id": f"{run} {row['id']}"} if "id" in row else row for row in rows]
            sent.setdefault(f"s{number}", []).extend(rows)
            topics.write(f"s{number}", rows, chance)
        ingest(project_of(*views), store, folder=tmp_path, limits=limits, once=True, on_commit=lambda s, *_: commits.update([s.name]))
        check(store, views, sent)
    assert min(commits.values()) > 10
    if not store.partitioned:
        assert keyspace.as_number(store.get([keyspace.SEQUENCE])[0]) == sum(commits.values())


def test_a_source_whose_views_take_long_to_fill_holds_no_other_up(store, tmp_path, monkeypatch):
    chance, topics, sent = random.Random(2), Topics(monkeypatch), {}
    slow, quick = views_of(0), views_of(2)
    for number in (0, 2):
        sent[f"s{number}"] = rows_of(number, 100, chance)
        topics.write(f"s{number}", sent[f"s{number}"], chance)
    filled, committed, stop, seed = threading.Event(), threading.Event(), threading.Event(), source_ingestor.seed

    def slowly(writer, *more, **options):
        if writer.source.name == "s0":
            assert filled.wait(20), "no other source was committed"
        return seed(writer, *more, **options)

    def on_commit(source, _made, lag):
        if source.name == "s2" and not any(lag.values()):
            filled.set()
        elif source.name == "s0" and not any(lag.values()):
            committed.set()

    monkeypatch.setattr(source_ingestor, "seed", slowly)
    thread = threading.Thread(
        target=ingest, args=(project_of(*slow, *quick), store), kwargs={"folder": tmp_path, "stop": stop, "on_commit": on_commit}
    )
    thread.start()
    assert committed.wait(120)
    stop.set()
    thread.join()
    check(store, [*slow, *quick], sent)
