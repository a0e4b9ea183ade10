"""The law that online equals offline: values read from batches, partitions and records equal those of all events together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import cast

import msgspec
import polars as pl

from headwater.aggregations.table import TABLE
from headwater.definitions.aggregate import Aggregation
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.freshness import on_request
from headwater.events import statuses as asides
from headwater.events.read_events import Notes, Reach, read_events
from headwater.events.selection import TIME
from headwater.online.feature_reader import OnlineFeatures
from headwater.online_stores import keyspace
from headwater.state.view_state import Progress, State, encoded, schema_bytes
from headwater.state.view_tiles import ViewTiles
from headwater.testing.cases import Case, case
from headwater.testing.naive import agree, evaluate
from headwater.testing.naive_time import as_micros

_FAR = 2**60
_ROWS = 2  # of a case: each takes all events again


@dataclass
class Kept:
    """What an online store holds, in a dictionary; enough to be read."""

    partitioned: bool = False
    namespace: str = ""
    values: dict[bytes, bytes] = field(default_factory=dict)

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `OnlineStore`."""
        return [self.values.get(key) for key in keys]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """As `OnlineStore`."""
        return iter(sorted((key, value) for key, value in self.values.items() if key.startswith(prefix)))


def online_is_offline(aggregation: Aggregation, random: Random) -> None:
    """Events split into batches, in any order, and partitions: values read from the records equal the reference.

    Reads of plain values give just what reads of frames do, whether loops or the general way make them.
    """
    if (aggregation.each or aggregation.facts.per_column) and random.random() < 0.5:  # without strings more is done by compiled loops
        numbers = tuple(name for name in aggregation.columns if name != "word")
        aggregation = replace(aggregation, columns=numbers or aggregation.columns)
    drawn = case(random, [aggregation], late=False)
    view = replace(
        drawn.view,
        freshness=on_request(),
        source=replace(drawn.view.source, known_after="0s", window_on="timestamp", id_field=random.choice([None, "id"])),
    )
    drawn = replace(drawn, view=view)
    answers = evaluate(view, drawn.events, drawn.rows)
    for row_number, row in list(enumerate(drawn.rows))[:_ROWS]:
        T = as_micros(row["timestamp"])  # type: ignore[arg-type]
        features = ingested(drawn, T, random)
        read = features.read(pl.DataFrame({"key": [row["key"]]}, schema={"key": pl.Int64}), at=row["timestamp"], details=True)  # type: ignore[arg-type]
        for feature, name in zip(view.outputs, view.feature_names, strict=True):
            value, answer = read[name].to_list()[0], answers[row_number][name]
            squared = TABLE[feature.aggregation.function].squared
            assert agree(answer, value, squared=squared), f"{name} of row {row_number} is {value!r} online, and should be {answer}; {drawn}"
            status = read[asides.status_name(name)].to_list()[0]
            assert status == answer.status, f"{name} of row {row_number} is {status} online, and should be {answer}; {drawn}"
        _plain_as_frames(features, T, random)


def ingested(drawn: Case, T: int, random: Random) -> OnlineFeatures:
    """The view over a store that has taken in all events before T in some batches, of some partitions; its last commit was at T at most."""
    view = drawn.readable()
    columns = sorted({c for f in view.outputs for c in (*f.columns, *f.aggregation.extra_columns)})
    events = read_events(view.source, view.keys, columns, Reach(None, _FAR, _FAR), [], Notes()).filter(pl.col(TIME) < T)
    store = Kept(partitioned=random.random() < 0.5)
    tiles = ViewTiles(view, events.schema)
    names = ["0", "1"] if store.partitioned else [None]
    partition_of = pl.Series([random.randrange(len(names)) for _ in range(events.height)], dtype=pl.Int64)
    for number, partition in enumerate(names):
        at = _batches(tiles, store, events.filter(partition_of == number), partition, T, random)
        end = "" if partition is None else f"{partition}\0"
        store.values[keyspace.PROGRESS + keyspace.name(view.source.name) + end.encode()] = msgspec.msgpack.encode(Progress(0, at))
        state = State(view.name, schema_bytes(events.schema), seeded=0, exact_from=-_FAR)
        store.values[keyspace.state(view.tiles_fingerprint, partition)] = encoded(state)
    return OnlineFeatures(FeatureService("service", [view]), store)  # type: ignore[arg-type]


def _batches(tiles: ViewTiles, store: Kept, events: pl.DataFrame, partition: str | None, T: int, random: Random) -> int:
    """Take in events in batches; the moment of the last."""
    now, count = -_FAR, random.choice([1, 2, 4])
    batch = pl.Series([random.randrange(count) for _ in range(events.height)], dtype=pl.Int64)
    for number in range(count):
        batch_events = events.filter(batch == number)
        if not batch_events.height:
            continue
        soonest = max(now, cast("int", batch_events[TIME].max()) + 1)
        now = random.choice([soonest, soonest, T, (soonest + T) // 2])
        places: list[bytes] = []

        def fetch(keys: list[bytes], places: list[bytes] = places) -> list[bytes]:
            places += keyspace.places(tiles.view.tiles_fingerprint, keys, partition)
            return [store.values.get(record_key, b"") for record_key in places]

        update = tiles.update(batch_events, now, number, fetch)
        store.values |= zip(places, update.values(), strict=True)
        for record_key in places:
            if not store.values[record_key]:
                del store.values[record_key]
    return max(now, 0)


def _plain_as_frames(features: OnlineFeatures, T: int, random: Random) -> None:
    keys = [random.choice([1, 2, 3, None]) for _ in range(random.randint(1, 5))]
    columns, statuses, moments = features.rows({"key": keys}, t=T)
    ones = [features.row({"key": key}, t=T) for key in keys[:2]]
    (view,) = features.views.values()
    served = view.read(pl.DataFrame({"key": keys}, schema={"key": pl.Int64}), T)
    codes = [[asides.STATUSES.index(status) for status in series.to_list()] for series in served.statuses]
    assert repr(columns) == repr([series.to_list() for series in served.features]), f"{columns} and {served.features}"
    assert [list(codes_of_row) for codes_of_row in statuses] == codes, f"{statuses} and {codes}"
    assert moments == [served.read_version]
    assert repr([list(row) for row in zip(*columns, strict=True)][:2]) == repr([record.values for record in ones])
    assert [bytes(codes_of_row) for codes_of_row in zip(*statuses, strict=True)][:2] == [record.statuses for record in ones]
