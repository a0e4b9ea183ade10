"""SQL queries as tables, by ADBC: columns and times that are not needed are not fetched, and rows
arrive in batches.

Filters of polars as SQL: comparisons of columns with numbers, strings and times, joined by AND
and OR.

What has no translation is left out: the condition lets more rows through, and polars filters them.
Strings are compared for equality alone, since each database has an order of its own (its
collation), and only in columns of strings: a database refuses `id = 'x'` of a UUID.

What the types of a database become in polars, at any depth of arrays and composites, and values
that have no place there.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit, urlunsplit

import polars as pl
from polars.io.plugins import register_io_source

from headwater import settings
from headwater.connectors import missing
from headwater.definitions.connectors import Connector, Env
from headwater.errors import (
    ConnectError,
    DataError,
    DefinitionError,
    HeadwaterError,
    MissingExtraError,
    given,
    listed,
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
    """module: of ADBC's driver. package: for pip. extra: that installs it. begins: statements that
    make a session read-only, or its times independent of the machine.
    """

    module: str
    package: str
    dialect: Dialect
    begins: tuple[str, ...] = ()
    extra: str | None = "sql"


_COMMENTS_AND_STRINGS = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"", re.DOTALL)

_STRINGS = (b"text", b"varchar", b"bpchar", b"char", b"name")
"""The types of PostgreSQL that `column = 'any string'` may be asked of."""


@dataclass(frozen=True)
class Dialect:
    """How a database writes names, times in UTC, and times without a zone. cast: to which type a
    column is cast before it is compared with a string, if to any.

    strings: the columns that may be compared with a string.
    """

    quote: str = '"'
    cast: str = ""
    strings: Collection[str] = ()
    instant: str = "CAST('{}+00:00' AS TIMESTAMP WITH TIME ZONE)"
    wall_time: str = "TIMESTAMP '{}'"

    def quoted(self, name: str) -> str:
        """A column's name."""
        return f"{self.quote}{name.replace(self.quote, self.quote * 2)}{self.quote}"


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
    url: str | Env = dataclasses.field(repr=False, metadata={"fingerprint": False})
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
            table = self._run(cursor, f"SELECT * FROM {self._from_clause()} LIMIT 0").read_all()  # noqa: S608 (the query is the user's)
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
        condition = (
            ""
            if predicate is None or (text := sql_filter(predicate, dialect)) is None
            else f" WHERE {text}"
        )
        limit = f" LIMIT {rows}" if rows is not None and predicate is None else ""
        remaining = rows
        with closing(self._cursor()) as cursor:
            statement = f"SELECT {chosen} FROM {self._from_clause()}{condition}{limit}"  # noqa: S608 (values are quoted)
            for batch in self._batches(cursor, statement):
                frame = of_one_dimension(frame_of(batch), lists)
                check_values(batch.schema, frame)
                frame = frame if predicate is None else frame.filter(predicate)
                frame = frame if remaining is None else frame.head(remaining)
                yield frame
                remaining = None if remaining is None else remaining - frame.height
                if remaining == 0:
                    return

    def _from_clause(self) -> str:
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
        self._connection, self._cursor = connection, cursor
        self.execute, self.fetch_record_batch = cursor.execute, cursor.fetch_record_batch

    def close(self) -> None:
        self._cursor.close()
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


_COMPARISONS: Mapping[str, str] = {"Gt": ">", "GtEq": ">=", "Lt": "<", "LtEq": "<=", "Eq": "="}

