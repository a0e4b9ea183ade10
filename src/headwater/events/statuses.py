"""The details of a feature's value: its status, and when the last event that it counts became
known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import polars as pl

from headwater.aggregations.base import Answers
from headwater.aggregations.run import FeatureSpec
from headwater.aggregations.table import TABLE
from headwater.definitions.feature import Feature
from headwater.events.selection import KNOWN
from headwater.kernel.arrays import I64, Bool, Column, Events, ListColumn, Values
from headwater.kernel.as_of import NEVER
from headwater.kernel.layers import Use

STATUSES = ("present", "empty", "missing", "expired", "fallback", "overflow")
PRESENT, EMPTY, MISSING, EXPIRED, FALLBACK, OVERFLOW = range(6)


def status_name(feature: str) -> str:
    """The column that says what a feature's value is."""
    return f"{feature}__status"


def status_series(name: str, codes: Values) -> pl.Series:
    """Statuses as the words that users see, from their places in `STATUSES`."""
    return pl.Series(name, STATUSES, pl.Enum(STATUSES)).gather(codes)


def counted(feature: Feature) -> Use:
    """The events that a feature counts: those with its secondary key not null, and its columns,
    where the function skips null.
    """
    a = feature.aggregation
    secondary = () if a.secondary is None else (a.secondary.column,)
    return Use((*secondary, *(feature.columns if a.skips_null else ())), a.where)


def finite(value: Answers) -> tuple[Answers, Bool | None]:
    """A float that has left float64 as null; and which have, bool (l), None where none has. Values
    of maps are made null too.
    """
    if isinstance(value, ListColumn):
        return (
            value
            if value.values is None
            else replace(value, values=cast("Column", finite(value.values)[0]))
        ), None
    if value.values.dtype != np.float64:
        return value, None
    within = np.isfinite(value.values)
    if within.all():
        return value, None
    there = within if value.valid is None else value.valid & within
    return Column(
        np.where(within, value.values, 0.0), there
    ), ~within if value.valid is None else value.valid & ~within


def statuses(
    features: Sequence[Feature],
    values: Sequence[Answers],
    counts: Sequence[I64],
    retained: Sequence[I64],
    old: Sequence[Bool | None],
    overflown: Sequence[Bool | None],
) -> list[Column]:
    """The status of each feature, as places in `STATUSES`.

    Args:
        features: of one view.
        values: theirs, int64 or float64 (l) or lists.
        counts: how many events each feature counts, int64 (l). retained: how many there are in each
            window of the view, int64 (l).
        old: which values are expired. overflown: which have left float64.
    """
    any_event = np.logical_or.reduce([n > 0 for n in retained])
    columns = []
    for feature, value, n, expired, over in zip(
        features, values, counts, old, overflown, strict=True
    ):
        code = np.where(n > 0, PRESENT, np.where(any_event, EMPTY, MISSING))
        word = TABLE[feature.aggregation.function].null
        if word != "present" and isinstance(value, Column) and value.valid is not None:
            code = np.where((n > 0) & ~value.valid, STATUSES.index(word), code)
        code = code if over is None else np.where(over, OVERFLOW, code)
        columns.append(Column(code if expired is None else np.where(expired, EXPIRED, code)))
    return columns


def with_known(events: Events) -> Events:
    """The events with the time at which each became known as one more column, to be aggregated."""
    known = events.known if len(events.known) else events.t + events.delay
    return replace(events, columns={**events.columns, KNOWN: Column(known)})


def last_known(features: Sequence[Feature]) -> Iterator[FeatureSpec]:
    """For each feature, when the last event that it counts became known, of events `with_known`."""
    for feature in features:
        use = counted(feature)
        yield FeatureSpec("max", Use((KNOWN, *use.columns), use.where), feature.window)


def latest(features: Sequence[Feature], known_answers: Sequence[Answers], K: I64) -> I64:
    """When the last of all inputs became known: int64 (l), NEVER where nothing is counted.

    For a queue it is K: an end that was known by K, or the lack of one, is an input too.
    """
    last = np.full(len(K), NEVER)
    for feature, answers in zip(features, known_answers, strict=True):
        assert isinstance(answers, Column)
        known = K if feature.aggregation.facts.queue else answers.values
        last = np.where(
            True if answers.valid is None else answers.valid, np.maximum(last, known), last
        )
    return last
