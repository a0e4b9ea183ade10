"""Request fields and functions of plain values, without frames: what `request_features` makes of columns, for a request at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from zoneinfo import ZoneInfo

from headwater.definitions.feature_service import FeatureService
from headwater.definitions.request_feature import RequestFeature
from headwater.events.statuses import MISSING, PRESENT
from headwater.training.request_features import failed, returned

_LEAST, _MOST = -(2**63), 2**63 - 1
_ZONE = ZoneInfo("UTC")  # as polars says it


class UnusualValueError(Exception):
    """A value that only the general way knows what to do with."""


Typed = Callable[[object], object]


@dataclass(frozen=True)
class _Function:
    """A request feature: for each parameter the request's field and how it is typed, or the place of the feature that fills it."""

    feature: RequestFeature
    fields: tuple[tuple[str, Typed] | None, ...]
    places: tuple[int, ...]

    def one(self, request: Mapping[str, object], read_values: Sequence[object]) -> object:
        args = [
            read_values[index] if field is None else field[1](request[field[0]])
            for field, index in zip(self.fields, self.places, strict=True)
        ]
        try:
            value = self.feature.function(*args)
        except Exception as error:
            raise failed(self.feature, 0, args, error) from error
        if value is None or (type(value) is self.feature.dtype and type(value) in _AS_IT_IS):
            return value
        if type(value) is int and self.feature.dtype is int and _LEAST <= value <= _MOST:
            return value
        return returned(self.feature, [value])[0]

    def many(self, columns: Mapping[str, Sequence[object]], read_columns: Sequence[Sequence[object]], count: int) -> list[object]:
        arg_columns = [
            read_columns[index] if field is None else list(map(field[1], columns[field[0]]))
            for field, index in zip(self.fields, self.places, strict=True)
        ]
        values: list[object] = []
        function = self.feature.function
        try:
            for row in zip(*arg_columns, strict=True) if arg_columns else ((),) * count:
                values.append(function(*row))  # noqa: PERF401 (the rows done so far say which one failed)
        except Exception as error:
            raise failed(self.feature, len(values), [column[len(values)] for column in arg_columns], error) from error
        if self.feature.dtype in _AS_IT_IS and set(map(type, values)) <= {self.feature.dtype, type(None)}:
            return values
        return returned(self.feature, values).to_list()


class RequestFeatureEvaluator:
    """The features of a service that are not read from its views.

    `found` are those, in the order of `names`; what third parties have answered stands in a request, under the names of the features.
    What comes out is all that the service has, in its own order, and a status for each: places in `events.statuses.STATUSES`.

    Raises:
        KeyError: a request lacks a field.
        UnusualValueError: a field of a kind that the general way has to judge.
        DataError: a function fails, or returns another type than it says.
    """

    def __init__(self, service: FeatureService, names: Sequence[str]) -> None:
        self._fetched = [
            (name, _TYPED[dtype])
            for http in service.http_features
            for name, (_, dtype) in zip(http.feature_names, http.columns.values(), strict=True)
        ]
        names = [*names, *(name for name, _ in self._fetched)]
        at = {name: index for index, name in enumerate(names)}
        self._fields = [(field.name, _TYPED[field.dtype]) for field in service.request_fields]
        self._functions = [_function(feature, at) for feature in service.request_features]
        own = [name for name, _ in self._fields] + [function.feature.name for function in self._functions]
        at |= {name: len(names) + index for index, name in enumerate(own)}
        order = [at[name] for name in service.feature_names]
        self._pick = (
            None if order == list(range(len(at))) else itemgetter(*order) if len(order) > 1 else itemgetter(slice(order[0], order[0] + 1))
        )

    def one(self, request: Mapping[str, object], read_values: Sequence[object], statuses: bytes) -> tuple[list[object], bytes]:
        """Values and statuses of one request."""
        if self._fetched:
            answers = [typed(request[name]) for name, typed in self._fetched]
            read_values, statuses = [*read_values, *answers], statuses + bytes(_answered(answers))
        own = [typed(request[name]) for name, typed in self._fields]
        own += [function.one(request, read_values) for function in self._functions]
        values = [*read_values, *own]
        status_codes = statuses + bytes([value is None for value in own])  # present and empty are the first two statuses
        return (values, status_codes) if self._pick is None else (list(self._pick(values)), bytes(self._pick(status_codes)))

    def many(
        self, columns: Mapping[str, Sequence[object]], read_columns: Sequence[list[object]], statuses: Sequence[bytes], count: int
    ) -> tuple[list[list[object]], list[bytes]]:
        """Those of many, for each feature."""
        for name, typed in self._fetched:
            answers = list(map(typed, columns[name]))
            read_columns, statuses = [*read_columns, answers], [*statuses, bytes(_answered(answers))]
        for name, _ in self._fields:
            _check_alike(columns[name])
        for function in self._functions:
            for field in function.fields:
                if field is not None:
                    _check_alike(columns[field[0]])
        own = [list(map(typed, columns[name])) for name, typed in self._fields]
        own += [function.many(columns, read_columns, count) for function in self._functions]
        values = [*read_columns, *own]
        status_codes = [*statuses, *(bytes([value is None for value in column]) for column in own)]
        return (values, status_codes) if self._pick is None else (list(self._pick(values)), list(self._pick(status_codes)))


def _function(feature: RequestFeature, at: Mapping[str, int]) -> _Function:
    fields = tuple((name, _TYPED[feature.fields[name]]) if name in feature.fields else None for name in feature.parameters)
    places = tuple(at[feature.inputs[name].name] if name in feature.inputs else -1 for name in feature.parameters)
    return _Function(feature, fields, places)


def _answered(values: Sequence[object]) -> Iterator[int]:
    return (MISSING if value is None else PRESENT for value in values)


def _check_alike(column: Sequence[object]) -> None:
    """Reject columns that a frame would coerce to one type."""
    kinds = set(map(type, column)) - {type(None)}
    if len(kinds) > 1 and kinds != {int, float}:
        raise UnusualValueError


def _float(value: object) -> object:
    if type(value) is float or value is None:
        return value
    if type(value) is bool or (type(value) is int and _LEAST <= value <= _MOST):
        return float(value)
    raise UnusualValueError


def _int(value: object) -> object:
    if value is None or (type(value) is int and _LEAST <= value <= _MOST):
        return value
    if type(value) is bool:
        return int(value)
    raise UnusualValueError


def _str(value: object) -> object:
    if type(value) is str or value is None:
        return value
    raise UnusualValueError


def _bool(value: object) -> object:
    if type(value) is bool or value is None:
        return value
    raise UnusualValueError


def _datetime(value: object) -> object:
    if value is None:
        return None
    if type(value) is datetime and value.tzinfo is UTC:
        return value.replace(tzinfo=_ZONE)
    raise UnusualValueError


_TYPED: Mapping[type, Typed] = {float: _float, int: _int, str: _str, bool: _bool, datetime: _datetime}
_AS_IT_IS = frozenset({float, str, bool})  # an int may be too large, and a datetime of any zone
