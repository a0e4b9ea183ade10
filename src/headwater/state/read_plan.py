"""Which features compiled loops compute, and the plan that the loops follow."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from headwater.aggregations.base import AggregateFunction, GroupBy, StateField
from headwater.aggregations.grouped import GROUP
from headwater.aggregations.reads import MAP, OPEN_COUNT, StoredColumns
from headwater.aggregations.run import FeatureSpec
from headwater.aggregations.table import TABLE, stored_family
from headwater.definitions.feature import Feature
from headwater.definitions.windows import Window
from headwater.engine.feature_plan import wanted_of
from headwater.events import statuses
from headwater.kernel import merge_program
from headwater.kernel.arrays import I64
from headwater.kernel.layer import Use
from headwater.state import tile_kernels
from headwater.state.answer_words import Meaning
from headwater.state.key_record import number_of
from headwater.state.partial_state import Slot
from headwater.state.read_kernels import scratch_words
from headwater.state.read_values import FromItems, FromWord, from_word, lists, maps
from headwater.state.record_layout import FLOAT, INTEGER, LIST, TEXT
from headwater.state.string_kernels import ITEMS, MAPPED
from headwater.state.value_kernels import WIDTH
from headwater.state.view_tiles import ViewTiles

U8 = NDArray[np.uint8]
_MOST_ROOM = 1_024  # words


@dataclass(frozen=True)
class CompiledFeature:
    """A feature for compiled loops.

    how: an opcode of `aggregations.reads` and its operands. word: what its word is, as of
    `state.record_layout`.
    meant: the conversion of an integer to the user's value, if any; listed: that of a list's or a
    map's word.
    most: how many items a list takes at most. inner: of a map, the plan of a category's state
    (`state.map_kernels`).
    strings: which of the items are strings, as of `state.string_kernels`.
    """

    feature: Feature
    how: tuple[int, ...]
    word: int
    meant: FromWord | None = None
    listed: FromItems | None = None
    most: int = 0
    inner: tuple[int, ...] = ()
    strings: int = 0

    @property
    def meaning(self) -> Meaning:
        """The type of the values, where the word is the value."""
        if self.meant is not None:
            return "bool" if self.meant is bool else ""
        return "float" if self.word == FLOAT else "int" if self.word == INTEGER else ""


def compiled(tiles: ViewTiles, feature: Feature) -> CompiledFeature | None:
    """How loops compute a feature of a view; None where its function has no compiled read, or its
    state is merged in another way.
    """
    wanted, name = wanted_of(feature), feature.columns[feature.column] if feature.columns else None
    entry = TABLE[wanted.function]
    slot, columns = _slots(tiles)[
        stored_family(wanted.function, dict(wanted.params), wanted.by), wanted.use
    ]
    fields = slot.fields if wanted.by is None else slot.fields[GROUP:]
    by_entries = wanted.by is None and any(field.entry for field in fields)
    if entry.read is None or not (by_entries or all(field.op is not None for field in fields)):
        return None
    whole = tiles.records.stored.kinds.get(name, True) if name is not None else True
    own = columns if wanted.by is None else tuple(range(len(fields)))
    read = entry.read(
        StoredColumns(
            own,
            whole,
            wanted.use,
            dict(wanted.params),
            wanted.window,
            wanted.output,
            tiles.records.stored.ended_after,
        )
    )
    how = (*read.words, *(-1,) * (5 - len(read.words)))
    word, meant = FLOAT if read.real else INTEGER, None
    if name is not None and entry.definition.gives in {"same", "list"}:
        word, meant = _of_column(tiles, name, word)
    if wanted.by is not None:
        return _map(tiles, feature, wanted.by, (columns[0], how, word, meant), fields)
    if not by_entries:
        return CompiledFeature(feature, how, word, meant)
    how = (*how[:4], word)
    return (
        CompiledFeature(
            feature,
            how,
            LIST,
            listed=lists(word, meant),
            most=read.most,
            strings=ITEMS if word == TEXT else 0,
        )
        if read.most
        else CompiledFeature(feature, how, word, meant)
    )


def _map(
    tiles: ViewTiles,
    feature: Feature,
    by: GroupBy,
    read: tuple[int, tuple[int, ...], int, FromWord | None],
    fields: Sequence[StateField],
) -> CompiledFeature:
    """A map, of the record's first column of its state, and the read of each category's."""
    first, how, word, meant = read
    kind, category = _of_column(tiles, by.use.columns[0], INTEGER)
    steps = merge_program.program(
        [
            [
                (cast("int", field.op), field.whole, c, field.parameter)
                for c, field in enumerate(fields)
            ]
        ]
    )
    inner = (len(fields), len(steps), *how, word, *steps.ravel().tolist())
    listed = maps((kind, category), (word, meant))
    strings = (ITEMS if kind == TEXT else 0) | (MAPPED if word == TEXT else 0)
    return CompiledFeature(
        feature,
        (MAP, first, by.max_keys, 0, kind),
        LIST,
        listed=listed,
        most=3 * by.max_keys,
        inner=inner,
        strings=strings,
    )


def _of_column(tiles: ViewTiles, name: str, word: int) -> tuple[int, FromWord | None]:
    """What the word of a value of a column is, and its conversion; `word`: what it is where the
    column holds no strings.
    """
    if name in tiles.records.strings:
        return TEXT, None
    return word, from_word(tiles.schema[name]) if word == INTEGER else None


def _columns(tiles: ViewTiles, wanted: FeatureSpec) -> tuple[int, ...]:
    """The columns of a record that hold the state which `wanted` is made of."""
    return _slots(tiles)[
        stored_family(wanted.function, dict(wanted.params), wanted.by), wanted.use
    ][1]


def _slots(tiles: ViewTiles) -> dict[tuple[AggregateFunction, Use], tuple[Slot, tuple[int, ...]]]:
    """The slots of a record and their columns, by family and use."""
    slots = tiles.records.stored.slots
    return {
        (slot.family, slot.use): (slot, columns)
        for slot, columns in zip(slots, tiles.records.columns, strict=True)
    }


@dataclass(frozen=True)
class ReadPlan:
    """The plan that `state.read_kernels.answer` follows, for some views with so many records a key.

    words: the plan. kinds: of each feature, what its word is, as of `state.record_layout`. By
    position among the features: texts, the strings; meant, what makes the user's value of a number;
    lists, what makes lists and maps of items. items: how many of these a key has at most. strings:
    the positions of features with strings, as of `state.string_kernels`, in the order in which they
    are converted.
    numbers: whether any item is not a string.
    """

    words: I64
    kinds: tuple[int, ...]
    meant: tuple[tuple[int, FromWord], ...]
    texts: tuple[int, ...]
    lists: tuple[tuple[int, FromItems], ...] = ()
    items: tuple[int, ...] = ()
    strings: tuple[tuple[int, int], ...] = ()
    numbers: bool = False

    def room(self, keys: int, words: int) -> int:
        """How many words the answers of so many keys take, from so many words of records; see
        `items_at`.
        """
        # a mode passes through
        return self.items_at(keys) + sum(min(most * keys, 3 * words) for most in self.items) + 1

    def items_at(self, keys: int) -> int:
        """Where the items of lists begin in the answer's words."""
        places = len(self.kinds) * keys
        return places + (2 * places + 7) // 8

    def cut(self, out: I64, keys: int) -> tuple[I64, U8, U8]:
        """The values of so many keys, their statuses, and which are null, of the answer's words;
        all (features, keys).
        """
        shape = len(self.kinds), keys
        size = shape[0] * keys
        tail = out[size:].view(np.uint8)
        return (
            out[:size].reshape(shape),
            tail[:size].reshape(shape),
            tail[size : 2 * size].reshape(shape),
        )

    @cached_property
    def variable(self) -> I64 | None:
        """None where the state of no feature has entries; else anything else, as
        `state.read_kernels.answer` takes it.
        """
        sections = self.words[1 : 1 + self.words[0]]
        return self.words if self.words[sections + 7].any() else None

    @cached_property
    def converted(self) -> bool:
        """Whether any value is more than a number."""
        return bool(self.meant or self.texts or self.lists)

    @cached_property
    def one(self) -> int:
        """The room of one key's answer; 0 where that is much, and less would do for short
        records.
        """
        room = self.items_at(1) + sum(self.items) + 1
        return room if room <= _MOST_ROOM else 0

    @cached_property
    def floats(self) -> list[int]:
        """The positions of the features whose words are floats."""
        return [index for index, kind in enumerate(self.kinds) if kind == FLOAT]

    @cached_property
    def others(self) -> list[int]:
        """The positions of the features whose words are no floats."""
        return [index for index, kind in enumerate(self.kinds) if kind != FLOAT]

    @cached_property
    def times(self) -> Callable[..., bytes]:
        """Packs the T of each read version, and then by when a thing must be known in each, as the
        words before the records.
        """
        return struct.Struct(f"={self.words[1 + self.words[0]]}q").pack

    @cached_property
    def times_into(self) -> Callable[..., None]:
        """As `times`, into a buffer at an offset."""
        return struct.Struct(f"={self.words[1 + self.words[0]]}q").pack_into

    @cached_property
    def before(self) -> bytes:
        """The words between the times and the records: a section of no tiles, and room for the
        loops.
        """
        return tile_kernels.NONE + bytes(8 * int(self.words[2 + self.words[0]]))

    @cached_property
    def records_at(self) -> int:
        """The word at which the records begin."""
        return int(self.words[1 + self.words[0]]) + len(self.before) // 8

    @cached_property
    def unpack(self) -> Callable[..., tuple[Any, ...]]:
        """Unpacks the answer's words of one key: the values, a status byte each, and a null byte
        each.
        """
        size = len(self.kinds)
        return struct.Struct(
            f"={''.join('d' if kind == FLOAT else 'q' for kind in self.kinds)}{size}s{size}s"
        ).unpack_from


