"""The input of an engine: queries over requests, and the aggregations that each needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from headwater.aggregations.base import Answers, GroupBy
from headwater.aggregations.run import FeatureSpec
from headwater.aggregations.table import TABLE
from headwater.definitions.durations import SECOND, Window
from headwater.definitions.feature_view import Feature
from headwater.definitions.source import Source
from headwater.events import statuses as value_statuses
from headwater.events.read_events import Reach
from headwater.kernel.arrays import I64, Bool, Column
from headwater.kernel.as_of import NEVER
from headwater.kernel.layer import Use

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Request:
    """Rows that ask for the same features at one freshness.

    keys: a frame with the view's keys as columns. t: int64 (rows), when each row asks; orders the rows of a key.
    T, K: int64 (rows), as `as_of` gives them.
    """

    keys: pl.DataFrame
    t: I64
    T: I64
    K: I64


@dataclass(frozen=True)
class Query:
    """Features of one source and set of keys.

    also: columns to read in addition to those of the features.
    retained: the windows of the whole view, where statuses are asked for too: a value is missing if none of them holds an event.
    known: whether to say when the last event that counts became known.
    """

    source: Source
    keys: Sequence[str]
    features: Sequence[Feature]
    expires_after: int | None = None
    also: Sequence[str] = ()
    retained: Sequence[Window] = ()
    known: bool = False

    @property
    def windows(self) -> list[Window]:
        """Every window that an event can matter in."""
        return [*(f.window for f in self.features), *self.retained]

    @property
    def columns(self) -> list[str]:
        """The source's columns that are read, sorted."""
        return sorted({*self.also, *(c for f in self.features for c in (*f.columns, *f.aggregation.extra_columns))})


def hashed_columns(features: Sequence[Feature]) -> set[str]:
    """The columns whose distinct strings are hashed."""
    return {c for f in features if TABLE[f.aggregation.function].hashes for c in f.columns}


def reach_of(requests: Sequence[Request], windows: Sequence[Window]) -> Reach | None:
    """Which event times any row can count, or None where no event can count."""
    times = [(r.T[r.T > NEVER], r.K[r.T > NEVER]) for r in requests]
    live = [T for T, _ in times if len(T)]
    if not live:
        return None
    known = max(int(K.max()) for _, K in times if len(K))
    reaches = [w.reach for w in windows]
    far = None if None in reaches else max(r for r in reaches if r is not None)
    return Reach(None if far is None else min(int(T.min()) for T in live) - far, max(int(T.max()) for T in live), known)


Finish = Callable[[list[Answers], I64], list[Answers]]
"""The kernel's columns, and K of the asks -> one column for each series of `compute`."""


def wanted_by(query: Query) -> tuple[list[FeatureSpec], Finish]:
    """The features to ask of the kernel, and the function that turns its columns into features, statuses and known times.

    A ttl asks for the age of the last event of each feature too, statuses for counts.
    """
    features = query.features
    values = [wanted_of(f) for f in features]
    limit = query.expires_after
    ages = [] if limit is None else [FeatureSpec("since_last", value_statuses.counted(f), f.window) for f in features]
    counts = value_statuses.counts(features, query.retained) if query.retained else []
    known = list(value_statuses.last_known(features)) if query.known else []

    def finish(columns: list[Answers], K: I64) -> list[Answers]:
        rest = iter(columns)
        raw_values, last, counted, latest = ([next(rest) for _ in wanted] for wanted in (values, ages, counts, known))
        within = [
            value_statuses.finite(v) if TABLE[f.aggregation.function].adds else (v, None) for v, f in zip(raw_values, features, strict=True)
        ]
        kept, overflown = [value for value, _ in within], [over for _, over in within]
        old = [None] * len(raw_values) if limit is None else [_old(age, limit) for age in last]
        final_values = [value if gone is None else _without(value, gone) for value, gone in zip(kept, old, strict=True)]
        status_columns = value_statuses.statuses(features, kept, counted, old, overflown) if counts else []
        return [*final_values, *status_columns, *([value_statuses.latest(features, latest, K)] if known else [])]

    return [*values, *ages, *counts, *known], finish


def wanted_of(feature: Feature) -> FeatureSpec:
    """The kernel's form of a feature."""
    a = feature.aggregation
    by = None if a.secondary is None else GroupBy(value_statuses.counted(feature), a.secondary.max_keys)
    return FeatureSpec(a.function, Use(feature.columns, a.where), feature.window, a.params, feature.column, by)


def _old(age: Answers, limit: int) -> Bool:
    assert isinstance(age, Column)
    old = np.rint(age.values * SECOND) > limit
    return old if age.valid is None else old & age.valid


def _without(value: Answers, gone: Bool) -> Answers:
    return replace(value, valid=~gone if value.valid is None else value.valid & ~gone)
