"""The record of a key in an online store, as bytes: keys, sections and frames.

A record of an online store: the states of one key in all views that share its source and keys,
each in a section of its own.

Words of eight bytes, little-endian: FORMAT, the number of sections and that of words (see
`head_of`); through; the
directory: of each section, in rising order, the tiles fingerprint of its view as an integer, and
the word at which it begins; then the sections, each as `tiles` has it, with a `through` of 0.
The record is complete through `through`: the commit sequence of its partition, or T of a cut.

A view is filled, rebuilt or dropped by its own sections; `view_state.State` has the first commit
that they are complete from.

Encode entity keys as bytes: equal keys have equal bytes. Encodes columns of events and single
values of requests.
"""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import cached_property
from typing import Final, TypeVar, cast

import numpy as np
import polars as pl

from headwater.definitions.feature_view import FeatureView
from headwater.errors import DataError, StoreError
from headwater.events.columns import encode
from headwater.kernel.arrays import I64, NOTHING
from headwater.kernel.compile_cache import njit
from headwater.stores import OnlineStore, keyspace

_WORD = struct.Struct("<q")

FORMAT: Final = 2

HEAD: Final = 2

# where the number of sections and that of words begin in the first word, as bits
_COUNT, _SIZE = 8, 24


@njit()
def head_of(sections: int, words: int) -> int:
    """The first word of a record, by the number of its sections and that of its words."""
    return FORMAT | sections << _COUNT | words << _SIZE


EMPTY: Final = struct.pack("<2q", head_of(0, HEAD), -1)
"""A record without sections."""

Get = Callable[[Sequence[bytes]], Sequence[bytes | None]]


def number_of(tiles: str) -> int:
    """A tiles fingerprint as the directory has it.

    >>> number_of("00000000000000ff"), number_of("ffffffffffffffff")
    (255, -1)
    """
    return int.from_bytes(bytes.fromhex(tiles), "big", signed=True)


def section(record: bytes | None, tiles: str) -> bytes:
    """A view's section of a record; empty where there is none.

    Raises:
        StoreError: a record of another format.
    """
    return _sections_of(record).get(number_of(tiles), b"") if record else b""


def with_section(record: bytes | None, tiles: str, section: bytes) -> bytes:
    """A record with a view's section replaced and its `through` unchanged; empty if no section is
    left.

    >>> new = bytes(16) + bytes(range(48))
    >>> record = with_section(alone(bytes(64), "01" * 8), "02" * 8, new)
    >>> section(record, "02" * 8) == new, fingerprints(with_section(record, "01" * 8, b""))
    (True, ['0202020202020202'])
    """
    held = _sections_of(record) if record else {}
    held = {**held, number_of(tiles): _without_through(section)}
    sections = sorted((number, data) for number, data in held.items() if data)
    if not sections:
        return b""
    directory, begin = list[int](), HEAD + 2 * len(sections)
    for number, data in sections:
        directory += [number, begin]
        begin += len(data) // 8
    head = struct.pack(
        f"<{HEAD + len(directory)}q",
        head_of(len(sections), begin),
        through_of(record or section),
        *directory,
    )
    return b"".join([head, *(data for _, data in sections)])


def _sections_of(record: bytes) -> dict[int, bytes]:
    """The sections of a record by number."""
    (head,) = _WORD.unpack_from(record)
    if size_of(head) < 0:
        raise other_format()
    entries = struct.unpack_from(f"<{2 * count_of(head)}q", record, 8 * HEAD)
    bounds = itertools.pairwise((*entries[1::2], size_of(head)))
    return {
        number: record[8 * a : 8 * b] for number, (a, b) in zip(entries[::2], bounds, strict=True)
    }


def fingerprints(record: bytes) -> list[str]:
    """The tiles fingerprints of the views that have a section in a record.

    >>> fingerprints(alone(bytes(64), "00ff00ff00ff00ff"))
    ['00ff00ff00ff00ff']
    """
    return [number.to_bytes(8, "big", signed=True).hex() for number in _sections_of(record)]