class PlannedView(NamedTuple):
    """A view in a plan.

    features: by their indices among the view's outputs. records: how many a key has; cuts: whether
    they are of cuts; the last cut until T is read. group: views of one group are read by the same
    keys. version: the index of its read version. opener: the index of the first view that reads the
    same records.
    """

    tiles: ViewTiles
    features: Mapping[int, CompiledFeature]
    records: int
    cuts: bool
    group: int
    version: int
    opener: int


def plan(views: Sequence[PlannedView], versions: int, order: Sequence[tuple[int, int]]) -> ReadPlan:
    """The plan for some views of so many read versions; `order`: (view, feature) of each place, a
    feature as in `PlannedView`.
    """
    places = {at: cell for cell, at in enumerate(order)}
    room = scratch_words(
        [(len(_nothing(view.tiles)), len(_windows(view.tiles)), view.records) for view in views]
    )
    readings = [views[view].features[n] for view, n in order]
    texts = tuple(cell for cell, reading in enumerate(readings) if reading.word == TEXT)
    strings = (
        *((cell, 0) for cell in texts),
        *((cell, reading.strings) for cell, reading in enumerate(readings) if reading.strings),
    )
    words: list[int] = [
        len(views),
        *(0 for _ in views),
        2 * versions,
        room,
        len(strings),
        *(n for pair in strings for n in pair),
    ]
    for index, view in enumerate(views):
        words[1 + index] = len(words)
        words += _section(view, versions, [places[index, n] for n in view.features])
    meant = tuple(
        (cell, reading.meant) for cell, reading in enumerate(readings) if reading.meant is not None
    )
    lists = tuple(
        (cell, reading.listed)
        for cell, reading in enumerate(readings)
        if reading.listed is not None
    )
    items = tuple(reading.most for reading in readings if reading.most)
    numbers = any(
        reading.inner or not reading.strings for reading in readings if reading.listed is not None
    )
    return ReadPlan(
        np.array(words, np.int64),
        tuple(reading.word for reading in readings),
        meant,
        texts,
        lists,
        items,
        strings,
        numbers,
    )


