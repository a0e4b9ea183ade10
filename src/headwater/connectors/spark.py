"""Tables of Spark as history, and the sessions of Spark that read and compute: the one file that
imports pyspark.

Tables that Spark writes: of the session's catalog, or a path of a lake.

Which version of a table of Spark a call reads: Delta and Iceberg keep earlier ones, and Spark
reads them by number.
"""

from __future__ import annotations

import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import urlsplit

import polars as pl
from polars.io.plugins import register_io_source

from headwater import settings
from headwater.connectors.snapshots import VERSION, VersionedTable, version_within
from headwater.connectors.sql import Dialect, sql_filter
from headwater.definitions.checks import Spelled
from headwater.definitions.connectors import check_frame
from headwater.definitions.definition import Readable
from headwater.errors import (
    ConnectError,
    DataError,
    DefinitionError,
    HeadwaterError,
    MissingExtraError,
    UsageError,
    given,
    nearest,
)
from headwater.version import __version__

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

DIALECT = Dialect(
    quote="`", instant="CAST('{}+00:00' AS TIMESTAMP_LTZ)", wall_time="CAST('{}' AS TIMESTAMP_NTZ)"
)

_PORT = 15002  # of Spark Connect

_SECONDS = 10  # to wait for a connection

_STOPPED = (
    "NO_ACTIVE_SESSION",
    "Channel closed",
    "SESSION_CLOSED",
    "SESSION_NOT_FOUND",
    "stopped SparkContext",
)
"""What Spark and its clients say of a session that was stopped."""

_sessions: dict[str, SparkSession] = {}


