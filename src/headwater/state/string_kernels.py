"""A compiled loop that copies the strings of an answer one after the other, so that Python makes
all of them in one call.
"""

from __future__ import annotations

from typing import Final

import numba as nb
import numpy as np

from headwater.state.record_layout import LENGTH_BITS

ITEMS: Final = 1
"""The items of a list, or the categories of a map, are strings; without it and MAPPED, the value
itself is one.
"""
MAPPED: Final = 2
"""The values of a map are strings."""
START: Final = 8
"""Bytes before the strings."""
FULL: Final = -1
"""The room is too small for the strings."""
APART: Final = -2
"""The strings cannot be split at zero bytes: one of them holds such a byte."""

_LENGTH: Final = 2**LENGTH_BITS - 1


@nb.njit(nogil=True, cache=True)
def joined(words, places, keys, values, gone, items, texts):  # type: ignore[no-untyped-def]
    """Copy the strings of an answer, each with a zero byte after it: those of one feature after the
    other, of each key after key.

    words: the records. places: int64, of each feature with strings its number, and ITEMS and
    MAPPED. values, gone: of each feature of each key, the value, and whether it is null. items: of
    lists and maps. texts, to be filled: int64, where the strings end, in bytes from the begin of
    the array, or FULL or APART; then the strings.
    """
    source, target, end = words.view(np.uint8), texts.view(np.uint8), np.int64(START)
    for at in range(0, len(places), 2):
        parts = places[at + 1]
        for cell in range(places[at] * keys, (places[at] + 1) * keys):
            if gone[cell]:
                continue
            if parts == 0:
                end = _appended(source, values[cell], target, end)
                continue
            first, count = values[cell] >> LENGTH_BITS, values[cell] & _LENGTH
            if parts & ITEMS:
                for i in range(first, first + count):
                    end = _appended(source, items[i], target, end)
            if parts & MAPPED:
                for i in range(first + count, first + 2 * count):
                    if items[i + count]:
                        end = _appended(source, items[i], target, end)
    texts[0] = end


@nb.njit(nogil=True, cache=True)
def _appended(source, span, target, end):  # type: ignore[no-untyped-def]
    """Copy the bytes of a span and a zero byte; where they end, or what `texts` is to hold
    instead.
    """
    begin, size = span >> LENGTH_BITS, span & _LENGTH
    if end < 0:
        return end
    if end + size >= len(target):
        return np.int64(FULL)
    for i in range(size):
        letter = source[begin + i]
        if letter == 0:
            return np.int64(APART)
        target[end + i] = letter
    target[end + size] = 0
    return end + size + 1
