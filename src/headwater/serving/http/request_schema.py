"""What requests say: one row, several, or columns of them; and the values of a row in the types that features are made of."""

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
"""What a field of a row may be; a moment is a text, ISO 8601 with an offset."""
Row = dict[str, Scalar]
Columns = dict[str, list[Scalar]]


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """Rows of which features are asked for: one of `row`, `rows` and `columns`.

    level: one of the project's levels; as each view defines where there is none. compact: arrays instead of an object a feature.
    """

    row: Row | UnsetType = UNSET
    rows: list[Row] | UnsetType = UNSET
    columns: Columns | UnsetType = UNSET
    level: str | None = None
    compact: bool = False


class AskedPrediction(msgspec.Struct, forbid_unknown_fields=True):
    """Rows of which predictions are asked for. features: with the features that each was made of. timing: with the time of each stage."""

    row: Row | UnsetType = UNSET
    rows: list[Row] | UnsetType = UNSET
    columns: Columns | UnsetType = UNSET
    level: str | None = None
    features: bool = False
    timing: bool = False


class AskedRanking(msgspec.Struct, forbid_unknown_fields=True):
    """A request whose candidates are to be put in order.

    row: what all candidates share. candidates: items, or objects with the item and its own fields; those that the model retrieves
    where there are none. k: how many of the best to answer with.
    """

    row: Row
    candidates: list[Scalar | Row] | None = None
    k: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10
    level: str | None = None
    features: bool = False
    timing: bool = False


Rows = Row | list[Row]
"""One row, or several."""

AnyAsked = Asked | AskedPrediction | AskedRanking


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
    """What reads bodies as a type.

    Raises, from a body:
        DataError: it is another one; the error names the nearest field, and says how to send what was meant.
        msgspec.DecodeError, UnicodeDecodeError: it is not JSON.

    >>> parser(Asked)(b'{"rows": {"user": 1}}')
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
    """A message of msgspec, with what to do."""
    unknown = _UNKNOWN.search(message)
    if unknown is not None:
        message = f"{message}; {nearest(unknown[1], fields)}"
        return message if "did you mean" in message else f"{message}. The fields of a row go into `row`"
    return next((f"{message}; {remedy}" for pattern, remedy in _REMEDIES if pattern.search(message)), message)


class Reader:
    """Turns the rows of requests into plain values.

    Args:
        what: who reads them, as errors say it.
        known: the fields that rows may have, and who needs each.
        needed: those that they must have.
        dtypes: of keys, as far as they are known; those that are moments or days are read from texts.
        moments: other fields that are moments.
    """

    def __init__(
        self,
        what: str,
        known: Mapping[str, Sequence[str]],
        needed: Collection[str],
        dtypes: Mapping[str, pl.DataType],
        moments: Collection[str] = (),
    ) -> None:
        self._what, self._known, self._needed = what, known, frozenset(needed)
        self._all = len(self._needed) == len(known)
        found = {name: parse for name, dtype in dtypes.items() if (parse := _parser(dtype)) is not None}
        self._moments = list((found | dict.fromkeys(moments, _aware)).items())

    @staticmethod
    def of(features: OnlineFeatures) -> Reader:
        """What reads the rows of a feature service.

        Raises:
            StoreError: a view that is not in the store.
        """
        known = features.service.needed_by()
        return Reader(features.service.name, known, known, key_types(features), moments_of(features))

    def row(self, row: Row) -> Mapping[str, object]:
        """One row, its moments as such.

        Raises:
            DataError: a field that nothing reads, with the nearest that something does; one that is missing; a text that is no moment.
        """
        if not self._all or row.keys() != self._needed:
            self._check(row)
        return self._timed(row)

    def columns(self, columns: Columns) -> Mapping[str, Sequence[object]]:
        """Rows that stand in columns."""
        if not self._all or columns.keys() != self._needed:
            self._check(columns)
        for name, parse in self._moments:
            if name in columns:
                columns[name] = [_moment(name, value, parse) for value in columns[name]]  # type: ignore[misc]
        return columns

    def rows(self, rows: list[Row]) -> Mapping[str, Sequence[object]]:
        """Several rows, as columns; all have the fields of the first."""
        first = rows[0].keys()
        for place, row in enumerate(rows):
            if place == 0 or row.keys() != first:
                self._check(row, f"row {place}: ")
            for name in first ^ row.keys():
                raise DataError(
                    f"row {place} and row 0 do not have the same fields: {name!r} stands in one alone; give it in all rows, or in none"
                )
        return self.columns({name: [row[name] for row in rows] for name in first})

    def shared(self, row: Row, also: Collection[str]) -> Mapping[str, object]:
        """A part of a row: its fields are among those that are read, or `also`; none is missed here."""
        unknown = sorted(row.keys() - self._known.keys() - set(also))
        if unknown:
            raise self._unknown(unknown[0], also)
        return self._timed(row)

    def _timed(self, row: Row) -> Mapping[str, object]:
        for name, parse in self._moments:
            if name in row:
                row[name] = _moment(name, row[name], parse)  # type: ignore[assignment]
        return row

    def _check(self, given: Collection[str], where: str = "") -> None:
        """Refuse fields that nothing reads, and those that are missing."""
        for name in given:
            if name not in self._known:
                raise self._unknown(name, (), where)
        for name in self._known:
            if name in self._needed and name not in given:
                raise DataError(f"{where}the request has no field {name!r}, which {', '.join(self._known[name])} needs")

    def _unknown(self, name: str, also: Collection[str], where: str = "") -> DataError:
        return DataError(
            f"{where}the request has a field {name!r}, which {self._what!r} does not read; {nearest(name, {*self._known, *also})}"
        )


def moments_of(features: OnlineFeatures) -> list[str]:
    """The request's own fields that are moments."""
    service = features.service
    found = [field.name for field in service.request_fields if field.dtype is datetime]
    for fields in (*(function.fields for function in service.request_features), *(http.request for http in service.http_features)):
        found += [name for name, dtype in fields.items() if dtype is datetime]
    return found


def key_types(features: OnlineFeatures) -> Mapping[str, pl.DataType]:
    """The types of the request's columns that views are looked up by.

    Raises:
        StoreError: a view that is not in the store.
    """
    pairs = [(view, key, view.request_key(key)) for view in features.service.views for key in view.keys]
    return {column: features.views[view.name].state.dtypes[key] for view, key, column in pairs if isinstance(column, str)}


def _parser(dtype: pl.DataType) -> Callable[[str], object] | None:
    """How the text of a key is read, where JSON has no type for it."""
    if isinstance(dtype, pl.Date):
        return _day
    if isinstance(dtype, pl.Datetime):
        return _aware if dtype.time_zone is not None else _naive
    return None


def _moment(name: str, value: object, parse: Callable[[str], object]) -> object:
    if value is None or isinstance(value, date):  # read already
        return value
    try:
        if isinstance(value, str):
            return parse(value)
    except (ValueError, OverflowError):
        pass
    what = "a day, such as 2024-05-01" if parse is _day else "a moment, ISO 8601 with an offset, such as 2024-05-01T12:00:00Z"
    raise DataError(
        f"the field {name!r} is {value!r}; give {what if parse is not _naive else 'a moment without an offset, such as 2024-05-01T12:00:00'}"
    )


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _aware(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError
    return found.astimezone(UTC)


def _naive(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is not None:
        raise ValueError
    return found
