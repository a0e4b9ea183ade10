"""What goes wrong with files: the error says what to do, nothing is lost, and it works again once
that is done.
"""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
from random import Random

import pytest

import headwater as hw
from headwater import clock
from headwater.errors import StoreError
from headwater.testing.processes import Process
from headwater.testing.stores import (
    OFFSET,
    RECORD,
    as_number,
    killed_commits_are_whole,
    number,
    record,
)
from tests.stores.servers import is_root

KEY = OFFSET + b"p"
NOBODY = 65534


def fill(store, most=200):
    """Commit half a megabyte and an offset, again and again; how often that went well before the
    error, and the error.
    """
    for step in range(as_number(store.get([KEY])[0]) + 1, most):
        try:
            store.commit(
                {RECORD + b"%d" % step: record(step, bytes(500_000)), KEY: number(step)},
                {KEY: number(step - 1) if step > 1 else None},
            )
        except StoreError as error:
            return step - 1, str(error)
    return most - 1, ""


def holds(store, steps):
    assert as_number(store.get([KEY])[0]) == steps
    assert len(list(store.scan(RECORD))) == steps


def test_a_full_map(tmp_path):
    store = hw.operations.open_store(f"lmdb:{tmp_path}/s?size=5MB")
    made, said = fill(store)
    assert made >= 3
    assert "Nothing was written. It has reached its size= limit: give more" in said
    holds(store, made)
    assert fill(store)[0] == made
    # dropping makes room, from the second commit on
    store.commit({RECORD + b"1": None, RECORD + b"2": None}, {})
    store.commit({KEY: number(made)}, {})
    store.commit({RECORD + b"1": record(1, bytes(500_000)), RECORD + b"2": b""}, {})
    store.close()
    larger = hw.operations.open_store(f"lmdb:{tmp_path}/s?size=20MB")
    holds(larger, made)
    assert fill(larger)[0] > made
    larger.close()
    # only what writes is bounded
    reader = hw.operations.open_store(f"lmdb:{tmp_path}/s?size=1MB", readonly=True)
    assert as_number(reader.get([KEY])[0]) > made
    reader.close()


@contextlib.contextmanager
def small_disk(folder):
    folder.mkdir()
    if (
        not is_root()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False
        ).returncode
    ):
        pytest.skip("needs root, and the right to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk(tmp_path):
    with small_disk(tmp_path / "disk"):
        (tmp_path / "disk" / "other").write_bytes(bytes(500_000))
        with contextlib.closing(hw.operations.open_store(f"lmdb:{tmp_path}/disk/s")) as store:
            made, said = fill(store)
            assert made >= 1
            assert "Nothing was written. Make room on the disk" in said
            holds(store, made)
            (tmp_path / "disk" / "other").unlink()
            assert fill(store)[0] > made
        with contextlib.closing(hw.operations.open_store(f"lmdb:{tmp_path}/disk/s")) as again:
            assert as_number(again.get([KEY])[0]) > made


def as_nobody(pipe, folder, readonly):
    # modules are imported while the process may still read them
    hw.operations.open_store(f"lmdb:{folder}-first").close()
    os.seteuid(NOBODY)
    try:
        store = hw.operations.open_store(f"lmdb:{folder}", readonly=readonly)
        pipe.send(store.get([b"o"]))
    except StoreError as error:
        pipe.send(str(error))


@pytest.mark.parametrize("readonly", [False, True])
def test_a_folder_that_may_not_be_written(tmp_path, readonly):
    folder = tmp_path / "s"
    store = hw.operations.open_store(f"lmdb:{folder}")
    store.commit({b"o": b"1"}, {})
    store.close()
    for place in (folder, *folder.iterdir()):
        place.chmod(0o555 if place.is_dir() else 0o444)
    for parent in [p for p in (folder, *folder.parents) if "pytest" in str(p)]:
        parent.chmod(0o755)
    if is_root():
        said = Process(as_nobody, folder, readonly).answer()
    else:
        with pytest.raises(StoreError) as caught:
            hw.operations.open_store(f"lmdb:{folder}", readonly=readonly)
        said = str(caught.value)
    assert "cannot be opened" in said
    assert "Give the process the right to write there" in said
    for place in (folder, *folder.iterdir()):
        place.chmod(0o755)
    again = hw.operations.open_store(f"lmdb:{folder}")
    assert again.get([b"o"]) == [b"1"]
    again.close()


def test_what_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="there is no online store in"):
        hw.operations.open_store(f"lmdb:{tmp_path}", readonly=True)
    (tmp_path / "data.mdb").write_bytes(b"no store" * 10_000)
    with pytest.raises(StoreError, match="cannot be opened"):
        hw.operations.open_store(f"lmdb:{tmp_path}")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        hw.operations.open_store(f"lmdb:{tmp_path}/file")


