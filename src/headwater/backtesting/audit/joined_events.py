"""Check: whether requests have events at all. Without, levels are alike, and a verdict would be of
nothing.

An empty table, keys that are written differently, times of another year or zone: features then have
no value, or always the same.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import polars as pl

from headwater.aggregations.table import TABLE
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.own_events import own_events
from headwater.backtesting.audit.static_tables import is_static
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Source, bottom_of
from headwater.events.read_events import collect, selected, timestamp_micros
from headwater.kernel.arrays import Bool
from headwater.results.audit_result import AuditFinding

NAME = "events of requests"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """EMPTY: no request, or none of the test or of training, has an event; or all are long past.
    SUSPECT: of one source of several.
    """
    sources = _read(inputs)
    if not sources:
        return NotRun("the freshest level reads no history")
    parts = {
        "request": np.ones(len(inputs.y), np.bool_),
        "training request": inputs.split.train,
        "test request": inputs.split.test,
    }
    findings: list[AuditFinding] = []
    having = {*sources}
    for part, rows in parts.items():
        lacking = [
            name for name, views in sources.items() if not _have_value(inputs.frame, rows, views)
        ]
        brief = (
            f"no event of {listed(lacking)} counts for any {part}"
            if len(lacking) == len(sources)
            else ""
        )
        findings += [
            _without(inputs, sources[name][0].source, part, rows, brief)
            for name in lacking
            if name in having
        ]
        having -= {*lacking}
    return [*findings, *_ended(inputs, having)]


def _read(inputs: AuditInputs) -> dict[str, list[FeatureView]]:
    """By source, the level's views with features that the model reads."""
    views, level, _ = inputs.sampled
    sources: dict[str, list[FeatureView]] = defaultdict(list)
    for view in views:
        if (
            view.source.history is not None
            and level.freshness(view).reads_events
            and {*view.feature_names} & {*inputs.frame.columns}
        ):
            sources[view.source.name].append(view)
    return sources


def _have_value(frame: pl.DataFrame, rows: Bool, views: Sequence[FeatureView]) -> bool:
    """Whether a feature of these views has another value than that over no event, in any of the
    rows.
    """
    return any(
        _has_value(frame[name].filter(pl.Series(rows)), TABLE[feature.aggregation.function].empty)
        for view in views
        for name, feature in zip(view.feature_names, view.outputs, strict=True)
        if name in frame.columns
    )


def _has_value(series: pl.Series, empty: object) -> bool:
    while isinstance(series.dtype, pl.List | pl.Array):
        series = series.explode()
    if isinstance(series.dtype, pl.Struct):
        return any(_has_value(field, empty) for field in series.struct.unnest().get_columns())
    values = series.drop_nulls()
    return (
        bool((values != empty).any())
        if isinstance(empty, int | float) and series.dtype.is_numeric()
        else len(values) > 0
    )


def _without(
    inputs: AuditInputs, source: Source, part: str, rows: Bool, known_brief: str
) -> AuditFinding:
    """A source without an event for any of the rows; `known` says so where none has one of any
    source.
    """
    evidence = (
        f"The features of source {source.name!r} have no value for any of the {rows.sum():,} "
        f"{part}s, {_times(inputs, rows)}; {_events(source)}"
    )
    remedy = (
        "Compare the keys and times of its events with those of labels "
        f"{inputs.model.labels.name!r}: their values, their time zone, whether both tables cover "
        "one period, and whether the freshest level sees events that are so near to the request"
    )
    brief = known_brief or f"it is right that no event of {source.name!r} counts for any {part}"
    return AuditFinding(
        NAME,
        "EMPTY" if known_brief else "SUSPECT",
        source.name,
        evidence,
        remedy,
        math.nan,
        brief=brief,
    )


def _ended(inputs: AuditInputs, having: set[str]) -> list[AuditFinding]:
    """Sources whose events end before the test begins: no level has anything fresh to read. A
    static table is none.
    """
    t, begins = inputs.requests.t, int(inputs.requests.t[inputs.split.test].min())
    moving = [
        events
        for events in own_events(inputs)
        if events.subject in having and not (events.keys and is_static(inputs, events))
    ]
    newest = {events.subject: int(events.known.max()) for events in moving}
    far = all(at + int(np.ptp(t)) < int(t.min()) for at in newest.values())
    ended_early = f"the events of {listed([*newest])} end long before the first request"
    remedy = "Give the events of the time of the requests, or labels of the time of the events"
    return [
        AuditFinding(
            NAME,
            "EMPTY" if far else "SUSPECT",
            name,
            f"The newest event of source {name!r} is known at {_time(at)}, before the first test "
            f"request, at {_time(begins)}: at every level the features are of the same events",
            remedy,
            math.nan,
            brief=ended_early if far else f"source {name!r} has no events after {_time(at)}",
        )
        for name, at in newest.items()
        if at < begins
    ]


def _times(inputs: AuditInputs, rows: Bool) -> str:
    t = inputs.requests.t[rows]
    return " to ".join(_time(int(at)) for at in dict.fromkeys((t.min(), t.max())))


def listed(names: Sequence[str]) -> str:
    """Names of sources in a sentence.

    >>> listed(["paid", "returned"])
    "'paid' or 'returned'"
    """
    return " or ".join(map(repr, names))


def _time(t: int) -> str:
    """Microseconds as ISO 8601 in UTC, of any year that a table may hold."""
    return str(pl.Series([t]).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%S+00:00").item())


def _events(source: Source) -> str:
    """How many events a source has, and of when."""
    bottom = bottom_of(source)
    subject = f"source {bottom.name!r}"
    chosen = selected(bottom.table, bottom.select, bottom.filter, [bottom.timestamp_field], subject)
    time = timestamp_micros(
        bottom.timestamp_field, chosen.schema, bottom.timezone, subject, days=True
    )
    number, first, last = collect(
        chosen.frame.select(time.count().alias("n"), time.min().alias("a"), time.max().alias("b")),
        subject,
    ).row(0)
    if not number:
        return "the source has no events"
    return f"the source has {number:,} events, {_time(int(first))} to {_time(int(last))}"
