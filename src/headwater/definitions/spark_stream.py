"""Micro batches of Spark Structured Streaming, as values. `headwater.ingestion.commit_batch`
commits them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from headwater.definitions.checks import check
from headwater.definitions.connectors import Schema, Stream, Timestamps, check_schema


@dataclass(frozen=True, eq=False, init=False)
class SparkStream(Stream, called="spark_stream"):
    """The micro batches of a query of Spark Structured Streaming, which `commit_batches` commits;
    `headwater ingest` leaves them out.

    Args:
        query: the name of the query, as `frame.writeStream.queryName(query)` gives it. Another name
            is another stream.
        schema: columns and their types, as for `kafka`; None takes those of the source's history.
            Other columns are not read.

    Raises:
        DefinitionError: a name or a schema that cannot be.

    >>> print(spark_stream("payments", schema={"card": str, "amount": float}))
    the Spark query 'payments'
    """

    query: str
    schema: Schema | None
    format: Literal["json"]  # of refused rows
    timestamps: Timestamps

    def __init__(self, query: str, *, schema: Schema | None = None) -> None:
        named = isinstance(query, str) and re.fullmatch(r"[^\x00-\x1f]{1,200}", query.strip())
        check(
            named,
            query,
            "spark_stream(): query",
            "the name that queryName() gives it, such as 'payments'",
        )
        check_schema(schema, "iso", f"spark_stream({query!r})")
        columns = None if schema is None else dict(schema)
        self._set(query=query.strip(), schema=columns, format="json", timestamps="iso")

    def __str__(self) -> str:
        return f"the Spark query {self.query!r}"

    @property
    def address(self) -> str:
        return f"spark {self.query}"


spark_stream = SparkStream
