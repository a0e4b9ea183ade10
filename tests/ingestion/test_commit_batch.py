"""Micro batches of Spark are committed as every other stream: each once, in any number and order of
repeats.
"""

import pickle
from contextlib import closing
from datetime import timedelta

import polars as pl
import pytest

import headwater as hw
import headwater_spark
from headwater.definitions.spark_stream import SparkStream
from headwater.errors import DataError, DefinitionError, StoreError, UsageError
from headwater.ingestion import commit_batch
from headwater.ingestion.ingest import ingest
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.stores import keyspace
from headwater.stores.lmdb import LmdbStore
from tests.ingestion.batches import NOW, QUERY, Frame, check, online, project, rows, source, view
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


@pytest.mark.smoke
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
                    Frame(rows(batch * 90, 120).sample(fraction=1, shuffle=True)),
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


def test_pieces_are_bounded_and_a_small_batch_is_read_once(lmdb, monkeypatch):
    sizes = []
    real = commit_batch._records
    monkeypatch.setattr(
        commit_batch,
        "_records",
        lambda piece, *more: [sizes.append(piece.rows.height), real(piece, *more)][1],
    )
    commit(lmdb, 0, Frame(rows(0, 50)), batch=50)
    assert sizes == [50]
    commit(lmdb, 1, Frame(rows(50, 1000)), batch=100)
    assert len(sizes) == 14
    assert max(sizes) < 130
    assert sum(sizes) == 1050


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


def test_columns_are_those_of_the_stream(lmdb):
    narrow = rows(0, 20).with_columns(
        pl.col("id").cast(pl.Int32), pl.col("real").cast(pl.Float32), other=pl.lit(1)
    )
    commit(lmdb, 0, Frame(narrow))
    check(lmdb, VIEW, rows(0, 20))
    with pytest.raises(
        DataError, match="has no column 'real', which the stream has; did you mean 'reel'"
    ):
        commit(lmdb, 1, Frame(rows(0, 1).rename({"real": "reel"})))
    with pytest.raises(
        DataError, match="column 'n' is String, and the stream has Int64; cast it in the query"
    ):
        commit(lmdb, 1, Frame(rows(0, 1).with_columns(n=pl.lit("1"))))
    with pytest.raises(
        DataError, match=r"column 'at' is Datetime\(time_unit='us', time_zone=None\)"
    ):
        commit(lmdb, 1, Frame(rows(0, 1).with_columns(pl.col("at").dt.replace_time_zone(None))))


def test_refused_rows_are_replayed(lmdb):
    commit(
        lmdb,
        0,
        Frame(rows(0, 10).with_columns(at=pl.lit(NOW + timedelta(hours=2)))),
        max_future_skew="1h",
    )
    commit(lmdb, 1, Frame(rows(10, 10)))
    assert sources(lmdb)[0].counts["dead"] == 10
    done = hw.operations.replay_dead_letters(SHOP, "payments", store=lmdb)
    assert dict(done.outcomes)["held"] == 10


def test_the_store_is_filled_with_the_history_before_the_first_batch(lmdb):
    of = view(source(history=rows(0, 200)))
    shop = project(of)
    with closing(committer(lmdb, shop)) as commits:
        commits(Frame(rows(150, 100)), 0)
    check(lmdb, of, rows(0, 250))


def test_it_travels_to_another_process(lmdb, monkeypatch):
    with closing(committer(lmdb)) as commits:
        commits(Frame(rows(0, 10)), 0)
        commits.close()
        with closing(pickle.loads(pickle.dumps(commits))) as arrived:
            arrived(Frame(rows(10, 10)), 1)
        sent = pickle.dumps(commits)
    check(lmdb, VIEW, rows(0, 20))
    monkeypatch.setattr(
        "headwater.engine.spark.worker_tasks.versions", lambda: ["headwater 9.9", "polars 1"]
    )
    with pytest.raises(
        UsageError,
        match=r"the Spark workers have headwater 9\.9 and polars 1, and this process headwater",
    ):
        pickle.loads(sent)


def test_a_folder_that_the_driver_does_not_have(tmp_path, lmdb):
    commits = committer(lmdb)
    (tmp_path / "online").rename(tmp_path / "elsewhere")
    with pytest.raises(
        UsageError,
        match=r"the machine of Spark's driver, where batches are committed, has none there. Give a store with a server",
    ):
        commits(Frame(rows(0, 1)), 0)


def test_what_cannot_be_committed_is_said_before_the_query_starts(lmdb):
    pushed = project(view(source(stream=hw.push(schema=source().stream.schema))))
    batch = view(source(history=rows(0, 1)), freshness=hw.batch("1h"))
    for shop, name, message in [
        (SHOP, "payment", "project 'shop' has no source 'payment'; did you mean 'payments'"),
        (
            pushed,
            "payments",
            r"the stream of source 'payments' is events pushed over HTTP; give it stream=headwater_spark.spark_stream\(query\)",
        ),
        (project(batch), "payments", "source 'payments' has no streaming view"),
    ]:
        with pytest.raises(UsageError, match=message):
            headwater_spark.commit_batches(shop, name, store=lmdb, allow_unapplied=True)
    with (
        closing(hw.operations.open_store(lmdb)) as store,
        pytest.raises(UsageError, match="give its URL"),
    ):
        headwater_spark.commit_batches(SHOP, "payments", store=store, allow_unapplied=True)
    for name in ("", 7, "a\nb"):
        with pytest.raises(DefinitionError, match=r"spark_stream\(\): query is"):
            headwater_spark.spark_stream(name)
    assert str(SparkStream("payments")) == "the Spark query 'payments'"


def test_ingest_leaves_the_source_out(lmdb):
    with (
        closing(hw.operations.open_store(lmdb)) as store,
        pytest.raises(UsageError, match=r"every stream .* is a query of Spark"),
    ):
        ingest(SHOP, store, data_dir=None, once=True)


def test_another_name_of_the_query_begins_a_new_stream(lmdb):
    commit(lmdb, 0, Frame(rows(0, 10)))
    renamed = view(
        source(stream=headwater_spark.spark_stream("payments-2", schema=source().stream.schema))
    )
    with closing(committer(lmdb, project(renamed))) as commits:
        commits(Frame(rows(100, 10), OTHER), 0)
    assert online(lmdb, renamed)["user__count_7d"].sum() == 10
