"""The law that online equals offline: values read from batches, partitions and records equal those
of all events together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import cast

import msgspec
import numpy as np
import polars as pl

from headwater.aggregations.reference import as_micros
from headwater.aggregations.table import TABLE
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import Aggregation
from headwater.definitions.freshness import on_request
from headwater.engine.engines import open_engine
from headwater.engine.query import EngineRun, EventQuery
from headwater.events import columns as asides
from headwater.events.read_events import IDENT, TIME, Reach
from headwater.online.feature_reader import OnlineFeatures
from headwater.online.read_versions import ReadVersion
from headwater.online.view_reader import OnlineView
from headwater.state.record import KeyRecords, key_bytes, section
from headwater.state.view_state import Progress, State, ViewTiles, encoded, schema_bytes
from headwater.stores import keyspace
from headwater.testing.cases import Case, aggregations, case
from headwater.testing.naive import agree, evaluate

_FAR = 2**60
_ROWS = 2  # of a case: each takes all events again


@dataclass
class KeptState:
    """What an online store holds, in a dictionary; enough to be read."""

    namespace: str = ""
    values: dict[bytes, bytes] = field(default_factory=dict)

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `OnlineStore`."""
        return [self.values.get(key) for key in keys]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """As `OnlineStore`."""
        return iter(
            sorted((key, value) for key, value in self.values.items() if key.startswith(prefix))
        )


@dataclass(frozen=True)
class KeyKind:
    """A type that the keys of a case, which are integers, are given: its dtype, and the value of
    each integer.
    """

    dtype: pl.DataType
    value: Callable[[int], object]

    def key_value(self, key: int | None) -> object:
        """The value of a key."""
        return None if key is None else self.value(key)

    def series(self, keys: Sequence[int | None]) -> pl.Series:
        """The column of some keys."""
        return pl.Series("key", [self.key_value(key) for key in keys], dtype=self.dtype)


KEY_KINDS: Sequence[KeyKind] = (
    KeyKind(pl.Int64(), lambda n: n),
    KeyKind(pl.Int8(), lambda n: -n),
    KeyKind(pl.UInt64(), lambda n: 2**63 + n),
    KeyKind(pl.Int128(), lambda n: n - 2**100),
    KeyKind(pl.Date(), lambda n: date(1970, 1, 1) - timedelta(days=n)),
    KeyKind(pl.Time(), lambda n: time(n, n, n, n)),
    KeyKind(
        pl.Datetime("us", "Europe/Berlin"),
        lambda n: datetime(2024, 3, 31, tzinfo=UTC) + timedelta(hours=n),
    ),
    KeyKind(pl.Datetime("ms"), lambda n: datetime(1969, 12, 31) + timedelta(hours=12 * n)),  # noqa: DTZ001 (the source has no zone)
    KeyKind(pl.Duration("ns"), lambda n: timedelta(microseconds=-n)),
    KeyKind(pl.Decimal(10, 2), lambda n: Decimal(n) / 4),
    KeyKind(pl.String(), lambda n: "é" * n),
    KeyKind(pl.String(), lambda n: f"{'x' * 500}{n}"),
    KeyKind(pl.Categorical(), str),
    KeyKind(pl.Enum(["1", "2", "3"]), str),
    KeyKind(pl.Binary(), lambda n: b"\0" * n),
)
"""One of each; the keys of cases are 1, 2 and 3."""


def online_is_offline(aggregation: Aggregation, random: Random) -> None:
    """Events split into batches, in any order, and partitions, with keys and ids of any type:
    values read from the records equal the reference.

    Reads of plain values give just what reads of frames do, whether loops or the general way make
    them.
    """
    # without strings more is done by compiled loops
    if (aggregation.each or aggregation.facts.per_column) and random.random() < 0.5:
        numbers = tuple(name for name in aggregation.columns if name != "word")
        aggregation = replace(aggregation, columns=numbers or aggregation.columns)
    others = [
        candidate
        for candidate in aggregations()
        if TABLE[candidate.function] is not TABLE[aggregation.function]
    ]
    drawn = case(
        random, [aggregation, *random.sample(others, random.choice([0, 0, 1]))], late=False
    )
    kind = random.choice(KEY_KINDS)
    view = replace(
        drawn.view,
        freshness=on_request(),
        source=replace(
            drawn.view.source,
            known_after="0s",
            window_on="timestamp",
            id_field=random.choice([None, "id"]),
        ),
    )
    drawn = replace(drawn, view=view)
    answers = evaluate(view, drawn.events, drawn.rows)
    for row_number, row in list(enumerate(drawn.rows))[:_ROWS]:
        T = as_micros(row["timestamp"])  # type: ignore[arg-type]
        features = ingested(drawn, T, random, kind)
        read = features.read(
            kind.series([cast("int | None", row["key"])]).to_frame(),
            at=row["timestamp"],  # type: ignore[arg-type]
            details=True,
        )
        for feature, name in zip(view.outputs, view.feature_names, strict=True):
            value, answer = read[name].to_list()[0], answers[row_number][name]
            squared = TABLE[feature.aggregation.function].squared
            assert agree(answer, value, squared=squared), (
                f"{name} of row {row_number} is {value!r} online, and should be {answer}; {drawn}"
            )
            status = read[asides.status_name(name)].to_list()[0]
            assert status == answer.status, (
                f"{name} of row {row_number} is {status} online, and should be {answer}; {drawn}"
            )
        _plain_as_frames(features, T, random, kind)


