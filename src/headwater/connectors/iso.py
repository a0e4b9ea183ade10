"""ISO 8601 texts of the usual shape, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from headwater.compute.arrays import I64, Bool

_DATE: Final = 19  # characters of 2024-05-01T10:00:00
_SIGNS: Final = {4: "-", 7: "-", 10: "T", 13: ":", 16: ":"}
_LONGEST: Final = _DATE + 7 + 6


def parse_iso(texts: Sequence[str]) -> tuple[I64, Bool]:
    """Microseconds UTC of each text, and which are of the shape 2024-05-01T10:00:00[.1 to 6 digits](Z or +hh:mm); the others are 0.

    >>> parse_iso(["1970-01-01T00:00:01.5Z", "1970-01-01T01:00:00+01:00", "yesterday"])
    (array([1500000,       0,       0]), array([ True,  True, False]))
    """
    found, fits = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.bool_)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    for length in np.flatnonzero(np.bincount(np.minimum(lengths, _LONGEST + 1))).tolist():
        if _DATE < length <= _LONGEST:
            at = np.flatnonzero(lengths == length)
            same = texts if len(at) == len(texts) else [texts[n] for n in at.tolist()]
            letters = np.frombuffer("".join(same).encode("ascii", "replace"), np.uint8).reshape(len(at), length)
            found[at], fits[at] = _of_length(np.ascontiguousarray(letters.T))
    return found, fits


def _of_length(letters: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> tuple[I64, Bool]:
    """The same of texts of one length. letters: uint8 (length, n)."""
    length = len(letters)
    is_z = letters[-1] == ord("Z")
    found, fits = np.zeros(letters.shape[1], np.int64), np.zeros(letters.shape[1], np.bool_)
    for chosen, end in ((is_z, length - 1), (~is_z, length - 6)):
        if end >= _DATE and end != _DATE + 1 and chosen.any():
            part = letters if chosen.all() else np.ascontiguousarray(letters[:, chosen])
            found[chosen], fits[chosen] = _parsed(part, end)
    return found, fits


def _parsed(letters: np.ndarray[tuple[int, int], np.dtype[np.uint8]], end: int) -> tuple[I64, Bool]:
    """The same of texts whose fraction of a second ends at `end`, and then comes Z or an offset."""
    digits = letters - np.uint8(ord("0"))  # what is no digit wraps around to more than 9

    def number(begin: int, stop: int) -> I64:
        value: I64 = digits[begin].astype(np.int64)
        for place in range(begin + 1, stop):
            value = value * 10 + digits[place]
        return value

    places = [p for p in range(_DATE) if p not in _SIGNS] + list(range(_DATE + 1, end))
    fits = (digits[places] <= 9).all(axis=0)
    for place, sign in _SIGNS.items():
        fits &= letters[place] == ord(sign)
    if end > _DATE:
        fits &= letters[_DATE] == ord(".")
    year, month, day = number(0, 4), number(5, 7), number(8, 10)
    hour, minute, second = number(11, 13), number(14, 16), number(17, 19)
    fits &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60) & (second < 60)
    months = np.where(fits, (year - 1970) * 12 + month - 1, 0)
    first, following = (m.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) for m in (months, months + 1))
    fits &= first + day <= following
    seconds = (((first + day - 1) * 24 + hour) * 60 + minute) * 60 + second
    if len(letters) - end == 6:
        ahead, h, m = letters[end] == ord("+"), number(end + 1, end + 3), number(end + 4, end + 6)
        fits &= (ahead | (letters[end] == ord("-"))) & (letters[end + 3] == ord(":")) & (h < 24) & (m < 60)
        fits &= (digits[[end + 1, end + 2, end + 4, end + 5]] <= 9).all(axis=0)
        seconds -= np.where(ahead, 60, -60) * (h * 60 + m)
    micros = number(_DATE + 1, end) * 10 ** (6 - (end - _DATE - 1)) if end > _DATE else 0
    return np.where(fits, seconds * 1_000_000 + micros, 0), fits
