"""Erasing one entity: no trace of it is left, other values are as if it had never been, and its
next event is its first.
"""

import json
import signal
import subprocess
import sys
from contextlib import closing
from datetime import date

import polars as pl
import pytest

import headwater as hw
from headwater.cli import main
from headwater.errors import DataError, FencedError
from headwater.jobs.erasure_receipt import read_receipt
from headwater.jobs.materialize import materialize_view
from headwater.journal.serving_log_rows import BatchEntry, EntryContext, RowEntry
from headwater.monitoring.parity import check_view
from headwater.online.view_reader import OnlineView
from headwater.serving.third_party.response_log import AnswerLog
from headwater.state import change_codec as kept
from headwater.state import record
from headwater.stores import keyspace
from headwater.testing.examples import churn, precomputed_variant
from tests.flow import Flow, at, home, micros, project_of, store, streaming_view  # noqa: F401 (fixtures)
from tests.stores.conftest import STORES, make_store, split_places  # noqa: F401 (fixtures)

MARK = "zq-marked"  # a text that stands nowhere but in the erased entity


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
    "text": (str, [MARK, "zq", "zq-marked2"]),
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
