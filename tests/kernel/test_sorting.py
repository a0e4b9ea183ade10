"""Sorting by key and time, ties, and hashes that occur twice, compared with numpy's own sorts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.kernel.sorting import order_and_times, perhaps_repeated

SPANS = {"equal": 1, "few": 10, "seconds": 10**6, "years": 10**15, "all": 2**62}


@pytest.mark.parametrize("span", SPANS)
@given(
    st.sampled_from([0, 1, 2, 1000, 40_000]),
    st.sampled_from([1, 2, 7, 3000]),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_order_is_that_of_a_stable_sort_for_any_number_of_threads(
    span: str, entries: int, keys: int, threads: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    code, t = (
        random.integers(0, keys, entries),
        random.integers(-SPANS[span] // 2, SPANS[span], entries),
    )
    expected = np.lexsort((t, code))
    order, starts, sorted_t = order_and_times(code, t, keys, threads)
    assert order.tolist() == expected.tolist()
    assert starts.tolist() == np.searchsorted(code[expected], np.arange(keys + 1)).tolist()
    assert sorted_t.tolist() == t[expected].tolist()


@given(st.sampled_from([0, 1, 100, 40_000]), st.integers(1, 3), st.integers(0, 99))
def test_every_repeated_hash_is_suspected_and_few_others(
    entries: int, threads: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 2**64, entries, np.uint64)
    hashes[entries // 2 :: 50] = hashes[: len(hashes[entries // 2 :: 50])]
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    suspected = perhaps_repeated(hashes, threads)
    repeated = counts[inverse.reshape(-1)] > 1
    assert suspected[repeated].all()
    expected = entries / 16  # that share of the table's bits is set at most
    assert int((suspected & ~repeated).sum()) <= expected + 6 * expected**0.5 + 2
