"""Tables as values: paths, URLs and frames. `headwater.connectors` reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import TYPE_CHECKING, Literal, Protocol, get_args, runtime_checkable

from headwater.definitions.checks import check, check_choice, check_type
from headwater.definitions.definition import Definition
from headwater.definitions.urls import checked_options, is_url, place, store_of
from headwater.errors import DataError, DefinitionError, read_error

DateOrder = Literal["day-first", "month-first"]


@runtime_checkable
class ArrowFrame(Protocol):
    """Any frame that exports Arrow data: polars, pandas, pyarrow, DuckDB results, ..."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


@dataclass(frozen=True, eq=False, init=False)
class Files(Definition):
    """Files of one kind: a path of this machine, or the URL of an object store or of HTTP.

    storage_options: how a URL is read, credentials among them; no part of the fingerprint, and
    never shown. `store` is what they say of which store it is: an endpoint, an account.
    """

    path: str
    storage_options: Mapping[str, object] = field(repr=False, metadata={"fingerprint": False})
    store: str = field(default="", init=False, repr=False, metadata={"fingerprint": "given"})

    def __init__(
        self, path: str | PathLike[str], *, storage_options: Mapping[str, object] | None = None
    ) -> None:
        name = self._called
        check_type(
            path,
            str | PathLike,
            f"{name}(): path",
            f"one path, glob, folder or URL, such as {name}('events/*')",
        )
        location = place(fspath(path))
        options = checked_options(storage_options) if is_url(location) else {}
        self._set(path=location, storage_options=options, store=store_of(options))

    def __str__(self) -> str:
        return self.path

    @property
    def is_remote(self) -> bool:
        """Whether the path is a URL."""
        return is_url(self.path)


@dataclass(frozen=True, eq=False, init=False)
class ParquetFiles(Files, called="parquet"):
    """Parquet files: one file, a glob, or a folder (plain or hive-partitioned), of this machine or
    of an object store.

    Args:
        path: a path, relative to the project file's folder; or a URL: `s3://`, `gs://`, `az://`,
            `abfss://`, `http(s)://`, `file://`. The URL of a folder ends with `/`. Over HTTP there
            are neither folders nor globs.
        storage_options: how a URL is read, as polars names it: `{"aws_region": "eu-north-1",
            "aws_secret_access_key": hw.env("SECRET")}`. Missing options come from the environment
            (`AWS_ACCESS_KEY_ID`, `GOOGLE_APPLICATION_CREDENTIALS`, ...). They are not part of
            fingerprints and manifests, except an endpoint or account name, and are never shown.

    Raises:
        DefinitionError: an unknown scheme, a URL that holds a credential, or options that are not a
            mapping.

    >>> parquet("s3://shop/payments/*.parquet", storage_options={"aws_region": "eu-north-1"})
    ParquetFiles(s3://shop/payments/*.parquet)
    """


@dataclass(frozen=True, eq=False, init=False)
class CsvFiles(Files, called="csv"):
    """CSV files with a header: one file or a glob, of this machine or of an object store; `path`
    and `storage_options` as of `parquet`.

    separator: the character between fields, such as ";" or a tab.
    dates: "day-first" or "month-first": the order of dates such as 01/02/2026. Without it, a column
        of them is an error, unless a value such as 31/01/2026 shows that the day is first. Dates of
        ISO 8601 and with dots, 31.01.2026, need no order.

    Raises:
        DefinitionError: as `parquet`, a separator that is not one character of ASCII, or another
            order.

    >>> csv("https://example.org/payments.csv")
    CsvFiles(https://example.org/payments.csv)
    """

    separator: str = field(default=",", metadata={"fingerprint": "given"})
    dates: DateOrder | None = field(default=None, metadata={"fingerprint": "given"})

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        separator: str = ",",
        dates: DateOrder | None = None,
        storage_options: Mapping[str, object] | None = None,
    ) -> None:
        one = (
            isinstance(separator, str)
            and len(separator) == 1
            and separator.isascii()
            and separator not in '"\r\n'
        )
        check(one, separator, "csv(): separator", "one character of ASCII, such as ';' or '\\t'")
        if dates is not None:
            check_choice(
                dates, get_args(DateOrder), "csv(): dates", "the order of dates such as 01/02/2026"
            )
        super().__init__(path, storage_options=storage_options)
        self._set(separator=separator, dates=dates)


@dataclass(frozen=True, eq=False, init=False)
class JsonLinesFiles(Files, called="json_lines"):
    """JSON lines, an object a line: one file, a glob or a folder; `path` and `storage_options` as
    of `parquet`.

    JSON has no times: convert strings and numbers in `select`, such as
    `pl.col("at").str.to_datetime("%+", time_unit="us")`.

    >>> json_lines("clicks.jsonl")
    JsonLinesFiles(clicks.jsonl)
    """


