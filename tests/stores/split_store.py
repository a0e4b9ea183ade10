"""A log-first store for tests: a feature table in four shards and a state of ingestion, each in an
LMDB folder that one process owns.

    with serving(tmp_path) as places, closing(open_split(places)) as store:
        ...

It shows that `LogFirstStore` makes a store of any two parts: every law of
`headwater.testing.stores` holds for it.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, cast

from headwater.errors import FencedError, HeadwaterError, LostError, StoreError
from headwater.stores import NO_MARKS, Changes, Marks
from headwater.stores.keyspace import RECORD, REDO, check_format
from headwater.stores.lmdb import LmdbStore
from headwater.stores.log_first import REBUILD, LogFirstStore
from headwater.stores.server import LEASE, renewed
from headwater.testing.processes import Process

Address = tuple[str, int]
SHARDS = 4
_KEY = b"headwater"  # of connections on this machine
_MARKS = REDO + b"marks\0"


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Address, Address]]:
    """Where the processes of a table and a state answer; they are killed at the end."""
    processes = [Process(_serve, folder / name) for name in ("table", "state")]
    try:
        table, state = (process.wait() for process in processes)
        yield table, state
    finally:
        for process in processes:
            process.kill()


def open_split(places: tuple[Address, Address]) -> LogFirstStore:
    """A store of the processes that answer there.

    Raises:
        LostError: a shard of the table has lost commits.
    """
    table, state = RemoteTable(places[0]), RemoteState(places[1])
    store = LogFirstStore(table, state)
    try:
        table.check(state.marks())
        check_format(store, "two processes", readonly=False)
    except HeadwaterError:
        store.close()
        raise
    return store


@dataclass
class _Remote:
    """Calls of an LMDB store in another process; `before` is called before each that writes."""

    address: Address
    before: Callable[[], None] = lambda: None
    connection: Connection[Any, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.connection = Client(self.address, authkey=_KEY)
        self.lock = threading.RLock()

    def call(self, name: str, *args: object) -> Any:
        """The result of a method there."""
        if name == "commit":
            self.before()
        with self.lock:
            try:
                self.connection.send((name, args))
                done, result = self.connection.recv()
            except (OSError, EOFError) as error:
                raise StoreError(
                    f"the process of {type(self).__name__} does not answer: {error!r}"
                ) from error
        if not done:
            raise result
        return result

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of some keys."""
        return cast("list[bytes | None]", self.call("get", list(keys)))

    def size(self) -> int:
        """Bytes taken."""
        return int(self.call("size"))

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class RemoteState(_Remote):
    """An `IngestState` in another process."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `IngestState`."""
        return iter(self.call("scan", prefix))

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """See `IngestState`."""
        return iter(self.call("sizes", prefix))

    def snapshot(self) -> Iterator[tuple[bytes, bytes]]:
        """See `IngestState`; nothing else is written meanwhile."""
        return self.scan(b"")

    def marks(self) -> Marks:
        """The greatest marks that were committed."""
        return {
            key.removeprefix(_MARKS): struct.unpack("<q", value)[0]
            for key, value in self.scan(_MARKS)
        }

    def commit(self, changes: Changes, expect: Changes, marks: Marks = NO_MARKS) -> None:
        """See `IngestState`."""
        while True:
            keys = [_MARKS + shard for shard in marks]
            before = dict(zip(keys, self.get(keys), strict=True))
            new = {
                key: struct.pack("<q", mark) for key, mark in zip(keys, marks.values(), strict=True)
            }
            greater = {
                key: value for key, value in new.items() if _number(before[key]) < _number(value)
            }
            try:
                self.call("commit", {**changes, **greater}, {**expect, **before})
            except FencedError:
                if self.get(keys) == list(before.values()):
                    raise
            else:
                return

    @contextmanager
    def lease(self, name: str, *, wait: float) -> Iterator[None]:
        """See `IngestState`; it ends with a connection of its own, or when nothing comes by
        that.
        """
        with contextlib.closing(_Remote(self.address)) as connection:
            connection.call("lease", name, wait)
            with renewed(connection.size):
                yield

    def server_time(self) -> None:
        """See `IngestState`; it has none."""