@dataclass(frozen=True, eq=False, init=False)
class SparkTable(VersionedTable, called="spark_table"):
    """A table of Spark, or a DataFrame of it, as history or labels. Tables of Delta and Iceberg are
    read as the session reads them.

    Args:
        table: the name of a table, such as "shop.payments", "delta.`/lake/payments`" or
            "parquet.`/lake/payments`"; or a DataFrame.
        name: of a DataFrame: what it is called in fingerprints; the same in every run.
        session: a session, or the URL of a server of Spark Connect, such as "sc://host:15002"; None
            is that of the engine of the settings (HEADWATER_ENGINE="spark:sc://host:15002"), of
            SPARK_REMOTE, or the active one.

    Raises:
        DefinitionError: neither the name of a table nor a DataFrame, or a DataFrame without a name.

    >>> spark_table("shop.payments")
    SparkTable(the Spark table shop.payments)
    """

    name: str
    session: object = field(default=None, repr=False, metadata={"fingerprint": False})
    frame: object = field(default=None, repr=False, metadata={"fingerprint": False})

    is_remote = True

    def __init__(
        self,
        table: str | DataFrame,
        *,
        name: str | None = None,
        session: SparkSession | str | None = None,
    ) -> None:
        if isinstance(table, str):
            if not table.strip():
                raise DefinitionError(
                    "spark_table(): the name of the table is empty; give one, such as "
                    "'shop.payments'"
                )
            if name is not None:
                raise DefinitionError(
                    "spark_table(): name= is for a DataFrame; a table has its own name"
                )
            self._set(name=table, session=session)
            return
        if not hasattr(table, "mapInArrow"):
            check_frame(table, "spark_table(): the table")
            raise DefinitionError(
                f"spark_table(): the table is {given(table)}; give the name of a table, such as "
                "'shop.payments', or a DataFrame"
            )
        if name is None:
            raise DefinitionError(
                "spark_table(): a DataFrame needs a name= that is the same in every run, such as "
                "name='payments'"
            )
        self._set(name=name, session=table.sparkSession, frame=table)

    def __str__(self) -> str:
        return f"the Spark {'table' if self.frame is None else 'DataFrame'} {self.name}"

    def __getstate__(self) -> dict[str, object]:
        """The state without objects of the process."""
        return {"name": self.name, "session": None, "frame": None}

    def spark_frame(self, session: object = None) -> DataFrame:
        """The table as a DataFrame of Spark: in its own session, else in the given one.

        Raises:
            ConnectError, UsageError, MissingExtraError: as `open_session`.
        """
        if self.frame is not None:
            return cast("DataFrame", self.frame)
        opened = open_session(self.session if self.session is not None else session)
        version = self._version(opened)
        return (
            opened.table(self.name) if version is None else at_version(opened, self.name, version)
        )

    def scan(self) -> pl.LazyFrame:
        """The rows, as a lazy frame; each reading fetches the columns and times that it needs.

        Raises:
            ConnectError, UsageError, MissingExtraError: as `open_session`.
            DataError: no such table.
        """
        return register_io_source(self._read, schema=self.schema(), is_pure=True)

    def schema(self, session: object = None) -> pl.Schema:
        """The columns and their types in polars.

        Raises:
            DataError: no such table.
        """
        with spark_errors(f"{self} cannot be read"):
            return of_spark(self.spark_frame(session).limit(0).toArrow()).schema

    def version_read(self) -> int | None:
        """See `VersionedTable`: of Delta the number, of Iceberg the id of the snapshot; None of
        other tables and of DataFrames.
        """
        return None if self.frame is not None else self._version(open_session(self.session))

    def identity(self) -> dict[str, object]:
        """The name."""
        return {"table": self.name}

    def state(self) -> list[object]:
        """The version; nothing else says cheaply that a table changed."""
        version = self.version_read()
        return [] if version is None else [self.name, version]

    def contents(self) -> dict[str, object]:
        """The version; of a table that keeps none, the number of rows and a hash of all of them
        that Spark computes.
        """
        version = self.version_read()
        return {**self.identity(), **(self.rows() if version is None else {VERSION: version})}

    def rows(self) -> dict[str, object]:
        """The number of rows, and a hash of them that does not depend on their order, computed by
        Spark.

        Raises:
            DataError, ConnectError: it cannot be read.
        """
        with spark_errors(f"{self} cannot be read"):
            frame = self.spark_frame()
            names = [DIALECT.quoted(column) for column in frame.columns]
            # a null alone would leave the hash as it is
            hashed = ", ".join(f"{name}, isnull({name})" for name in names)
            (row,) = frame.selectExpr(
                "count(*) AS rows", f"sum(cast(xxhash64({hashed}) AS decimal(28, 0))) AS hash"
            ).collect()
        return {"rows": row["rows"], "hash": f"{int(row['hash'] or 0) & (2**64 - 1):016x}"}

    def _version(self, session: SparkSession) -> int | None:
        return version_within(self, lambda: newest_version(session, self.name))

    def _read(
        self,
        columns: list[str] | None,
        predicate: pl.Expr | None,
        rows: int | None,
        _size: int | None,
    ) -> Iterator[pl.DataFrame]:
        with spark_errors(f"{self} cannot be read"):
            limit = rows if predicate is None else None
            frame = of_spark(narrowed(self.spark_frame(), columns, predicate, limit).toArrow())
        yield (frame if predicate is None else frame.filter(predicate)).head(
            frame.height if rows is None else rows
        )


spark_table = SparkTable


def open_session(session: object = None) -> SparkSession:
    """A session that is given, or of a URL; None is that of the settings, or the active one.

    Raises:
        MissingExtraError: without the extra `spark`.
        UsageError: no session is given, set or active.
        ConnectError: no server answers at the URL.
    """
    if session is not None and not isinstance(session, str):
        return cast("SparkSession", session)
    builder = _pyspark().SparkSession
    url = session or _of_settings()
    if url is None:
        active = builder.getActiveSession()
        if active is None:
            raise UsageError(
                "no Spark session; give a session or a URL, such as "
                "headwater_spark.spark('sc://host:15002'), or set SPARK_REMOTE or "
                "HEADWATER_ENGINE=spark:sc://host:15002"
            )
        return cast("SparkSession", active)
    if url not in _sessions or getattr(_sessions[url], "is_stopped", False):
        _check_answers(url)
        with spark_errors(f"the Spark Connect server {_shown(url)} does not answer"):
            _sessions[url] = builder.builder.remote(url).create()
            _ = _sessions[url].version
    return _sessions[url]


