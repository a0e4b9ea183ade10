"""Versions of headwater that meet on one store: a running process stops, a killed migration goes on, and the backup is the way back."""

import time
from contextlib import closing
from random import Random

import msgspec
import pytest

import headwater as hw
from headwater.errors import FencedError, StoreError
from headwater.jobs.migrate_store import migration_steps
from headwater.online_stores import formats, keyspace
from headwater.online_stores.backup import restore
from headwater.online_stores.ownership import scoped
from headwater.testing.processes import Process
from headwater.testing.stores import record
from tests.flow import clock, home, micros, project_of  # noqa: F401 (fixtures)
from tests.ingestion.test_shared_records import KEYS, History, store, view  # noqa: F401 (fixtures)
from tests.ingestion.world import LONG
from tests.online_stores.conftest import make_store, split_places  # noqa: F401 (fixtures)
from tests.online_stores.old_format import put_back

PROJECT = project_of(*map(view, "abc"))


@pytest.mark.parametrize("stored_format", [b"migrating to 4", b"4"])
def test_a_running_process_stops_where_a_newer_version_migrates(store, tmp_path, clock, stored_format):
    mine = scoped(store, PROJECT.name, write=True)
    history = History(mine, tmp_path / "data", clock)
    history.ingest("a", "b")
    history.send(1, 2, 1)
    served = hw.OnlineFeatures(hw.FeatureService("s", [view("a")]), mine)
    asked = {"key": 1}, micros(history.second)
    assert served.row(asked[0], t=asked[1]).values == [2, sum(history.sent[1])]
    store.commit({keyspace.FORMAT_KEY: stored_format}, {})
    kept = (keyspace.RECORD, keyspace.OFFSET, keyspace.PROGRESS)
    before = [sorted(store.scan(prefix)) for prefix in kept]
    refused = rf"has format b'{stored_format.decode()}' now, and this process reads b'3': .* Start this process again with that version"
    with pytest.raises(StoreError, match=refused):
        history.send(1)
    assert [sorted(store.scan(prefix)) for prefix in kept] == before
    served._readers[0]._until = 0.0  # a second later
    for read in (lambda: served.row(asked[0], t=asked[1]), lambda: served.rows({"key": KEYS}, t=asked[1])):
        with pytest.raises(StoreError, match=refused):
            read()


class OlderProgress(msgspec.Struct):
    """What a version of format 2 reads."""

    sequence: int = 0
    at: int = 0


def test_a_running_process_of_the_version_before_reads_and_writes_nothing_more(store, tmp_path, clock):
    """Its commits expect the progress that it wrote, and to go on or to serve it has to decode what the migration writes first."""
    mine = scoped(store, PROJECT.name, write=True)
    history = History(mine, tmp_path / "data", clock)
    history.ingest("a", "b", "c")
    history.send(1, 2, 1)
    put_back(mine, PROJECT.name, [view(name) for name in "abc"])
    wrote = dict(store.scan(keyspace.PROGRESS))
    assert all(msgspec.msgpack.decode(value, type=OlderProgress).sequence for value in wrote.values())
    steps = migration_steps(PROJECT, store)
    formats.migrate(store, steps[:1])  # the others have not begun
    now = dict(store.scan(keyspace.PROGRESS))
    assert now.keys() == wrote.keys()
    for key, value in wrote.items():
        with pytest.raises(FencedError):
            store.commit({keyspace.record("00" * 8, b"key"): record(1, b"old")}, {key: value})
        with pytest.raises(msgspec.ValidationError, match="Expected `object`, got `array`"):
            msgspec.msgpack.decode(now[key], type=OlderProgress)
    store.commit({keyspace.FORMAT_KEY: formats.MIGRATING}, {})
    formats.migrate(store, steps)
    history.store = scoped(store, PROJECT.name)
    history.ingest("a", "b", "c")
    history.check()


def migrating(pipe, url):
    """`headwater store migrate`, which sends a number before each page."""
    convert = formats._convert
    formats._PAGE = 2
    formats._convert = lambda *given: pipe.send(1) or convert(*given)
    hw.operations.migrate_store(PROJECT, store=url)
    pipe.send(-1)


@pytest.fixture
def written(tmp_path, clock):
    """What a store has that was written, and is then given the format of the version before; the history of it."""
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/store")) as made:
        history = History(scoped(made, PROJECT.name, write=True), tmp_path / "data", clock)
        history.ingest("a", "b", "c")
        for turn in range(4):
            history.send(*KEYS, 1 + turn % 3, partition=str(turn % 2))
        entries = sorted(made.scan(b""))
        put_back(history.store, PROJECT.name, [view(name) for name in "abc"])
    return entries, history


def reopened(history, url):
    """The history on the store at a URL, as this version opens it."""
    made = hw.operations.open_store(url)
    history.store = scoped(made, PROJECT.name)
    return closing(made)


@pytest.mark.slow
def test_a_migration_that_is_killed_again_and_again_loses_nothing(written, tmp_path):
    entries, history = written
    url, random = f"lmdb:{tmp_path}/store", Random(7)
    for _ in range(30 if LONG else 2):
        process = Process(migrating, url)
        for _ in range(random.randint(1, 4)):
            if process.wait() == -1:
                break
        time.sleep(random.choice([0, 0.001, 0.01]))
        process.kill()
        with formats.opened_for_migration(), closing(hw.operations.open_store(url, readonly=True)) as between:
            complete = between.get([keyspace.FORMAT_KEY]) == [keyspace.FORMAT]
        if not complete:
            with pytest.raises(StoreError, match=r"is not complete|has format b'2'"):
                hw.operations.open_store(url)
    hw.operations.migrate_store(PROJECT, store=url)
    with reopened(history, url) as made:
        assert sorted(made.scan(b"")) == entries
        history.ingest("a", "b", "c")
        history.send(1, 2, 3)
        history.check()


def test_the_older_version_goes_on_from_the_backup(written, tmp_path):
    """The way back: what it restores has its format, every key, and the offsets from which it reads the stream again."""
    _, history = written
    url, copy, again = (f"lmdb:{tmp_path}/{name}" for name in ("store", "copy", "again"))
    with formats.opened_for_migration(), closing(hw.operations.open_store(url, readonly=True)) as old:
        before = dict(old.scan(b""))
    hw.operations.migrate_store(PROJECT, store=url, backup=tmp_path / "copy")
    offset, sent = history.offset, {key: values.copy() for key, values in history.sent.items()}
    with reopened(history, url):
        history.ingest("a", "b", "c")
        history.send(1, 2, 3)
        history.check()
    with formats.opened_for_migration():  # stands for the older version, which opens no store of this one
        restore(tmp_path / "copy", again)
    with reopened(history, again) as made:
        mine = {key: value for key, value in made.scan(b"") if key != keyspace.FORMAT_KEY}
        assert mine == {key: value for key, value in before.items() if key != keyspace.FORMAT_KEY}
        made.commit({keyspace.FORMAT_KEY: before[keyspace.FORMAT_KEY]}, {})
    hw.operations.migrate_store(PROJECT, store=again)
    history.offset, history.sent = offset, sent
    with reopened(history, again):
        history.ingest("a", "b", "c")
        history.send(1, 2, 3)
        history.check()
    assert copy != again
