"""From blocks to files: nothing lost, nothing twice, whenever the process ends."""

import io
import threading
from contextlib import closing
from datetime import datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import StoreError
from headwater.ingestion import archive
from headwater.ingestion.archive import FOLDERS, KNOWN_AT, SEQUENCE, Roller
from headwater.stores import Capabilities, keyspace
from headwater.stores.lmdb import LmdbStore
from headwater.testing.processes import Process
from tests.children import roll_and_say
from tests.flow import Flow, at, home, store, streaming_view  # noqa: F401 (fixtures)


def put(store, sequence, numbers, partition=None, source="events"):
    """A block, as a commit leaves it."""
    name = source if partition is None else f"{source}\0{partition}"
    rows = pl.DataFrame({"n": list(numbers)}).with_columns(
        pl.lit(sequence, pl.Int64).alias(SEQUENCE),
        pl.lit(at(sequence)).alias(KNOWN_AT).cast(pl.Datetime("us", "UTC")),
    )
    out = io.BytesIO()
    rows.write_ipc_stream(out)
    store.commit({keyspace.block(keyspace.ARCHIVE, name, sequence): out.getvalue()}, {})


def roller(store, folder, partition=None, source="events"):
    return Roller(store, keyspace.ARCHIVE, folder, source, partition)


def numbers(made):
    rows = made.rows()
    return [] if rows is None else sorted(rows.collect()["n"].to_list())


def test_blocks_become_one_file_and_are_gone(store, tmp_path):
    mine = roller(store, tmp_path)
    assert (mine.roll(), numbers(mine)) == (None, [])
    for sequence in (1, 2, 5):
        put(store, sequence, [sequence * 10, sequence * 10 + 1])
    before = numbers(mine)
    path = mine.roll()
    assert (
        path
        == tmp_path
        / "events"
        / "headwater_date=2024-05-01"
        / "all-000000000001-000000000005.parquet"
    )
    assert list(store.scan(keyspace.ARCHIVE)) == []
    assert numbers(mine) == before == [10, 11, 20, 21, 50, 51]
    put(store, 6, [60])
    assert numbers(mine) == [*before, 60]


def test_each_block_is_read_once(store, tmp_path, monkeypatch):
    """Other threads wait while blocks are copied; and one that is removed meanwhile is not mistaken
    for the next one.
    """
    read, scan = [], store.scan

    def noted(prefix):
        store.commit({keyspace.block(keyspace.ARCHIVE, "events", 2): None}, {})
        for key, value in scan(prefix):
            read.append(keyspace.sequence_of(key))
            yield key, value

    for sequence in (1, 2, 3):
        put(store, sequence, [sequence * 10])
    monkeypatch.setattr(store, "scan", noted)
    path = roller(store, tmp_path).roll()
    assert (path.name, read) == ("all-000000000001-000000000003.parquet", [1, 3])
    assert pl.read_parquet(path)["n"].to_list() == [10, 30]
    assert list(scan(keyspace.ARCHIVE)) == []


def test_blocks_wait_until_they_are_worth_a_file(store, tmp_path):
    """Over a restart, too; those of each space by themselves."""
    view = streaming_view(source={"filter": pl.col("amount") > 0})
    for n in range(2):
        flow = Flow([view], store, tmp_path)  # again
        flow.send(
            [
                {"key": 1, "at": n, "amount": 1.0},
                {"key": 2, "at": n, "amount": -1.0 if n else 1.0},
                {"key": "bad"},
            ],
            10,
        )
    sizes = {space: sum(len(block) for _, block in store.scan(space)) for space in FOLDERS}
    assert sizes == flow.ingestor.writer(None).blocks
    assert 0 < sizes[keyspace.FILTERED] < sizes[keyspace.ARCHIVE]
    flow.ingestor.roll(least=sizes[keyspace.ARCHIVE])
    kept = {space: any(True for _ in store.scan(space)) for space in FOLDERS}
    assert kept == {space: size < sizes[keyspace.ARCHIVE] for space, size in sizes.items()}
    flow.ingestor.roll(least=1)
    assert [block for space in FOLDERS for block in store.scan(space)] == []


@pytest.fixture
def slow(monkeypatch):
    """Files are begun, and made when the test says so."""
    begun, go, real = threading.Event(), threading.Event(), archive.durable

    def durable(frame, path):
        begun.set()
        assert go.wait(30)
        real(frame, path)

    monkeypatch.setattr(archive, "durable", durable)
    yield begun, go
    go.set()


def amounts(folder):
    return sorted(
        a
        for path in (folder / "archive").rglob("*.parquet")
        for a in pl.read_parquet(path)["amount"]
    )


def test_commits_go_on_while_a_file_is_made(store, tmp_path, slow):
    begun, go = slow
    flow = Flow([streaming_view()], store, tmp_path)
    flow.send([{"key": 1, "at": 1, "amount": 1.0}], 10)
    flow.ingestor.roll(least=1, background=True)
    assert begun.wait(30)
    flow.send([{"key": 1, "at": 2, "amount": 2.0}], 11)
    flow.ingestor.roll(least=1, background=True)  # the first one is not done
    assert amounts(tmp_path) == []
    go.set()
    flow.ingestor.roll(least=1)
    assert amounts(tmp_path) == [1.0, 2.0]
    assert list(store.scan(keyspace.ARCHIVE)) == []