def narrowed(
    frame: DataFrame, columns: list[str] | None, predicate: pl.Expr | None, rows: int | None = None
) -> DataFrame:
    """The columns and the rows that a predicate of polars lets through, or a few more, as far as
    Spark can tell.
    """
    condition = None if predicate is None else sql_filter(predicate, DIALECT)
    frame = frame if condition is None else frame.where(condition)
    frame = (
        frame if columns is None else frame.select(*(DIALECT.quoted(column) for column in columns))
    )
    return frame if rows is None else frame.limit(rows)


def numbered(frame: DataFrame, doing: str) -> tuple[DataFrame, list[str]]:
    """The frame with numbers for names, and the names: Spark takes a dot in a name of what it maps
    for a field of a struct.

    Raises:
        DataError: as `spark_errors`; a column cannot be resolved.
    """
    with spark_errors(doing):
        names = list(frame.columns)
        return frame.toDF(*(f"column_{number}" for number in range(len(names)))), names


def query_id(frame: DataFrame, name: str) -> str:
    """The id of the streaming query that calls foreachBatch with a frame; its checkpoint keeps it
    when the query is started again.

    Raises:
        UsageError: no query of this name runs in the frame's session.
    """
    session = frame.sparkSession
    if not type(session).__module__.startswith("pyspark.sql.connect"):
        return str(session.sparkContext.getLocalProperty("sql.streaming.queryId"))
    with spark_errors("the queries of the Spark session cannot be listed"):
        ids = {query.name: query.id for query in session.streams.active}
    if name not in ids:
        raise UsageError(
            f"no query of this Spark session has the name {name!r}, which "
            "headwater_spark.spark_stream() gives; start it with "
            f"frame.writeStream.queryName({name!r}). "
            f"{nearest(name, [query_name for query_name in ids if query_name])}"
        )
    return ids[name]


def of_spark(rows: object) -> pl.DataFrame:
    """Arrow rows of Spark in polars; timestamps of any session's zone are in UTC."""
    frame = pl.DataFrame(pl.from_arrow(rows))
    zoned = [
        name
        for name, dtype in frame.schema.items()
        if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    ]
    return frame.with_columns(pl.col(name).dt.convert_time_zone("UTC") for name in zoned)


def spark_schema(rows: pa.Schema) -> StructType:
    """The schema of Arrow rows as Spark has it."""
    _pyspark()
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(rows)


def pickled(
    value: object,
    reduced: Mapping[type, Callable[[Any], object]],
    modules: Sequence[ModuleType] = (),
) -> bytes:
    """A value for a worker. reduced: how values of a type are pickled. modules: their functions are
    pickled whole.
    """
    _pyspark()
    cloudpickle: Any = import_module("pyspark.cloudpickle")  # which is not typed

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, value: object) -> object:
            reduce = reduced.get(type(value))
            return super().reducer_override(value) if reduce is None else reduce(value)

    whole = [
        module
        for module in modules
        if module.__name__ not in cloudpickle.list_registry_pickle_by_value()
    ]
    buffer = BytesIO()
    try:
        for module in whole:
            cloudpickle.register_pickle_by_value(module)
        Pickler(buffer).dump(value)
    finally:
        for module in whole:
            cloudpickle.unregister_pickle_by_value(module)
    return buffer.getvalue()


@contextmanager
def spark_errors(doing: str) -> Iterator[None]:
    """Errors of Spark as errors of headwater that begin with `doing`.

    Raises:
        DataError: Spark refuses the query or the table.
        UsageError: the workers' Python lacks headwater.
        ConnectError: the server does not answer, or a job does not end.
    """
    try:
        yield
    except HeadwaterError:
        raise
    except Exception as error:
        message = _message(error)
        kind = type(error).__name__
        if kind == "AnalysisException":
            raise DataError(f"{doing}: {message}") from error
        if "No module named 'headwater" in str(error):
            raise UsageError(
                f"the Spark workers' Python has no headwater; install headwater=={__version__} "
                "there (spark.pyspark.python names that Python)"
            ) from error
        if any(word in str(error) for word in _STOPPED):
            raise ConnectError(
                f"{doing}: the Spark session was stopped ({message}). Give an open session, and "
                "run again"
            ) from error
        if not type(error).__module__.startswith(("pyspark", "grpc", "py4j")):
            raise
        raise ConnectError(
            f"{doing}: {message}. See Spark's own log; when the cluster is well, run again"
        ) from error


