"""Sorting by key and time, ties, and hashes that occur twice, compared with numpy's own sorts."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.kernel.sorting import in_threads, order_and_times, perhaps_repeated, tied

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


def test_order_of_one_crowded_key_is_that_of_a_stable_sort() -> None:
    random = np.random.default_rng(1)
    entries = 33 << 16  # more of one key than fit into spans of one pass
    code, t = np.zeros(entries, np.int64), random.integers(0, 10**13, entries)
    order, _, _ = order_and_times(code, t, 1, 2)
    assert (order == np.argsort(t, kind="stable")).all()


@given(
    st.sampled_from([0, 1, 1000, 40_000]),
    st.sampled_from([1, 7, 3000]),
    st.integers(1, 10_000),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_ties_are_the_neighbours_of_equal_key_and_time(
    entries: int, keys: int, span: int, threads: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    code, t = np.sort(random.integers(0, keys, entries)), random.integers(0, span, entries)
    t = t[np.lexsort((t, code))]
    starts = np.searchsorted(code, np.arange(keys + 1))
    both = np.stack([code, t], axis=1)
    _, group, sizes = np.unique(both, axis=0, return_inverse=True, return_counts=True)
    expected = np.flatnonzero(sizes[group.reshape(-1)] > 1)
    places, groups = tied(starts, t, threads)
    assert places.tolist() == expected.tolist()
    assert (np.diff(groups) > 0).tolist() == (np.diff(group.reshape(-1)[expected]) > 0).tolist()


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


@pytest.mark.parametrize(("parts", "threads"), [(0, 2), (1, 2), (5, 1)])
def test_work_of_one_part_or_one_thread_starts_none(parts: int, threads: int) -> None:
    ran = in_threads(lambda _: threading.current_thread(), range(parts), threads)
    assert ran == [threading.current_thread()] * parts


def test_results_are_in_the_order_of_the_parts() -> None:
    later = threading.Event()

    def work(part: int) -> int:
        if part:
            later.set()
        elif not later.wait(60):
            raise TimeoutError
        return part

    assert in_threads(work, [0, 1, 2], 2) == [0, 1, 2]
