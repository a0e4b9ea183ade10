"""Request features, evaluated in plain Python, once per row; with request fields and third-party
answers they complete what was read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Final, NamedTuple

from headwater.definitions.feature_service import FeatureService
from headwater.definitions.request_feature import RequestFeature
from headwater.events.columns import MISSING, PRESENT
from headwater.online.read_versions import FALLBACK
from headwater.online.request_features import call_row, call_rows, returned

_LEAST, _MOST = -(2**63), 2**63 - 1
# an int may be too large, and a datetime of any zone
_AS_IT_IS: Final = frozenset({float, str, bool})


class _Field(NamedTuple):
    """A field of the request; `real` where an integer is to be a float."""

    name: str
    real: bool

    def value(self, request: Mapping[str, object]) -> object:
        value = request[self.name]
        return float(value) if self.real and value is not None else value  # type: ignore[arg-type]

    def column(self, request: Mapping[str, Sequence[object]]) -> Sequence[object]:
        return (
            [self.value({self.name: value}) for value in request[self.name]]
            if self.real
            else request[self.name]
        )


@dataclass(frozen=True)
class _Function:
    """A request feature: for each parameter the request's field, or the place of the feature that
    fills it.
    """

    feature: RequestFeature
    arguments: tuple[_Field | int, ...]

    @cached_property
    def _plain(self) -> list[tuple[str, int]] | None:
        """The name of each field, or the place of the feature; None where a field is to be
        converted.
        """
        if any(isinstance(argument, _Field) and argument.real for argument in self.arguments):
            return None
        return [
            (argument.name, -1) if isinstance(argument, _Field) else ("", argument)
            for argument in self.arguments
        ]

    def one(self, request: Mapping[str, object], read: Sequence[object]) -> object:
        plain = self._plain
        if plain is None:
            args = [
                argument.value(request) if isinstance(argument, _Field) else read[argument]
                for argument in self.arguments
            ]
        else:
            args = [request[name] if name else read[position] for name, position in plain]
        value = call_row(self.feature, args)
        if value is None or (type(value) is self.feature.dtype and type(value) in _AS_IT_IS):
            return value
        if type(value) is int and self.feature.dtype is int and _LEAST <= value <= _MOST:
            return value
        return returned(self.feature, [value])[0]

    def many(
        self, request: Mapping[str, Sequence[object]], read: Sequence[Sequence[object]], count: int
    ) -> list[object]:
        columns = [
            argument.column(request) if isinstance(argument, _Field) else read[argument]
            for argument in self.arguments
        ]
        values = call_rows(self.feature, columns, count)
        if self.feature.dtype in _AS_IT_IS and set(map(type, values)) <= {
            self.feature.dtype,
            type(None),
        }:
            return values
        return returned(self.feature, values).to_list()


class RequestFeatureEvaluator:
    """Completes the features of a service: third-party answers, request fields and request features
    follow what was read of views.

    Third-party answers stand in the request under the names of their features; those that it lacks
    are fallback values. The values of the request are of the declared types (see `row_schema`).
    Results are in the order of the service, each with its status: an index into
    `events.statuses.STATUSES`.

    Args:
        service: the features.
        names: of those that are read, in the order of `read`.
        whole: the fields of the request that are integers; a declaration may want them as floats.

    Raises, from a request:
        DataError: a function raises, or returns another type than it says.
    """

    def __init__(
        self, service: FeatureService, names: Sequence[str], whole: Collection[str]
    ) -> None:
        self._answers = [
            (name, http.fallback[column])
            for http in service.http_features
            for name, column in zip(http.feature_names, http.columns, strict=True)
        ]
        names = [*names, *(name for name, _ in self._answers)]
        at = {name: index for index, name in enumerate(names)}

        def field(name: str, dtype: type) -> _Field:
            return _Field(name, dtype is float and name in whole)

        self._fields = [field(member.name, member.dtype) for member in service.request_fields]
        self._functions = [
            _Function(
                feature,
                tuple(
                    field(name, feature.fields[name])
                    if name in feature.fields
                    else at[feature.inputs[name].name]
                    for name in feature.parameters
                ),
            )
            for feature in service.request_features
        ]
        added = [member.name for member in self._fields] + [
            function.feature.name for function in self._functions
        ]
        at |= {name: len(names) + index for index, name in enumerate(added)}
        order = [at[name] for name in service.feature_names]
        self._pick = (
            None
            if order == list(range(len(at)))
            else itemgetter(*order)
            if len(order) > 1
            else itemgetter(slice(order[0], order[0] + 1))
        )

    def one(
        self, request: Mapping[str, object], read: Sequence[object], statuses: bytes
    ) -> tuple[list[object], bytes]:
        """Values and statuses of one request."""
        for name, fallback in self._answers:
            value = request.get(name, fallback)
            read, statuses = (
                [*read, value],
                statuses + bytes([_answered(value) if name in request else FALLBACK]),
            )
        request_values = [field.value(request) for field in self._fields]
        request_values += [function.one(request, read) for function in self._functions]
        values = [*read, *request_values]
        # present and empty are the first two statuses
        status_codes = statuses + bytes([value is None for value in request_values])
        return (
            (values, status_codes)
            if self._pick is None
            else (list(self._pick(values)), bytes(self._pick(status_codes)))
        )

    def many(
        self,
        request: Mapping[str, Sequence[object]],
        read: Sequence[list[object]],
        statuses: Sequence[bytes],
        count: int,
    ) -> tuple[list[list[object]], list[bytes]]:
        """The values and statuses of each feature for many requests, which stand in columns."""
        for name, fallback in self._answers:
            values = list(request[name]) if name in request else [fallback] * count
            codes = bytes(map(_answered, values)) if name in request else bytes([FALLBACK]) * count
            read, statuses = [*read, values], [*statuses, codes]
        added = [list(field.column(request)) for field in self._fields]
        added += [function.many(request, read, count) for function in self._functions]
        columns = [*read, *added]
        status_codes = [
            *statuses,
            *(bytes([value is None for value in column]) for column in added),
        ]
        return (
            (columns, status_codes)
            if self._pick is None
            else (list(self._pick(columns)), list(self._pick(status_codes)))
        )


def _answered(value: object) -> int:
    return MISSING if value is None else PRESENT
