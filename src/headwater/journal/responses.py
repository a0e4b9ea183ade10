"""Responses of third parties: records of the journal, and the parquet files that training reads as
their history.

The header of a file is JSON: the name of the third party, and the dtypes of its columns as an empty
Arrow stream in base64. Each other record is a response: the values of its columns, as those of the
serving log (`serving_log_segment.packed`).

    FOLDER/answers/segments/NAME/WORKER-000001.open    while it is written
    FOLDER/answers/NAME/WORKER-000001.parquet          request fields, columns, fetched_at
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

import msgspec
import polars as pl

from headwater.journal.format import RESPONSES, record, scan
from headwater.journal.serving_log_segment import packed, unpacked
from headwater.state.view_state import dtypes_of, schema_bytes

FETCHED_AT: Final = "fetched_at"
SEGMENTS: Final = "segments"


class ResponseHeader(msgspec.Struct, frozen=True):
    """The header of a file."""

    name: str
    schema: str


def begin_of(name: str, dtypes: Mapping[str, pl.DataType]) -> bytes:
    """The beginning of a file of a third party's responses."""
    return RESPONSES.begin(
        msgspec.json.encode(ResponseHeader(name, base64.b64encode(schema_bytes(dtypes)).decode()))
    )


def record_of(values: tuple[object, ...]) -> bytes:
    """A response as a record."""
    return record(packed(values))


def responses_in(data: bytes, name: str) -> pl.DataFrame:
    """The responses in a file of that name; none where its header is damaged.

    Raises:
        StoreError: the file has other records, or is of another version.
    """
    header, spans, _ = scan(data, RESPONSES, name)
    if header is None:
        return pl.DataFrame()
    schema = dtypes_of(base64.b64decode(msgspec.json.decode(header, type=ResponseHeader).schema))
    micros = {**schema, FETCHED_AT: pl.Int64()}
    frame = pl.DataFrame(
        unpacked([data[begin:end] for begin, end in spans]), schema=micros, orient="row"
    )
    return frame.with_columns(pl.col(FETCHED_AT).cast(schema[FETCHED_AT]))
