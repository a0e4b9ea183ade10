"""The stored state of a view: whether its records are complete, and its tiles.

The stored state of a view's records: whether they are complete, and as of when.

Tiles of a view on one machine: events become its sections of records, and these become
values.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import msgspec
import numpy as np
import polars as pl

from headwater.definitions.feature_view import FeatureView
from headwater.engine.query import FeaturePlan, Query, hashed_columns
from headwater.events import columns as value_statuses
from headwater.events.columns import (
    ColumnEncoding,
    check_accepts,
    check_exact,
    check_secondary,
    check_values,
    decode,
    encode,
    to_kernel,
)
from headwater.events.read_events import IDENT, TIME
from headwater.kernel.arrays import I64, NOTHING, Events
from headwater.kernel.hashes import hashes_of_strings
from headwater.kernel.sorting import numbered, order_of, tied
from headwater.state.record import KeyedRecords, PackedRecords, key_bytes
from headwater.state.tiles import UNREACHED, Records, TileAggregator, Tiles, among
from headwater.stores import OnlineStore, keyspace


class Cut(msgspec.Struct, frozen=True):
    """A cut with whole records: T and K in microseconds, and the number of events that its run
    added.
    """

    T: int
    K: int
    events: int = 0


class CutInProgress(msgspec.Struct, frozen=True):
    """A cut that is being written: its T, how its events are dealt into parts, and how many parts,
    events and keys are done.
    """

    T: int
    dealt: str = ""
    parts: int = 0
    events: int = 0
    keys: int = 0


class Filling(msgspec.Struct, frozen=True):
    """The progress of a fill of a streaming view: `done` of `parts` parts of the events that the
    commits after `since` up to `upto` accepted.

    Of the first commits, with the history before them. T: as of when, microseconds. events: of
    these and all parts before.
    token: of the process that fills, as `keyspace.filling` has it. made_of: a digest of what the
    parts are made of.
    """

    token: bytes
    made_of: bytes
    T: int
    since: int
    upto: int
    parts: int
    done: int = 0
    events: int = 0


class State(msgspec.Struct, frozen=True):
    """The records of a view.

    view: its name. schema: the columns that its records are made of, as an empty Arrow stream.
    cuts: of a batch view, those that are whole, rising; the last two at most. making: the one after
    them, while it is not whole.
    seeded: of a stream's view, the sequence of the commit from which on its records are whole; None
    while they are being made.
    filling: how far they are made, of a stream's view that is not whole. filled: of how many events
    of the past they were made.
    coverage: of a stream's view, names these records: `Progress.views` holds the same for as long
    as every commit has maintained them.
    from_history: before when the events are of a history that headwater did not write,
    microseconds; 0 where none are.
    exact_from: from when on values are exact, microseconds; later than now where history and stream
    may hold the same events.
    complete_from: from when on no window reaches events that the records lack, microseconds; 0
    where they lack none.
    """

    view: str
    schema: bytes
    cuts: list[Cut] = []
    seeded: int | None = None
    from_history: int = 0
    exact_from: int = 0
    complete_from: int = 0
    coverage: str = ""
    making: CutInProgress | None = None
    filling: Filling | None = None
    filled: int = 0

    def cut(self, due: int) -> Cut | None:
        """The cut to read where `due` is due: the last whole cut up to it; None where no cut is
        whole.

        A cut that is being written takes the room of the one before last, which is not due to be
        read any more. A reader whose clock is behind gets the next cut.
        """
        if not self.cuts:
            return None
        last = self.cuts[-1]
        lost = self.making is not None and self.making.T > last.T
        return (
            last
            if lost
            else next((cut for cut in reversed(self.cuts) if due >= cut.T), self.cuts[0])
        )

    @property
    def dtypes(self) -> Mapping[str, pl.DataType]:
        """The columns by name."""
        return dtypes_of(self.schema)


def schema_bytes(dtypes: Mapping[str, pl.DataType]) -> bytes:
    """Columns as `State.schema`."""
    out = io.BytesIO()
    pl.DataFrame(schema=dtypes).write_ipc_stream(out)
    return out.getvalue()


def dtypes_of(schema: bytes) -> Mapping[str, pl.DataType]:
    """The columns that `schema_bytes` encoded."""
    return dict(pl.read_ipc_stream(io.BytesIO(schema)).schema)


class StreamStart(msgspec.Struct, frozen=True):
    """The history that a source's stream goes on from: its events before `until`, microseconds, in
    the part of one partition.
    """

    until: int
    partition: str | None = None


def read_state(store: OnlineStore, tiles: str) -> State | None:
    """The stored state of a batch view; None where there is none."""
    return decoded(store.get([keyspace.state(tiles)])[0])


def read_part(store: OnlineStore, tiles: str, partition: str | None) -> State | None:
    """The stored state of a streaming view, or of a partition's part of it; None where there is
    none.
    """
    return decoded(store.get([keyspace.stream_state(tiles, partition)])[0])


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far a source's stream has been read; stored as an array.

    sequence: of the last commit. at: its moment. received: when the last record read was received.
    counts: since the beginning, by what became of records.
    views: `State.coverage` of each view that every commit has maintained since its records were
    complete. A writer leaves out what it does not maintain, so a view that missed a commit is
    missing here, or has "" while it is read until another generation takes its place. rules:
    digests of what decides which records become events, by part.
    lost: when records were last given up that these rules would accept, microseconds; 0 where none
    were.
    gap: by when events have happened that were lost before they were read, microseconds; 0 where
    none were. Every view lacks them. growth: by when events have happened that may count twice,
    since the stream has more partitions than before; 0 where they count once.
    paused: until when the process that commits the stream waits for a repair, microseconds; 0 where
    it need not.
    """

    sequence: int = 0
    at: int = 0
    received: int = 0
    latest: int = 0
    known: int = 0
    since: int = 0
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    views: dict[str, str] = msgspec.field(default_factory=dict)
    rules: dict[str, str] = msgspec.field(default_factory=dict)
    lost: int = 0
    gap: int = 0
    growth: int = 0
    paused: int = 0

    @property
    def doubtful(self) -> int:
        """By when events have happened that every view lacks, or may count twice, microseconds."""
        return max(self.gap, self.growth)

    @property
    def accepted(self) -> int:
        """How many events were accepted and not erased: as many rows as an archive holds that lacks
        none.
        """
        return sum(
            self.counts.get(name, 0) for name in ("accepted", "released", "rejudged")
        ) - self.counts.get("erased", 0)

    def maintained(self, names: Iterable[str]) -> dict[str, str]:
        """The entries of `views` for some views."""
        return {name: self.views[name] for name in names if name in self.views}

    def covers(self, tiles: str, state: State) -> bool:
        """Whether the records of a view are whole, and every commit since has maintained them."""
        named = state.coverage != "" and self.views.get(tiles) == state.coverage
        return state.seeded is not None and (named or not self.sequence)


