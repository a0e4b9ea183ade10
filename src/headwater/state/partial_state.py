"""States of tiles: made of events, merged, and read as the states of windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np

from headwater.aggregations import ragged
from headwater.aggregations.base import (
    AggregateFunction,
    Answers,
    FinalizeContext,
    Kinds,
    State,
    StateField,
)
from headwater.aggregations.run import FeatureSpec
from headwater.aggregations.table import stored_family
from headwater.definitions.windows import Window
from headwater.kernel.arrays import I64, NOTHING, Column, Events, RequestTimes
from headwater.kernel.layer import Layer, Spans, Use
from headwater.kernel.tile_ladder import GONE, TileLadder, among, groups, interleaved, of_windows

_WHOLE = Window.in_micros(None)


@dataclass(frozen=True)
class Slot:
    """A state that features share: a family over what it reads."""

    family: AggregateFunction
    use: Use
    fields: tuple[StateField, ...]


@dataclass(frozen=True)
class TileAggregator:
    """The stored partial states of the features `wanted` of a view, and how values are computed
    from them.

    kinds: of each column that is read, whether its values are int64. ended_after: as of `Events`.
    """

    wanted: tuple[FeatureSpec, ...]
    kinds: Kinds
    ended_after: int = 0

    @cached_property
    def ladder(self) -> TileLadder:
        """The sizes of tiles."""
        return of_windows([w.window for w in self.wanted])

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The states of a tile, in the order in which they are stored."""
        pairs = dict.fromkeys((self._family(w), w.use) for w in self.wanted)
        return tuple(
            Slot(family, use, family.state_fields(use, self.kinds)) for family, use in pairs
        )

    @cached_property
    def nothing(self) -> tuple[State, ...]:
        """The state of no event, for each slot; one row."""
        none = Events(
            np.zeros(2, np.int64),
            NOTHING,
            NOTHING,
            0,
            NOTHING,
            self.columns,
            ended_after=self.ended_after,
        )
        return self._states(Layer(none), np.zeros(1, np.int64), np.zeros(1, np.int64))

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        """Columns without values, of the dtypes of those that are read."""
        return {
            name: Column(NOTHING if whole else NOTHING.astype(np.float64), hashes=NOTHING)
            for name, whole in self.kinds.items()
        }

    def of_events(self, events: Events, T: int) -> Tiles:
        """The tiles, as of T, of events that all happened before T; events that no window reaches
        any more make tiles at GONE.
        """
        key = np.repeat(np.arange(len(events.starts) - 1), np.diff(events.starts))
        start = self.ladder.tile_start(events.t, T)
        first = np.flatnonzero(ragged.fresh(key, start)) if len(key) else NOTHING
        bounds = np.append(first, len(key))
        layer = Layer(replace(events, starts=bounds))
        return Tiles(key[first], start[first], self._states(layer, bounds[:-1], bounds[1:]))

    def merge(self, old: Tiles, new: Tiles, T: int) -> Tiles:
        """Both together, with those at GONE left out; `old` are moved to where they belong as of
        T.
        """
        old = replace(old, start=self.ladder.tile_start(old.start, T))
        order = interleaved(old.key, old.start, new.key, new.start)
        key, start = (
            np.concatenate([a, b])[order] for a, b in ((old.key, new.key), (old.start, new.start))
        )
        live = start != GONE
        order, key, start = order[live], key[live], start[live]
        in_group = groups(key, start)
        pairs = zip(self.slots, old.states, new.states, strict=True)
        states = tuple(
            self._merged(slot, _taken(slot, _joined(a, b), order), in_group) for slot, a, b in pairs
        )
        return Tiles(key[in_group == 0], start[in_group == 0], states)

    def moved(self, tiles: Tiles, T: int) -> Tiles:
        """The tiles where they belong as of T, without those at GONE."""
        nothing = Tiles(
            NOTHING, NOTHING, tuple(tuple(array[:0] for array in state) for state in tiles.states)
        )
        return self.merge(tiles, nothing, T)

    def without(self, tiles: Tiles, key: I64, start: I64, T: int) -> Tiles:
        """The tiles that do not belong to any of these keys and starts as of T."""
        rows = np.flatnonzero(~among(tiles.key, self.ladder.tile_start(tiles.start, T), key, start))
        states = tuple(
            _taken(slot, state, rows) for slot, state in zip(self.slots, tiles.states, strict=True)
        )
        return Tiles(tiles.key[rows], tiles.start[rows], states)

    def answers(self, tiles: Tiles, keys: int, T: I64, K: I64) -> list[Answers]:
        """The value of each of `wanted` for each key as of its own T and K, int64 (keys)."""
        states: dict[tuple[Window, AggregateFunction, Use], State] = {}
        of = tiles.key
        for window in dict.fromkeys(w.window for w in self.wanted):
            counted = (tiles.start >= self.ladder.begin(window, T)[of]) & (
                tiles.start < self.ladder.end(window, T)[of]
            )
            rows = np.flatnonzero(counted)
            everyone = np.concatenate([np.arange(keys), of[rows]])
            order = np.argsort(everyone, kind="stable")
            in_group = groups(everyone[order], np.zeros(len(order), np.int64))
            for slot, state, neutral in zip(self.slots, tiles.states, self.nothing, strict=True):
                if any(
                    w.window == window and (self._family(w), w.use) == (slot.family, slot.use)
                    for w in self.wanted
                ):
                    nothing = _taken(slot, neutral, np.zeros(keys, np.int64))
                    both = _taken(slot, _joined(nothing, _taken(slot, state, rows)), order)
                    states[window, slot.family, slot.use] = self._merged(slot, both, in_group)
        none = Events(
            np.zeros(1, np.int64),
            NOTHING,
            NOTHING,
            0,
            NOTHING,
            self.columns,
            ended_after=self.ended_after,
        )
        answers = []
        for w in self.wanted:
            how = FinalizeContext(w.function, dict(w.params), T, none, w.use, w.window, w.output, K)
            answers.append(self._family(w).finalize(states[w.window, self._family(w), w.use], how))
        return answers

    def _family(self, w: FeatureSpec) -> AggregateFunction:
        return stored_family(w.function, dict(w.params), w.by)

    def _states(self, layer: Layer, lo: I64, hi: I64) -> tuple[State, ...]:
        none = np.zeros(len(lo), np.int64)
        spans = Spans(layer, RequestTimes(none, none, none), _WHOLE, lo, hi)
        return tuple(_typed(slot, slot.family.partial(slot.use, spans)) for slot in self.slots)

    def _merged(self, slot: Slot, state: State, in_group: I64) -> State:
        """The states of rows that stand in groups, each row's place in its group from 0: one state
        for each group.
        """
        while True:
            odd = np.flatnonzero(in_group & 1)
            if len(odd) == 0:
                return state
            alone = np.ones(len(in_group), np.bool_)
            alone[odd] = alone[odd - 1] = False
            unpaired = np.flatnonzero(alone)
            both = _typed(
                slot, slot.family.merge(_taken(slot, state, odd - 1), _taken(slot, state, odd))
            )
            order = np.argsort(np.concatenate([unpaired, odd - 1]), kind="stable")
            state = _taken(slot, _joined(_taken(slot, state, unpaired), both), order)
            in_group = in_group[in_group & 1 == 0] >> 1


@dataclass(frozen=True)
class Tiles:
    """Tiles of some keys, sorted by (key, start): key and start int64 (r), and a state of r rows
    for each slot.
    """

    key: I64
    start: I64
    states: tuple[State, ...]


def _typed(slot: Slot, state: State) -> State:
    kinds = (np.int64 if field.whole else np.float64 for field in slot.fields)
    return tuple(
        cast("I64", array.astype(kind, copy=False))
        for array, kind in zip(state, kinds, strict=True)
    )


def _joined(a: State, b: State) -> State:
    """The rows of both, one after the other."""
    return tuple(np.concatenate([x, y]) for x, y in zip(a, b, strict=True))


def _taken(slot: Slot, state: State, rows: I64) -> State:
    """The state's rows at these positions."""
    entries = NOTHING
    if any(field.entry for field in slot.fields):
        sizes = cast("I64", state[0])
        mine = sizes[rows]
        entries = ragged.places(mine) + np.repeat((np.cumsum(sizes) - sizes)[rows], mine)
    return tuple(
        array[entries if field.entry else rows]
        for field, array in zip(slot.fields, state, strict=True)
    )
