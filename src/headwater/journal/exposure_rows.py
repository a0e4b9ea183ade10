"""Exposures: the columns of their log, and their records in the journal.

The header of a file is msgpack of an `ExposureHeader`. Each other record is a batch: msgpack of a
list with the fields of each `Exposure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import polars as pl

from headwater.journal.format import EXPOSURES, record, scan

UNIT, ARM, AT = "unit", "arm", "at"
REQUEST, PROPENSITY, AGE, PROMISED = "request", "propensity", "age", "promised_age"
FALLBACK, OVERRIDE, CLUSTER, BUCKET = "fallback", "override", "cluster", "bucket"
MODEL, LEVEL, MODEL_VERSION, SCORE, FLAG, SOURCE = (
    "model",
    "level",
    "model_version",
    "score",
    "flag",
    "source",
)

EXPOSURE_SCHEMA: Final = {
    UNIT: pl.String,
    ARM: pl.String,
    AT: pl.Datetime("us", "UTC"),
    REQUEST: pl.String,
    PROPENSITY: pl.Float64,
    AGE: pl.Float64,  # seconds, of the stalest feature
    PROMISED: pl.Float64,  # seconds
    # answered by the default, a previous cut, or features with a fallback value
    FALLBACK: pl.Boolean,
    OVERRIDE: pl.Boolean,  # a tester chose the arm
    CLUSTER: pl.String,
    BUCKET: pl.Int64,
}
"""What an analysis needs of an exposure."""

LOGGED_SCHEMA: Final = {
    **EXPOSURE_SCHEMA,
    MODEL: pl.String,
    LEVEL: pl.String,
    MODEL_VERSION: pl.String,
    SCORE: pl.Float64,  # null for rankings, and for scores that are not one number
    FLAG: pl.String,  # "", or why the row is not evidence of its arm, see below
    SOURCE: pl.String,  # "served", or who else has assigned
}
"""The logged fields of an exposure."""

NO_ROOM, SHADOW, WASHOUT = "no room", "shadow", "washout"
"""Flags: the control was served since exposures could not be written; the other arms are scored and
not served; the time after a change.
"""
SERVED: Final = "served"

_encode: Final = msgspec.msgpack.Encoder().encode


class ExposureHeader(msgspec.Struct, frozen=True):
    """The header of a file: of which experiment and version its exposures are."""

    experiment: str
    version: int


class Exposure(NamedTuple):
    """An exposure in the log's form; `LOGGED_SCHEMA` has its columns.

    at: microseconds since 1970 UTC. items, teams: of an interleaved list, the best first, and which
    ranking (0 or 1) placed each.
    """

    unit: str
    arm: str
    at: int
    request: str | None = None
    propensity: float | None = None
    age: float | None = None
    promised_age: float | None = None
    fallback: bool = False
    override: bool = False
    cluster: str | None = None
    bucket: int | None = None
    model: str | None = None
    level: str | None = None
    model_version: str | None = None
    score: float | None = None
    flag: str = ""
    source: str = SERVED
    items: Sequence[Any] | None = None
    teams: Sequence[int] | None = None


def begin_of(experiment: str, version: int) -> bytes:
    """The beginning of a file."""
    return EXPOSURES.begin(_encode(ExposureHeader(experiment, version)))


def record_of(exposures: Sequence[Exposure]) -> bytes:
    """Exposures as a record.

    Raises:
        TypeError, OverflowError: a value that cannot be written.
    """
    return record(_encode(exposures))


class ReadExposures(NamedTuple):
    """The exposures of a file, and how many of its bytes belong to none."""

    exposures: list[Exposure]
    damaged: int


def exposures_in(data: bytes, name: str) -> ReadExposures:
    """The exposures of a file of that name; damaged bytes are skipped.

    Raises:
        StoreError: the file has other records, or is of another version.
    """
    _, spans, damaged = scan(data, EXPOSURES, name)
    batches = [msgspec.msgpack.decode(data[begin:end]) for begin, end in spans]
    return ReadExposures([Exposure(*fields) for batch in batches for fields in batch], damaged)
