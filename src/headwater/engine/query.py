"""The Engine protocol: its requests and its answers.

Any engine obeys the one rule of `kernel.as_of` and the semantics of docs/semantics.md;
`headwater.testing.engine_laws` checks it.

What the kernel computes for a query, and what its answers come to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import polars as pl

from headwater.aggregations.base import Answers, GroupBy
from headwater.aggregations.run import FeatureSpec
from headwater.aggregations.table import TABLE
from headwater.definitions.checks import SECOND
from headwater.definitions.feature_view import Feature
from headwater.definitions.source import Source
from headwater.definitions.windows import Window
from headwater.events import columns as value_statuses
from headwater.events.key_lists import KeyLists
from headwater.events.read_events import Notes, Reach
from headwater.kernel.arrays import I64, Bool, Column
from headwater.kernel.as_of import NEVER
from headwater.kernel.layers import Use
from headwater.kernel.request_order import RequestOrder


@dataclass(frozen=True)
class AsOf:
    """T and K of each row at one freshness, as `kernel.as_of` gives them: int64 (rows) both."""

    T: I64
    K: I64


@dataclass(frozen=True)
class ListRows:
    """Rows with a list of keys, whose elements are requests. lists: of the rows. t, as_of: of the
    rows, as in `RequestSet`.
    """

    lists: KeyLists
    t: I64
    as_of: tuple[AsOf, ...]


@dataclass(frozen=True)
class RequestSet:
    """Rows that ask for the same features, at one freshness or several; an engine sorts them once
    for all of these.

    keys: a frame with the view's keys as columns. t: int64 (rows), when each row asks; orders the
    rows of a key.
    as_of: T and K of the rows at each freshness.
    list_rows: the rows with these elements, where a key is a list; None where each row has one key.
    An answer does not depend on it.
    """

    keys: pl.DataFrame
    t: I64
    as_of: tuple[AsOf, ...]
    list_rows: ListRows | None = None

    def take(self, rows: I64) -> RequestSet:
        """The rows at these positions."""
        return RequestSet(
            self.keys[rows], self.t[rows], tuple(AsOf(a.T[rows], a.K[rows]) for a in self.as_of)
        )


class Erased(Protocol):
    """Which events of a source were erased; it can be pickled."""

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the erased keys are in."""
        ...

    @property
    def digest(self) -> str:
        """The name of work without the erased events."""
        ...

    def of_events(self, events: pl.DataFrame, source: Source) -> Bool:
        """Which of some events were erased, bool (events); they have `columns`."""
        ...


@dataclass(frozen=True)
class Query:
    """Features of one source and set of keys.

    also: columns to read in addition to those of the features.
    retained: the windows of the whole view, where statuses are asked for too: a value is missing if
    none of them holds an event.
    known: whether to say when the last event that counts became known.
    events: the events, as `Engine.events` gives them; None: those of the source's table.
    erased: which events of the table were erased, and count nowhere; None for none.
    """

    source: Source
    keys: Sequence[str]
    features: Sequence[Feature]
    expires_after: int | None = None
    also: Sequence[str] = ()
    retained: Sequence[Window] = ()
    known: bool = False
    events: pl.DataFrame | None = None
    erased: Erased | None = None

    @property
    def windows(self) -> list[Window]:
        """Every window that an event can matter in."""
        return [*(f.window for f in self.features), *self.retained]

    @property
    def columns(self) -> list[str]:
        """The source's columns that are read, sorted."""
        return sorted(
            {
                *self.also,
                *(c for f in self.features for c in (*f.columns, *f.aggregation.extra_columns)),
            }
        )

    @property
    def read_columns(self) -> list[str]:
        """The columns that are read of the table: `columns`, and those of the erased keys."""
        erased = frozenset[str]() if self.erased is None else self.erased.columns
        return sorted({*self.columns, *(erased - set(self.keys))})

    def without_erased(self, events: pl.DataFrame) -> pl.DataFrame:
        """Events as they were read, without the erased ones, by keys and `columns`."""
        if self.erased is None:
            return events
        more = set(self.read_columns) - set(self.columns)
        return _without_erased(events, self.source, self.erased).drop(more)


@dataclass(frozen=True)
class FeatureValues:
    """The features of the rows of a request set, as of one T and K; one row for each row, in their
    order.

    values: a column for each feature. statuses: likewise, each a word of
    `events.statuses.STATUSES`; no columns where not asked for.
    known_at: when the last event that counts became known, int64 (rows) microseconds, NEVER where
    none counts; None where not asked for.
    """

    values: pl.DataFrame
    statuses: pl.DataFrame = field(default_factory=pl.DataFrame)
    known_at: I64 | None = None