def known_through(progress: Iterable[Progress]) -> int:
    """All that was received by then is readable, microseconds, given the progress of each
    partition, of one at least.
    """
    return min(done.known for done in progress)


def read_progress(value: bytes | None) -> Progress:
    """The stored progress of a stream; the beginning where none is stored."""
    return Progress() if value is None else msgspec.msgpack.decode(value, type=Progress)


def read_parts(store: OnlineStore, tiles: str) -> dict[bytes, State]:
    """The stored state of each partition's part of a streaming view; by b"" where there is one
    writer.
    """
    prefix = keyspace.stream_state(tiles)
    return {
        key[len(prefix) + 1 :]: msgspec.msgpack.decode(value, type=State)
        for key, value in store.scan(prefix)
    }


def progresses(store: OnlineStore, source: str) -> dict[bytes, Progress]:
    """How far each partition of a source's stream has been read; by b"" where there is one
    writer.
    """
    prefix = keyspace.PROGRESS + keyspace.name(source)
    return {key[len(prefix) : -1]: read_progress(value) for key, value in store.scan(prefix)}


def misses(tiles: str, parts: Mapping[bytes, State], progress: Mapping[bytes, Progress]) -> bool:
    """Whether a view's records miss a commit of some partition."""
    return not all(
        partition in parts and done.covers(tiles, parts[partition])
        for partition, done in progress.items()
    )


