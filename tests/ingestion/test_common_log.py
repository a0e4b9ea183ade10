"""Stores that are log first: partitions that share their events commit by one log of their source. It begins, and goes on, at any step of a
crash, beside processes that are late, and in one order with what came before.
"""

import contextlib
import dataclasses
import itertools
import threading

import msgspec
import polars as pl
import pytest

import headwater as hw
from headwater.errors import FencedError, LostError
from headwater.ingestion.source_ingestor import IngestLimits, SourceIngestor
from headwater.ingestion.sources.stream_reader import offset_at
from headwater.monitoring.parity import check_view
from headwater.online.view_reader import OnlineView
from headwater.online_stores import keyspace
from headwater.online_stores.backup import restore
from headwater.online_stores.ownership import scoped
from tests.effort import LONG
from tests.ingestion.shared_world import World, stated, sums, view_of, with_prefix, world_of, worlds  # noqa: F401 (a fixture)
from tests.ingestion.test_corrections_law import SECOND, START
from tests.online_stores.durable_stores import durable_store
from tests.online_stores.emulators import DYNAMODB
from tests.online_stores.steps import Dead, Steps, roll_back

pytestmark = pytest.mark.slow


@pytest.fixture(params=["cluster", *(pytest.param(kind, marks=pytest.mark.long) for kind in DYNAMODB)], scope="module")
def url(request, tmp_path_factory):
    with durable_store(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


class Process:
    """Another process that reads some partitions of a world's topic."""

    def __init__(self, world, *shards, folder=None, views=()):
        self.world = world
        self.store = scoped(hw.operations.open_store(world.url), "p", write=True)
        World.opened.append(self.store)
        self.ingestor = SourceIngestor(
            world.view.source,
            [world.view, *views],
            self.store,
            folder or world.folder,
            IngestLimits(max_future_skew="10s"),
            replayed_from=START,
        )
        for shard in shards:
            self.ingestor.writer(shard)

    @property
    def log_first(self):
        return self.store.store

    def commit(self, shard, rows):
        mine, self.world.ingestor = self.world.ingestor, self.ingestor
        try:
            self.world.commit(shard, rows)
        finally:
            self.world.ingestor = mine

    def commit_or_read_on(self, shard, rows):
        """As ingestion does: where others were first, it reads on from what the store holds."""
        try:
            self.commit(shard, rows)
        except FencedError:
            self.ingestor.forget([shard])
            self.commit(shard, rows)


def is_exact(world, expected, keys=(1, 2)):
    assert sums(world, keys) == expected
    assert check_view(world.view, world.store, world.folder, at=world.now + SECOND).mismatches == []


@pytest.mark.parametrize("part", range(4))
def test_killed_between_every_two_steps(url, tmp_path, part):
    """Of the last commits before the growth, and of those that begin the common log; and once more while the next process goes on."""
    died = True
    for die_at in itertools.count(part if LONG else 7 * part, 4 if LONG else 28):
        if not died:
            break
        world = world_of(url, tmp_path / str(die_at), f"k{part}x{die_at}")
        world.commit("0", [stated(world, 0, 3), stated(world, 1, 4)])
        batches = [("0", 0, 5, 1), ("1", 3, 8, 2), ("2", 0, 6, 2), ("1", 1, 7, 1), ("2", 0, 9, 1)]
        sent = {"0": 1 + 1}
        ends = []
        for shard, *_ in batches:
            sent[shard] = sent.get(shard, 0) + 1
            ends.append(sent[shard])
        died, attempts = False, 0
        while True:
            Steps(world.store.store, (die_at, die_at % 9)[attempts] if attempts < 2 else None)
            try:
                for n, ((shard, ident, version, key), end) in enumerate(zip(batches, ends, strict=True)):
                    if n >= 2 and world.made == 2:
                        world.grow()
                    world.now += 1
                    stored = world.ingestor.writer(shard).positions.get(shard)
                    if stored is None or offset_at(stored) < end:
                        world.commit(shard, [stated(world, ident, version, key=key)])
            except Dead:
                died, attempts = True, attempts + 1
                world.restart()
            else:
                break
        is_exact(world, [16, 8])


def test_the_last_commit_of_a_partitions_own_log_is_finished_first(url, tmp_path):
    """Its process has died between decision and records, and nobody has gone on with the partition since."""
    for steps in (1, 2):
        world = world_of(url, tmp_path / str(steps), f"last{steps}")
        world.commit("0", [stated(world, 0, 3), stated(world, 1, 4)])
        Steps(world.store.store, steps)
        with pytest.raises(Dead):
            world.commit("0", [stated(world, 1, 8)])
        other = Process(world, "1")
        other.ingestor._group.counted(3)
        other.commit("1", [stated(world, 0, 5)])
        assert sums(world, [1]) == [13]
        world.restart()
        is_exact(world, [13, 0])


def test_a_stalled_commit_of_a_partitions_own_log_writes_nothing_later(url, tmp_path):
    world = world_of(url, tmp_path, "stalled")
    world.commit("0", [stated(world, 0, 3), stated(world, 1, 4)])
    other = Process(world, "1")
    upsert = world.store.store.table.upsert

    def stalling(*args):
        world.store.store.table.upsert = upsert
        other.ingestor._group.counted(3)
        other.commit("1", [stated(world, 0, 5), stated(world, 1, 9, before=True)])
        return upsert(*args)

    world.store.store.table.upsert = stalling
    with pytest.raises(FencedError):
        world.commit("0", [stated(world, 1, 8)])
    is_exact(world, [5, 0])
    world.restart()
    world.commit("0", [stated(world, 1, 11)])
    is_exact(world, [16, 0])


def test_a_stalled_commit_of_the_common_log_is_finished_by_another_process(url, tmp_path, monkeypatch):
    world = world_of(url, tmp_path, "lapsed")
    world.commit("0", [stated(world, 0, 3), stated(world, 1, 4)])
    world.grow()
    other = Process(world, "1")
    monkeypatch.setattr(other.log_first.state, "lease", lambda _, **__: contextlib.nullcontext())  # that of the stalled one has lapsed
    upsert = world.store.store.table.upsert

    def stalling(*args):
        world.store.store.table.upsert = upsert
        other.commit("1", [stated(world, 0, 9, before=True)])
        return upsert(*args)

    world.store.store.table.upsert = stalling
    with pytest.raises(FencedError):
        world.commit("0", [stated(world, 0, 6)])
    is_exact(world, [4, 0])
    world.ingestor.forget(["0"])
    assert offset_at(world.ingestor.writer("0").positions["0"]) == 3  # its commit was made
    world.commit("0", [stated(world, 1, 11)])
    is_exact(world, [11, 0])


def test_processes_take_the_common_log_over_from_each_other(url, tmp_path):
    """Each reads partitions of its own, and one of them has not looked for new ones since the growth."""
    world = world_of(url, tmp_path, "turns")
    world.commit("0", [stated(world, ident, 1) for ident in range(6)])
    unaware, later = Process(world, "1"), None
    world.grow()
    expected = dict.fromkeys(range(6), 1)
    for version in range(2, 14):
        ident = version % 6
        later = later or Process(world, "2")
        process, shard = [(world, "0"), (unaware, "1"), (later, "2")][version % 3]
        world.now += 1
        process.commit(shard, [stated(world, ident, version)]) if process is world else process.commit_or_read_on(
            shard, [stated(world, ident, version)]
        )
        expected[ident] = version
    is_exact(world, [sum(expected.values()), 0])


def test_commits_without_changes_go_between_those_of_the_common_log(url, tmp_path):
    """One that fell between the steps of another's would be written over: here by one that says which views the partition has."""
    world = world_of(url, tmp_path, "between")
    more = view_of([hw.max("whole", windows=["1m"])], hw.streaming("2s"), stream=world.view.source.stream)
    other = Process(world, "0", "1", views=[more])
    other.commit("0", [stated(world, 0, 3)])
    world.grow()
    other.commit("1", [stated(world, 1, 4)])
    lacking, writer = Process(world, "1"), other.ingestor.writer("0")
    lacking.commit("1", [stated(world, 2, 1, key=2)])  # it has the log from here on
    Steps(lacking.log_first, 2)
    with pytest.raises(Dead):
        lacking.commit("1", [stated(world, 0, 5)])
    for _ in range(2):
        try:
            writer.note(msgspec.structs.replace(writer.progress, lost=7), {}, {})
        except FencedError:
            writer.load()
        else:
            break
    progress = Process(world, "0", views=[more]).ingestor.writer("0").progress
    assert progress.lost == 7
    world.restart()
    is_exact(world, [9, 1])


@pytest.mark.parametrize("lost", ["since the growth", "of the common log"])
def test_a_state_that_has_lost_commits_is_refused_until_it_is_reconciled(url, tmp_path, lost):
    """It is as it was before the growth, or before the last commit; records are as they were."""
    world = world_of(url, tmp_path, f"lost{len(lost)}", [hw.count(windows=["1m"]), hw.sum("whole", windows=["1m"])])
    world.commit("0", [stated(world, 0, 3)])
    early = list(world.store.store.state.snapshot())
    world.grow()
    world.commit("1", [stated(world, 0, 4)])
    assert not world.store.store.reconcile(dry_run=True)
    late = list(world.store.store.state.snapshot())
    world.commit("0", [stated(world, 0, 5)])
    assert not world.store.store.reconcile(dry_run=True)
    roll_back(world.store.store.state, early if lost == "since the growth" else late)

    def go_on():
        world.restart()
        world.commit("0", [stated(world, 0, 6)])

    with pytest.raises(LostError):
        go_on()
    assert world.store.store.reconcile()
    go_on()
    world.commit("2", [stated(world, 0, 7), stated(world, 1, 8)])
    view = OnlineView(world.view, world.store)
    assert view.read(pl.DataFrame({"key": [1]}), world.now + SECOND).read_version.incomplete
    world.now += 70 * SECOND
    world.commit("0", [stated(world, 0, 20, at=world.now - SECOND), stated(world, 1, 21, at=world.now - SECOND)])
    world.commit("1", [stated(world, 1, 22, at=world.now - SECOND)])
    assert sums(world) == [42, 0]


def test_a_reconciled_state_knows_that_partitions_share_their_events(url, tmp_path):
    """Although it is as it was before the growth, and no process has seen the growth again."""
    world = world_of(url, tmp_path, "unseen")
    world.commit("0", [stated(world, 0, 3)])
    early = list(world.store.store.state.snapshot())
    world.grow()
    world.commit("1", [stated(world, 0, 4)])
    roll_back(world.store.store.state, early)
    assert world.store.store.reconcile()
    assert [value for _, value in world.store.store.state.scan(keyspace.TURN)] == [keyspace.FIRST_TURN]


def test_no_reader_sees_an_event_twice_or_not_at_all(url, tmp_path, monkeypatch):
    """Where the records of a key are not read as of one time, as in DynamoDB, an event moves while they are read."""
    world = world_of(url, tmp_path, "torn")
    world.commit("0", [stated(world, 0, 3)])
    world.grow()
    world.commit("2", [stated(world, 1, 4)])
    world.commit("1", [stated(world, 2, 4, key=2)])
    world.store.store.capabilities = dataclasses.replace(world.store.store.capabilities, keys_whole=False)
    reading = scoped(hw.operations.open_store(world.url), "p")
    World.opened.append(reading)
    reading.store.capabilities = reading.capabilities = world.store.store.capabilities
    get, versions, moves = reading.store.table.get, itertools.count(5), [0]

    def torn(keys):
        values = []
        for key in keys:
            values += get([key])
            if moves[0]:
                moves[0] -= 1
                version = next(versions)
                world.commit("12"[version % 2], [stated(world, 0, version)])
        return values

    view = OnlineView(world.view, reading)
    monkeypatch.setattr(reading.store.table, "get", torn)
    for count in range(4):
        moves[0] = count
        served = view.read(pl.DataFrame({"key": [1]}), world.now + SECOND)
        assert served.features[0].to_list() == [2]


def test_a_reader_that_runs_learns_that_events_move(url, tmp_path):
    world = world_of(url, tmp_path, "learns")
    world.commit("0", [stated(world, 0, 3)])
    view = OnlineView(world.view, world.store)
    assert view.read(pl.DataFrame({"key": [1]}), world.now + SECOND).features[0].to_list() == [1]
    assert world.store.get([keyspace.turn("s")])[0] == b""
    world.grow()
    assert world.store.get([keyspace.turn("s")])[0]


def test_a_backup_of_partitions_that_share_their_events_goes_on_elsewhere(url, tmp_path):
    world = world_of(url, tmp_path, "moved")
    world.commit("0", [stated(world, 0, 3), stated(world, 1, 4)])
    world.grow()
    world.commit("2", [stated(world, 0, 5)])
    world.store.backup(tmp_path / "backup")
    world.url = with_prefix(url, "elsewhere")
    restore(tmp_path / "backup", world.url)
    world.restart()
    world.commit("1", [stated(world, 0, 6), stated(world, 1, 9, before=True)])
    assert sums(world) == [6, 0]


def test_threads_of_several_processes_lose_no_change(url, tmp_path):
    world = world_of(url, tmp_path, "several")
    world.commit("0", [stated(world, ident, 1) for ident in range(8)])
    world.grow()
    processes = [Process(world, str(number), folder=tmp_path) for number in range(3)]
    versions, lock, failures = dict.fromkeys(range(8), 1), threading.Lock(), []

    def write(process, shard):
        try:
            for _ in range(6):
                with lock:
                    idents = world.chance.sample(range(8), 3)
                    for ident in idents:
                        versions[ident] += 1
                    records = world_records(process, world, shard, [stated(world, ident, versions[ident]) for ident in idents])
                process.ingestor.commit([(records, dict(process.ingestor.turns))], world.now)
        except Exception as error:  # noqa: BLE001 (asserted below)
            failures.append(error)

    threads = [threading.Thread(target=write, args=(process, str(n))) for n, process in enumerate(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    is_exact(world, [sum(versions.values())], [1])


def world_records(process, world, shard, rows):
    mine, world.ingestor = world.ingestor, process.ingestor
    try:
        return world.records(shard, rows)
    finally:
        world.ingestor = mine
