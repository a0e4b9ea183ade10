"""Rows of plain values in process, checked as those of an HTTP request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from headwater import clock
from headwater.definitions.checks import parse_timestamp
from headwater.errors import UsageError
from headwater.online.row_schema import RowSchema
from headwater.serving.http.row_decoder import ParsedRequest

Rows = Mapping[str, object] | Sequence[Mapping[str, object]]
"""One row, or several."""


def request_time(at: datetime | str | None) -> int:
    """Microseconds of a request time; None is now."""
    return clock.now_micros() if at is None else parse_timestamp(at, "at")


def parsed(schema: RowSchema, rows: Rows, t: int) -> ParsedRequest:
    """Rows of plain values, checked like the rows of an HTTP request at t (microseconds).

    Raises:
        UsageError: no rows.
        DataError: as `RowSchema.from_rows`.
    """
    if isinstance(rows, Mapping):
        return ParsedRequest(schema.dated(schema.from_row(rows), t), {}, 1)
    if not rows:
        raise UsageError("no row was given; give one row, or a list of at least one")
    return ParsedRequest(None, schema.dated(schema.from_rows(rows), t, len(rows)), len(rows))
