"""Corrections and deletions that come by another partition than their event, after splits, merges and growths.

The law: what is online is what the naive reference says of all that was sent, after random changes, splits, restarts and crashes; in stores
that are log first also crashes between the steps of a commit, and of the beginning of the common log.
"""

import contextlib
import json
import tempfile
import threading
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import FencedError
from headwater.ingestion import closed_partitions
from headwater.ingestion.bootstrap import _unmoved
from headwater.ingestion.partition_writer import PartitionWriter
from headwater.ingestion.source_ingestor import IngestLimits, SourceIngestor
from headwater.ingestion.sources.stream_reader import RecordBatch, between, offset_at
from headwater.monitoring.parity import check_view
from headwater.online.view_reader import OnlineView
from headwater.state.view_state import progresses, read_progress
from headwater.testing.cases import aggregations
from tests.effort import LONG
from tests.ingestion.shared_world import NUMBERS, World, stated, sums, view_of, with_prefix, world_of, worlds  # noqa: F401 (a fixture)
from tests.ingestion.test_corrections_law import SECOND, START, TIMES, iso, moment
from tests.online_stores.durable_stores import durable_store
from tests.online_stores.emulators import DYNAMODB
from tests.online_stores.steps import Dead, Steps

EVERY = aggregations()


class Crash(Exception):  # noqa: N818
    """A process ends here."""


