"""Records of the serving log: a request as it was answered, as bytes.

The header of a file is JSON: an `EntryContext` (what was answered, features, views and their
fingerprints, columns of the request, stages), the dtypes that it declares as an empty Arrow stream
in base64, and the features and meanings of the `WordLayout`, if there is one. Each other record is
a request; all numbers are little-endian:

    HEAD       what follows is for one row (1) or n rows (2); how the prediction came about, its
               place in `HOWS`; whether the prediction is in the head; n; t; seconds, age,
               prediction: float64, NaN for none
    VIEWS      T, K, the last commit (-1: none, -2: a string in the tail), 1 if stale + 2 if
               incomplete: int64, for each view
    WORDS      the words of the compiled read, as they are (`state.read_plan`)
    TAIL       msgpack: the id; the request's columns; values and statuses of the features that the
               words do not hold; the prediction, if it is not in the head; how and age of each row,
               if they differ; last commits as strings; the seconds of each stage

A column, value or status is one, or n of one feature. Extension types of the tail are in `_tagged`:
strings and lists are bytes, and everything in front of the tail has the same size in every record
of one row.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast
from zoneinfo import ZoneInfo

import msgspec

from headwater.journal.format import SERVED_ROWS, record, scan
from headwater.journal.serving_log_rows import (
    AsOf,
    BatchEntry,
    EntryContext,
    Kind,
    RowEntry,
    sequence_text,
)
from headwater.kernel.arrays import I64
from headwater.state.read_plan import WordLayout, words_of
from headwater.state.view_state import dtypes_of, schema_bytes

HEAD: Final = struct.Struct("<BBHIqddd")
VIEW: Final = struct.Struct("<qqqq")
HOWS: Final = (None, "precomputed", "on_request", "default")
ROW, ROWS = 1, 2
NO_COMMIT, IN_TAIL = -1, -2

_ORIGIN_CODES: Final = {origin: code for code, origin in enumerate(HOWS)}
_HEAD: Final = HEAD.pack
_VIEW: Final = VIEW.pack
_NAN: Final = float("nan")
_PLAIN: Final = frozenset({int, float, str, bool, type(None), bytes})
_DATE, _TIME, _DURATION, _MOMENT, _INTEGER, _DECIMAL, _TEXT = range(1, 8)


class SegmentHeader(msgspec.Struct, frozen=True):
    """The first record of a segment."""

    kind: Kind
    project: str
    service: str | None
    model: str | None
    version: str | None
    arm: str | None
    level: str | None
    features: tuple[str, ...]
    views: dict[str, str]
    request: tuple[str, ...]
    stages: tuple[str, ...]
    schema: str
    words: tuple[str, ...]
    meanings: tuple[Any, ...]

    @staticmethod
    def from_context(about: EntryContext, layout: WordLayout | None) -> SegmentHeader:
        """The header of a segment."""
        return SegmentHeader(
            about.kind,
            about.project,
            about.service,
            about.model,
            about.version,
            about.arm,
            about.level,
            about.features,
            dict(about.views),
            about.request,
            about.stages,
            base64.b64encode(schema_bytes(about.schema)).decode() if about.schema else "",
            () if layout is None else tuple(layout.features),
            () if layout is None else tuple(layout.meanings),
        )

    @property
    def about(self) -> EntryContext:
        """The context of all entries."""
        schema = dtypes_of(base64.b64decode(self.schema)) if self.schema else {}
        names = (
            self.kind,
            self.project,
            self.service,
            self.model,
            self.version,
            self.arm,
            self.level,
        )
        return EntryContext(*names, self.features, self.views, self.request, schema, self.stages)

    @property
    def held(self) -> Mapping[str, int]:
        """The features whose values the words hold, and their places among the words."""
        return {
            name: position
            for position, (name, meaning) in enumerate(zip(self.words, self.meanings, strict=True))
            if meaning
        }


class SegmentEncoder:
    """Encodes the entries of one context and one layout of words.

    Raises, from `row` and `rows`:
        ValueError: values, statuses, versions or words of another number than the context says.
        TypeError, OverflowError: a value that cannot be written.
    """

    def __init__(self, about: EntryContext, layout: WordLayout | None) -> None:
        self.about, self.layout = about, layout
        header = SegmentHeader.from_context(about, layout)
        self.begin = SERVED_ROWS.begin(msgspec.json.encode(header))
        self._width, self._views, self._words = (
            len(about.features),
            len(about.views),
            len(header.words),
        )
        others = [
            position for position, name in enumerate(about.features) if name not in header.held
        ]
        self._others = _taker(others, self._width) if others else None
        self._columns = _taker(about.request, -1)
        self._one_row = words_of(self._words, 1)
        self._packed: tuple[AsOf | None, bytes, str | None] = None, b"", None
        # the last versions, which requests may share
        self._shared: tuple[Sequence[AsOf], tuple[bytes, list[str]]] = (), (b"", [])

    def row(self, entry: RowEntry) -> bytes:
        """A request of one row, as a record."""
        (
            _,
            id_,
            t,
            request,
            values,
            statuses,
            read_versions,
            prediction,
            origin,
            age,
            seconds,
            stages,
            words,
        ) = entry
        if (
            len(values) != self._width
            or len(statuses) != self._width
            or len(read_versions) != self._views
        ):
            raise ValueError(
                f"{len(values)} values and {len(statuses)} statuses of {len(read_versions)} "
                f"views; {self._said}"
            )
        try:
            columns = self._columns(request)
        except KeyError:
            columns = [request.get(name) for name in self.about.request]
        scored = type(prediction) is float
        views, texts = self._versions(read_versions)
        head = _HEAD(
            ROW,
            _ORIGIN_CODES[origin],
            scored,
            1,
            t,
            _NAN if seconds is None else seconds,
            _NAN if age is None else age,
            cast("float", prediction) if scored else _NAN,
        )
        others: Sequence[object] = ()
        codes = b""
        if self._others is not None:
            others, codes = self._others(values), bytes(self._others(statuses))
            if not _PLAIN.issuperset(map(type, others)):
                others = list(map(_tagged, others))
        if not _PLAIN.issuperset(map(type, columns)):
            columns = list(map(_tagged, columns))
        tail = (
            id_,
            columns,
            others,
            codes,
            None if scored else prediction,
            None,
            None,
            texts,
            stages,
        )
        word_bytes: Any = b""
        if words is not None:
            word_bytes = words[1][: self._one_row]
            if len(word_bytes) < self._one_row:
                raise ValueError(f"{len(word_bytes)} words, not {self._one_row}; {self._said}")
        return record(b"".join((head, views, word_bytes, packed(tail))))

    def rows(self, entry: BatchEntry) -> bytes:
        """A request of n rows, as a record."""
        (
            _,
            id_,
            t,
            request,
            values,
            statuses,
            read_versions,
            n,
            prediction,
            origin,
            age,
            seconds,
            stages,
            words,
        ) = entry
        columns: list[Any] = [request.get(name) or [None] * n for name in self.about.request]
        lists: list[Any] = [
            *columns,
            *values,
            *statuses,
            *filter(_is_list, (prediction, origin, age)),
        ]
        sizes = set(map(len, lists))
        if (
            sizes - {n}
            or len(values) != self._width
            or len(statuses) != self._width
            or len(read_versions) != self._views
        ):
            raise ValueError(
                f"{len(values)} features of {len(read_versions)} views, in columns of "
                f"{sorted(sizes)} rows, not {n}; {self._said}"
            )
        views, texts = self._versions(read_versions)
        one_age = _NAN if age is None or _is_list(age) else cast("float", age)
        head = _HEAD(
            ROWS,
            0 if _is_list(origin) else _ORIGIN_CODES[cast("str", origin)],
            0,
            n,
            t,
            _NAN if seconds is None else seconds,
            one_age,
            _NAN,
        )
        others, codes = (
            (self._others(values), b"".join(self._others(statuses)))
            if self._others is not None
            else ((), b"")
        )
        columns, others = (
            [_tagged(column) for column in columns],
            [_tagged(column) for column in others],
        )
        hows, ages = origin if _is_list(origin) else None, age if _is_list(age) else None
        tail = packed((id_, columns, others, codes, prediction, hows, ages, texts, stages))
        word_bytes = b"" if words is None else self._cut(words[1], words_of(self._words, n))
        return record(b"".join((head, views, word_bytes, tail)))

    def _versions(self, read_versions: Sequence[AsOf]) -> tuple[bytes, list[str]]:
        """The versions of all views as bytes, and the last commits that are strings."""
        if read_versions is self._shared[0]:
            return self._shared[1]
        packed, texts = [], []
        last, data, text = self._packed
        for version in read_versions:
            if version is not last:
                last = version
                T, K, commits, stale, incomplete = version
                number = commits.get(None, IN_TAIL) if commits else NO_COMMIT
                text = sequence_text(commits) if number == IN_TAIL else None
                data = _VIEW(T, K, number, stale + 2 * incomplete)
            packed.append(data)
            if text is not None:
                texts.append(text)
        self._packed = last, data, text
        self._shared = read_versions, (b"".join(packed), texts)
        return self._shared[1]

    def _cut(self, words: I64, size: int) -> Any:  # noqa: ANN401 (a buffer)
        """The words of all features, without the items of lists that follow them."""
        if len(words) < size:
            raise ValueError(f"{len(words)} words, not {size}; {self._said}")
        return words[:size]

    @property
    def _said(self) -> str:
        return f"there are {self._width} features of {self._views} views"


class ServedRecords(NamedTuple):
    """The records of a file of the serving log, as `ScannedFile`, with its header; None where that
    is damaged.
    """

    header: SegmentHeader | None
    spans: list[tuple[int, int]]
    damaged: int


def records(data: bytes, name: str) -> ServedRecords:
    """The records of a file of that name.

    Raises:
        StoreError: the file has other records, or is of another version.
    """
    header, spans, damaged = scan(data, SERVED_ROWS, name)
    if header is None:
        return ServedRecords(None, spans, damaged)
    return ServedRecords(msgspec.json.decode(header, type=SegmentHeader), spans, damaged)


def packed(fields: tuple[Any, ...]) -> bytes:
    """Values of any type as bytes."""
    try:
        return _ENCODER.encode(fields)
    except OverflowError:
        return _ENCODER.encode(_tagged(fields, large=True))


def unpacked(data: Sequence[bytes]) -> list[list[Any]]:
    """The values that `packed` encoded, of some records."""
    decoded: list[list[Any]] = _DECODER.decode(
        b"\xdd" + len(data).to_bytes(4, "big") + b"".join(data)
    )
    return decoded


def _taker(keys: Sequence[Any], width: int) -> Callable[[Any], Sequence[Any]]:
    """Takes the items at some places, or of some names; all `width` of them as they are."""
    if len(keys) == width:
        return lambda items: items
    if not keys:
        return lambda _: ()
    if len(keys) == 1:
        return lambda items, key=keys[0]: (items[key],)  # type: ignore[misc]
    return itemgetter(*keys)


def _is_list(value: object) -> bool:
    return value is not None and not isinstance(value, str | int | float)


def _tagged(value: object, *, large: bool = False) -> object:
    """A value that msgpack tells apart from others when it is read: times, durations and decimals
    are extension types.

    large: so are integers that do not fit into 64 bits.
    """
    kind = type(value)
    if kind in _PLAIN:
        return (
            msgspec.msgpack.Ext(_INTEGER, str(value).encode())
            if large and kind is int and abs(value) >= 2**63  # type: ignore[arg-type]
            else value
        )
    if isinstance(value, list | tuple):
        return (
            [_tagged(item, large=large) for item in value]
            if large or not _PLAIN.issuperset(map(type, value))
            else value
        )
    if isinstance(value, dict):
        return {key: _tagged(item, large=large) for key, item in value.items()}
    if isinstance(value, datetime):
        if value.tzinfo is UTC:
            return value
        zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else ""
        return msgspec.msgpack.Ext(_MOMENT, f"{value.isoformat()} {zone}".encode())
    for code, tagged_type, text in _TAGS:
        if isinstance(value, tagged_type):
            return msgspec.msgpack.Ext(code, text(value).encode())
    if hasattr(value, "tolist"):
        return _tagged(value.tolist(), large=large)  # an array, or a scalar of numpy
    return msgspec.msgpack.Ext(_TEXT, str(value).encode())


_TAGS: Final[Sequence[tuple[int, type, Callable[[Any], str]]]] = (
    (_DATE, date, date.isoformat),
    (_TIME, time, time.isoformat),
    (_DURATION, timedelta, lambda value: str(value // timedelta(microseconds=1))),
    (_DECIMAL, Decimal, str),
)
_UNTAGGED: Final[Mapping[int, Callable[[str], object]]] = {
    _DATE: date.fromisoformat,
    _TIME: time.fromisoformat,
    _DURATION: lambda text: timedelta(microseconds=int(text)),
    _MOMENT: lambda text: _moment(*text.split(" ")),
    _INTEGER: int,
    _DECIMAL: Decimal,
    _TEXT: str,
}


def _moment(text: str, zone: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(ZoneInfo(zone)) if zone else moment


def _untagged(code: int, data: memoryview) -> object:
    return _UNTAGGED[code](bytes(data).decode())


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_tagged)
_DECODER: Final = msgspec.msgpack.Decoder(list[list[Any]], ext_hook=_untagged)
