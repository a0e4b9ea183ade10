"""Results as JSON, field by field as `response_schema` has them. Names are encoded once, and what
features of a view share once a view.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar, cast

import msgspec

from headwater.clock import EPOCH
from headwater.events.columns import STATUSES
from headwater.online.feature_vectors import FeatureVector
from headwater.online.read_versions import ReadVersion
from headwater.serving.http.response_schema import (
    Features,
    FeatureValue,
    Prediction,
    Predictions,
    Ranked,
    RankedItem,
    fields_of,
)
from headwater.serving.serving_result import FeatureShape, ServingResult

T = TypeVar("T")

_MANY: Final = 4096  # status patterns that are cached
_WORDS: Final = tuple(f'"{word}"'.encode() for word in STATUSES)

encode: Final = msgspec.json.Encoder().encode
_STATUS: Final = tuple(b',"status":%b,' % word for word in _WORDS)
_BOOL: Final = (b"false", b"true")


def iso_timestamp(micros: int) -> str:
    """Microseconds since 1970 as ISO 8601 in UTC.

    >>> iso_timestamp(1_714_564_800_000_000)
    '2024-05-01T12:00:00.000000Z'
    """
    second, rest = divmod(micros, 1_000_000)
    return f"{_second(second)}.{rest:06}Z"


@functools.lru_cache(1024)
def _second(second: int) -> str:
    return (EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")


class ResponseEncoder:
    """Encodes the results of one feature service, or of a model over it.

    In full form, each feature is an object: value, status, and the computed fields of
    `FeatureValue`. In compact form, names, values and statuses are arrays, the computed fields are
    given once a view, and timestamps are microseconds. Requests that shared a read share its read
    versions, and the fields that depend only on these are encoded once.
    """

    def __init__(self, shape: FeatureShape) -> None:
        self.shape = shape
        self._keys = [encode(name) + b':{"value":' for name in shape.names]
        self._names = encode(list(shape.names))
        self._views = [encode(name) + b":" for name in shape.views]
        self._words: dict[bytes, bytes] = {}
        self._once: dict[str, tuple[list[ReadVersion], int, Any]] = {}
        self._head: tuple[tuple[object, ...], bytes] = (), b""

    def features(
        self, result: ServingResult, *, compact: bool = False, columns: bool = False
    ) -> bytes:
        """Features. columns: of several rows, each feature has the values and statuses of all."""
        if compact:
            return self._compact(result)
        head = _FEATURES(result)
        if isinstance(result.features, FeatureVector):
            return _closed(head, self.feature_rows(result)[0])
        if columns:
            return b'%b,"features":%b}' % (head, self._columns(result))
        return b'%b,"rows":[%b]}' % (head, b",".join(self.feature_rows(result)))  # type: ignore[arg-type]

    def predictions(self, result: ServingResult, *, one: bool, without: tuple[str, ...]) -> bytes:
        """Predictions, of `one` row or several. without: the fields among `features` and `timing`
        that were not asked for.
        """
        head = self._prediction_head(result, without)
        rows = (
            [None] * len(result.predicted) if "features" in without else self.feature_rows(result)
        )
        predictions = [
            _closed(_PREDICTION(prediction), row)
            for prediction, row in zip(result.predicted, rows, strict=True)
        ]
        return (
            b'%b,"prediction":%b}' % (head, predictions[0])
            if one
            else b'%b,"predictions":[%b]}' % (head, b",".join(predictions))
        )

    def ranked(self, result: ServingResult, *, without: tuple[str, ...]) -> bytes:
        """A ranking; `without` as of `predictions`."""
        assert result.order is not None
        head = _object(Ranked, without)(result)
        rows = (
            [None] * len(result.order.items) if "features" in without else self.feature_rows(result)
        )
        items = [
            _closed(b'{"item":%b,%b' % (encode(item), _ITEM(prediction)[1:]), row)
            for (item, prediction), row in zip(result.order.items, rows, strict=True)
        ]
        return b'%b,"items":[%b]}' % (head, b",".join(items))

    def feature_rows(self, result: ServingResult) -> list[bytes | None]:
        """The features of each row as an object; None for rows without."""
        rows: list[bytes | None] = [None] * (len(result.predicted) or result.rows)
        for part in result.parts:
            for n, row in zip(part.rows, part.encoder.feature_rows(part.result), strict=True):
                rows[n] = row
        ends: list[bytes] = (
            [] if result.features is None else self._shared(result, "ends", self._ends)
        )
        for n, values, statuses in result.feature_rows():
            parts = [
                b"%b%b%b%b" % (key, encode(value), _STATUS[status], ends[owner])
                for key, value, status, owner in zip(
                    self._keys, values, statuses, self.shape.view_indexes, strict=True
                )
            ]
            rows[n] = b"{" + b",".join(parts) + b"}"
        return rows

    def _columns(self, result: ServingResult) -> bytes:
        """Each feature with the values and statuses of all rows."""
        assert result.features is not None
        ends = [_FEATURE(version, result.t)[1:] for version in self.shape.versions(result)]
        parts = []
        for name, values, codes, owner in zip(
            self.shape.names,
            result.features.values,
            result.features.statuses,
            self.shape.view_indexes,
            strict=True,
        ):
            parts.append(
                b'%b:{"values":%b,"statuses":%b,%b}'
                % (encode(name), encode(values), self._statuses(codes), ends[owner])  # type: ignore[arg-type]
            )
        return b"{" + b",".join(parts) + b"}"

    def _compact(self, result: ServingResult) -> bytes:
        features = result.features
        assert features is not None
        if isinstance(features, FeatureVector):
            statuses = self._statuses(features.statuses)
        else:
            statuses = (
                b"[" + b",".join([self._statuses(codes) for codes in features.statuses]) + b"]"
            )
        begin, end = self._shared(result, "compact", self._around)
        return b"%b%b%b%b}" % (begin, statuses, end, encode(features.values))

    def _around(self, result: ServingResult) -> tuple[bytes, bytes]:
        """What stands before the statuses of a compact answer, and between them and the values."""
        views, last, text = [], None, b""
        # the last is of no view
        for name, version in zip(self._views, self.shape.versions(result), strict=False):
            if version is not last:  # views of one source mostly share a version
                last, text = version, _COMPACT_VIEW(version, result.t) + b"}"
            views.append(name + text)
        return b'%b,"names":%b,"statuses":' % (
            _COMPACT_HEAD(result),
            self._names,
        ), b',"views":{%b},"values":' % b",".join(views)

    def _ends(self, result: ServingResult) -> list[bytes]:
        """What follows the status of a feature, by view."""
        ends, last, end = [], None, b""
        for version in self.shape.versions(result):
            if version is not last:
                last, end = version, _FEATURE(version, result.t)[1:] + b"}"
            ends.append(end)
        return ends

    def _shared(self, result: ServingResult, name: str, make: Callable[[ServingResult], T]) -> T:
        """What `make` gives for a result, made once for all that have the same read versions."""
        assert result.features is not None
        read_versions = result.features.read_versions
        cached = self._once.get(name)
        if (
            cached is not None
            and cached[0] is read_versions
            and cached[1] == result.t
            and not result.ages
        ):
            return cast("T", cached[2])
        value = make(result)
        if not result.ages:
            self._once[name] = read_versions, result.t, value
        return value

    def _prediction_head(self, result: ServingResult, without: tuple[str, ...]) -> bytes:
        """The fields of an answer before its predictions."""
        if "timing" not in without:
            return _object(Predictions, without)(result)
        head_of = result.name, result.version, result.level, result.t, without, result.arms
        if self._head[0] != head_of:
            self._head = head_of, _object(Predictions, without)(result)
        return self._head[1]

    def _statuses(self, statuses: bytes) -> bytes:
        """Statuses as an array of names; frequent patterns are cached."""
        words = self._words.get(statuses)
        if words is None:
            words = b"[" + b",".join([_WORDS[code] for code in statuses]) + b"]"
            if len(self._words) < _MANY:
                self._words[statuses] = words
        return words


@functools.cache
def _object(
    kind: type[msgspec.Struct], without: tuple[str, ...] = (), *, micros: bool = False
) -> Callable[..., bytes]:
    """Encodes the computed fields of a struct as a JSON object, without its closing brace. micros:
    timestamps as integers.
    """
    fields = [
        (field, *_form(field.kind, micros=micros))
        for field in fields_of(kind)
        if field.name not in without
    ]
    template = b"{" + b",".join(
        b'"%b":%b' % (field.name.encode(), form) for field, form, _ in fields
    )
    pairs = [(field.compute, convert) for field, _, convert in fields]

    def encoded(*arguments: object) -> bytes:
        return template % tuple([convert(compute(*arguments)) for compute, convert in pairs])

    return encoded


def _closed(text: bytes, features: bytes | None) -> bytes:
    return text + b"}" if features is None else b'%b,"features":%b}' % (text, features)


def _form(kind: Any, *, micros: bool) -> tuple[bytes, Callable[[Any], object]]:  # noqa: ANN401 (of a field)
    """How a field stands in a template of bytes, and what its value is converted by."""
    if kind is bool:
        return b"%b", _BOOL.__getitem__
    if kind is float:
        return b"%.6f", float
    if kind is datetime and micros:
        return b"%d", int
    return (b"%b", encode) if kind is not datetime else (b'"%b"', _timestamp)


def _timestamp(micros: int) -> bytes:
    return iso_timestamp(micros).encode()


_FEATURES, _FEATURE, _PREDICTION, _ITEM = (
    _object(Features),
    _object(FeatureValue),
    _object(Prediction),
    _object(RankedItem),
)
_COMPACT_HEAD, _COMPACT_VIEW = _object(Features, micros=True), _object(FeatureValue, micros=True)