@pytest.fixture(params=["redis", "postgres", "cluster", *(pytest.param(kind, marks=pytest.mark.long) for kind in DYNAMODB)], scope="module")
def url(request, tmp_path_factory):
    with durable_store(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


def crash(world):
    """Have the next commits of images be made or not, or up to some step, and the process end then."""
    commit, chance = world.store.store.commit, world.chance
    if not world.store.capabilities.atomic:
        Steps(world.store.store, chance.randrange(9))
        return

    def committing(changes, expect):
        if chance.random() < 0.5:
            commit(changes, expect)
        raise Crash

    world.store.store.commit = committing


@pytest.mark.slow
@pytest.mark.parametrize("topic", [False, True], ids=["shards", "a topic"])
@pytest.mark.parametrize("seed", range(60 if LONG else 4))
def test_online_equals_offline(url, seed, topic):
    features = Random(seed).sample(EVERY, 3)
    with tempfile.TemporaryDirectory() as folder:
        world = World(with_prefix(url, f"l{seed}{'t' if topic else 's'}"), Path(folder), features, seed, topic=topic)
        for _ in range(12):
            world.now += round(world.chance.choice([0.001, 0.5, 1, 5, 20]) * SECOND)
            what = world.chance.random()
            if what < 0.2 and world.made < 8:
                world.grow()
            elif what < 0.3:
                world.ingestor.roll(least=1)
                world.restart()
            elif what < 0.4:
                shard = world.chance.choice(world.open_shards)
                rows = [world.image(world.ident(shard), START)]
                records, before = world.records(shard, rows), world.ingestor.writer(shard).progress.sequence
                crash(world)
                with contextlib.suppress(Crash, Dead):
                    world.ingestor.commit([(records, dict(world.ingestor.turns))], world.now)
                world.restart()
                if world.ingestor.writer(shard).progress.sequence != before:
                    world.sent += rows
            else:
                world.step()
            world.ask()
        world.ingestor.roll(least=1)
        assert check_view(world.view, world.store, world.folder, at=world.now).mismatches == []


def test_a_correction_and_a_deletion_come_by_another_partition(url, tmp_path):
    world = world_of(url, tmp_path, "planted")
    world.commit("0", [stated(world, 0, 3), stated(world, 1, 4)])
    world.grow()
    world.now += 1
    world.commit("2", [stated(world, 0, 5, key=2)])
    assert sums(world) == [4, 5]
    world.restart()
    world.commit("0", [stated(world, 0, 4)])  # older than what came by the other one
    assert sums(world) == [4, 5]
    world.commit("1", [stated(world, 1, 9, before=True)])
    assert sums(world) == [0, 5]
    world.commit("0", [stated(world, 0, 11)])  # it comes back
    assert sums(world) == [11, 0]
    assert check_view(world.view, world.store, tmp_path, at=world.now + SECOND).mismatches == []


def test_writers_that_commit_at_once_lose_no_change(url, tmp_path):
    world = world_of(url, tmp_path, "threads")
    world.commit("0", [stated(world, ident, 1) for ident in range(8)])
    world.grow()
    ingestors = [
        SourceIngestor(world.view.source, [world.view], world.store, tmp_path, IngestLimits(), replayed_from=START) for _ in range(3)
    ]
    for number, ingestor in enumerate(ingestors):
        ingestor.writer(str(number))
    versions, lock, failures = dict.fromkeys(range(8), 1), threading.Lock(), []

    def write(number):
        chance, ingestor, shard = Random(number), ingestors[number], str(number)
        try:
            offset = 0 if (stored := ingestor.writer(shard).positions.get(shard)) is None else offset_at(stored)
            for _ in range(12):
                rows = []
                for ident in chance.sample(range(8), 3):
                    with lock:
                        versions[ident] += 1
                        rows.append(stated(world, ident, versions[ident]))
                payloads = [json.dumps({k: iso(v) if k in TIMES and v is not None else v for k, v in row.items()}).encode() for row in rows]
                n, offset = len(rows), offset + len(rows)
                position = {shard: between(offset - n, offset)}
                records = RecordBatch(
                    [shard], np.zeros(n, np.int64), np.arange(offset - n, offset), np.full(n, world.now), position, payloads
                )
                ingestor.commit([(records, dict(ingestor.turns))], world.now)
        except Exception as error:  # noqa: BLE001 (asserted below)
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sums(world, [1]) == [sum(versions.values())]
    assert check_view(world.view, world.store, tmp_path, at=world.now + SECOND).mismatches == []


def test_a_view_that_is_new_after_a_growth_is_incomplete_until_its_windows_have_passed(url, tmp_path):
    world = world_of(url, tmp_path, "late")
    world.commit("0", [stated(world, 0, 3), stated(world, 1, 4)])
    world.grow()
    world.commit("2", [stated(world, 0, 5)])
    features = [hw.count(windows=["1m"]), hw.sum("whole", windows=["1m"])]
    world.view = view_of(features, hw.streaming("2s"), stream=world.view.source.stream)
    world.restart()
    world.now += 1
    world.commit("1", [stated(world, 1, 9)])
    assert OnlineView(world.view, world.store).read(pl.DataFrame({"key": [1]}), world.now + 1).read_version.incomplete
    world.now += 70 * SECOND
    world.commit("2", [stated(world, 2, 20, at=world.now - SECOND), stated(world, 0, 6, at=world.now - SECOND)])
    world.commit("0", [stated(world, 0, 7, at=world.now - SECOND)])
    served = OnlineView(world.view, world.store).read(pl.DataFrame({"key": [1]}), world.now + SECOND)
    assert not served.read_version.incomplete
    assert sums(world, [1]) == [27]


def test_an_erased_key_stays_erased_after_a_growth(url, tmp_path):
    world = world_of(url, tmp_path, "erased")
    world.commit("0", [stated(world, 0, 3), stated(world, 1, 4), stated(world, 2, 6, key=2)])
    world.grow()
    world.commit("2", [stated(world, 0, 5)])
    world.ingestor.roll(least=1)
    labels = hw.Labels(
        "l", table=pl.DataFrame({"key": [1], "at": [moment(START)], "y": [1]}), timestamp_field="at", label="y", known_after="1h"
    )
    project = hw.Project("p", [hw.Model("m", task="binary", features=hw.FeatureService("s", [world.view]), labels=labels)])
    hw.operations.erase(project, {"key": 1}, store=world.store, data_dir=tmp_path, wait=0)
    assert sums(world) == [0, 6]
    assert check_view(world.view, world.store, tmp_path, at=world.now + SECOND).mismatches == []
    world.restart()
    world.commit("1", [stated(world, 2, 8, key=2)])
    assert sums(world) == [0, 8]


def test_a_process_that_lacks_a_view_leaves_it_incomplete_in_the_part_that_it_takes_an_event_from(url, tmp_path):
    """A view that it does not know still counts the event: no reader takes it for whole."""
    world = world_of(url, tmp_path, "lacks")
    mine = world.view
    stream = mine.source.stream
    theirs = view_of([hw.max("whole", windows=["1m"])], hw.streaming("2s"), stream=stream)
    both = SourceIngestor(mine.source, [mine, theirs], world.store, tmp_path, IngestLimits(), replayed_from=START)
    for shard in "01":
        both.writer(shard)
    world.ingestor = both
    world.commit("0", [stated(world, 0, 3), stated(world, 1, 4)])
    world.grow()
    assert not OnlineView(theirs, world.store).read(pl.DataFrame({"key": [1]}), world.now + SECOND).read_version.incomplete
    world.ingestor = SourceIngestor(mine.source, [mine], world.store, tmp_path, IngestLimits(), replayed_from=START)
    before = read_progress(world.store.get([world.ingestor.writer("1").place.replace(b"1", b"0")])[0]).views
    world.commit("1", [stated(world, 0, 5)])
    assert sums(world, [1]) == [9]
    after = read_progress(world.store.get([world.ingestor.writer("1").place.replace(b"1", b"0")])[0]).views
    assert before.keys() - after.keys() == {theirs.tiles_fingerprint}


def test_a_closed_shard_with_images_is_not_folded(url, tmp_path, monkeypatch):
    monkeypatch.setattr(closed_partitions, "_LOOK", 0.0)
    world = World(with_prefix(url, "unfolded"), tmp_path, NUMBERS, 1)
    world.commit("0", [stated(world, 0, 3)])
    world.open_shards = ["0"]
    world.grow()
    world.ingestor.forget(["0"])
    world.now += 3 * 86_400 * SECOND
    for _ in range(3):
        world.now += SECOND
        world.ingestor.commit([], world.now)
    assert progresses(world.store, "s")[b"0"].heir is None
    world.commit(world.open_shards[0], [stated(world, 0, 7, at=world.now - SECOND)])
    assert sums(world, [1]) == [7]


def test_a_partition_that_was_silent_before_the_growth_is_known_before_events_move_into_it(url, tmp_path, monkeypatch):
    world, known = world_of(url, tmp_path, "silent"), []
    world.commit("0", [stated(world, 0, 3)])
    world.grow()

    def known_by_now(writer):
        known.append((writer.partition, writer.partition.encode() in progresses(world.store, "s"), sums(world, [1])))

    monkeypatch.setattr(PartitionWriter, "wait_for_readers", known_by_now)
    world.commit("1", [stated(world, 0, 5)])
    assert known[-1] == ("1", True, [3])
    before = len(known)
    world.commit("1", [stated(world, 0, 6)])
    assert len(known) == before
    assert sums(world, [1]) == [6]


def test_partitions_that_begin_to_share_while_a_view_is_filled_fence_the_fill(url, tmp_path):
    world = world_of(url, tmp_path, "filling")
    world.commit("0", [stated(world, 0, 3)])
    world.view = view_of([hw.count(windows=["1m"]), hw.max("whole", windows=["1m"])], hw.streaming("2s"), stream=world.view.source.stream)
    writer = PartitionWriter(world.ingestor.acceptance, world.store, "0")
    before = _unmoved(writer)
    world.group.counted(3)
    with pytest.raises(FencedError):
        world.store.commit({b"zz": b""}, before)


def test_a_deletion_outlasts_an_event_of_the_future_that_another_partition_holds(url, tmp_path):
    """The windows are shorter than the time that the event is held, and the deletion gives its id alone."""
    world = world_of(url, tmp_path, "held", [hw.count(windows=["1s"]), hw.sum("whole", windows=["1s"])])
    world.commit("0", [stated(world, 0, 3, at=START + 9 * SECOND)])
    world.grow()
    world.commit("2", [stated(world, 0, 4, before=True, at=None, key=None)])
    for _ in range(3):
        world.now += 2 * SECOND
        world.commit("2", [stated(world, 1, world.now - START, at=world.now - 1)])  # what no window reaches any more is dropped
    world.now = START + 9 * SECOND + 1000
    world.ingestor.commit([], world.now)
    served = OnlineView(world.view, world.store).read(pl.DataFrame({"key": [1]}), world.now + 1000)
    assert served.features[0].to_list() == [0]


@pytest.mark.parametrize("together", [False, True], ids=["in commits of their own", "in one commit"])
def test_a_deletion_outlasts_an_event_of_the_future_that_its_own_partition_holds(url, tmp_path, together):
    """As above, without another partition."""
    world = world_of(url, tmp_path, f"own{together}", [hw.count(windows=["1s"]), hw.sum("whole", windows=["1s"])])
    event, deletion = stated(world, 0, 3, at=START + 9 * SECOND), stated(world, 0, 4, before=True, at=None, key=None)
    for rows in [[event, deletion]] if together else [[event], [deletion]]:
        world.commit("0", rows)
    for _ in range(3):
        world.now += 2 * SECOND
        world.commit("0", [stated(world, 1, world.now - START, at=world.now - 1)])
    world.now = START + 9 * SECOND + 1000
    world.ingestor.commit([], world.now)
    served = OnlineView(world.view, world.store).read(pl.DataFrame({"key": [1]}), world.now + 1000)
    assert served.features[0].to_list() == [0]
