"""The state of ingestion in DynamoDB: an item for each key, changed by transactions of up to 98
keys, or behind closed gates.

With P the store's prefix, a key's item has the partition key P 0 S and a number, and the key as its
sort key. Its attributes: c, the commit that wrote it; z, the bytes of its value; and v, the value,
or b, a reference to it (`blobs`), and h, its hash.

A commit of more keys has a log, as any commit of a store that is log first: it closes the gates,
compares what it expects, writes the log, decides by naming it in the gates, writes the items, and
opens the gates. A finder of decided gates can finish it; readers see its values from then on.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import repeat
from typing import Any, Final, TypeVar

import msgspec

from headwater import clock
from headwater.errors import FencedError, StoreError
from headwater.retries import retry
from headwater.stores import NO_MARKS, Changes, Marks
from headwater.stores.dynamodb.dynamodb_blobs import INLINE, DynamoBlobs, GoneError, digest
from headwater.stores.dynamodb.dynamodb_gates import GATES, Gates
from headwater.stores.dynamodb.dynamodb_items import (
    ACTIONS,
    CanceledError,
    Item,
    Items,
    Key,
    at,
    check,
    delete,
    key_of,
    number_of,
    put,
)
from headwater.stores.dynamodb.dynamodb_leases import Watched, held
from headwater.stores.keyspace import FORMAT_KEY, end_of

_TOGETHER = 24  # besides a gate: what every server reads of one time
_KEYS = ACTIONS - 1  # besides a gate and what becomes of large values
# the first bytes of keys at which the next partition key begins: seven parts, each read in order
_STARTS: Final = b"eimpsv"
_LAST = b"\xff" * 512
_PAGE, _PAGE_BYTES = 1000, 16_000_000
# a transaction is made again where its conditions did not hold; a value is read again where it was
# replaced
_ATTEMPTS = 50
_T = TypeVar("_T")


class _Log(msgspec.Struct, frozen=True, array_like=True):
    """What a commit behind closed gates writes. entries: by key, size, value or None, reference and
    hash; empty to delete it.

    old: references to the values that it replaces. new_format: of the store, where it changes.
    """

    entries: dict[bytes, tuple[int, bytes | None, bytes, bytes] | None]
    old: list[bytes]
    new_format: bytes | None


class DynamoState:
    """See `IngestState`, and above."""

    def __init__(self, items: Items, prefix: str, *, readonly: bool = False) -> None:
        self._items, self._readonly = items, readonly
        self._watched: Watched = {}
        self._prefix = prefix.encode() + b"\0"
        self._blobs, self._gates = DynamoBlobs(items, self._prefix), Gates(items, self._prefix)
        if not readonly:
            self._blobs.sweep()

    def __repr__(self) -> str:
        return f"DynamoState({self._items.where!r})"

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `IngestState`."""
        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return []

        def read() -> Mapping[bytes, bytes]:
            found = (
                self._together(wanted)
                if len(wanted) <= _TOGETHER
                else self._settled(lambda: self._found(wanted))
            )
            return self._resolved(found)

        values = self._again(read)
        return [values.get(key) for key in keys]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `IngestState`."""
        for part in self._parts(prefix):
            first = prefix
            while True:
                page, first = self._again(
                    lambda part=part, first=first: self._values(part, prefix, first)  # type: ignore[misc]
                )
                yield from page
                if not first:
                    break

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """See `IngestState`."""
        for part in self._parts(prefix):
            first = prefix
            while True:
                page, first = self._page(part, prefix, first, "c", "z")
                yield from ((key, number_of(item, "z")) for key, item in page.items())
                if not first:
                    break

    def snapshot(self) -> Iterator[tuple[bytes, bytes]]:
        """See `IngestState`; commits wait while it is read, and it is held in memory."""
        for _ in range(_ATTEMPTS):
            token = secrets.token_bytes(16)
            self._gates.close(token, self._finish)
            pairs = list(self.scan(b""))
            try:
                self._gates.open(token, None)
            except CanceledError:
                continue
            return iter(pairs)
        raise StoreError(
            f"the state in {self._items.where} takes too long to read as of one time; make a "
            "backup while less is written"
        )

    def commit(self, changes: Changes, expect: Changes, marks: Marks = NO_MARKS) -> None:
        """See `IngestState`."""
        del marks  # DynamoDB loses no write that it has confirmed
        if self._readonly:
            raise StoreError(f"{self._items.where} was opened to be read only; open it for writing")
        token = secrets.token_bytes(16)
        refs = {
            key: self._blobs.refer(value)
            for key, value in changes.items()
            if value is not None and len(value) > INLINE
        }
        if refs:
            self._blobs.write(token, {ref: changes[key] or b"" for key, ref in refs.items()})
        compared = {
            key: value
            for key, value in expect.items()
            if key != FORMAT_KEY or FORMAT_KEY in changes
        }
        small = len({*changes, *compared}) <= _KEYS and FORMAT_KEY not in changes
        try:
            old = (
                self._commit_small(token, changes, expect, compared, refs)
                if small
                else self._commit_large(token, changes, expect, refs)
            )
        except FencedError:
            self._blobs.drop(token, refs.values())
            raise
        self._blobs.drop(token, old)

    def _commit_small(
        self,
        token: bytes,
        changes: Changes,
        expect: Changes,
        compared: Changes,
        refs: Mapping[bytes, bytes],
    ) -> Sequence[bytes]:
        """One transaction; the references of the values that it replaced."""
        for _ in range(_ATTEMPTS):
            stored = self._items.get([self._place(key) for key in changes], "b") if changes else {}
            before = {
                key: item["b"]["B"]
                for key in changes
                if "b" in (item := stored.get(self._place(key), {}))
            }
            keys = sorted({*changes, *compared})
            actions = [self._action(key, token, changes, compared, refs, before) for key in keys]
            gate = self._gates.passing(expect.get(FORMAT_KEY), formatted=FORMAT_KEY in expect)
            old = list(before.values())
            try:
                self._items.write(
                    [gate, *actions, *self._blobs.exchange(token, old, wrote=bool(refs))]
                )
            except CanceledError as error:
                if "o" in (error.failed.get(0) or {}):
                    self._gates.wait(error.failed[0], self._finish)
                else:
                    self._compare(expect)
            else:
                return old
        raise StoreError(
            f"{self._items.where} was written by others {_ATTEMPTS} times during one commit; "
            "nothing was written"
        )

    def _action(
        self,
        key: bytes,
        token: bytes,
        changes: Changes,
        compared: Changes,
        refs: Mapping[bytes, bytes],
        before: Mapping[bytes, bytes],
    ) -> dict[str, Any]:
        """What a transaction does to one key."""
        conditions, values = [], {}
        if key in changes:
            conditions.append("b = :b" if key in before else "attribute_not_exists(b)")
            values = {":b": {"B": before[key]}} if key in before else {}
        if key in compared:
            known = compared[key]
            if known is None:
                conditions.append("attribute_not_exists(c)")
            else:
                large = len(known) > INLINE
                conditions.append("h = :x" if large else "v = :x")
                values[":x"] = {"B": digest(known) if large else known}
        condition = " AND ".join(conditions)
        if key not in changes:
            return check(self._place(key), condition, values)
        value = changes[key]
        if value is None:
            return delete(self._place(key), condition, values)
        return put(self._item(key, token, _entry(value, refs.get(key))), condition, values)

    def _commit_large(
        self, token: bytes, changes: Changes, expect: Changes, refs: Mapping[bytes, bytes]
    ) -> Sequence[bytes]:
        """A commit behind closed gates; the references of the values that it replaced are dropped
        with its log.
        """
        self._gates.close(token, self._finish)
        try:
            self._compare(expect)
            stored = self._items.get([self._place(key) for key in changes], "b")
            old = [item["b"]["B"] for item in stored.values() if "b" in item]
            entries = {
                key: None if value is None else _entry(value, refs.get(key))
                for key, value in changes.items()
            }
            log = msgspec.msgpack.encode(_Log(entries, old, changes.get(FORMAT_KEY)))
            ref = self._blobs.refer(log)
            self._blobs.write(token, {ref: log}, earlier=refs.values())
            self._gates.decide(token, ref)
        except StoreError:
            self._gates.give_up(token)
            raise
        self._finish({"o": {"B": token}, "d": {"B": ref}})
        return ()

    def _finish(self, gate: Item) -> None:
        """Write the items of a commit that is decided, and open the gates; any process may do
        it.
        """
        if self._readonly:
            return
        token, ref = gate["o"]["B"], gate["d"]["B"]
        log = self._log(ref)
        if log is None:
            return
        keys = list(log.entries)
        parts = [
            (number, keys[start : start + _KEYS])
            for number, start in enumerate(range(0, len(keys), _KEYS))
        ]

        def write(number: int, part: Sequence[bytes]) -> None:
            actions = [
                delete(self._place(key))
                if (entry := log.entries[key]) is None
                else put(self._item(key, token, entry))
                for key in part
            ]
            self._items.write([self._gates.within(token, number), *actions])

        def fill(lane: int) -> None:
            for number, part in parts[lane::GATES]:
                write(number, part)

        try:
            self._items.side_by_side(fill, range(min(GATES, len(parts))))
            old = [*log.old, ref]
            self._gates.open(token, log.new_format, *self._blobs.exchange(token, old, wrote=False))
        except CanceledError:
            return  # another process has finished it
        self._blobs.drop(token, old)

    def _log(self, ref: bytes) -> _Log | None:
        """The log of a commit that is decided; None if it is finished."""
        try:
            text = self._blobs.read([ref])[ref]
        except GoneError:
            return None
        return msgspec.msgpack.decode(text, type=_Log)

    def _compare(self, expect: Changes) -> None:
        for key, value in zip(expect, self.get(list(expect)), strict=True):
            if value != expect[key]:
                raise FencedError(
                    f"{self._items.where} was written by another process meanwhile "
                    f"({key[:40]!r}); nothing was written. A partition has one process that "
                    "ingests it; read the offsets again, and go on from them"
                )

    def marks(self) -> Marks:
        """See `IngestState`; there are none."""
        return NO_MARKS

    def lease(self, name: str, *, wait: float) -> AbstractContextManager[None]:
        """See `IngestState`."""
        owner = f"{os.getpid()} on {socket.gethostname()}"
        return held(
            self._items, (self._prefix + b"H", name.encode()), name, owner, wait, self._watched
        )

    def server_time(self) -> int | None:
        """See `IngestState`; in whole seconds."""
        return self._items.server_time()

    def size(self) -> int:
        """See `IngestState`; the table counts it."""
        return 0

    def close(self) -> None:
        """See `IngestState`."""
        self._items.close()

    def _together(self, keys: Sequence[bytes]) -> dict[bytes, Item]:
        """The items of some keys, of one moment."""
        gate = self._gates.place()
        found = self._items.get_together([gate, *map(self._place, keys)])
        there = {key: found[place] for key in keys if (place := self._place(key)) in found}
        return self._overlaid(there, self._gates.seen(found.get(gate)), lambda key: key in keys)

    def _found(self, keys: Sequence[bytes]) -> tuple[dict[bytes, Item], Callable[[bytes], bool]]:
        found, wanted = self._items.get([self._place(key) for key in keys]), set(keys)
        return {place[1]: item for place, item in found.items()}, wanted.__contains__

    def _settled(
        self, collect: Callable[[], tuple[dict[bytes, Item], Callable[[bytes], bool]]]
    ) -> dict[bytes, Item]:
        """Items of one moment: read twice with the same commits, and then a gate, which is as it
        was when it was read before.
        """
        until = clock.stopwatch() + 30
        while True:
            gate = self._gates.last()
            before, shown = (
                self._overlaid(found, gate, covers) for found, covers in (collect(), collect())
            )
            if _commits(before) == _commits(shown) and self._gates.read() == gate:
                return shown
            if clock.stopwatch() > until:
                raise StoreError(
                    f"the state in {self._items.where} changes faster than it can be read; read "
                    "it again"
                )

    def _overlaid(
        self, found: Mapping[bytes, Item], gate: Item | None, covers: Callable[[bytes], bool]
    ) -> dict[bytes, Item]:
        """Items as they are once the commit that is decided is written."""
        if gate is None or "d" not in gate:
            return dict(found)
        log = self._log(gate["d"]["B"])
        if log is None:
            raise GoneError
        token = gate["o"]["B"]
        new = {key: entry for key, entry in log.entries.items() if covers(key)}
        shown = {key: item for key, item in found.items() if key not in new}
        return shown | {
            key: self._item(key, token, entry) for key, entry in new.items() if entry is not None
        }

    def _page(
        self, part: int, prefix: bytes, first: bytes, *attributes: str
    ) -> tuple[dict[bytes, Item], bytes]:
        """A page of one part's keys, rising, and the least key of the next page; empty if there is
        none.
        """
        p, end, last = self._part(part), end_of(prefix), b""

        def collect() -> tuple[dict[bytes, Item], Callable[[bytes], bool]]:
            nonlocal last
            page, more = self._items.page(p, first or b"\0", end or _LAST, _PAGE, *attributes)
            last = key_of(page[-1])[1] if more else b""
            there = {key: item for item in page if (key := key_of(item)[1]).startswith(prefix)}
            return (
                there,
                lambda key: (
                    key.startswith(prefix)
                    and _part(key) == part
                    and first <= key
                    and (not last or key <= last)
                ),
            )

        found = self._again(lambda: self._settled(collect))
        return dict(sorted(found.items())), last and last + b"\0"

    def _values(
        self, part: int, prefix: bytes, first: bytes
    ) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """As `_page`, with values, as many as fit in memory together."""
        found, after = self._page(part, prefix, first)
        taken: dict[bytes, Item] = {}
        size = 0
        for key, item in found.items():
            if taken and size + number_of(item, "z") > _PAGE_BYTES:
                after = key
                break
            taken[key] = item
            size += number_of(item, "z")
        return list(self._resolved(taken).items()), after

    def _resolved(self, found: Mapping[bytes, Item]) -> dict[bytes, bytes]:
        """The values of items."""
        blobs = self._blobs.read([item["b"]["B"] for item in found.values() if "b" in item])
        return {
            key: blobs[item["b"]["B"]] if "b" in item else item["v"]["B"]
            for key, item in found.items()
        }

    def _again(self, read: Callable[[], _T]) -> _T:
        """What `read` returns once no value is replaced while it reads."""
        try:
            return retry(read, on=GoneError, pauses=repeat(0.0, _ATTEMPTS - 1))
        except GoneError as error:
            raise StoreError(
                f"values in {self._items.where} were replaced {_ATTEMPTS} times while they were "
                "read, or are lost; read again"
            ) from error

    def _parts(self, prefix: bytes) -> Sequence[int]:
        return [_part(prefix)] if prefix else range(len(_STARTS) + 1)

    def _part(self, part: int) -> bytes:
        return self._prefix + b"S" + bytes([part])

    def _place(self, key: bytes) -> Key:
        return self._part(_part(key)), key

    def _item(
        self, key: bytes, token: bytes, entry: tuple[int, bytes | None, bytes, bytes]
    ) -> dict[str, Any]:
        size, value, ref, hashed = entry
        content = {"b": {"B": ref}, "h": {"B": hashed}} if value is None else {"v": {"B": value}}
        return {**at(self._place(key)), "c": {"B": token}, "z": {"N": str(size)}, **content}


def _commits(items: Mapping[bytes, Item]) -> list[tuple[bytes, bytes]]:
    """The keys, each with the commit that wrote it."""
    return [(key, item["c"]["B"]) for key, item in items.items()]


def _entry(value: bytes, ref: bytes | None) -> tuple[int, bytes | None, bytes, bytes]:
    return (len(value), value, b"", b"") if ref is None else (len(value), None, ref, digest(value))


def _part(key: bytes) -> int:
    """Which of the state's parts a key is in."""
    return sum(key[:1] >= start.to_bytes(1, "big") for start in _STARTS)
