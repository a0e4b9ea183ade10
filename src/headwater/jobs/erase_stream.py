"""Erasing a key from the state of a source's stream: records, ids, held events, change images, and
rows that wait for their files.

Records by the key are removed, and those by other keys that counted its events are filled again.
Each commit expects the progress of the partition and changes it: a writer that runs elsewhere is
fenced by it, reads what the store holds, and goes on. Where it was faster, it is paused meanwhile.
"""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from headwater import clock
from headwater.events.read_events import IDENT
from headwater.ingestion.archive import FOLDERS, KNOWN_AT, Roller
from headwater.ingestion.change_state import tokens_of
from headwater.ingestion.commit import PartitionWriter
from headwater.ingestion.fill_keys import fill_keys
from headwater.ingestion.ids import WIDTH, words
from headwater.ingestion.past_events import Logs, history_before, images_before, stream_start
from headwater.ingestion.tombstones import (
    ErasedRows,
    Tombstone,
    decoded_tombstone,
    encoded_tombstone,
)
from headwater.ingestion.validate import Acceptance
from headwater.jobs.key_match import ErasedKey, payloads_of
from headwater.kernel.arrays import Bool
from headwater.monitoring.orphans import spelt
from headwater.state import change_codec as kept
from headwater.state.record import (
    fingerprints,
    frame_bytes,
    frame_of,
    section,
    stored_sections,
    with_section,
)
from headwater.state.view_state import FAR, ViewTiles, progresses, read_part
from headwater.stores import OnlineStore, keyspace

_BYTES = 1 << 26  # of one commit


@dataclass(frozen=True)
class StreamMatches:
    """A partition's records of a key: rows by place, the changes that remove them, the number of
    unreadable payloads, and the number of erased rows of the archive.
    """

    rows: Mapping[str, int]
    changes: Mapping[bytes, bytes | None]
    unread: int = 0
    erased: int = 0


