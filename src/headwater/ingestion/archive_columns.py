"""Rows of a stream's files by the columns that the stream has now: a file keeps the columns and
types of when it was written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from headwater.errors import DataError
from headwater.ingestion.archive import FOLDERS


def as_today(
    rows: pl.DataFrame, schema: Mapping[str, pl.DataType]
) -> tuple[pl.DataFrame, Counter[str]]:
    """The rows with these columns, cast where they had another type; and the values that could not
    be cast, counted by error.

    >>> rows, lost = as_today(pl.DataFrame({"n": [1, 2]}), {"n": pl.Float64(), "word": pl.String()})
    >>> rows.rows(), dict(lost)
    ([(1.0, None), (2.0, None)], {"events from before the column 'word' was kept": 2})
    """
    lost: Counter[str] = Counter()
    columns = []
    for name, dtype in schema.items():
        if name not in rows.columns:
            lost[f"events from before the column {name!r} was kept"] += rows.height
            columns.append(pl.Series(name, [None], dtype).new_from_index(0, rows.height))
            continue
        had = rows[name]
        now = had if had.dtype == dtype else had.cast(dtype, strict=False)
        gone = now.null_count() - had.null_count()
        if had.dtype.is_float() and dtype.is_integer():
            gone = int((now.is_null() | (now.cast(had.dtype) != had)).sum()) - had.null_count()
        if gone > 0:
            lost[
                (
                    f"events whose column {name!r} was {had.dtype}, with values that {dtype} does "
                    "not hold"
                )
            ] += gone
        columns.append(now)
    return pl.DataFrame(columns), +lost


@contextmanager
def broken_files_named(folder: Path | None, source: str) -> Iterator[None]:
    """Name the file that cannot be read, where something cannot be read of what ingestion keeps of
    a source below `folder`.

    Raises:
        DataError: a file that cannot be read, or files that do not fit together.
    """
    try:
        yield
    except PolarsError as error:
        for kept in FOLDERS.values() if folder is not None else ():
            for path in sorted((Path(folder or "") / kept / source).glob("**/*.parquet")):
                try:
                    pl.read_parquet(path, hive_partitioning=False)
                except (PolarsError, OSError) as broken:
                    raise DataError(
                        f"{path} cannot be read: {broken}. Put it back from a backup; without it, "
                        "its events are in no archive"
                    ) from error
        raise DataError(
            f"the files of source {source!r} cannot be read together: {error}"
        ) from error
