"""Erasing a key from the state of a source's stream: records, ids, held events, change images, and
rows that wait for their files.

Records by the key are dropped. A record by another key that counted erased events is computed again
from the events that stay, so archive and records agree. The commit expects the progress of the
partition, as a partition writer's does: a writer that runs elsewhere is fenced by it, reads what
the store holds, and goes on.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from headwater.definitions.feature_view import FeatureView
from headwater.erasure.key_match import ErasedKey, StreamRows
from headwater.errors import FencedError, LostError
from headwater.events.read_events import IDENT, ROW, TIME
from headwater.ingestion.archive import FOLDERS, Roller
from headwater.ingestion.change_state import tokens_of
from headwater.ingestion.commit import PartitionWriter
from headwater.ingestion.fill_views import history_before
from headwater.ingestion.ids import WIDTH, words
from headwater.ingestion.validate import Acceptance
from headwater.kernel.arrays import Bool
from headwater.monitoring.orphans import spelt
from headwater.state import change_codec as kept
from headwater.state.record import frame_bytes, frame_of, section, stored_sections, with_section
from headwater.state.view_state import StreamStart, ViewTiles, progresses, read_part
from headwater.stores import OnlineStore, keyspace

_ROWS = 200_000
_BYTES = 1 << 26  # of one commit
_ATTEMPTS = 20  # each finds again what to erase


@dataclass(frozen=True)
class StreamMatches:
    """What a partition holds of a key: rows by place, the changes that remove them, and tokens of
    the ids of erased change images.
    """

    rows: Mapping[str, int]
    changes: Mapping[bytes, bytes | None]
    tokens: frozenset[bytes] = frozenset()
    unread: int = 0


class StreamState:
    """What an online store holds of one partition of a source's stream.

    Args:
        writer: the partition writer. key: what to erase. folder: where the archive is; None where
            none is kept.
        tokens: of the ids of change images that an earlier run found.
    """

    def __init__(
        self,
        writer: PartitionWriter,
        key: ErasedKey,
        folder: Path | None,
        tokens: frozenset[bytes] = frozenset(),
    ) -> None:
        self.writer, self.key, self.folder, self.store = writer, key, folder, writer.store
        self.acceptance: Acceptance = writer.acceptance
        self.stream = StreamRows(self.acceptance, key)
        self.known_tokens = tokens

    def find(self) -> StreamMatches:
        """Look for the key."""
        rows: Counter[str] = Counter()
        changes: dict[bytes, bytes | None] = {}
        if self.writer.corrections is None:
            by_view = {tiles.view: self._sections(tiles) for tiles in self.acceptance.tiles}
            by_key = {
                record_key
                for view, parts in by_view.items()
                if self.key.columns <= set(view.keys)
                for record_key in parts
            }
            # whole, with what earlier definitions left there
            changes |= {**self._records(by_view), **dict.fromkeys(by_key)}
            rows += _removed(by_view)
        else:
            found_images = self._images()
            changes |= found_images
            rows["change images"] += sum(
                key.startswith(keyspace.IMAGE) and value is None
                for key, value in found_images.items()
            )
        changes |= self._held(rows)
        changes |= self._ids(rows)
        unread = 0
        for space in FOLDERS:  # last, since records are computed from what waits for the archive
            blocks, lost = self._blocks(space, rows)
            changes |= blocks
            unread += lost
        if changes or any(mask.any() for _, mask in self.archived):
            # a process that fills views from the archive is fenced, and restarts with the remaining
            # rows
            changes = {
                keyspace.filling(
                    self.writer.source.name, self.writer.partition
                ): secrets.token_bytes(16),
                **changes,
            }
        return StreamMatches(
            +rows,
            changes,
            frozenset(self.tokens) if self.writer.corrections is not None else frozenset(),
            unread,
        )

    def erase(self) -> StreamMatches:
        """Remove the matches.

        Raises:
            StoreError: the store cannot be written.
        """
        for _ in range(_ATTEMPTS):
            try:
                matches = self.find()
                self._commit(matches)
            except LostError:
                raise
            except FencedError:
                # the writer of the partition was first: what was found is out of date
                self.writer.load()
                for cached in ("archived", "tokens"):
                    self.__dict__.pop(cached, None)
                continue
            return matches
        raise FencedError(
            f"the stream of source {self.writer.source.name!r} is written too often to be erased "
            "from; stop `headwater ingest`"
        )

    def _commit(self, matches: StreamMatches) -> None:
        """Write the changes in their order, some at a time, each time with the progress, so that
        other writers are fenced.
        """
        writer, pairs = self.writer, iter(matches.changes.items())
        progress, erased = writer.progress, sum(int(mask.sum()) for _, mask in self.archived)
        encoded = writer.state.encoded
        while batch := dict(_until(pairs, _BYTES)):
            expect: dict[bytes, bytes | None] = {writer.place: encoded}
            records = [key for key in batch if key.startswith(keyspace.RECORD)]
            expect |= zip(
                records, self.store.get(records), strict=True
            )  # keys with an expected value are overwritten, and no older version is kept
            counts = dict(Counter(progress.counts) + Counter({"erased": erased, "erasures": 1}))
            progress, erased = msgspec.structs.replace(progress, counts=counts), 0
            written = msgspec.msgpack.encode(progress)
            self.store.commit({**batch, writer.place: written}, expect)
            encoded = written
        if matches.changes:
            writer.load()

    # ------------------------------------------------------------ records

    def _records(
        self, by_view: Mapping[FeatureView, Mapping[bytes, bytes]]
    ) -> dict[bytes, bytes | None]:
        """The records with the sections that views are to have."""
        places = sorted({key for parts in by_view.values() for key in parts})
        records = dict(zip(places, self.store.get(places), strict=True)) if places else {}
        for view, parts in by_view.items():
            for key, new_section in parts.items():
                records[key] = (
                    with_section(records[key], view.tiles_fingerprint, new_section) or None
                )
        return records

    def _sections(self, tiles: ViewTiles) -> dict[bytes, bytes]:
        """A view's sections without the key, by the place of the record: computed again, or
        empty.
        """
        view = tiles.view
        if read_part(self.store, view.tiles_fingerprint, self.writer.partition) is None:
            return {}
        if self.key.columns <= set(view.keys):
            return dict.fromkeys(self._places_by_key(tiles), b"")
        wanted = self._keys_of_erased(tiles)
        if not wanted:
            return {}
        records = dict.fromkeys(sorted(wanted), b"")

        def fetch(keys: list[bytes]) -> list[bytes]:
            return [records[key] for key in keys]

        for events, mask in self._past(tiles):
            left = events.filter(pl.Series(~mask) & (events[TIME] < self.writer.progress.at))
            keyed, keys = self._keyed(tiles, left)
            mine = keyed.filter(pl.Series([key in wanted for key in keys], dtype=pl.Boolean))
            for batch in mine.iter_slices(_ROWS) if mine.height else ():
                records.update(tiles.update(batch, self.writer.progress.at, self._through, fetch))
        return {self._record_key(tiles, key): record for key, record in records.items()}

    def _places_by_key(self, tiles: ViewTiles) -> list[bytes]:
        """Where the records of a view stand whose keys have the erased one."""
        view, dtypes = tiles.view, {name: tiles.schema[name] for name in tiles.view.keys}
        exact = self.key.bytes_of(view.keys, dtypes)
        if set(view.keys) == self.key.columns:
            record_key = None if exact is None else self._record_key(tiles, exact)
            return (
                [record_key]
                if record_key and section(self.store.get([record_key])[0], view.tiles_fingerprint)
                else []
            )
        begin = keyspace.records(view.record_group)
        end = b"" if self.writer.partition is None else b"\0" + self.writer.partition.encode()
        scanned = [
            record_key
            for record_key, _ in stored_sections(self.store, view)
            if record_key.endswith(end)
        ]
        by_values = {
            p
            for p in scanned
            if self.key.is_row(spelt(p[len(begin) : len(p) - len(end)], dtypes), dtypes)
        }
        # also those that are too long to be read
        exactly = {self._record_key(tiles, key) for key in self._keys_of_erased(tiles)}
        return sorted(by_values | (exactly & set(scanned)))

    def _keys_of_erased(self, tiles: ViewTiles) -> set[bytes]:
        """The keys of a view that erased events have."""
        return {
            key
            for events, mask in self._past(tiles)
            if mask.any()
            for key in self._keyed(tiles, events.filter(pl.Series(mask)))[1]
        }

    def _record_key(self, tiles: ViewTiles, key: bytes) -> bytes:
        return keyspace.record(tiles.view.record_group, key, self.writer.partition)

    @property
    def _through(self) -> int:
        return self.writer.progress.sequence

    def _past(self, tiles: ViewTiles) -> Iterator[tuple[pl.DataFrame, Bool]]:
        """The events that a view's records may hold, from the archive and the history before the
        stream; and which of them have the key.
        """
        for read, mask in self.archived:
            events = self.acceptance.events_of(self._columns(read()))
            yield events, mask[events[ROW].to_numpy()]
        begun = self.store.get([keyspace.begun(self.writer.source.name)])[0]
        start = None if begun is None else msgspec.msgpack.decode(begun, type=StreamStart)
        if (
            start is not None
            and start.partition == self.writer.partition
            and self.writer.source.history is not None
        ):
            past = history_before(tiles.view, None, start.until, self.key.columns)
            yield past, self.key.matches(past)

    @cached_property
    def archived(self) -> list[tuple[Callable[[], pl.DataFrame], Bool]]:
        """What reads each part of the archive, in files and not yet, and which of its rows have the
        key.
        """
        return self._archived(self.writer.partition)

    def _archived(self, partition: str | None) -> list[tuple[Callable[[], pl.DataFrame], Bool]]:
        if self.folder is None:
            return []
        roller = Roller(
            self.store,
            keyspace.ARCHIVE,
            self.folder / FOLDERS[keyspace.ARCHIVE],
            self.writer.source.name,
            partition,
        )
        return [(read, self.stream.matches(read())) for read in roller.parts()]

    def _erased_rows(self) -> Iterator[pl.DataFrame]:
        """The rows of the archive and the held ones that have the key, by the columns of the
        stream.
        """
        for read, mask in self.archived:
            if mask.any():
                yield self._columns(read().filter(pl.Series(mask)))
        for _, value in self.store.scan(keyspace.HELD + keyspace.name(self.writer.name)):
            rows = frame_of(value)
            yield self._columns(rows.filter(pl.Series(self.stream.matches(rows))))

    def _columns(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows by the columns of the stream, null for one that they were written without."""
        schema = self.acceptance.schema
        return rows.select(
            pl.col(name) if name in rows.columns else pl.lit(None, dtype).alias(name)
            for name, dtype in schema.items()
        )

    def _ids_of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The ids that rows have, with their places among them; the source's filter does not
        matter.
        """
        whole = replace(self.acceptance, source=replace(self.writer.source, filter=None))
        return whole.events_of(rows).select(ROW, IDENT).drop_nulls()

    def _keyed(self, tiles: ViewTiles, events: pl.DataFrame) -> tuple[pl.DataFrame, list[bytes]]:
        """The events that have all keys of a view, and the bytes of each one's key."""
        keyed, number, keys = tiles.keyed(events)
        return keyed, [keys[n] for n in number.tolist()]

    # ------------------------------------------------------------ images of changes

    @cached_property
    def tokens(self) -> set[bytes]:
        """What stands for the ids of events that an image gives the key: in the store, in the
        archive, or found by an earlier run.
        """
        assert self.writer.corrections is not None
        erased_tokens = set(self.known_tokens)
        for rows in self._erased_rows():
            erased_tokens |= set(tokens_of(self._ids_of(rows)[IDENT]))
        schema = self.writer.corrections.schema
        erased_tokens |= {
            token
            for token, entry in self._entries()
            if self.key.matches(kept.frame_of(entry.images, schema)).any()
        }
        return erased_tokens

    def _entries(self) -> Iterator[tuple[bytes, kept.EventImages]]:
        assert self.writer.corrections is not None
        begin = self.writer.corrections.image
        for image_key, value in self.store.scan(begin):
            yield image_key[len(begin) :], kept.decoded(value)

    def _images(self) -> dict[bytes, bytes | None]:
        """The store without the images of erased events, and records by the keys that they had."""
        corrections = self.writer.corrections
        assert corrections is not None
        if not self.tokens:
            return {}
        entries = {token: entry for token, entry in self._entries() if token in self.tokens}
        changes: dict[bytes, bytes | None] = {}
        by_view: dict[FeatureView, dict[bytes, bytes]] = {}
        for due_key, value in self.store.scan(keyspace.DUE + keyspace.name(self.writer.name)):
            left = [
                t
                for n in range(0, len(value), kept.TOKEN)
                if (t := value[n : n + kept.TOKEN]) not in self.tokens
            ]
            if len(left) * kept.TOKEN < len(value):
                changes[due_key] = b"".join(left) or None
        holding = {
            token: entry.images[entry.holds] for token, entry in entries.items() if entry.holds >= 0
        }
        gone = kept.frame_of(list(holding.values()), corrections.schema)
        for tiles in self.acceptance.tiles:
            changes |= dict.fromkeys(corrections.places(tiles, gone, list(holding)))
            wanted = set(self._keyed(tiles, gone.filter(pl.col(TIME).is_not_null()))[1])
            if wanted:
                by_view[tiles.view] = self._standing(tiles, wanted)
        changes |= self._records(by_view)
        return {**changes, **dict.fromkeys(corrections.image + token for token in entries)}

    def _standing(self, tiles: ViewTiles, wanted: set[bytes]) -> dict[bytes, bytes]:
        """A view's sections of some keys, by the place of the record, from the images that stay."""
        corrections = self.writer.corrections
        assert corrections is not None
        records = dict.fromkeys(sorted(wanted), b"")

        def fetch(keys: list[bytes]) -> list[bytes]:
            return [records[key] for key in keys]

        entries = (
            entry.images[entry.holds]
            for token, entry in self._entries()
            if token not in self.tokens and entry.holds >= 0
        )
        while images := list(islice(entries, _ROWS)):
            events = kept.frame_of(images, corrections.schema).filter(
                pl.col(TIME) < self.writer.progress.at
            )
            keyed, keys = self._keyed(tiles, events)
            mine = keyed.filter(pl.Series([key in wanted for key in keys], dtype=pl.Boolean))
            if mine.height:
                records.update(tiles.update(mine, self.writer.progress.at, self._through, fetch))
        return {self._record_key(tiles, key): record for key, record in records.items()}

    # ---------------------------------------- held events, ids, rows that wait for files

    def _held(self, rows: Counter[str]) -> dict[bytes, bytes | None]:
        changes: dict[bytes, bytes | None] = {}
        for block_key, value in self.store.scan(keyspace.HELD + keyspace.name(self.writer.name)):
            held = frame_of(value)
            mask = self.stream.matches(held)
            if mask.any():
                rows["held events"] += int(mask.sum())
                changes[block_key] = (
                    frame_bytes(held.filter(pl.Series(~mask))) if not mask.all() else None
                )
        return changes

    def _ids(self, rows: Counter[str]) -> dict[bytes, bytes | None]:
        """The ids of accepted events without those of erased ones: an event that is sent again
        counts as new.
        """
        if self.writer.source.id_field is None or self.writer.corrections is not None:
            return {}
        parts = [ids for rows in self._erased_rows() if (ids := self._ids_of(rows)[IDENT]).len()]
        gone = {
            pair
            for ids in parts
            for pair in zip(*(word.tolist() for word in words(ids)), strict=True)
        }
        if not gone:
            return {}
        changes: dict[bytes, bytes | None] = {}
        for block_key, value in self.store.scan(keyspace.IDS + keyspace.name(self.writer.name)):
            block = np.frombuffer(value, np.int64).reshape(-1, WIDTH)
            mine = np.array(
                [
                    pair in gone
                    for pair in zip(block[:, 0].tolist(), block[:, 1].tolist(), strict=True)
                ],
                np.bool_,
            )
            if mine.any():
                rows["ids"] += int(mine.sum())
                changes[block_key] = block[~mine].tobytes() or None
        return changes

    def _blocks(self, space: bytes, rows: Counter[str]) -> tuple[dict[bytes, bytes | None], int]:
        """What waits for the files of a space without the rows of the key; and how many payloads
        could not be read.
        """
        changes: dict[bytes, bytes | None] = {}
        unread = 0
        for block_key, value in self.store.scan(space + keyspace.name(self.writer.name)):
            block = frame_of(value)
            mask, lost = self.rows_of(space, block)
            unread += lost
            if mask.any():
                rows[FOLDERS[space]] += int(mask.sum())
                changes[block_key] = (
                    frame_bytes(block.filter(pl.Series(~mask))) if not mask.all() else None
                )
        return changes, unread

    def rows_of(self, space: bytes, rows: pl.DataFrame) -> tuple[Bool, int]:
        """Which rows of the archive, of filtered rows or of dead letters have the key; and how many
        payloads could not be read.
        """
        if space == keyspace.DEAD:
            return self.stream.payloads(rows["payload"].to_list())
        mask = self.stream.matches(rows)
        if (
            self.writer.corrections is not None
            and space == keyspace.ARCHIVE
            and self.tokens
            and rows.height
        ):
            ids = self._ids_of(self._columns(rows))
            mine = [token in self.tokens for token in tokens_of(ids[IDENT])]
            mask[ids[ROW].to_numpy()[np.array(mine, np.bool_)]] = True
        return mask, 0


def partitions(store: OnlineStore, source: str) -> list[str | None]:
    """The partitions that a store holds of a source's stream; None alone where one writer has all
    of it.
    """
    return [name.decode() or None for name in progresses(store, source)]


def _removed(by_view: Mapping[FeatureView, Mapping[bytes, bytes]]) -> Counter[str]:
    """How many records no longer have a section of a view; one for all generations of it."""
    places: dict[tuple[str, str], set[bytes]] = {}
    for view, parts in by_view.items():
        places.setdefault((view.name, view.first_generation), set()).update(
            place for place, part in parts.items() if not part
        )
    rows = Counter[str]()
    for (name, _), removed in places.items():
        rows[f"online records of {name}"] += len(removed)
    return rows


def _until(
    pairs: Iterator[tuple[bytes, bytes | None]], size: int
) -> Iterator[tuple[bytes, bytes | None]]:
    """The next pairs, of so many bytes together at least, where there are so many."""
    total = 0
    while total < size and (pair := next(pairs, None)) is not None:
        total += len(pair[0]) + len(pair[1] or b"")
        yield pair
