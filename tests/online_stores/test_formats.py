"""Migrations: in place, in pages, on every store; killed anywhere, they go on; no version opens a store between two formats."""

import contextlib
import itertools
import os
import time

import pytest

import headwater as hw
from headwater.errors import FencedError, StoreError
from headwater.online_stores import formats
from headwater.online_stores.backup import restore
from headwater.online_stores.formats import MIGRATING, Step, check_format, migrate, opened_for_migration, pending
from headwater.online_stores.keyspace import FORMAT, FORMAT_KEY, OFFSET, RECORD
from headwater.testing.examples import visiting
from headwater.testing.processes import Process
from headwater.testing.stores import record

OLD, NEW = RECORD + b"\1", RECORD + b"\2"
KEYS = 600


def old_key(view, key):
    return OLD + bytes([view]) + b"%05d" % key


def merged(store, page):
    """Two views' records of a key become one, as records of shared keys do: what is there already is kept."""
    changes = {}
    for key, value in page:
        view, name = key[2:3], NEW + key[3:]
        there = changes.get(name) or store.get([name])[0]
        parts = dict(zip(*[iter(there[16:].split(b"|"))] * 2, strict=True)) if there else {}
        changes[name] = record(1, b"|".join(itertools.chain(*sorted({**parts, view: value[16:]}.items()))))
        changes[key] = None
    return changes


STEP = Step("records of views", OLD, merged)


def plant(make):
    """A store as an older version left it."""
    with contextlib.closing(make()) as store:
        old = {old_key(view, key): record(1, b"%d of %d" % (key, view)) for view in (1, 2) for key in range(KEYS)}
        store.commit({**old, OFFSET + b"p": b"7"}, {})
        store.commit({FORMAT_KEY: b"2"}, {})


def holds_new(make):
    with contextlib.closing(make()) as store:
        expected: dict[bytes, bytes] = {NEW + b"%05d" % key: record(1, b"\1|%d of 1|\2|%d of 2" % (key, key)) for key in range(KEYS)}
        assert dict(store.scan(RECORD)) == expected
        assert store.get([OFFSET + b"p", FORMAT_KEY]) == [b"7", FORMAT]


def open_any(make):
    with opened_for_migration():
        return make()


def run(pipe, make, page):
    formats._PAGE = page
    with contextlib.closing(open_any(make)) as store:
        pipe.send(0)
        migrate(store, [Step(STEP.name, STEP.prefix, lambda *given: pipe.send(1) or merged(*given))])
        pipe.send(-1)


