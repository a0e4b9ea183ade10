"""Answers on their way into another order: columns of numbers side by side, so that an answer's numbers share a line of the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numba as nb
import numpy as np

from headwater.kernel.arrays import I64, Column, Values

WIDTH = 8  # columns of 8 bytes in 64


class ResultBuffer:
    """Up to `WIDTH` columns of `count` numbers, written piece by piece, from any thread.

    Args:
        dtypes: int64 or float64 of each column.
        count: rows.
    """

    def __init__(self, dtypes: Sequence[np.dtype[np.int64] | np.dtype[np.float64]], count: int) -> None:
        self._dtypes = list(dtypes)
        self._cells = np.empty((count, len(dtypes)), np.int64)
        self._valid = [np.ones(count, np.bool_) for _ in dtypes]

    def put(self, column: int, first: int, answers: Column) -> None:
        """Write a piece of a column from row `first` on."""
        last = first + len(answers.values)
        self._cells[first:last, column] = np.ascontiguousarray(answers.values).view(np.int64)
        if answers.valid is not None:
            self._valid[column][first:last] = answers.valid

    def taken(self, index: I64) -> list[Column]:
        """Every column at these rows; the sheet holds nothing afterwards."""
        out = np.empty((len(self._dtypes), len(index)), np.int64)
        _taken(self._cells, index, out)
        valid = [None if v.all() else v[index] for v in self._valid]
        self._cells, self._valid = self._cells[:0].copy(), []
        return [Column(cast("Values", values.view(dtype)), v) for values, dtype, v in zip(out, self._dtypes, valid, strict=True)]


@nb.njit(nogil=True, cache=True)
def _taken(cells, index, out):  # type: ignore[no-untyped-def]
    for row in range(len(index)):
        at = index[row]
        for column in range(cells.shape[1]):
            out[column, row] = cells[at, column]
