"""Several sources of several partitions, ingested by one process into one store: each has a reader,
a committer, fillers and rollers.
"""

import json
import random
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import headwater as hw
from headwater.ingestion import source_ingestor
from headwater.ingestion.ingest import ingest
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.ingestion.sources.stream_reader import RecordBatch, between, offset_at
from headwater.stores import keyspace
from headwater.testing.naive import evaluate
from tests.flow import project_of

SCHEMA = {"key": int, "n": int, "id": str, "at": datetime}
PARTITIONS = ["0", "1", "2"]
NOW = datetime.now(UTC)


@pytest.fixture
def store(either):
    return either


class Topics:
    """Streams in memory, in place of those that sources name; read in pieces of chance."""

    def __init__(self, monkeypatch):
        self.records = {}
        monkeypatch.setattr(
            source_ingestor,
            "open_feed",
            lambda source, assigned, *_: Topic(self.records[source.name], assigned),
        )

    def write(self, source, rows, chance):
        parts = self.records.setdefault(source, {name: [] for name in PARTITIONS})
        for row in rows:
            # copies share a partition
            name = PARTITIONS[row["key"] % 3] if "id" in row else chance.choice(PARTITIONS)
            parts[name].append(json.dumps({**row, "at": row["at"].isoformat()}).encode())


class Topic:
    """A feed over lists of payloads."""

    def __init__(self, parts, assigned):
        self.parts, self.chance = parts, random.Random(len(parts["0"]))
        self.ends = dict.fromkeys(parts, 0) | {
            name: offset_at(position) for name, position in assigned(list(parts)).items()
        }

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
        return RecordBatch(
            [name],
            np.zeros(n, np.int64),
            np.arange(begin, begin + n),
            np.full(n, now),
            {name: between(begin, begin + n)},
            payloads,
        )

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
    source = hw.Source(
        f"s{number}",
        stream=hw.appended(f"nowhere{number}", schema=SCHEMA),
        timestamp_field="at",
        **rules,
    )
    features = [hw.count(), hw.sum("n"), hw.max("n")]
    return [
        hw.FeatureView(
            f"v{number}{name}",
            source=source,
            keys=["key"],
            features=features,
            windows=["2d"],
            freshness=hw.streaming("2s"),
        )
        for name in ("", *more)
    ]


