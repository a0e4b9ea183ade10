"""Check: rows of the labels' own table that a source counts before their outcome was known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater.backtesting.audit.inputs import AuditInputs, NotRun, spread
from headwater.backtesting.audit.thresholds import SAME_TABLE
from headwater.connectors import scan
from headwater.definitions.aggregation import count
from headwater.definitions.columns import output_name, root_columns
from headwater.definitions.connectors import Frame
from headwater.definitions.enriched import bottom_of, enrich, table_columns
from headwater.definitions.feature_service import Enriched, FeatureService
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.labels import Labels
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.source import Source
from headwater.events.read_events import Notes
from headwater.events.selection import collect, selected, timestamp_micros
from headwater.kernel.arrays import I64, Bool
from headwater.results.audit_result import AuditFinding
from headwater.training.feature_frames import enriched_events, feature_frames
from headwater.training.leak_checks import filter_columns, label_columns, label_known
from headwater.training.requests import Requests
from headwater.training.resources import Resources

_LATE = 4_000_000_000_000_000  # beyond any request time, and still a date that can be written
_MINE, _BOTH = "__mine_known", "__both_known"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """LEAK: columns that the label is made of are counted early. SUSPECT: other columns are, at a time that follows from the request's."""
    views, level, requests = inputs.sampled
    read = furthest(views, level)
    if not read:
        return NotRun("the freshest level reads no history")
    threads = inputs.resources.threads
    results = [_label_rows(view, inputs.model, level, requests, threads) for view in read]
    results += [_label_rows(view, inputs.model, Level(), events, threads, who) for view, events, who in _enriching(views, level)]
    return [finding for finding in results if finding is not None]


def furthest(views: Sequence[FeatureView], level: Level) -> list[FeatureView]:
    """For each source, its view of the longest reach (of several, the one with the fewest keys) that reads history at this level."""

    def reach(view: FeatureView) -> tuple[float, int]:
        return max(np.inf if f.window.length is None else f.window.reach or 0 for f in view.outputs), -len(view.keys)

    best: dict[str, FeatureView] = {}
    for view in views:
        if view.source.history is None or not level.freshness(view).reads_events:
            continue
        if view.source.name not in best or reach(view) > reach(best[view.source.name]):
            best[view.source.name] = view
    return list(best.values())


def _enriching(views: Sequence[FeatureView], level: Level) -> Iterator[tuple[FeatureView, Requests, str]]:
    """The views that events are enriched with, the events that ask for them (at most 20,000, evenly spaced), and what to call these."""
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
                yield from ((view, sample, f"the events of source {base.name!r}") for view in furthest(features.views, Level()))
                pending += features.views
            source = base


def _label_rows(
    view: FeatureView, model: Model, level: Level, requests: Requests, threads: int | None, who: str = "requests"
) -> AuditFinding | None:
    """Whether events that are rows of the labels' own table count before their outcome is known.

    Sources count as they are defined: a level that asks what if events were known sooner claims nothing.
    """
    source, labels = view.source, model.labels
    bottom = bottom_of(source)
    matched = _matched(bottom, labels)
    if matched is None:
        return None
    early = _counts_early(view, source, matched.rows, level, requests, threads)
    share = float(early.mean())
    if share == 0:
        return None
    read = {
        c
        for v in (*model.features.views_within, *model.features.views_in_history)
        if v.source.name == source.name
        for c in value_columns(v)
    }
    made_of_label = sorted({*(set(label_columns(source, labels)) & read), *filter_columns(source, labels)})
    used = sorted(c for c in read if not table_columns(source, c) <= carried(model))
    says = f"It says that they are known at {_rule(bottom)}"
    shown = f"{share:.1%} of {who} count events of source {source.name!r} that are rows of the labels' own table"
    remedy = "Give the source the timestamp when these columns are really known, or leave them out"
    if made_of_label:
        evidence = f"{shown} whose outcome was not known by then; columns read from them: {', '.join(made_of_label)}, which the label is made of. {says}"
        return AuditFinding("label rows", "LEAK", source.name, evidence, remedy, share, made_of_label)
    if not used:
        return None
    if matched.at_request:
        evidence = (
            f"{shown} whose outcome was not known by then; columns read from them: {', '.join(used)}. {says}, which follows from the request's "
            "own time"
        )
        return AuditFinding("label rows", "SUSPECT", source.name, evidence, remedy, share, used)
    evidence = f"{shown}, before their outcome was known; columns read from them: {', '.join(used)}. {says}"
    return AuditFinding("label rows", "question", source.name, evidence, "Are these columns complete at that time?", share, used)


def _counts_early(view: FeatureView, source: Source, matched: pl.DataFrame, level: Level, requests: Requests, threads: int | None) -> Bool:
    """Whether each request counts a row that would not be there, were rows known with their labels."""
    at = _MINE if source.window_on == "known_at" else source.timestamp_field
    corrected = _over(source, matched)
    as_said = dataclasses.replace(
        corrected, timestamp_field=at, known_at_field=_MINE, known_after="0s", window_on="timestamp", id_field=None, changes=None
    )
    furthest = max((f.window for f in view.outputs), key=lambda w: (w.length is None, w.reach or 0))
    pair = [
        FeatureView(
            name,
            source=dataclasses.replace(as_said, known_at_field=known),
            keys=view.keys,
            features=[count(name="count", windows=None if furthest.length is None else [furthest])],
            freshness=level.freshness(view),
            request_keys=view.request_keys,
            list_key=view.list_key,
        )
        for name, known in (("seen", _MINE), ("mature", _BOTH))
    ]
    frame = feature_frames(FeatureService("audit", pair), requests, {"": Level()}, Notes(), Resources(threads))[""]
    seen, mature = (counts.list.sum() if counts.dtype == pl.List else counts for counts in frame)
    return np.asarray((seen > mature).to_numpy(), np.bool_)


