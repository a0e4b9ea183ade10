"""SQL queries as tables, by ADBC: columns and times that are not needed are not fetched, and rows
arrive in batches.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import polars as pl
from polars.io.plugins import register_io_source

from headwater import settings
from headwater.connectors.files import missing
from headwater.connectors.sql_filter import Dialect, sql_filter
from headwater.connectors.sql_types import (
    TYPE,
    check_intervals,
    check_names,
    check_values,
    dimensions,
    frame_of,
    of_one_dimension,
)
from headwater.definitions.connectors import Connector
from headwater.definitions.streams import Env
from headwater.errors import (
    ConnectError,
    DataError,
    DefinitionError,
    HeadwaterError,
    MissingExtraError,
    given,
    nearest,
)

if TYPE_CHECKING:
    import pyarrow as pa


class _Cursor(Protocol):
    def execute(self, operation: str) -> object: ...
    def fetch_record_batch(self) -> pa.RecordBatchReader: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class _Driver:
    """module: of ADBC's driver. package: what pip installs. extra: what has it. begins: statements
    that make a session read-only, or its times independent of the machine.
    """

    module: str
    package: str
    dialect: Dialect
    begins: tuple[str, ...] = ()
    extra: str | None = "sql"


_COMMENTS_AND_STRINGS = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"", re.DOTALL)
_STRINGS = (b"text", b"varchar", b"bpchar", b"char", b"name")
"""The types of PostgreSQL that `column = 'any string'` may be asked of."""
_POSTGRES = _Driver(
    "adbc_driver_postgresql",
    "adbc-driver-postgresql",
    Dialect(),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",),
)
_DUCKDB = _Driver(
    "adbc_driver_duckdb", "duckdb", Dialect(cast="VARCHAR"), ("SET TimeZone = 'UTC'",)
)  # its UUIDs come as strings, and do not compare with any
_DRIVERS: Mapping[str, _Driver] = {
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
    "duckdb": _DUCKDB,
    "snowflake": _Driver("adbc_driver_snowflake", "adbc-driver-snowflake", Dialect(), extra=None),
    "bigquery": _Driver(
        "adbc_driver_bigquery", "adbc-driver-bigquery", Dialect(quote="`"), extra=None
    ),
}


@dataclass(frozen=True, eq=False, init=False)
class SqlQuery(Connector, called="sql"):
    """The rows of a SQL query, or of a table, as history or labels: PostgreSQL, DuckDB, Snowflake
    or BigQuery.

    A reading fetches only the columns and the range of time that it needs, in batches. PostgreSQL
    and DuckDB are tested; Snowflake and BigQuery are read through their ADBC drivers, and are not.
    The extra `headwater[sql]` has the drivers of PostgreSQL and DuckDB.

    Args:
        query: a SELECT, or the name of a table, such as `shop.orders`. NUMERIC is a number and a
            UUID a string, in arrays and composites too. INTERVAL, and what PostgreSQL has types of
            its own for, such as inet and ranges, is an error that names the cast.
        url: `postgresql://user:password@host:5432/name`, `duckdb:shop.duckdb`, `snowflake://...`,
            `bigquery://...`; `hw.env("NAME")` where it holds a password.

    Raises:
        DefinitionError: an empty query, several statements, or another kind of database.

    >>> sql("select * from orders where not test", url="duckdb:shop.duckdb")
    SqlQuery(select * from orders where not test of duckdb:shop.duckdb)
    """

    query: str
    url: str | Env = field(repr=False, metadata={"fingerprint": False})
    database: str = ""

    is_remote = True

    def __init__(
        self,
        query: str,
        *,
        url: str | Env,
    ) -> None:
        if not isinstance(query, str):
            raise DefinitionError(
                f"the query is {given(query)}; give one SELECT, or the name of a table"
            )
        if not isinstance(url, str | Env):
            raise DefinitionError(
                f"sql(): url is {given(url)}; give the database's URL, such as "
                "'duckdb:shop.duckdb', or hw.env('NAME')"
            )
        plain = _COMMENTS_AND_STRINGS.sub(
            lambda match: (" " if match[0][0] in "-/" else "x") * len(match[0]), query
        )
        end = len(plain.rstrip("; \t\r\n"))
        text = query[:end].strip()
        if not end or ";" in plain[:end]:
            raise DefinitionError(
                f"the query is {query!r}; give one SELECT, or the name of a table"
            )
        if isinstance(url, Env):
            self._set(query=text, url=url, database=f"the database of {url!r}")
            return
        url = _driver_of(url)[1]
        parts = urlsplit(url)
        host = parts.hostname or ""
        shown = (
            urlunsplit(
                (parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", "")
            )
            if "://" in url
            else url
        )
        self._set(query=text, url=url, database=shown)

    def __str__(self) -> str:
        return (
            f"{self.query if len(self.query) < 60 else self.query[:57] + '...'} of {self.database}"
        )

    def scan(self) -> pl.LazyFrame:
        """The rows, as a lazy frame; each reading runs the query again.

        Raises:
            MissingExtraError: the driver is not installed.
            ConnectError: the database does not answer.
            DataError: it refuses the query.
        """
        rows = _QueryRows(self.query, self.url)
        schema, dialect = rows.schema()
        return register_io_source(partial(rows.read, schema, dialect), schema=schema, is_pure=True)


sql = SqlQuery


@dataclass(frozen=True)
class _QueryRows:
    query: str
    url: str | Env

    def schema(self) -> tuple[pl.Schema, Dialect]:
        """The types of the columns, and how the database compares them."""
        with closing(self._cursor()) as cursor:
            table = self._run(cursor, f"SELECT * FROM {self._of()} LIMIT 0").read_all()  # noqa: S608 (the query is the user's)
            check_names(table.schema.names, self.query)
            check_intervals(table.schema, self.query)
            schema = frame_of(table).schema
            types = {
                field.name: (field.metadata or {}).get(TYPE, b"text") for field in table.schema
            }
            strings = frozenset(
                name
                for name, held in types.items()
                if schema[name] == pl.String and held in _STRINGS
            )
            return schema, replace(self._driver()[0].dialect, strings=strings)

    def read(
        self,
        schema: pl.Schema,
        dialect: Dialect,
        columns: list[str] | None,
        predicate: pl.Expr | None,
        rows: int | None,
        _size: int | None,
    ) -> Iterator[pl.DataFrame]:
        """For polars: frames of these columns. Its predicate is applied to each, no matter what the
        database filtered.
        """
        lists = (
            [name for name in columns or schema if schema[name] == pl.List]
            if self._driver()[0] is _POSTGRES
            else []
        )
        chosen = ("*" if not columns else ", ".join(map(dialect.quoted, columns))) + dimensions(
            {name: dialect.quoted(name) for name in lists}
        )
        where = (
            ""
            if predicate is None or (text := sql_filter(predicate, dialect)) is None
            else f" WHERE {text}"
        )
        limit = f" LIMIT {rows}" if rows is not None and predicate is None else ""
        left = rows
        with closing(self._cursor()) as cursor:
            for batch in self._batches(cursor, f"SELECT {chosen} FROM {self._of()}{where}{limit}"):  # noqa: S608 (values are quoted)
                frame = of_one_dimension(frame_of(batch), lists)
                check_values(batch.schema, frame)
                frame = frame if predicate is None else frame.filter(predicate)
                frame = frame if left is None else frame.head(left)
                yield frame
                left = None if left is None else left - frame.height
                if left == 0:
                    return

    def _of(self) -> str:
        return (
            self.query
            if re.fullmatch(r'[\w."`]+', self.query)
            else f"({self.query}) AS headwater_query"
        )

    def _driver(self) -> tuple[_Driver, str]:
        return _driver_of(settings.secret(self.url.name) if isinstance(self.url, Env) else self.url)

    def _cursor(self) -> _Cursor:
        driver, url = self._driver()
        try:
            connection = _connect(driver, url)
        except Exception as error:
            if isinstance(error, HeadwaterError):
                raise
            if driver is _DUCKDB:
                raise DataError(
                    f"{url.partition(':')[2]} cannot be opened by DuckDB: {_message(error)}"
                ) from error
            raise ConnectError(
                f"the database does not answer: {_message(error).rstrip('.?')}. Start it, or "
                "correct url="
            ) from error
        cursor: _Cursor = _Closing(connection, connection.cursor())
        for statement in driver.begins:
            cursor.execute(statement)
        return cursor

    def _batches(self, cursor: _Cursor, statement: str) -> Iterator[pa.RecordBatch]:
        batches = iter(self._run(cursor, statement))
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:
                hint = (
                    ". A record needs a type: row(...)::type"
                    if "nested record" in str(error)
                    else ""
                )
                raise DataError(
                    f"the rows of the query {self.query!r} cannot be read: {_message(error)}{hint}"
                ) from error
            if batch is None:
                return
            yield batch

    def _run(self, cursor: _Cursor, statement: str) -> pa.RecordBatchReader:
        try:
            cursor.execute(statement)
            return cursor.fetch_record_batch()
        except Exception as error:
            hint = "Correct the query; a table is named as in SQL, such as shop.orders"
            raise DataError(
                f"the database refuses the query {self.query!r}: {_message(error)}. {hint}"
            ) from error


class _Closing:
    """A cursor that ends its connection too."""

    def __init__(self, connection: Any, cursor: Any) -> None:  # noqa: ANN401 (objects of a driver)
        self._connection, self._own = connection, cursor
        self.execute, self.fetch_record_batch = cursor.execute, cursor.fetch_record_batch

    def close(self) -> None:
        self._own.close()
        self._connection.close()


def _driver_of(url: str) -> tuple[_Driver, str]:
    """The driver, and the URL as it takes it: of one as SQLAlchemy writes it,
    `postgresql+psycopg://`, without the driver there.
    """
    scheme, colon, rest = url.partition(":")
    name = scheme.partition("+")[0]
    if name not in _DRIVERS:
        raise DefinitionError(
            f"the database's URL begins with {scheme!r}; {nearest(name, _DRIVERS)}. Rows of "
            "another database: write them to parquet, or give a frame, such as "
            "pl.read_database(query, connection)"
        )
    return _DRIVERS[name], f"{name}{colon}{rest}"


def _connect(driver: _Driver, url: str) -> Any:  # noqa: ANN401 (each driver has its own)
    try:
        if driver is _POSTGRES:
            from adbc_driver_postgresql import dbapi

            return dbapi.connect(url)
        if driver is _DUCKDB:
            from adbc_driver_duckdb import driver_path
            from adbc_driver_manager.dbapi import connect

            path = url.partition(":")[2].removeprefix("//")
            file = settings.in_project(path)
            if not file.is_file():  # a database in memory has no tables to read either
                raise missing(path)
            return connect(
                driver=driver_path(),
                entrypoint="duckdb_adbc_init",
                db_kwargs={"path": str(file), "access_mode": "READ_ONLY"},
            )
        return import_module(f"{driver.module}.dbapi").connect(url)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            driver.package
            if error.name and error.name.startswith(driver.module)
            else str(error.name),
            driver.extra,
        ) from error


def _message(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
