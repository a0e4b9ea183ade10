"""Read plans: the features that compiled loops compute, and the instructions that the loops follow.

The words of a compiled read, kept next to the decoded values; the serving log writes the words
unchanged.

The strings of an answer, made in one call of Python: decoded together, and split at zero bytes.

Where a string holds a zero byte itself, or the room is too small for all, each is made of its span.

The integers of the kernel as the values of Python that users see, without polars.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from itertools import islice
from typing import Any, Literal, NamedTuple, cast
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater.aggregations.base import AggregateFunction, GroupBy, StateField
from headwater.aggregations.grouped import GROUP
from headwater.aggregations.reads import MAP, OPEN_COUNT, StoredColumns
from headwater.aggregations.run import FeatureSpec
from headwater.aggregations.table import TABLE, stored_family
from headwater.definitions.feature_view import Feature
from headwater.definitions.windows import Window
from headwater.engine.query import wanted_of
from headwater.events import columns as statuses
from headwater.kernel import layers
from headwater.kernel.arrays import I64
from headwater.kernel.layers import Use
from headwater.state.entry_kernels import WIDTH
from headwater.state.read_kernels import APART, FULL, ITEMS, MAPPED, START, scratch_words
from headwater.state.record import number_of
from headwater.state.tiles import FLOAT, INTEGER, LENGTH_BITS, LIST, NONE, TEXT, Slot, string_at
from headwater.state.view_state import ViewTiles

U8 = NDArray[np.uint8]

_MOST_ROOM = 1_024  # words


@dataclass(frozen=True)
class CompiledFeature:
    """A feature for compiled loops.

    instruction: an opcode of `aggregations.reads` and its operands. word: what its word is, as of
    `state.tiles`.
    meant: the conversion of an integer to the user's value, if any; listed: that of a list's or a
    map's word.
    most: how many items a list takes at most. inner: of a map, the plan of a category's state
    (`state.entry_kernels`).
    strings: which of the items are strings, as of `state.read_kernels`.
    """

    feature: Feature
    instruction: tuple[int, ...]
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
    state_columns = columns if wanted.by is None else tuple(range(len(fields)))
    read = entry.read(
        StoredColumns(
            state_columns,
            whole,
            wanted.use,
            dict(wanted.params),
            wanted.window,
            wanted.output,
            tiles.records.stored.ended_after,
        )
    )
    read_words = (*read.words, *(-1,) * (5 - len(read.words)))
    word, meant = FLOAT if read.real else INTEGER, None
    if name is not None and entry.gives in {"same", "list"}:
        word, meant = _of_column(tiles, name, word)
    if wanted.by is not None:
        return _map(tiles, feature, wanted.by, (columns[0], read_words, word, meant), fields)
    if not by_entries:
        return CompiledFeature(feature, read_words, word, meant)
    read_words = (*read_words[:4], word)
    return (
        CompiledFeature(
            feature,
            read_words,
            LIST,
            listed=lists(word, meant),
            most=read.most,
            strings=ITEMS if word == TEXT else 0,
        )
        if read.most
        else CompiledFeature(feature, read_words, word, meant)
    )


def _map(
    tiles: ViewTiles,
    feature: Feature,
    by: GroupBy,
    read: tuple[int, tuple[int, ...], int, FromWord | None],
    fields: Sequence[StateField],
) -> CompiledFeature:
    """A map, of the record's first column of its state, and the read of each category's."""
    first, read_words, word, meant = read
    kind, category = _of_column(tiles, by.use.columns[0], INTEGER)
    steps = layers.program(
        [
            [
                (cast("int", field.op), field.whole, c, field.parameter)
                for c, field in enumerate(fields)
            ]
        ]
    )
    inner = (len(fields), len(steps), *read_words, word, *steps.ravel().tolist())
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
    """The kind of word that holds a column's value, and its conversion; `word`: the kind where the
    column holds no strings.
    """
    if name in tiles.records.strings:
        return TEXT, None
    return word, from_word(tiles.schema[name]) if word == INTEGER else None


def _columns(tiles: ViewTiles, wanted: FeatureSpec) -> tuple[int, ...]:
    """The columns of a record with the state of `wanted`."""
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

    words: the plan. kinds: of each feature, what its word is, as of `state.tiles`. By
    position among the features: texts, the strings; meant, what makes the user's value of a number;
    lists, what makes lists and maps of items. items: how many of these a key has at most. strings:
    the positions of features with strings, as of `state.read_kernels`, in the order in which they
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
        """The number of words in the answers of some keys, given the number of words in their
        records; see `items_at`.
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
    def room_of_one(self) -> int:
        """The room of one key's answer; 0 where that is much, and less would do for short
        records.
        """
        room = self.items_at(1) + sum(self.items) + 1
        return room if room <= _MOST_ROOM else 0

    @cached_property
    def floats(self) -> list[int]:
        """The positions of the features with float words."""
        return [index for index, kind in enumerate(self.kinds) if kind == FLOAT]

    @cached_property
    def others(self) -> list[int]:
        """The positions of the features without float words."""
        return [index for index, kind in enumerate(self.kinds) if kind != FLOAT]

    @cached_property
    def times(self) -> Callable[..., bytes]:
        """Packs the T of each read version, and then by when a thing must be known in each, as the
        words before the records.
        """
        return struct.Struct(f"={self.words[1 + self.words[0]]}q").pack

    @cached_property
    def before(self) -> bytes:
        """The words between the times and the records: a section of no tiles, and room for the
        loops.
        """
        return NONE + bytes(8 * int(self.words[2 + self.words[0]]))

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
    merges, kinds = tiles.records.merges, tiles.records.kinds
    windows, nothing = _windows(tiles), _nothing(tiles)
    limit = -1 if tiles.view.expires_after is None else tiles.view.expires_after
    everything = _columns(tiles, FeatureSpec("count", Use(), windows[0]))[0]
    entries = any(reading.instruction[0] >= OPEN_COUNT for reading in features)
    section = [
        len(nothing),
        len(windows),
        len(merges),
        len(features),
        view.records,
        limit,
        everything,
    ]
    section += [int(entries), view.group, int(view.cuts), view.version, versions + view.version]
    section += [number_of(tiles.view.tiles_fingerprint), view.opener]
    section += [n for w in windows for n in (-1 if w.length is None else w.length, w.hop, w.offset)]
    section += [*merges.ravel().tolist(), *(nothing[c] for c in range(len(nothing))), *kinds]
    inner_at, inner = len(section) + WIDTH * len(features), list[int]()
    for reading, cell in zip(features, places, strict=True):
        use, window = statuses.counted(reading.feature), reading.feature.window
        age = _columns(tiles, FeatureSpec("since_last", use, window)) if limit >= 0 else (0, 0)
        word = TABLE[reading.feature.aggregation.function].null
        kind, *operands = reading.instruction
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


