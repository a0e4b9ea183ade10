"""Micro batches of Spark are committed as every other stream: each once, in any number and order of
repeats.
"""

from contextlib import closing
from datetime import timedelta

import polars as pl
import pytest

import headwater as hw
import headwater_spark
from headwater.errors import DataError, StoreError
from headwater.ingestion import commit_batch
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.stores import keyspace
from headwater.stores.lmdb import LmdbStore
from tests.ingestion.batches import NOW, QUERY, Frame, check, project, rows, source, view
from tests.ingestion.conftest import STORES

OTHER = "0f0f0f0f-0d5c-4f6e-9d0e-1a2b3c4d5e6f"
VIEW = view(source())
SHOP = project(VIEW)


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))


@pytest.fixture
def lmdb(tmp_path):
    return f"lmdb:{tmp_path}/online?size=1GB"


def committer(url, shop=SHOP, **limits):
    return headwater_spark.commit_batches(
        shop, "payments", store=url, allow_unapplied=True, limits=IngestLimits(**limits)
    )


def commit(url, number, frame, **limits):
    """As a driver that has just begun."""
    with closing(committer(url, **limits)) as commits:
        commits(frame, number)


def sources(url):
    return hw.status(SHOP, store=url).streams


@pytest.mark.parametrize(
    "url",
    STORES,
    indirect=True,
)
def test_batches_in_every_store_count_once_each(url):
    """Copies across batches, a repeated batch, and rows that are no events."""
    bad = rows(0, 3).with_columns(
        id=pl.Series([900, 901, 902]),
        user=pl.Series([None, "u1", "u1"], dtype=pl.String),
        real=pl.Series([0.0, float("inf"), 1.0]),
        at=pl.Series([NOW, NOW, NOW + timedelta(days=3)]),
    )
    with closing(committer(url)) as commits:
        commits(Frame(rows(0, 300)), 0)
        commits(
            Frame(
                pl.concat([rows(250, 100), rows(0, 20), bad]).sample(
                    fraction=1, shuffle=True, seed=1
                )
            ),
            1,
        )
        commits(Frame(pl.concat([rows(250, 100), rows(0, 20), bad])), 1)
        commits(Frame(rows(0, 0)), 2)
    commit(url, 2, Frame(rows(0, 0)))
    commit(url, 3, Frame(rows(350, 50).select(pl.all().reverse())))
    check(url, VIEW, rows(0, 400))
    (stream,) = sources(url)
    assert (stream.commits, stream.archived, stream.counts["copies"]) == (4, 400, 70)
    dead = hw.operations.dead_letters(SHOP, "payments", store=url)
    reasons = dict(dead.group_by("reason").len().iter_rows())
    assert reasons.pop("a duplicate of an accepted event") == 70
    assert reasons == {
        "no key of any view": 1,
        "real is infinite": 1,
        "at is more than 1d after it was received": 1,
    }
    assert dead["headwater_offset"].n_unique() == 73


def test_a_store_that_fails_in_any_commit_of_a_large_batch(lmdb, monkeypatch):
    """Two batches in pieces of about 40 rows; two of three commits fail, before or after they are
    made, and another process goes on.
    """
    commits, made, position = (
        [0],
        LmdbStore.commit,
        keyspace.offset("payments", commit_batch.PARTITION),
    )

    def failing(self, changes, expect):
        if position not in changes:
            return made(self, changes, expect)
        commits[0] += 1
        if commits[0] % 3 == 1:
            raise StoreError("the disk is full")
        made(self, changes, expect)
        if commits[0] % 3 == 2:
            raise StoreError("the connection was lost after the commit")
        return None

    committer(lmdb).close()
    monkeypatch.setattr(LmdbStore, "commit", failing)
    for batch in range(2):
        for _ in range(20):
            try:
                commit(
                    lmdb,
                    batch,
                    Frame(rows(batch * 90, 120).sample(fraction=1, shuffle=True, seed=batch)),
                    batch=40,
                )
                break
            except StoreError:
                continue
        else:
            pytest.fail("the batch is never committed")
    monkeypatch.undo()
    assert commits[0] == 12
    check(lmdb, VIEW, rows(0, 210))
    (stream,) = sources(lmdb)
    assert (stream.archived, stream.counts["records"], stream.counts["copies"]) == (210, 240, 30)


@pytest.mark.parametrize(
    ("query", "batch", "message"),
    [
        (QUERY, 4, ((("batch 4 .* does not follow: the online store has its batches up to batch 2. The "  # noqa: UP034
            "store has lost its last commits")))),
        (QUERY, 1, "batch 1 .* comes again, .* up to batch 2: the checkpoint is an older copy"),
        (OTHER, 0, (((f"batch 0 is of the Spark query {OTHER}, and the online store has .* of the query "  # noqa: UP034
            f"{QUERY} up to batch 2: .* another checkpoint")))),
        (OTHER, 3, ((("runs from another checkpoint. Start it with the checkpointLocation of the other one. "  # noqa: UP034
            "To go on with this checkpoint")))),
        (OTHER, 2, "another checkpoint"),
    ],
)  # fmt: skip
def test_a_batch_that_does_not_follow_is_refused(lmdb, query, batch, message):
    for number in range(3):
        commit(lmdb, number, Frame(rows(number * 10, 10)))
    with pytest.raises(DataError, match=message):
        commit(lmdb, batch, Frame(rows(500, 10), query))
    check(lmdb, VIEW, rows(0, 30))
    with closing(committer(lmdb, accept_loss=True)) as commits:
        commits(Frame(rows(500, 10), query), batch)
        commits(Frame(rows(510, 10), query), batch + 1)
        with pytest.raises(DataError, match=r"does not follow|another checkpoint"):
            commits(Frame(rows(520, 10), query), batch + 4)
    check(lmdb, VIEW, pl.concat([rows(0, 30), rows(500, 20)]))
    assert hw.status(SHOP, store=lmdb).views[0].state == "incomplete"


def test_a_checkpoint_that_is_older_than_the_store(lmdb):
    with pytest.raises(
        DataError,
        match=r"batch 7 .* is the first one that comes, .* Start the query with a new checkpointLocation",
    ):
        commit(lmdb, 7, Frame(rows(0, 10)))
    commit(lmdb, 7, Frame(rows(0, 10)), accept_loss=True)
    commit(lmdb, 8, Frame(rows(10, 10)))
    check(lmdb, VIEW, rows(0, 20))


def test_another_process_that_commits_the_same_batch(lmdb, monkeypatch):
    """A driver that was given up for dead still commits: the new one notices, and goes on."""
    with closing(committer(lmdb)) as first:
        first(Frame(rows(0, 10)), 0)
        first.close()
        commit(lmdb, 1, Frame(rows(10, 10)))
        first(Frame(rows(10, 10)), 1)
        first(Frame(rows(20, 10)), 2)
    check(lmdb, VIEW, rows(0, 30))
