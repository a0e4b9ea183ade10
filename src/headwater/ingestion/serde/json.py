"""Flat JSON records as columns, by compiled loops or msgspec, and their timestamps.

JSON: an object a record.

Flat JSON objects of a known schema to columns by compiled loops; records that these are not
certain of are left to msgspec.

Compiled loops that read flat JSON objects of a known schema into columns.

They read a record only if they are certain to agree with msgspec, and mark every other record for
msgspec: escapes, invalid UTF-8, duplicate fields, nested values, exponents, integers of more than
18 digits, decimals beyond 2^53, -0, timestamps of an unusual shape, and invalid JSON.

The payloads of a batch of records in one buffer, so that compiled code reads them without a
Python object for each.

Timestamps of records, parsed to microseconds UTC.

Vectorized parsing of ISO 8601 strings of the usual shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, overload
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import polars as pl

from headwater import clock
from headwater.definitions.connectors import Stream, Timestamps
from headwater.kernel.addresses import byte
from headwater.kernel.arrays import F64, I64, U8, Bool
from headwater.kernel.compile_cache import njit


def reader(stream: Stream, row: type[msgspec.Struct]) -> Callable[[bytes], msgspec.Struct]:
    """The decoder of one record. Of a repeated name, the last value counts; names outside of the
    schema are skipped.
    """
    del stream
    return msgspec.json.Decoder(row).decode


_INT64: Final = (-(2**63), 2**63 - 1)

STRING, INTEGER, FLOAT, BOOLEAN, TIMESTAMP, DATE = range(6)

_KINDS: Final[Mapping[object, tuple[int, int, int]]] = {
    pl.String: (STRING, 0, 0),
    pl.Categorical: (STRING, 0, 0),
    pl.Enum: (STRING, 0, 0),
    pl.Boolean: (BOOLEAN, 0, 0),
    **{
        kind: (INTEGER, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        for kind, bits in ((pl.Int8, 8), (pl.Int16, 16), (pl.Int32, 32))
    },
    pl.Int64: (INTEGER, *_INT64),
    **{
        kind: (INTEGER, 0, 2**bits - 1)
        for kind, bits in ((pl.UInt8, 8), (pl.UInt16, 16), (pl.UInt32, 32))
    },
    pl.UInt64: (INTEGER, 0, _INT64[1]),
    pl.Float32: (FLOAT, 0, 0),  # what the loops read is never too large for it
    pl.Float64: (FLOAT, 0, 0),
    pl.Date: (DATE, 0, 0),
}

_LARGEST: Final = 2**31  # bytes: polars numbers the bytes of a string by 32 bits


@dataclass(frozen=True, eq=False)
class Payloads(Sequence["bytes | None"]):
    """The n payloads of a batch: a sequence of bytes, and None for a tombstone.

    data: uint8, the buffer. begin: int64 (n), where each payload begins in it. size: int64 (n), its
    bytes; -1 for a tombstone.

    >>> payloads = Payloads.pack([b"one", None, b""])
    >>> list(payloads), list(payloads[1:])
    ([b'one', None, b''], [None, b''])
    """

    data: U8
    begin: I64
    size: I64

    @classmethod
    def pack(cls, payloads: Sequence[bytes | None]) -> Payloads:
        """Payloads in one buffer; payloads that share one already stay there."""
        if isinstance(payloads, Payloads):
            return payloads
        size = np.fromiter(
            (-1 if payload is None else len(payload) for payload in payloads),
            np.int64,
            len(payloads),
        )
        data = b"".join([payload for payload in payloads if payload is not None])
        begin = np.cumsum(np.maximum(size, 0)) - np.maximum(size, 0)
        return cls(np.frombuffer(data, np.uint8), begin, size)

    def __len__(self) -> int:
        return len(self.begin)

    @overload
    def __getitem__(self, index: int) -> bytes | None: ...
    @overload
    def __getitem__(self, index: slice) -> Payloads: ...
    def __getitem__(self, index: int | slice) -> bytes | Payloads | None:
        if isinstance(index, slice):
            return Payloads(self.data, self.begin[index], self.size[index])
        begin, size = int(self.begin[index]), int(self.size[index])
        return None if size < 0 else self.data[begin : begin + size].tobytes()


CompiledReader = Callable[[Payloads], tuple[pl.DataFrame, Bool]]
"""Rows of n payloads, with exactly the schema's columns; and bool (n), which payloads were read.
The other rows mean nothing.
"""


def compiled_reader(
    schema: Mapping[str, pl.DataType], stream: Stream, timezone: str | None
) -> CompiledReader | None:
    """The compiled reader of a stream's records; None where the format is not JSON, or it does not
    read a column.

    >>> from headwater.definitions.connectors import push
    >>> read = compiled_reader({"user": pl.Int64(), "price": pl.Float64()}, push(), None)
    >>> frame, sure = read(Payloads.pack([b'{"user": 7, "price": 2.50}', b'{"user": 1e3}']))
    >>> frame.row(0), sure.tolist()
    ((7, 2.5), [True, False])
    """
    kinds = [_kind(dtype, stream) for dtype in schema.values()]
    # without quotes and the like: `row_type` refuses these
    names = [name.encode() for name in schema]
    if stream.format != "json" or any(kind is None for kind in kinds):
        return None
    table = np.array(kinds, np.int64).T.copy()
    letters, ends = (
        np.frombuffer(b"".join(names), np.uint8),
        np.cumsum([len(name) for name in names]),
    )
    kind, bounds = table[0].copy(), table[1:].copy()

    def read(payloads: Payloads) -> tuple[pl.DataFrame, Bool]:
        shape, sure = (len(schema), len(payloads)), np.zeros(len(payloads), np.bool_)
        words, sizes, present = (
            np.zeros(shape, np.int64),
            np.zeros(shape, np.int64),
            np.zeros(shape, np.bool_),
        )
        if payloads.data.nbytes < _LARGEST:
            out = (words, words.view(np.float64), sizes, present, np.full(len(schema), -1))
            fields = (letters.ctypes.data, ends, kind, bounds)
            read_objects(
                payloads.data.ctypes.data, payloads.begin, payloads.size, fields, out, sure
            )
        columns = []
        for n, (name, dtype) in enumerate(schema.items()):
            if table[0, n] == STRING:
                column = _strings(payloads, words[n], sizes[n], present[n], sure)
                column = column if dtype == pl.String else column.cast(dtype, strict=False)
            else:
                column = _column(words[n], dtype, stream, timezone)
            columns.append(_with_nulls(column, present[n]).alias(name))
            # null where it has no such category: msgspec's way rejects it
            if column.dtype == pl.Enum:
                sure &= ~(column.is_null().to_numpy() & present[n])
        return pl.DataFrame(columns), sure

    return read


def _kind(dtype: pl.DataType, stream: Stream) -> tuple[int, int, int] | None:
    """How values of a type are read, and within which bounds."""
    if not isinstance(dtype, pl.Datetime):
        return _KINDS.get(type(dtype))
    if stream.timestamps == "iso":
        return TIMESTAMP, EARLIEST, LATEST
    unit = UNITS[stream.timestamps]
    return INTEGER, -(-EARLIEST // unit), LATEST // unit


def _column(words: I64, dtype: pl.DataType, stream: Stream, timezone: str | None) -> pl.Series:
    if isinstance(dtype, pl.Datetime):
        micros = words if stream.timestamps == "iso" else words * UNITS[stream.timestamps]
        return in_schema(pl.Series(micros), dtype, timezone)
    if dtype.is_float():
        return pl.Series(words.view(np.float64)).cast(dtype)
    if dtype == pl.Boolean:
        return pl.Series(words.astype(np.bool_))
    return pl.Series(words.astype(np.int32) if dtype == pl.Date else words).cast(
        dtype, strict=False
    )


def _strings(payloads: Payloads, begin: I64, size: I64, present: Bool, sure: Bool) -> pl.Series:
    if not len(begin):
        return pl.Series(dtype=pl.String)
    packed = separated(payloads.data.ctypes.data, begin, size, present, sure).tobytes().decode()
    return pl.Series([packed]).str.split("\0").explode()


def _with_nulls(column: pl.Series, present: Bool) -> pl.Series:
    return column if present.all() else column.set(pl.Series(~present), None)


Fields = tuple[int, I64, I64, I64]
"""names: the address of the concatenated field names in UTF-8; name_ends: int64 (f). kinds: int64
(f). bounds: int64 (2, f), the least and the largest INTEGER or TIMESTAMP.
"""

Columns = tuple[I64, F64, I64, Bool, I64]
"""The output columns. words: int64 (f, n), microseconds UTC, days, or the position of a STRING in
the data;
floats: a float64 view of them. sizes: int64 (f, n), the bytes of a STRING. present: bool (f, n),
where a value is not null. seen: int64 (f), -1 before.
"""

_POWERS: Final = 10.0 ** np.arange(23)  # each is exact

_EXACT: Final = 2**53  # integers up to this are exact as float64

_ROOM: Final = 10**17  # below this, another digit fits into int64


@njit()
def _after_space(data: int, at: int, end: int) -> int:
    """The first position from `at` that is not JSON whitespace."""
    while at < end and (
        byte(data, at) == 32 or byte(data, at) == 10 or byte(data, at) == 13 or byte(data, at) == 9
    ):
        at += 1
    return at


@njit()
def _after_character(data: int, at: int, end: int) -> int:
    """The position after a multi-byte character; -1 if it is not UTF-8 (table 3-7 of the Unicode
    standard).
    """
    first = byte(data, at)
    if first < 0xC2 or first > 0xF4:
        return -1
    more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
    if at + more >= end:
        return -1
    low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
    high = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
    if byte(data, at + 1) < low or byte(data, at + 1) > high:
        return -1
    for position in range(at + 2, at + 1 + more):
        if byte(data, position) < 0x80 or byte(data, position) > 0xBF:
            return -1
    return at + 1 + more


@njit()
def _string_end(data: int, at: int, end: int) -> int:
    """The position of the closing quote of the string that begins at `at`; -1 if the string has
    escapes or is invalid.
    """
    while at < end:
        character = byte(data, at)
        if character == 34:  # "
            return at
        if character < 32 or character == 92:  # \
            return -1
        if character < 128:
            at += 1
        else:
            at = _after_character(data, at, end)
            if at < 0:
                return -1
    return -1


@njit()
def _number(data: int, at: int, end: int) -> tuple[int, int, int, bool]:
    """The position after a decimal number, its digits as an integer, how many follow the point, and
    whether it is negative.

    The position is -1 if it is not a number, is -0, has an exponent, or has more digits than fit.
    """
    negative = at < end and byte(data, at) == 45  # -
    if negative:
        at += 1
    begin, digits, fraction = at, 0, 0
    while at < end and 48 <= byte(data, at) <= 57 and digits < _ROOM:
        digits = digits * 10 + byte(data, at) - 48
        at += 1
    if at == begin or (at > begin + 1 and byte(data, begin) == 48):
        return -1, 0, 0, False
    if at < end and byte(data, at) == 46:  # .
        at += 1
        begin = at
        while at < end and 48 <= byte(data, at) <= 57 and digits < _ROOM:
            digits = digits * 10 + byte(data, at) - 48
            at += 1
        fraction = at - begin
        if fraction == 0:
            return -1, 0, 0, False
    # e E
    if (
        at < end and (48 <= byte(data, at) <= 57 or byte(data, at) == 101 or byte(data, at) == 69)
    ) or (negative and digits == 0):
        return -1, 0, 0, False
    return at, digits, fraction, negative


@njit()
def _literal(data: int, at: int, end: int) -> int:
    """Which of null, false and true is here: 0, 1, 2; -1 for none."""
    if end - at >= 4:
        if (
            byte(data, at) == 110
            and byte(data, at + 1) == 117
            and byte(data, at + 2) == 108
            and byte(data, at + 3) == 108
        ):
            return 0
        if (
            byte(data, at) == 116
            and byte(data, at + 1) == 114
            and byte(data, at + 2) == 117
            and byte(data, at + 3) == 101
        ):
            return 2
        if (
            end - at >= 5
            and byte(data, at) == 102
            and byte(data, at + 1) == 97
            and byte(data, at + 2) == 108
            and byte(data, at + 3) == 115
            and byte(data, at + 4) == 101
        ):
            return 1
    return -1


@njit()
def _date(data: int, at: int, end: int) -> tuple[int, bool]:
    """Days since 1970 of YYYY-MM-DD, and whether the bytes are such a date."""
    if end - at != 10 or byte(data, at + 4) != 45 or byte(data, at + 7) != 45:
        return 0, False
    year, month, day = (
        digits_of(data, at, at + 4),
        digits_of(data, at + 5, at + 7),
        digits_of(data, at + 8, end),
    )
    days = days_of(year, month, day)
    return days, days != -1_000_000


@njit()
def _same(data: int, at: int, names: int, first: int, size: int) -> bool:
    """Whether the bytes at `at` equal a name."""
    for offset in range(size):  # noqa: SIM110 (compiled)
        if byte(data, at + offset) != byte(names, first + offset):
            return False
    return True


@njit()
def _field(data: int, begin: int, end: int, names: int, name_ends: I64) -> int:
    """Which field has this name; -1 for none."""
    for field in range(len(name_ends)):
        first = name_ends[field - 1] if field else 0
        if name_ends[field] - first == end - begin and _same(
            data, begin, names, first, end - begin
        ):
            return field
    return -1


@njit()
def _quoted(data: int, at: int, end: int, kind: int, low: int, high: int) -> tuple[int, int, int]:
    """The place behind the string at `at`, the word and the size that stand for it; the place is -1
    where it is not certain.
    """
    stop = _string_end(data, at + 1, end)
    if stop < 0:
        return -1, 0, 0
    if kind == STRING:
        return stop + 1, at + 1, stop - at - 1
    if kind == TIMESTAMP:
        value, fits = iso_timestamp(data, at + 1, stop)
        fits = fits and low <= value <= high
    elif kind == DATE:
        value, fits = _date(data, at + 1, stop)
    else:
        return -1, 0, 0
    return (stop + 1 if fits else -1), value, 0


@njit()
def _skipped(data: int, at: int, end: int) -> int:
    """The place behind a value that no column has; -1 where it is not certain."""
    if byte(data, at) == 34:
        stop = _string_end(data, at + 1, end)
        return -1 if stop < 0 else stop + 1
    literal = _literal(data, at, end)
    if literal >= 0:
        return at + (5 if literal == 1 else 4)
    after: int = _number(data, at, end)[0]
    return after


@njit()
def read_objects(  # noqa: C901, PLR0912, PLR0915
    data: int, begin: I64, size: I64, fields: Fields, out: Columns, sure: Bool
) -> None:
    """Read n payloads into f columns.

    data: the address of the buffer of `Payloads`; begin, size: as there. sure: bool (n), written:
    the records that were read.
    """
    names, name_ends, kinds, bounds = fields
    words, floats, sizes, present, seen = out
    for row in range(len(begin)):
        end, guess, sure[row] = begin[row] + size[row], 0, False
        at = _after_space(data, begin[row], end)
        if at >= end or byte(data, at) != 123:  # {
            continue
        at = _after_space(data, at + 1, end)
        if at < end and byte(data, at) == 125:  # }
            sure[row] = _after_space(data, at + 1, end) == end
            continue
        while at < end and byte(data, at) == 34:  # "
            first = name_ends[guess - 1] if guess else 0  # fields mostly come in one order
            field, stop = guess, at + 1 + name_ends[guess] - first
            if (
                stop >= end
                or byte(data, stop) != 34
                or not _same(data, at + 1, names, first, name_ends[guess] - first)
            ):
                stop = _string_end(data, at + 1, end)
                if stop < 0:
                    break
                field = _field(data, at + 1, stop, names, name_ends)
            at = _after_space(data, stop + 1, end)
            if at >= end or byte(data, at) != 58:  # :
                break
            at = _after_space(data, at + 1, end)
            if at >= end:
                break
            letter = byte(data, at)
            if field < 0:
                at = _skipped(data, at, end)
            elif seen[field] == row:  # twice
                break
            elif letter == 34:
                at, words[field, row], sizes[field, row] = _quoted(
                    data, at, end, kinds[field], bounds[0, field], bounds[1, field]
                )
                present[field, row] = True
            elif letter in (110, 116, 102):  # n t f
                literal = _literal(data, at, end)
                if literal < 0 or (literal > 0 and kinds[field] != BOOLEAN):
                    break
                words[field, row], present[field, row] = literal == 2, literal > 0
                at += 5 if literal == 1 else 4
            else:
                at, digits, fraction, negative = _number(data, at, end)
                value = -digits if negative else digits
                present[field, row] = True
                if kinds[field] == FLOAT and digits <= _EXACT and fraction <= 22:
                    # both are exact, so the quotient is rounded once (Clinger, 1990)
                    floats[field, row] = value / _POWERS[fraction]
                elif (
                    kinds[field] == INTEGER
                    and fraction == 0
                    and bounds[0, field] <= value <= bounds[1, field]
                ):
                    words[field, row] = value
                else:
                    break
            if at < 0:
                break
            if field >= 0:
                seen[field] = row
                guess = field + 1 if field + 1 < len(kinds) else 0
            at = _after_space(data, at, end)
            if at >= end or byte(data, at) != 44:  # ,
                sure[row] = (
                    at < end and byte(data, at) == 125 and _after_space(data, at + 1, end) == end
                )
                break
            at = _after_space(data, at + 1, end)


@njit()
def separated(data: int, begin: I64, size: I64, present: Bool, sure: Bool) -> U8:
    """The concatenated strings of a column, with a zero byte between two; strings of `read_objects`
    contain none.
    """
    total = len(begin)
    for row in range(len(begin)):
        if present[row] and sure[row]:
            total += size[row]
    packed = np.empty(total, np.uint8)
    at = 0
    for row in range(len(begin)):
        if present[row] and sure[row]:
            for address in range(begin[row], begin[row] + size[row]):
                packed[at] = byte(data, address)
                at += 1
        packed[at] = 0
        at += 1
    return packed[: total - 1]


def taken(payloads: Sequence[bytes | None], index: I64) -> Sequence[bytes | None]:
    """Some of the payloads, by index."""
    if isinstance(payloads, Payloads):
        return Payloads(payloads.data, payloads.begin[index], payloads.size[index])
    return [payloads[n] for n in index.tolist()]


def concatenated(batches: Sequence[Sequence[bytes | None]]) -> Sequence[bytes | None]:
    """The payloads of several batches, the earlier first: in one buffer if all of them are in
    buffers.
    """
    buffers = [batch for batch in batches if isinstance(batch, Payloads)]
    if not batches or len(buffers) < len(batches):
        return [payload for batch in batches for payload in batch]
    begins = np.cumsum([0, *(len(batch.data) for batch in buffers)]).tolist()
    return Payloads(
        np.concatenate([batch.data for batch in buffers]),
        np.concatenate(
            [batch.begin + begin for batch, begin in zip(buffers, begins, strict=False)]
        ),
        np.concatenate([batch.size for batch in buffers]),
    )


UNITS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}

EARLIEST: Final = -62_135_596_800_000_000  # the years that Python knows, 1 to 9999

LATEST: Final = 253_402_300_799_999_999

EXAMPLE: Final = datetime(2026, 3, 12, 14, 15, tzinfo=UTC)
"""A time for messages, which must not change with the clock."""

_SHAPE: Final = re.compile(  # what every version of Python reads alike
    r"[0-9]{4}(-[0-9]{2}-[0-9]{2}|[0-9]{4})"
    r"([T ]([01][0-9]|2[0-3])(:?[0-5][0-9](:?[0-5][0-9]([.,][0-9]+)?)?)?"
    r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?"
)


def micros_of(values: Sequence[object], timestamps: Timestamps, timezone: str | None) -> pl.Series:
    """Values as int64 microseconds UTC; null where one is null or no moment.

    A value is of the form that `timestamps` names, or a datetime or date object. A string without
    an offset is in `timezone`: the first of the two instants where it is ambiguous; null where the
    clock skips it, or where there is no `timezone`.

    >>> micros_of(["2024-05-01T12:00:00+02:00", "2024-05-01T10:00", None], "iso", "UTC").to_list()
    [1714557600000000, 1714557600000000, None]
    """
    try:
        quick = (
            _parse_strings(values) if timestamps == "iso" else _numbers(values, UNITS[timestamps])
        )
    except (TypeError, OverflowError, pl.exceptions.PolarsError):  # of several types
        quick = pl.Series([None] * len(values), dtype=pl.Int64)
    quick = quick.set(~quick.is_between(EARLIEST, LATEST), None)
    open_ = [n for n in quick.is_null().arg_true() if values[n] is not None]
    return (
        quick.scatter(open_, [_parse_one(values[n], timestamps, timezone) for n in open_])
        if open_
        else quick
    )


def in_schema(micros: pl.Series, dtype: pl.Datetime, timezone: str | None) -> pl.Series:
    """Microseconds UTC as a column of a schema's type: without a time zone it is local time in
    `timezone`.
    """
    utc = micros.cast(pl.Datetime("us", "UTC"))
    local = utc.dt.convert_time_zone(dtype.time_zone or timezone or "UTC")
    return (local if dtype.time_zone else local.dt.replace_time_zone(None)).dt.cast_time_unit(
        dtype.time_unit
    )


def _parse_strings(values: Sequence[object]) -> pl.Series:
    """Parse the timestamps of the usual shape; others are null."""
    strings = [value for value in values if value is not None]
    micros, fits = parse_iso(strings)  # type: ignore[arg-type] # else a TypeError
    parsed = pl.Series(micros, dtype=pl.Int64)
    if not fits.all():
        parsed = parsed.set(pl.Series(~fits), None)
    if len(strings) == len(values):
        return parsed
    here = [n for n, value in enumerate(values) if value is not None]
    return pl.Series([None] * len(values), dtype=pl.Int64).scatter(here, parsed)


def _numbers(values: Sequence[object], unit: int) -> pl.Series:
    """Those that are whole."""
    if not set(map(type, values)) <= {int, type(None)}:
        raise TypeError("numbers mixed with other types")
    numbers = pl.Series(values, dtype=pl.Int64)
    return numbers.set(~numbers.is_between(EARLIEST // unit, LATEST // unit), None) * unit


def _parse_one(value: object, timestamps: Timestamps, timezone: str | None) -> int | None:
    if isinstance(value, date):
        when = (
            value
            if isinstance(value, datetime)
            else datetime(value.year, value.month, value.day, tzinfo=UTC)
        )
        return _micros(when, timezone)
    if timestamps != "iso":
        is_number = (
            isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18
        )
        micros = round(value * UNITS[timestamps]) if is_number else None  # type: ignore[operator]
        return micros if micros is not None and EARLIEST <= micros <= LATEST else None
    if not isinstance(value, str) or not _SHAPE.fullmatch(value):
        return None
    try:
        return _micros(datetime.fromisoformat(value), timezone)
    except (ValueError, OverflowError):
        return None


def _micros(when: datetime, timezone: str | None) -> int | None:
    if when.tzinfo is None:
        if timezone is None:
            return None
        local = when.replace(tzinfo=ZoneInfo(timezone))
        if local.astimezone(UTC).astimezone(local.tzinfo).replace(tzinfo=None) != when:
            return None  # the clock leaps over it
        when = local
    micros = clock.micros(when)
    return micros if EARLIEST <= micros <= LATEST else None


def parse_iso(strings: Sequence[str]) -> tuple[I64, Bool]:
    """Microseconds UTC of each text, and which are of the shape 2024-05-01T10:00:00[.1 to 6
    digits](Z or +hh:mm); the others are 0.

    >>> parse_iso(["1970-01-01T00:00:01.5Z", "1970-01-01T01:00:00+01:00", "yesterday"])
    (array([1500000,       0,       0]), array([ True,  True, False]))
    """
    micros, fits = np.zeros(len(strings), np.int64), np.zeros(len(strings), np.bool_)
    ends = np.cumsum(np.fromiter(map(len, strings), np.int64, len(strings)))
    # one byte a character
    letters = np.frombuffer("".join(strings).encode("ascii", "replace"), np.uint8)
    _parse(letters.ctypes.data, ends, micros, fits)
    return micros, fits


@njit()
def digits_of(letters: int, begin: int, end: int) -> int:
    """The digits of begin:end as a number; -1 where one is none."""
    value = 0
    for i in range(begin, end):
        digit = byte(letters, i) - 48
        if digit < 0 or digit > 9:
            return -1
        value = value * 10 + digit
    return value


@njit()
def days_of(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01, by Hinnant's days_from_civil; -1_000_000 where the month has no such
    day.
    """
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    last = 29 if month == 2 and leap else 28 if month == 2 else 30 if month in (4, 6, 9, 11) else 31
    if year < 1 or month < 1 or month > 12 or day < 1 or day > last:
        return -1_000_000
    y = year - (month <= 2)
    era = y // 400
    of_era = y - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


