"""Sorted runs of a large LMDB store: the same map as without them, after any kill, and for any
reader meanwhile.
"""

import contextlib
import itertools
import random
import time

import lmdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.errors import FencedError
from headwater.stores import lmdb as sorted_runs
from headwater.testing.processes import Process
from headwater.testing.stores import OFFSET, RECORD, as_number, number

OFFSET_KEY = OFFSET + b"p"
SMALL = {
    "LARGE": 0,
    "_RUN": 40,
    "_SLICE": 5,
    "_MOST": 12,
    "_PAGES_A_RUN": 1,
    "_FEWEST": 6,
    "_SLOTS": 64,
    "_LONGEST": 100,
}


@pytest.fixture
def small(monkeypatch):
    """Every store has runs, and a round of the sweep takes a few commits."""
    for name, value in SMALL.items():
        monkeypatch.setattr(sorted_runs, name, value)


def open_small(url, **options):
    """As the fixture, in another process too."""
    for name, value in SMALL.items():
        setattr(sorted_runs, name, value)
    return hw.operations.open_store(url, **options)


def runs_of(store):
    with store._env.begin() as transaction:
        encoded = transaction.get(sorted_runs._STATE)
    return (
        sorted_runs._State()
        if encoded is None
        else sorted_runs.msgspec.msgpack.decode(encoded, type=sorted_runs._State)
    )


def keyed(n):
    return RECORD + b"%06d" % n


@settings(max_examples=10, suppress_health_check=list(HealthCheck), deadline=None)
@given(source=st.randoms(use_true_random=False))
def test_it_is_a_map(small, tmp_path_factory, source):
    """Commits of any size, deletions, long values, compared records, scans from anywhere, and the
    store opened again.
    """
    url = f"lmdb:{tmp_path_factory.mktemp('map')}/s?size=1GB"
    store, expected = hw.operations.open_store(url), {}
    room = source.choice([30, 300, 3000])
    for step in range(source.choice([5, 30])):
        changes = {}
        for _ in range(source.choice([1, 7, 60, 130])):
            value = source.choice(
                [None, b"", b"x%d" % step, b"x%d" % step, b"x%d" % step, bytes(150)]
            )
            changes[source.choice([keyed, keyed, lambda n: b"o%d" % n])(source.randrange(room))] = (
                value
            )
        expect = {key: expected.get(key) for key in changes if source.random() < 0.1}
        store.commit(changes, expect)
        expected = {
            key: value for key, value in {**expected, **changes}.items() if value is not None
        }
        keys = [keyed(source.randrange(room)) for _ in range(source.choice([1, 5, 40]))]
        assert store.get(keys) == [expected.get(key) for key in keys]
        if step % 10 == 0:
            for prefix in (b"", RECORD, b"o", keyed(0)[:-2]):
                rows = sorted(
                    (key, value) for key, value in expected.items() if key.startswith(prefix)
                )
                found = [(key, value) for key, value in store.scan(prefix) if key != b"mformat"]
                assert found == rows
                assert [(key, size) for key, size in store.sizes(prefix) if key != b"mformat"] == [
                    (key, len(value)) for key, value in rows
                ]
            with pytest.raises(FencedError):
                store.commit({keyed(0): b"!"}, {keyed(0): b"?"})
            store.close()
            store = hw.operations.open_store(url)
    store.close()


def test_what_is_deleted_or_compared_is_in_no_run(small, tmp_path):
    """So an erasure leaves no older version in the file's live pages, or in a backup."""
    with contextlib.closing(hw.operations.open_store(f"lmdb:{tmp_path}/s")) as store:
        for step in range(4):
            store.commit({keyed(n): b"secret%d" % step for n in range(100)}, {})
        store.commit({keyed(7): None}, {})
        store.commit({keyed(8): b"clean"}, {keyed(8): b"secret3"})
        assert store.get([keyed(7), keyed(8)]) == [None, b"clean"]
        store.backup(tmp_path / "copy")
    with (
        lmdb.open(str(tmp_path / "copy")) as env,
        env.begin() as transaction,
        transaction.cursor() as cursor,
    ):
        found = [(key, value) for key, value in cursor if key.endswith((keyed(7), keyed(8)))]
    assert found == [(keyed(8), b"clean")]


def commit_steps(pipe, url):
    """Commits of step n: 30 keys hold n, and so does the offset."""
    store = open_small(url)
    for step in itertools.count(as_number(store.get([OFFSET_KEY])[0]) + 1):
        draw = random.Random(step)
        changes = {keyed(draw.randrange(1_000)): number(step) for _ in range(30)}
        store.commit(
            {**changes, OFFSET_KEY: number(step)},
            {OFFSET_KEY: number(step - 1) if step > 1 else None},
        )
        pipe.send(step)


def after(steps):
    expected = {}
    for step in range(1, steps + 1):
        draw = random.Random(step)
        expected |= {keyed(draw.randrange(1_000)): number(step) for _ in range(30)}
    return expected


@pytest.mark.slow
def test_a_writer_that_is_killed_loses_nothing(small, tmp_path):
    url = f"lmdb:{tmp_path}/s"
    hw.operations.open_store(url).close()
    for kill in range(15):
        process = Process(commit_steps, url)
        process.wait()
        time.sleep(random.Random(kill).random() * 0.2)
        last = process.kill()
        with contextlib.closing(open_small(url)) as store:
            done = as_number(store.get([OFFSET_KEY])[0])
            assert done >= last
            expected = after(done)
            assert dict(store.scan(RECORD)) == expected
            assert dict(zip(expected, store.get(list(expected)), strict=True)) == expected
    assert runs_of_url(url).rounds > 2


def runs_of_url(url):
    with contextlib.closing(open_small(url)) as store:
        return runs_of(store)
