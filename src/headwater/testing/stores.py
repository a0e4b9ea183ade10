"""What every online store must obey, as functions to call from your own tests: `LAWS[law](open_it,
Random(seed))`.

    @pytest.mark.parametrize("law", stores.LAWS)
    def test_my_store(law, tmp_path):
        stores.LAWS[law](functools.partial(open_store, f"mine:{tmp_path}"), Random(0))

`open_it` opens one store, which is empty at first and durable. It is called again and again, in
other processes too, so it must be picklable; what it returned before is closed by then, in the same
process. A law raises AssertionError.

Keys of records begin with `RECORD`, and are tried with values that look like records (`record`).
Where several processes write, a record is replaced only by one that is complete through the same
commit or a later one. Keys of offsets begin with `OFFSET`, with values that `number` writes and
`as_number` reads; `FORMAT_KEY` holds the format of the store. `restore_into` reads a backup into an
empty store.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from headwater.errors import FencedError, StoreError
from headwater.stores import Changes, OnlineStore
from headwater.stores.backup import back_up, restore_into
from headwater.stores.keyspace import FORMAT_KEY, OFFSET, PROGRESS, RECORD, as_number, number
from headwater.testing.processes import PATIENCE, Process

__all__ = [
    "FORMAT_KEY",
    "LAWS",
    "OFFSET",
    "RECORD",
    "as_number",
    "killed_commits_are_whole",
    "number",
    "record",
    "restore_into",
]

Open = Callable[[], OnlineStore]
Law = Callable[[Open, Random], None]

_PLACE = PROGRESS + b"source\0p\0"
_SPACES = (b"a", b"o", b"s\xff", b"v")
COUNTER = b"mcounter"


def record(through: int, text: bytes = b"") -> bytes:
    """A value that says what it is complete through, as records do."""
    return struct.pack("<qq", 1, through) + text


def what_is_put_is_got(make: Open, random: Random) -> None:
    """Values of any bytes, empty ones and a megabyte, under keys of any bytes, up to 400 of them;
    and nothing where there is nothing.
    """
    keys = [
        b"o",
        b"o\0",
        b"o\0\0",
        b"o\xff",
        b"o\xff\xff",
        b"o{x}",
        b"o*?[a]\\",
        b"o\r\n $5",
        b"o" + bytes(range(256)),
        b"o" * 400,
    ]
    values = [
        b"",
        b"\0",
        b"\xff" * 9,
        b"nil",
        b"1",
        random.randbytes(1_000_000),
        b"\r\n",
        bytes(range(256)),
        b"x",
        b"y",
    ]
    with _opened(make) as store:
        assert store.get([]) == []
        assert store.get(keys) == [None] * len(keys)
        store.commit(dict(zip(keys, values, strict=True)), {})
        assert store.get(keys) == values
        assert store.get([b"o\0", b"none", b"o\0", b"o\1"]) == [b"\0", None, b"\0", None], (
            "keys that are asked for twice, or are not there"
        )
        store.commit({keys[0]: None, keys[1]: b"new", b"none": None}, {})
        assert store.get(keys[:3]) == [None, b"new", values[2]]
        assert dict(store.scan(b"o")) == dict(zip(keys[1:], [b"new", *values[2:]], strict=True))


def records_are_kept_too(make: Open, _: Random) -> None:
    """Records are put, got, asked for together with other keys, scanned each once, and dropped."""
    keys = [
        RECORD + view + bytes([i % 256, i // 256, 0x7D, 0x2A])
        for view in (b"\1\2", b"\1\3", b"*\xff")
        for i in range(300)
    ]
    with _opened(make) as store:
        store.commit({key: record(7, key) for key in keys} | {OFFSET + b"p": number(7)}, {})
        assert store.get([keys[5], OFFSET + b"p", keys[0], RECORD]) == [
            record(7, keys[5]),
            number(7),
            record(7, keys[0]),
            None,
        ]
        records = list(store.scan(RECORD + b"\1\3"))
        assert len(records) == 300
        assert dict(records) == {key: record(7, key) for key in keys[300:600]}
        assert len(list(store.scan(RECORD + b"*"))) == 300, "a prefix is not a pattern"
        assert len(list(store.scan(RECORD))) == 900
        assert sorted(key for key, _ in store.scan(b"") if key != FORMAT_KEY) == sorted(
            [*keys, OFFSET + b"p"]
        )
        store.commit(dict.fromkeys(keys[:600]), {})
        assert sorted(key for key, _ in store.scan(RECORD)) == sorted(keys[600:])


def scans_rise(make: Open, random: Random) -> None:
    """A scan gives every key that begins with its prefix, and no other, in the order of bytes."""
    ends = [
        b"",
        b"\0",
        b"\0\xff",
        b"a",
        b"a\0",
        b"ab",
        b"b",
        b"\x7f",
        b"\x80",
        b"\xfe\xff",
        b"\xff",
        b"\xff\0",
        b"\xff\xff",
        b"\xff" * 3,
    ]
    keys = [space + end for space in _SPACES for end in ends]
    with _opened(make) as store:
        store.commit({key: key for key in random.sample(keys, len(keys))}, {})
        for prefix in [*keys, b"s", b"a\0\0", b"zz"]:
            expected = sorted(key for key in keys if key.startswith(prefix))
            assert list(store.scan(prefix)) == [(key, key) for key in expected], f"scan({prefix!r})"
        whole = [key for key, _ in store.scan(b"") if key != FORMAT_KEY]
        assert whole == sorted(keys)


def scans_are_read_in_pages(make: Open, _: Random) -> None:
    """A scan of more keys, or bytes, than one page holds gives each key once; so does one during
    concurrent changes of keys.
    """
    for held in (
        {b"a%02d" % n: bytes(5_000_000) for n in range(8)},
        {b"o%05d" % n: b"%d" % n for n in range(5_000)},
    ):
        with _opened(make) as store:
            store.commit(held, {})
            assert list(store.scan(min(held)[:1])) == sorted(held.items())
            assert list(store.sizes(min(held)[:1])) == sorted(
                (key, len(value)) for key, value in held.items()
            )
            scan = store.scan(min(held)[:1])
            seen = [next(scan)[0]]
            store.commit({max(held): None, max(held) + b"9": b"new"}, {})
            seen += [key for key, _value in scan]
            assert seen == sorted(set(seen))


def nothing_is_written_unless_all_is_expected(make: Open, _: Random) -> None:
    """A commit whose `expect` is wrong in one key, present or absent, changes nothing, and says
    so.
    """
    with _opened(make) as store:
        store.commit({b"o1": b"1", b"o2": b"", RECORD + b"k": record(1)}, {b"o1": None})
        wrong: Sequence[Changes] = (
            {b"o1": None},
            {b"o1": b""},
            {b"o2": None},
            {b"o3": b""},
            {b"o1": b"1", b"o2": b"1"},
            {RECORD + b"k": b"?"},
        )
        for expect in wrong:
            with _raises(FencedError):
                store.commit(
                    {
                        b"o1": b"2",
                        b"o2": None,
                        b"o4": b"4",
                        RECORD + b"k": record(9),
                        RECORD + b"n": record(9),
                    },
                    expect,
                )
        assert store.get([b"o1", b"o2", b"o4", RECORD + b"k", RECORD + b"n"]) == [
            b"1",
            b"",
            None,
            record(1),
            None,
        ]
        store.commit(
            {b"o1": b"2"},
            {b"o1": b"1", b"o2": b"", b"o3": None, RECORD + b"k": record(1), RECORD + b"n": None},
        )
        assert store.get([b"o1"]) == [b"2"]


def one_of_two_threads_wins(make: Open, _: Random) -> None:
    """Of commits that expect the same, from several threads concurrently, exactly one is made."""
    with _opened(make) as store:
        counts = [0] * 4

        def race(number: int) -> None:
            counts[number] = _count_up(store, 25)

        threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert as_number(store.get([COUNTER])[0]) == sum(counts) == 100


def one_of_two_processes_wins(make: Open, _: Random) -> None:
    """Of commits that expect the same, from several processes concurrently, exactly one is made."""
    processes = [Process(_race, make, 25) for _ in range(3)]
    assert [process.answer() for process in processes] == [25] * 3
    with _opened(make) as store:
        assert as_number(store.get([COUNTER])[0]) == 75


def reopening_keeps_all(make: Open, _: Random) -> None:
    """What was written is there when the store is opened again, here and in another process."""
    held = {b"o1": b"1", b"o2": b"\0" * 1000, RECORD + b"k": record(3, b"k")}
    with _opened(make) as store:
        store.commit(held, {})
    with _opened(make) as store:
        assert store.get(list(held)) == list(held.values())
    assert Process(_dump, make).answer() == held


def readers_see_whole_commits_at_once(make: Open, _: Random) -> None:
    """A reader in another process sees a commit as soon as it is made, and never half of one."""
    keys = [b"o%d" % i for i in range(50)]
    with _opened(make) as store:
        store.commit(dict.fromkeys(keys, number(0)), {})
        reader = Process(_watch, make, keys)
        reader.wait()
        for step in range(1, 300):
            store.commit(dict.fromkeys(keys, number(step)) | {b"p%d" % step: b""}, {})
        store.commit({b"end": b""}, {})
        halves, last = reader.answer()
        assert halves == 0, f"{halves} reads saw half of a commit"
        assert last == 299
        store.commit({b"end": b"2"}, {})
        assert Process(_dump, make).answer()[b"end"] == b"2"


def the_lease_has_one_holder(make: Open, _: Random) -> None:
    """Another process gets a lease only after it was released, or its holder was killed, or stands
    still where several may write.
    """
    with _opened(make) as store:
        with store.lease("ingest", wait=0), store.lease("other", wait=0):
            assert Process(_try_lease, make, 0.2).answer() is False
        assert Process(_try_lease, make, 0.2).answer() is True
        holder = Process(_hold_lease, make)
        holder.wait()
        with _raises(StoreError), store.lease("ingest", wait=0.2):
            raise AssertionError("two have the lease")
        holder.kill()
        with store.lease("ingest", wait=PATIENCE):
            pass
        if store.capabilities.multi_process:
            holder = Process(_hold_lease, make)
            holder.wait()
            holder.stop()
            with store.lease("ingest", wait=PATIENCE):
                assert Process(_try_lease, make, 0.2).answer() is False
            holder.kill()


def killed_commits_are_whole(make: Open, random: Random, kills: int = 3) -> None:
    """After SIGKILL amid commits, the last one that is there is there as a whole, and none that was
    answered is missing.
    """
    with _opened(make) as store:
        store.mend(_PLACE)
        store.commit({_PLACE: number(0)}, {_PLACE: None})
    for _ in range(kills):
        writer = Process(_write_on, make)
        writer.wait()
        time.sleep(random.random() * 0.2)
        answered = writer.kill()
        with _opened(make) as store:
            store.mend(_PLACE)
            step = as_number(store.get([_PLACE])[0])
            assert step >= answered, f"commit {answered} was answered, and the store is at {step}"
            assert {as_number(value) for _, value in store.scan(b"a")} <= {step}, "half of a commit"
            records = [as_number(value[8:16]) for _, value in store.scan(RECORD)]
            assert records == [step] * (40 if step else 0), "records of another commit, or not all"


def a_backup_is_equal(make: Open, _: Random) -> None:
    """A backup, restored into the store once it is empty, holds the same; it is refused where there
    is something already.
    """
    held = {b"o%d" % i: b"%d" % i for i in range(50)} | {
        RECORD + b"%d" % i: record(i) for i in range(500)
    }
    with tempfile.TemporaryDirectory() as folder, _opened(make) as store:
        store.commit(held, {})
        for name, save in (("own", store.backup), ("any", functools.partial(back_up, store))):
            to = Path(folder) / name
            save(to)
            with _raises(StoreError):
                save(to)
            with _raises(StoreError):
                restore_into(to, store)
            assert _content(store) == held
            store.commit(dict.fromkeys(held), {})
            restore_into(to, store)
            assert _content(store) == held


def a_newer_format_is_refused(make: Open, _: Random) -> None:
    """A store of a format that is not known cannot be opened, and is left as it is."""
    with _opened(make) as store:
        store.commit({FORMAT_KEY: b"99", b"o": b"1"}, {})
        reading = dict(store.scan(b""))
    with _raises(StoreError):
        make().close()
    assert reading == {FORMAT_KEY: b"99", b"o": b"1"}


def many_keys_fit_in_a_commit(make: Open, _: Random) -> None:
    """Twenty thousand keys and records in one commit, and in one get."""
    held = {b"o%d" % i: b"%d" % i for i in range(10_000)} | {
        RECORD + b"%d" % i: record(i, b"x" * 300) for i in range(10_000)
    }
    with _opened(make) as store:
        store.commit(held, {})
        assert store.get(list(held)) == list(held.values())
        assert store.size() > 3_000_000
        store.commit(dict.fromkeys(held), held)
        assert _content(store) == {}


def records_never_go_back(make: Open, _: Random) -> None:
    """Where each partition has a writer, a record makes way only for one that is complete through
    as much or more, in any commit.
    """
    key = RECORD + b"k"
    with _opened(make) as store:
        if not store.capabilities.multi_process:
            return
        at = None
        for step, through in enumerate(
            (5, 4, 5, 2**31, 2**32, 2**32 - 1, 2**53 + 1, 2**53, 2**62 + 1, 2**62, 0, -1)
        ):
            written = record(through, b"%d" % step)
            store.commit({key: written, b"o": number(through)}, {})
            at = written if at is None or through >= struct.unpack("<q", at[8:16])[0] else at
            assert store.get([key, b"o"]) == [at, number(through)], (
                f"after a record that is complete through {through}"
            )


def it_is_a_map(make: Open, random: Random) -> None:
    """Any sequence of commits, wrong expectations and reopenings leaves what it leaves of a
    dict.
    """
    letters = [b"\0", b"a", b"\xff"]
    keys = [
        space + b"".join(end)
        for space in (*_SPACES, RECORD)
        for n in range(3)
        for end in itertools.product(letters, repeat=n)
    ]
    store = make()
    try:
        store.commit(dict.fromkeys(_content(store)), {})
        held: dict[bytes, bytes] = {}
        for _ in range(random.randrange(1, 9)):
            changed = {
                key: random.choice([None, b"", *letters])
                for key in random.sample(keys, random.randrange(9))
            }
            expected = {key: held.get(key) for key in random.sample(keys, random.randrange(4))}
            if not store.capabilities.atomic and any(key.startswith(OFFSET) for key in expected):
                # a writer writes its own alone
                changed = {
                    key: value for key, value in changed.items() if not key.startswith(RECORD)
                }
            for key in expected:
                with _raises(FencedError):
                    store.commit(dict.fromkeys(changed, b"wrong"), expected | {key: b"other"})
            store.commit(changed, expected)
            held |= {key: value for key, value in changed.items() if value is not None}
            held = {key: value for key, value in held.items() if changed.get(key, b"") is not None}
            if random.random() < 0.3:
                store.close()
                store = make()
            requested = random.sample(keys, 5)
            assert store.get(requested) == [held.get(key) for key in requested]
            prefix = random.choice(keys)[: random.randrange(3)]
            assert {k: v for k, v in store.scan(prefix) if k != FORMAT_KEY} == {
                k: v for k, v in held.items() if k.startswith(prefix)
            }
        assert _content(store) == held
    finally:
        store.close()


LAWS: Mapping[str, Law] = {
    "what is put is got": what_is_put_is_got,
    "records are kept too": records_are_kept_too,
    "scans rise": scans_rise,
    "scans are read in pages": scans_are_read_in_pages,
    "nothing is written unless all is expected": nothing_is_written_unless_all_is_expected,
    "one of two threads wins": one_of_two_threads_wins,
    "one of two processes wins": one_of_two_processes_wins,
    "reopening keeps all": reopening_keeps_all,
    "readers see whole commits": readers_see_whole_commits_at_once,
    "the lease has one holder": the_lease_has_one_holder,
    "killed commits are whole": killed_commits_are_whole,
    "a backup is equal": a_backup_is_equal,
    "a newer format is refused": a_newer_format_is_refused,
    "many keys fit in a commit": many_keys_fit_in_a_commit,
    "records never go back": records_never_go_back,
    "it is a map": it_is_a_map,
}
"""Every law by name."""


@contextlib.contextmanager
def _opened(make: Open) -> Iterator[OnlineStore]:
    store = make()
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def _raises(kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kind:
        return
    raise AssertionError(f"should have raised {kind.__name__}")


def _content(store: OnlineStore) -> dict[bytes, bytes]:
    return {key: value for key, value in store.scan(b"") if key != FORMAT_KEY}


def _count_up(store: OnlineStore, times: int) -> int:
    """Add 1 to the sequence so many times, each from what it was when it was read."""
    commits = 0
    while commits < times:
        (current,) = store.get([COUNTER])
        try:
            store.commit({COUNTER: number(as_number(current) + 1)}, {COUNTER: current})
        except FencedError:
            continue
        commits += 1
    return commits


def _race(pipe: Any, make: Open, times: int) -> None:  # noqa: ANN401
    with _opened(make) as store:
        pipe.send(_count_up(store, times))


def _dump(pipe: Any, make: Open) -> None:  # noqa: ANN401
    with _opened(make) as store:
        pipe.send(_content(store))


def _watch(pipe: Any, make: Open, keys: list[bytes]) -> None:  # noqa: ANN401
    """How many reads were of several commits, and the last value."""
    with _opened(make) as store:
        pipe.send(None)
        halves, ended = 0, False
        while not ended:
            ended = store.get([b"end"]) == [b""]
            read, scanned = store.get(keys), [value for _, value in store.scan(b"o")]
            halves += (len(set(read)) != 1) + (len(set(scanned)) != 1)
        pipe.send((halves, as_number(read[0])))


def _try_lease(pipe: Any, make: Open, wait: float) -> None:  # noqa: ANN401
    with _opened(make) as store:
        try:
            with store.lease("ingest", wait=wait):
                pipe.send(True)  # noqa: FBT003
        except StoreError:
            pipe.send(False)  # noqa: FBT003


def _hold_lease(pipe: Any, make: Open) -> None:  # noqa: ANN401
    with _opened(make) as store, store.lease("ingest", wait=PATIENCE):
        pipe.send(None)
        time.sleep(10 * PATIENCE)


def _write_on(pipe: Any, make: Open) -> None:  # noqa: ANN401
    """Commits without end, each of 40 keys and 40 records; says which are made."""
    with _opened(make) as store:
        store.mend(_PLACE)
        for step in itertools.count(as_number(store.get([_PLACE])[0]) + 1):
            state = {b"a%d" % i: number(step) for i in range(40)} | {_PLACE: number(step)}
            store.commit(
                state | {RECORD + b"%d" % i: record(step) for i in range(40)},
                {_PLACE: number(step - 1)},
            )
            pipe.send(step)
