"""A record: the tiles of one key of a view as bytes.

Words of eight bytes, little-endian: FORMAT, through, the number of tiles n, the number of strings
p; the starts of the tiles (n); then the arrays of the slots' states, in order, those that several
slots share once: n numbers, or as many entries as the slot's sizes say; where each string ends (p);
and the strings in UTF-8, padded to a whole word. Arrays hold a string as its position among the
record's own sorted strings.

`through` says which events the record is complete through: the commit sequence of its partition, or
T of a cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import polars as pl

from headwater.aggregations.base import State
from headwater.errors import StoreError
from headwater.kernel import merge_program
from headwater.kernel.arrays import I64, NOTHING
from headwater.kernel.layer import Use
from headwater.state import record_layout, tile_kernels
from headwater.state.packed_records import PackedRecords
from headwater.state.partial_state import TileAggregator, Tiles

_NONE = pl.Series(dtype=pl.String)


@dataclass(frozen=True)
class Records:
    """How the tiles of a view are written. strings: the columns that hold strings; ids: whether ids
    are strings.
    """

    stored: TileAggregator
    strings: frozenset[str]
    ids: bool = False

    @cached_property
    def columns(self) -> tuple[tuple[int, ...], ...]:
        """For each slot, which of the record's arrays each array of its state is: counts of the
        same events are written once.
        """
        known: dict[Use, int] = {}
        by_slot, count = [], 0
        for slot in self.stored.slots:
            mine = []
            for field in slot.fields:
                column = count if field.counts is None else known.setdefault(field.counts, count)
                count += column == count
                mine.append(column)
            by_slot.append(tuple(mine))
        return tuple(by_slot)

    @cached_property
    def _layout(self) -> I64:
        """For each array of a record: whether it has one number an entry, holds strings, holds the
        sizes of entries; int64 (arrays, 3).
        """
        layout: list[tuple[int, int, int]] = []
        for slot, columns in zip(self.stored.slots, self.columns, strict=True):
            ragged = any(field.entry for field in slot.fields)
            for index, (field, column) in enumerate(zip(slot.fields, columns, strict=True)):
                if column < len(layout):
                    continue
                text = field.column in self.strings or (field.ident and self.ids)
                layout.append((int(field.entry), int(text), int(ragged and index == 0)))
        return np.array(layout, np.int64).reshape(-1, 3)

    @cached_property
    def kinds(self) -> tuple[int, ...]:
        """The kind of each array of a record, as of `state.record_layout`."""
        return tuple(
            (
                record_layout.ENTRIES
                if entry
                else record_layout.SIZES
                if sizes
                else record_layout.NUMBERS
            )
            + (record_layout.STRINGS if text else 0)
            for entry, text, sizes in self._layout.tolist()
        )

    @cached_property
    def merges(self) -> I64:
        """The program (see `kernel.merge_program`) that merges the rows of one key's states, of
        those slots that loops can merge.
        """
        return merge_program.program(
            [
                [
                    (cast("int", field.op), field.whole, column, field.parameter)
                    for field, column in zip(slot.fields, columns, strict=True)
                ]
                for slot, columns in zip(self.stored.slots, self.columns, strict=True)
                if all(field.op is not None for field in slot.fields)
            ]
        )

    @cached_property
    def how(self) -> I64 | None:
        """As `merges`, where it merges all states of all keys; None where some hold strings, or
        take more than loops over numbers.
        """
        every = all(field.op is not None for slot in self.stored.slots for field in slot.fields)
        return self.merges if every and not self._layout[:, :2].any() else None

    @cached_property
    def idents(self) -> bool:
        """Whether states hold ids."""
        return any(field.ident for slot in self.stored.slots for field in slot.fields)

    def add(
        self, records: Sequence[bytes] | PackedRecords, new: Tiles, T: int, through: int
    ) -> PackedRecords:
        """`load`, `TileAggregator.merge` and `dump` of records and new tiles, to the bit, in one
        pass; only where `how` is not None.
        """
        assert self.how is not None
        ladder, count = self.stored.ladder, len(records)
        old = _packed(records)
        new_at = np.searchsorted(new.key, np.arange(count + 1))
        flat = np.array(self._arrays(new.states))
        out = np.empty(
            int((old.last - old.first).sum())
            + tile_kernels.HEAD * count
            + (1 + len(flat)) * len(new.key),
            np.int64,
        )
        out_at = np.empty(count + 1, np.int64)
        steps = np.array(ladder.steps, np.int64)
        tile_kernels.add(
            old.words,
            old.first,
            old.last,
            new_at,
            new.start,
            flat,
            through,
            steps,
            ladder.cuts(T),
            self.how,
            out,
            out_at,
        )
        return PackedRecords.between(out[: out_at[-1]], out_at)

    def load(
        self, records: Sequence[bytes] | PackedRecords, also: pl.Series = _NONE
    ) -> tuple[Tiles, I64, pl.Series]:
        """The tiles of records, keyed by their positions; what each is complete through, int64; and
        the strings.

        Tiles hold a string as its position among the sorted distinct ones of all records, and of
        `also`. Empty bytes hold no tiles.

        Raises:
            StoreError: a record of another format.
        """
        packed = _packed(records)
        words, first, last = packed.words, packed.first, packed.last
        through = np.full(len(records), -1)
        nonempty = np.flatnonzero(last > first)
        through[nonempty] = words[first[nonempty] + 1]
        layout, counts = self._layout, np.zeros(len(self._layout), np.int64)
        count = tile_kernels.measure(words, first, last, layout, counts)
        base = np.concatenate([[0], np.cumsum(counts)])
        key, start, flat = (
            np.empty(count, np.int64),
            np.empty(count, np.int64),
            np.empty(base[-1], np.int64),
        )
        texts_at = np.zeros(len(records), np.int64)
        tile_kernels.load(words, first, last, layout, base[:-1].copy(), key, start, flat, texts_at)
        arrays = [flat[a:b] for a, b in itertools.pairwise(base)]
        known = (
            self._strings(packed, texts_at)
            if layout[:, 1].any()
            else _StringPool(_NONE, np.zeros(len(records) + 1, np.int64))
        )
        sorted_words = pl.concat([known.strings, also]).unique().sort()
        if layout[:, 1].any() and len(known.strings):
            rank = known.strings.cast(pl.Enum(sorted_words)).to_physical().cast(pl.Int64).to_numpy()
            for column, of in self._text_arrays(arrays, key):
                tile_kernels.translate(arrays[column], of, known.begins, rank)
        return Tiles(key, start, self._states(arrays)), through, sorted_words

    def dump(self, tiles: Tiles, through: I64, words: pl.Series) -> PackedRecords:
        """A record for each of `through`, of the tiles whose key is its position; empty bytes where
        there are none.
        """
        arrays = self._arrays(tiles.states)
        count, layout = len(through), self._layout
        bounds = np.searchsorted(tiles.key, np.arange(count + 1))
        pairs = (
            [(column, of) for column, of in self._text_arrays(arrays, tiles.key)]
            if len(words)
            else []
        )
        pool, local = _pooled([(arrays[column], of) for column, of in pairs], len(words))
        for (column, _), codes in zip(pairs, local, strict=True):
            arrays[column] = codes
        pool_at = np.searchsorted(pool // max(len(words), 1), np.arange(count + 1))
        ends = self._entry_ends(arrays)
        spelt = (
            [text.encode() for text in words.gather(pool % max(len(words), 1))] if len(pool) else []
        )
        text_ends = np.cumsum([0, *(len(text) for text in spelt)])
        base = np.cumsum([0, *(len(a) for a in arrays)])
        flat = np.concatenate(arrays) if arrays else NOTHING
        at = np.zeros(count + 1, np.int64)
        tile_kernels.sizes(bounds, layout, ends, pool_at, text_ends, at)
        out = np.zeros(at[-1], np.int64)
        spelling = np.frombuffer(b"".join(spelt), np.uint8)
        columns, texts = (layout, base, flat, ends), (pool_at, text_ends, spelling)
        tile_kernels.dump(
            (tiles.start, bounds), columns, texts, through, at, out, out.view(np.uint8)
        )
        return PackedRecords.between(out, at)

    def recoded(self, tiles: Tiles, words: pl.Series, into: pl.Series) -> Tiles:
        """Tiles that hold strings as positions among `words`, as tiles that hold them as positions
        among `into`, which has all of them.
        """
        if len(words) == len(into) or not len(words):
            return tiles
        rank = words.cast(pl.Enum(into)).to_physical().cast(pl.Int64).to_numpy()
        arrays, pool = self._arrays(tiles.states), np.array([0, len(words)])
        for column, of in self._text_arrays(arrays, tiles.key):
            arrays[column] = arrays[column].copy()
            tile_kernels.translate(arrays[column], np.zeros_like(of), pool, rank)
        return Tiles(tiles.key, tiles.start, self._states(arrays))

    @staticmethod
    def none(through: int) -> bytes:
        """A record that says that its key has no tiles."""
        return np.array([tile_kernels.FORMAT, through, 0, 0], np.int64).tobytes()

    def _states(self, arrays: Sequence[I64]) -> tuple[State, ...]:
        pairs = zip(self.stored.slots, self.columns, strict=True)
        return tuple(
            tuple(
                arrays[c] if field.whole else arrays[c].view(np.float64)
                for field, c in zip(slot.fields, columns, strict=True)
            )
            for slot, columns in pairs
        )

    def _arrays(self, states: Sequence[State]) -> list[I64]:
        """The arrays of a record, as words."""
        by_column = {
            c: array
            for columns, state in zip(self.columns, states, strict=True)
            for c, array in zip(columns, state, strict=True)
        }
        return [by_column[c].view(np.int64) for c in range(len(by_column))]

    def _text_arrays(self, arrays: Sequence[I64], key: I64) -> Iterator[tuple[int, I64]]:
        """Each array that holds strings, and the key of each of its values."""
        sizes = key
        for column, (entry, text, first) in enumerate(self._layout.tolist()):
            if first:
                sizes = arrays[column]
            if text:
                yield column, np.repeat(key, sizes) if entry else key

    def _entry_ends(self, arrays: Sequence[I64]) -> I64:
        """For each array of entries, where those of each row end, from a leading 0: int64 (arrays,
        rows + 1); of the others nothing.
        """
        count = next(
            (len(arrays[i]) for i, (entry, _, _) in enumerate(self._layout.tolist()) if not entry),
            0,
        )
        ends = np.zeros((len(arrays), count + 1), np.int64)
        sizes = NOTHING
        for column, (entry, _, first) in enumerate(self._layout.tolist()):
            if first:
                sizes = np.cumsum(arrays[column])
            if entry:
                ends[column, 1:] = sizes
        return ends

    def _strings(self, packed: PackedRecords, texts_at: I64) -> _StringPool:
        """The strings of all records one after the other, and where each record's begin."""
        words, data, strings, begins = packed.words, packed.words.tobytes(), [], [0]
        for start, stop, first in zip(
            packed.first.tolist(), packed.last.tolist(), texts_at.tolist(), strict=True
        ):
            if stop > start:
                count = int(words[start + 3])
                begin = (first + count) * 8
                for end in words[first : first + count].tolist():
                    strings.append(data[begin : (first + count) * 8 + end].decode())
                    begin = (first + count) * 8 + end
            begins.append(len(strings))
        return _StringPool(pl.Series(strings, dtype=pl.String), np.array(begins))