_UNITS: Mapping[str, int] = {
    "Nanoseconds": 1_000_000_000,
    "Microseconds": 1_000_000,
    "Milliseconds": 1_000,
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def sql_filter(predicate: pl.Expr, dialect: Dialect) -> str | None:
    """A condition that holds wherever the predicate does; None where nothing of it can be said in
    SQL.

    >>> sql_filter((pl.col("n") >= 3) & (pl.col("city").str.len_chars() > 2), Dialect())
    '"n" >= 3'
    """
    try:
        return _condition(json.loads(predicate.meta.serialize(format="json")), dialect)
    except (pl.exceptions.PolarsError, ValueError, LookupError, TypeError, OverflowError):
        return None  # a form that this version of polars writes in another way


def _condition(node: Mapping[str, Any], dialect: Dialect) -> str | None:
    if "BinaryExpr" in node:
        left, op, right = (node["BinaryExpr"][name] for name in ("left", "op", "right"))
        if op in ("And", "LogicalAnd", "Or", "LogicalOr"):
            both = [_condition(left, dialect), _condition(right, dialect)]
            filters = [text for text in both if text is not None]
            if op.endswith("And"):
                return " AND ".join(filters) or None
            return f"({filters[0]} OR {filters[1]})" if len(filters) == 2 else None
        return _comparison(left, op, right, dialect)
    if "Function" in node:
        function = node["Function"]
        name = function["function"]
        if name == {"Boolean": "IsNull"}:
            return f"{dialect.quoted(function['input'][0]['Column'])} IS NULL"
        if (
            isinstance(name, dict)
            and isinstance(between := name.get("Boolean"), dict)
            and "IsBetween" in between
        ):
            column, low, high = function["input"]
            closed = between["IsBetween"]["closed"]
            if closed == "Both":
                both = [
                    _comparison(column, "GtEq", low, dialect),
                    _comparison(column, "LtEq", high, dialect),
                ]
                return " AND ".join(text for text in both if text is not None) or None
    return None


def _comparison(
    left: Mapping[str, Any], op: str, right: Mapping[str, Any], dialect: Dialect
) -> str | None:
    if "Column" not in left or op not in _COMPARISONS:
        return None
    value, column = _literal(right, dialect), dialect.quoted(left["Column"])
    if value is not None and value.startswith("'"):
        if op != "Eq" or left["Column"] not in dialect.strings:
            return None
        column = f"CAST({column} AS {dialect.cast})" if dialect.cast else column
    return None if value is None else f"{column} {_COMPARISONS[op]} {value}"


def _literal(node: Mapping[str, Any], dialect: Dialect) -> str | None:
    """A number, a string or a time. A cast of an integer to a type of times is such a time."""
    if "Cast" in node:
        inner, to = node["Cast"]["expr"], node["Cast"]["dtype"]
        to = to.get("Literal", to) if isinstance(to, dict) else to
        if not (isinstance(to, dict) and "Datetime" in to):
            return None
        unit, zone = to["Datetime"]
        return _time(_number(inner), unit, zone, dialect)
    literal = node["Literal"]
    scalar = literal.get("Scalar") or literal.get("Dyn")
    if scalar is None:
        return None
    kind, value = next(iter(scalar.items()))
    if kind == "Datetime":
        return _time(value[0], value[1], value[2], dialect)
    if kind.startswith(("Int", "UInt")) and isinstance(value, int):
        return str(value)
    # which some databases take for an escape
    if kind == "String" and isinstance(value, str) and "\\" not in value:
        return "'" + value.replace("'", "''") + "'"
    return None


def _number(node: Mapping[str, Any]) -> int:
    literal = node["Literal"]
    return int(next(iter((literal.get("Scalar") or literal["Dyn"]).values())))


def _time(number: int, unit: str, zone: object, dialect: Dialect) -> str | None:
    micros, rest = divmod(number * 1_000_000, _UNITS[unit])
    if rest:  # a time between two microseconds cannot be written
        return None
    text = f"{_EPOCH + timedelta(microseconds=micros):%Y-%m-%d %H:%M:%S.%f}"
    return (dialect.instant if zone else dialect.wall_time).format(text)


TYPE: Final = b"POSTGRESQL:type"

_INTERVALS: Final = ("month_day_nano_interval", "month_interval", "day_time_interval")

_TEXTS: Final = ("citext", "xml")  # with the bytes of a string

_UUID: Final = r"^(.{8})(.{4})(.{4})(.{4})(.{12})$"

_DIMENSIONS: Final = "headwater dimensions of "

_ENDS: Final[Mapping[type[pl.DataType], tuple[int, int]]] = {
    # the least and the greatest microsecond that is a time
    pl.Datetime: (-220_000_000_000_000_000, 9_200_000_000_000_000_000),
    pl.Date: (-2_500_000, 2_000_000_000),  # and day
}


def check_names(names: Sequence[str], query: str) -> None:
    """Refuse columns of one name.

    Raises:
        DataError: there are some.
    """
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(
            f"the query {query!r} has several columns named {listed(twice)}; name each of them "
            "with AS, or select fewer"
        )


def check_intervals(schema: pa.Schema, query: str) -> None:
    """Refuse columns that polars cannot hold.

    Raises:
        DataError: there is one.
    """
    intervals = [
        field.name
        for field in schema
        if any(str(inner.type) in _INTERVALS for inner in _within(field))
    ]
    if not intervals:
        return
    name = intervals[0]
    plain = str(schema.field(name).type) in _INTERVALS
    conversion = (
        f"seconds: extract(epoch from {name}) AS {name}"
        if plain
        else f"a string: {name}::text AS {name}"
    )
    raise DataError(
        f"the query {query!r} has the columns {intervals} of type INTERVAL, which cannot be read; "
        f"leave them out of the query, or convert them to {conversion}"
    )


def frame_of(rows: pa.Table | pa.RecordBatch) -> pl.DataFrame:
    """Rows as polars has them: a UUID is a string such as DuckDB gives and JSON holds, and a
    NUMERIC of PostgreSQL a number; in arrays and composites too.

    Raises:
        DataError: a value of type NUMERIC is not a number of the digits that are declared.
    """
    frame = pl.DataFrame(pl.from_arrow(rows))
    plain = {field.name: _plain(field, pl.col(field.name)) for field in rows.schema}
    read = frame.with_columns(
        value.alias(name) for name, value in plain.items() if value is not None
    )
    for name in (
        field.name for field in rows.schema if (field.metadata or {}).get(TYPE) == b"numeric"
    ):
        if read[name].null_count() > frame[name].null_count():
            odd = frame.filter(read[name].is_null() & frame[name].is_not_null())[name][0]
            raise DataError(
                f"the column {name!r} is NUMERIC and has the value {odd}; convert it in the "
                f"query: {name}::float8 AS {name}"
            )
        _check_integers(frame[name], read[name])
    return read


def _check_integers(digits: pl.Series, doubles: pl.Series) -> None:
    """Refuse integers that a double takes for another one, such as ids, in a NUMERIC without
    declared digits.

    Raises:
        DataError: there is one.
    """
    if doubles.dtype != pl.Float64:
        return
    texts = digits.ext.storage()
    large = (doubles.abs() >= 2**53) & doubles.is_finite() & texts.str.contains(r"^-?\d+(\.0*)?$")
    for text, double in zip(texts.filter(large), doubles.filter(large), strict=True):
        if int(text.partition(".")[0]) != int(double):
            name = digits.name
            raise DataError(
                f"the column {name!r} is NUMERIC without declared digits, which is read as a "
                f"double, and has the integer {text}, which no double holds; convert it in the "
                f"query: {name}::bigint AS {name} or {name}::numeric(38, 0) AS {name} where it is "
                f"an id, {name}::float8 AS {name} where it is an amount"
            )


def check_values(schema: pa.Schema, frame: pl.DataFrame) -> None:
    """Refuse columns whose values would change when they are read.

    Raises:
        DataError: a type that the driver gives as bytes or in another unit, or an infinite time.
    """
    for field in schema:
        for inner in _within(field):
            if (name := _unread(inner)) is not None:
                cast = "numeric" if name == "money" else "text"
                cast_type = f"{cast}[]" if inner is not field and not _fields(field.type) else cast
                raise DataError(
                    f"the column {field.name!r} has the type {name}, whose values cannot be read; "
                    f"convert it in the query: {field.name}::{cast_type} AS {field.name}, or leave "
                    "it out"
                )
    for name, dtype in frame.schema.items():
        if type(dtype) not in _ENDS:
            continue
        low, high = _ENDS[type(dtype)]
        # which of the two, the driver's number does not say
        if not frame[name].to_physical().is_between(low, high).all():
            kind = (
                "date"
                if dtype == pl.Date
                else "timestamp"
                if getattr(dtype, "time_zone", None) is None
                else "timestamptz"
            )
            raise DataError(
                f"the column {name!r} has a time that is infinite; make infinity null in the "
                f"query, which is never, and -infinity an early time: CASE WHEN {name} = "
                f"'-infinity' THEN {kind} '1970-01-01' WHEN isfinite({name}) THEN {name} END AS "
                f"{name}"
            )


def dimensions(quoted: Mapping[str, str]) -> str:
    """Further columns of a statement, to tell arrays of several dimensions from others: of columns
    as they are quoted.
    """
    return "".join(
        f', array_ndims({column}) AS "{_DIMENSIONS}{number}"'
        for number, column in enumerate(quoted.values())
    )


def of_one_dimension(frame: pl.DataFrame, names: Collection[str]) -> pl.DataFrame:
    """The frame without the columns of `dimensions`.

    Raises:
        DataError: a row has an array of several dimensions, which the driver gives as one list.
    """
    for number, name in enumerate(names):
        most = frame[f"{_DIMENSIONS}{number}"].max()
        if isinstance(most, int) and most > 1:
            raise DataError(
                f"the column {name!r} has arrays of {most} dimensions, and a list has one; "
                f"convert it in the query: {name}::text AS {name}"
            )
    return frame.select(column for column in frame.columns if not column.startswith(_DIMENSIONS))


def _plain(field: pa.Field, value: pl.Expr) -> pl.Expr | None:
    """The values of a field in plain types; None where they are."""
    extension = getattr(field.type, "extension_name", "")
    if extension == "arrow.uuid":
        return value.bin.encode("hex").str.replace(_UUID, "${1}-${2}-${3}-${4}-${5}")
    if extension:
        stored = value.ext.storage()
        if (
            str(field.type.storage_type) == "string"
            and getattr(field.type, "vendor_name", "") == "PostgreSQL"
        ):
            return stored.cast(_numeric(field.metadata or {}), strict=False)
        return stored.cast(pl.String) if getattr(field.type, "type_name", "") in _TEXTS else stored
    if _is_list(field.type):
        inner = _plain(field.type.value_field, pl.element())
        return None if inner is None else value.list.eval(inner)
    plain = [
        (member.name, inner)
        for member in _fields(field.type)
        if (inner := _plain(member, pl.field(member.name))) is not None
    ]
    return value.struct.with_fields(inner.alias(name) for name, inner in plain) if plain else None


def _numeric(metadata: Mapping[bytes, bytes]) -> pl.DataType:
    """The type of a NUMERIC: a decimal where it is declared with digits that one has room for, else
    a double.
    """
    declared = int(metadata.get(b"POSTGRESQL:typmod", b"-1")) - 4
    digits, scale = declared >> 16, ((declared & 0x7FF) ^ 0x400) - 0x400
    return (
        pl.Decimal(38, scale)
        if declared >= 0 and digits <= 38 and 0 <= scale <= digits
        else pl.Float64()
    )


def _unread(field: pa.Field) -> str | None:
    """The name of a type whose values the driver gives as its own bytes, or in another unit."""
    if (field.metadata or {}).get(TYPE) == b"money":
        return "money"
    name = str(getattr(field.type, "type_name", ""))
    opaque = getattr(field.type, "extension_name", "") == "arrow.opaque"
    return (
        name if opaque and name not in _TEXTS and str(field.type.storage_type) != "string" else None
    )


def _within(field: pa.Field) -> Iterator[pa.Field]:
    """The field, and the fields of its elements and parts."""
    yield field
    for inner in [field.type.value_field] if _is_list(field.type) else _fields(field.type):
        yield from _within(inner)


def _is_list(dtype: pa.DataType) -> bool:
    return str(dtype).startswith(("list<", "large_list<"))


def _fields(dtype: pa.DataType) -> list[pa.Field]:
    return (
        [dtype.field(number) for number in range(dtype.num_fields)]
        if str(dtype).startswith("struct<")
        else []
    )