@njit()
def iso_timestamp(letters: int, begin: int, end: int) -> tuple[int, bool]:  # noqa: C901, PLR0912 (a shape, place by place)
    """One text's microseconds, and whether it is of the shape."""
    size = end - begin
    if size < 20 or size > 32:
        return 0, False
    # - - T
    if (
        byte(letters, begin + 4) != 45
        or byte(letters, begin + 7) != 45
        or byte(letters, begin + 10) != 84
    ):
        return 0, False
    if byte(letters, begin + 13) != 58 or byte(letters, begin + 16) != 58:  # : :
        return 0, False
    days = days_of(
        digits_of(letters, begin, begin + 4),
        digits_of(letters, begin + 5, begin + 7),
        digits_of(letters, begin + 8, begin + 10),
    )
    hour, minute = (
        digits_of(letters, begin + 11, begin + 13),
        digits_of(letters, begin + 14, begin + 16),
    )
    second = digits_of(letters, begin + 17, begin + 19)
    if (
        days == -1_000_000
        or hour < 0
        or hour > 23
        or minute < 0
        or minute > 59
        or second < 0
        or second > 59
    ):
        return 0, False
    stop, behind = end - 1, 0
    if byte(letters, end - 1) != 90:  # Z
        stop = end - 6
        if stop < begin + 19 or byte(letters, stop + 3) != 58:
            return 0, False
        h, m = digits_of(letters, stop + 1, stop + 3), digits_of(letters, stop + 4, stop + 6)
        if h < 0 or h > 23 or m < 0 or m > 59:
            return 0, False
        if byte(letters, stop) == 43:  # +
            behind = (h * 60 + m) * 60
        elif byte(letters, stop) == 45:
            behind = -(h * 60 + m) * 60
        else:
            return 0, False
    micros = 0
    if stop > begin + 19:
        micros = digits_of(letters, begin + 20, stop)
        # .
        if byte(letters, begin + 19) != 46 or stop == begin + 20 or stop > begin + 26 or micros < 0:
            return 0, False
        for _ in range(begin + 26 - stop):
            micros *= 10
    return (((days * 24 + hour) * 60 + minute) * 60 + second - behind) * 1_000_000 + micros, True


@njit()
def _parse(letters: int, ends: I64, micros: I64, fits: Bool) -> None:
    begin = 0
    for n in range(len(ends)):
        micros[n], fits[n] = iso_timestamp(letters, begin, ends[n])
        begin = ends[n]
