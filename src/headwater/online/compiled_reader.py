"""The one read of an online store: the features of several views for one key or many, in one call
of the store.

A feature is computed by compiled loops over the words of its records (`state.read_kernels`); that
of a plugin's function without a `read` in `aggregations.table`, by the general evaluation of
records (`ViewTiles.values`). Keys that rows share are read once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from headwater import clock
from headwater.kernel.arrays import I64
from headwater.online.feature_vectors import FeatureVector, FeatureVectors
from headwater.online.general_features import Evaluated, GeneralFeatures
from headwater.online.read_layout import ReadLayout, Records, Versions, ViewPart
from headwater.online.read_versions import FALLBACK, REFRESH, ReadVersion, falls_back
from headwater.state import read_plan
from headwater.state.read_kernels import answer, answer_one
from headwater.state.read_plan import AnswerStrings, ListItems, WordLayout, by_key, items_of
from headwater.state.record import EMPTY, other_format
from headwater.stores import OnlineStore
from headwater.stores.keyspace import check_still

if TYPE_CHECKING:
    import polars as pl

_WORD = np.dtype(np.int64)
_NEW_TUPLE = tuple.__new__
_NO_BYTES = bytearray()  # what it joins can be written to
_NONE_EQUAL = np.empty((0, 0), np.int64)
_FEW = 6  # requests up to which it takes less to compute each by itself
_PATTERNS = 1000  # of nulls that are kept
_REPEATED = 0.8  # keys are read once each where so many are distinct, or fewer


class _Answer(NamedTuple):
    """An answer before its words are values.

    words: those of the records, which hold the strings. out, nulls: what the loops computed, and
    how many are null. general: the other features.
    """

    plan: read_plan.ReadPlan
    words: I64
    out: I64
    nulls: int
    general: list[Evaluated]
    read_versions: list[ReadVersion]


class CompiledReader:
    """Views that are read together, in one call; made once for many reads.

    Args:
        names: of all features, in the order of the answers.
        share: the share of distinct keys from which on each key is read for itself; 1 reads every
            distinct key once.
    """

    def __init__(
        self,
        store: OnlineStore,
        parts: Sequence[ViewPart],
        names: Sequence[str],
        share: float = _REPEATED,
    ) -> None:
        self.store, self.parts, self.names, self._share = store, parts, tuple(names), share
        at = {
            f"{part.view.name}__{part.view.outputs[n].name}": (v, n)
            for v, part in enumerate(parts)
            for n in part.output_indexes
        }
        places = [at[name] for name in names]
        self._loops = [
            v for v, part in enumerate(parts) if part.compiled or not part.output_indexes
        ]
        self._compiled = [
            position for position, (v, n) in enumerate(places) if n in parts[v].compiled
        ]
        self._order = [places[position] for position in self._compiled]
        self._general = [
            (v, others)
            for v, part in enumerate(parts)
            if (
                others := [
                    (position, n)
                    for position, (w, n) in enumerate(places)
                    if w == v and n not in part.compiled
                ]
            )
        ]
        alike = [tuple((key.column, key.dtype) for key in part.keys.columns) for part in parts]
        # of each view the first one that is looked up by the same keys
        self._groups = [alike.index(columns) for columns in alike]
        self._encoders = [parts[v].keys for v in sorted(set(self._groups))]
        self._encode = [keys.of_request for keys in self._encoders]
        self._groups = [sorted(set(self._groups)).index(v) for v in self._groups]
        locations = [
            (part.tiles.view.record_group, group)
            for part, group in zip(parts, self._groups, strict=True)
        ]
        # of each view, where its records are
        self._places = [list(dict.fromkeys(locations)).index(location) for location in locations]
        self._evaluator = GeneralFeatures(parts, self._general, self._groups, self._places)
        self._plans: dict[tuple[tuple[int, ...], tuple[int, ...]], read_plan.ReadPlan] = {}
        self._may_fall_back = any(part.view.on_stale != "previous" for part in parts)
        self._cached_layout: ReadLayout | None = None
        self._until = 0.0  # when partitions are to be looked up again
        self._strings = AnswerStrings()
        # positions of nulls by null bytes: requests mostly have the same nulls
        self._null_places: dict[bytes, list[int]] = {}

    @cached_property
    def columns(self) -> Sequence[str]:
        """The columns of a request that hold keys."""
        return list(
            dict.fromkeys(column.column for part in self.parts for column in part.keys.columns)
        )

    @property
    def null_request(self) -> Mapping[str, object]:
        """A request whose keys are null."""
        return dict.fromkeys(self.columns)

    def read(
        self, request: Mapping[str, Sequence[object] | pl.Series], count: int, t: int
    ) -> FeatureVectors:
        """The features of `count` keys, asked for at t.

        Raises:
            DataError: a key of another type than a view's.
            StoreError: a view that is not whole in the store, or a store that a newer version
                migrates.
            StaleError, IncompleteError: see `read_versions.falls_back`.
        """
        if not self.parts:
            return FeatureVectors([], [], [])
        keys = [keys.many(request, count) for keys in self._encoders]
        if count > 1 and any(len(set(column)) <= self._share * count for column in keys):
            numbers: list[dict[bytes | None, int]] = [{} for _ in keys]
            equal = [
                [number.setdefault(key, len(number)) for key in column]
                for number, column in zip(numbers, keys, strict=True)
            ]
            return self._lists([list(number) for number in numbers], count, np.array(equal), t)
        return self._lists(keys, count, _NONE_EQUAL, t)

    def one(self, request: Mapping[str, object], t: int) -> FeatureVector:
        """As `read`, of one key; a column that the request lacks is a KeyError."""
        if not self.parts:
            return FeatureVector([], b"", [])
        layout = (
            self._cached_layout
            if self._cached_layout is not None and clock.stopwatch() < self._until
            else self._layout()
        )
        keys = layout.record_keys_of_one([encode(request) for encode in self._encode])
        return self._of_one(layout, self.store.get(keys), t)

    def _of_one(self, layout: ReadLayout, stored: Records, t: int) -> FeatureVector:
        """The features of one key, from its stored records. It does what `_answer` does, in fewer
        calls: at this size calls take as long as the loops.
        """
        if self._general:
            return self._first(self._vectors(self._answer(layout, stored, 1, _NONE_EQUAL, t), 1))
        versions = layout.read_versions(stored, t)
        plan, records = layout.plan or self._planned(layout), stored[layout.heads :]
        if None in records:
            records = [record or EMPTY for record in records]
        data = _NO_BYTES.join((plan.times(*versions[2]), plan.before, *records))  # type: ignore[arg-type]
        return self._computed(layout, plan, np.frombuffer(data, _WORD), len(data) // 8, versions)

    def _computed(
        self, layout: ReadLayout, plan: read_plan.ReadPlan, words: I64, end: int, versions: Versions
    ) -> FeatureVector:
        """The features of one key, of words[:end] as `answer` takes them."""
        read_versions, grouped, _ = versions
        out = np.empty(plan.room_of_one or plan.room(1, end), _WORD)
        nulls = answer_one(
            words, plan.words, out, plan.variable, self._strings.words if plan.strings else None
        )
        if nulls < 0:
            raise other_format()
        if layout.lacking or self._falls_back(grouped):
            nulls = self._fall_back(plan, out, 1, read_versions)
        *values, statuses, null = plan.unpack(out)
        if plan.converted:
            self._convert(plan, words[:end], out, values, null)
        if nulls:
            for position in self._null_places.get(null) or self._places_of(null):
                values[position] = None
        # half as long as `FeatureVector(...)`
        vector = _NEW_TUPLE(FeatureVector, (values, statuses, read_versions))
        vector.words = self._word_layout, out
        return vector

    def _falls_back(self, grouped: Sequence[ReadVersion]) -> bool:
        """Whether `_fall_back` has anything to look at."""
        for version in grouped:  # noqa: SIM110 (a generator takes longer)
            if version[4] or (version[3] and self._may_fall_back):
                return True
        return False

    def _places_of(self, null: bytes) -> list[int]:
        """The positions of nulls, kept for the next read."""
        if len(self._null_places) >= _PATTERNS:
            self._null_places = {}
        positions = self._null_places[null] = [
            position for position, is_null in enumerate(null) if is_null
        ]
        return positions

    def _convert(
        self, plan: read_plan.ReadPlan, records: I64, out: I64, values: list[object], null: bytes
    ) -> None:
        """Replace the words of one key's values that are no numbers by the user's values."""
        for position, meant in plan.meant:
            if not null[position]:
                values[position] = meant(values[position])
        if plan.strings or plan.lists:
            strings = self._strings.of_answer(plan, records, out, 1)
            for position in plan.texts:
                if not null[position]:
                    values[position] = next(strings)
            spans = (
                [cast("int", values[position]) for position, _ in plan.lists if not null[position]]
                if plan.numbers
                else []
            )
            items = (
                items_of(out[plan.items_at(1) :], spans, strings)
                if spans
                else ListItems([], [], strings)
            )
            for position, listed in plan.lists:
                if not null[position]:
                    values[position] = listed(items, cast("int", values[position]))

    def each(self, requests: Sequence[Mapping[str, object]], t: int) -> Sequence[FeatureVector]:
        """As `one`, of several requests."""
        count = len(requests)
        if 0 < count <= _FEW and self.parts:
            layout = self._layout()
            first, *others = [
                layout.record_keys_of_one([encode(request) for encode in self._encode])
                for request in requests
            ]
            heads, per_request = len(layout.version_keys), len(first) - len(layout.version_keys)
            stored = self.store.get([*first, *(key for keys in others for key in keys[heads:])])
            versions = stored[:heads]
            return [
                self._of_one(layout, versions + stored[at : at + per_request], t)
                for at in range(heads, heads + count * per_request, per_request)
            ]
        read = self.read(
            {name: [request[name] for request in requests] for name in self.columns}, count, t
        )
        if not self.names:
            return [FeatureVector([], b"", read.read_versions)] * count
        width = len(self.names)
        codes = np.frombuffer(b"".join(read.statuses), np.uint8).reshape(width, count).T.tobytes()
        words = by_key(read.words, count)
        return [
            FeatureVector(
                list(row), codes[n * width : (n + 1) * width], read.read_versions
            ).with_words(letters)
            for n, (row, letters) in enumerate(
                zip(zip(*read.values, strict=True), words, strict=True)
            )
        ]

    @staticmethod
    def _first(read: FeatureVectors) -> FeatureVector:
        """The features of the first key."""
        return FeatureVector(
            [column[0] for column in read.values],
            b"".join(codes[:1] for codes in read.statuses),
            read.read_versions,
        ).with_words(read.words)

    def _lists(
        self, keys: Sequence[Sequence[bytes | None]], count: int, equal: I64, t: int
    ) -> FeatureVectors:
        layout = self._layout()
        return self._vectors(
            self._answer(layout, self.store.get(layout.record_keys(keys)), count, equal, t), count
        )

    def _vectors(self, answer: _Answer, count: int) -> FeatureVectors:
        """The words of an answer as values."""
        plan, records, out, nulls, general, read_versions = answer
        words, status_codes, is_null = plan.cut(out, count)
        columns: list[list[object]] = [[]] * len(plan.kinds)
        for places, typed in ((plan.floats, words.view(np.float64)), (plan.others, words)):
            for index, column in zip(places, typed[places].tolist(), strict=True):
                columns[index] = column
        if nulls:
            null = is_null.tobytes()
            for index, column in enumerate(columns):
                if 1 in null[index * count : (index + 1) * count]:
                    for row in np.flatnonzero(is_null[index]).tolist():
                        column[row] = None
        for index, meant in plan.meant:
            columns[index] = [
                v if null else meant(v)
                for v, null in zip(columns[index], is_null[index].tolist(), strict=True)
            ]
        strings = self._strings.of_answer(plan, records, out, count)
        for index in plan.texts:
            columns[index] = [None if null else next(strings) for null in is_null[index].tolist()]
        spans = (
            words[[index for index, _ in plan.lists]][
                is_null[[index for index, _ in plan.lists]] == 0
            ].tolist()
            if plan.lists
            else []
        )
        items = items_of(out[plan.items_at(count) :], spans, strings)
        for index, listed in plan.lists:
            pairs = zip(columns[index], is_null[index].tolist(), strict=True)
            columns[index] = [
                None if null else listed(items, cast("int", span)) for span, null in pairs
            ]
        codes_of = status_codes.tobytes()
        statuses = [
            codes_of[index * count : (index + 1) * count] for index in range(len(plan.kinds))
        ]
        if not general:
            return FeatureVectors(columns, statuses, read_versions).with_words(
                (self._word_layout, out)
            )
        every = dict(zip(self._compiled, zip(columns, statuses, strict=True), strict=True))
        every |= {position: (column, codes) for position, column, codes in general}
        in_order = [every[position] for position in range(len(self.names))]
        return FeatureVectors(
            [column for column, _ in in_order], [codes for _, codes in in_order], read_versions
        ).with_words((self._word_layout, out))

    def _answer(
        self, layout: ReadLayout, stored: Records, count: int, equal: I64, t: int
    ) -> _Answer:
        """What the loops compute of some stored records, and the other features."""
        versions = layout.read_versions(stored, t)
        read_versions, _, times = versions
        records = stored[layout.heads :]
        general: list[Evaluated] = []
        if self._general:
            by_place = layout.by_place(
                records,
                [int(numbers.max(initial=-1)) + 1 for numbers in equal]
                if len(equal)
                else [count] * len(self._encoders),
            )
            read = dict.fromkeys(self._places[view] for view in self._loops)
            records = [record for place in read for record in by_place[place]]
            general = self._evaluator.evaluated(by_place, read_versions, count, equal)
        plan = layout.plan or self._planned(layout)
        if None in records:
            records = [record or EMPTY for record in records]
        data = _NO_BYTES.join((plan.times(*times), plan.before, *records))  # type: ignore[arg-type]
        return self._answered(
            layout, plan, np.frombuffer(data, _WORD), count, equal, versions
        )._replace(general=general)

    def _answered(
        self,
        layout: ReadLayout,
        plan: read_plan.ReadPlan,
        words: I64,
        count: int,
        equal: I64,
        versions: Versions,
    ) -> _Answer:
        """What the loops compute of words as `answer` takes them."""
        read_versions, grouped, _ = versions
        out = np.empty(plan.room(count, len(words)), _WORD)
        nulls = answer(
            words,
            plan.words,
            count,
            equal,
            out,
            plan.variable,
            self._strings.words if plan.strings else None,
        )
        if nulls < 0:
            raise other_format()
        if layout.lacking or self._falls_back(grouped):
            nulls = self._fall_back(plan, out, count, read_versions)
        return _Answer(plan, words, out, nulls, [], read_versions)

    def _fall_back(
        self, plan: read_plan.ReadPlan, out: I64, count: int, read_versions: Sequence[ReadVersion]
    ) -> int:
        """Mark all features of views that serve nothing stale or incomplete; how many values are
        null.
        """
        _, status_codes, nulls = plan.cut(out, count)
        self._strings.drop()
        old = [
            falls_back(part.view, read_version)
            for part, read_version in zip(self.parts, read_versions, strict=True)
        ]
        places = [old[view] for view, _ in self._order]
        status_codes[places], nulls[places] = FALLBACK, 1
        return int(nulls.sum())

    def _layout(self) -> ReadLayout:
        """The layout of a read, which is looked up again every REFRESH seconds.

        Raises:
            StoreError: a newer version has migrated the store; within REFRESH seconds of that.
        """
        if clock.stopwatch() >= self._until or self._cached_layout is None:
            check_still(self.store)
            self._cached_layout = ReadLayout(self.parts, self._groups, self._places)
            self._until = clock.stopwatch() + REFRESH
        return self._cached_layout

    @cached_property
    def _word_layout(self) -> WordLayout:
        """The words of every answer."""
        features = [self.parts[v].compiled[n] for v, n in self._order]
        return WordLayout(
            [self.names[position] for position in self._compiled],
            [feature.meaning for feature in features],
        )

    def _planned(self, layout: ReadLayout) -> read_plan.ReadPlan:
        """The plan for a layout, which keeps it."""
        like = layout.sizes, layout.versions
        if like not in self._plans:
            places = [self._places[v] for v in self._loops]
            views = [
                read_plan.PlannedView(
                    part.tiles,
                    part.compiled,
                    layout.sizes[place],
                    part.view.freshness.scheduled,
                    self._groups[v],
                    layout.versions[v],
                    places.index(place),
                )
                for v, part, place in ((v, self.parts[v], self._places[v]) for v in self._loops)
            ]
            self._plans[like] = read_plan.plan(
                views, len(layout.cuts), [(self._loops.index(v), n) for v, n in self._order]
            )
        layout.plan = self._plans[like]
        return layout.plan
