"""The search for a bound among rising times, from any position."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.kernel.layers import seek


@pytest.mark.parametrize("entries", [0, 1, 7, 8, 9, 20, 70])
def test_seek_finds_what_a_bisection_finds(entries: int) -> None:
    random = np.random.default_rng(entries)
    for _ in range(500):
        x = np.sort(random.integers(-20, 20, entries))
        first = int(random.integers(0, entries + 1))
        end = int(random.integers(first, entries + 1))
        position, bound = int(random.integers(first, end + 1)), int(random.integers(-22, 23))
        assert seek(x, position, first, end, bound) == first + int(
            np.searchsorted(x[first:end], bound)
        )
