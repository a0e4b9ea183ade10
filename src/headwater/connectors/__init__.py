"""Tables: which connector reads one, and the files of a path.

The files of a path: which names count, and folders that are a table of another kind.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headwater import settings
from headwater.definitions.connectors import ArrowFrame, Connector, Files, Frame, Table
from headwater.errors import DataError, listed, nearest

if TYPE_CHECKING:
    import polars as pl

_SCANS: Mapping[str, str] = {
    "ParquetFiles": "headwater.connectors.parquet",
    "CsvFiles": "headwater.connectors.csv",
    "JsonLinesFiles": "headwater.connectors.json_lines",
}

# of files in a folder
ENDINGS: Mapping[str, str] = {
    "ParquetFiles": ".parquet",
    "CsvFiles": ".csv",
    "JsonLinesFiles": ".jsonl",
}


def scan(table: Table) -> pl.LazyFrame:
    """The table as a lazy frame.

    Raises:
        DataError: the files are missing, empty or unreadable.
        ConnectError: an object store or server does not answer in time, or refuses.
    """
    if isinstance(table, Connector):
        return table.scan()
    if isinstance(table, Frame):
        return to_polars(table.data).lazy()
    frame: pl.LazyFrame = importlib.import_module(_SCANS[type(table).__name__]).scan(table)
    return frame


def with_file(table: Files, column: str) -> pl.LazyFrame:
    """The table with one more column, the file of each row.

    Raises:
        DataError, ConnectError: as `scan`.
    """
    frame: pl.LazyFrame = importlib.import_module(_SCANS[type(table).__name__]).scan(
        table, file=column
    )
    return frame


def to_polars(data: ArrowFrame) -> pl.DataFrame:
    """Any frame with an Arrow interface as a polars frame, without a copy where its memory layout
    allows.
    """
    import polars as pl

    return data if isinstance(data, pl.DataFrame) else pl.DataFrame(data)


_GLOB: Final = re.compile(r"[*?\[]")

LINES: Final = ".jsonl"

DELTA_LOG: Final = "_delta_log"

ICEBERG_METADATA: Final = ("metadata", "*.metadata.json")


@dataclass(frozen=True)
class FileList:
    """The files of a table.

    root: what their names begin with, to the slash of the folder below which `column=value` is a
    partition. names: as they are opened, sorted; never none.
    """

    root: str
    names: list[str]


def find_files(path: str, ending: str) -> FileList:
    """The files that `path` names: a file, what a glob matches, or those of a folder that end with
    `ending`.

    Of a glob and a folder, names below it that begin with "_" or "." are left out, as Spark,
    pyarrow and DuckDB do: files that are not written yet, and the known facts about the others.

    Raises:
        DataError: nothing is there, a file is empty, or the folder is a table of Delta or Iceberg.
    """
    local_path = settings.in_project(path)
    try:
        files = _files(path, local_path, ending)
        if not files.names:
            raise _nothing(path, local_path, ending)
        if not local_path.is_file():
            _refuse_managed(path, files)
        empty = [name for name in files.names if Path(name).stat().st_size == 0]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.filename}: {error.strerror}") from error
    if len(empty) == len(files.names):
        raise DataError(
            f"{path} is empty: it has no bytes, so no columns either; write the table again"
        )
    if empty and ending != LINES:
        raise DataError(
            f"{path}: {listed(empty)} is empty: it has no bytes, so no columns either; write it "
            "again, or remove it"
        )
    return files


def _files(path: str, local_path: Path, ending: str) -> FileList:
    if local_path.is_dir():
        root = _prefix(local_path)
        return FileList(root, sorted(_walked(root, ending)))
    if local_path.is_file():
        return FileList(_prefix(local_path.parent), [str(local_path)])
    root = fixed_folder(str(local_path))
    matches = [settings.in_project(name) for name in named(path)]
    names = {
        n
        for match in matches
        for n in (_walked(_prefix(match), ending) if match.is_dir() else [str(match)])
    }
    if not asks_for_hidden(path):
        names = {name for name in names if not hidden(name.removeprefix(root))}
    return FileList(root, sorted(names))


def fixed_folder(path: str) -> str:
    """The folder of a file or of a glob: its segments before the first with a pattern.

    >>> (
    ...     fixed_folder("events/day=*/x.parquet"),
    ...     fixed_folder("s3://shop/a/b.parquet"),
    ...     fixed_folder("b.parquet"),
    ... )
    ('events/', 's3://shop/a/', '')
    """
    first = _GLOB.search(path)
    return path[: path.rfind("/", 0, len(path) if first is None else first.start()) + 1]


HIDDEN: Final = r"(^|/)(\.|_[^=/]*(/|$))"
"""Of a path below a table's root: a segment that begins with "." or "_", and is not a partition
`_column=value`.
"""


def hidden(below: str) -> bool:
    """Whether a path below a table's root has such a segment.

    >>> hidden("_temporary/0/a.parquet"), hidden("day=1/.a.parquet"), hidden("_day=1/a.parquet")
    (True, True, False)
    """
    return re.search(HIDDEN, below) is not None


def asks_for_hidden(pattern: str) -> bool:
    """Whether a glob has a segment that only matches names that begin with "_" or ".".

    >>> asks_for_hidden("logs/_part*.csv"), asks_for_hidden("_logs/*.csv")
    (True, False)
    """
    return re.search(r"(^|/)[_.][^/]*[*?\[]", pattern) is not None


def _prefix(folder: Path) -> str:
    """The common beginning of the names of files in a folder."""
    return "" if folder == Path() else f"{str(folder).rstrip('/')}/"


def _walked(root: str, ending: str) -> Iterator[str]:
    """The files of a folder that end so and are not hidden below it."""

    def refuse(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(root or ".", onerror=refuse):
        folders[:] = [name for name in folders if not hidden(name)]
        yield from (
            str(Path(parent, name)) for name in names if name.endswith(ending) and not hidden(name)
        )


def _nothing(path: str, local_path: Path, ending: str) -> DataError:
    if not local_path.is_dir():
        return missing(path)
    held = sorted(p.name for p in local_path.iterdir())
    skipped = "; names that begin with _ or . are left out" if any(map(hidden, held)) else ""
    return DataError(
        f"the folder {path} has no file that ends with {ending!r}; it holds "
        f"{listed(held) or 'nothing'}{skipped}. Name another folder, a file or a glob"
    )


def _refuse_managed(path: str, files: FileList) -> None:
    """Refuse the files of a Delta or Iceberg table: files of earlier versions lie there too.

    Raises:
        DataError: there is its log, or its metadata.
    """
    folders = {name.rpartition("/")[0] for name in files.names}
    inner = {
        parent
        for folder in folders
        for parent in (Path(folder), *Path(folder).parents)
        if f"{parent}/".startswith(files.root)
    }
    for folder in sorted({*inner, *map(Path, table_folders(files.root))}):
        if (folder / DELTA_LOG).is_dir():
            raise delta_as_files(path, str(folder))
        metadata, pattern = ICEBERG_METADATA
        if next((folder / metadata).glob(pattern), None) is not None:
            raise iceberg_as_files(path, str(folder))


def table_folders(root: str) -> Iterator[str]:
    """The folders that may be the table's own, if a folder has its files: itself, and those above
    its partitions and its "data".

    >>> [*table_folders("/lake/t/data/day=1/")]
    ['/lake/t/data/day=1', '/lake/t/data', '/lake/t']
    """
    folder = root.rstrip("/")
    yield folder
    while "=" in (name := folder.rpartition("/")[2]) or name == "data":
        folder = folder.rpartition("/")[0]
        yield folder


def delta_as_files(path: str, folder: str) -> DataError:
    """The error for the path of a Delta table's folder."""
    return DataError(
        f"{path} holds a Delta table: {folder} has a {DELTA_LOG}, so rows that were deleted or "
        f"rewritten would count. Give hw.delta({folder!r})"
    )


def iceberg_as_files(path: str, folder: str) -> DataError:
    """The error for the path of an Iceberg table's folder."""
    return DataError(
        f"{path} holds an Iceberg table: {folder}/{ICEBERG_METADATA[0]} has its metadata, so rows "
        "that were deleted or rewritten would count. Give hw.iceberg('namespace.table', "
        "catalog=...), or hw.iceberg(path) with the path of its current .metadata.json"
    )


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
