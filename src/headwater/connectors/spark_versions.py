"""Which version of a table of Spark a call reads: Delta and Iceberg keep earlier ones, and Spark
reads them by number.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

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
