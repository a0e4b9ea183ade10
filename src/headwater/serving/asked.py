"""What requests say: one row, several, or columns of them; and the values of a row in the types that features are made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Annotated

import msgspec
import polars as pl
from msgspec import UNSET, UnsetType

from headwater.definitions.feature_service import FeatureService
from headwater.errors import DataError, nearest
from headwater.pipelines.online import OnlineFeatures

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


class Outcome(msgspec.Struct, forbid_unknown_fields=True):
    """What came of a request: its keys, the label, when it was asked, and when the outcome was known (now where nothing is said)."""

    keys: Row
    label: float | bool
    asked_at: datetime
    known_at: datetime | None = None


AnyAsked = Asked | AskedPrediction | AskedRanking


class Reader:
    """Turns the rows of requests into what `OnlineFeatures` takes."""

    def __init__(self, features: OnlineFeatures) -> None:
        self.service = features.service
        self._fields = frozenset(features.service.needed_by())
        self._moments = _moments(features)

    def row(self, row: Row) -> Mapping[str, object]:
        """One row, its moments as such.

        Raises:
            DataError: a field that nothing reads, with the nearest that something does; or a text that is no moment.
        """
        if row.keys() != self._fields:
            self._check(row)
        for name, parse in self._moments:
            if name in row:
                row[name] = _moment(name, row[name], parse)  # type: ignore[assignment]
        return row

    def columns(self, columns: Columns) -> Mapping[str, Sequence[object]]:
        """Rows that stand in columns."""
        if columns.keys() != self._fields:
            self._check(columns)
        for name, parse in self._moments:
            if name in columns:
                columns[name] = [_moment(name, value, parse) for value in columns[name]]  # type: ignore[misc]
        return columns

    def rows(self, rows: list[Row]) -> Mapping[str, Sequence[object]]:
        """Several rows, as columns."""
        for place, row in enumerate(rows):
            if row.keys() != self._fields:
                self._check(row, f"row {place}: ")
        return self.columns({name: [row[name] for row in rows] for name in self._fields})

    def shared(self, row: Row, also: Collection[str]) -> Mapping[str, object]:
        """A part of a row: its fields are among those that are read, or `also`; none is missed here."""
        unknown = sorted(row.keys() - self._fields - set(also))
        if unknown:
            known = {*self._fields, *also}
            raise DataError(
                f"the request has a field {unknown[0]!r}, which {self.service.name!r} does not read; {nearest(unknown[0], known)}"
            )
        for name, parse in self._moments:
            if name in row:
                row[name] = _moment(name, row[name], parse)  # type: ignore[assignment]
        return row

    def _check(self, given: Collection[str], where: str = "") -> None:
        """Refuse fields that nothing reads, and those that are missing."""
        known = self.service.needed_by()
        unknown = sorted(set(given) - self._fields)
        if unknown:
            raise DataError(
                f"{where}the request has a field {unknown[0]!r}, which {self.service.name!r} does not read; {nearest(unknown[0], known)}"
            )
        for name, who in known.items():
            if name not in given:
                raise DataError(f"{where}the request has no field {name!r}, which {', '.join(who)} needs")


def _moments(features: OnlineFeatures) -> list[tuple[str, Callable[[str], object]]]:
    """The fields that are moments or days, and how their texts are read."""
    service: FeatureService = features.service
    found: dict[str, Callable[[str], object]] = {}
    for view in service.views:
        for key in view.keys:
            name, dtype = view.request_key(key), features.views[view.name].state.dtypes[key]
            if isinstance(name, str) and isinstance(dtype, pl.Datetime | pl.Date):
                found[name] = _day if isinstance(dtype, pl.Date) else _aware if dtype.time_zone is not None else _naive
    for field in service.request_fields:
        if field.dtype is datetime:
            found[field.name] = _aware
    for function in service.request_features:
        found |= {name: _aware for name, dtype in function.fields.items() if dtype is datetime}
    return list(found.items())


def _moment(name: str, value: object, parse: Callable[[str], object]) -> object:
    if value is None:
        return None
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