def _packed(records: Sequence[bytes] | PackedRecords) -> PackedRecords:
    """Records one after the other.

    Raises:
        StoreError: a record of another format.
    """
    packed = records if isinstance(records, PackedRecords) else PackedRecords.of(records)
    if not (packed.heads == tile_kernels.FORMAT).all():
        raise StoreError(
            "the store holds a record of a format that this version does not read; it reads "
            f"{tile_kernels.FORMAT}"
        )
    return packed


@dataclass(frozen=True)
class _StringPool:
    strings: pl.Series
    begins: I64


def _pooled(arrays: Sequence[tuple[I64, I64]], count: int) -> tuple[I64, list[I64]]:
    """The strings that each key uses, as key * count + code, sorted; and arrays of codes (each with
    its keys) as positions in its key's.

    A code that stands for no string (the least of nothing) stays.
    """
    if not arrays:
        return NOTHING, []
    real = [(codes >= 0) & (codes < count) for codes, _ in arrays]
    pool = np.unique(
        np.concatenate(
            [of[r] * count + codes[r] for (codes, of), r in zip(arrays, real, strict=True)]
        )
    )
    begins = np.searchsorted(
        pool, np.arange(int(pool[-1]) // count + 1 if len(pool) else 0) * count
    )
    local = []
    for (codes, of), r in zip(arrays, real, strict=True):
        out = codes.copy()
        out[r] = np.searchsorted(pool, of[r] * count + codes[r]) - begins[of[r]]
        local.append(out)
    return pool, local