def read_stream(store: OnlineStore, tiles: str, source: str) -> State | None:
    """The stored state of a streaming view: where each partition has a writer, complete when the
    part of each is.
    """
    return merged(store, read_parts(store, tiles), source)


def merged(store: OnlineStore, parts: Mapping[bytes, State], source: str) -> State | None:
    """The parts of a streaming view as one state."""
    if not parts or b"" in parts:
        return parts.get(b"")
    seeded = [state.seeded for state in parts.values()]
    whole = progresses(store, source).keys() <= parts.keys() and None not in seeded
    return msgspec.structs.replace(
        next(iter(parts.values())),
        seeded=max((s for s in seeded if s is not None), default=0) if whole else None,
        from_history=max(state.from_history for state in parts.values()),
        exact_from=max(state.exact_from for state in parts.values()),
        complete_from=max(state.complete_from for state in parts.values()),
    )


def decoded(value: bytes | None) -> State | None:
    """Decode the bytes of `encoded`."""
    return None if value is None else msgspec.msgpack.decode(value, type=State)


def encoded(state: State) -> bytes:
    """A state as the value of its key."""
    return msgspec.msgpack.encode(state)


Fetch = Callable[[list[bytes]], Sequence[bytes] | PackedRecords]
"""Keys -> the view's section of each one's record, empty where there is none."""

Stretch = tuple[bytes, int, int]
"""The events of a key at times in [first, last)."""

Standing = Callable[[list[Stretch]], pl.DataFrame]
"""The events in force in some ranges of time: the columns of `ViewTiles.schema` and TIME, in any
order.
"""

_NO_WORDS = pl.Series(dtype=pl.String)

# events up to which a loop codes strings as fast as polars does; and it wakes up no other thread
_FEW = 2_000


@dataclass(frozen=True)
class KeyStates:
    """Partial states of keys: tiles by the position of their key, which hold strings as positions
    among `words`, sorted and distinct.
    """

    keys: list[bytes]
    tiles: Tiles
    words: pl.Series


