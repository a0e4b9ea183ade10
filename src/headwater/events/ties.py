"""Ties: several rows with one id and one known time; one of them counts.

Which one is decided by the event time and every column that the source declares, in the order of
their names, never by the columns that a view or a call reads. Reading reads no more than it needs:
the other columns are read only where rows that tie differ in what was read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from headwater.definitions.source import Source
from headwater.events.selection import IDENT, KNOWN, ROW, TIME
from headwater.kernel.arrays import I64, Bool
from headwater.kernel.sorting import perhaps_repeated

TIE = "__tie"
"""True for rows that carry every column that decides a tie, each under a name that begins with this
one.
"""


def declared(source: Source, table: Collection[str]) -> list[str]:
    """The columns whose values decide ties, sorted: those that `select` names, or all of the table;
    without the source's own.
    """
    own = {source.timestamp_field, source.known_at_field, source.id_field, source.changes, ROW}
    return sorted(set(table if source.columns is None else source.columns) - own)


def tie_columns(
    source: Source, schema: pl.Schema, time: pl.Expr, read: Collection[str]
) -> list[pl.Expr]:
    """The columns that decide ties, for rows of this schema: the event time, the declared columns,
    then other columns that are read.
    """
    names = declared(source, schema)
    names += sorted(set(read) - {*names, ROW})
    order = [time, *(_comparable(name, schema[name]) for name in names)]
    return [
        pl.lit(value=True).alias(TIE),
        *(column.alias(f"{TIE}_{position:05}") for position, column in enumerate(order)),
    ]


@dataclass(frozen=True)
class TieCandidates:
    """Rows that may share ids, encoded to be compared.

    events: the rows, with IDENT, TIME, and KNOWN where a column says.
    ident: int64 (n), a number for each id. known: int64 (n), microseconds.
    content: int64 (n), a hash of the columns that are read. stated: bool (n), which rows state
    something: all but images before a change.
    """

    events: pl.DataFrame
    ident: I64
    known: I64
    content: I64
    stated: Bool

    @cached_property
    def contested(self) -> Bool:
        """Rows that tie with another one that says something else, bool (n): which of them counts
        matters.
        """
        contested = np.zeros(len(self.ident), np.bool_)
        rows = np.flatnonzero(self.stated)
        both = self.ident[rows].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ self.known[
            rows
        ].astype(np.uint64)
        rows = rows[perhaps_repeated(both)]  # mostly few are left
        if len(rows):
            statements = pl.DataFrame(
                {
                    "ident": self.ident[rows],
                    "known": self.known[rows],
                    "content": self.content[rows],
                }
            )
            contested[rows] = (
                statements.select(pl.col("content").n_unique().over("ident", "known") > 1)
                .to_series()
                .to_numpy()
            )
        return contested

    @property
    def unresolved(self) -> pl.Series:
        """The ids of contested rows that do not carry what decides."""
        if not self.contested.any():
            return self.events[IDENT].clear()
        lacking = pl.Series(self.contested)
        if TIE in self.events.columns:
            lacking &= self.events[TIE].is_null()
        return self.events[IDENT].filter(lacking).unique()

    @cached_property
    def tie_order(self) -> I64:
        """The order, int64 (n), of contested rows among those that they tie with: by what decides,
        nulls (and NaN) first.
        """
        places = np.zeros(len(self.ident), np.int64)
        rows = np.flatnonzero(self.contested)
        if len(rows):
            order = _deciding(self.events)[rows].with_columns(pl.Series("__row", rows))
            by = [name for name in order.columns if name != "__row"]
            places[order.sort(by, nulls_last=False, maintain_order=True)["__row"].to_numpy()] = (
                np.arange(len(rows))
            )
        return places

    @cached_property
    def exact(self) -> I64:
        """A hash, int64 (n), of the columns that decide ties, where rows carry them; else of the
        columns that are read.
        """
        if TIE not in self.events.columns:
            return self.content
        whole = _hashed(_deciding(self.events))
        return np.where(self.events[TIE].fill_null(value=False).to_numpy(), whole, self.content)


def compared(
    events: pl.DataFrame,
    source: Source,
    *,
    before: Bool | None = None,
    read: Sequence[str] | None = None,
) -> TieCandidates:
    """Rows to be compared.

    Args:
        events: with IDENT, TIME, KNOWN where a column says, and what `tie_columns` gives where it
            was read.
        source: whose.
        before: bool (n), which rows are images before a change; None is none.
        read: the columns that say whether two rows differ; None is all but IDENT, KNOWN and what
            decides ties.
    """
    ident = events[IDENT].rank("dense").cast(pl.Int64) - 1
    known = events[KNOWN] if KNOWN in events.columns else events[TIME] + source.delay
    names = (
        [c for c in events.columns if c not in (KNOWN, IDENT) and not c.startswith(TIE)]
        if read is None
        else [TIME, *read]
    )
    content = events.select(_comparable(name, events.schema[name]) for name in names)
    stated = np.ones(events.height, np.bool_) if before is None else ~before
    return TieCandidates(events, ident.to_numpy(), known.to_numpy(), _hashed(content), stated)


def _deciding(events: pl.DataFrame) -> pl.DataFrame:
    """The columns that decide ties, most important first."""
    ties = [c for c in events.columns if c.startswith(f"{TIE}_")]
    if ties:
        return events.select(sorted(ties))
    names = [TIME, *sorted(c for c in events.columns if c not in (TIME, KNOWN, IDENT))]
    return events.select(_comparable(name, events.schema[name]) for name in names)


def _comparable(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column in a form that has an order: NaN as null, categories as strings, nested values as
    JSON.
    """
    if dtype.is_float():
        return pl.col(name).fill_nan(None)
    if dtype in (pl.Categorical, pl.Enum):
        return pl.col(name).cast(pl.String)
    return pl.struct(name).struct.json_encode().alias(name) if dtype.is_nested() else pl.col(name)


def _hashed(rows: pl.DataFrame) -> I64:
    return rows.hash_rows(seed=0).reinterpret(signed=True).to_numpy()
