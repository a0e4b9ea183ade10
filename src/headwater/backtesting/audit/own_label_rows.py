"""Check: rows of the labels' own table that a source counts before their outcome was known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from headwater.aggregations.moments import count
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.labelled_rows import spread
from headwater.backtesting.audit.thresholds import LEAK_SHARE, SAME_TABLE
from headwater.connectors import scan
from headwater.definitions.connectors import Frame
from headwater.definitions.feature_service import Enriched, FeatureService, enrich, table_columns
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.labels import Labels
from headwater.definitions.level import Level
from headwater.definitions.source import DTYPES, Source, bottom_of
from headwater.events.read_events import Notes, collect, selected, timestamp_micros
from headwater.kernel.arrays import I64, Bool
from headwater.results.audit_result import AuditFinding, Severity
from headwater.training.feature_frames import enriched_events, feature_frames
from headwater.training.leak_checks import filter_columns, label_columns, label_known
from headwater.training.requests import Requests
from headwater.training.resources import Resources

_LATE = 4_000_000_000_000_000  # beyond any request time, and still a date that can be written
_EVENT_KNOWN, _BOTH = "__mine_known", "__both_known"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """LEAK: columns that the label is made of are counted early. SUSPECT: other columns are, at a
    time that follows from the request's.
    """
    views, level, requests = inputs.sampled
    read = furthest(views, level)
    if not read:
        return NotRun("the freshest level reads no history")
    results = [_label_rows(inputs, view, level, requests) for view in read]
    results += [
        _label_rows(inputs, view, Level(), events, who)
        for view, events, who in _enriching(views, level)
    ]
    return [finding for finding in results if finding is not None]


def furthest(views: Sequence[FeatureView], level: Level) -> list[FeatureView]:
    """For each source, its view of the longest reach (of several, the one with the fewest keys)
    that reads history at this level.
    """

    def reach(view: FeatureView) -> tuple[float, int]:
        return max(
            np.inf if f.window.length is None else f.window.reach or 0 for f in view.outputs
        ), -len(view.keys)

    best: dict[str, FeatureView] = {}
    for view in views:
        if view.source.history is None or not level.freshness(view).reads_events:
            continue
        if view.source.name not in best or reach(view) > reach(best[view.source.name]):
            best[view.source.name] = view
    return list(best.values())


def _enriching(
    views: Sequence[FeatureView], level: Level
) -> Iterator[tuple[FeatureView, Requests, str]]:
    """The views that events are enriched with, the events that ask for them (at most 20,000, evenly
    spaced), and what to call these.
    """
    seen: set[str] = set()
    pending = [v for v in views if v.source.history is not None and level.freshness(v).reads_events]
    while pending:
        source = pending.pop(0).source
        while isinstance(source.history, Enriched):
            base, features = source.history.base, source.history.features
            if source.name not in seen and base.history is not None:
                seen.add(source.name)
                events = enriched_events(source)
                sample = events.take(spread(np.arange(len(events.t))))
                yield from (
                    (view, sample, f"the events of source {base.name!r}")
                    for view in furthest(features.views, Level())
                )
                pending += features.views
            source = base


def _label_rows(
    inputs: AuditInputs, view: FeatureView, level: Level, requests: Requests, who: str = ""
) -> AuditFinding | None:
    """Whether events that are rows of the labels' own table count before their outcome is known.

    Sources count as they are defined: a level that asks what if events were known sooner claims
    nothing. who: the events that ask, where it is not the requests.
    """
    model, source, labels = inputs.model, view.source, inputs.model.labels
    bottom = bottom_of(source)
    matched = _matched(bottom, labels)
    if matched is None:
        return None
    early = _counts_early(view, source, matched.rows, level, requests, inputs.resources.threads)
    share = float(early.mean()) if who else inputs.share(early, inputs.sample)
    if share == 0:
        return None
    read = {
        c
        for v in (*model.features.views_within, *model.features.views_in_history)
        if v.source.name == source.name
        for c in value_columns(v)
    }
    made_of_label = sorted(
        {*(set(label_columns(source, labels)) & read), *filter_columns(source, labels)}
    )
    used = sorted(c for c in read if not table_columns(source, c) <= inputs.carried)
    shown = (
        f"{share:.1%} of {who or 'requests'} count events of source {source.name!r} that are rows "
        "of the labels' own table"
    )
    at = _rule(bottom)

    def finding(
        severity: Severity, columns: Sequence[str], evidence: str, remedy: str
    ) -> AuditFinding:
        holds = (
            f"{quoted(columns)} of source {source.name!r} {'is' if len(columns) == 1 else 'are'} "
            f"known at {at}"
        )
        return AuditFinding(
            "label rows",
            severity,
            source.name,
            f"{shown}{evidence}",
            remedy,
            share,
            columns,
            brief=holds,
        )

    if made_of_label:
        proven: Severity = (
            ("LEAK" if share >= LEAK_SHARE else "SUSPECT")
            if who
            else inputs.gravity(early, inputs.sample)
        )
        if (
            inputs.outcome_columns
            and not {root for c in made_of_label for root in table_columns(source, c)}
            & inputs.outcome_columns
        ):
            proven = "SUSPECT"  # a promise, say, that the label compares the outcome with
        evidence = (
            " whose outcome was not known by then; columns read from them: "
            f"{quoted(made_of_label)}, which the label is made of. They are said to be known at "
            f"{at}"
        )
        remedy = (
            f"Give source {source.name!r} the time at which the outcome is known, by "
            "known_at_field= or known_after=, or leave them out"
        )
        return finding(proven, made_of_label, evidence, remedy)
    if not used:
        return None
    if matched.at_request:
        evidence = (
            f" whose outcome was not known by then; columns read from them: {quoted(used)}. They "
            f"are said to be known at {at}, which follows from the request's own time"
        )
        return finding("SUSPECT", used, evidence, _remedy(inputs, source, used))
    evidence = (
        f", before their outcome was known; columns read from them: {quoted(used)}. They are said "
        f"to be known at {at}"
    )
    return finding("question", used, evidence, "Are these columns complete at that time?")


def _remedy(inputs: AuditInputs, source: Source, used: Sequence[str]) -> str:
    """What to do about columns that may be known at the request, or later."""
    of_labels = sorted(
        {root for name in used for root in table_columns(source, name)}
        & set(inputs.label_rows.columns)
    )
    fields = [
        f"hw.RequestField({name!r}, {DTYPES[kind]})"
        for name in of_labels
        if (kind := _python_type(inputs.label_rows.schema[name]))
    ]
    advice = (
        f"If requests carry them, read them as fields of the request: {', '.join(fields)}. "
        if fields
        else ""
    )
    return (
        f"{advice}If they are known later, give source {source.name!r} known_after= or "
        "known_at_field= with that time, or leave them out of its select"
    )


def _python_type(dtype: pl.DataType) -> type | None:
    """The type of a request field of such a column; None where fields have none."""
    if dtype.is_integer():
        return int
    if dtype.is_float():
        return float
    kinds: Mapping[type[pl.DataType], type] = {
        pl.String: str,
        pl.Categorical: str,
        pl.Enum: str,
        pl.Boolean: bool,
        pl.Datetime: datetime,
    }
    return next((kind for dtypes, kind in kinds.items() if isinstance(dtype, dtypes)), None)


def _counts_early(
    view: FeatureView,
    source: Source,
    matched: pl.DataFrame,
    level: Level,
    requests: Requests,
    threads: int | None,
) -> Bool:
    """Whether each request counts a row that would not be there, were rows known with their
    labels.
    """
    at = _EVENT_KNOWN if source.window_on == "known_at" else source.timestamp_field
    corrected = _over(source, matched)
    as_said = dataclasses.replace(
        corrected,
        timestamp_field=at,
        known_at_field=_EVENT_KNOWN,
        known_after="0s",
        window_on="timestamp",
        id_field=None,
        changes=None,
    )
    furthest = max((f.window for f in view.outputs), key=lambda w: (w.length is None, w.reach or 0))
    pair = [
        FeatureView(
            name,
            source=dataclasses.replace(as_said, known_at_field=known_column),
            keys=view.keys,
            features=[count(name="count", windows=None if furthest.length is None else [furthest])],
            freshness=level.freshness(view),
            request_keys=view.request_keys,
            list_key=view.list_key,
        )
        for name, known_column in (("seen", _EVENT_KNOWN), ("mature", _BOTH))
    ]
    frame = feature_frames(
        FeatureService("audit", pair), requests, {"": Level()}, Notes(), Resources(threads)
    )[""]
    seen, mature = (counts.list.sum() if counts.dtype == pl.List else counts for counts in frame)
    return np.asarray((seen > mature).to_numpy(), np.bool_)


def _over(source: Source, matched: pl.DataFrame) -> Source:
    """The source over these rows, or its base where it is enriched, with both times of each."""
    extra = [pl.col(_EVENT_KNOWN), pl.col(_BOTH)]
    select = None if source.select is None else [*source.select, *extra]
    if isinstance(source.history, Enriched):
        return enrich(
            _over(source.history.base, matched),
            source.name,
            source.history.features.features,
            select=select,
            filter=source.filter,
        )
    return dataclasses.replace(source, history=matched, select=select or matched.columns)


@dataclass(frozen=True)
class _Matched:
    """Rows of a source that are the labels' own, with when each is known and when with its label
    too.

    at_request: the time at which the source places them follows from the request's.
    """

    rows: pl.DataFrame
    at_request: bool


def _matched(source: Source, labels: Labels) -> _Matched | None:
    """The rows that source and labels' table share; None where these are few.

    Rows are the same where all columns that both tables have are equal, and these tell rows apart.
    """
    source_frame, theirs = scan(source.table), scan(labels.data)
    schema, label_schema = source_frame.collect_schema(), theirs.collect_schema()
    common = [c for c, d in schema.items() if label_schema.get(c) == d]
    if source.timestamp_field not in common and len(common) < 2:
        return None
    subject, of_labels = f"source {source.name!r}", f"labels {labels.name!r}"
    raw = [c for c in (labels.timestamp_field, labels.known_at_field) if c]
    label_columns = selected(labels.data, labels.select, None, raw, of_labels)
    times = [
        label_known(labels, label_columns.schema).alias("label_known"),
        timestamp_micros(
            labels.timestamp_field, label_columns.schema, labels.timezone, of_labels
        ).alias("asked"),
    ]
    row_of = collect(theirs.select(common), of_labels).hash_rows(seed=1).rename("row")
    keyed = pl.DataFrame([row_of, *collect(label_columns.frame.select(times), of_labels)]).unique(
        "row", keep="first"
    )
    if keyed.height < SAME_TABLE * len(row_of):
        return None
    table = collect(source_frame, subject)
    matching = pl.DataFrame([table.select(common).hash_rows(seed=1).rename("row")]).join(
        keyed, on="row", how="left", maintain_order="left"
    )
    is_there = matching["asked"].is_not_null()
    if is_there.sum() < SAME_TABLE * keyed.height:
        return None
    table, matching = table.filter(is_there), matching.filter(is_there)
    time_columns = [c for c in (source.timestamp_field, source.known_at_field) if c]
    chosen = selected(Frame(table), source.select, None, time_columns, subject)
    event = timestamp_micros(
        source.known_at_field or source.timestamp_field,
        chosen.schema,
        source.timezone,
        subject,
        days=True,
    )
    at = collect(chosen.frame.select(event.alias("at")), subject)["at"]
    known = (at + source.delay).fill_null(_LATE)
    both = (
        pl.DataFrame([known.alias("a"), matching["label_known"].fill_null(_LATE).alias("b")])
        .select(pl.max_horizontal("a", "b"))
        .to_series()
    )
    as_times = [
        s.clip(upper_bound=_LATE).cast(pl.Datetime("us", "UTC")).alias(name)
        for s, name in ((known, _EVENT_KNOWN), (both, _BOTH))
    ]
    return _Matched(
        table.with_columns(as_times),
        source.delay == 0 and _follows((at - matching["asked"]).drop_nulls().to_numpy()),
    )


def _follows(offset: I64) -> bool:
    """Whether a time lies before the request, or always as long after it: it then says nothing of
    when the outcome came.
    """
    return (
        bool(len(offset)) and float(((offset <= 0) | (offset == np.median(offset))).mean()) > 0.99
    )


def value_columns(view: FeatureView) -> set[str]:
    """The columns that the view reads from an event besides its keys; an `until` is masked by time,
    so it cannot leak.
    """
    names = {c for a in view.features if not a.facts.queue for c in a.columns}
    return names.union(*(a.extra_columns for a in view.features))


def _rule(source: Source) -> str:
    if source.known_at_field:
        return repr(source.known_at_field)
    return repr(source.timestamp_field) + (f" + {source.known_after}" if source.delay else "")


def quoted(names: Sequence[str]) -> str:
    """Names of columns in a sentence.

    >>> quoted(["amount", "kind"])
    "'amount', 'kind'"
    """
    return ", ".join(map(repr, names))