def rows_of(number, count, chance):
    made = [
        {
            "key": chance.randrange(7),
            "n": n,
            "id": f"{n}",
            "at": NOW - timedelta(seconds=60 + chance.randrange(80_000)),
        }
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
        answers = hw.operations.OnlineFeatures(hw.FeatureService("s", [view]), store).rows(
            {"key": list(range(8))}, t=round(now.timestamp() * 1e6)
        )
        assert [moment.incomplete for moment in answers.read_versions] == [False]
        found = evaluate(view, sent[view.source.name], rows, freshness=hw.on_request())
        for name, column in zip(view.feature_names, answers.values, strict=True):
            assert column == [row[name].value for row in found], name


@pytest.mark.slow
def test_every_commit_of_every_source_counts_once(store, tmp_path, monkeypatch):
    chance, topics, commits, sent = random.Random(1), Topics(monkeypatch), Counter(), {}
    views = [view for number in range(4) for view in views_of(number)]
    limits = IngestLimits(batch=60, linger=0.001, roll=3_000)
    for run in range(3):  # views that are new are filled while other sources are committed
        views += [view for number in range(4) if run == 1 for view in views_of(number, "again")[1:]]
        for number in range(4):
            rows = (
                rows_of(number, 500, chance)
                if run == 0 or number
                else rows_of(number, 3_000, chance)
            )
            rows = [{**row, "id": f"{run} {row['id']}"} if "id" in row else row for row in rows]
            sent.setdefault(f"s{number}", []).extend(rows)
            topics.write(f"s{number}", rows, chance)
        ingest(
            project_of(*views),
            store,
            data_dir=tmp_path,
            limits=limits,
            once=True,
            on_commit=lambda s, *_: commits.update([s.name]),
        )
        check(store, views, sent)
    assert min(commits.values()) > 10


def test_a_source_whose_views_take_long_to_fill_holds_no_other_up(store, tmp_path, monkeypatch):
    chance, topics, sent = random.Random(2), Topics(monkeypatch), {}
    slow, quick = views_of(0), views_of(2)
    for number in (0, 2):
        sent[f"s{number}"] = rows_of(number, 100, chance)
        topics.write(f"s{number}", sent[f"s{number}"], chance)
    filled, committed, stop, run = (
        threading.Event(),
        threading.Event(),
        threading.Event(),
        source_ingestor.Fill.run,
    )

    def slowly(fill, *more):
        if fill.writer.source.name == "s0":
            assert filled.wait(20), "no other source was committed"
        return run(fill, *more)

    def on_commit(source, _made, lag):
        if source.name == "s2" and not any(lag.values()):
            filled.set()
        elif source.name == "s0" and not any(lag.values()):
            committed.set()

    monkeypatch.setattr(source_ingestor.Fill, "run", slowly)
    thread = threading.Thread(
        target=ingest,
        args=(project_of(*slow, *quick), store),
        kwargs={"data_dir": tmp_path, "stop": stop, "on_commit": on_commit},
    )
    thread.start()
    assert committed.wait(120)
    stop.set()
    thread.join()
    check(store, [*slow, *quick], sent)


class Held:
    """A store whose commits of one source's records wait until `go` is set, or fail."""

    def __init__(self, store, source, go, failure=None):
        self.store, self.begin, self.go, self.failure = (
            store,
            keyspace.offset(source, ""),
            go,
            failure,
        )
        self.waits = threading.Event()

    def commit(self, changes, expect):
        if any(key.startswith(self.begin) for key in changes):
            self.waits.set()
            assert self.go.wait(60)
            if self.failure is not None:
                raise self.failure
        self.store.commit(changes, expect)

    def __getattr__(self, name):
        return getattr(self.store, name)


def started(project, store, folder, on_commit):
    """Ingestion in a thread: what stops it, waits for its end, and what it raised."""
    stop, raised = threading.Event(), []

    def run():
        try:
            ingest(project, store, data_dir=folder, stop=stop, on_commit=on_commit)
        except hw.errors.StoreError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return stop, thread, raised


class Arrivals:
    """Says when as many events of each source have been committed as were sent."""

    def __init__(self, sent):
        self.sent, self.counts, self.changed = sent, Counter(), threading.Condition()

    def __call__(self, source, result, _lag):
        with self.changed:
            self.counts[source.name] += result.counts.get("accepted", 0)
            self.changed.notify_all()

    def are_all(self, name):
        return self.counts[name] == len(self.sent[name])

    def wait(self, name):
        with self.changed:
            return self.changed.wait_for(lambda: self.are_all(name), 60)


def test_a_source_whose_commit_takes_long_holds_no_other_up(store, tmp_path, monkeypatch):
    chance, topics, sent = random.Random(3), Topics(monkeypatch), {}
    slow, quick, arrivals = views_of(0), views_of(2), Arrivals(sent)
    for number in (0, 2):
        sent[f"s{number}"] = rows_of(number, 200, chance)
        topics.write(f"s{number}", sent[f"s{number}"], chance)
    held = Held(store, "s0", threading.Event())
    stop, thread, raised = started(project_of(*slow, *quick), held, tmp_path, arrivals)
    assert held.waits.wait(60)
    assert arrivals.wait("s2"), "the commits of another source wait for one that takes long"
    check(store, quick, sent)
    more = rows_of(2, 50, chance)
    sent["s2"] += more
    topics.write("s2", more, chance)
    assert arrivals.wait("s2")
    assert arrivals.counts["s0"] == 0
    held.go.set()
    assert arrivals.wait("s0")
    stop.set()
    thread.join()
    assert raised == []
    check(store, [*slow, *quick], sent)


def test_what_goes_wrong_with_one_source_ends_ingestion_and_names_it(
    store, tmp_path, monkeypatch, caplog
):
    chance, topics, sent = random.Random(4), Topics(monkeypatch), {}
    bad, good, arrivals = views_of(0), views_of(2), Arrivals(sent)
    for number in (0, 2):
        sent[f"s{number}"] = rows_of(number, 100, chance)
        topics.write(f"s{number}", sent[f"s{number}"], chance)
    held = Held(store, "s0", threading.Event(), hw.errors.StoreError("no room"))
    _, thread, raised = started(project_of(*bad, *good), held, tmp_path, arrivals)
    assert arrivals.wait("s2")
    held.go.set()
    thread.join(60)
    assert [str(error) for error in raised] == ["no room"]
    assert "source s0: ingestion ends" in caplog.text
    check(store, good, sent)
    ingest(project_of(*bad, *good), store, data_dir=tmp_path, once=True)
    check(store, [*bad, *good], sent)
