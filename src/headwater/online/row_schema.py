"""The rows of a feature service's requests: one msgspec struct, which decodes, validates and
documents them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple, TypeVar, cast
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import polars as pl
from msgspec import UNSET, Meta, UnsetType

from headwater import clock
from headwater.definitions.feature_service import FeatureService
from headwater.errors import DataError, nearest
from headwater.events.keys import check_types
from headwater.online.key_encoder import KeyColumn
from headwater.online.request_features import check_declared

MOST_ROWS: Final = 10_000
"""Rows in one request."""
T = TypeVar("T")
Scalar = str | int | float | bool | None
"""A field of unknown type."""
AwareDatetime = Annotated[datetime, Meta(tz=True)]

_INT64: Final = Meta(ge=-(2**63), le=2**63 - 1)
_KEY: Final = Annotated[int, Meta(extra_json_schema={"minimum": -(2**63), "maximum": 2**63 - 1})]
_DECLARED: Final[Mapping[type, Any]] = {
    float: float | None,
    int: Annotated[int, _INT64] | None,
    str: str | None,
    bool: bool | None,
    datetime: AwareDatetime | None,
}
_ZONE: Final = ZoneInfo("UTC")  # as polars names it
_GOT: Final[Mapping[str, pl.DataType]] = {
    "str": pl.String(),
    "bool": pl.Boolean(),
    "float": pl.Float64(),
    "int": pl.Int64(),
}
_UNKNOWN, _MISSING = (
    re.compile(r"unknown field `(.*)`"),
    re.compile(r"missing required field `(.*)`"),
)
_TYPE: Final = re.compile(r"got `([^`]*)`$")
_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_ROW: Final = re.compile(
    r"^(?:\.(?:rows?|columns|candidates))?(?:\[(?P<row>\d+)\])?(?:\.(?P<field>.*?))?(?:\[(?P<item>\d+)\])?$"
)
# where the value of a list of keys is refused, and not an element
_ARRAY: Final = "Expected `array"
_ITEM: Final = re.compile(r"^(?P<field>.*)\[(?P<row>\d+)\]$")


class Declared(NamedTuple):
    """A declaration of a field: its context, for errors, and its type."""

    context: str
    dtype: type


class RowField(NamedTuple):
    """A field of a row: the features that need it, the keys that it fills with the view of each
    lookup, and its declarations.
    """

    needed_by: Sequence[str]
    keys: Sequence[tuple[str, KeyColumn]] = ()
    declared: Sequence[Declared] = ()

    @property
    def annotation(self) -> Any:  # noqa: ANN401 (an annotation)
        """The type of its values: the declared one, or the key's; null alone where two declarations
        have nothing else in common.
        """
        dtypes = {declared.dtype for declared in self.declared}
        if dtypes == {int, float} or (
            dtypes == {float} and any(key.dtype.is_integer() for _, key in self.keys)
        ):
            return _DECLARED[int]
        if dtypes:
            return _DECLARED[dtypes.pop()] if len(dtypes) == 1 else None
        annotations = [_of_key(key.dtype) for _, key in self.keys]
        if self.max_length is not None:
            return Annotated[list[annotations[0]], Meta(max_length=self.max_length)] | None  # type: ignore[valid-type]
        return annotations[0] if annotations else Scalar

    @property
    def max_length(self) -> int | None:
        """How long the list may be that it holds; None where it holds single values."""
        return min(
            (key.max_length for _, key in self.keys if key.max_length is not None), default=None
        )


class RowSchema:
    """The fields of the rows of one feature service, or of a model whose predictions are
    precomputed.

    Args:
        owner: its name, for errors.
        fields: by name.
        required: the fields that a row must have; None is all without `request_times`.
        role: of the rows in a request, if there are others; the structs are named by it.
        request_times: the fields that are the request time: a row may leave them out.

    Attributes:
        row: the struct of a row. columns: the struct of rows as columns.
        whole: the fields of integers.
    """

    def __init__(
        self,
        owner: str,
        fields: Mapping[str, RowField],
        required: Collection[str] | None = None,
        role: str = "",
        request_times: Collection[str] = (),
    ) -> None:
        self.owner, self.fields = owner, fields
        self.request_times = frozenset(name for name in request_times if name in fields)
        self.required = frozenset(
            fields.keys() - self.request_times if required is None else required
        )
        annotations = {name: field.annotation for name, field in fields.items()}
        self.whole = frozenset(
            name
            for name, annotation in annotations.items()
            if annotation in (_DECLARED[int], _KEY | None)
        )
        self.row = _struct(owner + role, annotations, self.required)
        self.columns = _struct(
            f"{owner}{role}_columns",
            {name: list[annotation] for name, annotation in annotations.items()},  # type: ignore[valid-type]
            self.required,
        )
        self._names, self._optional = tuple(fields), len(self.required) < len(fields)
        self._moments = [
            name for name, annotation in annotations.items() if annotation == _DECLARED[datetime]
        ]

    @staticmethod
    def for_service(service: FeatureService, keys: Mapping[str, Sequence[KeyColumn]]) -> RowSchema:
        """The schema of a feature service. keys: of each view, the keys that columns of the request
        fill.
        """
        return RowSchema(service.name, fields_of(service, keys))

    def optional(self, more: Mapping[str, RowField], role: str) -> RowSchema:
        """The schema of rows with some of these fields, and of `more`."""
        return RowSchema(self.owner, {**more, **self.fields}, (), role, self.request_times)

    def dated(self, values: dict[str, Any], t: int, count: int | None = None) -> dict[str, Any]:
        """The values of a row, or columns of `count` rows, with the request time, t in
        microseconds, where a field for it was left out.
        """
        left_out = self.request_times - values.keys()
        if not left_out:
            return values
        at = clock.timestamp(t).astimezone(_ZONE)
        return values | dict.fromkeys(left_out, at if count is None else [at] * count)

    def from_row(self, row: Mapping[str, object]) -> dict[str, object]:
        """A row of plain values, as values of the declared types.

        Raises:
            DataError: an unknown field, with the nearest known one; a missing field; a value of
                another type.
        """
        return self.values(self._converted(row, self.row, _plain_row))

    def from_rows(self, rows: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
        """Rows as columns. Raises as `from_row`, with the number of the row; also if only some have
        an optional field.
        """
        for index, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise DataError(
                    f"row {index} is {type(row).__name__}; give each row as a mapping from names "
                    "to values, or give a frame"
                )
        return self.column_values(
            self._converted(
                rows,
                list[self.row],  # type: ignore[name-defined]
                lambda mappings: [_plain_row(row) for row in mappings],
            )
        )

    def from_columns(self, columns: Mapping[str, Sequence[object]]) -> dict[str, list[object]]:
        """Columns of plain values, as values of the declared types. Raises as `from_row`."""
        lists: dict[str, Sequence[object]] = {
            n: v if isinstance(v, list | tuple) else list(v) for n, v in columns.items()
        }
        plain = self._converted(
            lists,
            self.columns,
            lambda mapping: {name: _plain_column(values) for name, values in mapping.items()},
        )
        return cast("dict[str, list[object]]", self.values(plain))

    def values(self, row: msgspec.Struct) -> dict[str, object]:
        """The fields of a decoded row, or of decoded columns, that it has."""
        values = dict(zip(self._names, msgspec.structs.astuple(row), strict=True))
        if self._optional:
            values = {name: value for name, value in values.items() if value is not UNSET}
        for name in self._moments:
            if name in values:
                values[name] = _in_zone(name, values[name])
        return values

    def column_values(self, rows: Sequence[msgspec.Struct]) -> dict[str, list[object]]:
        """Decoded rows as columns.

        Raises:
            DataError: only some rows have an optional field.
        """
        every = [self.values(row) for row in rows]
        first = every[0].keys() if every else {}
        for index, row in enumerate(every if self._optional else ()):
            for name in first ^ row.keys():
                raise DataError(
                    f"row {index} and row 0 have different fields: only one has {name!r}; give it "
                    "in all rows, or in none"
                )
        return {name: [row[name] for row in every] for name in first}

    def explained(self, message: str) -> DataError:
        """The error of a row for a message of msgspec."""
        match = _AT.match(message)
        assert match is not None
        reason, located = match["what"], _ROW.match(match["path"] or "")
        row, name = (
            (None, "")
            if located is None
            else self._located(located["row"], located["field"] or "", located["item"], reason)
        )
        prefix = "" if row is None else f"row {row}: "
        if unknown := _UNKNOWN.search(reason):
            name = unknown[1]
            return DataError(
                f"{prefix}the request has a field {name!r}, which {self.owner!r} does not read; "
                f"{nearest(name, self.fields)}"
            )
        if missing := _MISSING.search(reason):
            name = missing[1]
            return DataError(
                f"{prefix}the request has no field {name!r}, which "
                f"{', '.join(self.fields[name].needed_by)} needs"
            )
        return DataError(
            prefix + (_why(name, self.fields[name], reason) if name in self.fields else message)
        )

    def _located(
        self, row: str | None, name: str, item: str | None, reason: str
    ) -> tuple[str | None, str]:
        """The number of the row, and the field; an item is that of a column, or of a list of
        keys.
        """
        listed = _ITEM.match(name)
        # an element of the list of a row of a column
        if listed is not None and name not in self.fields:
            return listed["row"], listed["field"]
        is_list = name in self.fields and self.fields[name].max_length is not None
        is_element = is_list and not reason.startswith(_ARRAY)
        return row or (None if is_element else item), name

    def _converted(self, value: T, kind: Any, plain: Callable[[T], T]) -> Any:  # noqa: ANN401 (as `kind` says)
        """A value as a struct; `plain` takes scalars of numpy for what they hold, which is tried
        before a value is refused.
        """
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError:
            try:
                return msgspec.convert(plain(value), kind)
            except msgspec.ValidationError as error:
                raise self.explained(str(error)) from error


def fields_of(
    service: FeatureService, keys: Mapping[str, Sequence[KeyColumn]]
) -> dict[str, RowField]:
    """The fields that a request to a feature service has; `keys` as of `RowSchema.for_service`."""
    filled: dict[str, list[tuple[str, KeyColumn]]] = {}
    for view, columns in keys.items():
        for column in columns:
            filled.setdefault(column.column, []).append((f"feature view {view!r}", column))
    declared: dict[str, list[Declared]] = {}
    for field in service.request_fields:
        declared.setdefault(field.name, []).append(
            Declared(f"request field {field.name!r}", field.dtype)
        )
    for function in service.request_features:
        for name, dtype in function.fields.items():
            declared.setdefault(name, []).append(
                Declared(f"request feature {function.name!r}: the field {name!r}", dtype)
            )
    for http in service.http_features:
        for name, dtype in http.request.items():
            declared.setdefault(name, []).append(
                Declared(f"third-party features {http.name!r}: the field {name!r}", dtype)
            )
    return {
        name: RowField(who, filled.get(name, ()), declared.get(name, ()))
        for name, who in service.needed_by().items()
    }


def answers_of(service: FeatureService) -> RowSchema:
    """The schema of third-party answers, which stand in a request under the names of their
    features; none is required.
    """
    fields = {
        name: RowField(
            [f"feature {name!r}"],
            (),
            [Declared(f"third-party features {http.name!r}: {name!r} of the rows", dtype)],
        )
        for http in service.http_features
        for name, (_, dtype) in zip(http.feature_names, http.columns.values(), strict=True)
    }
    return RowSchema(service.name, fields, ())


def _struct(
    name: str, annotations: Mapping[str, Any], required: Collection[str]
) -> type[msgspec.Struct]:
    """A struct; its attributes are numbered, since a column may have any name."""
    numbered = {f"f{n}": field for n, field in enumerate(annotations)}
    fields: list[Any] = [
        (attribute, annotations[field])
        if field in required
        else (attribute, annotations[field] | UnsetType, UNSET)
        for attribute, field in numbered.items()
    ]
    return msgspec.defstruct(
        name, fields, rename=numbered, forbid_unknown_fields=True, kw_only=True
    )


def _of_key(dtype: pl.DataType) -> Any:  # noqa: ANN401 (an annotation)
    """The type of a key of a dtype; of one that JSON does not have, anything, which the encoder of
    keys judges.
    """
    if dtype.is_integer():
        return _KEY | None  # of 64 bits, signed or not: the encoder knows
    if isinstance(dtype, pl.Datetime):
        return Annotated[datetime, Meta(tz=dtype.time_zone is not None)] | None
    if isinstance(dtype, pl.Decimal):
        return Decimal | None
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return str | None
    others = {pl.Date(): date, pl.Boolean(): bool, pl.Time(): time, pl.Binary(): bytes}
    return (
        others[dtype] | None
        if dtype in others
        else timedelta | None
        if isinstance(dtype, pl.Duration)
        else Any
    )


def _plain_row(row: Mapping[str, object]) -> Mapping[str, object]:
    """A row without scalars and arrays of numpy."""
    return {name: _plain(value) for name, value in row.items()}


def _plain_column(values: Sequence[object]) -> Sequence[object]:
    return [_plain(value) for value in values]


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(element) for element in value] if isinstance(value, list | tuple) else value


def _in_zone(name: str, value: object) -> object:
    """A timestamp, or a column of some, in UTC, unless it has a zone by name."""
    if isinstance(value, list):
        return [_in_zone(name, timestamp) for timestamp in value]
    if value is None or isinstance(value.tzinfo, ZoneInfo):  # type: ignore[attr-defined]
        return value
    try:
        return value.astimezone(_ZONE)  # type: ignore[attr-defined]
    except OverflowError as error:
        raise DataError(
            f"the field {name!r} is {value}, which is beyond the year 9999 in UTC; give a "
            "timestamp before that"
        ) from error


def _why(name: str, field: RowField, reason: str) -> str:
    """Why a value is refused, in the words of the key or the declaration that refuses it."""
    if field.max_length is not None and "length" in reason:
        return (
            f"the field {name!r} is a list of up to {field.max_length:,} keys; give a shorter "
            "one, or raise each(max_length=)"
        )
    got, timestamps = (
        _TYPE.search(reason),
        any(declared.dtype is datetime for declared in field.declared),
    )
    if got is not None and got[1] in _GOT and not timestamps:
        try:
            for declared in field.declared:
                check_declared(_GOT[got[1]], declared.dtype, declared.context)
            for subject, column in field.keys:
                check_types(column.key, column.dtype, _GOT[got[1]], subject)
        except DataError as error:
            return str(error)
    remedies = []
    if timestamps or any(isinstance(key.dtype, pl.Datetime) for _, key in field.keys):
        naive = any(
            isinstance(key.dtype, pl.Datetime) and key.dtype.time_zone is None
            for _, key in field.keys
        )
        kind = (
            "without an offset, such as 2024-05-01T12:00:00"
            if naive
            else "ISO 8601 with a UTC offset, such as 2024-05-01T12:00:00Z"
        )
        remedies.append(f"give a timestamp, {kind}")
    elif any(isinstance(key.dtype, pl.Date) for _, key in field.keys):
        remedies.append("give a date, such as 2024-05-01")
    elif field.max_length is not None and reason.startswith(_ARRAY):
        remedies.append("give a list of keys, such as [1, 2], or null")
    elif got is not None and got[1] in ("array", "object"):
        remedies.append("a field is a string, a number, true, false or null")
    return "; ".join([f"the field {name!r}: {reason}", *remedies])
