"""Schemas of request bodies (a row, several rows, or columns), and conversion of JSON values to the types of keys and fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final

import msgspec
import polars as pl
from msgspec import UNSET, UnsetType

from headwater.errors import DataError, nearest
from headwater.online.feature_reader import OnlineFeatures

Scalar = str | int | float | bool | None
"""A field of a row; a timestamp is a string, ISO 8601 with a UTC offset."""
Row = dict[str, Scalar]
Columns = dict[str, list[Scalar]]


class FeaturesRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request for features, with one of `row`, `rows` and `columns`.

    level: one of the project's levels; None uses each view's own freshness. compact: arrays instead of an object a feature.
    """

    row: Row | UnsetType = UNSET
    rows: list[Row] | UnsetType = UNSET
    columns: Columns | UnsetType = UNSET
    level: str | None = None
    compact: bool = False


class PredictionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request for predictions. features: return the features of each prediction. timing: return the time of each stage."""

    row: Row | UnsetType = UNSET
    rows: list[Row] | UnsetType = UNSET
    columns: Columns | UnsetType = UNSET
    level: str | None = None
    features: bool = False
    timing: bool = False


class RankingRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request to rank candidates.

    row: the fields that all candidates share. candidates: items, or objects with the item and its own fields; None uses those that the
    model retrieves. k: number of candidates to return.
    """

    row: Row
    candidates: list[Scalar | Row] | None = None
    k: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10
    level: str | None = None
    features: bool = False
    timing: bool = False


Rows = Row | list[Row]
"""One row, or several."""

AnyRequest = FeaturesRequest | PredictionRequest | RankingRequest


_UNKNOWN: Final = re.compile(r"unknown field `([^`]*)`")
_REMEDIES: Final = tuple(
    (re.compile(pattern), remedy)
    for pattern, remedy in (
        (r"Expected `object`, got `array`$", 'send {"row": {...}} for one row, or {"rows": [...]} for several'),
        (r"at `\$\.rows`$", "give a list of rows, or one row as `row`"),
        (r"at `\$\.row`$", "give one object with the fields of a row, or several rows as `rows`"),
        (r"at `\$\.columns`$", "give an object with a list for each field, or rows as `rows`"),
        (r"at `\$\.rows\[[.\d]+\]`$", "each row is an object with its fields"),
        (r"at `\$\.columns\[[.\d]+\]`$", "each column is a list with one value for each row"),
        (r"at `\$(\.rows\[[.\d]+\]|\.row|\.columns\[[.\d]+\]|)\[[.\d]+\]`$", "a field is a string, a number, true, false or null"),
        (r"at `\$\.candidates", "a candidate is an item, or an object with the item and its own fields"),
    )
)


def parser(kind: Any) -> Callable[[bytes], Any]:  # noqa: ANN401 (as msgspec has it)
    """A parser of request bodies of a type.

    Raises, from a body:
        DataError: it has another type; the message has the nearest field and the allowed form.
        msgspec.DecodeError, UnicodeDecodeError: it is not JSON.

    >>> parser(FeaturesRequest)(b'{"rows": {"user": 1}}')
    Traceback (most recent call last):
    headwater.errors.DataError: Expected `array`, got `object` - at `$.rows`; give a list of rows, or one row as `row`
    """
    decode = msgspec.json.Decoder(kind).decode
    fields = tuple(getattr(kind, "__struct_fields__", ()))

    def parse(data: bytes) -> Any:  # noqa: ANN401 (as `kind` says)
        try:
            return decode(data)
        except msgspec.ValidationError as error:
            raise DataError(_explained(str(error), fields)) from error

    return parse


def _explained(message: str, fields: Collection[str]) -> str:
    """A message of msgspec with a remedy."""
    unknown = _UNKNOWN.search(message)
    if unknown is not None:
        message = f"{message}; {nearest(unknown[1], fields)}"
        return message if "did you mean" in message else f"{message}. The fields of a row go into `row`"
    return next((f"{message}; {remedy}" for pattern, remedy in _REMEDIES if pattern.search(message)), message)


