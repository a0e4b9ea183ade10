"""Predicates on the columns of a table as they lie, so that files and row groups without an event
in reach are not read.

They let through all rows that can matter and a few more; exact timestamps decide afterwards. A file
records the least and the greatest value of a column in that column's own type, so a limit is
written in its unit and zone. Rows whose value is null pass, since they are counted; a file that
holds one is read.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from headwater.definitions.durations import DAY

_MOST = 2**63 - 1


def about(name: str, dtype: pl.Datetime | pl.Date, low: int | None, high: int) -> pl.Expr:
    """Where a timestamp lies in [low, high), microseconds UTC, or nearly so, or is null.

    A naive timestamp may be of any zone: up to a day off; the end of a date up to two.
    """
    if isinstance(dtype, pl.Date):
        day, far = pl.col(name).to_physical(), _MOST // DAY
        near = day <= min(high // DAY + 1, far)
        return (near if low is None else near & (day >= max(low // DAY - 3, -far))) | day.is_null()
    off = DAY if dtype.time_zone is None else 0
    time = pl.col(name)
    near = time <= _in_unit(high + off, dtype, 1)
    if low is not None:
        near &= time >= _in_unit(low - off, dtype, -1)
    return near | time.is_null()


def key_range(
    keys: Sequence[str], schema: pl.Schema, request_keys: Sequence[pl.DataFrame]
) -> pl.Expr | None:
    """Where the one integer key lies between the least and the greatest asked for; None where keys
    are of another kind.
    """
    if len(keys) != 1 or not schema[keys[0]].is_integer():
        return None
    request_columns = [
        a[keys[0]]
        for a in request_keys
        if a.schema[keys[0]].is_integer() and a[keys[0]].null_count() < a.height
    ]
    if not request_columns or len(request_columns) < len(request_keys):
        return None
    ends = [(w.min(), w.max()) for w in request_columns]
    return pl.col(keys[0]).is_between(min(e[0] for e in ends), max(e[1] for e in ends))  # type: ignore[type-var]


def _in_unit(timestamp: int, dtype: pl.Datetime, beyond: int) -> pl.Expr:
    """A time as a literal of this type, moved by the least step of a coarser unit."""
    number = (
        timestamp // 1000 + beyond
        if dtype.time_unit == "ms"
        else (timestamp + beyond) * (1000 if dtype.time_unit == "ns" else 1)
    )
    return pl.lit(max(-_MOST, min(number, _MOST)), dtype=pl.Int64).cast(dtype)
