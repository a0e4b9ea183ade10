"""The state of ingestion in DynamoDB: an item for each key, changed by transactions of up to 98
keys, or behind closed gates.

With P the store's prefix, a key's item has the partition key P 0 S and a number, and the key as its
sort key. Its attributes: c, the commit that wrote it; z, the bytes of its value; and v, the value,
or b, a reference to it (`blobs`), and h, its hash.

A commit of more keys has a log, as any commit of a store that is log first: it closes the gates,
compares what it expects, writes the log, decides by naming it in the gates, writes the items, and
opens the gates. A finder of decided gates can finish it; readers see its values from then on.

The gates of a store's state: eight items, every transaction checks one of them. Closing them
keeps all transactions out.

A gate has o, the name of the commit that closed it; d, the reference of that commit's log once it
is decided; l, the last commit that closed it; and f, the store's format, which every commit
expects.

Leases in DynamoDB: an item that its holder changes again and again; who sees it unchanged for
long enough takes it over.

Values that are too large for a transaction: items of their own, written before a commit refers
to them, in batches and unconditionally.

With P the store's prefix, an item has the partition key
    P 0 B ID NUMBER    a piece of a value
    P 0 T              with the sort key TOKEN: a, when a commit began; b, the values that are of no
                       use unless it is made
A commit that is made puts the values that it replaced in place of its own there, so what a crash
leaves is found and dropped.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import repeat
from typing import Any, Final, TypeVar

import msgspec

from headwater import clock
from headwater.errors import FencedError, StoreError
from headwater.retries import retry
from headwater.stores import NO_MARKS, Changes, HeldError, Marks
from headwater.stores.dynamodb.dynamodb_items import (
    ACTIONS,
    NOWHERE,
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
    update,
)
from headwater.stores.keyspace import FORMAT_KEY, end_of
from headwater.stores.server import LEASE, renewed

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
    """The writes of a commit behind closed gates. entries: by key, size, value or None, reference
    and hash; empty to delete it.

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
            items = (
                self._together(wanted)
                if len(wanted) <= _TOGETHER
                else self._settled(lambda: self._items_of(wanted))
            )
            return self._resolved(items)

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
            stored = (
                self._items.get([self._item_key(key) for key in changes], "b") if changes else {}
            )
            before = {
                key: item["b"]["B"]
                for key in changes
                if "b" in (item := stored.get(self._item_key(key), {}))
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
        """The action of a transaction on one key."""
        conditions, values = [], {}
        if key in changes:
            conditions.append("b = :b" if key in before else "attribute_not_exists(b)")
            values = {":b": {"B": before[key]}} if key in before else {}
        if key in compared:
            expected = compared[key]
            if expected is None:
                conditions.append("attribute_not_exists(c)")
            else:
                large = len(expected) > INLINE
                conditions.append("h = :x" if large else "v = :x")
                values[":x"] = {"B": digest(expected) if large else expected}
        condition = " AND ".join(conditions)
        if key not in changes:
            return check(self._item_key(key), condition, values)
        value = changes[key]
        if value is None:
            return delete(self._item_key(key), condition, values)
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
            stored = self._items.get([self._item_key(key) for key in changes], "b")
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
                delete(self._item_key(key))
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
        gate = self._gates.key()
        items = self._items.get_together([gate, *map(self._item_key, keys)])
        there = {key: items[item_key] for key in keys if (item_key := self._item_key(key)) in items}
        return self._overlaid(there, self._gates.seen(items.get(gate)), lambda key: key in keys)

    def _items_of(self, keys: Sequence[bytes]) -> tuple[dict[bytes, Item], Callable[[bytes], bool]]:
        items, wanted = self._items.get([self._item_key(key) for key in keys]), set(keys)
        return {item_key[1]: item for item_key, item in items.items()}, wanted.__contains__

    def _settled(
        self, collect: Callable[[], tuple[dict[bytes, Item], Callable[[bytes], bool]]]
    ) -> dict[bytes, Item]:
        """Items of one snapshot: read twice with the same commits, and then a gate that has not
        changed since it was last read.
        """
        until = clock.stopwatch() + 30
        while True:
            gate = self._gates.last()
            before, shown = (
                self._overlaid(items, gate, covers) for items, covers in (collect(), collect())
            )
            if _commits(before) == _commits(shown) and self._gates.read() == gate:
                return shown
            if clock.stopwatch() > until:
                raise StoreError(
                    f"the state in {self._items.where} changes faster than it can be read; read "
                    "it again"
                )

    def _overlaid(
        self, items: Mapping[bytes, Item], gate: Item | None, covers: Callable[[bytes], bool]
    ) -> dict[bytes, Item]:
        """Items as they are once the decided commit is written."""
        if gate is None or "d" not in gate:
            return dict(items)
        log = self._log(gate["d"]["B"])
        if log is None:
            raise GoneError
        token = gate["o"]["B"]
        new = {key: entry for key, entry in log.entries.items() if covers(key)}
        shown = {key: item for key, item in items.items() if key not in new}
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

        items = self._again(lambda: self._settled(collect))
        return dict(sorted(items.items())), last and last + b"\0"

    def _values(
        self, part: int, prefix: bytes, first: bytes
    ) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """As `_page`, with values, as many as fit in memory together."""
        items, after = self._page(part, prefix, first)
        taken: dict[bytes, Item] = {}
        size = 0
        for key, item in items.items():
            if taken and size + number_of(item, "z") > _PAGE_BYTES:
                after = key
                break
            taken[key] = item
            size += number_of(item, "z")
        return list(self._resolved(taken).items()), after

    def _resolved(self, items: Mapping[bytes, Item]) -> dict[bytes, bytes]:
        """The values of items."""
        blobs = self._blobs.read([item["b"]["B"] for item in items.values() if "b" in item])
        return {
            key: blobs[item["b"]["B"]] if "b" in item else item["v"]["B"]
            for key, item in items.items()
        }

    def _again(self, read: Callable[[], _T]) -> _T:
        """The result of `read`, once no value is replaced while it reads."""
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

    def _item_key(self, key: bytes) -> Key:
        return self._part(_part(key)), key

    def _item(
        self, key: bytes, token: bytes, entry: tuple[int, bytes | None, bytes, bytes]
    ) -> dict[str, Any]:
        size, value, ref, hashed = entry
        content = {"b": {"B": ref}, "h": {"B": hashed}} if value is None else {"v": {"B": value}}
        return {**at(self._item_key(key)), "c": {"B": token}, "z": {"N": str(size)}, **content}


def _commits(items: Mapping[bytes, Item]) -> list[tuple[bytes, bytes]]:
    """The keys, each with the commit that wrote it."""
    return [(key, item["c"]["B"]) for key, item in items.items()]


def _entry(value: bytes, ref: bytes | None) -> tuple[int, bytes | None, bytes, bytes]:
    return (len(value), value, b"", b"") if ref is None else (len(value), None, ref, digest(value))


def _part(key: bytes) -> int:
    """Which of the state's parts a key is in."""
    return sum(key[:1] >= start.to_bytes(1, "big") for start in _STARTS)


GATES = 8

# seconds after which a commit that has closed the gates, and is not decided, is given up
_ABANDONED = 10.0

_GATE_POLL = 0.02


class Gates:
    """The gates of one store."""

    def __init__(self, items: Items, prefix: bytes) -> None:
        self._items, self._prefix = items, prefix
        self._last: list[Item | None] = []  # what was read last, once something was

    def key(self, number: int | None = None) -> Key:
        """The key of a gate; of any one where none is named."""
        return self._prefix + b"G", bytes(
            [random.randrange(GATES) if number is None else number % GATES]  # noqa: S311
        )

    def passing(self, expected_format: bytes | None, *, formatted: bool) -> dict[str, Any]:
        """The action of a transaction that wants the gates open, and the store's format, where it
        is `formatted`, as expected.
        """
        if not formatted:
            return check(self.key(), "attribute_not_exists(o)")
        if expected_format is None:
            return check(self.key(), "attribute_not_exists(o) AND attribute_not_exists(f)")
        return check(
            self.key(), "attribute_not_exists(o) AND f = :f", {":f": {"B": expected_format}}
        )

    def within(self, token: bytes, number: int) -> dict[str, Any]:
        """The action of a transaction of the commit that has closed the gates."""
        return check(self.key(number), "o = :o", {":o": {"B": token}})

    def all(
        self, condition: str, assignments: str, values: Mapping[str, Any], *more: dict[str, Any]
    ) -> None:
        """Change all gates, in one transaction with more actions.

        Raises:
            CanceledError: the condition does not hold.
        """
        self._items.write(
            [
                *(
                    update(self.key(number), condition, assignments, values)
                    for number in range(GATES)
                ),
                *more,
            ]
        )

    def close(self, token: bytes, finish: Callable[[Item], None]) -> None:
        """Close the gates for a commit, once they are open."""
        while True:
            try:
                self.all(
                    "attribute_not_exists(o) OR (o = :o AND attribute_not_exists(d))",
                    "SET o = :o",
                    {":o": {"B": token}},
                )
            except CanceledError as error:
                self.wait(next(iter(error.failed.values())), finish)
            else:
                return

    def wait(self, gate: Item | None, finish: Callable[[Item], None]) -> None:
        """Wait until the commit that has closed a gate is over; finish it if it is decided, give it
        up if it stays undecided.
        """
        since = clock.stopwatch()
        first = gate
        while gate is not None and "o" in gate and first is not None and gate["o"] == first["o"]:
            if "d" in gate:
                finish(gate)
            elif clock.stopwatch() - since > _ABANDONED:
                self.give_up(gate["o"]["B"])
            else:
                time.sleep(_GATE_POLL)
            gate = self.read()

    def give_up(self, token: bytes) -> None:
        """Open the gates, if the commit that has closed them is not decided."""
        try:
            self.all("o = :o AND attribute_not_exists(d)", "REMOVE o", {":o": {"B": token}})
        except CanceledError:
            return

    def decide(self, token: bytes, log: bytes) -> None:
        """Decide the commit that has closed the gates.

        Raises:
            StoreError: it was given up meanwhile; nothing was written.
        """
        try:
            self.all("o = :o", "SET d = :d", {":o": {"B": token}, ":d": {"B": log}})
        except CanceledError as error:
            if (self.read() or {}).get("l") == {"B": token}:
                return  # an answer was lost, and another process has finished it
            raise StoreError(
                f"a commit to {self._items.where} took so long that it was given up, unless it "
                "was made: read the offsets again, and go on from them"
            ) from error

    def read(self) -> Item | None:
        """A gate: any one, since they change together."""
        gate_key = self.key()
        return self.seen(self._items.get([gate_key]).get(gate_key))

    def seen(self, gate: Item | None) -> Item | None:
        """A gate that was read, without its key."""
        shown = (
            None
            if gate is None
            else {name: value for name, value in gate.items() if name not in ("p", "s")}
        )
        self._last = [shown]
        return shown

    def last(self) -> Item | None:
        """The gate that was read last, if it was open. If another read finds the same, no commit
        behind the gates was made since.
        """
        last = self._last
        return last[0] if last and "o" not in (last[0] or {}) else self.read()

    def open(self, token: bytes, new_format: bytes | None, *more: dict[str, Any]) -> None:
        """Open the gates after a commit, which may have changed the store's format; with more
        actions.

        Raises:
            CanceledError: they are open.
        """
        values: dict[str, Any] = {":o": {"B": token}}
        if new_format is None:
            self.all("o = :o", "SET l = :o REMOVE o, d", values, *more)
        else:
            self.all(
                "o = :o",
                "SET l = :o, f = :f REMOVE o, d",
                {**values, ":f": {"B": new_format}},
                *more,
            )


_LEASE_POLL = 0.05

Watched = dict[str, tuple[Item, float]]
"""By lease, how its item was seen last, and since when it has been so; kept between calls, so that
a wait may be in short ones.
"""


@contextmanager
def held(
    items: Items, lease_key: Key, name: str, owner: str, wait: float, watched: Watched
) -> Iterator[None]:
    """Hold the lease of a place; seconds to wait for it at most. No clocks are compared. Safety
    rests on the expectations of commits, not on it.

    Raises:
        HeldError: another process holds it.
    """
    lease, until = _Lease(items, lease_key, owner), clock.stopwatch() + wait
    while not lease.take(seen := lease.read(), lapsed=_lapsed(watched, name, seen)):
        if clock.stopwatch() >= until:
            holder = f": process {seen['o']['S']}" if seen else ""
            raise HeldError(
                f"another process holds the lease {name!r} of {items.where}{holder}; stop it, or "
                "wait longer"
            )
        time.sleep(_LEASE_POLL)
    try:
        with renewed(lease.renew):
            yield
    finally:
        lease.release()


def _lapsed(watched: Watched, name: str, seen: Item | None) -> bool:
    """Whether the item of a lease has stood still for long enough."""
    if seen is None:
        watched.pop(name, None)
        return False
    if name not in watched or watched[name][0] != seen:
        watched[name] = seen, clock.stopwatch()
    return clock.stopwatch() - watched[name][1] > LEASE


class _Lease:
    def __init__(self, items: Items, key: Key, owner: str) -> None:
        self._items, self._key, self._owner, self._mark = items, key, owner, b""

    def read(self) -> Item | None:
        return self._items.get([self._key]).get(self._key)

    def take(self, seen: Item | None, *, lapsed: bool) -> bool:
        """Whether the lease is this one's now: it was free, or it was not renewed."""
        if seen is not None and not lapsed:
            return False
        return (
            self._write("attribute_not_exists(m)", b"")
            if seen is None
            else self._write("m = :m", seen["m"]["B"])
        )

    def renew(self) -> None:
        self._write("m = :m", self._mark)

    def release(self) -> None:
        with contextlib.suppress(StoreError, CanceledError):
            self._items.write([delete(self._key, "m = :m", {":m": {"B": self._mark}})])

    def _write(self, condition: str, known: bytes) -> bool:
        mark = secrets.token_bytes(16)
        item = {**at(self._key), "m": {"B": mark}, "o": {"S": self._owner}}
        try:
            self._items.write([put(item, condition, {":m": {"B": known}} if known else None)])
        except CanceledError:
            return False
        self._mark = mark
        return True


INLINE = 16_384
"""Bytes of a value that stands in its key's own item."""

_PIECE = 380_000

_BLOB_ABANDONED = 24 * 3600 * 1_000_000

_REF = struct.Struct(">16sI")


class GoneError(Exception):
    """A value was dropped meanwhile: its key has another one now."""


class DynamoBlobs:
    """The large values of a store's state. A reference to one is 20 bytes."""

    def __init__(self, items: Items, prefix: bytes) -> None:
        self._items, self._prefix = items, prefix

    def refer(self, value: bytes) -> bytes:
        """A new reference for a value, which is not written yet."""
        return _REF.pack(secrets.token_bytes(16), -(-len(value) // _PIECE))

    def write(
        self, token: bytes, values: Mapping[bytes, bytes], *, earlier: Iterable[bytes] = ()
    ) -> None:
        """Write values, by their references, for the commit `token`, which may have written
        `earlier` ones.
        """
        self._items.put_all([self._trash(token, [*earlier, *values])])
        pieces = (
            {**at(item_key), "v": {"B": value[number * _PIECE : (number + 1) * _PIECE]}}
            for ref, value in values.items()
            for number, item_key in enumerate(self._places(ref))
        )
        self._items.put_all(pieces)

    def read(self, refs: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values by their references.

        Raises:
            GoneError: one was dropped.
        """
        places = {ref: self._places(ref) for ref in refs}
        items = (
            self._items.get([item_key for pieces in places.values() for item_key in pieces], "v")
            if places
            else {}
        )
        if any(item_key not in items for pieces in places.values() for item_key in pieces):
            raise GoneError
        return {
            ref: b"".join(items[item_key]["v"]["B"] for item_key in pieces)
            for ref, pieces in places.items()
        }

    def exchange(self, token: bytes, old: Sequence[bytes], *, wrote: bool) -> list[dict[str, Any]]:
        """The actions of the transaction of the commit `token` for the values that it wrote and for
        the values that it replaces.
        """
        trash_key, still = (self._prefix + b"T", token), "attribute_exists(a)"
        if old:
            return [put(self._trash(token, old), still if wrote else "")]
        return [delete(trash_key, still)] if wrote else []

    def drop(self, token: bytes, refs: Iterable[bytes]) -> None:
        """Drop values that no key refers to, and the note of them."""
        refs = list(refs)
        if refs:
            self._items.drop_all([item_key for ref in refs for item_key in self._places(ref)])
            self._items.drop_all([(self._prefix + b"T", token)])

    def sweep(self) -> None:
        """Drop the leftovers of commits that began more than a day ago."""
        for item in self._items.page(self._prefix + b"T", NOWHERE, b"\xff" * 16, 1000)[0]:
            if number_of(item, "a") < clock.now_micros() - _BLOB_ABANDONED:
                self.drop(
                    key_of(item)[1],
                    (
                        item["b"]["B"][start : start + _REF.size]
                        for start in range(0, len(item["b"]["B"]), _REF.size)
                    ),
                )

    def _trash(self, token: bytes, refs: Iterable[bytes]) -> dict[str, Any]:
        return {
            **at((self._prefix + b"T", token)),
            "a": {"N": str(clock.now_micros())},
            "b": {"B": b"".join(refs)},
        }

    def _places(self, ref: bytes) -> list[Key]:
        name, pieces = _REF.unpack(ref)
        return [
            (self._prefix + b"B" + name + struct.pack(">I", number), NOWHERE)
            for number in range(pieces)
        ]


def digest(value: bytes) -> bytes:
    """The digest by which large values are compared."""
    return hashlib.sha256(value).digest()
