"""The integers of the kernel as the values of Python that users see, without polars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import NamedTuple, cast
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from headwater.kernel.arrays import I64
from headwater.state.record_layout import FLOAT, LENGTH_BITS, TEXT, string_at

FromWord = Callable[[object], object]


class SpelledStrings(dict[int, str]):
    """The strings of an answer by their spans (`record_layout.string_at`), each made once: windows
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

_LENGTH = 2**LENGTH_BITS - 1
_REAL = np.dtype(np.float64)
_EPOCH, _EPOCH_DAY = datetime(1970, 1, 1), date(1970, 1, 1).toordinal()  # noqa: DTZ001 (the time of a zone is added)


def from_word(dtype: pl.DataType) -> FromWord | None:
    """What makes the value of a column of the dtype of its int64; None where it is the integer
    itself.

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
            return lambda n: (
                timedelta(microseconds=abs(cast("int", n)) // 1000)
                * (1 if cast("int", n) >= 0 else -1)
            )
        each = timedelta(milliseconds=1) if dtype.time_unit == "ms" else timedelta(microseconds=1)
        return lambda n: each * cast("int", n)
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
        own = (span >> LENGTH_BITS) + 3 * (span & _LENGTH)  # a map has three for each category
        end = own if own > end else end  # noqa: FURB136 (`max` takes longer)
    taken = items[:end]
    return ListItems(taken.tolist(), taken.view(_REAL).tolist(), strings)


def lists(word: int, meant: FromWord | None) -> FromItems:
    """What makes lists; `word` and `meant` as of `read_plan.CompiledFeature`, of each item."""
    if word == TEXT:
        return lambda items, span: list(islice(items.strings, span & _LENGTH))
    values_of = _values(word, meant)
    return lambda items, span: values_of(items, span >> LENGTH_BITS, span & _LENGTH)


def maps(category: tuple[int, FromWord | None], value: tuple[int, FromWord | None]) -> FromItems:
    """What makes maps, of categories and values."""
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
    """What takes so many values from the items at a position; strings are the next ones of the
    answer.
    """
    if word == FLOAT:
        return lambda items, first, count: cast("list[object]", items.floats[first : first + count])
    if word == TEXT:
        return lambda items, first, count: list(islice(items.strings, count))  # noqa: ARG005 (as the others)
    if meant is None:
        return lambda items, first, count: cast("list[object]", items.words[first : first + count])
    return lambda items, first, count: [meant(word) for word in items.words[first : first + count]]