Meaning = Literal["int", "float", "bool", ""]


@dataclass(frozen=True, eq=False)
class WordLayout:
    """The meaning of each word of an answer; one object for all answers of a reader.

    An answer of n keys has 8 bytes for each value, (features, n), then a byte for each status and a
    byte that is 1 for each null value, both (features, n), and anything up to a whole word.

    Attributes:
        features: their names.
        meanings: the type of each feature's values; empty where the word alone is not the value.
    """

    features: Sequence[str]
    meanings: Sequence[Meaning]


AnswerWords = tuple[WordLayout, I64]
"""The words of one answer, int64, and perhaps the items of its lists after them; nothing writes to
them any more.
"""


def by_key(words: AnswerWords | None, keys: int) -> Sequence[AnswerWords | None]:
    """The words of an answer of several keys, as an answer of each."""
    if words is None:
        return [None] * keys
    layout, together = words
    features = len(layout.features)
    words_by_key = np.zeros((keys, words_of(features, 1)), np.int64)
    places = features * keys
    words_by_key[:, :features] = together[:places].reshape(features, keys).T
    flags = (
        together[places : words_of(features, keys)]
        .view(np.uint8)[: 2 * places]
        .reshape(2 * features, keys)
    )
    words_by_key[:, features:].view(np.uint8)[:, : 2 * features] = flags.T
    return [(layout, key_words) for key_words in words_by_key]


