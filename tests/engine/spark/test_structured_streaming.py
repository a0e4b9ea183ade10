"""Queries of Structured Streaming that feed the online store, on a real cluster; and how a batch is
read in pieces, also on Sail.
"""

import itertools
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import headwater as hw
import headwater_spark
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.ingestion.sources.spark_batch import BatchPosition, SparkBatch
from tests.engine.spark.conftest import ROOT
from tests.ingestion.batches import POLARS, QUERY, check, project, rows, source, view
from tests.stores.durable_stores import durable_store
from tests.stores.servers import Server
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas")
VIEW = view(source())
SHOP = project(VIEW)
COLUMNS = "id long, user string, n long, real double, word string, at timestamp"


# ---------------------------------------------------------------- a batch in pieces


def test_pieces_of_a_batch_are_the_same_in_any_order(session):
    events = rows(0, 500)
    ordered, other = (
        SparkBatch(session.createDataFrame(frame.to_arrow()).repartition(n), 3, QUERY)
        for n, frame in ((3, events), (2, events.reverse()))
    )
    start, schema = BatchPosition(3, rows=40), dict(POLARS)
    pieces = [list(batch.pieces(start, 100, schema)) for batch in (ordered, other)]
    assert [piece.end for piece in pieces[0]] == [piece.end for piece in pieces[1]]
    for mine, theirs in zip(*pieces, strict=True):
        assert_frame_equal(mine.rows.sort("id"), theirs.rows.sort("id"))
    assert_frame_equal(pl.concat(piece.rows for piece in pieces[0]).sort("id"), events)
    assert len(pieces[0]) == 7
    assert pieces[0][-1].end == BatchPosition(4, rows=540)
    (rest,) = itertools.islice(other.pieces(pieces[0][-2].end, 100, schema), 2)
    assert_frame_equal(rest.rows.sort("id"), pieces[0][-1].rows.sort("id"))
    (whole,) = ordered.pieces(start, 500, schema)
    assert whole.end == BatchPosition(4, rows=540)


# ---------------------------------------------------------------- queries