def stored_sections(store: OnlineStore, view: FeatureView) -> Iterator[tuple[bytes, bytes]]:
    """Every record that has a section of a view: its key in the store, and the section."""
    tiles = view.tiles_fingerprint
    pairs = (
        (key, section(record, tiles))
        for key, record in store.scan(keyspace.records(view.record_group))
    )
    return ((key, stored) for key, stored in pairs if stored)


def sections(records: Sequence[bytes], tiles: str) -> list[bytes]:
    """As `section`, of several records; empty bytes are no record."""
    return list(_packed_sections(_packed(records), np.arange(len(records)), tiles))


def _packed_sections(records: PackedRecords, rows: I64, tiles: str) -> PackedRecords:
    """The sections of a view of some records, by their positions."""
    first, last = np.empty((2, len(rows)), np.int64)
    spans(records.words, records.first, records.last, rows, number_of(tiles), first, last)
    return PackedRecords(records.words, first, last)


def alone(section: bytes, tiles: str) -> bytes:
    """A record with only this section; empty if the section is.

    >>> section(alone(bytes(64), "00ff00ff00ff00ff"), "00ff00ff00ff00ff") == bytes(64)
    True
    """
    if not section:
        return b""
    through = int.from_bytes(section[8:16], "little", signed=True)
    return struct.pack(
        "<4q", head_of(1, HEAD + 2 + len(section) // 8), through, number_of(tiles), HEAD + 2
    ) + _without_through(section)


def _without_through(section: bytes) -> bytes:
    return section and section[:8] + bytes(8) + section[16:]


def through_of(record: bytes) -> int:
    """The commit sequence, or the T of a cut, that a record is complete through."""
    return int.from_bytes(record[8:16], "little", signed=True)


class KeyRecords:
    """The records of some keys, read once, for replacing sections of several views.

    Args:
        get: reads of the store.
        group: `FeatureView.record_group` of the views.
        partition: whose part of the keys' events they hold.
    """

    def __init__(self, get: Get, group: str, partition: str | None) -> None:
        self._get, self._group, self._partition = get, group, partition
        self._keys: list[bytes] = []
        self._row: dict[bytes, int] | None = {}  # of each key; None until it is needed
        self._places: list[bytes] = []
        self._records = PackedRecords.pack([])
        # by view: the rows, and the section of each
        self._new: dict[str, tuple[I64, PackedRecords]] = {}

    def fetcher(self, tiles: str) -> Callable[[list[bytes]], PackedRecords]:
        """A `view_state.Fetch` that reads the sections of a view."""

        def fetch(keys: list[bytes]) -> PackedRecords:
            rows = self._rows(keys)
            return _packed_sections(self._records, rows, tiles)

        return fetch

    def put(self, tiles: str, new: Mapping[bytes, bytes]) -> None:
        """Replace the sections of a view, by key; empty ones are removed."""
        keyed = KeyedRecords.pack(new)
        self._new[tiles] = self._rows(keyed.order), keyed.packed

    def changes(self, through: int, kept: Collection[str] = ()) -> dict[bytes, bytes | None]:
        """The records to store, complete through `through`.

        kept: the tiles fingerprints of the other views whose sections stay; those of all where
        there are none.
        """
        count = len(self._keys)
        names = sorted(self._new, key=number_of)
        replaced = np.zeros((len(names), count), np.bool_)
        first, last = np.zeros((2, len(names), count), np.int64)
        parts, begin = [], 0
        for v, name in enumerate(names):
            rows, new = self._new[name]
            replaced[v, rows] = True
            first[v, rows], last[v, rows] = begin + new.first, begin + new.last
            parts.append(new.words)
            begin += len(new.words)
        flat = parts[0] if len(parts) == 1 else np.concatenate([NOTHING, *parts])
        old = self._records
        out = np.empty(len(old.words) + len(flat) + count * (HEAD + 2 * len(names)), np.int64)
        out_at = np.empty(count + 1, np.int64)
        fingerprints, others = (
            np.array(list(map(number_of, tiles_names)), np.int64) for tiles_names in (names, kept)
        )
        assemble(
            old.words,
            old.first,
            old.last,
            fingerprints,
            replaced,
            flat,
            first,
            last,
            others,
            through,
            out,
            out_at,
        )
        assembled = PackedRecords.between(out[: out_at[-1]], out_at)
        return dict(zip(self._places, assembled.cut(None), strict=True))

    def _rows(self, keys: list[bytes]) -> I64:
        """The positions of these keys among the keys read so far; missing ones are read now."""
        if keys == self._keys:
            return np.arange(len(keys))
        if not self._keys:
            self._keys, self._row = keys, None
            self._records = self._stored(keys)
            return np.arange(len(keys))
        if self._row is None:
            self._row = {key: row for row, key in enumerate(self._keys)}
        row_of = self._row
        fresh = [key for key in keys if key not in row_of]
        if fresh:
            self._records = self._records.followed_by(self._stored(fresh))
            row_of |= {key: row for row, key in enumerate(fresh, len(self._keys))}
            self._keys = [*self._keys, *fresh]
        return np.fromiter(map(row_of.__getitem__, keys), np.int64, len(keys))

    def _stored(self, keys: list[bytes]) -> PackedRecords:
        places = keyspace.places(self._group, keys, self._partition)
        self._places += places
        stored = self._get(places)
        return _packed(
            [record or b"" for record in stored]
            if None in stored
            else cast("Sequence[bytes]", stored)
        )


class GroupedRecords:
    """`KeyRecords` of several groups, in one partition."""

    def __init__(self, get: Get, partition: str | None) -> None:
        self._get, self._partition = get, partition
        self._groups: dict[str, KeyRecords] = {}

    def of_view(self, view: FeatureView) -> KeyRecords:
        """The records with the view's sections."""
        group = view.record_group
        return self._groups.setdefault(group, KeyRecords(self._get, group, self._partition))

    def changes(self, through: int, kept: Collection[str] = ()) -> dict[bytes, bytes | None]:
        """As `KeyRecords.changes`, of all groups."""
        changes: dict[bytes, bytes | None] = {}
        for records in self._groups.values():
            changes |= records.changes(through, kept)
        return changes


def _packed(records: Sequence[bytes]) -> PackedRecords:
    """Records one after the other.

    Raises:
        StoreError: a record of another format.
    """
    packed = PackedRecords.pack(records)
    if not (packed.heads & 255 == FORMAT).all():
        raise other_format()
    return packed


def other_format() -> StoreError:
    """The error for a record of an unknown format."""
    return StoreError(
        f"the store holds a record of a format that this version does not read; it reads {FORMAT}"
    )


_None = TypeVar("_None", bytes, None)


@dataclass(frozen=True, eq=False)
class PackedRecords:
    """Records, or sections of them: words of all, and where each begins and ends among these; equal
    where there is none.

    >>> packed = PackedRecords.pack([bytes(16), b"", bytes(8)])
    >>> (
    ...     len(packed),
    ...     packed.first.tolist(),
    ...     packed.last.tolist(),
    ...     list(packed) == [bytes(16), b"", bytes(8)],
    ... )
    (3, [0, 2, 2], [2, 2, 3], True)
    """

    words: I64
    first: I64
    last: I64

    @classmethod
    def pack(cls, records: Sequence[bytes]) -> PackedRecords:
        """Join records; empty bytes are none."""
        at = np.zeros(len(records) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, records), np.int64, len(records)) >> 3, out=at[1:])
        return cls.between(np.frombuffer(b"".join(records), np.int64), at)

    @classmethod
    def between(cls, words: I64, at: I64) -> PackedRecords:
        """Records that stand one after the other; `at` is where each begins, and the end: int64
        (records + 1).
        """
        return cls(words, at[:-1], at[1:])

    @property
    def heads(self) -> I64:
        """The first word of each record that is not empty."""
        return self.words[self.first[self.last > self.first]]

    def followed_by(self, others: PackedRecords) -> PackedRecords:
        """These and then others."""
        begin = len(self.words)
        bounds = zip((self.first, self.last), (others.first, others.last), strict=True)
        return PackedRecords(
            np.concatenate([self.words, others.words]),
            *(np.concatenate([a, b + begin]) for a, b in bounds),
        )

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.cut(b""))

    def cut(self, none: _None) -> list[bytes | _None]:
        """The records as bytes, with `none` in place of empty ones."""
        data = self.words.tobytes()
        return [
            data[a:b] or none
            for a, b in zip((self.first * 8).tolist(), (self.last * 8).tolist(), strict=True)
        ]