@dataclass(frozen=True)
class ViewTiles:
    """Computes, encodes and reads the tiles of a view.

    schema: the dtypes of the source's columns that the view reads, of its keys, and of IDENT where
    events have ids.
    """

    view: FeatureView
    schema: Mapping[str, pl.DataType]

    @cached_property
    def query(self) -> Query:
        """The view's features, with their statuses."""
        windows = tuple(dict.fromkeys(f.window for f in self.view.outputs))
        return Query(
            self.view.source,
            self.view.keys,
            self.view.outputs,
            self.view.expires_after,
            retained=windows,
        )

    @cached_property
    def records(self) -> Records:
        """How tiles are written."""
        coded = {name: encode(pl.Series(dtype=self.schema[name])) for name in self.query.columns}
        kinds = {name: values.dtype == pl.Int64 for name, (values, _) in coded.items()}
        strings = frozenset(
            name for name, (_, encoding) in coded.items() if encoding.words is not None
        )
        stored = TileAggregator(FeaturePlan(self.query).specs, kinds, self.view.source.delay)
        return Records(
            stored, strings, IDENT in self.schema and not self.schema[IDENT].is_integer()
        )

    def reads_alike(self, dtypes: Mapping[str, pl.DataType]) -> bool:
        """Whether records made of columns of these types are read the same way; columns of other
        views do not matter.
        """
        names = [*self.view.read_columns, IDENT]
        return all(self.schema.get(name) == dtypes.get(name) for name in names)

    def check(self) -> None:
        """Refuse columns of types that the features cannot be made of.

        Raises:
            DataError: such a column.
        """
        for feature in self.view.outputs:
            for name in feature.columns:
                check_accepts(
                    feature.aggregation.function,
                    self.schema[name],
                    f"source {self.view.source.name!r}: the column {name!r}",
                )
            split = feature.aggregation.secondary
            if split is not None:
                check_secondary(
                    pl.Series(split.column, [], self.schema[split.column]),
                    f"source {self.view.source.name!r}: {split.column!r}",
                )

    def _check_values(self, events: pl.DataFrame) -> None:
        subject = f"source {self.view.source.name!r}"
        for name in self.query.columns:
            check_values(events[name], f"{subject}: the column {name!r}")
        for feature in self.view.outputs:
            for name in feature.columns:
                check_exact(
                    feature.aggregation.function, events[name], f"{subject}: the column {name!r}"
                )

    def keyed(self, events: pl.DataFrame) -> tuple[pl.DataFrame, I64, list[bytes]]:
        """The events that have all of the view's keys; the number of each one's key, int64; and the
        bytes of each key, mostly rising.
        """
        if not self.view.keys:
            return events, np.zeros(events.height, np.int64), [b""] if events.height else []
        names = list(self.view.keys)
        null = any(events[name].null_count() for name in names)
        whole = events.filter(pl.all_horizontal(pl.col(names).is_not_null())) if null else events
        if (
            len(names) == 1
            and whole.schema[names[0]].is_signed_integer()
            and whole.schema[names[0]] != pl.Int128
        ):
            number, values = numbered(whole[names[0]].cast(pl.Int64).to_numpy())
            return whole, number, key_bytes(pl.DataFrame({names[0]: values}))
        # as below, without queries, whose start counts where events are few
        if len(names) == 1 and whole.schema[names[0]] == pl.String:
            if whole.height < _FEW:
                words = whole[names[0]].to_list()
                number_of = {word: n for n, word in enumerate(sorted(set(words)))}
                return (
                    whole,
                    np.fromiter(map(number_of.__getitem__, words), np.int64, len(words)),
                    [word.encode() for word in number_of],
                )
            strings = whole[names[0]].unique().sort()
            return (
                whole,
                whole[names[0]].cast(pl.Enum(strings)).to_physical().cast(pl.Int64).to_numpy(),
                key_bytes(strings.to_frame()),
            )
        distinct = whole.select(names).unique().sort(names).with_row_index("__number")
        codes = whole.select(names).join(distinct, on=names, how="left", maintain_order="left")[
            "__number"
        ]
        return whole, codes.cast(pl.Int64).to_numpy(), key_bytes(distinct.select(names))

    def update(self, events: pl.DataFrame, T: int, through: int, fetch: Fetch) -> KeyedRecords:
        """The records, as of T, of every key with events here: the records that `fetch` gives, with
        the events added.

        Args:
            events: rows that count, all before T: the keys, the columns read, TIME, and IDENT where
                declared.
            T: int64 microseconds; never less than before.
            through: what the records are complete through.
            fetch: keys -> their records as stored.

        Returns:
            By key, the new record; empty where nothing is left of it.
        """
        keyed, number, keys = self.keyed(events)
        return (
            self.add(self._states(keyed, number, keys, T), T, through, fetch)
            if keys
            else KeyedRecords([], PackedRecords.pack([]))
        )

    def states(self, events: pl.DataFrame, T: int, most: int) -> Iterator[KeyStates]:
        """The states of these events alone, of at most so many keys at a time.

        Args:
            events, T: as of `update`; their values are checked here, as those of a stream are when
                they arrive.
            most: keys.

        Raises:
            DataError: values that no feature is made of.
        """
        self._check_values(events)
        keyed, number, keys = self.keyed(events)
        for first in range(0, len(keys), most):
            in_chunk = (number >= first) & (number < first + most)
            rows = keyed if len(keys) <= most else keyed.filter(pl.Series(in_chunk))
            yield self._states(rows, number[in_chunk] - first, keys[first : first + most], T)

    def stored(self, keys: list[bytes], sections: Sequence[bytes], T: int) -> KeyStates:
        """The states that sections of records hold, as of T; one section for each key."""
        tiles, _, words = self.records.load(sections)
        return KeyStates(keys, self.records.stored.moved(tiles, T), words)

    def add(self, states: KeyStates, T: int, through: int, fetch: Fetch) -> KeyedRecords:
        """As `update`, with the events that states as of T were made of."""
        keys, records = states.keys, self.records
        if records.plain_merges is not None:
            return KeyedRecords(keys, records.add(fetch(keys), states.tiles, T, through))
        old, _, words = records.load(fetch(keys), states.words)
        new = records.recoded(states.tiles, states.words, words)
        merged = records.stored.merge(old, new, T)
        return KeyedRecords(keys, records.dump(merged, np.full(len(keys), through), words))

    def _states(self, events: pl.DataFrame, number: I64, keys: list[bytes], T: int) -> KeyStates:
        words = (
            _NO_WORDS
            if self.records.plain_merges is not None
            else self._strings(events).unique().sort()
        )
        return KeyStates(
            keys,
            self.records.stored.of_events(self._arrays(events, number, len(keys), words), T),
            words,
        )

    def renew(
        self,
        added: pl.DataFrame,
        removed: pl.DataFrame,
        T: int,
        through: int,
        fetch: Fetch,
        standing: Standing,
    ) -> KeyedRecords:
        """As `update`, with the events `added` and without the events `removed`: tiles that hold
        a removed event are recomputed from their events.

        Nothing is taken out of a state: of most none can be, and cents would not be left of what a
        billion is taken from.

        Args:
            added: as of `update`.
            removed: events that tiles hold, of the same columns.
            T, through, fetch: as of `update`.
            standing: gives the events that are in force, with `added` and without `removed`.
        """
        lost, number, keys = self.keyed(removed)
        ladder = self.records.stored.ladder
        start = ladder.tile_start(lost[TIME].to_numpy(), T)
        held = np.flatnonzero(start != UNREACHED)
        if not len(held):
            return self.update(added, T, through, fetch)
        first = np.unique(np.column_stack([number, start])[held], axis=0, return_index=True)[1]
        spans = ladder.spans(lost[TIME].to_numpy()[held[first]], T)
        stretches = [
            (keys[n], a, b)
            for n, a, b in zip(
                number[held[first]], *(bound.tolist() for bound in spans), strict=True
            )
        ]
        parts = [added, standing(stretches).filter(pl.col(TIME) < T), lost[held]]
        every, number, keys = self.keyed(
            pl.concat(
                origin.select(added.columns).with_columns(_part=n) for n, origin in enumerate(parts)
            )
        )
        origin, start = every["_part"].to_numpy(), ladder.tile_start(every[TIME].to_numpy(), T)
        torn = (number[origin == 2], start[origin == 2])
        counted = (origin == 1) | ((origin == 0) & ~among(number, start, *torn))
        events = every.filter(pl.Series(counted)).drop("_part")
        old, _, words = self.records.load(fetch(keys), self._strings(events))
        new = self.records.stored.of_events(
            self._arrays(events, number[counted], len(keys), words), T
        )
        tiles = self.records.stored.merge(self.records.stored.without(old, *torn, T), new, T)
        return KeyedRecords(keys, self.records.dump(tiles, np.full(len(keys), through), words))

    def values(
        self, records: Sequence[Sequence[bytes]], T: I64, K: I64
    ) -> tuple[list[pl.Series], list[pl.Series]]:
        """Features and their statuses for each key as of its T and K, int64 (keys), of its records,
        one for each partition that has one.
        """
        flat = [record for parts in records for record in parts]
        key_of_record = np.repeat(np.arange(len(records)), [len(parts) for parts in records])
        tiles, _, words = self.records.load(flat)
        tiles = replace(tiles, key=key_of_record[tiles.key])
        plan = FeaturePlan(self.query)
        final = plan.finalize(
            dict(
                zip(plan.specs, self.records.stored.answers(tiles, len(records), T, K), strict=True)
            ),
            K,
        )
        coded = {name: self.coded(name, words) for name in self.query.columns}
        features = []
        for feature, answer in zip(self.view.outputs, final.values, strict=True):
            a = feature.aggregation
            value_encoding = coded.get(feature.columns[feature.column]) if feature.columns else None
            split = None if a.secondary is None else coded[a.secondary.column]
            features.append(decode(answer, a.function, value_encoding, feature.name, split))
        statuses = [
            value_statuses.status_series(value_statuses.status_name(f.name), column.values)
            for f, column in zip(self.view.outputs, final.statuses, strict=True)
        ]
        return features, statuses

    def _strings(self, events: pl.DataFrame) -> pl.Series:
        """The distinct strings of all columns that hold some."""
        names = [
            *self.records.strings,
            *([IDENT] if self.records.ids and self.records.idents else []),
        ]
        parts = [events[name].cast(pl.String).unique() for name in names]
        return pl.concat(parts).drop_nulls() if parts else pl.Series(dtype=pl.String)

    def coded(self, name: str, words: pl.Series = _NO_WORDS) -> ColumnEncoding:
        encoding = encode(pl.Series(dtype=self.schema[name]))[1]
        return ColumnEncoding(encoding.dtype, words) if name in self.records.strings else encoding

    def _arrays(self, events: pl.DataFrame, number: I64, keys: int, words: pl.Series) -> Events:
        """The events in the order of (key, time, id)."""
        coding = pl.Enum(words) if len(words) else pl.String()
        t = events[TIME].to_numpy()
        order, starts = order_of(number, t, keys, 1)
        t = t[order]
        ident = NOTHING
        if IDENT in self.schema:
            places, group = tied(starts, t)
            if len(places):
                rank = events[IDENT][order[places]].rank("dense").to_numpy()
                order[places] = order[places[np.lexsort((rank, group))]]
            if self.records.idents:
                ids = (
                    events[IDENT].cast(pl.String).cast(coding).to_physical()
                    if self.records.ids
                    else events[IDENT]
                )
                ident = ids.cast(pl.Int64).to_numpy()[order]
        columns = {}
        hashes = (
            hashes_of_strings(words)
            if self.records.strings and hashed_columns(self.view.outputs)
            else None
        )
        for name in self.query.columns:
            series = events[name].cast(self.schema[name])
            if name in self.records.strings:
                codes = series.cast(pl.String).cast(coding)
                values = (
                    codes.to_physical().cast(pl.Int64)
                    if len(words)
                    else codes.is_null().cast(pl.Int64).replace(1, None)
                )
            else:
                values = encode(series)[0]
            columns[name] = to_kernel(values).take(order)
            if name in self.records.strings and hashes is not None:
                columns[name] = replace(columns[name], hashes=hashes)
        return Events(starts, t, NOTHING, 0, ident, columns, ended_after=self.view.source.delay)


FAR = 2**60
"""A time that never comes, microseconds."""


def reach(view: FeatureView) -> int | None:
    """How far before T the longest window of a view begins, microseconds; None is without end."""
    reaches = [feature.window.reach for feature in view.outputs]
    return (
        None
        if None in reaches
        else max(window_reach for window_reach in reaches if window_reach is not None)
    )


def out_of_reach(view: FeatureView, at: int) -> int:
    """From when on no window of a view reaches events of before `at`, microseconds; 0 for an `at`
    of 0.

    >>> from headwater.testing.examples import visiting
    >>> import headwater as hw
    >>> (view,) = visiting(hw.streaming("2s")).models[0].features.views
    >>> out_of_reach(view, 1_000_000) - 1_000_000 == reach(view), out_of_reach(view, 0)
    (True, 0)
    """
    furthest = reach(view)
    return 0 if not at else FAR if furthest is None else at + furthest
