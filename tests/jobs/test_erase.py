"""Erasing one entity: no trace of it is left, other values are as if it had never been, and its
next event is its first.
"""

import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import date

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater import clock
from headwater.cli import main
from headwater.errors import DataError, FencedError, StoreError, UsageError
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.ingestion.sources.stream_reader import RecordBatch, between
from headwater.jobs import erase_journal
from headwater.jobs.erasure_receipt import ErasureJournal, read_receipt
from headwater.jobs.materialize import materialize_view
from headwater.journal.serving_log_files import raw_segments
from headwater.journal.serving_log_rows import BatchEntry, EntryContext, RowEntry
from headwater.monitoring.parity import check_view
from headwater.online.view_reader import OnlineView
from headwater.serving.third_party.response_log import AnswerLog
from headwater.state import change_codec as kept
from headwater.state import record
from headwater.stores import keyspace
from headwater.stores.keyspace import opened_for
from headwater.testing.examples import churn, precomputed_variant
from tests.flow import Flow, at, home, micros, project_of, store, streaming_view  # noqa: F401 (fixtures)
from tests.journal.disks import stuck_disk
from tests.stores.conftest import STORES, make_store, split_places  # noqa: F401 (fixtures)

MARK = "zq-marked"  # a text that stands nowhere but in the erased entity
LONG = MARK + "x" * 500


def views_of(kind, **more):
    """Views of one stream: by `user`, by `user` and `shop`, by `shop`, and of all events."""
    schema = {"user": kind, "shop": str, "amount": float, "id": str, "at": pl.Datetime("us", "UTC")}
    source = {
        "select": ["user", "shop", "amount"],
        "id_field": "id",
        "filter": pl.col("amount") >= 0,
        **more,
    }
    keys = {"by_user": ["user"], "by_both": ["shop", "user"], "by_shop": ["shop"], "overall": []}
    return [
        streaming_view(name=name, keys=own, schema=schema, source=source)
        for name, own in keys.items()
    ]


def plain(value):
    return value.isoformat() if isinstance(value, date) else value


def event(user, shop, second, amount, n=None):
    return {
        "user": plain(user),
        "shop": shop,
        "at": second,
        "amount": amount,
        "id": f"{plain(user)}-{second if n is None else n}",
    }


def events(users):
    """Accepted, held, filtered and refused records of every user, in two shops."""
    made = []
    for user in users:
        size = float(sum(map(ord, str(user))) % 10)
        made += [event(user, "ab"[s % 2], 10 + s, s + size) for s in range(6)]
        made += [
            event(user, "a", 5000, 1.0),
            event(user, "b", 20, -1.0),
            {**event(user, "b", 21, 1.0), "at": None},
        ]
    return made


def fill(store, folder, views, users, *, roll=True):
    """Send the events in three commits; the first becomes files."""
    flow = Flow(views, store, folder)
    sent = events(users)
    third = len(sent) // 3
    for n in range(3):
        flow.send(sent[n * third : (n + 1) * third if n < 2 else None], 100 + n)
        if n == 0 and roll:
            flow.ingestor.roll(least=1)
    return flow


def values(store, views, users, second):
    """The served values of every key, by view."""
    found = {}
    for view in views:
        rows = [{"user": user, "shop": shop} for user in users for shop in "ab"]
        asked = pl.DataFrame(rows).select(view.keys) if view.keys else pl.DataFrame(rows)
        served = OnlineView(view, store).read(asked, micros(second))
        found[view.name] = [series.to_list() for series in (*served.features, *served.statuses)]
    return found


def texts(store, folder):
    """Every text that a store and a folder hold, decoded."""
    for key, value in store.scan(b""):
        yield repr(key)
        if key[:1] in (keyspace.HELD, keyspace.ARCHIVE, keyspace.DEAD, keyspace.FILTERED):
            yield repr(record.frame_of(value).to_dicts())
        elif key[:1] == keyspace.IMAGE:
            yield repr(kept.decoded(value))
        else:
            yield repr(value)
    for path in folder.rglob("*"):
        if path.suffix == ".parquet":
            yield repr(pl.read_parquet(path, hive_partitioning=False).to_dicts())
        elif path.is_file() and path.name not in ("data.mdb", "lock.mdb"):
            yield repr(path.read_bytes())


