"""Where the arrays and the strings of a record are, for the loops that read it; `tile_codec` has
the format.

An array of a record is one of three kinds: a number for each tile; the number of entries of each
tile; or all entries.
"""

from __future__ import annotations

from typing import Final

import numba as nb
import numpy as np

from headwater.state.tile_kernels import FORMAT, HEAD

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


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
def span_of(words, strings, count, ordinal):  # type: ignore[no-untyped-def]
    """The bytes of a string, counted from word 0, as one integer: see `string_at`. strings: as of
    `located`; count: of the record.
    """
    begin = words[strings + ordinal - 1] if ordinal > 0 else 0
    return (((strings + count) * 8 + begin) << LENGTH_BITS) | (words[strings + ordinal] - begin)


@nb.njit(nogil=True, cache=True)
def spelt(words, strings, ordinal):  # type: ignore[no-untyped-def]
    """The span of one of a key's strings.

    strings: where those of its only record are, and how many; or -1, and at last the spans of those
    of all its records.
    """
    return (
        strings[2][ordinal] if strings[0] < 0 else span_of(words, strings[0], strings[1], ordinal)
    )


@nb.njit(nogil=True, cache=True)
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
        mine = firsts[r + 1] - firsts[r]
        for a in range(last):
            if kinds[a] & STRINGS:
                for i in range(at[r, a], at[r, a + 1]):
                    # other values mean no string, such as the minimum of no event
                    if 0 <= words[i] < mine:
                        words[i] = ranks[firsts[r] + words[i]]
    return count


@nb.njit(nogil=True, cache=True)
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
