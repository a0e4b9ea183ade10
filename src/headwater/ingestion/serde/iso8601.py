"""Vectorized parsing of ISO 8601 strings of the usual shape."""

from __future__ import annotations

from collections.abc import Sequence

import numba as nb
import numpy as np

from headwater.kernel.addresses import byte
from headwater.kernel.arrays import I64, Bool


def parse_iso(strings: Sequence[str]) -> tuple[I64, Bool]:
    """Microseconds UTC of each text, and which are of the shape 2024-05-01T10:00:00[.1 to 6
    digits](Z or +hh:mm); the others are 0.

    >>> parse_iso(["1970-01-01T00:00:01.5Z", "1970-01-01T01:00:00+01:00", "yesterday"])
    (array([1500000,       0,       0]), array([ True,  True, False]))
    """
    micros, fits = np.zeros(len(strings), np.int64), np.zeros(len(strings), np.bool_)
    ends = np.cumsum(np.fromiter(map(len, strings), np.int64, len(strings)))
    # one byte a character
    letters = np.frombuffer("".join(strings).encode("ascii", "replace"), np.uint8)
    _parse(letters.ctypes.data, ends, micros, fits)
    return micros, fits


@nb.njit(nogil=True, cache=True)
def digits_of(letters: int, begin: int, end: int) -> int:
    """The digits of begin:end as a number; -1 where one is none."""
    value = 0
    for i in range(begin, end):
        digit = byte(letters, i) - 48
        if digit < 0 or digit > 9:
            return -1
        value = value * 10 + digit
    return value


@nb.njit(nogil=True, cache=True)
def days_of(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01, by Hinnant's days_from_civil; -1_000_000 where the month has no such
    day.
    """
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    last = 29 if month == 2 and leap else 28 if month == 2 else 30 if month in (4, 6, 9, 11) else 31
    if year < 1 or month < 1 or month > 12 or day < 1 or day > last:
        return -1_000_000
    y = year - (month <= 2)
    era = y // 400
    of_era = y - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


@nb.njit(nogil=True, cache=True)
def iso_timestamp(letters: int, begin: int, end: int) -> tuple[int, bool]:  # noqa: C901, PLR0912 (a shape, place by place)
    """One text's microseconds, and whether it is of the shape."""
    size = end - begin
    if size < 20 or size > 32:
        return 0, False
    # - - T
    if (
        byte(letters, begin + 4) != 45
        or byte(letters, begin + 7) != 45
        or byte(letters, begin + 10) != 84
    ):
        return 0, False
    if byte(letters, begin + 13) != 58 or byte(letters, begin + 16) != 58:  # : :
        return 0, False
    days = days_of(
        digits_of(letters, begin, begin + 4),
        digits_of(letters, begin + 5, begin + 7),
        digits_of(letters, begin + 8, begin + 10),
    )
    hour, minute = (
        digits_of(letters, begin + 11, begin + 13),
        digits_of(letters, begin + 14, begin + 16),
    )
    second = digits_of(letters, begin + 17, begin + 19)
    if (
        days == -1_000_000
        or hour < 0
        or hour > 23
        or minute < 0
        or minute > 59
        or second < 0
        or second > 59
    ):
        return 0, False
    stop, behind = end - 1, 0
    if byte(letters, end - 1) != 90:  # Z
        stop = end - 6
        if stop < begin + 19 or byte(letters, stop + 3) != 58:
            return 0, False
        h, m = digits_of(letters, stop + 1, stop + 3), digits_of(letters, stop + 4, stop + 6)
        if h < 0 or h > 23 or m < 0 or m > 59:
            return 0, False
        if byte(letters, stop) == 43:  # +
            behind = (h * 60 + m) * 60
        elif byte(letters, stop) == 45:
            behind = -(h * 60 + m) * 60
        else:
            return 0, False
    micros = 0
    if stop > begin + 19:
        micros = digits_of(letters, begin + 20, stop)
        # .
        if byte(letters, begin + 19) != 46 or stop == begin + 20 or stop > begin + 26 or micros < 0:
            return 0, False
        for _ in range(begin + 26 - stop):
            micros *= 10
    return (((days * 24 + hour) * 60 + minute) * 60 + second - behind) * 1_000_000 + micros, True


@nb.njit(nogil=True, cache=True)
def _parse(letters: int, ends: I64, micros: I64, fits: Bool) -> None:
    begin = 0
    for n in range(len(ends)):
        micros[n], fits[n] = iso_timestamp(letters, begin, ends[n])
        begin = ends[n]