def project(views):
    return project_of(*views)


KINDS = {
    "int": (int, [7, 8, 9]),
    "negative int": (int, [-7, 8, 70]),
    "text": (str, [MARK, "zq", "zq-marked2"]),
    "long text": (str, [LONG, LONG + "y", "z"]),
    "date": (pl.Date, [date(2024, 1, 7), date(2024, 1, 8), date(1969, 1, 7)]),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_as_if_the_key_had_never_been(kind, make_store, tmp_path):
    dtype, (gone, *others) = KINDS[kind]
    views = views_of(dtype)
    with (
        closing(make_store()) as store,
        closing(hw.operations.open_store(f"lmdb:{tmp_path}/never?size=1GB")) as never,
    ):
        flow = fill(store, tmp_path / "data", views, [gone, *others])
        fill(never, tmp_path / "other", views, others)
        receipt = hw.operations.erase(
            project(views), {"user": gone}, store=store, data_dir=tmp_path / "data"
        )
        second = 103
        before = values(never, views, [gone, *others], second)
        assert values(store, views, [gone, *others], second) == before
        archived = receipt.rows["archive"]
        assert (
            archived,
            receipt.rows["held events"],
            receipt.rows["filtered"],
            receipt.rows["dead_letters"],
        ) == (6, 1, 1, 1)
        assert receipt.rows["ids"] == 6  # that of the held event is remembered when it is released
        assert receipt.finished_at is not None
        if not store.capabilities.multi_process:
            for view in views:
                assert (
                    check_view(view, store, tmp_path / "data", at=micros(second)).mismatches == []
                )
        flow.ingestor._writers.clear()  # as a process that is started again
        # two ids that were seen before
        again = flow.send([event(gone, "a", 10, 5.0), event(gone, "a", 5000, 1.0)], second)
        assert (again[-1].counts["accepted"], again[-1].counts["held"]) == (1, 1)
        assert again[-1].counts.get("copies", 0) == 0
        assert OnlineView(views[0], store).read(
            pl.DataFrame({"user": [gone]}), micros(second)
        ).features[1].to_list() == [5.0]


@pytest.mark.slow
@pytest.mark.parametrize("roll", [True, False])
def test_no_trace_of_a_text_key_is_left(roll, make_store, tmp_path):
    views = views_of(str)
    folder = tmp_path / "data"
    with closing(make_store()) as store:
        flow = fill(store, folder, views, [MARK, "b", "c"], roll=roll)
        if roll:
            flow.ingestor.roll(least=1)
        assert any(MARK in text for text in texts(store, folder))
        receipt = hw.operations.erase(project(views), {"user": MARK}, store=store, data_dir=folder)
        assert [text[:200] for text in texts(store, folder) if MARK in text] == []
        assert {file.place for file in receipt.files} == (
            {"archive", "filtered", "dead_letters"} if roll else set()
        )
        assert all(len(file.before) == len(file.after) == 64 for file in receipt.files)


def test_one_key_of_a_view_by_two_columns(make_store, tmp_path):
    views = views_of(str)
    with (
        closing(make_store()) as store,
        closing(hw.operations.open_store(f"lmdb:{tmp_path}/never?size=1GB")) as never,
    ):
        fill(store, tmp_path / "data", views, ["m", "n"])
        flow = Flow(views, never, tmp_path / "other")
        left = [e for e in events(["m", "n"]) if (e["user"], e["shop"]) != ("m", "b")]
        flow.send(left, 102)
        receipt = hw.operations.erase(
            project(views), {"user": "m", "shop": "b"}, store=store, data_dir=tmp_path / "data"
        )
        assert values(store, views, ["m", "n"], 103) == values(never, views, ["m", "n"], 103)
        assert receipt.rows["archive"] == 3


# the lease keeps others out of LMDB
@pytest.mark.parametrize("make_store", [kind for kind in STORES if kind != "lmdb"], indirect=True)
def test_a_writer_elsewhere_is_fenced_and_goes_on(make_store, tmp_path):
    views = views_of(int)
    with closing(make_store()) as store:
        flow = fill(store, tmp_path / "data", views, [7, 8])
        with closing(make_store.func(*make_store.args)) as other:
            hw.operations.erase(
                project(views), {"user": 7}, store=other, data_dir=tmp_path / "data"
            )
        with pytest.raises(FencedError):
            flow.send([event(8, "a", 50, 1.0)], 104)
        flow.ingestor.give_up([None])
        flow.offset -= 1  # it reads on from what the store holds
        assert flow.send([event(8, "a", 50, 1.0)], 104)[-1].counts["accepted"] == 1
        assert values(store, views[:1], [7, 8], 104)["by_user"][0] == [0, 0, 7, 7]


def test_ingestion_into_one_writer_store_must_stop(store, tmp_path):
    views = views_of(int)
    fill(store, tmp_path / "data", views, [7, 8])
    with store.lease("ingest", wait=1), pytest.raises(StoreError, match="stop `headwater ingest`"):
        hw.operations.erase(
            project(views), {"user": 7}, store=store, data_dir=tmp_path / "data", wait=0
        )


def corrected(make, folder, users, mark):
    """A stream of change images: user 7's event 2 moves to 8, and 9's event 3 is deleted."""
    schema = {
        "user": str,
        "shop": str,
        "amount": float,
        "id": int,
        "before": bool,
        "known": pl.Datetime("us", "UTC"),
        "at": pl.Datetime("us", "UTC"),
    }
    source = {
        "select": ["user", "shop", "amount"],
        "id_field": "id",
        "changes": "before",
        "known_at_field": "known",
    }
    views = [
        streaming_view(name=n, keys=k, schema=schema, source=source)
        for n, k in {"by_user": ["user"], "by_shop": ["shop"]}.items()
    ]
    flow = Flow(views, make, folder)

    def image(user, n, second, amount, known, *, before=False):
        return {
            "user": user,
            "shop": "ab"[n % 2],
            "amount": amount,
            "id": n,
            "before": before,
            "known": at(known).isoformat(),
            "at": second,
        }

    first = [
        image(user, n, 10 + n, float(n), 10 + n)
        for n, user in enumerate([mark, "b", mark, "c", "b"])
        if user in users
    ]
    flow.send(first, 100)
    flow.ingestor.roll(least=1)
    second = [(mark, image("b", 2, 12, 9.0, 101)), ("c", image("c", 3, 13, 3.0, 101, before=True))]
    flow.send([one for user, one in second if user in users], 102)
    return views, flow


def test_change_images_of_a_key(make_store, tmp_path):
    with (
        closing(make_store()) as store,
        closing(hw.operations.open_store(f"lmdb:{tmp_path}/never?size=1GB")) as never,
    ):
        views, flow = corrected(store, tmp_path / "data", [MARK, "b", "c"], MARK)
        corrected(never, tmp_path / "other", ["b", "c"], MARK)
        receipt = hw.operations.erase(
            project(views), {"user": MARK}, store=store, data_dir=tmp_path / "data"
        )
        # event 2 too, which an image gave the key before it moved
        assert receipt.rows["change images"] == 2
        for key, view in ((["b", "c", MARK], views[0]), (["a", "b"], views[1])):
            asked = pl.DataFrame({view.keys[0]: key})
            mine, theirs = (
                OnlineView(view, s).read(asked, micros(103)).features for s in (store, never)
            )
            assert [s.to_list() for s in mine] == [s.to_list() for s in theirs]
        assert [text[:200] for text in texts(store, tmp_path / "data") if MARK in text] == []
        flow.ingestor._writers.clear()
        flow.send([], 200)


# ------------------------------------------------------------ killed and started again


def counted(receipt):
    return receipt.rows, sorted((f.place, f.rows) for f in receipt.files), len(receipt.not_searched)


@pytest.mark.slow
def test_a_run_that_stops_anywhere_goes_on_and_counts_the_same(tmp_path, monkeypatch):
    views, saves = views_of(str), []
    save = ErasureJournal.save

    def filled(name):
        store = hw.operations.open_store(f"lmdb:{tmp_path}/{name}?size=1GB")
        flow = fill(store, tmp_path / f"{name}-data", views, [MARK, "b", "c"])
        flow.ingestor.roll(least=1)
        with hw.operations.ServedLog(tmp_path / f"{name}-data") as log:
            serve(log, MARK)
        return store

    with closing(filled("whole")) as store:
        monkeypatch.setattr(ErasureJournal, "save", lambda self: (save(self), saves.append(1)))
        whole = hw.operations.erase(
            project(views), {"user": MARK}, store=store, data_dir=tmp_path / "whole-data"
        )
    assert len(saves) > 6
    for stop in range(0, len(saves) - 1, 2):  # the last one says that all is done
        left = iter([None] * stop)

        def stopping(self, left=left):
            save(self)
            if next(left, "stop") == "stop":
                raise KeyboardInterrupt

        with closing(filled(f"stopped{stop}")) as store:
            folder = tmp_path / f"stopped{stop}-data"
            monkeypatch.setattr(ErasureJournal, "save", stopping)
            with pytest.raises(KeyboardInterrupt):
                hw.operations.erase(project(views), {"user": MARK}, store=store, data_dir=folder)
            monkeypatch.setattr(ErasureJournal, "save", save)
            receipt = hw.operations.erase(
                project(views), {"user": MARK}, store=store, data_dir=folder
            )
            assert counted(receipt) == counted(whole), stop
            assert len(list((folder / "erasures").glob("*.json"))) == 1
            assert [text[:200] for text in texts(store, folder) if MARK in text] == []


KILLED = """
import os, signal, sys
from headwater import clock
from headwater.cli import main
from headwater.jobs.erasure_receipt import ErasureJournal
save, left = ErasureJournal.save, iter(range(int(sys.argv[1])))
def saving(self):
    save(self)
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
ErasureJournal.save = saving
main(sys.argv[2:])
"""

DEFINITIONS = """
import headwater as hw, polars as pl
from datetime import datetime
schema = {"user": str, "amount": float, "id": str, "at": datetime}
source = hw.Source("events", stream=hw.push(schema=schema), timestamp_field="at", select=["user", "amount"], id_field="id")
view = hw.FeatureView("by_user", source=source, keys=["user"], features=[hw.count()], windows=["1h"], freshness=hw.streaming("2s"))
asked = pl.DataFrame({"user": ["b"], "at": [datetime(2024, 5, 1)], "left": [True]}).with_columns(pl.col("at").dt.replace_time_zone("UTC"))
labels = hw.Labels("labels", table=asked, timestamp_field="at", label="left", known_after="1h")
project = hw.Project("shop", [hw.Model("model", task="binary", features=hw.FeatureService("service", [view]), labels=labels)])
"""


@pytest.fixture
def shop(tmp_path, home):
    """A project file, and a store that holds two users."""
    (tmp_path / "features.py").write_text(DEFINITIONS)
    scope = {}
    exec(DEFINITIONS, scope)
    with closing(hw.operations.open_store(f"lmdb:{home}/online")) as store:
        flow = Flow([scope["view"]], store, home)
        flow.send(
            [
                {"user": u, "amount": 1.0, "id": f"{u}{s}", "at": s}
                for s in range(5)
                for u in (MARK, "b")
            ],
            100,
        )
        flow.ingestor.roll(least=1)
    return ["erase", "--project", str(tmp_path / "features.py"), "--key", f"user={MARK}"]


@pytest.mark.slow
def test_a_killed_process_is_gone_on_from(shop, home):
    for stop in (1, 4):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, str(stop), *shop, "--yes"],
            capture_output=True,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert main([*shop, "--yes"]) == 0
    (path,) = (home / "erasures").glob("*.json")
    receipt = read_receipt(path)
    assert (
        receipt.rows["archive"],
        receipt.rows["ids"],
        receipt.rows["online records of by_user"],
    ) == (5, 5, 1)
    assert receipt.finished_at is not None
    with closing(hw.operations.open_store(f"lmdb:{home}/online")) as store:
        assert [text[:200] for text in texts(store, home) if MARK in text] == []


