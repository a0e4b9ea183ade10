"""A store that has lost its last commits is refused until `store rewind` has made archive and store
fit again.
"""

import threading
from contextlib import closing
from datetime import datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import LostError
from headwater.ingestion.archive import Roller
from headwater.ingestion.clock_check import ClockCheck
from headwater.ingestion.ingest import SourceReader, commit_all
from headwater.ingestion.rewind import rewind
from headwater.ingestion.source_ingestor import IngestLimits, SourceIngestor
from headwater.ingestion.sources.http_inbox import PARTITION, Inbox
from headwater.monitoring.parity import check_view
from headwater.online.view_reader import OnlineView
from headwater.stores import keyspace
from tests.connectors.conftest import s3  # noqa: F401 (a fixture)
from tests.flow import Flow, clock, home, micros, project_of, streaming_view  # noqa: F401 (fixtures)
from tests.ingestion.test_archive_objects import bucket  # noqa: F401 (a fixture)

WITH_ID = {"key": int, "amount": float, "at": datetime, "id": str}
SUMS = [hw.sum("amount"), hw.last_n("amount", k=3)]


def events(numbers, **_):
    """Of 5 keys, event n at second n."""
    return [{"key": n % 5, "at": n, "amount": 2.0**n, "id": f"e{n}"} for n in numbers]


def values(view, store, second):
    served = OnlineView(view, store).read(pl.DataFrame({"key": range(6)}), micros(second))
    return [s.to_list() for s in served.features], [s.to_list() for s in served.statuses]


def view_of(*, pushed, ids=False):
    stream = (
        hw.push(schema=WITH_ID, at_least_once=True)
        if pushed
        else hw.appended("nowhere", schema=WITH_ID)
    )
    return streaming_view(
        SUMS, source={"stream": stream, **({"id_field": "id", "id_horizon": "1h"} if ids else {})}
    )


def sent(view, folder, *, commits, rolled, kept):
    """Commits of ten events each; the archive has files up to some of them. A copy of the store
    holds fewer: its URL, and all values.
    """
    with closing(hw.operations.open_store(f"lmdb:{folder}/online?size=1GB")) as store:
        flow = flow_of(view, store, folder)
        for n in range(commits):
            flow.send(
                events(range(10 * n, 10 * n + 10), ids=True), 10 * n + 10, partition=PARTITION
            )
            if n + 1 == kept:
                store.backup(folder / "behind")
            if n + 1 in rolled:
                flow.ingestor.roll(least=1)
        return f"lmdb:{folder}/behind?size=1GB", values(view, store, 60)


def flow_of(view, store, folder):
    flow = Flow([view], store, folder)
    flow.ingestor.inbox = (
        Inbox(view.source) if view.source.stream == view_of(pushed=True).source.stream else None
    )
    flow.offset = flow.ingestor.writer(PARTITION).progress.counts.get("records", 0)
    return flow


def test_senders_are_told_that_commits_were_lost(tmp_path, clock):
    """Not to send the same again now, as when ingestion is stopped."""
    view = view_of(pushed=True)
    url, _ = sent(view, tmp_path, commits=4, rolled=[4], kept=2)
    with closing(hw.operations.open_store(url)) as store:
        ingestor = SourceIngestor(
            view.source, [view], store, tmp_path, IngestLimits(), filled=False
        )
        ingestor.inbox = Inbox(view.source)
        waiting = ingestor.inbox.put([b"{}"], None)
        reader = SourceReader(ingestor, threading.Event())
        reader.start()
        with pytest.raises(LostError, match="senders were told that commit 4 is made"):
            commit_all([reader], ClockCheck(10**15, lambda: None), reader.stop, None)
        told = (
            "these events were not committed, and earlier ones may be lost: .*store rewind.*Send "
            "them again once"
        )
        with pytest.raises(LostError, match=told):
            waiting.result(10)
        with pytest.raises(LostError, match=told):
            ingestor.inbox.put([b"{}"], None)
        reader.thread.join(10)


@pytest.mark.parametrize("pushed", [False, True])
def test_an_archive_on_an_object_store(pushed, tmp_path, clock, bucket):
    """Dead letters and filtered rows are cut as the archive is."""
    view = view_of(pushed=pushed)
    url, expected = sent(view, tmp_path, commits=4, rolled=[1, 4], kept=2)
    clock(50)
    with closing(hw.operations.open_store(url)) as store:
        with pytest.raises(LostError, match="store rewind"):
            flow_of(view, store, tmp_path)
        (found,) = rewind(project_of(view), store=store, data_dir=tmp_path).sources
        assert (found.read_again, found.committed_again, found.lost) == (
            (0, 20, 0) if pushed else (20, 0, 0)
        )
        assert not rewind(project_of(view), store=store, data_dir=tmp_path)
        flow = flow_of(view, store, tmp_path)
        if not pushed:
            flow.send(events(range(20, 40), ids=True), 45, partition=PARTITION)
        flow.send([{"key": "none", "at": 50, "amount": 1.0, "id": "none"}], 51, partition=PARTITION)
        flow.ingestor.roll(least=1)
        assert values(view, store, 60) == expected
        rows = Roller(store, keyspace.ARCHIVE, tmp_path / "archive", "events").rows().collect()
        assert sorted(rows["amount"]) == [2.0**n for n in range(40)]
        assert check_view(view, store, tmp_path, at=micros(60)).mismatches == []
    assert not [*tmp_path.rglob("*.parquet")]