def test_what_goes_wrong_aside_is_raised_by_the_next_call(store, tmp_path):
    flow = Flow([streaming_view()], store, tmp_path)
    (tmp_path / "archive").write_text("in the way")
    flow.send([{"key": 1, "at": 1, "amount": 1.0}], 10)
    flow.ingestor.roll(least=1, background=True)
    flow.ingestor.close()
    with pytest.raises(StoreError, match="Nothing is lost"):
        flow.ingestor.roll(least=1, background=True)
    (tmp_path / "archive").unlink()
    Flow([streaming_view()], store, tmp_path).ingestor.roll(least=1)
    assert amounts(tmp_path) == [1.0]


def test_partitions_go_to_others_when_their_file_is_made(tmp_path, slow):
    """Or both would make files of the same blocks."""
    begun, go = slow

    class Partitioned(LmdbStore):
        capabilities = Capabilities(atomic=True, multi_process=True, remote=False)

    with closing(Partitioned(tmp_path / "online", size=1 << 30)) as store:
        topic = hw.kafka("events", schema={"key": int, "amount": float, "at": datetime})
        flow = Flow([streaming_view(source={"stream": topic, "timezone": "UTC"})], store, tmp_path)
        flow.send([{"key": 1, "at": 1, "amount": 1.0}], 10)
        flow.ingestor.roll(least=1, background=True)
        assert begun.wait(30)
        giving = threading.Thread(target=flow.ingestor.forget, args=(["0"],))
        giving.start()
        giving.join(0.2)
        assert giving.is_alive()
        go.set()
        giving.join(30)
        assert not giving.is_alive()
        assert amounts(tmp_path) == [1.0]
        assert flow.ingestor.writers == []


def test_a_crash_between_the_file_and_the_deletion(store, tmp_path, monkeypatch):
    mine = roller(store, tmp_path)
    for sequence in (1, 2):
        put(store, sequence, [sequence])
    real, commit = archive.durable, store.commit
    monkeypatch.setattr(store, "commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        mine.roll()
    monkeypatch.setattr(store, "commit", commit)
    assert numbers(mine) == [1, 2]
    put(store, 3, [3])
    assert numbers(mine) == [1, 2, 3]
    assert mine.roll() is not None
    assert numbers(mine) == [1, 2, 3]
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    monkeypatch.setattr(
        archive,
        "durable",
        lambda frame, path: (real(frame, path), path.rename(path.with_suffix(".draft")))[0],
    )
    put(store, 4, [4])
    monkeypatch.setattr(store, "commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        mine.roll()
    monkeypatch.setattr(store, "commit", commit)
    monkeypatch.setattr(archive, "durable", real)
    assert numbers(mine) == [1, 2, 3, 4]  # a draft is not a file
    put(store, 5, [5])
    mine.roll()
    assert numbers(mine) == [1, 2, 3, 4, 5]
    assert not list(tmp_path.rglob("*.draft"))


@pytest.mark.slow
def test_killed_while_rolling(tmp_path):
    url = f"lmdb:{tmp_path}/online?size=1GB"
    made = 0
    for steps in (1, 2, 3, 4):
        with closing(hw.operations.open_store(url)) as store:
            for _ in range(3):
                made += 1
                put(store, made, [made])
        child = Process(roll_and_say, url, str(tmp_path / "archive"))
        for _ in range(steps):
            if child.wait() == "done":
                break
        child.kill()
        with closing(hw.operations.open_store(url)) as store:
            assert numbers(roller(store, tmp_path / "archive")) == list(range(1, made + 1))


@pytest.mark.slow
def test_reading_while_another_thread_rolls(store, tmp_path):
    mine, stop, failures = roller(store, tmp_path), threading.Event(), []
    made = [0]

    def write():
        while not stop.is_set() and made[0] < 400:
            put(store, made[0] + 1, [made[0] + 1])
            made[0] += 1
            if made[0] % 7 == 0:
                mine.roll()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while thread.is_alive() and made[0] < 400:
            least = made[0]
            found = numbers(mine)
            if found != list(range(1, len(found) + 1)) or len(found) < least:
                failures.append((least, found))
    finally:
        stop.set()
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    "partition",
    [
        "0",
        "1-2",
        "a/b",
        "../up",
        "é ü",
        "x%41",
        "-",
        "all",
        "C:\\logs\\a.csv",
        "/var/log/events-2024-05-01-000000000001.json",
    ],
)
def test_partitions_of_any_name(partition, store, tmp_path):
    mine, other = roller(store, tmp_path, partition), roller(store, tmp_path, partition + "x")
    alone = roller(store, tmp_path)
    for made, first in ((mine, 1), (other, 10), (alone, 20)):
        put(store, 1, [first], made.partition)
        put(store, 2, [first + 1], made.partition)
    for made in (mine, other, alone):
        path = made.roll()
        assert path.parent.parent == tmp_path / "events"
    assert [numbers(made) for made in (mine, other, alone)] == [[1, 2], [10, 11], [20, 21]]


def test_sources_whose_names_begin_alike(store, tmp_path):
    put(store, 1, [1])
    put(store, 1, [2], source="events2")
    assert numbers(roller(store, tmp_path)) == [1]
    roller(store, tmp_path).roll()
    roller(store, tmp_path, source="events2").roll()
    assert numbers(roller(store, tmp_path, source="events2")) == [2]
