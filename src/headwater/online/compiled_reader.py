"""Reads of a feature service without frames: plain values in, plain values out, made by compiled loops in one call for all views."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater import clock
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.errors import DataError, StoreError, nearest
from headwater.events.keys import check_types
from headwater.kernel.arrays import I64
from headwater.online.read_versions import FALLBACK, REFRESH, ReadVersion, VersionReader, falls_back
from headwater.online_stores import OnlineStore, keyspace
from headwater.state import read_plan, tile_kernels
from headwater.state.read_kernels import answer, answer_one
from headwater.state.view_tiles import ViewTiles, key_bytes

Encode = Callable[[Sequence[object]], Sequence[bytes | None]]
U8 = NDArray[np.uint8]


class UnusualKeyError(Exception):
    """A key that only the general way knows what to do with."""


class FeatureVectors(NamedTuple):
    """Features of n keys.

    values: for each feature its n values, as polars' `to_list` gives them. statuses: for each feature n bytes, indices into
    `events.statuses.STATUSES`. read_versions: the read version of each view's values.
    """

    values: list[list[object]]
    statuses: list[bytes]
    read_versions: list[ReadVersion]


class FeatureVector(NamedTuple):
    """Features of one key: as `FeatureVectors`, without the lists."""

    values: list[object]
    statuses: bytes
    read_versions: list[ReadVersion]


@dataclass(frozen=True)
class CompiledView:
    """A view that the compiled loops can read: its versions, record layout, requested features, and key encoding."""

    view: FeatureView
    version_reader: VersionReader
    tiles: ViewTiles
    features: tuple[read_plan.CompiledFeature, ...]
    encode: tuple[Encode, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of the request that hold its keys."""
        return tuple(str(self.view.request_key(key)) for key in self.view.keys)

    def keys(self, request: Mapping[str, Sequence[object]], count: int) -> Sequence[bytes | None]:
        """The bytes of each key, as `state.view_tiles.key_bytes`; None for one that is null.

        Raises:
            UnusualKeyError: a key of another type than the view's.
        """
        if len(self.encode) == 1:
            return self.encode[0](request[self.columns[0]])
        columns = [encode(request[name]) for encode, name in zip(self.encode, self.columns, strict=True)]
        return [_joined(values) for values in zip(*columns, strict=True)] if columns else [b""] * count


def part_of(view: FeatureView, version_reader: VersionReader, tiles: ViewTiles, names: Sequence[str]) -> CompiledView | None:
    """The view as loops read it, its features of these names; None where only the general way can."""
    compiled = read_plan.made_of(tiles, names)
    encode = [_ENCODE.get(tiles.schema[key]) for key in view.keys]
    if compiled is None or None in encode or any(isinstance(view.request_key(key), FeatureRef) for key in view.keys):
        return None
    return CompiledView(view, version_reader, tiles, compiled, tuple(encode))  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Layout:
    """Where a read finds each key; valid until partitions are looked up again.

    version_keys: all keys of versions to read. groups: of views that share these, their reader and the positions of their keys.
    group: of each view. begins, ends: what its records' keys begin with, and end with. keys: of each view with one column of
    keys, what goes before, how a value becomes bytes, and the column.
    """

    version_keys: list[bytes]
    groups: list[tuple[VersionReader, int, int]]
    group: list[int]
    begins: list[bytes]
    ends: list[Sequence[bytes]]
    keys: list[tuple[bytes, Callable[[object], bytes], str]]

    @cached_property
    def plain(self) -> bool:
        """Whether every key has one record in each view, without an ending."""
        return all(list(ends) == [b""] for ends in self.ends)

    @cached_property
    def single(self) -> bool:
        """Whether besides it is of one column."""
        return self.plain and len(self.keys) == len(self.begins)

    def regroup(self, views: Sequence[VersionReader]) -> None:
        """Recompute the groups: read versions may have come to differ between views that read the same keys."""
        spans = [self.groups[group][1:] for group in self.group]
        known: dict[object, int] = {}
        self.groups.clear()
        for view, (version_reader, span) in enumerate(zip(views, spans, strict=True)):
            self.group[view] = known.setdefault((version_reader.like, span), len(known))
            if self.group[view] == len(self.groups):
                self.groups.append((version_reader, *span))


