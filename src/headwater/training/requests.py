"""The rows that features are asked for: request columns, request times, and for labels the outcome
and when it was known.
"""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from headwater.definitions.definition import Readable
from headwater.errors import DataError, nearest
from headwater.events.read_events import as_frame, timestamp_micros
from headwater.kernel.arrays import I64

if TYPE_CHECKING:
    from headwater.definitions.connectors import TableLike
    from headwater.definitions.feature_service import FeatureService

ASKED_AT = "__asked_at"


@dataclass(frozen=True)
class Requests(Readable):
    """Rows that ask: `frame` as the user has them, `t` int64 (rows) microseconds UTC.

    label: the outcome, known_at: int64 (rows) when it was known; both None for bare requests.
    left_out: rows that cannot be used, by reason.
    """

    frame: pl.DataFrame
    t: I64
    label: pl.Series | None = None
    known_at: I64 | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    def take(self, rows: I64) -> Requests:
        """The requests at these positions."""
        return Requests(
            self.frame[rows],
            self.t[rows],
            None if self.label is None else self.label[rows],
            None if self.known_at is None else self.known_at[rows],
            self.left_out,
        )


def read_rows(rows: TableLike, timestamp_field: str, timezone: str | None = None) -> Requests:
    """Rows of a frame or of files, every one kept.

    Raises:
        DataError: the timestamp is missing, naive or null.
    """
    frame = as_frame(rows, "rows")
    if timestamp_field not in frame.columns:
        times = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime)]
        near = (
            difflib.get_close_matches(timestamp_field, times, n=1, cutoff=0)
            or frame.columns[:1]
            or ["asked_at"]
        )
        suggestion = (
            nearest(timestamp_field, frame.columns)
            if frame.columns
            else "the frame has no columns."
        )
        raise DataError(
            f"rows: no column {timestamp_field!r} with the request times; "
            f"{suggestion}{'' if suggestion.endswith(('?', '.')) else '.'} Name it, such as "
            f"timestamp_field={near[0]!r}"
        )
    t = (
        frame.lazy()
        .select(
            timestamp_micros(timestamp_field, frame.schema, timezone, "rows", from_call=True).alias(
                "t"
            )
        )
        .collect()["t"]
    )
    if t.null_count():
        raise DataError(
            f"rows: {t.null_count()} of {len(t)} rows have no {timestamp_field!r}; every row "
            "needs its request time. Filter them out first"
        )
    return Requests(frame, t.to_numpy())


def training_frame(requests: Requests, features: pl.DataFrame) -> pl.DataFrame:
    """The columns of labelled requests, then the features, then the label; none is named like
    another.
    """
    assert requests.label is not None
    request_frame = requests.frame.drop([*features.columns, requests.label.name], strict=False)
    return pl.concat([request_frame, features, requests.label.to_frame()], how="horizontal")


def joined(service: FeatureService, requests: Requests, values: pl.DataFrame) -> pl.DataFrame:
    """The columns of the requests, then the label where it is none of them, then the features;
    request fields have their declared dtype.
    """
    request_frame = requests.frame.drop([f.name for f in service.request_fields], strict=False)
    if requests.label is not None and requests.label.name not in request_frame.columns:
        request_frame = request_frame.with_columns(requests.label)
    return pl.concat([request_frame, values], how="horizontal")
