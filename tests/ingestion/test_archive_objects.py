"""An archive on an object store (an S3 server): nothing lost, nothing twice, whenever a process
ends or the store is away.
"""

import io
import socket
from contextlib import closing
from types import SimpleNamespace

import polars as pl
import pytest

import headwater as hw
from headwater.errors import ConnectError, StoreError
from headwater.ingestion import archive as archive_objects
from headwater.ingestion.archive import KNOWN_AT, SEQUENCE, ObjectArchive, Roller
from headwater.stores import keyspace
from headwater.testing.processes import Process
from tests.children import roll_objects_and_say
from tests.connectors.conftest import s3  # noqa: F401 (a fixture)
from tests.flow import Flow, at, clock, home, micros, store, streaming_view  # noqa: F401 (fixtures)


@pytest.fixture
def bucket(s3, request, monkeypatch):
    """The URL of an archive of this test."""
    pytest.importorskip("obstore", reason="needs the extra objects")
    for name, value in s3.options.items():
        monkeypatch.setenv(name.upper(), value)
    number = abs(hash(request.node.nodeid)) % 10**9
    monkeypatch.setenv("HEADWATER_ARCHIVE_URL", f"s3://shop/kept/{number}/")
    return f"s3://shop/kept/{number}"


def put(store, sequence, numbers, partition=None):
    """A block, as a commit leaves it."""
    name = "events" if partition is None else f"events\0{partition}"
    rows = stamped(numbers, sequence)
    out = io.BytesIO()
    rows.write_ipc_stream(out)
    store.commit({keyspace.block(keyspace.ARCHIVE, name, sequence): out.getvalue()}, {})


def stamped(numbers, sequence):
    return pl.DataFrame({"n": list(numbers)}).with_columns(
        pl.lit(sequence, pl.Int64).alias(SEQUENCE),
        pl.lit(at(sequence)).alias(KNOWN_AT).cast(pl.Datetime("us", "UTC")),
    )


def roller(store, folder, partition=None, **options):
    return Roller(store, keyspace.ARCHIVE, folder / "archive", "events", partition, **options)


def numbers(made):
    rows = made.rows()
    return [] if rows is None else sorted(rows.collect()["n"].to_list())


def test_blocks_become_one_object_and_are_gone(store, tmp_path, bucket):
    mine = roller(store, tmp_path)
    assert (mine.roll(), numbers(mine)) == (None, [])
    for sequence in (1, 2, 5):
        put(store, sequence, [sequence * 10, sequence * 10 + 1])
    assert (
        mine.roll()
        == f"{bucket}/archive/events/headwater_date=2024-05-01/all-000000000001-000000000005.parquet"
    )
    assert list(store.scan(keyspace.ARCHIVE)) == []
    assert numbers(mine) == [10, 11, 20, 21, 50, 51]
    assert [part().height for part in mine.parts()] == [6]
    put(store, 6, [60])
    assert numbers(mine) == [10, 11, 20, 21, 50, 51, 60]
    assert not (tmp_path / "archive").exists()


def test_commits_that_two_processes_wrote_are_read_once(store, tmp_path, bucket):
    """A process that lost its partition while it wrote an object, and the new owner, move the same
    blocks in different pieces.
    """
    archive = ObjectArchive(f"{bucket}/archive/events")
    rows = {number: stamped([number], number) for number in range(1, 13)}
    for first, last in ((1, 4), (3, 6), (5, 6), (5, 9), (7, 12), (1, 4)):
        archive.append(
            pl.concat([rows[n] for n in range(first, last + 1)]), at(1).date(), first, last
        )
    assert [(part.first, part.last) for part in archive.parts()] == [
        (1, 4),
        (5, 6),
        (7, 9),
        (10, 12),
    ]
    assert numbers(roller(store, tmp_path)) == list(range(1, 13))
    assert [part.read()["n"].to_list() for part in archive.parts()] == [
        [1, 2, 3, 4],
        [5, 6],
        [7, 8, 9],
        [10, 11, 12],
    ]


