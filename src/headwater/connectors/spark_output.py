"""Tables that Spark writes: of the session's catalog, or a path of a lake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from headwater.connectors.spark import SparkTable, spark_errors
from headwater.connectors.spark_versions import AT_PATH
from headwater.definitions.readable import Readable
from headwater.definitions.spelling import Spelled
from headwater.errors import DataError, DefinitionError, nearest

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

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
        """Refuse, before Spark computes, a table that exists and is not to be replaced, and a
        schema that does not exist.

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
        found = None if self.table is None else AT_PATH.fullmatch(self.table)
        return None if found is None else (found["format"], found["path"])


spark_output = SparkOutput


def _is_at(session: SparkSession, form: str, path: str) -> bool:
    """Whether a table is at a path."""
    try:
        return bool(session.read.format(form).load(path).columns)
    except Exception:  # noqa: BLE001 (each server has its own; any other problem is raised when Spark writes)
        return False
