"""Erasing a key from an archive on an object store (an S3 server)."""

from contextlib import closing
from functools import partial

import pytest

import headwater as hw
from headwater.ingestion.archive import every_object
from headwater.jobs.erasure_receipt import ErasureJournal
from tests.connectors.conftest import s3  # noqa: F401 (a fixture)
from tests.flow import home, store  # noqa: F401 (fixtures)
from tests.ingestion.test_archive_objects import bucket  # noqa: F401 (a fixture)
from tests.jobs.test_erase import (
    MARK,
    counted,
    fill,
    project,
    shop,  # noqa: F401
    texts,
    values,
    views_of,
)
from tests.stores.conftest import make_store, split_places  # noqa: F401 (fixtures)

pytestmark = pytest.mark.services
KEPT = ("archive", "filtered", "dead_letters")


def stored_texts(url):
    """Every row of every object."""
    return [
        repr(part.read().to_dicts())
        for place in KEPT
        for part in every_object(f"{url}/{place}/events")
    ]


@pytest.mark.parametrize("make_store", ["lmdb"], indirect=True)
def test_what_is_left_is_as_if_the_key_had_never_been(make_store, tmp_path, bucket, monkeypatch):
    views, users = views_of(str), [MARK, "zq", "b"]
    with (
        closing(make_store()) as store,
        closing(hw.operations.open_store(f"lmdb:{tmp_path}/never?size=1GB")) as never,
    ):
        flow = fill(store, tmp_path / "data", views, users)
        flow.ingestor.roll(least=1)
        assert sum(MARK in text for text in stored_texts(bucket)) == 3
        counts = hw.operations.erase(
            project(views), {"user": MARK}, store=store, data_dir=tmp_path / "data", dry_run=True
        )
        assert sum(MARK in text for text in stored_texts(bucket)) == 3
        receipt = hw.operations.erase(
            project(views), {"user": MARK}, store=store, data_dir=tmp_path / "data"
        )
        assert [
            text[:200]
            for text in [*texts(store, tmp_path / "data"), *stored_texts(bucket)]
            if MARK in text
        ] == []
        assert (
            receipt.rows["archive"],
            receipt.rows["filtered"],
            receipt.rows["dead_letters"],
        ) == (6, 1, 1)
        assert receipt.rows == counts.rows
        assert {file.place for file in receipt.files} == set(KEPT)
        assert all(
            file.path.startswith(f"{bucket}/{file.place}/events/headwater_date=")
            for file in receipt.files
        )
        unlocked = [
            noted for noted in receipt.not_searched if "that ingestion was writing" in noted.place
        ]
        assert len(unlocked) == (1 if store.capabilities.multi_process else 0)
        monkeypatch.delenv("HEADWATER_ARCHIVE_URL")
        fill(never, tmp_path / "other", views, users[1:])
        assert values(store, views, users, 103) == values(never, views, users, 103)


def test_a_run_that_stops_anywhere_goes_on_and_counts_the_same(tmp_path, bucket, monkeypatch):
    views, saves = views_of(str)[:1], []
    save = ErasureJournal.save

    def filled(name):
        """A store with an archive of its own, filled; what erases from both."""
        url, folder = f"lmdb:{tmp_path}/{name}?size=1GB", tmp_path / f"{name}-data"
        monkeypatch.setenv("HEADWATER_ARCHIVE_URL", f"{bucket}/{name}")
        with closing(hw.operations.open_store(url)) as store:
            fill(store, folder, views, [MARK, "b"]).ingestor.roll(least=1)
        return partial(
            hw.operations.erase, project(views), {"user": MARK}, store=url, data_dir=folder
        )

    erase = filled("whole")
    monkeypatch.setattr(
        ErasureJournal, "save", lambda self: (save(self), saves.append(len(self.receipt.files)))
    )
    whole = erase()
    # and not replaced yet
    noted = [n for n, files in enumerate(saves) if n and files > saves[n - 1]]
    assert len(noted) == len(whole.files) == 3
    for stop in noted:
        left = iter([None] * stop)

        def stopping(self, left=left):
            save(self)
            if next(left, "stop") == "stop":
                raise KeyboardInterrupt

        erase = filled(f"stopped{stop}")
        monkeypatch.setattr(ErasureJournal, "save", stopping)
        with pytest.raises(KeyboardInterrupt):
            erase()
        assert any(MARK in text for text in stored_texts(f"{bucket}/stopped{stop}"))
        monkeypatch.setattr(ErasureJournal, "save", save)
        assert counted(erase()) == counted(whole), stop
        assert [
            text[:200] for text in stored_texts(f"{bucket}/stopped{stop}") if MARK in text
        ] == []