# ------------------------------------------------------------ the command


def test_the_command_counts_asks_and_erases(shop, home, capsys, monkeypatch):
    assert main([*shop, "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"]["archive"], found["finished_at"], found["path"]) == (5, None, None)
    assert not (home / "erasures").exists()
    assert main(shop) == 2
    assert "give --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin.readline", lambda: "n\n", raising=False)
    assert main(shop) == 0
    assert "nothing was erased" in capsys.readouterr().err
    assert not (home / "erasures").exists()
    assert main([*shop, "--yes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"]["archive"] == 5
    assert MARK not in json.dumps(found)
    assert main([*shop, "--yes", "--json"]) == 0  # nothing is left
    assert json.loads(capsys.readouterr().out)["rows"] == {}


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (["user"], "give COLUMN=VALUE"),
        (["usr=7"], "did you mean 'user'"),
        (["user=1", "user=2"], "given twice"),
    ],
)
def test_a_key_that_is_none(key, why, shop, capsys):
    assert main([*shop[:3], *(part for one in key for part in ("--key", one)), "--yes"]) == 2
    assert why in capsys.readouterr().err


def test_a_value_of_another_type(store, tmp_path):
    views = views_of(int)
    fill(store, tmp_path / "data", views, [7])
    with pytest.raises(UsageError, match="is not of that type"):
        hw.operations.erase(project(views), {"user": "x"}, store=store, data_dir=tmp_path / "data")


