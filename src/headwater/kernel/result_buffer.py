"""Columns of results, written in the order of keys and read in the order of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numba as nb
import numpy as np

from headwater.kernel.arrays import I64, Column, Values


class ResultBuffer:
    """Columns of one number a row, written piece by piece, from any thread, each result straight to its row.

    Args:
        dtypes: int64 or float64 of each column.
        rows: int64 (n), a permutation: the row of each result, in the order in which they are written.

    >>> buffer = ResultBuffer([np.dtype(np.int64)], np.array([2, 0, 1]))
    >>> buffer.put(1, {0: Column(np.array([7, 8]))})
    >>> buffer.put(0, {0: Column(np.array([9]))})
    >>> buffer.columns()[0].values
    array([7, 8, 9])
    """

    def __init__(self, dtypes: Sequence[np.dtype[np.int64] | np.dtype[np.float64]], rows: I64) -> None:
        self._rows = rows
        self._dtypes = list(dtypes)
        self._words = np.empty((len(dtypes), len(rows)), np.int64)  # in one piece: the kernel maps it in large pages
        self._valid = np.ones((len(dtypes), len(rows)), np.bool_)

    def put(self, first: int, results: Mapping[int, Column]) -> None:
        """Write a piece of some columns, all of one length, by the column's index: the results from `first` on."""
        for index, column in results.items():
            rows = self._rows[first : first + len(column.values)]
            _put(self._words[index], rows, np.ascontiguousarray(column.values).view(np.int64))
            if column.valid is not None:
                _put(self._valid[index], rows, column.valid)

    def columns(self) -> list[Column]:
        """Every column in the order of rows."""
        valid = [None if of.all() else of for of in self._valid]
        return [Column(cast("Values", words.view(dtype)), v) for words, dtype, v in zip(self._words, self._dtypes, valid, strict=True)]


@nb.njit(nogil=True, cache=True)
def _put(out, rows, values):  # type: ignore[no-untyped-def]
    for j in range(len(rows)):
        out[rows[j]] = values[j]
