"""Loops over the words of records and their directories; `key_record` has the format."""

from __future__ import annotations

from typing import Final

import numba as nb

FORMAT: Final = 2
HEAD: Final = 2
# where the number of sections and that of words begin in the first word, as bits
_COUNT, _SIZE = 8, 24


@nb.njit(nogil=True, cache=True)
def head_of(sections: int, words: int) -> int:
    """The first word of a record, by the number of its sections and that of its words."""
    return FORMAT | sections << _COUNT | words << _SIZE


@nb.njit(nogil=True, cache=True)
def size_of(head: int) -> int:
    """The number of a record's words, by the first; -1 where the record is of another format."""
    return head >> _SIZE if head & 255 == FORMAT else -1


@nb.njit(nogil=True, cache=True)
def count_of(head: int) -> int:
    """The number of a record's sections, by its first word."""
    return head >> _COUNT & 0xFFFF


@nb.njit(nogil=True, cache=True)
def section_at(words, record, fingerprint):  # type: ignore[no-untyped-def]
    """The word at which a view's section of a record begins; -1 where it has none."""
    for entry in range(record + HEAD, record + HEAD + 2 * count_of(words[record]), 2):
        if words[entry] == fingerprint:
            return record + words[entry + 1]
    return -1


@nb.njit(nogil=True, cache=True)
def spans(words, record_first, record_last, rows, fingerprint, first, last):  # type: ignore[no-untyped-def]
    """Where the section of a view begins and ends in some records, by their positions `rows`; equal
    where a record has none.
    """
    for n, r in enumerate(rows):
        first[n] = last[n] = record_first[r]
        if record_last[r] == record_first[r]:
            continue
        begin, count = record_first[r] + HEAD, count_of(words[record_first[r]])
        for i in range(count):
            if words[begin + 2 * i] == fingerprint:
                first[n] = record_first[r] + words[begin + 2 * i + 1]
                last[n] = (
                    record_first[r] + words[begin + 2 * i + 3] if i + 1 < count else record_last[r]
                )


@nb.njit(nogil=True, cache=True)
def assembled(  # type: ignore[no-untyped-def]
    words, old_first, old_last, fingerprints, replaced, new, first, last, kept, through, out, out_at
):
    """Records with sections replaced, in the order of fingerprints.

    words, old_first, old_last: the old records, and where each begins and ends. fingerprints:
    rising, of the sections that are replaced where `replaced`, bool (views, records), says so.
    first, last: where each new one stands in `new`; equal where there is none. kept: fingerprints
    of the other sections that stay; all where it is empty. out has room for all; out_at is where
    each record begins. A record without sections has no words.
    """
    q = 0
    for r in range(len(old_first)):
        out_at[r] = q
        begin = old_first[r] + HEAD
        count = count_of(words[old_first[r]]) if old_last[r] > old_first[r] else 0
        for turn in range(2):  # first the directory, then the sections
            i, v, sections = 0, 0, 0
            while i < count or v < len(fingerprints):
                mine = v == len(fingerprints) or (
                    i < count and words[begin + 2 * i] < fingerprints[v]
                )
                both = not mine and i < count and words[begin + 2 * i] == fingerprints[v]
                old = mine or (both and not replaced[v, r])
                fingerprint = words[begin + 2 * i] if mine else fingerprints[v]
                source, low, high = words, 0, 0
                if old:
                    low = old_first[r] + words[begin + 2 * i + 1]
                    high = old_first[r] + words[begin + 2 * i + 3] if i + 1 < count else old_last[r]
                    stays = len(kept) == 0 or not mine
                    for other in kept:
                        stays = stays or other == fingerprint
                    if not stays:
                        high = low
                elif replaced[v, r]:
                    source, low, high = new, first[v, r], last[v, r]
                i += mine or both
                v += not mine
                if high == low:
                    continue
                if turn == 0:
                    out[q + HEAD + 2 * sections] = fingerprint
                    out[q + HEAD + 2 * sections + 1] = high - low  # its size, until all are known
                else:
                    target = q + out[q + HEAD + 2 * sections + 1]
                    out[target : target + high - low] = source[low:high]
                    out[target + 1] = 0  # the record has what it is complete through
                sections += 1
            if sections == 0:
                break
            if turn == 0:
                size = HEAD + 2 * sections
                for n in range(sections):
                    here = out[q + HEAD + 2 * n + 1]
                    out[q + HEAD + 2 * n + 1] = size
                    size += here
                out[q], out[q + 1] = head_of(sections, size), through
            else:
                q += size_of(out[q])
    out_at[len(old_first)] = q