# ------------------------------------------------------------ logs, predictions, training sets


def about(**more):
    return EntryContext("predict", "project", model="model", request=("user",), **more)


def serve(log, user):
    log.put(RowEntry(about(), "r1", micros(0), {"user": user}, [], b"", [], 0.5, "on_request"))
    log.put(RowEntry(about(), "r2", micros(1), {"user": "b"}, [], b"", [], 0.5, "on_request"))
    log.put(
        BatchEntry(
            about(), "r3", micros(2), {"user": [user, "b"]}, [], [], [], 2, [0.5, 0.6], "on_request"
        )
    )


def test_the_serving_log_and_outcomes(store, tmp_path):
    views = views_of(str)
    (model,) = project(views).models
    with hw.operations.ServedLog(tmp_path) as log:
        serve(log, MARK)
    posted = hw.operations.Outcomes(tmp_path, model.labels, keys=["user"])
    rows = [
        {"request_id": "r1"},
        {"request_id": "r2"},
        {"request_id": "r3"},
        {"request_id": "r3", "user": MARK},
        {"user": MARK},
        {"user": "b"},
    ]
    for n in range(2):
        posted.add([{**row, "outcome": float(n)} for row in rows])
        if n == 0:
            posted.roll()
    http = hw.HttpFeatures(
        name="credit", url="http://127.0.0.1:9/", request={"user": str}, response={"score": float}
    )
    answers = AnswerLog(tmp_path)
    for user in (MARK, "b"):
        answers.add(http, (user,), (0.5,), micros(1))
    (answered,) = answers.write()
    receipt = hw.operations.erase(project(views), {"user": MARK}, store=store, data_dir=tmp_path)
    posted.close()
    assert receipt.rows["answers of third parties"] == 1
    assert pl.read_parquet(answered)["user"].to_list() == ["b"]
    assert (receipt.rows["serving log"], receipt.rows["outcomes"]) == (2, 6)
    left = (
        hw.operations.served(tmp_path)
        .select("headwater_request", "user")
        .sort("headwater_request")
        .collect()
    )
    assert left.rows() == [("r2", "b"), ("r3", "b")]
    found = hw.operations.outcomes(tmp_path, model.labels)
    assert set(zip(found["headwater_request"], found["user"], strict=True)) == {
        ("r2", None),
        ("r3", None),
        (None, "b"),
    }
    assert not any(
        MARK.encode() in path.read_bytes() for path in (tmp_path / "outcomes").rglob("*.*")
    )


