"""A stream is read: feeds bring records from every partition, and each record becomes a row.

Feeds: records as they come, from every partition of a stream, read on from the position where
one left off.

What the online store knows of the stream of a source, for the feed that reads it.

Records to rows: each payload becomes a row of the schema, or is refused with a reason; none
moves another.

What becomes of a payload does not depend on its neighbours, so a replay in other batches decides
alike. Flat JSON is read by compiled loops, and each record that these are not certain of by
msgspec, to the same row. Polars would read joined lines in parallel, but it turns numbers and
objects into strings, and keeps the first of two equal names where others keep the last.

The columns of a stream, and their types.

Python types for msgspec to check the fields of each record, derived from the polars schema of
the records.
"""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from functools import cached_property
from operator import attrgetter
from types import MappingProxyType
from typing import Annotated, Any, Final, Optional, Protocol, TypedDict

import msgspec
import numpy as np
import polars as pl

from headwater import clock
from headwater.connectors import scan
from headwater.definitions.connectors import (
    DEBEZIUM_COLUMNS,
    AppendedFiles,
    BrokerStream,
    Stream,
    Timestamps,
    as_table,
)
from headwater.definitions.source import Source, bottom_of, root_columns
from headwater.errors import (
    DataError,
    DefinitionError,
    FencedError,
    HeadwaterError,
    LostError,
    nearest,
)
from headwater.ingestion.partition_count import PartitionCount, count_key, partition_count
from headwater.ingestion.serde.json import (
    EXAMPLE,
    UNITS,
    Payloads,
    compiled_reader,
    concatenated,
    in_schema,
    micros_of,
    taken,
)
from headwater.kernel.arrays import I64
from headwater.rows import Rows
from headwater.stores import OnlineStore, keyspace
from headwater.stores.keyspace import identified

Position = bytes
"""A place in a partition, as its feed writes it: from there on it reads. Others store positions,
and compare them for equality alone.
"""

Assigned = Callable[[Sequence[str]], Mapping[str, Position]]

Revoked = Callable[[Sequence[str]], None]

OriginOf = Callable[[str], str]
"""What the known position of a partition counts in, as `RecordBatch.origins` gave it; "" where
nothing is known.
"""

FEEDS: Final = Rows(
    "streams",
    {
        "KafkaTopic": "headwater.ingestion.sources.kafka",
        "AppendedFiles": "headwater.ingestion.sources.appended_files",
    },
    paths=True,
)
"""By the class of a stream, the module whose `open_feed` reads it; where a broker keeps it, `look`
looks at it from outside.
"""


@dataclass(frozen=True)
class RecordBatch:
    """The n records of one poll; each partition's stand in their order there. n may be 0, where
    only positions moved.

    partitions: names unique in the stream, such as "3" (Kafka) or a file's path. partition: int64
    (n), index into partitions.
    offset: int64 (n), what identifies a record in its partition: for the archive and dead letters,
    compared with nothing.
    at: int64 (n), microseconds UTC, when the broker (or receiver) took it in.
    positions: partition name -> the position from which its records were read, and the one to read
    on from, also past skipped records (aborted transactions and the broker's own marks). The next
    poll's first position is this one's second.
    payloads: (n) raw, None for a tombstone; or frame: a polars frame (n), where the records come as
    rows. decoded: what payloads hold, where they are decoded already.
    origins: partition name -> what its offsets count in, where a stream may be replaced by another
    one of its name (Kafka: the topic's id).
    received: when the last of them was taken in by the clock of a broker, microseconds; 0 where the
    broker reports no time.
    ids: strings (n) that identify records which may come twice at different offsets, null where
    missing; None if the stream has none.
    """

    partitions: Sequence[str]
    partition: I64
    offset: I64
    at: I64
    positions: Mapping[str, tuple[Position, Position]]
    payloads: Sequence[bytes | None] = field(default_factory=list)
    frame: pl.DataFrame | None = None
    ids: pl.Series | None = None
    decoded: Decoded | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    received: int = 0

    def take(self, index: I64) -> RecordBatch:
        """Some of the records, by index; `positions` stay."""
        return replace(
            self,
            partition=self.partition[index],
            offset=self.offset[index],
            at=self.at[index],
            payloads=taken(self.payloads, index) if len(self.payloads) else [],
            frame=None if self.frame is None else self.frame[index],
            ids=None if self.ids is None else self.ids.gather(index),
            decoded=None if self.decoded is None else self.decoded.take(index, len(self.offset)),
        )

    def misplaced(self, stored: Mapping[str, Position]) -> set[str]:
        """The partitions whose records do not follow the stored position: they were read before, or
        records are missing in between.
        """
        return {
            name for name, (first, _) in self.positions.items() if stored.get(name, first) != first
        }

    def unread(self, misplaced: set[str], since: int) -> RecordBatch:
        """Those of other partitions, and that were not received before `since`."""
        fresh = self.at >= since
        if misplaced:
            fresh &= ~np.array([name in misplaced for name in self.partitions], np.bool_)[
                self.partition
            ]
        return self if fresh.all() else self.take(np.flatnonzero(fresh))

    def of_partition(self, partition: str) -> Iterator[RecordBatch]:
        """The batches of one partition; nothing where it does not move."""
        if partition not in self.positions:
            return
        names = list(self.partitions)
        index = (
            np.flatnonzero(self.partition == names.index(partition))
            if partition in names
            else np.empty(0, np.int64)
        )
        selected = self.take(index)
        yield replace(
            selected,
            partitions=[partition],
            partition=np.zeros(len(index), np.int64),
            positions={partition: self.positions[partition]},
        )  # origins stay: those of others are not looked at