def words_of(features: int, keys: int) -> int:
    """How many words an answer has.

    >>> words_of(27, 1), words_of(0, 5)
    (34, 0)
    """
    places = features * keys
    return places + (2 * places + 7) // 8


_LENGTH = 2**LENGTH_BITS - 1

_FIRST_STRING_ROOM, _MOST_STRING_ROOM = 256, 1 << 17  # words


class AnswerStrings:
    """The array into which a loop copies the strings of an answer; kept for the next one.

    Attributes:
        words: as `read_kernels.joined` fills them.
    """

    def __init__(self) -> None:
        self._take(_FIRST_STRING_ROOM)

    def drop(self) -> None:
        """Make the strings one by one: other values have become null since they were copied."""
        self._end[0] = APART

    def of_answer(self, plan: ReadPlan, records: I64, out: I64, keys: int) -> Iterator[str]:
        """The strings of the last answer, in the order in which they are converted; `out`: its
        words.
        """
        if not plan.strings:
            return iter(())
        end = self._end[0]
        if end >= 0:
            return iter(str(self._bytes[START:end], "utf-8").split("\0"))
        if end == FULL and len(self.words) < _MOST_STRING_ROOM:
            self._take(2 * len(self.words))
        words, _, nulls = plan.cut(out, keys)
        return _one_by_one(
            plan.strings, words, nulls, out[plan.items_at(keys) :], records.tobytes()
        )

    def _take(self, room: int) -> None:
        self.words = np.zeros(room, np.int64)
        self._end = memoryview(self.words.data)
        self._bytes = self._end.cast("B")


def _one_by_one(
    places: Sequence[tuple[int, int]], words: I64, nulls: U8, items: I64, data: bytes
) -> Iterator[str]:
    """The strings that `read_kernels.joined` copies, one value at a time, from the values and their
    nulls; `data`: the records.
    """
    strings = SpelledStrings(data)
    for feature, parts in places:
        for word, null in zip(words[feature].tolist(), nulls[feature].tolist(), strict=True):
            if null:
                continue
            if not parts:
                yield strings[word]
                continue
            first, count = word >> LENGTH_BITS, word & _LENGTH
            entry_items = items[first : first + 3 * count].tolist()
            if parts & ITEMS:
                yield from (strings[span] for span in entry_items[:count])
            if parts & MAPPED:
                yield from (
                    strings[span]
                    for span, valid in zip(
                        entry_items[count : 2 * count], entry_items[2 * count :], strict=True
                    )
                    if valid
                )


FromWord = Callable[[object], object]


