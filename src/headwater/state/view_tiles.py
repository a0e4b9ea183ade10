"""Tiles of a view on one machine: events become its sections of records, and these become
values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from headwater.definitions.feature_view import FeatureView
from headwater.engine.feature_plan import FeaturePlan, hashed_columns
from headwater.engine.query import Query
from headwater.events import statuses as value_statuses
from headwater.events.column_encoding import (
    ColumnEncoding,
    check_accepts,
    check_exact,
    check_secondary,
    check_values,
    decode,
    encode,
    to_kernel,
)
from headwater.events.selection import IDENT, TIME
from headwater.kernel.arrays import I64, NOTHING, Events
from headwater.kernel.hashes import hashes_of_strings
from headwater.kernel.sorting import numbered, order_of, tied
from headwater.kernel.tile_ladder import GONE, among
from headwater.state.key_codec import key_bytes
from headwater.state.packed_records import KeyedRecords, PackedRecords
from headwater.state.partial_state import TileAggregator, Tiles
from headwater.state.tile_codec import Records

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
        strings = frozenset(name for name, (_, how) in coded.items() if how.words is not None)
        stored = TileAggregator(FeaturePlan(self.query).specs, kinds, self.view.source.delay)
        return Records(
            stored, strings, IDENT in self.schema and not self.schema[IDENT].is_integer()
        )

    def reads_alike(self, dtypes: Mapping[str, pl.DataType]) -> bool:
        """Whether records made of columns of these types are read the same way; those of other
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
        """The records of every key that has events among these, as of T: what `fetch` gives with
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
            else KeyedRecords([], PackedRecords.of([]))
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
            mine = (number >= first) & (number < first + most)
            rows = keyed if len(keys) <= most else keyed.filter(pl.Series(mine))
            yield self._states(rows, number[mine] - first, keys[first : first + most], T)

    def stored(self, keys: list[bytes], sections: Sequence[bytes], T: int) -> KeyStates:
        """The states that sections of records hold, as of T; one section for each key."""
        tiles, _, words = self.records.load(sections)
        return KeyStates(keys, self.records.stored.moved(tiles, T), words)

    def add(self, states: KeyStates, T: int, through: int, fetch: Fetch) -> KeyedRecords:
        """As `update`, with the events that states as of T were made of."""
        keys, records = states.keys, self.records
        if records.how is not None:
            return KeyedRecords(keys, records.add(fetch(keys), states.tiles, T, through))
        old, _, words = records.load(fetch(keys), states.words)
        new = records.recoded(states.tiles, states.words, words)
        merged = records.stored.merge(old, new, T)
        return KeyedRecords(keys, records.dump(merged, np.full(len(keys), through), words))

    def _states(self, events: pl.DataFrame, number: I64, keys: list[bytes], T: int) -> KeyStates:
        words = _NO_WORDS if self.records.how is not None else self._strings(events).unique().sort()
        return KeyStates(
            keys,
            self.records.stored.of_events(self._arrays(events, number, len(keys), words), T),
            words,
        )

    def renew(
        self,
        come: pl.DataFrame,
        gone: pl.DataFrame,
        T: int,
        through: int,
        fetch: Fetch,
        standing: Standing,
    ) -> KeyedRecords:
        """As `update` with the events `come`, and without those `gone`: tiles that hold a gone
        event are recomputed from their events.

        Nothing is taken out of a state: of most none can be, and cents would not be left of what a
        billion is taken from.

        Args:
            come: as of `update`.
            gone: events that tiles hold, of the same columns.
            T, through, fetch: as of `update`.
            standing: gives the events that are in force, `come` included and `gone` not.
        """
        lost, number, keys = self.keyed(gone)
        ladder = self.records.stored.ladder
        start = ladder.tile_start(lost[TIME].to_numpy(), T)
        held = np.flatnonzero(start != GONE)
        if not len(held):
            return self.update(come, T, through, fetch)
        first = np.unique(np.column_stack([number, start])[held], axis=0, return_index=True)[1]
        spans = ladder.spans(lost[TIME].to_numpy()[held[first]], T)
        stretches = [
            (keys[n], a, b)
            for n, a, b in zip(
                number[held[first]], *(bound.tolist() for bound in spans), strict=True
            )
        ]
        parts = [come, standing(stretches).filter(pl.col(TIME) < T), lost[held]]
        every, number, keys = self.keyed(
            pl.concat(
                origin.select(come.columns).with_columns(_part=n) for n, origin in enumerate(parts)
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
        of = np.repeat(np.arange(len(records)), [len(parts) for parts in records])
        tiles, _, words = self.records.load(flat)
        tiles = replace(tiles, key=of[tiles.key])
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
            own = coded.get(feature.columns[feature.column]) if feature.columns else None
            split = None if a.secondary is None else coded[a.secondary.column]
            features.append(decode(answer, a.function, own, feature.name, split))
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
        how = encode(pl.Series(dtype=self.schema[name]))[1]
        return ColumnEncoding(how.dtype, words) if name in self.records.strings else how

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