def test_segments_of_the_serving_log_are_converted_and_rewritten(store, tmp_path, monkeypatch):
    views = views_of(str)
    with hw.operations.ServedLog(tmp_path) as log:
        serve(log, MARK)
        assert log.flush()
        counted = hw.operations.erase(
            project(views), {"user": MARK}, store=store, data_dir=tmp_path, dry_run=True
        )
        assert counted.rows["serving log"] == 2
        assert raw_segments(tmp_path / "served"), "a dry run changes nothing"
        receipt = hw.operations.erase(
            project(views), {"user": MARK}, store=store, data_dir=tmp_path
        )
        assert receipt.rows["serving log"] == 2
        assert raw_segments(tmp_path / "served") == []
        assert not any(
            MARK.encode() in path.read_bytes()
            for path in (tmp_path / "served").rglob("*")
            if path.is_file()
        )
        serve(log, "b")
        assert log.flush()
        assert hw.operations.served(tmp_path).collect()["user"].to_list() == ["b"] * 6
        with stuck_disk() as waits, monkeypatch.context() as patched:
            serve(log, "b")
            assert waits.wait(10)
            patched.setattr(erase_journal, "_WAIT", 0.1)
            with pytest.raises(StoreError, match="has not closed it"):
                hw.operations.erase(project(views), {"user": "b"}, store=store, data_dir=tmp_path)
    receipt = hw.operations.erase(project(views), {"user": "b"}, store=store, data_dir=tmp_path)
    assert receipt.rows["serving log"] == 10
    assert hw.operations.served(tmp_path).collect().height == 0


