"""From records to accepted events: decoded, selected, checked. Every rejected record has a
reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from headwater.definitions.checks import text
from headwater.definitions.connectors import Frame, push
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Source
from headwater.errors import DataError
from headwater.events.columns import beyond_float, beyond_int64, is_wide, reads_exactly
from headwater.events.read_events import BEFORE, IDENT, KNOWN, ROW, TIME, arrived, collect, declared
from headwater.ingestion.archive import KNOWN_AT
from headwater.ingestion.expected_events import ExpectedEvents
from headwater.ingestion.held_events import DUE, PAYLOAD
from headwater.ingestion.sources.stream_reader import (
    FEW,
    Decoded,
    RecordBatch,
    decoder,
    stream_schema,
)
from headwater.ingestion.time_numbers import TimeNumber
from headwater.kernel.arrays import I64, NOTHING
from headwater.state.view_state import ViewTiles

PARTITION, OFFSET, AT = "headwater_partition", "headwater_offset", "headwater_received_at"
UTC = pl.Datetime("us", "UTC")
_EVER = 2**62
COPY = "a duplicate of an accepted event"
DEAD_SCHEMA: Mapping[str, pl.DataType] = {
    "reason": pl.String(),
    PARTITION: pl.String(),
    OFFSET: pl.Int64(),
    AT: UTC,
    KNOWN_AT: UTC,
    "payload": pl.Binary(),
}


@dataclass(frozen=True)
class Arrived:
    """What records hold.

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
        """Load what the first events would have to wait for: kernels are compiled once, and read
        from disk by each process.
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
            rows, kept, refused = records.frame, np.arange(records.frame.height), []
        else:
            decoded = records.decoded or self.decode(records.payloads)
            rows, kept, refused = decoded.frame, decoded.rows, decoded.refused
        partitions = pl.Series(PARTITION, list(records.partitions), pl.String)[records.partition]
        places = pl.DataFrame(
            [partitions, pl.Series(OFFSET, records.offset), pl.Series(AT, records.at).cast(UTC)]
        )
        rows = pl.concat(
            [rows, places[kept] if len(kept) < places.height else places], how="horizontal"
        )
        try:
            return self._judged(records, places, rows, kept, refused)
        except DataError:
            unreadable = {} if records.frame is not None else self._unreadable(rows)
            if not unreadable:
                raise
        readable = np.ones(rows.height, np.bool_)
        readable[list(unreadable)] = False
        refused = sorted([*refused, *((int(kept[n]), why) for n, why in unreadable.items())])
        return self._judged(records, places, rows.filter(readable), kept[readable], refused)

    def _judged(
        self,
        records: RecordBatch,
        places: pl.DataFrame,
        rows: pl.DataFrame,
        kept: I64,
        refused: Sequence[tuple[int, str]],
    ) -> Arrived:
        """The events of the rows at `kept`. refused: places and reasons of the other records.

        Raises:
            DataError: an expression of the source fails for a row.
        """
        gone = [n for n, _ in refused]
        undecoded = _dead(
            places, gone, [why for _, why in refused], [records.payloads[n] for n in gone]
        )
        events = self.events_of(rows)
        reasons, unexpected = self._reasons(events, rows), None
        if self._expected is not None and events.height:
            reasons, unexpected = self._expected.judged(
                self._expected_values(rows, events), reasons
            )
        arrived = _arrived(records, rows, kept, events, reasons)
        dead, which = (
            pl.concat([undecoded, arrived.dead]),
            np.concatenate([np.array(gone, np.int64), arrived.refused]),
        )
        return replace(arrived, dead=dead, refused=which, unexpected=unexpected)

    def released(self, held: pl.DataFrame) -> tuple[RecordBatch, Arrived]:
        """Held rows as records, and what they hold by the rules of today; how far ahead an event
        may happen was judged when it came.
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
        """What views read of rows that pass the source's filter; ROW says where each stands. Of
        images, KNOWN and BEFORE too.
        """
        return self.events_in(
            replace(self.source, history=Frame(rows.with_row_index(ROW))), [ROW], held=True
        )

    def sound_events(self, rows: pl.DataFrame) -> pl.DataFrame:
        """As `events_of`, without those that would be refused; how far ahead of its record an event
        may happen was judged when it came.
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
        keys, known = self._keys, source.changes is not None
        columns = sorted(
            {*self.read, *(declared(self.source, self.schema) if known else ())} - set(keys)
        )
        return collect(
            arrived(source, keys, columns, also, known=known),
            f"source {self.source.name!r}",
            held=held,
        )

    @cached_property
    def schema(self) -> Mapping[str, pl.DataType]:
        """The columns of the stream."""
        return stream_schema(self._streamed, self._unselected)

    @cached_property
    def _expected(self) -> ExpectedEvents | None:
        return ExpectedEvents.of(self.source)

    def _expected_values(self, rows: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
        """The rows to check, one for each event; null where an image says what was before."""
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
        """The columns whose very values features give or compare."""
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
        """What views read that the source does not select: when a queue's events end."""
        known = self.source.columns
        return sorted(
            {
                c
                for view in self.views
                for c in view.read_columns
                if known is not None and c not in known
            }
        )

    @cached_property
    def decode(self) -> Callable[[Sequence[bytes | None]], Decoded]:
        """What makes rows of payloads."""
        number = self._time_number
        return decoder(
            self._streamed,
            self._unselected,
            {} if number is None else {number.column: number.described},
        )

    @cached_property
    def _time_number(self) -> TimeNumber | None:
        """The event time, where records write it as a number."""
        return TimeNumber.of(self._streamed, self.schema)

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
        """Which events lack what each must have, and what that is; a change may take time and keys
        away, and the event counts nowhere.
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
    which = arrived.kept[list(rows)].tolist()
    payloads = [_payload(records, arrived.rows, n, row) for n, row in zip(which, rows, strict=True)]
    own = pl.DataFrame(
        {"reason": [why] * len(which), "payload": payloads},
        schema={"reason": pl.String, "payload": pl.Binary},
    )
    return pl.concat(
        [
            own.select("reason"),
            arrived.rows[list(rows)].select(PARTITION, OFFSET, AT),
            own.select("payload"),
        ],
        how="horizontal",
    )


def _arrived(
    records: RecordBatch, rows: pl.DataFrame, kept: I64, events: pl.DataFrame, reasons: pl.Series
) -> Arrived:
    """What rows hold; reasons: why each of their events is refused, or null."""
    filtered = (
        NOTHING
        if events.height == rows.height
        else np.delete(np.arange(rows.height), events[ROW].to_numpy())
    )
    if reasons.null_count() == len(reasons):
        return Arrived(rows, kept, events, NONE, NOTHING, filtered)
    bad = reasons.is_not_null()
    at = events[ROW].filter(bad).to_list()
    which = kept[at]
    payloads = [_payload(records, rows, int(n), row) for n, row in zip(which, at, strict=True)]
    dead = _dead(rows.select(PARTITION, OFFSET, AT), at, reasons.drop_nulls().to_list(), payloads)
    return Arrived(rows, kept, events.filter(~bad), dead, which, filtered)


def _dead(
    places: pl.DataFrame,
    which: Sequence[int],
    reasons: Sequence[str],
    payloads: Sequence[bytes | None],
) -> pl.DataFrame:
    if not which:
        return NONE
    own = pl.DataFrame(
        {"reason": reasons, "payload": payloads}, schema={"reason": pl.String, "payload": pl.Binary}
    )
    return pl.concat(
        [own.select("reason"), places[list(which)], own.select("payload")], how="horizontal"
    )


def _payload(records: RecordBatch, rows: pl.DataFrame, n: int, row: int) -> bytes | None:
    payload = records.payloads[n] if len(records.payloads) else None
    if payload is not None or records.frame is None:
        return payload
    return json.dumps(rows.drop(PARTITION, OFFSET, AT).row(row, named=True), default=str).encode()


def content_of(events: pl.DataFrame) -> I64:
    """A hash of what each event says, int64 (n)."""
    return (
        events.drop(ROW, IDENT, strict=False).hash_rows(seed=0).reinterpret(signed=True).to_numpy()
    )
