"""The per-event state of a change feed in one writer, so that corrections and deletions reach tiles
in the commit that reads them.

It stores, per event, the change images with the latest known_at and the event's position in each
view. These images define the event in any order of arrival; duplicates and images superseded by a
later one change nothing. Tiles that hold retracted events are recomputed from the events that
remain. An event is dropped when no window can reach it any more.

What a commit may read: the values that the store holds, and nothing that changes them.

What became of a record.
"""

from __future__ import annotations

import bisect
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import compress
from typing import Protocol

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater.events.change_images import MergedImages, folded
from headwater.events.read_events import BEFORE, IDENT, KNOWN, ROW, TIME
from headwater.ingestion.ids import words
from headwater.ingestion.sources.stream_reader import RecordBatch
from headwater.ingestion.validate import COPY, Acceptance, Arrived, copies
from headwater.kernel.arrays import I64, Bool
from headwater.state import change_codec as kept
from headwater.state.record import GroupedRecords
from headwater.state.view_state import Stretch, ViewTiles
from headwater.stores import keyspace

OLDER = "a change that a later one of the same event came before"

PASSED = "a change that a later one in the same commit replaced"

_LET_GO = 2  # blocks in one commit at most, so that none takes long


@dataclass(frozen=True)
class ImageBatch:
    """Images of one batch, none of the future; where the outcome of each record goes, int8; and the
    count that they add to.
    """

    records: RecordBatch
    arrived: Arrived
    record_outcomes: NDArray[np.int8]
    counted: str = "accepted"


