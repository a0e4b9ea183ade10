"""Tables: which connector reads one, and what identifies its contents."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import settings
from headwater.definitions.connectors import ArrowFrame, Connector, Frame, Table
from headwater.errors import DataError, nearest

if TYPE_CHECKING:
    from types import ModuleType

    import polars as pl


def scan(table: Table) -> pl.LazyFrame:
    """The table as a lazy frame; times with a zone are in UTC.

    Raises:
        DataError: the files are missing, empty or unreadable.
        ConnectError: an object store or server does not answer in time, or refuses.
    """
    if isinstance(table, Connector):
        return _in_utc(table.scan())
    if isinstance(table, Frame):
        return _in_utc(to_polars(table.data).lazy())
    frame: pl.LazyFrame = _files().scan(table)
    return frame


def state(table: Table) -> list[object] | None:
    """A value that changes with the table: a digest of each file; of a frame, a hash of its rows.
    None for a URL.

    Raises:
        DataError: the files are missing.
    """
    if isinstance(table, Frame):
        return [table.fingerprint]
    if isinstance(table, Connector):
        return table.state()
    digests: list[object] | None = _files().state(table)
    return digests


def contents(table: Table) -> dict[str, object]:
    """The contents of the table, for a manifest: a SHA-256 of each file, a version, or a hash of
    the rows.

    Raises:
        DataError: the files are missing.
    """
    if isinstance(table, Frame):
        return {"frame": table.fingerprint}
    if isinstance(table, Connector):
        return table.contents()
    digests: dict[str, object] = _files().contents(table)
    return digests


def _files() -> ModuleType:
    """The scanner of files, which needs what is here."""
    return importlib.import_module("headwater.connectors.files")


def to_polars(data: ArrowFrame) -> pl.DataFrame:
    """Any frame with an Arrow interface as a polars frame, without a copy where its memory layout
    allows.
    """
    import polars as pl

    return data if isinstance(data, pl.DataFrame) else pl.DataFrame(data)


def _in_utc(frame: pl.LazyFrame) -> pl.LazyFrame:
    import polars as pl

    zoned = [
        name
        for name, dtype in frame.collect_schema().items()
        if isinstance(dtype, pl.Datetime) and dtype.time_zone not in (None, "UTC")
    ]
    return frame.with_columns(pl.col(zoned).dt.convert_time_zone("UTC")) if zoned else frame


def missing(path: str) -> DataError:
    """The error for a file that is not there: its folder, and the nearest name in it."""
    local_path = settings.in_project(path)
    if not local_path.parent.is_dir():
        return DataError(f"no file at {path}; its folder does not exist")
    siblings = [p.name for p in local_path.parent.iterdir()]
    hint = (
        f"in {local_path.parent}: {nearest(local_path.name, siblings)}"
        if siblings
        else f"the folder {local_path.parent} is empty"
    )
    return DataError(f"no file at {path}; {hint}")


def named(path: str) -> list[str]:
    """The file of that name, or the files that match the glob, sorted; named as in `path`, so that
    they do not depend on the working folder.
    """
    local_path = settings.in_project(path)
    if local_path.is_file():
        return [path]
    pattern_path = Path(path)
    folder = Path(pattern_path.anchor) if pattern_path.anchor else settings.in_project(".")
    pattern = str(pattern_path.relative_to(pattern_path.anchor))
    return sorted(
        str(p if pattern_path.anchor else p.relative_to(folder)) for p in folder.glob(pattern)
    )