def test_commits_that_the_store_has_lost_are_cut(store, tmp_path, bucket):
    """Also in objects that a wider one hides, with a row of before and without one; and again,
    where a run was stopped.
    """
    mine = roller(store, tmp_path)
    rows = {number: stamped([number], number) for number in range(1, 8)}
    for first, last in ((1, 2), (3, 7), (4, 5), (4, 6), (6, 7)):
        mine.archive.append(
            pl.concat([rows[n] for n in range(first, last + 1)]), at(1).date(), first, last
        )
    ObjectArchive(f"{bucket}/archive/events", "other").append(rows[7], at(1).date(), 7, 7)
    assert sorted(mine.lost(4)["n"].to_list()) == [5, 6, 7]
    for _ in range(2):
        mine.cut(4)
        assert (mine.last, numbers(mine), mine.lost(4)) == (4, [1, 2, 3, 4], None)
    put(store, 5, [50])
    mine.roll()
    assert numbers(mine) == [1, 2, 3, 4, 50]
    assert numbers(roller(store, tmp_path, "other")) == [7]


@pytest.mark.parametrize("requests", [1, 2, 3])
def test_a_cut_that_is_stopped_before_a_request_is_made_again(
    requests, store, tmp_path, bucket, monkeypatch
):
    """Each object is put in its shorter form, and then deleted."""
    mine = roller(store, tmp_path)
    rows = {number: stamped([number], number) for number in range(1, 8)}
    for first, last in ((1, 6), (3, 7)):
        mine.archive.append(
            pl.concat([rows[n] for n in range(first, last + 1)]), at(1).date(), first, last
        )
    real, made = archive_objects._store(mine.location), []

    def counted(name):
        def call(*args, **more):
            if len(made) == requests:
                raise KeyboardInterrupt
            made.append(name)
            return getattr(real, name)(*args, **more)

        return call

    with monkeypatch.context() as patch:
        broken = SimpleNamespace(put=counted("put"), delete=counted("delete"), list=real.list)
        patch.setattr(
            archive_objects, "_store", lambda url: broken if url == mine.location else real
        )
        with pytest.raises(KeyboardInterrupt):
            mine.cut(4)
    assert made == ["put", "delete", "put"][:requests]
    assert set(mine.lost(4)["n"]) <= {5, 6, 7}
    mine.cut(4)
    assert (mine.last, numbers(mine)) == (4, [1, 2, 3, 4])


@pytest.mark.parametrize("steps", [2, 3])
def test_killed_while_rolling(steps, tmp_path, bucket):
    """Before, in the middle of and after the request that writes the object, and when the blocks
    are gone.
    """
    url = f"lmdb:{tmp_path}/online?size=1GB"
    with closing(hw.operations.open_store(url)) as store:
        for sequence in (1, 2, 3):
            put(store, sequence, [sequence])
    child = Process(roll_objects_and_say, url, str(tmp_path / "archive"), 30 if steps == 2 else 0)
    assert [child.wait() for _ in range(steps)] == ["before", "half", "half", "object", "deleted"][
        :steps
    ]
    child.kill()
    with closing(hw.operations.open_store(url)) as store:
        mine = roller(store, tmp_path)
        assert numbers(mine) == [1, 2, 3]
        put(store, 4, [4])
        mine.roll()
        assert (numbers(mine), list(store.scan(keyspace.ARCHIVE))) == ([1, 2, 3, 4], [])


def test_a_store_that_is_away_loses_nothing(store, tmp_path, bucket, monkeypatch):
    mine = roller(store, tmp_path)
    put(store, 1, [1])
    with socket.socket() as taken, monkeypatch.context() as away:
        taken.bind(("127.0.0.1", 0))  # no server listens
        away.setattr(archive_objects, "_RETRIES", 1)
        away.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        away.setenv("HEADWATER_ARCHIVE_URL", f"{bucket}/away")
        with pytest.raises(
            StoreError,
            match=r"the store does not answer: .* Nothing is lost, what belongs there stays in the online store",
        ):
            mine.roll()
        with pytest.raises(ConnectError, match="the store does not answer"):
            mine.rows()
    assert len(list(store.scan(keyspace.ARCHIVE))) == 1
    mine.roll()
    assert (numbers(mine), list(store.scan(keyspace.ARCHIVE))) == ([1], [])


def test_a_store_that_refuses_is_named_without_credentials(store, tmp_path, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
    monkeypatch.setenv("HEADWATER_ARCHIVE_URL", f"{bucket}/refused")
    put(store, 1, [1])
    with pytest.raises(StoreError, match="the store refuses") as raised:
        roller(store, tmp_path).roll()
    assert "the-secret-of-the-test" not in str(raised.value)
    assert len(list(store.scan(keyspace.ARCHIVE))) == 1