def test_a_file_of_the_journal_that_nobody_can_read_is_named(store, tmp_path):
    views = views_of(str)
    with hw.operations.ServedLog(tmp_path) as log:
        serve(log, MARK)
        assert log.flush()
        (path,) = raw_segments(tmp_path / "served")
        data = bytearray(path.read_bytes())
    data[30] ^= 1  # in the header
    path.with_name("killed-000001.segment").write_bytes(data)
    receipt = hw.operations.erase(project(views), {"user": MARK}, store=store, data_dir=tmp_path)
    (left,) = (tmp_path / "served").rglob("*.damaged")
    (named,) = [note for note in receipt.not_searched if str(left) in note.place]
    assert "delete it" in named.why


def test_batch_records_and_predictions(store, tmp_path):
    model = churn(freshness=hw.batch("1d"))
    variant, fitted = precomputed_variant(
        model, hw.precomputed(keys=["user"], freshness=hw.batch("1d")), hw.batch("1d")
    )
    shop = hw.Project("shop", [model], levels={"ahead": variant.level})
    (view,) = model.features.views
    materialize_view(view, store, micros(86_400 * 3))
    made = hw.operations.materialize_model(variant, store=store, fitted=fitted, at=at(86_400 * 3))
    before = (
        OnlineView(view, store)
        .read(pl.DataFrame({"user": [0, 1, 4]}), micros(86_400 * 3))
        .features[0]
        .to_list()
    )
    receipt = hw.operations.erase(shop, {"user": 1}, store=store, data_dir=tmp_path)
    assert (receipt.rows["online records of user"], receipt.rows["predictions of churn"]) == (1, 1)
    after = (
        OnlineView(view, store)
        .read(pl.DataFrame({"user": [0, 1, 4]}), micros(86_400 * 3))
        .features[0]
        .to_list()
    )
    assert after == [before[0], 0, before[2]]
    assert before[1] > 0
    assert made.cut.keys > 1
    assert hw.operations.erase(shop, {"user": 1}, store=store, data_dir=tmp_path).rows == {}


def test_predictions_in_a_store_of_another_project(store, tmp_path):
    model, day = churn(), hw.batch("1d")
    variant, fitted = precomputed_variant(model, hw.precomputed(keys=["user"], freshness=day))
    levels = {"ahead": variant.level}
    for name in ("first", "second"):
        with opened_for(name, store, write=True, shared=name == "second") as opened:
            given = {"store": opened, "fitted": fitted}
            made = hw.operations.materialize_model(variant, at=at(86_400 * 3), **given)
            receipt = hw.operations.erase(
                hw.Project(name, [model], levels=levels),
                {"user": 1},
                store=store,
                data_dir=tmp_path,
            )
            assert receipt.rows == {"predictions of churn": 1}
            again = hw.operations.materialize_model(variant, at=at(86_400 * 4), **given)
            assert again.cut.keys == made.cut.keys - 1