def integer_position(offset: int) -> Position:
    """The position of a partition that counts its records, or bytes, by integers: the offset to
    read next.
    """
    return offset.to_bytes(8, "little", signed=True)


def offset_at(position: Position) -> int:
    """The offset that `integer_position` was given.

    >>> offset_at(integer_position(41))
    41
    """
    return int.from_bytes(position, "little", signed=True)


def between(first: int, end: int) -> tuple[Position, Position]:
    """The positions before and after the records with offsets in [first, end)."""
    return integer_position(first), integer_position(end)


def joined(polls: Sequence[RecordBatch]) -> list[RecordBatch]:
    """Polls merged into one without positions, the earlier first, where that is safe: a small poll
    costs as much as a large one.

    Polls with ids are acknowledged separately, and undecoded polls are left as they are.
    """
    if len(polls) < 2 or any(poll.decoded is None or poll.ids is not None for poll in polls):
        return list(polls)
    position = {
        name: n
        for n, name in enumerate(dict.fromkeys(name for poll in polls for name in poll.partitions))
    }
    partition_numbers = [
        np.array([position[name] for name in poll.partitions], np.int64)[poll.partition]
        for poll in polls
    ]
    return [
        RecordBatch(
            list(position),
            np.concatenate(partition_numbers),
            np.concatenate([poll.offset for poll in polls]),
            np.concatenate([poll.at for poll in polls]),
            {},
            concatenated([poll.payloads for poll in polls]),
            decoded=in_one(
                [(poll.decoded, len(poll.offset)) for poll in polls if poll.decoded is not None]
            ),
            origins={name: origin for poll in polls for name, origin in poll.origins.items()},
        )
    ]


class StoredStream(Protocol):
    """The online store's knowledge of a stream that is read into it.

    whole: whether this process reads every partition; otherwise its consumer group says which.
    """

    @property
    def whole(self) -> bool: ...

    @property
    def identity(self) -> str:
        """A name of the store that no other one has."""
        ...

    def positions(self) -> Mapping[str, Position]:
        """By partition, from where to read on, for any reader."""
        ...

    def counted(self, partitions: int) -> None:
        """Keep how many partitions the stream has, before records are passed on that were read when
        it had them.
        """
        ...


class Feed(Protocol):
    """An open stream. It is polled from one thread; it says when it calls the callbacks of
    `open_feed`.
    """

    def poll(self, most: int, timeout: float) -> RecordBatch | None:
        """The next records, at most `most`; waits up to `timeout` seconds for the first, and gives
        None if none came.

        Raises:
            RetentionError: the stream no longer has the next record.
            ConnectError: no answer any more, or access refused.
        """
        ...

    def lag(self) -> Mapping[str, int]:
        """How far each assigned partition is behind its end: records, bytes or milliseconds, as
        the stream counts.
        """
        ...

    def elsewhere(self) -> int:
        """How many partitions of the stream at opening are not assigned to this feed: others of its
        group read them, or none yet.
        """
        ...

    def acknowledge(self, positions: Mapping[str, Position]) -> None:
        """Report to the stream up to where records have been committed, for monitoring only."""
        ...

    def close(self) -> None:
        """Leave the stream; gives every partition back."""
        ...


