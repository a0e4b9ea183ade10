"""Rows whose key is a list: the elements as rows of their own, and their values as lists again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater.errors import DataError
from headwater.events.columns import (
    EMPTY,
    EXPIRED,
    FALLBACK,
    MISSING,
    OVERFLOW,
    PRESENT,
    status_series,
)
from headwater.kernel.arrays import I64, Bool

U8 = NDArray[np.uint8]
# the status of a list is the first of these that an element has
_FIRST: Final = (OVERFLOW, FALLBACK, PRESENT, EXPIRED, EMPTY, MISSING)
# by status its place among them
_RANK: Final = np.argsort(np.array(_FIRST, np.uint8)).astype(np.uint8)
_STATUS: Final = np.array(_FIRST, np.uint8)


@dataclass(frozen=True)
class KeyLists:
    """The lists of n rows.

    sizes: int64 (n), elements of each; 0 of a null list. null: bool (n), whether the list is null.
    """

    sizes: I64
    null: Bool

    @property
    def rows(self) -> I64:
        """The row of each element: int64 (elements), ascending."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def lists(self, values: pl.Series) -> pl.Series:
        """The values of the elements as a list a row, null where the list of keys is null."""
        filled = (
            pl.DataFrame({"row": self.rows, "values": values})
            .group_by("row", maintain_order=True)
            .agg("values")
        )
        rows = pl.DataFrame({"row": np.arange(len(self.sizes)), "null": self.null})
        empty = pl.Series("values", [[]], pl.List(values.dtype))
        joined = rows.join(filled, on="row", how="left", maintain_order="left")
        lists = joined.select(
            pl.when("null")
            .then(None)
            .otherwise(pl.col("values").fill_null(pl.lit(empty.first(), pl.List(values.dtype))))
        )
        return lists.to_series().cast(pl.List(values.dtype)).alias(values.name)

    def elements(self, column: pl.Series) -> pl.Series:
        """The elements of a column of such lists, one row's after another's: `lists` the other way
        round.
        """
        return column.filter(pl.Series(self.sizes > 0)).explode()

    def plain_lists(self, values: Sequence[object]) -> list[object]:
        """As `lists`, of plain values."""
        ends = np.cumsum(self.sizes)
        spans = zip((ends - self.sizes).tolist(), ends.tolist(), self.null.tolist(), strict=True)
        return [None if null else list(values[start:end]) for start, end, null in spans]

    def statuses(self, codes: U8) -> U8:
        """The status of each list, from the statuses of its elements: uint8 (n), indexes of
        `STATUSES`.
        """
        worst = np.full(len(self.sizes), len(_FIRST), np.uint8)
        np.minimum.at(worst, self.rows, _RANK[codes])
        return np.where(
            self.null,
            MISSING,
            np.where(self.sizes == 0, EMPTY, _STATUS[np.minimum(worst, len(_FIRST) - 1)]),
        ).astype(np.uint8)

    def status_words(self, words: pl.Series) -> pl.Series:
        """As `statuses`, of words."""
        codes = words.to_physical().cast(pl.UInt8).to_numpy()
        return status_series(words.name, self.statuses(codes).astype(np.int64))

    def latest(self, times: I64, otherwise: int) -> I64:
        """The latest time of each list's elements: int64 (n); `otherwise` where it has none."""
        latest = np.full(len(self.sizes), otherwise, np.int64)
        np.maximum.at(latest, self.rows, times)
        return latest


def key_lists(column: pl.Series, max_length: int, reader: str) -> tuple[KeyLists, pl.Series]:
    """The lists of a column, and their elements.

    Raises:
        DataError: it does not hold lists, or one is too long.
    """
    if column.dtype == pl.Null:
        return KeyLists(np.zeros(len(column), np.int64), np.ones(len(column), np.bool_)), pl.Series(
            column.name, [], pl.Null
        )
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if not isinstance(column.dtype, pl.List):
        raise DataError(
            f"{reader}: it is looked up by a list, and the column {column.name!r} is "
            f"{column.dtype}; give lists of keys, such as [1, 2]"
        )
    lists = KeyLists(
        column.list.len().fill_null(0).cast(pl.Int64).to_numpy(), column.is_null().to_numpy()
    )
    check_length(lists.sizes, max_length, column.name, reader)
    return lists, lists.elements(column)


def plain_key_lists(
    column: Sequence[object], max_length: int, name: str, reader: str
) -> tuple[KeyLists, list[object]]:
    """As `key_lists`, of plain values: lists, tuples, arrays and series."""
    elements: list[object] = []
    sizes = np.zeros(len(column), np.int64)
    for row, row_keys in enumerate(column):
        if row_keys is None:
            continue
        if not isinstance(row_keys, list | tuple | np.ndarray | pl.Series):
            raise DataError(
                f"{_row(row, len(column))}{reader} is looked up by a list, and {name!r} is "
                f"{row_keys!r}; give a list of keys"
            )
        sizes[row] = len(row_keys)
        elements += (
            row_keys
            if isinstance(row_keys, list | tuple)
            else row_keys.tolist()
            if isinstance(row_keys, np.ndarray)
            else row_keys.to_list()
        )
    check_length(sizes, max_length, name, reader)
    return KeyLists(sizes, np.array([row_keys is None for row_keys in column], np.bool_)), elements


def check_length(sizes: I64, max_length: int, name: str, reader: str) -> None:
    """Refuse a list that is too long.

    Raises:
        DataError: there is one; the message names the first row.
    """
    if len(sizes) and int(sizes.max()) > max_length:
        row = int(np.argmax(sizes > max_length))
        raise DataError(
            f"{_row(row, len(sizes))}{name!r} holds {sizes[row]:,} keys, and {reader} takes up to "
            f"{max_length:,}; give a shorter list, or raise each(max_length=)"
        )


def _row(row: int, count: int) -> str:
    return "" if count == 1 else f"row {row}: "
