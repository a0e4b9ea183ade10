"""Tiles: pieces of a key's past, their partial states, and a view's section of a record as bytes.

A record: the tiles of one key of a view as bytes.

Words of eight bytes, little-endian: FORMAT, through, the number of tiles n, the number of strings
p; the starts of the tiles (n); then the arrays of the slots' states, in order, those that several
slots share once: n numbers, or as many entries as the slot's sizes say; where each string ends (p);
and the strings in UTF-8, padded to a whole word. Arrays hold a string as its position among the
record's own sorted strings.

`through` says which events the record is complete through: the commit sequence of its partition, or
T of a cut.

Tiles: the past of a key in pieces, fine where a window's tail will still cut and coarse behind
it.

A window begins at a multiple of its hop. So events in one hop stay together for that window, and
once the tails of all windows with finer hops have passed, tiles of theirs are merged into a coarser
one: every event is in exactly one tile, and a key has as few of them as its windows allow. Tiles
that no window reaches any more are dropped, unless a lifetime keeps them in one last tile.

Where the arrays and the strings of a record are, for the loops that read it; `tiles` has
the format.

An array of a record is one of three kinds: a number for each tile; the number of entries of each
tile; or all entries.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, cast

import numpy as np
import polars as pl

from headwater.aggregations import ragged
from headwater.aggregations.base import (
    AggregateFunction,
    Answers,
    FinalizeContext,
    Kinds,
    State,
    StateField,
)
from headwater.aggregations.run import FeatureSpec
from headwater.aggregations.table import stored_family
from headwater.definitions.windows import Window
from headwater.errors import StoreError
from headwater.kernel import layers
from headwater.kernel.arrays import I64, NOTHING, Bool, Column, Events, RequestTimes, run_starts
from headwater.kernel.compile_cache import njit
from headwater.kernel.layers import Layer, Spans, Use, merged
from headwater.state.record import PackedRecords

_NONE = pl.Series(dtype=pl.String)


@dataclass(frozen=True)
class Records:
    """How the tiles of a view are written. strings: the columns that hold strings; ids: whether ids
    are strings.
    """

    stored: TileAggregator
    strings: frozenset[str]
    ids: bool

    @cached_property
    def columns(self) -> tuple[tuple[int, ...], ...]:
        """For each slot, which of the record's arrays each array of its state is: counts of the
        same events are written once.
        """
        shared: dict[Use, int] = {}
        by_slot, count = [], 0
        for slot in self.stored.slots:
            slot_columns = []
            for field in slot.fields:
                column = count if field.counts is None else shared.setdefault(field.counts, count)
                count += column == count
                slot_columns.append(column)
            by_slot.append(tuple(slot_columns))
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
        """The kind of each array of a record, as of `state.tiles`."""
        return tuple(
            (ENTRIES if entry else SIZES if sizes else NUMBERS) + (STRINGS if text else 0)
            for entry, text, sizes in self._layout.tolist()
        )

    @cached_property
    def merges(self) -> I64:
        """The program (see `kernel.layers`) that merges the rows of a key's states, for the slots
        that loops can merge.
        """
        return layers.program(
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
    def plain_merges(self) -> I64 | None:
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
        pass; only where `plain_merges` is not None.
        """
        assert self.plain_merges is not None
        ladder, count = self.stored.ladder, len(records)
        old = _packed(records)
        new_at = np.searchsorted(new.key, np.arange(count + 1))
        flat = np.array(self._arrays(new.states))
        out = np.empty(
            int((old.last - old.first).sum()) + HEAD * count + (1 + len(flat)) * len(new.key),
            np.int64,
        )
        out_at = np.empty(count + 1, np.int64)
        steps = np.array(ladder.steps, np.int64)
        add(
            old.words,
            old.first,
            old.last,
            new_at,
            new.start,
            flat,
            through,
            steps,
            ladder.cuts(T),
            self.plain_merges,
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
        count = measure(words, first, last, layout, counts)
        base = np.concatenate([[0], np.cumsum(counts)])
        key, start, flat = (
            np.empty(count, np.int64),
            np.empty(count, np.int64),
            np.empty(base[-1], np.int64),
        )
        texts_at = np.zeros(len(records), np.int64)
        load(words, first, last, layout, base[:-1].copy(), key, start, flat, texts_at)
        arrays = [flat[a:b] for a, b in itertools.pairwise(base)]
        strings_of_records = (
            self._strings(packed, texts_at)
            if layout[:, 1].any()
            else _StringPool(_NONE, np.zeros(len(records) + 1, np.int64))
        )
        sorted_words = pl.concat([strings_of_records.strings, also]).unique().sort()
        if layout[:, 1].any() and len(strings_of_records.strings):
            rank = (
                strings_of_records.strings.cast(pl.Enum(sorted_words))
                .to_physical()
                .cast(pl.Int64)
                .to_numpy()
            )
            for column, text_keys in self._text_arrays(arrays, key):
                translate(arrays[column], text_keys, strings_of_records.begins, rank)
        return Tiles(key, start, self._states(arrays)), through, sorted_words

    def dump(self, tiles: Tiles, through: I64, words: pl.Series) -> PackedRecords:
        """One record for each of `through`, made of the tiles whose key is its position; empty
        bytes where a key has no tiles.
        """
        arrays = self._arrays(tiles.states)
        count, layout = len(through), self._layout
        bounds = np.searchsorted(tiles.key, np.arange(count + 1))
        pairs = (
            [(column, text_keys) for column, text_keys in self._text_arrays(arrays, tiles.key)]
            if len(words)
            else []
        )
        pool, local = _pooled(
            [(arrays[column], text_keys) for column, text_keys in pairs], len(words)
        )
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
        sizes(bounds, layout, ends, pool_at, text_ends, at)
        out = np.zeros(at[-1], np.int64)
        spelling = np.frombuffer(b"".join(spelt), np.uint8)
        columns, texts = (layout, base, flat, ends), (pool_at, text_ends, spelling)
        dump((tiles.start, bounds), columns, texts, through, at, out, out.view(np.uint8))
        return PackedRecords.between(out, at)

    def recoded(self, tiles: Tiles, words: pl.Series, into: pl.Series) -> Tiles:
        """Recode the strings of tiles from positions among `words` to positions among `into`, which
        contains all of them.
        """
        if len(words) == len(into) or not len(words):
            return tiles
        rank = words.cast(pl.Enum(into)).to_physical().cast(pl.Int64).to_numpy()
        arrays, pool = self._arrays(tiles.states), np.array([0, len(words)])
        for column, text_keys in self._text_arrays(arrays, tiles.key):
            arrays[column] = arrays[column].copy()
            translate(arrays[column], np.zeros_like(text_keys), pool, rank)
        return Tiles(tiles.key, tiles.start, self._states(arrays))

    @staticmethod
    def none(through: int) -> bytes:
        """The record of a key without tiles."""
        return np.array([FORMAT, through, 0, 0], np.int64).tobytes()

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
    packed = records if isinstance(records, PackedRecords) else PackedRecords.pack(records)
    if not (packed.heads == FORMAT).all():
        raise StoreError(
            "the store holds a record of a format that this version does not read; it reads "
            f"{FORMAT}"
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
            [
                text_keys[r] * count + codes[r]
                for (codes, text_keys), r in zip(arrays, real, strict=True)
            ]
        )
    )
    begins = np.searchsorted(
        pool, np.arange(int(pool[-1]) // count + 1 if len(pool) else 0) * count
    )
    local = []
    for (codes, text_keys), r in zip(arrays, real, strict=True):
        out = codes.copy()
        out[r] = np.searchsorted(pool, text_keys[r] * count + codes[r]) - begins[text_keys[r]]
        local.append(out)
    return pool, local


_WHOLE = Window.in_micros(None)


@dataclass(frozen=True)
class Slot:
    """A state that several features share: an aggregation family and the columns that it reads."""

    family: AggregateFunction
    use: Use
    fields: tuple[StateField, ...]


@dataclass(frozen=True)
class TileAggregator:
    """The stored partial states of the features `wanted` of a view, and how values are computed
    from them.

    kinds: of each column that is read, whether its values are int64. ended_after: as of `Events`.
    """

    wanted: tuple[FeatureSpec, ...]
    kinds: Kinds
    ended_after: int = 0

    @cached_property
    def ladder(self) -> TileLadder:
        """The sizes of tiles."""
        return of_windows([w.window for w in self.wanted])

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The states of a tile, in the order in which they are stored."""
        pairs = dict.fromkeys((self._family(w), w.use) for w in self.wanted)
        return tuple(
            Slot(family, use, family.state_fields(use, self.kinds)) for family, use in pairs
        )

    @cached_property
    def nothing(self) -> tuple[State, ...]:
        """The state of no event, for each slot; one row."""
        none = Events(
            np.zeros(2, np.int64),
            NOTHING,
            NOTHING,
            0,
            NOTHING,
            self.columns,
            ended_after=self.ended_after,
        )
        return self._states(Layer(none), np.zeros(1, np.int64), np.zeros(1, np.int64))

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        """Empty columns, of the dtypes that are read."""
        return {
            name: Column(NOTHING if whole else NOTHING.astype(np.float64), hashes=NOTHING)
            for name, whole in self.kinds.items()
        }

    def of_events(self, events: Events, T: int) -> Tiles:
        """The tiles as of T of events before T; events that no window reaches any more make tiles
        at UNREACHED.
        """
        key = np.repeat(np.arange(len(events.starts) - 1), np.diff(events.starts))
        start = self.ladder.tile_start(events.t, T)
        first = np.flatnonzero(run_starts(key, start)) if len(key) else NOTHING
        bounds = np.append(first, len(key))
        layer = Layer(replace(events, starts=bounds))
        return Tiles(key[first], start[first], self._states(layer, bounds[:-1], bounds[1:]))

    def merge(self, old: Tiles, new: Tiles, T: int) -> Tiles:
        """Old and new tiles merged, without those at UNREACHED; `old` are moved to their places as
        of T.
        """
        old = replace(old, start=self.ladder.tile_start(old.start, T))
        order = interleaved(old.key, old.start, new.key, new.start)
        key, start = (
            np.concatenate([a, b])[order] for a, b in ((old.key, new.key), (old.start, new.start))
        )
        live = start != UNREACHED
        order, key, start = order[live], key[live], start[live]
        in_group = groups(key, start)
        pairs = zip(self.slots, old.states, new.states, strict=True)
        states = tuple(
            self._merged(slot, _taken(slot, _joined(a, b), order), in_group) for slot, a, b in pairs
        )
        return Tiles(key[in_group == 0], start[in_group == 0], states)

    def moved(self, tiles: Tiles, T: int) -> Tiles:
        """The tiles at their places as of T, without those at UNREACHED."""
        nothing = Tiles(
            NOTHING, NOTHING, tuple(tuple(array[:0] for array in state) for state in tiles.states)
        )
        return self.merge(tiles, nothing, T)

    def without(self, tiles: Tiles, key: I64, start: I64, T: int) -> Tiles:
        """The tiles that do not belong to any of these keys and starts as of T."""
        rows = np.flatnonzero(~among(tiles.key, self.ladder.tile_start(tiles.start, T), key, start))
        states = tuple(
            _taken(slot, state, rows) for slot, state in zip(self.slots, tiles.states, strict=True)
        )
        return Tiles(tiles.key[rows], tiles.start[rows], states)

    def answers(self, tiles: Tiles, keys: int, T: I64, K: I64) -> list[Answers]:
        """The value of each of `wanted` for each key as of its own T and K, int64 (keys)."""
        states: dict[tuple[Window, AggregateFunction, Use], State] = {}
        key_of_tile = tiles.key
        for window in dict.fromkeys(w.window for w in self.wanted):
            counted = (tiles.start >= self.ladder.begin(window, T)[key_of_tile]) & (
                tiles.start < self.ladder.end(window, T)[key_of_tile]
            )
            rows = np.flatnonzero(counted)
            everyone = np.concatenate([np.arange(keys), key_of_tile[rows]])
            order = np.argsort(everyone, kind="stable")
            in_group = groups(everyone[order], np.zeros(len(order), np.int64))
            for slot, state, neutral in zip(self.slots, tiles.states, self.nothing, strict=True):
                if any(
                    w.window == window and (self._family(w), w.use) == (slot.family, slot.use)
                    for w in self.wanted
                ):
                    nothing = _taken(slot, neutral, np.zeros(keys, np.int64))
                    both = _taken(slot, _joined(nothing, _taken(slot, state, rows)), order)
                    states[window, slot.family, slot.use] = self._merged(slot, both, in_group)
        none = Events(
            np.zeros(1, np.int64),
            NOTHING,
            NOTHING,
            0,
            NOTHING,
            self.columns,
            ended_after=self.ended_after,
        )
        answers = []
        for w in self.wanted:
            context = FinalizeContext(
                w.function, dict(w.params), T, none, w.use, w.window, w.output, K
            )
            answers.append(
                self._family(w).finalize(states[w.window, self._family(w), w.use], context)
            )
        return answers

    def _family(self, w: FeatureSpec) -> AggregateFunction:
        return stored_family(w.function, dict(w.params), w.by)

    def _states(self, layer: Layer, lo: I64, hi: I64) -> tuple[State, ...]:
        none = np.zeros(len(lo), np.int64)
        spans = Spans(layer, RequestTimes(none, none, none), _WHOLE, lo, hi)
        return tuple(_typed(slot, slot.family.partial(slot.use, spans)) for slot in self.slots)

    def _merged(self, slot: Slot, state: State, in_group: I64) -> State:
        """The states of rows that stand in groups, each row's place in its group from 0: one state
        for each group.
        """
        while True:
            odd = np.flatnonzero(in_group & 1)
            if len(odd) == 0:
                return state
            alone = np.ones(len(in_group), np.bool_)
            alone[odd] = alone[odd - 1] = False
            unpaired = np.flatnonzero(alone)
            both = _typed(
                slot, slot.family.merge(_taken(slot, state, odd - 1), _taken(slot, state, odd))
            )
            order = np.argsort(np.concatenate([unpaired, odd - 1]), kind="stable")
            state = _taken(slot, _joined(_taken(slot, state, unpaired), both), order)
            in_group = in_group[in_group & 1 == 0] >> 1


@dataclass(frozen=True)
class Tiles:
    """Tiles of some keys, sorted by (key, start): key and start int64 (r), and a state of r rows
    for each slot.
    """

    key: I64
    start: I64
    states: tuple[State, ...]


def _typed(slot: Slot, state: State) -> State:
    kinds = (np.int64 if field.whole else np.float64 for field in slot.fields)
    return tuple(
        cast("I64", array.astype(kind, copy=False))
        for array, kind in zip(state, kinds, strict=True)
    )


def _joined(a: State, b: State) -> State:
    """The rows of both, one after the other."""
    return tuple(np.concatenate([x, y]) for x, y in zip(a, b, strict=True))


def _taken(slot: Slot, state: State, rows: I64) -> State:
    """The state's rows at these positions."""
    entries = NOTHING
    if any(field.entry for field in slot.fields):
        sizes = cast("I64", state[0])
        row_sizes = sizes[rows]
        entries = ragged.places(row_sizes) + np.repeat((np.cumsum(sizes) - sizes)[rows], row_sizes)
    return tuple(
        array[entries if field.entry else rows]
        for field, array in zip(slot.fields, state, strict=True)
    )


UNREACHED = -(2**62)
"""The start of a tile that no window reaches."""

ALL = -(2**61)
"""The start of the tile that only lifetimes reach."""

_NEVER = 2**61


@dataclass(frozen=True)
class TileLadder:
    """The sizes of tiles for these windows, in microseconds."""

    windows: tuple[Window, ...]

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Tile sizes, rising, each a divisor of the next; empty where there are only lifetimes.

        >>> from headwater.definitions.windows import window
        >>> [
        ...     step // 1_000_000
        ...     for step in TileLadder((window("1d"), window("10m"), window("1h"))).steps
        ... ]
        [10, 60, 600]
        """
        steps: list[int] = []
        for hop in sorted(
            {w.hop for w in self.windows if w.length is not None or w.offset}, reverse=True
        ):
            steps.append(math.gcd(hop, steps[-1]) if steps else hop)
        return tuple(sorted(set(steps)))

    def cuts(self, T: int) -> I64:
        """The latest end of tiles of each step, as of T; then that of the lifetime's tile, then of
        dropped events: int64 (steps + 2).
        """
        tails = [(w.hop, _tail(w, T)) for w in self.windows]
        bounds = [
            min((tail for hop, tail in tails if hop % step), default=_NEVER) for step in self.steps
        ]
        last = min((tail for _, tail in tails), default=_NEVER)
        keeps_all = any(w.length is None for w in self.windows)
        return np.array(
            [*bounds, last if keeps_all else UNREACHED, UNREACHED if keeps_all else last], np.int64
        )

    def tile_start(self, t: I64, T: int) -> I64:
        """The start of the tile that events (or finer tiles) of these times belong to as of T: a
        time, UNREACHED or ALL; rising with `t`.
        """
        out = np.empty(len(t), np.int64)
        _assign_starts(t, np.array(self.steps, np.int64), self.cuts(T), out)
        return out

    def spans(self, t: I64, T: int) -> tuple[I64, I64]:
        """Of the tiles that events of these times belong to as of T, from when and before when
        their events are: int64 (n) each.

        None of the times is UNREACHED.

        >>> from headwater.definitions.windows import window
        >>> first, last = TileLadder((window("10m"), window("1h"))).spans(
        ...     np.array([0, 3_595_000_000]), 3_600_000_000
        ... )
        >>> first // 1_000_000, last // 1_000_000
        (array([   0, 3590]), array([  60, 3600]))
        """
        start, cuts = self.tile_start(t, T), self.cuts(T)
        size = np.full(len(t), self.steps[0] if self.steps else 1)
        for step, cut in zip(self.steps[1:], cuts[1 : len(self.steps)], strict=True):
            size[t // step * step + step <= cut] = step
        whole = start == ALL
        everything = cuts[-2] // self.steps[-1] * self.steps[-1] if self.steps else _NEVER
        return np.where(whole, -_NEVER, start), np.where(whole, everything, start + size)

    def begin(self, window: Window, T: I64) -> I64:
        """The start of the first tile that a window counts."""
        if window.length is None:
            return np.full(len(T), ALL)
        return (T - window.offset - window.length) // window.hop * window.hop

    def end(self, window: Window, T: I64) -> I64:
        """The start of the first tile that it does not count any more."""
        return T if window.offset == 0 else (T - window.offset) // window.hop * window.hop


def among(key: I64, start: I64, some_key: I64, some_start: I64) -> Bool:
    """Whether each tile is one of some, bool (n); both by key and start.

    >>> among(np.array([0, 0, 1]), np.array([5, 6, 5]), np.array([0, 1]), np.array([6, 6])).tolist()
    [False, True, False]
    """
    pairs = np.column_stack([np.concatenate([key, some_key]), np.concatenate([start, some_start])])
    number = np.unique(pairs, axis=0, return_inverse=True)[1].ravel()
    return np.isin(number[: len(key)], number[len(key) :])


def of_windows(windows: Sequence[Window]) -> TileLadder:
    """The ladder of these windows."""
    return TileLadder(tuple(dict.fromkeys(windows)))


def _tail(window: Window, T: int) -> int:
    """Before which time nothing will cut any more, for this window."""
    if window.length is None:
        return (T - window.offset) // window.hop * window.hop if window.offset else _NEVER
    return (T - window.offset - window.length) // window.hop * window.hop


@njit()
def _assign_starts(t, steps, cuts, out):  # type: ignore[no-untyped-def]
    for i in range(len(t)):
        out[i] = placed(t[i], steps, cuts)


@njit()
def placed(t, steps, cuts):  # type: ignore[no-untyped-def]
    """The start of the tile that something at t belongs to, with the steps and cuts of a ladder."""
    levels = len(steps)
    if t == ALL or levels == 0:
        return ALL
    # else its tile ends later: most events need one division only
    if t < cuts[levels] or t < cuts[levels + 1]:
        end = t // steps[levels - 1] * steps[levels - 1] + steps[levels - 1]
        if end <= cuts[levels + 1]:
            return UNREACHED
        if end <= cuts[levels]:
            return ALL
    for level in range(levels - 1, 0, -1):
        if t < cuts[level]:
            start = t // steps[level] * steps[level]
            if start + steps[level] <= cuts[level]:
                return start
    return t // steps[0] * steps[0]


@njit()
def interleaved(key_a: I64, start_a: I64, key_b: I64, start_b: I64) -> I64:
    """The order of a's and b's tiles together by (key, start), as positions in a followed by b;
    both come in that order, a goes first.
    """
    n, m = len(key_a), len(key_b)
    order = np.empty(n + m, np.int64)
    i, j = 0, 0
    for p in range(n + m):
        if j == m or (
            i < n and (key_a[i] < key_b[j] or (key_a[i] == key_b[j] and start_a[i] <= start_b[j]))
        ):
            order[p] = i
            i += 1
        else:
            order[p] = n + j
            j += 1
    return order


@njit()
def groups(key: I64, start: I64) -> I64:
    """The position of each sorted tile among the tiles of its key and start, from 0."""
    group_index = np.zeros(len(key), np.int64)
    for i in range(1, len(key)):
        if key[i] == key[i - 1] and start[i] == start[i - 1]:
            group_index[i] = group_index[i - 1] + 1
    return group_index


FORMAT = 1

HEAD = 4

NONE = np.array([FORMAT, -1, 0, 0], np.int64).tobytes()
"""A record of no tiles."""


@njit()
def measure(words, first, last, layout, counts):  # type: ignore[no-untyped-def]
    """The number of rows, and of values in each array. first, last: where each record begins and
    ends; equal where there is none.
    """
    rows = 0
    for r in range(len(first)):
        if last[r] == first[r]:
            continue
        n = words[first[r] + 2]
        rows += n
        p = first[r] + HEAD + n
        entries = 0
        for a in range(len(layout)):
            if layout[a, 2]:
                entries = 0
                for i in range(n):
                    entries += words[p + i]
            size = entries if layout[a, 0] else n
            counts[a] += size
            p += size
    return rows


@njit()
def load(words, first, last, layout, next_at, key, start, flat, texts_at):  # type: ignore[no-untyped-def]
    """Append the arrays of each record to those of earlier records; `next_at`: the next position in
    each array.
    """
    row = 0
    for r in range(len(first)):
        if last[r] == first[r]:
            continue
        n = words[first[r] + 2]
        p = first[r] + HEAD
        for i in range(n):
            key[row + i] = r
            start[row + i] = words[p + i]
        row += n
        p += n
        entries = 0
        for a in range(len(layout)):
            if layout[a, 2]:
                entries = 0
                for i in range(n):
                    entries += words[p + i]
            size = entries if layout[a, 0] else n
            for i in range(size):
                flat[next_at[a] + i] = words[p + i]
            next_at[a] += size
            p += size
        texts_at[r] = p


@njit()
def translate(codes, record_of, begins, rank):  # type: ignore[no-untyped-def]
    """Replace positions among a record's own strings by positions among all strings."""
    for i in range(len(codes)):
        r = record_of[i]
        if 0 <= codes[i] < begins[r + 1] - begins[r]:
            codes[i] = rank[begins[r] + codes[i]]


@njit()
def sizes(bounds, layout, ends, pool_at, text_ends, at):  # type: ignore[no-untyped-def]
    """The begin of each record, in words."""
    for r in range(len(at) - 1):
        n = bounds[r + 1] - bounds[r]
        if n == 0:
            at[r + 1] = at[r]
            continue
        size = HEAD + n
        for a in range(len(layout)):
            size += ends[a, bounds[r + 1]] - ends[a, bounds[r]] if layout[a, 0] else n
        letters = text_ends[pool_at[r + 1]] - text_ends[pool_at[r]]
        at[r + 1] = at[r] + size + pool_at[r + 1] - pool_at[r] + (letters + 7) // 8


@njit()
def dump(tiles, columns, pool, through, at, out, letters):  # type: ignore[no-untyped-def]
    """The records of tiles, written to `out` at `at`.

    tiles: their starts, and where each key's begin. columns: the layout, where each column begins,
    all columns one after another, and the ends of entries. pool: where each key's words begin, the
    ends of words, and their letters.
    """
    start, bounds = tiles
    layout, base, flat, ends = columns
    pool_at, text_ends, spelling = pool
    for r in range(len(at) - 1):
        if at[r + 1] == at[r]:
            continue
        first, last = bounds[r], bounds[r + 1]
        p = at[r]
        out[p], out[p + 1], out[p + 2], out[p + 3] = (
            FORMAT,
            through[r],
            last - first,
            pool_at[r + 1] - pool_at[r],
        )
        p += HEAD
        for i in range(first, last):
            out[p] = start[i]
            p += 1
        for a in range(len(layout)):
            low = ends[a, first] if layout[a, 0] else first
            high = ends[a, last] if layout[a, 0] else last
            for i in range(low, high):
                out[p] = flat[base[a] + i]
                p += 1
        begin = text_ends[pool_at[r]]
        for i in range(pool_at[r], pool_at[r + 1]):
            out[p] = text_ends[i + 1] - begin
            p += 1
        for i in range(begin, text_ends[pool_at[r + 1]]):
            letters[p * 8 + i - begin] = spelling[i]


@njit()
def add(words, first, last, new_at, new_start, new, through, steps, cuts, program, out, out_at):  # type: ignore[no-untyped-def]
    """Add new tiles to records, as of the cuts of a ladder: `load`, `Stored.merge` and `dump` in
    one walk.

    first, last: where each old record begins and ends. new_at: where the new tiles of each key
    begin. new: int64 (columns, tiles). program: a program of `kernel.layers`. out has room for
    all; out_at is where each record begins.
    """
    columns = len(new)
    rows, starts = np.empty((256, columns), np.int64), np.empty(256, np.int64)
    floats = rows.view(np.float64)
    q = 0
    for r in range(len(first)):
        out_at[r] = q
        old = words[first[r] + 2] if last[r] > first[r] else 0
        low, high = new_at[r], new_at[r + 1]
        if old + high - low > len(rows):
            rows, starts = (
                np.empty((2 * (old + high - low), columns), np.int64),
                np.empty(2 * (old + high - low), np.int64),
            )
            floats = rows.view(np.float64)
        begin = first[r] + HEAD
        used, run, i, j = 0, 0, 0, low
        next_old = placed(words[begin], steps, cuts) if old else 0
        while i < old or j < high:
            takes_old = j == high or (i < old and next_old <= new_start[j])
            start = next_old if takes_old else new_start[j]
            if used > 0 and start != starts[used - 1] and start != UNREACHED:
                merged(program, rows, floats, run, used)
                run += 1
                starts[run], used = start, run
            starts[used] = start
            if takes_old:
                p = begin + old + i
                for c in range(columns):
                    rows[used, c] = words[p]
                    p += old
                i += 1
                if i < old:
                    next_old = placed(words[begin + i], steps, cuts)
            else:
                for c in range(columns):
                    rows[used, c] = new[c, j]
                j += 1
            used += start != UNREACHED
        if used == 0:
            continue
        merged(program, rows, floats, run, used)
        n = run + 1
        out[q], out[q + 1], out[q + 2], out[q + 3] = FORMAT, through, n, 0
        q += HEAD
        for i in range(n):
            out[q + i] = starts[i]
        q += n
        for c in range(columns):
            for i in range(n):
                out[q + i] = rows[i, c]
            q += n
    out_at[len(first)] = q


NUMBERS, SIZES, ENTRIES = 0, 1, 2

STRINGS: Final = 4
"""Added to the kind of an array whose values are ordinals among the record's sorted strings."""

INTEGER, FLOAT, TEXT, LIST = range(4)
"""What the word of a value is: an integer, a float64, the span of a string (see `string_at`), or
that of a list or map: the position of its first item times 2^31, plus how many items it has; a
map's items are the categories, their values, and whether each of these is not null.
"""

LENGTH_BITS: Final = 31

_LENGTH: Final = 2**LENGTH_BITS - 1


@njit()
def located(words, p, kinds, at):  # type: ignore[no-untyped-def]
    """Where the record after the one at word p begins; -1 where this one is of another format.

    kinds: of each array. at, to be filled: where each array begins, and last where the strings do:
    first the ends of the strings, a word each, in bytes from their common begin, and then the
    bytes.
    """
    if words[p] != FORMAT:
        return -1
    n, strings = words[p + 2], words[p + 3]
    q, entries = p + HEAD + n, 0
    for a in range(len(kinds)):
        at[a] = q
        kind = kinds[a] & 3
        if kind == SIZES:
            entries = 0
            for i in range(q, q + n):
                entries += words[i]
        q += entries if kind == ENTRIES else n
    at[len(kinds)] = q
    q += strings
    return q + (words[q - 1] + 7) // 8 if strings > 0 else q


@njit()
def span_of(words, strings, count, ordinal):  # type: ignore[no-untyped-def]
    """The bytes of a string, counted from word 0, as one integer: see `string_at`. strings: as of
    `located`; count: of the record.
    """
    begin = words[strings + ordinal - 1] if ordinal > 0 else 0
    return (((strings + count) * 8 + begin) << LENGTH_BITS) | (words[strings + ordinal] - begin)


@njit()
def spelt(words, strings, ordinal):  # type: ignore[no-untyped-def]
    """The span of one of a key's strings.

    strings: where those of its only record are, and how many; or -1, and at last the spans of those
    of all its records.
    """
    return (
        strings[2][ordinal] if strings[0] < 0 else span_of(words, strings[0], strings[1], ordinal)
    )


@njit()
def merge_strings(words, starts, at, kinds, spans, ranks):  # type: ignore[no-untyped-def]
    """Replace the ordinals of several records by ordinals among the strings of all of them; how
    many these are.

    starts: where each record begins. at: (records, arrays + 1), as of `located`. spans, to be
    filled: of each string, as of `span_of`.
    ranks: room for the ordinals of one record's strings for each. Both have room for all strings.
    """
    letters = words.view(np.uint8)
    records, last = len(starts), at.shape[1] - 1
    heads, firsts = np.zeros(records, np.int64), np.zeros(records + 1, np.int64)
    for r in range(records):
        firsts[r + 1] = firsts[r] + words[starts[r] + 3]
    count = 0
    while True:
        least, best = -1, 0
        for r in range(records):
            if heads[r] < firsts[r + 1] - firsts[r]:
                span = span_of(words, at[r, last], firsts[r + 1] - firsts[r], heads[r])
                if least < 0 or _compared(letters, span, best) < 0:
                    least, best = r, span
        if least < 0:
            break
        if count == 0 or _compared(letters, spans[count - 1], best) != 0:
            spans[count] = best
            count += 1
        ranks[firsts[least] + heads[least]] = count - 1
        heads[least] += 1
    for r in range(records):
        string_count = firsts[r + 1] - firsts[r]
        for a in range(last):
            if kinds[a] & STRINGS:
                for i in range(at[r, a], at[r, a + 1]):
                    # other values mean no string, such as the minimum of no event
                    if 0 <= words[i] < string_count:
                        words[i] = ranks[firsts[r] + words[i]]
    return count


@njit()
def _compared(letters, a, b):  # type: ignore[no-untyped-def]
    """Compare two strings by their spans: below 0, 0 or above 0 if the first is before, equal to or
    after the second.
    """
    p, q, m, n = a >> LENGTH_BITS, b >> LENGTH_BITS, a & _LENGTH, b & _LENGTH
    for i in range(min(m, n)):
        if letters[p + i] != letters[q + i]:
            return np.int64(letters[p + i]) - np.int64(letters[q + i])
    return m - n


def string_at(data: bytes | bytearray, span: int) -> str:
    """The string of a span, which is 2^31 times where its bytes begin, plus how many they are.

    >>> string_at(b"one two", (4 << 31) + 3)
    'two'
    """
    begin = span >> LENGTH_BITS
    return data[begin : begin + (span & _LENGTH)].decode()