class CompiledReader:
    """Views that are read together, in one call; made once for many reads. `names`: of all features, in the order of the answers."""

    def __init__(self, store: OnlineStore, views: Sequence[CompiledView], names: Sequence[str]) -> None:
        self.store, self.views, self.names = store, views, names
        at = {
            f"{compiled_view.view.name}__{compiled.feature.name}": (v, n)
            for v, compiled_view in enumerate(views)
            for n, compiled in enumerate(compiled_view.features)
        }
        self._order = [at[name] for name in names]
        self._plans: dict[tuple[int, ...], read_plan.ReadPlan] = {}
        self._may_fall_back = any(compiled_view.view.on_stale != "previous" for compiled_view in views)
        self._known: tuple[float, _Layout] | None = None
        self._lacking: tuple[list[bytes | None], list[bool]] = [], []

    def read(self, request: Mapping[str, Sequence[object]], count: int, t: int) -> FeatureVectors:
        """The features of `count` keys, asked for at t.

        Raises:
            UnusualKeyError: a key of another type than a view's.
            StoreError: a view that is not whole in the store.
        """
        if not self.views:
            return FeatureVectors([], [], [])
        plan, out, nulls, read_versions = self._answer(*self._fetch(request, count), count, t)
        words, status_codes, gone = _cut(plan, out, count)
        floats = words.view(np.float64)
        columns: list[list[object]] = [(floats if real else words)[index].tolist() for index, real in enumerate(plan.reals)]
        for index, meant in plan.meant:
            columns[index] = [v if null else meant(v) for v, null in zip(columns[index], gone[index].tolist(), strict=True)]
        if nulls:
            places, rows = np.nonzero(gone)
            for index, row in zip(places.tolist(), rows.tolist(), strict=True):
                columns[index][row] = None
        return FeatureVectors(columns, [row.tobytes() for row in status_codes], read_versions)

    def one(self, request: Mapping[str, object], t: int) -> FeatureVector:
        """As `read`, of one key, which is not null."""
        if not self.views:
            return FeatureVector([], b"", [])
        layout = self._layout()
        if layout.single:
            stored = self.store.get(layout.version_keys + [begin + encode(request[name]) for begin, encode, name in layout.keys])
        else:
            layout, stored = self._fetch({name: (value,) for name, value in request.items()}, 1)
        plan, out, nulls, read_versions = self._answer(layout, stored, 1, t)
        *values, statuses, gone = plan.unpack(out)
        null = cast("bytes", gone)
        for index, meant in plan.meant:
            if not null[index]:
                values[index] = meant(values[index])
        index = -1
        for _ in range(nulls):
            index = null.index(1, index + 1)
            values[index] = None
        return FeatureVector(values, cast("bytes", statuses), read_versions)

    def _fetch(self, request: Mapping[str, Sequence[object]], count: int) -> tuple[_Layout, list[bytes | None]]:
        """What the store holds for some keys, and where it is."""
        layout = self._layout()
        wanted = layout.version_keys.copy()
        for compiled_view, begin, ends in zip(self.views, layout.begins, layout.ends, strict=True):
            keys = compiled_view.keys(request, count)
            if None in keys or not layout.plain:
                wanted += [keyspace.NOWHERE if key is None else begin + key + end for key in keys for end in ends]
            else:
                wanted += [begin + key for key in keys]  # type: ignore[operator]
        return layout, self.store.get(wanted)

    def _answer(
        self, layout: _Layout, stored: Sequence[bytes | None], count: int, t: int
    ) -> tuple[read_plan.ReadPlan, I64, int, list[ReadVersion]]:
        """The words of the answers (see `answer`), and how many are null."""
        if stored[: len(layout.version_keys)] != self._lacking[0]:
            self._lacking = self._lacks(layout, stored)
        lacking = self._lacking[1]
        grouped = [version_reader.read_version(stored[a:b], t) for version_reader, a, b in layout.groups]
        read_versions = [grouped[group] for group in layout.group]
        if lacking:
            pairs = zip(read_versions, lacking, strict=True)
            read_versions = [version._replace(incomplete=version.incomplete or lacks) for version, lacks in pairs]
        if layout.plain:
            records, plan = stored[len(layout.version_keys) :], self._plain
        else:
            records, plan = self._chosen(stored, layout, read_versions, count)
        if None in records:
            records = [record or tile_kernels.NONE for record in records]
        data = b"".join([plan.times(*[read_version[0] for read_version in read_versions]), *records])  # type: ignore[list-item]
        out = np.empty(plan.room(count), np.int64)
        words = np.frombuffer(data, np.int64)
        nulls = answer_one(words, plan.words, out) if count == 1 else answer(words, plan.words, count, out)
        if nulls < 0:
            raise StoreError(f"the store holds a record of a format that this version does not read; it reads {tile_kernels.FORMAT}")
        if lacking or any(read_version[4] or (read_version[3] and self._may_fall_back) for read_version in grouped):
            nulls = self._fall_back(plan, out, count, read_versions)
        return plan, out, nulls, read_versions

    def _lacks(self, layout: _Layout, stored: Sequence[bytes | None]) -> tuple[list[bytes | None], list[bool]]:
        """The values of the version keys, and which views miss a commit by them; empty where none does."""
        spans = [layout.groups[group][1:] for group in layout.group]
        lacking = [compiled_view.version_reader.lacks(stored[a:b]) for compiled_view, (a, b) in zip(self.views, spans, strict=True)]
        layout.regroup([compiled_view.version_reader for compiled_view in self.views])
        return list(stored[: len(layout.version_keys)]), lacking if any(lacking) else []

    def _chosen(
        self, stored: Sequence[bytes | None], layout: _Layout, read_versions: Sequence[ReadVersion], count: int
    ) -> tuple[Sequence[bytes | None], read_plan.ReadPlan]:
        """The records that count, where that is to be chosen, and the plan for as many of each key."""
        at = len(layout.version_keys)
        records: list[bytes | None] = []
        sizes = []
        for compiled_view, ends, read_version in zip(self.views, layout.ends, read_versions, strict=True):
            chosen = compiled_view.version_reader.chosen(stored[at : at + count * len(ends)], read_version)
            at += count * len(ends)
            records += chosen
            sizes.append(len(chosen) // max(count, 1))
        return records, self._planned(tuple(sizes))

    def _fall_back(self, plan: read_plan.ReadPlan, out: I64, count: int, read_versions: Sequence[ReadVersion]) -> int:
        """Mark all features of views that serve nothing stale or incomplete; how many values are null."""
        _, status_codes, gone = _cut(plan, out, count)
        old = [
            (read_version.stale or read_version.incomplete) and falls_back(compiled_view.view, read_version)
            for compiled_view, read_version in zip(self.views, read_versions, strict=True)
        ]
        places = [old[view] for view, _ in self._order]
        status_codes[places], gone[places] = FALLBACK, 1
        return int(gone.sum())

    def _layout(self) -> _Layout:
        now = clock.stopwatch()
        if self._known is not None and now - self._known[0] < REFRESH:
            return self._known[1]
        layout = _Layout([], [], [], [], [], [])
        self._lacking = [], []
        known: dict[object, int] = {}
        for compiled_view in self.views:
            version_keys, ends = compiled_view.version_reader.look()
            if compiled_view.version_reader.like not in known:
                known[compiled_view.version_reader.like] = len(layout.groups)
                layout.groups.append((compiled_view.version_reader, len(layout.version_keys), len(layout.version_keys) + len(version_keys)))
                layout.version_keys.extend(version_keys)
            layout.group.append(known[compiled_view.version_reader.like])
            layout.begins.append(keyspace.records(compiled_view.view.tiles_fingerprint))
            layout.ends.append(ends)
            if len(compiled_view.columns) == 1:
                layout.keys.append((layout.begins[-1], _ENCODE_ONE[compiled_view.encode[0]], compiled_view.columns[0]))
        self._known = now, layout
        return layout

    @cached_property
    def _plain(self) -> read_plan.ReadPlan:
        """The plan for one record of each key in each view."""
        return self._planned((1,) * len(self.views))

    def _planned(self, sizes: tuple[int, ...]) -> read_plan.ReadPlan:
        known = self._plans.get(sizes)
        if known is None:
            known = read_plan.plan(
                [(compiled_view.tiles, compiled_view.features, n) for compiled_view, n in zip(self.views, sizes, strict=True)], self._order
            )
            self._plans[sizes] = known
        return known


def _cut(plan: read_plan.ReadPlan, out: I64, count: int) -> tuple[I64, U8, U8]:
    """The answers' values, statuses, and which are null; all (features, keys)."""
    size = len(plan.reals) * count
    tail = out[size:].view(np.uint8)
    words, status_codes, gone = out[:size], tail[:size], tail[size : 2 * size]
    return words.reshape(-1, count), status_codes.reshape(-1, count), gone.reshape(-1, count)


def _joined(values: Sequence[bytes | None]) -> bytes | None:
    """One key of several columns."""
    if None in values:
        return None
    columns = cast("Sequence[bytes]", values)
    return b"".join([*(len(column).to_bytes(4, "big") + column for column in columns[:-1]), columns[-1]])


def _whole(values: Sequence[object]) -> Sequence[bytes | None]:
    try:
        kinds = set(map(type, values))
        if kinds == {int}:
            data = struct.pack(f">{len(values)}q", *values)
            return [data[i : i + 8] for i in range(0, len(data), 8)]
        if kinds <= {int, type(None)}:
            return [None if value is None else _PACK(value) for value in values]
    except struct.error as error:
        raise UnusualKeyError from error
    raise UnusualKeyError


def _text(values: Sequence[object]) -> Sequence[bytes | None]:
    if not set(map(type, values)) <= {str, type(None)}:
        raise UnusualKeyError
    keys = [None if value is None else cast("str", value).encode() for value in values]
    if max((len(key) for key in keys if key is not None), default=0) > _LONG:
        raise UnusualKeyError
    return keys


def _one_whole(value: object) -> bytes:
    if type(value) is not int:
        raise UnusualKeyError
    try:
        return _PACK(value)
    except struct.error as error:
        raise UnusualKeyError from error


def _one_text(value: object) -> bytes:
    if type(value) is not str or len(value) > _LONG // 4:
        raise UnusualKeyError
    return value.encode()


_PACK = struct.Struct(">q").pack
_LONG = 100  # bytes of a text; longer keys stand in the store by their hash
_ENCODE: Mapping[pl.DataType, Encode] = {pl.Int64(): _whole, pl.String(): _text}
_ENCODE_ONE: Mapping[Encode, Callable[[object], bytes]] = {_whole: _one_whole, _text: _one_text}


class KeyEncoder:
    """Key columns encoded as record keys: integers and strings directly, other types by frames.

    Raises:
        DataError: keys of a type that cannot be those.
    """

    def __init__(self, dtypes: Mapping[str, pl.DataType], owner: str) -> None:
        self._dtypes, self._owner = dtypes, owner
        encode = [_ENCODE.get(dtype) for dtype in dtypes.values()]
        self._encode = None if None in encode else cast("list[Encode]", encode)
        self._encode_one = _ENCODE_ONE[self._encode[0]] if self._encode is not None and len(self._encode) == 1 else None
        self._name = next(iter(dtypes))

    def one(self, request: Mapping[str, object]) -> bytes | None:
        """The key of one request; None where a part of it is null."""
        if self._encode_one is not None:
            try:
                return self._encode_one(request[self._name])
            except (KeyError, UnusualKeyError):
                pass  # the general way knows what to say
        return self.many({name: [value] for name, value in request.items()}, 1)[0]

    def many(self, columns: Mapping[str, Sequence[object]], count: int) -> Sequence[bytes | None]:
        """As `one`, of requests whose keys stand in columns."""
        for name in self._dtypes:
            if name not in columns:
                raise DataError(f"the request has no {name!r}, which {self._owner} is looked up by; {nearest(name, columns)}")
        if self._encode is not None:
            try:
                encoded_columns = [encode(columns[name]) for encode, name in zip(self._encode, self._dtypes, strict=True)]
                return (
                    encoded_columns[0] if len(encoded_columns) == 1 else [_joined(values) for values in zip(*encoded_columns, strict=True)]
                )
            except UnusualKeyError:
                pass
        frame = pl.DataFrame({name: pl.Series(name, columns[name], strict=False) for name in self._dtypes})
        for name, dtype in self._dtypes.items():
            check_types(name, dtype, frame.schema[name], self._owner)
        frame = frame.with_columns(pl.col(name).cast(dtype, strict=False) for name, dtype in self._dtypes.items())
        whole = frame.select(pl.all_horizontal(pl.all().is_not_null())).to_series()
        encoded = iter(keyspace.shortened(key_bytes(frame.filter(whole))))
        return [next(encoded) if is_whole else None for is_whole in whole.to_list()[:count]]