def open_feed(
    source: Source,
    assigned: Assigned,
    revoked: Revoked,
    origin_of: OriginOf = lambda _: "",
    stored: StoredStream | None = None,
) -> Feed:
    """Begin to read the stream of a source.

    Args:
        source: whose stream is read.
        assigned: called with the partitions that are to be read from now on; gives the position
            from which to read each. Those that it does not name begin where the stream's `start`
            says. It may take long (views are filled with their past), so a feed that others wait
            for calls it in a thread of its own, and goes on with its other partitions meanwhile.
        revoked: called with the partitions that others read from now on; also while `assigned` is
            still running for them.
        origin_of: see `OriginOf`.
        stored: what the store knows of the stream of a broker, or of files; see `StoredStream`.

    Raises:
        DefinitionError: the source has no stream that can be read here.
        ConnectError: no answer at its address, access refused, or the topic does not exist.
        MissingExtraError: its library is not installed.
    """
    stream = bottom_of(source).stream
    try:
        module = FEEDS[type(stream).__name__]
    except KeyError:
        raise DefinitionError(
            f"source {source.name!r}: {stream or 'it has no stream, which'} is not read from "
            "anywhere; `headwater ingest` receives pushed events"
        ) from None
    more = (stored,) if isinstance(stream, BrokerStream | AppendedFiles) else ()
    feed: Feed = importlib.import_module(module).open_feed(
        bottom_of(source), assigned, revoked, origin_of, *more
    )
    return feed


_LOG = logging.getLogger(__name__)


class StreamInStore:
    """See `StoredStream`; the same for all feeds of a source.

    source: its name in the store. with_ids: whether its events have ids.
    """

    def __init__(self, store: OnlineStore, source: str, *, whole: bool, with_ids: bool) -> None:
        self._store, self._source, self.whole = store, source, whole
        self._counts, self._count = with_ids and not whole, 0

    @cached_property
    def identity(self) -> str:
        """See `StoredStream`."""
        return identified(self._store)

    def positions(self) -> Mapping[str, Position]:
        """See `StoredStream`."""
        begin = keyspace.offset(self._source, "")
        return {key[len(begin) :].decode(): value for key, value in self._store.scan(begin)}

    def counted(self, partitions: int) -> None:
        """See `StoredStream`: where ids are exact only if equal ones share a partition."""
        key = count_key(self._source)
        while self._counts and self._count < partitions:
            stored = self._store.get([key])[0]
            stored_count = partition_count(stored)
            before = stored_count.count or len(self.positions())
            grows = 0 < before < partitions
            if stored_count.count < partitions:
                new_count = (
                    stored_count.with_more(partitions, clock.now_micros())
                    if grows
                    else PartitionCount(partitions)
                )
                try:
                    self._store.commit({key: msgspec.msgpack.encode(new_count)}, {key: stored})
                except LostError:
                    raise
                except FencedError:
                    continue  # another process has seen it too
                if grows:
                    _LOG.warning(
                        "source %s: its stream has %d partitions instead of %d, so copies may "
                        "count twice; its views are incomplete",
                        self._source,
                        partitions,
                        before,
                    )
            self._count = partitions


Read = Callable[[bytes], msgspec.Struct | None]
"""Reads one record; None of one that says nothing, such as the tombstone after a delete of
Debezium.
"""

_READERS: Final[Mapping[str, str]] = {
    "json": "headwater.ingestion.serde.json",
    "csv": "headwater.ingestion.serde.csv_lines",
    "avro": "headwater.ingestion.serde.avro",
    "protobuf": "headwater.ingestion.serde.protobuf",
    "debezium": "headwater.ingestion.serde.debezium",
}

_CHUNK: Final = 16_384  # records whose objects stay in the processor's cache

FEW: Final = 1_000
"""Fewer records than this are decoded one by one: for these the compiled reader takes as long."""

_OTHER_TYPE: Final = re.compile(r"Expected `.+`, got `(?P<type>\w+)` - at `\$\.(?P<column>.+)`")

_JSON_TYPES: Final = {
    "str": "a string",
    "int": "a number",
    "float": "a number with a fraction",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
}