class Query:
    """A query over files of JSON lines in a folder, one file a batch; it can be started again."""

    def __init__(self, cluster, folder, url):
        self.cluster, self.folder, self.url, self.files = cluster, folder, url, 0
        self.running = None
        (folder / "in").mkdir()

    @property
    def worker(self):
        """The process that commits."""
        return int((self.folder / "worker").read_text())

    def put(self, events):
        """One more file."""
        self.files += 1
        draft = self.folder / "draft"
        events.with_columns(pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")).write_ndjson(draft)
        draft.rename(self.folder / "in" / f"{self.files:04d}.json")

    def start(self, checkpoint="checkpoint", name="payments", **limits):
        from headwater.connectors.spark import open_session

        limits = IngestLimits(**({"batch": 150} | limits))
        commits = headwater_spark.commit_batches(
            SHOP,
            "payments",
            store=self.url,
            data_dir=self.folder / "data",
            allow_unapplied=True,
            limits=limits,
        )
        worker = str(self.folder / "worker")

        def commit(frame, batch):
            with open(worker, "w") as file:  # noqa: PTH123 (it travels by value)
                file.write(str(os.getpid()))
            commits(frame, batch)

        session = open_session(self.cluster.url)
        frame = (
            session.readStream.schema(COLUMNS)
            .option("maxFilesPerTrigger", 1)
            .json(str(self.folder / "in"))
        )
        writer = frame.writeStream.queryName(name).foreachBatch(commit)
        self.running = writer.option("checkpointLocation", str(self.folder / checkpoint)).start()
        return self.running

    def finish(self):
        self.running.processAllAvailable()
        self.running.stop()

    def close(self):
        """Stop the query and the session: pyspark would wait for a stopped server at the end of the
        process.
        """
        from headwater.connectors.spark import open_session

        with suppress(Exception):
            self.running.stop()
        with suppress(Exception):
            open_session(self.cluster.url).stop()

    def fails(self, seconds=120):
        """What the query fails with."""
        until(lambda: not self.running.isActive, "the query fails", seconds=seconds)
        return str(self.running.exception())

    def commits(self):
        with suppress(Exception):
            return sum(
                stream.commits
                for stream in hw.status(SHOP, store=self.url, data_dir=self.folder / "data").streams
            )
        return 0

    def wait_for(self, commits, seconds=120):
        until(
            lambda: self.commits() >= commits,
            f"{commits} commits",
            seconds=seconds,
            said=self.running.exception,
        )


@pytest.fixture(
    params=[
        "redis",
        *(pytest.param(store, marks=pytest.mark.services) for store in ("postgres", "lmdb")),
    ]
)
def query(request, cluster, tmp_path):
    with durable_store(request.param, tmp_path) as url:
        made = Query(cluster, tmp_path, url)
        yield made
        made.close()


@pytest.mark.services
def test_a_query_whose_process_is_killed_is_exact(query):
    """Files of 300 rows with copies are committed in pieces of about 120; the committing process is
    killed at any time.
    """

    def put():
        n = query.files
        bad = rows(0, 1).with_columns(
            pl.lit(10_000 + n, pl.Int64).alias("id"), user=pl.lit(None, pl.String)
        )
        query.put(pl.concat([rows(n * 300, 300), rows(max(n * 300 - 40, 0), 40), bad]))

    for kill in range(2):
        before = query.commits()
        put()
        query.start()
        query.wait_for(before + 1)
        time.sleep(0.05 * (kill % 4))
        os.kill(query.worker, signal.SIGKILL)
        put()  # Spark notices at the next batch, where the last one was done
        query.fails()
    query.start()
    query.finish()
    check(query.url, VIEW, rows(0, query.files * 300))
    (stream,) = hw.status(SHOP, store=query.url, data_dir=query.folder / "data").streams
    assert (stream.archived, stream.counts["accepted"], stream.counts["dead"]) == (
        query.files * 300,
        query.files * 300,
        query.files,
    )
    assert stream.counts["copies"] == query.files * 40


@pytest.mark.services
@pytest.mark.parametrize("query", ["redis"], indirect=True)
def test_a_server_that_is_killed(query):
    """The Connect server dies with its driver; another one goes on from the checkpoint."""
    for number in range(4):
        query.put(rows(number * 300, 300))
    query.start()
    query.wait_for(4)
    query.cluster.kill_server()
    query.cluster.run("stop")
    query.cluster.url = query.cluster.run("start")
    query.start()
    query.finish()
    check(query.url, VIEW, rows(0, 1200))


@pytest.mark.services
@pytest.mark.parametrize("query", ["redis"], indirect=True)
def test_another_checkpoint_and_another_name(query):
    query.put(rows(0, 100))
    query.start()
    query.finish()
    query.start(checkpoint="another")
    assert (
        "this query runs from another checkpoint. Start it with the checkpointLocation of the "
        "other one"
    ) in query.fails()
    query.put(rows(100, 100))
    query.start(name="unnamed")
    assert (
        "no query of this Spark session has the name 'payments', which "
        "headwater_spark.spark_stream() gives"
    ) in query.fails()
    query.start()
    query.finish()
    check(query.url, VIEW, rows(0, 200))


@pytest.mark.services
def test_a_store_that_is_down(cluster, tmp_path):
    """The query fails with the error of the store, and goes on from its checkpoint once the store
    is back.
    """
    server = Server(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always")
    query = Query(cluster, tmp_path, server.url)
    try:
        query.put(rows(0, 300))
        query.start()
        query.wait_for(3)
        query.running.processAllAvailable()
        server.kill()
        query.put(rows(300, 300))
        assert "does not answer" in query.fails()
        server.start()
        query.start()
        query.finish()
        check(query.url, VIEW, rows(0, 600))
    finally:
        query.close()
        server.close()


CLASSIC = """
import sys
from pathlib import Path
import headwater as hw
import headwater_spark
from pyspark.sql import SparkSession
from tests.engine.spark.test_structured_streaming import COLUMNS, SHOP
folder, url = Path(sys.argv[1]), sys.argv[2]
session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", False).getOrCreate()
frame = session.readStream.schema(COLUMNS).option("maxFilesPerTrigger", 1).json(str(folder / "in"))
commits = headwater_spark.commit_batches(SHOP, "payments", store=url, data_dir=folder / "data", allow_unapplied=True)
query = frame.writeStream.foreachBatch(commits).option("checkpointLocation", str(folder / "checkpoint")).trigger(availableNow=True).start()
query.awaitTermination()
"""


@pytest.mark.services
@pytest.mark.parametrize("query", ["lmdb"], indirect=True)
def test_a_classic_session(query):
    """Spark in the process itself, which commits too; it is started again."""
    home = next((ROOT / "build" / "spark").glob("*/lib/python3*/site-packages"))
    # of Spark Connect
    others = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    environment = {**others, "PYTHONPATH": f"{home}:{ROOT}", "SPARK_LOCAL_IP": "127.0.0.1"}
    for number in range(2):
        query.put(rows(number * 300, 300))
        command = [sys.executable, "-c", CLASSIC, str(query.folder), query.url]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == 0, done.stderr[-3000:]
    check(query.url, VIEW, rows(0, 600))