class KeyedRecords(Mapping[bytes, bytes]):
    """A packed record for each key.

    Args:
        order: the keys, each once.
        packed: their records, in this order.
    """

    def __init__(self, order: list[bytes], packed: PackedRecords) -> None:
        self.order, self.packed = order, packed

    @classmethod
    def pack(cls, records: Mapping[bytes, bytes]) -> KeyedRecords:
        """Pack the records of some keys."""
        return (
            records
            if isinstance(records, KeyedRecords)
            else cls(list(records), PackedRecords.pack(list(records.values())))
        )

    @cached_property
    def _by_key(self) -> dict[bytes, bytes]:
        return dict(zip(self.order, self.packed, strict=True))

    def __getitem__(self, key: bytes) -> bytes:
        return self._by_key[key]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)


@njit()
def size_of(head: int) -> int:
    """The number of a record's words, by the first; -1 where the record is of another format."""
    return head >> _SIZE if head & 255 == FORMAT else -1


@njit()
def count_of(head: int) -> int:
    """The number of a record's sections, by its first word."""
    return head >> _COUNT & 0xFFFF


@njit()
def section_at(words, record, fingerprint):  # type: ignore[no-untyped-def]
    """The word at which a view's section of a record begins; -1 where it has none."""
    for entry in range(record + HEAD, record + HEAD + 2 * count_of(words[record]), 2):
        if words[entry] == fingerprint:
            return record + words[entry + 1]
    return -1