_TYPED: Final = frozenset({"avro", "protobuf", "debezium"})  # these have timestamp types

# a record without a payload repeats the delete before it
_TOMBSTONES: Final = frozenset({"debezium"})


@dataclass(frozen=True)
class Decoded:
    """The decoded rows of payloads, and the payloads without a row.

    frame: (m) rows with exactly the schema's columns and dtypes. rows: int64 (m), the position of
    each among the payloads, rising.
    refused: position and reason of each of the others, rising.
    """

    frame: pl.DataFrame
    rows: I64
    refused: list[tuple[int, str]]

    def take(self, index: I64, count: int) -> Decoded:
        """The rows of a selection of `count` payloads. index: their positions, ascending."""
        position = np.full(count, -1)
        position[index] = np.arange(len(index))
        rows = position[self.rows]
        refused = [(int(position[n]), why) for n, why in self.refused if position[n] >= 0]
        return Decoded(self.frame.filter(rows >= 0), rows[rows >= 0], refused)


def decoder(
    source: Source, also: Collection[str] = (), described: Mapping[str, str] = MappingProxyType({})
) -> Callable[[Sequence[bytes | None]], Decoded]:
    """The function that decodes payloads of the source's stream to rows.

    Args:
        source: with the stream.
        also: columns to read in addition to `stream_schema`.
        described: of some columns, what a value has to be, for reasons; timestamps are described
            anyway.

    Raises:
        DefinitionError: the source has no stream, or a column cannot be read from its format.
        MissingExtraError: the library of its format is not installed.

    >>> from headwater.definitions.connectors import push
    >>> visits = Source(
    ...     "visits",
    ...     timestamp_field="at",
    ...     timezone="UTC",
    ...     stream=push(schema={"user": int, "at": pl.Datetime("us", "UTC")}),
    ... )
    >>> decoded = decoder(visits)(
    ...     [b'{"user": 7, "at": "2024-05-01T08:00:00Z"}', b'{"user": "7"}', None]
    ... )
    >>> decoded.frame["user"].to_list(), decoded.rows.tolist()
    ([7], [0])
    >>> for position, reason in decoded.refused:
    ...     print(position, reason)
    1 Expected `int | null`, got `str` - at `$.user`
    2 no payload (a tombstone)
    """
    source = bottom_of(source)
    schema = stream_schema(source, also)
    stream = source.stream
    assert stream is not None, "stream_schema has refused a source without"
    row = row_type(schema, None if stream.format in _TYPED else stream.timestamps)
    read = _reader(stream, row)
    skips = stream.format in _TOMBSTONES
    fields = [attrgetter(name) for name in row.__struct_fields__]
    times = {
        name: _called(dtype, stream, source)
        for name, dtype in schema.items()
        if isinstance(dtype, pl.Datetime)
    } | dict(described)

    def decode_some(payloads: Sequence[bytes | None]) -> Decoded:
        structs, decoded_rows, refused = _rows(payloads, read, skips=skips)
        refused = [(n, _described(why, times)) for n, why in refused]
        columns: list[pl.Series] = []
        unfit: dict[int, str] = {}
        for (name, dtype), take in zip(schema.items(), fields, strict=True):
            values = list(map(take, structs))
            column = _column(values, dtype, stream, source.timezone)
            columns.append(column.alias(name))
            if (nulls := column.null_count()) and nulls != values.count(None):
                lost = (n for n in column.is_null().arg_true() if values[n] is not None)
                unfit |= {
                    n: (
                        f"{_shown(values[n])} is not {_called(dtype, stream, source)} - at "
                        f"`$.{name}`"
                    )
                    for n in lost
                }
        frame = pl.DataFrame(columns)
        if unfit:
            keep = np.ones(len(structs), dtype=np.bool_)
            keep[list(unfit)] = False
            refused = sorted([*refused, *((int(decoded_rows[n]), why) for n, why in unfit.items())])
            frame, decoded_rows = frame.filter(keep), decoded_rows[keep]
        return Decoded(frame, decoded_rows, refused)

    def decode_each(payloads: Sequence[bytes | None]) -> Decoded:
        pieces = [payloads[n : n + _CHUNK] for n in range(0, max(len(payloads), 1), _CHUNK)]
        return in_one([(decode_some(piece), len(piece)) for piece in pieces])

    compiled = compiled_reader(schema, stream, source.timezone)
    if compiled is None:
        return decode_each

    def decode(payloads: Sequence[bytes | None]) -> Decoded:
        if len(payloads) < FEW:
            return decode_each(payloads)
        frame, sure = compiled(Payloads.pack(payloads))
        if sure.all():
            return Decoded(frame, np.arange(len(payloads)), [])
        rest = np.flatnonzero(~sure)
        return _merged(
            frame.filter(sure), np.flatnonzero(sure), decode_each(list(taken(payloads, rest))), rest
        )

    return decode


