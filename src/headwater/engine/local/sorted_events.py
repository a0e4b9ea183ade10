"""Events in the order that the kernel takes them in: by key, time, id, known time and values."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import polars as pl

from headwater.definitions.source import Source
from headwater.events.columns import ColumnEncoding, encode, hashed, to_kernel
from headwater.events.keys import CODE
from headwater.events.read_events import GONE, IDENT, KNOWN, TIME
from headwater.kernel.arrays import I64, LASTS, NOTHING, Column, Events
from headwater.kernel.sorting import order_and_times, take, taken, tied

_VALUE = "__v_"


def value_name(column: str) -> str:
    """The engine's name of a column of values; it differs from the key's, so that a key may be
    aggregated too.
    """
    return f"{_VALUE}{column}"


def under_value_names(
    events: pl.DataFrame, keys: Sequence[str], columns: Sequence[str]
) -> pl.DataFrame:
    """The events with their columns of values under names of their own; nothing is copied."""
    return events.with_columns(pl.col(c).alias(value_name(c)) for c in columns).drop(
        set(columns) - set(keys)
    )


def sort_events(table: pl.DataFrame, keys: int, source: Source, threads: int) -> tuple[Events, I64]:
    """The events, yet without columns, in the order of (key, time, id, known, values); and that
    order, int64 (n).
    """
    order, starts, t = order_and_times(
        table[CODE].to_numpy(), table[TIME].to_numpy(), keys, threads
    )
    ident = _break_ties(table, order, starts, t, threads)
    by_column = KNOWN in table.columns and source.window_on == "timestamp"
    known = take(table[KNOWN].to_numpy(), order, threads) if by_column else NOTHING
    delay = source.delay if source.window_on == "timestamp" else 0
    changing = GONE in table.columns and (table[GONE] < LASTS).any()
    gone = take(table[GONE].to_numpy(), order, threads) if changing else NOTHING
    return Events(starts, t, known, delay, ident, {}, ended_after=source.delay, gone=gone), order


def sorted_columns(
    table: pl.DataFrame,
    names: Sequence[str],
    hashed_columns: Collection[str],
    order: I64,
    threads: int,
) -> tuple[dict[str, Column], dict[str, ColumnEncoding]]:
    """Columns of values in this order, as the kernel takes them; and how to turn them back.
    `hashed_columns`: with a hash of each text.
    """
    columns, codes = {}, {}
    for name in names:
        values, codes[name] = encode(table[value_name(name)])
        columns[name] = taken(to_kernel(values), order, threads)
        if name in hashed_columns:
            columns[name] = hashed(columns[name], codes[name])
    return columns, codes


def _break_ties(table: pl.DataFrame, order: I64, starts: I64, t: I64, threads: int) -> I64:
    """Put events of one key and time in the order of id, known time and values, so that no arrival
    order shows.

    Returns:
        For each event in that order, the rank of its id among those that shared key and time with
        another: nothing else compares ids. Empty where there are no ids, or none that matter.
    """
    places, group = tied(starts, t, threads)
    values = [name for name in table.columns if name.startswith(_VALUE)]
    ties = [*(c for c in (IDENT, KNOWN) if c in table.columns), *values]
    if not ties or not len(places):
        return NOTHING
    rows = table.select(ties)[order[places]]
    rows = rows.with_columns(encode(rows[name])[0].alias(name) for name in values)
    rows = rows.with_columns(pl.Series("__group", group), pl.Series("__row", order[places]))
    rows = rows.sort("__group", *ties, nulls_last=False, maintain_order=True)
    order[places] = rows["__row"].to_numpy()
    if IDENT not in rows.columns:
        return NOTHING
    ident = np.zeros(len(t), np.int64)
    ident[places] = rows[IDENT].rank("dense").to_numpy()
    return ident