class Reader:
    """Validates the rows of requests and parses their timestamps.

    Args:
        reader: name of the service or model, for error messages.
        known: the allowed fields, and the features that need each.
        needed: the required fields.
        dtypes: of keys; those that are timestamps or dates are parsed from strings.
        moments: other timestamp fields.
    """

    def __init__(
        self,
        owner: str,
        known: Mapping[str, Sequence[str]],
        needed: Collection[str],
        dtypes: Mapping[str, pl.DataType],
        moments: Collection[str] = (),
    ) -> None:
        self._what, self._known, self._needed = owner, known, frozenset(needed)
        self._all = len(self._needed) == len(known)
        parsers = {name: parse for name, dtype in dtypes.items() if (parse := _parser(dtype)) is not None}
        self._moments = list((parsers | dict.fromkeys(moments, _aware)).items())

    @staticmethod
    def of(features: OnlineFeatures) -> Reader:
        """The reader of a feature service's rows.

        Raises:
            StoreError: a view that is not in the online store.
        """
        known = features.service.needed_by()
        return Reader(features.service.name, known, known, key_types(features), moments_of(features))

    def row(self, row: Row) -> Mapping[str, object]:
        """One row, with timestamps parsed.

        Raises:
            DataError: an unknown field, with the nearest known one; a missing field; an invalid timestamp.
        """
        if not self._all or row.keys() != self._needed:
            self._check(row)
        return self._timed(row)

    def columns(self, columns: Columns) -> Mapping[str, Sequence[object]]:
        """Rows as columns, with timestamps parsed."""
        if not self._all or columns.keys() != self._needed:
            self._check(columns)
        for name, parse in self._moments:
            if name in columns:
                columns[name] = [_moment(name, value, parse) for value in columns[name]]  # type: ignore[misc]
        return columns

    def rows(self, rows: list[Row]) -> Mapping[str, Sequence[object]]:
        """Several rows as columns; all must have the fields of the first."""
        first = rows[0].keys()
        for index, row in enumerate(rows):
            if index == 0 or row.keys() != first:
                self._check(row, f"row {index}: ")
            for name in first ^ row.keys():
                raise DataError(f"row {index} and row 0 have different fields: only one has {name!r}; give it in all rows, or in none")
        return self.columns({name: [row[name] for row in rows] for name in first})

    def shared(self, row: Row, also: Collection[str]) -> Mapping[str, object]:
        """A row of known fields and those of `also`, of which none is required; timestamps are parsed."""
        unknown = sorted(row.keys() - self._known.keys() - set(also))
        if unknown:
            raise self._unknown(unknown[0], also)
        return self._timed(row)

    def _timed(self, row: Row) -> Mapping[str, object]:
        for name, parse in self._moments:
            if name in row:
                row[name] = _moment(name, row[name], parse)  # type: ignore[assignment]
        return row

    def _check(self, fields: Collection[str], where: str = "") -> None:
        """Refuse unknown and missing fields."""
        for name in fields:
            if name not in self._known:
                raise self._unknown(name, (), where)
        for name in self._known:
            if name in self._needed and name not in fields:
                raise DataError(f"{where}the request has no field {name!r}, which {', '.join(self._known[name])} needs")

    def _unknown(self, name: str, also: Collection[str], where: str = "") -> DataError:
        return DataError(
            f"{where}the request has a field {name!r}, which {self._what!r} does not read; {nearest(name, {*self._known, *also})}"
        )


def moments_of(features: OnlineFeatures) -> list[str]:
    """The request fields that are timestamps."""
    service = features.service
    names = [field.name for field in service.request_fields if field.dtype is datetime]
    for fields in (*(function.fields for function in service.request_features), *(http.request for http in service.http_features)):
        names += [name for name, dtype in fields.items() if dtype is datetime]
    return names


def key_types(features: OnlineFeatures) -> Mapping[str, pl.DataType]:
    """The types of the request's key columns.

    Raises:
        StoreError: a view that is not in the online store.
    """
    pairs = [(view, key, view.request_key(key)) for view in features.service.views for key in view.keys]
    return {column: features.views[view.name].state.dtypes[key] for view, key, column in pairs if isinstance(column, str)}


def _parser(dtype: pl.DataType) -> Callable[[str], object] | None:
    """The parser of a key whose type JSON does not have."""
    if isinstance(dtype, pl.Date):
        return _day
    if isinstance(dtype, pl.Datetime):
        return _aware if dtype.time_zone is not None else _naive
    return None


def _moment(name: str, value: object, parse: Callable[[str], object]) -> object:
    if value is None or isinstance(value, date):  # parsed already
        return value
    try:
        if isinstance(value, str):
            return parse(value)
    except (ValueError, OverflowError):
        pass
    expected = "a date, such as 2024-05-01" if parse is _day else "a timestamp, ISO 8601 with a UTC offset, such as 2024-05-01T12:00:00Z"
    raise DataError(
        f"the field {name!r} is {value!r}; give {expected if parse is not _naive else 'a timestamp without an offset, such as 2024-05-01T12:00:00'}"
    )


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _aware(text: str) -> datetime:
    timestamp = datetime.fromisoformat(text)
    if timestamp.tzinfo is None:
        raise ValueError
    return timestamp.astimezone(UTC)


def _naive(text: str) -> datetime:
    timestamp = datetime.fromisoformat(text)
    if timestamp.tzinfo is not None:
        raise ValueError
    return timestamp
