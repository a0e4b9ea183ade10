"""Reads of a feature service without frames: plain values in, plain values out, made by compiled loops in one call for all views."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater.compute.arrays import I64
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.engines import answers
from headwater.engines.tiles import ViewTiles
from headwater.errors import StoreError
from headwater.online_stores import OnlineStore, kernels, spaces
from headwater.online_stores.answers import NULL, answer
from headwater.pipelines.moments import FALLBACK, Heads, Moment, falls_back

Encode = Callable[[object], bytes]
U8 = NDArray[np.uint8]


class UnusualKeyError(Exception):
    """A key that only the general way knows what to do with."""


class Answers(NamedTuple):
    """Features of n keys.

    values: for each feature its n values, as polars' `to_list` gives them. statuses: for each feature n bytes, places in
    `engines.asides.STATUSES`. moments: as of when the values of each view are.
    """

    values: list[list[object]]
    statuses: list[bytes]
    moments: list[Moment]


class Answer(NamedTuple):
    """Features of one key: as `Answers`, without the lists."""

    values: list[object]
    statuses: bytes
    moments: list[Moment]


@dataclass(frozen=True)
class Part:
    """A view that loops can read: what is said beside its records, how they are written, the features wanted, and how keys become bytes."""

    view: FeatureView
    heads: Heads
    tiles: ViewTiles
    made: tuple[answers.Made, ...]
    encode: tuple[Encode, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of the request that hold its keys."""
        return tuple(str(self.view.request_key(key)) for key in self.view.keys)

    @cached_property
    def _begin(self) -> bytes:
        return spaces.records(self.view.tiles_fingerprint)

    def places(self, columns: Sequence[Sequence[object]], count: int, ends: Sequence[bytes]) -> list[bytes]:
        """Where the records of `count` keys stand, those of one key together.

        Raises:
            UnusualKeyError: a key of another type than the view's.
        """
        begin = self._begin
        if len(columns) == 1:
            encode = self.encode[0]
            keys = [None if value is None else encode(value) for value in columns[0]]
        else:
            keys = [self._joined(values) for values in zip(*columns, strict=True)] if columns else [b""] * count
        if None in keys or len(ends) > 1:
            return [spaces.NOWHERE if key is None else begin + _short(key) + end for key in keys for end in ends]
        return [begin + _short(key) + ends[0] for key in keys]  # type: ignore[arg-type]

    def _joined(self, values: Sequence[object]) -> bytes | None:
        """As `engines.tiles.key_bytes`, one key of several columns."""
        if None in values:
            return None
        parts = [encode(value) for encode, value in zip(self.encode, values, strict=True)]
        return b"".join([*(len(part).to_bytes(4, "big") + part for part in parts[:-1]), parts[-1]])


def part_of(view: FeatureView, heads: Heads, tiles: ViewTiles, names: Sequence[str]) -> Part | None:
    """The view as loops read it, its features of these names; None where only the general way can."""
    made = answers.made_of(tiles, names)
    encode = [_ENCODE.get(tiles.schema[key]) for key in view.keys]
    if made is None or None in encode or any(isinstance(view.request_key(key), FeatureRef) for key in view.keys):
        return None
    return Part(view, heads, tiles, made, tuple(encode))  # type: ignore[arg-type]


