"""What `headwater.testing.faults` does to each call: of a store that a plugin brings, of the disk,
and of a process.
"""

import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import headwater as hw
from headwater.stores import Capabilities
from headwater.testing import call_watch, faults


class Shelf:
    """An online store of a plugin: files in a folder, one for each key."""

    capabilities = Capabilities(atomic=True, multi_process=False, remote=True)
    namespace = ""

    def __init__(self, folder):
        self.folder = folder

    def get(self, keys):
        paths = [self.folder / key.hex() for key in keys]
        return [path.read_bytes() if path.exists() else None for path in paths]

    def commit(self, changes, expect):
        for key, value in changes.items():
            (self.folder / key.hex()).write_bytes(value)

    @contextmanager
    def lease(self, name, *, wait):
        yield

    def close(self):
        pass


def prepare(folder, numbers):
    place = folder / str(next(numbers))
    place.mkdir()
    return place


@pytest.fixture
def places(tmp_path):
    numbers = iter(range(1000))
    return lambda: prepare(tmp_path, numbers)


def count_up(watch, folder):
    """One more than is there; twice, under a lease."""
    store = watch.store(Shelf(folder))
    with store.lease("counting", wait=0):
        for _ in range(2):
            (held,) = store.get([b"count"])
            store.commit({b"count": b"%d" % (int(held or b"0") + 1)}, {})


def counted(folder):
    return int(Shelf(folder).get([b"count"])[0] or b"0")


def test_calls_are_listed_in_their_order(places):
    found = [str(call) for call in faults.calls(places, count_up)]
    assert found == [
        "store lease 1",
        "store get 1",
        "store commit 1",
        "store get 2",
        "store commit 2",
    ]


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        ("fail", [0, 0, 0, 1, 1]),
        ("unanswered", [1, 2]),
        ("hang", [2, 2, 2, 2, 2]),
        ("end_before", [0, 1]),
        ("end_after", [1, 2]),
    ],
)
def test_each_call_goes_wrong_once(places, kind, counts):
    found = list(faults.every(places, count_up, kinds=[kind]))
    assert [counted(fault.place) for fault in found] == counts
    raises = kind in ("fail", "unanswered")
    assert [isinstance(fault.error, hw.errors.StoreError) for fault in found] == [raises] * len(
        found
    )


def test_what_is_done_meanwhile_is_done_while_the_call_hangs(places):
    seen = []
    for fault in faults.every(
        places, count_up, kinds=["hang"], meanwhile=lambda folder: seen.append(counted(folder))
    ):
        assert fault.error is None
    assert seen == [0, 0, 0, 1, 1]


def test_a_call_that_hangs_too_long_fails(places, monkeypatch):
    monkeypatch.setattr(call_watch, "DEADLINE", 0.01)
    done = threading.Event()
    found = list(faults.every(places, count_up, kinds=["hang"], meanwhile=lambda _: done.wait(20)))
    done.set()
    assert [counted(fault.place) for fault in found] == [0, 0, 0, 1, 1]
    assert all("hangs" in str(fault.error) for fault in found)


def test_work_that_does_not_make_its_calls_again_is_told(places):
    first = iter([True])

    def work(watch, folder):
        store = watch.store(Shelf(folder))
        if next(first, False):
            store.get([b"count"])
        store.commit({}, {})

    with pytest.raises(
        AssertionError, match="1 of 2 calls were recorded, and not made again: store get 1"
    ):
        list(faults.every(places, work, kinds=["fail"]))


def write_in(watch, folder):
    with watch.disk(folder / "in"):
        (folder / "out").write_text("elsewhere")
        (folder / "in").mkdir()
        (folder / "in" / "draft-123").write_bytes(b"")
        with (folder / "in" / "draft-123").open("rb"):
            pass
        (folder / "in" / "draft-123").replace(folder / "in" / "result")
        (folder / "in" / "result").unlink()
    (folder / "in").rmdir()


def test_calls_to_the_disk_are_those_that_change_the_folder(places):
    found = [str(call) for call in faults.calls(places, write_in)]
    assert found == [
        "disk mkdir . 1",
        "disk open draft-# 1",
        "disk replace result 1",
        "disk unlink result 1",
    ]


def test_the_disk_is_as_it_was_afterwards(places):
    before = (Path.open, open)
    for fault in faults.every(places, write_in, kinds=["fail"]):
        assert "No space left" in str(fault.error)
    assert (Path.open, open) == before
