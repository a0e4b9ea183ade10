"""Compiled loops over the words of sections: they copy the arrays of tiles, and add new tiles."""

from __future__ import annotations

import numba as nb
import numpy as np

from headwater.kernel.merge_program import merged
from headwater.kernel.tile_ladder import GONE, placed

FORMAT = 1
HEAD = 4
NONE = np.array([FORMAT, -1, 0, 0], np.int64).tobytes()
"""A record of no tiles."""


@nb.njit(nogil=True, cache=True)
def measure(words, first, last, layout, counts):  # type: ignore[no-untyped-def]
    """How many rows, and how many values in each array. first, last: where each record begins and
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


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
def translate(codes, of, begins, rank):  # type: ignore[no-untyped-def]
    """Replace positions among a record's own strings by positions among all strings."""
    for i in range(len(codes)):
        r = of[i]
        if 0 <= codes[i] < begins[r + 1] - begins[r]:
            codes[i] = rank[begins[r] + codes[i]]


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
def add(words, first, last, new_at, new_start, new, through, steps, cuts, how, out, out_at):  # type: ignore[no-untyped-def]
    """Records with new tiles added, as of the cuts of a ladder: what `load`, `Stored.merge` and
    `dump` do, in one walk.

    first, last: where each old record begins and ends. new_at: where the new tiles of each key
    begin. new: int64 (columns, tiles). how: a program of `kernel.merge_program`. out has room for
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
            mine = j == high or (i < old and next_old <= new_start[j])
            start = next_old if mine else new_start[j]
            if used > 0 and start != starts[used - 1] and start != GONE:
                merged(how, rows, floats, run, used)
                run += 1
                starts[run], used = start, run
            starts[used] = start
            if mine:
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
            used += start != GONE
        if used == 0:
            continue
        merged(how, rows, floats, run, used)
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