@dataclass(frozen=True)
class EventQuery:
    """Events of a source.

    keys, columns: the columns of the source to read.
    reach: which events can matter; None is none: the answer has no rows, and the dtypes of keys and
    columns.
    request_keys: frames with the columns `keys`, whose dtypes must fit the source's; events of
    other keys may be left out. None: all keys.
    newest: of each key only when its last event was: the keys and TIME, a row a key. Rows that are
    dropped as duplicates may be counted.
    """

    source: Source
    keys: Sequence[str]
    columns: Sequence[str]
    reach: Reach | None
    request_keys: Sequence[pl.DataFrame] = ()
    newest: bool = False


@dataclass(frozen=True)
class Head:
    """T and K of one cut, int64 microseconds: an event counts iff it happened before T and was
    known by K.
    """

    T: int
    K: int


States = TypeVar("States")


@dataclass(frozen=True)
class StateQuery(Generic[States]):
    """The partial states of a view, of the events that count at one head and did not count at
    another.

    name: of the view's states; work on disk is kept under it.
    source, keys, columns: of the view.
    head: an event is in the states iff it counts at it. before: and does not at this one; None:
    whether or not.
    first: the time before which no window reaches; None without bound.
    make: makes states of events that count, as many keys at a time as a commit should have. Each
        event that counts is given to it once, with all others of its key, where the engine has
        them; states can be pickled.
    erased: which events were erased: they are in no state. None for none.
    """

    name: str
    source: Source
    keys: Sequence[str]
    columns: Sequence[str]
    head: Head
    before: Head | None
    first: int | None
    make: Callable[[pl.DataFrame], Iterable[States]]
    erased: Erased | None = None

    def without_erased(self, events: pl.DataFrame) -> pl.DataFrame:
        """Events without the erased ones."""
        return events if self.erased is None else _without_erased(events, self.source, self.erased)


@dataclass(frozen=True)
class StatePart(Generic[States]):
    """The states of some keys, and how many events they hold."""

    events: int
    states: Iterable[States]


@dataclass(frozen=True)
class StateParts(Generic[States]):
    """States in parts, each of keys of its own, made when it is called for.

    layout: how keys were dealt into parts. Two calls for the same states with one layout give the
    same parts.
    """

    layout: str
    parts: Sequence[Callable[[], StatePart[States]]]


@dataclass(frozen=True)
class EngineRun:
    """The resources of one call of an engine, and where the call reports.

    notes: where rows that are left out are counted. threads: None is every core. memory: how much
    the process may hold, in bytes; None: no limit. on_progress: called with the number of rows
    answered, from any thread. reading: called, while a history is split, with rows read and rows to
    read. request_order: the order of requests that runs of one call share.
    """

    notes: Notes = field(default_factory=Notes)
    threads: int | None = None
    memory: int | None = None
    on_progress: Callable[[int], None] | None = None
    reading: Callable[[int, int], None] | None = None
    request_order: RequestOrder = field(default_factory=RequestOrder)


class Engine(Protocol):
    """Reads the tables of sources and computes features from them: on this machine
    (`engine.local`), or elsewhere.

    `EngineRun.notes` counts the rows that are left out, for every query: rows without a time,
    duplicates, and images of nothing.
    """

    def features(
        self, query: Query, requests: Sequence[RequestSet], run: EngineRun
    ) -> list[list[FeatureValues]]:
        """The features of each request set at each of its freshnesses.

        Raises:
            DataError: the source cannot be read, or has columns or keys of a type that the features
                cannot be made of.
        """
        ...

    def events(self, query: EventQuery, run: EngineRun) -> pl.DataFrame:
        """Events in any order, without duplicates; where the source has `changes`, one row for each
        version of an event. Versions that do not differ in the columns that are read may be one.

        Columns: the keys and columns that are asked for; TIME, the time that windows see; KNOWN,
        where a column of the source says when it was known; IDENT, where the source has ids; and
        REMOVED_AT, when a version was taken back, where it has `changes`. Times are int64
        microseconds.

        Raises:
            DataError: the source cannot be read.
        """
        ...

    def states(
        self, query: StateQuery[States], run: EngineRun
    ) -> AbstractContextManager[StateParts[States]]:
        """The partial states of a view between two heads; the parts can be called within the
        context.

        Raises:
            DataError: the source cannot be read.
        """
        ...


@runtime_checkable
class EngineWithoutErased(Protocol):
    """An engine that leaves erased events out of features."""

    def erased_columns(self, source: str) -> frozenset[str]:
        """The columns of a source, by its name, that say which of its events were erased."""
        ...


@runtime_checkable
class InspectableEngine(Protocol):
    """An engine whose servers `headwater doctor` inspects."""

    def inspect(self) -> str:
        """Where it computes, and which versions are there, in a line.

        Raises:
            HeadwaterError: it cannot compute.
        """
        ...