def _merged(frame: pl.DataFrame, rows: I64, others: Decoded, places: I64) -> Decoded:
    """The given rows and the rows of the payloads at `places`, in order."""
    refused = [(int(places[n]), why) for n, why in others.refused]
    rows = np.concatenate([rows, places[others.rows]])
    order = np.argsort(rows, kind="stable")
    return Decoded(pl.concat([frame, others.frame], rechunk=True)[order], rows[order], refused)


def in_one(chunks: Sequence[tuple[Decoded, int]]) -> Decoded:
    """The rows of payloads, put together from parts; each with the number of its payloads."""
    if len(chunks) == 1:
        return chunks[0][0]
    begins = np.cumsum([0, *(count for _, count in chunks)]).tolist()
    return Decoded(
        pl.concat([chunk.frame for chunk, _ in chunks], rechunk=True),
        np.concatenate(
            [chunk.rows + begin for (chunk, _), begin in zip(chunks, begins, strict=False)]
        ),
        [
            (n + begin, why)
            for (chunk, _), begin in zip(chunks, begins, strict=False)
            for n, why in chunk.refused
        ],
    )


def _reader(stream: Stream, row: type[msgspec.Struct]) -> Read:
    read: Read = importlib.import_module(_READERS[stream.format]).reader(stream, row)
    return read


