"""Records that a compiled loop copies from LMDB's pages are those that py-lmdb gets: every size,
while others write, or not at all.
"""

import random
import subprocess
import sys
import time

import lmdb
import numpy as np
import pytest

from headwater.stores.lmdb import LmdbStore, file_identity
from headwater.stores.lmdb_pages import FULL, LmdbPages

NONE = np.array([7, 8])
AT = 3


@pytest.fixture
def env(tmp_path):
    with lmdb.open(str(tmp_path / "s"), map_size=1 << 30) as opened:
        yield opened


@pytest.fixture
def pages(env):
    from pathlib import Path

    folder = Path(env.path())
    return LmdbPages(folder, file_identity(folder / "data.mdb"))


def copied(pages, transaction, keys, room=1 << 16):
    out = np.full(room, -1)
    ends = np.cumsum(list(map(len, keys)), dtype=np.int64)
    end = pages.copy(transaction.id(), np.frombuffer(b"".join(keys), np.uint8), ends, NONE, out, AT)
    return end if end is None or end == FULL else out[AT:end].tobytes()


def got(transaction, keys):
    return b"".join(transaction.get(key, NONE.tobytes()) for key in keys)


def drawn(r):
    """A key and a value of each size that matters: up to and beyond a page, and none."""
    key = (
        b"t"
        + r.randbytes(r.choice([0, 1, 2, 8]))
        + b"\0" * r.choice([0, 0, 7])
        + r.randbytes(r.choice([0, 1, 8, 9, 300]))
    )
    return key, r.randbytes(8 * r.choice([0, 1, 2, 27, 27, 27, 200, 255, 256, 400, 3000]))


