"""PostgreSQL by URL; the one place that needs the extra `postgres`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from headwater.errors import ConnectError, DataError, MissingExtraError, UsageError

if TYPE_CHECKING:
    import psycopg

NAMES = ("postgres", "postgresql", "postgresql+psycopg")
"""The beginnings of its URLs."""


def with_driver(url: sa.URL) -> sa.URL:
    """The URL as SQLAlchemy opens it.

    Raises:
        MissingExtraError: without the extra `postgres`.
    """
    if find_spec("psycopg") is None:  # SQLAlchemy loads it by name
        raise MissingExtraError("psycopg", "postgres")
    return url.set(drivername="postgresql+psycopg")


def engine(text: str, *, wait: float = 30) -> sa.Engine:
    """An engine that opens a new connection each time; `wait`: seconds to wait for one.

    Raises:
        UsageError: another kind of URL.
        MissingExtraError: without the extra `postgres`.
    """
    try:
        url = sa.make_url(text)
    except (ArgumentError, ValueError) as error:
        raise UsageError(
            "the database's URL cannot be read; write postgresql://user:password@host:5432/name"
        ) from error
    if url.drivername not in NAMES:
        raise UsageError(
            f"the database is {shown(url)!r}; give PostgreSQL: "
            "postgresql://user:password@host:5432/name"
        )
    return sa.create_engine(
        with_driver(url),
        poolclass=sa.NullPool,
        connect_args={"connect_timeout": max(2, round(wait))},
    )


def copy(connection: sa.Connection, statement: str, rows: Iterable[Sequence[object]]) -> None:
    """Write rows by a COPY ... FROM STDIN, within the connection's transaction.

    Raises:
        DataError: a value that the table does not take.
        ConnectError: the database ended the connection.
    """
    driver, errors = (
        cast("psycopg.Connection[tuple[object, ...]]", connection.connection.driver_connection),
        connection.dialect.loaded_dbapi,
    )
    try:
        with driver.cursor() as cursor, cursor.copy(statement.encode()) as writing:
            for row in rows:
                writing.write_row(row)
    except errors.OperationalError as error:
        raise ConnectError(f"the database ended the connection: {_one_line(error)}") from error
    except errors.Error as error:
        raise DataError(f"the database does not take a row: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def shown(url: sa.URL) -> str:
    """The URL without its password."""
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def read_only(text: str, statement_timeout: float) -> sa.Engine:
    """As `engine`, read-only: every transaction is read-only, and a statement is cancelled after so
    many seconds.
    """
    read_only_engine = engine(text, wait=10)

    @sa.event.listens_for(read_only_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql(
            f"SET LOCAL statement_timeout = {round(statement_timeout * 1000)}"
        )

    return read_only_engine
