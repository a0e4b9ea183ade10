"""Compiled loops that read flat JSON objects of a known schema into columns.

They read a record only if they are certain to agree with msgspec, and mark every other record for
msgspec: escapes, invalid UTF-8, duplicate fields, nested values, exponents, integers of more than
18 digits, decimals beyond 2^53, -0, timestamps of an unusual shape, and invalid JSON.
"""

from __future__ import annotations

from typing import Final

import numba as nb
import numpy as np

from headwater.ingestion.serde.iso8601 import days_of, digits_of, iso_timestamp
from headwater.kernel.addresses import byte
from headwater.kernel.arrays import F64, I64, U8, Bool

STRING, INTEGER, FLOAT, BOOLEAN, TIMESTAMP, DATE = range(6)

Fields = tuple[int, I64, I64, I64]
"""names: the address of the concatenated field names in UTF-8; name_ends: int64 (f). kinds: int64
(f). bounds: int64 (2, f), the least and the largest INTEGER or TIMESTAMP.
"""
Columns = tuple[I64, F64, I64, Bool, I64]
"""The output columns. words: int64 (f, n), microseconds UTC, days, or the position of a STRING in
the data;
floats: a float64 view of them. sizes: int64 (f, n), the bytes of a STRING. present: bool (f, n),
where a value is not null. seen: int64 (f), -1 before.
"""

_POWERS: Final = 10.0 ** np.arange(23)  # each is exact
_EXACT: Final = 2**53  # integers up to this are exact as float64
_ROOM: Final = 10**17  # below this, another digit fits into int64


@nb.njit(nogil=True, cache=True)
def _after_space(data: int, at: int, end: int) -> int:
    """The first position from `at` that is not JSON whitespace."""
    while at < end and (
        byte(data, at) == 32 or byte(data, at) == 10 or byte(data, at) == 13 or byte(data, at) == 9
    ):
        at += 1
    return at


@nb.njit(nogil=True, cache=True)
def _after_character(data: int, at: int, end: int) -> int:
    """The position after a multi-byte character; -1 if it is not UTF-8 (table 3-7 of the Unicode
    standard).
    """
    first = byte(data, at)
    if first < 0xC2 or first > 0xF4:
        return -1
    more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
    if at + more >= end:
        return -1
    low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
    high = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
    if byte(data, at + 1) < low or byte(data, at + 1) > high:
        return -1
    for place in range(at + 2, at + 1 + more):
        if byte(data, place) < 0x80 or byte(data, place) > 0xBF:
            return -1
    return at + 1 + more


@nb.njit(nogil=True, cache=True)
def _string_end(data: int, at: int, end: int) -> int:
    """The position of the closing quote of the string that begins at `at`; -1 if the string has
    escapes or is invalid.
    """
    while at < end:
        character = byte(data, at)
        if character == 34:  # "
            return at
        if character < 32 or character == 92:  # \
            return -1
        if character < 128:
            at += 1
        else:
            at = _after_character(data, at, end)
            if at < 0:
                return -1
    return -1


@nb.njit(nogil=True, cache=True)
def _number(data: int, at: int, end: int) -> tuple[int, int, int, bool]:
    """The position after a decimal number, its digits as an integer, how many follow the point, and
    whether it is negative.

    The position is -1 if it is not a number, is -0, has an exponent, or has more digits than fit.
    """
    negative = at < end and byte(data, at) == 45  # -
    if negative:
        at += 1
    begin, digits, fraction = at, 0, 0
    while at < end and 48 <= byte(data, at) <= 57 and digits < _ROOM:
        digits = digits * 10 + byte(data, at) - 48
        at += 1
    if at == begin or (at > begin + 1 and byte(data, begin) == 48):
        return -1, 0, 0, False
    if at < end and byte(data, at) == 46:  # .
        at += 1
        begin = at
        while at < end and 48 <= byte(data, at) <= 57 and digits < _ROOM:
            digits = digits * 10 + byte(data, at) - 48
            at += 1
        fraction = at - begin
        if fraction == 0:
            return -1, 0, 0, False
    # e E
    if (
        at < end and (48 <= byte(data, at) <= 57 or byte(data, at) == 101 or byte(data, at) == 69)
    ) or (negative and digits == 0):
        return -1, 0, 0, False
    return at, digits, fraction, negative


@nb.njit(nogil=True, cache=True)
def _literal(data: int, at: int, end: int) -> int:
    """Which of null, false and true is here: 0, 1, 2; -1 for none."""
    if end - at >= 4:
        if (
            byte(data, at) == 110
            and byte(data, at + 1) == 117
            and byte(data, at + 2) == 108
            and byte(data, at + 3) == 108
        ):
            return 0
        if (
            byte(data, at) == 116
            and byte(data, at + 1) == 114
            and byte(data, at + 2) == 117
            and byte(data, at + 3) == 101
        ):
            return 2
        if (
            end - at >= 5
            and byte(data, at) == 102
            and byte(data, at + 1) == 97
            and byte(data, at + 2) == 108
            and byte(data, at + 3) == 115
            and byte(data, at + 4) == 101
        ):
            return 1
    return -1


@nb.njit(nogil=True, cache=True)
def _date(data: int, at: int, end: int) -> tuple[int, bool]:
    """Days since 1970 of YYYY-MM-DD, and whether it is a date of that shape."""
    if end - at != 10 or byte(data, at + 4) != 45 or byte(data, at + 7) != 45:
        return 0, False
    year, month, day = (
        digits_of(data, at, at + 4),
        digits_of(data, at + 5, at + 7),
        digits_of(data, at + 8, end),
    )
    days = days_of(year, month, day)
    return days, days != -1_000_000