class StreamState:
    """The state of one partition of a source's stream in an online store.

    Args:
        writer: the partition writer. key: what to erase. tombstone: of the key.
        folder: where the archive is.
        tokens: of the ids of change images that are the key's.
    """

    def __init__(
        self,
        writer: PartitionWriter,
        key: ErasedKey,
        tombstone: Tombstone,
        folder: Path,
        tokens: frozenset[bytes] = frozenset(),
    ) -> None:
        self.writer, self.key, self.tombstone, self.folder = writer, key, tombstone, folder
        self.store, self.tokens = writer.store, tokens
        self.acceptance: Acceptance = writer.acceptance
        self.erased = ErasedRows((tombstone,))

    def find(self) -> StreamMatches:
        """Look for the key; records by other keys that count its events are not counted."""
        return _together(self._records(), self._images(), self._others())

    def erase(self) -> StreamMatches:
        """Remove the key, and fill the records that counted its events.

        Raises:
            StoreError: the store cannot be written.
        """
        self._settle(self._begin)
        # while the archive and its waiting blocks still have the keys that counted the events
        wanted = [(tiles, self._wanted(tiles)) for tiles in self.acceptance.tiles]
        records = self._settle(lambda: _together(self._records(), self._images()))
        fill_keys(self.writer, self._logs, wanted)
        return _together(records, self._settle(self._others))

    def _settle(self, find: Callable[[], StreamMatches]) -> StreamMatches:
        """Find, and write the changes."""

        def step() -> StreamMatches:
            matches = find()
            self._commit(matches)
            return matches

        return self.writer.repair(step)

    def _commit(self, matches: StreamMatches) -> None:
        """Write the changes in their order, some at a time, each time with the progress, so that
        other writers are fenced.
        """
        writer, pairs, erased = self.writer, iter(matches.changes.items()), matches.erased
        while batch := dict(_until(pairs, _BYTES)):
            # keys with an expected value are overwritten, and no older version is kept
            records = [key for key in batch if key.startswith(keyspace.RECORD)]
            expect = dict(zip(records, self.store.get(records), strict=True))
            counts = Counter(writer.progress.counts) + Counter({"erased": erased, "erasures": 1})
            # commits from here on are known later than the erased rows
            at, erased = max(writer.progress.at, self.tombstone.until + 1), 0
            progress = msgspec.structs.replace(writer.progress, counts=dict(counts), at=at)
            writer.note(progress, batch, {**expect, **writer.unmoved()})
        if matches.changes:
            writer.load()

    def _begin(self) -> StreamMatches:
        """Fence a process that fills views, and count the erased rows of the archive, once for all
        runs.
        """
        source, partition = self.writer.source.name, self.writer.partition
        changes: dict[bytes, bytes | None] = {
            keyspace.filling(source, partition): secrets.token_bytes(16)
        }
        (before,) = self.store.get([keyspace.tombstone(source, self.tombstone.digest)])
        tombstone = decoded_tombstone(before) if before else self.tombstone
        if (partition or "") in tombstone.counted:
            return StreamMatches({}, changes)
        counted = [*tombstone.counted, partition or ""]
        marked = msgspec.structs.replace(tombstone, counted=counted)
        changes[keyspace.tombstone(source, tombstone.digest)] = encoded_tombstone(marked)
        erased = sum(int(self.erased.of_rows(self.acceptance, read()).sum()) for read in self.parts)
        return StreamMatches({}, changes, erased=erased)

    # ------------------------------------------------------------ records

    def _records(self) -> StreamMatches:
        """Remove the records by the key; of views that are filled, the records of earlier
        definitions.
        """
        removed, changes = defaultdict[str, set[bytes]](set), dict[bytes, bytes | None]()
        stored = filter(self._is_stored, self.acceptance.tiles)
        names = {tiles.view.tiles_fingerprint for tiles in stored}
        for tiles in self.acceptance.tiles:
            if not self.key.columns <= set(tiles.view.keys) or not self._is_stored(tiles):
                continue
            filled = {self._record_key(tiles, key) for key in self._wanted(tiles)}
            places = self._places(tiles)
            # generations of a view have their sections in the same records
            removed[f"online records of {tiles.view.name}"].update(places)
            for record_key, record in zip(places, self.store.get(places), strict=True):
                remaining = record if record_key in filled else None
                for name in set(fingerprints(remaining)) - names if remaining else ():
                    remaining = with_section(remaining, name, b"")
                changes[record_key] = remaining or None
        return StreamMatches({name: len(places) for name, places in removed.items()}, changes)

    def _wanted(self, tiles: ViewTiles) -> list[bytes]:
        """The keys of a view to fill: the keys of erased rows; and of a view by the key, whose
        records are removed, the keys of later rows. An erased event may have moved to any key.
        """
        if not self._is_stored(tiles):
            return []
        by_key, corrections = self.key.columns <= set(tiles.view.keys), self.writer.corrections
        keys = set[bytes]()
        for read in self.parts:
            rows = read()
            mask = (self.anytime if by_key else self.erased).of_rows(self.acceptance, rows)
            if by_key and corrections is None:
                mask &= ~self.erased.of_rows(self.acceptance, rows)
            keys |= self._keys_of(tiles, self._columns(rows.filter(pl.Series(mask))))
        if corrections is not None:
            images = [image for entry in self._entries().values() for image in entry.images]
            keys |= set(tiles.keyed(kept.frame_of(images, corrections.schema))[2])
        if corrections is not None or not by_key:
            keys |= self._keys_of_history(tiles)
        return sorted(keys)

    def _keys_of(self, tiles: ViewTiles, rows: pl.DataFrame) -> set[bytes]:
        return set(tiles.keyed(self.acceptance.events_of(rows))[2]) if rows.height else set()

    def _keys_of_history(self, tiles: ViewTiles) -> set[bytes]:
        """The keys that erased events have in a view, of the history that the stream continues."""
        source, start = self.writer.source, stream_start(self.store, self.writer.source.name)
        if start is None or start.partition != self.writer.partition or source.history is None:
            return set()
        if source.changes is None:
            columns = self.erased.columns
            past = history_before(tiles.view, None, start.until, ErasedRows(), columns)
        else:
            past = images_before(self.acceptance, start.until, ErasedRows())
        mask = pl.Series(self.erased.of_events(past, source), dtype=pl.Boolean)
        return set(tiles.keyed(past.filter(mask))[2])

    def _is_stored(self, tiles: ViewTiles) -> bool:
        name = tiles.view.tiles_fingerprint
        return read_part(self.store, name, self.writer.partition) is not None

    def _places(self, tiles: ViewTiles) -> list[bytes]:
        """The places of a view's records whose keys contain the erased one."""
        view, dtypes = tiles.view, {name: tiles.schema[name] for name in tiles.view.keys}
        if set(view.keys) == self.key.columns:
            exact = self.key.bytes_of(view.keys, dtypes)
            places = [] if exact is None else [self._record_key(tiles, exact)]
            return [
                record_key
                for record_key, record in zip(places, self.store.get(places), strict=True)
                if section(record, view.tiles_fingerprint)
            ]
        begin = keyspace.records(view.record_group)
        end = b"" if self.writer.partition is None else b"\0" + self.writer.partition.encode()
        stored = [key for key, _ in stored_sections(self.store, view) if key.endswith(end)]
        # also keys too long to be read
        erased = {
            self._record_key(tiles, key)
            for read in self.parts
            for key in self._keys_of(tiles, self._columns(self._of_key(read())))
        }
        return [
            record_key
            for record_key in stored
            if record_key in erased
            or self.key.is_row(
                spelt(record_key[len(begin) : len(record_key) - len(end)], dtypes), dtypes
            )
        ]

    def _record_key(self, tiles: ViewTiles, key: bytes) -> bytes:
        return keyspace.record(tiles.view.record_group, key, self.writer.partition)

    # ------------------------------------------------------------ rows of the stream

    @property
    def parts(self) -> list[Callable[[], pl.DataFrame]]:
        """The parts of the archive, in files and not yet, each as a function that reads it."""
        return self._logs.archive.parts()

    @property
    def anytime(self) -> ErasedRows:
        """The key's rows, later ones included."""
        return ErasedRows((msgspec.structs.replace(self.tombstone, until=FAR),))

    @cached_property
    def _logs(self) -> Logs:
        archive, filtered, dead = (
            Roller(
                self.store,
                space,
                self.folder / FOLDERS[space],
                self.writer.source.name,
                self.writer.partition,
            )
            for space in (keyspace.ARCHIVE, keyspace.FILTERED, keyspace.DEAD)
        )
        return Logs(archive, filtered, dead)

    def _of_key(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.filter(pl.Series(self.erased.of_rows(self.acceptance, rows)))

    def _erased_rows(self) -> Iterator[pl.DataFrame]:
        """The rows of the archive and the held ones that are erased, by the columns of the
        stream.
        """
        for read in self.parts:
            yield self._columns(self._of_key(read()))
        for _, value in self.store.scan(keyspace.HELD + keyspace.name(self.writer.name)):
            yield self._columns(self._of_key(frame_of(value)))

    def _columns(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows by the columns of the stream, null for one that they were written without."""
        schema = self.acceptance.schema
        return rows.select(
            pl.col(name) if name in rows.columns else pl.lit(None, dtype).alias(name)
            for name, dtype in schema.items()
        )

    def _ids_of(self, rows: pl.DataFrame) -> pl.Series:
        """The ids that rows have; the source's filter does not matter."""
        whole = replace(self.acceptance, source=replace(self.writer.source, filter=None))
        return whole.events_of(rows)[IDENT].drop_nulls()

    # ---------------------------------------- ids, held events, images, rows that wait for files

    def _others(self) -> StreamMatches:
        """Remove all but records and images: last the blocks that wait for the archive, since they
        hold the ids.
        """
        return _together(self._held(), self._ids(), *(self._blocks(space) for space in FOLDERS))

    def tokens_of_key(self) -> set[bytes]:
        """The tokens of the ids of events with an image of the key: in the store or in the archive,
        without later ones.
        """
        corrections, later = self.writer.corrections, self._later_tokens()
        assert corrections is not None
        tokens = {token for rows in self._erased_rows() for token in tokens_of(self._ids_of(rows))}
        for key, value in self.store.scan(corrections.image):
            images = kept.frame_of(kept.decoded(value).images, corrections.schema)
            token = key[len(corrections.image) :]
            if token not in later and self.key.matches(images).any():
                tokens.add(token)
        return tokens

    def _later_tokens(self) -> set[bytes]:
        """The tokens of the ids of events whose last image is later than the erasure request."""
        until, tokens = clock.timestamp(self.erased.until), set[bytes]()
        for read in self.parts:
            rows = read()
            later = self._columns(rows.filter(pl.col(KNOWN_AT) > until))
            tokens |= set(tokens_of(self._ids_of(later))) if later.height else set()
        return tokens

    def _entries(self) -> dict[bytes, kept.EventImages]:
        """The stored entries of the key's events, by their tokens; of events that were not changed
        later.
        """
        assert self.writer.corrections is not None
        tokens = sorted(self.tokens - self._later_tokens())
        image = self.writer.corrections.image
        stored = self.store.get([image + token for token in tokens])
        return {
            token: kept.decoded(value)
            for token, value in zip(tokens, stored, strict=True)
            if value is not None
        }

    def _images(self) -> StreamMatches:
        """Remove the images of the key's events, where they stand in views, and when they are
        dropped.
        """
        corrections, changes = self.writer.corrections, dict[bytes, bytes | None]()
        if corrections is None or not self.tokens:
            return StreamMatches({}, {})
        entries = self._entries()
        for key, value in self.store.scan(keyspace.DUE + keyspace.name(self.writer.name)):
            every = [value[n : n + kept.TOKEN] for n in range(0, len(value), kept.TOKEN)]
            remaining = [token for token in every if token not in entries]
            if len(remaining) < len(every):
                changes[key] = b"".join(remaining) or None
        holding = {
            token: entry.images[entry.holds] for token, entry in entries.items() if entry.holds >= 0
        }
        events = kept.frame_of(list(holding.values()), corrections.schema)
        for tiles in self.acceptance.tiles:
            changes |= dict.fromkeys(corrections.places(tiles, events, list(holding)))
        changes |= dict.fromkeys(corrections.image + token for token in entries)
        return StreamMatches({"change images": len(entries)}, changes)

    def _held(self) -> StreamMatches:
        rows, changes = 0, dict[bytes, bytes | None]()
        for key, value in self.store.scan(keyspace.HELD + keyspace.name(self.writer.name)):
            held = frame_of(value)
            mask = self.erased.of_rows(self.acceptance, held)
            if mask.any():
                rows += int(mask.sum())
                remaining = held.filter(pl.Series(~mask))
                changes[key] = frame_bytes(remaining) if remaining.height else None
        return StreamMatches({"held events": rows}, changes)

    def _ids(self) -> StreamMatches:
        """Remove the ids of erased events: one that is sent again counts as new."""
        if self.writer.source.id_field is None or self.writer.corrections is not None:
            return StreamMatches({}, {})
        erased = {
            pair
            for rows in self._erased_rows()
            if (ids := self._ids_of(rows)).len()
            for pair in zip(*(word.tolist() for word in words(ids)), strict=True)
        }
        rows, changes = 0, dict[bytes, bytes | None]()
        for key, value in self.store.scan(keyspace.IDS + keyspace.name(self.writer.name)):
            block = np.frombuffer(value, np.int64).reshape(-1, WIDTH)
            pairs = zip(block[:, 0].tolist(), block[:, 1].tolist(), strict=True)
            mask = np.array([pair in erased for pair in pairs], np.bool_)
            if mask.any():
                rows += int(mask.sum())
                changes[key] = block[~mask].tobytes() or None
        return StreamMatches({"ids": rows}, changes)

    def _blocks(self, space: bytes) -> StreamMatches:
        """Remove rows that wait for the files of a space."""
        rows, unread, changes = 0, 0, dict[bytes, bytes | None]()
        for key, value in self.store.scan(space + keyspace.name(self.writer.name)):
            block = frame_of(value)
            mask, unread_here = self.rows_of(space, block)
            unread += unread_here
            if mask.any():
                rows += int(mask.sum())
                remaining = block.filter(pl.Series(~mask))
                changes[key] = frame_bytes(remaining) if remaining.height else None
        return StreamMatches({FOLDERS[space]: rows}, changes, unread)

    def rows_of(self, space: bytes, rows: pl.DataFrame) -> tuple[Bool, int]:
        """Which rows of the archive, of filtered rows or of dead letters are erased; and how many
        payloads could not be read.
        """
        if space == keyspace.DEAD:
            return payloads_of(self.acceptance, self.key, self.erased, rows)
        return self.erased.of_rows(self.acceptance, rows), 0


def partitions(store: OnlineStore, source: str) -> list[str | None]:
    """The partitions that a store holds of a source's stream; None alone where one writer has all
    of it.
    """
    return [name.decode() or None for name in progresses(store, source)]


def _together(*several: StreamMatches) -> StreamMatches:
    """Several matches as one."""
    rows, changes = Counter[str](), dict[bytes, bytes | None]()
    for matches in several:
        rows.update(matches.rows)
        changes |= matches.changes
    unread = sum(matches.unread for matches in several)
    return StreamMatches(+rows, changes, unread)


def _until(
    pairs: Iterator[tuple[bytes, bytes | None]], size: int
) -> Iterator[tuple[bytes, bytes | None]]:
    """The next pairs, of so many bytes together at least, where there are so many."""
    total = 0
    while total < size and (pair := next(pairs, None)) is not None:
        total += len(pair[0]) + len(pair[1] or b"")
        yield pair
