"""What a posted outcome says: which request it is of, what came of it, and when that was known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
import polars as pl

from headwater.definitions.checks import SECOND, parse_timestamp
from headwater.definitions.labels import Labels
from headwater.errors import DataError, HeadwaterError, nearest
from headwater.events.read_events import selected

REQUEST, TIMESTAMP, OUTCOME = "headwater_request", "headwater_timestamp", "headwater_outcome"
KNOWN_AT, AT, SEQUENCE = "headwater_known_at", "headwater_posted_at", "headwater_sequence"
RESERVED = (REQUEST, TIMESTAMP, OUTCOME, KNOWN_AT, AT, SEQUENCE)

_FIELDS: Final = ("request_id", "timestamp", "outcome", "known_at")
_LONG = 255  # letters of a request's id
_AHEAD = 60 * SECOND  # how far another machine's clock may be ahead
_UTC = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class CheckedOutcome:
    """A row that can be kept: `identity` and `outcome` as JSON, known_at in microseconds, None
    where it does not say.
    """

    identity: str
    outcome: str
    known_at: int | None


@dataclass(frozen=True)
class Rules:
    """What rows may say.

    keys: the columns that name a request without its id. schema: dtypes of the labels' columns, as
    far as their table can be read.
    label: the name of the outcome's column there.
    """

    keys: Sequence[str]
    schema: Mapping[str, pl.DataType]
    label: str

    def check(self, row: object, now: int) -> CheckedOutcome | str:
        """The row to keep, or why it cannot be kept. now: in microseconds."""
        if not isinstance(row, Mapping):
            return f"it is {type(row).__name__}; send an object"
        unknown = [name for name in row if name not in {*_FIELDS, *self.keys}]
        if unknown:
            return f"it has {unknown[0]!r}; {nearest(str(unknown[0]), [*_FIELDS, *self.keys])}"
        try:
            identity, request_time = self._identity(row)
            known_at = _timestamp(row.get("known_at"), "known_at")
            if known_at is not None and known_at > now + _AHEAD:
                raise DataError("its known_at lies in the future")
            if known_at is not None and request_time is not None and known_at < request_time:
                raise DataError("its known_at is before its timestamp, the request time")
            return CheckedOutcome(identity, self._outcome(row.get("outcome")), known_at)
        except HeadwaterError as error:
            return str(error)

    def _identity(self, row: Mapping[str, object]) -> tuple[str, int | None]:
        """Which request it is of, and when that asked, where the row says."""
        request = row.get("request_id")
        if request is not None and not (isinstance(request, str) and 0 < len(request) <= _LONG):
            raise DataError(
                f"its request_id is {request!r}; send the text that the answer had, of 1 to "
                f"{_LONG} letters"
            )
        keys = [
            (name, self._key(name, row[name])) for name in self.keys if row.get(name) is not None
        ]
        if request is None and (len(keys) < len(self.keys) or not keys):
            lacking = [name for name in self.keys if row.get(name) is None]
            raise DataError(
                f"it has no request_id{f' and no {lacking[0]!r}' if lacking else ''}, so its "
                "request is not known"
            )
        request_time = _timestamp(row.get("timestamp"), "timestamp")
        return json.dumps([request, request_time, keys]), request_time

    def _key(self, name: str, value: object) -> object:
        dtype = self.schema.get(name)
        if isinstance(value, datetime):
            return value.isoformat()
        fits = isinstance(value, str | int | float | bool) and (
            dtype is None
            or (isinstance(value, bool) and dtype == pl.Boolean)
            or (isinstance(value, int) and not isinstance(value, bool) and dtype.is_numeric())
            or (isinstance(value, float) and dtype.is_float() and math.isfinite(value))
            or (isinstance(value, str) and not (dtype.is_numeric() or dtype == pl.Boolean))
        )
        if not fits:
            raise DataError(
                f"its {name!r} is {value!r}, and in the labels it is "
                f"{dtype or 'a text, a number or a boolean'}"
            )
        return value

    def _outcome(self, value: object) -> str:
        if value is None:
            raise DataError("it has no 'outcome'")
        dtype = self.schema.get(self.label)
        if dtype == pl.String:
            if not isinstance(value, str):
                raise DataError(f"its outcome is {value!r}, and the label {self.label!r} is a text")
            return json.dumps(value)
        if not isinstance(value, bool | int | float) or not math.isfinite(value):
            raise DataError(
                f"its outcome is {value!r}, and the label {self.label!r} is "
                f"{dtype or 'a number or a boolean'}"
            )
        if dtype == pl.Boolean:
            if value not in (0, 1):
                raise DataError(
                    f"its outcome is {value!r}, and the label {self.label!r} is a boolean"
                )
            return json.dumps(bool(value))
        if dtype is not None and dtype.is_integer():
            if int(value) != value:
                raise DataError(
                    f"its outcome is {value!r}, and the label {self.label!r} is {dtype}"
                )
            return json.dumps(int(value))
        return json.dumps(float(value))


def rules(labels: Labels, keys: Sequence[str]) -> Rules:
    """What rows of these labels may say. Where their table cannot be read here, only what any label
    is asked for is checked.
    """
    try:
        schema = selected(
            labels.data,
            labels.select,
            labels.filter,
            [labels.label_name, *keys],
            f"labels {labels.name!r}",
        ).schema
    except DataError:
        return Rules(tuple(keys), {}, labels.label_name)
    return Rules(tuple(keys), schema, labels.label_name)


def _timestamp(value: object, name: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str | datetime):
        raise DataError(
            f"its {name} is {value!r}; send a time as ISO 8601 with an offset, such as "
            "'2024-05-01T12:00:00Z'"
        )
    return parse_timestamp(value, f"its {name}")


def frame_of(rows: Sequence[tuple[str, str, int, int]]) -> pl.DataFrame:
    """Rows (identity, outcome, known at, posted at) in columns, numbered in this order; see
    `outcome_journal.outcomes`.
    """
    identities, encoded_outcomes, known_at, at = zip(*rows, strict=True)
    decoded = [msgspec.json.decode(identity) for identity in identities]
    names = list(dict.fromkeys(name for _, _, keys in decoded for name, _ in keys))
    key_values = [dict(keys) for _, _, keys in decoded]
    columns = [pl.Series(REQUEST, [request[0] for request in decoded], pl.String)]
    columns.append(pl.Series(TIMESTAMP, [request[1] for request in decoded], pl.Int64).cast(_UTC))
    columns += [
        pl.Series(name, [keys.get(name) for keys in key_values], strict=False) for name in names
    ]
    columns.append(
        pl.Series(
            OUTCOME, [msgspec.json.decode(outcome) for outcome in encoded_outcomes], strict=False
        )
    )
    columns += [
        pl.Series(name, times, pl.Int64).cast(_UTC)
        for name, times in ((KNOWN_AT, known_at), (AT, at))
    ]
    return pl.DataFrame([*columns, pl.Series(SEQUENCE, range(1, len(rows) + 1), pl.Int64)])
