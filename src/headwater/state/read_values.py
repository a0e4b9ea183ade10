"""The integers of the kernel as the values of Python that users see, without polars."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple, cast
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from headwater.kernel.arrays import I64
from headwater.state.record_layout import FLOAT, LENGTH_BITS, TEXT, string_at

FromWord = Callable[[object], object]


class SpelledStrings(dict[int, str]):
    """The strings of an answer by their spans (`record_layout.string_at`), each made once: windows of a key hold the same ones."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data

    def __missing__(self, span: int) -> str:
        text = self[span] = string_at(self._data, span)
        return text


class ListItems(NamedTuple):
    """The items of all lists and maps of an answer, as integers and as floats, and the strings that integers may mean."""

    words: list[int]
    floats: list[float]
    strings: SpelledStrings


FromItems = Callable[[ListItems, int], object]
"""The items, and the word of a list or map -> its value."""

_LENGTH = 2**LENGTH_BITS - 1
_EPOCH, _EPOCH_DAY = datetime(1970, 1, 1), date(1970, 1, 1).toordinal()  # noqa: DTZ001 (the time of a zone is added)


def from_word(dtype: pl.DataType) -> FromWord | None:
    """What makes the value of a column of the dtype of its int64; None where it is the integer itself.

    Values are those that `events.column_encoding.decode` and polars' `to_list` give.

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
            return lambda n: timedelta(microseconds=abs(cast("int", n)) // 1000) * (1 if cast("int", n) >= 0 else -1)
        each = timedelta(milliseconds=1) if dtype.time_unit == "ms" else timedelta(microseconds=1)
        return lambda n: each * cast("int", n)
    if isinstance(dtype, pl.Time):
        return lambda ns: _time_of_day(cast("int", ns) // 1000)
    return None


def _timestamps(time_zone: str | None) -> Callable[[object], object]:
    zone = None if time_zone is None else ZoneInfo(time_zone)

    def timestamp(micros: object) -> datetime:
        naive = _EPOCH + timedelta(microseconds=cast("int", micros))
        return naive if zone is None else naive.replace(tzinfo=UTC).astimezone(zone)

    return timestamp


def _time_of_day(micros: int) -> time:
    seconds, micro = divmod(micros, 1_000_000)
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60, micro)


def items_of(items: I64, spans: Iterable[int], data: bytes | bytearray) -> ListItems:
    """The items of the lists and maps of these words, of the buffer that the loops have filled."""
    end = max(((span >> LENGTH_BITS) + 3 * (span & _LENGTH) for span in spans), default=0)  # a map has three for each category
    taken = items[:end]
    return ListItems(taken.tolist(), taken.view(np.float64).tolist(), SpelledStrings(data))


def lists(word: int, meant: FromWord | None) -> FromItems:
    """What makes lists; `word` and `meant` as of `read_plan.CompiledFeature`, of each item."""

    def of_items(items: ListItems, span: int) -> object:
        first = span >> LENGTH_BITS
        return _values(items, first, first + (span & _LENGTH), word, meant)

    return of_items


def maps(category: tuple[int, FromWord | None], value: tuple[int, FromWord | None]) -> FromItems:
    """What makes maps, of categories and values."""

    def of_items(items: ListItems, span: int) -> object:
        first, count = span >> LENGTH_BITS, span & _LENGTH
        names = _values(items, first, first + count, *category)
        valid = items.words[first + 2 * count : first + 3 * count]
        if 0 not in valid:
            return dict(zip(names, _values(items, first + count, first + 2 * count, *value), strict=True))
        return {
            name: _values(items, at, at + 1, *value)[0] if is_valid else None
            for at, (name, is_valid) in enumerate(zip(names, valid, strict=True), first + count)
        }

    return of_items


def _values(items: ListItems, first: int, last: int, word: int, meant: FromWord | None) -> list[object]:
    if word == FLOAT:
        return cast("list[object]", items.floats[first:last])
    words = items.words[first:last]
    if word == TEXT:
        return list(map(items.strings.__getitem__, words))
    return cast("list[object]", words) if meant is None else [meant(value) for value in words]