@njit()
def spans(words, record_first, record_last, rows, fingerprint, first, last):  # type: ignore[no-untyped-def]
    """Where the section of a view begins and ends in some records, by their positions `rows`; equal
    where a record has none.
    """
    for n, r in enumerate(rows):
        first[n] = last[n] = record_first[r]
        if record_last[r] == record_first[r]:
            continue
        begin, count = record_first[r] + HEAD, count_of(words[record_first[r]])
        for i in range(count):
            if words[begin + 2 * i] == fingerprint:
                first[n] = record_first[r] + words[begin + 2 * i + 1]
                last[n] = (
                    record_first[r] + words[begin + 2 * i + 3] if i + 1 < count else record_last[r]
                )


@njit()
def assemble(  # type: ignore[no-untyped-def]
    words, old_first, old_last, fingerprints, replaced, new, first, last, kept, through, out, out_at
):
    """Records with sections replaced, in the order of fingerprints.

    words, old_first, old_last: the old records, and where each begins and ends. fingerprints:
    rising, of the sections that are replaced where `replaced`, bool (views, records), says so.
    first, last: where each new one stands in `new`; equal where there is none. kept: fingerprints
    of the other sections that stay; all where it is empty. out has room for all; out_at is where
    each record begins. A record without sections has no words.
    """
    q = 0
    for r in range(len(old_first)):
        out_at[r] = q
        begin = old_first[r] + HEAD
        count = count_of(words[old_first[r]]) if old_last[r] > old_first[r] else 0
        for turn in range(2):  # first the directory, then the sections
            i, v, sections = 0, 0, 0
            while i < count or v < len(fingerprints):
                old_only = v == len(fingerprints) or (
                    i < count and words[begin + 2 * i] < fingerprints[v]
                )
                both = not old_only and i < count and words[begin + 2 * i] == fingerprints[v]
                old = old_only or (both and not replaced[v, r])
                fingerprint = words[begin + 2 * i] if old_only else fingerprints[v]
                source, low, high = words, 0, 0
                if old:
                    low = old_first[r] + words[begin + 2 * i + 1]
                    high = old_first[r] + words[begin + 2 * i + 3] if i + 1 < count else old_last[r]
                    stays = len(kept) == 0 or not old_only
                    for kept_fingerprint in kept:
                        stays = stays or kept_fingerprint == fingerprint
                    if not stays:
                        high = low
                elif replaced[v, r]:
                    source, low, high = new, first[v, r], last[v, r]
                i += old_only or both
                v += not old_only
                if high == low:
                    continue
                if turn == 0:
                    out[q + HEAD + 2 * sections] = fingerprint
                    out[q + HEAD + 2 * sections + 1] = high - low  # its size, until all are known
                else:
                    target = q + out[q + HEAD + 2 * sections + 1]
                    out[target : target + high - low] = source[low:high]
                    out[target + 1] = 0  # the record has what it is complete through
                sections += 1
            if sections == 0:
                break
            if turn == 0:
                size = HEAD + 2 * sections
                for n in range(sections):
                    here = out[q + HEAD + 2 * n + 1]
                    out[q + HEAD + 2 * n + 1] = size
                    size += here
                out[q], out[q + 1] = head_of(sections, size), through
            else:
                q += size_of(out[q])
    out_at[len(old_first)] = q


