"""One scanner for parquet, CSV and JSON lines, of this machine and of object stores.

The names of the files, the columns of each, one schema for all (`schemas.unify`), the partitions in
the names of folders, and a lazy frame of the rows.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import polars as pl
from polars.exceptions import PolarsError

from headwater import clock, settings
from headwater.connectors import csv, missing, named, remote
from headwater.connectors.schemas import Schema, UnifiedSchema, unify
from headwater.connectors.snapshots import once_per_call
from headwater.definitions.connectors import (
    Connector,
    CsvFiles,
    Files,
    JsonLinesFiles,
    ParquetFiles,
)
from headwater.errors import DataError, HeadwaterError, listed, nearest, read_error

Options = dict[str, Any] | None
"""Of a store, as polars takes them; None of files of this machine."""

FILE: Final = "__file"
"""The column with the file of each row."""

_CASTS: Final = pl.ScanCastOptions(
    integer_cast=["upcast", "allow-float"],
    float_cast="upcast",
    datetime_cast=["nanosecond-downcast", "millisecond-upcast", "convert-timezone"],
    missing_struct_fields="insert",
    categorical_to_string="allow",
)

_REQUESTS: Final = 16  # footers of a store that are read at the same time
_SAMPLE: Final = 10_000  # lines of JSON that say what a column holds


# ---------------------------------------------------------------- formats


def _parquet_schema(_table: Files, name: str, options: Options) -> Schema:
    return pl.scan_parquet(
        name, glob=False, hive_partitioning=False, storage_options=options
    ).collect_schema()


def _parquet(
    _table: Files, names: Sequence[str], schema: Schema | None, **options: object
) -> pl.LazyFrame:
    if schema is not None:
        options |= {"schema": schema, "missing_columns": "insert", "cast_options": _CASTS}
    return pl.scan_parquet(list(names), **{"hive_partitioning": False, **options})  # type: ignore[arg-type]


def _json_schema(_table: Files, name: str, options: Options) -> Schema:
    """The types of the first lines; of all lines where the first have a column without a value."""
    if options is None and not Path(name).stat().st_size:
        return {}
    for lines in (_SAMPLE, None):
        schema = pl.scan_ndjson(
            name, infer_schema_length=lines, storage_options=options
        ).collect_schema()
        if pl.Null not in schema.values():
            break
    return schema


def _json(
    _table: Files, names: Sequence[str], schema: Schema | None, **options: object
) -> pl.LazyFrame:
    options.pop("glob")  # which is decided by the name
    return pl.scan_ndjson(list(names), schema=schema, **options)  # type: ignore[arg-type]


@dataclass(frozen=True)
class FileFormat:
    """How files of a format are read.

    schema: the columns of one file. read: the rows of several, with one schema; None is that of
    each. widen: the common type of two, where the bytes are text and their types were inferred.
    """

    called: str
    ending: str
    schema: Callable[[Any, str, Options], Schema]
    read: Callable[..., pl.LazyFrame]
    widen: Callable[[pl.DataType, pl.DataType], pl.DataType | None] | None = None
    other: str = ""


FORMATS: Final[Mapping[type[Files], FileFormat]] = {
    ParquetFiles: FileFormat(
        "parquet",
        ".parquet",
        _parquet_schema,
        _parquet,
        other=". Give hw.csv(path) or hw.json_lines(path) for such files, or write them as parquet",
    ),
    CsvFiles: FileFormat("CSV", ".csv", csv.schema, csv.read, csv.widen),
    JsonLinesFiles: FileFormat("JSON lines", ".jsonl", _json_schema, _json, csv.number),
}


# ---------------------------------------------------------------- the scanner


def scan(table: Files, *, file: str | None = None) -> pl.LazyFrame:
    """The files as a lazy frame: columns, partitions and row groups that are not needed are not
    read. file: the name of an added column with the file of each row.

    Raises:
        DataError: nothing is there, a file cannot be read, or the files are no table.
        ConnectError: an object store does not answer in time, or refuses.
    """
    return layout(table).scan(file=file)


def layout(table: Files) -> Layout:
    """The files of a table and its columns; of each file the footer or the first lines are read.

    Raises:
        DataError, ConnectError: as `scan`.
    """
    if table.is_remote:
        return once_per_call(f"files of {table.fingerprint}", partial(_layout, table))
    return _layout(table)


def _layout(table: Files) -> Layout:
    form = FORMATS[type(table)]
    files = find_files(table)
    if table.is_remote:
        options = remote.FIRST | remote.resolved(table.storage_options)
        with ThreadPoolExecutor(_REQUESTS) as pool:
            read = partial(_remote_schema, table, options)
            schemas = dict(zip(files.names, pool.map(read, files.names), strict=True))
    else:
        unnamed = table.with_fields(path="")
        schemas = {name: _local_schema(unnamed, name, table.path) for name in files.names}
    schemas = _declared(table, schemas)
    unified = unify(schemas, table.path, form.widen)
    whole = Layout(table, files, unified)
    parts = _partitions(files, table.path) if form.ending == ".parquet" else None
    if parts is None or parts.width == 1:
        return whole
    shared = unified.schema
    held = {column: dtype for column, dtype in shared.items() if column in parts.columns}
    for column in held:
        _check_held(whole.scan(file=FILE), parts, column, table.path)
    typed = parts.with_columns(pl.col(column).cast(dtype) for column, dtype in held.items())
    return replace(whole, parts=typed)


def _declared(table: Files, schemas: dict[str, Schema]) -> dict[str, Schema]:
    """The schemas with the types that the definition declares."""
    if not isinstance(table, CsvFiles) or not table.types:
        return schemas
    types = table.dtypes
    for name in types:
        known = {column for schema in schemas.values() for column in schema}
        if name not in known:
            raise DataError(
                f"{table.path}: types= names {name!r}, which is no column of it; "
                f"{nearest(name, known)}"
            )
    return {
        name: {column: types.get(column, dtype) for column, dtype in schema.items()}
        for name, schema in schemas.items()
    }


def _local_schema(table: Files, name: str, path: str) -> Schema:
    """The columns of a file of this machine. table: without its path, so that other tables of the
    file share them.
    """
    form = FORMATS[type(table)]
    try:
        return _cached_schema(table, name, written(name))
    except HeadwaterError:
        raise
    except (OSError, PolarsError) as error:
        prefix = "" if name.endswith(path) else f"{name}: "
        raise DataError(
            f"{path} cannot be read as {form.called}: {prefix}{read_error(error)}{form.other}"
        ) from error


@lru_cache(maxsize=100_000)
def _cached_schema(table: Files, name: str, _identity: tuple[int, ...]) -> Schema:
    return _shared(tuple(FORMATS[type(table)].schema(table, name, None).items()))


@lru_cache(maxsize=1_000)
def _shared(columns: tuple[tuple[str, pl.DataType], ...]) -> Schema:
    """One object for files of equal columns, which is compared by identity."""
    return dict(columns)


def _remote_schema(table: Files, options: Options, name: str) -> Schema:
    form = FORMATS[type(table)]
    try:
        return form.schema(table, name, options)
    except HeadwaterError:
        raise
    except Exception as error:  # noqa: BLE001 (the library of a cloud, which polars asks for credentials, raises its own)
        raise remote.read_failure(error, replace(table, path=name), form.called) from None


@dataclass(frozen=True)
class Layout:
    """The files of a table, and how they are read as one. parts: the partitions of each file."""

    table: Files
    files: FileList
    unified: UnifiedSchema
    parts: pl.DataFrame | None = None

    def scan(self, *, file: str | None = None) -> pl.LazyFrame:
        """The rows, as a lazy frame. file: the name of an added column with the file of each
        row.
        """
        if self.parts is None:
            return self._files(file)
        columns = {name: dtype for name, dtype in self.parts.schema.items() if name != FILE}
        if not values_of(self.files.root):
            return self._files(file, hive_partitioning=True, hive_schema=columns)
        rows = self._files(FILE).with_columns(
            _partition(self.parts, name, dtype).alias(name) for name, dtype in columns.items()
        )
        # polars would take the folders above for columns too
        return rows.drop(FILE) if file is None else rows.rename({FILE: file})

    def parts_of_files(self) -> list[ParquetPart]:
        """Each file as a table with the columns of the whole."""
        return [
            ParquetPart(replace(self, files=replace(self.files, names=[name])))
            for name in self.files.names
        ]

    def _files(self, file: str | None, **hive: object) -> pl.LazyFrame:
        form, options = FORMATS[type(self.table)], _options(self.table)
        hides = self.files.pattern and not asks_for_hidden(self.files.names[0])
        path = file or (FILE if hides else None)
        schema = self.unified.schema if self.unified.differs or form.widen else None
        try:
            rows = form.read(
                self.table,
                self.files.names,
                schema,
                glob=self.files.pattern,
                include_file_paths=path,
                storage_options=options,
                **hive,
            )
        except (OSError, PolarsError) as error:
            raise DataError(
                f"{self.table.path} cannot be read as {form.called}: {read_error(error)}"
            ) from error
        if hides:
            below = pl.col(str(path)).str.strip_prefix(self.files.root)
            rows = rows.filter(~below.str.contains(HIDDEN))
            rows = rows if file is not None else rows.drop(FILE)
        return rows.with_columns(
            pl.lit(None, dtype)
            .map_batches(partial(_refuse, refusal), return_dtype=dtype)
            .alias(column)
            for column, refusal in self.unified.refusals.items()
            for dtype in (self.unified.schema[column],)
        )


def _options(table: Files) -> Options:
    return remote.DATA | remote.resolved(table.storage_options) if table.is_remote else None


def separator_of(table: CsvFiles) -> str:
    """The field separator, by the first line: the table's, unless it leaves one column with another
    separator in it.
    """
    names = find_files(table).names
    return csv.separator_of(table, names[0], glob=table.is_remote, storage_options=_options(table))


def either_order(table: CsvFiles) -> dict[str, str]:
    """Columns of dates or times that may have the day or the month first, each with a value such as
    "03/04/2026".
    """
    whole = layout(table)
    options = {"glob": whole.files.pattern, "storage_options": _options(table)}
    schema = whole.unified.schema
    return csv.either_order(csv.sample_of_dates(table, whole.files.names, schema, options))


def _refuse(refusal: str, _values: pl.Series) -> pl.Series:
    """For a column of types that have none in common: an error where it is read."""
    raise DataError(refusal)


@dataclass(frozen=True, eq=False)
class ParquetPart(Connector):
    """Some files of a table, with the columns of the whole."""

    layout: Layout = field(metadata={"fingerprint": False})

    def __str__(self) -> str:
        return self.path

    @property
    def path(self) -> str:
        """The first file."""
        return self.layout.files.names[0]

    def scan(self) -> pl.LazyFrame:
        """See `Connector`."""
        return self.layout.scan()


def lines(table: Files, name: str) -> pl.LazyFrame:
    """The lines of a table's files, as strings, in a column of that name.

    Raises:
        DataError, ConnectError: as `scan`.
    """
    files = find_files(table)
    rows = pl.scan_lines(
        files.names,
        name=name,
        glob=files.pattern,
        include_file_paths=FILE,
        storage_options=_options(table),
    )
    if files.pattern and not asks_for_hidden(files.names[0]):
        rows = rows.filter(~pl.col(FILE).str.strip_prefix(files.root).str.contains(HIDDEN))
    return rows.drop(FILE)


# ---------------------------------------------------------------- identity


def state(table: Files) -> list[object] | None:
    """A value that changes with the table: a digest of each file; None for a URL.

    Raises:
        DataError: the files are missing.
    """
    if table.is_remote:  # nothing says that an object has not changed
        return None
    files = find_files(table)
    return [[name.removeprefix(files.root), digest(Path(name))] for name in files.names]


def contents(table: Files) -> dict[str, object]:
    """The contents of the table: a SHA-256 of each file, by its path below their common folder. Of
    a URL, a hash of the rows of each file, which are read for it.

    Raises:
        DataError: the files are missing.
    """
    if table.is_remote:
        return remote.contents(table, lambda file: scan(table, file=file))
    names = [Path(name) for name in find_files(table).names]
    path = settings.in_project(table.path)
    root = path if path.is_dir() else names[0].parent
    below = {n.relative_to(root).as_posix() if n.is_relative_to(root) else n.name: n for n in names}
    return {"path": table.path, "files": {name: digest(path) for name, path in below.items()}}


def digests(root: Path, files: Sequence[Path]) -> dict[str, object]:
    """A SHA-256 of each file that is there, named below a folder."""
    return {path.relative_to(root).as_posix(): digest(path) for path in files if path.is_file()}


def digest(path: Path) -> dict[str, object]:
    """The size and SHA-256 of a file; kept for a file that has been unchanged for two seconds."""
    identity = written(str(path))
    settled = clock.now_micros() * 1000 - identity[-1] > _SETTLED
    return dict((_kept_digest if settled else _kept_digest.__wrapped__)(str(path), identity))


_SETTLED: Final = 2_000_000_000  # ns; the clocks of file systems have steps


@lru_cache(maxsize=100_000)
def _kept_digest(name: str, _identity: tuple[int, ...]) -> tuple[tuple[str, object], ...]:
    with Path(name).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return ("bytes", file.tell()), ("sha256", sha256)


def written(name: str) -> tuple[int, ...]:
    """What changes whenever a file is written or replaced. The last one, the time of the change of
    its inode, no copy or `touch` can set back.
    """
    status = Path(name).stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


# ---------------------------------------------------------------- names


DELTA_LOG: Final = "_delta_log"

ICEBERG_METADATA: Final = ("metadata", "*.metadata.json")


@dataclass(frozen=True)
class FileList:
    """The files of a table.

    root: what their names begin with, to the slash of the folder below which `column=value` is a
    partition. names: as they are opened, sorted; never none. pattern: whether the one name is a
    glob of a store, which polars resolves.
    """

    root: str
    names: list[str]
    pattern: bool = False


def find_files(table: Files) -> FileList:
    """The files of a table: a file, those of a folder with the ending of the format, or what a glob
    matches.

    Of a glob and a folder, names below it that begin with "_" or "." are left out, as Spark,
    pyarrow and DuckDB do: files that are not written yet, and the known facts about the others.

    Raises:
        DataError: nothing is there, a file is empty, or the folder is a table of Delta or Iceberg.
        ConnectError: an object store does not answer in time, or refuses.
    """
    ending = FORMATS[type(table)].ending
    if table.is_remote:
        return _remote_files(table, ending)
    path = table.path
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
    if empty and ending != ".jsonl":
        raise DataError(
            f"{path}: {listed(empty)} is empty: it has no bytes, so no columns either; write it "
            "again, or remove it"
        )
    return files


def _remote_files(table: Files, ending: str) -> FileList:
    """Of parquet, the files with rows; of text, the glob: polars lists parquet files by their
    footers, and has no list of others.
    """
    url = table.path
    if url.startswith(("http://", "https://")):
        remote.check_http(url)
        return FileList(_fixed_folder(url), [url])
    if not (url.endswith("/") or _GLOB.search(url)):
        return FileList(_fixed_folder(url), [url])
    root = _fixed_folder(url)
    for folder in _table_folders(root):
        if remote.exists(table, f"{folder}/{DELTA_LOG}/*.json"):
            raise _delta_as_files(url, folder)
        if remote.exists(table, "/".join((folder, *ICEBERG_METADATA))):
            raise _iceberg_as_files(url, folder)
    pattern = url + f"**/*{ending}" if url.endswith("/") else url
    if ending != ".parquet":
        return FileList(root, [pattern], pattern=True)
    names = remote.listed(replace(table, path=pattern))
    if not asks_for_hidden(pattern):
        names = [name for name in names if not hidden(name.removeprefix(root))]
    if not names:
        raise DataError(
            f"{url}: no file is there that ends with {ending!r} and has rows; check the "
            "bucket and the pattern, or write the table first"
        )
    return FileList(root, names)


def _files(path: str, local_path: Path, ending: str) -> FileList:
    if local_path.is_dir():
        root = _prefix(local_path)
        return FileList(root, sorted(_walked(root, ending)))
    if local_path.is_file():
        return FileList(_prefix(local_path.parent), [str(local_path)])
    root = _fixed_folder(str(local_path))
    matches = [settings.in_project(name) for name in named(path)]
    names = {
        n
        for match in matches
        for n in (_walked(_prefix(match), ending) if match.is_dir() else [str(match)])
    }
    if not asks_for_hidden(path):
        names = {name for name in names if not hidden(name.removeprefix(root))}
    return FileList(root, sorted(names))


_GLOB: Final = re.compile(r"[*?\[]")


def _fixed_folder(path: str) -> str:
    """The folder of a file or of a glob: its segments before the first with a pattern.

    >>> (
    ...     _fixed_folder("events/day=*/x.parquet"),
    ...     _fixed_folder("s3://shop/a/b.parquet"),
    ...     _fixed_folder("b.parquet"),
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
    for folder in sorted({*inner, *map(Path, _table_folders(files.root))}):
        if (folder / DELTA_LOG).is_dir():
            raise _delta_as_files(path, str(folder))
        metadata, pattern = ICEBERG_METADATA
        if next((folder / metadata).glob(pattern), None) is not None:
            raise _iceberg_as_files(path, str(folder))


def _table_folders(root: str) -> Iterator[str]:
    """The folders that may be the table's own, if a folder has its files: itself, and those above
    its partitions and its "data".

    >>> [*_table_folders("/lake/t/data/day=1/")]
    ['/lake/t/data/day=1', '/lake/t/data', '/lake/t']
    """
    folder = root.rstrip("/")
    yield folder
    while "=" in (name := folder.rpartition("/")[2]) or name == "data":
        folder = folder.rpartition("/")[0]
        yield folder


def _delta_as_files(path: str, folder: str) -> DataError:
    return DataError(
        f"{path} holds a Delta table: {folder} has a {DELTA_LOG}, so rows that were deleted or "
        f"rewritten would count. Give hw.delta({folder!r})"
    )


def _iceberg_as_files(path: str, folder: str) -> DataError:
    return DataError(
        f"{path} holds an Iceberg table: {folder}/{ICEBERG_METADATA[0]} has its metadata, so rows "
        "that were deleted or rewritten would count. Give hw.iceberg('namespace.table', "
        "catalog=...), or hw.iceberg(path) with the path of its current .metadata.json"
    )


# ---------------------------------------------------------------- partitions


_NULL: Final = "__HIVE_DEFAULT_PARTITION__"

# a date that names the day or the month first
_EITHER_ORDER: Final = r"^\d{1,2}[./-]\d{1,2}[./-]\d+"

_SEPARATOR: Final = "\x1f"


def _partitions(files: FileList, path: str) -> pl.DataFrame:
    """The values of each file's folders below the root, with a column FILE; of no other column
    where there are no partitions.

    Their types are those that polars finds in CSV: integers, floats, booleans, dates and times,
    else strings.

    Raises:
        DataError: some files are below `column=value` and others are not.
    """
    values = [values_of(name.removeprefix(files.root)) for name in files.names]
    odd = next(
        (position for position, columns in enumerate(values) if columns.keys() != values[0].keys()),
        None,
    )
    if odd is not None:
        raise DataError(
            f"{path}: {files.names[0]} has the partitions {', '.join(values[0]) or 'none'}, and "
            f"{files.names[odd]} {', '.join(values[odd]) or 'none'}; put all files below folders "
            "of the same columns, or name those of one kind with a glob"
        )
    return pl.DataFrame(
        [
            pl.Series(FILE, files.names),
            *(_typed(column, [by_column[column] for by_column in values]) for column in values[0]),
        ]
    )


def values_of(below: str) -> dict[str, str]:
    """The columns and values in the folders of a path.

    >>> values_of("day=2026-01-01/city=S%C3%A3o%20Paulo/part-0.parquet")
    {'day': '2026-01-01', 'city': 'São Paulo'}
    """
    parts = (segment.split("=") for segment in below.split("/")[:-1])
    return {pair[0]: unquote(pair[1]) for pair in parts if len(pair) == 2 and pair[0]}


def _partition(parts: pl.DataFrame, column: str, dtype: pl.DataType) -> pl.Expr:
    """The value of each row's folder, by FILE; null where the folder has no value of that type."""
    return pl.col(FILE).replace_strict(
        parts[FILE], parts[column].cast(dtype, strict=False), return_dtype=dtype
    )


def _check_held(frame: pl.LazyFrame, parts: pl.DataFrame, column: str, path: str) -> None:
    """Refuse a partition that contradicts the column of its files.

    frame: the rows of the files, with that column and FILE.

    Raises:
        DataError: a file has another value than its folder.
    """
    dtype = frame.collect_schema()[column]
    differing = (
        frame.filter(pl.col(column).ne_missing(_partition(parts, column, dtype)))
        .select(FILE, column)
        .head(1)
        .collect()
    )
    for name, value in differing.iter_rows():
        raise DataError(
            f"{path}: {column!r} is a partition and also a column of the files, and they differ: "
            f"{name} has the value {value!r}. Rename the folders, or write the files without the "
            "column"
        )


def _typed(column: str, texts: Sequence[str]) -> pl.Series:
    """Strings as the type of their values; dates that may have the month first stay strings."""
    values = pl.Series(column, [None if text == _NULL else text for text in texts], dtype=pl.String)
    distinct = values.drop_nulls().unique().alias(column)
    as_lines = not (distinct.str.contains(rf"[\r\n{_SEPARATOR}]").any() or (distinct == "").any())
    if not len(distinct) or not as_lines or distinct.str.contains(_EITHER_ORDER).any():
        return values
    rows = io.BytesIO("\n".join(["value", *distinct]).encode())
    read = pl.read_csv(
        rows, separator=_SEPARATOR, quote_char=None, try_parse_dates=True, infer_schema_length=None
    )["value"]
    return values.replace_strict(distinct, read, return_dtype=read.dtype)