class Quick:
    """Views that are read together, in one call; made once for many reads. `names`: of all features, in the order of the answers."""

    def __init__(self, store: OnlineStore, parts: Sequence[Part], names: Sequence[str]) -> None:
        self.store, self.parts, self.names = store, parts, names
        at = {f"{part.view.name}__{made.feature.name}": (v, n) for v, part in enumerate(parts) for n, made in enumerate(part.made)}
        self._order = [at[name] for name in names]
        self._plans: dict[tuple[int, ...], tuple[answers.Plan, Callable[[list[object]], Sequence[object]]]] = {}

    def read(self, request: Mapping[str, Sequence[object]], count: int, t: int) -> Answers:
        """The features of `count` keys, asked for at t.

        Raises:
            UnusualKeyError: a key of another type than a view's.
            StoreError: a view that is not whole in the store.
        """
        if not self.parts:
            return Answers([], [], [])
        plan, arranged, found, moments = self._found([[request[name] for name in part.columns] for part in self.parts], count, t)
        values, said, nulls = self._answered(plan, found, count, moments)
        columns: list[list[object]] = list(arranged([*values[: plan.reals].view(np.float64).tolist(), *values[plan.reals :].tolist()]))  # type: ignore[arg-type]
        for place, meant in plan.meant:
            columns[place] = [v if code & NULL else meant(v) for v, code in zip(columns[place], said[place].tolist(), strict=True)]
        if nulls:
            for place in np.flatnonzero((said & NULL).any(axis=1)).tolist():
                columns[place] = [None if code & NULL else v for v, code in zip(columns[place], said[place].tolist(), strict=True)]
            said &= NULL - 1
        whole = said.tobytes()
        return Answers(columns, [whole[i : i + count] for i in range(0, len(whole), max(count, 1))], moments)

    def one(self, request: Mapping[str, object], t: int) -> Answer:
        """As `read`, of one key."""
        plan, arranged, found, moments = self._found([[(request[name],) for name in part.columns] for part in self.parts], 1, t)
        words, said, nulls = self._answered(plan, found, 1, moments)
        flat = words.ravel()
        values = list(arranged(flat[: plan.reals].view(np.float64).tolist() + flat[plan.reals :].tolist()))
        codes = said.tobytes()
        for place, meant in plan.meant:
            if not codes[place] & NULL:
                values[place] = meant(values[place])
        if nulls:
            values = [None if code & NULL else value for value, code in zip(values, codes, strict=True)]
            codes = codes.translate(_STATUS)
        return Answer(values, codes, moments)

    def _found(
        self, columns: Sequence[Sequence[Sequence[object]]], count: int, t: int
    ) -> tuple[answers.Plan, Callable[[list[object]], Sequence[object]], bytes, list[Moment]]:
        """The plan, what brings values into their order, the records, and the moment of each view."""
        wanted: list[bytes] = []
        sizes = []
        for part, keys in zip(self.parts, columns, strict=True):
            heads, ends = part.heads.look()
            wanted += heads
            wanted += part.places(keys, count, ends)
            sizes.append((len(heads), len(ends) * count))
        found = self.store.get(wanted)
        moments, counts, at = [], [], 0
        records: list[bytes | None] = []
        for part, (heads_size, size) in zip(self.parts, sizes, strict=True):
            moment = part.heads.moment(found[at : at + heads_size], t)
            at += heads_size
            chosen = part.heads.chosen(found[at : at + size], moment)
            at += size
            moments.append(moment)
            counts.append(len(chosen))
            records += chosen
        plan, arranged = self._planned(tuple(counts), count)
        return plan, arranged, b"".join([record or kernels.NONE for record in records]), moments

    def _answered(self, plan: answers.Plan, records: bytes, count: int, moments: Sequence[Moment]) -> tuple[I64, U8, int]:
        """The words of values (features, keys), floats before others; what is said of them (features, keys); how many are null."""
        values, said = np.empty((len(plan.order), count), np.int64), np.empty((len(plan.order), count), np.uint8)
        T = np.array([moment[0] for moment in moments], np.int64)
        nulls = answer(np.frombuffer(records, np.int64), plan.words, T, count, values, said)
        if nulls < 0:
            raise StoreError(f"the store holds a record of a format that this version does not read; it reads {kernels.FORMAT}")
        for view, (part, moment) in enumerate(zip(self.parts, moments, strict=True)):
            if moment.stale and falls_back(part.view, moment):
                said[[of == view for of, _ in self._order]] = FALLBACK | NULL
                nulls += 1
        return values, said, nulls

    def _planned(self, sizes: tuple[int, ...], count: int) -> tuple[answers.Plan, Callable[[list[object]], Sequence[object]]]:
        each = sizes if count == 1 else tuple(size // max(count, 1) for size in sizes)
        known = self._plans.get(each)
        if known is None:
            plan = answers.plan([(part.tiles, part.made, n) for part, n in zip(self.parts, each, strict=True)], self._order)
            same = plan.order == tuple(range(len(plan.order)))
            known = self._plans[each] = plan, _same if same else itemgetter(*plan.order)
        return known


def _same(values: list[object]) -> list[object]:
    return values


def _whole(value: object) -> bytes:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise UnusualKeyError
    return value.to_bytes(8, "big", signed=True)


def _text(value: object) -> bytes:
    if type(value) is not str:
        raise UnusualKeyError
    return value.encode()


def _short(key: bytes) -> bytes:
    return key if len(key) < 64 else spaces.shortened([key])[0]


_ENCODE: Mapping[pl.DataType, Encode] = {pl.Int64(): _whole, pl.String(): _text}
_STATUS = bytes(code & (NULL - 1) for code in range(256))
