"""Tombstones: the erased rows of a source, for every reader of its past.

A tombstone is of a key that was erased while a history that headwater did not write may still have
it. It is salted digests, and has no value of the key. A row is erased if it has the key and was
known when the erasure was asked for; what came later counts.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final

import msgspec
import numpy as np
import polars as pl

from headwater.definitions.connectors import Frame
from headwater.definitions.source import Source
from headwater.errors import DataError
from headwater.events.read_events import IDENT, KNOWN, ROW, TIME, arrived, collect
from headwater.ingestion.archive import KNOWN_AT
from headwater.ingestion.change_state import tokens_of
from headwater.ingestion.validate import Acceptance
from headwater.kernel.arrays import I64, Bool
from headwater.stores import OnlineStore, keyspace

_SALT: Final = 32  # bytes
_DIGEST: Final = 16


class Tombstone(msgspec.Struct, frozen=True):
    """A key of a source that was erased.

    columns: of the key, sorted. salt: the same for all tombstones of a source.
    digest: of the key's values. until: rows that were known later count, microseconds.
    events: of a source with `changes=`, the digests of its events' ids, one after the other.
    counted: the partitions whose progress has counted the erased rows.
    """

    columns: list[str]
    salt: bytes
    digest: bytes
    until: int
    events: bytes = b""
    counted: list[str] = []

    def is_of(self, key: Mapping[str, object]) -> bool:
        """Whether it is of a key."""
        return self.digest == _digest(self.salt, _text(key))


def read_tombstones(store: OnlineStore, source: str) -> list[Tombstone]:
    """The tombstones of a source."""
    return [decoded_tombstone(value) for _, value in store.scan(keyspace.tombstones(source))]


def decoded_tombstone(value: bytes) -> Tombstone:
    """A tombstone as the store has it."""
    return msgspec.msgpack.decode(value, type=Tombstone)


def encoded_tombstone(tombstone: Tombstone) -> bytes:
    """The bytes of `decoded_tombstone`."""
    return msgspec.msgpack.encode(tombstone)


def tombstone_of(
    store: OnlineStore,
    source: str,
    key: Mapping[str, object],
    until: int,
    tokens: Collection[bytes] = (),
) -> Tombstone:
    """The tombstone of a key that was erased, as far as it was known by `until`, microseconds.

    tokens: of the ids of its events, where these are changed by images.
    """
    before = read_tombstones(store, source)
    salt = before[0].salt if before else secrets.token_bytes(_SALT)
    digest, events = _digest(salt, _text(key)), {_digest(salt, token) for token in tokens}
    counted = list[str]()
    for tombstone in before:
        if tombstone.digest == digest:
            events |= _split(tombstone.events)
            counted = tombstone.counted if tombstone.until >= until else []
            until = max(until, tombstone.until)
    return Tombstone(sorted(key), salt, digest, until, b"".join(sorted(events)), counted)


def write_tombstone(store: OnlineStore, source: str, tombstone: Tombstone) -> None:
    """Have every fill leave the rows out."""
    tombstone_key = keyspace.tombstone(source, tombstone.digest)
    store.commit({tombstone_key: encoded_tombstone(tombstone)}, {})


def drop_tombstones(store: OnlineStore, source: str, dropped: Sequence[Tombstone]) -> None:
    """Forget keys that no history has any more."""
    if dropped:
        store.commit(
            {keyspace.tombstone(source, tombstone.digest): None for tombstone in dropped}, {}
        )


def read_erased(store: OnlineStore, source: Source) -> ErasedRows:
    """Which rows of a source were erased.

    Raises:
        DataError: the source does not say any more whom its rows are of.
    """
    erased = ErasedRows(tuple(read_tombstones(store, source.name)))
    missing = erased.columns - set(source.columns or erased.columns)
    if missing:
        raise DataError(
            f"source {source.name!r} lacks the column {min(missing)!r}, by which a key was erased "
            "that its history may still have; keep the column until the rows are removed from the "
            "history, and the key is erased again"
        )
    return erased


@dataclass(frozen=True)
class ErasedRows:
    """Which rows of a source were erased, by its tombstones."""

    tombstones: tuple[Tombstone, ...] = ()

    @property
    def columns(self) -> frozenset[str]:
        """The columns with the erased keys."""
        return frozenset(name for tombstone in self.tombstones for name in tombstone.columns)

    @property
    def digest(self) -> str:
        """The name of work without the erased rows; "" where none was erased."""
        if not self.tombstones:
            return ""
        data = b"".join(sorted(map(encoded_tombstone, self.tombstones)))
        return "-" + hashlib.blake2b(data, digest_size=8).hexdigest()

    @property
    def until(self) -> int:
        """The time, microseconds, after which known rows are not erased."""
        return max((tombstone.until for tombstone in self.tombstones), default=0)

    def of_events(self, events: pl.DataFrame, source: Source) -> Bool:
        """Which events of a history were erased, bool (events); they have `columns`."""
        if not self.tombstones or not events.height:
            return np.zeros(events.height, np.bool_)
        if KNOWN in events.columns:
            known = events[KNOWN].to_numpy()
        else:
            late = source.delay if source.window_on == "timestamp" else 0
            known = events[TIME].to_numpy() + late
        return self._among(events, known, source)

    def of_keys(self, keys: pl.DataFrame) -> Bool:
        """Which keys were erased, bool (keys), whether or not they came again later; they have
        `columns`.
        """
        return self._by_key(keys, np.zeros(keys.height, np.int64))

    def within(self, columns: Collection[str]) -> ErasedRows:
        """The erased rows by keys of these columns alone."""
        return ErasedRows(tuple(t for t in self.tombstones if set(t.columns) <= set(columns)))

    def of_rows(self, acceptance: Acceptance, rows: pl.DataFrame) -> Bool:
        """Which rows of an archive, or the like, were erased, bool (rows)."""
        mask = np.zeros(rows.height, np.bool_)
        if not self.tombstones or not rows.height:
            return mask
        keys = key_rows(acceptance, rows, self.columns)
        # held rows were received, and no commit has made them known yet
        known = np.zeros(rows.height, np.int64)
        if KNOWN_AT in rows.columns:
            known = rows[KNOWN_AT].dt.epoch("us").to_numpy()
        known = known[keys[ROW].to_numpy()]
        mask[keys[ROW].to_numpy()] = self._among(keys, known, acceptance.source)
        return mask

    def remaining(self, history: pl.DataFrame) -> list[Tombstone]:
        """The tombstones whose key, or events, are among the rows of a history."""
        present = {digest for _, digests in self._digests(history) for digest in digests.values()}
        if any(tombstone.events for tombstone in self.tombstones):
            salt = self.tombstones[0].salt
            present |= {_digest(salt, token) for token in tokens_of(history[IDENT].drop_nulls())}
        return [
            tombstone
            for tombstone in self.tombstones
            if not present.isdisjoint({tombstone.digest, *_split(tombstone.events)})
        ]

    def _by_key(self, rows: pl.DataFrame, known: I64) -> Bool:
        mask = np.zeros(rows.height, np.bool_)
        until = {tombstone.digest: tombstone.until for tombstone in self.tombstones}
        for numbers, digests in self._digests(rows):
            last = np.array([until.get(digests[n], -1) for n in range(len(digests))], np.int64)
            row, number = numbers["__row"].to_numpy(), numbers["__key"].to_numpy()
            erased = known[row] <= last[number]
            mask[row[erased & (last[number] >= 0)]] = True
        return mask

    def _among(self, rows: pl.DataFrame, known: I64, source: Source) -> Bool:
        mask = self._by_key(rows, known)
        named = {event for tombstone in self.tombstones for event in _split(tombstone.events)}
        if named and source.changes is not None:
            salt, last_of_all = self.tombstones[0].salt, self.until
            ids = rows[IDENT].drop_nulls()
            whose = np.array([_digest(salt, token) in named for token in tokens_of(ids)], np.bool_)
            rows_with_id = np.flatnonzero(rows[IDENT].is_not_null().to_numpy())
            erased_rows = rows_with_id[whose]
            mask[erased_rows[known[erased_rows] <= last_of_all]] = True
        return mask

    def _digests(self, rows: pl.DataFrame) -> list[tuple[pl.DataFrame, dict[int, bytes]]]:
        """By columns of keys: `__row` and the number `__key` of each key that it has, and the
        digest of each key. A row with a list has several.
        """
        found = []
        for columns in sorted({tuple(tombstone.columns) for tombstone in self.tombstones}):
            keys = rows.select(columns).with_row_index("__row")
            for name in columns:
                if isinstance(keys.schema[name], pl.List):
                    keys = keys.explode(name)
            keys = keys.drop_nulls(list(columns))
            distinct = keys.select(columns).unique(maintain_order=True).with_row_index("__key")
            salt = self.tombstones[0].salt
            digests = {
                n: _digest(salt, _text(dict(zip(columns, values, strict=True))))
                for n, values in enumerate(distinct.select(columns).iter_rows())
            }
            numbers = keys.join(distinct, on=list(columns)).select("__row", "__key")
            found.append((numbers, digests))
        return found


def key_rows(acceptance: Acceptance, rows: pl.DataFrame, columns: frozenset[str]) -> pl.DataFrame:
    """The columns of a key of rows as a stream brings them, with ROW, and IDENT where events have
    ids. The source's filter does not matter.
    """
    lacking = [
        pl.lit(None, dtype).alias(name)
        for name, dtype in acceptance.schema.items()
        if name not in rows.columns
    ]
    numbered = rows.with_columns(lacking).with_row_index(ROW)
    source = replace(acceptance.source, filter=None, history=Frame(numbered))
    ids = [IDENT] if source.id_field is not None else []
    return collect(
        arrived(source, sorted(columns), [], [ROW]), f"source {source.name!r}", held=True
    ).select(*sorted(columns), *ids, pl.col(ROW).cast(pl.Int64))


def as_text(value: object) -> str:
    """A value of a key as the command line takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _text(key: Mapping[str, object]) -> bytes:
    return json.dumps(sorted((name, as_text(value)) for name, value in key.items())).encode()


def _digest(salt: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST, key=salt).digest()


def _split(digests: bytes) -> set[bytes]:
    return {digests[n : n + _DIGEST] for n in range(0, len(digests), _DIGEST)}