class Frame(Definition):
    """A frame in memory; its fingerprint is that of its contents."""

    is_remote = False

    def __init__(self, data: ArrowFrame) -> None:
        self.data = data

    def __str__(self) -> str:
        return "a frame in memory"

    @property
    def fingerprint(self) -> str:
        """A hash of the column names, types and rows; read once."""
        if "_fingerprint" not in self.__dict__:
            self.__dict__["_fingerprint"] = _content_hash(self.data)
        return str(self.__dict__["_fingerprint"])


class Connector(Definition):
    """A table of a kind of its own: a frozen dataclass whose fields say where it lies, and which
    reads it. One file in `headwater.connectors`, or in a package of yours.

    >>> from dataclasses import dataclass
    >>> import polars as pl
    >>> @dataclass(frozen=True, eq=False)
    ... class Ndjson(Connector):
    ...     path: str
    ...
    ...     def scan(self):
    ...         return pl.scan_ndjson(self.path)
    >>> as_table(Ndjson("clicks.ndjson"), "history").path
    'clicks.ndjson'
    """

    # whether `state` cannot say that a table changed, so that nothing of it is cached
    is_remote = False

    def scan(self) -> pl.LazyFrame:
        """The rows, as a lazy frame: columns and rows that are not needed are not read.

        Raises:
            DataError: nothing is there, or it cannot be read.
        """
        raise NotImplementedError

    def contents(self) -> dict[str, object]:
        """A hash of the table's rows, for the manifest of a training set."""
        return {"rows": _content_hash(self.scan().collect())}

    def state(self) -> list[object]:
        """A value that changes when the table does; return something cheap where possible, such as
        sizes and modification times.
        """
        return [self.contents()]


Table = ParquetFiles | CsvFiles | JsonLinesFiles | Frame | Connector

if TYPE_CHECKING:
    import polars as pl

    TableLike = Table | ArrowFrame | str | PathLike[str] | pl.LazyFrame


parquet, csv, json_lines = ParquetFiles, CsvFiles, JsonLinesFiles
"""As users write them."""


def as_table(value: object, subject: str) -> Table:
    """The table that a user gave: a connector, a path or URL, or any frame with an Arrow interface.

    A lazy frame of polars is collected here: its rows are what the definition is told by, and they
    stay as they are.

    Raises:
        DefinitionError: it is none of these.
        DataError: a lazy frame that cannot be read.
    """
    if isinstance(value, ParquetFiles | CsvFiles | JsonLinesFiles | Frame | Connector):
        return value
    if isinstance(value, str | PathLike):
        path = place(fspath(value))
        name = path.partition("?")[0]
        if name.endswith((".jsonl", ".ndjson")):
            return JsonLinesFiles(path)
        return CsvFiles(path) if name.endswith(".csv") else ParquetFiles(path)
    if type(value).__name__ == "LazyFrame" and type(value).__module__.startswith("polars"):
        value = _collected(value, subject)
    check_frame(value, subject)
    if isinstance(value, ArrowFrame):
        return Frame(value)
    framed = (
        ". polars.DataFrame(...) makes a frame of it"
        if isinstance(value, list | dict) and value
        else ""
    )
    raise DefinitionError(
        f"{subject} is {type(value).__name__}; give a path, hw.parquet(path), hw.csv(path), a "
        "LazyFrame of polars, or a frame with an Arrow interface (polars, pandas 2.2+, "
        f"pyarrow){framed}"
    )


def check_frame(value: object, subject: str) -> None:
    """Refuse a frame of Spark, whose Arrow interface would fetch all of its rows, and fails where
    it has times.

    Raises:
        DefinitionError: it is one.
    """
    if type(value).__module__.startswith("pyspark."):
        frame = "frame" if hasattr(value, "mapInArrow") else "frame.to_spark()"  # of its pandas API
        raise DefinitionError(
            f"{subject} is a {type(value).__name__} of Spark; give "
            f"headwater_spark.spark_table({frame}, name='payments')"
        )


def _collected(lazy: object, subject: str) -> object:
    """The rows of a lazy frame of polars."""
    from polars.exceptions import PolarsError  # it is loaded: the frame is of it

    try:
        return lazy.collect()  # type: ignore[attr-defined]
    except (OSError, PolarsError) as error:
        raise DataError(f"{subject}: the lazy frame cannot be read: {read_error(error)}") from error


def _content_hash(data: ArrowFrame) -> str:
    """16 hexadecimal digits for the names, types and rows of a frame, in order."""
    import polars as pl  # a frame is data: only then is a library needed

    frame = data if isinstance(data, pl.DataFrame) else pl.DataFrame(data)
    digest = hashlib.sha256(repr(dict(frame.schema)).encode())
    if frame.width:
        digest.update(frame.hash_rows(seed=0).to_numpy().tobytes())
    return digest.hexdigest()[:16]
