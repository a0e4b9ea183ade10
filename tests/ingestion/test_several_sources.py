"""Several sources of several partitions, ingested by one process into one store: each is committed
by itself.
"""

import json
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

import headwater as hw
from headwater.testing.naive import evaluate
from headwater.testing.stores import OFFSET
from tests.flow import project_of

SCHEMA = {"key": int, "n": int, "at": datetime}
NOW = datetime.now(UTC)


@pytest.fixture
def store(either):
    return either


def write(folder, number, rows):
    """Append rows to the three files of a source."""
    for row in rows:
        with (folder / f"s{number}-{row['n'] % 3}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, "at": row["at"].isoformat()}) + "\n")


def view_of(folder, number):
    stream = hw.appended(f"{folder}/s{number}-*.jsonl", schema=SCHEMA)
    return hw.FeatureView(
        f"v{number}",
        source=hw.Source(f"s{number}", stream=stream, timestamp_field="at"),
        keys=["key"],
        features=[hw.count(), hw.sum("n"), hw.max("n")],
        windows=["2d"],
        freshness=hw.streaming("2s"),
    )


def rows_of(count):
    return [
        {"key": n % 7, "n": n, "at": NOW - timedelta(seconds=60 + 7919 * n % 80_000)}
        for n in range(count)
    ]


def check(store, views, sent):
    """Every value is what the reference says of all that was sent."""
    now = datetime.now(UTC)
    rows = [{"key": key, "timestamp": now} for key in range(8)]
    for view in views:
        found = hw.get_online_features(
            view, [{"key": key} for key in range(8)], store=store, at=now, details=True
        )
        expected = evaluate(view, sent[view.source.name], rows, freshness=hw.on_request())
        for name in view.feature_names:
            assert found[name].to_list() == [row[name].value for row in expected], name
            assert not any(found[f"{name}__incomplete"])


def ingest(views, store, folder, *, on_commit=None, limits=None, **more):
    options = hw.operations.IngestOptions(allow_unapplied=True, on_commit=on_commit)
    limits = limits or hw.operations.IngestLimits()
    hw.ingest(
        project_of(*views),
        store,
        data_dir=folder / "data",
        limits=limits,
        options=options,
        listen=None,
        **more,
    )


class Held:
    """A store whose commits of one source's records wait until `go` is set, or fail."""

    def __init__(self, store, source, failure=None):
        self.store, self.begin, self.failure = store, OFFSET + source.encode(), failure
        self.go, self.waits = threading.Event(), threading.Event()

    def commit(self, changes, expect):
        if any(key.startswith(self.begin) for key in changes):
            self.waits.set()
            assert self.go.wait(60)
            if self.failure is not None:
                raise self.failure
        self.store.commit(changes, expect)

    def __getattr__(self, name):
        return getattr(self.store, name)


class Arrivals:
    """Says when as many events of each source have been committed as were sent."""

    def __init__(self, sent):
        self.sent, self.counts, self.changed = sent, Counter(), threading.Condition()

    def __call__(self, source, result, _lag):
        with self.changed:
            self.counts[source.name] += result.counts.get("accepted", 0)
            self.changed.notify_all()

    def wait(self, name):
        with self.changed:
            done = lambda: self.counts[name] == len(self.sent[name])  # noqa: E731
            return self.changed.wait_for(done, 60)


@pytest.mark.parametrize("fails", [False, True], ids=["takes long", "fails"])
def test_a_source_whose_commit_takes_long_or_fails_holds_no_other_up(
    store, tmp_path, caplog, fails
):
    """A failure ends ingestion, which names the source; the next run counts every event once."""
    sent, raised, stop = {}, [], threading.Event()
    slow, quick, arrivals = [view_of(tmp_path, 0)], [view_of(tmp_path, 2)], Arrivals(sent)
    for number in (0, 2):
        sent[f"s{number}"] = rows_of(200)
        write(tmp_path, number, sent[f"s{number}"])
    held = Held(store, "s0", hw.errors.StoreError("no room") if fails else None)

    def run():
        try:
            ingest([*slow, *quick], held, tmp_path, on_commit=arrivals, stop=stop)
        except hw.errors.StoreError as error:
            raised.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    assert held.waits.wait(60)
    assert arrivals.wait("s2"), "the commits of another source wait for one that takes long"
    more = rows_of(50)
    sent["s2"] = sent["s2"] + more
    write(tmp_path, 2, more)
    assert arrivals.wait("s2")
    check(store, quick, sent)
    assert arrivals.counts["s0"] == 0
    held.go.set()
    if not fails:
        assert arrivals.wait("s0")
        stop.set()
    thread.join(60)
    assert raised == (["no room"] if fails else [])
    if fails:
        assert "source s0: ingestion ends" in caplog.text
        ingest([*slow, *quick], store, tmp_path, once=True)
    check(store, [*slow, *quick], sent)
