"""A stream waits for a repair that was slower than its commits, and for no longer than that."""

import threading
from contextlib import closing

import pytest

import headwater as hw
import headwater.clock
from headwater.errors import FencedError
from headwater.ingestion import commit
from headwater.ingestion.validate import Acceptance
from headwater.testing import clock, faults
from tests.laws import shop


@pytest.fixture
def writers(tmp_path):
    """Two writers of one stream, which has been committed."""
    place = shop.Place(tmp_path, f"lmdb:{tmp_path}/store?size=64MB")
    shop.append(place, shop.visits(0, 4, since=place.since))
    made, (view, *_) = shop.shop(place)
    shop.ingest(faults.Watch(), place, made)
    with closing(hw.operations.open_store(place.url)) as store:
        yield [commit.PartitionWriter(Acceptance(view.source, (view,), 0), store) for _ in range(2)]


@pytest.fixture
def now():
    """A clock that stands still."""
    with clock.at(headwater.clock.now()) as standing:
        yield standing


def fenced(times, writer):
    """A step of a repair that another writer is faster than so many times; it tells what the
    progress says when it is done.
    """
    left = iter(range(times))

    def step():
        if next(left, None) is not None:
            raise FencedError("committed meanwhile")
        return writer.progress.paused

    return step


def test_a_step_that_was_fenced_is_done_while_the_stream_waits(writers, now):
    repair, stream = writers
    assert repair.repair(fenced(0, repair)) == 0
    assert 1e6 <= repair.repair(fenced(3, repair)) - now.wall() <= 60e6
    stream.load()
    assert stream.progress.paused == 0  # it may go on at once
    with pytest.raises(FencedError, match="stop `headwater ingest`"):
        repair.repair(fenced(100, repair))


def test_a_stream_goes_on_when_the_repair_is_done(writers, now):
    repair, stream = writers
    repair._pause(30.0)
    stream.load()
    waiting = threading.Thread(target=stream.wait_for_repair)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    repair._pause(0.0)
    waiting.join(60)
    assert not waiting.is_alive()
    assert stream.progress == repair.progress


def test_a_clock_that_is_ahead_does_not_pause_a_stream_for_longer(writers):
    repair, stream = writers
    with clock.at(headwater.clock.now(), skips=True) as now:
        repair._pause(3600.0)
        stream.load()
        stream.wait_for_repair()
        assert 55 < now.moved() < 61


def test_a_stream_that_is_stopped_waits_for_nothing(writers):
    repair, stream = writers
    with clock.at(headwater.clock.now(), skips=True) as now:
        repair._pause(30.0)
        stream.load()
        stream.abandoned.set()
        with pytest.raises(FencedError):
            stream.wait_for_repair()
        assert now.moved() < 1
