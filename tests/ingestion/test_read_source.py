"""How long a reader gathers records while earlier ones are committed."""

import threading
import time
from types import SimpleNamespace

import pytest

from headwater import clock
from headwater.ingestion import ingest
from headwater.ingestion.ingest import CommitQueue, PolledBatch, SourceReader
from headwater.ingestion.source_ingestor import IngestLimits

LONG = 30.0  # seconds that no test waits


@pytest.fixture
def reader(monkeypatch):
    monkeypatch.setattr(ingest, "_GATHER", LONG)
    monkeypatch.setattr(ingest, "_PERIOD", 0.0)
    return SourceReader(SimpleNamespace(limits=IngestLimits()), threading.Event())


def seconds(work, *, meanwhile=lambda: None):
    """How long some work takes; something else is done 0.2 seconds after its start."""
    other = threading.Timer(0.2, meanwhile)
    other.start()
    begin = time.monotonic()
    work()
    other.join()
    return time.monotonic() - begin


def gathered(reader, reading=0.0, *, meanwhile=lambda: None):
    return seconds(lambda: reader._gather(reading), meanwhile=meanwhile)


def test_nothing_is_gathered_while_nothing_is_committed(reader):
    reader.commit_seconds = LONG
    assert gathered(reader) < LONG / 2


def test_a_commit_that_ends_ends_the_gathering(reader):
    reader.work.put(PolledBatch(0))
    taken = [reader.work.get()]
    reader.began, reader.commit_seconds = clock.stopwatch(), 2 * LONG
    assert 0.19 < gathered(reader, meanwhile=lambda: reader.work.done(taken)) < LONG / 2


def test_it_ends_before_the_commit_by_the_time_that_decoding_takes(reader):
    reader.work.put(PolledBatch(0))
    reader.work.get()
    reader.began, reader.commit_seconds = clock.stopwatch(), LONG
    assert gathered(reader, LONG - 0.4) < LONG / 2


def test_records_that_wait_for_their_commit_are_joined_by_others(reader, monkeypatch):
    reader.work.put(PolledBatch(0))
    assert 0.19 < gathered(reader, meanwhile=reader.work.get) < LONG / 2
    monkeypatch.setattr(ingest, "_GATHER", 0.3)
    reader.work.put(PolledBatch(0))
    assert 0.25 < gathered(reader) < LONG  # and not for ever


def test_commits_do_not_begin_one_right_after_the_other(reader, monkeypatch):
    monkeypatch.setattr(ingest, "_PERIOD", 0.3)
    reader.began = clock.stopwatch()
    assert 0.25 < gathered(reader) < LONG / 2


def test_what_is_drained_is_not_waited_for():
    queue = CommitQueue(10)
    for _ in range(3):
        queue.put(PolledBatch(0))
    taken = queue.get()
    assert len(queue.drain()) == 2
    assert (
        0.19
        < seconds(lambda: queue.wait_until_done(LONG), meanwhile=lambda: queue.done([taken]))
        < LONG / 2
    )
