"""From records to accepted events: decoded, selected, checked. Every rejected record has a
reason.

The unit in which a source reads event times that are numbers, and what it says of numbers in
another unit.

Events that break an expectation of their source: counted, and rejected where the definition says
so.

Events held until their time comes, ordered by due time: a commit reads those that are due,
however many wait behind them.

What decides which records of a stream become events, and rows that were kept under other rules
than today's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from headwater.definitions.checks import text
from headwater.definitions.connectors import Frame, push
from headwater.definitions.definition import fingerprint_of
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Expect, Source, bottom_of, output_name, root_columns
from headwater.errors import DataError, HeadwaterError
from headwater.events.columns import beyond_float, beyond_int64, is_wide, reads_exactly
from headwater.events.expected_values import breaks
from headwater.events.read_events import (
    BEFORE,
    IDENT,
    KNOWN,
    ROW,
    TIME,
    arrived,
    collect,
    declared,
    timestamp_micros,
)
from headwater.ingestion.archive import KNOWN_AT, SEQUENCE
from headwater.ingestion.serde.json import EXAMPLE, LATEST
from headwater.ingestion.sources.stream_reader import (
    FEW,
    Decoded,
    RecordBatch,
    decoder,
    needed_columns,
    stream_schema,
)
from headwater.kernel.arrays import I64, NOTHING
from headwater.state import record
from headwater.state.view_state import ViewTiles

PARTITION, OFFSET, AT = "headwater_partition", "headwater_offset", "headwater_received_at"

INSTANT = pl.Datetime("us", "UTC")

_EVER = 2**62

COPY = "a duplicate of an accepted event"

DEAD_SCHEMA: Mapping[str, pl.DataType] = {
    "reason": pl.String(),
    PARTITION: pl.String(),
    OFFSET: pl.Int64(),
    AT: INSTANT,
    KNOWN_AT: INSTANT,
    "payload": pl.Binary(),
}


@dataclass(frozen=True)
class Arrived:
    """The contents of records.

    rows: each record that could be decoded as the stream's columns, with PARTITION, OFFSET and AT.
    events: those that pass the source's filter and are sound: what views read, TIME, IDENT where
    declared, and ROW, the place in `rows`; of a source with `changes`, KNOWN and BEFORE.
    dead: what was refused, by the columns of DEAD_SCHEMA but KNOWN_AT.
    kept: int64, the position of each row among the records. refused: int64, that of each of `dead`.
    filtered: int64, the places in `rows` of those that the filter leaves out. unexpected: how many
    events break an expectation of the source, in all and by expectation; None where there is none.
    """

    rows: pl.DataFrame
    kept: I64
    events: pl.DataFrame
    dead: pl.DataFrame
    refused: I64
    filtered: I64
    unexpected: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Acceptance:
    """How the records of a source's stream become events of its views.

    future: how long after its record was received an event may happen, in microseconds; later ones
    are refused.
    """

    source: Source
    views: tuple[FeatureView, ...]
    future: int

    @cached_property
    def tiles(self) -> tuple[ViewTiles, ...]:
        """The tiles of each view.

        Raises:
            DataError: a column that the source does not have, or of a type that the features cannot
                be made of.
        """
        none = self.events_of(pl.DataFrame(schema=self.schema))
        if self._expected is not None:
            self._expected_values(pl.DataFrame(schema=self.schema), none)
        view_tiles = tuple(ViewTiles(view, dict(none.schema)) for view in self.views)
        for tiles in view_tiles:
            tiles.check()
        return view_tiles

    def warm(self) -> None:
        """Load the code that the first events need: kernels are compiled once, and read from disk
        by each process.
        """
        self.decode([b"{}"] * FEW)  # records or none: what reads the others is loaded
        none = self.events_of(pl.DataFrame(schema=self.schema))
        row = pl.DataFrame([pl.Series(name, [None], dtype) for name, dtype in none.schema.items()])
        required = [name for name in none.columns if name in {TIME, IDENT, *self._keys}]
        event = row.with_columns(
            pl.Series(name, [0]).cast(none.schema[name], strict=False) for name in required
        )
        for tiles in self.tiles:
            tiles.update(event, 1, 0, lambda keys: [b""] * len(keys))

    def __call__(self, records: RecordBatch) -> Arrived:
        """The events of some records."""
        if records.frame is not None:
            rows, decoded_rows, refused = records.frame, np.arange(records.frame.height), []
        else:
            decoded = records.decoded or self.decode(records.payloads)
            rows, decoded_rows, refused = decoded.frame, decoded.rows, decoded.refused
        partitions = pl.Series(PARTITION, list(records.partitions), pl.String)[records.partition]
        places = pl.DataFrame(
            [partitions, pl.Series(OFFSET, records.offset), pl.Series(AT, records.at).cast(INSTANT)]
        )
        rows = pl.concat(
            [rows, places[decoded_rows] if len(decoded_rows) < places.height else places],
            how="horizontal",
        )
        try:
            return self._judged(records, places, rows, decoded_rows, refused)
        except DataError:
            unreadable = {} if records.frame is not None else self._unreadable(rows)
            if not unreadable:
                raise
        readable = np.ones(rows.height, np.bool_)
        readable[list(unreadable)] = False
        refused = sorted(
            [*refused, *((int(decoded_rows[n]), why) for n, why in unreadable.items())]
        )
        return self._judged(records, places, rows.filter(readable), decoded_rows[readable], refused)

    def _judged(
        self,
        records: RecordBatch,
        places: pl.DataFrame,
        rows: pl.DataFrame,
        decoded_rows: I64,
        refused: Sequence[tuple[int, str]],
    ) -> Arrived:
        """The events of the rows at `kept`. refused: places and reasons of the other records.

        Raises:
            DataError: an expression of the source fails for a row.
        """
        undecodable = [n for n, _ in refused]
        undecoded = _dead(
            places,
            undecodable,
            [why for _, why in refused],
            [records.payloads[n] for n in undecodable],
        )
        events = self.events_of(rows)
        reasons, unexpected = self._reasons(events, rows), None
        if self._expected is not None and events.height:
            reasons, unexpected = self._expected.judged(
                self._expected_values(rows, events), reasons
            )
        arrived = _arrived(records, rows, decoded_rows, events, reasons)
        dead, dead_rows = (
            pl.concat([undecoded, arrived.dead]),
            np.concatenate([np.array(undecodable, np.int64), arrived.refused]),
        )
        return replace(arrived, dead=dead, refused=dead_rows, unexpected=unexpected)

    def released(self, held: pl.DataFrame) -> tuple[RecordBatch, Arrived]:
        """Held rows as records, and their contents by today's rules; how far ahead an event may
        happen was judged when it arrived.
        """
        payloads = held[PAYLOAD].to_list() if PAYLOAD in held.columns else []
        rows, none = held.drop(DUE, PAYLOAD, strict=False), np.empty(0, np.int64)
        records = RecordBatch([], none, none, none, {}, payloads, frame=rows)
        events = self.events_of(rows)
        reasons = replace(self, future=_EVER)._reasons(events, rows)  # noqa: SLF001 (its own)
        return records, _arrived(records, rows, np.arange(rows.height), events, reasons)

    def _unreadable(self, rows: pl.DataFrame, first: int = 0) -> dict[int, str]:
        """Which rows an expression of the source fails for, such as a strict cast, and why. first:
        the place of the first one.
        """
        try:
            events = self.events_of(rows)
            if self._expected is not None:
                self._expected_values(rows, events)
        except DataError as error:
            if rows.height == 1:
                return {
                    first: (
                        "select or filter fails: "
                        f"{str(error).partition(': ')[2].partition(chr(10))[0][:300]}"
                    )
                }
            half = rows.height // 2
            return self._unreadable(rows[:half], first) | self._unreadable(
                rows[half:], first + half
            )
        return {}

    def events_of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The columns that views read, of rows that pass the source's filter; ROW is the position
        of each row. Of images, KNOWN and BEFORE too.
        """
        return self.events_in(
            replace(self.source, history=Frame(rows.with_row_index(ROW))), [ROW], held=True
        )

    def sound_events(self, rows: pl.DataFrame) -> pl.DataFrame:
        """As `events_of`, without events that would be refused; how far ahead of its record an
        event may happen was judged when it arrived.
        """
        events = self.events_of(rows)
        reasons = replace(self, future=_EVER)._reasons(events, rows)  # noqa: SLF001 (its own)
        return events if reasons.null_count() == len(reasons) else events.filter(reasons.is_null())

    def events_in(
        self, source: Source, also: Sequence[str] = (), *, held: bool = False
    ) -> pl.DataFrame:
        """As `events_of`, of the table of a source; with the columns `also`. held: as of
        `collect`.
        """
        keys, with_known = self._keys, source.changes is not None
        columns = sorted(
            {*self.read, *(declared(self.source, self.schema) if with_known else ())} - set(keys)
        )
        return collect(
            arrived(source, keys, columns, also, known=with_known),
            f"source {self.source.name!r}",
            held=held,
        )

    @cached_property
    def schema(self) -> Mapping[str, pl.DataType]:
        """The columns of the stream."""
        return stream_schema(self._streamed, self._unselected)

    @cached_property
    def _expected(self) -> ExpectedEvents | None:
        return ExpectedEvents.for_source(self.source)

    def _expected_values(self, rows: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
        """The rows to check, one for each event; null for an image before a change."""
        assert self._expected is not None
        source, columns = replace(self.source, history=Frame(rows)), self._expected.columns
        values = collect(
            arrived(source, [], columns, []), f"source {self.source.name!r}", held=True
        ).select(columns)
        if BEFORE not in events.columns:
            return values
        return values.with_columns(
            pl.when(~events[BEFORE].fill_null(value=False)).then(pl.col(name)).alias(name)
            for name in columns
        )

    @property
    def _keys(self) -> list[str]:
        return list(dict.fromkeys(key for view in self.views for key in view.keys))

    @cached_property
    def _exact(self) -> frozenset[str]:
        """The columns whose exact values features give or compare."""
        features = [feature for view in self.views for feature in view.features]
        return frozenset().union(
            *({*a.columns, *a.extra_columns} for a in features if reads_exactly(a.function))
        )

    @cached_property
    def _identities(self) -> frozenset[str]:
        """The id, and the keys that no feature is made of: only equality counts, so unsigned
        integers may have all 64 bits of a hash.
        """
        values = frozenset().union(
            *((*a.columns, *a.extra_columns) for view in self.views for a in view.features)
        )
        return frozenset([IDENT, *self._keys]) - values

    @cached_property
    def read(self) -> frozenset[str]:
        """The columns that views read, their keys too. Events of images have every column that the
        source declares: these decide ties.
        """
        return frozenset().union(self._keys, *(view.read_columns for view in self.views))

    @property
    def _unselected(self) -> list[str]:
        """Columns that views read and the source does not select: the ends of a queue's events."""
        selected = self.source.columns
        return sorted(
            {
                c
                for view in self.views
                for c in view.read_columns
                if selected is not None and c not in selected
            }
        )

    @cached_property
    def decode(self) -> Callable[[Sequence[bytes | None]], Decoded]:
        """The function that decodes payloads into rows."""
        number = self._time_number
        return decoder(
            self._streamed,
            self._unselected,
            {} if number is None else {number.column: number.described},
        )

    @cached_property
    def _time_number(self) -> TimeNumber | None:
        """The event time, where records write it as a number."""
        return TimeNumber.for_source(self._streamed, self.schema)

    @property
    def _streamed(self) -> Source:
        """The source; one that only its history is replayed of, with a stream of the same
        columns.
        """
        return (
            self.source
            if self.source.stream is not None
            else replace(self.source, stream=push(at_least_once=True))
        )

    def _reasons(self, events: pl.DataFrame, rows: pl.DataFrame) -> pl.Series:
        """Why each event is refused, or null."""
        source = self.source
        if source.changes is None and self._sound(events, rows):
            return _NO_REASON.new_from_index(0, events.height)
        received = rows[AT].dt.epoch("us").gather(events[ROW])
        checks = self._lacks(events)
        stated = (
            pl.Series([True]).new_from_index(0, events.height)
            if source.changes is None
            else ~events[BEFORE]
        )  # what others say is not read
        for name, dtype in events.schema.items():
            if source.changes is not None and name not in self.read:
                continue  # it decides ties, and no value
            if dtype.is_float():
                checks.append((events[name].is_infinite() & stated, f"{name} is infinite"))
            elif is_wide(dtype) and name not in self._identities:
                checks.append((beyond_int64(events[name]) & stated, f"{name} is beyond int64"))
            elif name in self._exact and isinstance(dtype, pl.Decimal):
                checks.append(
                    (beyond_float(events[name]) & stated, f"{name} has more than 15 digits")
                )
        ahead = f"is more than {text(self.future)} after it was received"
        checks.append(
            ((events[TIME] - received > self.future) & stated, f"{source.timestamp_field} {ahead}")
        )
        if source.changes is not None:
            checks.append(
                (events[KNOWN] - received > self.future, f"{source.known_at_field} {ahead}")
            )
        reason = pl.Series("reason", [None] * events.height, pl.String)
        for wrong, why in reversed(checks):
            if wrong.any():
                reason = reason.set(wrong.fill_null(value=False), why)
        if self._time_number is not None:
            other_unit = self._time_number.in_other_unit(
                self._time_number.numbers(rows).gather(events[ROW]), received
            )
            wrong_places = [n for n in other_unit if stated[n]]
            reason = reason.scatter(wrong_places, [other_unit[n] for n in wrong_places])
        return reason

    def _lacks(self, events: pl.DataFrame) -> list[tuple[pl.Series, str]]:
        """Which events lack a required value, and which one; a change may take time and keys away,
        and the event counts nowhere.
        """
        source = self.source
        if source.changes is not None:
            needed = (
                (IDENT, source.id_field),
                (KNOWN, source.known_at_field),
                (BEFORE, source.changes),
            )
            return [(events[name].is_null(), f"no {called}") for name, called in needed]
        checks = [(events[TIME].is_null(), f"no {source.timestamp_field}")]
        if IDENT in events.columns:
            checks.append((events[IDENT].is_null(), f"no {source.id_field}"))
        if all(view.keys for view in self.views):
            lacking = events.select(
                pl.all_horizontal(
                    pl.any_horizontal(pl.col(k).is_null() for k in view.keys) for view in self.views
                )
            )
            checks.append((lacking.to_series(), "no key of any view"))
        return checks

    def _sound(self, events: pl.DataFrame, rows: pl.DataFrame) -> bool:
        """Whether nothing is wrong with any event: as most batches are; quicker than to find out
        which one is.
        """
        required = [
            TIME,
            *([IDENT] if IDENT in events.columns else []),
            *dict.fromkeys(key for view in self.views for key in view.keys),
        ]
        if not events.height or any(events[name].null_count() for name in required):
            return False
        received = rows[AT].cast(pl.Int64).to_numpy()  # as `to_physical`, which is a query
        if len(received) > events.height:
            received = received[events[ROW].to_numpy()]
        if int((events[TIME].to_numpy() - received).max()) > self.future:
            return False
        if self._time_number is not None and not self._time_number.are_usual(
            self._time_number.numbers(rows)
        ):
            return False
        identities = self._identities
        numbers = [
            series
            for series in events
            if series.dtype.is_float() or (is_wide(series.dtype) and series.name not in identities)
        ]
        decimals = [
            series
            for series in events
            if isinstance(series.dtype, pl.Decimal) and series.name in self._exact
        ]
        return all(_finite(series) for series in numbers) and not any(
            beyond_float(series).any() for series in decimals
        )


NONE = pl.DataFrame(schema={name: dtype for name, dtype in DEAD_SCHEMA.items() if name != KNOWN_AT})
"""No refused rows."""

_NO_REASON = pl.Series("reason", [None], pl.String)


def _finite(series: pl.Series) -> bool:
    """Whether floats are finite (null and NaN are), and integers within int64."""
    if series.dtype.is_float():
        return not np.isinf(series.to_numpy()).any()
    return not beyond_int64(series).any()


def copies(
    records: RecordBatch, arrived: Arrived, rows: Sequence[int], why: str = COPY
) -> pl.DataFrame:
    """Some rows as dead letters: duplicates of accepted events, or rows rejected for another
    reason.
    """
    record_numbers = arrived.kept[list(rows)].tolist()
    payloads = [
        _payload(records, arrived.rows, n, row) for n, row in zip(record_numbers, rows, strict=True)
    ]
    letters = pl.DataFrame(
        {"reason": [why] * len(record_numbers), "payload": payloads},
        schema={"reason": pl.String, "payload": pl.Binary},
    )
    return pl.concat(
        [
            letters.select("reason"),
            arrived.rows[list(rows)].select(PARTITION, OFFSET, AT),
            letters.select("payload"),
        ],
        how="horizontal",
    )


def _arrived(
    records: RecordBatch,
    rows: pl.DataFrame,
    decoded_rows: I64,
    events: pl.DataFrame,
    reasons: pl.Series,
) -> Arrived:
    """The contents of rows; reasons: why each of their events is refused, or null."""
    filtered = (
        NOTHING
        if events.height == rows.height
        else np.delete(np.arange(rows.height), events[ROW].to_numpy())
    )
    if reasons.null_count() == len(reasons):
        return Arrived(rows, decoded_rows, events, NONE, NOTHING, filtered)
    bad = reasons.is_not_null()
    at = events[ROW].filter(bad).to_list()
    dead_rows = decoded_rows[at]
    payloads = [_payload(records, rows, int(n), row) for n, row in zip(dead_rows, at, strict=True)]
    dead = _dead(rows.select(PARTITION, OFFSET, AT), at, reasons.drop_nulls().to_list(), payloads)
    return Arrived(rows, decoded_rows, events.filter(~bad), dead, dead_rows, filtered)


def _dead(
    places: pl.DataFrame,
    numbers: Sequence[int],
    reasons: Sequence[str],
    payloads: Sequence[bytes | None],
) -> pl.DataFrame:
    if not numbers:
        return NONE
    letters = pl.DataFrame(
        {"reason": reasons, "payload": payloads}, schema={"reason": pl.String, "payload": pl.Binary}
    )
    return pl.concat(
        [letters.select("reason"), places[list(numbers)], letters.select("payload")],
        how="horizontal",
    )


def _payload(records: RecordBatch, rows: pl.DataFrame, n: int, row: int) -> bytes | None:
    payload = records.payloads[n] if len(records.payloads) else None
    if payload is not None or records.frame is None:
        return payload
    return json.dumps(rows.drop(PARTITION, OFFSET, AT).row(row, named=True), default=str).encode()


def content_of(events: pl.DataFrame) -> I64:
    """A hash of each event's content, int64 (n)."""
    return (
        events.drop(ROW, IDENT, strict=False).hash_rows(seed=0).reinterpret(signed=True).to_numpy()
    )


UNITS: Final = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
"""Microseconds of each unit that a time may be counted in."""

# microseconds: an event that was sent in another unit happened about when it was received
_NEAR: Final = 366 * 86_400_000_000

# microseconds: now as a number of one unit, read in a smaller one, is before April 1970
_EARLY: Final = 10_000_000_000_000

_PROBES: Final = (1_000_000_000, 2_000_000_000)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class TimeNumber:
    """An event time that records write as a number.

    column: of the record. unit: in which the source reads it, a key of `UNITS`.
    """

    column: str
    unit: str

    @staticmethod
    def for_source(source: Source, schema: Mapping[str, pl.DataType]) -> TimeNumber | None:
        """That of a source whose records have these columns; None where it is none, or made of
        several columns.

        >>> from headwater.definitions.connectors import push
        >>> millis = [pl.from_epoch("ts", time_unit="ms").dt.replace_time_zone("UTC").alias("at")]
        >>> TimeNumber.for_source(
        ...     Source("a", timestamp_field="at", select=millis, stream=push(schema={"ts": int})),
        ...     {"ts": pl.Int64()},
        ... )
        TimeNumber(column='ts', unit='ms')
        """
        source = bottom_of(source)
        name, item, roots = (
            source.timestamp_field,
            _item(source, source.timestamp_field),
            made_of(source, source.timestamp_field),
        )
        if len(roots) != 1 or not roots <= schema.keys() or source.stream is None:
            return None
        (column,) = roots
        if isinstance(schema[column], pl.Datetime):
            return (
                None
                if source.stream.timestamps == "iso"
                else TimeNumber(column, source.stream.timestamps)
            )
        if not schema[column].is_numeric():
            return None
        with suppress(HeadwaterError, pl.exceptions.PolarsError):
            made = pl.DataFrame(pl.Series(column, _PROBES, schema[column], strict=False)).select(
                item
            )
            micros = (
                made.select(timestamp_micros(name, made.schema, source.timezone, ""))
                .to_series()
                .to_list()
            )
            for unit, length in UNITS.items():
                if micros == [probe * length for probe in _PROBES]:
                    return TimeNumber(column, unit)
        return None

    @property
    def described(self) -> str:
        """What a value of the column has to be, with an example."""
        return f"a timestamp in {self.unit} since 1970, such as {self.number(EXAMPLE)}"

    def number(self, when: datetime) -> int:
        """A time as the number that records write."""
        micros = (when - _EPOCH) // timedelta(microseconds=1)
        return micros * 1000 if self.unit == "ns" else micros // int(UNITS[self.unit])

    def numbers(self, rows: pl.DataFrame) -> pl.Series:
        """The numbers in the records; of a timestamp, in its unit."""
        column = rows[self.column]
        return (
            column.dt.epoch("us") // int(UNITS[self.unit])
            if isinstance(column.dtype, pl.Datetime)
            else column
        )

    def are_usual(self, numbers: pl.Series) -> bool:
        """Whether no number can be one of another unit: all are times after April 1970, and before
        the year 10000.
        """
        low, high, length = numbers.min(), numbers.max(), UNITS[self.unit]
        return (
            isinstance(low, int | float)
            and isinstance(high, int | float)
            and low * length > _EARLY
            and high * length < LATEST
        )

    def in_other_unit(self, numbers: pl.Series, received: pl.Series) -> dict[int, str]:
        """Which of n numbers are in another unit, and why: in that unit they are near the time when
        the record was received.

        Args:
            numbers: as of `numbers`, (n).
            received: when each record was taken in, int64 (n), microseconds.
        """
        reasons: dict[int, str] = {}
        for unit, length in UNITS.items():
            if unit != self.unit:
                for n in ((numbers.cast(pl.Float64) * length - received).abs() < _NEAR).arg_true():
                    reasons[n] = self._reason(int(numbers[n]), unit)
        return reasons

    def _reason(self, number: int, unit: str) -> str:
        declared, sent = UNITS[self.unit], UNITS[unit]
        right = (
            number * round(sent / declared) if sent > declared else number // round(declared / sent)
        )
        micros = number * declared
        read = (
            f"{_EPOCH + timedelta(microseconds=micros):%Y-%m-%dT%H:%M:%SZ}"
            if abs(micros) <= LATEST
            else "beyond the year 9999"
        )
        return (
            f"{self.column} was sent in {unit} since 1970, and is read in {self.unit}: {number} "
            f"is {read}; send {right}"
        )


def made_of(source: Source, name: str) -> frozenset[str]:
    """The columns of a record that a column of a source is made of."""
    return root_columns(_item(source, name))


def _item(source: Source, name: str) -> str | pl.Expr:
    return next((item for item in source.select or () if output_name(item) == name), name)


UNEXPECTED = "unexpected"
"""The count of events that break an expectation; "unexpected: " and the expectation for each of
them.
"""


@dataclass(frozen=True)
class ExpectedEvents:
    """The expectations that an event alone can break."""

    expectations: tuple[Expect, ...]

    @staticmethod
    def for_source(source: Source) -> ExpectedEvents | None:
        """The expectations of a source; None without any, which costs nothing."""
        alone = tuple(
            e
            for e in source.expectations
            if isinstance(e, Expect) and breaks(e, pl.Null()) is not None
        )
        return ExpectedEvents(alone) if alone else None

    @property
    def columns(self) -> list[str]:
        """The columns of the expectations."""
        return sorted({expected.column for expected in self.expectations})

    def judged(
        self, values: pl.DataFrame, reasons: pl.Series
    ) -> tuple[pl.Series, Mapping[str, int]]:
        """The reasons why events are rejected, and how many of the others break each expectation.

        values: the columns, a row an event. reasons: why each is rejected already, or null.
        """
        sound = reasons.is_null()
        broken = values.select(
            breaks(expected, values.schema[expected.column]) for expected in self.expectations
        )
        counts = {
            UNEXPECTED: int((broken.select(pl.any_horizontal(pl.all())).to_series() & sound).sum())
        }
        for expected, column in zip(self.expectations, broken.get_columns(), strict=True):
            wrong = column & sound
            counts[f"{UNEXPECTED}: {column.name}"] = int(wrong.sum())
            if expected.on_violation == "reject" and wrong.any():
                reasons = reasons.set(wrong & reasons.is_null(), f"unexpected {column.name}")
        return reasons, {name: count for name, count in counts.items() if count}


DUE, PAYLOAD = "headwater_due", "headwater_payload"
"""Columns of held rows: when an event happens, microseconds; and its record as it came, null where
it came as a row.
"""

_MERGED = 16  # blocks of one level that become one of the next

_LARGEST = 1 << 16  # rows of a block that is merged no more


@dataclass(frozen=True, eq=False)
class _HeldBlock:
    """The rows of one key of the store, rising by DUE; rows before `start` have been released."""

    key: bytes
    rows: pl.DataFrame
    due: I64
    start: int = 0

    @property
    def first(self) -> int:
        """When the next of its events is due."""
        return int(self.due[self.start])

    @property
    def left(self) -> pl.DataFrame:
        return self.rows.slice(self.start)

    @property
    def level(self) -> int:
        """How often blocks of one event would have been merged to give as many."""
        size, level = len(self.due) - self.start, 0
        while size >= _MERGED:
            size, level = size // _MERGED, level + 1
        return level


@dataclass(frozen=True, eq=False)
class HeldEvents:
    """The held events of one partition writer, an immutable value.

    A block stays in the store as it is until its last event is released: an event is released by
    the first commit whose time is later than its own, so the time of the last commit says which
    events of a block still wait. Blocks of similar size are merged, so `n` events held by `n`
    commits lie in O(log n) blocks.

    spent: keys whose events have all been released; the next commit deletes them.
    looked_at: how many events have been read or moved so far: the work done.

    >>> changes, held = HeldEvents().put(b"a", pl.DataFrame({"n": [1, 2], DUE: [50, 10]}))
    >>> held.due, held.latest
    (10, 50)
    >>> released, held = held.release(20)
    >>> [rows["n"].to_list() for rows in released], held.due
    ([[2]], 50)
    """

    _blocks: tuple[_HeldBlock, ...] = ()
    spent: tuple[bytes, ...] = ()
    looked_at: int = 0

    @staticmethod
    def load(blocks: Mapping[bytes, bytes], at: int) -> HeldEvents:
        """The held events in the values of the store by key, as `put` made them; at: the time of
        the last commit, microseconds.
        """
        decoded = [_sorted(key, record.frame_of(value)) for key, value in blocks.items()]
        return _held(
            [replace(block, start=int(np.searchsorted(block.due, at))) for block in decoded]
        )

    def __len__(self) -> int:
        return sum(len(block.due) - block.start for block in self._blocks)

    @cached_property
    def due(self) -> int | None:
        """When the first event happens, microseconds; None where none is held."""
        return min((block.first for block in self._blocks), default=None)

    @property
    def latest(self) -> int:
        """When the last event happens, microseconds; 0 where none is held."""
        return max((int(block.due[-1]) for block in self._blocks), default=0)

    @property
    def blocks(self) -> int:
        """How many keys of the store hold them."""
        return len(self._blocks)

    def release(self, now: int) -> tuple[list[pl.DataFrame], HeldEvents]:
        """The events with a time before `now`, in order of time, one frame for each schema; and the
        events still held.
        """
        if self.due is None or self.due >= now:
            return [], self
        released, blocks = [], []
        for block in self._blocks:
            stop = int(np.searchsorted(block.due, now))
            if stop > block.start:
                released.append(block.rows.slice(block.start, stop - block.start))
            blocks.append(replace(block, start=stop) if stop > block.start else block)
        return list(_alike(released)), _held(
            blocks, self.spent, self.looked_at + sum(rows.height for rows in released)
        )

    def put(
        self, key: bytes, rows: pl.DataFrame | None
    ) -> tuple[dict[bytes, bytes | None], HeldEvents]:
        """Hold more rows under a new key. Returns the changes of the store, also for the events
        released before, and the new held events.
        """
        changes: dict[bytes, bytes | None] = dict.fromkeys(self.spent)
        if rows is None:
            return changes, replace(self, spent=()) if self.spent else self
        block, blocks, moved = _sorted(key, rows), list(self._blocks), 0
        while others := _to_merge(blocks, block):
            changes |= dict.fromkeys(to_merge.key for to_merge in others)
            blocks = [
                to_merge for to_merge in blocks if not any(to_merge is merged for merged in others)
            ]
            block = _sorted(key, pl.concat([*(to_merge.left for to_merge in others), block.rows]))
            moved += block.rows.height
        return {**changes, key: record.frame_bytes(block.rows)}, _held(
            [*blocks, block], (), self.looked_at + moved
        )


def _held(
    blocks: Sequence[_HeldBlock], spent: Iterable[bytes] = (), looked_at: int = 0
) -> HeldEvents:
    """The held events of these blocks; blocks whose events have all been released are added to the
    spent ones.
    """
    done = (block.key for block in blocks if block.start == len(block.due))
    return HeldEvents(
        tuple(block for block in blocks if block.start < len(block.due)), (*spent, *done), looked_at
    )


def _to_merge(blocks: Sequence[_HeldBlock], block: _HeldBlock) -> list[_HeldBlock]:
    """The blocks of a new one's level and schema, if they are enough to be merged."""
    if block.rows.height >= _LARGEST:
        return []
    alike = [
        candidate
        for candidate in blocks
        if candidate.level == block.level and candidate.rows.schema == block.rows.schema
    ]
    return alike if len(alike) >= _MERGED - 1 else []


def waiting(value: bytes, at: int) -> pl.DataFrame:
    """The events of one block of the store that still wait after a commit at `at`, microseconds."""
    rows = record.frame_of(value)
    return rows.filter(pl.col(DUE) >= at)


def _sorted(key: bytes, rows: pl.DataFrame) -> _HeldBlock:
    due = rows[DUE].to_numpy()
    if len(due) > 1 and (due[1:] < due[:-1]).any():
        order = np.argsort(due, kind="stable")
        rows, due = rows[order], due[order]
    return _HeldBlock(key, rows, due)


def _alike(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Frames of one schema joined, and sorted by DUE."""
    by: dict[tuple[tuple[str, pl.DataType], ...], list[pl.DataFrame]] = {}
    for frame in frames:
        by.setdefault(tuple(frame.schema.items()), []).append(frame)
    for same in by.values():
        yield pl.concat(same).sort(DUE, maintain_order=True) if len(same) > 1 else same[0]


_POSITION = (PARTITION, OFFSET, AT, KNOWN_AT, SEQUENCE)


def rules_of(acceptance: Acceptance) -> dict[str, str]:
    """The parts of the rules, most as digests: the columns and their types, the select, filter,
    ids, and keys of views.
    """
    source = acceptance.source
    columns = needed(acceptance)
    own_columns = (
        source.timestamp_field,
        source.known_at_field,
        source.changes,
        source.timezone,
        source.window_on,
    )
    stream = source.stream
    parts = {
        "types": [
            {name: str(dtype) for name, dtype in columns.items()},
            getattr(stream, "format", ""),
            getattr(stream, "timestamps", ""),
        ],
        "select": [source.select, own_columns],
        "filter": source.filter,
        "ids": [source.id_field, source.id_horizon if source.id_field else None],
    }
    digests = {name: fingerprint_of(rule) for name, rule in parts.items()}
    return {**digests, "keys": json.dumps(sorted({tuple(view.keys) for view in acceptance.views}))}


def changed_of(old: Mapping[str, str], new: Mapping[str, str]) -> set[str]:
    """The parts of the rules that may accept records which were refused before."""
    changed = {name for name in new if old.get(name) != new[name]}
    keys = [json.loads(rules.get("keys", "[]")) for rules in (new, old)]
    return changed - {"keys"} if all(view_keys in keys[1] for view_keys in keys[0]) else changed


def needed(acceptance: Acceptance) -> Mapping[str, pl.DataType]:
    """The columns of the stream that events are made of."""
    read = frozenset().union(*(view.read_columns for view in acceptance.views))
    names = set(
        needed_columns(acceptance.source, sorted(read) if acceptance.source.select is None else ())
    )
    return {name: dtype for name, dtype in acceptance.schema.items() if name in names}


def conformed(frame: pl.LazyFrame, acceptance: Acceptance, *also: str) -> pl.LazyFrame:
    """Rows of an archive, or the like, with the columns and types that the stream has today; and
    `also` these columns.
    """
    had = frame.collect_schema()
    columns = [_cast(name, had.get(name), dtype) for name, dtype in acceptance.schema.items()]
    return frame.select(*columns, *(name for name in (*_POSITION, *also) if name in had))


def altered(frames: Iterable[pl.LazyFrame], acceptance: Acceptance) -> bool:
    """Whether `conformed` cannot give the result of decoding: a column that events are made of was
    not kept, or its type was another.
    """
    columns = needed(acceptance)
    return any(
        not _is_exact(schema.get(name), dtype)
        for schema in (frame.collect_schema() for frame in frames)
        for name, dtype in columns.items()
    )


def _cast(name: str, had: pl.DataType | None, dtype: pl.DataType) -> pl.Expr:
    if had is None:
        return pl.lit(None, dtype).alias(name)
    return pl.col(name) if had == dtype else pl.col(name).cast(dtype, strict=False)


def _is_exact(had: pl.DataType | None, dtype: pl.DataType) -> bool:
    """Whether casting values of one type to the other gives what decoding would give."""
    if had is None or had == dtype:
        return had is not None
    if had.is_integer() and dtype.is_integer():
        bits, other_bits = (
            int(str(width).removeprefix("U").removeprefix("Int")) for width in (had, dtype)
        )
        if had.is_signed_integer() == dtype.is_signed_integer():
            return bits <= other_bits
        return dtype.is_signed_integer() and bits < other_bits
    if had.is_integer() or had == pl.Float32:
        return dtype == pl.Float64
    return False