@nb.njit(nogil=True, cache=True)
def _same(data: int, at: int, names: int, first: int, size: int) -> bool:
    """Whether the bytes at `at` are those of a name."""
    for offset in range(size):  # noqa: SIM110 (compiled)
        if byte(data, at + offset) != byte(names, first + offset):
            return False
    return True


@nb.njit(nogil=True, cache=True)
def _field(data: int, begin: int, end: int, names: int, name_ends: I64) -> int:
    """Which field has this name; -1 for none."""
    for field in range(len(name_ends)):
        first = name_ends[field - 1] if field else 0
        if name_ends[field] - first == end - begin and _same(
            data, begin, names, first, end - begin
        ):
            return field
    return -1


@nb.njit(nogil=True, cache=True)
def _quoted(data: int, at: int, end: int, kind: int, low: int, high: int) -> tuple[int, int, int]:
    """The place behind the string at `at`, the word and the size that stand for it; the place is -1
    where it is not certain.
    """
    stop = _string_end(data, at + 1, end)
    if stop < 0:
        return -1, 0, 0
    if kind == STRING:
        return stop + 1, at + 1, stop - at - 1
    if kind == TIMESTAMP:
        value, fits = iso_timestamp(data, at + 1, stop)
        fits = fits and low <= value <= high
    elif kind == DATE:
        value, fits = _date(data, at + 1, stop)
    else:
        return -1, 0, 0
    return (stop + 1 if fits else -1), value, 0


@nb.njit(nogil=True, cache=True)
def _skipped(data: int, at: int, end: int) -> int:
    """The place behind a value that no column has; -1 where it is not certain."""
    if byte(data, at) == 34:
        stop = _string_end(data, at + 1, end)
        return -1 if stop < 0 else stop + 1
    literal = _literal(data, at, end)
    if literal >= 0:
        return at + (5 if literal == 1 else 4)
    return _number(data, at, end)[0]


@nb.njit(nogil=True, cache=True)
def read_objects(  # noqa: C901, PLR0912, PLR0915
    data: int, begin: I64, size: I64, fields: Fields, out: Columns, sure: Bool
) -> None:
    """Read n payloads into f columns.

    data: the address of the buffer of `Payloads`; begin, size: as there. sure: bool (n), written:
    the records that were read.
    """
    names, name_ends, kinds, bounds = fields
    words, floats, sizes, present, seen = out
    for row in range(len(begin)):
        end, guess, sure[row] = begin[row] + size[row], 0, False
        at = _after_space(data, begin[row], end)
        if at >= end or byte(data, at) != 123:  # {
            continue
        at = _after_space(data, at + 1, end)
        if at < end and byte(data, at) == 125:  # }
            sure[row] = _after_space(data, at + 1, end) == end
            continue
        while at < end and byte(data, at) == 34:  # "
            first = name_ends[guess - 1] if guess else 0  # fields mostly come in one order
            field, stop = guess, at + 1 + name_ends[guess] - first
            if (
                stop >= end
                or byte(data, stop) != 34
                or not _same(data, at + 1, names, first, name_ends[guess] - first)
            ):
                stop = _string_end(data, at + 1, end)
                if stop < 0:
                    break
                field = _field(data, at + 1, stop, names, name_ends)
            at = _after_space(data, stop + 1, end)
            if at >= end or byte(data, at) != 58:  # :
                break
            at = _after_space(data, at + 1, end)
            if at >= end:
                break
            letter = byte(data, at)
            if field < 0:
                at = _skipped(data, at, end)
            elif seen[field] == row:  # twice
                break
            elif letter == 34:
                at, words[field, row], sizes[field, row] = _quoted(
                    data, at, end, kinds[field], bounds[0, field], bounds[1, field]
                )
                present[field, row] = True
            elif letter in (110, 116, 102):  # n t f
                literal = _literal(data, at, end)
                if literal < 0 or (literal > 0 and kinds[field] != BOOLEAN):
                    break
                words[field, row], present[field, row] = literal == 2, literal > 0
                at += 5 if literal == 1 else 4
            else:
                at, digits, fraction, negative = _number(data, at, end)
                value = -digits if negative else digits
                present[field, row] = True
                if kinds[field] == FLOAT and digits <= _EXACT and fraction <= 22:
                    # both are exact, so the quotient is rounded once (Clinger, 1990)
                    floats[field, row] = value / _POWERS[fraction]
                elif (
                    kinds[field] == INTEGER
                    and fraction == 0
                    and bounds[0, field] <= value <= bounds[1, field]
                ):
                    words[field, row] = value
                else:
                    break
            if at < 0:
                break
            if field >= 0:
                seen[field] = row
                guess = field + 1 if field + 1 < len(kinds) else 0
            at = _after_space(data, at, end)
            if at >= end or byte(data, at) != 44:  # ,
                sure[row] = (
                    at < end and byte(data, at) == 125 and _after_space(data, at + 1, end) == end
                )
                break
            at = _after_space(data, at + 1, end)


@nb.njit(nogil=True, cache=True)
def separated(data: int, begin: I64, size: I64, present: Bool, sure: Bool) -> U8:
    """The concatenated strings of a column, with a zero byte between two; strings of `read_objects`
    contain none.
    """
    total = len(begin)
    for row in range(len(begin)):
        if present[row] and sure[row]:
            total += size[row]
    packed = np.empty(total, np.uint8)
    at = 0
    for row in range(len(begin)):
        if present[row] and sure[row]:
            for address in range(begin[row], begin[row] + size[row]):
                packed[at] = byte(data, address)
                at += 1
        packed[at] = 0
        at += 1
    return packed[: total - 1]
