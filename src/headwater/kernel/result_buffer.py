"""Columns of results, written in the order of keys and read in the order of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numba as nb
import numpy as np

from headwater.kernel.arrays import Column, Values
from headwater.kernel.distinct_requests import DistinctRequests


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
            np.logical_not(of, out=of) if nulls else None
            for of, nulls in zip(self._null, self._nullable, strict=True)
        ]
        return [
            Column(cast("Values", words.view(dtype)), v)
            for words, dtype, v in zip(self._words, self._dtypes, valid, strict=True)
        ]


@nb.njit(nogil=True, cache=True)
def _put(out, rows, begins, values):  # type: ignore[no-untyped-def]
    if len(begins) == 0:
        for j in range(len(values)):
            out[rows[j]] = values[j]
        return
    for j in range(len(values)):
        for i in range(begins[j] - begins[0], begins[j + 1] - begins[0]):
            out[rows[i]] = values[j]
