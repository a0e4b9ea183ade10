"""What the kernel computes for a query, and what its answers come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from headwater.aggregations.base import Answers, GroupBy
from headwater.aggregations.run import FeatureSpec
from headwater.aggregations.table import TABLE
from headwater.definitions.durations import SECOND
from headwater.definitions.feature import Feature
from headwater.engine.query import Query
from headwater.events import columns as value_statuses
from headwater.kernel.arrays import I64, Bool, Column
from headwater.kernel.layers import Use


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
    """The aggregations behind a query: its features, and what their statuses, ages and known times
    are made of.
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
        """For each feature how many events it counts; none where no statuses are asked for."""
        return (
            [FeatureSpec("count", value_statuses.counted(f), f.window) for f in self.query.features]
            if self.query.retained
            else []
        )

    @cached_property
    def retained(self) -> list[FeatureSpec]:
        """For each window of the view how many events it holds; none where no statuses are asked
        for.
        """
        return [FeatureSpec("count", Use(), window) for window in self.query.retained]

    @cached_property
    def known(self) -> list[FeatureSpec]:
        """For each feature when the last event that it counts became known; none where that is not
        asked for.
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
        kept, overflown = [value for value, _ in within], [over for _, over in within]
        old = (
            [None] * len(kept)
            if limit is None
            else [_old(answers[spec], limit) for spec in self.ages]
        )
        statuses = []
        if self.query.retained:
            counts, retained = (
                [_numbers(answers[spec]) for spec in specs]
                for specs in (self.counts, self.retained)
            )
            statuses = value_statuses.statuses(features, kept, counts, retained, old, overflown)
        known_at = (
            value_statuses.latest(features, [answers[spec] for spec in self.known], K)
            if self.query.known
            else None
        )
        values = [
            value if missing is None else _without(value, missing)
            for value, missing in zip(kept, old, strict=True)
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


def _numbers(answers: Answers) -> I64:
    assert isinstance(answers, Column)
    return answers.values  # type: ignore[return-value]  # counts are int64


def _old(age: Answers, limit: int) -> Bool:
    assert isinstance(age, Column)
    old = np.rint(age.values * SECOND) > limit
    return old if age.valid is None else old & age.valid


def _without(value: Answers, missing: Bool) -> Answers:
    return replace(value, valid=~missing if value.valid is None else value.valid & ~missing)