def test_training_sets_are_marked_and_the_cache_is_cleared(home, store, tmp_path):
    views = views_of(int)
    fill(store, home, views, [1, 2])
    model = churn()
    made = hw.dataset(model, tmp_path / "rows.parquet", as_of="2024-07-01T00:00+00:00")
    hw.dataset(model, tmp_path / "moved.parquet", as_of="2024-07-01T00:00+00:00")
    (tmp_path / "moved.manifest.json").unlink()
    assert list((home / "cache").rglob("*.parquet"))
    receipt = hw.operations.erase(
        hw.Project("shop", [model, *project(views).models]), {"user": 1}, store=store, data_dir=home
    )
    (marked,) = receipt.manifests
    assert (marked.path, marked.rows) == (
        str(made.manifest_path),
        made.rows.frame.filter(pl.col("user") == 1).height,
    )
    assert marked.rows > 0
    assert not list((home / "cache").rglob("*.parquet"))
    with pytest.raises(DataError, match=r"were erased at .* \(receipt "):
        hw.operations.reproduce(model, made.manifest_path, tmp_path / "again.parquet")
    places = {one.place for one in receipt.not_searched}
    assert {
        "training sets already written",
        "backups",
        "models already trained",
        "history of source visits",
    } <= places


def test_views_by_other_keys_without_an_archive_are_named(store, tmp_path):
    views = views_of(int)
    fill(store, None, views, [7, 8])
    receipt = hw.operations.erase(
        project(views), {"user": 7}, store=store, data_dir=tmp_path / "data"
    )
    assert "source events" in {one.place for one in receipt.not_searched}
    assert receipt.rows["online records of by_user"] == 1


def test_events_of_the_history_that_a_stream_began_with(make_store, tmp_path):
    rows = [("m", "a", 1.0, "1"), ("m", "b", 2.0, "2"), ("b", "a", 4.0, "3"), ("c", "b", 8.0, "4")]
    past = pl.DataFrame(rows, schema=["user", "shop", "amount", "id"], orient="row").with_columns(
        at=pl.Series([at(n) for n in range(4)])
    )
    schema = {"user": str, "shop": str, "amount": float, "id": str, "at": pl.Datetime("us", "UTC")}
    source = {"select": ["user", "shop", "amount"], "id_field": "id", "history": past}
    views = [
        streaming_view(name=name, keys=keys, schema=schema, windows=["lifetime"], source=source)
        for name, keys in {"by_user": ["user"], "by_shop": ["shop"], "overall": []}.items()
    ]
    with closing(make_store()) as store:
        Flow(views, store, tmp_path / "data").send(
            [event("m", "a", 10, 16.0), event("b", "a", 11, 32.0)], 100
        )
        sums = [values(store, views, "mbc", 101)[view.name][1] for view in views]
        assert sums == [[19.0, 19.0, 36.0, 36.0, 8.0, 8.0], [53.0, 10.0] * 3, [63.0] * 6]
        receipt = hw.operations.erase(
            project(views), {"user": "m"}, store=store, data_dir=tmp_path / "data"
        )
        sums = [values(store, views, "mbc", 101)[view.name][1] for view in views]
        assert sums == [[0.0, 0.0, 36.0, 36.0, 8.0, 8.0], [36.0, 8.0] * 3, [44.0] * 6]
        assert "history of source events" in {one.place for one in receipt.not_searched}


def test_a_store_that_is_not_there_gives_no_receipt(tmp_path):
    with pytest.raises(StoreError, match="there is no online store"):
        hw.operations.erase(
            project(views_of(str)),
            {"user": "m"},
            store=f"lmdb:{tmp_path}/misspelt",
            data_dir=tmp_path,
        )
    assert list(tmp_path.iterdir()) == []


def test_an_archive_whose_store_was_emptied(tmp_path):
    views = views_of(str)
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/first?size=1GB")) as store:
        fill(store, tmp_path / "data", views, [MARK, "b"]).ingestor.roll(least=1)
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/second?size=1GB")) as store:
        assert (
            hw.operations.erase(
                project(views), {"user": MARK}, store=store, data_dir=tmp_path / "data"
            ).rows["archive"]
            == 6
        )
        assert [text[:200] for text in texts(store, tmp_path / "data") if MARK in text] == []


