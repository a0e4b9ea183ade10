"""Columns of results, written in the order of keys and read in the order of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numba as nb
import numpy as np

from headwater.kernel.arrays import I64, Column, Values

WIDTH = 8  # columns of 8 bytes in 64: the results of a row share a line of the processor's cache


class ResultBuffer:
    """Up to `WIDTH` columns of one number a row, written piece by piece, from any thread.

    Each piece goes to its rows while it is in the processor's cache, all columns of a row together.

    Args:
        dtypes: int64 or float64 of each column.
        rows: int64 (n), a permutation: the row of each result, in the order in which they are written.
    """

    def __init__(self, dtypes: Sequence[np.dtype[np.int64] | np.dtype[np.float64]], rows: I64) -> None:
        self._dtypes, self._rows = list(dtypes), rows
        self._cells = np.empty((len(rows), len(dtypes)), np.int64)
        self._valid = [np.ones(len(rows), np.bool_) for _ in dtypes]

    def put(self, first: int, results: Mapping[int, Column]) -> None:
        """Write a piece of some columns, all of one length, by the column's index: the results from `first` on."""
        words = [np.ascontiguousarray(column.values).view(np.int64) for column in results.values()]
        rows = self._rows[first : first + len(words[0])]
        padded = (*words, *[words[0]] * (WIDTH - len(words)))
        _put(self._cells, rows, np.array(list(results), np.int64), padded)
        for index, column in results.items():
            if column.valid is not None:
                self._valid[index][rows] = column.valid

    def columns(self) -> list[Column]:
        """Every column in the order of rows; the buffer holds nothing afterwards."""
        out = np.empty((len(self._dtypes), len(self._rows)), np.int64)
        _turned(self._cells, out)
        valid = [None if v.all() else v for v in self._valid]
        self._cells, self._valid = self._cells[:0].copy(), []
        return [Column(cast("Values", values.view(dtype)), v) for values, dtype, v in zip(out, self._dtypes, valid, strict=True)]


@nb.njit(nogil=True, cache=True)
def _put(cells, rows, indexes, words):  # type: ignore[no-untyped-def]
    for j in range(len(rows)):
        row = rows[j]
        for k in range(len(indexes)):
            cells[row, indexes[k]] = words[k][j]


@nb.njit(nogil=True, cache=True)
def _turned(cells, out):  # type: ignore[no-untyped-def]
    for row in range(cells.shape[0]):
        for column in range(cells.shape[1]):
            out[column, row] = cells[row, column]
