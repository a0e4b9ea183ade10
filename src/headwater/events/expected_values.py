"""Which values break an expectation, as expressions of polars: the same for events that arrive, for
a history, and for served values.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from headwater.definitions.source import Expect, Expectation, ExpectRows


def breaks(expected: Expect, dtype: pl.DataType) -> pl.Expr | None:
    """Whether a value breaks an expectation, never null; None where only a whole day can. NaN
    counts as null.

    >>> frame = pl.DataFrame({"amount": [1.0, -1.0, None, float("nan")]})
    >>> frame.select(
    ...     breaks(Expect("amount", in_range=(0, None), not_null=True), pl.Float64())
    ... ).to_series().to_list()
    [False, True, True, True]
    """
    column = _column(expected.column, dtype)
    broken = []
    if expected.in_range is not None:
        low, high = expected.in_range
        broken += [column < low] if low is not None else []
        broken += [column > high] if high is not None else []
    if expected.accepted_values is not None:
        broken.append(~column.is_in(list(expected.accepted_values)))
    anywhere = (
        [pl.any_horizontal(condition.fill_null(value=False) for condition in broken)]
        if broken
        else []
    )
    if expected.not_null:
        anywhere.append(column.is_null())
    return pl.any_horizontal(anywhere).alias(expected.describe()) if anywhere else None


def of_days(rows: pl.LazyFrame, day: str, expectations: Sequence[Expectation]) -> pl.DataFrame:
    """For each day, in order, the rows, and of each expectation by its place `broken_N` values and
    whether the day breaks it, `day_N`.

    rows: with the column `day`, and all that is expected of.
    """
    schema = rows.collect_schema()
    counts: list[pl.Expr] = []
    for n, expected in enumerate(expectations):
        broken = breaks(expected, schema[expected.column]) if isinstance(expected, Expect) else None
        values = pl.lit(0, pl.UInt32) if broken is None else broken.sum()
        counts += [
            values.alias(f"broken_{n}"),
            (_day_breaks(expected, schema) | (values > 0)).alias(f"day_{n}"),
        ]
    return rows.group_by(day).agg(pl.len().alias("rows"), *counts).sort(day).collect()


def _day_breaks(expected: Expectation, schema: pl.Schema) -> pl.Expr:
    """Whether a group of rows breaks an expectation of a whole day."""
    if isinstance(expected, ExpectRows):
        return _outside(pl.len(), (expected.at_least, expected.at_most))
    column = _column(expected.column, schema[expected.column])
    parts = [pl.lit(value=False)]
    if expected.max_null_share is not None:
        parts.append(column.is_null().mean() > expected.max_null_share)
    if expected.distinct is not None:
        parts.append(_outside(column.drop_nulls().n_unique(), expected.distinct))
    return pl.any_horizontal(parts)


def _outside(number: pl.Expr, bounds: tuple[float | None, float | None]) -> pl.Expr:
    low, high = bounds
    parts = [
        *([number < low] if low is not None else []),
        *([number > high] if high is not None else []),
    ]
    return pl.any_horizontal(parts)


def _column(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name).fill_nan(None) if dtype.is_float() else pl.col(name)