def _pyspark() -> Any:  # noqa: ANN401 (a module)
    try:
        # which headwater does not use
        warnings.filterwarnings(
            "ignore", "PySpark does not yet fully support pandas", FutureWarning
        )
        with _as_at_a_prompt():
            import pyspark.sql
            import pyspark.sql.connect

        return pyspark.sql
    except ImportError as error:
        raise MissingExtraError("pyspark", "spark") from error


@contextmanager
def _as_at_a_prompt() -> Iterator[None]:
    """While pyspark is imported, it takes a process without a main file or a prompt, such as
    `python -c`, for a doctest, and may end it.
    """
    missing = not hasattr(sys, "ps1")
    if missing:
        sys.ps1 = ""
    try:
        yield
    finally:
        if missing:
            del sys.ps1


def _of_settings() -> str | None:
    name, _, url = settings.engine().partition(":")
    return url if name == "spark" and url else settings.spark_remote()


def _check_answers(url: str) -> None:
    """Try the address first: pyspark itself tries for ten minutes."""
    parts = urlsplit(url)
    if parts.scheme != "sc" or not parts.hostname:
        raise UsageError(
            f"the URL of Spark is {_shown(url)!r}; give that of a Spark Connect server, such as "
            "sc://host:15002"
        )
    try:
        socket.create_connection((parts.hostname, parts.port or _PORT), _SECONDS).close()
    except OSError as error:
        raise ConnectError(
            f"no Spark Connect server answers at {_shown(url)}: {error.strerror or error}. Start "
            "one (start-connect-server.sh), or correct the URL"
        ) from error


def _shown(url: str) -> str:
    """The URL without its parameters, which hold tokens."""
    return url.partition("/;")[0].partition(";")[0]


def _message(error: Exception) -> str:
    text = str(error).partition("JVM stacktrace:")[0].partition("Traceback (most recent call last)")
    lines = [
        line.strip()
        for line in (text[0] if text[0].strip() and not text[2] else str(error)).splitlines()
        if line.strip()
    ]
    return (
        (lines[-1] if text[2] else " ".join(lines))[:500].rstrip(".")
        if lines
        else type(error).__name__
    )


Mode = Literal["error", "overwrite", "append"]

_MODES = ("error", "overwrite", "append")