@dataclass
class MergedChanges:
    """The changes that a commit makes for images.

    added: events to add to tiles. removed: events to take out. rows: for the archive. dead: for
    the dead letters. changes: of the store.
    """

    added: pl.DataFrame
    removed: pl.DataFrame
    rows: list[pl.DataFrame] = field(default_factory=list)
    dead: list[pl.DataFrame] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    changes: dict[bytes, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ChangeState:
    """The events of a writer that can be retracted, an immutable value; the images stand in the
    store.

    name: of the writer. none: no images, with the columns of an image. due: the keys of the blocks
    of events that expire, rising.
    """

    acceptance: Acceptance
    name: str
    partition: str | None
    none: pl.DataFrame
    due: tuple[bytes, ...]

    @classmethod
    def load(
        cls, acceptance: Acceptance, stored: StoredValues, name: str, partition: str | None
    ) -> ChangeState:
        """As the store has it."""
        none = acceptance.events_of(pl.DataFrame(schema=acceptance.schema)).drop(ROW)
        due = sorted(key for key, _ in stored.scan(keyspace.DUE + keyspace.name(name)))
        return cls(acceptance, name, partition, none, tuple(due))

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """The columns of an image."""
        return self.none.schema

    @property
    def image(self) -> bytes:
        """The prefix of the keys of the writer's events."""
        return keyspace.IMAGE + keyspace.name(self.name)

    def places(
        self, tiles: ViewTiles, events: pl.DataFrame, tokens: Sequence[bytes]
    ) -> list[bytes]:
        """The places of events in a view, of events that have its keys and a time."""
        numbered = events.with_columns(
            _token=pl.Series(range(events.height), dtype=pl.Int64)
        ).filter(pl.col(TIME).is_not_null())
        keyed, number, keys = tiles.keyed(numbered)
        stem = keyspace.events(tiles.view.tiles_fingerprint, self.partition)
        return kept.places(
            stem,
            keys,
            number,
            keyed[TIME].to_numpy(),
            [tokens[row] for row in keyed["_token"].to_list()],
        )

    def images_of(self, batches: Sequence[ImageBatch]) -> pl.DataFrame:
        """The images of some batches."""
        columns = self.none.columns
        return pl.concat([self.none, *(b.arrived.events.select(columns) for b in batches)])

    @cached_property
    def columns(self) -> frozenset[str]:
        """The names of the columns of an image."""
        return frozenset(self.none.columns)

    def is_narrow(self, entry: kept.EventImages) -> bool:
        """Whether stored images lack columns that a view reads, which they had before it did."""
        return any(not self.columns <= image.keys() for image in entry.images)

    def completed(
        self,
        entries: Mapping[bytes, kept.EventImages],
        images: pl.DataFrame,
        tokens: Sequence[bytes],
    ) -> dict[bytes, kept.EventImages]:
        """Narrow entries with all columns, those of the same ones of these images of these
        tokens.
        """
        narrow = {token for token, entry in entries.items() if self.is_narrow(entry)}
        chosen = [token in narrow for token in tokens]
        plain = kept.plain(images.filter(pl.Series(chosen, dtype=pl.Boolean))) if narrow else []
        whole = {
            (token, image[KNOWN], image[BEFORE]): image
            for token, image in zip(compress(tokens, chosen), plain, strict=True)
        }

        def with_columns(token: bytes, image: kept.Plain) -> kept.Plain:
            same = whole.get((token, image[KNOWN], image[BEFORE]), {})
            values = [same.get(name, value) for name, value in image.items()]
            # as bytes, since NaN is not equal to itself
            alike = msgspec.msgpack.encode(values) == msgspec.msgpack.encode(list(image.values()))
            return {**image, **same} if alike else image

        made = {
            token: msgspec.structs.replace(
                entries[token],
                images=[with_columns(token, image) for image in entries[token].images],
            )
            for token in narrow
        }
        return {token: entry for token, entry in made.items() if not self.is_narrow(entry)}

    def entry(self, events: Iterable[tuple[bytes, kept.EventImages]]) -> dict[bytes, bytes | None]:
        """The stored entries of events, by their tokens."""
        return {self.image + token: kept.encoded(entry) for token, entry in events}

    @property
    def lasting(self) -> int | None:
        """How long after its time an event can matter, microseconds; None is for ever."""
        ladders = [tiles.records.stored.ladder for tiles in self.acceptance.tiles]
        reaches = [w.reach for ladder in ladders for w in ladder.windows]
        steps = max((step for ladder in ladders for step in ladder.steps), default=0)
        return None if None in reaches else max(r for r in reaches if r is not None) + steps

    def schedule_expiry(
        self, tokens: Sequence[bytes], latest: int, number: int
    ) -> dict[bytes, bytes | None]:
        """A block of events that can matter until some time after `latest`; `number` tells apart
        blocks of one time.
        """
        if self.lasting is None or not tokens:
            return {}
        return {self._block(max(latest + self.lasting, 0), number): b"".join(tokens)}

    def is_due(self, now: int) -> bool:
        """Whether events may have expired."""
        return bool(self.due) and self.lasting is not None and _due_of(self.due[0]) <= now

    def expired(
        self, stored: StoredValues, now: int, but: Mapping[bytes, object], number: int
    ) -> dict[bytes, bytes | None]:
        """The changes that drop events which no window reaches any more, except `but`."""
        lasting = self.lasting
        if lasting is None:
            return {}
        blocks = [key for key in self.due[:_LET_GO] if _due_of(key) <= now]
        changes: dict[bytes, bytes | None] = dict.fromkeys(blocks)
        for n, block in enumerate(stored.get(blocks)):
            tokens = [token for token in _cut(block or b"") if token not in but]
            entries = self.entries(stored, tokens)
            expired_entries = {
                token: entry for token, entry in entries.items() if entry.latest + lasting <= now
            }
            holding = {
                token: entry.images[entry.holds]
                for token, entry in expired_entries.items()
                if entry.holds >= 0
            }
            events = kept.frame_of(list(holding.values()), self.schema)
            for tiles in self.acceptance.tiles:
                changes |= dict.fromkeys(self.places(tiles, events, list(holding)))
            changes |= dict.fromkeys(self.image + token for token in expired_entries)
            remaining = {
                token: entry.latest
                for token, entry in entries.items()
                if token not in expired_entries
            }
            if remaining:
                changes |= self.schedule_expiry(
                    list(remaining), max(remaining.values()), number + n
                )
        return changes

    def after(self, changes: Mapping[bytes, bytes | None]) -> ChangeState:
        """The state after a commit of these changes."""
        begin = keyspace.DUE + keyspace.name(self.name)
        written = {
            key: value is not None for key, value in changes.items() if key.startswith(begin)
        }
        if not written:
            return self
        due = [key for key in self.due if key not in written]
        for key in (key for key, is_kept in written.items() if is_kept):
            bisect.insort(due, key)
        return replace(self, due=tuple(due))

    def entries(
        self, stored: StoredValues, tokens: Sequence[bytes]
    ) -> dict[bytes, kept.EventImages]:
        """The stored entry of each event that has one."""
        values = stored.get([self.image + token for token in tokens])
        return {
            token: kept.decoded(value)
            for token, value in zip(tokens, values, strict=True)
            if value is not None
        }

    def _block(self, due: int, number: int) -> bytes:
        return keyspace.DUE + keyspace.name(self.name) + struct.pack(">QQ", due, number)


class ImageMerge:
    """Images, of one commit or of the past, merged with the stored ones at `now`.

    came: the images. tiles: the views that count their events. until: until when their events can
    matter at least, as of `EventImages.latest`. others: tokens of other stored events.
    """

    def __init__(
        self,
        corrections: ChangeState,
        values: StoredValues,
        came: pl.DataFrame,
        tiles: Sequence[ViewTiles],
        now: int,
        until: int,
        others: Sequence[bytes] = (),
    ) -> None:
        self.kept, self.values, self.tiles, self.now, self.until = (
            corrections,
            values,
            tiles,
            now,
            until,
        )
        self.came, tokens = came, tokens_of(came[IDENT])
        entries = corrections.entries(values, list(dict.fromkeys([*tokens, *others])))
        completed = corrections.completed(entries, came, tokens)
        self.stored = entries | completed
        rows = [
            (token, image, n == entry.holds)
            for token, entry in self.stored.items()
            for n, image in enumerate(entry.images)
        ]
        self.held = kept.frame_of([image for _, image, _ in rows], corrections.schema)
        self.both = pl.concat([self.held, self.came])
        holds = np.array([holding for _, _, holding in rows], np.bool_)
        self.folded = folded(
            self.held,
            holds,
            self.came,
            corrections.acceptance.source,
            sorted(corrections.acceptance.read),
        )
        self.token_of = dict(
            zip(
                self.folded.event.tolist(), [*(token for token, _, _ in rows), *tokens], strict=True
            )
        )
        self.event_of = {token: event for event, token in self.token_of.items()}
        self.moved: dict[bytes, dict[bytes, bytes | None]] = {}
        # the events whose latest image is in this commit
        self.fresh = np.zeros(len(self.folded.before), np.bool_)
        self.fresh[self.folded.event[self.held.height :][self.folded.last[self.held.height :]]] = (
            True
        )
        # or whose stored images have further columns now
        self.fresh[[self.event_of[token] for token in completed]] = True

    def settle(self, images: Sequence[ImageBatch], number: int) -> MergedChanges:
        """Merge the images, which are of these batches, for the commit with this number."""
        merged = self.folded
        lost, won = (
            np.flatnonzero(merged.changed & (merged.before >= 0)),
            np.flatnonzero(merged.changed & (merged.after >= 0)),
        )
        outcome = self._exchange(lost, won)
        outcome.counts["corrected"] = int(
            (merged.changed & (merged.before >= 0) & (merged.after >= 0)).sum()
        )
        outcome.counts["deleted"] = int((merged.changed & (merged.after < 0)).sum())
        self._settle_records(images, outcome)
        written = self._written()
        outcome.changes |= self.kept.expired(self.values, self.now, written, number << 8)
        self._write(written, number << 8 | 255, outcome)
        return outcome

    def fill(self, number: int) -> MergedChanges:
        """Merge the images, which are of the past, for the one view: it gains the events that hold
        where it lacks them, and loses those that hold no more where it has them.

        number: as of `ChangeState.schedule_expiry`.
        """
        (tiles,) = self.tiles
        merged = self.folded
        changed = np.flatnonzero(merged.changed & (merged.before >= 0))
        lost = changed[self._stand(tiles, merged.before, changed)]
        holding = np.flatnonzero(merged.after >= 0)
        narrow = [
            self.kept.is_narrow(entry) for entry in self.stored.values() for _ in entry.images
        ]
        holding = holding[~np.isin(merged.after[holding], np.flatnonzero(narrow))]
        lacks = ~self._stand(tiles, merged.after, holding)
        outcome = self._exchange(lost, holding[lacks | np.isin(holding, lost)])
        self._write(self._written(), number, outcome)
        return outcome

    def _stand(self, tiles: ViewTiles, images: I64, numbers: I64) -> Bool:
        """Whether a view has some events as its image of each says them, bool (numbers)."""
        tokens = [self.token_of[n] for n in numbers.tolist()]
        places = self.kept.places(tiles, self.both[images[numbers]], tokens)
        stored = zip(places, self.values.get(places), strict=True)
        standing = {place[-kept.TOKEN :] for place, value in stored if value is not None}
        return np.array([token in standing for token in tokens], np.bool_)

    def _exchange(self, lost: I64, won: I64) -> MergedChanges:
        """Have the views lose and win events, given by number."""
        removed, added = self.both[self.folded.before[lost]], self.both[self.folded.after[won]]
        self._move(removed, lost, None)
        self._move(added, won, b"")
        added, removed = (
            pl.concat([self.kept.none, events.filter(pl.col(TIME).is_not_null())])
            for events in (added, removed)
        )
        return MergedChanges(added, removed)

    def _write(
        self, written: Mapping[bytes, kept.EventImages], number: int, outcome: MergedChanges
    ) -> None:
        """Store entries, and the events where they moved to."""
        most = max((entry.latest for entry in written.values()), default=0)
        outcome.changes |= self.kept.entry(written.items())
        outcome.changes |= self.kept.schedule_expiry(list(written), most, number)
        for moved in self.moved.values():
            outcome.changes |= moved

    def renewed(
        self, outcome: MergedChanges, sequence: int, views: Collection[str]
    ) -> dict[bytes, bytes | None]:
        """The records of the views, complete through `sequence`, with the added events and without
        the removed ones.

        views: as of `WriterState.views`.
        """
        grouped = GroupedRecords(self.values.get, self.kept.partition)
        for tiles in self.tiles:
            name, of_view = tiles.view.tiles_fingerprint, grouped.of_view(tiles.view)
            standing = partial(self.standing, tiles)
            of_view.put(
                name,
                tiles.renew(
                    outcome.added,
                    outcome.removed,
                    self.now,
                    sequence,
                    of_view.fetcher(name),
                    standing,
                ),
            )
        return grouped.changes(sequence, views)

    def standing(self, tiles: ViewTiles, stretches: Sequence[Stretch]) -> pl.DataFrame:
        """The events that a view holds in some stretches once this is committed."""
        stem = keyspace.events(tiles.view.tiles_fingerprint, self.kept.partition)
        moved = self.moved.get(stem, {})
        put = sorted(key for key, value in moved.items() if value is not None)
        there: list[bytes] = []
        for stretch in stretches:
            prefix, begin, end = kept.stretch(stem, *stretch)
            stood = [key for key, _ in self.values.scan(prefix) if begin <= key < end]
            there += [key for key in stood if key not in moved] + put[
                bisect.bisect_left(put, begin) : bisect.bisect_left(put, end)
            ]
        tokens = [key[-kept.TOKEN :] for key in there]
        folded_rows = np.array(
            [self.folded.after[self.event_of[token]] for token in tokens if token in self.event_of],
            np.int64,
        )
        others = self.kept.entries(
            self.values, [token for token in tokens if token not in self.event_of]
        )
        rest = kept.frame_of(
            [entry.images[entry.holds] for entry in others.values()], self.kept.schema
        )
        return pl.concat([self.both[folded_rows], rest])

    def _move(self, events: pl.DataFrame, numbers: NDArray[np.int64], value: bytes | None) -> None:
        tokens = [self.token_of[n] for n in numbers.tolist()]
        for tiles in self.tiles:
            stem = keyspace.events(tiles.view.tiles_fingerprint, self.kept.partition)
            self.moved.setdefault(stem, {}).update(
                dict.fromkeys(self.kept.places(tiles, events, tokens), value)
            )

    def _settle_records(self, images: Sequence[ImageBatch], outcome: MergedChanges) -> None:
        """Set the outcome of each image, and archive at most one image of an event, so that it is
        certain which one holds.
        """
        merged, held = self.folded, self.held.height
        archived, again, older, passed = (
            mask[held:] for mask in _classified(merged, self.both[BEFORE].to_numpy(), held)
        )
        first_row = 0
        for batch in images:
            rows = batch.arrived.events[ROW].to_numpy()
            batch_rows = slice(first_row, first_row := first_row + len(rows))
            batch.record_outcomes[batch.arrived.kept[rows]] = np.where(
                again[batch_rows] | older[batch_rows], DUPLICATE, ACCEPTED
            )
            outcome.rows.append(batch.arrived.rows[rows[archived[batch_rows]]])
            outcome.counts[batch.counted] += int(archived[batch_rows].sum())
            for chosen, why in ((again, COPY), (older, OLDER), (passed, PASSED)):
                if chosen[batch_rows].any():
                    outcome.dead.append(
                        copies(batch.records, batch.arrived, rows[chosen[batch_rows]].tolist(), why)
                    )
        outcome.counts["copies"], outcome.counts["superseded"] = (
            int(again.sum()),
            int((older | passed).sum()),
        )

    def _written(self) -> dict[bytes, kept.EventImages]:
        """The entries to store, by token, of events whose latest image is in this commit."""
        merged = self.folded
        latest = np.maximum(latest_of(self.both, merged), self.until)
        for token, entry in self.stored.items():
            event = self.event_of[token]
            latest[event] = max(latest[event], entry.latest)
        entries = entries_of(self.both, merged, np.flatnonzero(self.fresh), latest)
        return {self.token_of[event]: entry for event, entry in entries.items()}


def latest_of(images: pl.DataFrame, merged: MergedImages) -> I64:
    """Of each event the greatest event time or known time that an image of it said, int64
    (events).
    """
    latest = np.full(len(merged.before), np.iinfo(np.int64).min)
    np.maximum.at(
        latest, merged.event, images.select(pl.max_horizontal(TIME, KNOWN)).to_series().to_numpy()
    )
    return latest


def entries_of(
    images: pl.DataFrame, merged: MergedImages, numbers: I64, latest: I64
) -> dict[int, kept.EventImages]:
    """The entries to store of some events, by event number."""
    is_chosen = np.zeros(len(latest), np.bool_)
    is_chosen[numbers] = True
    rows = np.flatnonzero(merged.last & is_chosen[merged.event])
    rows = rows[np.argsort(merged.event[rows], kind="stable")]
    rank = np.zeros(images.height, np.int64)
    rank[rows] = np.arange(len(rows))
    events, starts = np.unique(merged.event[rows], return_index=True)
    after = merged.after[events]
    holds = np.where(after >= 0, rank[after] - starts, -1)
    images_by_row, ends = kept.plain(images[rows]), np.append(starts, len(rows))[1:]
    parts = zip(
        *(array.tolist() for array in (events, latest[events], holds, starts, ends)), strict=True
    )
    return {
        event: kept.EventImages(until, position, images_by_row[first:last])
        for event, until, position, first, last in parts
    }


def tokens_of(ids: pl.Series) -> list[bytes]:
    """The token of each id."""
    return _cut(np.column_stack(words(ids)).tobytes()) if len(ids) else []


def _classified(merged: MergedImages, before: Bool, held: int) -> tuple[Bool, Bool, Bool, Bool]:
    """Which images are archived, duplicates, older than the stored ones, and superseded in this
    commit; bool (n) each.

    Where what was held still holds, none is archived that differs: history would take it for taken
    back.
    """
    after = merged.after[merged.event]
    older = (merged.older | ((after >= 0) & (after < held))) & ~merged.duplicate
    undecided = ~merged.duplicate & ~older
    archived = undecided & (before | (after == np.arange(len(after))))
    return archived, merged.duplicate, older, undecided & ~archived


def _cut(tokens: bytes) -> list[bytes]:
    return [tokens[n : n + kept.TOKEN] for n in range(0, len(tokens), kept.TOKEN)]


def _due_of(block: bytes) -> int:
    return int(struct.unpack(">Q", block[-16:-8])[0])


class StoredValues(Protocol):
    """The stored keys and values as of the writer's last commit: an online store, or a dictionary
    in tests.
    """

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key."""
        ...

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every key that begins with `prefix`, rising, with its value."""
        ...

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """As `scan`, with the bytes of each value instead of the value."""
        ...


FILTERED, ACCEPTED, DUPLICATE, HELD, REFUSED = range(5)