def _over(source: Source, matched: pl.DataFrame) -> Source:
    """The source over these rows, or its base where it is enriched, with both times of each."""
    extra = [pl.col(_MINE), pl.col(_BOTH)]
    select = None if source.select is None else [*source.select, *extra]
    if isinstance(source.history, Enriched):
        return enrich(
            _over(source.history.base, matched), source.name, source.history.features.features, select=select, filter=source.filter
        )
    return dataclasses.replace(source, history=matched, select=select or matched.columns)


@dataclass(frozen=True)
class _Matched:
    """Rows of a source that are the labels' own, with when each is known and when with its label too.

    at_request: the time at which the source places them follows from the request's.
    """

    rows: pl.DataFrame
    at_request: bool


def _matched(source: Source, labels: Labels) -> _Matched | None:
    """The source's rows that are those of the labels' table; None where these are few.

    Rows are the same where all columns that both tables have are equal, and these tell rows apart.
    """
    mine, theirs = scan(source.table), scan(labels.data)
    schema, other = mine.collect_schema(), theirs.collect_schema()
    common = [c for c, d in schema.items() if other.get(c) == d]
    if source.timestamp_field not in common and len(common) < 2:
        return None
    what, of_labels = f"source {source.name!r}", f"labels {labels.name!r}"
    raw = [c for c in (labels.timestamp_field, labels.known_at_field) if c]
    kept = selected(labels.data, labels.select, None, raw, of_labels)
    times = [
        label_known(labels, kept.schema).alias("label_known"),
        timestamp_micros(labels.timestamp_field, kept.schema, labels.timezone, of_labels).alias("asked"),
    ]
    row_of = collect(theirs.select(common), of_labels).hash_rows(seed=1).rename("row")
    keyed = pl.DataFrame([row_of, *collect(kept.frame.select(times), of_labels)]).unique("row", keep="first")
    if keyed.height < SAME_TABLE * len(row_of):
        return None
    table = collect(mine, what)
    matching = pl.DataFrame([table.select(common).hash_rows(seed=1).rename("row")]).join(keyed, on="row", how="left", maintain_order="left")
    is_there = matching["asked"].is_not_null()
    if is_there.sum() < SAME_TABLE * keyed.height:
        return None
    table, matching = table.filter(is_there), matching.filter(is_there)
    own = [c for c in (source.timestamp_field, source.known_at_field) if c]
    chosen = selected(Frame(table), source.select, None, own, what)
    event = timestamp_micros(source.known_at_field or source.timestamp_field, chosen.schema, source.timezone, what, days=True)
    at = collect(chosen.frame.select(event.alias("at")), what)["at"]
    known = (at + source.delay).fill_null(_LATE)
    both = (
        pl.DataFrame([known.alias("a"), matching["label_known"].fill_null(_LATE).alias("b")])
        .select(pl.max_horizontal("a", "b"))
        .to_series()
    )
    as_times = [s.clip(upper_bound=_LATE).cast(pl.Datetime("us", "UTC")).alias(name) for s, name in ((known, _MINE), (both, _BOTH))]
    return _Matched(table.with_columns(as_times), source.delay == 0 and _follows((at - matching["asked"]).drop_nulls().to_numpy()))


def _follows(offset: I64) -> bool:
    """Whether a time lies before the request, or always as long after it: it then says nothing of when the outcome came."""
    return bool(len(offset)) and float(((offset <= 0) | (offset == np.median(offset))).mean()) > 0.99


def value_columns(view: FeatureView) -> set[str]:
    """The columns that the view reads from an event besides its keys; an `until` is masked by time, so it cannot leak."""
    names = {c for a in view.features if not a.facts.queue for c in a.columns}
    return names.union(*(a.extra_columns for a in view.features))


def carried(model: Model) -> frozenset[str]:
    """The columns of the labels' table that a request knows: those that the model asks of it, and those that the labels select
    besides the outcome and when it was known.
    """
    labels = model.labels
    names = {labels.timestamp_field, *model.features.needed_by()}
    if labels.select is not None:
        names |= {output_name(item) for item in labels.select} - {labels.label_name, labels.known_at_field or ""}
    return frozenset().union(*(roots_of(labels.select, name) for name in names)) - labels.label_roots


def roots_of(select: Sequence[str | pl.Expr] | None, name: str) -> frozenset[str]:
    """The columns of the labels' table that one that they select is made of."""
    item_or_name = next((item for item in select or () if output_name(item) == name), name)
    return root_columns(item_or_name)


def _rule(source: Source) -> str:
    if source.known_at_field:
        return source.known_at_field
    return source.timestamp_field + (f" + {source.known_after}" if source.delay else "")