@dataclass(frozen=True, init=False)
class SparkOutput(Readable, metaclass=Spelled):
    """Where Spark writes training data: a table, a path of a lake, or a DataFrame.

    Args:
        table: a table of the session's catalog, such as "shop.training"; or a path, such as
            "delta.`/lake/training`" or "parquet.`s3://bucket/training`". `spark_table` reads it by
            the same name. None: a DataFrame, in the memory and on the disks of Spark's workers
            until the session ends.
        format: of a new table of the catalog: "parquet", "delta", "iceberg" or another that the
            session has; the session's own where None.
        mode: what to do where it exists: "error", "overwrite" or "append".
        partition_by: columns that it is partitioned by.

    Raises:
        DefinitionError: the name is empty, the mode is none of these, or a path has two formats.

    >>> spark_output("shop.training", format="iceberg", mode="overwrite")
    SparkOutput(the Spark table shop.training)
    """

    _called = "spark_output"

    table: str | None
    format: str | None = None
    mode: Mode = "error"
    partition_by: tuple[str, ...] = field(default=())

    def __init__(
        self,
        table: str | None = None,
        *,
        format: str | None = None,  # noqa: A002 (Spark's word)
        mode: Mode = "error",
        partition_by: Sequence[str] = (),
    ) -> None:
        if table is not None and not table.strip():
            raise DefinitionError(
                "spark_output(): the name of the table is empty; give one, such as "
                "'shop.training', or None for a DataFrame"
            )
        if mode not in _MODES:
            raise DefinitionError(f"spark_output(): mode is {mode!r}; {nearest(str(mode), _MODES)}")
        at_path = None if table is None else AT_PATH.fullmatch(table)
        if at_path and format not in (None, at_path["format"]):
            raise DefinitionError(
                f"spark_output(): {table} has the format {at_path['format']!r}, and format= is "
                f"{format!r}; leave format= out"
            )
        columns = (partition_by,) if isinstance(partition_by, str) else tuple(partition_by)
        self.__dict__.update(table=table, format=format, mode=mode, partition_by=columns)

    def __str__(self) -> str:
        return "a DataFrame of Spark" if self.table is None else f"the Spark table {self.table}"

    def check(self, session: SparkSession) -> None:
        """Before Spark computes, refuse a table that exists and may not be replaced, and a schema
        that does not exist.

        Raises:
            DataError: it is so.
        """
        path = self._path
        with spark_errors(f"{self} cannot be written"):
            if (
                self.mode == "error"
                and self.table is not None
                and (_is_at(session, *path) if path else session.catalog.tableExists(self.table))
            ):
                raise DataError(
                    f'{self} exists; give mode="overwrite" or mode="append", or another name'
                )
            schema = "" if path or self.table is None else self.table.rpartition(".")[0]
            if schema and not session.catalog.databaseExists(schema):
                raise DataError(
                    f"{self} cannot be written: no schema {schema}; create it, such as with "
                    f"CREATE SCHEMA {schema}"
                )

    def write(self, rows: DataFrame) -> SparkTable:
        """Write the rows; gives the table, or the rows themselves where there is none.

        Raises:
            DataError: Spark refuses it.
            ConnectError: Spark does not finish.
        """
        if self.table is None:
            return SparkTable(rows, name="rows")
        path = self._path
        writer = rows.write.mode(self.mode)
        writer = writer.partitionBy(*self.partition_by) if self.partition_by else writer
        made_in = path[0] if path else self.format
        writer = writer if made_in is None else writer.format(made_in)
        with spark_errors(f"{self} cannot be written"):
            if path:
                writer.save(path[1])
            else:
                writer.saveAsTable(self.table)
        return SparkTable(self.table, session=rows.sparkSession)

    @property
    def _path(self) -> tuple[str, str] | None:
        """The format and the path, where the table is at a path."""
        match = None if self.table is None else AT_PATH.fullmatch(self.table)
        return None if match is None else (match["format"], match["path"])


spark_output = SparkOutput


def _is_at(session: SparkSession, form: str, path: str) -> bool:
    """Whether a table is at a path."""
    try:
        return bool(session.read.format(form).load(path).columns)
    except Exception:  # noqa: BLE001 (each server has its own; any other problem is raised when Spark writes)
        return False


AT_PATH: Final = re.compile(r"(?P<format>\w+)\.`(?P<path>.+)`", re.DOTALL)
"""A table at a path, such as "delta.`/lake/payments`"."""

_NEWEST: Final = {
    "delta": ("DESCRIBE HISTORY {table} LIMIT 1", "version"),
    "iceberg": ("SELECT * FROM {table}.refs WHERE name = 'main'", "snapshot_id"),
}
"""By format: the query for the newest version, and the column that has it."""


def newest_version(session: SparkSession, table: str) -> int | None:
    """The newest version of a table: of Delta the number, of Iceberg the id of the snapshot; None
    where Spark knows of none.
    """
    at_path = AT_PATH.fullmatch(table)
    try:
        form = at_path["format"] if at_path else _provider(session, table)
        if form not in _NEWEST:
            return None
        query, column = _NEWEST[form]
        (row,) = session.sql(query.format(table=table)).collect()
    except Exception:  # noqa: BLE001 (of each server another; a table that cannot be read is refused when it is read)
        return None
    return int(row[column])


def at_version(session: SparkSession, table: str, version: int) -> DataFrame:
    """The table as it was at a version."""
    return session.sql(f"SELECT * FROM {table} VERSION AS OF {version}")  # noqa: S608 (Spark's own name of a table)


def _provider(session: SparkSession, table: str) -> str:
    described = session.sql(f"DESCRIBE TABLE EXTENDED {table}").collect()
    return next(
        (str(row["data_type"]).lower() for row in described if row["col_name"] == "Provider"), ""
    )
