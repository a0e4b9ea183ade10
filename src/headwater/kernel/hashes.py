"""Hashes of 64 bits that are the same on every machine, in every run and version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from headwater.kernel.arrays import I64
from headwater.kernel.compile_cache import njit

if TYPE_CHECKING:
    import polars as pl

FNV: Final = 0x100000001B3
GOLDEN: Final = 0x9E3779B97F4A7C15
"""Multipliers of `hashes_of_strings`: the published one, and 2^64 divided by the golden ratio."""


def mixed(bits: I64) -> I64:
    """The output function of SplitMix64 (Steele, Lea and Flood, 2014), which no two inputs share an
    output of; int64 (n).

    >>> mixed(np.array([0, 1, 2]))
    array([                   0, 6238072747940578789, -2606959012126976886])
    """
    z = bits.view(np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))).view(np.int64)


def hashes_of_strings(strings: pl.Series, multiplier: int = FNV) -> I64:
    """A hash of each text: FNV-1a (Fowler, Noll and Vo) of its UTF-8 bytes, mixed; int64 (n). None
    may be null.

    Strings that are alike by one odd multiplier are, by another one, alike by chance alone.

    >>> import polars as pl
    >>> hashes_of_strings(pl.Series(["a", ""])) == mixed(
    ...     np.array([0xAF63DC4C8601EC8C, 0xCBF29CE484222325], np.uint64).view(np.int64)
    ... )
    array([ True,  True])
    """
    ends = np.cumsum(strings.str.len_bytes().to_numpy(), dtype=np.int64)
    out = np.empty(len(strings), np.uint64)
    _fnv(
        np.frombuffer("".join(strings.to_list()).encode(), np.uint8),
        ends,
        np.uint64(multiplier),
        out,
    )
    return mixed(out.view(np.int64))


@njit()
def _fnv(data, ends, multiplier, out):  # type: ignore[no-untyped-def]
    start = 0
    for i in range(len(ends)):
        h = np.uint64(0xCBF29CE484222325)
        for p in range(start, ends[i]):
            h = (h ^ np.uint64(data[p])) * multiplier
        out[i] = h
        start = ends[i]
