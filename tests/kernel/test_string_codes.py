"""Codes of strings, compared with a dictionary: strings on both sides of twelve bytes, nulls, and
tables that have to grow.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from headwater.events.keys import string_views
from headwater.kernel.string_codes import code_strings


@pytest.mark.parametrize("width", [1, 11, 12, 13, 40])
@pytest.mark.parametrize("distinct", [1, 3, 5_000, 60_000])
@pytest.mark.parametrize("threads", [1, 2])
def test_codes_are_those_of_a_dictionary(width: int, distinct: int, threads: int) -> None:
    random = np.random.default_rng(width + distinct)

    def side(rows: int, low: int) -> pl.Series:
        strings = [str(i).zfill(width) for i in random.integers(low, low + distinct, rows).tolist()]
        return pl.Series([None if i % 97 == 5 else string for i, string in enumerate(strings)])

    requested, events = [side(70_000, 0), side(100, distinct // 2)], side(40_000, distinct // 3)
    codes: dict[str, int] = {}
    expected = [
        [-1 if s is None else codes.setdefault(s, len(codes)) for s in of] for of in requested
    ]
    views = [string_views(of) for of in (*requested, events)]
    *sides, mine = ((v.views, v.buffers, v.valid) for v in views)
    of_requests, of_events, count = code_strings(sides, mine, threads)
    assert count == len(codes)
    for got, of in zip(of_requests, expected, strict=True):
        assert np.where(got == count, -1, got).tolist() == of
    assert of_events.tolist() == [count if s is None else codes.get(s, count) for s in events]