@pytest.fixture(params=["lmdb", "redis", "cluster", "postgres"])
def migratable(request, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_PAGE", 50)
    if request.param == "lmdb":
        return _Opens(f"lmdb:{tmp_path}/store")
    return _Opens(f"{request.getfixturevalue(request.param + '_url')}?prefix=formats{os.urandom(4).hex()}")


class _Opens:
    def __init__(self, url):
        self.url = url

    def __call__(self):
        return hw.operations.open_store(self.url)


def test_a_migration(migratable):
    plant(migratable)
    for refused in (migratable, lambda: hw.operations.open_store(migratable.url, readonly=True)):
        with pytest.raises(StoreError, match=r"has format b'2'.*migrate it with `headwater store migrate`"):
            refused()
    with contextlib.closing(open_any(migratable)) as store:
        before = sorted(store.scan(b""))
        assert pending(store, [STEP]) == {STEP.name: 2 * KEYS}
        assert sorted(store.scan(b"")) == before
        assert migrate(store, [STEP]) == {STEP.name: 2 * KEYS}
        assert migrate(store, [STEP]) == {}
    holds_new(migratable)


def test_no_version_opens_a_store_between_two_formats(migratable):
    plant(migratable)
    pages = []

    def fails_later(store, page):
        if len(pages) == 3:
            raise KeyboardInterrupt
        pages.append(page)
        return merged(store, page)

    with contextlib.closing(open_any(migratable)) as store, pytest.raises(KeyboardInterrupt):
        migrate(store, [Step("", OLD, fails_later)])
    for readonly in (False, True):
        with pytest.raises(StoreError, match="is not complete; `headwater store migrate` completes it"):
            hw.operations.open_store(migratable.url, readonly=readonly)
    with contextlib.closing(open_any(migratable)) as store:
        assert store.get([FORMAT_KEY]) == [MIGRATING]  # a format that no older version knows either
        migrate(store, [STEP])
    holds_new(migratable)


@pytest.mark.slow
def test_a_migration_that_is_killed_goes_on(migratable):
    plant(migratable)
    for pages in (0, 1, 1, 2, 3, 5, 8):
        process = Process(run, migratable, 20)
        for _ in range(pages + 1):
            process.wait()
        process.kill()
    process = Process(run, migratable, 500)
    while process.wait() != -1:
        pass
    holds_new(migratable)


def test_a_writer_of_an_older_version_is_noticed(migratable):
    plant(migratable)

    def interrupted(store, page):
        changes = merged(store, page)
        store.commit({page[0][0]: record(2, b"newer")}, {})
        return changes

    with contextlib.closing(open_any(migratable)) as store, pytest.raises(FencedError, match="another process wrote to the store while"):
        migrate(store, [Step("", OLD, interrupted)])


def test_the_way_back_is_the_backup(migratable, tmp_path):
    """What an older version restores from: every key as it was, in its format; a backup can also be migrated itself."""
    plant(migratable)
    with contextlib.closing(open_any(migratable)) as store:
        before = sorted(store.scan(b""))
        store.backup(tmp_path / "copy")
        migrate(store, [STEP])
    copy = _Opens(f"lmdb:{tmp_path}/copy")
    with contextlib.closing(open_any(copy)) as store:
        assert [(key, value) for key, value in sorted(store.scan(b"")) if key != b"mpartitioned"] == before
        assert store.get([FORMAT_KEY]) == [b"2"]
    again = _Opens(migratable.url.replace("prefix=", "prefix=again").replace("/store", "/again"))
    with opened_for_migration():
        restore(tmp_path / "copy", again.url)
    with contextlib.closing(again()) as store:
        assert [pair for pair in sorted(store.scan(b"")) if pair[0] != FORMAT_KEY] == [pair for pair in before if pair[0] != FORMAT_KEY]
        store.commit({FORMAT_KEY: b"2"}, {})
    with contextlib.closing(open_any(again)) as store:
        migrate(store, [STEP])
    holds_new(again)


def test_formats_that_cannot_be_migrated(tmp_path):
    make = _Opens(f"lmdb:{tmp_path}/store")
    with contextlib.closing(make()) as store:
        store.commit({FORMAT_KEY: b"9"}, {})
        with pytest.raises(StoreError, match="a store of format b'9' cannot be migrated; formats that can be: b'1', b'2'"):
            migrate(store, [])
        with opened_for_migration(), pytest.raises(StoreError, match="use the version that wrote it"):
            check_format(store, "here", readonly=True)


def keep_open(pipe, url):
    with opened_for_migration():
        store = hw.operations.open_store(url, readonly=True)
    store.get([b"o"])
    pipe.send(0)
    time.sleep(60)


def test_processes_that_have_the_store_open_hold_the_command_up(tmp_path):
    make = _Opens(f"lmdb:{tmp_path}/store")
    plant(make)
    other = Process(keep_open, make.url)
    other.wait()
    with pytest.raises(StoreError, match=r"other processes have the online store in .* open: .* Stop them"):
        hw.operations.migrate_store(visiting(hw.batch("1h")), store=make.url)
    other.kill()
    done = hw.operations.migrate_store(visiting(hw.batch("1h")), store=make.url, backup=tmp_path / "copy")
    assert (done.before, done.after) == ("2", "3")
    make().close()
    assert (tmp_path / "copy").is_dir()