class SpelledStrings(dict[int, str]):
    """The strings of an answer by their spans (`tiles.string_at`), each made once: windows
    of a key hold the same ones.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data

    def __missing__(self, span: int) -> str:
        text = self[span] = string_at(self._data, span)
        return text


class ListItems(NamedTuple):
    """The items of all lists and maps of an answer, as integers and as floats; its strings, in the
    order in which they are converted.
    """

    words: list[int]
    floats: list[float]
    strings: Iterator[str]


FromItems = Callable[[ListItems, int], object]
"""The items, and the word of a list or map -> its value."""

_REAL = np.dtype(np.float64)

_EPOCH, _EPOCH_DAY = datetime(1970, 1, 1), date(1970, 1, 1).toordinal()  # noqa: DTZ001 (the time of a zone is added)


def from_word(dtype: pl.DataType) -> FromWord | None:
    """A function from an int64 to a value of this column; None where the value is the integer
    itself.

    Values are those that `events.columns.decode` and polars' `to_list` give.

    >>> from_word(pl.Date())(19844)
    datetime.date(2024, 5, 1)
    """
    if dtype == pl.Boolean:
        return bool
    if isinstance(dtype, pl.Datetime):
        return _timestamps(dtype.time_zone)
    if isinstance(dtype, pl.Date):
        return lambda days: date.fromordinal(_EPOCH_DAY + cast("int", days))
    if isinstance(dtype, pl.Duration):
        if dtype.time_unit == "ns":
            return lambda n: (
                timedelta(microseconds=abs(cast("int", n)) // 1000)
                * (1 if cast("int", n) >= 0 else -1)
            )
        unit = timedelta(milliseconds=1) if dtype.time_unit == "ms" else timedelta(microseconds=1)
        return lambda n: unit * cast("int", n)
    if isinstance(dtype, pl.Time):
        return lambda ns: _time_of_day(cast("int", ns) // 1000)
    return None


def _timestamps(time_zone: str | None) -> Callable[[object], object]:
    zone = None if time_zone is None else ZoneInfo(time_zone)
    epoch = _EPOCH.replace(tzinfo=zone)
    if zone is None or time_zone == "UTC":
        return lambda micros: epoch + timedelta(0, 0, micros)  # type: ignore[arg-type]  # by position: names take longer
    return lambda micros: zone.fromutc(epoch + timedelta(0, 0, micros))  # type: ignore[arg-type]


def _time_of_day(micros: int) -> time:
    seconds, micro = divmod(micros, 1_000_000)
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60, micro)


def items_of(items: I64, spans: Iterable[int], strings: Iterator[str]) -> ListItems:
    """The items of the lists and maps of these words, of the buffer that the loops have filled."""
    end = 0
    for span in spans:
        span_end = (span >> LENGTH_BITS) + 3 * (span & _LENGTH)  # a map has three for each category
        end = span_end if span_end > end else end  # noqa: FURB136 (`max` takes longer)
    taken = items[:end]
    return ListItems(taken.tolist(), taken.view(_REAL).tolist(), strings)


def lists(word: int, meant: FromWord | None) -> FromItems:
    """A function that builds lists; `word` and `meant` as of `read_plan.CompiledFeature`, of each
    item.
    """
    if word == TEXT:
        return lambda items, span: list(islice(items.strings, span & _LENGTH))
    values_of = _values(word, meant)
    return lambda items, span: values_of(items, span >> LENGTH_BITS, span & _LENGTH)


def maps(category: tuple[int, FromWord | None], value: tuple[int, FromWord | None]) -> FromItems:
    """A function that builds maps from categories and values."""
    names_of, values_of = _values(*category), _values(*value)

    def of_items(items: ListItems, span: int) -> object:
        first, count = span >> LENGTH_BITS, span & _LENGTH
        if not count:
            return {}
        names = names_of(items, first, count)
        valid = items.words[first + 2 * count : first + 3 * count]
        if 0 not in valid:
            return dict(zip(names, values_of(items, first + count, count)))  # noqa: B905 (`strict` takes longer than the rest)
        return {
            name: values_of(items, at, 1)[0] if is_valid else None
            for at, (name, is_valid) in enumerate(zip(names, valid, strict=True), first + count)
        }

    return of_items


def _values(word: int, meant: FromWord | None) -> Callable[[ListItems, int, int], list[object]]:
    """A function that takes a number of values from the items at a position; strings are the next
    ones of the answer.
    """
    if word == FLOAT:
        return lambda items, first, count: cast("list[object]", items.floats[first : first + count])
    if word == TEXT:
        return lambda items, first, count: list(islice(items.strings, count))  # noqa: ARG005 (as the others)
    if meant is None:
        return lambda items, first, count: cast("list[object]", items.words[first : first + count])
    return lambda items, first, count: [meant(word) for word in items.words[first : first + count]]