def _windows(tiles: ViewTiles) -> list[Window]:
    """All of a view: each says whether there is any event."""
    return list(dict.fromkeys(feature.window for feature in tiles.view.outputs))


def _nothing(tiles: ViewTiles) -> dict[int, int]:
    """The words of the state of no event, by column."""
    nothing: dict[int, int] = {}
    for state, columns in zip(tiles.records.stored.nothing, tiles.records.columns, strict=True):
        nothing |= {
            column: int(array.view(np.int64)[0]) if len(array) else 0
            for array, column in zip(state, columns, strict=True)
        }
    return nothing


def _section(view: PlannedView, versions: int, places: Sequence[int]) -> list[int]:
    tiles, features = view.tiles, list(view.features.values())
    how, kinds = tiles.records.merges, tiles.records.kinds
    windows, nothing = _windows(tiles), _nothing(tiles)
    limit = -1 if tiles.view.expires_after is None else tiles.view.expires_after
    everything = _columns(tiles, FeatureSpec("count", Use(), windows[0]))[0]
    entries = any(reading.how[0] >= OPEN_COUNT for reading in features)
    section = [len(nothing), len(windows), len(how), len(features), view.records, limit, everything]
    section += [int(entries), view.group, int(view.cuts), view.version, versions + view.version]
    section += [number_of(tiles.view.tiles_fingerprint), view.opener]
    section += [n for w in windows for n in (-1 if w.length is None else w.length, w.hop, w.offset)]
    section += [*how.ravel().tolist(), *(nothing[c] for c in range(len(nothing))), *kinds]
    inner_at, inner = len(section) + WIDTH * len(features), list[int]()
    for reading, cell in zip(features, places, strict=True):
        use, window = statuses.counted(reading.feature), reading.feature.window
        age = _columns(tiles, FeatureSpec("since_last", use, window)) if limit >= 0 else (0, 0)
        word = TABLE[reading.feature.aggregation.function].null
        kind, *operands = reading.how
        if reading.inner:
            operands[2] = inner_at + len(inner)
            inner += reading.inner
        counted = _columns(tiles, FeatureSpec("count", use, window))[0]
        null = -1 if word == "present" else statuses.STATUSES.index(word)
        section += [
            kind,
            windows.index(window),
            *operands,
            reading.word,
            counted,
            cell,
            null,
            age[0],
            age[-1],
        ]
    return section + inner