def _rows(
    payloads: Sequence[bytes | None], read: Read, *, skips: bool
) -> tuple[list[msgspec.Struct], I64, list[tuple[int, str]]]:
    """The rows, the position of each among the payloads, and what was refused. skips: whether no
    payload says nothing.
    """
    try:
        rows = list(map(read, payloads))  # type: ignore[arg-type] # None raises
        if None not in rows:
            return rows, np.arange(len(payloads)), []  # type: ignore[return-value] # as checked
    except (HeadwaterError, MemoryError):
        raise
    except Exception:  # noqa: BLE001, S110 (libraries raise anything on broken bytes: below, each record gets its own reason)
        pass
    structs, decoded_rows, refused = [], [], []
    for n, payload in enumerate(payloads):
        if payload is None and skips:
            continue
        try:
            if payload is None:
                refused.append((n, "no payload (a tombstone)"))
                continue
            if (row := read(payload)) is not None:
                structs.append(row)
                decoded_rows.append(n)
        except (HeadwaterError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 (as above)
            refused.append((n, reason(error)))
    return structs, np.array(decoded_rows, dtype=np.int64), refused


def reason(error: Exception) -> str:
    """Why a record was refused, in one line."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return (
        str(error)
        if isinstance(error, msgspec.MsgspecError)
        else f"{type(error).__name__}: {error}"
    )[:300]


def _described(why: str, described: Mapping[str, str]) -> str:
    """A reason of msgspec for a value of another type, in words where its column is described.

    >>> _described(
    ...     "Expected `int | float | null`, got `str` - at `$.at`",
    ...     {"at": "a timestamp in ms since 1970"},
    ... )
    'a string is not a timestamp in ms since 1970 - at `$.at`'
    """
    match = _OTHER_TYPE.fullmatch(why)
    if match is None or match["column"] not in described:
        return why
    return (
        f"{_JSON_TYPES.get(match['type'], match['type'])} is not {described[match['column']]} - "
        f"at `$.{match['column']}`"
    )


def _column(
    values: Sequence[object], dtype: pl.DataType, stream: Stream, timezone: str | None
) -> pl.Series:
    """The values as a column of the dtype; null where one does not fit."""
    if isinstance(dtype, pl.Datetime):
        return in_schema(micros_of(values, stream.timestamps, timezone), dtype, timezone)
    if dtype == pl.Float32:
        wide = pl.Series(values, dtype=pl.Float64)
        narrow = wide.cast(pl.Float32)
        return narrow.set(narrow.is_infinite() & wide.is_finite(), None)
    try:
        return pl.Series(values, dtype=dtype, strict=True)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        return pl.Series(values, dtype=dtype, strict=False)


def _called(dtype: pl.DataType, stream: Stream, source: Source) -> str:
    """The name of a type in the reason of a refusal."""
    if not isinstance(dtype, pl.Datetime):
        return f"of type {dtype}"
    if stream.timestamps != "iso":
        since_1970 = round(EXAMPLE.timestamp() * 1e6) // UNITS[stream.timestamps]
        return f"a timestamp in {stream.timestamps} since 1970, such as {since_1970}"
    zone = "" if source.timezone is None else f", or in {source.timezone} without one"
    return f"a timestamp in ISO 8601 with an offset{zone}, such as {EXAMPLE:%Y-%m-%dT%H:%M:%SZ}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


_OF_PYTHON: Final = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    bytes: pl.Binary(),
    datetime: pl.Datetime("us", "UTC"),
    date: pl.Date(),
}

_UTC: Final = pl.Datetime("us", "UTC")

_ENVELOPE: Final[dict[str, pl.DataType]] = dict(
    zip(DEBEZIUM_COLUMNS, (pl.Boolean(), pl.String(), _UTC, _UTC, pl.Int64()), strict=True)
)


def stream_schema(source: Source, also: Collection[str] = ()) -> dict[str, pl.DataType]:
    """The columns that records of the source's stream are decoded to, with their dtypes.

    They are those of the stream's own schema, else those columns of the history that the source
    reads: what `select` and `filter` are made of, its own times and ids, and `also` (all, where
    nothing is selected), each with the very dtype it has there, so that expressions say the same of
    both. Of an enriched source, they are those of the events below it.

    Raises:
        DefinitionError: the source has no stream, nothing says its columns, or a timestamp is naive
            and the source has no time zone.
        DataError: the history cannot be read, or lacks a column.

    >>> from headwater.definitions.connectors import push
    >>> stream_schema(
    ...     Source(
    ...         "visits", timestamp_field="at", stream=push(schema={"user": int, "at": datetime})
    ...     )
    ... )
    {'user': Int64, 'at': Datetime(time_unit='us', time_zone='UTC')}
    """
    source = bottom_of(source)
    subject = f"source {source.name!r}"
    if source.stream is None:
        raise DefinitionError(
            f"{subject} has no stream: give stream=hw.kafka(topic), hw.push() or hw.appended(path)"
        )
    own_schema = declared(source.stream)
    columns = _history(source, also) if own_schema is None else own_schema
    for name in needed_columns(source, also):
        if name not in columns:
            raise DataError(
                f"{subject}: the schema of {source.stream} has no column {name!r}, which the "
                f"source reads; {nearest(name, columns)}"
            )
    for name, dtype in columns.items():
        if isinstance(dtype, pl.Datetime) and dtype.time_zone is None and source.timezone is None:
            raise DefinitionError(
                f"{subject}: the timestamp {name!r} has no time zone; give the source a "
                "timezone=, or the column pl.Datetime('us', 'UTC')"
            )
    return columns


def declared(stream: Stream) -> dict[str, pl.DataType] | None:
    """The columns of the stream's own schema; None where it has none."""
    if stream.schema is None:
        return None
    return {name: _polars(dtype) for name, dtype in stream.schema.items()} | (
        _ENVELOPE if stream.format == "debezium" else {}
    )


def _history(source: Source, also: Collection[str]) -> dict[str, pl.DataType]:
    subject = f"source {source.name!r}"
    if source.history is None:
        raise DefinitionError(
            f"{subject}: the columns of {source.stream} are not known; give it a schema=, or the "
            "source a history"
        )
    try:
        schema = scan(as_table(source.history, subject)).collect_schema()
    except DataError as error:
        raise DataError(
            f"{subject}: the columns of {source.stream} are those of its history, and {error}; or "
            "give the stream a schema="
        ) from error
    needed = set(needed_columns(source, also))
    return {
        name: dtype for name, dtype in schema.items() if source.select is None or name in needed
    }


def needed_columns(source: Source, also: Collection[str] = ()) -> list[str]:
    """The columns of a record that the source reads, where it names them."""
    computed = {
        item.meta.output_name() for item in source.select or () if not isinstance(item, str)
    }
    own_columns = [
        c
        for c in (source.timestamp_field, source.known_at_field, source.id_field, source.changes)
        if c and c not in computed
    ]
    expressions = [*(source.select or ()), *([] if source.filter is None else [source.filter])]
    return list(
        dict.fromkeys(
            [*(c for item in expressions for c in sorted(root_columns(item))), *own_columns, *also]
        )
    )


def _polars(dtype: pl.DataType | type) -> pl.DataType:
    if isinstance(dtype, pl.DataType):
        return dtype
    polars_dtype: pl.DataType = _OF_PYTHON[dtype] if dtype in _OF_PYTHON else dtype()
    return polars_dtype


Kind = Any  # a type, made at run time


def _bounded(kind: Kind, low: float | None, high: float | None) -> Kind:
    return Annotated[kind, msgspec.Meta(ge=low, le=high)]


_PLAIN: Final[Mapping[object, Kind]] = {
    pl.String: str,
    pl.Categorical: str,
    pl.Enum: str,
    pl.Boolean: bool,
    pl.Int8: _bounded(int, -(2**7), 2**7 - 1),
    pl.Int16: _bounded(int, -(2**15), 2**15 - 1),
    pl.Int32: _bounded(int, -(2**31), 2**31 - 1),
    pl.Int64: _bounded(int, -(2**63), 2**63 - 1),
    pl.UInt8: _bounded(int, 0, 2**8 - 1),
    pl.UInt16: _bounded(int, 0, 2**16 - 1),
    pl.UInt32: _bounded(int, 0, 2**32 - 1),
    # msgspec takes no bound beyond int64; the column rejects larger values
    pl.UInt64: _bounded(int, 0, None),
    pl.Float32: float,  # NaN included; the column rejects larger values
    pl.Float64: float,
    pl.Decimal: Decimal,
    pl.Date: date,
    pl.Time: time,
    pl.Binary: bytes,
}


def row_type(
    schema: Mapping[str, pl.DataType], timestamps: Timestamps | None
) -> type[msgspec.Struct]:
    """A struct with a field for each column: the n-th is `c{n}`, named in records as the column is,
    and null where they lack it.

    Args:
        schema: the columns.
        timestamps: how records write timestamps; None where the format has a type for them.

    Raises:
        DefinitionError: a dtype that no record can carry.

    >>> row = row_type({"the card": pl.String(), "pages": pl.UInt8()}, "iso")
    >>> msgspec.json.decode(b'{"pages": 3, "other": 1}', type=row)
    Row(c0=None, c1=3)
    """
    fields = [
        (f"c{n}", _or_null(_kind(dtype, timestamps, name)), None)
        for n, (name, dtype) in enumerate(schema.items())
    ]
    return msgspec.defstruct(
        "Row", fields, rename={f"c{n}": name for n, name in enumerate(schema)}, gc=False
    )


def _kind(dtype: pl.DataType, timestamps: Timestamps | None, name: str) -> Kind:
    """The kind of field that a column needs."""
    if isinstance(dtype, pl.Datetime):
        return Any if timestamps is None else str if timestamps == "iso" else int | float
    return _plain(dtype, name)


def _plain(dtype: pl.DataType, name: str) -> Kind:
    """The same for types that may stand inside a list or a struct, too."""
    if isinstance(dtype, pl.List):
        return list[_or_null(_plain(_inner(dtype.inner), name))]  # type: ignore[misc]
    if isinstance(dtype, pl.Struct):
        fields = {f.name: _or_null(_plain(_inner(f.dtype), name)) for f in dtype.fields}
        return TypedDict("Struct", fields, total=False)  # type: ignore[operator]
    if type(dtype) not in _PLAIN:
        raise DefinitionError(
            f"the column {name!r} of a stream cannot be or hold {dtype}; give it another type in "
            "the schema, and make the column in select"
        )
    return _PLAIN[type(dtype)]


def _or_null(kind: Kind) -> Kind:
    return Optional[kind]  # noqa: UP045 (a value)


def _inner(dtype: Any) -> pl.DataType:  # noqa: ANN401 (polars types it as either)
    inner: pl.DataType = dtype if isinstance(dtype, pl.DataType) else dtype()
    return inner