EncodeValue = Callable[[object], bytes | None]
"""A value as bytes; None for a value that no key of the dtype can have."""

LEAST, MOST = -(2**63), 2**63 - 1

PACK: Final = struct.Struct(">q").pack

_EPOCH, _EPOCH_DAY = datetime(1970, 1, 1), date(1970, 1, 1).toordinal()  # noqa: DTZ001 (the offset is taken out before)

_MICROSECOND = timedelta(microseconds=1)

_EPOCH_UTC = _EPOCH.replace(tzinfo=UTC)

_FEW_DIGITS = 18  # those of an integer of 64 bits

_EXACT = Context(prec=60, traps=[Inexact, InvalidOperation])  # no digit of a decimal is lost

_HEADS: Final = tuple(size.to_bytes(4, "big") for size in range(256))


def key_bytes(keys: pl.DataFrame) -> list[bytes]:
    """Keys, none of them null, as bytes that are equal where the keys are: each value whole, with
    its length before it but for the last.

    Raises:
        DataError: a key that is a float.
    """
    parts = []
    for series in keys:
        dtype = series.dtype
        if dtype.is_float():
            raise DataError(
                f"the key {series.name!r} is a float; floats that look equal may differ, so cast "
                "it to integers or strings"
            )
        if dtype in (pl.String, pl.Categorical, pl.Enum):
            parts.append([text.encode() for text in series.cast(pl.String).to_list()])
        elif dtype == pl.Binary:
            parts.append(series.to_list())
        elif dtype.is_decimal():
            parts.append([integer(value) for value in series.to_physical().to_list()])
        elif dtype in (pl.UInt64, pl.Int128, pl.UInt128):
            parts.append([integer(value) for value in series.to_list()])
        else:
            whole = (
                series.cast(pl.Int64)
                if dtype.is_integer() or dtype == pl.Boolean
                else encode(series)[0]
            )
            data = whole.to_numpy().astype(">i8").tobytes()
            parts.append([data[i : i + 8] for i in range(0, len(data), 8)])
    if len(parts) == 1:
        return parts[0]
    return [
        b"".join([*map(with_length, values[:-1]), values[-1]])
        for values in zip(*parts, strict=True)
    ]


def with_length(value: bytes) -> bytes:
    """A value that is not the last of a key, with its length before it."""
    size = len(value)
    return (_HEADS[size] if size < len(_HEADS) else size.to_bytes(4, "big")) + value


def integer(value: int) -> bytes:
    """An integer of at most 128 bits.

    >>> integer(1).hex(), integer(2**63).hex()
    ('0000000000000001', '758000000000000000')
    """
    if LEAST <= value <= MOST:
        return PACK(value)
    return (
        b"u" + value.to_bytes(8, "big")
        if 0 < value < 2**64
        else b"w" + value.to_bytes(17, "big", signed=True)
    )