class RemoteTable(_Remote):
    """A `FeatureTable` in another process, whose shards are written one after the other."""

    outrun = 0

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `FeatureTable`."""
        return iter(self.call("scan", prefix))

    def upsert(self, writer: bytes, turn: int, n: int, records: Changes) -> Marks:
        """See `FeatureTable`."""
        return {
            shard: self._write(shard, shard_records, {}, (writer, turn, n))
            for shard, shard_records in _sharded(records).items()
        }

    def replace(self, records: Changes, expect: Changes) -> Marks:
        """See `FeatureTable`."""
        parts, expected = _sharded(records), _sharded(expect)
        return {
            shard: self._write(shard, parts.get(shard, {}), expected.get(shard, {}))
            for shard in parts.keys() | expected.keys()
        }

    def fence(self, writer: bytes, turn: int) -> int | None:
        """See `FeatureTable`."""
        latest = 0
        for shard in _ALL:
            before, n = self._applied(shard, writer)
            if before >= turn:
                return None
            self.call(
                "commit",
                {_mark_key(shard, writer): _pair(turn, n)},
                {_mark_key(shard, writer): _pair(before, n) if before or n else None},
            )
            latest = max(latest, n)
        return latest

    def writers(self) -> dict[bytes, tuple[int, int]]:
        """See `FeatureTable`."""
        writers: dict[bytes, tuple[int, int]] = {}
        for key, value in self.scan(b"w"):
            turn, n = struct.unpack("<qq", value)
            before = writers.get(key[2:], (0, 0))
            writers[key[2:]] = max(before[0], turn), max(before[1], n)
        return writers

    def confirmed(self) -> Marks:
        """See `FeatureTable`."""
        return {shard: _number(self.get([b"n" + shard])[0]) for shard in _ALL}

    def empty(self, writers: Sequence[bytes], turn: int, marks: Marks) -> None:
        """See `FeatureTable`."""
        self.call("commit", dict.fromkeys(key for key, _ in self.scan(RECORD)), {})
        counts = {shard: max(n, marks.get(shard, 0)) for shard, n in self.confirmed().items()}
        begun = {_mark_key(shard, writer): _pair(turn, 0) for shard in _ALL for writer in writers}
        self.call(
            "commit",
            {**begun, **{b"n" + shard: struct.pack("<q", n) for shard, n in counts.items()}},
            {},
        )

    def check(self, marks: Marks) -> None:
        """Raise LostError where a shard has written less often than a mark says."""
        for shard, mark in marks.items():
            if _number(self.get([b"n" + shard])[0]) < mark:
                raise LostError(f"shard {shard!r} of the table has lost commits. {REBUILD}")

    def _applied(self, shard: bytes, writer: bytes) -> tuple[int, int]:
        value = self.get([_mark_key(shard, writer)])[0]
        return (0, 0) if value is None else struct.unpack("<qq", value)

    def _write(
        self,
        shard: bytes,
        records: Changes,
        expect: Changes,
        commit: tuple[bytes, int, int] | None = None,
    ) -> int:
        """Write one shard; how often it has been written."""
        while True:
            (count,) = self.get([b"n" + shard])
            also: dict[bytes, bytes | None] = {b"n" + shard: struct.pack("<q", _number(count) + 1)}
            unmoved: dict[bytes, bytes | None] = {b"n" + shard: count}
            if commit is not None:
                writer, turn, n = commit
                fenced, applied = self._applied(shard, writer)
                if fenced > turn:
                    raise FencedError(f"another process has taken {writer!r} over")
                if applied >= n:
                    return _number(count)
                unmoved[_mark_key(shard, writer)] = (
                    _pair(fenced, applied) if fenced or applied else None
                )
                also[_mark_key(shard, writer)] = _pair(turn, n)
            stored = dict(zip(records, self.get(list(records)), strict=True))
            new = {
                key: value
                for key, value in records.items()
                if value is None or _through(value) >= _through(stored[key])
            }
            try:
                self.call("commit", {**new, **also}, {**expect, **unmoved})
            except FencedError:
                if dict(zip(expect, self.get(list(expect)), strict=True)) != dict(expect):
                    raise
                continue
            self.outrun += len(records) - len(new)
            return _number(count) + 1


_ALL = [b"%d" % number for number in range(SHARDS)]


def _sharded(records: Changes) -> dict[bytes, dict[bytes, bytes | None]]:
    shards: dict[bytes, dict[bytes, bytes | None]] = {}
    for key, value in records.items():
        whole = key.rpartition(b"\0")[0] or key  # without its partition
        shards.setdefault(_ALL[zlib.crc32(whole) % SHARDS], {})[key] = value
    return shards


def _mark_key(shard: bytes, writer: bytes) -> bytes:
    return b"w" + shard + writer


def _pair(turn: int, n: int) -> bytes:
    return struct.pack("<qq", turn, n)


def _number(value: bytes | None) -> int:
    return 0 if value is None else int(struct.unpack("<q", value)[0])


def _through(record: bytes | None) -> int:
    """What a record is complete through; a missing one is behind all."""
    return (
        -(1 << 63)
        if record is None
        else int(struct.unpack_from("<q", record, 8)[0])
        if len(record) >= 16
        else -1
    )


def _serve(pipe: Any, folder: Path) -> None:
    store = LmdbStore(folder, size=1 << 30)
    with Listener(("127.0.0.1", 0), authkey=_KEY) as listener:
        pipe.send(listener.address)
        while True:
            threading.Thread(target=_answer, args=(listener.accept(), store), daemon=True).start()


def _answer(connection: Connection[Any, Any], store: LmdbStore) -> None:
    with contextlib.suppress(EOFError, OSError), contextlib.ExitStack() as leases:
        while True:
            if not connection.poll(LEASE):
                leases.close()
            name, args = connection.recv()
            try:
                if name == "lease":
                    result: object = leases.enter_context(store.lease(args[0], wait=args[1]))
                else:
                    result = getattr(store, name)(*args)
                connection.send((True, list(result) if isinstance(result, Iterator) else result))
            except HeadwaterError as error:
                connection.send((False, error))
