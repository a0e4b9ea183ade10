"""Further destinations of scores: a PostgreSQL table, and folders of parquet files. Both are
replaced atomically.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import polars as pl
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from headwater import clock
from headwater.connectors import postgres_tables
from headwater.definitions.definition import Readable
from headwater.engine.checkpoint import renamed
from headwater.errors import ConnectError, DataError
from headwater.state.prediction_codec import CUT_COLUMNS, PrecomputedCut

_ABOUT = dict(zip(CUT_COLUMNS, ("TIMESTAMPTZ", "TIMESTAMPTZ", "TIMESTAMPTZ", "TEXT"), strict=True))

_TYPES: Mapping[type[pl.DataType], str] = {
    pl.String: "TEXT",
    pl.Categorical: "TEXT",
    pl.Enum: "TEXT",
    pl.Boolean: "BOOLEAN",
    pl.Date: "DATE",
    pl.Datetime: "TIMESTAMPTZ",
    pl.UInt64: "NUMERIC(20)",
    pl.Float64: "DOUBLE PRECISION",
}


@dataclass(frozen=True)
class PredictionTable(Readable):
    """A table in PostgreSQL: a row for each key, with its scores (of a ranking two arrays) and
    `CUT_COLUMNS`.

    One transaction replaces the rows, so a reader sees those of the cut before until all of the
    next are there, and never waits. The table is created where it does not exist; objects that
    depend on it (views, grants, indexes) stay.

    Args:
        url: postgresql://user:password@host:5432/name
        table: its name, in a schema or not.

    Raises:
        UsageError: another kind of URL.
        MissingExtraError: without the extra `postgres`.
    """

    url: str
    table: str

    @cached_property
    def _engine(self) -> sa.Engine:
        return postgres_tables.engine(self.url)

    def __str__(self) -> str:
        return f"{self.table} in {postgres_tables.shown(self._engine.url)}"

    def check(self, columns: Sequence[str]) -> None:
        """See `Sink`.

        Raises:
            ConnectError: the database does not answer.
            DataError: there is a table of that name with other columns.
        """
        with self._named_errors(), self._engine.connect() as connection:
            have = self._columns(connection)
        if have and have != {*columns, *CUT_COLUMNS}:
            raise DataError(
                f"the table {self} has the columns {sorted(have)}, and scores need "
                f"{[*columns, *CUT_COLUMNS]}; name another table with --table, or drop this one"
            )

    def holds(self, cut: PrecomputedCut) -> bool:
        """See `Sink`."""
        with self._named_errors(), self._engine.connect() as connection:
            if not self._columns(connection):
                return False
            row = connection.exec_driver_sql(
                f"SELECT cut, model_version FROM {self._name} LIMIT 1"  # noqa: S608
            ).first()
            return row is not None and (row.cut, row.model_version) == (
                clock.timestamp(cut.T),
                cut.version,
            )

    def write(self, frames: Iterator[pl.DataFrame], cut: PrecomputedCut) -> None:
        """See `Sink`."""
        about = (
            clock.timestamp(cut.T),
            clock.timestamp(cut.K),
            clock.timestamp(cut.published_at),
            cut.version,
        )
        with self._named_errors(), self._engine.begin() as connection:
            columns: Sequence[str] = ()
            for frame in frames:
                if not columns:
                    columns = self._ready(connection, frame.schema)
                self._copy(connection, columns, frame, about)
            if not columns and self._columns(connection):
                connection.exec_driver_sql(f"DELETE FROM {self._name}")  # noqa: S608 (quoted)

    def _ready(self, connection: sa.Connection, schema: pl.Schema) -> list[str]:
        """Make the table where there is none, and empty it; its columns in the order in which rows
        are written.
        """
        types = {name: _type(dtype) for name, dtype in schema.items()} | _ABOUT
        if not self._columns(connection):
            columns = ", ".join(f"{_quoted(name)} {kind}" for name, kind in types.items())
            connection.exec_driver_sql(f"CREATE TABLE {self._name} ({columns})")
        # one writer; readers go on
        connection.exec_driver_sql(f"LOCK TABLE {self._name} IN SHARE ROW EXCLUSIVE MODE")
        connection.exec_driver_sql(f"DELETE FROM {self._name}")  # noqa: S608 (quoted)
        return list(types)

    def _copy(
        self,
        connection: sa.Connection,
        columns: Sequence[str],
        frame: pl.DataFrame,
        about: tuple[object, ...],
    ) -> None:
        named = ", ".join(map(_quoted, columns))
        postgres_tables.copy(
            connection,
            f"COPY {self._name} ({named}) FROM STDIN",
            ((*row, *about) for row in frame.iter_rows()),
        )

    def _columns(self, connection: sa.Connection) -> set[str]:
        """The columns of the table; an empty set where it does not exist."""
        schema, _, name = self.table.rpartition(".")
        inspect = sa.inspect(connection)
        if not inspect.has_table(name, schema=schema or None):
            return set()
        return {str(column["name"]) for column in inspect.get_columns(name, schema=schema or None)}

    @property
    def _name(self) -> str:
        return ".".join(map(_quoted, self.table.split(".")))

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Errors of the database as ours."""
        try:
            yield
        except SQLAlchemyError as error:
            message = " ".join(str(getattr(error, "orig", None) or error).split())
            raise ConnectError(
                f"the table {self} cannot be written: {message}. Its rows are unchanged; repeat "
                "the same call to continue"
            ) from error


@dataclass(frozen=True)
class PredictionFiles:
    """A folder of parquet files: for each cut a folder such as 20240501T000000Z, which appears when
    it is whole. Older cuts stay there.
    """

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def check(self, columns: Sequence[str]) -> None:
        """See `Sink`; any columns go into files."""

    def holds(self, cut: PrecomputedCut) -> bool:
        """See `Sink`."""
        files = sorted(self._cut_folder(cut).glob("*.parquet"))
        return bool(files) and pl.scan_parquet(files[0]).select("model_version").head(
            1
        ).collect().rows() in ([], [(cut.version,)])

    def write(self, frames: Iterator[pl.DataFrame], cut: PrecomputedCut) -> None:
        """See `Sink`."""
        path = self._cut_folder(cut)
        path.parent.mkdir(parents=True, exist_ok=True)
        with renamed(path) as draft:
            draft.mkdir()
            for number, frame in enumerate(frames):
                timestamps = [
                    pl.lit(at).cast(pl.Datetime("us", "UTC"))
                    for at in (cut.T, cut.K, cut.published_at)
                ]
                about = [
                    value.alias(name)
                    for value, name in zip(
                        [*timestamps, pl.lit(cut.version)], CUT_COLUMNS, strict=True
                    )
                ]
                frame.with_columns(about).write_parquet(draft / f"part{number:06}.parquet")
            shutil.rmtree(path, ignore_errors=True)  # the same cut, by another version of the model

    def _cut_folder(self, cut: PrecomputedCut) -> Path:
        return self.folder / f"{clock.timestamp(cut.T):%Y%m%dT%H%M%SZ}"


def _type(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.List):
        return f"{_type(cast('pl.DataType', dtype.inner))}[]"
    if dtype.is_integer() and dtype != pl.UInt64:
        return "BIGINT"
    sql_type = _TYPES.get(type(dtype))
    if sql_type is None:
        raise DataError(
            f"a key of the type {dtype} has no column in PostgreSQL; cast it in the source's select"
        )
    return sql_type


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