def test_a_store_is_opened_once_in_a_process(tmp_path):
    store = hw.operations.open_store(f"lmdb:{tmp_path}/s")
    with pytest.raises(StoreError, match="share what open_store returned"):
        hw.operations.open_store(f"lmdb:{tmp_path}/s")
    store.close()


def test_a_second_writer_waits_for_the_lease(tmp_path, monkeypatch):
    store = hw.operations.open_store(f"lmdb:{tmp_path}/s")
    order, waits, wait = [], threading.Event(), clock.wait
    monkeypatch.setattr(clock, "wait", lambda seconds: waits.set() or wait(seconds))

    def second():
        with store.lease("ingest", wait=20):
            order.append("second")

    with store.lease("ingest", wait=0):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert waits.wait(60)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    store.close()


@pytest.mark.slow
def test_twenty_kills_amid_commits(tmp_path):
    killed_commits_are_whole(
        functools.partial(hw.operations.open_store, f"lmdb:{tmp_path}/s"), Random(1), kills=20
    )


def test_a_backup_while_commits_are_made(tmp_path):
    store = hw.operations.open_store(f"lmdb:{tmp_path}/s")
    stop = threading.Event()

    def write():
        for step in range(1, 10_000):
            if stop.is_set():
                return
            store.commit({b"a%d" % i: number(step) for i in range(50)}, {})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for place in range(5):
            store.backup(tmp_path / f"b{place}")
            copy = hw.operations.open_store(f"lmdb:{tmp_path}/b{place}", readonly=True)
            assert len({value for _, value in copy.scan(b"a")}) <= 1
            copy.close()
    finally:
        stop.set()
        writer.join()
        store.close()


DIES_IN_A_COMMIT = """
import lmdb, mmap, os, signal, struct, sys
folder, key, value = sys.argv[1], *map(bytes.fromhex, sys.argv[2:])
environment = lmdb.open(folder, map_size=2**27)
with environment.begin(write=True) as transaction:
    transaction.put(key, value)
last = environment.info()["last_txnid"]
writing = environment.begin(write=True)  # holds the lock of writers
with open(f"{folder}/lock.mdb", "r+b") as file, mmap.mmap(file.fileno(), 0) as table:
    at = table[:192].index(struct.pack("=Q", last))  # where readers see which commit is the last
    table[at : at + 8] = struct.pack("=Q", last - 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_who_takes_over_from_a_process_killed_in_a_commit_reads_that_commit(tmp_path):
    """LMDB writes a commit to the disk first and shows it to readers then; a process that was
    killed between the two had others read the state before its last commit.
    """
    with contextlib.closing(hw.operations.open_store(f"lmdb:{tmp_path}/s")) as store:
        store.commit({KEY: number(1)}, {})
        arguments = [f"{tmp_path}/s", KEY.hex(), number(2).hex()]
        child = subprocess.run([sys.executable, "-c", DIES_IN_A_COMMIT, *arguments], check=False)
        assert child.returncode == -signal.SIGKILL
        assert as_number(store.get([KEY])[0]) == 1
        with store.lease("writer", wait=0):
            assert as_number(store.get([KEY])[0]) == 2
            store.commit({KEY: number(3)}, {KEY: number(2)})
    with contextlib.closing(hw.operations.open_store(f"lmdb:{tmp_path}/s")) as store:
        assert as_number(store.get([KEY])[0]) == 3