def ingested(drawn: Case, T: int, random: Random, kind: KeyKind = KEY_KINDS[0]) -> OnlineFeatures:
    """The view over a store that has taken in all events before T in some batches, of some
    partitions; its last commit was at T at most.

    Keys are of a kind; ids are integers, or strings of the same order.
    """
    view = drawn.readable()
    columns = sorted({c for f in view.outputs for c in (*f.columns, *f.aggregation.extra_columns)})
    query = EventQuery(view.source, view.keys, columns, Reach(None, _FAR, _FAR))
    events = open_engine().events(query, EngineRun()).filter(pl.col(TIME) < T)
    events = events.with_columns(kind.series(events["key"].to_list()))
    if IDENT in events.columns and random.random() < 0.5:
        events = events.with_columns(pl.col(IDENT).cast(pl.String).str.zfill(5))
    store = KeptState()
    tiles = ViewTiles(view, events.schema)
    names: list[str | None] = random.choice([[None], ["0", "1"], ["0", "1", "2"]])
    partition_of = pl.Series(
        [random.randrange(len(names)) for _ in range(events.height)], dtype=pl.Int64
    )
    for number, partition in enumerate(names):
        at = _batches(tiles, store, events.filter(partition_of == number), partition, T, random)
        end = "" if partition is None else f"{partition}\0"
        store.values[keyspace.PROGRESS + keyspace.name(view.source.name) + end.encode()] = (
            msgspec.msgpack.encode(Progress(0, at))
        )
        state = State(view.name, schema_bytes(events.schema), seeded=0, exact_from=-_FAR)
        store.values[keyspace.stream_state(view.tiles_fingerprint, partition)] = encoded(state)
    return OnlineFeatures(FeatureService("service", [view]), store)  # type: ignore[arg-type]


def _batches(
    tiles: ViewTiles,
    store: KeptState,
    events: pl.DataFrame,
    partition: str | None,
    T: int,
    random: Random,
) -> int:
    """Take in events in batches; the moment of the last."""
    now, count = -_FAR, random.choice([1, 2, 4])
    batch = pl.Series([random.randrange(count) for _ in range(events.height)], dtype=pl.Int64)
    for number in range(count):
        batch_events = events.filter(batch == number)
        if not batch_events.height:
            continue
        soonest = max(now, cast("int", batch_events[TIME].max()) + 1)
        now = random.choice([soonest, soonest, T, (soonest + T) // 2])
        records, name = (
            KeyRecords(store.get, tiles.view.record_group, partition),
            tiles.view.tiles_fingerprint,
        )
        records.put(name, tiles.update(batch_events, now, number, records.fetcher(name)))
        for record_key, record in records.changes(number).items():
            store.values.pop(record_key, None)
            if record is not None:
                store.values[record_key] = record
    return max(now, 0)


def _plain_as_frames(features: OnlineFeatures, T: int, random: Random, kind: KeyKind) -> None:
    """One row, many rows, and the general evaluation of the same records agree to the bit."""
    keys = [random.choice([1, 2, 3, None]) for _ in range(random.randint(1, 5))]
    columns, statuses, read_versions = features.rows(
        {"key": [kind.key_value(key) for key in keys]}, t=T
    )
    ones = [features.row({"key": kind.key_value(key)}, t=T) for key in keys[:2]]
    (view,) = features.views.values()
    served, codes = _evaluated(view, kind, keys, read_versions[0])
    assert repr(columns) == repr(served), f"{columns} and {served}"
    assert [list(codes_of_row) for codes_of_row in statuses] == codes, f"{statuses} and {codes}"
    assert read_versions == [view.read_version(T)]
    assert repr([list(row) for row in zip(*columns, strict=True)][:2]) == repr(
        [record.values for record in ones]
    )
    assert [bytes(codes_of_row) for codes_of_row in zip(*statuses, strict=True)][:2] == [
        record.statuses for record in ones
    ]


def _evaluated(
    view: OnlineView, kind: KeyKind, keys: Sequence[int | None], at: ReadVersion
) -> tuple[list[list[object]], list[list[int]]]:
    """Values and statuses of a view by the general evaluation of records."""
    ends = view.version_reader.look()[1]
    encoded_keys = key_bytes(kind.series([key or 1 for key in keys]).to_frame())
    stored = view.store.get(
        [record_key for key in encoded_keys for record_key in view.places([key], ends)]
    )
    chosen = [
        section(record, view.view.tiles_fingerprint)
        for record in view.version_reader.chosen(stored, at)
    ]
    per_key = len(chosen) // len(keys)
    grouped = [
        chosen[per_key * n : per_key * (n + 1)] if key is not None else [b""] * per_key
        for n, key in enumerate(keys)
    ]
    known_by = view.view.freshness.known_by(at.T, at.K)
    features, statuses = view.tiles.values(
        grouped, np.full(len(keys), at.T), np.full(len(keys), known_by)
    )
    return [s.to_list() for s in features], [
        [asides.STATUSES.index(status) for status in s.to_list()] for s in statuses
    ]
