"""Everything that headwater stores is private to its user, under any umask; looser files is made
private when it is opened.
"""

import logging
import os
import stat
from contextlib import closing

import polars as pl
import pytest

import headwater as hw
from headwater import disk
from headwater.engine.local.spill import split
from headwater.jobs.materialize import materialize_view
from headwater.journal.serving_log_rows import EntryContext, RowEntry
from headwater.serving.third_party.response_log import AnswerLog
from headwater.testing.examples import churn, precomputed_variant
from tests.flow import (
    Flow,
    frame,
    home,  # noqa: F401 (fixtures)
    micros,
    project_of,
    streaming_view,
    view_of,
)

LATER = "2024-07-01T00:00+00:00"


@pytest.fixture(autouse=True)
def umask():
    before = os.umask(0)  # the loosest there is
    yield
    os.umask(before)


def looser(folder):
    """Every file and folder at or below `folder` that others have a right to."""
    return [
        str(place)
        for place in [folder, *folder.rglob("*")]
        if stat.S_IMODE(place.lstat().st_mode) & 0o077
    ]


def ingest(home, _outside):
    view = streaming_view(source={"filter": pl.col("amount") > 0})
    with closing(hw.operations.open_store(f"lmdb:{home}/online?size=1GB")) as store:
        flow = Flow([view], store, home)
        flow.send(
            [
                {"key": 1, "at": 5, "amount": 1.0},
                {"key": 1, "at": 6, "amount": -1.0},
                {"key": None, "at": 5, "amount": 1.0},
            ],
            10,
        )
        flow.ingestor.roll(least=1)
        with store.lease("ingest", wait=1):
            pass
        materialize_view(
            view_of(frame([(1, 10, 1.0)]), freshness=hw.batch("1h"), name="daily"),
            store,
            micros(3600),
        )
        store.backup(home / "backups" / "first")
    hw.apply(project_of(view))


def train(home, outside):
    model = churn()
    hw.dataset(model, outside / "rows.parquet", as_of=LATER)
    split(frame([(1, 5, 1.0)]).lazy(), pl.lit(0), home / "work" / "split", "events")
    hw.train(model, as_of=LATER).register()
    variant, fitted = precomputed_variant(
        model, hw.precomputed(keys=["user"], freshness=hw.batch("1d"))
    )
    with closing(hw.operations.open_store(f"lmdb:{home}/online?size=1GB")) as store:
        hw.operations.materialize_model(variant, store=store, fitted=fitted, at=LATER)


def serve(home, _outside):
    with hw.operations.ServedLog(home) as log:
        about = EntryContext(
            "features", "shop", service="user_v1", features=("visits",), request=("user",)
        )
        log.put(RowEntry(about, "r1", micros(0), {"user": 7}, [3], bytes([0]), []))
    posted = hw.operations.Outcomes(home, churn().labels, keys=["user"])
    posted.add([{"request_id": "r1", "outcome": True}])
    posted.roll()
    posted.add([{"request_id": "r2", "outcome": True}])
    assert looser(home) == []
    posted.close()
    http = hw.HttpFeatures(
        name="credit", url="http://127.0.0.1:9/", request={"user": int}, response={"score": float}
    )
    answers = AnswerLog(home)
    answers.add(http, (7,), (0.5,), micros(1))
    answers.write()


def test_a_data_folder_is_private_after_a_full_run(home, tmp_path):
    for run in (ingest, train, serve):
        run(home, tmp_path)
        assert looser(home) == [], run.__name__
    folders = {place.relative_to(home).parts[0] for place in home.rglob("*")}
    every = {
        "answers",
        "archive",
        "backups",
        "cache",
        "catalog.sqlite",
        "dead_letters",
        "filtered",
        "models",
        "online",
        "outcomes",
        "served",
    }
    assert folders >= every
    # a path that the user named follows the umask
    assert stat.S_IMODE((tmp_path / "rows.parquet").stat().st_mode) == 0o666


def test_looser_files_are_made_private_when_they_are_opened(home, tmp_path, caplog, monkeypatch):
    ingest(home, tmp_path)
    serve(home, tmp_path)
    (home / "models" / "churn").mkdir(parents=True)
    for place in [home, *home.rglob("*")]:
        place.chmod(0o777 if place.is_dir() else 0o666)
    monkeypatch.setattr(disk, "_opened", set())  # as another process
    with caplog.at_level(logging.WARNING):
        with closing(hw.operations.open_store(f"lmdb:{home}/online?size=1GB")) as store:
            Flow([streaming_view()], store, home)
        hw.operations.ServedLog(home).close()
        hw.operations.Outcomes(home, churn().labels).close()
        hw.apply(project_of(streaming_view()), allow_breaking=True)
        hw.operations.ModelRegistry()
    folders = (
        "online",
        "archive",
        "filtered",
        "dead_letters",
        "served",
        "outcomes",
        "models",
        "catalog.sqlite",
    )
    assert {name: looser(home / name) for name in folders} == {name: [] for name in folders}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert f"{home}/online: " in caplog.text
    assert "could be read by other users" in caplog.text


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "outside").touch(0o644)
    (own := tmp_path / "own").mkdir(0o755)
    (own / "link").symlink_to(tmp_path / "outside")
    assert disk.tighten(own) == 1
    assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("mode", "folder", "file"),
    [(0o750, 0o750, 0o640), (0o755, 0o755, 0o644), (0o777, 0o755, 0o644), (0o700, 0o700, 0o600)],
)
def test_a_registry_that_the_user_shares_can_be_read_as_its_folder_can(
    mode, folder, file, tmp_path
):
    (place := tmp_path / "shared").mkdir()
    place.chmod(mode)
    hw.train(churn(), as_of=LATER).register(hw.operations.ModelRegistry(place))
    below = [p for p in place.rglob("*") if p.name != ".lock"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in below if p.is_dir()} == {folder}
    assert {stat.S_IMODE(p.stat().st_mode) for p in below if p.is_file()} == {file}
    assert stat.S_IMODE(place.stat().st_mode) == mode