def test_payloads_that_cannot_be_read_are_counted(store, tmp_path):
    views = views_of(int)
    flow = Flow(views, store, tmp_path, limits=IngestLimits())
    flow.send(
        [event(7, "a", 10, 1.0), {**event(7, "a", 11, 1.0), "amount": "many"}, {"user": [7]}], 100
    )
    flow.ingestor.commit(
        [
            (
                _raw(flow, [b"\xff", b"{", b'{"user": 7, "amount": {"of": 1}}']),
                dict(flow.ingestor.turns),
            )
        ],
        micros(101),
    )
    receipt = hw.operations.erase(project(views), {"user": 7}, store=store, data_dir=tmp_path)
    assert receipt.rows["dead_letters"] == 2
    (why,) = [one.why for one in receipt.not_searched if one.place == "dead letters of events"]
    assert why.startswith("2 payloads")


def _raw(flow, payloads):
    n = len(payloads)
    made = RecordBatch(
        ["0"],
        np.zeros(n, np.int64),
        np.arange(flow.offset, flow.offset + n),
        np.full(n, micros(101)),
        {"0": between(flow.offset, flow.offset + n)},
        payloads,
    )
    flow.offset += n
    return made


def test_ingestion_into_redis_goes_on_meanwhile(redis_url, tmp_path):
    path, folder = tmp_path / "events.ndjson", tmp_path / "data"
    stream = hw.appended(
        str(path),
        schema={
            "user": str,
            "shop": str,
            "amount": float,
            "id": str,
            "at": pl.Datetime("us", "UTC"),
        },
    )
    source = hw.Source(
        "events",
        stream=stream,
        timestamp_field="at",
        select=["user", "shop", "amount"],
        id_field="id",
    )
    views = [
        hw.FeatureView(
            name,
            source=source,
            keys=keys,
            features=[hw.count()],
            windows=["lifetime"],
            freshness=hw.streaming("2s"),
        )
        for name, keys in {"by_user": ["user"], "by_shop": ["shop"]}.items()
    ]
    sent = iter(range(100_000))

    def send(user, count):
        with path.open("a") as file:
            for n in range(count):
                row = {
                    "user": user,
                    "shop": "ab"[n % 2],
                    "amount": 1.0,
                    "id": f"{user}{next(sent)}",
                    "at": at(n).isoformat(),
                }
                file.write(json.dumps(row) + "\n")

    def count(view, key):
        try:
            return (
                OnlineView(view, store)
                .read(pl.DataFrame({view.keys[0]: [key]}), clock.now_micros())
                .features[0]
                .item()
            )
        except StoreError:
            return None  # it is still being filled

    def wait(view, key, expected):
        until = clock.stopwatch() + 60
        while (
            (found := count(view, key)) != expected
            and clock.stopwatch() < until
            and ingesting.is_alive()
        ):
            time.sleep(0.02)
        assert found == expected

    stop = threading.Event()
    url = f"{redis_url}?prefix=meanwhile"
    with (
        closing(hw.operations.open_store(url)) as store,
        closing(hw.operations.open_store(url)) as other,
    ):
        limits = IngestLimits(roll=1)  # every commit is made a file of
        ingesting = threading.Thread(
            target=lambda: hw.ingest(
                project(views),
                other,
                data_dir=folder,
                limits=limits,
                stop=stop,
                options=hw.operations.IngestOptions(allow_unapplied=True),
            ),
            daemon=True,
        )
        send("m", 50)
        send("b", 50)
        ingesting.start()
        try:
            wait(views[0], "m", 50)
            for n in range(1, 6):
                send("b", 20)  # read while the key is erased
                hw.operations.erase(project(views), {"user": "m"}, store=store, data_dir=folder)
                wait(views[0], "b", 50 + 20 * n)
                assert count(views[0], "m") == 0
                assert count(views[1], "a") + count(views[1], "b") == 50 + 20 * n
                send("m", 3)
                wait(views[0], "m", 3)
            assert ingesting.is_alive()
        finally:
            stop.set()
            ingesting.join(60)
        hw.operations.erase(project(views), {"user": "m"}, store=store, data_dir=folder)
        assert count(views[1], "a") + count(views[1], "b") == 150
        rows = [
            row
            for file in (folder / "archive").rglob("*.parquet")
            for row in pl.read_parquet(file, hive_partitioning=False)["user"]
        ]
        assert sorted(rows) == ["b"] * 150
