"""Upkeep: what no window reaches goes, exactly then, and no value changes; and the command that
does it.
"""

import json

import polars as pl
import pytest

import headwater as hw
from headwater.cli import main
from headwater.jobs.compact_views import compact_store
from headwater.jobs.materialize import materialize_view
from headwater.online.view_reader import OnlineView
from headwater.stores import keyspace
from tests.flow import Flow, frame, home, micros, project_of, store, streaming_view, view_of  # noqa: F401 (fixtures)

HOUR = 3600


def records(store, view):
    return len(list(store.scan(keyspace.records(view.record_group))))


def counts(store, view, keys, second):
    served = OnlineView(view, store).read(pl.DataFrame({"key": keys}), micros(second))
    return served.features[0].to_list()


def compacted(store, view, second):
    (kept,) = compact_store(project_of(view), store=store, now=micros(second))
    return kept.compaction


def test_a_stream_loses_a_key_when_the_last_window_has_passed_it(store, tmp_path):
    view = streaming_view()
    flow = Flow([view], store, tmp_path)
    flow.send([{"key": 1, "at": 60, "amount": 1.0}, {"key": 2, "at": 120, "amount": 1.0}], 130)
    # the tail of an hour moves by minutes: key 1's tile ends at 120, and is passed at an hour after
    end = HOUR + 120
    for second, left in ((end - 1e-6, 2), (end, 1)):
        flow.send([], second)
        before = counts(store, view, [1, 2], second)
        assert compacted(store, view, second).after.records == left
        assert counts(store, view, [1, 2], second) == before
    assert records(store, view) == 1


def test_a_stream_is_compacted_as_of_its_last_commit(store, tmp_path):
    view = streaming_view()
    Flow([view], store, tmp_path).send([{"key": 1, "at": 60, "amount": 1.0}], 130)
    # a reader of that commit may still ask
    assert compacted(store, view, 100 * HOUR).after.records == 1


def test_a_lifetime_keeps_its_key(store, tmp_path):
    view = streaming_view(windows=["1h", "lifetime"])
    flow = Flow([view], store, tmp_path)
    flow.send([{"key": 1, "at": s, "amount": 1.0} for s in range(0, 600, 60)], 700)
    flow.send([], 100 * HOUR)
    made = compacted(store, view, 100 * HOUR)
    assert (made.before.tiles, made.after.tiles, made.after.records) == (10, 1, 1)
    served = OnlineView(view, store).read(pl.DataFrame({"key": [1]}), micros(100 * HOUR))
    assert [f.to_list() for f in served.features[:2]] == [[0], [10]]


def test_a_batch_view_loses_a_key_that_no_cut_reads(store):
    events = frame([(1, 60, 1.0), (2, 60, 1.0), (2, 2.5 * HOUR, 1.0)])
    view = view_of(events, freshness=hw.batch("1h", delay="10m"))
    for cut, left in ((1, {1, 2}), (2, {1, 2}), (3, {2}), (4, {2}), (5, set())):
        # read from ten minutes later on; until then, the cut before
        materialize_view(view, store, micros(cut * HOUR))
        moments = [cut * HOUR + 599, cut * HOUR + 600][cut == 1 :]
        seen = [counts(store, view, [1, 2], moment) for moment in moments]
        compacted(store, view, cut * HOUR)
        assert [counts(store, view, [1, 2], moment) for moment in moments] == seen
        stems = {
            int.from_bytes(key[9:17], "big")
            for key, _ in store.scan(keyspace.records(view.record_group))
        }
        assert stems == left, f"after the cut of {cut}:00"


def test_what_is_written_meanwhile_stays(store, monkeypatch):
    events = frame([(1, 60, 1.0)])
    view = view_of(events, freshness=hw.batch("1h"))
    for cut in (1, 5, 6):
        materialize_view(view, store, micros(cut * HOUR))
    (place, record), *_ = store.scan(keyspace.records(view.record_group))
    real = store.commit

    def slow(changes, expect):
        monkeypatch.setattr(store, "commit", real)
        real({place: record + b"\0" * 8}, {})
        real(changes, expect)

    monkeypatch.setattr(store, "commit", slow)
    made = compacted(store, view, 6 * HOUR)
    assert (made.busy, made.after.records, records(store, view)) == (1, 1, 1)


PROJECT = """
import headwater as hw, polars as pl
from datetime import datetime
source = hw.Source("visits", stream=hw.appended("visits.jsonl", schema={"user": int, "at": pl.Datetime("us", "UTC")}), timestamp_field="at")
user = hw.FeatureView("user", source=source, keys=["user"], features=[hw.count()], windows=["1d"], freshness=hw.streaming("2s"))
labels = hw.Labels("labels", table=pl.DataFrame({"user": [1], "at": [datetime(2024, 5, 1)], "y": [1]}), timezone="UTC",
                   timestamp_field="at", label="y", known_after="1h")
project = hw.Project("p", [hw.Model("m", task="binary", features=hw.FeatureService("s", [user]), labels=labels)])
"""


@pytest.fixture
def visits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "features.py").write_text(PROJECT)
    lines = [json.dumps({"user": n, "at": "2024-05-01T08:00:00Z"}) for n in range(3)] + ["no JSON"]
    (tmp_path / "visits.jsonl").write_text("\n".join(lines) + "\n")
    assert main(["ingest", "--once", "--allow-unapplied"]) == 0


@pytest.mark.usefixtures("visits")
def test_the_command_line(tmp_path, capsys):
    capsys.readouterr()
    assert main(["store", "backup", "copy"]) == 0
    assert main(["store", "compact", "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["views"]
    # events of 2024 are outside every window now
    assert (said["records_before"], said["records"], said["busy"]) == (0, 0, 0)
    assert main(["store", "restore", "copy", "--store", f"lmdb:{tmp_path}/again", "--yes"]) == 0
    assert main(["store", "restore", "copy", "--store", f"lmdb:{tmp_path}/again", "--yes"]) == 1
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["backup"], "Missing argument 'FOLDER'"),
        (["compact", "it"], "does not take 'it' here"),
        (["restore", "nowhere"], "there is no online store in nowhere"),
    ],
)
@pytest.mark.usefixtures("visits")
def test_what_is_said_of_a_wrong_call(call, said, capsys):
    assert main(["store", *call]) in (1, 2)
    assert said in capsys.readouterr().err.replace("\n", " ")