@pytest.mark.parametrize("seed", range(3))
def test_copies_are_gets(env, pages, seed):
    r, stored = random.Random(seed), {}
    for turn in range(6):
        with env.begin(write=True) as transaction:
            for _ in range(r.choice([1, 30, 900])):
                key, value = drawn(r)
                transaction.put(key, value)
                stored[key] = value
            for key in r.sample(sorted(stored), len(stored) // 3):
                transaction.delete(key)
                if turn % 2:
                    del stored[key]
        keys = (
            r.sample(sorted(stored), min(len(stored), 300))
            + [drawn(r)[0] for _ in range(40)]
            + [b"a", b"t", b"z" * 500]
        )
        r.shuffle(keys)
        with env.begin() as transaction:
            assert copied(pages, transaction, keys, 1 << 20) == got(transaction, keys)
            for few in range(4):
                assert copied(pages, transaction, keys[:few], 1 << 20) == got(
                    transaction, keys[:few]
                )


def test_a_store_without_keys_is_left_to_gets_or_has_none(env, pages):
    with env.begin() as transaction:
        assert copied(pages, transaction, [b"k"]) in (None, NONE.tobytes())
    with env.begin(write=True) as transaction:
        transaction.put(b"k", bytes(8))
    with env.begin(write=True) as transaction:
        transaction.delete(b"k")
    with env.begin() as transaction:
        assert copied(pages, transaction, [b"k"]) == NONE.tobytes()


@pytest.mark.parametrize("room", [AT, AT + 33, AT + 60])
def test_an_array_that_is_too_small_says_so(env, pages, room):
    with env.begin(write=True) as transaction:
        transaction.put(b"k", bytes(8 * 60))
    with env.begin() as transaction:
        assert copied(pages, transaction, [b"k"], room) == FULL
        assert copied(pages, transaction, [b"k"], AT + 60 + 32) == bytes(8 * 60)


def test_a_value_that_is_no_words_is_left_to_gets(env, pages):
    with env.begin(write=True) as transaction:
        transaction.put(b"k", b"12345")
    with env.begin() as transaction:
        assert copied(pages, transaction, [b"k"]) is None


def test_an_old_snapshot_is_left_to_gets(env, pages):
    def put(value):
        with env.begin(write=True) as transaction:
            transaction.put(b"k", value * 8)

    put(b"1")
    with env.begin() as transaction:
        assert copied(pages, transaction, [b"k"]) == b"1" * 8
        for value in (b"2", b"3", b"4"):
            put(value)
            assert copied(pages, transaction, [b"k"]) is None
            assert transaction.get(b"k") == b"1" * 8
    with env.begin() as transaction:
        assert copied(pages, transaction, [b"k"]) == b"4" * 8


@pytest.mark.parametrize(
    "content",
    [None, b"", b"short", bytes(1 << 14), b"\0" * 16 + b"\xde\xc0\xef\xbe\x02" + bytes(1 << 14)],
)
def test_another_format_is_left_to_gets(tmp_path, content):
    if content is not None:
        (tmp_path / "data.mdb").write_bytes(content)
    out = np.zeros(100, np.int64)
    file = file_identity(tmp_path / "data.mdb") if content is not None else (0, 0)
    assert (
        LmdbPages(tmp_path, file).copy(1, np.zeros(1, np.uint8), np.array([1]), NONE, out, 0)
        is None
    )


def test_a_file_that_took_the_place_of_the_open_one_is_left_to_gets(tmp_path, env, pages):
    with env.begin(write=True) as transaction:
        transaction.put(b"k", b"1" * 8)
    (tmp_path / "restored").mkdir()
    env.copy(str(tmp_path / "restored"))
    with (
        lmdb.open(str(tmp_path / "restored"), map_size=1 << 30) as other,
        other.begin(write=True) as transaction,
    ):
        transaction.put(b"k", b"2" * 8)
    with env.begin(write=True) as transaction:
        transaction.put(b"j", b"3" * 8)
    (tmp_path / "restored" / "data.mdb").replace(tmp_path / "s" / "data.mdb")
    with env.begin() as transaction:
        fresh = LmdbPages(tmp_path / "s", pages._file)
        assert copied(fresh, transaction, [b"k"]) is None
        assert copied(pages, transaction, [b"k"]) in (None, b"1" * 8)
        assert transaction.get(b"k") == b"1" * 8


WRITER = """
import sys, time, lmdb, random
from headwater.stores.lmdb import LmdbStore, file_identity
from pathlib import Path
store, until, n, r = LmdbStore(Path(sys.argv[1])), time.monotonic() + float(sys.argv[2]), 0, random.Random(0)
print("ready", flush=True)
while time.monotonic() < until:
    n += 1
    word = n.to_bytes(8, "little")
    changes = {b"t%03d" % k: word * r.choice([1, 20, 60, 700]) for k in range(200)}
    store.commit({**changes, b"p": word}, {})
print(n, flush=True)
"""


@pytest.mark.slow
def test_all_copies_of_a_read_are_of_one_commit_while_another_process_writes(tmp_path):
    store = LmdbStore(tmp_path / "s")
    store.commit(
        {b"p": (0).to_bytes(8, "little")} | {b"t%03d" % k: bytes(8) for k in range(200)}, {}
    )
    seconds, r, copies, seen, known, head = 2.0, random.Random(1), 0, set(), -1, None
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "s"), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout.readline().strip() == "ready"
        until, out = time.monotonic() + seconds, np.empty(1 << 15, np.int64)
        while time.monotonic() < until:
            keys = [b"t%03d" % r.randrange(200) for _ in range(r.choice([1, 3, 40]))]
            letters = np.frombuffer(b"".join(keys), np.uint8)
            snapshot, values, end = store.copy_records(
                known, [b"p"], letters, np.cumsum(list(map(len, keys))), NONE, out, 0
            )
            if values is not None:
                known, head = snapshot, int.from_bytes(values[0], "little")
            if end is not None:
                assert end > 0
                assert set(out[:end].tolist()) == {head}
                copies += 1
                seen.add(head)
        writes = int(writer.stdout.readline())
    assert writes > 5
    assert copies > 50
    assert len(seen) > 3
