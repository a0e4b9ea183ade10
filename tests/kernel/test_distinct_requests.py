"""Requests of one key with equal T and K are computed once; every row gets the result of its own
request.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.kernel.arrays import Column, RequestTimes
from headwater.kernel.distinct_requests import ResultBuffer, distinct_requests
from tests.effort import tries


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([[5, 5, 5]], 1),
        ([[5], [5], [5]], 3),
        ([[5, 5], [], [5, 6]], 3),
        ([[]], 0),
        ([], 0),
    ],
    ids=["one request", "of three keys", "a key without requests", "no requests", "no keys"],
)
def test_only_requests_of_one_key_are_shared(keys, expected):
    T = np.array([t for of in keys for t in of], np.int64)
    starts = np.cumsum([0, *map(len, keys)])
    distinct = distinct_requests(RequestTimes(starts, T, T), np.arange(len(T)))
    assert len(distinct.times.T) == expected
    assert distinct.times.starts[-1] == expected
    assert distinct.times.T[distinct.request_of()].tolist() == T.tolist()


def test_an_equal_end_with_another_cutoff_is_another_request():
    T, K = np.array([5, 5, 5, 5]), np.array([5, 7, 7, 7])
    distinct = distinct_requests(RequestTimes(np.array([0, 4]), T, K), np.arange(4))
    assert distinct.times.K.tolist() == [5, 7]
    assert distinct.request_of().tolist() == [0, 1, 1, 1]


@settings(max_examples=tries(300))
@given(
    keys=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=6).map(sorted),
        max_size=5,
    ),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_every_row_gets_the_result_of_its_own_request(keys, seed, data):
    T, K = (np.array([pair[i] for of in keys for pair in of], np.int64) for i in range(2))
    rows, starts = np.random.default_rng(seed).permutation(len(T)), np.cumsum([0, *map(len, keys)])
    key = np.repeat(np.arange(len(keys)), np.diff(starts))
    distinct = distinct_requests(RequestTimes(starts, T, K), rows)
    result = (
        np.repeat(np.arange(len(keys)), np.diff(distinct.times.starts)) * 100
        + distinct.times.T * 10
        + distinct.times.K
    )
    buffer = ResultBuffer([np.dtype(np.int64), np.dtype(np.float64)], distinct)
    cuts = sorted({0, len(result), *data.draw(st.lists(st.integers(0, len(result))))})
    for first, last in reversed(list(itertools.pairwise(cuts))):
        of = result[first:last]
        buffer.put(first, {1: Column(of / 2), 0: Column(of, of % 10 == 0)})
    numbers, halves = buffer.columns()
    expected = np.empty(len(T), np.int64)
    expected[rows] = key * 100 + T * 10 + K
    assert numbers.values.tolist() == expected.tolist()
    assert halves.values.tolist() == (expected / 2).tolist()
    assert halves.valid is None
    assert ([True] * len(T) if numbers.valid is None else numbers.valid.tolist()) == (
        expected % 10 == 0
    ).tolist()