def reach_of(requests: Sequence[RequestSet | ListRows], windows: Sequence[Window]) -> Reach | None:
    """Which event times any row can count, or None where no event can count."""
    times = [(a.T[a.T > NEVER], a.K[a.T > NEVER]) for r in requests for a in r.as_of]
    live = [T for T, _ in times if len(T)]
    if not live:
        return None
    known_by = max(int(K.max()) for _, K in times if len(K))
    reaches = [w.reach for w in windows]
    far = None if None in reaches else max(r for r in reaches if r is not None)
    return Reach(
        None if far is None else min(int(T.min()) for T in live) - far,
        max(int(T.max()) for T in live),
        known_by,
    )


@dataclass(frozen=True)
class FinalAnswers:
    """The answers to a query: one for each feature; the status of each, where asked for; and known
    times: int64, where asked for.
    """

    values: list[Answers]
    statuses: list[Column]
    known_at: I64 | None


@dataclass(frozen=True)
class FeaturePlan:
    """The aggregations behind a query: its features, and the counts and times behind their statuses
    and ages.
    """

    query: Query

    @cached_property
    def values(self) -> list[FeatureSpec]:
        """Each feature."""
        return [wanted_of(f) for f in self.query.features]

    @cached_property
    def ages(self) -> list[FeatureSpec]:
        """For each feature the age of the last event that it counts; none where values do not
        expire.
        """
        if self.query.expires_after is None:
            return []
        return [
            FeatureSpec("since_last", value_statuses.counted(f), f.window)
            for f in self.query.features
        ]

    @cached_property
    def counts(self) -> list[FeatureSpec]:
        """The number of events that each feature counts; none where no statuses are requested."""
        return (
            [FeatureSpec("count", value_statuses.counted(f), f.window) for f in self.query.features]
            if self.query.retained
            else []
        )

    @cached_property
    def retained(self) -> list[FeatureSpec]:
        """For each window of the view, the number of events it holds; none where statuses are not
        requested.
        """
        return [FeatureSpec("count", Use(), window) for window in self.query.retained]

    @cached_property
    def known(self) -> list[FeatureSpec]:
        """For each feature, when the last event that it counts became known; none where that is not
        requested.
        """
        return list(value_statuses.last_known(self.query.features)) if self.query.known else []

    @cached_property
    def specs(self) -> tuple[FeatureSpec, ...]:
        """All of these, in an order that stored states depend on; some may be equal."""
        return (*self.values, *self.ages, *self.counts, *self.retained, *self.known)

    def finalize(self, answers: Mapping[FeatureSpec, Answers], K: I64) -> FinalAnswers:
        """Features, statuses and known times, from the answers of the kernel to each of `specs`.

        Args:
            answers: those of l requests.
            K: int64 (l).
        """
        features, limit = self.query.features, self.query.expires_after
        within = [
            value_statuses.finite(answers[spec])
            if TABLE[spec.function].adds
            else (answers[spec], None)
            for spec in self.values
        ]
        bounded, overflown = [value for value, _ in within], [over for _, over in within]
        old = (
            [None] * len(bounded)
            if limit is None
            else [_old(answers[spec], limit) for spec in self.ages]
        )
        statuses = []
        if self.query.retained:
            counts, retained = (
                [_numbers(answers[spec]) for spec in specs]
                for specs in (self.counts, self.retained)
            )
            statuses = value_statuses.statuses(features, bounded, counts, retained, old, overflown)
        known_at = (
            value_statuses.latest(features, [answers[spec] for spec in self.known], K)
            if self.query.known
            else None
        )
        values = [
            value if missing is None else _without(value, missing)
            for value, missing in zip(bounded, old, strict=True)
        ]
        return FinalAnswers(values, statuses, known_at)


def wanted_of(feature: Feature) -> FeatureSpec:
    """The kernel's form of a feature."""
    a = feature.aggregation
    by = (
        None
        if a.secondary is None
        else GroupBy(value_statuses.counted(feature), a.secondary.max_keys)
    )
    return FeatureSpec(
        a.function, Use(feature.columns, a.where), feature.window, a.params, feature.column, by
    )


def hashed_columns(features: Sequence[Feature]) -> set[str]:
    """The columns whose distinct strings are hashed."""
    return {c for f in features if TABLE[f.aggregation.function].hashes for c in f.columns}


def _without_erased(events: pl.DataFrame, source: Source, erased: Erased) -> pl.DataFrame:
    return events.filter(pl.Series(~erased.of_events(events, source), dtype=pl.Boolean))


def _numbers(answers: Answers) -> I64:
    assert isinstance(answers, Column)
    return answers.values  # type: ignore[return-value]  # counts are int64


def _old(age: Answers, limit: int) -> Bool:
    assert isinstance(age, Column)
    old = np.rint(age.values * SECOND) > limit
    return old if age.valid is None else old & age.valid


def _without(value: Answers, missing: Bool) -> Answers:
    return replace(value, valid=~missing if value.valid is None else value.valid & ~missing)