def value_encoder(dtype: pl.DataType) -> tuple[type, EncodeValue] | None:
    """The class that values of the dtype have in Python, and their encoder, as `key_bytes` encodes
    a column of them; None for other dtypes.

    Integers, whose ranges differ, have encoders of their own in `online.key_encoder`.
    """
    if isinstance(dtype, pl.Datetime):
        return datetime, lambda value: PACK(micros(cast("datetime", value)))
    if isinstance(dtype, pl.Decimal):
        scale = dtype.scale
        return Decimal, lambda value: _decimal(cast("Decimal", value), scale)
    if isinstance(dtype, pl.Duration):
        unit = {"ns": 1000, "us": 1}.get(dtype.time_unit, 0)
        return timedelta, lambda value: PACK(_duration(cast("timedelta", value), unit))
    others: dict[pl.DataType, tuple[type, EncodeValue]] = {
        pl.Date(): (date, lambda value: PACK(cast("date", value).toordinal() - _EPOCH_DAY)),
        pl.Time(): (time, lambda value: PACK(_nanos(cast("time", value)))),
        pl.Boolean(): (bool, lambda value: PACK(cast("bool", value))),
        pl.Binary(): (bytes, lambda value: cast("bytes", value)),
    }
    return others.get(dtype)


def decoded_keys(encoded: bytes, dtype: pl.DataType) -> object:
    """The value that was encoded; of a string or of binary that was too long to be stored whole,
    the stored rest.
    """
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return encoded.decode(errors="replace")
    if dtype == pl.Binary:
        return encoded
    whole = int.from_bytes(
        encoded if len(encoded) == 8 else encoded[1:], "big", signed=len(encoded) != 9
    )
    if isinstance(dtype, pl.Decimal):
        return Decimal(whole).scaleb(-dtype.scale)
    if isinstance(dtype, pl.Datetime):
        return pl.Series([whole], dtype=pl.Datetime("us", dtype.time_zone))[0]
    return whole if dtype.is_integer() else pl.Series([whole]).cast(dtype, strict=False)[0]


def micros(value: datetime) -> int:
    """A timestamp in microseconds since the epoch; one without a time zone as if it were in UTC."""
    if value.tzinfo is not None:
        try:
            return (value - _EPOCH_UTC) // _MICROSECOND
        except TypeError:  # the zone gives no offset
            pass
    offset = value.utcoffset()
    since = value.replace(tzinfo=None) - _EPOCH
    return (since if not offset else since - offset) // _MICROSECOND


def _decimal(value: Decimal, scale: int) -> bytes | None:
    try:
        scaled = value.scaleb(scale, _EXACT)
        if scaled.adjusted() < _FEW_DIGITS and (whole := int(scaled)) == scaled:
            return PACK(whole)
    except (ArithmeticError, ValueError):  # no number, or digits beyond those of the context
        pass
    return _any_decimal(value, scale)


def _any_decimal(value: Decimal, scale: int) -> bytes | None:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return None  # no number
    whole, shift = int("".join(map(str, digits))), exponent + scale
    if shift < 0:
        whole, rest = (
            divmod(whole, 10**-shift) if -shift < 40 + len(digits) else (0, int(whole > 0))
        )
        if rest:
            return None
    elif whole:
        if shift > 40:
            return None
        whole *= 10**shift
    return integer(-whole if sign else whole) if whole < 2**127 else None


def _duration(value: timedelta, unit: int) -> int:
    whole = value // _MICROSECOND
    return whole * unit if unit else whole // 1000


def _nanos(value: time) -> int:
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 10**9 + value.microsecond * 1000


def frame_bytes(frame: pl.DataFrame) -> bytes:
    """A frame as bytes, which have nothing but its rows: a view of a text, as polars has it, would
    take the texts of rows along that a filter has left out.
    """
    out = io.BytesIO()
    frame.write_ipc_stream(out, compression="lz4", compat_level=pl.CompatLevel.oldest())
    return out.getvalue()


def frame_of(data: bytes) -> pl.DataFrame:
    """Decode the bytes of `encoded`."""
    return pl.read_ipc_stream(io.BytesIO(data))
