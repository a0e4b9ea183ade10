"""Requests of a key with equal T and K: computed once, however many rows share them.

At a daily level all rows of a key and a day see the same events, so a backtest computes far fewer
requests than it has rows.

Columns of results, written in the order of keys and read in the order of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from headwater.kernel.arrays import I64, NOTHING, Column, RequestTimes, Values
from headwater.kernel.compile_cache import njit

# distinct requests a row: with more than these, not having to copy T and K is worth more
_MOST = 0.9


@dataclass(frozen=True)
class DistinctRequests:
    """Requests sorted by (key, T), d of them, and the r rows that get their results.

    rows: int64 (r), a permutation.
    begins: int64 (d + 1): request j is that of rows[begins[j]:begins[j + 1]]. Empty where each
    request has one row: j is that of rows[j].
    """

    times: RequestTimes
    rows: I64
    begins: I64 = field(default_factory=lambda: NOTHING)

    def rows_of(self, first: int, last: int) -> I64:
        """The rows of the requests first to last - 1, in their order, without a copy."""
        return (
            self.rows[self.begins[first] : self.begins[last]]
            if len(self.begins)
            else self.rows[first:last]
        )

    def request_of(self) -> I64:
        """The request of each row: int64 (r)."""
        out = np.empty_like(self.rows)
        requests = np.arange(len(self.times.T))
        out[self.rows] = np.repeat(requests, np.diff(self.begins)) if len(self.begins) else requests
        return out


def distinct_requests(times: RequestTimes, rows: I64) -> DistinctRequests:
    """The requests without neighbours of equal key, T and K, if that leaves notably fewer.

    Args:
        times: l requests.
        rows: int64 (l), a permutation: the row of each request.

    >>> T = np.array([3, 3, 8])
    >>> distinct = distinct_requests(RequestTimes(np.array([0, 2, 3]), T, T), np.array([1, 2, 0]))
    >>> distinct.times.T, distinct.begins, distinct.request_of()
    (array([3, 8]), array([0, 2, 3]), array([1, 0, 0]))
    """
    count = _count(times.starts, times.T, times.K)
    if count > _MOST * len(times.T):
        return DistinctRequests(times, rows)
    starts, begins = np.zeros_like(times.starts), np.empty(count + 1, np.int64)
    T = np.empty(count, np.int64)
    K = T if times.K is times.T else np.empty(count, np.int64)
    _merge(times.starts, times.T, times.K, starts, T, K, begins)
    return DistinctRequests(RequestTimes(starts, T, K), rows, begins)


@njit()
def _count(starts, T, K):  # type: ignore[no-untyped-def]
    count = 0
    for key in range(len(starts) - 1):
        for j in range(starts[key], starts[key + 1]):
            count += j == starts[key] or T[j] != T[j - 1] or K[j] != K[j - 1]
    return count


@njit()
def _merge(starts, T, K, out_starts, out_T, out_K, begins):  # type: ignore[no-untyped-def]
    count = 0
    for key in range(len(starts) - 1):
        for j in range(starts[key], starts[key + 1]):
            if j == starts[key] or T[j] != T[j - 1] or K[j] != K[j - 1]:
                out_T[count], out_K[count], begins[count] = T[j], K[j], j
                count += 1
        out_starts[key + 1] = count
    begins[count] = len(T)


class ResultBuffer:
    """Columns of one number a row, written piece by piece, from any thread, each result straight to
    its rows.

    Args:
        dtypes: int64 or float64 of each column.
        requests: in the order in which their results are written, with their rows.

    >>> from headwater.kernel.arrays import RequestTimes
    >>> T = np.array([1, 2])
    >>> requests = DistinctRequests(
    ...     RequestTimes(np.array([0, 2]), T, T), np.array([2, 0, 1]), np.array([0, 1, 3])
    ... )
    >>> buffer = ResultBuffer([np.dtype(np.int64)], requests)
    >>> buffer.put(1, {0: Column(np.array([7]))})
    >>> buffer.put(0, {0: Column(np.array([9]))})
    >>> buffer.columns()[0].values
    array([7, 7, 9])
    """

    def __init__(
        self,
        dtypes: Sequence[np.dtype[np.int64] | np.dtype[np.float64]],
        requests: DistinctRequests,
    ) -> None:
        self._requests = requests
        self._dtypes = list(dtypes)
        shape = len(dtypes), len(requests.rows)
        self._words = np.empty(shape, np.int64)  # in one piece: the kernel maps it in large pages
        self._null = np.zeros(shape, np.bool_)
        self._nullable = [False] * len(dtypes)

    def put(self, first: int, results: Mapping[int, Column]) -> None:
        """Write a piece of some columns, all of one length, by the column's index: the results from
        `first` on.
        """
        for index, column in results.items():
            last = first + len(column.values)
            rows, begins = (
                self._requests.rows_of(first, last),
                self._requests.begins[first : last + 1],
            )
            _put(
                self._words[index], rows, begins, np.ascontiguousarray(column.values).view(np.int64)
            )
            if column.valid is not None and not column.valid.all():
                _put(self._null[index], rows, begins, ~column.valid)
                self._nullable[index] = True

    def columns(self) -> list[Column]:
        """Every column in the order of rows."""
        valid = [
            np.logical_not(null, out=null) if nulls else None
            for null, nulls in zip(self._null, self._nullable, strict=True)
        ]
        return [
            Column(cast("Values", words.view(dtype)), v)
            for words, dtype, v in zip(self._words, self._dtypes, valid, strict=True)
        ]


@njit()
def _put(out, rows, begins, values):  # type: ignore[no-untyped-def]
    if len(begins) == 0:
        for j in range(len(values)):
            out[rows[j]] = values[j]
        return
    for j in range(len(values)):
        for i in range(begins[j] - begins[0], begins[j + 1] - begins[0]):
            out[rows[i]] = values[j]
