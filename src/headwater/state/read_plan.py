"""Views that compiled loops alone can read, and the plan that the loops follow."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import polars as pl

from headwater.aggregations.base import AggregateFunction
from headwater.aggregations.reads import StoredColumns
from headwater.aggregations.run import FeatureSpec
from headwater.aggregations.table import TABLE, stored_family
from headwater.definitions.feature_view import Feature
from headwater.engine.query import wanted_of
from headwater.events import statuses
from headwater.events.column_encoding import decode
from headwater.kernel.arrays import I64, Column
from headwater.kernel.layer import Use
from headwater.state.view_tiles import ViewTiles


@dataclass(frozen=True)
class CompiledFeature:
    """A feature for compiled loops: how, from which columns; whether it is a float; and the conversion to the user's value, if any."""

    feature: Feature
    how: tuple[int, int, int, int, int]
    real: bool
    meant: Callable[[object], object] | None


def made_of(tiles: ViewTiles, names: Collection[str]) -> tuple[CompiledFeature, ...] | None:
    """How the features of these names of a view are made by loops, in the view's order; None where that takes more than loops."""
    if tiles.records.how is None:
        return None
    readings = [_made(tiles, feature) for feature in tiles.view.outputs if feature.name in names]
    return None if None in readings else tuple(cast("list[CompiledFeature]", readings))


def _made(tiles: ViewTiles, feature: Feature) -> CompiledFeature | None:
    wanted = wanted_of(feature)
    if wanted.by is not None:
        return None
    columns, kinds = _columns(tiles, wanted), tiles.records.stored.kinds
    of = kinds.get(wanted.use.columns[feature.column], True) if wanted.use.columns else True
    entry = TABLE[wanted.function]
    if entry.read is None:
        return None
    read = entry.read(StoredColumns(columns, of, wanted.use, dict(wanted.params), wanted.window, wanted.output))
    how = (*read.words, *(-1,) * (5 - len(read.words)))
    return CompiledFeature(feature, how, read.real, _meant(tiles, feature) if entry.definition.gives == "same" else None)  # type: ignore[arg-type]


def _meant(tiles: ViewTiles, feature: Feature) -> Callable[[object], object] | None:
    """The conversion of a number to the user's value; None where they are equal."""
    dtype = tiles.schema[feature.columns[feature.column]]
    if dtype.is_numeric() or dtype == pl.Null:
        return None
    if dtype == pl.Boolean:
        return bool
    coded = tiles.coded(feature.columns[feature.column])
    function = feature.aggregation.function
    return lambda value: decode(Column(np.array([value], np.int64)), function, coded, "").item()


def _columns(tiles: ViewTiles, wanted: FeatureSpec) -> tuple[int, ...]:
    """The columns of a record that hold the state which `wanted` is made of."""
    return _column_map(tiles)[stored_family(wanted.function, dict(wanted.params), wanted.by), wanted.use]


def _column_map(tiles: ViewTiles) -> dict[tuple[AggregateFunction, Use], tuple[int, ...]]:
    slots = tiles.records.stored.slots
    return {(slot.family, slot.use): columns for slot, columns in zip(slots, tiles.records.columns, strict=True)}


@dataclass(frozen=True)
class ReadPlan:
    """The plan that `state.read_kernels.answer` follows, for some views with so many records a key.

    words: the plan. reals: of each feature, whether it is a float. meant: by place, what makes the user's value of a number.
    """

    words: I64
    reals: tuple[bool, ...]
    meant: tuple[tuple[int, Callable[[object], object]], ...]

    def room(self, keys: int) -> int:
        """How many words the answers of so many keys take."""
        places = len(self.reals) * keys
        return places + (2 * places + 7) // 8

    @cached_property
    def times(self) -> Callable[..., bytes]:
        """Packs the T of each view as the words before the records."""
        return struct.Struct(f"={self.words[0]}q").pack

    @cached_property
    def unpack(self) -> Callable[..., tuple[object, ...]]:
        """Unpacks the answer's words of one key: the values, the bytes of their statuses, and the bytes of which are null."""
        size = len(self.reals)
        return struct.Struct(f"={''.join('d' if real else 'q' for real in self.reals)}{size}s{size}s").unpack_from


def plan(views: Sequence[tuple[ViewTiles, Sequence[CompiledFeature], int]], order: Sequence[tuple[int, int]]) -> ReadPlan:
    """The plan for views, how their features are made, and how many records a key has in each; `order`: (view, feature) of each place."""
    places = {at: cell for cell, at in enumerate(order)}
    words: list[int] = [len(views), *(0 for _ in views)]
    for view, (tiles, features, records) in enumerate(views):
        words[1 + view] = len(words)
        words += _section(tiles, features, records, [places[view, n] for n in range(len(features))])
    readings = [views[view][1][n] for view, n in order]
    meant = tuple((cell, reading.meant) for cell, reading in enumerate(readings) if reading.meant is not None)
    return ReadPlan(np.array(words, np.int64), tuple(reading.real for reading in readings), meant)


def _section(tiles: ViewTiles, features: Sequence[CompiledFeature], records: int, places: Sequence[int]) -> list[int]:
    how = tiles.records.how
    assert how is not None
    windows = list(dict.fromkeys(feature.window for feature in tiles.view.outputs))  # all of them say whether there is any event
    nothing: dict[int, int] = {}
    for state, columns in zip(tiles.records.stored.nothing, tiles.records.columns, strict=True):
        nothing |= {column: int(array.view(np.int64)[0]) for array, column in zip(state, columns, strict=True)}
    limit = -1 if tiles.view.expires_after is None else tiles.view.expires_after
    everything = _columns(tiles, FeatureSpec("count", Use(), windows[0]))[0]
    section = [len(nothing), len(windows), len(how), len(features), records, limit, everything, 0]
    section += [n for w in windows for n in (-1 if w.length is None else w.length, w.hop, w.offset)]
    section += [*how.ravel().tolist(), *(nothing[c] for c in range(len(nothing)))]
    for reading, cell in zip(features, places, strict=True):
        use, window = statuses.counted(reading.feature), reading.feature.window
        age = _columns(tiles, FeatureSpec("since_last", use, window)) if limit >= 0 else (0, 0)
        word = TABLE[reading.feature.aggregation.function].null
        kind, *operands = reading.how
        counted = _columns(tiles, FeatureSpec("count", use, window))[0]
        null = -1 if word == "present" else statuses.STATUSES.index(word)
        section += [kind, windows.index(window), *operands, int(reading.real), counted, cell, null, age[0], age[-1]]
    return section
